//! Changes one by one: each row's change as a statement of its own, with what puts the target right where it has other rows
//! (A8).
//!
//! Many rows in one statement say how many were not as expected, not which. Where a group met that, its changes are written
//! again like this: the row is known then by its key, and each policy has its own answer.

use std::sync::Arc;

use outrigger_protocol::value::Value;

use super::{Change, Expect, Form, Image, Mode, RowCounts, Statements, Table, value};
use crate::error::Place;
use crate::literal::write_literal;

/// Bytes of a value that is compared, where the key has told the row already.
const MAX_COMPARED: usize = 4096;

/// Whether a row that its key has told is asked for this value, too.
pub(super) fn is_compared(image: &Image<'_>, at: usize) -> bool {
    match image.get(at).and_then(Option::as_ref) {
        None => false,
        Some(Value::Bytes(bytes) | Value::Json(bytes) | Value::Decimal(bytes)) => bytes.len() <= MAX_COMPARED,
        Some(Value::TypedJson(document)) => document.text.len() <= MAX_COMPARED,
        Some(_) => true,
    }
}

/// Characters of a key's column in a message at most, and half as many bytes of one that is not text.
const MAX_SHOWN: usize = 64;

/// What a change does beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Plain,
    /// Nothing, and it comes with what writes over other rows.
    Repairable,
    /// Rows of other tables follow it on the target: where its row is not as expected, neither are they.
    Followed,
}

/// One row's change.
#[derive(Debug)]
pub(crate) struct Single {
    /// The table it changes.
    pub(crate) table: Arc<Table>,
    /// The transaction that it is of.
    pub(crate) place: Place,
    /// What changes it.
    pub(crate) text: Text,
    /// The same for a row of that key whatever its other values are; `None` where they are not asked for anyway.
    pub(crate) by_key: Option<Text>,
    /// The row that must be there, by its key.
    pub(crate) before: Option<String>,
    /// The row that must not be there yet, by its key.
    pub(crate) after: Option<String>,
    /// What else it does.
    pub(crate) effect: Effect,
    /// What makes the target's rows those after the change, whatever they are; `None` also where that can't be told from a part of
    /// the row.
    pub(crate) repair: Option<Repair>,
}

/// Statements, `;` between them; the one that changes the row says how many it must find.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) sql: Vec<u8>,
    /// What each of them must report.
    pub(crate) expects: Vec<Expect>,
}

impl Text {
    fn new(statements: Statements) -> Self {
        let (sql, expects, _) = statements.finish();
        Self { sql, expects }
    }

    /// Its bytes with those of what checks it.
    fn checked(&self) -> usize {
        self.sql.len() + 128 * self.expects.len()
    }
}

/// Statements that write over what is there.
#[derive(Debug)]
pub(crate) struct Repair {
    /// Removes the row as it was before the change; empty where there was none.
    pub(crate) remove: Vec<u8>,
    /// Writes the row as it is after the change, in place of all that are in its way; empty where there is none.
    pub(crate) replace: Vec<u8>,
    /// Which of those statements does it.
    pub(crate) replaces_at: usize,
}

impl Single {
    fn new(table: &Arc<Table>, change: Change<'_, '_>, mode: Mode, place: &Place, effect: Effect) -> Self {
        let mut statements = Statements::new();
        match effect {
            Effect::Followed => statements.change_cascading(table, change),
            Effect::Plain | Effect::Repairable => statements.plain(table, change, mode),
        }
        let text = Text::new(statements);
        let exact = effect != Effect::Followed && mode == Mode::Exact && table.def.key.is_some();
        let by_all = match change {
            Change::Update(..) | Change::Delete(_) if exact => {
                let mut statements = Statements::by_all();
                statements.plain(table, change, mode);
                Some(Text::new(statements))
            }
            _ => None,
        };
        let (text, by_key) = match by_all {
            Some(by_all) => (by_all, Some(text)),
            None => (text, None),
        };
        let (before, after) = change.images();
        // What a part of a row leaves out of an update is known to nobody; an insert's has defaults.
        let known = !matches!(change, Change::Update(..)) || table.is_whole(&change);
        Self {
            before: before.map(|image| table.key_shown(image, image)),
            after: after.map(|image| table.key_shown(image, before.unwrap_or(image))),
            repair: (effect == Effect::Repairable && known).then(|| Repair::new(table, before, after)),
            effect,
            table: Arc::clone(table),
            place: place.clone(),
            text,
            by_key,
        }
    }

