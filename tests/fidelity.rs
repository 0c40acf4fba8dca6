//! P1 byte for byte: sessions are played to the server directly and through the proxy, and every byte that comes back must be the same.

mod script;
mod scripts;

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mysql_async::prelude::Queryable;
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::endpoint::{Endpoint, TlsMode};
use outrigger_protocol::handshake::Capabilities;
use outrigger_proxy::Config;
use outrigger_tls::Connector;

use self::script::Script;
use crate::support::front::Front;
use crate::support::raw::{Raw, USUAL};
use crate::support::stage::Stage;
use crate::support::{PATIENCE, assert_same, connect, run};

const MODERN: Capabilities = USUAL
    .union(Capabilities::QUERY_ATTRIBUTES)
    .union(Capabilities::OPTIONAL_RESULTSET_METADATA)
    .union(Capabilities::FOUND_ROWS);

/// A server with accounts that need no password.
async fn open_stage() -> Stage {
    let stage = Stage::new(
        &["--local-infile=ON", "--max-allowed-packet=128M"],
        "CREATE USER open@'%' IDENTIFIED BY '', other@'%' IDENTIFIED BY '';\nGRANT ALL ON *.* TO open@'%', other@'%';\n\
         CREATE USER locked@'%' IDENTIFIED BY '' ACCOUNT LOCK;\nCREATE USER poor@'%' IDENTIFIED BY ''",
    )
    .await;
    // A server without it answers the sessions' questions with an error, both ways.
    let mut conn = connect(&stage.server).await;
    conn.query_drop("INSTALL COMPONENT 'file://component_query_attributes'")
        .await
        .ok();
    stage
}

/// A proxy that offers TLS.
async fn front(stage: &Stage, upstream: Endpoint) -> Front {
    let config = Config {
        tls: stage.tls(),
        ..Config::default()
    };
    stage.front(upstream, config).await
}

async fn login(port: u16, capabilities: Capabilities, tls: Option<&Connector>) -> Raw {
    Raw::login(port, ("open", "mysql"), capabilities, tls)
        .await
        .unwrap()
}

/// The `mysql` command as an account without a password.
fn mysql(stage: &Stage, port: u16, arguments: &[&str]) -> Command {
    stage.program("mysql", port, &["-uopen"], arguments)
}

/// What a session comes to; one that waits for ever fails by name.
async fn bounded<T>(what: &str, playing: impl Future<Output = std::io::Result<T>>) -> T {
    let played = tokio::time::timeout(PATIENCE, playing).await;
    played
        .unwrap_or_else(|_late| panic!("{what}: never ends"))
        .unwrap()
}

/// Plays every session directly and through the proxy, command by command and, where nothing of it answers the server, all at once.
async fn compare(
    stage: &Stage,
    front: &Front,
    scripts: &[Script],
    capabilities: Capabilities,
    tls: Option<&Connector>,
) {
    compare_compressed(stage, front, scripts, (capabilities, Capabilities::empty()), tls).await;
}

