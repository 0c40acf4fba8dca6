//! Reading the log in order, and waiting at its end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::{Error, Log, Offset, Record};

/// How much is read ahead; a reader holds at most two such batches.
const BATCH: usize = 1 << 20;

/// A reader at its own place in the log. Near the end it is served from memory, farther back from the disk, one batch ahead
/// of what it is asked for.
pub struct Reader {
    log: Log,
    /// The last transaction that may be read: the last durable one, or the last one appended.
    last: watch::Receiver<Offset>,
    /// What to return next.
    ready: VecDeque<Record>,
    /// The first record that is not in `ready`.
    wanted: (Offset, u32),
    /// A batch on its way from the disk, from `wanted` on.
    loading: Option<oneshot::Receiver<Result<Vec<Record>, Error>>>,
}

impl Reader {
    pub(crate) fn new(log: Log, first: Offset, last: watch::Receiver<Offset>) -> Self {
        Self {
            log,
            last,
            ready: VecDeque::new(),
            wanted: (first, 0),
            loading: None,
        }
    }

    /// The next record of a durable transaction (of an early reader: of a whole one); waits for one at the end of the log. Cancellation-safe: dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is stored is not what was written, [`Error::Trimmed`] if it was trimmed too early,
    /// [`Error::Engine`]; at the end of the log [`Error::Closed`] or whatever made it fail.
    pub async fn next(&mut self) -> Result<Record, Error> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(record);
            }
            if let Some(loading) = &mut self.loading {
                let loaded = loading.await;
                self.loading = None;
                // Without an answer the runtime is shutting down.
                self.accept(loaded.unwrap_or(Err(Error::Closed))?);
                continue;
            }
            let last = *self.last.borrow_and_update();
            if self.wanted.0 <= last {
                self.read_tail(last);
                if self.ready.is_empty() {
                    self.load(last);
                }
                continue;
            }
            self.log.shared().sync.check()?;
            // The sender lives in the log, which this reader holds.
            self.last.changed().await.map_err(|_gone| Error::Closed)?;
        }
    }

    /// The next record if one is durable, without waiting; `None` if nothing durable follows what was returned. Far from the
    /// end of the log it may read up to 1 MiB from the disk.
    ///
    /// # Errors
    /// Those of [`next`](Self::next) that concern stored records.
    pub fn try_next(&mut self) -> Result<Option<Record>, Error> {
        if self.ready.is_empty()
            && let Some(mut loading) = self.loading.take()
            && let Ok(loaded) = loading.try_recv()
        {
            self.accept(loaded?);
        }
        if self.ready.is_empty() {
            let last = *self.last.borrow();
            if self.wanted.0 > last {
                return Ok(None);
            }
            self.read_tail(last);
            if self.ready.is_empty() {
                let records = self.log.shared().read(self.wanted, last, BATCH)?;
                self.accept(records);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Takes what the memory holds.
    fn read_tail(&mut self, last: Offset) {
        self.log
            .shared()
            .lock_tail()
            .read(self.wanted, last, BATCH, &mut self.ready);
        self.advance();
    }

    /// Takes a batch from the disk, and orders the next one if that is on the disk too.
    fn accept(&mut self, records: Vec<Record>) {
        self.ready.extend(records);
        self.advance();
        let last = *self.last.borrow();
        if self.wanted.0 <= last && !self.log.shared().lock_tail().contains(self.wanted) {
            self.load(last);
        }
    }

    fn advance(&mut self) {
        if let Some(last) = self.ready.back() {
            self.wanted = last.follower();
        }
    }

    /// Reads a batch on a thread that may block.
    fn load(&mut self, last: Offset) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (answer, loading) = oneshot::channel();
        let (shared, wanted) = (Arc::clone(self.log.shared()), self.wanted);
        runtime.spawn_blocking(move || {
            if !answer.is_closed() {
                // Nobody listens if the reader is gone meanwhile.
                drop(answer.send(shared.read(wanted, last, BATCH)));
            }
        });
        self.loading = Some(loading);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("log", &self.log)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}