    fn len(&self) -> usize {
        let repair = |repair: &Repair| repair.remove.len() + repair.replace.len();
        let by_key = self.by_key.as_ref().map_or(0, |text| text.sql.len());
        self.text.sql.len() + by_key + self.repair.as_ref().map_or(0, repair)
    }

    /// The bytes of its longest text, and of what checks it.
    pub(crate) fn longest(&self) -> usize {
        let repair = |repair: &Repair| repair.remove.len() + repair.replace.len() + 1;
        let by_key = self.by_key.as_ref().map_or(0, Text::checked);
        let texts = self.text.checked().max(by_key);
        texts.max(self.repair.as_ref().map_or(0, repair))
    }
}

impl Repair {
    fn new(table: &Arc<Table>, before: Option<&Image<'_>>, after: Option<&Image<'_>>) -> Self {
        let mut remove = Statements::new();
        if let Some(before) = before {
            match table.def.key {
                Some(_) => remove.row(table, Form::Forget, before),
                None => remove.delete_one(table, before),
            }
        }
        let mut replace = Statements::new();
        if let Some(after) = after {
            replace.row(table, Form::Replace, after);
        }
        let (replace, expects, _) = replace.finish();
        Self {
            remove: remove.finish().0,
            replace,
            replaces_at: expects
                .iter()
                .position(|expect| expect.table.is_some())
                .unwrap_or_default(),
        }
    }
}

/// The changes of a batch, one by one.
#[derive(Debug, Default)]
pub(crate) struct Singles {
    pub(crate) list: Vec<Single>,
    counts: RowCounts,
    bytes: usize,
}

impl Singles {
    /// Adds one row's change.
    pub(crate) fn push(
        &mut self,
        table: &Arc<Table>,
        change: Change<'_, '_>,
        mode: Mode,
        place: &Place,
        effect: Effect,
    ) {
        self.counts.count(&change);
        let single = Single::new(table, change, mode, place, effect);
        self.bytes += single.len();
        self.list.push(single);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// True when there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Rows in it.
    pub(crate) fn counts(&self) -> RowCounts {
        self.counts
    }
}

impl<'r, 'a> Change<'r, 'a> {
    /// The row before and after.
    fn images(self) -> (Option<&'r Image<'a>>, Option<&'r Image<'a>>) {
        match self {
            Self::Insert(after) => (None, Some(after)),
            Self::Update(before, after) => (Some(before), Some(after)),
            Self::Delete(before) => (Some(before), None),
        }
    }
}

impl Table {
    /// The row's key with its values, for messages: `id = 5`, `a = 1, b = 'x'`. What `image` lacks of it is as `before`.
    fn key_shown(&self, image: &Image<'_>, before: &Image<'_>) -> String {
        let Some(key) = &self.def.key else {
            return self.key_names();
        };
        let column = |i: &usize| {
            let column = &self.def.columns[*i];
            let told = image.get(*i).is_some_and(Option::is_some);
            let value = match value(if told { image } else { before }, *i) {
                Value::Bytes(bytes) if column.charset.is_some() => {
                    let text: String = String::from_utf8_lossy(bytes)
                        .chars()
                        .take(MAX_SHOWN + 1)
                        .collect();
                    match text.char_indices().nth(MAX_SHOWN) {
                        Some((end, _)) => format!("'{}…'", text[..end].escape_debug()),
                        None => format!("'{}'", text.escape_debug()),
                    }
                }
                Value::Bytes(bytes) => {
                    let shown: String = bytes
                        .iter()
                        .take(MAX_SHOWN / 2)
                        .map(|b| format!("{b:02x}"))
                        .collect();
                    format!("0x{shown}{}", if bytes.len() > MAX_SHOWN / 2 { "…" } else { "" })
                }
                plain => {
                    let mut text = Vec::new();
                    write_literal(&mut text, plain, column);
                    String::from_utf8_lossy(&text).into_owned()
                }
            };
            format!("{} = {value}", column.name)
        };
        let columns: Vec<String> = key.columns.iter().map(column).collect();
        columns.join(", ")
    }
}
