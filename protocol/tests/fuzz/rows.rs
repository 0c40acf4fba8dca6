//! Rows events with their table maps, and JSON documents with diffs.

use std::collections::HashMap;

use outrigger_protocol::binlog::rows::{ColumnHint, Images, RowChange, RowPlan};
use outrigger_protocol::binlog::{
    Body, ChecksumAlg, ColumnType, Event, EventKind, HEADER_LEN, TableMap, json,
};
use outrigger_protocol::value::Value;

use crate::decoders::Behaviour;
use crate::events::{events, sealed};

/// Bytes before the parts of a statement: what hints say, and the length of the table map's body.
const STATEMENT_HEAD: usize = 3;

/// A table map and a rows event of it: hints, the map's length, the map's body, the event's kind, the event's body.
pub(crate) fn statements() -> Vec<Vec<u8>> {
    let (mut statements, mut maps) = (Vec::new(), HashMap::new());
    for event in events() {
        let plain = sealed(&event, ChecksumAlg::Off);
        let Ok(parsed) = Event::parse(&plain, ChecksumAlg::Off) else {
            continue;
        };
        match parsed.body {
            Body::TableMap(map) => drop(maps.insert(map.table_id, event[HEADER_LEN..].to_vec())),
            Body::Rows(rows) if event.len() < 8_000 => {
                let map = &maps[&rows.table_id];
                let length = u16::try_from(map.len()).unwrap().to_le_bytes();
                let kind = [parsed.header.kind.0];
                statements.push([&[0], &length[..], &map[..], &kind, &event[HEADER_LEN..]].concat());
            }
            _ => {}
        }
    }
    statements
}

/// An event made of a kind and a body.
fn event_of(kind: EventKind, body: &[u8]) -> Vec<u8> {
    let mut event = vec![0; HEADER_LEN];
    event[4] = kind.0;
    event.extend_from_slice(body);
    sealed(&event, ChecksumAlg::Off)
}

pub(crate) fn rows(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let Some((head, rest)) = input.split_at_checked(STATEMENT_HEAD) else {
        return 0;
    };
    let length = usize::from(u16::from_le_bytes([head[1], head[2]])).min(rest.len());
    let (map, rest) = rest.split_at(length);
    let Some((kind, body)) = rest.split_first() else {
        return 0;
    };
    let (map, rows) = (
        event_of(EventKind::TABLE_MAP, map),
        event_of(EventKind(*kind), body),
    );
    let (Ok(map), Ok(rows)) = (
        Event::parse(&map, ChecksumAlg::Off),
        Event::parse(&rows, ChecksumAlg::Off),
    ) else {
        return 0;
    };
    let (Body::TableMap(map), Body::Rows(rows)) = (map.body, rows.body) else {
        return 0;
    };
    let hint = ColumnHint {
        unsigned: head[0] & 2 != 0,
        binary: head[0] & 4 != 0,
    };
    let hints = if head[0] & 1 == 0 {
        Vec::new()
    } else {
        vec![hint; map.columns.len()]
    };
    let plan = match RowPlan::new(&map, &hints) {
        Ok(plan) => plan,
        Err(error) => {
            behaviour.message(&error);
            return behaviour.finish();
        }
    };
    behaviour.add((kind, rows.partial));
    let mut count = 0;
    let mut again = plan.rows(&rows);
    for change in plan.rows(&rows) {
        count += 1;
        // Reading into memory that holds earlier rows gives the same.
        match (again.read(), &change) {
            (Ok(Some(images)), Ok(change)) => same_images(images, change),
            (Err(again), Err(error)) => assert_eq!(again, *error),
            (again, change) => panic!("{again:?} and {change:?}"),
        }
        assert!(count <= rows.data.len() + 1);
        match change {
            Ok(change) => {
                for image in [&change.before, &change.after].into_iter().flatten() {
                    assert_eq!(image.len(), map.columns.len());
                    if count < 4 {
                        image
                            .iter()
                            .for_each(|value| value_is_sound(value.as_ref(), &mut behaviour));
                    }
                }
            }
            Err(error) => behaviour.message(&error),
        }
    }
    behaviour.count(count);
    behaviour.finish()
}

