//! Unique values as numbers: what a row's change touches in each unique index of its table.
//!
//! The server decides by collation which texts are equal. Where that can be told for certain without it (bytes, numbers,
//! printable ASCII in the common collations) a value gets a number of its own; elsewhere it stands for its whole index.

use std::hash::{DefaultHasher, Hash, Hasher};

use outrigger_protocol::value::Value;

use super::Footprint;
use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::statement::{Change, Image};

/// Collations that take two printable ASCII texts for equal when they differ by the case of letters and by spaces at the end at
/// most. Others have contractions (`ch`), or letters that are one (`v` and `w`).
const PLAIN: [&str; 16] = [
    "utf8mb4_0900_ai_ci",
    "utf8mb4_0900_as_ci",
    "utf8mb4_0900_as_cs",
    "utf8mb4_general_ci",
    "utf8mb4_unicode_ci",
    "utf8mb4_unicode_520_ci",
    "utf8mb3_general_ci",
    "utf8mb3_unicode_ci",
    "utf8mb3_unicode_520_ci",
    "utf8_general_ci",
    "utf8_unicode_ci",
    "utf8_unicode_520_ci",
    "latin1_swedish_ci",
    "latin1_general_ci",
    "latin1_general_cs",
    "ascii_general_ci",
];

/// Collations by bytes, of character sets in which a space is one byte.
const BYTES: [&str; 7] = [
    "utf8mb4_bin",
    "utf8mb4_0900_bin",
    "utf8mb3_bin",
    "utf8_bin",
    "latin1_bin",
    "ascii_bin",
    "binary",
];

/// A table's unique indexes.
#[derive(Debug)]
pub(in crate::replay) struct Identity {
    indexes: Vec<Index>,
}

#[derive(Debug)]
struct Index {
    id: u64,
    /// `None`: nothing can be told of its values.
    columns: Option<Vec<Part>>,
}

/// A column of an index.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: usize,
    equality: Equality,
    /// It follows other columns.
    generated: bool,
    /// A new row has NULL there unless it is told otherwise.
    null_by_default: bool,
}

/// How two values of a column compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equality {
    /// As they are.
    Exact,
    /// As bytes, spaces at the end aside.
    Bytes,
    /// As printable ASCII without case; anything else can't be told.
    Plain,
    /// Can't be told.
    Unknown,
}

impl Equality {
    fn of(column: &ColumnDef) -> Self {
        use ColumnKind as K;
        match column.kind {
            K::Char | K::VarChar | K::Text => match column.collation.as_deref() {
                Some(name) if BYTES.contains(&name) => Self::Bytes,
                Some(name) if PLAIN.contains(&name) => Self::Plain,
                _ => Self::Unknown,
            },
            K::Json | K::Geometry | K::Vector => Self::Unknown,
            _ => Self::Exact,
        }
    }
}

impl Identity {
    /// Reads the table's unique indexes.
    pub(in crate::replay) fn new(def: &TableDef) -> Self {
        let part = |at: usize| {
            let column = &def.columns[at];
            Part {
                at,
                equality: Equality::of(column),
                generated: column.generated,
                null_by_default: column.nullable && !column.has_default && !column.generated,
            }
        };
        let known = |columns: Vec<Part>| {
            let told = columns.iter().all(|part| part.equality != Equality::Unknown);
            told.then_some(columns)
        };
        let key = match &def.key {
            Some(key) if !key.prefixed => known(key.columns.iter().copied().map(part).collect()),
            // Rows without a key, and keys over the beginning of a text.
            _ => None,
        };
        let others = def.other_unique_keys.iter().map(|key| {
            let columns: Option<Vec<usize>> = key.columns.iter().copied().collect();
            columns.and_then(|columns| known(columns.into_iter().map(part).collect()))
        });
        let index = |(nth, columns): (usize, Option<Vec<Part>>)| {
            let mut hasher = DefaultHasher::new();
            (&def.database, &def.table, nth).hash(&mut hasher);
            Index {
                id: hasher.finish(),
                columns,
            }
        };
        Self {
            indexes: std::iter::once(key)
                .chain(others)
                .enumerate()
                .map(index)
                .collect(),
        }
    }

    /// Adds the unique values of a row as it was or is.
    pub(in crate::replay) fn add(&self, footprint: &mut Footprint, row: &Image<'_>) {
        for index in &self.indexes {
            let Some(columns) = &index.columns else {
                footprint.vague(index.id);
                continue;
            };
            // A generated column may be left out of the event.
            index.add(footprint, columns, |part| has(row, part.at));
        }
    }

