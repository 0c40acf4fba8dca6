//! Table definitions in their column family: read, stored, and trimmed with the log.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use rocksdb::{DBRawIterator, WriteBatch};

use super::tables::Tables;
use super::{Engine, SCHEMAS, engine_error};
use crate::format::{decode_schema, encode_schema, parse_schema_key, schema_key, table_prefix};
use crate::schema::{SchemaVersion, Shelf};
use crate::{Error, Offset};

impl Engine {
    /// Stores versions outside of any transaction. Not durable before a sync. Blocks while RocksDB stalls. Returns their size.
    pub(crate) fn put_schemas(&self, versions: &[SchemaVersion]) -> Result<u64, Error> {
        let mut batch = WriteBatch::default();
        self.add_schemas(&mut batch, versions)?;
        let size = u64::try_from(batch.size_in_bytes()).unwrap_or(u64::MAX);
        self.commit_patiently(batch, "storing table definitions")?;
        self.shelve(versions);
        Ok(size)
    }

    /// Adds versions to a batch; once it is written, [`shelve`](Self::shelve) must be told.
    pub(super) fn add_schemas(
        &self,
        batch: &mut WriteBatch,
        versions: &[SchemaVersion],
    ) -> Result<(), Error> {
        let family = self.family(SCHEMAS)?;
        for version in versions {
            let (key, value) = encode_schema(version)?;
            batch.put_cf(family, key, value);
        }
        Ok(())
    }

    /// `versions` were written.
    pub(super) fn shelve(&self, versions: &[SchemaVersion]) {
        let mut shelf = self.shelf();
        for version in versions {
            shelf.stored(version);
        }
    }

    /// Adds the deletion of versions that nobody needs once `first` is the log's first offset.
    pub(super) fn drop_schemas(&self, batch: &mut WriteBatch, first: Offset) -> Result<(), Error> {
        let family = self.family(SCHEMAS)?;
        for (database, table, offset) in self.shelf().obsolete(first) {
            batch.delete_cf(family, schema_key(&database, &table, offset));
        }
        Ok(())
    }

    /// Finds out at opening what is there; every version is checked.
    pub(super) fn take_stock(&self) -> Result<(), Error> {
        let mut found = Shelf::default();
        for version in self.schemas()? {
            found.stored(&version?);
        }
        *self.shelf() = found;
        Ok(())
    }

    /// The version of a table that holds at `at`; `None` if nothing is known of it.
    pub(crate) fn schema(
        &self,
        database: &str,
        table: &str,
        at: Offset,
    ) -> Result<Option<SchemaVersion>, Error> {
        self.tables().schema(database, table, at)
    }

    /// All versions, table by table, in the order of their offsets.
    pub(crate) fn schemas(&self) -> Result<Schemas<'_>, Error> {
        self.tables().schemas()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // A panic elsewhere leaves versions too many on the disk at worst.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Tables<'a> {
    /// The version of a table that holds at `at`: the last one whose offset is not beyond it.
    pub(super) fn schema(
        self,
        database: &str,
        table: &str,
        at: Offset,
    ) -> Result<Option<SchemaVersion>, Error> {
        let mut iterator = self.db.raw_iterator_cf(self.family(SCHEMAS)?);
        iterator.seek_for_prev(schema_key(database, table, at));
        iterator
            .status()
            .map_err(|e| engine_error(self.path, "reading a table's definition", e))?;
        match iterator.item() {
            Some((key, value)) if key.starts_with(&table_prefix(database, table)) => {
                decode(self.path, key, value).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// All versions, table by table, in the order of their offsets.
    pub(super) fn schemas(self) -> Result<Schemas<'a>, Error> {
        let mut iterator = self.db.raw_iterator_cf(self.family(SCHEMAS)?);
        iterator.seek_to_first();
        Ok(Schemas {
            iterator,
            path: self.path,
            ended: false,
        })
    }
}

/// All versions that are stored, each checked. One that is damaged is an error in its place; after any other error there are no more.
pub struct Schemas<'a> {
    iterator: DBRawIterator<'a>,
    path: &'a Path,
    ended: bool,
}

impl Iterator for Schemas<'_> {
    type Item = Result<SchemaVersion, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match self.iterator.item() {
            Some((key, value)) => Some(decode(self.path, key, value)),
            None => self
                .iterator
                .status()
                .err()
                .map(|e| Err(engine_error(self.path, "reading table definitions", e))),
        };
        self.ended = !matches!(next, Some(Ok(_) | Err(Error::Corrupt { .. })));
        if !self.ended {
            self.iterator.next();
        }
        next
    }
}

impl std::fmt::Debug for Schemas<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schemas").finish_non_exhaustive()
    }
}

fn decode(path: &Path, key: &[u8], value: &[u8]) -> Result<SchemaVersion, Error> {
    decode_schema(key, value).map_err(|error| {
        let what = match parse_schema_key(key) {
            Ok((database, table, offset)) => {
                format!("the definition of {database}.{table} as of offset {offset}: {error}")
            }
            Err(_) => format!("the table definition under key {key:02x?}: {error}"),
        };
        Error::Corrupt {
            path: path.to_path_buf(),
            what,
        }
    })
}
