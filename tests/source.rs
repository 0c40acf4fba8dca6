//! The way to the source: led to another server, cut off from what it needs, told of what is out of the ordinary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger::demo::port;
use outrigger::demo::server::Server;
use outrigger_storage::View;
use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig, connect, run};

pub(crate) const TABLE: &str = "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)";

/// Changes the configuration file.
pub(crate) fn configure(rig: &Rig, from: &str, to: &str) {
    let file = rig.path("sidecar/outrigger.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

/// Polls until there is an answer.
pub(crate) async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = found().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("never {what}");
}

pub(crate) async fn status_with(rig: &mut Rig, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        rig.sidecar.status().ok().filter(|status| done(status))
    })
    .await
}

/// Why capture stopped.
async fn capture_stopped(rig: &mut Rig) -> String {
    let status = status_with(rig, "capture stopped", |status| {
        status["source"]["state"] == "stopped"
    })
    .await;
    status["source"].to_string()
}

/// Starts the sidecar, expects it to give up, and returns what it said since the last time.
fn refused(rig: &mut Rig) -> String {
    let before = said(rig).len();
    rig.sidecar.start().unwrap();
    assert_ne!(rig.sidecar.wait_for_exit(PATIENCE).unwrap(), Some(0));
    said(rig).split_off(before)
}

/// Everything that the sidecar said so far.
pub(crate) fn said(rig: &Rig) -> String {
    std::fs::read_to_string(rig.sidecar.log()).unwrap_or_default()
}

