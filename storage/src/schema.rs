//! Table definitions by offset (A4): what a table was like when its rows were changed.
//!
//! A version holds from its offset, the one of the definition statement, up to the next version of the same table. It is
//! stored in one batch with that statement, so a log that has the statement has the version. How a definition is read and
//! what proves it is capture's business; what is stored here says how far it can be trusted.

use std::sync::Arc;

use outrigger_protocol::definition::TableDef;
use outrigger_protocol::position::FilePosition;
use serde::{Deserialize, Serialize};

use crate::Offset;

/// What is known of one table from an offset on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The table's database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// The first transaction that it holds for: the one with the definition statement (rows in the same transaction stand
    /// behind it). For a table that was there before the log, the last transaction before it was looked at.
    pub offset: Offset,
    /// What is known.
    pub schema: Schema,
}

impl SchemaVersion {
    /// The definition, if it is proven to be the one of this offset: rows may be read by it.
    pub fn exact(&self) -> Option<&Definition> {
        match &self.schema {
            Schema::Exact(definition) => Some(definition),
            Schema::Absent | Schema::Late(_) => None,
        }
    }
}

/// How far a table's definition is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// This was the definition: no other definition statement on the table lies between the offset and the place at which it was read.
    Exact(Arc<Definition>),
    /// There was no such table.
    Absent,
    /// Not known, or not proven yet: a newer statement may be in what was read. Rows must not be read by it.
    Late(Option<Arc<Reading>>),
}

/// A table's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Columns and unique keys.
    pub table: TableDef,
    /// `SHOW CREATE TABLE`, as the source wrote it: foreign keys, checks, partitions, comments… Other tables' names in it are those
    /// of the moment when it was read.
    pub create: String,
}

/// What was read of a table on the source, and when; see [`Schema::Late`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What was found; `None` for no such table.
    pub found: Option<Arc<Definition>>,
    /// It contains every definition statement up to this place in the source's binlog,
    pub after: FilePosition,
    /// and none behind this one.
    pub until: FilePosition,
    /// `server_uuid` of the source, whose places these are.
    pub server: String,
}

/// Which version of each table is the newest, and which ones nobody needs once the log is trimmed. Pure.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    newest: std::collections::HashMap<(String, String), Offset>,
    /// By the offset from which on they aren't needed: versions that a newer one replaces there, and tables gone.
    obsolete: std::collections::BTreeMap<Offset, Vec<(String, String, Offset)>>,
}

impl Shelf {
    /// `version` was stored.
    pub(crate) fn stored(&mut self, version: &SchemaVersion) {
        let name = (version.database.clone(), version.table.clone());
        let mut obsolete = |from: Offset, offset: Offset| {
            let (database, table) = name.clone();
            self.obsolete
                .entry(from)
                .or_default()
                .push((database, table, offset));
        };
        match self.newest.get(&name) {
            // The same one, told more exactly.
            Some(newest) if *newest == version.offset => {}
            // An older one, told more exactly: it is obsolete already.
            Some(newest) if *newest > version.offset => return,
            Some(newest) => obsolete(version.offset, *newest),
            None => {}
        }
        if version.schema == Schema::Absent {
            obsolete(version.offset.next(), version.offset);
        }
        self.newest.insert(name, version.offset);
    }

    /// Takes what isn't needed any more when `first` is the log's first offset.
    pub(crate) fn obsolete(&mut self, first: Offset) -> Vec<(String, String, Offset)> {
        let needed = self.obsolete.split_off(&first.next());
        let gone: Vec<_> = std::mem::replace(&mut self.obsolete, needed)
            .into_values()
            .flatten()
            .collect();
        for (database, table, offset) in &gone {
            let name = (database.clone(), table.clone());
            if self.newest.get(&name) == Some(offset) {
                self.newest.remove(&name);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(table: &str, offset: u64, schema: Schema) -> SchemaVersion {
        SchemaVersion {
            database: "d".into(),
            table: table.into(),
            offset: Offset(offset),
            schema,
        }
    }

    fn gone(shelf: &mut Shelf, first: u64) -> Vec<(String, u64)> {
        let gone = shelf.obsolete(Offset(first));
        gone.into_iter()
            .map(|(_, table, offset)| (table, offset.0))
            .collect()
    }

    #[test]
    fn the_newest_at_or_before_the_first_offset_stays() {
        let mut shelf = Shelf::default();
        for (table, offset) in [("a", 0), ("b", 0), ("a", 5), ("a", 9)] {
            shelf.stored(&version(table, offset, Schema::Late(None)));
        }
        // Told again: nothing changes.
        shelf.stored(&version("a", 5, Schema::Late(None)));
        shelf.stored(&version("a", 9, Schema::Late(None)));
        assert_eq!(gone(&mut shelf, 4), []);
        assert_eq!(gone(&mut shelf, 5), [("a".to_owned(), 0)]);
        assert_eq!(gone(&mut shelf, 8), []);
        assert_eq!(gone(&mut shelf, 100), [("a".to_owned(), 5)]);
        assert_eq!(gone(&mut shelf, 100), []);
    }

    #[test]
    fn a_table_that_is_gone_leaves_nothing_behind() {
        let mut shelf = Shelf::default();
        shelf.stored(&version("a", 0, Schema::Late(None)));
        shelf.stored(&version("a", 5, Schema::Late(None)));
        shelf.stored(&version("a", 5, Schema::Absent));
        assert_eq!(gone(&mut shelf, 5), [("a".to_owned(), 0)]);
        assert_eq!(gone(&mut shelf, 6), [("a".to_owned(), 5)]);
        assert!(shelf.newest.is_empty());
        shelf.stored(&version("a", 7, Schema::Late(None)));
        assert_eq!(gone(&mut shelf, 9), []);
    }
}