    /// Adds the unique values of a row that changed, as far as its images tell them: what an update's after image lacks did not
    /// change.
    pub(in crate::replay) fn add_partial(&self, footprint: &mut Footprint, change: &Change<'_, '_>) {
        for index in &self.indexes {
            let Some(columns) = &index.columns else {
                footprint.vague(index.id);
                continue;
            };
            match change {
                Change::Insert(row) => index.add(footprint, columns, |part| {
                    has(row, part.at).or(part.null_by_default.then_some(&Value::Null))
                }),
                Change::Delete(row) => index.add(footprint, columns, |part| has(row, part.at)),
                Change::Update(before, after) => {
                    let told = columns.iter().all(|part| has(before, part.at).is_some());
                    let kept = columns
                        .iter()
                        .all(|part| !part.generated && has(after, part.at).is_none());
                    // Whoever wants that row, or the value it keeps, has the row's key or the value in common with it.
                    if kept && !told {
                        continue;
                    }
                    index.add(footprint, columns, |part| has(before, part.at));
                    index.add(footprint, columns, |part| {
                        has(after, part.at).or_else(|| has(before, part.at).filter(|_| !part.generated))
                    });
                }
            }
        }
    }
}

impl Index {
    /// Adds the value that `value` tells column by column; `None`: not known.
    fn add<'r, 'a: 'r>(
        &self,
        footprint: &mut Footprint,
        columns: &[Part],
        value: impl Fn(&Part) -> Option<&'r Value<'a>>,
    ) {
        let mut hasher = DefaultHasher::new();
        self.id.hash(&mut hasher);
        let mut outcome = Told::Value;
        for part in columns {
            let told = value(part).map_or(Told::Nothing, |value| tell(value, part.equality, &mut hasher));
            outcome = outcome.and(told);
        }
        match outcome {
            Told::Value => footprint.value(self.id, hasher.finish()),
            // A unique index holds any number of NULLs.
            Told::Null => {}
            Told::Nothing => footprint.vague(self.id),
        }
    }
}

fn has<'r, 'a>(row: &'r Image<'a>, at: usize) -> Option<&'r Value<'a>> {
    row.get(at).and_then(Option::as_ref)
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Value,
    Null,
    Nothing,
}

impl Told {
    /// Of several columns together: one NULL is enough for the index to let it pass.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => Self::Null,
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Value, Self::Value) => Self::Value,
        }
    }
}

fn tell(value: &Value<'_>, equality: Equality, hasher: &mut DefaultHasher) -> Told {
    match value {
        Value::Null => return Told::Null,
        Value::Int(v) => v.hash(hasher),
        Value::UInt(v) => v.hash(hasher),
        // 0.0 equals -0.0.
        Value::Float(v) => (if *v == 0.0 { 0 } else { v.to_bits() }).hash(hasher),
        Value::Double(v) => (if *v == 0.0 { 0 } else { v.to_bits() }).hash(hasher),
        Value::Decimal(v) => v.hash(hasher),
        Value::Date(v) => v.hash(hasher),
        Value::Time(v) => v.hash(hasher),
        Value::DateTime(date, time) => (date, time).hash(hasher),
        Value::Json(_) | Value::TypedJson(_) => return Told::Nothing,
        Value::Bytes(bytes) => match equality {
            Equality::Exact => bytes.hash(hasher),
            Equality::Bytes => trim(bytes).hash(hasher),
            Equality::Plain if bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e)) => {
                trim(bytes)
                    .iter()
                    .for_each(|byte| byte.to_ascii_lowercase().hash(hasher));
                0xff_u8.hash(hasher);
            }
            Equality::Plain | Equality::Unknown => return Told::Nothing,
        },
    }
    Told::Value
}

