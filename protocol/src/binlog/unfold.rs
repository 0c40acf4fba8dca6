//! The events of a transaction whose bytes come in pieces cut anywhere: cut events are joined, compressed ones decompressed.
//!
//! Whole events are found without a copy. A compressed transaction is never held: it is decompressed as its bytes come, and the
//! events in it are found one by one. Of a cut one the checksum is known at its end, after the events in it were found; a
//! reader that must not act on them before needs another guarantee (a log's own checksums, say).

use std::ops::Range;

use super::header::HEADER_LEN;
use super::{ChecksumAlg, Error, Event, EventHeader, EventKind, RunningChecksum, Span, Splitter, Unpacker};

/// An event that was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// All of its bytes.
    pub bytes: &'a [u8],
    /// How it is protected.
    pub checksum: ChecksumAlg,
    /// Whether it stood in a compressed transaction.
    pub compressed: bool,
}

impl<'a> Found<'a> {
    /// Its header alone.
    ///
    /// # Errors
    /// Never, for what an [`Unfolder`] finds.
    pub fn header(&self) -> Result<EventHeader, Error> {
        EventHeader::parse(self.bytes)
    }

    /// Decodes it.
    ///
    /// # Errors
    /// Those of [`Event::parse`].
    pub fn parse(&self) -> Result<Event<'a>, Error> {
        Event::parse(self.bytes, self.checksum)
    }
}

/// Finds a transaction's events. One for each transaction, from its first piece on.
#[derive(Debug, Default)]
pub struct Unfolder {
    checksum: ChecksumAlg,
    splitter: Splitter,
    /// A cut event, so far.
    joined: Vec<u8>,
    /// What is still missing of it; `None`: it was found, and can go.
    missing: Option<usize>,
    unpacking: Option<Unpacking>,
}

/// A compressed transaction on its way.
#[derive(Debug)]
struct Unpacking {
    unpacker: Unpacker,
    /// `None`: all of its bytes have come, and their checksum was right.
    running: Option<RunningChecksum>,
}

/// Where an event was found.
enum Place<'i> {
    Piece(&'i [u8]),
    Joined,
    Unpacked(Range<usize>),
}

/// A cut event's memory grows by at least this much.
const GROWTH: usize = 1 << 20;

impl Unfolder {
    /// For a transaction whose events are protected by `checksum`.
    pub fn new(checksum: ChecksumAlg) -> Self {
        Self {
            checksum,
            ..Self::default()
        }
    }

    /// The next event. Takes off `input`, a piece, what it needs; `None`: all of it is used up, and the next piece must come.
    ///
    /// # Errors
    /// When an event's size or a compressed one's checksum is wrong, or it doesn't decompress. Nothing can be found after that.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Found<'a>>, Error> {
        let (bytes, compressed) = match self.find(input)? {
            None => return Ok(None),
            Some(Place::Piece(event)) => (event, false),
            Some(Place::Joined) => (self.joined.as_slice(), false),
            Some(Place::Unpacked(range)) => {
                let unpacking = self.unpacking.as_ref();
                (unpacking.map_or(&[][..], |all| all.unpacker.found(range)), true)
            }
        };
        Ok(Some(Found {
            bytes,
            checksum: if compressed {
                ChecksumAlg::Off
            } else {
                self.checksum
            },
            compressed,
        }))
    }

    /// After the transaction's last piece: whether it ends with an event.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(&self) -> Result<(), Error> {
        match self.splitter.is_between() && self.unpacking.is_none() {
            true => Ok(()),
            false => Err(Error::Truncated { what: "last event" }),
        }
    }

    fn find<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Place<'i>>, Error> {
        if self.missing.is_none() && !self.joined.is_empty() {
            self.joined = Vec::new();
        }
        loop {
            if let Some(unpacking) = &mut self.unpacking {
                if let Some(range) = unpacking.unpacker.advance()? {
                    return Ok(Some(Place::Unpacked(range)));
                }
                if unpacking.running.is_none() {
                    unpacking.unpacker.finish()?;
                    self.unpacking = None;
                }
            }
            let Some(span) = self.splitter.next(input)? else {
                return Ok(None);
            };
            match span {
                Span::Whole(event) if EventHeader::parse(event)?.kind == EventKind::TRANSACTION_PAYLOAD => {
                    let content = self.checksum.verify(event)?;
                    let mut unpacker = Unpacker::new();
                    unpacker.push(content.get(HEADER_LEN..).unwrap_or_default());
                    self.unpacking = Some(Unpacking {
                        unpacker,
                        running: None,
                    });
                }
                Span::Whole(event) => return Ok(Some(Place::Piece(event))),
                Span::First(header, part) => self.begin(&header, part)?,
                Span::More(part) => self.go_on(part)?,
                Span::Last(part) => {
                    self.go_on(part)?;
                    match &mut self.unpacking {
                        Some(unpacking) => {
                            unpacking.running.take().map_or(Ok(()), RunningChecksum::finish)?
                        }
                        None => {
                            self.missing = None;
                            return Ok(Some(Place::Joined));
                        }
                    }
                }
            }
        }
    }

    /// A cut event begins.
    fn begin(&mut self, header: &EventHeader, part: &[u8]) -> Result<(), Error> {
        let head = header.to_bytes();
        if header.kind == EventKind::TRANSACTION_PAYLOAD {
            let mut running = RunningChecksum::new(header, self.checksum)?;
            running.push(&head)?;
            self.unpacking = Some(Unpacking {
                unpacker: Unpacker::new(),
                running: Some(running),
            });
        } else {
            self.missing = Some(usize::try_from(header.size).unwrap_or(usize::MAX));
            self.join(&head);
        }
        self.go_on(part)
    }

    fn go_on(&mut self, part: &[u8]) -> Result<(), Error> {
        match &mut self.unpacking {
            Some(Unpacking {
                unpacker,
                running: Some(running),
            }) => unpacker.push(running.push(part)?),
            _ => self.join(part),
        }
        Ok(())
    }

    fn join(&mut self, part: &[u8]) {
        let missing = self.missing.unwrap_or_default();
        if self.joined.capacity() - self.joined.len() < part.len() {
            // Never more than the event needs, and never as much as it claims before it has come.
            let growth = missing.min(self.joined.len().max(GROWTH)).max(part.len());
            self.joined.reserve_exact(growth);
        }
        self.joined.extend_from_slice(part);
        self.missing = Some(missing.saturating_sub(part.len()));
    }
}

#[cfg(test)]
mod tests;
