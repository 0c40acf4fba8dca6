//! Row changes as statements: what one round trip carries, and what each statement must have found.
//!
//! Pure text. Consecutive inserts into one table become one INSERT, consecutive deletes by key one DELETE. Every statement
//! that must find rows says how many ([`Expect`]), so that a divergence is seen before the commit (A8).

mod cascading;
mod fold;
mod partial;
mod single;

use std::sync::Arc;

use outrigger_protocol::value::Value;

use self::fold::Fold;
pub(crate) use self::single::{Effect, Single, Singles, Text};
use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::json_kinds;
use crate::literal::{quote_name, quoted, unsigned, write_equals, write_literal, write_stored};

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

/// A table as statements are written for it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its definition on the target.
    pub(crate) def: TableDef,
    /// `` `database`.`table` ``.
    pub(crate) quoted: String,
    /// Columns that are written: all but generated ones.
    written: Vec<usize>,
    /// ENUM columns among them.
    enums: Vec<usize>,
    /// `` `db`.`t`(`a`,`b`)VALUES``.
    into: String,
    /// `` (`k1`,`k2`) `` or `` `k` ``, before an `IN` list; empty where each key is spelled out as a condition.
    key_list: String,
    /// `` `a`=VALUES(`a`),… ``: all written columns but the key's.
    assign: String,
    /// Columns whose values tie different rows together: those of the other unique keys. `None`: any column may.
    ties: Option<Vec<usize>>,
}

impl Table {
    /// Prepares the texts that do not depend on rows.
    pub(crate) fn new(def: TableDef) -> Self {
        let quoted = def.quoted();
        let written: Vec<usize> = (0..def.columns.len())
            .filter(|i| !def.columns[*i].generated)
            .collect();
        let enums = written
            .iter()
            .copied()
            .filter(|i| def.columns[*i].kind == ColumnKind::Enum)
            .collect();
        let names = |list: &[usize]| names(&def, list);
        let into = into(&quoted, &def, &written);
        let key_list = match &def.key {
            Some(key) if key.columns.len() == 1 => names(&key.columns),
            Some(key) if key.columns.iter().all(|i| listable(def.columns[*i].kind)) => {
                format!("({})", names(&key.columns))
            }
            _ => String::new(),
        };
        let in_key = |i: &usize| def.key.as_ref().is_some_and(|key| key.columns.contains(i));
        let assignment = |i: &usize| {
            let name = quote_name(&def.columns[*i].name);
            format!("{name}=VALUES({name})")
        };
        let mut assign: Vec<String> = written.iter().filter(|i| !in_key(i)).map(assignment).collect();
        if !assign.is_empty() {
            assign.extend(kept(&def));
        }
        if !assign.is_empty() && !def.other_unique_keys.is_empty() {
            match guard(&def) {
                Some(guard) => assign.push(guard),
                // Nothing would tell that it found another row.
                None => assign.clear(),
            }
        }
        Self {
            quoted,
            written,
            enums,
            into,
            key_list,
            assign: assign.join(","),
            ties: ties(&def),
            def,
        }
    }

    /// Appends `(a,b,…)`, as it is stored; a key among several columns has none that is compared otherwise.
    fn write_tuple(&self, out: &mut Vec<u8>, image: &Image<'_>, columns: &[usize]) {
        out.push(b'(');
        for (n, i) in columns.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_stored(out, value(image, *i), &self.def.columns[*i]);
        }
        out.push(b')');
    }

    /// Appends one key as a multi-row DELETE names it: an element of its `IN` list, or a condition.
    fn write_key(&self, out: &mut Vec<u8>, image: &Image<'_>) {
        let Some(key) = &self.def.key else { return };
        if let [one] = key.columns.as_slice() {
            write_literal(out, value(image, *one), &self.def.columns[*one]);
        } else if !self.key_list.is_empty() {
            self.write_tuple(out, image, &key.columns);
        } else {
            out.push(b'(');
            for (n, i) in key.columns.iter().enumerate() {
                if n > 0 {
                    out.extend_from_slice(b" AND ");
                }
                write_equals(out, value(image, *i), &self.def.columns[*i]);
            }
            out.push(b')');
        }
    }

    /// The key's columns, for messages.
    pub(crate) fn key_names(&self) -> String {
        match &self.def.key {
            Some(key) => key
                .columns
                .iter()
                .map(|i| self.def.columns[*i].name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            None => "none, the whole row".to_owned(),
        }
    }

    fn key_changed(&self, before: &Image<'_>, after: &Image<'_>) -> bool {
        self.def.key.as_ref().is_some_and(|key| {
            key.columns
                .iter()
                .any(|i| !same(value(before, *i), value(after, *i)))
        })
    }
}

fn names(def: &TableDef, list: &[usize]) -> String {
    let names: Vec<String> = list.iter().map(|i| quote_name(&def.columns[*i].name)).collect();
    names.join(",")
}

fn into(quoted: &str, def: &TableDef, columns: &[usize]) -> String {
    format!("{quoted}({})VALUES", names(def, columns))
}

