//! `outrigger log info`, `verify` and `trim`, on a log whose process runs and on one whose process does not.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig};

const TABLES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(2000));
INSERT INTO app.t (v) VALUES (1), (2), (3);
";

fn outrigger(rig: &Rig, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .arg("--config")
        .arg(rig.sidecar.config())
        .output()
        .unwrap()
}

/// What a command that succeeds prints with `--json`.
fn answer(rig: &Rig, arguments: &[&str]) -> Value {
    let output = outrigger(rig, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The sentence of a command that fails.
fn refusal(rig: &Rig, arguments: &[&str]) -> String {
    let output = outrigger(rig, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shown_checked_and_trimmed() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    for n in 0..20 {
        rig.on_source(&format!("INSERT INTO app.t (v) VALUES ({n})"))
            .await;
    }
    rig.settle().await;
    let info = answer(&rig, &["log", "info"]);
    let last = info["last"].as_u64().unwrap();
    assert!(info["first"] == 1 && last >= 21, "{info:#}");
    assert_eq!(
        info["in_use"]["pid"].as_u64(),
        rig.sidecar.pid().map(u64::from),
        "{info:#}"
    );
    assert_eq!(info["readers"][0]["task"], "test", "{info:#}");
    assert!(
        info["quota"] == 20_u64 << 30 && info["end"]["gtids"].is_string(),
        "{info:#}"
    );
    assert!(
        info["oldest_commit"].as_str() <= info["newest_commit"].as_str(),
        "{info:#}"
    );
    let verified = answer(&rig, &["log", "verify"]);
    assert!(
        verified["transactions"].as_u64() >= Some(21)
            && verified["definitions"].as_u64() >= Some(2)
            && verified["damaged"] == 0,
        "{verified:#}"
    );

    // What the target has not applied is not trimmed (C4).
    rig.target.kill().unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES ('kept')").await;
    let until = std::time::Instant::now() + PATIENCE;
    let grown = loop {
        let now = answer(&rig, &["log", "info"])["last"].as_u64().unwrap();
        if now > last {
            break now;
        }
        assert!(std::time::Instant::now() < until);
    };
    let refused = refusal(&rig, &["log", "trim", "--through", &grown.to_string()]);
    assert!(refused.contains("still needed"), "{refused}");
    let trimmed = answer(&rig, &["log", "trim"]);
    let first = trimmed["first"].as_u64().unwrap();
    assert!(first > 1 && first <= grown, "{trimmed:#}");
    let text = String::from_utf8(outrigger(&rig, &["log", "info"]).stdout).unwrap();
    assert!(text.contains(&format!("offsets {first} to {grown}")), "{text}");
    assert!(text.contains("reader   task test is"), "{text}");

    rig.sidecar.kill().unwrap();
    let info = answer(&rig, &["log", "info"]);
    assert!(info["in_use"].is_null() && info["readers"].is_null(), "{info:#}");
    assert!(
        info["readers_unknown"].as_str().unwrap().contains("no process"),
        "{info:#}"
    );
    assert_eq!(answer(&rig, &["log", "verify"])["damaged"], 0);
    let refused = refusal(&rig, &["log", "trim", "--through", &first.to_string()]);
    assert!(refused.contains("--force"), "{refused}");
    rig.target.launch().unwrap();
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_eq!(rig.sidecar.stop(PATIENCE).unwrap(), Some(0));
    let last = answer(&rig, &["log", "info"])["last"].as_u64().unwrap();
    let trimmed = answer(&rig, &["log", "trim", "--force", "--through", &last.to_string()]);
    assert_eq!(trimmed["first"].as_u64(), Some(last + 1));
    // Everything was applied: the task goes on with what comes.
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('after')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_full_by_age_waits_for_its_tasks() {
    let mut rig = Rig::new(&Plan {
        log: "max_age = \"2s\"",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('before')").await;
    rig.settle().await;
    rig.target.kill().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    let mut written = 0;
    loop {
        rig.on_source("INSERT INTO app.t (v) VALUES ('meanwhile')").await;
        written += 1;
        let status = rig.sidecar.status().unwrap();
        let source = &status["source"];
        if source["state"] == "paused" {
            assert!(source["why"].as_str().unwrap().contains("max_age"), "{status:#}");
            assert_eq!(status["log"]["overdue"], true, "{status:#}");
            break;
        }
        assert!(std::time::Instant::now() < until, "never paused: {status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(written > 1);
    rig.on_source("INSERT INTO app.t (v) VALUES ('while it was paused')")
        .await;
    rig.target.launch().unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// One that can never be in the log whole is told, also where the one before it was applied sooner than it was durable.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_beyond_the_quota_stops_capture() {
    let mut rig = Rig::new(&Plan {
        log: "quota = \"64 MiB\"\nsync_interval = \"1s\"",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.large (id INT AUTO_INCREMENT PRIMARY KEY, b BLOB)")
        .await;
    rig.start();
    rig.settle().await;
    rig.on_source("INSERT INTO app.large (b) VALUES ('small')").await;
    rig.on_source(
        "SET SESSION cte_max_recursion_depth = 1000000;\nINSERT INTO app.large (b) \
         WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT RANDOM_BYTES(1024) FROM s",
    )
    .await;
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let status = rig.sidecar.status().unwrap();
        let why = status["source"]["why"].as_str().unwrap_or_default();
        if why.contains("larger than the quota") {
            break;
        }
        assert!(std::time::Instant::now() < until, "{status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
