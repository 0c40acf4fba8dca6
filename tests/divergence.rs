//! Rows of the target that are not the source's (A8): found one by one, whatever else is in their transaction, dealt with by the
//! task's policy, counted, shown. Never silent.

use std::time::Instant;

use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::apply::why;
use crate::cases;
use crate::support::{PATIENCE, Plan, Rig, run};

const TABLES: &str = "
CREATE TABLE app.keyed (id INT PRIMARY KEY, v INT, s VARCHAR(50));
CREATE TABLE app.spare (id INT PRIMARY KEY, mail VARCHAR(50), n INT, UNIQUE (mail), UNIQUE (n));
CREATE TABLE app.composite (a INT, b VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, v INT, PRIMARY KEY (a, b));
CREATE TABLE app.texts (t VARCHAR(40) PRIMARY KEY, v INT);
CREATE TABLE app.keyless (v INT, s VARCHAR(50));
CREATE TABLE app.half (n INT NULL, v INT, UNIQUE (n));
SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO app.keyed WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT n, n, LEFT(SHA2(n, 256), 32) FROM s;
INSERT INTO app.spare SELECT id, CONCAT('m', id), id FROM app.keyed WHERE id <= 50;
INSERT INTO app.composite SELECT id, CONCAT('b', id), 0 FROM app.keyed WHERE id <= 50;
INSERT INTO app.texts SELECT CONCAT('key ', id), 0 FROM app.keyed WHERE id <= 50;
INSERT INTO app.keyless SELECT id, 'same' FROM app.keyed WHERE id <= 50;
INSERT INTO app.half SELECT id, id FROM app.keyed WHERE id <= 50;
";

/// Keys for which NULL is something else on some servers, or whose largest value is not their own.
const ODD_KEYS: &str = "
CREATE TABLE app.counted (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE, v INT);
CREATE TABLE app.signed (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE, v INT);
CREATE TABLE app.stamped (at TIMESTAMP(6) NOT NULL PRIMARY KEY, n INT UNIQUE, v INT);
CREATE TABLE app.floating (f FLOAT(10, 2) PRIMARY KEY, n INT UNIQUE, v INT);
INSERT INTO app.counted VALUES (1, 1, 1);
INSERT INTO app.stamped VALUES ('2026-01-02 03:04:05.678901', 1, 1);
INSERT INTO app.floating VALUES (1, 1, 1);
";

/// What somebody does to the target.
const HARM: &str = "
DELETE FROM app.keyed WHERE id IN (500, 501, 502);
INSERT INTO app.keyed VALUES (2000, -1, 'alien');
DELETE FROM app.spare WHERE id = 1;
INSERT INTO app.spare VALUES (900, 'taken', 900), (901, 'm901', 901);
DELETE FROM app.composite WHERE a IN (7, 8);
INSERT INTO app.composite VALUES (60, 'b60', -1);
DELETE FROM app.texts WHERE t IN ('key 3', 'key 4');
INSERT INTO app.texts VALUES ('key 60', -1);
DELETE FROM app.keyless WHERE v IN (3, 4);
INSERT INTO app.half VALUES (60, -1);
";

/// What the source does then: one transaction, in which each of the rows above is one of many.
const CHANGES: &str = "
START TRANSACTION;
UPDATE app.keyed SET v = v + 1 WHERE id <> 501;
DELETE FROM app.keyed WHERE id IN (501, 600);
INSERT INTO app.keyed VALUES (1999, 1, 'x'), (2000, 1, 'ours'), (2001, 1, 'y');
UPDATE app.spare SET n = n + 10000;
INSERT INTO app.spare VALUES (51, 'taken', 901), (52, 'free', 52);
UPDATE app.composite SET v = 1 WHERE a <> 8;
DELETE FROM app.composite WHERE a IN (8, 9);
INSERT INTO app.composite VALUES (60, 'b60', 1), (61, 'b61', 1);
UPDATE app.texts SET v = 1 WHERE t <> 'key 4';
DELETE FROM app.texts WHERE t IN ('key 4', 'key 5');
INSERT INTO app.texts VALUES ('key 60', 1), ('key 61', 1);
UPDATE app.keyless SET s = 'other' WHERE v <> 4;
DELETE FROM app.keyless WHERE v IN (4, 5);
INSERT INTO app.half VALUES (60, 1), (61, 1);
COMMIT;
";

