//! How one table is read: which columns, by which key, in how many parts. Decisions only; `reader` sends the statements.

use std::sync::Arc;

use mysql_async::Row;

use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::error::{Error, Side};
use crate::json_kinds;
use crate::literal::quote_name;
use crate::schema::{ObjectKey, Source};
use crate::snapshot::decode;
use crate::snapshot::key::{Key, KeyColumn, Range, split};

/// Members that a SET has at most.
const MOST_MEMBERS: usize = 64;

/// Everything that reading and writing one table's rows takes.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    /// The table.
    pub(crate) object: ObjectKey,
    /// What is selected, in this order: the written columns, then key columns that are not written.
    pub(crate) selected: Vec<ColumnDef>,
    /// How many of `selected` are written: the others are generated.
    pub(crate) written: usize,
    /// The key that the table is walked by; `None`: it is copied whole at one place.
    pub(crate) walk: Option<Walk>,
    /// The source's estimate.
    pub(crate) rows_estimated: u64,
    /// The source's estimate of a row's bytes, 0 when not told.
    pub(crate) row_bytes: u64,
    /// A row may meet another with the same key on the target: an old one, or one that has given up a unique value since.
    pub(crate) replace: bool,
}

/// A key and where its columns stand in [`TablePlan::selected`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) key: Key,
    pub(crate) slots: Vec<usize>,
}

/// One column of one index, as `SHOW INDEX` tells it.
#[derive(Debug, Clone)]
struct IndexPart {
    index: String,
    /// `None`: an expression.
    column: Option<String>,
    unique: bool,
    /// Only a prefix of the column is in the index, or NULL is allowed, or queries can't use the index, or compare the column in
    /// another order than the index has.
    unusable: bool,
    descending: bool,
}

impl TablePlan {
    /// Plans a table by its definition and its indexes; `whole`: it is to be copied at one place, whatever keys it has.
    pub(crate) async fn make(
        source: &mut Source,
        object: &ObjectKey,
        definition: &TableDef,
        (rows_estimated, row_bytes): (u64, u64),
        replace: bool,
        whole: bool,
    ) -> Result<Arc<Self>, Error> {
        let doing = format!("reading the indexes of {}", object.quoted());
        let rows: Vec<Row> = source
            .conn()
            .query(format!("SHOW INDEX FROM {}", object.quoted()))
            .await
            .map_err(|cause| Error::server(Side::Source, doing, cause))?;
        let mut parts: Vec<IndexPart> = rows.iter().filter_map(index_part).collect();
        parts
            .iter_mut()
            .for_each(|part| part.unusable |= part.is_disordered(definition));
        let mut selected: Vec<ColumnDef> = definition
            .columns
            .iter()
            .filter(|c| !c.generated)
            .cloned()
            .collect();
        let written = selected.len();
        let key = choose(&parts);
        let walk = key.filter(|_| !whole).and_then(|key| {
            let slots = key.columns.iter().map(|column| {
                selected.iter().position(|c| c.name == column.name).or_else(|| {
                    selected.push(definition.columns.iter().find(|c| c.name == column.name)?.clone());
                    Some(selected.len() - 1)
                })
            });
            let slots: Option<Vec<usize>> = slots.collect();
            Some(Walk { key, slots: slots? })
        });
        let replace = replace || !definition.other_unique_keys.is_empty();
        Ok(Arc::new(Self {
            object: object.clone(),
            selected,
            written,
            walk,
            rows_estimated,
            row_bytes,
            replace,
        }))
    }

    /// `SELECT … FROM table`: what is selected, then the kinds of each JSON document's parts.
    pub(crate) fn select(&self) -> String {
        let table = self.object.quoted();
        let mut columns: Vec<String> = self.selected.iter().map(decode::selected).collect();
        let documents = self.selected.iter().filter(|c| c.kind == ColumnKind::Json);
        columns
            .extend(documents.map(|c| json_kinds::expression(&format!("{table}.{}", quote_name(&c.name)))));
        format!("SELECT {} FROM {table}", columns.join(", "))
    }

    /// Cuts the table into at most `parts` ranges where its key begins with an integer, else into one.
    pub(crate) async fn ranges(&self, source: &mut Source, parts: usize) -> Result<Vec<Range>, Error> {
        let whole = vec![Range::default()];
        let Some(walk) = &self.walk else { return Ok(whole) };
        let Some(first) = walk.slots.first().and_then(|slot| self.selected.get(*slot)) else {
            return Ok(whole);
        };
        if !is_integer(first.kind) {
            return Ok(whole);
        }
        let column = quote_name(&first.name);
        let query = format!(
            "SELECT CAST(MIN({column}) AS CHAR), CAST(MAX({column}) AS CHAR) FROM {} FORCE INDEX ({})",
            self.object.quoted(),
            quote_name(&walk.key.index)
        );
        let doing = format!("reading the key range of {}", self.object.quoted());
        let found: Result<Option<(Option<String>, Option<String>)>, _> =
            source.conn().query_first(query).await;
        let on = format!("{}.*", quote_name(&self.object.database));
        let (low, high) = found
            .map_err(|cause| source.fail(&doing, "SELECT", &on, cause))?
            .unwrap_or_default();
        let number = |text: Option<String>| text.and_then(|t| t.parse::<i128>().ok());
        Ok(match (number(low), number(high)) {
            (Some(low), Some(high)) => split(low, high, parts),
            _ => whole,
        })
    }

