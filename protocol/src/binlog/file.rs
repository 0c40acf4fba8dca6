//! Binlog files as servers write them, made from events that came from elsewhere: what `mysqlbinlog` and replicas read.
//!
//! A [`FileWriter`] frames the events (magic, FORMAT_DESCRIPTION, PREVIOUS_GTIDS, at the end ROTATE), gives each its place in
//! the new file and renews its checksum. The body of an event is never touched, so what was compressed stays compressed. An
//! event's own checksum is verified first: damage must not get a new, right one (C1).

use super::header::FLAG_IGNORABLE;
use super::{
    CHECKSUM_LEN, ChecksumAlg, Error, EventHeader, EventKind, FILE_MAGIC, HEADER_LEN, RunningChecksum,
};
use crate::gtid::GtidSet;

/// What a file's first events say.
#[derive(Debug, Clone, Copy)]
pub struct FileHead<'a> {
    /// The server whose events follow.
    pub server_id: u32,
    /// Its version (`9.7.4`); at most 49 bytes are kept.
    pub server_version: &'a str,
    /// When the file began, in seconds since 1970.
    pub timestamp: u32,
    /// How the events that follow are protected.
    pub checksum: ChecksumAlg,
    /// Every transaction before this file.
    pub previous: &'a GtidSet,
}

/// A file that is being written; it knows where it stands.
#[derive(Debug)]
pub struct FileWriter {
    server_id: u32,
    timestamp: u32,
    checksum: ChecksumAlg,
    length: u64,
}

/// An event with its place in a new file.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'e> {
    head: [u8; HEADER_LEN],
    body: &'e [u8],
    tail: Option<[u8; CHECKSUM_LEN]>,
}

impl Placed<'_> {
    /// Its bytes, in order. Nothing is copied: an event may have a gigabyte.
    pub fn parts(&self) -> [&[u8]; 3] {
        [
            &self.head,
            self.body,
            self.tail.as_ref().map_or(&[], |tail| tail.as_slice()),
        ]
    }
}

/// An event that gets its place in a new file part by part, so that it is never held.
#[derive(Debug)]
pub struct Placing {
    head: [u8; HEADER_LEN],
    /// The checksum under which it comes.
    old: RunningChecksum,
    /// The one under which it goes.
    new: Option<crc32fast::Hasher>,
}

impl Placing {
    /// Its header as it is to be written.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The bytes that come next, behind the header; what of them is to be written.
    ///
    /// # Errors
    /// When they are more than the header states.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Error> {
        let body = self.old.push(bytes)?;
        if let Some(new) = &mut self.new {
            new.update(body);
        }
        Ok(body)
    }

    /// The new checksum, to be written behind everything else.
    ///
    /// # Errors
    /// When the old one is wrong, or bytes are missing: what was written must not be used.
    pub fn finish(self) -> Result<Option<[u8; CHECKSUM_LEN]>, Error> {
        self.old.finish()?;
        Ok(self.new.map(|new| new.finalize().to_le_bytes()))
    }
}

/// Bytes of a FORMAT_DESCRIPTION's field for the server's version; a zero byte ends the text.
const VERSION_LEN: usize = 50;

/// The length of the fixed part of each event's body, from type 1 on, as MySQL 8.0 to 9.7 write it for the events that their
/// binlogs hold (`Format_description_event` in the server's `libs/mysql/binlog/event/control_events.cpp`). Readers of older
/// versions pass over types that they do not know.
const FIXED_LENGTHS: [u8; 42] = [
    0, 13, 0, 8, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 99, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 42,
    42, 0, 18, 52, 0, 10, 40, 0, 0,
];