/// Rows that the changes find missing, and too many, by table.
const FOUND: [(&str, u64, u64); 6] = [
    ("`app`.`composite`", 2, 1),
    ("`app`.`half`", 0, 1),
    ("`app`.`keyed`", 3, 1),
    ("`app`.`keyless`", 2, 0),
    ("`app`.`spare`", 1, 2),
    ("`app`.`texts`", 2, 1),
];

async fn rig(policy: &str) -> Rig {
    rig_with(policy, "").await
}

/// With more tables, before a target that takes NULL in a TIMESTAMP for the time.
async fn rig_with(policy: &str, more: &str) -> Rig {
    let task = format!("on_divergence = \"{policy}\"");
    let mut rig = Rig::new(&Plan {
        task: &task,
        target: &["--explicit-defaults-for-timestamp=OFF"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    if !more.is_empty() {
        rig.on_source(more).await;
    }
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig
}

/// What the status says about rows that diverged, and the metrics too.
fn counted(rig: &mut Rig) -> Value {
    rig.sidecar.status().unwrap()["tasks"][0]["divergences"].clone()
}

/// How many of a kind the status counts in a table.
fn of(counted: &Value, table: &str, kind: &str) -> u64 {
    let rows = counted["tables"].as_array().unwrap();
    rows.iter()
        .filter(|row| row["table"] == table && row["kind"] == kind)
        .map(|row| row["rows"].as_u64().unwrap())
        .sum()
}

async fn text(rig: &Rig, sql: &str) -> String {
    let row: Option<String> = rig.target_conn().await.query_first(sql).await.unwrap();
    row.unwrap_or_else(|| "nothing".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrite_makes_the_target_equal_and_counts_each_row() {
    let mut rig = rig("overwrite").await;
    run(&mut rig.target_conn().await, HARM).await;
    rig.on_source(CHANGES).await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let found = counted(&mut rig);
    for (table, missing, extra) in FOUND {
        assert_eq!(of(&found, table, "missing_row"), missing, "{table}: {found:#}");
        assert_eq!(of(&found, table, "extra_row"), extra, "{table}: {found:#}");
    }
    assert_eq!(found["rows"], 16, "{found:#}");
    assert!(
        found["last"]["place"].as_str().unwrap().contains("binlog."),
        "{found:#}"
    );
    let metrics = rig.sidecar.get("/metrics").unwrap();
    let line =
        "outrigger_task_divergences_total{task=\"test\",table=\"`app`.`keyed`\",kind=\"missing_row\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    let log = rig.sidecar.log_end();
    assert!(
        log.contains("WARN") && log.contains("a = 7, b = 'b7'") && !log.contains("alien"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_leaves_those_rows_alone_and_nothing_else() {
    let mut rig = rig("ignore").await;
    run(&mut rig.target_conn().await, HARM).await;
    rig.on_source(CHANGES).await;
    rig.settle().await;
    let found = counted(&mut rig);
    for (table, missing, extra) in FOUND {
        assert_eq!(of(&found, table, "missing_row"), missing, "{table}: {found:#}");
        // One insert that two rows are in the way of is left out once.
        assert_eq!(of(&found, table, "extra_row"), extra.min(1), "{table}: {found:#}");
    }
    for (sql, wanted) in [
        ("SELECT s FROM app.keyed WHERE id = 2000", "alien"),
        ("SELECT s FROM app.keyed WHERE id = 500", "nothing"),
        (
            "SELECT CONVERT(COUNT(*), CHAR) FROM app.keyed WHERE id <= 1000 AND v = id + 1",
            "996",
        ),
        ("SELECT s FROM app.keyed WHERE id = 2001", "y"),
        ("SELECT CONVERT(v, CHAR) FROM app.composite WHERE a = 60", "-1"),
        ("SELECT CONVERT(v, CHAR) FROM app.texts WHERE t = 'key 61'", "1"),
        (
            "SELECT CONVERT(id, CHAR) FROM app.spare WHERE mail = 'taken'",
            "900",
        ),
        (
            "SELECT CONVERT(COUNT(*), CHAR) FROM app.keyless WHERE s = 'other'",
            "47",
        ),
    ] {
        assert_eq!(text(&rig, sql).await, wanted, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_keeps_nothing_of_the_transaction_and_names_the_row() {
    for (harm, change, said) in [
        (
            "DELETE FROM app.keyed WHERE id = 777",
            "UPDATE app.keyed SET v = -5",
            ["`app`.`keyed`", "id = 777"],
        ),
        (
            "INSERT INTO app.composite VALUES (70, 'x y', 0)",
            "INSERT INTO app.composite VALUES (69, 'x', 1), (70, 'x y', 1)",
            ["`app`.`composite`", "a = 70, b = 'x y'"],
        ),
        (
            "UPDATE app.spare SET mail = 'theirs' WHERE id = 9",
            "UPDATE app.spare SET mail = 'theirs' WHERE id = 10",
            ["`app`.`spare`", "id = 10"],
        ),
        (
            "DELETE FROM app.keyless WHERE v = 3",
            "DELETE FROM app.keyless",
            ["`app`.`keyless`", "the whole row"],
        ),
    ] {
        let mut rig = rig("stop").await;
        run(&mut rig.target_conn().await, harm).await;
        rig.on_source(&format!(
            "START TRANSACTION; INSERT INTO app.keyless VALUES (-99, 'no'); {change}; INSERT INTO app.texts VALUES ('no', 0); COMMIT"
        ))
        .await;
        let why = why(&mut rig);
        for word in said
            .into_iter()
            .chain(["binlog.", "on_divergence", "copy the table again"])
        {
            assert!(why.contains(word), "{word}: {why}");
        }
        let kept = "SELECT CONVERT((SELECT COUNT(*) FROM app.keyless WHERE v = -99) + \
                    (SELECT COUNT(*) FROM app.texts WHERE t = 'no') + (SELECT COUNT(*) FROM app.keyed WHERE v = -5), CHAR)";
        assert_eq!(text(&rig, kept).await, "0", "{harm}");
        assert_eq!(counted(&mut rig)["rows"], 1);
    }
}

/// Rows and checkpoint travel together, and the last statement is checked by the one that moves the checkpoint: nothing behind it would
/// be in time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_statement_misses_keeps_the_checkpoint_where_it_is() {
    let offset = "SELECT CONVERT(log_offset, CHAR) FROM outrigger.checkpoint";
    for last in [
        "UPDATE app.keyed SET v = -5 WHERE id = 777",
        "DELETE FROM app.keyed WHERE id = 777",
    ] {
        let mut rig = rig("stop").await;
        let before = text(&rig, offset).await;
        run(
            &mut rig.target_conn().await,
            "DELETE FROM app.keyed WHERE id = 777",
        )
        .await;
        rig.on_source(&format!(
            "START TRANSACTION; INSERT INTO app.keyless VALUES (-99, 'no'); {last}; COMMIT"
        ))
        .await;
        let why = why(&mut rig);
        assert!(why.contains("id = 777"), "{last}: {why}");
        assert_eq!(text(&rig, offset).await, before, "{last}");
        let kept = "SELECT CONVERT(COUNT(*), CHAR) FROM app.keyless WHERE v = -99";
        assert_eq!(text(&rig, kept).await, "0", "{last}");
    }
}

/// Statements behind one that misses its row take its check along, or have it before them: none of them is kept, whatever comes next.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_statement_misses_keeps_those_behind_it_out() {
    let (update, delete) = ("UPDATE app.keyed SET v = -5", "DELETE FROM app.keyed");
    for (missed, next) in [
        (update, "UPDATE app.texts SET v = -5 WHERE t = 'key 1'"),
        (update, "DELETE FROM app.texts WHERE t = 'key 1'"),
        (delete, "INSERT INTO app.texts VALUES ('new', -5)"),
        // What NULL does not fail for: 0 follows for the one, the time for the other, on a target that takes it so.
        (update, "UPDATE app.counted SET v = -5 WHERE id = 1"),
        (update, "UPDATE app.stamped SET v = -5 WHERE n = 1"),
    ] {
        let mut rig = rig_with("stop", ODD_KEYS).await;
        let checkpoint = "SELECT CONVERT(log_offset, CHAR) FROM outrigger.checkpoint";
        let texts = "SELECT CONCAT((SELECT GROUP_CONCAT(t, '=', v ORDER BY t) FROM app.texts), (SELECT CONCAT(id, v) FROM app.counted), \
                     (SELECT CONCAT(at, v) FROM app.stamped))";
        let before = (text(&rig, checkpoint).await, text(&rig, texts).await);
        run(
            &mut rig.target_conn().await,
            "DELETE FROM app.keyed WHERE id = 777",
        )
        .await;
        rig.on_source(&format!(
            "START TRANSACTION; {missed} WHERE id = 777; {next}; COMMIT"
        ))
        .await;
        let why = why(&mut rig);
        assert!(why.contains("id = 777"), "{next}: {why}");
        let after = (text(&rig, checkpoint).await, text(&rig, texts).await);
        assert_eq!(after, before, "{next}");
    }
}

/// An update that finds another row by a further unique key leaves that one alone, whatever its key is made of.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_does_not_take_another_row_for_its_own() {
    for (table, key, others) in [
        ("counted", "id", "900"),
        ("stamped", "at", "'2030-01-01 00:00:00'"),
        ("floating", "f", "900"),
    ] {
        let mut rig = rig_with("stop", ODD_KEYS).await;
        let rows = format!("SELECT GROUP_CONCAT({key}, '=', n, '=', v) FROM app.{table}");
        run(
            &mut rig.target_conn().await,
            &format!("UPDATE app.{table} SET {key} = {others} WHERE n = 1"),
        )
        .await;
        let before = text(&rig, &rows).await;
        rig.on_source(&format!("UPDATE app.{table} SET v = -5 WHERE n = 1"))
            .await;
        let why = why(&mut rig);
        assert!(why.contains(&format!("{key} = ")), "{table}: {why}");
        assert_eq!(text(&rig, &rows).await, before, "{table}");
    }
}

/// Such keys do not stand in the way of what is right.
#[tokio::test(flavor = "multi_thread")]
async fn rows_with_odd_keys_are_updated() {
    let mut rig = rig_with("stop", ODD_KEYS).await;
    rig.on_source(
        "INSERT INTO app.counted VALUES (18446744073709551614, 2, 2);\nINSERT INTO app.floating VALUES (99999999.99, 2, 2);\n\
         INSERT INTO app.signed VALUES (-9223372036854775808, 2, 2), (9223372036854775806, 3, 3)",
    )
    .await;
    rig.settle().await;
    for _ in 0..2 {
        rig.on_source(
            "START TRANSACTION;\nUPDATE app.counted SET v = v + 1;\nUPDATE app.stamped SET v = v + 1;\n\
             UPDATE app.floating SET v = v + 1;\nUPDATE app.signed SET v = v + 1;\nCOMMIT",
        )
        .await;
        rig.settle().await;
    }
    rig.assert_equal(&["app"]).await;
    assert_eq!(counted(&mut rig)["rows"], 0);
}

/// Rows with the right key and other values are seen on the way to a missing one.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_other_values_is_counted_and_changed() {
    const OTHER: &str = "
        DELETE FROM app.keyed WHERE id = 500;
        UPDATE app.keyed SET s = 'theirs' WHERE id IN (10, 700);
        UPDATE app.keyed SET v = -7 WHERE id = 11;
        UPDATE app.texts SET t = 'KEY 3' WHERE t = 'key 3';
    ";
    for policy in ["overwrite", "ignore"] {
        let mut rig = rig(policy).await;
        run(&mut rig.target_conn().await, OTHER).await;
        rig.on_source(
            "START TRANSACTION;\nUPDATE app.keyed SET v = v + 1 WHERE id <> 700;\nDELETE FROM app.keyed WHERE id = 700;\n\
             UPDATE app.texts SET v = 5;\nCOMMIT",
        )
        .await;
        rig.settle().await;
        let found = counted(&mut rig);
        assert_eq!(of(&found, "`app`.`keyed`", "missing_row"), 1, "{found:#}");
        assert_eq!(of(&found, "`app`.`keyed`", "different_row"), 3, "{found:#}");
        assert_eq!(of(&found, "`app`.`texts`", "different_row"), 1, "{found:#}");
        assert_eq!(found["rows"], 5, "{found:#}");
        assert_eq!(
            text(&rig, "SELECT s FROM app.keyed WHERE id = 700").await,
            "nothing"
        );
        assert_eq!(
            text(&rig, "SELECT CONVERT(v, CHAR) FROM app.keyed WHERE id = 11").await,
            "12"
        );
        if policy == "overwrite" {
            rig.assert_equal(&["app"]).await;
        } else {
            assert_eq!(
                text(&rig, "SELECT CONCAT(v, s) FROM app.keyed WHERE id = 10").await,
                "11theirs"
            );
        }
        let log = rig.sidecar.log_end();
        assert!(log.contains("different_row") && log.contains("id = 11"), "{log}");
    }
}

/// A row is not taken for another one because of the way its values are written.
#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_of_every_type_are_not_different() {
    let mut rig = Rig::new(&Plan {
        include: &["app", "case_*"],
        task: "on_divergence = \"overwrite\"",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    let cases = [
        "limits",
        "json_parts",
        "text",
        "charsets",
        "times",
        "numbers",
        "binary",
    ];
    let mut databases = Vec::new();
    for case in cases {
        let database = format!("case_{case}");
        rig.on_source(&format!(
            "CREATE DATABASE {database} DEFAULT CHARACTER SET utf8mb4"
        ))
        .await;
        cases::run_before(&rig, case, &database);
        databases.push(database);
    }
    rig.start();
    rig.settle().await;
    run(&mut rig.target_conn().await, "DELETE FROM app.keyed WHERE id = 1").await;
    let mut source = rig.source_conn().await;
    let tables: Vec<(String, String)> = source
        .query(
            "SELECT CONVERT(table_schema USING utf8mb4), CONVERT(table_name USING utf8mb4) FROM information_schema.tables t \
             WHERE table_schema LIKE 'case%' AND table_type = 'BASE TABLE' AND EXISTS (SELECT * FROM information_schema.statistics s \
             WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name AND index_name = 'PRIMARY')",
        )
        .await
        .unwrap();
    assert!(tables.len() > 30, "{tables:?}");
    run(&mut source, "BEGIN;\nUPDATE app.keyed SET v = 0").await;
    for (database, table) in &tables {
        source
            .query_drop(format!("DELETE FROM `{database}`.`{table}`"))
            .await
            .unwrap();
    }
    run(&mut source, "COMMIT").await;
    rig.settle().await;
    let found = counted(&mut rig);
    assert_eq!(of(&found, "`app`.`keyed`", "missing_row"), 1, "{found:#}");
    assert_eq!(found["rows"], 1, "{found:#}");
    let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
    rig.assert_equal(&databases).await;
}

/// A table in which every row is wrong: replay goes on row by row, not with a start per group.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_all_wrong_does_not_stall() {
    let mut rig = rig("overwrite").await;
    run(&mut rig.target_conn().await, "DELETE FROM app.keyed").await;
    let mut source = rig.source_conn().await;
    for id in 1..=1000 {
        source
            .query_drop(format!("UPDATE app.keyed SET v = -1 WHERE id = {id}"))
            .await
            .unwrap();
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let found = counted(&mut rig);
    assert_eq!(of(&found, "`app`.`keyed`", "missing_row"), 1000);
    let whole = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    let (starts, lines) = (
        whole.matches("going on row by row").count(),
        whole.matches("\"message\":\"divergence").count(),
    );
    assert!((1..=6).contains(&starts), "{starts}");
    assert!((20..=40).contains(&lines), "{lines}: {whole}");
}

/// Killed among rows that are being put right, and started again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_among_diverged_rows() {
    let mut rig = rig("overwrite").await;
    run(&mut rig.target_conn().await, HARM).await;
    assert_eq!(rig.sidecar.stop(PATIENCE).unwrap(), Some(0));
    for point in [
        "divergence=5*off->return",
        "divergence=return",
        "group-commit=2*off->return",
    ] {
        rig.sidecar.start_with(point).unwrap();
        if point.starts_with("divergence=5") {
            rig.on_source(CHANGES).await;
        }
        let until = Instant::now() + PATIENCE;
        while rig.sidecar.running().unwrap() {
            rig.on_source("INSERT INTO app.keyless VALUES (77, 'on')").await;
            assert!(Instant::now() < until, "{point}: {}", rig.sidecar.log_end());
        }
    }
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
