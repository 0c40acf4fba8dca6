//! The CRC32 that ends events.

use super::header::{CHECKSUM_LEN, HEADER_LEN};
use super::{Error, EventHeader};

/// How events are protected (`binlog_checksum`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChecksumAlg {
    /// Events end with their body.
    Off,
    /// Events end with a little-endian CRC32 (IEEE) of all bytes before it.
    #[default]
    Crc32,
}

impl ChecksumAlg {
    /// The number it has in a FORMAT_DESCRIPTION event.
    pub fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Crc32 => 1,
        }
    }

    /// From the number in a FORMAT_DESCRIPTION event.
    ///
    /// # Errors
    /// When the number is neither 0 nor 1.
    pub fn from_number(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Off),
            1 => Ok(Self::Crc32),
            other => Err(Error::malformed(
                "FORMAT_DESCRIPTION event",
                format!("checksum algorithm {other}"),
            )),
        }
    }

    /// Bytes that it adds to an event.
    pub fn len(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Crc32 => CHECKSUM_LEN,
        }
    }

    /// Whether nothing is added.
    pub fn is_empty(self) -> bool {
        self == Self::Off
    }

    /// Verifies an event and returns it without its checksum.
    ///
    /// # Errors
    /// When the checksum is missing or wrong.
    pub fn verify(self, event: &[u8]) -> Result<&[u8], Error> {
        match self {
            Self::Off => Ok(event),
            Self::Crc32 => {
                let Some((content, tail)) = event.split_last_chunk::<CHECKSUM_LEN>() else {
                    return Err(Error::Truncated { what: "checksum" });
                };
                if content.len() < HEADER_LEN {
                    return Err(Error::Truncated { what: "checksum" });
                }
                let stated = u32::from_le_bytes(*tail);
                let computed = crc32fast::hash(content);
                if stated == computed {
                    Ok(content)
                } else {
                    Err(Error::Checksum {
                        kind: EventHeader::parse(event)?.kind,
                        stated,
                        computed,
                    })
                }
            }
        }
    }
}
