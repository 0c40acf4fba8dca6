//! Rows of which the source logged a part (`binlog_row_image` other than `FULL`): what an image without some columns still says.
//!
//! An insert's missing columns got their defaults, for which the target's own definition has the same ones (A4); an update's did not
//! change. A before image holds at least what the source finds the row by: its primary key, else its first unique key without
//! NULL, else everything. Such a row can't be written over, since what it lacks is known to nobody.

use std::sync::Arc;

use outrigger_protocol::value::Value;

use super::exactly::write_same_document;
use super::table::into;
use super::{Change, Expect, Image, Statements, Table, value};
use crate::definition::{ColumnDef, ColumnKind};
use crate::literal::{quote_name, write_equals};

impl Table {
    /// Whether the change's images hold every column that is written.
    pub(crate) fn is_whole(&self, change: &Change<'_, '_>) -> bool {
        let whole = |image: &Image<'_>| self.written.iter().all(|at| has(image, *at));
        match change {
            Change::Insert(row) | Change::Delete(row) => whole(row),
            Change::Update(before, after) => whole(before) && whole(after),
        }
    }

    /// Whether the image tells the row: by the table's key, or by all its columns where there is none.
    pub(crate) fn is_found_by(&self, image: &Image<'_>) -> bool {
        let columns = self.def.key.as_ref().map_or(&self.written, |key| &key.columns);
        columns.iter().all(|at| has(image, *at))
    }

    /// The same table with rows found by each of its other keys that could be its key.
    pub(crate) fn found_otherwise(&self) -> Vec<Self> {
        let keys = self.def.otherwise_identified();
        keys.into_iter().map(Self::new).collect()
    }

    /// The written columns that the image holds; `None`: all.
    pub(super) fn given(&self, image: &Image<'_>) -> Option<Vec<usize>> {
        if self.written.iter().all(|at| has(image, *at)) {
            return None;
        }
        Some(
            self.written
                .iter()
                .copied()
                .filter(|at| has(image, *at))
                .collect(),
        )
    }

    /// Whether a written column beside these has no default, so that a strict session refuses a row without it.
    pub(super) fn implies(&self, given: &[usize]) -> bool {
        let none = |column: &ColumnDef| !column.nullable && !column.has_default;
        let mut others = self.written.iter().filter(|at| !given.contains(at));
        others.any(|at| none(&self.def.columns[*at]))
    }

    /// `` `db`.`t`(`a`,…)VALUES `` for these columns.
    pub(super) fn head_of(&self, columns: &[usize]) -> String {
        into(&self.quoted, &self.def, columns)
    }
}

impl Statements {
    /// An UPDATE leaves a row alone whose new values equal its old ones, and documents are equal whose numbers are (1 and 1.0). A source
    /// that does not read the old ones, as it does not log them, changes it. So a document that is equal and not the same goes
    /// first.
    pub(super) fn unequal_documents(&mut self, table: &Arc<Table>, before: &Image<'_>, after: &Image<'_>) {
        let documents = |at: &&usize| {
            table.def.columns[**at].kind == ColumnKind::Json
                && !has(before, **at)
                && holds_numbers(value(after, **at))
        };
        for &at in table.written.iter().filter(documents) {
            let column = &table.def.columns[at];
            self.begin_statement();
            let name = quote_name(&column.name);
            let set = format!("UPDATE {} SET {name}=CAST('null' AS JSON)", table.quoted);
            self.sql.extend_from_slice(set.as_bytes());
            let kept = table.written.iter().map(|at| &table.def.columns[*at]);
            for column in kept.filter(|column| column.on_update) {
                let name = quote_name(&column.name);
                self.sql.extend_from_slice(format!(",{name}={name}").as_bytes());
            }
            self.condition(table, before);
            self.sql.extend_from_slice(b" AND ");
            write_equals(&mut self.sql, value(after, at), column);
            self.sql.extend_from_slice(b" AND NOT ");
            write_same_document(&mut self.sql, value(after, at), &table.quoted, column);
            self.expects.push(Expect {
                rows: None,
                table: Some(Arc::clone(table)),
                what: "UPDATE",
                end: self.sql.len(),
                takes: None,
            });
        }
    }
}

fn holds_numbers(document: &Value<'_>) -> bool {
    match document {
        Value::Json(text) => text.iter().any(u8::is_ascii_digit),
        Value::TypedJson(document) => document.text.iter().any(u8::is_ascii_digit),
        _ => false,
    }
}

fn has(image: &Image<'_>, at: usize) -> bool {
    image.get(at).is_some_and(Option::is_some)
}
