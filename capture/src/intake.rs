//! One connection's stream on its way into the log: event by event, checked, assembled, appended.

use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Appender, Log, Piece};

use crate::connection::Connection;
use crate::metrics::Metrics;
use crate::reconnect::Outages;
use crate::schema::Recorder;
use crate::status::Progress;
use crate::transaction::{Assembler, Fault, Meaning, Step};
use crate::wire::WHOLE_BYTES;
use crate::{Error, State, Status, stream};

/// How often a waiting append looks whether the log's quota is why.
const PAUSE_CHECK: Duration = Duration::from_millis(250);

/// The status is told when the stream pauses, and at the latest after so many events.
const EVENTS_PER_REPORT: u64 = 4096;

/// Pieces wait for the stream to pause, or for this many bytes, to be appended together.
const BATCH_BYTES: usize = 512 << 10;

/// How often the position is stored while nothing that passes is wanted.
const PASSED_INTERVAL: Duration = Duration::from_secs(1);

/// Events with which every stream begins, whatever the server's health: two rotations, format, previous GTIDs.
const PREAMBLE: u64 = 4;

/// A stream and where it goes.
pub(crate) struct Intake<'a> {
    /// Where transactions are put together.
    pub(crate) assembler: Assembler,
    /// The stream, already asked for.
    pub(crate) connection: Connection,
    /// Where transactions go.
    pub(crate) appender: &'a mut Appender,
    /// Keeps table definitions.
    pub(crate) schema: Recorder<'a>,
    /// The same log, asked why an append waits.
    pub(crate) log: &'a Log,
    /// Told how far it got.
    pub(crate) status: &'a Status,
    /// Told how much.
    pub(crate) metrics: &'a Metrics,
    /// Told that the source answers.
    pub(crate) outages: &'a mut Outages,
    /// How long the source may stay silent.
    pub(crate) patience: Duration,
    /// What the status has not been told yet.
    pub(crate) progress: Progress,
    /// Events so far.
    pub(crate) events: u64,
    /// When the first of the transactions passed by that the log's position does not cover yet was.
    pub(crate) passed: Option<Instant>,
    /// What is to be appended.
    pub(crate) batch: Batch,
    /// Whether the source's commits wait for what is durable.
    pub(crate) awaited: bool,
    /// Whether the stream is of the binlog that the log ends in: its files must be the same. Servers name them alike, and begin them anew when
    /// their binlog is reset.
    pub(crate) followed: bool,
    /// The `server_uuid` of a source that is another than the one before, until the log has a place in its binlog.
    pub(crate) arriving: Option<String>,
}

/// What came and is not in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pieces: Vec<Piece>,
    bytes: usize,
    /// How far the source was read with them.
    place: Option<FilePosition>,
    /// True while they are on their way into the log.
    leaving: bool,
}

