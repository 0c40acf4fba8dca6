//! Clients that don't behave, in front of a proxy that must not mind (P3): nothing panics, nothing grows, and who behaves is served meanwhile.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::{Capabilities, HandshakeResponse};
use outrigger_protocol::packet::put;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::packed::{self, Method};
use crate::support::raw::{Raw, USUAL};
use crate::support::{PATIENCE, Plan, Rig, seed};

/// What the sidecar may hold more in the end than after it has seen everything once: its allocator's and the log's own ups and downs.
const SLACK_KIB: u64 = 24 * 1024;

async fn rig(proxy: &str) -> Rig {
    let mut rig = Rig::new(&Plan {
        proxy,
        source: &["--max-connections=1500", "--local-infile=ON"],
        ..Plan::default()
    })
    .await;
    rig.on_source(
        "CREATE TABLE app.t (id INT PRIMARY KEY);\nINSERT INTO app.t VALUES (7);\n\
         CREATE USER open@'%' IDENTIFIED BY '';\nGRANT ALL ON app.* TO open@'%'",
    )
    .await;
    rig.start();
    rig
}

/// The sidecar's resident memory.
fn resident_kib(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.sidecar.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Somebody who asks and asks, on one connection, and counts the answers.
struct Patron {
    stop: CancellationToken,
    asking: JoinHandle<(u64, Duration)>,
}

impl Patron {
    async fn arrive(rig: &Rig) -> Self {
        let mut conn = Conn::new(options(rig)).await.unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let asking = tokio::spawn(async move {
            let (mut answers, mut longest) = (0, Duration::ZERO);
            while !stopped.is_cancelled() {
                let asked = Instant::now();
                assert_eq!(
                    conn.query_first::<u8, _>("SELECT id FROM t").await.unwrap(),
                    Some(7)
                );
                answers += 1;
                longest = longest.max(asked.elapsed());
            }
            (answers, longest)
        });
        Self { stop, asking }
    }

    /// Fails if it was ever left without an answer.
    async fn leave(self) {
        self.stop.cancel();
        let (answers, longest) = self.asking.await.unwrap();
        assert!(answers > 10, "{answers} answers, the slowest after {longest:?}");
    }
}

fn options(rig: &Rig) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .db_name(Some("app"))
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 24))
        .wait_timeout(Some(600))
}

