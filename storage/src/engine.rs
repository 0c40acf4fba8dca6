//! RocksDB as this log uses it: three column families, one lock file, sequential keys. Nothing outside this module
//! names it, errors aside.
//!
//! `events` holds records, `schemas` table definitions by offset, `meta` the format, the log's identity, the position and the
//! trim mark. A batch is all or nothing, also across a crash. Writes go to the write-ahead log, or past it while much comes in
//! ([`mode`]); either way only [`Engine::sync`], which is the sync thread's, makes them durable.

mod compression;
mod directory;
mod lock;
mod mode;
mod options;
mod recovery;
mod schemas;
mod tables;
mod view;
mod wal;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, ErrorKind, FlushOptions, WriteBatch, WriteOptions,
};

use self::compression::Compression;
use self::directory::{disk_bytes, families, takes_direct_writes};
pub use self::lock::Holder;
use self::lock::Lock;
use self::mode::ModeLock;
use self::options::{db_options, events_options, small_options, to_usize};
pub use self::recovery::Recovery;
pub use self::schemas::Schemas;
pub(crate) use self::tables::Meta;
use self::tables::{Tables, describe};
pub use self::view::{Info, Records, View};
use crate::format::{FORMAT, FormatError, Kept, Key, META_KEPT, decode_record, key, parse_key};
use crate::schema::Shelf;
use crate::{Config, EngineError, Error, LogId, Offset, Record, SchemaVersion};

const EVENTS: &str = "events";
const META: &str = "meta";
const SCHEMAS: &str = "schemas";

/// What is written in one batch, and what is flushed together: all of them but the unused default family.
const FAMILIES: [&str; 3] = [EVENTS, META, SCHEMAS];

const META_FORMAT: &[u8] = b"format";
const META_ID: &[u8] = b"id";
const META_POSITION: &[u8] = b"position";
const META_TRIMMED: &[u8] = b"trimmed";
const META_SERVER: &[u8] = b"server";
const META_FILE: &[u8] = b"file";

/// An open database. Dropping it closes RocksDB first and releases the directory after.
pub(crate) struct Engine {
    db: DB,
    mode: ModeLock,
    /// Whether [`Engine::announce`] did its work in this rush.
    announced: AtomicBool,
    /// Bytes of records written in this rush and not flushed yet, about.
    unflushed: AtomicU64,
    compression: Mutex<Compression>,
    path: PathBuf,
    shelf: Mutex<Shelf>,
    // After `db`: the directory is free once RocksDB is closed.
    lock: Lock,
    /// What the write-ahead log ended in when it was opened, if that was no whole record.
    torn: Option<u64>,
}

/// Whether a write may wait for RocksDB to catch up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// Fail with [`WriteError::WouldStall`] instead of waiting.
    Refuse,
    /// Wait; not on an async thread.
    Wait,
}

/// Why a record was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// RocksDB wants writers to slow down; nothing was written.
    WouldStall,
    /// The write failed.
    Failed(Error),
}

impl Engine {
    /// Opens or creates the database in `config.path`. Blocks.
    pub(crate) fn open(config: &Config) -> Result<(Self, Meta), Error> {
        let path = config.path.clone();
        fs::create_dir_all(&path).map_err(|e| io_error(&path, "creating", e))?;
        let lock = Lock::take(&path)?;
        let families = families(&path)?;
        let unknown = families
            .iter()
            .find(|name| *name != "default" && !FAMILIES.contains(&name.as_str()))
            .cloned();
        let torn = wal::torn(&path).map_err(|e| io_error(&path, "looking at the write-ahead log in", e))?;
        let cache = Cache::new_lru_cache(to_usize(config.cache.0));
        let descriptors = families.into_iter().map(|name| {
            let options = if name == EVENTS {
                events_options(config, &cache)
            } else {
                small_options(&cache)
            };
            ColumnFamilyDescriptor::new(name, options)
        });
        let db = DB::open_cf_descriptors(
            &db_options(config, takes_direct_writes(&path)),
            &path,
            descriptors,
        )
        .map_err(|e| engine_error(&path, "opening the database", e))?;
        let engine = Self {
            db,
            mode: ModeLock::default(),
            announced: AtomicBool::new(false),
            unflushed: AtomicU64::new(0),
            compression: Mutex::default(),
            path,
            shelf: Mutex::default(),
            lock,
            torn,
        };
        let meta = engine.load_meta()?;
        match unknown {
            None => {
                engine.take_stock()?;
                Ok((engine, meta))
            }
            Some(name) => Err(engine.not_a_log(format!("it has a column family named {name:?}"))),
        }
    }

