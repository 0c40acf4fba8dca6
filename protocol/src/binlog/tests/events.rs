//! Every kind of event that `events.sql` causes.

use super::{EVENTS, TYPES, UNCHECKED, for_each, split};
use crate::binlog::{
    Body, ChecksumAlg, Compression, Error, Event, EventHeader, EventKind, FLAG_BINLOG_IN_USE, GtidEvent,
    HEADER_LEN, IntVar, Payload, QueryEvent, RowsEvent, RowsKind, SessionVars, UserVarValue,
};

/// The queries of a file: text and session.
fn queries(file: &[u8]) -> Vec<(String, SessionVars, u32)> {
    let mut found = Vec::new();
    for_each(file, |event| {
        if let Body::Query(QueryEvent {
            statement,
            session,
            schema,
            ..
        }) = &event.body
        {
            assert!(matches!(*schema, b"fixture" | b""));
            found.push((
                String::from_utf8_lossy(statement).into_owned(),
                session.clone(),
                event.header.timestamp,
            ));
        }
    });
    found
}

fn gtids(file: &[u8]) -> Vec<GtidEvent> {
    let mut found = Vec::new();
    for_each(file, |event| {
        if let Body::Gtid(gtid) = &event.body {
            found.push(gtid.clone());
        }
    });
    found
}

#[test]
fn the_file_s_frame() {
    let events = split(EVENTS);
    let Body::FormatDescription(format) = Event::parse(events[0], ChecksumAlg::Off).unwrap().body else {
        panic!()
    };
    assert_eq!((format.binlog_version, format.checksum), (4, ChecksumAlg::Crc32));
    assert!(
        format.server_version.starts_with("9.7."),
        "{}",
        format.server_version
    );
    let Body::PreviousGtids(previous) = Event::parse(events[1], ChecksumAlg::Crc32).unwrap().body else {
        panic!()
    };
    assert!(!previous.is_empty());
    let Body::Rotate(rotate) = Event::parse(events[events.len() - 1], ChecksumAlg::Crc32)
        .unwrap()
        .body
    else {
        panic!()
    };
    assert_eq!((rotate.file.as_str(), rotate.position), ("b.000003", 4));
    // Each event says where the next begins.
    let mut position = 4;
    for event in &events {
        position += u32::try_from(event.len()).unwrap();
        assert_eq!(EventHeader::parse(event).unwrap().log_pos, position);
    }
}

#[test]
fn a_file_without_checksums() {
    let Body::FormatDescription(format) = Event::parse(split(UNCHECKED)[0], ChecksumAlg::Crc32)
        .unwrap()
        .body
    else {
        panic!()
    };
    assert_eq!(format.checksum, ChecksumAlg::Off);
    // A dump that begins within such a file while the server has checksums on again: place and time are taken away, the checksum
    // stays as it was.
    let mut changed = split(UNCHECKED)[0].to_vec();
    changed[13..17].fill(0);
    changed[HEADER_LEN + 52..HEADER_LEN + 56].fill(0);
    let Body::FormatDescription(again) = Event::parse(&changed, ChecksumAlg::Crc32).unwrap().body else {
        panic!()
    };
    assert_eq!((again.checksum, again.created), (ChecksumAlg::Off, 0));
    assert!(
        queries(UNCHECKED)
            .iter()
            .any(|(text, ..)| text == "CREATE TABLE plain (id INT PRIMARY KEY)")
    );
}

#[test]
fn checksums_are_checked() {
    let events = split(EVENTS);
    for (at, event) in events.iter().enumerate() {
        for place in [0, 4, 18, event.len() / 2, event.len() - 1] {
            let mut damaged = event.to_vec();
            damaged[place] ^= 0x10;
            let error = Event::parse(&damaged, ChecksumAlg::Crc32).unwrap_err();
            assert!(
                matches!(error, Error::Checksum { .. } | Error::Truncated { .. }),
                "event {at} byte {place}: {error}"
            );
        }
    }
    // While the server writes a file, the flag says so; the checksum is that without the flag.
    let mut open = events[0].to_vec();
    open[17] |= u8::try_from(FLAG_BINLOG_IN_USE).unwrap();
    assert!(Event::parse(&open, ChecksumAlg::Off).is_ok());
    // Where a file says that checksums are off while they were on, that word is checked itself.
    let mut off = events[0].to_vec();
    let place = off.len() - 5;
    off[place] = 0;
    assert!(Event::parse(&off, ChecksumAlg::Off).is_ok());
    assert!(matches!(
        Event::parse(&off, ChecksumAlg::Crc32),
        Err(Error::Checksum { .. })
    ));
}

