//! Row changes as statements: what one round trip carries, and what each statement must have found.
//!
//! Pure text. Consecutive inserts into one table become one INSERT, consecutive deletes by key one DELETE. Every statement
//! that must find rows says how many ([`Expect`]), so that a divergence is seen before the commit (A8).

mod cascading;
mod exactly;
mod expect;
mod fold;
mod partial;
mod single;
mod table;

use std::sync::Arc;

use outrigger_protocol::value::Value;

use self::exactly::write_exactly;
use self::expect::Takes;
pub(crate) use self::expect::{Expect, checks, write_checked};
use self::fold::Fold;
pub(crate) use self::single::{Effect, Single, Singles, Text};
pub(crate) use self::table::Table;
use self::table::keep_if;
use crate::literal::{quote_name, unsigned, write_equals, write_stored};

/// Rows per multi-row statement at most: beyond that a longer statement saves nothing and an IN list defeats the optimizer.
const MAX_ROWS: u64 = 1000;
/// Bytes per multi-row statement, about.
const MAX_BYTES: usize = 256 * 1024;

/// All columns of a row, in the table's order. Generated ones may be missing, nobody writes them; others where the source logged a
/// part of the row only.
pub(crate) type Image<'a> = [Option<Value<'a>>];

/// The value of the `at`th column; one that is missing is NULL.
pub(crate) fn value<'r, 'a>(image: &'r Image<'a>, at: usize) -> &'r Value<'a> {
    image.get(at).and_then(Option::as_ref).unwrap_or(&Value::Null)
}

/// One change of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'r, 'a> {
    /// A new row.
    Insert(&'r Image<'a>),
    /// A row before and after.
    Update(&'r Image<'a>, &'r Image<'a>),
    /// A row that went.
    Delete(&'r Image<'a>),
}

/// What a change demands of the target's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The row may be newer than the change already (the copy's time): write the after image whatever is there.
    Idempotent,
    /// The row must be exactly what it was before the change.
    Exact,
}

/// Row changes counted by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

impl RowCounts {
    /// Counts one more.
    fn count(&mut self, change: &Change<'_, '_>) {
        match change {
            Change::Insert(_) => self.inserted += 1,
            Change::Update(..) => self.updated += 1,
            Change::Delete(_) => self.deleted += 1,
        }
    }

    /// Rows of all kinds.
    pub(crate) fn total(self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    /// Counts others too.
    pub(crate) fn add(&mut self, others: Self) {
        self.inserted += others.inserted;
        self.updated += others.updated;
        self.deleted += others.deleted;
    }
}

/// The statements of one round trip, being written.
#[derive(Debug)]
pub(crate) struct Statements {
    sql: Vec<u8>,
    expects: Vec<Expect>,
    open: Option<Open>,
    lenient: bool,
    /// A row is found by all its values, not by its key alone.
    by_all: bool,
    fold: Fold,
    counts: RowCounts,
    /// True when its first change begins a target transaction.
    begins: bool,
    /// True when a row is looked for among all rows of its table.
    searches: bool,
}

#[derive(Debug)]
struct Open {
    table: Arc<Table>,
    form: Form,
    /// What its rows hold of the table's written columns; `None`: all.
    columns: Option<Vec<usize>>,
    rows: u64,
    from: usize,
}

/// A statement that takes more rows at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Insert,
    Replace,
    Delete,
    /// DELETE that need not find its rows.
    Forget,
    /// INSERT … ON DUPLICATE KEY UPDATE, each row of which must be there.
    Upsert,
}

impl Form {
    /// True when its rows are whole rows, not keys.
    fn writes(self) -> bool {
        matches!(self, Self::Insert | Self::Replace | Self::Upsert)
    }
}

/// Under which ENUM's error value (ordinal 0) can be written, and a row of which something is computed that does not fit; everything else
/// is as in [`crate::target::SESSION`].
pub(crate) const LENIENT: &str =
    "SET sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";
/// Back to the session's own mode.
pub(crate) const STRICT: &str =
    "SET sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";

/// For the next target transaction only; every other one is as in [`crate::target::SESSION`].
const SEARCHING: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