impl Intake<'_> {
    /// Streams until something breaks.
    pub(crate) async fn run(&mut self) -> Result<Infallible, Error> {
        let outcome = self.stream().await;
        // What came before the event that broke it is good.
        self.settle().await?;
        outcome
    }

    async fn stream(&mut self) -> Result<Infallible, Error> {
        loop {
            let pauses = !self.connection.has_next();
            if pauses || self.batch.bytes >= BATCH_BYTES {
                self.settle().await?;
            }
            if pauses || self.events.is_multiple_of(EVENTS_PER_REPORT) {
                self.report();
            }
            self.next_event().await?;
            let step = match self.large().await? {
                Some(step) => step,
                None => self.event().await?,
            };
            self.events += 1;
            match step {
                Step::Wait => {}
                Step::Piece(piece) => self.batch.push(piece),
                Step::Whole(piece, place) => {
                    self.whole(piece, &place).await?;
                    self.outages.progressed();
                    self.reached(place);
                }
                Step::Passed { place, commit_micros } => {
                    self.outages.progressed();
                    self.progress.passed += 1;
                    self.progress.commit_micros = commit_micros;
                    self.passed.get_or_insert_with(Instant::now);
                    self.schema.forget();
                    self.schema.passed(&place, self.appender).await?;
                    self.cover_passed().await?;
                    self.reached(place);
                }
                Step::Reached(place) => {
                    if self.events > PREAMBLE {
                        self.outages.progressed();
                    }
                    self.schema.forget();
                    self.schema.passed(&place, self.appender).await?;
                    self.arrive()?;
                    self.note_rotation(&place);
                    self.cover_passed().await?;
                    self.reached(place);
                }
            }
        }
    }

    /// Receives the next event, and what looks at tables say meanwhile.
    async fn next_event(&mut self) -> Result<(), Error> {
        if !self.schema.is_looking() {
            return self.connection.event(self.patience).await;
        }
        let mut coming = pin!(self.connection.event(self.patience));
        loop {
            let answer = tokio::select! {
                outcome = &mut coming => return outcome,
                // It goes on where it was when it is asked for again.
                answer = self.schema.answer() => answer,
            };
            let place = self.assembler.place();
            self.schema.answered(answer, place, self.appender).await?;
        }
    }

    /// Every stream begins with the name of its file: before anything of another server is appended, the log's position is moved to
    /// that server's binlog, and only then the log is told whose it is. So its server and its file always belong together.
    fn arrive(&mut self) -> Result<(), Error> {
        if let (Some(_), Some(position)) = (&self.arriving, self.assembler.between()) {
            self.appender.pass(&position)?;
            self.progress.position = Some(position);
            if let Some(server) = self.arriving.take() {
                self.log.set_server(&server)?;
            }
        }
        Ok(())
    }

    /// Without GTIDs the position is a file: it must not stay in one that an idle source has left, and will purge.
    fn note_rotation(&mut self, place: &FilePosition) {
        let left = |position: &SourcePosition| {
            position.gtids.is_none() && position.file.file != place.file && position.file < *place
        };
        if self.passed.is_none() && self.log.position().as_ref().is_some_and(left) {
            self.passed = Some(Instant::now());
        }
    }

    /// The file that is read begins with a format description, of the second in which the file was begun. Another one than last time:
    /// the binlog was reset, and has the same name for other transactions.
    fn note_file(&mut self, begun: u32) -> Result<(), Error> {
        let place = self.assembler.place();
        let file = &place.file;
        let is_later = |other: &str| FilePosition::new(other, 0) > FilePosition::new(file.as_str(), 0);
        match self.log.file()? {
            Some((same, before)) if same == *file && before == begun => Ok(()),
            // By GTIDs a stream may begin in an earlier file: the one that is known is still to come.
            Some((known, _)) if self.followed && is_later(&known) => Ok(()),
            Some((same, before)) if same == *file && self.followed => Err(Error::History {
                address: self.connection.address().clone(),
                extra: format!(
                    "{place} of a file that was begun {before} s after 1970; there it was begun {begun} s after 1970"
                ),
            }),
            _ => Ok(self.log.set_file(file, begun)?),
        }
    }

    /// Takes over the event that was received, as a whole.
    async fn event(&mut self) -> Result<Step, Error> {
        let event = self.connection.whole(self.patience).await?;
        let large = event.len() > WHOLE_BYTES;
        let checksum = self.assembler.checksum();
        let mut begun = None;
        let step = match stream::read(event, checksum) {
            Ok((header, meaning)) => {
                self.progress.heard = true;
                self.progress.level = matches!(meaning, Meaning::Heartbeat(_));
                if matches!(meaning, Meaning::Format(_)) {
                    begun = Some(header.timestamp);
                }
                if matches!(&meaning, Meaning::Statement(text) if !matches!(*text, b"BEGIN" | b"COMMIT")) {
                    let place = self.assembler.place();
                    self.schema
                        .statement(event, checksum, place, self.appender)
                        .await?;
                }
                self.assembler.push(header, event, meaning)
            }
            Err(source) => return Err(self.untrusted(source)),
        };
        if large {
            // Before it is appended.
            self.connection.forget();
        }
        if let Some(begun) = begun {
            self.note_file(begun)?;
        }
        step.map_err(|fault| self.explain(fault))
    }

    /// Takes over a large event part by part, if that was received and can be; what comes of its end.
    async fn large(&mut self) -> Result<Option<Step>, Error> {
        if !self.connection.has_more() {
            return Ok(None);
        }
        let first = self.connection.received_event()?;
        let begun = stream::in_parts(first, self.assembler.checksum());
        let Some((header, mut checked)) = begun.map_err(|source| self.untrusted(source))? else {
            return Ok(None);
        };
        let mut pushed = checked.push(first).map(drop);
        let mut step = self.assembler.open_event(header, first);
        self.progress.heard = true;
        self.progress.level = false;
        loop {
            pushed.map_err(|source| self.untrusted(source))?;
            if let Step::Piece(piece) = step.map_err(|fault| self.explain(fault))? {
                self.batch.push(piece);
                self.settle().await?;
                self.report();
            }
            if !self.connection.has_more() {
                break;
            }
            let part = self.connection.part(self.patience).await?;
            pushed = checked.push(part).map(drop);
            step = Ok(self.assembler.part(part));
        }
        checked.finish().map_err(|source| self.untrusted(source))?;
        let step = self.assembler.close_event();
        step.map(Some).map_err(|fault| self.explain(fault))
    }

    /// A transaction is complete. One that changes definitions is appended at once: its offset must be known before, and what
    /// proves them is stored after it.
    async fn whole(&mut self, mut piece: Piece, place: &FilePosition) -> Result<(), Error> {
        let defines = self.schema.has_changes();
        if defines {
            // What ends this before the statement is stored must not store a position behind it.
            self.passed = None;
            self.settle().await?;
            self.schema
                .whole(&mut piece, place, self.log, self.appender)
                .await?;
        }
        self.batch.push(piece);
        if defines {
            self.settle().await?;
        }
        self.schema.passed(place, self.appender).await
    }

    /// Stores the position past transactions that were left out, about once a second: a purge of the source's binlogs, or
    /// a start after a crash, must not find the log far behind because nothing was wanted.
    async fn cover_passed(&mut self) -> Result<(), Error> {
        if self
            .passed
            .is_some_and(|since| since.elapsed() >= PASSED_INTERVAL)
        {
            self.settle().await?;
            self.store_passed()?;
        }
        Ok(())
    }

    /// Everything that came before must be appended.
    fn store_passed(&mut self) -> Result<(), Error> {
        if let (Some(_), Some(position)) = (self.passed, self.assembler.between()) {
            self.appender.pass(&position)?;
            self.progress.position = Some(position);
            self.passed = None;
        }
        Ok(())
    }

    fn reached(&mut self, place: FilePosition) {
        self.batch.place = Some(place.clone());
        self.progress.file = Some(place);
    }

    /// Appends what waits.
    async fn settle(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.pieces.is_empty() {
            self.batch.leaving = true;
            self.append(batch.pieces).await?;
            self.batch.leaving = false;
        }
        if let Some(place) = batch.place {
            self.appender.reached(place);
        }
        if self.awaited {
            self.appender.hasten();
        }
        Ok(())
    }

    /// Appends pieces, however long the log makes them wait; a wait for the quota is shown in the status.
    async fn append(&mut self, pieces: Vec<Piece>) -> Result<(), Error> {
        fail::fail_point!("capture-append", |_| outrigger_storage::failpoint::kill());
        let mut appended = Progress::default();
        for piece in &pieces {
            appended.bytes += u64::try_from(piece.events.len()).unwrap_or(u64::MAX);
            if let Some(begin) = &piece.begin {
                appended.commit_micros = begin.commit_micros;
            }
            appended.transactions += u64::from(piece.end.is_some());
        }
        let last = pieces.iter().rev().find_map(|piece| piece.end.as_ref());
        appended.position = last.map(|end| end.position.clone());
        self.patiently(pieces).await?;
        self.metrics.bytes.increment(appended.bytes);
        self.progress.bytes += appended.bytes;
        if appended.commit_micros != 0 {
            self.progress.commit_micros = appended.commit_micros;
        }
        self.progress.transactions += appended.transactions;
        if appended.position.is_some() {
            self.progress.position = appended.position;
            self.passed = None;
        }
        Ok(())
    }

    async fn patiently(&mut self, pieces: Vec<Piece>) -> Result<(), Error> {
        let mut paused = false;
        {
            let mut appending = pin!(self.appender.append_all(pieces));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut appending => break outcome?,
                    // Dropping a timer loses nothing.
                    () = tokio::time::sleep(PAUSE_CHECK) => {}
                }
                if !paused && self.log.stats().paused {
                    paused = true;
                    tracing::warn!(
                        "the log has reached its quota, capture pauses until some of it is trimmed; `outrigger status` says what it waits for"
                    );
                    self.status.set(State::Paused {
                        since: SystemTime::now(),
                    });
                }
            }
        }
        if paused {
            tracing::info!("the log has room again, capture goes on");
            self.status.set(State::Streaming);
        }
        Ok(())
    }

    fn report(&mut self) {
        let progress = std::mem::take(&mut self.progress);
        self.metrics.transactions.increment(progress.transactions);
        self.metrics.passed.increment(progress.passed);
        if progress.commit_micros != 0 {
            self.metrics
                .commit_timestamp
                .set(Duration::from_micros(progress.commit_micros).as_secs_f64());
        }
        self.status.advance(progress);
    }

    fn untrusted(&self, source: outrigger_protocol::binlog::Error) -> Error {
        Error::Event {
            address: self.connection.address().clone(),
            position: self.assembler.place().clone(),
            source,
        }
    }

    fn explain(&self, fault: Fault) -> Error {
        let address = self.connection.address().clone();
        let position = self.assembler.place().clone();
        match fault {
            Fault::Order(what) => Error::Order {
                address,
                position,
                what,
            },
            Fault::Incident(message) => Error::Incident {
                address,
                position,
                message,
            },
        }
    }
}

impl Batch {
    fn push(&mut self, piece: Piece) {
        self.bytes += piece.events.len();
        self.pieces.push(piece);
    }

    /// Nothing waits and nothing is half way.
    fn is_settled(&self) -> bool {
        self.pieces.is_empty() && !self.leaving
    }
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        if self.batch.is_settled()
            && let Err(error) = self.store_passed()
        {
            tracing::debug!(%error, "what was passed last will be read again");
        }
        self.report();
    }
}

#[cfg(test)]
mod tests;
