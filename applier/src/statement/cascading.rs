//! A row's change that changes rows of other tables by foreign keys: a statement of its own under foreign key checks, behind
//! everything before it and before everything after it.
//!
//! The server counts the statement's own rows only, not those that followed.

use std::sync::Arc;

use super::{Change, Form, Statements, Table};

impl Statements {
    /// Adds one row's change, to be followed by the target's own foreign keys. The row must be there.
    pub(crate) fn change_cascading(&mut self, table: &Arc<Table>, change: Change<'_, '_>) {
        self.counts.count(&change);
        self.check_foreign_keys(true);
        match change {
            Change::Insert(after) => self.row(table, Form::Insert, after),
            Change::Update(before, after) => self.update(table, before, after),
            Change::Delete(before) => self.delete_one(table, before),
        }
        self.check_foreign_keys(false);
    }

    fn check_foreign_keys(&mut self, on: bool) {
        let sql: &[u8] = match on {
            true => b"SET foreign_key_checks=1",
            false => b"SET foreign_key_checks=0",
        };
        self.frame("SET", None, |out| out.extend_from_slice(sql));
    }
}
