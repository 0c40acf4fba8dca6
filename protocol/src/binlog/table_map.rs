//! TABLE_MAP: which table, and how its columns are written.

mod column_type;
mod optional;

pub use column_type::ColumnType;

use super::Error;
use super::error::Within;
use crate::cursor::Cursor;

/// What the rows events after it are about. Owned: plans outlive the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The number by which rows events refer to this map; 48 bits.
    pub table_id: u64,
    /// The event's own flags.
    pub flags: u16,
    /// The table's database.
    pub database: String,
    /// The table's name.
    pub table: String,
    /// Columns in the table's order, generated and invisible ones included.
    pub columns: Vec<ColumnDef>,
    /// Primary key as column indexes with prefix length in characters (0: the whole column); `None` when not told.
    pub primary_key: Option<Vec<(usize, u64)>>,
}

/// A column as the table map describes it. Names, enum texts… come with `binlog_row_metadata=FULL` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDef {
    /// The type that decides how values are written; ENUM and SET are told apart from strings already.
    pub kind: ColumnType,
    /// Depends on the type. Bytes at most: CHAR, BINARY, VARCHAR, VARBINARY. Bytes of the length in front: BLOB, TEXT, JSON, GEOMETRY,
    /// VECTOR. Bytes of the value: ENUM, SET, FLOAT, DOUBLE. Digits after the point: TIME, DATETIME, TIMESTAMP. Precision × 256 + scale:
    /// DECIMAL. Number of bits: BIT. 0: others.
    pub meta: u16,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Signedness of a number; `None`: not told or not a number.
    pub unsigned: Option<bool>,
    /// Collation number of text, enum or set; 63 is binary; `None`: not told or not text.
    pub collation: Option<u16>,
    /// The column's name.
    pub name: Option<String>,
    /// ENUM's or SET's members, in the column's character set.
    pub members: Option<Vec<Vec<u8>>>,
    /// GEOMETRY's subtype number.
    pub geometry: Option<u64>,
    /// VECTOR's dimension.
    pub dimension: Option<u64>,
    /// Whether the column is visible.
    pub visible: Option<bool>,
}

const WHAT: &str = "TABLE_MAP event";

impl TableMap {
    /// `database.table`, for messages.
    pub fn name(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let table_id = cursor.u48().within(WHAT)?;
        let flags = cursor.u16().within(WHAT)?;
        let database = name(&mut cursor)?;
        let table = name(&mut cursor)?;
        let count = usize::try_from(cursor.lenenc().within(WHAT)?).unwrap_or(usize::MAX);
        let types = cursor.bytes(count).within(WHAT)?;
        let mut meta = Cursor::new(cursor.lenenc_bytes().within(WHAT)?);
        let nulls = cursor.bytes(count.div_ceil(8)).within(WHAT)?;
        let mut columns = Vec::with_capacity(count);
        for (at, number) in types.iter().enumerate() {
            let (kind, meta) = ColumnType::read(*number, &mut meta)?;
            columns.push(ColumnDef {
                kind,
                meta,
                nullable: nulls[at / 8] & (1 << (at % 8)) != 0,
                unsigned: None,
                collation: None,
                name: None,
                members: None,
                geometry: None,
                dimension: None,
                visible: None,
            });
        }
        if !meta.is_empty() {
            return Err(Error::malformed(
                WHAT,
                format!("{} bytes of column metadata are left over", meta.remaining()),
            ));
        }
        let mut map = Self {
            table_id,
            flags,
            database,
            table,
            columns,
            primary_key: None,
        };
        optional::read(&mut map, cursor)?;
        Ok(map)
    }
}

/// A name with its length in front and a zero byte at its end.
fn name(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let text = cursor.lenenc_bytes().within(WHAT)?;
    cursor.skip(1).within(WHAT)?;
    text_of(text)
}

/// Names are UTF-8.
fn text_of(bytes: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::malformed(WHAT, "a name is no UTF-8 text")),
    }
}
