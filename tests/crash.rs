//! The sidecar ended by SIGKILL at each named point, then started again: nothing lost, nothing doubled (C2, A1, A6).

use std::time::Instant;

use mysql_async::prelude::Queryable;

use crate::support::{PATIENCE, Plan, Rig, run};

const TABLES: &str = "
CREATE TABLE app.keyed (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(50));
CREATE TABLE app.keyless (v INT, s VARCHAR(50));
SET SESSION cte_max_recursion_depth = 1000000;
INSERT INTO app.keyed (v, s) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 50000) SELECT n, LEFT(SHA2(n, 256), 32) FROM s;
INSERT INTO app.keyless SELECT v % 10, 'same' FROM app.keyed LIMIT 2000;
";

/// Kills it at the point, as often as it takes for the point to be hit in the copy and in the replay; then lets it finish.
async fn survives(points: &[&str]) {
    // Chunks so small that no round of kills can come to the end of the copy by other chunks finished meanwhile.
    let plan = Plan {
        task: "copy = { chunk_rows = 1000 }",
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(TABLES).await;
    for (round, point) in points.iter().enumerate() {
        rig.sidecar.start_with(point).unwrap();
        let mut source = rig.source_conn().await;
        // Writes go on until the point is reached and the process is gone.
        let (mut writes, until) = (0, Instant::now() + PATIENCE);
        while rig.sidecar.running().unwrap() {
            writes += 1;
            run(
                &mut source,
                &format!(
                    "START TRANSACTION;
                     INSERT INTO app.keyed (v, s) VALUES ({round}, 'w{writes}'), ({writes}, 'second');
                     INSERT INTO app.keyless VALUES ({round}, 'same'), ({round}, 'same');
                     UPDATE app.keyed SET v = v + 1 WHERE id % 5000 = {writes} % 5000;
                     DELETE FROM app.keyless WHERE v = {writes} % 10 LIMIT 1;
                     COMMIT"
                ),
            )
            .await;
            if point.starts_with("ddl") && writes == 20 {
                run(
                    &mut source,
                    &format!("ALTER TABLE app.keyed ADD COLUMN c{round} INT NOT NULL DEFAULT 7"),
                )
                .await;
            }
            assert!(
                Instant::now() < until,
                "{point} was never reached; {}",
                rig.sidecar.log_end()
            );
        }
    }
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_log_append() {
    survives(&[
        "log-append=return",
        "log-append=20*off->return",
        "log-append=1000*off->return",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_log_sync() {
    survives(&["log-sync=return", "log-sync=30*off->return"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_chunk_commit() {
    survives(&[
        "chunk-commit=return",
        "chunk-commit=2*off->return",
        "chunk-commit=2*off->return",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_group_commit() {
    survives(&[
        "group-commit=return",
        "group-commit=5*off->return",
        "group-commit=100*off->return",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_commit_is_known() {
    survives(&[
        "group-committed=return",
        "group-committed=5*off->return",
        "group-committed=100*off->return",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_checkpoint() {
    survives(&["checkpoint=5*off->return", "checkpoint=100*off->return"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_ddl() {
    // The first start copies; a column is added only once replay is on.
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.sidecar.kill().unwrap();
    for (round, point) in ["ddl-before=return", "ddl-after=return"].iter().enumerate() {
        rig.sidecar.start_with(point).unwrap();
        let mut source = rig.source_conn().await;
        run(
            &mut source,
            &format!("ALTER TABLE app.keyed ADD COLUMN c{round} INT NOT NULL DEFAULT 7"),
        )
        .await;
        run(&mut source, "INSERT INTO app.keyed (v) VALUES (1)").await;
        rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    }
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let columns =
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'app' AND table_name = 'keyed'";
    let count: Option<u64> = rig.target_conn().await.query_first(columns).await.unwrap();
    assert_eq!(count, Some(5));
}

/// The definition is the same before and after.
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_ddl_that_passes_columns_names_on() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b INT);\nINSERT INTO app.t (a, b) VALUES (1, 2), (3, 4)",
    )
    .await;
    rig.start();
    rig.sidecar.kill().unwrap();
    for change in [
        "CHANGE b a INT AFTER id, CHANGE a b INT AFTER a",
        "DROP COLUMN a, CHANGE b a INT, ADD COLUMN b INT",
    ] {
        rig.sidecar.start_with("ddl-after=return").unwrap();
        rig.on_source(&format!(
            "INSERT INTO app.t (a, b) VALUES (5, 6);\nALTER TABLE app.t {change};\nINSERT INTO app.t (a, b) VALUES (7, 8)"
        ))
        .await;
        rig.sidecar.wait_for_exit(PATIENCE).unwrap();
        rig.start();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        rig.sidecar.kill().unwrap();
    }
}

/// What a group that was rolled back leaves behind, the table's counter, is no sign that the statement was run.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_ddl_on_a_table_whose_counter_moves() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT, gone INT)").await;
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES (1), (2)").await;
    rig.settle().await;
    rig.sidecar.kill().unwrap();
    rig.sidecar.start_with("ddl-before=return").unwrap();
    rig.on_source("ALTER TABLE app.t DROP COLUMN gone;\nINSERT INTO app.t (v) VALUES (3)")
        .await;
    rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    let mut target = rig.target_conn().await;
    run(
        &mut target,
        "START TRANSACTION;\nINSERT INTO app.t (v) VALUES (7), (8), (9);\nROLLBACK",
    )
    .await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
