//! A target whose tables were changed behind the task's back (A4): what would take values into wrong columns stops it before
//! anything is applied, what only gives them more room does not.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger_storage::{Offset, View};

use crate::support::{PATIENCE, Plan, Rig, run};

const TABLE: &str = "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b INT, n INT UNSIGNED, s VARCHAR(20), \
     e ENUM('x','y'))";
const ROW: &str = "INSERT INTO app.t (a, b, n, s, e) VALUES (1, 2, 4000000000, 'é', 'y')";

/// What is done to the target's table, how that is undone, and what the task then says.
const HARM: &[(&str, &str, &[&str])] = &[
    (
        "ALTER TABLE app.t MODIFY b INT AFTER id",
        "ALTER TABLE app.t MODIFY b INT AFTER a",
        &[
            "column 2 is `a` on the source, `b` on the target",
            "(the source's columns: `id`, `a`, `b`, `n`, `s`, `e`; the target's: `id`, `b`, `a`, `n`, `s`, `e`)",
        ],
    ),
    (
        "ALTER TABLE app.t RENAME COLUMN a TO c",
        "ALTER TABLE app.t RENAME COLUMN c TO a",
        &["column 2 is `a` on the source, `c` on the target"],
    ),
    (
        "ALTER TABLE app.t MODIFY a INT UNSIGNED",
        "ALTER TABLE app.t MODIFY a INT",
        &["column 2 (`a`) is signed on the source, int unsigned on the target"],
    ),
    (
        "ALTER TABLE app.t MODIFY s VARCHAR(20) CHARACTER SET latin1",
        "ALTER TABLE app.t MODIFY s VARCHAR(20) CHARACTER SET utf8mb4",
        &["column 5 (`s`) is utf8mb4 on the source, latin1 on the target"],
    ),
    (
        "ALTER TABLE app.t MODIFY e ENUM('y','x')",
        "ALTER TABLE app.t MODIFY e ENUM('x','y')",
        &["member 1 of column 6 (`e`) is 'x' on the source, 'y' on the target"],
    ),
];

/// Waits until the task has stopped; what it says.
async fn stopped(rig: &mut Rig) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok(status) = rig.sidecar.status()
            && status["tasks"][0]["state"] == "stopped"
        {
            return status["tasks"][0]["why"].as_str().unwrap_or_default().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the task did not stop:\n{}", rig.sidecar.log_end());
}

async fn rows(rig: &Rig) -> u64 {
    let found = rig
        .target_conn()
        .await
        .query_first("SELECT COUNT(*) FROM app.t")
        .await;
    found.unwrap().unwrap()
}

/// Waits until the log's definition of the table is proven.
async fn proven(rig: &Rig) {
    let mut view = View::open(&rig.path("sidecar/log")).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let version = view.schema("app", "t", Offset(u64::MAX)).unwrap();
        if version.as_ref().is_some_and(|version| version.exact().is_some()) {
            return;
        }
        assert!(Instant::now() < until, "never proven: {version:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        view.refresh().unwrap();
    }
}

async fn changed_behind_its_back(metadata: &str) {
    let option = format!("--binlog-row-metadata={metadata}");
    let mut rig = Rig::new(&Plan {
        source: &[&option],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    rig.on_source(ROW).await;
    rig.start();
    rig.settle().await;
    proven(&rig).await;
    for (harm, mend, words) in HARM {
        rig.sidecar.stop(PATIENCE).unwrap();
        // What the log's versions rest on is behind the change of the target.
        rig.on_source(ROW).await;
        let before = rows(&rig).await;
        run(&mut rig.target_conn().await, harm).await;
        rig.sidecar.start().unwrap();
        let why = stopped(&mut rig).await;
        for word in ["`app`.`t` differs", "binlog.00000", "make them equal, or drop it"]
            .iter()
            .chain(*words)
        {
            assert!(why.contains(word), "{harm}: no word of {word:?} in: {why}");
        }
        assert_eq!(rows(&rig).await, before, "{harm}");
        rig.sidecar.stop(PATIENCE).unwrap();
        run(&mut rig.target_conn().await, mend).await;
        rig.start();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }

    // More room, further members, other keys: the target's own business.
    rig.sidecar.stop(PATIENCE).unwrap();
    run(
        &mut rig.target_conn().await,
        "ALTER TABLE app.t MODIFY a BIGINT NOT NULL DEFAULT 9, MODIFY n BIGINT, MODIFY s TEXT COMMENT 'longer', \
         MODIFY e ENUM('x','y','z'), ADD INDEX (b), MODIFY b INT INVISIBLE",
    )
    .await;
    rig.on_source(ROW).await;
    rig.on_source("UPDATE app.t SET a = -2147483648, n = 4294967295, s = '☃', e = 'x' WHERE id = 1;\nDELETE FROM app.t WHERE id = 2")
        .await;
    rig.start();
    rig.settle().await;
    let sql = "SELECT CONCAT_WS(',', id, a, b, n, s, e) FROM app.t ORDER BY id";
    let ours: Vec<String> = rig.source_conn().await.query(sql).await.unwrap();
    let theirs: Vec<String> = rig.target_conn().await.query(sql).await.unwrap();
    assert_eq!((ours.len(), &ours), (HARM.len() + 1, &theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_changed_on_the_target_is_seen_by_the_table_map() {
    changed_behind_its_back("FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_changed_on_the_target_is_seen_by_the_logs_definition() {
    changed_behind_its_back("MINIMAL").await;
}
