//! Examples from MySQL's manual, then properties.