/// Waits until somebody new is served too.
async fn welcomes(rig: &Rig) {
    let until = Instant::now() + PATIENCE;
    loop {
        match Conn::new(options(rig)).await {
            Ok(mut conn) => {
                assert_eq!(
                    conn.query_first::<u8, _>("SELECT id FROM t").await.unwrap(),
                    Some(7)
                );
                return;
            }
            Err(error) => assert!(Instant::now() < until, "nobody gets in any more: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Neither a panic nor a session's defect was told.
fn assert_sound(rig: &mut Rig) {
    assert!(rig.sidecar.running().unwrap(), "{}", rig.sidecar.log_end());
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    for word in ["panicked", "defect"] {
        assert!(!log.contains(word), "{}", rig.sidecar.log_end());
    }
}

fn response(user: &str) -> Vec<u8> {
    HandshakeResponse {
        capabilities: USUAL,
        max_packet_size: 1 << 24,
        collation: 45,
        user: user.as_bytes(),
        auth_response: b"",
        database: Some(b"app"),
        auth_plugin: Some(b"caching_sha2_password"),
        attributes: vec![(b"program_name", b"a nuisance")],
        zstd_level: None,
    }
    .encode()
}

fn packet(payload: &[u8], seq: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, payload, seq);
    bytes
}

/// Where in a session the nuisance begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Response,
    Tls,
    Proof,
    Command,
    File,
    ChangeUser,
    Compressed,
}

/// Brings a session there. What would be right to send next is returned with it.
async fn reach(rig: &Rig, at: At) -> std::io::Result<(Box<dyn crate::support::raw::Bytes>, Vec<u8>)> {
    let (mut stream, _) = Raw::greeted(rig.proxy).await?;
    match at {
        At::Response => return Ok((stream, packet(&response("open"), 1))),
        At::Tls => {
            let asking = Capabilities::SSL | USUAL;
            let mut request = response("open")[..32].to_vec();
            request[..4].copy_from_slice(&asking.bits().to_le_bytes());
            stream.write_all(&packet(&request, 1)).await?;
            return Ok((stream, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()));
        }
        At::Proof => {
            // An account that has a password: the server asks for its proof.
            stream.write_all(&packet(&response("app"), 1)).await?;
            return Ok((stream, packet(&[9; 32], 3)));
        }
        At::Command | At::File | At::ChangeUser | At::Compressed => {}
    }
    let mut entering = response("open");
    if at == At::Compressed {
        // The third byte of the capabilities is not concerned.
        entering[0] |= 1 << 5;
    }
    stream.write_all(&packet(&entering, 1)).await?;
    let mut ok = [0; 11];
    stream.read_exact(&mut ok).await?;
    Ok(match at {
        At::File => {
            stream
                .write_all(&packet(b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE t", 0))
                .await?;
            (stream, packet(b"1\n2\n3\n", 2))
        }
        At::ChangeUser => (
            stream,
            packet(b"\x11open\0\0app\0\x2d\0caching_sha2_password\0", 0),
        ),
        At::Compressed => {
            let plain = packet(
                b"\x03SELECT 'something', 'something', 'something', 'something' FROM t",
                0,
            );
            let bytes = packed::packet(0, plain.len(), &Method::Zlib.compress(&plain));
            (stream, bytes)
        }
        _ => (stream, packet(b"\x03SELECT 'something' FROM t", 0)),
    })
}

/// One nuisance: something near what would be right, and then gone, or silent for a moment.
async fn annoy(rig: &Rig, at: At, dice: &mut StdRng) -> std::io::Result<()> {
    let (mut stream, right) = reach(rig, at).await?;
    let kind = dice.random_range(0..6);
    let mut bytes = match kind {
        // Cut off.
        0 => right[..dice.random_range(0..right.len())].to_vec(),
        // More is announced than comes.
        1 => [&[0xff, 0xff, 0xff], &right[3..]].concat(),
        // Nothing that makes sense.
        2 => (0..dice.random_range(1..3000)).map(|_| dice.random()).collect(),
        // Out of order.
        3 => [&right[..3], &[dice.random()], &right[4..]].concat(),
        // A few bytes are others.
        4 => {
            let mut damaged = right;
            for _ in 0..dice.random_range(1..6) {
                let place = dice.random_range(0..damaged.len());
                damaged[place] = dice.random();
            }
            damaged
        }
        // Much more than there is room for.
        _ => {
            let mut bytes = packet(&vec![dice.random(); 300_000], dice.random_range(0..4));
            bytes.extend(packet(&[CommandByte::Ping.byte()], 0));
            bytes
        }
    };
    // In pieces.
    while !bytes.is_empty() {
        let size = dice.random_range(1..=bytes.len());
        stream.write_all(&bytes[..size]).await?;
        bytes.drain(..size);
    }
    match dice.random_range(0..3) {
        0 => Ok(()),
        1 => stream.shutdown().await,
        _ => {
            // Whatever comes back, for a moment.
            let mut sink = vec![0; 4096];
            let hearing = async { while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
            tokio::time::timeout(Duration::from_millis(20), hearing)
                .await
                .ok();
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_packets_in_every_phase_harm_nobody_else() {
    let mut rig = rig("handshake_timeout = \"2s\"").await;
    let seed = seed();
    println!("OUTRIGGER_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let patron = Patron::arrive(&rig).await;
    let mut begun = 0;
    for round in 0..8 {
        for at in [
            At::Response,
            At::Tls,
            At::Proof,
            At::Command,
            At::File,
            At::ChangeUser,
            At::Compressed,
        ] {
            for _ in 0..25 {
                // The proxy may close at any moment.
                annoy(&rig, at, &mut dice).await.ok();
            }
        }
        if round == 2 {
            begun = resident_kib(&rig);
        }
    }
    patron.leave().await;
    welcomes(&rig).await;
    let ended = resident_kib(&rig);
    assert!(ended < begun + SLACK_KIB, "from {begun} to {ended} KiB");
    assert_sound(&mut rig);
    rig.settle().await;
    assert_eq!(
        rig.sidecar.stop(PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_never_log_in() {
    let mut rig = rig("handshake_timeout = \"3s\"").await;
    let patron = Patron::arrive(&rig).await;
    let mut peak = [0, 0];
    for wave in &mut peak {
        let mut open = Vec::new();
        let mut refused = 0;
        for turn in 0..10_000 {
            match TcpStream::connect(("127.0.0.1", rig.proxy)).await {
                Ok(stream) => open.push(stream),
                Err(error) => panic!("connection {turn}: {error}"),
            }
        }
        // All of them are told something: the greeting, that there is no room, or that they are too slow.
        for stream in &mut open {
            let mut header = [0; 5];
            match tokio::time::timeout(PATIENCE, stream.read_exact(&mut header))
                .await
                .unwrap()
            {
                Ok(_) => refused += usize::from(header[4] == 0xff),
                Err(error) => panic!("nothing was said: {error}"),
            }
        }
        assert!(refused > 0, "there was room for all");
        *wave = resident_kib(&rig);
        // Those that had a place lose it, without having said a word.
        for stream in &mut open {
            let mut rest = Vec::new();
            let reading = stream.read_to_end(&mut rest);
            tokio::time::timeout(PATIENCE, reading).await.unwrap().ok();
        }
    }
    patron.leave().await;
    welcomes(&rig).await;
    assert!(peak[1] < peak[0] + SLACK_KIB, "{peak:?} KiB");
    assert_sound(&mut rig);
}

/// Compressed packets that stand for much more than they are: those that say so, which the source gets, and those that do not. Some stay in
/// the middle of one.
#[tokio::test(flavor = "multi_thread")]
async fn what_swells_when_it_is_decompressed_does_not_swell_the_proxy() {
    let mut rig = rig("").await;
    let patron = Patron::arrive(&rig).await;
    let statement = packet(
        &[b"\x03SELECT '", [b'b'; 16_000_000].as_slice(), b"'"].concat(),
        0,
    );
    let mut ups = Vec::new();
    for (flag, method) in [
        (Capabilities::COMPRESS, Method::Zlib),
        (Capabilities::ZSTD_COMPRESSION, Method::Zstd),
    ] {
        let bomb = method.compress(&statement);
        assert!(bomb.len() < statement.len() / 500);
        let mut open = Vec::new();
        let before = resident_kib(&rig);
        for turn in 0..40 {
            let (says, part) = match turn % 4 {
                0 => (statement.len(), bomb.len()),
                1 => (1000, bomb.len()),
                2 => (0xff_ffff, bomb.len()),
                _ => (statement.len(), bomb.len() - 1),
            };
            let bytes = packed::packet(0, says, &bomb);
            let cut = bytes.len() - (bomb.len() - part);
            let mut raw = Raw::login_at(3, rig.proxy, ("open", "app"), USUAL | flag, None)
                .await
                .unwrap();
            // It may have been told already.
            raw.write(&bytes[..cut]).await.ok();
            match turn % 4 {
                3 => open.push(raw),
                _ => {
                    let goodbye = packed::packet(0, 0, b"\x01\0\0\0\x01");
                    raw.drain(goodbye).await.ok();
                }
            }
        }
        ups.push(resident_kib(&rig).saturating_sub(before));
        drop(open);
    }
    // zstd's window of 2 MiB for each that stays.
    assert!(
        ups[0] < SLACK_KIB && ups[1] < SLACK_KIB + 10 * 2_300,
        "{ups:?} KiB"
    );
    patron.leave().await;
    welcomes(&rig).await;
    assert_sound(&mut rig);
}

/// Results that nobody fetches, and commands that come byte by byte.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_and_writers_hold_up_only_themselves() {
    let mut rig = rig("").await;
    rig.on_source("CREATE TABLE app.wide (id INT AUTO_INCREMENT PRIMARY KEY, s LONGTEXT);\nINSERT INTO app.wide (s) VALUES (REPEAT('w', 4000000))")
        .await;
    // The wide row has been through log and replay, which takes memory, too.
    rig.settle().await;
    let before = resident_kib(&rig);
    let patron = Patron::arrive(&rig).await;
    let mut readers = Vec::new();
    for _ in 0..40 {
        let mut raw = Raw::login(rig.proxy, ("open", "app"), USUAL, None).await.unwrap();
        // 80 MB each, of which the kernel's buffers take some.
        raw.send(b"\x03SELECT a.s FROM wide a JOIN (VALUES ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), \
                   ROW(11), ROW(12), ROW(13), ROW(14), ROW(15), ROW(16), ROW(17), ROW(18), ROW(19), ROW(20)) b", 0)
            .await
            .unwrap();
        readers.push(raw);
    }
    let mut writers = Vec::new();
    for _ in 0..40 {
        let raw = Raw::login(rig.proxy, ("open", "app"), USUAL, None).await.unwrap();
        writers.push(raw);
    }
    let query = packet(b"\x03SELECT 'byte by byte'", 0);
    for byte in &query {
        for raw in &mut writers {
            raw.write(&[*byte]).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    for raw in &mut writers {
        assert_eq!(raw.receive().await.unwrap().as_deref(), Some(b"\x01".as_slice()));
    }
    let meanwhile = resident_kib(&rig);
    assert!(meanwhile < before + SLACK_KIB, "from {before} to {meanwhile} KiB");
    // Who begins to read after all gets all of it.
    let mut late = readers.remove(0);
    let mut rows = 0;
    loop {
        let payload = late.receive().await.unwrap().unwrap();
        match payload.len() {
            4_000_004 => rows += 1,
            _ if payload[0] == 0xfe => break,
            _ => {}
        }
    }
    assert_eq!(rows, 20);
    drop((late, readers, writers));
    patron.leave().await;
    welcomes(&rig).await;
    assert_sound(&mut rig);
}
