//! Decompresses a transaction whose bytes come in parts, event by event.
//!
//! Held are the part given last, the event that is being put together, and the decompressor's window (128 MiB at most, what
//! zstd allows by default; 2 MiB at the server's default level).

use std::fmt;
use std::ops::Range;

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, Head, Payload, WHAT, surplus};
use crate::binlog::header::HEADER_LEN;
use crate::binlog::{Error, EventHeader};
use crate::cursor::Cursor;

/// Bytes decompressed at a time.
const STEP: usize = 128 * 1024;

/// The fields before the compressed bytes take some twenty bytes.
const LARGEST_HEAD: usize = 4096;

/// No server writes a larger event: `replica_max_allowed_packet` ends at 1 GiB, headers come on top.
const LARGEST_EVENT: usize = (1 << 30) + (1 << 20);

/// Takes an event's body in parts, gives the events inside: [`push`](Self::push), [`read`](Self::read) until there is none,
/// and so on; [`finish`](Self::finish) after the last part.
#[derive(Default)]
pub struct Unpacker {
    /// Bytes given, of which the first `used` are done with.
    input: Vec<u8>,
    used: usize,
    /// Known once all of it has come.
    head: Option<Head>,
    /// Compressed bytes not used yet.
    data_left: usize,
    /// Set up at the first step.
    decoder: Option<Decoder<'static>>,
    /// A zstd frame has begun and not ended.
    frame_open: bool,
    /// The last step filled all the room it had, so that there may be more without further input.
    brimful: bool,
    /// Decompressed bytes, of which the first `taken` were given out.
    pending: Vec<u8>,
    taken: usize,
    /// Bytes decompressed so far.
    produced: u64,
    failed: bool,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker")
            .field("head", &self.head)
            .field("data_left", &self.data_left)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

impl Unpacker {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn of(head: Head) -> Self {
        Self {
            head: Some(head),
            data_left: head.size,
            ..Self::default()
        }
    }

    /// The next bytes between the event's header and its checksum.
    pub fn push(&mut self, part: &[u8]) {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.extend_from_slice(part);
    }

    /// The next event's bytes without a checksum, valid until the next call; `None`: more parts must come first, or none is left.
    ///
    /// # Errors
    /// When the bytes don't decompress, are more than stated, or no event. After an error there is nothing more.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Error> {
        let found = self.advance()?;
        Ok(found.map(|range| self.found(range)))
    }

    /// As [`read`](Self::read): where the event's bytes are.
    pub(in crate::binlog) fn advance(&mut self) -> Result<Option<Range<usize>>, Error> {
        if self.failed {
            return Ok(None);
        }
        let found = self.locate();
        self.failed = found.is_err();
        found
    }

    pub(in crate::binlog) fn found(&self, range: Range<usize>) -> &[u8] {
        self.pending.get(range).unwrap_or_default()
    }

    /// After the last part, once [`read`](Self::read) gave `None`: whether that was all.
    ///
    /// # Errors
    /// When parts are missing, an event is cut off, or the bytes are fewer than stated.
    pub fn finish(&self) -> Result<(), Error> {
        let Some(head) = self.head.filter(|_| self.data_left == 0) else {
            return Err(Error::Truncated { what: WHAT });
        };
        if self.frame_open {
            return Err(Error::Decompression(
                "the compressed bytes are cut off".to_owned(),
            ));
        }
        if self.pending.len() > self.taken {
            return Err(Error::Truncated {
                what: "compressed transaction",
            });
        }
        match head.uncompressed_size {
            0 => Ok(()),
            stated if stated == self.produced => Ok(()),
            stated => Err(Error::Decompression(format!(
                "{} bytes came where {stated} were stated",
                self.produced
            ))),
        }
    }

    fn locate(&mut self) -> Result<Option<Range<usize>>, Error> {
        if self.head.is_none() && !self.begin()? {
            return Ok(None);
        }
        if self.fill(HEADER_LEN)? < HEADER_LEN {
            return Ok(None);
        }
        let header = EventHeader::parse(&self.pending[self.taken..])?;
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=LARGEST_EVENT).contains(&size) {
            return Err(Error::malformed(WHAT, format!("an event of {size} bytes inside")));
        }
        if self.fill(size)? < size {
            return Ok(None);
        }
        let start = self.taken;
        self.taken += size;
        Ok(Some(start..start + size))
    }

    /// Reads the head, if it is all there.
    fn begin(&mut self) -> Result<bool, Error> {
        let mut cursor = Cursor::new(&self.input);
        match Head::parse(&mut cursor) {
            Ok(head) => {
                self.used = self.input.len() - cursor.remaining();
                self.data_left = head.size;
                self.head = Some(head);
                Ok(true)
            }
            Err(Error::Truncated { .. }) if self.input.len() < LARGEST_HEAD => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Decompresses until `wanted` bytes are pending, or all that came is; says how many are.
    fn fill(&mut self, wanted: usize) -> Result<usize, Error> {
        if self.pending.len() - self.taken < wanted {
            self.pending.drain(..self.taken);
            self.taken = 0;
            while self.pending.len() < wanted && self.step()? {}
        }
        Ok(self.pending.len() - self.taken)
    }

    /// Decompresses a piece more; false when there is nothing left to do it with.
    fn step(&mut self) -> Result<bool, Error> {
        let Some(head) = self.head else { return Ok(false) };
        let input = &self.input[self.used..];
        if input.len() > self.data_left {
            return Err(surplus(input.len() - self.data_left));
        }
        if input.is_empty() && !(self.frame_open && self.brimful) {
            return Ok(false);
        }
        let (read, written) = match head.compression {
            Compression::None => {
                let piece = &input[..input.len().min(STEP)];
                self.pending.extend_from_slice(piece);
                (piece.len(), piece.len())
            }
            Compression::Zstd => self.decompress()?,
        };
        self.used += read;
        self.data_left -= read;
        self.produced += u64::try_from(written).unwrap_or(u64::MAX);
        if head.uncompressed_size != 0 && self.produced > head.uncompressed_size {
            return Err(Error::Decompression(format!(
                "more than the stated {} bytes come out",
                head.uncompressed_size
            )));
        }
        Ok(read > 0 || written > 0)
    }

    /// Bytes read and written.
    fn decompress(&mut self) -> Result<(usize, usize), Error> {
        let failed = |error: std::io::Error| Error::Decompression(error.to_string());
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            unset => unset.insert(Decoder::new().map_err(failed)?),
        };
        let start = self.pending.len();
        self.pending.resize(start + STEP, 0);
        let mut input = InBuffer::around(&self.input[self.used..]);
        let mut output = OutBuffer::around(&mut self.pending[start..]);
        let hint = decoder.run(&mut input, &mut output).map_err(failed)?;
        let (read, written) = (input.pos(), output.pos());
        self.pending.truncate(start + written);
        self.frame_open = hint != 0;
        self.brimful = written == STEP;
        Ok((read, written))
    }
}