impl FileWriter {
    /// Begins a file: its first bytes are appended to `out`.
    ///
    /// # Errors
    /// When the set of previous GTIDs is larger than an event can be.
    pub fn begin(head: &FileHead<'_>, out: &mut Vec<u8>) -> Result<Self, Error> {
        let start = out.len();
        let mut writer = Self {
            server_id: head.server_id,
            timestamp: head.timestamp,
            checksum: head.checksum,
            length: FILE_MAGIC.len() as u64,
        };
        out.extend_from_slice(&FILE_MAGIC);
        let mut body = 4_u16.to_le_bytes().to_vec();
        let mut version = [0; VERSION_LEN];
        let text = head.server_version.as_bytes();
        let kept = text.len().min(VERSION_LEN - 1);
        version[..kept].copy_from_slice(&text[..kept]);
        body.extend_from_slice(&version);
        // The time of creation is told only by a server that has just started.
        body.extend_from_slice(&[0; 4]);
        body.push(19);
        body.extend_from_slice(&FIXED_LENGTHS);
        body.push(head.checksum.number());
        // This event has a checksum whatever the algorithm.
        writer.own(EventKind::FORMAT_DESCRIPTION, 0, &body, ChecksumAlg::Crc32, out)?;
        let previous = head.previous.encode();
        writer.own(
            EventKind::PREVIOUS_GTIDS,
            FLAG_IGNORABLE,
            &previous,
            head.checksum,
            out,
        )?;
        debug_assert_eq!(writer.length, (out.len() - start) as u64);
        Ok(writer)
    }

    /// Bytes of the file so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How this file's events are protected.
    pub fn checksum(&self) -> ChecksumAlg {
        self.checksum
    }

    /// Places the next event, given as the source wrote it under this file's checksum.
    ///
    /// # Errors
    /// When its checksum is wrong, or its size not the one that it states.
    pub fn place<'e>(&mut self, event: &'e [u8]) -> Result<Placed<'e>, Error> {
        let header = EventHeader::parse(event)?;
        if u32::try_from(event.len()) != Ok(header.size) {
            return Err(Error::Size {
                stated: header.size,
                actual: event.len(),
            });
        }
        let content = self.checksum.verify(event)?;
        let body = content.get(HEADER_LEN..).unwrap_or_default();
        Ok(self.placed(header, body, self.checksum))
    }

    /// Places the next event, whose bytes behind `header` come in parts.
    ///
    /// # Errors
    /// When the size that it states has no room for header and checksum.
    pub fn place_parts(&mut self, header: EventHeader) -> Result<Placing, Error> {
        let mut old = RunningChecksum::new(&header, self.checksum)?;
        old.push(&header.to_bytes())?;
        let (head, new) = self.head(header, self.checksum);
        Ok(Placing { head, old, new })
    }

    /// Ends a file that is followed by another one; the ROTATE event is appended to `out`.
    ///
    /// # Errors
    /// When the name is longer than an event can be.
    pub fn rotate(mut self, next: &str, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut body = (FILE_MAGIC.len() as u64).to_le_bytes().to_vec();
        body.extend_from_slice(next.as_bytes());
        self.own(EventKind::ROTATE, 0, &body, self.checksum, out)
    }

    /// Appends an event of the file's own.
    fn own(
        &mut self,
        kind: EventKind,
        flags: u16,
        body: &[u8],
        checksum: ChecksumAlg,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let size = HEADER_LEN + body.len() + checksum.len();
        let header = EventHeader {
            timestamp: self.timestamp,
            kind,
            server_id: self.server_id,
            size: u32::try_from(size)
                .map_err(|_too_large| Error::malformed("binlog file", format!("a {kind} of {size} bytes")))?,
            log_pos: 0,
            flags,
        };
        for part in self.placed(header, body, checksum).parts() {
            out.extend_from_slice(part);
        }
        Ok(())
    }

    fn placed<'e>(&mut self, header: EventHeader, body: &'e [u8], checksum: ChecksumAlg) -> Placed<'e> {
        let (head, new) = self.head(header, checksum);
        let tail = new.map(|mut new| {
            new.update(body);
            new.finalize().to_le_bytes()
        });
        Placed { head, body, tail }
    }

    /// The next event's header with its place in this file, and the checksum that begins with it.
    fn head(
        &mut self,
        header: EventHeader,
        checksum: ChecksumAlg,
    ) -> ([u8; HEADER_LEN], Option<crc32fast::Hasher>) {
        self.length += u64::from(header.size);
        // The field has 32 bits; readers of files over 4 GiB count for themselves.
        let [a, b, c, d, ..] = self.length.to_le_bytes();
        let head = EventHeader {
            log_pos: u32::from_le_bytes([a, b, c, d]),
            ..header
        }
        .to_bytes();
        let new = (checksum == ChecksumAlg::Crc32).then(|| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&head);
            hasher
        });
        (head, new)
    }
}
