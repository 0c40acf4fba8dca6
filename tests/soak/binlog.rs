//! What the source itself says that it committed: its binlog files, read from its data directory, by their event borders
//! alone. Nothing here knows how capture puts transactions together.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use anyhow::{Context, Result, bail};
use outrigger_protocol::binlog::{CHECKSUM_LEN, EventHeader, EventKind, FILE_MAGIC, HEADER_LEN};
use outrigger_protocol::position::FilePosition;

/// A transaction: where it stands, and its bytes in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) start: FilePosition,
    pub(super) end: u64,
    pub(super) bytes: usize,
    pub(super) hash: u64,
}

/// A transaction of the binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) entry: Entry,
    /// It holds more than a beginning and an end.
    pub(super) changes: bool,
}

/// Puts an entry together from parts of its bytes.
#[derive(Default)]
pub(super) struct Digest {
    bytes: usize,
    hasher: DefaultHasher,
}

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.hasher.write(bytes);
    }

    pub(super) fn entry(&self, start: FilePosition, end: u64) -> Entry {
        Entry {
            start,
            end,
            bytes: self.bytes,
            hash: self.hasher.finish(),
        }
    }
}

/// All transactions of the binlog files that a data directory's index names, in order.
pub(super) fn transactions(data: &Path) -> Result<Vec<Committed>> {
    let index = fs::read_to_string(data.join("binlog.index")).context("the source's list of binlog files")?;
    let mut all = Vec::new();
    for line in index.lines() {
        let name = line.trim_start_matches("./");
        let bytes = fs::read(data.join(name)).with_context(|| format!("the source's binlog file {name}"))?;
        split(name, &bytes, &mut all)?;
    }
    Ok(all)
}

fn split(name: &str, bytes: &[u8], all: &mut Vec<Committed>) -> Result<()> {
    if !bytes.starts_with(&FILE_MAGIC) {
        bail!("{name} is no binlog file");
    }
    let mut at = FILE_MAGIC.len();
    let mut begun: Option<usize> = None;
    let mut changes = false;
    let mut finish = |begun: &mut Option<usize>, end: usize, changes: bool| {
        if let Some(start) = begun.take() {
            let mut digest = Digest::default();
            digest.add(&bytes[start..end]);
            let entry = digest.entry(FilePosition::new(name, start as u64), end as u64);
            all.push(Committed { entry, changes });
        }
    };
    while at < bytes.len() {
        let header = EventHeader::parse(&bytes[at..])?;
        let size = header.size as usize;
        if size < HEADER_LEN || at + size > bytes.len() {
            bail!("{name} is cut off at {at}");
        }
        match header.kind {
            EventKind::GTID | EventKind::ANONYMOUS_GTID | EventKind::GTID_TAGGED => {
                finish(&mut begun, at, changes);
                begun = Some(at);
                // The event behind it begins a transaction, or is one.
                let next = bytes.get(at + size..).unwrap_or_default();
                changes = !begins(next);
            }
            EventKind::FORMAT_DESCRIPTION
            | EventKind::PREVIOUS_GTIDS
            | EventKind::ROTATE
            | EventKind::STOP => {
                finish(&mut begun, at, changes);
            }
            EventKind::TABLE_MAP => changes = true,
            _ => {}
        }
        at += size;
    }
    finish(&mut begun, at, changes);
    Ok(())
}

/// Whether the first of these events is BEGIN, with or without a checksum behind it.
fn begins(events: &[u8]) -> bool {
    const BEGIN: &[u8] = b"BEGIN";
    let Ok(header) = EventHeader::parse(events) else {
        return false;
    };
    let event = events.get(..header.size as usize).unwrap_or_default();
    let without = &event[..event.len().saturating_sub(CHECKSUM_LEN)];
    header.kind == EventKind::QUERY && (event.ends_with(BEGIN) || without.ends_with(BEGIN))
}
