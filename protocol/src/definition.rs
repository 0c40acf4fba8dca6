//! A table's definition as a server has it: what is needed to read its rows, to name their columns and to write them elsewhere.
//!
//! One type serves all who ask: the copy reads it from the source, replay from the target, capture from the source at each
//! change of it, and the log keeps those (A4). Asking is the caller's business: [`TableDef::questions`] are the statements,
//! and [`TableDef::from_answers`] takes their answers as text.

mod several;

use serde::{Deserialize, Serialize};

pub use self::several::Several;
use crate::sql::quote_name;

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDef {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// All columns that rows events carry, in order, generated and invisible ones included.
    pub columns: Vec<ColumnDef>,
    /// What identifies a row: the primary key, else a unique key without nullable columns.
    pub key: Option<KeyDef>,
    /// The unique keys besides `key`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_unique_keys: Vec<UniqueKey>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDef {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// The declared type as the server prints it (`varchar(20)`, `int unsigned`, `enum('a','b')`).
    pub declared: String,
    /// True for an unsigned number.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unsigned: bool,
    /// The character set of CHAR, VARCHAR and TEXT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// The collation of those and of ENUM and SET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// True when NULL is allowed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nullable: bool,
    /// True for VIRTUAL and STORED columns: the server computes them, nobody writes them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub generated: bool,
    /// True for `ON UPDATE CURRENT_TIMESTAMP`: an UPDATE that leaves the column out would change it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_update: bool,
    /// True for AUTO_INCREMENT: the server makes a number of what is NULL, or 0.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto_increment: bool,
    /// True when a default other than NULL is declared.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_default: bool,
    /// True when `SELECT *` leaves it out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub invisible: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The types, as far as statements and events tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "most are MySQL's own words")]
pub enum ColumnKind {
    TinyInt,
    SmallInt,
    MediumInt,
    Int,
    BigInt,
    Decimal,
    Float,
    Double,
    Bit,
    Year,
    Date,
    Time,
    DateTime,
    Timestamp,
    /// CHAR.
    Char,
    /// VARCHAR.
    VarChar,
    /// TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT.
    Text,
    /// BINARY(n).
    Binary {
        /// The declared length: shorter values are padded with zero bytes.
        length: u16,
    },
    /// VARBINARY.
    VarBinary,
    /// TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB.
    Blob,
    Enum,
    Set,
    Json,
    Geometry,
    Vector,
}

/// A unique key over columns that are never NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDef {
    /// Its name, `PRIMARY` for the primary key.
    pub name: String,
    /// Indexes into [`TableDef::columns`], in the key's order.
    pub columns: Vec<usize>,
    /// True when it holds only the beginning of some column, so that rows with different values may be one to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefixed: bool,
}

/// A unique key, whatever it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKey {
    /// Its name.
    pub name: String,
    /// Indexes into [`TableDef::columns`], in the key's order; `None` stands for an expression, or for the beginning of a
    /// column.
    pub columns: Vec<Option<usize>>,
}

/// One row of an answer: its columns as text, `None` for NULL.
pub type AnswerRow = Vec<Option<String>>;

