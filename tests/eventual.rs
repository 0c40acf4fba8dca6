//! Groups that are committed before older ones (`order = "eventual"`): what overtakes, what a crash in between leaves behind, and
//! who may write.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::apply::{waits, why};
use crate::support::{PATIENCE, Plan, Rig, run};

const TABLES: &str = "
CREATE TABLE app.held (id INT PRIMARY KEY, v INT);
INSERT INTO app.held VALUES (1, 0);
CREATE TABLE app.free (v INT, s VARCHAR(50));
INSERT INTO app.free VALUES (0, 'same'), (0, 'same');
";

/// Waits until a query says so.
pub(crate) async fn until(conn: &mut Conn, query: &str, wanted: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found: Option<u64> = conn.query_first(query).await.unwrap();
        if found == Some(wanted) {
            return;
        }
        assert!(Instant::now() < end, "{query}: {found:?} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A rig whose task waits for a row that is locked on the target, and the session that holds it.
async fn held(task: &str) -> (Rig, Conn) {
    let plan = Plan {
        task,
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.settle().await;
    let mut lock = rig.target_conn().await;
    run(&mut lock, "START TRANSACTION; SELECT * FROM app.held FOR UPDATE").await;
    rig.on_source("UPDATE app.held SET v = 1").await;
    waits(&mut lock, "%INTO `app`.`held`%").await;
    (rig, lock)
}

const EVENTUAL: &str = "group = { order = \"eventual\" }\n";
const NOTES: &str = "SELECT COUNT(*) FROM outrigger.applied_ahead";

#[tokio::test(flavor = "multi_thread")]
async fn what_has_nothing_in_common_overtakes_and_is_not_applied_again() {
    for killed in [true, false] {
        let (mut rig, mut lock) = held(EVENTUAL).await;
        let mut target = rig.target_conn().await;
        for n in 1..=5 {
            // Without a key: applied twice it would be there twice.
            rig.on_source(&format!(
                "INSERT INTO app.free VALUES ({n}, 'once');\nDELETE FROM app.free WHERE v = {n} - 1 LIMIT 1"
            ))
            .await;
            until(
                &mut target,
                &format!("SELECT COUNT(*) FROM app.free WHERE v = {n}"),
                1,
            )
            .await;
        }
        // The same row again: not before the one that waits.
        rig.on_source("UPDATE app.held SET v = 2").await;
        let found: Option<u64> = target.query_first(NOTES).await.unwrap();
        assert!(found > Some(0), "nothing says what is applied");
        if killed {
            rig.sidecar.kill().unwrap();
        }
        run(&mut lock, "ROLLBACK").await;
        if killed {
            rig.start();
        }
        until(&mut target, "SELECT v FROM app.held", 2).await;
        rig.on_source("INSERT INTO app.free VALUES (6, 'after')").await;
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        until(&mut target, NOTES, 0).await;
    }
}

/// While a definition statement runs, the checkpoint moves over what only notes speak of, and must not forget that it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_runs_is_not_forgotten() {
    let (mut rig, mut lock) = held(EVENTUAL).await;
    let mut target = rig.target_conn().await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'ahead')").await;
    until(&mut target, NOTES, 1).await;
    let mut reader = rig.target_conn().await;
    run(&mut reader, "START TRANSACTION; SELECT * FROM app.free").await;
    // Run twice it would change nothing.
    rig.on_source("RENAME TABLE app.free TO app.t, app.held TO app.free, app.t TO app.held")
        .await;
    run(&mut lock, "ROLLBACK").await;
    waits(&mut target, "%RENAME TABLE%").await;
    until(&mut target, NOTES, 0).await;
    let pending: Option<u64> = target
        .query_first("SELECT ddl_pending IS NOT NULL FROM outrigger.checkpoint")
        .await
        .unwrap();
    assert_eq!(pending, Some(1));
    rig.sidecar.kill().unwrap();
    run(&mut reader, "ROLLBACK").await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_sources_order_nothing_overtakes() {
    let (mut rig, mut lock) = held("").await;
    let mut target = rig.target_conn().await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'later')").await;
    // It is executed, and waits for the one before it.
    until(
        &mut target,
        "SELECT COUNT(*) > 0 FROM performance_schema.data_locks WHERE object_name = 'free'",
        1,
    )
    .await;
    let found: Option<u64> = target
        .query_first("SELECT COUNT(*) FROM app.free WHERE v = 1")
        .await
        .unwrap();
    assert_eq!(found, Some(0));
    run(&mut lock, "ROLLBACK").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_task_overtakes_nobody() {
    let (mut rig, _lock) = held(EVENTUAL).await;
    let mut target = rig.target_conn().await;
    run(&mut target, "UPDATE outrigger.checkpoint SET epoch = epoch + 1").await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'no')").await;
    let why = why(&mut rig);
    assert!(why.contains("another process"), "{why}");
    let found: Option<u64> = target
        .query_first("SELECT COUNT(*) FROM app.free WHERE v = 1")
        .await
        .unwrap();
    assert_eq!(found, Some(0));
}

/// A commit that hangs in the server while the task is taken over is in what the next process reads, or never happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_was_on_its_way_counts() {
    let (mut rig, mut lock) = held(EVENTUAL).await;
    let mut second = rig.target_conn().await;
    // Whoever wants to note something waits for the checkpoint's row.
    run(
        &mut second,
        "START TRANSACTION; SELECT 1 FROM outrigger.checkpoint FOR UPDATE",
    )
    .await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'once')").await;
    waits(&mut second, "%INTO `outrigger`.applied_ahead%").await;
    rig.sidecar.kill().unwrap();
    rig.sidecar.start().unwrap();
    waits(&mut second, "%SET epoch = %").await;
    run(&mut second, "ROLLBACK").await;
    run(&mut lock, "ROLLBACK").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// Without a word from the source the checkpoint moves to where the target is: whoever reads it sees one place.
