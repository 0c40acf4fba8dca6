//! The log's disk full, or failing: the status says so, proxy and HTTP go on, and everything goes on where it was once that is
//! mended, without a restart and with nothing lost (C2, W3).

use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;

use crate::support::{PATIENCE, Rig};

const TABLES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(2000));
INSERT INTO app.t (v) VALUES (1), (2), (3);
";
/// No file of the process may become larger: a disk that is full as far as it can see.
const FULL: &str = "--fsize=100000:unlimited";

/// About 100 KB that don't compress, in one transaction.
const ROWS: &str = "INSERT INTO app.t (v) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) \
                    SELECT RANDOM_BYTES(1000) FROM s";

fn limit(rig: &Rig, size: &str) {
    let pid = rig.sidecar.pid().unwrap().to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &pid, size])
        .status()
        .unwrap();
    assert!(done.success());
}

async fn wait_for(rig: &mut Rig, what: &str, found: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    let mut last = Value::Null;
    while Instant::now() < until {
        assert!(
            rig.sidecar.running().unwrap(),
            "it ended:\n{}",
            rig.sidecar.log_end()
        );
        if let Ok(status) = rig.sidecar.status() {
            if found(&status) {
                return status;
            }
            last = status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}: {last:#}\n{}", rig.sidecar.log_end());
}

fn is_waiting(part: &Value) -> bool {
    part["state"] == "retrying"
        && part["side"] == "log"
        && part["why"].as_str().is_some_and(|why| why.contains("log: "))
}

/// While the log can't be used: everyone says so, and the proxy passes on what applications do.
async fn expect_waiting(rig: &mut Rig) {
    let status = wait_for(rig, "waiting for the log", |status| is_waiting(&status["log"])).await;
    assert!(is_waiting(&status["source"]), "{status:#}");
    assert!(is_waiting(&status["tasks"][0]), "{status:#}");
    let health = rig.sidecar.get("/healthz").unwrap_err().to_string();
    assert!(health.contains("503"), "{health}");
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .prefer_socket(false);
    let mut conn = Conn::new(opts).await.unwrap();
    conn.query_drop("INSERT INTO app.t (v) VALUES ('through the proxy')")
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let pid = rig.sidecar.pid();
    for round in 0..2 {
        rig.on_source(ROWS).await;
        rig.settle().await;
        limit(&rig, FULL);
        for _ in 0..5 {
            rig.on_source(ROWS).await;
        }
        expect_waiting(&mut rig).await;
        rig.on_source(&format!("CREATE TABLE app.meanwhile{round} (id INT PRIMARY KEY)"))
            .await;
        rig.on_source(ROWS).await;
        limit(&rig, "--fsize=unlimited:unlimited");
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        let status = rig.sidecar.status().unwrap();
        assert_eq!(status["log"]["state"], "open", "{status:#}");
    }
    assert_eq!(rig.sidecar.pid(), pid);
    assert_eq!(
        rig.sidecar.stop(PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    for _ in 0..5 {
        rig.on_source(ROWS).await;
    }
    rig.settle().await;
    // Opening the log again writes what the write-ahead log holds into tables.
    rig.sidecar.kill().unwrap();
    rig.on_source(ROWS).await;
    rig.sidecar.start_under(&["prlimit", FULL], "").unwrap();
    expect_waiting(&mut rig).await;
    limit(&rig, "--fsize=unlimited:unlimited");
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let status = rig.sidecar.status().unwrap();
    assert!(
        status["log"]["found"]
            .to_string()
            .contains("ended without closing"),
        "{status:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_loses_nothing() {
    let mut rig = Rig::with(TABLES).await;
    rig.sidecar
        .start_with("log-sync-fails=15*off->1*return->10*off->1*return")
        .unwrap();
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    let until = Instant::now() + PATIENCE;
    let failures = |rig: &Rig| {
        let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
        log.matches("the log can be used again").count()
    };
    while failures(&rig) < 2 {
        assert!(Instant::now() < until, "{}", rig.sidecar.log_end());
        rig.on_source(
            "INSERT INTO app.t (v) VALUES ('x');\nUPDATE app.t SET v = CONCAT(v, '.') WHERE id % 7 = 0",
        )
        .await;
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
