//! `outrigger replay`: a log applied without its source, to a place, resumed, and onto a target that was restored otherwise.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger::demo::compare;
use outrigger::demo::server::Server;
use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig, connect, run};

const TABLES: &str = "
CREATE TABLE app.keyed (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(200));
CREATE TABLE app.keyless (v INT, s VARCHAR(50));
CREATE TABLE app.step (n INT PRIMARY KEY);
INSERT INTO app.keyed (v, s) VALUES (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO app.keyless VALUES (1, 'same'), (1, 'same'), (2, 'other');
INSERT INTO app.step VALUES (0);
";

/// `outrigger replay` with the arguments; what it printed.
fn replay(rig: &Rig, failpoints: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .env("FAILPOINTS", failpoints)
        .env("OUTRIGGER_TARGET_PASSWORD", "target secret")
        .args(["replay", "--json"])
        .args(arguments)
        .current_dir(rig.path("sidecar"))
        .output()
        .unwrap()
}

/// The outcome of a replay that succeeds.
fn replayed(rig: &Rig, arguments: &[&str]) -> Value {
    let output = replay(rig, "", arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a replay that fails says.
fn refused(rig: &Rig, arguments: &[&str]) -> String {
    let output = replay(rig, "", arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The highest step on a server.
async fn step(server: &Server) -> u64 {
    let found = connect(server)
        .await
        .query_first("SELECT MAX(n) FROM app.step")
        .await;
    found.unwrap().unwrap()
}

/// A rig whose task has followed and whose sidecar then captured more without the target: steps 1 to `steps`, each a
/// transaction over all tables with its number in `step`; a definition and an XA transaction stand in the middle.
async fn with_backlog(rig: &mut Rig, steps: u64) {
    rig.on_source(TABLES).await;
    rig.start();
    rig.settle().await;
    rig.target.stop().unwrap();
    let mut source = rig.source_conn().await;
    for n in 1..=steps {
        let compressed = if n % 3 == 0 { "ON" } else { "OFF" };
        run(
            &mut source,
            &format!(
                "SET SESSION binlog_transaction_compression = {compressed};
                 START TRANSACTION;
                 INSERT INTO app.keyed (v, s) VALUES ({n}, REPEAT('x', {n} % 200));
                 UPDATE app.keyed SET v = v + 1 WHERE id <= 3;
                 INSERT INTO app.keyless VALUES ({n}, 'same');
                 DELETE FROM app.keyless WHERE v = {n} - 2 LIMIT 1;
                 UPDATE app.step SET n = {n};
                 COMMIT"
            ),
        )
        .await;
        if n == steps / 2 {
            run(
                &mut source,
                "ALTER TABLE app.keyed ADD COLUMN extra INT NOT NULL DEFAULT 7;
                 XA START 'x';
                 INSERT INTO app.keyless VALUES (-1, 'xa');
                 XA END 'x';
                 XA PREPARE 'x'",
            )
            .await;
            // From a session of its own: the prepared transaction belongs to nobody.
            drop(source);
            source = rig.source_conn().await;
            run(&mut source, "XA COMMIT 'x'").await;
        }
    }
    drop(source);
    stop_when_captured(rig).await;
}

/// Every transaction of the source.
async fn executed(rig: &Rig) -> String {
    let found: Option<String> = rig
        .source_conn()
        .await
        .query_first("SELECT @@gtid_executed")
        .await
        .unwrap();
    found.unwrap().replace('\n', "")
}

/// Stops the sidecar once everything that the source has committed is in its log.
async fn stop_when_captured(rig: &mut Rig) {
    let (all, until) = (executed(rig).await, Instant::now() + PATIENCE);
    loop {
        let status = rig.sidecar.status().unwrap_or_default();
        if status["source"]["gtids"].as_str() == Some(&all) {
            break;
        }
        assert!(
            Instant::now() < until && rig.sidecar.running().unwrap(),
            "not captured: {status:#}\n{}",
            rig.sidecar.log_end()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.sidecar.stop(PATIENCE).unwrap();
}

/// What the source holds now, by MySQL's own means of backup.
fn backup(rig: &Rig) -> PathBuf {
    let backup = rig
        .installation
        .command("mysqldump")
        .args([
            "--no-defaults",
            "--user=root",
            "--set-gtid-purged=OFF",
            "--databases",
            "app",
        ])
        .arg(format!("--socket={}", rig.source.socket().display()))
        .output()
        .unwrap();
    assert!(
        backup.status.success(),
        "{}",
        String::from_utf8_lossy(&backup.stderr)
    );
    let dump = rig.path("backup.sql");
    std::fs::write(&dump, backup.stdout).unwrap();
    dump
}

/// A new server that holds what was backed up.
fn restored(rig: &Rig, dump: &Path) -> Server {
    let restored = Server::start(&rig.installation, &rig.path("restored"), &[]).unwrap();
    let socket = format!("--socket={}", restored.socket().display());
    let client = rig
        .mysql(&["--user=root", &socket])
        .stdin(std::fs::File::open(dump).unwrap())
        .status();
    assert!(client.unwrap().success());
    restored
}

/// Source and another server hold the same rows.
async fn assert_equal(source: &Server, other: &Server) {
    let (mut source, mut other) = (connect(source).await, connect(other).await);
    let compared = compare::databases(&mut source, &mut other, &["app"])
        .await
        .unwrap();
    let different: Vec<_> = compared.iter().filter(|table| !table.equal()).collect();
    assert!(!compared.is_empty() && different.is_empty(), "{different:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_without_the_source() {
    let mut rig = Rig::new(&Plan::default()).await;
    with_backlog(&mut rig, 120).await;
    let before = executed(&rig).await;
    rig.source.stop().unwrap();
    rig.target.launch().unwrap();

    // To a place, exactly: every step is one transaction, and DDL and XA stand between 60 and 61.
    let first = checkpoint(&rig).await + 1;
    for (steps, arguments) in [
        (5, vec!["--until-offset".to_owned(), (first + 4).to_string()]),
        (30, vec!["--until-offset".to_owned(), (first + 29).to_string()]),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let outcome = replayed(&rig, &arguments);
        assert_eq!(outcome["offset"], first + steps - 1, "{outcome:#}");
        assert_eq!(step(&rig.target).await, steps);
    }
    // The same again does nothing, an earlier end is impossible.
    let again = replayed(&rig, &["--until-offset", &(first + 29).to_string()]);
    assert_eq!((&again["transactions"], step(&rig.target).await), (&0.into(), 30));
    let error = refused(&rig, &["--until-offset", &first.to_string()]);
    assert!(error.contains("can't go back"), "{error}");

    // Killed in the middle, then run again.
    if cfg!(feature = "failpoints") {
        for point in ["group-commit=return", "checkpoint=return"] {
            let output = replay(&rig, point, &["--until-offset", &(first + 50).to_string()]);
            assert_eq!(output.status.code(), None, "{point} was never reached");
        }
    }
    let outcome = replayed(&rig, &[]);
    let gtids = outcome["gtids"].as_str().unwrap();
    assert_eq!(gtids, before);
    assert_eq!(step(&rig.target).await, 120);
    rig.source.launch().unwrap();
    assert_equal(&rig.source, &rig.target).await;

    // And the sidecar goes on from there.
    rig.start();
    let error = refused(&rig, &[]);
    assert!(error.contains("is in use by a running sidecar"), "{error}");
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// What `outrigger log show` says of the transaction at an offset.
fn shown(rig: &Rig, offset: u64) -> Value {
    let offset = offset.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args([
            "log",
            "show",
            "--json",
            "--from-offset",
            &offset,
            "--until-offset",
            &offset,
        ])
        .current_dir(rig.path("sidecar"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_to_a_transaction_and_up_to_a_moment() {
    let mut rig = Rig::new(&Plan::default()).await;
    with_backlog(&mut rig, 40).await;
    rig.source.stop().unwrap();
    rig.target.launch().unwrap();
    let first = checkpoint(&rig).await + 1;
    let gtid = |step: u64| shown(&rig, first + step - 1)["gtid"].as_str().unwrap().to_owned();
    let moment = |step: u64| {
        shown(&rig, first + step - 1)["committed"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // Each goes on where the one before it ended, through exactly what was asked for.
    let mut before = 0;
    for (option, place, steps) in [
        ("--until-gtid", gtid(4), 4),
        ("--until-time", moment(9), 9),
        ("--until-gtid", gtid(10), 10),
        ("--until-time", moment(15), 15),
        ("--until-time", moment(15), 15),
    ] {
        let outcome = replayed(&rig, &[option, &place]);
        assert_eq!(
            outcome["offset"],
            first + steps - 1,
            "{option} {place}: {outcome:#}"
        );
        assert_eq!(
            outcome["transactions"],
            steps - before,
            "{option} {place}: {outcome:#}"
        );
        assert_eq!(step(&rig.target).await, steps, "{option} {place}");
        assert_eq!(checkpoint(&rig).await, first + steps - 1);
        let mut target = rig.target_conn().await;
        // A step's every row, and no row of the next.
        let rows = target.query_first("SELECT COUNT(*) - 3 FROM app.keyed").await;
        assert_eq!(rows.unwrap(), Some(steps), "{option} {place}");
        before = steps;
    }
    let unknown = "00000000-1111-2222-3333-444444444444:5";
    assert!(refused(&rig, &["--until-gtid", unknown]).contains(unknown));
    assert!(refused(&rig, &["--until-gtid", &gtid(2)]).contains("can't go back"));
    assert!(refused(&rig, &["--until-time", &moment(2)]).contains("can't go back"));
    assert_eq!(step(&rig.target).await, 15);
    replayed(&rig, &["--until-time", "2999-01-01T00:00:00Z"]);
    rig.source.launch().unwrap();
    assert_equal(&rig.source, &rig.target).await;
}

/// The offset that the target's checkpoint says.
async fn checkpoint(rig: &Rig) -> u64 {
    let mut target = rig.target_conn().await;
    let found = target
        .query_first("SELECT log_offset FROM outrigger.checkpoint")
        .await;
    found.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_restored_otherwise() {
    let mut rig = Rig::new(&Plan::default()).await;
    with_backlog(&mut rig, 40).await;
    let held = executed(&rig).await;
    let dump = backup(&rig);
    // History goes on behind the backup; the sidecar captures it without any target.
    rig.sidecar.start().unwrap();
    let mut source = rig.source_conn().await;
    for n in 41..=80 {
        run(
            &mut source,
            &format!(
                "INSERT INTO app.keyed (v, s) VALUES ({n}, 'later');
                 UPDATE app.step SET n = {n};
                 DELETE FROM app.keyless WHERE v = {n} - 42 LIMIT 1"
            ),
        )
        .await;
    }
    stop_when_captured(&mut rig).await;

    let restored = restored(&rig, &dump);
    let (target, log) = (
        format!("root@{}", restored.socket().display()),
        rig.path("sidecar").join("log").display().to_string(),
    );
    let call = |from: Option<&str>| -> Output {
        Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["replay", "--json", "--log", &log, "--target", &target])
            .args(["--include", "app", "--task", "restored"])
            .args(from.map(|from| format!("--from={from}")))
            .output()
            .unwrap()
    };
    // Nothing says where to begin; then something says a set with a hole.
    let error = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let output = call(None);
    assert!(
        error(&output).contains("nothing says where replay begins"),
        "{}",
        error(&output)
    );
    let (uuid, last) = (held.split(':').next().unwrap(), held.rsplit('-').next().unwrap());
    let output = call(Some(&format!("{uuid}:1-2:{last}")));
    assert!(
        error(&output).contains("is this the right GTID set?")
            || error(&output).contains("restore a newer backup"),
        "{}",
        error(&output)
    );
    // To the end, and by the same command again.
    let output = call(Some(&held));
    assert!(output.status.success(), "{}", error(&output));
    assert_equal(&rig.source, &restored).await;
    let outcome: Value = serde_json::from_slice(&call(Some(&held)).stdout).unwrap();
    assert_eq!(outcome["transactions"], 0);
}
