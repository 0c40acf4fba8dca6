//! From verified events to whole transactions: a machine without I/O that takes one event after the other and says what
//! belongs into the log, and how far the source's binlog has been read.
//!
//! It keeps the place in the source's files (offsets are 64-bit, an event's own field is not), the GTID set, and the checksum
//! rule of the current file. A transaction is everything from its GTID event to the event that ends it; a large one leaves
//! in pieces of about [`PIECE_BYTES`], so that memory stays bounded (C3). Whether an event's checksum held is the
//! caller's business ([`crate::stream`]).

mod large;

use bytes::{Bytes, BytesMut};
use outrigger_protocol::binlog::{ChecksumAlg, EventHeader, EventKind, GtidEvent};
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Begin, End, Piece};

#[cfg(test)]
pub(crate) use self::large::HOLD_BYTES;
use self::large::Large;
use crate::filter::{Fate, Filter};

/// A piece leaves as soon as it holds this many bytes.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Events of transactions share allocations of this size.
const CHUNK_BYTES: usize = 256 << 10;

/// What an event means for the assembly of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// How the events of this file are protected.
    Format(ChecksumAlg),
    /// The log goes on there.
    Rotate(FilePosition),
    /// All GTIDs in the files before this one.
    PreviousGtids(GtidSet),
    /// A transaction's head.
    Gtid(GtidEvent),
    /// A statement's text.
    Statement(&'a [u8]),
    /// An event that ends a transaction by itself: XID, XA_PREPARE, a compressed transaction's payload.
    Last,
    /// An event inside a transaction.
    Inner,
    /// The source has nothing beyond this place.
    Heartbeat(FilePosition),
    /// The server was shut down; the next file goes on.
    Stop,
    /// The source's binlog lacks changes; its own words.
    Incident(String),
    /// Nothing to act on, inside a transaction or outside.
    Ignorable,
}

/// What to do after an event.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing yet.
    Wait,
    /// Append this piece.
    Piece(Piece),
    /// Append this last piece of a transaction; the binlog has been read up to its end.
    Whole(Piece, FilePosition),
    /// A whole transaction in which nothing is wanted: nothing to append, but the position is past it.
    Passed {
        /// The binlog has been read up to its end.
        place: FilePosition,
        /// When the source committed it, in microseconds since 1970.
        commit_micros: u64,
    },
    /// Nothing to append, but the binlog has been read up to here.
    Reached(FilePosition),
}

/// Why the stream can't go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Events in an order that no server writes.
    Order(String),
    /// The source says that its binlog lacks changes.
    Incident(String),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The place after the newest event.
    place: FilePosition,
    /// Every transaction taken over; `None` while the source writes anonymous ones.
    gtids: Option<GtidSet>,
    /// True when the source's `gtid_mode` is ON: a new file's PREVIOUS_GTIDS may start a set.
    gtid_mode_on: bool,
    checksum: ChecksumAlg,
    open: Option<Open>,
    events: BytesMut,
    /// Bytes at the end of `events` of which is not known yet whether they stay.
    held: usize,
    /// The event that is coming in parts.
    large: Option<Large>,
    /// What is left out; absent: nothing.
    filter: Option<Filter>,
    /// Transactions that end at or before this place are in the log already.
    passing_until: Option<FilePosition>,
}

/// A transaction that has begun.
#[derive(Debug)]
struct Open {
    /// Until its first piece left.
    begin: Option<Begin>,
    gtid: GtidEvent,
    /// True when the log has it already.
    passed: bool,
    /// True after BEGIN or XA START: only COMMIT and its like end it. False: the first statement does.
    group: bool,
    /// True once it holds something that is wanted.
    wanted: bool,
}

impl Assembler {
    /// A machine that goes on from `position`. `checksum` holds until the file's format description says otherwise.
    pub(crate) fn new(position: SourcePosition, gtid_mode_on: bool, checksum: ChecksumAlg) -> Self {
        Self {
            place: position.file,
            gtids: position.gtids,
            gtid_mode_on,
            checksum,
            open: None,
            events: BytesMut::new(),
            held: 0,
            large: None,
            filter: None,
            passing_until: None,
        }
    }

