//! What each statement of a batch must report, and how the server itself checks that it did.

use std::sync::Arc;

use super::table::{Table, keep_if};

/// What one statement of a batch must report.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    /// The rows it must affect; `None` when any number is right.
    pub(crate) rows: Option<u64>,
    /// The table it changes; `None` for the frame (SET, checkpoint).
    pub(crate) table: Option<Arc<Table>>,
    /// Names it in a message.
    pub(crate) what: &'static str,
    /// Where it ends in the batch's text.
    pub(crate) end: usize,
    /// How it takes the check of the statement before it along, if it can.
    pub(super) takes: Option<Takes>,
}

/// Where a statement that must find rows has room for one more condition, at its end. One that does not hold has it find none, or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// In its `WHERE`.
    Condition,
    /// In its `ON DUPLICATE KEY UPDATE`, by an assignment.
    Assignment,
}

impl Expect {
    /// Appends a check by the server, where there is something to check: an error that ends the batch behind the statement.
    pub(crate) fn write_check(&self, sql: &mut Vec<u8>) {
        if let Some(rows) = self.rows {
            // Out of a DOUBLE's range, but only where it is evaluated.
            let check = format!(";SET @outrigger=IF(ROW_COUNT()={rows},1,EXP(710))");
            sql.extend_from_slice(check.as_bytes());
        }
    }

    /// Appends to the statement that the one before it must have affected `rows`.
    fn write_taken(&self, rows: u64, sql: &mut Vec<u8>) {
        let check = match (self.takes, &self.table) {
            (Some(Takes::Condition), _) => format!(" AND ROW_COUNT()={rows}"),
            (Some(Takes::Assignment), Some(table)) => {
                match keep_if(&table.def, &format!("ROW_COUNT()={rows}")) {
                    Some(assignment) => format!(",{assignment}"),
                    None => return,
                }
            }
            _ => return,
        };
        sql.extend_from_slice(check.as_bytes());
    }
}

/// A batch in which every statement but the last is checked by the server, by the one that follows it where that can be. A statement
/// that is not as expected ends the batch: none behind it does what it is to do.
pub(crate) fn write_checked(batch: &[u8], expects: &[Expect]) -> Vec<u8> {
    let mut sql = Vec::with_capacity(2 * batch.len());
    let mut from = 0;
    let mut before: Option<&Expect> = None;
    for expect in expects {
        if let Some(before) = before
            && expect.takes.is_none()
        {
            before.write_check(&mut sql);
        }
        sql.extend_from_slice(batch.get(from..expect.end).unwrap_or_default());
        from = expect.end;
        if let Some(rows) = before.and_then(|before| before.rows) {
            expect.write_taken(rows, &mut sql);
        }
        before = Some(expect);
    }
    sql
}

/// Behind which statements a check of its own stands then.
pub(crate) fn checks(expects: &[Expect]) -> impl Iterator<Item = bool> {
    let following = expects.iter().skip(1).map(|next| next.takes.is_none());
    { expects.iter() }
        .zip(following.chain([false]))
        .map(|(expect, alone)| alone && expect.rows.is_some())
}
