//! QUERY: a statement and the session settings under which it was committed.

use super::Error;
use super::error::Within;
use crate::cursor::Cursor;

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
    /// Whether triggers run for rows that foreign keys cascade to (servers after 9.7).
    pub cascade_triggers: Option<bool>,
}

/// `'user'@'host'` of an invoker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoker {
    /// Account name.
    pub user: String,
    /// Account host; empty for a role.
    pub host: String,
}

const WHAT: &str = "QUERY event";

impl<'a> QueryEvent<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let thread_id = cursor.u32().within(WHAT)?;
        let exec_time = cursor.u32().within(WHAT)?;
        let schema_length = usize::from(cursor.u8().within(WHAT)?);
        let error_code = cursor.u16().within(WHAT)?;
        let vars_length = usize::from(cursor.u16().within(WHAT)?);
        let session = SessionVars::parse(cursor.bytes(vars_length).within(WHAT)?)?;
        let schema = cursor.bytes(schema_length).within(WHAT)?;
        cursor.skip(1).within(WHAT)?;
        Ok(Self {
            thread_id,
            exec_time,
            error_code,
            schema,
            statement: cursor.rest(),
            session,
        })
    }
}

/// Number of databases that says: too many to name.
const TOO_MANY_DATABASES: u8 = 254;

impl SessionVars {
    /// Decodes the status variables: a code, then a value whose length only the code tells. An unknown code is therefore an
    /// error: nothing after it can be read.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut vars = Self::default();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            vars.take(&mut cursor)?;
        }
        Ok(vars)
    }

    fn take(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        match cursor.u8().within(WHAT)? {
            0 => self.set_flags(cursor.u32().within(WHAT)?),
            1 => self.sql_mode = Some(cursor.u64().within(WHAT)?),
            2 => {
                // MySQL 5.0.0 to 5.0.3: a zero byte ends the text besides.
                self.catalog = Some(short_text(cursor)?);
                cursor.skip(1).within(WHAT)?;
            }
            3 => self.auto_increment = Some((cursor.u16().within(WHAT)?, cursor.u16().within(WHAT)?)),
            4 => {
                let mut number = || cursor.u16().within(WHAT);
                self.charsets = Some((number()?, number()?, number()?));
            }
            5 => self.time_zone = Some(short_text(cursor)?),
            6 => self.catalog = Some(short_text(cursor)?),
            7 => self.lc_time_names = Some(cursor.u16().within(WHAT)?),
            8 => self.charset_database = Some(cursor.u16().within(WHAT)?),
            9 => self.table_map_for_update = Some(cursor.u64().within(WHAT)?),
            // Bytes that the statement took in an older source's log: of no use here.
            10 => cursor.skip(4).within(WHAT)?,
            11 => {
                self.invoker = Some(Invoker {
                    user: short_text(cursor)?,
                    host: short_text(cursor)?,
                })
            }
            12 => self.updated_databases = databases(cursor)?,
            13 => self.microseconds = Some(cursor.u24().within(WHAT)?),
            16 => self.explicit_defaults_for_timestamp = Some(flag(cursor)?),
            17 => self.ddl_xid = Some(cursor.u64().within(WHAT)?),
            18 => self.default_collation_for_utf8mb4 = Some(cursor.u16().within(WHAT)?),
            19 => self.sql_require_primary_key = Some(flag(cursor)?),
            20 => self.default_table_encryption = Some(flag(cursor)?),
            21 => self.cascade_triggers = Some(flag(cursor)?),
            other => {
                return Err(Error::Unsupported {
                    what: format!("a QUERY event with status variable {other}"),
                    advice: "the session settings of this statement can't be read. Is the source's version supported?",
                });
            }
        }
        Ok(())
    }

    /// The four options of the session that are written, by their bits in the server's `OPTION_…`.
    fn set_flags(&mut self, flags: u32) {
        self.auto_is_null = Some(flags & (1 << 14) != 0);
        self.autocommit = Some(flags & (1 << 19) == 0);
        self.foreign_key_checks = Some(flags & (1 << 26) == 0);
        self.unique_checks = Some(flags & (1 << 27) == 0);
    }
}

/// A byte that says no (0) or yes.
fn flag(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    Ok(cursor.u8().within(WHAT)? != 0)
}

/// A length in one byte, then text.
fn short_text(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let length = usize::from(cursor.u8().within(WHAT)?);
    text(cursor.bytes(length).within(WHAT)?)
}

/// Names in the binlog are UTF-8 (`system_charset_info`).
fn text(bytes: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::malformed(WHAT, "a status variable is no UTF-8 text")),
    }
}

fn databases(cursor: &mut Cursor<'_>) -> Result<Option<Vec<String>>, Error> {
    let count = cursor.u8().within(WHAT)?;
    if count == TOO_MANY_DATABASES {
        return Ok(None);
    }
    let names = (0..count).map(|_| text(cursor.null_terminated().within(WHAT)?));
    names.collect::<Result<_, _>>().map(Some)
}