    /// How many parts are worth it: each at least eight chunks, no more than there are connections.
    pub(crate) fn worthwhile_parts(&self, chunk_bytes: u64, connections: usize) -> usize {
        let bytes = self.rows_estimated.saturating_mul(self.row_bytes.max(1));
        let by_size = usize::try_from(bytes / chunk_bytes.max(1) / 8).unwrap_or(usize::MAX);
        by_size.clamp(1, connections.max(1))
    }

    /// A first guess at how many rows make a chunk.
    pub(crate) fn first_limit(&self, chunk_bytes: u64, chunk_rows: u64) -> u64 {
        let row = if self.row_bytes == 0 { 1024 } else { self.row_bytes };
        (chunk_bytes / row).clamp(1, chunk_rows.max(1))
    }
}

impl IndexPart {
    /// A SET of 64 members: the server compares it as a number with a sign, so that one with the last member comes before all
    /// others, and its index without.
    fn is_disordered(&self, definition: &TableDef) -> bool {
        let mut columns = definition.columns.iter();
        let column = columns.find(|column| self.column.as_ref() == Some(&column.name));
        column.is_some_and(|column| column.kind == ColumnKind::Set && column.members().len() == MOST_MEMBERS)
    }
}

fn is_integer(kind: ColumnKind) -> bool {
    use ColumnKind::{BigInt, Int, MediumInt, SmallInt, TinyInt};
    matches!(kind, TinyInt | SmallInt | MediumInt | Int | BigInt)
}

fn index_part(row: &Row) -> Option<IndexPart> {
    let text = |name: &str| -> Option<String> {
        let at = row
            .columns_ref()
            .iter()
            .position(|c| c.name_str().eq_ignore_ascii_case(name))?;
        row.get_opt::<Option<String>, _>(at)?.ok()?
    };
    let hidden = text("Visible").is_some_and(|v| v == "NO") || text("Ignored").is_some_and(|v| v == "YES");
    Some(IndexPart {
        index: text("Key_name")?,
        column: text("Column_name"),
        unique: text("Non_unique").as_deref() == Some("0"),
        unusable: hidden || text("Sub_part").is_some() || text("Null").as_deref() == Some("YES"),
        descending: text("Collation").as_deref() == Some("D"),
    })
}

/// The index to walk by: the primary key if whole columns make it, else the first such unique key.
fn choose(parts: &[IndexPart]) -> Option<Key> {
    let mut keys: Vec<(Key, bool)> = Vec::new();
    for part in parts.iter().filter(|p| p.unique) {
        if keys.last().is_none_or(|(key, _)| key.index != part.index) {
            keys.push((
                Key {
                    index: part.index.clone(),
                    columns: Vec::new(),
                },
                true,
            ));
        }
        let Some((key, usable)) = keys.last_mut() else {
            continue;
        };
        match &part.column {
            Some(name) if !part.unusable => {
                key.columns.push(KeyColumn {
                    name: name.clone(),
                    descending: part.descending,
                });
            }
            _ => *usable = false,
        }
    }
    keys.sort_by_key(|(key, _)| key.index != "PRIMARY");
    keys.into_iter().find_map(|(key, usable)| usable.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: &str, column: Option<&str>, unusable: bool) -> IndexPart {
        let column = column.map(str::to_owned);
        IndexPart {
            index: index.into(),
            column,
            unique: true,
            unusable,
            descending: false,
        }
    }

    #[test]
    fn the_primary_key_comes_first_and_prefixes_and_expressions_never() {
        let parts = [
            part("k", Some("a"), false),
            part("PRIMARY", Some("b"), false),
            part("PRIMARY", Some("c"), false),
        ];
        let key = choose(&parts).unwrap();
        assert_eq!((key.index.as_str(), key.columns.len()), ("PRIMARY", 2));
        let parts = [
            part("PRIMARY", Some("b"), true),
            part("f", None, false),
            part("k", Some("a"), false),
        ];
        assert_eq!(choose(&parts).unwrap().index, "k");
        assert_eq!(choose(&parts[..2]), None);
        assert_eq!(
            choose(&[IndexPart {
                unique: false,
                ..part("k", Some("a"), false)
            }]),
            None
        );
    }

    fn plan(rows_estimated: u64, row_bytes: u64) -> TablePlan {
        let object = ObjectKey::table("d", "t");
        TablePlan {
            object,
            selected: Vec::new(),
            written: 0,
            walk: None,
            rows_estimated,
            row_bytes,
            replace: false,
        }
    }

    #[test]
    fn small_tables_are_not_split() {
        let mib = 1 << 20;
        assert_eq!(plan(100_000, 200).worthwhile_parts(4 * mib, 4), 1);
        assert_eq!(plan(10_000_000, 200).worthwhile_parts(4 * mib, 4), 4);
        assert_eq!(plan(0, 0).worthwhile_parts(0, 0), 1);
    }

    #[test]
    fn the_first_chunk_fits_its_budget() {
        assert_eq!(plan(1, 4096).first_limit(1 << 20, 10_000), 256);
        assert_eq!(plan(1, 0).first_limit(1 << 20, 500), 500);
        assert_eq!(plan(1, 1 << 40).first_limit(1 << 20, 500), 1);
    }
}