    /// The same machine, leaving out what `filter` says nobody wants.
    pub(crate) fn filtered(mut self, filter: Option<Filter>) -> Self {
        self.filter = filter;
        self
    }

    /// The same machine for a stream that starts earlier in the same file: what ends at or before `place` is in the log
    /// already, it is checked and passed over.
    pub(crate) fn passing_until(mut self, place: FilePosition) -> Self {
        self.passing_until = Some(place);
        self
    }

    /// How events are protected at this point of the stream.
    pub(crate) fn checksum(&self) -> ChecksumAlg {
        self.checksum
    }

    /// The place after the newest transaction, for one that was passed; `None` inside a transaction.
    pub(crate) fn between(&self) -> Option<SourcePosition> {
        self.open.is_none().then(|| self.position())
    }

    fn position(&self) -> SourcePosition {
        SourcePosition {
            gtids: self.gtids.clone(),
            file: self.place.clone(),
        }
    }

    /// The place after the newest event.
    pub(crate) fn place(&self) -> &FilePosition {
        &self.place
    }

    /// Takes the next event: its header, all of its bytes, and what it means.
    pub(crate) fn push(
        &mut self,
        header: EventHeader,
        bytes: &[u8],
        meaning: Meaning<'_>,
    ) -> Result<Step, Fault> {
        let stands = self.stands(&header);
        if stands && !matches!(meaning, Meaning::Rotate(_) | Meaning::Heartbeat(_)) {
            self.advance(&header)?;
        }
        match meaning {
            Meaning::Format(checksum) => {
                self.outside("a format description")?;
                self.checksum = checksum;
                Ok(self.reached(stands))
            }
            Meaning::Rotate(next) => {
                self.outside("a rotation")?;
                self.place = next;
                Ok(self.reached(true))
            }
            Meaning::PreviousGtids(set) => {
                self.outside("a set of previous GTIDs")?;
                // At a file's head everything in the set has been read, or was there before this log's start.
                if self.gtids.is_none() && self.gtid_mode_on && stands {
                    self.gtids = Some(set);
                }
                Ok(self.reached(stands))
            }
            Meaning::Gtid(gtid) => {
                self.outside("the head of another transaction")?;
                self.begin(gtid, header, bytes)?;
                Ok(Step::Wait)
            }
            Meaning::Statement(text) => self.statement(bytes, text),
            Meaning::Last => self.last(header.kind, bytes),
            Meaning::Inner => self.inner(header.kind, bytes),
            Meaning::Heartbeat(at) => {
                // Sent while the dump skips or waits. Inside a transaction it only says that the source lives.
                if self.open.is_none() {
                    self.place = self.heartbeat_place(header, at);
                }
                Ok(self.reached(self.open.is_none()))
            }
            Meaning::Stop => {
                self.outside("the server's stop")?;
                Ok(self.reached(stands))
            }
            Meaning::Incident(words) => Err(Fault::Incident(words)),
            Meaning::Ignorable if self.open.is_some() => self.inner(header.kind, bytes),
            Meaning::Ignorable => Ok(self.reached(stands)),
        }
    }

    /// False for what was made up by the dump: it stands in no file. Where an event must stand in one, 0 is a place like others: a multiple of
    /// 4 GiB.
    fn stands(&self, header: &EventHeader) -> bool {
        let begins = matches!(
            header.kind,
            EventKind::GTID | EventKind::ANONYMOUS_GTID | EventKind::GTID_TAGGED
        );
        let must = begins || self.open.is_some();
        (header.log_pos != 0 || must) && !header.is_artificial()
    }

    /// An event of the file ends, at its own place.
    fn advance(&mut self, header: &EventHeader) -> Result<(), Fault> {
        let (before, size) = (self.place.offset, u64::from(header.size));
        self.place.offset = unwrap_offset(before, header.log_pos);
        if self.open.is_some() && self.place.offset != before + size {
            return Err(Fault::Order(format!(
                "inside a transaction an event of {size} bytes ends at {} but the one before ended at {before}",
                self.place.offset
            )));
        }
        Ok(())
    }

