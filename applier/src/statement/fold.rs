//! The net effect of a group's changes on each row, for tables with a key.
//!
//! A group is one target transaction, so only what it leaves behind counts: ten updates of a row are one, an insert and
//! its delete are nothing, a delete and an insert of one key are an update. What is left of a table are at most three kinds
//! of statements over many rows. Nothing is given up for it: each still says how many rows it must find, and the
//! first change of a row says whether the row must be there.
//!
//! Rows may be tied together by further unique keys (one gives a value up, another takes it). A row whose unique values
//! changed is deleted and inserted; all deletes come first, and what an update leaves alone nobody else can take.
//!
//! One trace of a row that is nothing stays: the server has given its number out. Where it is the highest of a table's AUTO_INCREMENT the
//! row is inserted and deleted.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use outrigger_protocol::value::Value;

use super::{Change, Form, Image, Statements, Table};
use crate::literal::typed_json_size;

/// Rows whose text is longer are not folded: an UPDATE names only what changed.
const MAX_ROW: usize = 2048;

/// The changes of a group so far, by table and key.
#[derive(Debug, Default)]
pub(super) struct Fold {
    tables: Vec<Rows>,
    bytes: usize,
}

#[derive(Debug)]
struct Rows {
    table: Arc<Table>,
    /// From the key's text to its slot.
    index: HashMap<Box<[u8]>, usize>,
    slots: Vec<Slot>,
    /// The row with the highest number that was given out.
    highest: Option<Highest>,
}

#[derive(Debug)]
struct Highest {
    number: i128,
    slot: usize,
    /// Its text, once it is deleted.
    gone: Option<Box<[u8]>>,
}

/// One key's row.
#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    /// The row as it was before the group; `None`: there must have been none.
    origin: Option<Hashes>,
    /// The row as it is now; `None`: deleted.
    now: Option<(Hashes, Box<[u8]>)>,
}

/// A row's hashes. Two rows with the same ones only cost a rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hashes {
    /// Of all of it.
    row: u64,
    /// Of what ties it to other rows.
    ties: u64,
}

impl Fold {
    /// Bytes that the folded rows take, about.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// True when the table has folded rows.
    pub(super) fn holds(&self, table: &Arc<Table>) -> bool {
        self.tables.iter().any(|rows| rows.table.quoted == table.quoted)
    }

    /// True when the change can be folded; then it is to be given to [`Fold::add`].
    pub(super) fn takes(table: &Table, change: &Change<'_, '_>) -> bool {
        let small = |image: &Image<'_>| image.iter().flatten().map(size).sum::<usize>() <= MAX_ROW;
        table.def.key.is_some()
            && match change {
                Change::Insert(after) | Change::Update(_, after) => {
                    small(after) && !super::has_error_enum(table, after)
                }
                Change::Delete(_) => true,
            }
    }

    /// Adds a change.
    pub(super) fn add(&mut self, table: &Arc<Table>, change: Change<'_, '_>) {
        let at = match self
            .tables
            .iter()
            .position(|rows| Arc::ptr_eq(&rows.table, table))
        {
            Some(at) => at,
            None => {
                self.tables.push(Rows {
                    table: Arc::clone(table),
                    index: HashMap::new(),
                    slots: Vec::new(),
                    highest: None,
                });
                self.tables.len() - 1
            }
        };
        let rows = &mut self.tables[at];
        self.bytes += match change {
            Change::Insert(after) => rows.put(None, after),
            Change::Update(before, after) if table.key_changed(before, after) => {
                rows.remove(before) + rows.put(None, after)
            }
            Change::Update(before, after) => rows.put(Some(before), after),
            Change::Delete(before) => rows.remove(before),
        };
    }

    /// Writes what is left of the changes. Deletes come first: a key may come back in another spelling.
    pub(super) fn write(self, out: &mut Statements) {
        for Rows {
            table,
            slots,
            highest,
            ..
        } in self.tables
        {
            let outcome = |slot: &Slot| slot.outcome(&table);
            for slot in slots
                .iter()
                .filter(|s| matches!(outcome(s), Outcome::Delete | Outcome::Rewrite))
            {
                out.text_row(&table, Form::Delete, &slot.key);
            }
            let given_out = highest.and_then(|highest| slots.get(highest.slot).zip(highest.gone));
            if let Some((slot, text)) = given_out.filter(|(slot, _)| outcome(slot) == Outcome::Nothing) {
                out.text_row(&table, Form::Insert, &text);
                out.text_row(&table, Form::Delete, &slot.key);
            }
            for (wanted, form) in [
                (Outcome::Update, Form::Upsert),
                (Outcome::Insert, Form::Insert),
                (Outcome::Rewrite, Form::Insert),
            ] {
                for slot in slots.iter().filter(|s| outcome(s) == wanted) {
                    if let Some((_, text)) = &slot.now {
                        out.text_row(&table, form, text);
                    }
                }
            }
        }
    }
}

