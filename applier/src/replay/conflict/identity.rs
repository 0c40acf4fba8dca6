//! Unique values as numbers: what a row's change touches in each unique index of its table.
//!
//! The server decides by collation which texts are equal. Where that can be told for certain without it (bytes, numbers,
//! printable ASCII in the common collations) a value gets a number of its own; elsewhere it stands for its whole index.

use std::hash::{DefaultHasher, Hash, Hasher};

use outrigger_protocol::value::Value;

use super::Footprint;
use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::statement::Image;

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
    columns: Option<Vec<(usize, Equality)>>,
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
        let equality = |at: usize| (at, Equality::of(&def.columns[at]));
        let known = |columns: Vec<(usize, Equality)>| {
            let told = columns.iter().all(|(_, equality)| *equality != Equality::Unknown);
            told.then_some(columns)
        };
        let key = match &def.key {
            Some(key) if !key.prefixed => known(key.columns.iter().copied().map(equality).collect()),
            // Rows without a key, and keys over the beginning of a text.
            _ => None,
        };
        let others = def.other_unique_keys.iter().map(|key| {
            let columns: Option<Vec<usize>> = key.columns.iter().copied().collect();
            columns.and_then(|columns| known(columns.into_iter().map(equality).collect()))
        });
        let index = |(nth, columns): (usize, Option<Vec<(usize, Equality)>>)| {
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
            let mut hasher = DefaultHasher::new();
            index.id.hash(&mut hasher);
            let mut outcome = Told::Value;
            for (at, equality) in columns {
                outcome = outcome.and(
                    // A generated column may be left out of the event.
                    row.get(*at)
                        .and_then(Option::as_ref)
                        .map_or(Told::Nothing, |value| tell(value, *equality, &mut hasher)),
                );
            }
            match outcome {
                Told::Value => footprint.value(index.id, hasher.finish()),
                // A unique index holds any number of NULLs.
                Told::Null => {}
                Told::Nothing => footprint.vague(index.id),
            }
        }
    }
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
