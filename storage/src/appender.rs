//! Writing to the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use outrigger_protocol::position::{FilePosition, SourcePosition};

use crate::engine::{Stall, WriteError};
use crate::format::{HEAD_ROOM, Key, encode_passed, encode_position, encode_record, key};
use crate::log::Shared;
use crate::{Error, Log, Offset, Piece, Record, SchemaVersion};

/// How long an append that waits for room sleeps before it measures the directory again, unless a trim wakes it.
const PATIENCE: Duration = Duration::from_millis(250);

/// More than this at once is written on a thread that may block, and not kept for readers: it is not to stand in memory five
/// times.
const LARGE: u64 = 8 << 20;

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

    /// Appends a piece; see [`append_all`](Self::append_all).
    ///
    /// # Errors
    /// Those of `append_all`.
    pub async fn append(&mut self, piece: Piece) -> Result<(), Error> {
        self.append_all(vec![piece]).await
    }

    /// Appends pieces that follow each other, of one transaction or several, all or none; some milliseconds later they are
    /// durable. Waits while the quota is used up (C4), or while much is not synced yet. Together they should not be much
    /// larger than one piece may be.
    ///
    /// If the future is dropped, the pieces were appended or they were not: drop the appender then, and go on from
    /// [`Log::position`].
    ///
    /// # Errors
    /// [`Error::Sequence`] if a piece doesn't follow the one before, [`Error::TransactionTooLarge`], [`Error::Closed`], and
    /// whatever made the log fail, which only opening it again can mend.
    pub async fn append_all(&mut self, mut pieces: Vec<Piece>) -> Result<(), Error> {
        if pieces.is_empty() {
            return Ok(());
        }
        let shared = self.log.shared();
        shared.sync.room().await?;
        let size = u64::try_from(pieces.iter().map(|piece| piece.events.len()).sum::<usize>());
        let size = size.unwrap_or(u64::MAX);
        if !shared.retention.fits(size) {
            self.wait_for_quota(size).await?;
        }
        if size <= LARGE {
            match shared.write(self.generation, &mut pieces, Stall::Refuse) {
                Ok(()) => return Ok(()),
                Err(WriteError::Failed(error)) => return Err(error),
                Err(WriteError::WouldStall) => shared.metrics.stalled(),
            }
        }
        let (shared, generation) = (Arc::clone(shared), self.generation);
        let write = move || shared.write(generation, &mut pieces, Stall::Wait);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WriteError::Failed(error))) => Err(error),
            // The runtime is shutting down, or RocksDB contradicts itself: either way nothing was written.
            Ok(Err(WriteError::WouldStall)) | Err(_) => Err(Error::Closed),
        }
    }

    /// Moves [`Log::position`] past transactions that are not kept: what is appended next comes after `position`. Durable some
    /// milliseconds later.
    ///
    /// # Errors
    /// [`Error::Sequence`] inside a transaction, and whatever made the log fail.
    pub fn pass(&mut self, position: &SourcePosition) -> Result<(), Error> {
        self.log.shared().pass(position)
    }

    /// Stores what is known of tables outside of any transaction: what was there at the log's start, and what is known more
    /// exactly now. Durable some milliseconds later, and after everything appended before.
    ///
    /// # Errors
    /// [`Error::Sequence`] for an offset that was not appended yet, [`Error::Closed`], and whatever made the log fail.
    pub async fn put_schemas(&mut self, versions: Vec<SchemaVersion>) -> Result<(), Error> {
        if versions.is_empty() {
            return Ok(());
        }
        let (shared, generation) = (Arc::clone(self.log.shared()), self.generation);
        tokio::task::spawn_blocking(move || shared.put_schemas(generation, &versions))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    /// The offset of the transaction that is being appended, or of the next one.
    pub fn next(&self) -> Offset {
        self.log.shared().lock_writer().last.next()
    }

    /// Says that the source's binlog was read up to `position`; [`Log::reached`] shows it once everything appended before is
    /// durable.
    pub fn reached(&mut self, position: FilePosition) {
        self.log.shared().sync.read_up_to(position);
    }

    /// Has everything appended synced now, without waiting for it; in a rush, of which each sync writes a table, as soon as it would be
    /// anyway.
    pub fn hasten(&self) {
        self.log.shared().sync.hasten();
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
            let alone = open > 0 && shared.retention.trimmed() >= last && !shared.retention.has_room(size);
            if alone {
                self.reclaim().await?;
            }
            if shared.retention.fits(size) {
                return Ok(());
            }
            if alone && !shared.retention.has_room(size) {
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
        let work = move || shared.retention.reclaim(&shared.engine, &shared.metrics);
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
                shared.sync.fail(error);
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
#[derive(Debug, Clone, Copy)]
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

    /// Which offset and number `piece` gets, and what is then open; an error if it doesn't follow what was appended.
    fn place(&mut self, piece: &Piece) -> Result<(Offset, u32), Error> {
        let refuse = |what| Err(Error::Sequence { what });
        let open = match (self.open, &piece.begin) {
            (None, Some(_)) => Open { pieces: 0, bytes: 0 },
            (Some(open), None) if open.pieces < u32::MAX => open,
            (None, None) => return refuse("a transaction began without its first piece"),
            (Some(_), Some(_)) => return refuse("a transaction began before the one before it had ended"),
            (Some(_), None) => return refuse("a transaction has more pieces than can be counted"),
        };
        let offset = self.last.next();
        if piece.end.is_some() {
            self.last = offset;
            self.open = None;
        } else {
            let bytes = u64::try_from(piece.events.len()).unwrap_or(u64::MAX);
            self.open = Some(Open {
                pieces: open.pieces + 1,
                bytes: open.bytes.saturating_add(bytes),
            });
        }
        Ok((offset, open.pieces))
    }
}

/// Pieces on their way: how they are stored.
struct Encoded {
    /// All values, one after the other, so that a batch is one allocation.
    values: Vec<u8>,
    /// Where each begins, where its events do, and which piece it is.
    places: Vec<(usize, usize, Offset, u32)>,
    /// The last transaction that ends.
    whole: Option<(Offset, SourcePosition)>,
    /// The position after that, as it is stored.
    position: Option<Vec<u8>>,
    /// What the transactions that end changed of table definitions.
    schemas: Vec<SchemaVersion>,
}

impl Encoded {
    fn new(pieces: &[Piece], writer: &mut Writer) -> Result<Self, Error> {
        let room = pieces.iter().map(|piece| piece.events.len() + HEAD_ROOM).sum();
        let mut encoded = Self {
            values: Vec::with_capacity(room),
            places: Vec::with_capacity(pieces.len()),
            whole: None,
            position: None,
            schemas: Vec::new(),
        };
        let mut last = None;
        for piece in pieces {
            let (offset, number) = writer.place(piece)?;
            let start = encoded.values.len();
            let head = encode_record(&mut encoded.values, &key(offset, number), piece);
            encoded
                .places
                .push((start, head.map_err(|e| e.refused())?, offset, number));
            if let Some(end) = &piece.end {
                check_offsets(&end.schemas, offset)?;
                encoded.schemas.extend_from_slice(&end.schemas);
                last = Some((offset, end));
            }
        }
        if let Some((offset, end)) = last {
            encoded.position = Some(encode_position(offset, &end.position).map_err(|e| e.refused())?);
            encoded.whole = Some((offset, end.position.clone()));
        }
        Ok(encoded)
    }

    /// Where the value after the `nth` begins.
    fn end(&self, nth: usize) -> usize {
        self.places
            .get(nth + 1)
            .map_or(self.values.len(), |(start, ..)| *start)
    }

    fn records(&self) -> Vec<(Key, &[u8])> {
        let record = |(nth, (start, _, offset, number)): (usize, &(usize, usize, Offset, u32))| {
            (key(*offset, *number), &self.values[*start..self.end(nth)])
        };
        self.places.iter().enumerate().map(record).collect()
    }

    /// The same as readers get them.
    fn into_records(self, pieces: &[Piece]) -> Vec<Record> {
        let ends: Vec<usize> = (0..self.places.len()).map(|nth| self.end(nth)).collect();
        let values = Bytes::from(self.values);
        let parts = self.places.iter().zip(ends).zip(pieces);
        parts
            .map(|(((_, head, offset, number), end), piece)| Record {
                offset: *offset,
                piece: *number,
                begin: piece.begin.clone(),
                events: values.slice(*head..end),
                end: piece.end.as_ref().map(|end| end.position.file.clone()),
            })
            .collect()
    }
}

impl Shared {
    /// Stores a position without a transaction.
    fn pass(&self, position: &SourcePosition) -> Result<(), Error> {
        let writer = self.lock_writer();
        self.sync.check()?;
        if writer.open.is_some() {
            return Err(Error::Sequence {
                what: "the position moved on inside a transaction",
            });
        }
        let value = encode_passed(writer.last, position).map_err(|e| e.refused())?;
        self.engine
            .put_position(&value)
            .map_err(|error| self.sync.fail(error))?;
        let size = u64::try_from(value.len()).unwrap_or(u64::MAX);
        self.sync.appended(size, Some((writer.last, position.clone())));
        Ok(())
    }

    /// Writes pieces and tells everyone whom it concerns. Takes the events out of large ones, which must not stand in memory once
    /// more than needed.
    fn write(&self, generation: u64, pieces: &mut [Piece], stall: Stall) -> Result<(), WriteError> {
        let mut writer = self.lock_writer();
        self.sync.check().map_err(WriteError::Failed)?;
        if writer.generation != generation {
            return Err(WriteError::Failed(Error::Closed));
        }
        let mut next = *writer;
        let mut encoded = Encoded::new(pieces, &mut next).map_err(WriteError::Failed)?;
        let size = encoded.values.len() + encoded.position.as_ref().map_or(0, Vec::len);
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let large = stall == Stall::Wait && size > LARGE;
        if large {
            pieces.iter_mut().for_each(|piece| piece.events.clear());
        }
        let batch = self
            .engine
            .batch(&encoded.records(), encoded.position.as_deref(), &encoded.schemas);
        if large {
            encoded.values = Vec::new();
        }
        fail::fail_point!("log-append", |_| crate::failpoint::kill());
        batch
            .map_err(WriteError::Failed)
            .and_then(|batch| self.engine.write(batch, &encoded.schemas, stall))
            .map_err(|error| match error {
                WriteError::Failed(error) => WriteError::Failed(self.sync.fail(error)),
                WriteError::WouldStall => WriteError::WouldStall,
            })?;
        *writer = next;
        let whole = encoded.whole.take();
        if large {
            self.lock_tail().clear();
        } else {
            self.lock_tail().extend(encoded.into_records(pieces));
        }
        let transactions = pieces.iter().filter(|piece| piece.end.is_some()).count();
        self.metrics.appended(size, transactions);
        self.sync.appended(size, whole);
        let measured = self.retention.appended(size, &self.engine, &self.metrics);
        measured.map_err(|error| WriteError::Failed(self.sync.fail(error)))
    }

    /// Stores table definitions outside of any transaction.
    fn put_schemas(&self, generation: u64, versions: &[SchemaVersion]) -> Result<(), Error> {
        let writer = self.lock_writer();
        self.sync.check()?;
        if writer.generation != generation {
            return Err(Error::Closed);
        }
        check_offsets(versions, writer.last)?;
        let size = self
            .engine
            .put_schemas(versions)
            .map_err(|error| self.sync.fail(error))?;
        self.sync.appended(size, None);
        self.retention
            .appended(size, &self.engine, &self.metrics)
            .map_err(|error| self.sync.fail(error))
    }
}

/// A table's version may not be ahead of the transaction that made it.
fn check_offsets(versions: &[SchemaVersion], last: Offset) -> Result<(), Error> {
    match versions.iter().all(|version| version.offset <= last) {
        true => Ok(()),
        false => Err(Error::Sequence {
            what: "a table's definition was given an offset that is not appended yet",
        }),
    }
}
