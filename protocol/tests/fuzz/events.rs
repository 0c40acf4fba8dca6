//! Single events, and transactions in compressed payloads.

use outrigger_protocol::binlog::rows::RowPlan;
use outrigger_protocol::binlog::{
    Body, ChecksumAlg, Compression, Event, EventHeader, EventKind, FILE_MAGIC, HEADER_LEN, Payload, Unfolder,
};

use crate::decoders::Behaviour;

const FILES: [&[u8]; 6] = [
    include_bytes!("../fixtures/types.binlog"),
    include_bytes!("../fixtures/metadata.binlog"),
    include_bytes!("../fixtures/json.binlog"),
    include_bytes!("../fixtures/more.binlog"),
    include_bytes!("../fixtures/rows.binlog"),
    include_bytes!("../fixtures/events.binlog"),
];

/// Real events without their checksums, those within compressed transactions too.
pub(crate) fn events() -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    for file in FILES {
        let mut rest = file.strip_prefix(&FILE_MAGIC).unwrap();
        while !rest.is_empty() {
            let size = EventHeader::parse(rest).unwrap().size as usize;
            let (event, after) = rest.split_at(size);
            events.push(event[..size - 4].to_vec());
            rest = after;
            if let Ok(Event {
                body: Body::TransactionPayload(payload),
                ..
            }) = Event::parse(event, ChecksumAlg::Crc32)
            {
                events.extend(payload.events().map(Result::unwrap));
            }
        }
    }
    events
}

/// An event with its own length in its header, and a checksum if wanted.
pub(crate) fn sealed(event: &[u8], checksum: ChecksumAlg) -> Vec<u8> {
    let mut event = event.to_vec();
    let size = u32::try_from(event.len() + checksum.len()).unwrap();
    if let Some(field) = event.get_mut(9..13) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    if checksum == ChecksumAlg::Crc32 {
        let sum = crc32fast::hash(&event);
        event.extend_from_slice(&sum.to_le_bytes());
    }
    event
}

pub(crate) fn event(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let plain = sealed(input, ChecksumAlg::Off);
    let kind = input.get(4).copied().unwrap_or(0);
    behaviour.add(kind);
    match Event::parse(&plain, ChecksumAlg::Off) {
        Err(error) => behaviour.message(&error),
        Ok(event) => {
            if kind != EventKind::FORMAT_DESCRIPTION.0 {
                let checked = sealed(input, ChecksumAlg::Crc32);
                let again = Event::parse(&checked, ChecksumAlg::Crc32).unwrap();
                assert!(again.body == event.body);
                let mut damaged = checked;
                damaged[input.len() / 2] ^= 1;
                assert!(Event::parse(&damaged, ChecksumAlg::Crc32).is_err());
            }
            behaviour.count(input.len());
            describe(&event.body, &mut behaviour);
        }
    }
    behaviour.finish()
}

fn describe(body: &Body<'_>, behaviour: &mut Behaviour) {
    match body {
        Body::TableMap(map) => {
            behaviour.count(map.columns.len());
            for column in &map.columns {
                behaviour.add((
                    column.kind.0,
                    column.unsigned,
                    column.members.is_some(),
                    column.name.is_some(),
                ));
            }
            match RowPlan::new(map, &[]) {
                Ok(_) => behaviour.add(true),
                Err(error) => behaviour.message(&error),
            }
        }
        Body::Query(query) => {
            let s = &query.session;
            behaviour.add((
                s.sql_mode.is_some(),
                s.charsets.is_some(),
                s.time_zone.is_some(),
                s.invoker.is_some(),
            ));
            behaviour.add((
                s.updated_databases.is_some(),
                s.microseconds.is_some(),
                s.ddl_xid.is_some(),
            ));
        }
        Body::Gtid(gtid) => {
            behaviour.add((
                gtid.gtid.is_some(),
                gtid.commit_group_ticket.is_some(),
                gtid.rows_only,
            ));
            behaviour.add((gtid.transaction_length == 0, gtid.immediate_server_version == 0));
        }
        Body::Rows(rows) => {
            behaviour.count(rows.column_count);
            behaviour.add((rows.flags, rows.partial));
        }
        _ => {}
    }
}