/// Iterator of [`Payload::events`]; [`read`](Self::read) does the same without a copy per event.
#[derive(Debug)]
pub struct PayloadEvents<'a> {
    /// What was not given to the unpacker yet.
    data: &'a [u8],
    unpacker: Unpacker,
    over: bool,
}

impl<'a> PayloadEvents<'a> {
    pub(super) fn new(payload: &Payload<'a>) -> Self {
        Self {
            data: payload.data,
            unpacker: Unpacker::of(Head {
                compression: payload.compression,
                uncompressed_size: payload.uncompressed_size,
                size: payload.data.len(),
            }),
            over: false,
        }
    }

    /// The next event's bytes, valid until the next call; `None` after the last.
    ///
    /// # Errors
    /// When the bytes don't decompress, end within an event, or are more or fewer than stated.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Error> {
        while !self.over {
            // Stays so after an error.
            self.over = true;
            if let Some(range) = self.unpacker.advance()? {
                self.over = false;
                return Ok(Some(self.unpacker.found(range)));
            }
            if self.data.is_empty() {
                self.unpacker.finish()?;
                break;
            }
            let (part, rest) = self.data.split_at(self.data.len().min(STEP));
            self.unpacker.push(part);
            self.data = rest;
            self.over = false;
        }
        Ok(None)
    }
}

impl Iterator for PayloadEvents<'_> {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map(|event| event.map(<[u8]>::to_vec)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events of growing size, one after the other.
    fn stream(count: u32) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        for number in 0..count {
            let size = 19 + number * 37 % 9000;
            let mut event = vec![u8::try_from(number % 251).unwrap(); usize::try_from(size).unwrap()];
            event[9..13].copy_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&event);
        }
        (bytes, usize::try_from(count).unwrap())
    }

    #[test]
    fn memory_holds_a_piece_not_the_transaction() {
        let (bytes, count) = stream(5000);
        // Two frames: the server ends one when it flushes.
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let data = [
            zstd::bulk::compress(first, 3).unwrap(),
            zstd::bulk::compress(second, 3).unwrap(),
        ]
        .concat();
        let uncompressed_size = u64::try_from(bytes.len()).unwrap();
        assert!(bytes.len() > 20_000_000 && data.len() < bytes.len() / 100);
        let payload = Payload {
            compression: Compression::Zstd,
            uncompressed_size,
            data: &data,
        };
        let mut events = payload.events();
        let (mut found, mut joined) = (0, Vec::new());
        while let Some(event) = events.read().unwrap() {
            joined.extend_from_slice(event);
            found += 1;
            assert!(events.unpacker.pending.capacity() < 4 * STEP);
        }
        assert_eq!(found, count);
        assert!(joined == bytes);
        assert_eq!(events.read(), Ok(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_of_any_size_give_the_same_events(
            count in 0..300_u32, frames in 1..9_usize, packed: bool, cuts in proptest::collection::vec(1..5000_usize, 1..10),
        ) {
            let (bytes, _) = stream(count);
            let data = match packed {
                true => bytes.chunks(bytes.len() / frames + 1).flat_map(|f| zstd::bulk::compress(f, 1).unwrap()).collect(),
                false => bytes.clone(),
            };
            let head = Head {
                compression: if packed { Compression::Zstd } else { Compression::None },
                uncompressed_size: u64::try_from(bytes.len()).unwrap(),
                size: data.len(),
            };
            let (mut unpacker, mut rest, mut joined) = (Unpacker::of(head), data.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                while let Some(event) = unpacker.read().unwrap() {
                    joined.extend_from_slice(event);
                }
                if rest.is_empty() {
                    break;
                }
                prop_assert!(unpacker.finish().is_err());
                let (part, after) = rest.split_at(rest.len().min(*cut));
                unpacker.push(part);
                rest = after;
            }
            prop_assert_eq!(unpacker.finish(), Ok(()));
            prop_assert!(joined == bytes);
            unpacker.push(b"more");
            prop_assert!(unpacker.read().is_err());
        }
    }

    #[test]
    fn an_event_of_impossible_size_is_refused() {
        for size in [18_u32, u32::MAX] {
            let mut event = vec![0; 30];
            event[9..13].copy_from_slice(&size.to_le_bytes());
            let payload = Payload {
                compression: Compression::None,
                uncompressed_size: 30,
                data: &event,
            };
            assert!(matches!(
                payload.events().next(),
                Some(Err(Error::Malformed { .. }))
            ));
        }
    }
}
