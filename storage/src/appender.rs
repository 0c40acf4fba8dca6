//! Writing to the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use outrigger_protocol::position::FilePosition;

use crate::engine::{Stall, WriteError};
use crate::format::{encode_position, encode_record, key};
use crate::log::Shared;
use crate::{Error, Log, Offset, Piece, Record};

/// How long an append that waits for room sleeps before it measures the directory again, unless a trim wakes it.
const PATIENCE: Duration = Duration::from_millis(250);

/// The one writer of a log. Dropping it discards an unfinished transaction and makes the finished ones durable (it blocks for
/// that sync), so that [`Log::position`] then says where the next one must go on.
#[derive(Debug)]
pub struct Appender {
    log: Log,
    generation: u64,
}

impl Appender {
    pub(crate) fn new(log: Log) -> Result<Self, Error> {
        log.shared().sync.check()?;
        let mut writer = log.shared().lock_writer();
        if writer.taken {
            return Err(Error::AppenderTaken);
        }
        writer.taken = true;
        let generation = writer.generation;
        drop(writer);
        Ok(Self { log, generation })
    }

    /// Appends a piece; some milliseconds later it is durable. Waits while the quota is used up (C4), or while much is not
    /// synced yet.
    ///
    /// If the future is dropped, the piece was appended or it was not: drop the appender then, and go on from
    /// [`Log::position`].
    ///
    /// # Errors
    /// [`Error::Sequence`] if the piece doesn't follow the one before, [`Error::TransactionTooLarge`], [`Error::Closed`], and
    /// whatever made the log fail, which only opening it again can mend.
    pub async fn append(&mut self, piece: Piece) -> Result<(), Error> {
        let shared = self.log.shared();
        shared.sync.room().await?;
        let size = u64::try_from(piece.events.len()).unwrap_or(u64::MAX);
        if !shared.retention.fits(size) {
            self.wait_for_quota(size).await?;
        }
        match shared.write(self.generation, &piece, Stall::Refuse) {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
            Err(WriteError::WouldStall) => {
                shared.metrics.stalled();
                let (shared, generation) = (Arc::clone(shared), self.generation);
                let write = move || shared.write(generation, &piece, Stall::Wait);
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(WriteError::Failed(error))) => Err(error),
                    // The runtime is shutting down, or RocksDB contradicts itself: either way nothing was written.
                    Ok(Err(WriteError::WouldStall)) | Err(_) => Err(Error::Closed),
                }
            }
        }
    }

    /// Says that the source's binlog was read up to `position`; [`Log::reached`] shows it once everything appended before is
    /// durable.
    pub fn reached(&mut self, position: FilePosition) {
        self.log.shared().sync.read_up_to(position);
    }

    /// Waits until everything appended is durable; the highest durable offset.
    ///
    /// # Errors
    /// [`Error::Closed`], and whatever made the log fail.
    pub async fn sync(&mut self) -> Result<Offset, Error> {
        self.log.shared().sync.flush().await
    }

    /// Waits until `size` more bytes fit the quota.
    async fn wait_for_quota(&self, size: u64) -> Result<(), Error> {
        let shared = self.log.shared();
        shared.retention.measure(&shared.engine, &shared.metrics)?;
        if shared.retention.fits(size) {
            return Ok(());
        }
        let _pause = shared.retention.pause(&shared.metrics);
        loop {
            shared.sync.check()?;
            let (last, open) = {
                let writer = shared.lock_writer();
                (writer.last, writer.open.map_or(0, |open| open.bytes))
            };
            let alone = open > 0 && shared.retention.trimmed() >= last;
            if alone {
                self.reclaim().await?;
            }
            if shared.retention.fits(size) {
                return Ok(());
            }
            if alone {
                let quota = ByteSize(shared.retention.quota());
                return Err(Error::TransactionTooLarge {
                    bytes: ByteSize(open),
                    quota,
                });
            }
            shared.retention.wait_for_trim(PATIENCE).await;
            shared.retention.measure(&shared.engine, &shared.metrics)?;
        }
    }

    /// Deletes whatever was trimmed, whatever it costs.
    async fn reclaim(&self) -> Result<(), Error> {
        let shared = Arc::clone(self.log.shared());
        let work = move || {
            let trimmed = shared.retention.trimmed();
            shared.retention.trim(trimmed, &shared.engine, &shared.metrics)?;
            shared.retention.reclaim(&shared.engine, &shared.metrics)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let shared = self.log.shared();
        let mut writer = shared.lock_writer();
        // From here on a write of this appender that is still on its way is refused.
        writer.generation += 1;
        if let Some(open) = writer.open.take() {
            let offset = writer.last.next();
            if let Err(error) = shared.engine.discard(offset, offset, open.pieces) {
                shared.sync.fail(&error);
            }
            shared.lock_tail().discard(offset);
        }
        drop(writer);
        // A failure is kept and reported to whoever asks next.
        if let Err(error) = shared.sync.flush_blocking() {
            tracing::debug!(%error, "log: the appender was dropped without a last sync");
        }
        shared.lock_writer().taken = false;
    }
}