/// What is to be done with a slot's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Nothing,
    Insert,
    Update,
    Delete,
    /// Deleted and inserted: it may have come back to what it was, where an update could not tell a row that is there
    /// from one that is missing.
    Rewrite,
}

impl Slot {
    fn outcome(&self, table: &Table) -> Outcome {
        match (self.origin, &self.now) {
            (None, None) => Outcome::Nothing,
            (None, Some(_)) => Outcome::Insert,
            (Some(_), None) => Outcome::Delete,
            (Some(origin), Some((now, _)))
                if origin.row == now.row || origin.ties != now.ties || table.assign.is_empty() =>
            {
                Outcome::Rewrite
            }
            (Some(_), Some(_)) => Outcome::Update,
        }
    }
}

impl Rows {
    /// The row is `after` now; `before` is what it was, `None` if it is new. Returns the bytes it takes.
    fn put(&mut self, before: Option<&Image<'_>>, after: &Image<'_>) -> usize {
        let mut text = Vec::new();
        self.table.write_tuple(&mut text, after, &self.table.written);
        let bytes = text.len();
        let now = Some((hashes(&self.table, after), text.into_boxed_slice()));
        let key = key(&self.table, after);
        let slot = match self.index.get(&key) {
            Some(at) => {
                self.slots[*at].now = now;
                *at
            }
            None => self.push(key, before.map(|row| hashes(&self.table, row)), now),
        };
        if let Some(number) = self.table.counter.and_then(|at| number(after.get(at)?.as_ref()?))
            && self
                .highest
                .as_ref()
                .is_none_or(|highest| highest.number <= number)
        {
            let gone = None;
            self.highest = Some(Highest { number, slot, gone });
        }
        bytes
    }

    /// The row `before` is deleted now. Returns the bytes it takes.
    fn remove(&mut self, before: &Image<'_>) -> usize {
        let key = key(&self.table, before);
        let bytes = key.len();
        match self.index.get(&key) {
            Some(at) => {
                let gone = self.slots[*at].now.take();
                if let Some(highest) = self.highest.as_mut().filter(|highest| highest.slot == *at) {
                    highest.gone = gone.map(|(_, text)| text);
                }
            }
            None => {
                self.push(key, Some(hashes(&self.table, before)), None);
            }
        }
        bytes
    }

    fn push(&mut self, key: Box<[u8]>, origin: Option<Hashes>, now: Option<(Hashes, Box<[u8]>)>) -> usize {
        let at = self.slots.len();
        self.index.insert(key.clone(), at);
        self.slots.push(Slot { key, origin, now });
        at
    }
}

/// The key as a multi-row DELETE names it.
fn key(table: &Table, image: &Image<'_>) -> Box<[u8]> {
    let mut text = Vec::new();
    table.write_key(&mut text, image);
    text.into_boxed_slice()
}

fn hashes(table: &Table, image: &Image<'_>) -> Hashes {
    let row = hash(image.iter());
    let ties = match &table.ties {
        Some(columns) => hash(columns.iter().filter_map(|i| image.get(*i))),
        None => row,
    };
    Hashes { row, ties }
}

fn hash<'r, 'a: 'r>(values: impl Iterator<Item = &'r Option<Value<'a>>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in values {
        match value.as_ref().unwrap_or(&Value::Null) {
            Value::Null => 0u8.hash(&mut hasher),
            Value::Int(v) => v.hash(&mut hasher),
            Value::UInt(v) => v.hash(&mut hasher),
            Value::Float(v) => v.to_bits().hash(&mut hasher),
            Value::Double(v) => v.to_bits().hash(&mut hasher),
            Value::Decimal(v) | Value::Bytes(v) | Value::Json(v) => v.hash(&mut hasher),
            Value::TypedJson(v) => v.hash(&mut hasher),
            Value::Date(v) => v.hash(&mut hasher),
            Value::Time(v) => v.hash(&mut hasher),
            Value::DateTime(date, time) => (date, time).hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn number(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::UInt(number) => Some(i128::from(*number)),
        _ => None,
    }
}

fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Decimal(v) | Value::Bytes(v) | Value::Json(v) => v.len() + 4,
        Value::TypedJson(document) => typed_json_size(document),
        _ => 8,
    }
}
