//! What nobody selects stays out of the log, and nobody misses it: not the position, not a task that changes its mind.

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::View;
use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig, run};

const TABLES: &str = "
CREATE DATABASE other;
CREATE TABLE app.t (id INT PRIMARY KEY, v VARCHAR(40));
CREATE TABLE other.t (id INT PRIMARY KEY, v VARCHAR(40));
INSERT INTO app.t VALUES (1, 'a');
INSERT INTO other.t VALUES (1, 'b')";

/// Polls the status until `done` says so.
async fn status_with(rig: &mut Rig, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    let mut last = Value::Null;
    while Instant::now() < until {
        if let Ok(status) = rig.sidecar.status() {
            if done(&status) {
                return status;
            }
            last = status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}: {last:#}\n{}", rig.sidecar.log_end());
}

/// Every transaction of the source, as it prints them.
async fn executed(rig: &Rig) -> String {
    let set: Option<String> = rig
        .source_conn()
        .await
        .query_first("SELECT REPLACE(@@global.gtid_executed, '\\n', '')")
        .await
        .unwrap();
    set.unwrap()
}

async fn passed_by(rig: &mut Rig) -> Value {
    let executed = executed(rig).await;
    status_with(rig, "captured up to the source's end", |status| {
        status["source"]["gtids"] == executed.as_str()
    })
    .await
}

/// Waits until what the status shows as captured stands in the log itself: it is durable some milliseconds later.
async fn stored(status: &Value) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let captured: GtidSet = text(&status["source"]["gtids"]).parse().unwrap();
    let mut view = View::open(Path::new(&text(&status["log"]["path"]))).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let gtids = view.info().unwrap().position.and_then(|position| position.gtids);
        if gtids.as_ref() == Some(&captured) {
            return;
        }
        assert!(
            Instant::now() < until,
            "{captured} is not in the log, which has {gtids:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
        view.refresh().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_selects_is_passed_and_its_gtids_are_kept() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    let before = passed_by(&mut rig).await;
    let mut source = rig.source_conn().await;
    for id in 2..40 {
        run(
            &mut source,
            &format!("INSERT INTO other.t VALUES ({id}, REPEAT('x', 40))"),
        )
        .await;
    }
    run(
        &mut source,
        "CREATE TABLE other.u (id INT PRIMARY KEY);
         SET SESSION binlog_transaction_compression = ON;
         INSERT INTO other.u VALUES (1), (2), (3);
         DROP TABLE other.u",
    )
    .await;
    let after = passed_by(&mut rig).await;
    assert_eq!(after["log"]["last"], before["log"]["last"], "{after:#}");
    assert_eq!(after["source"]["transactions"], before["source"]["transactions"]);
    stored(&after).await;
    // After a crash nothing of it is read again, and what is selected still arrives.
    rig.sidecar.kill().unwrap();
    rig.start();
    let resumed = passed_by(&mut rig).await;
    assert_eq!(resumed["source"]["passed"], 0, "{resumed:#}");
    run(
        &mut source,
        "BEGIN; INSERT INTO other.t VALUES (100, 'x'); INSERT INTO app.t VALUES (2, 'y'); COMMIT"
            .replace("; ", ";\n")
            .as_str(),
    )
    .await;
    run(
        &mut source,
        "INSERT INTO app.t VALUES (3, 'z');\nINSERT INTO other.t VALUES (101, 'x')",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let mut target = rig.target_conn().await;
    let other: Option<String> = target.query_first("SHOW DATABASES LIKE 'other'").await.unwrap();
    assert_eq!(other, None);
}

/// Changes the task's `include` in the configuration file.
fn include(rig: &Rig, from: &str, to: &str) {
    let file = rig.path("sidecar/outrigger.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (from, to) = (format!("include = [{from}]"), format!("include = [{to}]"));
    assert!(text.contains(&from), "{text}");
    std::fs::write(&file, text.replace(&from, &to)).unwrap();
}

async fn stopped(rig: &mut Rig) -> String {
    let status = status_with(rig, "stopped", |status| status["tasks"][0]["state"] == "stopped").await;
    status["tasks"][0].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_selects_more_than_it_copied_stops() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    include(&rig, "\"app\"", "\"app\", \"other\"");
    rig.sidecar.start().unwrap();
    let why = stopped(&mut rig).await;
    assert!(
        why.contains("selects more than before") && why.contains("other"),
        "{why}"
    );
    // Taken back, it goes on.
    rig.sidecar.stop(PATIENCE).unwrap();
    include(&rig, "\"app\", \"other\"", "\"app\"");
    rig.start();
    rig.on_source("INSERT INTO app.t VALUES (2, 'x')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_away_while_less_was_kept_stops() {
    let mut rig = Rig::new(&Plan {
        include: &["app", "other"],
        ..Plan::default()
    })
    .await;
    run(
        &mut rig.target_conn().await,
        "GRANT ALL ON other.* TO outrigger@'%'",
    )
    .await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    // Another task takes its place for a while, and needs less.
    let file = rig.path("sidecar/outrigger.toml");
    let both = std::fs::read_to_string(&file).unwrap();
    let text = both
        .replace(
            "name = \"test\"",
            "name = \"less\"\non_existing_tables = \"keep\"",
        )
        .replace("include = [\"app\", \"other\"]", "include = [\"app\"]");
    std::fs::write(&file, text).unwrap();
    rig.start();
    rig.on_source("INSERT INTO other.t VALUES (2, 'lost')").await;
    rig.settle().await;
    passed_by(&mut rig).await;
    rig.sidecar.stop(PATIENCE).unwrap();
    std::fs::write(&file, both).unwrap();
    rig.sidecar.start().unwrap();
    let why = stopped(&mut rig).await;
    assert!(
        why.contains("has not kept all") && why.contains("copy anew"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_folds_names_is_selected_from_in_any_case() {
    let mut rig = Rig::new(&Plan {
        include: &["APP", "App_2.T*"],
        source: &["--lower-case-table-names=1"],
        target: &["--lower-case-table-names=1"],
        task: "exclude = [\"App.Left\"]",
        ..Plan::default()
    })
    .await;
    rig.on_source(
        "CREATE DATABASE App_2;
         CREATE TABLE APP.T (id INT PRIMARY KEY, v INT);
         CREATE TABLE App.LEFT_OUT (id INT PRIMARY KEY);
         CREATE TABLE App.`left` (id INT PRIMARY KEY);
         CREATE TABLE app_2.t1 (id INT PRIMARY KEY);
         CREATE TABLE app_2.other (id INT PRIMARY KEY);
         INSERT INTO app.t VALUES (1, 1)",
    )
    .await;
    rig.start();
    rig.on_source(
        "INSERT INTO APP.T VALUES (2, 2);
         ALTER TABLE App.T ADD w INT;
         INSERT INTO App.T VALUES (3, 3, 3);
         INSERT INTO App_2.T1 VALUES (1);
         CREATE TABLE App_2.T2 (id INT PRIMARY KEY)",
    )
    .await;
    rig.settle().await;
    let tables: Vec<String> = rig
        .target_conn()
        .await
        .query(
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_schema LIKE 'app%' ORDER BY 1",
        )
        .await
        .unwrap();
    assert_eq!(
        tables,
        ["app.left_out", "app.settle", "app.t", "app_2.t1", "app_2.t2"]
    );
    let rows: Vec<(u8, u8, Option<u8>)> = rig
        .target_conn()
        .await
        .query("SELECT * FROM app.t ORDER BY id")
        .await
        .unwrap();
    assert_eq!(rows, [(1, 1, None), (2, 2, None), (3, 3, Some(3))]);
    rig.sidecar.stop(PATIENCE).unwrap();
    run(
        &mut rig.target_conn().await,
        "CREATE TRIGGER app.mine BEFORE INSERT ON app.t FOR EACH ROW SET NEW.v = 1",
    )
    .await;
    rig.sidecar.start().unwrap();
    assert!(stopped(&mut rig).await.contains("`app`.`mine`"));
}

/// A mistake in writing, or a database that is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_there_is_warned_of() {
    let mut rig = Rig::new(&Plan {
        include: &["app", "ap", "app.tt", "app_*"],
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    let file = rig.path("sidecar/outrigger.toml");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("ap, app.tt"))
        .unwrap_or_default();
    assert!(line.starts_with("warn  task test"), "{text}");
    rig.start();
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(log.contains("ap, app.tt"), "{log}");
    // It may come.
    rig.on_source(
        "CREATE DATABASE app_3;\nCREATE TABLE app.tt (id INT PRIMARY KEY);\nINSERT INTO app.tt VALUES (1)",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
