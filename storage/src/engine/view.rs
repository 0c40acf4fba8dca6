//! A log to look at, whether a process has it open or not. Nothing in its directory is written, created or locked for longer
//! than a glance.
//!
//! RocksDB's secondary instance reads the running process's tables and write-ahead log; files that this process deletes
//! meanwhile are the reason why whatever fails is tried again. What the running process has not handed to
//! the operating system yet (some milliseconds of appends) can't be seen.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_protocol::position::SourcePosition;
use rocksdb::DB;
use tempfile::TempDir;

use super::directory::{disk_bytes, existing_families};
use super::options::view_options;
use super::schemas::Schemas;
use super::tables::{Meta, Tables};
use super::{Holder, engine_error, io_error, lock, not_a_log, wal};
use crate::format::FORMAT;
use crate::{Error, LogId, Offset, Record, SchemaVersion};

/// How much is read at a time.
const BATCH: usize = 4 << 20;
/// How often opening, catching up or reading is tried before its error counts.
const ATTEMPTS: u32 = 8;
/// The pause after the first failure; each one more makes it twice as long.
const PAUSE: Duration = Duration::from_millis(2);

/// A log opened for looking. What it shows is the log as of the last [`refresh`](Self::refresh); iterating refreshes it where
/// the running process has deleted what is being read.
pub struct View {
    path: PathBuf,
    meta: Meta,
    db: DB,
    // After `db`, which writes there until it is dropped.
    _scratch: TempDir,
}

/// A log at one moment, as [`View::info`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The log's identity.
    pub id: LogId,
    /// The layout on disk.
    pub format: u32,
    /// The first offset kept; above `last` when the log holds nothing.
    pub first: Offset,
    /// The last whole transaction; zero before the first.
    pub last: Offset,
    /// Everything up to here is gone for good.
    pub trimmed: Offset,
    /// Who has it open, if anybody.
    pub in_use: Option<Holder>,
    /// What the directory takes on disk.
    pub bytes: ByteSize,
    /// The place after the last transaction; before the first, where capture is to start. `None`: neither is known.
    pub position: Option<SourcePosition>,
}

impl View {
    /// Opens the log in `path`. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::NotALog`], [`Error::Version`], [`Error::Corrupt`], [`Error::Engine`], [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        persist(|| Self::attempt(path))
    }

    fn attempt(path: &Path) -> Result<Self, Error> {
        let families = existing_families(path)?;
        let scratch = tempfile::Builder::new().prefix("outrigger-view-").tempdir();
        let scratch =
            scratch.map_err(|e| io_error(&std::env::temp_dir(), "making a temporary directory in", e))?;
        let before = wal::numbers(path).map_err(|e| io_error(path, "reading", e))?;
        let db = DB::open_cf_as_secondary(&view_options(), path, scratch.path(), families)
            .map_err(|e| engine_error(path, "opening the database for reading", e))?;
        let after = wal::numbers(path).map_err(|e| io_error(path, "reading", e))?;
        // RocksDB passes over a write-ahead log that goes meanwhile, and may have read the tables from before.
        if !before.is_subset(&after) {
            let gone = io::Error::new(io::ErrorKind::NotFound, "a write-ahead log went meanwhile");
            return Err(io_error(path, "opening the database for reading in", gone));
        }
        let tables = Tables { db: &db, path };
        let meta = tables.meta()?;
        let meta = meta.ok_or_else(|| not_a_log(path, "it has no format version".into()))?;
        Ok(Self {
            path: path.to_path_buf(),
            meta,
            db,
            _scratch: scratch,
        })
    }

    /// Catches up with the process that writes the log. Blocks for the disk.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn refresh(&mut self) -> Result<(), Error> {
        // Opened anew: a secondary instance that catches up takes what it once read from the write-ahead log for newer than
        // the tables that were written past it.
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// What the log is like, as of the last refresh; its size as of now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn info(&self) -> Result<Info, Error> {
        Ok(Info {
            id: self.meta.id,
            format: FORMAT,
            first: self.first(),
            last: self.meta.last(),
            trimmed: self.meta.trimmed,
            in_use: lock::holder(&self.path)?,
            bytes: ByteSize(disk_bytes(&self.path)?),
            position: self
                .meta
                .position
                .as_ref()
                .map(|position| position.source.clone()),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The records of whole transactions from `from` on (or from the first one kept, if that comes later), in order, every
    /// checksum checked, to the log's end as of the last refresh. The first error is the last item; what was read before it is
    /// good.
    ///
    /// The iterator's errors are [`Error::Corrupt`], [`Error::Engine`] and, when the running process trimmed faster than was
    /// read, [`Error::Trimmed`].
    pub fn records(&mut self, from: Offset) -> Records<'_> {
        let through = self.meta.last();
        let next = (from.max(self.first()), 0);
        Records {
            view: self,
            next,
            through,
            ready: VecDeque::new(),
        }
    }

    /// What is known of a table as of a transaction (A4), as of the last refresh: the version whose offset is the highest that is
    /// not beyond `at`. `None` if nothing is known of that table.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is stored is not what was written, [`Error::Engine`].
    pub fn schema(&self, database: &str, table: &str, at: Offset) -> Result<Option<SchemaVersion>, Error> {
        persist(|| self.tables().schema(database, table, at))
    }

    /// All that is known of tables, each table's versions in the order of their offsets.
    ///
    /// # Errors
    /// [`Error::Engine`]; the items' are those of [`schema`](Self::schema).
    pub fn schemas(&self) -> Result<Schemas<'_>, Error> {
        persist(|| self.tables().schemas())
    }

    fn tables(&self) -> Tables<'_> {
        Tables {
            db: &self.db,
            path: &self.path,
        }
    }

    fn first(&self) -> Offset {
        self.meta.trimmed.next()
    }

    /// A batch of records; after a failure, once more with what the process that writes the log has done meanwhile.
    fn read(&mut self, from: (Offset, u32), through: Offset) -> Result<VecDeque<Record>, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.tables().records(from, through, BATCH) {
                Ok(records) => return Ok(records.into()),
                Err(error) => error,
            };
            self.refresh()?;
            if from.0 < self.first() {
                return Err(Error::Trimmed {
                    after: Offset(from.0.0 - 1),
                    first: self.first(),
                });
            }
            if attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("path", &self.path)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// The records of a [`View`], from [`View::records`].
#[derive(Debug)]
pub struct Records<'v> {
    view: &'v mut View,
    next: (Offset, u32),
    /// Past it after an error.
    through: Offset,
    ready: VecDeque<Record>,
}

impl Records<'_> {
    /// What is known of a table as of a transaction; see [`View::schema`].
    ///
    /// # Errors
    /// Those of [`View::schema`].
    pub fn schema(&self, database: &str, table: &str, at: Offset) -> Result<Option<SchemaVersion>, Error> {
        self.view.schema(database, table, at)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && self.next.0 <= self.through {
            match self.view.read(self.next, self.through) {
                Ok(records) => self.ready = records,
                Err(error) => {
                    self.through = Offset::ZERO;
                    return Some(Err(error));
                }
            }
        }
        let record = self.ready.pop_front()?;
        self.next = record.follower();
        Some(Ok(record))
    }
}

/// Tries what can fail because a running process has just replaced a file; what fails all the same counts.
fn persist<T>(mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match work() {
            Err(Error::Engine { .. } | Error::Io { .. }) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            other => return other,
        }
    }
    work()
}
