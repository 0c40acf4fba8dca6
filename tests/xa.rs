//! XA transactions that were prepared before a task began: their rows are in no copy, and must come with their end, once.

use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger::demo::compare;
use outrigger::demo::server::Server;

use crate::support::{PATIENCE, Plan, Rig, connect, run};

const TABLES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(8000));
CREATE TABLE app.keyless (v VARCHAR(20));
INSERT INTO app.t (v) VALUES ('first'), ('second');
INSERT INTO app.keyless VALUES ('a'), ('a')";

/// An XA transaction that inserts a row and is left prepared.
fn prepare(xid: &str, row: &str) -> String {
    format!("XA START '{xid}';\nINSERT INTO app.t (v) VALUES ({row});\nXA END '{xid}';\nXA PREPARE '{xid}'")
}

/// Prepares some that end, in all ways, and `again`, `packed` and `undone`, which do not.
async fn prepare_some(rig: &Rig) {
    let mut source = rig.source_conn().await;
    for sql in [
        prepare("gone", "'gone'").as_str(),
        "XA COMMIT 'gone'",
        &prepare("back", "'back'"),
        "XA ROLLBACK 'back'",
        &prepare("again", "'never'"),
        "XA ROLLBACK 'again'",
        &prepare("again", "'again'"),
        "XA START 'one';\nINSERT INTO app.t (v) VALUES ('one phase');\nXA END 'one';\nXA COMMIT 'one' ONE PHASE",
        "SET SESSION binlog_transaction_compression = ON",
        &prepare("packed", "REPEAT('packed', 1000)"),
        &prepare("undone", "REPEAT('undone', 1000)"),
    ] {
        run(&mut source, sql).await;
    }
}

const END_THEM: &str = "INSERT INTO app.t (v) VALUES ('before');\nXA COMMIT 'packed';\nXA ROLLBACK 'undone';\nXA COMMIT 'again';\n\
                        UPDATE app.t SET v = CONCAT(v, '!')";

/// Everything that the task knows and has is gone from the target: it begins anew, with the same log.
async fn forget(rig: &Rig) {
    run(
        &mut rig.target_conn().await,
        "DROP DATABASE app;\nDELETE FROM outrigger.checkpoint;\nDELETE FROM outrigger.copy_progress",
    )
    .await;
}

/// Replaces text in the sidecar's configuration.
fn configure(rig: &Rig, before: &str, after: &str) {
    let file = rig.sidecar.config();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(before), "{text}");
    std::fs::write(&file, text.replacen(before, after, 1)).unwrap();
}

