//! The copy of rows: large tables in parts, tables that change meanwhile, servers whose global variables are unusual.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::support::{PATIENCE, Plan, Rig, definitions, run};

/// Fills a table with so many rows that begin with a number from 1 on.
fn fill(table: &str, rows: u32, columns: &str) -> String {
    format!(
        "INSERT INTO {table} WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT {columns} FROM s;
         ANALYZE TABLE {table};"
    )
}

async fn assert_alike(rig: &Rig) {
    rig.assert_equal(&["app"]).await;
    let ours = definitions(&mut rig.source_conn().await, "app").await.unwrap();
    let theirs = definitions(&mut rig.target_conn().await, "app").await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_are_copied_in_parts_whatever_their_keys_order() {
    let mut rig = Rig::new(&Plan {
        task: "copy = { connections = 4, chunk_rows = 500, chunk_bytes = \"64 KiB\" }",
        ..Plan::default()
    })
    .await;
    let keys = [
        ("up", "id", "n, n, REPEAT(SHA2(n, 256), 3)"),
        ("down", "id DESC", "n, n, REPEAT(SHA2(n, 256), 3)"),
        ("mixed", "id DESC, n", "n DIV 2, n, REPEAT(SHA2(n, 256), 3)"),
    ];
    let mut sql = "SET SESSION cte_max_recursion_depth = 1000000;\n".to_owned();
    for (name, key, columns) in keys {
        let rows = fill(&format!("app.{name}"), 12_000, columns);
        sql.push_str(&format!(
            "CREATE TABLE app.{name} (id INT, n INT, v VARCHAR(200), PRIMARY KEY ({key}));\n{rows}\n"
        ));
    }
    rig.on_source(&sql).await;
    rig.start();
    for (name, ..) in keys {
        let parts: Option<u64> = { rig.target_conn().await }
            .query_first(format!(
                "SELECT COUNT(*) FROM outrigger.copy_part WHERE table_name = '{name}'"
            ))
            .await
            .unwrap();
        assert!(parts > Some(1), "{name}: {parts:?}");
    }
    rig.settle().await;
    assert_alike(&rig).await;
}

/// Tables that are there, empty, when the copy of another begins, and what becomes of them before their own turn: rows that they have then
/// are refused by the definition that the target has, each for another reason.
const CHANGED: [(&str, &str, &str); 6] = [
    (
        "partitioned",
        "(id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))",
        "ALTER TABLE app.partitioned ADD PARTITION (PARTITION p1 VALUES LESS THAN (20)); INSERT INTO app.partitioned VALUES (11)",
    ),
    (
        "checked",
        "(id INT PRIMARY KEY, CONSTRAINT positive CHECK (id > 0))",
        "ALTER TABLE app.checked DROP CHECK positive; INSERT INTO app.checked VALUES (-1)",
    ),
    (
        "shape",
        "(id INT PRIMARY KEY, g POINT)",
        "ALTER TABLE app.shape MODIFY g GEOMETRY; INSERT INTO app.shape VALUES (1, ST_GeomFromText('LINESTRING(0 0, 1 1)'))",
    ),
    (
        "document",
        "(id INT PRIMARY KEY, j JSON)",
        "ALTER TABLE app.document MODIFY j TEXT; INSERT INTO app.document VALUES (1, 'no JSON')",
    ),
    (
        "number",
        "(id INT PRIMARY KEY, n INT)",
        "ALTER TABLE app.number MODIFY n VARCHAR(20); INSERT INTO app.number VALUES (1, 'no number')",
    ),
    (
        "bound",
        "(id INT PRIMARY KEY, n INT UNIQUE)",
        "ALTER TABLE app.bound DROP KEY n; INSERT INTO app.bound VALUES (1, 1), (2, 1)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn tables_may_change_before_their_turn() {
    let mut rig = Rig::new(&Plan {
        task: "copy = { connections = 1, chunk_rows = 100 }\nlimits = { rows_per_second = 500 }",
        ..Plan::default()
    })
    .await;
    let mut sql = "SET SESSION cte_max_recursion_depth = 1000000;
                   CREATE TABLE app.first (id INT PRIMARY KEY, v VARCHAR(40));\n"
        .to_owned();
    sql.push_str(&fill("app.first", 2000, "n, LEFT(SHA2(n, 256), 32)"));
    for (name, definition, _) in CHANGED {
        sql.push_str(&format!("\nCREATE TABLE app.{name} {definition};"));
    }
    rig.on_source(&sql).await;
    rig.sidecar.start().unwrap();
    let mut target = rig.target_conn().await;
    let until = Instant::now() + PATIENCE;
    loop {
        let begun: mysql_async::Result<Option<u64>> =
            target.query_first("SELECT COUNT(*) FROM app.first").await;
        if begun.is_ok_and(|rows| rows > Some(0)) {
            break;
        }
        assert!(Instant::now() < until, "{}", rig.sidecar.log_end());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (_, _, change) in CHANGED {
        rig.on_source(change).await;
    }
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    rig.settle().await;
    assert_alike(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sessions_inherit_does_not_matter() {
    const UNUSUAL: &str = "SET GLOBAL sql_select_limit = 5, GLOBAL completion_type = 'CHAIN', GLOBAL sql_safe_updates = 1,
                           GLOBAL sql_auto_is_null = 1, GLOBAL sql_big_selects = 0, GLOBAL max_join_size = 10";
    const USUAL: &str = "SET GLOBAL sql_select_limit = DEFAULT, GLOBAL completion_type = DEFAULT, GLOBAL sql_safe_updates = DEFAULT,
                         GLOBAL sql_auto_is_null = DEFAULT, GLOBAL max_join_size = DEFAULT, GLOBAL sql_big_selects = DEFAULT";
    let mut rig = Rig::with(
        "CREATE TABLE app.keyed (id INT PRIMARY KEY, v INT);
         CREATE TABLE app.keyless (a INT, b INT);",
    )
    .await;
    let mut sql = fill("app.keyed", 100, "n, n");
    sql.push_str(&fill("app.keyless", 100, "n DIV 3, n DIV 50"));
    for n in 0..10 {
        sql.push_str(&format!(
            "CREATE TABLE app.t{n} (id INT PRIMARY KEY); INSERT INTO app.t{n} VALUES (1);"
        ));
    }
    rig.on_source(&sql).await;
    let (mut source, mut target) = (rig.source_conn().await, rig.target_conn().await);
    run(&mut source, UNUSUAL).await;
    run(&mut target, UNUSUAL).await;
    rig.start();
    run(
        &mut source,
        "INSERT INTO app.keyless SELECT * FROM app.keyless;
         UPDATE app.keyed SET v = v + 1;
         DELETE FROM app.keyless WHERE b = 1 LIMIT 20;
         ALTER TABLE app.keyed ADD w INT;
         INSERT INTO app.keyed VALUES (1000, 1, 1)",
    )
    .await;
    // Once more from the beginning of a process.
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.start();
    run(&mut source, USUAL).await;
    run(&mut target, USUAL).await;
    rig.settle().await;
    assert_alike(&rig).await;
}