/// Key columns that the server would set although the key did not change: `` `k`=`k` ``.
fn kept(def: &TableDef) -> impl Iterator<Item = String> {
    let columns = def.key.iter().flat_map(|key| &key.columns);
    columns.filter(|i| def.columns[**i].on_update).map(|i| {
        let name = quote_name(&def.columns[*i].name);
        format!("{name}={name}")
    })
}

/// An upsert finds its row by whichever unique key it meets first. If that is not the row of its key, the key becomes NULL, which
/// is an error: `` `k`=IF(`k`=VALUES(`k`),`k`,NULL) ``.
fn guard(def: &TableDef) -> Option<String> {
    let key = def.key.as_ref()?;
    let names: Vec<String> = key
        .columns
        .iter()
        .map(|i| quote_name(&def.columns[*i].name))
        .collect();
    let same: Vec<String> = names
        .iter()
        .map(|name| format!("{name}=VALUES({name})"))
        .collect();
    let set = set_key(def)?;
    Some(format!("{set}=IF({},{set},NULL)", same.join(" AND ")))
}

/// A column of the key that a statement can set: a generated one can't be.
fn set_key(def: &TableDef) -> Option<String> {
    let columns = { &def.key.as_ref()?.columns }.iter().map(|i| &def.columns[*i]);
    { columns }
        .filter(|column| !column.generated)
        .map(|column| quote_name(&column.name))
        .next()
}

fn ties(def: &TableDef) -> Option<Vec<usize>> {
    let mut columns = Vec::new();
    for column in def.other_unique_keys.iter().flat_map(|key| &key.columns) {
        // An expression or a generated column follows columns that are not named here.
        columns.push(column.filter(|i| !def.columns[*i].generated)?);
    }
    Some(columns)
}

/// True where a column of several in a key may be compared with its literal inside `(a,b) IN ((…),(…))`. There the server
/// compares by the literal's type: a DATETIME(3) with `'2020-01-01 00:00:00'` as text, which are not equal.
fn listable(kind: ColumnKind) -> bool {
    use ColumnKind as K;
    matches!(
        kind,
        K::TinyInt
            | K::SmallInt
            | K::MediumInt
            | K::Int
            | K::BigInt
            | K::Decimal
            | K::Char
            | K::VarChar
            | K::Binary { .. }
            | K::VarBinary
    )
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
    takes: Option<Takes>,
}

/// Where a statement that must find rows has room for one more condition, at its end. One that does not hold has it find none, or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
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
                let key = set_key(&table.def).unwrap_or_default();
                format!(",{key}=IF(ROW_COUNT()={rows},{key},NULL)")
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

/// Under which ENUM's error value (ordinal 0) can be written; everything else is as in [`crate::target::SESSION`].
const LENIENT: &str = "SET sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";
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
            Form::Upsert if !self.lenient && set_key(&open.table.def).is_some() => Some(Takes::Assignment),
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

/// Appends what an equal value must have in common besides to be the same one: the bytes of text that a collation takes for
/// equal, the zero's sign, and the text of a JSON document and the types of its parts, where 1 equals 1.0 and a decimal a double.
fn write_exactly(out: &mut Vec<u8>, value: &Value<'_>, table: &str, column: &ColumnDef) {
    let name = quote_name(&column.name);
    match value {
        Value::Bytes(bytes) if column.charset.is_some() => {
            out.extend_from_slice(b" AND CAST(");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" AS BINARY)=_binary");
            quoted(out, bytes);
        }
        Value::Json(_) | Value::TypedJson(_) => {
            out.extend_from_slice(b" AND ");
            write_same_document(out, value, table, column);
        }
        Value::Float(_) | Value::Double(_) => {
            let (zero, negative) = match value {
                Value::Float(v) => (*v == 0.0, v.is_sign_negative()),
                Value::Double(v) => (*v == 0.0, v.is_sign_negative()),
                _ => (false, false),
            };
            if zero {
                out.extend_from_slice(b" AND LEFT(");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(if negative { b",1)='-'" } else { b",1)<>'-'" });
            }
        }
        _ => {}
    }
}

/// Appends a condition that holds for documents of the same text, whose parts have the same types.
fn write_same_document(out: &mut Vec<u8>, value: &Value<'_>, table: &str, column: &ColumnDef) {
    // Of what the document is stored as: some parts become others on the way.
    let document = format!("{table}.{}", quote_name(&column.name));
    let bytes = |document: &str| format!("CAST(CAST({document} AS CHAR) AS BINARY)");
    let (ours, theirs) = (
        json_kinds::expression("wanted.j"),
        json_kinds::expression(&document),
    );
    let same = format!(
        "(SELECT {}={} AND {ours}={theirs} FROM (SELECT CAST(",
        bytes("wanted.j"),
        bytes(&document)
    );
    out.extend_from_slice(same.as_bytes());
    write_literal(out, value, column);
    out.extend_from_slice(b" AS JSON)j)wanted)");
}

/// ENUM's error value can't be written by a strict session.
fn has_error_enum(table: &Table, image: &Image<'_>) -> bool {
    table.enums.iter().any(|i| *value(image, *i) == Value::UInt(0))
}

#[cfg(test)]
mod tests;
