//! Large events, which come and go in parts: rows events and compressed transactions, of which only the beginning is looked at.
//!
//! Pieces then end inside of the event. Its checksum is known at its end only: the transaction's last piece is made after that
//! (the caller closes the event then, and not before), and whoever drops the machine instead drops the transaction (C1).

use outrigger_protocol::binlog::{EventHeader, EventKind, HEADER_LEN};
use outrigger_storage::Piece;

use super::{Assembler, Fault, PIECE_BYTES, Step, stray};
use crate::filter::Fate;

/// A compressed transaction in which nothing wanted was found in so many bytes is kept, rather than held on.
pub(crate) const HOLD_BYTES: usize = 16 << 20;

/// The event that is coming.
#[derive(Debug)]
pub(super) struct Large {
    header: EventHeader,
    /// What becomes of it; `None`: not known yet, its bytes are held.
    fate: Option<Fate>,
}

impl Assembler {
    /// A large event begins: its header, and its first bytes, which hold that and more. [`close_event`](Self::close_event) ends it.
    pub(crate) fn open_event(&mut self, header: EventHeader, first: &[u8]) -> Result<Step, Fault> {
        let Some(open) = &self.open else {
            return Err(stray("a change"));
        };
        let fate = match &mut self.filter {
            _ if open.passed => Some(Fate::Drop),
            None => Some(Fate::Keep),
            Some(filter) if header.kind == EventKind::TRANSACTION_PAYLOAD => {
                let size = usize::try_from(header.size).unwrap_or(usize::MAX);
                filter.begin_payload(size.saturating_sub(self.checksum.len()));
                filter.payload_part(first.get(HEADER_LEN..).unwrap_or_default())
            }
            Some(filter) => Some(filter.inner(header.kind, first)),
        };
        self.large = Some(Large { header, fate: None });
        self.decide(fate);
        Ok(self.gather(first))
    }

    /// More bytes of the event.
    pub(crate) fn part(&mut self, bytes: &[u8]) -> Step {
        if let (Some(Large { fate: None, .. }), Some(filter)) = (&self.large, &mut self.filter) {
            let fate = filter.payload_part(bytes);
            self.decide(fate.or((self.held > HOLD_BYTES).then_some(Fate::Keep)));
        }
        self.gather(bytes)
    }

    /// All bytes of the event have come, and its checksum was right.
    pub(crate) fn close_event(&mut self) -> Result<Step, Fault> {
        let Some(Large { header, fate }) = self.large.take() else {
            return Err(stray("the end of a large event"));
        };
        if self.stands(&header) {
            self.advance(&header)?;
        }
        if header.kind != EventKind::TRANSACTION_PAYLOAD {
            return Ok(Step::Wait);
        }
        let fate = match (fate, &mut self.filter) {
            (None, Some(filter)) => filter.end_payload(),
            (fate, _) => fate.unwrap_or(Fate::Keep),
        };
        if fate == Fate::Keep {
            self.held = 0;
        }
        self.end(&[], fate)
    }

    /// What becomes of the event, if that is known now, and of what was held before it.
    fn decide(&mut self, fate: Option<Fate>) {
        let (Some(large), Some(open), Some(fate)) = (&mut self.large, &mut self.open, fate) else {
            return;
        };
        large.fate = Some(fate);
        match fate {
            Fate::Drop => self.events.truncate(self.events.len() - self.held),
            Fate::Keep | Fate::Frame | Fate::Hold => open.wanted = true,
        }
        self.held = 0;
    }

    /// Adds bytes of the event to the transaction. What was gathered before leaves as a piece if that is enough: the last
    /// bytes of an event, at least, are always left for the piece that is made after it is closed.
    fn gather(&mut self, bytes: &[u8]) -> Step {
        let fate = self.large.as_ref().and_then(|large| large.fate);
        if fate == Some(Fate::Drop) {
            return Step::Wait;
        }
        let full = self.held == 0 && self.events.len() >= PIECE_BYTES;
        let piece = full.then(|| Piece {
            begin: self.open.as_mut().and_then(|open| open.begin.take()),
            events: self.take_events(),
            end: None,
        });
        self.events.extend_from_slice(bytes);
        if fate.is_none() {
            self.held += bytes.len();
        }
        piece.map_or(Step::Wait, Step::Piece)
    }
}
