//! TRANSACTION_PAYLOAD: a whole transaction compressed with zstd.

mod unpack;

pub use self::unpack::{PayloadEvents, Unpacker};
use super::Error;
use super::error::Within;
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

/// What stands before the compressed bytes.
#[derive(Debug, Clone, Copy)]
struct Head {
    compression: Compression,
    uncompressed_size: u64,
    /// Bytes of the compressed events.
    size: usize,
}

impl Head {
    /// A list of type, length, value; fields of unknown types may be passed over.
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        const END: u64 = 0;
        const SIZE: u64 = 1;
        const COMPRESSION: u64 = 2;
        const UNCOMPRESSED_SIZE: u64 = 3;
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
        Ok(Self {
            compression,
            uncompressed_size,
            size: usize::try_from(size).unwrap_or(usize::MAX),
        })
    }
}

impl<'a> Payload<'a> {
    /// The head, then the compressed bytes, and nothing behind them.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let head = Head::parse(&mut cursor)?;
        let data = cursor.bytes(head.size).within(WHAT)?;
        if !cursor.is_empty() {
            return Err(surplus(cursor.remaining()));
        }
        Ok(Self {
            compression: head.compression,
            uncompressed_size: head.uncompressed_size,
            data,
        })
    }

    /// The events inside, one by one, in bounded memory: no more than the largest event and the decompressor's window is held.
    ///
    /// Each item is one event's bytes without checksum: parse it with [`ChecksumAlg::Off`](super::ChecksumAlg::Off). After an error the iterator ends.
    pub fn events(&self) -> PayloadEvents<'a> {
        PayloadEvents::new(self)
    }
}

fn surplus(bytes: usize) -> Error {
    Error::malformed(WHAT, format!("{bytes} bytes follow the compressed events"))
}
