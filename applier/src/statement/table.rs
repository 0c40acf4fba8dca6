//! A table's part of the statements on it: texts that do not depend on rows.

use super::{Image, same, value};
use crate::computed;
use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::literal::{quote_name, write_equals, write_literal, write_stored};

/// A table as statements are written for it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its definition on the target.
    pub(crate) def: TableDef,
    /// `` `database`.`table` ``.
    pub(crate) quoted: String,
    /// Columns that are written: all but generated ones.
    pub(super) written: Vec<usize>,
    /// ENUM columns among them.
    pub(super) enums: Vec<usize>,
    /// `` `db`.`t`(`a`,`b`)VALUES``.
    pub(super) into: String,
    /// `` (`k1`,`k2`) `` or `` `k` ``, before an `IN` list; empty where each key is spelled out as a condition.
    pub(super) key_list: String,
    /// `` `a`=VALUES(`a`),… ``: all written columns but the key's.
    pub(super) assign: String,
    /// The AUTO_INCREMENT column.
    pub(super) counter: Option<usize>,
    /// Columns whose values tie different rows together: those of the other unique keys. `None`: any column may.
    pub(super) ties: Option<Vec<usize>>,
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
            counter: def.columns.iter().position(|column| column.auto_increment),
            ties: ties(&def),
            def,
        }
    }

    /// Appends `(a,b,…)`, as it is stored; a key among several columns has none that is compared otherwise.
    pub(super) fn write_tuple(&self, out: &mut Vec<u8>, image: &Image<'_>, columns: &[usize]) {
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
    pub(super) fn write_key(&self, out: &mut Vec<u8>, image: &Image<'_>) {
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

    /// Whether the server refused what it computes of a row, not what is written of it.
    pub(crate) fn computes(&self, refused: &mysql_async::Error) -> bool {
        let mysql_async::Error::Server(error) = refused else {
            return false;
        };
        let written = self.written.iter().map(|i| &self.def.columns[*i]);
        computed::is_of_it(error.code, &error.message, written)
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

    pub(super) fn key_changed(&self, before: &Image<'_>, after: &Image<'_>) -> bool {
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

pub(super) fn into(quoted: &str, def: &TableDef, columns: &[usize]) -> String {
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

/// An upsert finds its row by whichever unique key it meets first. If that is not the row of its key, it fails:
/// `` `k`=IF(`k`=VALUES(`k`),`k`,NULL) ``.
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
    keep_if(def, &same.join(" AND "))
}

/// An assignment that fails in a strict session where the condition does not hold, and else leaves its column alone: one of the key.
/// `None` where no column is fit for it.
pub(super) fn keep_if(def: &TableDef, condition: &str) -> Option<String> {
    let columns = { &def.key.as_ref()?.columns }.iter().map(|i| &def.columns[*i]);
    { columns }
        .filter_map(|column| Some((quote_name(&column.name), refused(column)?)))
        .map(|(name, refused)| format!("{name}=IF({condition},{name},{refused})"))
        .next()
}

/// What a column of a key never takes, in an expression of whose type it keeps its own values.
fn refused(column: &ColumnDef) -> Option<&'static str> {
    use ColumnKind as K;
    match column.kind {
        // Nobody writes it.
        _ if column.generated => None,
        // NULL stands for the time where explicit_defaults_for_timestamp is off.
        K::Timestamp => None,
        // The largest value of a FLOAT(M,D) is too large for it once it was read.
        K::Float | K::Double => None,
        // NULL stands for 0 within an INSERT. This is out of range, but only where it is evaluated.
        K::TinyInt | K::SmallInt | K::MediumInt | K::Int | K::BigInt if column.auto_increment => {
            Some("9223372036854775807+1")
        }
        _ => Some("NULL"),
    }
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