/// Events of one payload that are read at most.
const MANY: usize = 20_000;

/// Transactions to be compressed, and compressed ones: how (below), what size is stated, and the bytes.
pub(crate) fn payloads() -> Vec<Vec<u8>> {
    let events: Vec<_> = events()
        .iter()
        .map(|event| sealed(event, ChecksumAlg::Off))
        .filter(|event| event.len() < 3000)
        .collect();
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for transaction in events.chunks(7) {
        for how in 0..4 {
            payloads.push([&[how, 0], &transaction.concat()[..]].concat());
        }
        let packed = zstd::bulk::compress(&transaction.concat(), 3).unwrap();
        payloads.push([&[4, 1], &packed[..]].concat());
    }
    payloads
}

pub(crate) fn payload(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let Some(([how, stated], bytes)) = input.split_first_chunk::<2>() else {
        return 0;
    };
    let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let (compression, data) = match how % 5 {
        0 => (Compression::None, bytes.to_vec()),
        1 => (Compression::Zstd, compress(bytes)),
        2 => {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            (Compression::Zstd, [compress(first), compress(second)].concat())
        }
        3 => (
            Compression::Zstd,
            compress(bytes).split_last().map(|(_, all)| all.to_vec()).unwrap(),
        ),
        _ => (Compression::Zstd, bytes.to_vec()),
    };
    let payload = Payload {
        compression,
        uncompressed_size: match stated % 3 {
            0 => bytes.len() as u64,
            1 => 0,
            _ => 17,
        },
        data: &data,
    };
    behaviour.add((how % 5, stated % 3));
    let (mut events, mut read, mut count) = (payload.events(), 0, 0);
    let ended = loop {
        match events.read() {
            Ok(Some(event)) => {
                if *how % 5 < 3 {
                    assert!(bytes[read..].starts_with(event));
                }
                read += event.len();
                count += 1;
                // A few compressed bytes may stand for gigabytes.
                if count > MANY {
                    break false;
                }
            }
            Ok(None) => break true,
            Err(error) => {
                behaviour.message(&error);
                break false;
            }
        }
    };
    if ended && *how % 5 < 3 {
        assert_eq!(read, bytes.len());
    }
    if count <= MANY {
        // In parts more may come out before the same damage is met.
        let whole = ended.then_some((count, read));
        assert_eq!(
            unfolded(&payload, usize::from(*how) + 1),
            whole,
            "in parts as in one"
        );
    }
    behaviour.count(count);
    behaviour.finish()
}

/// What the same payload gives as an event that comes in pieces: how many events and bytes, if it ends well.
fn unfolded(payload: &Payload<'_>, piece: usize) -> Option<(usize, usize)> {
    let field = |kind: u8, value: u64| [&[kind, 9, 0xfe][..], &value.to_le_bytes()].concat();
    let compression = match payload.compression {
        Compression::Zstd => 0,
        Compression::None => 255,
    };
    let mut event = vec![0; HEADER_LEN];
    event[4] = EventKind::TRANSACTION_PAYLOAD.0;
    event.extend(field(1, payload.data.len() as u64));
    event.extend(field(2, compression));
    event.extend(field(3, payload.uncompressed_size));
    event.push(0);
    event.extend_from_slice(payload.data);
    let event = sealed(&event, ChecksumAlg::Crc32);
    let mut unfolder = Unfolder::new(ChecksumAlg::Crc32);
    let (mut count, mut read) = (0, 0);
    for mut piece in event.chunks(piece) {
        while let Some(found) = unfolder.next(&mut piece).ok()? {
            count += 1;
            read += found.bytes.len();
            if count > MANY {
                return None;
            }
        }
    }
    unfolder.finish().ok().map(|()| (count, read))
}
