//! A server that says nothing, and breaks nothing either: every wait has a deadline (W2).

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use rustix::process::{Pid, Signal};
use serde_json::Value;

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
        last = rig.sidecar.status().unwrap();
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