impl Statements {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            sql: Vec::new(),
            expects: Vec::new(),
            open: None,
            lenient: false,
            by_all: false,
            fold: Fold::default(),
            counts: RowCounts::default(),
            begins: false,
            searches: false,
        }
    }

    /// Nothing yet; rows are to be found by all their values.
    fn by_all() -> Self {
        Self {
            by_all: true,
            ..Self::new()
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.sql.len() + self.fold.len()
    }

    /// The first statements of a target transaction, which the first change begins.
    pub(crate) fn begin() -> Self {
        Self {
            begins: true,
            ..Self::new()
        }
    }

    /// Changes so far.
    pub(crate) fn counts(&self) -> RowCounts {
        self.counts
    }

    /// True when there are statements that change rows.
    pub(crate) fn has_rows(&self) -> bool {
        self.counts != RowCounts::default()
    }

    /// Adds a statement of the frame, after everything so far: it must affect `rows`.
    pub(crate) fn frame(&mut self, what: &'static str, rows: Option<u64>, write: impl FnOnce(&mut Vec<u8>)) {
        self.unfold();
        self.push_frame(what, rows, write);
    }

    fn push_frame(&mut self, what: &'static str, rows: Option<u64>, write: impl FnOnce(&mut Vec<u8>)) {
        self.close();
        self.begin_statement();
        write(&mut self.sql);
        self.expects.push(Expect {
            rows,
            table: None,
            what,
            end: self.sql.len(),
            takes: None,
        });
    }

    /// Ends the batch: its text, what each statement must report, and the rows in it.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<Expect>, RowCounts) {
        self.unfold();
        self.close();
        self.set_lenient(false);
        if self.begins && self.searches {
            self.isolate();
        }
        (self.sql, self.expects, self.counts)
    }

    /// Has the target transaction keep the locks of the rows that it looks at: giving each back that is not the right one takes half
    /// as long as the search. Nobody else changes the table meanwhile.
    fn isolate(&mut self) {
        let shift = SEARCHING.len() + 1;
        for expect in &mut self.expects {
            expect.end += shift;
        }
        let first = Expect {
            rows: None,
            table: None,
            what: "SET TRANSACTION",
            end: SEARCHING.len(),
            takes: None,
        };
        self.expects.insert(0, first);
        self.sql.splice(..0, format!("{SEARCHING};").into_bytes());
    }

    /// Adds one row's change. Images hold a value for every column of the table.
    pub(crate) fn change(&mut self, table: &Arc<Table>, change: Change<'_, '_>, mode: Mode) {
        self.counts.count(&change);
        if mode == Mode::Exact && Fold::takes(table, &change) {
            self.fold.add(table, change);
            return;
        }
        if self.fold.holds(table) {
            self.unfold();
        }
        self.plain(table, change, mode);
    }

    /// Adds a change of which the source logged a part of the row only. The row must be what it was before.
    pub(crate) fn change_partial(&mut self, table: &Arc<Table>, change: Change<'_, '_>) {
        self.counts.count(&change);
        if self.fold.holds(table) {
            self.unfold();
        }
        self.plain(table, change, Mode::Exact);
    }

    /// Writes a change as it is, beside no other one of its row.
    fn plain(&mut self, table: &Arc<Table>, change: Change<'_, '_>, mode: Mode) {
        let keyed = table.def.key.is_some();
        match change {
            Change::Insert(after) => {
                let form = if keyed && mode == Mode::Idempotent {
                    Form::Replace
                } else {
                    Form::Insert
                };
                self.row(table, form, after);
            }
            Change::Update(before, after) => {
                if keyed && mode == Mode::Idempotent {
                    if table.key_changed(before, after) {
                        self.row(table, Form::Forget, before);
                    }
                    self.row(table, Form::Replace, after);
                } else {
                    self.update(table, before, after);
                }
            }
            Change::Delete(before) => match (keyed, mode) {
                (true, Mode::Idempotent) => self.row(table, Form::Forget, before),
                (true, Mode::Exact) if !self.by_all => self.row(table, Form::Delete, before),
                _ => self.delete_one(table, before),
            },
        }
    }

    /// Writes the folded rows out; what comes after them stands after them.
    fn unfold(&mut self) {
        std::mem::take(&mut self.fold).write(self);
    }

    /// Adds a row to the open statement of this form, or opens one.
    fn row(&mut self, table: &Arc<Table>, form: Form, image: &Image<'_>) {
        if !form.writes() {
            self.set_lenient(false);
            self.open_row(table, form, None);
            table.write_key(&mut self.sql, image);
            return;
        }
        let columns = table.given(image);
        let implied = columns.as_ref().is_some_and(|given| table.implies(given));
        self.set_lenient(implied || has_error_enum(table, image));
        self.open_row(table, form, columns.as_deref());
        table.write_tuple(&mut self.sql, image, columns.as_ref().unwrap_or(&table.written));
    }

    /// Adds a row, or a key, that is text already.
    fn text_row(&mut self, table: &Arc<Table>, form: Form, text: &[u8]) {
        self.set_lenient(false);
        self.open_row(table, form, None);
        self.sql.extend_from_slice(text);
    }

    /// Makes the open statement one of this form that takes one more row, of these columns (`None`: all).
    fn open_row(&mut self, table: &Arc<Table>, form: Form, columns: Option<&[usize]>) {
        if let Some(open) = &mut self.open
            && open.form == form
            && open.columns.as_deref() == columns
            && open.rows < MAX_ROWS
            && self.sql.len() - open.from < MAX_BYTES
            && Arc::ptr_eq(&open.table, table)
        {
            open.rows += 1;
            let listed = form.writes() || !table.key_list.is_empty();
            self.sql.extend_from_slice(if listed { b"," } else { b" OR " });
            return;
        }
        self.close();
        self.begin_statement();
        let from = self.sql.len();
        match form {
            Form::Insert | Form::Upsert => self.sql.extend_from_slice(b"INSERT INTO "),
            Form::Replace => self.sql.extend_from_slice(b"REPLACE INTO "),
            Form::Delete | Form::Forget => self.sql.extend_from_slice(b"DELETE FROM "),
        }
        if let (true, Some(columns)) = (form.writes(), columns) {
            self.sql.extend_from_slice(table.head_of(columns).as_bytes());
        } else if form.writes() {
            self.sql.extend_from_slice(table.into.as_bytes());
        } else {
            self.sql.extend_from_slice(table.quoted.as_bytes());
            self.sql.extend_from_slice(b" WHERE ");
            if !table.key_list.is_empty() {
                self.sql.extend_from_slice(table.key_list.as_bytes());
                self.sql.extend_from_slice(b" IN");
            }
            self.sql.push(b'(');
        }
        self.open = Some(Open {
            table: Arc::clone(table),
            form,
            columns: columns.map(<[usize]>::to_vec),
            rows: 1,
            from,
        });
    }

    /// Ends the open statement and says what it must report.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (rows, what) = match open.form {
            Form::Insert => (Some(open.rows), "INSERT"),
            // The server counts an updated row twice, and once one that it had to insert.
            Form::Upsert => (Some(2 * open.rows), "UPDATE (each row counts twice)"),
            Form::Replace => (None, "REPLACE"),
            Form::Delete => (Some(open.rows), "DELETE"),
            Form::Forget => (None, "DELETE"),
        };
        match open.form {
            Form::Delete | Form::Forget => self.sql.push(b')'),
            Form::Upsert => {
                self.sql.extend_from_slice(b"ON DUPLICATE KEY UPDATE ");
                self.sql.extend_from_slice(open.table.assign.as_bytes());
            }
            Form::Insert | Form::Replace => {}
        }
        let takes = match open.form {
            Form::Delete => Some(Takes::Condition),
            // A session that is not strict would make NULL something else.
            Form::Upsert if !self.lenient && keep_if(&open.table.def, "").is_some() => {
                Some(Takes::Assignment)
            }
            _ => None,
        };
        self.expects.push(Expect {
            rows,
            table: Some(open.table),
            what,
            end: self.sql.len(),
            takes,
        });
    }

    /// `UPDATE` of one row that must be there. Columns that did not change are left alone.
    fn update(&mut self, table: &Arc<Table>, before: &Image<'_>, after: &Image<'_>) {
        self.set_lenient(has_error_enum(table, after));
        self.close();
        self.unequal_documents(table, before, after);
        self.begin_statement();
        self.sql.extend_from_slice(b"UPDATE ");
        self.sql.extend_from_slice(table.quoted.as_bytes());
        let mut separator: &[u8] = b" SET ";
        let changed = table.written.iter().any(|i| changed(before, after, *i));
        for &i in &table.written {
            let column = &table.def.columns[i];
            // An ON UPDATE column is set whatever happens; so is the first one where nothing changed at all.
            if self::changed(before, after, i) || column.on_update || !changed && separator == b" SET " {
                self.sql.extend_from_slice(separator);
                self.sql.extend_from_slice(quote_name(&column.name).as_bytes());
                self.sql.push(b'=');
                match after.get(i) {
                    Some(Some(value)) => write_stored(&mut self.sql, value, column),
                    _ => self.sql.extend_from_slice(quote_name(&column.name).as_bytes()),
                }
                separator = b",";
            }
        }
        self.condition(table, before);
        self.expects.push(Expect {
            rows: Some(1),
            table: Some(Arc::clone(table)),
            what: "UPDATE",
            end: self.sql.len(),
            takes: None,
        });
    }

    /// `DELETE` of one row that must be there.
    fn delete_one(&mut self, table: &Arc<Table>, before: &Image<'_>) {
        self.close();
        self.begin_statement();
        self.sql.extend_from_slice(b"DELETE FROM ");
        self.sql.extend_from_slice(table.quoted.as_bytes());
        self.condition(table, before);
        self.expects.push(Expect {
            rows: Some(1),
            table: Some(Arc::clone(table)),
            what: "DELETE",
            end: self.sql.len(),
            takes: None,
        });
    }

    /// `WHERE` for exactly one row: by key, else by every column's bytes, and any one of equal rows.
    fn condition(&mut self, table: &Table, image: &Image<'_>) {
        self.sql.extend_from_slice(b" WHERE ");
        let key = table.def.key.as_ref().map(|key| &key.columns);
        let mut separator: &[u8] = b"";
        for &i in key.unwrap_or(&table.written) {
            self.sql.extend_from_slice(separator);
            write_equals(&mut self.sql, value(image, i), &table.def.columns[i]);
            separator = b" AND ";
            if key.is_none() {
                self.exactly(table, image, i);
            }
        }
        match key {
            None => {
                self.searches = true;
                self.sql.extend_from_slice(b" LIMIT ");
                unsigned(&mut self.sql, 1);
            }
            Some(key) if self.by_all => {
                for &i in table.written.iter().filter(|i| single::is_compared(image, **i)) {
                    if !key.contains(&i) {
                        self.sql.extend_from_slice(separator);
                        write_equals(&mut self.sql, value(image, i), &table.def.columns[i]);
                    }
                    self.exactly(table, image, i);
                }
            }
            Some(_) => {}
        }
    }

    fn exactly(&mut self, table: &Table, image: &Image<'_>, at: usize) {
        write_exactly(
            &mut self.sql,
            value(image, at),
            &table.quoted,
            &table.def.columns[at],
        );
    }

    fn set_lenient(&mut self, lenient: bool) {
        if self.lenient != lenient {
            self.lenient = lenient;
            let text = if lenient { LENIENT } else { STRICT };
            self.push_frame("SET", None, |sql| sql.extend_from_slice(text.as_bytes()));
        }
    }

    fn begin_statement(&mut self) {
        if !self.sql.is_empty() {
            self.sql.push(b';');
        }
    }
}

/// The same value bit for bit: 0.0 is not -0.0.
fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

/// Whether the update changed a column. One that its after image lacks it left alone; one that only its before image lacks it may
/// have changed.
pub(crate) fn changed(before: &Image<'_>, after: &Image<'_>, at: usize) -> bool {
    let value = |image: &'_ Image<'_>| image.get(at).is_some_and(Option::is_some);
    value(after) && (!value(before) || !same(self::value(before, at), self::value(after, at)))
}

/// ENUM's error value can't be written by a strict session.
fn has_error_enum(table: &Table, image: &Image<'_>) -> bool {
    table.enums.iter().any(|i| *value(image, *i) == Value::UInt(0))
}

#[cfg(test)]
mod tests;
