//! Each kind of change, replayed: DML of every shape, DDL in between, tables without keys.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::support::{Plan, Rig, run};

const TABLES: &str = "
CREATE TABLE app.parent (id INT PRIMARY KEY, name VARCHAR(40) UNIQUE, n INT);
CREATE TABLE app.child (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, note TEXT, FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE app.pair (a INT, b VARCHAR(20) CHARACTER SET latin1, v INT, PRIMARY KEY (a, b));
CREATE TABLE app.keyless (a INT NULL, b VARCHAR(20) NULL, c DOUBLE NULL, j JSON NULL);
INSERT INTO app.parent VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
INSERT INTO app.child (parent, note) VALUES (1, 'a'), (1, 'b'), (2, 'c'), (NULL, 'd');
INSERT INTO app.pair VALUES (1, 'x', 1), (1, 'ä', 2), (2, 'x', 3);
INSERT INTO app.keyless VALUES (1, 'x', 0.1, '{\"a\": 1.0}'), (1, 'x', 0.1, '{\"a\": 1.0}'), (NULL, NULL, NULL, NULL);
";

#[tokio::test(flavor = "multi_thread")]
async fn dml_of_every_kind() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "INSERT INTO app.parent VALUES (4, 'four', 4), (5, 'five', 5);
         INSERT INTO app.child (parent, note) SELECT id, name FROM app.parent;
         UPDATE app.parent SET n = n + 10;
         UPDATE app.parent SET id = 40, name = 'forty' WHERE id = 4;
         DELETE FROM app.parent WHERE id = 1;
         REPLACE INTO app.parent VALUES (2, 'three', 7);
         INSERT INTO app.parent VALUES (5, 'cinq', 1) ON DUPLICATE KEY UPDATE n = n * 2, name = VALUES(name);
         INSERT IGNORE INTO app.parent VALUES (5, 'ignored', 1);
         UPDATE app.pair SET b = 'ö', v = v + 1 WHERE a = 1 AND b = 'ä';
         DELETE FROM app.pair WHERE a = 2;
         UPDATE app.parent p JOIN app.child c ON c.parent = p.id SET p.n = 99, c.note = 'both';
         DELETE FROM app.child WHERE note = 'd';
         UPDATE app.parent SET name = CASE id WHEN 5 THEN 'zwei' ELSE name END",
    )
    .await;
    // Two rows change places under a unique key, inside one transaction.
    run(
        &mut source,
        "START TRANSACTION;
         UPDATE app.parent SET name = 'tmp' WHERE id = 5;
         UPDATE app.parent SET name = 'zwei' WHERE id = 40;
         UPDATE app.parent SET name = 'forty' WHERE id = 5;
         INSERT INTO app.pair VALUES (9, '', 0);
         SAVEPOINT s;
         DELETE FROM app.pair;
         ROLLBACK TO SAVEPOINT s;
         COMMIT;
         START TRANSACTION;
         DELETE FROM app.pair;
         ROLLBACK",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_keys_keep_their_duplicates() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "INSERT INTO app.keyless VALUES (1, 'x', 0.1, '{\"a\": 1.0}'), (2, 'y', -0.0, '[]'), (2, 'y', -0.0, '[]');
         DELETE FROM app.keyless WHERE a = 1 LIMIT 1;
         UPDATE app.keyless SET c = c + 1 WHERE a = 2 LIMIT 1;
         UPDATE app.keyless SET b = 'was null' WHERE a IS NULL;
         INSERT INTO app.keyless SELECT * FROM app.keyless;
         DELETE FROM app.keyless WHERE a = 1 LIMIT 1",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_is_a_barrier_in_order() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "INSERT INTO app.pair VALUES (10, 'before', 1);
         ALTER TABLE app.pair ADD COLUMN extra VARCHAR(10) CHARACTER SET latin1 DEFAULT 'é' AFTER a, DROP COLUMN v;
         INSERT INTO app.pair VALUES (11, 'x', 'after');
         USE app;
         CREATE TABLE fresh (id INT PRIMARY KEY, t TIMESTAMP(3) NULL, g INT AS (id * 2) STORED);
         INSERT INTO fresh (id, t) VALUES (1, '2020-02-02 02:02:02.222'), (2, NULL);
         CREATE INDEX by_t ON fresh (t);
         RENAME TABLE fresh TO renamed;
         INSERT INTO renamed (id) VALUES (3);
         CREATE TABLE selected SELECT id, t FROM renamed;
         CREATE TABLE gone LIKE renamed;
         INSERT INTO gone (id) VALUES (1);
         DROP TABLE gone;
         TRUNCATE TABLE child;
         INSERT INTO child (note) VALUES ('after truncate');
         CREATE VIEW v AS SELECT id FROM renamed;
         ALTER VIEW v AS SELECT id, t FROM renamed;
         CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
         INSERT INTO parts VALUES (1), (11);
         ALTER TABLE parts DROP PARTITION p1;
         ALTER DATABASE app CHARACTER SET latin1;
         CREATE TABLE inherits (name VARCHAR(10));
         INSERT INTO inherits VALUES ('ü')",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let mut target = rig.target_conn().await;
    for table in [
        "app.pair",
        "app.renamed",
        "app.selected",
        "app.parts",
        "app.inherits",
        "app.child",
    ] {
        let sql = format!("SHOW CREATE TABLE {table}");
        let ours: Option<(String, String)> = source.query_first(&sql).await.unwrap();
        let theirs: Option<(String, String)> = target.query_first(&sql).await.unwrap();
        // AUTO_INCREMENT is a counter, not part of the definition.
        let plain = |text: Option<(String, String)>| {
            let text = text.unwrap().1;
            text.split(" AUTO_INCREMENT=")
                .map(|part| part.trim_start_matches(char::is_numeric))
                .collect::<String>()
        };
        assert_eq!(plain(ours), plain(theirs), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_while_rows_are_copied() {
    let mut rig = Rig::with(TABLES).await;
    rig.on_source(
        "CREATE TABLE app.big (id INT PRIMARY KEY AUTO_INCREMENT, a CHAR(100), b INT);
         SET SESSION cte_max_recursion_depth = 1000000;
         INSERT INTO app.big (a, b) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 200000) SELECT LEFT(SHA2(n, 256), 32), n FROM s;
         CREATE TABLE app.leaves LIKE app.big;
         INSERT INTO app.leaves SELECT * FROM app.big LIMIT 1000",
    )
    .await;
    rig.sidecar.start().unwrap();
    // Wherever the copy is now: columns change, a table goes, one comes, one is renamed.
    for step in 0..8 {
        let mut source = rig.source_conn().await;
        run(
            &mut source,
            &format!(
                "UPDATE app.big SET b = b + 1 WHERE id % 1000 = {step};
                 ALTER TABLE app.big ADD COLUMN c{step} INT NOT NULL DEFAULT {step} AFTER id;
                 INSERT INTO app.big (a, b) VALUES ('step', {step});
                 CREATE TABLE app.new{step} SELECT id, b FROM app.big LIMIT 10;
                 INSERT INTO app.parent VALUES (100 + {step}, 'p{step}', 0)"
            ),
        )
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    rig.on_source("RENAME TABLE app.leaves TO app.left_behind;\nDROP TABLE app.new3")
        .await;
    rig.sidecar
        .wait_until_synchronizing(crate::support::PATIENCE)
        .unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_gtids() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let mut rig = Rig::new(&Plan {
        source: &options,
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.on_source("UPDATE app.parent SET n = 0;\nFLUSH BINARY LOGS;\nDELETE FROM app.child WHERE parent = 2")
        .await;
    rig.settle().await;
    rig.sidecar.kill().unwrap();
    rig.on_source("INSERT INTO app.parent VALUES (77, 'while away', 1);\nFLUSH BINARY LOGS")
        .await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_say_what_is_going_on() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    let status: Value = rig.sidecar.status().unwrap();
    let task = &status["tasks"][0];
    assert_eq!(task["state"], "synchronizing", "{status:#}");
    assert_eq!(task["tables"].as_array().unwrap().len(), 4, "{status:#}");
    let wanted = [
        "outrigger_task_state{task=\"test\",state=\"synchronizing\"} 1",
        "outrigger_task_delay_seconds{task=\"test\"}",
        "outrigger_log_bytes",
    ];
    // Gauges are set once a second.
    let until = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let metrics = rig.sidecar.get("/metrics").unwrap();
        let missing: Vec<_> = wanted.iter().filter(|line| !metrics.contains(**line)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            std::time::Instant::now() < until,
            "{missing:?} are not in:\n{metrics}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(rig.sidecar.get("/healthz").is_ok());
    let code = rig.sidecar.stop(crate::support::PATIENCE).unwrap();
    assert_eq!(code, Some(0), "{}", rig.sidecar.log_end());
}

/// A statement that runs for long on the target is behind all that while, also where it was read before the log had synced it.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_before_it_is_durable_is_a_delay() {
    let mut rig = Rig::new(&Plan {
        log: "sync_interval = \"1s\"",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, v INT);\nINSERT INTO app.t VALUES (1, 1)")
        .await;
    rig.start();
    let (mut row, mut table) = (rig.target_conn().await, rig.target_conn().await);
    run(
        &mut row,
        "START TRANSACTION;\nSELECT * FROM app.t WHERE id = 1 FOR UPDATE",
    )
    .await;
    run(&mut table, "START TRANSACTION;\nSELECT * FROM app.t").await;
    rig.on_source("UPDATE app.t SET v = 2;\nALTER TABLE app.t ADD c INT")
        .await;
    run(&mut row, "ROLLBACK").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = rig.sidecar.status().unwrap();
    let delay = status["tasks"][0]["delay_seconds"].as_f64().unwrap();
    assert!(delay > 1.0, "{status:#}");
    run(&mut table, "ROLLBACK").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