/// Without spaces at the end: some collations take them for nothing.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [head @ .., b' '] = bytes {
        bytes = head;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::definition::tests::plain;
    use outrigger_protocol::definition::{KeyDef, UniqueKey};

    fn table(collation: &str) -> TableDef {
        let mut text = plain("t", ColumnKind::VarChar);
        text.collation = Some(collation.to_owned());
        TableDef {
            database: "d".into(),
            table: "t".into(),
            columns: vec![plain("id", ColumnKind::Int), text],
            key: Some(KeyDef {
                name: "PRIMARY".into(),
                columns: vec![0],
                prefixed: false,
            }),
            other_unique_keys: vec![UniqueKey {
                name: "u".into(),
                columns: vec![Some(1)],
            }],
        }
    }

    fn footprint(def: &TableDef, id: i64, text: Option<&str>) -> Footprint {
        let text = text.map_or(Value::Null, |text| Value::Bytes(Cow::Borrowed(text.as_bytes())));
        let mut footprint = Footprint::default();
        Identity::new(def).add(&mut footprint, &[Some(Value::Int(id)), Some(text)]);
        footprint
    }

    #[test]
    fn equal_texts_of_a_collation_are_one_value() {
        let ci = table("utf8mb4_0900_ai_ci");
        assert_eq!(footprint(&ci, 1, Some("Ab")), footprint(&ci, 1, Some("aB ")));
        assert_ne!(footprint(&ci, 1, Some("a")), footprint(&ci, 1, Some("b")));
        assert_ne!(footprint(&ci, 1, Some("a")), footprint(&ci, 2, Some("a")));
        let bin = table("utf8mb4_bin");
        assert_ne!(footprint(&bin, 1, Some("Ab")), footprint(&bin, 1, Some("ab")));
        assert_eq!(footprint(&bin, 1, Some("é")), footprint(&bin, 1, Some("é ")));
    }

    /// The footprint of a change by parts of rows: a column that is `None` was not logged.
    fn partial(
        def: &TableDef,
        before: (Option<i64>, Option<&str>),
        after: (Option<i64>, Option<&str>),
    ) -> Footprint {
        let row = |(id, text): (Option<i64>, Option<&str>)| {
            let text = text.map(|text| Value::Bytes(Cow::Owned(text.as_bytes().to_vec())));
            [id.map(Value::Int), text]
        };
        let (before, after) = (row(before), row(after));
        let mut footprint = Footprint::default();
        Identity::new(def).add_partial(&mut footprint, &Change::Update(&before, &after));
        footprint
    }

    #[test]
    fn a_part_of_a_row_touches_what_it_changed() {
        let def = table("utf8mb4_bin");
        let whole = footprint(&def, 1, Some("a"));
        // Nothing unique changed: the row is known by its key.
        let key = partial(&def, (Some(1), None), (None, None));
        assert!(key.vague.is_empty() && whole.values.contains(&key.values[0]));
        // The text that it gives up is not known, so it stands for all texts.
        let taken = partial(&def, (Some(1), None), (None, Some("b")));
        assert_eq!(taken.vague.len(), 1);
        assert!(
            taken
                .indexes
                .iter()
                .chain(&taken.vague)
                .all(|index| whole.indexes.contains(index))
        );
        let moved = partial(&def, (Some(1), None), (Some(2), None));
        assert!(moved.vague.is_empty());
        assert!(
            footprint(&def, 2, None)
                .values
                .iter()
                .all(|key| moved.values.contains(key))
        );
        // Found by the text alone, the row has that in common with whoever knows it by its key.
        let by_text = partial(&def, (None, Some("a")), (None, None));
        assert!(by_text.values.iter().all(|value| whole.values.contains(value)) && by_text.vague.is_empty());
        assert_eq!(partial(&def, (None, Some("a")), (Some(2), None)).vague.len(), 1);
        let inserted = |def: &TableDef| {
            let mut footprint = Footprint::default();
            Identity::new(def).add_partial(&mut footprint, &Change::Insert(&[Some(Value::Int(1)), None]));
            footprint.vague.len()
        };
        assert_eq!(inserted(&def), 0, "its default is NULL");
        let mut with_default = def.clone();
        with_default.columns[1].has_default = true;
        assert_eq!(inserted(&with_default), 1);
        let mut footprint = Footprint::default();
        Identity::new(&def).add_partial(&mut footprint, &Change::Delete(&[Some(Value::Int(1)), None]));
        assert_eq!(footprint.vague.len(), 1);
    }

    #[test]
    fn what_cannot_be_told_stands_for_its_index() {
        let ci = table("utf8mb4_0900_ai_ci");
        // One of them equals `e`, the other one nothing at all.
        for text in ["é", "\u{1}"] {
            assert_eq!(footprint(&ci, 1, Some(text)).vague.len(), 1, "{text:?}");
        }
        assert_eq!(
            footprint(&table("utf8mb4_es_trad_0900_ai_ci"), 1, Some("ch"))
                .vague
                .len(),
            1
        );
        assert!(footprint(&ci, 1, None).vague.is_empty() && footprint(&ci, 1, None).values.len() == 1);
        let mut keyless = ci;
        keyless.key = None;
        assert_eq!(footprint(&keyless, 1, None).vague.len(), 1);
    }
}