    /// What a crash left was put right: closing forgets who left it.
    pub(crate) fn settle(&self) {
        self.lock.settle();
    }

    /// Whether there is a database in `path`.
    pub(crate) fn exists(path: &Path) -> bool {
        path.join("CURRENT").exists() && path.join(lock::LOCK_FILE).exists()
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records and, with a transaction's last, the position and table definitions, as one batch for [`write`](Self::write).
    pub(crate) fn batch(
        &self,
        records: &[(Key, &[u8])],
        position: Option<&[u8]>,
        schemas: &[SchemaVersion],
    ) -> Result<WriteBatch, Error> {
        let (events, meta) = (self.family(EVENTS)?, self.family(META)?);
        // The values, and what RocksDB puts before each.
        let bytes: usize = records.iter().map(|(_, value)| value.len() + 64).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + position.map_or(0, |value| value.len() + 64));
        for (key, value) in records {
            batch.put_cf(events, key, value);
        }
        if let Some(position) = position {
            batch.put_cf(meta, META_POSITION, position);
        }
        if !schemas.is_empty() {
            self.add_schemas(&mut batch, schemas)?;
        }
        Ok(batch)
    }

    /// Writes a batch in which these table definitions are.
    pub(crate) fn write(
        &self,
        batch: WriteBatch,
        schemas: &[SchemaVersion],
        stall: Stall,
    ) -> Result<(), WriteError> {
        let bytes = u64::try_from(batch.size_in_bytes()).unwrap_or(u64::MAX);
        self.commit(batch, stall, "appending")?;
        self.shelve(schemas);
        self.unflushed.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Every write goes through here, so that none goes past the mode.
    fn commit(&self, batch: WriteBatch, stall: Stall, doing: &'static str) -> Result<(), WriteError> {
        let mode = match stall {
            Stall::Refuse => self.mode.try_hold().ok_or(WriteError::WouldStall)?,
            Stall::Wait => self.mode.hold(),
        };
        let mut options = WriteOptions::default();
        options.set_no_slowdown(stall == Stall::Refuse);
        options.disable_wal(mode.is_unlogged());
        self.db.write_opt(batch, &options).map_err(|e| match e.kind() {
            ErrorKind::Incomplete if stall == Stall::Refuse => WriteError::WouldStall,
            _ => WriteError::Failed(self.failed(doing, e)),
        })
    }

    /// The same for what may wait.
    fn commit_patiently(&self, batch: WriteBatch, doing: &'static str) -> Result<(), Error> {
        match self.commit(batch, Stall::Wait, doing) {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
            // RocksDB contradicts itself: nothing was written.
            Err(WriteError::WouldStall) => Err(Error::Closed),
        }
    }

    /// Makes everything written durable. Blocks for the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let mode = self.mode.hold();
        if !mode.is_unlogged() {
            return self.sync_wal(true);
        }
        let raw = self.unflushed.swap(0, Ordering::Relaxed);
        self.flush()?;
        if self.announced.load(Ordering::Relaxed) {
            return self.compress_if_it_pays(raw);
        }
        // The first table of a rush holds records from before it too.
        self.announce()?;
        self.announced.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure that the directory still is where it was: what is written to one that was deleted or unmounted is nowhere.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Io`].
    pub(crate) fn be_there(&self) -> Result<(), Error> {
        match self.lock.is_in(&self.path)? {
            true => Ok(()),
            false => Err(Error::Gone {
                path: self.path.clone(),
            }),
        }
    }

    /// Measures the table that was just flushed.
    fn compress_if_it_pays(&self, raw: u64) -> Result<(), Error> {
        if raw < 1 << 20 {
            return Ok(());
        }
        let files = self
            .db
            .live_files()
            .map_err(|e| self.failed("listing tables", e))?;
        // Names are numbers of one width.
        let newest = files
            .iter()
            .filter(|file| file.column_family_name == EVENTS)
            .max_by_key(|file| &file.name);
        let Some(newest) = newest else { return Ok(()) };
        let stored = u64::try_from(newest.size).unwrap_or(u64::MAX);
        let mut compression = self.compression.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(on) = compression.flushed(raw, stored) else {
            return Ok(());
        };
        tracing::debug!(on, raw, stored, "log: compression");
        let kind = if on { "kLZ4Compression" } else { "kNoCompression" };
        self.db
            .set_options_cf(self.family(EVENTS)?, &[("compression", kind)])
            .map_err(|e| self.failed("changing the compression of tables", e))
    }

    fn sync_wal(&self, sync: bool) -> Result<(), Error> {
        fail::fail_point!("log-sync-fails", |_| {
            let broken = io::Error::other("the failpoint log-sync-fails is set");
            Err(io_error(&self.path, "syncing the write-ahead log in", broken))
        });
        self.db
            .flush_wal(sync)
            .map_err(|e| self.failed("syncing the write-ahead log", e))
    }

    /// From here on writes go past the write-ahead log.
    pub(crate) fn unlog(&self) {
        self.mode.set_unlogged();
        self.announced.store(false, Ordering::Relaxed);
        self.unflushed.store(0, Ordering::Relaxed);
    }

    /// A logged write of no consequence to every family, after the first flush of a rush. Whoever follows this database
    /// ([`View`]) keeps what it read from the write-ahead log, and takes it for newer than any table, until the next file of that
    /// log has something for the same family.
    fn announce(&self) -> Result<(), Error> {
        let events = self.family(EVENTS)?;
        let mut iterator = self.db.raw_iterator_cf(events);
        iterator.seek_to_last();
        let newest = iterator.key().map(parse_key).transpose();
        let newest = newest.map_err(|e| self.damaged("the last record", &e))?;
        let (offset, _) = newest.unwrap_or((Offset::ZERO, 0));
        let mut batch = WriteBatch::default();
        // No such key is ever used, and the first is near others, so that tables keep to their own range.
        batch.delete_cf(events, key(offset, u32::MAX));
        for name in [META, SCHEMAS] {
            batch.delete_cf(self.family(name)?, b"");
        }
        self.db
            .write_opt(batch, &WriteOptions::default())
            .map_err(|e| self.failed("appending", e))?;
        self.sync_wal(false)
    }

    /// From here on writes go to the write-ahead log. Everything before becomes durable; writes wait for that.
    pub(crate) fn relog(&self) -> Result<(), Error> {
        self.mode.set_logged(|| self.flush())
    }

    /// Writes the memory tables to files and syncs those: all families at once, so that a crash finds all of a batch or nothing.
    fn flush(&self) -> Result<(), Error> {
        let families = FAMILIES.into_iter().map(|name| self.family(name));
        let families: Vec<&ColumnFamily> = families.collect::<Result<_, _>>()?;
        self.db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(|e| self.failed("flushing", e))
    }

    /// Stores the position alone. Not durable before a sync.
    pub(crate) fn put_position(&self, value: &[u8]) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META)?, META_POSITION, value);
        self.commit_patiently(batch, "storing the position")
    }

    /// Stores which server is captured. Not durable before a sync.
    pub(crate) fn put_server(&self, id: &str) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META)?, META_SERVER, id);
        self.commit_patiently(batch, "storing which server is captured")
    }

    /// Which server is captured; `None` before the first.
    pub(crate) fn server(&self) -> Result<Option<String>, Error> {
        self.tables().server()
    }

    /// Stores which binlog file is read, and when it was begun. Not durable before a sync.
    pub(crate) fn put_file(&self, file: &str, begun: u32) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META)?, META_FILE, format!("{begun} {file}"));
        self.commit_patiently(batch, "storing which binlog file is read")
    }

    /// Which binlog file was read last, and when it was begun; `None` where nobody said.
    pub(crate) fn file(&self) -> Result<Option<(String, u32)>, Error> {
        self.tables().file()
    }

    /// Stores what is kept. Not durable before a sync.
    pub(crate) fn put_kept(&self, value: &[u8]) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META)?, META_KEPT, value);
        self.commit_patiently(batch, "storing what is kept")
    }

    /// What is kept, from which offset on; empty: nothing was ever said about it.
    pub(crate) fn kept(&self) -> Result<Vec<Kept>, Error> {
        self.tables().kept()
    }

    /// Removes `pieces` pieces of transaction `offset`, which will not be finished, and whatever else lies between `first` and it.
    pub(crate) fn discard(&self, first: Offset, offset: Offset, pieces: u32) -> Result<(), Error> {
        let events = self.family(EVENTS)?;
        let (from, to) = (key(first, 0), key(offset, pieces));
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(events, from, to);
        self.commit_patiently(batch, "discarding an unfinished transaction")?;
        // Safe before a sync: after a crash whatever is left lies behind the stored position and goes then.
        self.db
            .delete_file_in_range_cf(events, from, to)
            .map_err(|e| self.failed("discarding an unfinished transaction", e))
    }

    /// Removes `(after, through]` and marks `through` as trimmed, durably and before any file goes. Blocks.
    pub(crate) fn trim(&self, after: Offset, through: Offset) -> Result<(), Error> {
        let (events, meta) = (self.family(EVENTS)?, self.family(META)?);
        let mut batch = WriteBatch::default();
        batch.put_cf(meta, META_TRIMMED, through.0.to_be_bytes());
        batch.delete_range_cf(events, key(after.next(), 0), key(through.next(), 0));
        self.drop_schemas(&mut batch, through.next())?;
        self.commit_patiently(batch, "trimming")?;
        self.sync()?;
        self.delete_files(through)
    }

    /// Deletes files that hold nothing beyond `through`, which must be trimmed. Those of level 0 stay until RocksDB has moved
    /// them down.
    pub(crate) fn delete_files(&self, through: Offset) -> Result<(), Error> {
        // Both ends are included here: the end must be a key of `through`, not of what follows.
        self.db
            .delete_file_in_range_cf(self.family(EVENTS)?, key(Offset::ZERO, 0), key(through, u32::MAX))
            .map_err(|e| self.failed("deleting trimmed files", e))
    }

    /// Gives back what trimming left in memory tables, write-ahead logs and level 0. Blocks, possibly for seconds.
    pub(crate) fn reclaim(&self, through: Offset) -> Result<(), Error> {
        self.flush()?;
        let events = self.family(EVENTS)?;
        self.db
            .compact_range_cf(events, Some(key(Offset::ZERO, 0)), Some(key(through, u32::MAX)));
        Ok(())
    }

    /// Bytes of all files in the directory.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        disk_bytes(&self.path)
    }

    /// Records from `from` on, none beyond `through`: at least one, then as many as fit `budget` bytes. Every record is
    /// checked, and they follow each other without a gap. Blocks for the disk.
    pub(crate) fn read(
        &self,
        from: (Offset, u32),
        through: Offset,
        budget: usize,
    ) -> Result<Vec<Record>, Error> {
        self.tables().records(from, through, budget)
    }

    /// Puts the end of the log right after a crash: removes what follows the last whole transaction, and checks that one.
    /// What was found.
    pub(crate) fn recover(&self, meta: &Meta) -> Result<Recovery, Error> {
        let last = meta.last();
        let mut found = Recovery {
            left_by: self.lock.left_by.clone(),
            torn_bytes: self.torn,
            discarded: None,
        };
        let events = self.family(EVENTS)?;
        let mut iterator = self.db.raw_iterator_cf(events);
        iterator.seek_to_last();
        let newest = iterator
            .key()
            .map(parse_key)
            .transpose()
            .map_err(|e| self.damaged("the last record", &e))?;
        if let Some((offset, piece)) = newest.filter(|(offset, _)| *offset > last) {
            found.discarded = Some((offset, u64::from(piece) + 1));
            self.discard(last.next(), offset, piece.saturating_add(1))?;
        }
        if last <= meta.trimmed {
            return Ok(found);
        }
        iterator.seek_for_prev(key(last, u32::MAX));
        iterator.status().map_err(|e| self.failed("reading its end", e))?;
        let Some((key, value)) = iterator.item() else {
            return Err(self.no_end(last));
        };
        let record = decode_record(key, &Bytes::copy_from_slice(value))
            .map_err(|e| self.damaged(&describe(key), &e))?;
        let ends = meta.position.as_ref().is_some_and(|position| {
            let end = &position.source.file;
            record
                .end
                .as_ref()
                .is_some_and(|found| position.passed || found == end)
        });
        if record.offset != last || !ends {
            return Err(self.no_end(last));
        }
        Ok(found)
    }

    fn load_meta(&self) -> Result<Meta, Error> {
        if let Some(meta) = self.tables().meta()? {
            return Ok(meta);
        }
        self.create_meta()?;
        let created = self.tables().meta()?;
        created.ok_or_else(|| self.not_a_log("what was written into it is not there".into()))
    }

    /// Makes an empty database a log.
    fn create_meta(&self) -> Result<(), Error> {
        for name in [EVENTS, META, SCHEMAS] {
            let mut iterator = self.db.raw_iterator_cf(self.family(name)?);
            iterator.seek_to_first();
            if iterator.valid() {
                return Err(self.not_a_log("it holds records but no format version".into()));
            }
        }
        let meta = self.family(META)?;
        let mut batch = WriteBatch::default();
        batch.put_cf(meta, META_FORMAT, u64::from(FORMAT).to_be_bytes());
        batch.put_cf(meta, META_ID, LogId::random().as_bytes());
        self.commit_patiently(batch, "creating the log")?;
        self.sync()
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            db: &self.db,
            path: &self.path,
        }
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, Error> {
        self.tables().family(name)
    }

    fn not_a_log(&self, why: String) -> Error {
        not_a_log(&self.path, why)
    }

    fn no_end(&self, last: Offset) -> Error {
        Error::Corrupt {
            path: self.path.clone(),
            what: format!("the end of offset {last}, the last one, is missing"),
        }
    }

    fn damaged(&self, where_: &str, error: &FormatError) -> Error {
        damaged(&self.path, where_, error)
    }

    fn failed(&self, doing: &'static str, source: rocksdb::Error) -> Error {
        engine_error(&self.path, doing, source)
    }
}

fn not_a_log(path: &Path, why: String) -> Error {
    Error::NotALog {
        path: path.to_path_buf(),
        why,
    }
}

fn damaged(path: &Path, where_: &str, error: &FormatError) -> Error {
    Error::Corrupt {
        path: path.to_path_buf(),
        what: format!("{where_}: {error}"),
    }
}

fn engine_error(path: &Path, doing: &'static str, source: rocksdb::Error) -> Error {
    Error::Engine {
        path: path.to_path_buf(),
        doing,
        source: EngineError(source),
    }
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        doing,
        source: Arc::new(source),
    }
}