/// Waits until another server holds what the source holds.
async fn equal(rig: &Rig, other: &Server) {
    let (mut source, mut other) = (rig.source_conn().await, connect(other).await);
    let until = Instant::now() + PATIENCE;
    loop {
        let compared = compare::databases(&mut source, &mut other, &["app"])
            .await
            .unwrap();
        if compared.iter().all(compare::Comparison::equal) {
            return;
        }
        assert!(Instant::now() < until, "{compared:#?}\n{}", rig.sidecar.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until everything that the source has committed is captured.
async fn captured(rig: &mut Rig) {
    let executed: Option<String> = rig
        .source_conn()
        .await
        .query_first("SELECT REPLACE(@@global.gtid_executed, '\\n', '')")
        .await
        .unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let status = rig.sidecar.status().unwrap_or_default();
        if status["source"]["gtids"].as_str() == executed.as_deref() {
            return;
        }
        assert!(Instant::now() < until, "not captured: {status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Trims all that may be trimmed.
fn trim(rig: &Rig) {
    let trimmed = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["log", "trim"])
        .current_dir(rig.path("sidecar"))
        .output()
        .unwrap();
    assert!(trimmed.status.success(), "{trimmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_task_begins_while_transactions_are_prepared() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    prepare_some(&rig).await;
    rig.settle().await;
    trim(&rig);
    rig.sidecar.stop(PATIENCE).unwrap();

    let mut second = Server::start(&rig.installation, &rig.path("second"), &[]).unwrap();
    run(
        &mut connect(&second).await,
        "CREATE USER outrigger@'%' IDENTIFIED BY 'target secret';\nGRANT ALL ON app.* TO outrigger@'%';\n\
         GRANT ALL ON outrigger.* TO outrigger@'%'",
    )
    .await;
    let more = format!(
        "[[task]]\nname = \"second\"\ninclude = [\"app\"]\n[task.target]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"outrigger\"\n\
         password = \"target secret\"\n\n[[task]]\nname = \"test\"",
        second.port()
    );
    configure(&rig, "[[task]]\nname = \"test\"", &more);
    rig.start();
    let sql = "SELECT COUNT(*) FROM app.t WHERE v LIKE 'again%' OR v LIKE 'packed%'";
    let seen: Option<u64> = connect(&second).await.query_first(sql).await.unwrap();
    assert_eq!(seen, Some(0));

    // Ended and applied by the first task, and the log trimmed, while the second one can't.
    second.stop().unwrap();
    rig.on_source(END_THEM).await;
    rig.settle().await;
    trim(&rig);
    second.launch().unwrap();
    equal(&rig, &second).await;
    rig.assert_equal(&["app"]).await;
    let seen: Option<u64> = connect(&second).await.query_first(sql).await.unwrap();
    assert_eq!(seen, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_again_while_transactions_are_prepared() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    prepare_some(&rig).await;
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    forget(&rig).await;
    // They end while the copy is under way.
    if cfg!(feature = "failpoints") {
        rig.sidecar.start_with("chunk-commit=return").unwrap();
        assert_eq!(rig.sidecar.wait_for_exit(PATIENCE).unwrap(), None);
    }
    rig.on_source(END_THEM).await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_did_not_keep_of_a_prepared_transaction_is_not_missed() {
    let mut rig = Rig::new(&Plan {
        include: &["app.t", "app.settle"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.on_source("CREATE TABLE app.other (id INT PRIMARY KEY)").await;
    rig.start();
    rig.on_source(
        "XA START 'both';\nINSERT INTO app.t (v) VALUES ('kept');\nINSERT INTO app.other VALUES (1);\nXA END 'both';\n\
         XA PREPARE 'both'",
    )
    .await;
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    forget(&rig).await;
    configure(&rig, "\"app.t\", \"app.settle\"", "\"app\"");
    rig.sidecar.start().unwrap();
    let error = rig
        .sidecar
        .wait_until_synchronizing(PATIENCE)
        .unwrap_err()
        .to_string();
    for words in ["X'626f7468',X'',1", "may lack some of its rows", "XA ROLLBACK"] {
        assert!(error.contains(words), "no word of {words:?} in: {error}");
    }
    // What counts is the end that the log has.
    rig.on_source("XA COMMIT 'both'").await;
    captured(&mut rig).await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// Rows of a prepared transaction are read again at its end. Nothing behind them can be trimmed, so the log fills although everything
/// is applied; once it is full, that end can't come any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_prepared_transaction_holds_says_so() {
    let mut rig = Rig::new(&Plan {
        log: "quota = \"64 MiB\"",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.on_source("CREATE TABLE app.wide (id INT AUTO_INCREMENT PRIMARY KEY, a BLOB)")
        .await;
    rig.start();
    rig.on_source(&prepare("held", "'held'")).await;
    rig.settle().await;
    let fill = "INSERT INTO app.wide (a) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) \
                SELECT RANDOM_BYTES(1024) FROM s";
    for _ in 0..39 {
        rig.on_source(fill).await;
    }
    rig.settle().await;
    let early = held(&mut rig, |status| &status["log"]["held"]).await;
    for words in ["task test", "XA COMMIT or XA ROLLBACK", "[log] quota"] {
        assert!(early.contains(words), "no {words:?} in: {early}");
    }
    for _ in 0..20 {
        rig.on_source(fill).await;
    }
    let late = held(&mut rig, |status| &status["source"]["why"]).await;
    for words in ["XA", "task test", "does not help", "raise [log] quota"] {
        assert!(late.contains(words), "no {words:?} in: {late}");
    }
    let deadline = Instant::now() + PATIENCE;
    while !rig.sidecar.log_end().contains("does not help") {
        assert!(Instant::now() < deadline, "{}", rig.sidecar.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // As it says.
    rig.on_source("XA COMMIT 'held'").await;
    rig.sidecar.stop(PATIENCE).unwrap();
    configure(&rig, "64 MiB", "256 MiB");
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert!(rig.sidecar.status().unwrap()["log"]["held"].is_null());
}

/// Waits for a sentence of the status that names XA.
async fn held(rig: &mut Rig, place: impl Fn(&serde_json::Value) -> &serde_json::Value) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = rig.sidecar.status().unwrap_or_default();
        match place(&status).as_str() {
            Some(text) if text.contains("XA") => return text.to_owned(),
            _ => assert!(Instant::now() < until, "nothing of XA: {status:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
