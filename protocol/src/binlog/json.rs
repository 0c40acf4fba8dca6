//! JSON as MySQL stores it in rows (`sql-common/json_binary.h`), to text.
