//! How fast a task may be, and how large what it sends: rates, a target that is slow to commit, `max_allowed_packet`.

use std::time::{Duration, Instant};

use crate::apply::{far, why};
use crate::support::{PATIENCE, Plan, Rig, run};

const TABLE: &str = "
CREATE TABLE app.t (id INT PRIMARY KEY, s VARCHAR(200));
SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO app.t WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000) SELECT n, REPEAT('x', 100) FROM s;
";

/// How long the copy of the table and the replay of as many changes take.
async fn takes(task: &str) -> (Duration, Duration, Rig) {
    let mut rig = Rig::new(&Plan {
        task,
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    let began = Instant::now();
    rig.start();
    let copied = began.elapsed();
    rig.settle().await;
    let mut source = rig.source_conn().await;
    for part in 0..20 {
        run(
            &mut source,
            &format!("UPDATE app.t SET s = 'new' WHERE id % 20 = {part}"),
        )
        .await;
    }
    let began = Instant::now();
    rig.settle().await;
    let replayed = began.elapsed();
    rig.assert_equal(&["app"]).await;
    (copied, replayed, rig)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_per_second_holds_for_copy_and_replay() {
    let (copied, replayed, mut rig) =
        takes("copy = { chunk_rows = 100 }\nlimits = { rows_per_second = 500 }").await;
    // 2,000 rows, less what is sent before anybody waits.
    let least = Duration::from_millis(2500);
    assert!(copied >= least, "copied in {copied:?}");
    assert!(replayed >= least, "replayed in {replayed:?}");
    let status = rig.sidecar.status().unwrap();
    assert_eq!(status["tasks"][0]["limits"]["rows_per_second"], 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_per_second_holds_for_the_copy() {
    let (copied, _, _) =
        takes("copy = { chunk_rows = 100 }\nlimits = { bytes_per_second = \"64 KiB\" }").await;
    // About 110 bytes a row.
    assert!(copied >= Duration::from_millis(2500), "copied in {copied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_slow_to_commit_gets_fewer_lanes() {
    let mut rig = Rig::new(&Plan {
        task: "limits = { max_latency = \"4ms\" }",
        ..Plan::default()
    })
    .await;
    far(&rig).await;
    rig.on_source(TABLE).await;
    rig.start();
    let until = Instant::now() + PATIENCE;
    loop {
        rig.on_source("UPDATE app.t SET s = LEFT(UUID(), 8) WHERE id < 10")
            .await;
        let limits = rig.sidecar.status().unwrap()["tasks"][0]["limits"].clone();
        if limits["lanes_now"] == 1 {
            assert_eq!(limits["lanes"], 4);
            break;
        }
        assert!(Instant::now() < until, "{limits:#}");
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// A target that takes 1 MiB at once, and rows up to that.
const SMALL: &[&str] = &["--max-allowed-packet=1M"];

#[tokio::test(flavor = "multi_thread")]
async fn statements_fit_into_the_targets_packet() {
    for (relayed, policy) in [(false, "stop"), (true, "stop"), (false, "overwrite")] {
        let task = format!("on_divergence = \"{policy}\"");
        let mut rig = Rig::new(&Plan {
            target: SMALL,
            task: &task,
            ..Plan::default()
        })
        .await;
        if relayed {
            far(&rig).await;
        }
        rig.on_source(
            "CREATE TABLE app.keyed (id INT PRIMARY KEY, b MEDIUMBLOB, t MEDIUMTEXT);
             CREATE TABLE app.keyless (id INT, b MEDIUMBLOB);
             INSERT INTO app.keyed VALUES (1, REPEAT('x', 1000000), ''), (2, REPEAT('''', 500000), ''), (3, '', REPEAT('y', 300000));
             INSERT INTO app.keyless VALUES (1, REPEAT('x', 450000)), (2, REPEAT('''', 200000));",
        )
        .await;
        rig.start();
        rig.settle().await;
        if policy == "overwrite" {
            run(
                &mut rig.target_conn().await,
                "DELETE FROM app.keyed; DELETE FROM app.keyless; INSERT INTO app.keyed (id) VALUES (9)",
            )
            .await;
        }
        rig.on_source(
            "START TRANSACTION;
             INSERT INTO app.keyed VALUES (9, REPEAT('z', 1040000), '');
             INSERT INTO app.keyed SELECT 100 + id, b, t FROM app.keyed WHERE id < 9;
             UPDATE app.keyed SET t = 'a little', b = CONCAT(b, 'x') WHERE id < 200;
             UPDATE app.keyless SET b = CONCAT(b, 'x');
             INSERT INTO app.keyless SELECT id, REPEAT('q', 1000) FROM app.keyed;
             DELETE FROM app.keyed WHERE id IN (1, 102);
             COMMIT;
             UPDATE app.keyed SET b = NULL WHERE id = 2;",
        )
        .await;
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_fit_stops_with_what_to_do() {
    let mut rig = Rig::new(&Plan {
        target: SMALL,
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, b MEDIUMBLOB)")
        .await;
    rig.start();
    rig.settle().await;
    // Each of these bytes takes two in a statement.
    rig.on_source("INSERT INTO app.t VALUES (1, REPEAT('''', 600000))")
        .await;
    let why = why(&mut rig);
    assert!(
        why.contains("SET PERSIST max_allowed_packet = 2097152 on the target"),
        "{why}"
    );
}
