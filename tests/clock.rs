//! A source whose clock, or whose sessions' clocks, say another time: nothing depends on them but what is asked by time.

use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig, run};

/// 1990, for the event's headers, for what replicas pass on, and for NOW().
const LONG_AGO: &str =
    "SET SESSION timestamp = 631152000;\nSET SESSION original_commit_timestamp = 631152000000000";

/// An `outrigger` command with the rig's configuration, and what it prints.
fn outrigger(rig: &Rig, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .current_dir(rig.path("sidecar"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The transactions on a table that a choice by time shows.
fn shown(rig: &Rig, choice: &[&str]) -> usize {
    let text = outrigger(
        rig,
        &[&["log", "show", "--json", "--table", "app.t"], choice].concat(),
    );
    text.lines().count()
}

fn assert_plausible(status: &Value) {
    for part in [&status["source"], &status["tasks"][0]] {
        let delay = part["delay_seconds"].as_f64().unwrap();
        assert!((0.0..PATIENCE.as_secs_f64()).contains(&delay), "{status:#}");
    }
    assert_eq!(status["log"]["overdue"], false, "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_clock_goes_backwards() {
    let mut rig = Rig::new(&Plan {
        log: "max_age = \"1h\"\nkeep = \"30m\"",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")
        .await;
    rig.start();
    let mut source = rig.source_conn().await;
    let now = async |rig: &Rig| -> String {
        let now = "SELECT CONCAT(DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%f'), 'Z')";
        let found: Option<String> = rig.source_conn().await.query_first(now).await.unwrap();
        found.unwrap()
    };
    let begin = now(&rig).await;
    for id in 0..40 {
        match id % 4 {
            0 => run(&mut source, "SET SESSION timestamp = DEFAULT").await,
            1 => run(&mut source, "SET SESSION timestamp = 2000000000").await,
            _ => run(&mut source, LONG_AGO).await,
        }
        run(&mut source, &format!("INSERT INTO app.t (id) VALUES ({id})")).await;
        assert_plausible(&rig.sidecar.status().unwrap());
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    // Longer than it takes until the log is looked at for what is too old.
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert_plausible(&rig.sidecar.status().unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rig.sidecar.status().unwrap()["log"]["first"], 1);
    let end = now(&rig).await;
    assert_eq!(shown(&rig, &["--from-time", &begin, "--until-time", &end]), 40);
    assert_eq!(shown(&rig, &["--until-time", "2000-01-01T00:00:00Z"]), 0);
    assert_eq!(shown(&rig, &["--from-time", &end]), 0);

    // Replay up to a moment ends before what was committed after it, whatever its session said.
    rig.target.stop().unwrap();
    run(
        &mut source,
        "SET SESSION timestamp = DEFAULT;\nINSERT INTO app.t (id) VALUES (100)",
    )
    .await;
    let middle = now(&rig).await;
    run(
        &mut source,
        &format!("{LONG_AGO};\nINSERT INTO app.t (id) VALUES (101)"),
    )
    .await;
    let captured = rig.sidecar.status().unwrap()["log"]["last"].as_u64();
    let until = Instant::now() + PATIENCE;
    while rig.sidecar.status().unwrap()["source"]["gtids"] != executed(&mut source).await {
        assert!(Instant::now() < until, "not captured behind {captured:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.target.launch().unwrap();
    outrigger(&rig, &["replay", "--until-time", &middle]);
    let mut target = rig.target_conn().await;
    let last = "SELECT MAX(id) FROM app.t";
    assert_eq!(target.query_first::<u64, _>(last).await.unwrap(), Some(100));
    outrigger(&rig, &["replay"]);
    rig.assert_equal(&["app"]).await;
}

async fn executed(source: &mut mysql_async::Conn) -> String {
    let found: Option<String> = source.query_first("SELECT @@gtid_executed").await.unwrap();
    found.unwrap().replace('\n', "")
}