fn same_images(images: Images<'_, '_>, change: &RowChange<'_>) {
    let bits = |value: &Option<Value<'_>>| match value {
        Some(Value::Float(value)) => Some(Value::UInt(value.to_bits().into())),
        Some(Value::Double(value)) => Some(Value::UInt(value.to_bits())),
        other => other.clone().map(Value::into_owned),
    };
    let all = |row: &[Option<Value<'_>>]| row.iter().map(bits).collect::<Vec<_>>();
    assert_eq!(images.before.map(all), change.before.as_deref().map(all));
    assert_eq!(images.after.map(all), change.after.as_deref().map(all));
}

/// Asserts what a value promises.
fn value_is_sound(value: Option<&Value<'_>>, behaviour: &mut Behaviour) {
    match value {
        Some(Value::Json(text)) => {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
            behaviour.count(text.len());
        }
        Some(Value::TypedJson(document)) => {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&document.text).is_ok());
            assert!(document.parts.is_sorted_by(|one, next| one.at < next.at));
            behaviour.count(document.text.len());
        }
        Some(Value::Decimal(text)) => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            assert!(!digits.is_empty() && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'));
            behaviour.add(text.len());
        }
        Some(Value::Date(date)) => assert!(date.year <= 9999 && date.month <= 12 && date.day <= 31),
        Some(Value::DateTime(date, time)) => {
            assert!(date.year <= 9999 && time.hour < 24 && time.minute < 60 && time.micros < 1_000_000);
        }
        Some(Value::Time(time)) => assert!(time.hours <= 838 && time.micros < 1_000_000),
        _ => {}
    }
    behaviour.add(value.map(std::mem::discriminant));
}

/// The stored documents of the fixtures, each without diffs and with some.
pub(crate) fn documents() -> Vec<Vec<u8>> {
    let mut documents = Vec::new();
    let mut plans = HashMap::new();
    for event in events() {
        let plain = sealed(&event, ChecksumAlg::Off);
        match Event::parse(&plain, ChecksumAlg::Off).map(|event| event.body) {
            Ok(Body::TableMap(map)) => drop(plans.insert(map.table_id, as_stored(map))),
            Ok(Body::Rows(rows)) if !rows.partial => {
                let (plan, json) = &plans[&rows.table_id];
                for change in plan.rows(&rows).map(Result::unwrap) {
                    let row = change.after.or(change.before).unwrap();
                    documents.extend(json.iter().filter_map(|at| match &row[*at] {
                        Some(Value::Bytes(document)) => Some(document.to_vec()),
                        _ => None,
                    }));
                }
            }
            _ => {}
        }
    }
    documents.retain(|document| document.len() < 8_000);
    let diffs: [&[u8]; 6] = [
        b"",
        b"\x00\x03$.k\x02\x04\x01",
        b"\x01\x05$.new\x06\x0c\x04text",
        b"\x02\x04$[0]\x00\x04$[1]\x02\x05\x07\x00",
        b"\x00\x07$[last]\x02\x04\x00\x01\x04$[1]\x02\x04\x00",
        b"\x02\x0e$.\"with \\\" quote\"",
    ];
    let with = |document: &Vec<u8>| {
        let length = u16::try_from(document.len()).unwrap().to_le_bytes();
        diffs.map(|diffs| [&length[..], document, diffs].concat())
    };
    documents.iter().flat_map(with).collect()
}

/// A plan that gives JSON columns as they are stored, and which they are.
fn as_stored(mut map: TableMap) -> (RowPlan, Vec<usize>) {
    let mut json = Vec::new();
    for (at, column) in map.columns.iter_mut().enumerate() {
        if column.kind == ColumnType::JSON {
            column.kind = ColumnType::BLOB;
            json.push(at);
        }
    }
    (RowPlan::new(&map, &[]).unwrap(), json)
}

pub(crate) fn document(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let Some((length, rest)) = input.split_first_chunk::<2>() else {
        return 0;
    };
    let (document, diffs) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let plain = json::to_text(document);
    // Nothing changed, nothing different; nor is anything found by only one of the two.
    assert!(json::apply_diffs(document, &[]).ok() == plain.clone().ok());
    for text in [plain, json::apply_diffs(document, diffs)] {
        match text {
            Err(error) => behaviour.message(&error),
            Ok(text) => {
                assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
                assert!(
                    text.len() <= 32 * input.len() + 64,
                    "{} bytes of text",
                    text.len()
                );
                behaviour.count(text.len());
                let shape: String = text
                    .iter()
                    .map(|byte| char::from(*byte))
                    .filter(|c| "[{\"te.:".contains(*c))
                    .take(12)
                    .collect();
                behaviour.add(shape);
            }
        }
    }
    behaviour.finish()
}
