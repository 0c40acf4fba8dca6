//! Files that are written here beside those that a server wrote.

use proptest::prelude::*;

use super::{EVENTS, JSON, METADATA, TYPES, UNCHECKED, split};
use crate::binlog::{
    Body, ChecksumAlg, Error, Event, EventHeader, EventKind, Events, FILE_MAGIC, FileHead, FileWriter,
    FormatDescription,
};
use crate::gtid::GtidSet;

/// What the server's file says of itself.
fn head_of(file: &[u8]) -> (EventHeader, FormatDescription, GtidSet) {
    let events = split(file);
    let format = Event::parse(events[0], ChecksumAlg::Off).unwrap();
    let Body::FormatDescription(description) = format.body else {
        panic!()
    };
    let Body::PreviousGtids(previous) = Event::parse(events[1], description.checksum).unwrap().body else {
        panic!()
    };
    (format.header, description, previous)
}

/// The events of one file in another, without frame if `framed` is false.
fn rewrite(file: &[u8], head: &FileHead<'_>, events: &[&[u8]], framed: bool) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut writer = FileWriter::begin(head, &mut out)?;
    for event in events {
        for part in writer.place(event)?.parts() {
            out.extend_from_slice(part);
        }
    }
    assert_eq!(writer.length(), out.len() as u64);
    if framed {
        let events = split(file);
        let Body::Rotate(rotate) = Event::parse(events[events.len() - 1], writer.checksum())
            .unwrap()
            .body
        else {
            panic!()
        };
        writer.rotate(&rotate.file, &mut out)?;
    }
    Ok(out)
}

/// Bytes of events 23 to 25 in the format's list of lengths: version 1 of rows events, which 9.7 doesn't write any more.
const ROWS_V1: std::ops::Range<usize> = 19 + 57 + 22..19 + 57 + 25;

#[test]
fn a_server_s_file_comes_out_as_it_was() {
    for (name, file) in [
        ("types", TYPES),
        ("json", JSON),
        ("events", EVENTS),
        ("metadata", METADATA),
        ("unchecked", UNCHECKED),
    ] {
        let (header, format, previous) = head_of(file);
        let events = split(file);
        let head = FileHead {
            server_id: header.server_id,
            server_version: &format.server_version,
            timestamp: header.timestamp,
            checksum: format.checksum,
            previous: &previous,
        };
        let written = rewrite(file, &head, &events[2..events.len() - 1], true).unwrap();
        let (written_events, checksum) = (split(&written), format.checksum);
        assert_eq!(written_events.len(), events.len(), "{name}");
        let mut format = written_events[0].to_vec();
        format[ROWS_V1].fill(0);
        assert!(format[..119] == events[0][..119], "{name}");
        // 9.7 writes sets without tags in the tagged form too.
        let same_places = written_events[1] == events[1];
        for (at, (ours, theirs)) in written_events.iter().zip(&events).enumerate().skip(2) {
            let last = at + 1 == events.len();
            assert!(!same_places || last || ours == theirs, "{name}: event {at}");
            let body = |event: &[u8]| event[19..event.len() - checksum.len()].to_vec();
            assert!(body(ours) == body(theirs), "{name}: event {at}");
        }
        assert_eq!(head_of(&written), head_of(file), "{name}");
    }
}

#[test]
fn a_damaged_event_gets_no_new_checksum() {
    let (header, format, previous) = head_of(EVENTS);
    let head = FileHead {
        server_id: header.server_id,
        server_version: &format.server_version,
        timestamp: 0,
        checksum: ChecksumAlg::Crc32,
        previous: &previous,
    };
    let mut event = split(EVENTS)[3].to_vec();
    let at = event.len() / 2;
    event[at] ^= 1;
    let refused = rewrite(EVENTS, &head, &[&event], false);
    assert!(matches!(refused, Err(Error::Checksum { .. })), "{refused:?}");
    event.pop();
    let refused = rewrite(EVENTS, &head, &[&event], false);
    assert!(matches!(refused, Err(Error::Size { .. })), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_says_where_the_next_begins(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..10),
        version in "[0-9.a-z-]{0,70}",
        checked: bool,
    ) {
        let checksum = if checked { ChecksumAlg::Crc32 } else { ChecksumAlg::Off };
        let events: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| {
                let size = u32::try_from(19 + body.len() + checksum.len()).unwrap();
                let header = EventHeader { timestamp: 7, kind: EventKind::XID, server_id: 1, size, log_pos: 3, flags: 0 };
                let mut event = [header.to_bytes().as_slice(), body].concat();
                if checked {
                    event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
                }
                event
            })
            .collect();
        let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
        let version = format!("8.{version}");
        let head = FileHead { server_id: 9, server_version: &version, timestamp: 1, checksum, previous: &GtidSet::default() };
        let file = rewrite(&[], &head, &events, false).unwrap();
        let mut place = FILE_MAGIC.len();
        for (at, event) in Events::new(&file[place..]).enumerate() {
            let event = event.unwrap();
            place += event.len();
            prop_assert_eq!(EventHeader::parse(event).unwrap().log_pos as usize, place);
            if at >= 2 {
                let content = checksum.verify(event).unwrap();
                prop_assert_eq!(&content[19..], &events[at - 2][19..events[at - 2].len() - checksum.len()]);
            }
        }
        prop_assert_eq!(place, file.len());
    }
}
