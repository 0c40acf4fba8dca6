//! The log as its users hold it, and what its parts share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytesize::ByteSize;
use outrigger_protocol::position::{FilePosition, SourcePosition};
use tokio::sync::watch;

use crate::appender::Writer;
use crate::engine::Engine;
use crate::format::{Kept, encode_kept, encode_position};
use crate::metrics::Metrics;
use crate::retention::Retention;
use crate::sync::Durability;
use crate::tail::Tail;
use crate::{
    Appender, Config, Error, LogId, Offset, Reader, Record, Recovery, SchemaVersion, Schemas, Stats,
};

/// An open log. Clones share it; the last one to go, readers and appenders included, closes it.
#[derive(Clone)]
pub struct Log {
    // Before `shared`: dropping it stops the thread that uses it.
    thread: Arc<SyncThread>,
    shared: Arc<Shared>,
}

/// What appender, readers and the sync thread share.
pub(crate) struct Shared {
    pub(crate) id: LogId,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) sync: Durability,
    pub(crate) retention: Retention,
    pub(crate) metrics: Metrics,
    recovery: Recovery,
    pub(crate) engine: Engine,
}

/// The sync thread, joined when its last user is gone or the log is closed.
struct SyncThread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in `config.path`, creating it if the directory is empty or missing. An unfinished transaction, which a
    /// crash left behind, is discarded. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it, [`Error::Version`] or [`Error::NotALog`] if it is not ours to read,
    /// [`Error::Corrupt`] if its end contradicts itself, [`Error::Config`], [`Error::Io`], [`Error::Engine`].
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_known(config, None)
    }

    /// Opens the log `id` again, and none in its place: a disk that is not mounted shows an empty directory.
    ///
    /// # Errors
    /// [`Error::Gone`] if that log is not there; those of [`open`](Self::open).
    pub fn reopen(config: Config, id: LogId) -> Result<Self, Error> {
        Self::open_known(config, Some(id))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a config is validated once and passed by value"
    )]
    fn open_known(config: Config, known: Option<LogId>) -> Result<Self, Error> {
        config.validate()?;
        let gone = || Error::Gone {
            path: config.path.clone(),
        };
        if known.is_some() && !Engine::exists(&config.path) {
            return Err(gone());
        }
        let (engine, meta) = Engine::open(&config)?;
        if known.is_some_and(|known| known != meta.id) {
            return Err(gone());
        }
        let recovery = engine.recover(&meta)?;
        engine.sync()?;
        engine.settle();
        let last = meta.last();
        let metrics = Metrics::new();
        let measured = engine.disk_bytes()?;
        metrics.measured(measured);
        tracing::info!(path = %config.path.display(), id = %meta.id, %last, trimmed = %meta.trimmed, "log opened");
        for sentence in recovery.sentences() {
            tracing::info!("log: {sentence}");
        }
        let shared = Arc::new(Shared {
            id: meta.id,
            writer: Mutex::new(Writer::new(last)),
            tail: Mutex::new(Tail::new(usize::try_from(config.tail.0).unwrap_or(usize::MAX))),
            sync: Durability::new(&config, meta.position),
            retention: Retention::new(&config, measured, meta.trimmed),
            metrics,
            recovery,
            engine,
        });
        let worker = Arc::clone(&shared);
        let handle = std::thread::Builder::new()
            .name("log-sync".into())
            .spawn(move || worker.sync.run(&worker.engine, &worker.metrics))
            .map_err(|e| Error::Io {
                path: config.path.clone(),
                doing: "starting the sync thread of",
                source: e.into(),
            })?;
        let thread = SyncThread {
            shared: Arc::clone(&shared),
            handle: Mutex::new(Some(handle)),
        };
        Ok(Self {
            thread: Arc::new(thread),
            shared,
        })
    }

    /// The log's identity, drawn when it was created.
    pub fn id(&self) -> LogId {
        self.shared.id
    }

    /// What opening the log found of a crash.
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// The appender. Everything that a former one appended is durable and shown by [`position`](Self::position) by then.
    ///
    /// # Errors
    /// [`Error::AppenderTaken`] while another one lives; what made the log fail; [`Error::Closed`].
    pub fn appender(&self) -> Result<Appender, Error> {
        Appender::new(self.clone())
    }

    /// A reader of what follows `after`; [`Offset::ZERO`] for everything.
    ///
    /// # Errors
    /// [`Error::Trimmed`] if some of it is gone, [`Error::Beyond`] if `after` is behind the last transaction that may be read.
    pub fn reader(&self, after: Offset) -> Result<Reader, Error> {
        self.reader_until(after, self.durable())
    }

    /// The same, which returns whole transactions as soon as they are appended. A crash of the machine may lose them from the
    /// log; capture then reads them again, and gives them offsets anew. Whoever does something lasting with them must know
    /// them again by their place on the source.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader).
    pub fn early_reader(&self, after: Offset) -> Result<Reader, Error> {
        self.reader_until(after, self.shared.sync.last_appended().subscribe())
    }

    fn reader_until(&self, after: Offset, last: watch::Receiver<Offset>) -> Result<Reader, Error> {
        let trimmed = self.shared.retention.trimmed();
        if after < trimmed {
            return Err(Error::Trimmed {
                after,
                first: trimmed.next(),
            });
        }
        let end = *last.borrow();
        if after > end {
            return Err(Error::Beyond {
                wanted: after,
                last: end,
            });
        }
        Ok(Reader::new(self.clone(), after.next(), last))
    }

    /// Where capture resumes, durable; `None` if the log has neither a start nor a transaction.
    pub fn position(&self) -> Option<SourcePosition> {
        self.shared.sync.position()
    }

    /// The highest durable offset (C2). A receiver may be woken without a change.
    pub fn durable(&self) -> watch::Receiver<Offset> {
        self.shared.sync.durable().subscribe()
    }

    /// The last whole transaction that was appended, durable or not: how far an [`early_reader`](Self::early_reader) gets.
    pub fn appended(&self) -> Offset {
        *self.shared.sync.last_appended().borrow()
    }

    /// How far the source's binlog was read, everything up to there durable; `None` if nothing is known yet.
    pub fn reached(&self) -> watch::Receiver<Option<FilePosition>> {
        self.shared.sync.reached().subscribe()
    }

    /// The same as a place on `server`; `None` unless that is the one that is read ([`set_server`](Self::set_server)) since this
    /// process began. Whoever compares with a place that a server gave must use this: servers name their files alike.
    pub fn reached_on(&self, server: &str) -> Option<FilePosition> {
        self.shared.sync.reached_on(server)
    }

    /// Says where the capture of an empty log starts; durable on return. Blocks for one sync.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] once a transaction was appended; [`Error::Engine`].
    pub fn set_start(&self, position: &SourcePosition) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        let writer = shared.lock_writer();
        if writer.last > Offset::ZERO || writer.open.is_some() {
            return Err(Error::NotEmpty { last: writer.last });
        }
        let value = encode_position(Offset::ZERO, position).map_err(|e| e.refused())?;
        let stored = shared
            .engine
            .put_position(&value)
            .and_then(|()| shared.engine.sync());
        stored.map_err(|error| shared.sync.fail(error))?;
        shared.sync.started(position);
        Ok(())
    }

    /// Notes which server the log's position belongs to; durable on return. Blocks for one sync if that is new.
    ///
    /// # Errors
    /// [`Error::Engine`], and whatever made the log fail.
    pub fn set_server(&self, id: &str) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        shared.sync.reads(id);
        if shared.engine.server()?.as_deref() == Some(id) {
            return Ok(());
        }
        let stored = shared.engine.put_server(id).and_then(|()| shared.engine.sync());
        stored.map_err(|error| shared.sync.fail(error))
    }

    /// Which server was captured last, as [`set_server`](Self::set_server) was told; `None` before the first.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn server(&self) -> Result<Option<String>, Error> {
        self.shared.engine.server()
    }

    /// Notes which of the source's binlog files is read, and when that was begun, in seconds since 1970. Durable with whatever is
    /// appended next.
    ///
    /// # Errors
    /// [`Error::Engine`], and whatever made the log fail.
    pub fn set_file(&self, file: &str, begun: u32) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        let stored = shared.engine.put_file(file, begun);
        stored.map_err(|error| shared.sync.fail(error))
    }

    /// Which binlog file was read last, and when it was begun, as [`set_file`](Self::set_file) was told; `None` before the first.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn file(&self) -> Result<Option<(String, u32)>, Error> {
        self.shared.engine.file()
    }

    /// Says in the caller's own words what is kept of the source from here on; durable on return. Blocks for one sync if that
    /// is new. Before an appender is taken.
    ///
    /// # Errors
    /// [`Error::Sequence`] inside a transaction or without a start; [`Error::Engine`], and whatever made the log fail.
    pub fn keep(&self, what: &str) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        let writer = shared.lock_writer();
        let (None, Some(since)) = (writer.open, shared.sync.position()) else {
            return Err(Error::Sequence {
                what: "what is kept changed inside a transaction, or before the log's start was set",
            });
        };
        let mut kept = shared.engine.kept()?;
        if kept.last().is_some_and(|last| last.what == what) {
            return Ok(());
        }
        kept.push(Kept {
            from: writer.last.next(),
            since,
            what: what.to_owned(),
        });
        // What held for nothing but transactions that are gone concerns nobody any more.
        let first = shared.retention.trimmed().next();
        let gone = kept.windows(2).take_while(|pair| pair[1].from < first).count();
        kept.drain(..gone);
        let value = encode_kept(&kept).map_err(|e| e.refused())?;
        let stored = shared.engine.put_kept(&value).and_then(|()| shared.engine.sync());
        stored.map_err(|error| shared.sync.fail(error))
    }

    /// What was kept of the source where, in order; each holds until the next begins. Empty: everything.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn kept(&self) -> Result<Vec<Kept>, Error> {
        self.shared.engine.kept()
    }

    /// Forgets everything up to and including `through`, which every target must have applied. Blocks for file deletions, for
    /// seconds when the log is nearly full: not on an async thread. Space comes back with one of the next calls if this one
    /// found it not worth the effort.
    ///
    /// # Errors
    /// [`Error::Beyond`] if `through` is not durable, [`Error::Engine`].
    pub fn trim(&self, through: Offset) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        shared.must_be_durable(through)?;
        shared.retention.trim(through, &shared.engine, &shared.metrics)
    }

    /// What is known of a table as of a transaction (A4): the version whose offset is the highest that is not beyond `at`. `None`
    /// if nothing is known of that table. Reads the disk.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is stored is not what was written, [`Error::Engine`].
    pub fn schema(&self, database: &str, table: &str, at: Offset) -> Result<Option<SchemaVersion>, Error> {
        self.shared.engine.schema(database, table, at)
    }

    /// All that is known of tables, each table's versions in the order of their offsets. Reads the disk.
    ///
    /// # Errors
    /// [`Error::Engine`]; the items' are those of [`schema`](Self::schema).
    pub fn schemas(&self) -> Result<Schemas<'_>, Error> {
        self.shared.engine.schemas()
    }

    /// Does what is left to do of trims before: space comes back in steps. Fails the log if its directory is gone. To be called every few seconds; blocks like
    /// [`trim`](Self::trim).
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Io`].
    pub fn tidy(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        if let Err(error) = shared.engine.be_there() {
            return Err(shared.sync.fail(error));
        }
        let trimmed = shared.retention.trimmed();
        shared.retention.trim(trimmed, &shared.engine, &shared.metrics)
    }

    /// Says whether something in the log is older than it may be and not applied: while it is, appends wait as for room.
    pub fn set_overdue(&self, overdue: bool) {
        self.shared.retention.set_overdue(overdue);
    }

    /// What made the log fail, if it has: it takes nothing more until it is opened again.
    pub fn failed(&self) -> Option<Error> {
        self.shared.sync.failure()
    }

    /// Waits until the log fails. May be cancelled.
    pub async fn failure(&self) -> Error {
        self.shared.sync.wait_for_failure().await
    }

    /// Gives back everything that was trimmed, whatever it costs. Blocks for the disk, possibly for seconds.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Io`].
    pub fn reclaim(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.sync.check()?;
        shared.retention.reclaim(&shared.engine, &shared.metrics)
    }

    /// A view of the log now. Cheap.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        // On its own: a borrow that lives while `unsynced` takes the sync thread's lock would deadlock with publishing.
        let last = *shared.sync.durable().borrow();
        Stats {
            id: shared.id,
            first: shared.retention.trimmed().next(),
            last,
            bytes: ByteSize(shared.retention.bytes()),
            quota: ByteSize(shared.retention.quota()),
            paused: shared.retention.is_paused(),
            overdue: shared.retention.is_overdue(),
            unsynced: ByteSize(shared.sync.unsynced()),
        }
    }

    /// Makes everything durable and ends the sync thread. Whoever still holds a clone, a reader or an appender gets
    /// [`Error::Closed`]; the directory is free once all of them are dropped. Blocks for one sync.
    ///
    /// # Errors
    /// What made the log fail, now or before.
    pub fn close(self) -> Result<(), Error> {
        self.thread.join();
        match self.shared.sync.check() {
            Err(Error::Closed) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.shared.engine.path())
            .field("id", &self.shared.id)
            .finish()
    }
}

impl Shared {
    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        // A panic between write and update would leave `last` behind; nothing there panics.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records from the disk; see [`Engine::read`]. What was trimmed meanwhile is called so.
    pub(crate) fn read(
        &self,
        from: (Offset, u32),
        through: Offset,
        budget: usize,
    ) -> Result<Vec<Record>, Error> {
        self.engine.read(from, through, budget).map_err(|error| {
            let trimmed = self.retention.trimmed();
            match error {
                Error::Corrupt { .. } if from.0 <= trimmed => Error::Trimmed {
                    after: Offset(from.0.0.saturating_sub(1)),
                    first: trimmed.next(),
                },
                other => other,
            }
        })
    }

    fn must_be_durable(&self, wanted: Offset) -> Result<(), Error> {
        let last = *self.sync.durable().borrow();
        if wanted > last {
            Err(Error::Beyond { wanted, last })
        } else {
            Ok(())
        }
    }
}

impl SyncThread {
    fn join(&self) {
        self.shared.sync.stop();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some_and(|handle| handle.join().is_err()) {
            self.shared.sync.fail(Error::Closed);
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.join();
    }
}
