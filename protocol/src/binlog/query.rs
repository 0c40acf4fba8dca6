//! QUERY: a statement and the session settings under which it was committed.

/// A statement as text.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryEvent<'a> {
    /// The session that ran it.
    pub thread_id: u32,
    /// Seconds that it took.
    pub exec_time: u32,
    /// 0, or the error with which it ended on the source.
    pub error_code: u16,
    /// The default database; empty when there was none.
    pub schema: &'a [u8],
    /// The text, in the session's `character_set_client`.
    pub statement: &'a [u8],
    /// The settings of the session (A5).
    pub session: SessionVars,
}

/// The session settings that a QUERY event carries. `None`: not carried, the default or the earlier value holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionVars {
    /// `foreign_key_checks`.
    pub foreign_key_checks: Option<bool>,
    /// `unique_checks`.
    pub unique_checks: Option<bool>,
    /// `sql_auto_is_null`.
    pub auto_is_null: Option<bool>,
    /// `autocommit`.
    pub autocommit: Option<bool>,
    /// `sql_mode` as bits.
    pub sql_mode: Option<u64>,
    /// `auto_increment_increment` and `auto_increment_offset`.
    pub auto_increment: Option<(u16, u16)>,
    /// Collation numbers: `character_set_client`, `collation_connection`, `collation_server`.
    pub charsets: Option<(u16, u16, u16)>,
    /// `time_zone`; set when the statement used it.
    pub time_zone: Option<String>,
    /// The catalog, always `std`.
    pub catalog: Option<String>,
    /// `lc_time_names` as its number.
    pub lc_time_names: Option<u16>,
    /// `collation_database` as a collation number.
    pub charset_database: Option<u16>,
    /// Tables of a multi-table update, as bits.
    pub table_map_for_update: Option<u64>,
    /// The account that a CREATE of a stored object or view, without a DEFINER clause, was run by.
    pub invoker: Option<Invoker>,
    /// Databases that the statement touches, `None` when not told or more than 16.
    pub updated_databases: Option<Vec<String>>,
    /// Microseconds to add to the header's timestamp (`SET TIMESTAMP=s.micros`).
    pub microseconds: Option<u32>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// The DDL's transaction id in the source's data dictionary.
    pub ddl_xid: Option<u64>,
    /// `default_collation_for_utf8mb4` as a collation number.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `sql_require_primary_key`.
    pub sql_require_primary_key: Option<bool>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<bool>,
}

/// `'user'@'host'` of an invoker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoker {
    /// Account name.
    pub user: String,
    /// Account host; empty for a role.
    pub host: String,
}
