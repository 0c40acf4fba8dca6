//! TRANSACTION_PAYLOAD: a whole transaction compressed with zstd.

use std::fmt;

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::error::Within;
use super::header::HEADER_LEN;
use super::{Error, EventHeader};
use crate::cursor::Cursor;

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd frames.
    Zstd,
    /// Events as they are.
    None,
}

/// A compressed transaction: all its events but the GTID event before it, none with a checksum of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<'a> {
    /// How `data` is compressed.
    pub compression: Compression,
    /// Bytes of all events together, as the source says; 0 when it doesn't.
    pub uncompressed_size: u64,
    /// The compressed events.
    pub data: &'a [u8],
}

const WHAT: &str = "TRANSACTION_PAYLOAD event";

impl<'a> Payload<'a> {
    /// A list of type, length, value, then the compressed bytes; fields of unknown types may be passed over.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const END: u64 = 0;
        const SIZE: u64 = 1;
        const COMPRESSION: u64 = 2;
        const UNCOMPRESSED_SIZE: u64 = 3;
        let mut cursor = Cursor::new(body);
        let (mut size, mut compression, mut uncompressed_size) = (None, None, 0);
        loop {
            let field = cursor.lenenc().within(WHAT)?;
            if field == END {
                break;
            }
            let mut value = Cursor::new(cursor.lenenc_bytes().within(WHAT)?);
            match field {
                SIZE => size = Some(value.lenenc().within(WHAT)?),
                COMPRESSION => compression = Some(value.lenenc().within(WHAT)?),
                UNCOMPRESSED_SIZE => uncompressed_size = value.lenenc().within(WHAT)?,
                _ => {}
            }
        }
        let compression = match compression {
            Some(0) => Compression::Zstd,
            Some(255) => Compression::None,
            other => {
                return Err(Error::Unsupported {
                    what: format!("a transaction compressed by method {other:?}"),
                    advice: "set binlog_transaction_compression=OFF on the source, or update this program",
                });
            }
        };
        let size = size.ok_or_else(|| Error::malformed(WHAT, "the size is missing"))?;
        let data = cursor
            .bytes(usize::try_from(size).unwrap_or(usize::MAX))
            .within(WHAT)?;
        if !cursor.is_empty() {
            return Err(Error::malformed(
                WHAT,
                format!("{} bytes follow the compressed events", cursor.remaining()),
            ));
        }
        Ok(Self {
            compression,
            uncompressed_size,
            data,
        })
    }

    /// The events inside, one by one, in bounded memory: no more than the largest event and the decompressor's window is held.
    ///
    /// Each item is one event's bytes without checksum: parse it with [`ChecksumAlg::Off`](super::ChecksumAlg::Off). After an error the iterator ends.
    pub fn events(&self) -> PayloadEvents<'a> {
        PayloadEvents {
            input: self.data,
            compression: self.compression,
            decoder: None,
            frame_open: false,
            pending: Vec::new(),
            taken: 0,
            produced: 0,
            stated: self.uncompressed_size,
            over: false,
        }
    }
}

/// Iterator of [`Payload::events`]; [`read`](Self::read) does the same without a copy per event.
pub struct PayloadEvents<'a> {
    /// What is still compressed.
    input: &'a [u8],
    compression: Compression,
    /// Set up at the first step.
    decoder: Option<Decoder<'static>>,
    /// A zstd frame has begun and not ended.
    frame_open: bool,
    /// Decompressed bytes, of which the first `taken` were given out.
    pending: Vec<u8>,
    taken: usize,
    /// Bytes decompressed so far.
    produced: u64,
    /// Bytes there should be; 0: not told.
    stated: u64,
    over: bool,
}

impl fmt::Debug for PayloadEvents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadEvents")
            .field("input", &self.input.len())
            .field("produced", &self.produced)
            .finish()
    }
}

impl PayloadEvents<'_> {
    /// Bytes decompressed at a time.
    const STEP: usize = 128 * 1024;

    /// No server writes a larger event: `replica_max_allowed_packet` ends at 1 GiB, headers come on top.
    const LARGEST_EVENT: usize = (1 << 30) + (1 << 20);

    /// The next event's bytes, valid until the next call; `None` after the last.
    ///
    /// # Errors
    /// When the bytes don't decompress, end within an event, or are more or fewer than stated.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.over {
            return Ok(None);
        }
        // Stays so unless this event is whole.
        self.over = true;
        if self.fill(HEADER_LEN)? == 0 {
            return match self.stated {
                0 => Ok(None),
                stated if stated == self.produced => Ok(None),
                stated => Err(Error::Decompression(format!(
                    "{} bytes came where {stated} were stated",
                    self.produced
                ))),
            };
        }
        let header = EventHeader::parse(&self.pending[self.taken..])?;
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=Self::LARGEST_EVENT).contains(&size) {
            return Err(Error::malformed(WHAT, format!("an event of {size} bytes inside")));
        }
        if self.fill(size)? < size {
            return Err(Error::Truncated {
                what: "compressed transaction",
            });
        }
        self.over = false;
        let start = self.taken;
        self.taken += size;
        Ok(Some(&self.pending[start..start + size]))
    }

    /// Decompresses until `wanted` bytes are pending, or all is; says how many are.
    fn fill(&mut self, wanted: usize) -> Result<usize, Error> {
        if self.pending.len() - self.taken < wanted {
            self.pending.drain(..self.taken);
            self.taken = 0;
            while self.pending.len() < wanted && self.step()? {}
        }
        Ok(self.pending.len() - self.taken)
    }

    /// Decompresses a piece more; false when there is nothing left.
    fn step(&mut self) -> Result<bool, Error> {
        if self.compression == Compression::None {
            let (piece, left) = self.input.split_at(self.input.len().min(Self::STEP));
            self.pending.extend_from_slice(piece);
            self.produced += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.input = left;
            return Ok(!piece.is_empty());
        }
        if self.input.is_empty() && !self.frame_open {
            return Ok(false);
        }
        let failed = |error: std::io::Error| Error::Decompression(error.to_string());
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            unset => unset.insert(Decoder::new().map_err(failed)?),
        };
        let start = self.pending.len();
        self.pending.resize(start + Self::STEP, 0);
        let mut input = InBuffer::around(self.input);
        let mut output = OutBuffer::around(&mut self.pending[start..]);
        let hint = decoder.run(&mut input, &mut output).map_err(failed)?;
        let (read, written) = (input.pos(), output.pos());
        self.pending.truncate(start + written);
        self.input = &self.input[read..];
        self.produced += u64::try_from(written).unwrap_or(u64::MAX);
        self.frame_open = hint != 0;
        if read == 0 && written == 0 {
            return Err(Error::Decompression(
                "the compressed bytes are cut off".to_owned(),
            ));
        }
        if self.stated != 0 && self.produced > self.stated {
            return Err(Error::Decompression(format!(
                "more than the stated {} bytes come out",
                self.stated
            )));
        }
        Ok(true)
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
            assert!(events.pending.capacity() < 4 * PayloadEvents::STEP);
        }
        assert_eq!(found, count);
        assert!(joined == bytes);
        assert_eq!(events.read(), Ok(None));
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
