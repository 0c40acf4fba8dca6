//! However a transaction's bytes are cut into pieces, the same events come out: examples and properties.

use proptest::prelude::*;

use super::*;
use crate::binlog::{FileHead, FileWriter};
use crate::gtid::GtidSet;

/// An event of a kind, protected as told.
fn event(kind: EventKind, body: &[u8], checksum: ChecksumAlg) -> Vec<u8> {
    let header = EventHeader {
        timestamp: 7,
        kind,
        server_id: 1,
        size: u32::try_from(HEADER_LEN + body.len() + checksum.len()).unwrap(),
        log_pos: 0,
        flags: 0,
    };
    let mut event = [header.to_bytes().as_slice(), body].concat();
    if checksum == ChecksumAlg::Crc32 {
        event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
    }
    event
}

/// A compressed transaction of these events.
fn payload(inner: &[Vec<u8>], checksum: ChecksumAlg) -> Vec<u8> {
    let plain = inner.concat();
    let data = zstd::bulk::compress(&plain, 1).unwrap();
    let field = |kind: u8, value: usize| {
        // The field's length, then the number in its longest form.
        [&[kind, 9, 0xfe][..], &u64::try_from(value).unwrap().to_le_bytes()].concat()
    };
    let head = [field(1, data.len()), field(2, 0), field(3, plain.len()), vec![0]].concat();
    event(EventKind::TRANSACTION_PAYLOAD, &[head, data].concat(), checksum)
}

/// What stands in a transaction: bodies of plain events, or of those in a compressed one.
#[derive(Debug, Clone)]
enum Part {
    Plain(Vec<u8>),
    Compressed(Vec<Vec<u8>>),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let body = || proptest::collection::vec(any::<u8>(), 0..120);
    let part = prop_oneof![
        3 => body().prop_map(Part::Plain),
        1 => proptest::collection::vec(body(), 0..8).prop_map(Part::Compressed),
    ];
    proptest::collection::vec(part, 0..8)
}

fn checksums() -> impl Strategy<Value = ChecksumAlg> {
    prop_oneof![Just(ChecksumAlg::Crc32), Just(ChecksumAlg::Off)]
}

/// A transaction's bytes, and the events that must be found in it, each with whether it was compressed.
fn transaction(parts: &[Part], checksum: ChecksumAlg) -> (Vec<u8>, Vec<(Vec<u8>, bool)>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Plain(body) => {
                let event = event(EventKind::WRITE_ROWS, body, checksum);
                bytes.extend_from_slice(&event);
                expected.push((event, false));
            }
            Part::Compressed(bodies) => {
                let inner: Vec<_> = bodies
                    .iter()
                    .map(|body| event(EventKind::WRITE_ROWS, body, ChecksumAlg::Off))
                    .collect();
                bytes.extend_from_slice(&payload(&inner, checksum));
                expected.extend(inner.into_iter().map(|event| (event, true)));
            }
        }
    }
    (bytes, expected)
}

/// The bytes cut at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn found(pieces: &[&[u8]], checksum: ChecksumAlg) -> Result<Vec<(Vec<u8>, bool)>, Error> {
    let mut unfolder = Unfolder::new(checksum);
    let mut all = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = unfolder.next(&mut input)? {
            all.push((event.bytes.to_vec(), event.compressed));
        }
        assert!(input.is_empty());
    }
    unfolder.finish()?;
    Ok(all)
}

/// The transaction in a new file, its cut events placed part by part.
fn placed(pieces: &[&[u8]], writer: &mut FileWriter) -> Result<Vec<u8>, Error> {
    let (mut splitter, mut placing, mut out) = (Splitter::default(), None, Vec::new());
    for piece in pieces {
        let mut input = *piece;
        while let Some(span) = splitter.next(&mut input)? {
            match span {
                Span::Whole(event) => out.extend(writer.place(event)?.parts().concat()),
                Span::First(header, part) => {
                    let mut began = writer.place_parts(header)?;
                    out.extend_from_slice(began.head());
                    out.extend_from_slice(began.push(part)?);
                    placing = Some(began);
                }
                Span::More(part) => out.extend_from_slice(placing.as_mut().unwrap().push(part)?),
                Span::Last(part) => {
                    let mut placing = placing.take().unwrap();
                    out.extend_from_slice(placing.push(part)?);
                    out.extend(placing.finish()?.iter().flatten());
                }
            }
        }
    }
    Ok(out)
}

