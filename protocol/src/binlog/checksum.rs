//! The CRC32 that ends events.

use super::header::{CHECKSUM_LEN, HEADER_LEN};
use super::{Error, EventHeader, EventKind};

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

/// Verifies an event whose bytes come in parts, as large ones do.
#[derive(Debug, Clone)]
pub struct RunningChecksum {
    kind: EventKind,
    stated: u32,
    seen: usize,
    /// Bytes before the checksum that have not come yet.
    content_left: usize,
    /// `None`: the event has no checksum.
    hasher: Option<crc32fast::Hasher>,
    /// The checksum as far as it came.
    tail: Vec<u8>,
}

impl RunningChecksum {
    /// For the event that `header` begins.
    ///
    /// # Errors
    /// When the size that it states has no room for header and checksum.
    pub fn new(header: &EventHeader, checksum: ChecksumAlg) -> Result<Self, Error> {
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let content_left = size
            .checked_sub(checksum.len())
            .filter(|content| *content >= HEADER_LEN)
            .ok_or(Error::Truncated { what: "checksum" })?;
        Ok(Self {
            kind: header.kind,
            stated: header.size,
            seen: 0,
            content_left,
            hasher: (!checksum.is_empty()).then(crc32fast::Hasher::new),
            tail: Vec::new(),
        })
    }

    /// Takes the bytes that come next, the event's header first; what of them stands before the checksum.
    ///
    /// # Errors
    /// When they are more than the header states.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Error> {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.left().is_none() {
            return Err(self.wrong_size());
        }
        let (content, tail) = bytes.split_at(bytes.len().min(self.content_left));
        self.content_left -= content.len();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(content);
        }
        self.tail.extend_from_slice(tail);
        Ok(content)
    }

    /// Bytes of the event that have not come yet; `None` if too many came.
    fn left(&self) -> Option<usize> {
        usize::try_from(self.stated).ok()?.checked_sub(self.seen)
    }

    /// Judges the event, all of whose bytes have come.
    ///
    /// # Errors
    /// When the checksum is wrong, or bytes are missing.
    pub fn finish(self) -> Result<(), Error> {
        if self.left() != Some(0) {
            return Err(self.wrong_size());
        }
        let Some(hasher) = self.hasher else { return Ok(()) };
        let tail = self.tail.first_chunk::<CHECKSUM_LEN>();
        let stated = u32::from_le_bytes(*tail.ok_or(Error::Truncated { what: "checksum" })?);
        match hasher.finalize() {
            computed if computed == stated => Ok(()),
            computed => Err(Error::Checksum {
                kind: self.kind,
                stated,
                computed,
            }),
        }
    }

    fn wrong_size(&self) -> Error {
        Error::Size {
            stated: self.stated,
            actual: self.seen,
        }
    }
}
