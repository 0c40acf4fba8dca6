//! GTID sets, and the packets of a connection.

use outrigger_protocol::auth::AuthPacket;
use outrigger_protocol::cursor::Cursor;
use outrigger_protocol::gtid::{Gtid, GtidSet};
use outrigger_protocol::handshake::{
    Capabilities, Greeting, HandshakeResponse, edit_greeting, is_tls_request,
};
use outrigger_protocol::packet;
use outrigger_protocol::reply::{EofPacket, ErrPacket, OkPacket};

use crate::decoders::Behaviour;

pub(crate) const GTID_WORDS: &[&[u8]] = &[
    b"3e11fa47-71ca-11e1-9e33-c80aa9429562",
    b":1",
    b":1-5",
    b":tag_a",
    b":9223372036854775806",
    b",",
    b" \n",
    b"-",
];

/// Texts (behind a 0) and encoded sets (behind a 1).
pub(crate) fn gtid_sets() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag:9:b_2:1-3:5,4e11fa47-71ca-11e1-9e33-c80aa9429562:1",
        "3E11FA47-71CA-11E1-9E33-C80AA9429562:3-5:1-9223372036854775806 ,\n 5e11fa47-71ca-11e1-9e33-c80aa9429562:x:8",
    ];
    let encoded = |text: &&str| [&[1], &text.parse::<GtidSet>().unwrap().encode()[..]].concat();
    let plain = |text: &&str| [&[0], text.as_bytes()].concat();
    texts.iter().map(plain).chain(texts.iter().map(encoded)).collect()
}

pub(crate) fn gtid(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let Some((form, bytes)) = input.split_first() else {
        return 0;
    };
    let set = if form % 2 == 0 {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(one) = text.parse::<Gtid>() {
            assert_eq!(one.to_string().parse::<Gtid>().unwrap(), one);
        }
        text.parse::<GtidSet>()
    } else {
        GtidSet::decode(bytes)
    };
    match set {
        Err(error) => behaviour.message(&error),
        Ok(set) => {
            assert_eq!(GtidSet::decode(&set.encode()).unwrap(), set);
            assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set);
            assert!(set.subtract(&set).is_empty() && set.is_subset_of(&set));
            let mut double = set.clone();
            double.union(&set);
            assert_eq!((&double, double.count()), (&set, set.count()));
            for (_, tag, intervals) in set.iter() {
                behaviour.add(tag.is_empty());
                behaviour.count(intervals.len());
            }
        }
    }
    behaviour.finish()
}

/// Which decoder, the capabilities, then a payload.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let capabilities = Capabilities::PROTOCOL_41
        | Capabilities::SECURE_CONNECTION
        | Capabilities::PLUGIN_AUTH
        | Capabilities::CONNECT_WITH_DB
        | Capabilities::CONNECT_ATTRS
        | Capabilities::SESSION_TRACK;
    let nonce = b"abcdefghijklmnopqrst";
    let greeting = [
        b"\x0a9.7.0\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0",
        &nonce[8..],
        b"\0caching_sha2_password\0",
    ]
    .concat();
    let response = HandshakeResponse {
        capabilities,
        max_packet_size: 1 << 24,
        collation: 45,
        user: b"user",
        auth_response: nonce,
        database: Some(b"shop"),
        auth_plugin: Some(b"mysql_native_password"),
        attributes: vec![(b"_client_name", b"libmysql"), (b"k", b"")],
        zstd_level: None,
    };
    let mut framed = Vec::new();
    packet::put(&mut framed, b"\x03SELECT 1", 0);
    let payloads: [&[u8]; 9] = [
        &greeting,
        &response.encode(),
        b"\0\x01\x02\x02\0\0\0",
        b"\0\0\0\x02\x40\0\0\0\x0b\x05\x09\x08@@session",
        b"\xfe\0\0\x02\0",
        b"\xff\x15\x04#28000Access denied",
        b"\xfemysql_native_password\0abcdefghijklmnopqrst\0",
        b"\x01\x04",
        &framed,
    ];
    let with =
        |(which, payload): (u8, &[u8])| [&[which], &capabilities.bits().to_le_bytes()[..], payload].concat();
    (0..8)
        .flat_map(|which| payloads.map(|payload| (which, payload)))
        .map(with)
        .collect()
}

pub(crate) fn packet(input: &[u8]) -> u64 {
    let mut behaviour = Behaviour::new();
    let Some(([which, bits @ ..], payload)) = input.split_first_chunk::<5>() else {
        return 0;
    };
    let capabilities = Capabilities::from_bits_retain(u32::from_le_bytes(*bits));
    behaviour.add(which % 8);
    match which % 8 {
        0 => match Greeting::parse(payload) {
            Ok(greeting) => {
                behaviour.add((
                    greeting.capabilities.bits() >> 16,
                    greeting.auth_plugin.is_empty(),
                ));
                let mut masked = payload.to_vec();
                let left = edit_greeting(&mut masked, |offered| offered - capabilities).unwrap();
                assert_eq!(Greeting::parse(&masked).unwrap().capabilities, left);
                assert_eq!(
                    Greeting::parse(&greeting.encode()).unwrap().server_version,
                    greeting.server_version
                );
            }
            Err(error) => behaviour.message(&error),
        },
        1 => match HandshakeResponse::parse(payload) {
            Ok(response) => {
                behaviour.count(response.attributes.len());
                behaviour.add((response.database.is_some(), response.auth_plugin.is_some()));
                let encoded = response.encode();
                let again = HandshakeResponse::parse(&encoded).unwrap();
                assert_eq!(
                    (again.user, again.auth_response),
                    (response.user, response.auth_response)
                );
            }
            Err(error) => behaviour.message(&error),
        },
        2 => match OkPacket::parse(payload, capabilities) {
            Ok(ok) => {
                let encoded = ok.encode(capabilities);
                behaviour.add((
                    ok.info.is_empty(),
                    ok.session_state.is_empty(),
                    encoded.len() == payload.len(),
                ));
            }
            Err(error) => behaviour.message(&error),
        },
        3 => behaviour.add(EofPacket::parse(payload).is_ok()),
        4 => match ErrPacket::parse(payload) {
            Ok(error) => behaviour.count(error.text().len() + error.encode().len()),
            Err(error) => behaviour.message(&error),
        },
        5 => match AuthPacket::parse(payload) {
            Ok(packet) => behaviour.add(packet.map(|packet| std::mem::discriminant(&packet))),
            Err(error) => behaviour.message(&error),
        },
        6 => match packet::join(payload, 1 << 20) {
            Ok(Some(joined)) => {
                assert!(joined.consumed <= payload.len() && joined.payload.len() <= payload.len());
                behaviour.add(joined.next_seq);
            }
            Ok(None) => behaviour.add(false),
            Err(error) => behaviour.message(&error),
        },
        _ => {
            let mut cursor = Cursor::new(payload);
            while let Ok(field) = cursor.lenenc_bytes() {
                behaviour.count(field.len());
            }
            behaviour.add(is_tls_request(payload));
        }
    }
    behaviour.finish()
}