#[test]
fn gtids_plain_and_tagged() {
    let all = gtids(EVENTS);
    let names: Vec<_> = all
        .iter()
        .map(|event| event.gtid.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(names[0], "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1");
    assert!(names[1].ends_with(":some_tag:1"), "{}", names[1]);
    assert_eq!(
        names[2],
        "f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f:a_rather_long_tag_of_32_letters_:9223372036854775806"
    );
    for (at, event) in all.iter().enumerate() {
        let number = i64::try_from(at).unwrap() + 1;
        assert_eq!(event.sequence_number, number);
        assert!(event.last_committed < number);
        assert_eq!(
            (event.immediate_server_version, event.original_server_version),
            (90704, 90704)
        );
        assert_eq!(event.immediate_commit_micros, event.original_commit_micros);
        assert!(event.immediate_commit_micros > 1_700_000_000_000_000);
    }
    assert!(!all[0].rows_only && all[1].rows_only && all[2].rows_only);
    // A transaction's length reaches from its GTID event to the next one.
    let starts: Vec<_> = split(EVENTS)
        .into_iter()
        .scan(0, |end, event| {
            let start = *end;
            *end += event.len();
            Some((start, EventHeader::parse(event).unwrap().kind))
        })
        .filter(|(_, kind)| matches!(*kind, EventKind::GTID | EventKind::GTID_TAGGED))
        .map(|(start, _)| start)
        .collect();
    for (pair, event) in starts.windows(2).zip(&all) {
        assert_eq!(
            event.transaction_length,
            u64::try_from(pair[1] - pair[0]).unwrap()
        );
    }
}

#[test]
fn xa_transactions() {
    let mut prepares = Vec::new();
    for_each(EVENTS, |event| {
        if let Body::XaPrepare(xa) = &event.body {
            prepares.push((xa.one_phase, xa.format_id, xa.gtrid.to_vec(), xa.bqual.to_vec()));
        }
    });
    assert_eq!(
        prepares,
        [
            (false, 7, b"global".to_vec(), b"branch".to_vec()),
            (true, 1, b"one".to_vec(), b"".to_vec())
        ]
    );
    assert!(
        queries(EVENTS)
            .iter()
            .any(|(text, ..)| text == "XA COMMIT X'676c6f62616c',X'6272616e6368',7")
    );
}

#[test]
fn session_settings_of_statements() {
    let all = queries(EVENTS);
    let find = |head: &str| {
        all.iter()
            .find(|(text, ..)| text.starts_with(head))
            .unwrap_or_else(|| panic!("{head}"))
    };
    let (_, plain, _) = find("CREATE TABLE e ");
    assert_eq!(
        (plain.foreign_key_checks, plain.unique_checks, plain.autocommit),
        (Some(true), Some(true), Some(true))
    );
    assert_eq!(plain.auto_is_null, Some(false));
    assert!(plain.ddl_xid.is_some());
    assert_eq!(
        plain.updated_databases.as_deref(),
        Some(&["fixture".to_owned()][..])
    );
    let (_, odd, timestamp) = find("CREATE TABLE stamps ");
    assert_eq!(
        (odd.foreign_key_checks, odd.unique_checks, odd.auto_is_null),
        (Some(false), Some(false), Some(true))
    );
    assert_eq!(odd.sql_mode, Some(0x4 | 0x10_0000 | 0x200_0000));
    assert_eq!(odd.auto_increment, Some((5, 3)));
    assert_eq!(odd.charsets.map(|(_, connection, _)| connection), Some(5));
    assert_eq!(odd.time_zone.as_deref(), Some("-03:30"));
    assert_eq!(odd.lc_time_names, Some(4));
    assert_eq!(odd.explicit_defaults_for_timestamp, Some(true));
    assert_eq!((*timestamp, odd.microseconds), (1_700_000_000, None));
    assert_eq!(odd.sql_require_primary_key, Some(true));
    assert_eq!(odd.default_collation_for_utf8mb4, Some(45));
    let (_, exact, timestamp) = find("INSERT INTO e (c) VALUES (MICROSECOND");
    assert_eq!((*timestamp, exact.microseconds), (1_700_000_001, Some(654_321)));
    let (_, view, _) = find("CREATE ALGORITHM");
    assert_eq!(view.catalog.as_deref(), Some("std"));
}

#[test]
fn an_unknown_status_variable_is_no_guess() {
    assert!(matches!(
        SessionVars::parse(&[0, 0, 0, 0, 0, 200, 1]),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn a_compressed_transaction() {
    let mut payloads = 0;
    for_each(EVENTS, |event| {
        let Body::TransactionPayload(payload) = &event.body else {
            return;
        };
        payloads += 1;
        assert_eq!(
            (payload.compression, payload.uncompressed_size),
            (Compression::Zstd, 594)
        );
        let inner: Vec<_> = payload.events().collect::<Result<_, _>>().unwrap();
        let kinds: Vec<_> = inner
            .iter()
            .map(|event| EventHeader::parse(event).unwrap().kind.0)
            .collect();
        assert_eq!(kinds, [2, 29, 19, 30, 29, 19, 31, 29, 19, 32, 16]);
        let Body::RowsQuery(text) = Event::parse(&inner[4], ChecksumAlg::Off).unwrap().body else {
            panic!()
        };
        assert_eq!(text, b"UPDATE e SET c = 'repacked' WHERE id = 7");
        // Cut off, and with another size stated: an error at the end, never less without a word.
        let short = Payload {
            data: &payload.data[..payload.data.len() - 1],
            ..*payload
        };
        assert!(matches!(short.events().last(), Some(Err(_))));
        for size in [593, 595] {
            let wrong = Payload {
                uncompressed_size: size,
                ..*payload
            };
            assert!(matches!(
                wrong.events().last(),
                Some(Err(Error::Decompression(_)))
            ));
        }
        let silent = Payload {
            uncompressed_size: 0,
            ..*payload
        };
        assert_eq!(silent.events().count(), inner.len());
        let all = inner.concat();
        let plain = Payload {
            compression: Compression::None,
            data: &all,
            ..*payload
        };
        assert_eq!(plain.events().collect::<Result<Vec<_>, _>>().unwrap(), inner);
    });
    assert_eq!(payloads, 1);
}

#[test]
fn statement_format_and_its_context() {
    let (mut ints, mut rands, mut vars) = (Vec::new(), 0, Vec::new());
    for_each(EVENTS, |event| match &event.body {
        Body::IntVar(var) => ints.push(*var),
        Body::Rand(_) => rands += 1,
        Body::UserVar(var) => {
            let value = match var.value {
                None => "NULL".to_owned(),
                Some(UserVarValue::String { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
                Some(UserVarValue::Int(value)) => value.to_string(),
                Some(UserVarValue::UInt(value)) => value.to_string(),
                Some(UserVarValue::RealBits(bits)) => f64::from_bits(bits).to_string(),
                Some(UserVarValue::Decimal(bytes)) => format!("{bytes:?}"),
            };
            vars.push((String::from_utf8_lossy(var.name).into_owned(), value));
        }
        _ => {}
    });
    assert!(matches!(ints[0], IntVar::InsertId(_)));
    assert!(ints.iter().any(|var| matches!(var, IntVar::LastInsertId(_))));
    assert_eq!(rands, 1);
    assert!(vars.contains(&("text".to_owned(), "user".to_owned())), "{vars:?}");
    assert!(
        vars.contains(&("number".to_owned(), "-42".to_owned())),
        "{vars:?}"
    );
    assert!(
        vars.contains(&("big".to_owned(), u64::MAX.to_string())),
        "{vars:?}"
    );
    assert!(
        vars.contains(&("nothing".to_owned(), "NULL".to_owned())),
        "{vars:?}"
    );
}

#[test]
fn flags_of_rows_events() {
    let (mut maps, mut seen) = (std::collections::HashMap::new(), Vec::new());
    for_each(EVENTS, |event| match &event.body {
        Body::TableMap(map) => {
            maps.insert(map.table_id, map.table.clone());
        }
        Body::Rows(rows) => seen.push((
            maps[&rows.table_id].clone(),
            rows.kind,
            rows.flags,
            rows.extra.to_vec(),
        )),
        _ => {}
    });
    let find = |table: &str, kind| seen.iter().find(|row| row.0 == table && row.1 == kind).unwrap();
    let cascaded = RowsEvent::NO_FOREIGN_KEY_CHECKS | RowsEvent::USE_SQL_FOREIGN_KEY;
    assert_eq!(find("child", RowsKind::Delete).2, cascaded);
    assert_eq!(
        find("parent", RowsKind::Delete).2,
        RowsEvent::STATEMENT_END | RowsEvent::USE_SQL_FOREIGN_KEY
    );
    // Partition numbers: one for an insert, two for an update.
    assert_eq!(find("parted", RowsKind::Insert).3.len(), 3);
    assert_eq!(find("parted", RowsKind::Update).3.len(), 5);
}

/// The numbers of `Log_event_type` that MySQL 5.7 to 9.7 write, and no other, have a meaning here; LOAD DATA's and statement format's too.
#[test]
fn every_number_is_known_or_refused() {
    let written = [2..=5, 9..=9, 11..=11, 13..=19, 23..=42];
    for number in 0..=u8::MAX {
        let known = written.iter().any(|range| range.contains(&number));
        let event = |flags: u16| {
            let mut event = vec![0; 19];
            (event[4], event[9]) = (number, 19);
            event[17..].copy_from_slice(&flags.to_le_bytes());
            event
        };
        let plain = Event::parse(&event(0), ChecksumAlg::Off).map(|_| ());
        let unknown = plain == Err(Error::UnknownEvent(EventKind(number)));
        assert_eq!(unknown, !known, "{number}: {plain:?}");
        // The flag speaks for types that are not known; what is known is decoded or refused.
        let ignorable = matches!(
            Event::parse(&event(crate::binlog::FLAG_IGNORABLE), ChecksumAlg::Off),
            Ok(Event {
                body: Body::Ignorable,
                ..
            })
        );
        assert_eq!(ignorable, !known || matches!(number, 28 | 36 | 37), "{number}");
        assert!(!known || EventKind(number).name().is_some());
    }
}

#[test]
fn events_that_the_fixtures_lack() {
    let event = |kind: EventKind, flags: u16, body: &[u8]| {
        let size = u32::try_from(19 + body.len()).unwrap();
        let mut bytes = vec![0, 0, 0, 0, kind.0, 1, 0, 0, 0];
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&77_u32.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let parse = |bytes: &[u8]| {
        format!(
            "{:?}",
            Event::parse(bytes, ChecksumAlg::Off).map(|event| event.body)
        )
    };
    let beat = event(EventKind::HEARTBEAT, 0, b"b.000009");
    assert_eq!(
        parse(&beat),
        r#"Ok(Heartbeat(Heartbeat { file: "b.000009", position: 77 }))"#
    );
    let beat = event(
        EventKind::HEARTBEAT_V2,
        0,
        b"\x01\x08b.000009\x02\x09\xfe\0\0\0\0\x01\0\0\0\0",
    );
    assert_eq!(
        parse(&beat),
        r#"Ok(Heartbeat(Heartbeat { file: "b.000009", position: 4294967296 }))"#
    );
    assert_eq!(parse(&event(EventKind::STOP, 0, b"")), "Ok(Stop)");
    let incident = event(EventKind::INCIDENT, 0, b"\x01\0\x04lost");
    assert_eq!(
        parse(&incident),
        "Ok(Incident(Incident { number: 1, message: [108, 111, 115, 116] }))"
    );
    assert_eq!(parse(&event(EventKind(43), 0x80, b"data")), "Ok(Ignorable)");
    assert_eq!(
        parse(&event(EventKind(43), 0, b"data")),
        "Err(UnknownEvent(type 43))"
    );
    assert_eq!(
        parse(&event(EventKind(160), 0, b"")),
        "Err(UnknownEvent(type 160))"
    );
    let mut short = event(EventKind::STOP, 0, b"");
    short[9] += 1;
    assert_eq!(parse(&short), "Err(Size { stated: 20, actual: 19 })");
    // Version 1 rows events have no extra data: the same rows behind a shorter head.
    let mut rows = 0;
    for bytes in split(TYPES) {
        let Ok(Event {
            header,
            body: Body::Rows(new),
        }) = Event::parse(bytes, ChecksumAlg::Crc32)
        else {
            continue;
        };
        let body = [&bytes[19..27], &bytes[29..bytes.len() - 4]].concat();
        let old = event(EventKind(header.kind.0 - 7), 0, &body);
        let Body::Rows(old) = Event::parse(&old, ChecksumAlg::Off).unwrap().body else {
            panic!()
        };
        assert_eq!(
            (old.kind, old.table_id, old.data),
            (new.kind, new.table_id, new.data)
        );
        assert_eq!(
            (old.columns_before, old.columns_after),
            (new.columns_before, new.columns_after)
        );
        rows += 1;
    }
    assert!(rows > 5);
}
