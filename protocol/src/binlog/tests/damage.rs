//! Damaged and invented bytes: an error, never a panic, and never work without bound.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{EVENTS, JSON, METADATA, TYPES, split};
use crate::binlog::rows::RowPlan;
use crate::binlog::{Body, ChecksumAlg, Event, json};

/// Real events without their checksums, as inside of a compressed transaction.
static REAL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let files = [TYPES, METADATA, JSON, EVENTS];
    let events = files.iter().flat_map(|file| split(file).into_iter().skip(1));
    events.map(|event| sized(&event[..event.len() - 4])).collect()
});

/// The plans of all tables in the fixtures.
static PLANS: LazyLock<Vec<RowPlan>> = LazyLock::new(|| {
    let maps = REAL.iter().filter_map(
        |bytes| match Event::parse(bytes, ChecksumAlg::Off).unwrap().body {
            Body::TableMap(map) => Some(RowPlan::new(&map, &[]).unwrap()),
            _ => None,
        },
    );
    maps.collect()
});

/// The event with its own length in its header.
fn sized(event: &[u8]) -> Vec<u8> {
    let mut event = event.to_vec();
    if let (Ok(size), Some(field)) = (u32::try_from(event.len()), event.get_mut(9..13)) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    event
}

/// Does with an event all that can be done.
fn exercise(bytes: &[u8]) {
    let Ok(event) = Event::parse(bytes, ChecksumAlg::Off) else {
        return;
    };
    match event.body {
        Body::Rows(rows) => {
            for plan in PLANS.iter() {
                let decoded = plan.rows(&rows).take_while(Result::is_ok).count();
                assert!(decoded <= rows.data.len());
            }
        }
        Body::TableMap(map) => {
            let Ok(plan) = RowPlan::new(&map, &[]) else { return };
            for bytes in REAL.iter() {
                if let Ok(Event {
                    body: Body::Rows(rows),
                    ..
                }) = Event::parse(bytes, ChecksumAlg::Off)
                {
                    plan.rows(&rows).take(100).for_each(drop);
                }
            }
        }
        Body::TransactionPayload(payload) => payload.events().take(1000).for_each(drop),
        _ => {}
    }
}

#[test]
fn undamaged_events_are_read() {
    assert!(
        REAL.iter()
            .all(|event| Event::parse(event, ChecksumAlg::Off).is_ok())
    );
    assert!(PLANS.len() > 10);
}

#[test]
fn every_prefix_of_every_event() {
    for event in REAL.iter().filter(|event| event.len() < 2000) {
        for length in 0..event.len() {
            exercise(&sized(&event[..length]));
        }
    }
}

/// An array whose items all point to the same smaller array, and so on: 2^60 items, were it not refused.
#[test]
fn a_document_that_grows_without_bound_is_refused() {
    let mut document = vec![2];
    for level in 0..60_u16 {
        // Two parts of 3 bytes behind 4 bytes of head; both begin where the next level does.
        let size = 10 * (60 - level) + 4;
        document.extend_from_slice(&2_u16.to_le_bytes());
        document.extend_from_slice(&size.to_le_bytes());
        for _ in 0..2 {
            document.push(2);
            document.extend_from_slice(&10_u16.to_le_bytes());
        }
    }
    document.extend_from_slice(&[0, 0, 4, 0]);
    assert!(json::to_text(&document).is_err());
}

/// An array of a thousand items that are all the same long string: a megabyte of text out of four kilobytes, by either way.
#[test]
fn items_that_share_their_bytes_are_refused() {
    let (count, length) = (1000_u16, 1000_u16);
    let start = 4 + 3 * count;
    let mut document = vec![2];
    document.extend_from_slice(&count.to_le_bytes());
    document.extend_from_slice(&(start + 2 + length).to_le_bytes());
    for _ in 0..count {
        document.push(0x0c);
        document.extend_from_slice(&start.to_le_bytes());
    }
    document.extend_from_slice(&[0xe8, 0x07]);
    document.resize(document.len() + usize::from(length), b'x');
    assert!(json::to_text(&document).is_err());
    assert!(json::apply_diffs(&document, &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn invented_events(kind: u8, flags: u16, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = vec![0; 19];
        bytes[4] = kind;
        bytes[17..].copy_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&body);
        exercise(&sized(&bytes));
        prop_assert!(Event::parse(&body, ChecksumAlg::Crc32).is_err());
    }

    #[test]
    fn damaged_events(at: prop::sample::Index, flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut event = at.get(&REAL).clone();
        for (place, byte) in flips {
            let place = place.index(event.len() - 19) + 19;
            event[place] = byte;
        }
        exercise(&event);
    }

    #[test]
    fn invented_documents(bytes in proptest::collection::vec(any::<u8>(), 0..200), diffs in proptest::collection::vec(any::<u8>(), 0..60)) {
        for text in [json::to_text(&bytes), json::apply_diffs(&bytes, &diffs)].into_iter().flatten() {
            prop_assert!(std::str::from_utf8(&text).is_ok());
        }
    }

    #[test]
    fn documents_of_small_numbers(bytes in proptest::collection::vec(0_u8..16, 0..200)) {
        let text = json::to_text(&bytes);
        // Nothing changed, nothing different; nor is anything found by only one of the two.
        prop_assert_eq!(&json::apply_diffs(&bytes, &[]), &text);
        if let Ok(shorter) = json::apply_diffs(&bytes, b"\x02\x04$[0]") {
            prop_assert!(shorter.len() < text.unwrap().len());
        }
    }
}
