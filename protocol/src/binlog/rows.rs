//! WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, PARTIAL_UPDATE_ROWS and the plan that decodes their rows.

mod plan;

pub use plan::{ColumnHint, Row, RowChange, RowPlan, Rows};

/// A rows event, its rows still encoded: a [`RowPlan`] decodes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// What happened to the rows.
    pub kind: RowsKind,
    /// Refers to the TABLE_MAP before it in the same statement.
    pub table_id: u64,
    /// `RowsEvent::…` flag bits.
    pub flags: u16,
    /// Extra data of version 2 events (NDB, partitions), as written.
    pub extra: &'a [u8],
    /// Columns in the table, as the event counts them.
    pub column_count: usize,
    /// Bitmap of the columns in before images (updates and deletes); empty for inserts.
    pub columns_before: &'a [u8],
    /// Bitmap of the columns in after images (inserts and updates); empty for deletes.
    pub columns_after: &'a [u8],
    /// The rows.
    pub data: &'a [u8],
    /// PARTIAL_UPDATE_ROWS: JSON columns of after images may be diffs.
    pub partial: bool,
}

/// What a rows event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowsKind {
    /// Rows were inserted: after images only.
    Insert,
    /// Rows were changed: before and after images.
    Update,
    /// Rows were deleted: before images only.
    Delete,
}

impl RowsEvent<'_> {
    /// The last rows event of its statement: table maps are forgotten after it.
    pub const STATEMENT_END: u16 = 0x0001;
    /// `foreign_key_checks` was off.
    pub const NO_FOREIGN_KEY_CHECKS: u16 = 0x0002;
    /// `unique_checks` was off.
    pub const RELAXED_UNIQUE_CHECKS: u16 = 0x0004;
    /// Rows hold all columns.
    pub const COMPLETE_ROWS: u16 = 0x0008;
    /// Foreign keys were enforced and cascaded by the SQL layer (MySQL 9.6 and later); cascaded rows have
    /// [`NO_FOREIGN_KEY_CHECKS`](Self::NO_FOREIGN_KEY_CHECKS) besides.
    pub const USE_SQL_FOREIGN_KEY: u16 = 0x0010;

    /// Whether this event ends its statement.
    pub fn ends_statement(&self) -> bool {
        self.flags & Self::STATEMENT_END != 0
    }
}
