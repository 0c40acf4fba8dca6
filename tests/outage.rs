//! Either side gone for a while: the task says so, waits, and goes on (S14, D6).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use outrigger::demo::server::Server;
use serde_json::Value;

use crate::eventual::until;
use crate::source::{configure, said, switchboard};
use crate::support::{PATIENCE, Plan, Rig};

const TABLES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);
INSERT INTO app.t (v) VALUES (1), (2), (3);
";

/// Waits until the status document holds the text.
async fn wait_for(rig: &mut Rig, what: &str, found: impl Fn(&Value) -> bool) {
    let until = Instant::now() + PATIENCE;
    let mut last = Value::Null;
    while Instant::now() < until {
        last = rig.sidecar.status().unwrap();
        if found(&last) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {what}: {last:#}\n{}", rig.sidecar.log_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn target_away() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.target.kill().unwrap();
    for n in 0..50 {
        rig.on_source(&format!("INSERT INTO app.t (v) VALUES ({n})"))
            .await;
    }
    wait_for(&mut rig, "retrying the target", |status| {
        let task = &status["tasks"][0];
        task["state"] == "retrying"
            && task["side"] == "target"
            && task["why"].as_str().is_some_and(|why| !why.is_empty())
    })
    .await;
    rig.target.launch().unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// A counter that the sidecar serves.
fn counter(rig: &Rig, name: &str) -> f64 {
    let text = rig.sidecar.get("/metrics").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn target_away_until_the_log_is_full() {
    let mut rig = Rig::new(&Plan {
        log: "quota = \"64 MiB\"",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.on_source("CREATE TABLE app.wide (id INT AUTO_INCREMENT PRIMARY KEY, a BLOB)")
        .await;
    rig.start();
    rig.settle().await;
    rig.target.kill().unwrap();
    for n in 0..400 {
        rig.on_source(&format!("INSERT INTO app.t (v) VALUES ({n})"))
            .await;
    }
    // Capture goes on without the target; random bytes can't be compressed away.
    let fill = "INSERT INTO app.wide (a) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) \
                SELECT RANDOM_BYTES(1024) FROM s";
    for _ in 0..110 {
        rig.on_source(fill).await;
    }
    wait_for(&mut rig, "full", |status| status["log"]["paused"] == true).await;
    let full = rig.sidecar.status().unwrap();
    assert!(
        full["log"]["bytes"].as_u64() <= full["log"]["quota"].as_u64(),
        "{full:#}"
    );
    assert!(full["log"]["last"].as_u64() > Some(400), "{full:#}");
    // The source is not held up by it.
    rig.on_source("INSERT INTO app.t (v) VALUES (-1)").await;

    let before = counter(&rig, "outrigger_apply_groups_total");
    rig.target.launch().unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    wait_for(&mut rig, "not full any more", |status| {
        status["log"]["paused"] == false
    })
    .await;
    // A backlog is applied in groups, not one transaction after the other.
    let groups = counter(&rig, "outrigger_apply_groups_total") - before;
    assert!(
        groups > 0.0 && groups < 300.0,
        "{groups} groups for more than 500 transactions"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn target_stopped_in_the_middle_of_writes() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    for round in 0..3 {
        for n in 0..100 {
            rig.on_source(&format!(
                "INSERT INTO app.t (v) VALUES ({n});\nUPDATE app.t SET v = v + 1 WHERE id % 10 = {round}"
            ))
            .await;
            if n == 50 {
                rig.target.kill().unwrap();
                rig.target.launch().unwrap();
            }
        }
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn source_restarted() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES (10)").await;
    rig.source.kill().unwrap();
    rig.source.launch().unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES (11)").await;
    rig.settle().await;
    rig.source.stop().unwrap();
    // The task has nothing to apply, but nobody knows how far the source has gone on: it must not look level.
    wait_for(
        &mut rig,
        "waiting for the source, with a delay that grows",
        |status| {
            let (source, task) = (&status["source"], &status["tasks"][0]);
            source["state"] == "retrying"
                && task["state"] == "waiting_for_source"
                && task["side"] == "source"
                && task["delay_seconds"].as_f64().is_some_and(|delay| delay > 1.0)
        },
    )
    .await;
    rig.source.launch().unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES (12)").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_transactions_pass() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.on_source(
        "SET SESSION cte_max_recursion_depth = 1000000;
         CREATE TABLE app.wide (id INT PRIMARY KEY, a LONGBLOB);
         INSERT INTO app.wide WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 4000) SELECT n, REPEAT(CHAR(n % 256), 10000) FROM s;
         UPDATE app.wide SET a = CONCAT(a, 'x');
         INSERT INTO app.wide VALUES (100000, REPEAT('y', 20000000));
         SET SESSION binlog_transaction_compression = ON;
         INSERT INTO app.wide SELECT id + 10000, a FROM app.wide WHERE id < 4000;
         DELETE FROM app.wide WHERE id < 1000",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_memory_for_it_passes() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let idle = rig.sidecar.peak_kib();
    rig.on_source(
        "SET SESSION cte_max_recursion_depth = 1000000;
         CREATE TABLE app.wide (id INT PRIMARY KEY, a LONGBLOB);
         INSERT INTO app.wide WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 38400) SELECT n, REPEAT(CHAR(n % 256), 10240) FROM s",
    )
    .await;
    rig.settle().await;
    let used = (rig.sidecar.peak_kib() - idle) / 1024;
    assert!(
        used <= 256,
        "375 MiB in one transaction took {used} MiB of memory"
    );
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_retry_window_ends_with_a_sentence() {
    let mut rig = Rig::new(&Plan {
        task: "retry_window = \"2s\"",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.target.kill().unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES (1)").await;
    wait_for(&mut rig, "stopped", |status| {
        let task = &status["tasks"][0];
        task["state"] == "stopped" && task["why"].as_str().is_some_and(|why| why.contains("target"))
    })
    .await;
}

/// An address may come to lead to a replica while the server that it led to still answers. What is done by turns here and there is on neither.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_to_another_target_are_not_mixed() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);\nINSERT INTO app.t (v) VALUES (1)",
    )
    .await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    // A replica that has what is there so far.
    rig.target.stop().unwrap();
    let (folder, data) = (rig.path("replica"), rig.target.folder().join("data"));
    std::fs::create_dir(&folder).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&data).arg(&folder).status();
    assert!(copied.unwrap().success());
    std::fs::remove_file(folder.join("data/auto.cnf")).unwrap();
    rig.target.launch().unwrap();
    let mut replica = Server::start(&rig.installation, &folder, &[]).unwrap();
    let behind = Arc::new(AtomicU16::new(rig.target.port()));
    let here = switchboard(Arc::clone(&behind));
    configure(
        &rig,
        &format!("port = {}", rig.target.port()),
        &format!("port = {here}"),
    );
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES (2)").await;
    let mut target = rig.target_conn().await;
    until(&mut target, "SELECT COUNT(*) FROM app.t", 2).await;
    behind.store(replica.port(), Ordering::SeqCst);
    // A definition statement has a connection of its own.
    rig.on_source("ALTER TABLE app.t ADD n INT;\nINSERT INTO app.t (v, n) VALUES (3, 3)")
        .await;
    std::mem::swap(&mut rig.target, &mut replica);
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert!(
        said(&rig).contains("(server_uuid) and leads to"),
        "{}",
        said(&rig)
    );
    until(&mut target, "SELECT COUNT(*) FROM app.t", 2).await;
}