fn writer(checksum: ChecksumAlg) -> FileWriter {
    let head = FileHead {
        server_id: 1,
        server_version: "9.7.4",
        timestamp: 1,
        checksum,
        previous: &GtidSet::default(),
    };
    FileWriter::begin(&head, &mut Vec::new()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_back_the_same_events(
        parts in parts(), checksum in checksums(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (bytes, expected) = transaction(&parts, checksum);
        prop_assert_eq!(found(&pieces(&bytes, &cuts), checksum), Ok(expected));
        let one_by_one: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(found(&one_by_one, checksum).unwrap().len(), found(&[&bytes], checksum).unwrap().len());
    }

    #[test]
    fn a_file_gets_the_same_bytes_from_any_cut(
        parts in parts(), checksum in checksums(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (bytes, _) = transaction(&parts, checksum);
        let (mut one, mut other) = (writer(checksum), writer(checksum));
        prop_assert_eq!(placed(&pieces(&bytes, &cuts), &mut one), placed(&[&bytes], &mut other));
        prop_assert_eq!(one.length(), other.length());
    }

    /// C1: neither a reader that joins nor a file takes what is damaged.
    #[test]
    fn a_flipped_bit_is_found_out(
        parts in parts(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        let (mut bytes, _) = transaction(&parts, ChecksumAlg::Crc32);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let pieces = pieces(&bytes, &cuts);
        prop_assert!(placed(&pieces, &mut writer(ChecksumAlg::Crc32)).is_err() || ends_early(&pieces));
        let mut unfolder = Unfolder::new(ChecksumAlg::Crc32);
        let mut read = || -> Result<(), Error> {
            for piece in &pieces {
                let mut input = *piece;
                while let Some(event) = unfolder.next(&mut input)? {
                    if !event.compressed {
                        event.checksum.verify(event.bytes)?;
                    }
                }
            }
            unfolder.finish()
        };
        prop_assert!(read().is_err());
    }

    #[test]
    fn what_is_cut_off_is_no_transaction(parts in parts(), checksum in checksums(), end in any::<prop::sample::Index>()) {
        let (bytes, expected) = transaction(&parts, checksum);
        let end = end.index(bytes.len() + 1);
        if let Ok(some) = found(&[&bytes[..end]], checksum) {
            prop_assert!(expected.starts_with(&some));
            let rest = found(&[&bytes[end..]], checksum).unwrap();
            prop_assert_eq!([some, rest].concat(), expected);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), checksum in checksums(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
        drop(found(&pieces(&bytes, &cuts), checksum));
    }
}

/// A damaged size may claim more bytes than there are: nothing is placed then but a beginning.
fn ends_early(pieces: &[&[u8]]) -> bool {
    let mut splitter = Splitter::default();
    for piece in pieces {
        let mut input = *piece;
        while let Ok(Some(_)) = splitter.next(&mut input) {}
    }
    !splitter.is_between()
}

#[test]
fn whole_events_are_found_where_they_stand() {
    let events = [
        event(EventKind::WRITE_ROWS, b"one", ChecksumAlg::Crc32),
        event(EventKind::XID, b"number 2", ChecksumAlg::Crc32),
    ];
    let piece = events.concat();
    let mut unfolder = Unfolder::new(ChecksumAlg::Crc32);
    let mut input = piece.as_slice();
    let first = unfolder.next(&mut input).unwrap().unwrap().bytes.as_ptr();
    assert_eq!(first, piece.as_ptr());
    let second = unfolder.next(&mut input).unwrap().unwrap().bytes.as_ptr();
    assert_eq!(second, piece[events[0].len()..].as_ptr());
}

#[test]
fn a_compressed_transaction_is_not_held() {
    let inner: Vec<_> = (0..3000_u32)
        .map(|n| {
            let mut state = u64::from(n) + 1;
            let body: Vec<u8> = (0..8000)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            event(EventKind::WRITE_ROWS, &body, ChecksumAlg::Off)
        })
        .collect();
    let bytes = payload(&inner, ChecksumAlg::Crc32);
    assert!(bytes.len() > 20_000_000);
    let mut unfolder = Unfolder::new(ChecksumAlg::Crc32);
    let mut count = 0;
    for mut piece in bytes.chunks(1 << 20) {
        while let Some(found) = unfolder.next(&mut piece).unwrap() {
            assert!(found.bytes == inner[count]);
            count += 1;
        }
        assert_eq!(unfolder.joined.capacity(), 0);
    }
    assert_eq!(count, inner.len());
    unfolder.finish().unwrap();
}