/// What comes next in the log.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The last whole transaction.
    pub(crate) last: Offset,
    /// The transaction of which pieces were appended, but not the last.
    pub(crate) open: Option<Open>,
    /// Counts appenders, so that a write outliving its appender is recognised.
    generation: u64,
    taken: bool,
}

/// An unfinished transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    /// Pieces appended.
    pieces: u32,
    /// Bytes of their events.
    bytes: u64,
}

impl Writer {
    pub(crate) fn new(last: Offset) -> Self {
        Self {
            last,
            open: None,
            generation: 0,
            taken: false,
        }
    }

    /// Which number `piece` gets; an error if it doesn't follow what was appended.
    fn number(&self, piece: &Piece) -> Result<u32, Error> {
        let refuse = |what| Err(Error::Sequence { what });
        match (self.open, &piece.begin) {
            (None, Some(_)) => Ok(0),
            (Some(open), None) if open.pieces < u32::MAX => Ok(open.pieces),
            (None, None) => refuse("a transaction began without its first piece"),
            (Some(_), Some(_)) => refuse("a transaction began before the one before it had ended"),
            (Some(_), None) => refuse("a transaction has more pieces than can be counted"),
        }
    }
}

impl Shared {
    /// Writes one piece and tells everyone whom it concerns.
    fn write(&self, generation: u64, piece: &Piece, stall: Stall) -> Result<(), WriteError> {
        let mut writer = self.lock_writer();
        self.sync.check().map_err(WriteError::Failed)?;
        if writer.generation != generation {
            return Err(WriteError::Failed(Error::Closed));
        }
        let number = writer.number(piece).map_err(WriteError::Failed)?;
        let offset = writer.last.next();
        let key = key(offset, number);
        let refused = |e: crate::format::FormatError| WriteError::Failed(e.refused());
        let (value, head) = encode_record(&key, piece).map_err(refused)?;
        let position = piece
            .end
            .as_ref()
            .map(|end| encode_position(offset, &end.position));
        let position = position.transpose().map_err(refused)?;
        fail::fail_point!("log-append", |_| crate::failpoint::kill());
        self.engine
            .write(&key, &value, position.as_deref(), stall)
            .inspect_err(|error| {
                if let WriteError::Failed(error) = error {
                    self.sync.fail(error);
                }
            })?;
        let size =
            u64::try_from(value.len() + position.map_or(0, |position| position.len())).unwrap_or(u64::MAX);
        self.lock_tail().push(Record {
            offset,
            piece: number,
            begin: piece.begin.clone(),
            events: Bytes::from(value).slice(head..),
            end: piece.end.as_ref().map(|end| end.position.file.clone()),
        });
        if piece.end.is_some() {
            writer.last = offset;
            writer.open = None;
        } else {
            let bytes = writer.open.map_or(0, |open| open.bytes).saturating_add(size);
            writer.open = Some(Open {
                pieces: number + 1,
                bytes,
            });
        }
        self.metrics.appended(size, piece.end.is_some());
        self.sync
            .appended(size, piece.end.as_ref().map(|end| (offset, end.position.clone())));
        let measured = self.retention.appended(size, &self.engine, &self.metrics);
        measured
            .inspect_err(|error| self.sync.fail(error))
            .map_err(WriteError::Failed)
    }
}