    fn reached(&self, known: bool) -> Step {
        if known {
            Step::Reached(self.place.clone())
        } else {
            Step::Wait
        }
    }

    /// Version 1 carries 32 bits of the offset, version 2 all of it.
    fn heartbeat_place(&self, header: EventHeader, at: FilePosition) -> FilePosition {
        match u32::try_from(at.offset) {
            Ok(low) if header.kind == EventKind::HEARTBEAT && at.file == self.place.file => {
                FilePosition::new(at.file, unwrap_offset(self.place.offset, low))
            }
            _ => at,
        }
    }

    fn outside(&self, what: &str) -> Result<(), Fault> {
        match self.open {
            None => Ok(()),
            Some(_) => Err(Fault::Order(format!("{what} stands inside a transaction"))),
        }
    }

    fn begin(&mut self, event: GtidEvent, header: EventHeader, bytes: &[u8]) -> Result<(), Fault> {
        let size = u64::from(header.size);
        let commit_micros = match event.immediate_commit_micros {
            0 => u64::from(header.timestamp) * 1_000_000,
            micros => micros,
        };
        let start = FilePosition::new(self.place.file.clone(), self.place.offset.saturating_sub(size));
        let passed = self.passing_until.as_ref().is_some_and(|until| start < *until);
        if let (Some(set), Some(gtid), false) = (&self.gtids, &event.gtid, passed)
            && set.contains(gtid)
        {
            return Err(Fault::Order(format!("transaction {gtid} came a second time")));
        }
        self.open = Some(Open {
            begin: Some(Begin {
                gtid: event.gtid.clone(),
                commit_micros,
                checksum: self.checksum,
                start,
            }),
            gtid: event,
            group: false,
            passed,
            wanted: self.filter.is_none(),
        });
        if let Some(filter) = &mut self.filter {
            filter.restart();
        }
        if !passed {
            self.passing_until = None;
            self.events.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn statement(&mut self, bytes: &[u8], text: &[u8]) -> Result<Step, Fault> {
        let Some(open) = &mut self.open else {
            return Err(stray("a statement"));
        };
        let boundary = Boundary::of(text);
        let fate = match (boundary, &mut self.filter) {
            (Boundary::None, Some(filter)) if !open.passed => filter.statement(bytes, self.checksum),
            // Whoever replays the log follows XA transactions from their start to their end, also empty ones.
            _ if is_xa(text) => Fate::Keep,
            _ => Fate::Frame,
        };
        match (boundary, open.group) {
            (Boundary::Begin, false) => {
                open.group = true;
                self.take(bytes, fate)
            }
            (Boundary::Begin, true) => {
                Err(Fault::Order("a transaction begins inside another one".to_owned()))
            }
            (Boundary::End, _) | (Boundary::None, false) => self.end(bytes, fate),
            (Boundary::None, true) => self.take(bytes, fate),
        }
    }

    /// An event that ends a transaction by itself.
    fn last(&mut self, kind: EventKind, bytes: &[u8]) -> Result<Step, Fault> {
        let fate = match &mut self.filter {
            Some(filter) if kind == EventKind::TRANSACTION_PAYLOAD => filter.payload(bytes, self.checksum),
            _ => Fate::Frame,
        };
        self.end(bytes, fate)
    }

    /// An event inside a transaction that is no statement in text.
    fn inner(&mut self, kind: EventKind, bytes: &[u8]) -> Result<Step, Fault> {
        let fate = match &mut self.filter {
            Some(filter) => filter.inner(kind, bytes),
            None => Fate::Frame,
        };
        self.take(bytes, fate)
    }

    /// Takes an event over, or leaves it out.
    fn take(&mut self, bytes: &[u8], fate: Fate) -> Result<Step, Fault> {
        let Some(open) = &mut self.open else {
            return Err(stray("a change"));
        };
        if open.passed {
            return Ok(Step::Wait);
        }
        match fate {
            Fate::Drop => {
                self.events.truncate(self.events.len() - self.held);
                self.held = 0;
                return Ok(Step::Wait);
            }
            Fate::Hold => self.held += bytes.len(),
            Fate::Keep => {
                self.held = 0;
                open.wanted = true;
            }
            Fate::Frame if self.held > 0 => self.held += bytes.len(),
            Fate::Frame => {}
        }
        self.events.extend_from_slice(bytes);
        if self.held > 0 || self.events.len() < PIECE_BYTES {
            return Ok(Step::Wait);
        }
        // A transaction of a million savepoints: what it holds is kept rather than gathered.
        open.wanted = true;
        let begin = open.begin.take();
        Ok(Step::Piece(Piece {
            begin,
            events: self.take_events(),
            end: None,
        }))
    }

    fn end(&mut self, bytes: &[u8], fate: Fate) -> Result<Step, Fault> {
        let Some(open) = self.open.take() else {
            return Err(stray("the end of a transaction"));
        };
        if open.passed {
            // The set may have begun with its file.
            if let (Some(gtid), Some(set)) = (open.gtid.gtid, &mut self.gtids) {
                set.insert(gtid);
            }
            return Ok(Step::Reached(self.place.clone()));
        }
        // A statement without its rows: nothing in it was wanted.
        self.events.truncate(self.events.len() - self.held);
        self.held = 0;
        match (open.gtid.gtid, &mut self.gtids) {
            (Some(gtid), Some(set)) => set.insert(gtid),
            // From here on only file and offset can name the place.
            (None, gtids) => *gtids = None,
            (Some(_), None) => {}
        }
        if !open.wanted && fate != Fate::Keep {
            self.events.clear();
            return Ok(Step::Passed {
                place: self.place.clone(),
                commit_micros: open.begin.map_or(0, |begin| begin.commit_micros),
            });
        }
        if fate != Fate::Drop {
            self.events.extend_from_slice(bytes);
        }
        let piece = Piece {
            begin: open.begin,
            events: self.take_events(),
            end: Some(End {
                position: self.position(),
                schemas: Vec::new(),
            }),
        };
        Ok(Step::Whole(piece, self.place.clone()))
    }

    fn take_events(&mut self) -> Bytes {
        let events = self.events.split().freeze();
        // What is left of a large event's allocation would keep all of it. A large transaction goes on; small ones share an
        // allocation.
        if events.len() > 2 * PIECE_BYTES {
            self.events = BytesMut::new();
        } else if self.open.is_some() {
            self.events.reserve(PIECE_BYTES + CHUNK_BYTES / 4);
        } else if self.events.capacity() < CHUNK_BYTES / 16 {
            self.events.reserve(CHUNK_BYTES);
        }
        events
    }
}

fn stray(what: &str) -> Fault {
    Fault::Order(format!("{what} stands outside any transaction"))
}

/// True for the statements of XA transactions.
fn is_xa(text: &[u8]) -> bool {
    text.get(..3)
        .is_some_and(|head| head.eq_ignore_ascii_case(b"XA "))
}

/// What a statement does to the transaction it stands in, by the rules of the server's own boundary parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Begin,
    End,
    None,
}

impl Boundary {
    fn of(text: &[u8]) -> Self {
        let starts = |word: &[u8]| {
            text.get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        if text.eq_ignore_ascii_case(b"BEGIN") || starts(b"XA START") {
            Self::Begin
        } else if text.eq_ignore_ascii_case(b"COMMIT")
            || (starts(b"ROLLBACK") && !starts(b"ROLLBACK TO "))
            || starts(b"XA ROLLBACK")
            || starts(b"XA COMMIT")
        {
            Self::End
        } else {
            Self::None
        }
    }
}

/// An event's 64-bit end from its 32-bit field: the smallest offset at or after `before` with those low bits.
///
/// Right as long as two events that follow each other in the stream lie less than 4 GiB apart in the file. A dump that skips
/// more than that says so by heartbeats, which (version 2) carry 64 bits.
fn unwrap_offset(before: u64, log_pos: u32) -> u64 {
    const WRAP: u64 = 1 << 32;
    let candidate = (before & !(WRAP - 1)) | u64::from(log_pos);
    if candidate < before {
        candidate + WRAP
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests;
