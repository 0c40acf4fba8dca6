//! Events about the log itself: format description, rotation, heartbeat, incident.

use super::error::Within;
use super::header::{CHECKSUM_LEN, FLAG_BINLOG_IN_USE, HEADER_LEN};
use super::{ChecksumAlg, Error, EventHeader, EventKind};
use crate::cursor::Cursor;

/// FORMAT_DESCRIPTION: how the events of this file are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// 4 since MySQL 5.0.
    pub binlog_version: u16,
    /// The server's version text (`9.7.0`).
    pub server_version: String,
    /// When the file was created (seconds since the epoch); 0 unless the server had just started.
    pub created: u32,
    /// How the events after this one are protected.
    pub checksum: ChecksumAlg,
}

/// ROTATE: where the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotate {
    /// The next file's base name.
    pub file: String,
    /// Where reading goes on in it.
    pub position: u64,
}

/// HEARTBEAT and HEARTBEAT_V2: the dump is alive and stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The file that the dump reads.
    pub file: String,
    /// Where it stands; 64-bit in version 2, version 1 carries 32 bits in the header's `log_pos`.
    pub position: u64,
}

/// INCIDENT: the source lost events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident<'a> {
    /// 1: events were lost.
    pub number: u16,
    /// The source's own words.
    pub message: &'a [u8],
}

const FORMAT: &str = "FORMAT_DESCRIPTION event";

/// Where the flags stand in the common header.
const FLAGS_OFFSET: usize = 17;

impl FormatDescription {
    /// Bytes of the server version's field.
    const VERSION_LEN: usize = 50;

    /// Decodes the whole event, header included: the event says by itself whether checksums are on, and its own is verified here. It
    /// stands even where they are off, and is verified too if they were `expected` to be on; but not in an event without a place: a
    /// dump that begins within a file takes that away, and where the file's checksums are off it leaves the old one.
    pub(super) fn parse(event: &[u8], expected: ChecksumAlg) -> Result<Self, Error> {
        let (_, body) = event
            .split_at_checked(HEADER_LEN)
            .ok_or(Error::Truncated { what: FORMAT })?;
        let mut cursor = Cursor::new(body);
        let binlog_version = cursor.u16().within(FORMAT)?;
        let text = cursor.bytes(Self::VERSION_LEN).within(FORMAT)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(text).into_owned();
        let created = cursor.u32().within(FORMAT)?;
        let header_len = cursor.u8().within(FORMAT)?;
        let checksum = if has_checksum_field(&server_version) {
            // The number of the algorithm and room for a CRC32 are always there, whatever the algorithm.
            let (_, tail) = cursor
                .rest()
                .split_last_chunk::<{ CHECKSUM_LEN + 1 }>()
                .ok_or(Error::Truncated { what: FORMAT })?;
            ChecksumAlg::from_number(tail[0])?
        } else {
            ChecksumAlg::Off
        };
        let has_place = EventHeader::parse(event)?.log_pos != 0;
        if checksum == ChecksumAlg::Crc32 || (expected == ChecksumAlg::Crc32 && has_place) {
            verify(event)?;
        }
        if binlog_version != 4 || usize::from(header_len) != HEADER_LEN {
            return Err(Error::Unsupported {
                what: format!("format version {binlog_version} with event headers of {header_len} bytes"),
                advice: "only version 4 with headers of 19 bytes is (MySQL 5.0 and later)",
            });
        }
        Ok(Self {
            binlog_version,
            server_version,
            created,
            checksum,
        })
    }
}

/// The server computes this event's checksum with the flag "in use" cleared, and changes the flag in place later.
fn verify(event: &[u8]) -> Result<(), Error> {
    let (content, tail) = event
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or(Error::Truncated { what: "checksum" })?;
    let mut head = *content
        .first_chunk::<HEADER_LEN>()
        .ok_or(Error::Truncated { what: "checksum" })?;
    let flags = u16::from_le_bytes([head[FLAGS_OFFSET], head[FLAGS_OFFSET + 1]]) & !FLAG_BINLOG_IN_USE;
    head[FLAGS_OFFSET..].copy_from_slice(&flags.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(&content[HEADER_LEN..]);
    let (stated, computed) = (u32::from_le_bytes(*tail), hasher.finalize());
    if stated == computed {
        Ok(())
    } else {
        Err(Error::Checksum {
            kind: EventKind::FORMAT_DESCRIPTION,
            stated,
            computed,
        })
    }
}

/// Whether a server of this version writes the checksum's number: since 5.6.1.
fn has_checksum_field(version: &str) -> bool {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    (part(), part(), part()) >= (5, 6, 1)
}

/// A binlog file's name as text.
fn file_name(bytes: &[u8], what: &'static str) -> Result<String, Error> {
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Error::malformed(what, "its file name is empty or no text")),
    }
}

impl Rotate {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "ROTATE event";
        let mut cursor = Cursor::new(body);
        let position = cursor.u64().within(WHAT)?;
        Ok(Self {
            file: file_name(cursor.rest(), WHAT)?,
            position,
        })
    }
}

impl Heartbeat {
    pub(super) fn parse_v1(body: &[u8], log_pos: u32) -> Result<Self, Error> {
        Ok(Self {
            file: file_name(body, "HEARTBEAT event")?,
            position: u64::from(log_pos),
        })
    }

    /// A list of type, length, value; fields of unknown types may be passed over.
    pub(super) fn parse_v2(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "HEARTBEAT_V2 event";
        const END: u64 = 0;
        const FILE: u64 = 1;
        const POSITION: u64 = 2;
        let mut cursor = Cursor::new(body);
        let (mut file, mut position) = (None, None);
        while !cursor.is_empty() {
            let field = cursor.lenenc().within(WHAT)?;
            if field == END {
                break;
            }
            let value = cursor.lenenc_bytes().within(WHAT)?;
            match field {
                FILE => file = Some(file_name(value, WHAT)?),
                POSITION => position = Some(Cursor::new(value).lenenc().within(WHAT)?),
                _ => {}
            }
        }
        match (file, position) {
            (Some(file), Some(position)) => Ok(Self { file, position }),
            _ => Err(Error::malformed(WHAT, "file or position is missing")),
        }
    }
}

impl<'a> Incident<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "INCIDENT event";
        let mut cursor = Cursor::new(body);
        let number = cursor.u16().within(WHAT)?;
        let length = usize::from(cursor.u8().within(WHAT)?);
        Ok(Self {
            number,
            message: cursor.bytes(length).within(WHAT)?,
        })
    }
}
