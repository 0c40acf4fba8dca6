//! Real binlog files of a MySQL 9.7 server (`tests/fixtures/make` says how they are made), decoded and compared with what the
//! server's SELECT gives, and what happens when their bytes are damaged.

mod damage;
mod events;
mod file;
mod values;

use super::{Body, ChecksumAlg, Event, EventHeader, FILE_MAGIC};

const TYPES: &[u8] = include_bytes!("../../tests/fixtures/types.binlog");
const METADATA: &[u8] = include_bytes!("../../tests/fixtures/metadata.binlog");
const JSON: &[u8] = include_bytes!("../../tests/fixtures/json.binlog");
const ROWS: &[u8] = include_bytes!("../../tests/fixtures/rows.binlog");
const MORE: &[u8] = include_bytes!("../../tests/fixtures/more.binlog");
const EVENTS: &[u8] = include_bytes!("../../tests/fixtures/events.binlog");
const UNCHECKED: &[u8] = include_bytes!("../../tests/fixtures/unchecked.binlog");

/// The events of a file, each as its bytes.
fn split(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.strip_prefix(&FILE_MAGIC).unwrap();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let size = usize::try_from(EventHeader::parse(rest).unwrap().size).unwrap();
        let (event, after) = rest.split_at(size);
        events.push(event);
        rest = after;
    }
    events
}

/// Decodes a file, compressed transactions included.
fn for_each(file: &[u8], mut visit: impl FnMut(&Event<'_>)) {
    let mut checksum = ChecksumAlg::Off;
    for bytes in split(file) {
        let event = Event::parse(bytes, checksum).unwrap();
        visit(&event);
        match &event.body {
            Body::FormatDescription(format) => checksum = format.checksum,
            Body::TransactionPayload(payload) => {
                for inner in payload.events() {
                    visit(&Event::parse(&inner.unwrap(), ChecksumAlg::Off).unwrap());
                }
            }
            _ => {}
        }
    }
}