/// A relay on one port whose other end can be changed.
pub(crate) fn switchboard(port: Arc<AtomicU16>) -> u16 {
    let here = port::free().unwrap();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", here)).await.unwrap();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let there = port.load(Ordering::SeqCst);
            tokio::spawn(async move {
                if let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", there)).await {
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                }
            });
        }
    });
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_becomes_another_server_of_the_topology() {
    let mut rig = Rig::with(TABLE).await;
    let other = Server::start(
        &rig.installation,
        &rig.path("other"),
        &["--log-replica-updates=ON"],
    )
    .unwrap();
    let mut there = connect(&other).await;
    run(
        &mut there,
        &format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'outrigger', \
             SOURCE_PASSWORD = 'source secret', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;\nSTART REPLICA",
            rig.source.port()
        ),
    )
    .await;
    let behind = Arc::new(AtomicU16::new(rig.source.port()));
    let here = switchboard(Arc::clone(&behind));
    configure(
        &rig,
        &format!("port = {}", rig.source.port()),
        &format!("port = {here}"),
    );
    rig.start();
    // Its binlog files are others than the replica's.
    rig.on_source("FLUSH BINARY LOGS;\nFLUSH BINARY LOGS;\nINSERT INTO app.t (v) VALUES ('before')")
        .await;
    let mut source = rig.source_conn().await;
    let set: Option<String> = source.query_first("SELECT @@global.gtid_executed").await.unwrap();
    there
        .query_drop(format!(
            "DO WAIT_FOR_EXECUTED_GTID_SET('{}')",
            set.unwrap().replace('\n', "")
        ))
        .await
        .unwrap();
    drop(source);
    rig.source.kill().unwrap();
    behind.store(other.port(), Ordering::SeqCst);
    run(
        &mut there,
        "STOP REPLICA;\nRESET REPLICA ALL;\nINSERT INTO app.t (v) VALUES ('after')",
    )
    .await;
    let mut target = rig.target_conn().await;
    until("both rows are on the target", async || {
        let rows: Vec<String> = target.query("SELECT v FROM app.t ORDER BY id").await.unwrap();
        (rows == ["before", "after"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_another_server_stops_the_capture() {
    let mut rig = Rig::new(&Plan {
        source: &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.source.stop().unwrap();
    std::fs::remove_file(rig.path("source/data/auto.cnf")).unwrap();
    rig.source.launch().unwrap();
    rig.sidecar.start().unwrap();
    let why = capture_stopped(&mut rig).await;
    assert!(
        why.contains("another server") && why.contains("copy the selected tables again"),
        "{why}"
    );
}

/// A source that began its binlog anew, with as many transactions as before and more: another file of the same name may be as long as the
/// one that was read, with the same places in it, and the same GTIDs.
async fn reset(options: &[&str], files: usize, wanted: &str) {
    let mut rig = Rig::new(&Plan {
        source: options,
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    rig.on_source("RESET BINARY LOGS AND GTIDS").await;
    rig.start();
    for _ in 1..files {
        rig.on_source("FLUSH BINARY LOGS").await;
    }
    for _ in 0..5 {
        rig.on_source("INSERT INTO app.t (v) VALUES ('kept')").await;
    }
    let mut target = rig.target_conn().await;
    until("the rows are on the target", async || {
        let rows: Option<u64> = target.query_first("SELECT COUNT(*) FROM app.t").await.unwrap();
        (rows == Some(5)).then_some(())
    })
    .await;
    // Begun where it was.
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('kept')").await;
    until("the row is on the target", async || {
        let rows: Option<u64> = target.query_first("SELECT COUNT(*) FROM app.t").await.unwrap();
        (rows == Some(6)).then_some(())
    })
    .await;
    rig.sidecar.stop(PATIENCE).unwrap();
    // Files tell in whole seconds when they were begun.
    let mut source = connect(&rig.source).await;
    let now = "SELECT UNIX_TIMESTAMP()";
    let begun: Option<u64> = source.query_first(now).await.unwrap();
    until("a second later", async || {
        let now: Option<u64> = source.query_first(now).await.unwrap();
        (now > begun).then_some(())
    })
    .await;
    rig.on_source("RESET BINARY LOGS AND GTIDS").await;
    for _ in 0..9 {
        rig.on_source("INSERT INTO app.t (v) VALUES ('lost')").await;
    }
    rig.sidecar.start().unwrap();
    let why = capture_stopped(&mut rig).await;
    assert!(why.contains(wanted) && why.contains("was reset"), "{why}");
}

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_a_reset_binlog_stops_the_capture() {
    reset(&NO_GTIDS, 1, "was begun").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_gtids_a_reset_binlog_stops_the_capture() {
    reset(&[], 1, "was begun").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_gtids_a_binlog_that_lost_a_file_stops_the_capture() {
    reset(&[], 3, "a file that it never wrote").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_binlogs_are_named() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "INSERT INTO app.t (v) VALUES ('lost');\nFLUSH BINARY LOGS",
    )
    .await;
    let gone: Option<String> = source.query_first("SELECT @@global.gtid_executed").await.unwrap();
    let gone = gone.unwrap();
    let last = gone.rsplit('-').next().unwrap();
    let status: Option<(String, u64, String, String, String)> =
        source.query_first("SHOW BINARY LOG STATUS").await.unwrap();
    run(
        &mut source,
        &format!("PURGE BINARY LOGS TO '{}'", status.unwrap().0),
    )
    .await;
    rig.sidecar.start().unwrap();
    let why = capture_stopped(&mut rig).await;
    assert!(
        why.contains("purged") && why.contains(&format!(":{last}")) && why.contains("copy"),
        "{why}"
    );
}

/// Without GTIDs the log's position is a file and an offset: an idle source that rotates and purges must not leave it behind.
#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_the_files_of_an_idle_source_may_go() {
    let mut rig = Rig::new(&Plan {
        source: &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    rig.start();
    rig.settle().await;
    let mut source = rig.source_conn().await;
    run(&mut source, "FLUSH BINARY LOGS;\nFLUSH BINARY LOGS").await;
    let status: Option<(String, u64, String, String, String)> =
        source.query_first("SHOW BINARY LOG STATUS").await.unwrap();
    let last = status.unwrap().0;
    until("the log's position is in the newest file", async || {
        let info = View::open(&rig.path("sidecar/log")).unwrap().info().unwrap();
        info.position
            .is_some_and(|position| position.file.file == last)
            .then_some(())
    })
    .await;
    run(&mut source, &format!("PURGE BINARY LOGS TO '{last}'")).await;
    rig.sidecar.kill().unwrap();
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('after')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// C5: GTIDs that a crash took back (`sync_binlog` other than 1, or an older snapshot that is started) and that were given to other
/// transactions since, look like those that the log has.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gave_gtids_twice_is_told_by_its_files() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    rig.settle().await;
    rig.source.stop().unwrap();
    let copy = |from: &str, to: &str| {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(rig.path(from))
            .arg(rig.path(to))
            .status();
        assert!(copied.unwrap().success());
    };
    copy("source/data", "snapshot");
    rig.source.launch().unwrap();
    rig.on_source(
        "INSERT INTO app.t (v) VALUES (REPEAT('lost', 1000));\nINSERT INTO app.t (v) VALUES ('lost, too')",
    )
    .await;
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.source.kill().unwrap();
    std::fs::remove_dir_all(rig.path("source/data")).unwrap();
    std::fs::rename(rig.path("snapshot"), rig.path("source/data")).unwrap();
    rig.source.launch().unwrap();
    for _ in 0..5 {
        rig.on_source("INSERT INTO app.t (v) VALUES ('other')").await;
    }
    rig.sidecar.start().unwrap();
    let why = capture_stopped(&mut rig).await;
    assert!(
        why.contains("where that file ends at") && why.contains("lost transactions"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_out_of_the_ordinary() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "SET SESSION binlog_rows_query_log_events = ON;
         INSERT INTO app.t (v) VALUES ('with its text');
         SET GLOBAL binlog_checksum = NONE;
         INSERT INTO app.t (v) VALUES ('unchecked');
         SET GLOBAL binlog_checksum = CRC32;
         INSERT INTO app.t (v) VALUES ('checked again');
         SET SESSION binlog_transaction_compression = ON;
         INSERT INTO app.t (v) VALUES (REPEAT('packed', 1000000));
         SET SESSION binlog_transaction_compression = OFF;
         INSERT INTO app.t (v) VALUES (CONCAT(REPEAT('a', 16777200), UUID())), (REPEAT('b', 34000000));
         SET gtid_next = 'AUTOMATIC:a_tag';
         INSERT INTO app.t (v) VALUES ('tagged');
         SET gtid_next = 'AUTOMATIC'",
    )
    .await;
    run(
        &mut source,
        "XA START 'first';\nINSERT INTO app.t (v) VALUES ('prepared');\nXA END 'first';\nXA PREPARE 'first'",
    )
    .await;
    source.disconnect().await.unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES ('meanwhile')").await;
    rig.settle().await;
    // The sidecar and the session that ends it are others than those that saw it begin.
    rig.sidecar.kill().unwrap();
    rig.start();
    rig.on_source("XA COMMIT 'first'").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_log_waits_for_prepared_transactions() {
    let mut rig = Rig::with(TABLE).await;
    rig.on_source("GRANT XA_RECOVER_ADMIN ON *.* TO outrigger@'%'")
        .await;
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "XA START 'x';\nINSERT INTO app.t (v) VALUES ('prepared');\nXA END 'x';\nXA PREPARE 'x'",
    )
    .await;
    rig.sidecar.start().unwrap();
    until("it says that it waits", async || {
        said(&rig).contains("XA COMMIT or XA ROLLBACK").then_some(())
    })
    .await;
    assert!(!said(&rig).contains("capture starts"));
    run(&mut source, "XA COMMIT 'x'").await;
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    // One that never ends is named.
    rig.sidecar.stop(PATIENCE).unwrap();
    std::fs::remove_dir_all(rig.path("sidecar/log")).unwrap();
    run(
        &mut source,
        "XA START 'y';\nINSERT INTO app.t (v) VALUES ('for ever');\nXA END 'y';\nXA PREPARE 'y'",
    )
    .await;
    configure(&rig, "[source]\n", "[source]\nprepared_wait = \"1s\"\n");
    assert!(refused(&mut rig).contains("1 XA transactions are prepared"));
}
