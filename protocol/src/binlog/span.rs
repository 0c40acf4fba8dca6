//! Cuts a transaction's bytes, which come in pieces, at the borders of events. The pieces may end anywhere, also inside an
//! event or its header: what is whole is found whole, without a copy; of what is cut each part is told. Pure, and nothing is
//! held but an event's header. Checksums are the caller's ([`RunningChecksum`](super::RunningChecksum)), and so is joining
//! ([`Unfolder`](super::Unfolder)).

use super::header::HEADER_LEN;
use super::{Error, EventHeader};

/// What comes next in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span<'i> {
    /// An event, all of it.
    Whole(&'i [u8]),
    /// An event begins: its header, and what of its bytes behind that is here. A [`Last`](Self::Last) will come.
    First(EventHeader, &'i [u8]),
    /// More bytes of the event that began.
    More(&'i [u8]),
    /// The last bytes of the event that began, perhaps none.
    Last(&'i [u8]),
}

/// The state between pieces. The first one begins with an event.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    /// The beginning of a header that is cut.
    head: Vec<u8>,
    /// Bytes still to come of an event that was begun.
    left: Option<usize>,
}

impl Splitter {
    /// Takes the next span off `input`; `None` when all of it is used up. What follows in the next piece follows here.
    ///
    /// # Errors
    /// When an event states a size in which its header has no room: nothing behind it can be told apart.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Span<'i>>, Error> {
        if let Some(left) = self.left {
            if left > 0 && input.is_empty() {
                return Ok(None);
            }
            let part = take(input, left);
            let left = left - part.len();
            self.left = (left > 0).then_some(left);
            return Ok(Some(match self.left {
                Some(_) => Span::More(part),
                None => Span::Last(part),
            }));
        }
        if input.is_empty() {
            return Ok(None);
        }
        if self.head.is_empty()
            && let Ok(header) = EventHeader::parse(input)
        {
            let size = size(&header)?;
            if size <= input.len() {
                return Ok(Some(Span::Whole(take(input, size))));
            }
        }
        let part = take(input, HEADER_LEN - self.head.len());
        self.head.extend_from_slice(part);
        if self.head.len() < HEADER_LEN {
            return Ok(None);
        }
        let header = EventHeader::parse(&self.head)?;
        self.head.clear();
        let rest = size(&header)? - HEADER_LEN;
        let part = take(input, rest);
        self.left = Some(rest - part.len());
        Ok(Some(Span::First(header, part)))
    }

    /// Whether the pieces so far end with an event.
    pub fn is_between(&self) -> bool {
        self.head.is_empty() && self.left.is_none()
    }
}

fn size(header: &EventHeader) -> Result<usize, Error> {
    let size = usize::try_from(header.size).unwrap_or(usize::MAX);
    if size < HEADER_LEN {
        return Err(Error::malformed(
            "binlog event",
            format!("{} of {size} bytes", header.kind),
        ));
    }
    Ok(size)
}

fn take<'i>(input: &mut &'i [u8], most: usize) -> &'i [u8] {
    let (part, rest) = input.split_at(input.len().min(most));
    *input = rest;
    part
}
