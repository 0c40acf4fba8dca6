//! TABLE_MAP: which table, and how its columns are written.

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
    /// The type's metadata as MySQL's `Field::do_save_field_metadata` writes it (lengths, precision, fraction digits).
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

/// A column's type by MySQL's `enum_field_types` number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ColumnType(pub u8);