#[tokio::test(flavor = "multi_thread")]
async fn notes_do_not_stay() {
    let (mut rig, mut lock) = held(EVENTUAL).await;
    let mut target = rig.target_conn().await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'once')").await;
    until(&mut target, NOTES, 1).await;
    run(&mut lock, "ROLLBACK").await;
    until(&mut target, "SELECT v FROM app.held", 1).await;
    until(&mut target, NOTES, 0).await;
    let offset = "SELECT log_offset FROM outrigger.checkpoint";
    let last: u64 = serde_json::from_value(rig.sidecar.status().unwrap()["log"]["last"].clone()).unwrap();
    until(&mut target, offset, last).await;
    rig.assert_equal(&["app"]).await;
}

/// What stands behind a statement that is run again after a crash is not committed before the checkpoint has the statement.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_overtakes_a_statement() {
    let plan = Plan {
        task: EVENTUAL,
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.settle().await;
    let mut target = rig.target_conn().await;
    let mut reader = rig.target_conn().await;
    run(&mut reader, "START TRANSACTION; SELECT * FROM app.free").await;
    rig.on_source("TRUNCATE TABLE app.free").await;
    waits(&mut target, "%TRUNCATE%").await;
    // The statement's group can't move the checkpoint.
    let mut lock = rig.target_conn().await;
    run(
        &mut lock,
        "START TRANSACTION; SELECT 1 FROM outrigger.checkpoint FOR SHARE",
    )
    .await;
    rig.on_source("INSERT INTO app.free VALUES (1, 'behind')").await;
    run(&mut reader, "ROLLBACK").await;
    waits(&mut target, "%checkpoint SET%").await;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let found: Option<u64> = target.query_first("SELECT COUNT(*) FROM app.free").await.unwrap();
        assert_eq!(found, Some(0), "committed behind a statement that may run again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.sidecar.kill().unwrap();
    run(&mut lock, "ROLLBACK").await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
