//! WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS, PARTIAL_UPDATE_ROWS and the plan that decodes their rows.

mod codec;
mod decimal;
mod plan;
mod temporal;

pub(super) use decimal::DecimalShape;
pub use plan::{ColumnHint, Images, Row, RowChange, RowPlan, Rows};
pub(super) use temporal::packed;

use super::error::Within;
use super::{Error, EventKind};
use crate::cursor::Cursor;

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

impl<'a> RowsEvent<'a> {
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

    pub(super) fn parse(event: EventKind, body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "rows event";
        let (kind, has_extra) = match event {
            EventKind::WRITE_ROWS_V1 => (RowsKind::Insert, false),
            EventKind::UPDATE_ROWS_V1 => (RowsKind::Update, false),
            EventKind::DELETE_ROWS_V1 => (RowsKind::Delete, false),
            EventKind::WRITE_ROWS => (RowsKind::Insert, true),
            EventKind::UPDATE_ROWS | EventKind::PARTIAL_UPDATE_ROWS => (RowsKind::Update, true),
            EventKind::DELETE_ROWS => (RowsKind::Delete, true),
            other => return Err(Error::UnknownEvent(other)),
        };
        let mut cursor = Cursor::new(body);
        let table_id = cursor.u48().within(WHAT)?;
        let flags = cursor.u16().within(WHAT)?;
        let extra = if has_extra {
            // The length counts its own two bytes.
            let length = usize::from(cursor.u16().within(WHAT)?);
            let length = length
                .checked_sub(2)
                .ok_or_else(|| Error::malformed(WHAT, "a length of extra data below 2"))?;
            cursor.bytes(length).within(WHAT)?
        } else {
            &[]
        };
        let column_count = usize::try_from(cursor.lenenc().within(WHAT)?).unwrap_or(usize::MAX);
        let mut bitmap = || cursor.bytes(column_count.div_ceil(8)).within(WHAT);
        let none: &[u8] = &[];
        let (columns_before, columns_after) = match kind {
            RowsKind::Insert => (none, bitmap()?),
            RowsKind::Update => (bitmap()?, bitmap()?),
            RowsKind::Delete => (bitmap()?, none),
        };
        Ok(Self {
            kind,
            table_id,
            flags,
            extra,
            column_count,
            columns_before,
            columns_after,
            data: cursor.rest(),
            partial: event == EventKind::PARTIAL_UPDATE_ROWS,
        })
    }
}