impl TableDef {
    /// `` `database`.`table` ``.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.database), quote_name(&self.table))
    }

    /// The statements whose answers make definitions, in this order, once the rows are [sorted](Several::sort). Right under any
    /// `sql_mode` that takes a backslash for an escape; the answers are text in the session's character set, which must be utf8mb4.
    pub fn questions(tables: Several<'_>) -> [String; 2] {
        let number = tables.number("table_name");
        let condition = tables.condition("table_schema", "table_name");
        [
            format!(
                "SELECT {number}, CAST(column_name AS CHAR), CAST(data_type AS CHAR), CAST(column_type AS CHAR), \
                 CAST(character_set_name AS CHAR), CAST(collation_name AS CHAR), CAST(character_maximum_length AS CHAR), \
                 CAST(is_nullable AS CHAR), CAST(extra AS CHAR), column_default IS NOT NULL \
                 FROM information_schema.columns WHERE {condition} ORDER BY ordinal_position"
            ),
            format!(
                "SELECT {number}, CAST(index_name AS CHAR), CAST(column_name AS CHAR), CAST(nullable AS CHAR), \
                 sub_part IS NOT NULL FROM information_schema.statistics WHERE {condition} AND non_unique = 0 \
                 ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index"
            ),
        ]
    }

    /// The definition that a table's rows of the answers to [`questions`](Self::questions) tell; `None` when there is no such table.
    ///
    /// # Errors
    /// What is not understood, as the rest of a sentence.
    pub fn from_answers(
        database: &str,
        table: &str,
        columns: &[AnswerRow],
        keys: &[AnswerRow],
    ) -> Result<Option<Self>, String> {
        if columns.is_empty() {
            return Ok(None);
        }
        let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let parts = keys
            .iter()
            .map(|row| match row.as_slice() {
                [Some(index), column, nullable, prefix] => Ok(KeyPart {
                    index,
                    column: column.as_deref(),
                    nullable: nullable.as_deref() == Some("YES"),
                    prefix: prefix.as_deref() == Some("1"),
                }),
                _ => Err(SHAPE.to_owned()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (key, other_unique_keys) = choose_key(&columns, &parts);
        Ok(Some(Self {
            database: database.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            other_unique_keys,
        }))
    }

    /// Why rows of this table on the source can't be replayed into `theirs` on the target; `None` when they can.
    ///
    /// Rows events name columns by their places, and values are written in the column's own type and character set: so
    /// these must be the same, and the key too, by which rows are found.
    pub fn unlike(&self, theirs: &Self) -> Option<String> {
        if self.columns.len() != theirs.columns.len() {
            return Some(format!(
                "it has {} columns, the source's {}",
                theirs.columns.len(),
                self.columns.len()
            ));
        }
        let describe = |c: &ColumnDef| {
            let charset = c
                .charset
                .as_deref()
                .map(|name| if name == "utf8" { "utf8mb3" } else { name });
            let charset = charset.map_or_else(String::new, |name| format!(" in {name}"));
            let generated = if c.generated { ", generated" } else { "" };
            format!(
                "{} {}{charset}{generated}",
                quote_name(&c.name),
                c.without_width()
            )
        };
        let pairs = self.columns.iter().zip(&theirs.columns).enumerate();
        for (n, (ours, theirs)) in pairs {
            let (ours, theirs) = (describe(ours), describe(theirs));
            if ours != theirs {
                return Some(format!(
                    "its column {} is {theirs}, the source's is {ours}",
                    n + 1
                ));
            }
        }
        let key = |def: &Self| {
            def.key.as_ref().map(|key| {
                let mut columns = key.columns.clone();
                columns.sort_unstable();
                columns
            })
        };
        (key(self) != key(theirs))
            .then(|| "its primary key (or the unique key that serves as one) is not the source's".to_owned())
    }
}

impl TableDef {
    /// The same table, identified by each of its other unique keys over whole columns that are never NULL.
    pub fn otherwise_identified(&self) -> Vec<Self> {
        let whole = |key: &UniqueKey| -> Option<Vec<usize>> {
            let columns: Vec<usize> = key.columns.iter().copied().collect::<Option<_>>()?;
            let fixed = |at: &usize| self.columns.get(*at).is_some_and(|column| !column.nullable);
            columns.iter().all(fixed).then_some(columns)
        };
        let swapped = |(nth, key): (usize, &UniqueKey)| {
            let mut def = self.clone();
            def.other_unique_keys.remove(nth);
            let old = def.key.replace(KeyDef {
                name: key.name.clone(),
                columns: whole(key)?,
                prefixed: false,
            });
            let part = |old: &KeyDef, at: &usize| Some(*at).filter(|_| !old.prefixed);
            def.other_unique_keys.extend(old.map(|old| UniqueKey {
                columns: old.columns.iter().map(|at| part(&old, at)).collect(),
                name: old.name,
            }));
            Some(def)
        };
        self.other_unique_keys
            .iter()
            .enumerate()
            .filter_map(swapped)
            .collect()
    }
}

impl ColumnDef {
    /// ENUM's or SET's members, in the declared order; empty for other types.
    pub fn members(&self) -> Vec<String> {
        let list = match self.kind {
            ColumnKind::Enum => self.declared.strip_prefix("enum("),
            ColumnKind::Set => self.declared.strip_prefix("set("),
            _ => None,
        };
        list.and_then(|list| list.strip_suffix(')'))
            .map(read_members)
            .unwrap_or_default()
    }

    /// The numbers in the declared type's parentheses: `decimal(10,2)` has 10 and 2, `datetime(6)` has 6. 0 where there is none.
    pub fn digits(&self) -> (u16, u16) {
        let list = self
            .declared
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        let mut numbers = list
            .map_or("", |(list, _)| list)
            .split(',')
            .map(|text| text.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// The declared type without the display width that old servers print: `int(11)` is `int`.
    fn without_width(&self) -> String {
        use ColumnKind::{BigInt, Int, MediumInt, SmallInt, TinyInt, Year};
        let declared = self.declared.as_str();
        match (self.kind, declared.split_once('('), declared.split_once(')')) {
            (TinyInt | SmallInt | MediumInt | Int | BigInt | Year, Some((before, _)), Some((_, after))) => {
                format!("{before}{after}")
            }
            _ => declared.to_owned(),
        }
    }
}

/// Reads `'a','it''s'`, as servers print it.
fn read_members(list: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut open: Option<String> = None;
    let mut rest = list.chars().peekable();
    while let Some(c) = rest.next() {
        match (&mut open, c) {
            (None, '\'') => open = Some(String::new()),
            (None, _) => {}
            (Some(member), '\'') if rest.peek() == Some(&'\'') => {
                rest.next();
                member.push('\'');
            }
            (Some(_), '\'') => members.extend(open.take()),
            (Some(member), '\\') => member.push(match rest.next() {
                Some('0') => '\0',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            (Some(member), c) => member.push(c),
        }
    }
    members
}

const SHAPE: &str = "an answer of an unexpected shape";

/// A column of a unique key, as the server lists it.
struct KeyPart<'a> {
    index: &'a str,
    /// `None`: an expression, which is not in any row image.
    column: Option<&'a str>,
    nullable: bool,
    /// Only the column's beginning is in the index.
    prefix: bool,
}

/// Picks the key by which rows are found: the primary key, else the first unique key that no NULL can hide from.
fn choose_key(columns: &[ColumnDef], parts: &[KeyPart<'_>]) -> (Option<KeyDef>, Vec<UniqueKey>) {
    let mut keys: Vec<Found> = Vec::new();
    for part in parts {
        let place = part
            .column
            .and_then(|name| columns.iter().position(|column| column.name == *name));
        if keys.last().is_none_or(|key| key.name != part.index) {
            keys.push(Found {
                name: part.index.to_owned(),
                columns: Vec::new(),
                prefixed: false,
                identifies: true,
            });
        }
        if let Some(key) = keys.last_mut() {
            key.columns.push((place, part.prefix));
            key.prefixed |= part.prefix;
            key.identifies &= place.is_some() && !part.nullable;
        }
    }
    let chosen = keys.iter().position(|key| key.identifies);
    let key = chosen.map(|at| keys.remove(at)).map(|key| KeyDef {
        name: key.name,
        columns: key.columns.into_iter().filter_map(|(place, _)| place).collect(),
        prefixed: key.prefixed,
    });
    let whole = |(place, prefix): (Option<usize>, bool)| place.filter(|_| !prefix);
    let others = keys.into_iter().map(|key| UniqueKey {
        name: key.name,
        columns: key.columns.into_iter().map(whole).collect(),
    });
    (key, others.collect())
}

/// A unique key while its parts are read.
struct Found {
    name: String,
    /// Each part's column, if it is one, and whether only its beginning counts.
    columns: Vec<(Option<usize>, bool)>,
    prefixed: bool,
    identifies: bool,
}

fn column(row: &AnswerRow) -> Result<ColumnDef, String> {
    let [
        Some(name),
        Some(data_type),
        Some(declared),
        charset,
        collation,
        length,
        Some(nullable),
        Some(extra),
        Some(has_default),
    ] = row.as_slice()
    else {
        return Err(SHAPE.to_owned());
    };
    let length = length.as_deref().and_then(|length| length.parse().ok());
    let kind = kind(data_type, length)
        .ok_or_else(|| format!("column {name} has type {declared}, which is not supported"))?;
    let text = matches!(kind, ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text);
    let collated = text || matches!(kind, ColumnKind::Enum | ColumnKind::Set);
    Ok(ColumnDef {
        name: name.clone(),
        kind,
        // An ENUM may have a member of that name.
        unsigned: !matches!(kind, ColumnKind::Enum | ColumnKind::Set) && declared.contains("unsigned"),
        declared: declared.clone(),
        charset: charset.clone().filter(|_| text),
        collation: collation.clone().filter(|_| collated),
        nullable: nullable == "YES",
        generated: extra.contains("VIRTUAL GENERATED") || extra.contains("STORED GENERATED"),
        on_update: extra.to_ascii_lowercase().contains("on update"),
        auto_increment: extra.contains("auto_increment"),
        has_default: has_default == "1",
        invisible: extra.contains("INVISIBLE"),
    })
}

fn kind(data_type: &str, length: Option<u64>) -> Option<ColumnKind> {
    Some(match data_type.to_ascii_lowercase().as_str() {
        "tinyint" => ColumnKind::TinyInt,
        "smallint" => ColumnKind::SmallInt,
        "mediumint" => ColumnKind::MediumInt,
        "int" => ColumnKind::Int,
        "bigint" => ColumnKind::BigInt,
        "decimal" => ColumnKind::Decimal,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit,
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        "datetime" => ColumnKind::DateTime,
        "timestamp" => ColumnKind::Timestamp,
        "char" => ColumnKind::Char,
        "varchar" => ColumnKind::VarChar,
        "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" => ColumnKind::Binary {
            length: u16::try_from(length?).ok()?,
        },
        "varbinary" => ColumnKind::VarBinary,
        "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Blob,
        "enum" => ColumnKind::Enum,
        "set" => ColumnKind::Set,
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => ColumnKind::Geometry,
        "vector" => ColumnKind::Vector,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