/// The same, where the session with the proxy is compressed: what is inside must be the bytes of a direct session that is not.
async fn compare_compressed(
    stage: &Stage,
    front: &Front,
    scripts: &[Script],
    (capabilities, compression): (Capabilities, Capabilities),
    tls: Option<&Connector>,
) {
    let mut admin = connect(&stage.server).await;
    let mut afresh = async || run(&mut admin, "DROP DATABASE IF EXISTS play").await;
    for script in scripts {
        let what = format!("{} with {:?}", script.name, capabilities | compression);
        afresh().await;
        let direct = login(stage.server.port(), capabilities, None).await;
        let direct = bounded(&what, script.play(direct)).await;
        afresh().await;
        let proxied = login(front.port, capabilities | compression, tls).await;
        let proxied = bounded(&what, script.play(proxied)).await;
        assert_same(&direct, &proxied, &what);
        if script.is_one_way() {
            afresh().await;
            let all_at_once = login(front.port, capabilities | compression, tls).await;
            let all_at_once = bounded(&what, all_at_once.drain(script.bytes())).await;
            assert_same(&direct, &all_at_once, &format!("{what}, all at once"));
        }
        assert!(
            front.counted().contains("outrigger_proxy_unfollowed_total 0"),
            "{what}: the proxy lost track: {}",
            front.counted()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_session_is_answered_with_the_same_bytes() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    let old = Capabilities::LONG_PASSWORD
        | Capabilities::PROTOCOL_41
        | Capabilities::SECURE_CONNECTION
        | Capabilities::PLUGIN_AUTH;
    let sets = [
        old,
        USUAL - Capabilities::DEPRECATE_EOF - Capabilities::SESSION_TRACK,
        USUAL,
        MODERN - Capabilities::DEPRECATE_EOF,
        MODERN,
    ];
    for capabilities in sets {
        compare(&stage, &front, &scripts::all(capabilities), capabilities, None).await;
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_other_links_too() {
    let stage = open_stage().await;
    let anybody = stage.endpoint(false, TlsMode::Required);
    let secure = Connector::new(&anybody, None).unwrap();
    for (upstream, tls) in [
        (stage.endpoint(false, TlsMode::Disabled), Some(&secure)),
        (stage.endpoint(false, TlsMode::Required), None),
        (stage.endpoint(false, TlsMode::Required), Some(&secure)),
        (stage.endpoint(true, TlsMode::Disabled), None),
    ] {
        let front = front(&stage, upstream).await;
        compare(&stage, &front, &scripts::all(MODERN), MODERN, tls).await;
        compare(&stage, &front, &scripts::large(USUAL), USUAL, tls).await;
        front.stop().await;
    }
}

/// Zlib and zstd between client and proxy, bare and inside TLS: the same bytes inside, whole payloads of several packets too.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_sessions_are_answered_with_the_same_bytes_inside() {
    let stage = open_stage().await;
    let secure = Connector::new(&stage.endpoint(false, TlsMode::Required), None).unwrap();
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    for (compression, tls) in [
        (Capabilities::COMPRESS, None),
        (Capabilities::ZSTD_COMPRESSION, None),
        (Capabilities::ZSTD_COMPRESSION, Some(&secure)),
        (
            Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION,
            Some(&secure),
        ),
    ] {
        let modern = (MODERN, compression);
        compare_compressed(&stage, &front, &scripts::all(MODERN), modern, tls).await;
        if tls.is_none() {
            let usual = (USUAL, compression);
            compare_compressed(&stage, &front, &scripts::large(USUAL), usual, tls).await;
        }
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_at_the_border_of_a_packet() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    for capabilities in [USUAL, MODERN - Capabilities::DEPRECATE_EOF] {
        compare(&stage, &front, &scripts::large(capabilities), capabilities, None).await;
    }
    front.stop().await;
}

/// Waits until the server runs something that begins like this, and returns the session's number.
async fn running(stage: &Stage, sql: &str) -> u64 {
    let mut admin = connect(&stage.server).await;
    let look = format!(
        "SELECT id FROM information_schema.processlist WHERE info LIKE '{sql}%' AND id <> CONNECTION_ID()"
    );
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(id) = admin.query_first(&look).await.unwrap() {
            return id;
        }
        assert!(Instant::now() < until, "nobody runs {sql}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What the server says by itself, and how it leaves: a session that is killed idle or at work, a query that is, a session's own limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_begins_arrives() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    let mut admin = connect(&stage.server).await;
    let idle = [0, 1, 2, 3].map(|turn| (turn, USUAL)).into_iter();
    for (turn, capabilities) in idle.chain([(0, MODERN), (3, MODERN)]) {
        let mut heard = Vec::new();
        for port in [stage.server.port(), front.port] {
            let mut raw = login(port, capabilities, None).await;
            let script = Script::new("", capabilities);
            let script = match turn {
                0 => script.query("SET SESSION wait_timeout = 1"),
                1 => script.query("SELECT 1"),
                _ => script.query("SELECT SLEEP(300)"),
            };
            // Without the farewell: the server is to have the last word.
            let bytes = script.bytes();
            raw.write(&bytes[..bytes.len() - 5]).await.unwrap();
            match turn {
                0 => {}
                1 => {
                    while raw.heard.is_empty() {
                        raw.receive().await.unwrap();
                    }
                    admin.query_drop(format!("KILL {}", raw.id)).await.unwrap();
                }
                _ => {
                    assert_eq!(running(&stage, "SELECT SLEEP").await, u64::from(raw.id));
                    let what = if turn == 2 { "" } else { "QUERY" };
                    admin.query_drop(format!("KILL {what} {}", raw.id)).await.unwrap();
                }
            }
            if turn == 3 {
                // The session goes on.
                let goodbye = [CommandByte::Quit.byte()];
                raw.send(&[b"\x03SELECT 'after'".as_slice()].concat(), 0)
                    .await
                    .ok();
                raw.send(&goodbye, 0).await.ok();
            }
            heard.push(raw.drain(Vec::new()).await.unwrap());
        }
        assert!(
            turn != 0 || heard[0].windows(2).any(|pair| pair == 4031_u16.to_le_bytes()),
            "{heard:?}"
        );
        assert_same(
            &heard[0],
            &heard[1],
            &format!("turn {turn} with {capabilities:?}"),
        );
    }
    front.stop().await;
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    format!(
        "{}{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Ctrl-C in the `mysql` command: it logs in once more and has the query killed that the first session runs.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_query() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    let mut said = Vec::new();
    for port in [stage.server.port(), front.port] {
        let mut command = mysql(
            &stage,
            port,
            &["-vvv", "-f", "-e", "SELECT SLEEP(301); SELECT 'after'"],
        );
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        running(&stage, "SELECT SLEEP").await;
        let killed = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        said.push(output(child));
    }
    assert!(said[0].contains("query aborted"), "{}", said[0]);
    let timeless = |text: &str| {
        // Nor the session's number.
        let lines = text
            .lines()
            .filter(|line| !line.contains(" sec)") && !line.contains("KILL QUERY"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(timeless(&said[0]), timeless(&said[1]));
    front.stop().await;
}

/// Local files through the `mysql` command: sent, empty, absent, and refused by the client.
#[tokio::test(flavor = "multi_thread")]
async fn local_files_of_the_mysql_command() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(false, TlsMode::Disabled)).await;
    run(
        &mut connect(&stage.server).await,
        "CREATE DATABASE play;\nCREATE TABLE play.t (s TEXT)",
    )
    .await;
    std::fs::write(stage.folder.path().join("rows"), "one\ntwo\n".repeat(50_000)).unwrap();
    std::fs::write(stage.folder.path().join("empty"), "").unwrap();
    for (file, allowed) in [("rows", true), ("empty", true), ("absent", true), ("rows", false)] {
        let said = [stage.server.port(), front.port].map(|port| {
            let sql = format!(
                "TRUNCATE t; LOAD DATA LOCAL INFILE '{}' INTO TABLE t; SELECT COUNT(*), MD5(GROUP_CONCAT(s)) FROM t",
                stage.folder.path().join(file).display()
            );
            let mut command = mysql(&stage, port, &["-vvv", "-f"]);
            command.arg(format!("--local-infile={}", u8::from(allowed)));
            let child = command
                .args(["-e", &sql, "play"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            output(child.unwrap())
        });
        let timeless = said.each_ref().map(|text| {
            text.lines()
                .map(|line| line.split(" (").next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        });
        assert_eq!(timeless[0], timeless[1], "{file}");
        assert_eq!(
            said[1].contains("100000"),
            file == "rows" && allowed,
            "{}",
            said[1]
        );
    }
    front.stop().await;
}

/// What is a string for the server is one for the guard, whether the server says what it speaks or the statements do.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_reads_in_the_sessions_character_set() {
    let stage = open_stage().await;
    let front = front(&stage, stage.endpoint(true, TlsMode::Disabled)).await;
    // In GBK the string ends before RESET, in latin1 behind it.
    let text = b"DO '\x95\x5c'; RESET MASTER; -- '";
    for capabilities in [USUAL, USUAL - Capabilities::SESSION_TRACK] {
        let mut raw = login(front.port, capabilities, None).await;
        let mut says = async |sql: &[u8]| {
            raw.send(&[b"\x03", sql].concat(), 0).await.unwrap();
            let said = raw.receive().await.unwrap().unwrap();
            match said[0] {
                0xff => u16::from_le_bytes([said[1], said[2]]),
                _ => 0,
            }
        };
        for (set, outcome, judged) in [
            ("SET NAMES gbk", 0, 1235),
            ("SET NAMES nothing", 1115, 1235),
            ("SET NAMES latin1", 0, 0),
            ("SET character_set_client = 28", 0, 1235),
            ("PREPARE s FROM 'SET NAMES latin1'", 0, 1235),
            ("EXECUTE s", 0, 0),
        ] {
            assert_eq!(says(set.as_bytes()).await, outcome, "{set}");
            assert_eq!(says(text).await, judged, "{set}");
        }
    }
    front.stop().await;
}
