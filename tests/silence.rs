//! A server that says nothing, and breaks nothing either: every wait has a deadline (W2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, Rig};

const TABLE: &str =
    "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);\nINSERT INTO app.t (v) VALUES (1), (2)";

/// Stops the server's process where it is, or lets it go on: its connections stay, the kernel takes new ones, nobody answers.
fn signal(server: &Server, signal: Signal) {
    let pid = i32::try_from(server.pid().unwrap()).unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Waits for a status; the time that took.
async fn noticed(rig: &mut Rig, what: &str, found: impl Fn(&Value) -> bool) -> (Value, Duration) {
    let begin = Instant::now();
    let mut last = Value::Null;
    while begin.elapsed() < PATIENCE {
        // HTTP is not there yet at the very beginning.
        last = rig.sidecar.status().unwrap_or_default();
        if found(&last) {
            return (last, begin.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}: {last:#}\n{}", rig.sidecar.log_end());
}

/// Adds a line to a section of the configuration.
fn configure(rig: &Rig, section: &str, lines: &str) {
    let file = rig.sidecar.config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen(section, &format!("{section}\n{lines}"), 1)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_is_noticed_within_the_deadline() {
    let mut rig = Rig::with(TABLE).await;
    configure(
        &rig,
        "[source]",
        "heartbeat = \"200ms\"\nconnect_timeout = \"1s\"",
    );
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES (3)").await;
    rig.settle().await;
    // Idle for longer than the deadline, but alive.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = rig.sidecar.status().unwrap();
    assert_eq!(status["source"]["state"], "streaming", "{status:#}");
    let connects = counter(&rig);

    for _ in 0..2 {
        rig.on_source("INSERT INTO app.t (v) VALUES (4)").await;
        signal(&rig.source, Signal::STOP);
        let (status, took) = noticed(&mut rig, "that nothing comes", |status| {
            status["source"]["state"] == "retrying"
        })
        .await;
        let why = status["source"]["why"].as_str().unwrap();
        assert!(
            why.contains("no answer within 1.6s while reading its binlog"),
            "{why}"
        );
        assert_eq!(status["tasks"][0]["state"], "waiting_for_source", "{status:#}");
        // Three heartbeats and the time that an answer may take are 1.6 s; the rest is this machine.
        assert!(took < Duration::from_secs(5), "{took:?}");
        // A second attempt finds a server that takes the connection and does not greet.
        let (_, _) = noticed(&mut rig, "a new connection", |status| {
            let why = status["source"]["why"].as_str().unwrap_or_default();
            why.contains("logging in") || why.contains("connecting")
        })
        .await;
        signal(&rig.source, Signal::CONT);
        rig.on_source("INSERT INTO app.t (v) VALUES (5)").await;
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        let status = rig.sidecar.status().unwrap();
        assert_eq!(status["source"]["state"], "streaming", "{status:#}");
    }
    assert!(counter(&rig) >= connects + 2.0);
}

/// How often the source was connected to.
fn counter(rig: &Rig) -> f64 {
    let text = rig.sidecar.get("/metrics").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("outrigger_capture_connects_total"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_knows_the_replica_by_its_host() {
    let mut rig = Rig::with(TABLE).await;
    configure(&rig, "[source]", "server_id = 4711");
    rig.start();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut source = rig.source_conn().await;
    let replicas: Vec<mysql_async::Row> = source.query("SHOW REPLICAS").await.unwrap();
    let shown: Vec<(u32, String)> = replicas
        .iter()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
        .collect();
    assert_eq!(shown, [(4711, host.trim().to_owned())]);
    let of: u32 = replicas[0].get("Source_Id").unwrap();
    assert_eq!(of, u32::from(rig.source.port()));
}

/// A relay whose connections all fall silent when told to; those made later pass. Its port.
async fn relay(to: u16, silenced: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let silenced = Arc::clone(&silenced);
            tokio::spawn(async move {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await {
                    Box::pin(pass(near, far, &silenced)).await;
                }
            });
        }
    });
    port
}

/// From this number on a relay does not tell the server that a client is gone.
const ORPHANING: usize = 1 << 20;

async fn pass(mut near: TcpStream, mut far: TcpStream, silenced: &AtomicUsize) {
    let born = silenced.load(Ordering::SeqCst);
    let (mut up, mut down) = ([0; 16384], [0; 16384]);
    loop {
        let (upwards, read) = tokio::select! {
            read = near.read(&mut up) => (true, read),
            read = far.read(&mut down) => (false, read),
        };
        if silenced.load(Ordering::SeqCst) != born {
            // Both ends stay open, and nobody says anything.
            std::future::pending::<()>().await;
        }
        let Ok(read @ 1..) = read else {
            if upwards && born >= ORPHANING {
                // The other end never hears of it.
                std::future::pending::<()>().await;
            }
            return;
        };
        let sent = match upwards {
            true => far.write_all(&up[..read]).await,
            false => near.write_all(&down[..read]).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Puts a relay before a server.
async fn relayed(rig: &Rig, port: u16) -> Arc<AtomicUsize> {
    let silenced = Arc::new(AtomicUsize::new(0));
    let here = relay(port, Arc::clone(&silenced)).await;
    let file = rig.sidecar.config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace(&format!("port = {port}\n"), &format!("port = {here}\n")),
    )
    .unwrap();
    configure(rig, "[source]", "heartbeat = \"200ms\"\nconnect_timeout = \"1s\"");
    configure(rig, "[[task]]", "connect_timeout = \"1s\"");
    silenced
}

const MANY: &str = "
SET SESSION cte_max_recursion_depth = 1000000;
CREATE TABLE app.many (id INT AUTO_INCREMENT PRIMARY KEY, v CHAR(100));
INSERT INTO app.many (v) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 60000) SELECT SHA2(n, 256) FROM s
";

#[tokio::test(flavor = "multi_thread")]
async fn links_that_fall_silent_while_rows_are_copied() {
    for of_the_source in [true, false] {
        let mut rig = Rig::with(TABLE).await;
        rig.on_source(MANY).await;
        let port = if of_the_source {
            rig.source.port()
        } else {
            rig.target.port()
        };
        let silenced = relayed(&rig, port).await;
        let file = rig.sidecar.config();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n[task.copy]\nchunk_rows = 50\n")).unwrap();
        rig.sidecar.start().unwrap();
        noticed(&mut rig, "rows copied", |status| {
            let tables = status["tasks"][0]["tables"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            tables
                .iter()
                .any(|table| table["table"] == "many" && table["rows_copied"].as_u64() > Some(500))
        })
        .await;
        silenced.fetch_add(1, Ordering::SeqCst);
        let (status, took) = noticed(&mut rig, "that nothing comes", |status| {
            status["tasks"][0]["state"] == "retrying"
        })
        .await;
        let side = if of_the_source { "source" } else { "target" };
        assert_eq!(status["tasks"][0]["side"], side, "{status:#}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        rig.on_source("INSERT INTO app.t (v) VALUES (3)").await;
        rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_links_fall_silent_while_changes_are_applied() {
    let mut rig = Rig::with(TABLE).await;
    let silenced = relayed(&rig, rig.target.port()).await;
    rig.start();
    for _ in 0..2 {
        for n in 0..50 {
            rig.on_source(&format!(
                "INSERT INTO app.t (v) VALUES ({n});\nUPDATE app.t SET v = v + 1 WHERE id % 7 = 0"
            ))
            .await;
            if n == 25 {
                silenced.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (status, took) = noticed(&mut rig, "that nothing comes", |status| {
            status["tasks"][0]["state"] == "retrying"
        })
        .await;
        assert_eq!(status["tasks"][0]["side"], "target", "{status:#}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}

/// The sidecar's machine is gone with a group executed and not committed, and the target does not know: its session keeps its locks.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_left_open_on_the_target_is_ended_by_the_next() {
    let mut rig = Rig::with(MANY).await;
    let silenced = relayed(&rig, rig.target.port()).await;
    silenced.store(ORPHANING, Ordering::SeqCst);
    // In parts, so that there is something before the commit however far the target seems.
    let file = rig.sidecar.config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[task.group]\nmax_bytes = \"64 KiB\"\n")).unwrap();
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.sidecar.start_with("group-commit=return").unwrap();
    rig.on_source("UPDATE app.many SET v = REVERSE(v)").await;
    noticed_gone(&mut rig).await;
    let mut target = rig.target_conn().await;
    let open = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
    let count: Option<u64> = target.query_first(open).await.unwrap();
    assert_eq!(
        count,
        Some(1),
        "the lost session holds its locks; {}",
        rig.sidecar.log_end()
    );
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let count: Option<u64> = target.query_first(open).await.unwrap();
    assert_eq!(count, Some(0));
}

/// The same before a definition statement, whose session has a lock by which one waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_for_a_definition_statement_is_not_waited_for() {
    let mut rig = Rig::with(TABLE).await;
    let silenced = relayed(&rig, rig.target.port()).await;
    silenced.store(ORPHANING, Ordering::SeqCst);
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.sidecar.start_with("ddl-before=return").unwrap();
    rig.on_source("ALTER TABLE app.t ADD w INT").await;
    noticed_gone(&mut rig).await;
    let mut target = rig.target_conn().await;
    let held = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE object_type = 'USER LEVEL LOCK' \
                AND object_name LIKE 'outrigger-ddl-%' AND lock_status = 'GRANTED'";
    let count: Option<u64> = target.query_first(held).await.unwrap();
    assert_eq!(count, Some(1), "{}", rig.sidecar.log_end());
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let count: Option<u64> = target.query_first(held).await.unwrap();
    assert_eq!(count, Some(0));
}

async fn noticed_gone(rig: &mut Rig) {
    let until = Instant::now() + PATIENCE;
    while rig.sidecar.running().unwrap() {
        assert!(Instant::now() < until, "{}", rig.sidecar.log_end());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_is_waited_for() {
    let mut rig = Rig::with(TABLE).await;
    relayed(&rig, rig.target.port()).await;
    rig.start();
    rig.settle().await;
    let mut target = rig.target_conn().await;
    // Not a row lock, which is tried again by those who wait for it.
    target.query_drop("LOCK TABLES app.t READ").await.unwrap();
    rig.on_source("UPDATE app.t SET v = v + 1").await;
    // Far longer than it takes to give up a link that is lost.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let status = rig.sidecar.status().unwrap();
        let task = &status["tasks"][0];
        assert_eq!(
            (&task["state"], &task["retries"]),
            (&"synchronizing".into(), &0.into()),
            "{status:#}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    target.query_drop("UNLOCK TABLES").await.unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_eq!(rig.sidecar.status().unwrap()["tasks"][0]["retries"], 0);
}
