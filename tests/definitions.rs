//! Definitions on the target: copied under settings of its own, changed while they are copied, changed by replay.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;

use crate::apply::why;
use crate::support::{PATIENCE, Plan, Rig, definitions, run};

/// Fails unless both sides define the database's tables alike.
async fn assert_alike(rig: &Rig, database: &str) {
    let ours = definitions(&mut rig.source_conn().await, database).await.unwrap();
    let theirs = definitions(&mut rig.target_conn().await, database).await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_what_they_are_on_the_source() {
    let mut rig = Rig::new(&Plan {
        target: &["--explicit-defaults-for-timestamp=OFF"],
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, a TIMESTAMP NOT NULL, b TIMESTAMP NULL, c TIMESTAMP(3) NOT NULL)")
        .await;
    rig.start();
    assert_alike(&rig, "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_source_made_by_itself_are_copied() {
    let mut rig = Rig::new(&Plan {
        source: &[
            "--sql-generate-invisible-primary-key=ON",
            "--show-gipk-in-create-table-and-information-schema=OFF",
        ],
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (v INT);\nINSERT INTO app.t VALUES (1), (2)")
        .await;
    rig.start();
    rig.on_source("INSERT INTO app.t VALUES (3);\nDELETE FROM app.t WHERE v = 1")
        .await;
    rig.settle().await;
    rig.on_source("SET GLOBAL show_gipk_in_create_table_and_information_schema = ON")
        .await;
    rig.assert_equal(&["app"]).await;
    assert_alike(&rig, "app").await;
}

/// Renames a column that a foreign key of another table refers to in the middle of the copy; that table follows, and nothing in the log
/// says so.
async fn renamed_during_the_copy(killed: bool) {
    let mut rig = Rig::new(&Plan {
        task: "copy = { chunk_rows = 100 }\nlimits = { rows_per_second = 500 }",
        ..Plan::default()
    })
    .await;
    rig.on_source(
        "CREATE TABLE app.parent (id INT PRIMARY KEY, v INT);
         CREATE TABLE app.child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id));
         SET SESSION cte_max_recursion_depth = 100000;
         INSERT INTO app.parent WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000) SELECT n, n FROM s;
         INSERT INTO app.child SELECT id, id FROM app.parent LIMIT 10",
    )
    .await;
    rig.sidecar.start().unwrap();
    let mut target = rig.target_conn().await;
    let until = Instant::now() + PATIENCE;
    loop {
        let copied: mysql_async::Result<Option<u64>> = target
            .query_first(
                "SELECT COUNT(*) FROM app.parent, (SELECT COUNT(*) AS n FROM app.child) AS c WHERE c.n = 10",
            )
            .await;
        if copied.is_ok_and(|rows| rows > Some(0)) {
            break;
        }
        assert!(Instant::now() < until, "{}", rig.sidecar.log_end());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.on_source("ALTER TABLE app.parent RENAME COLUMN id TO pid")
        .await;
    if killed {
        rig.sidecar.kill().unwrap();
        rig.sidecar.start().unwrap();
    }
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_alike(&rig, "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parents_column_may_be_renamed_during_the_copy() {
    renamed_during_the_copy(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parents_column_may_be_renamed_before_the_copy_goes_on() {
    renamed_during_the_copy(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_numbered_only_where_their_order_is_known() {
    let mut rig = Rig::with(
        "CREATE TABLE app.ordered (a INT NOT NULL UNIQUE);
         INSERT INTO app.ordered VALUES (3), (1), (2);
         CREATE TABLE app.one (a INT);
         INSERT INTO app.one VALUES (1);
         CREATE TABLE app.k (a INT, KEY (a));
         INSERT INTO app.k VALUES (3), (1), (2)",
    )
    .await;
    rig.start();
    rig.on_source(
        "ALTER TABLE app.ordered ADD id INT NOT NULL AUTO_INCREMENT PRIMARY KEY;
         ALTER TABLE app.one ADD (id INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (id));
         ALTER TABLE app.k AUTO_INCREMENT = 7, ADD b INT",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig.on_source("ALTER TABLE app.k ADD COLUMN id INT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST")
        .await;
    let why = why(&mut rig);
    assert!(
        why.contains("`app`.`k`") && why.contains("numbers its rows"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_not_selected_is_named() {
    let mut rig = Rig::with(
        "CREATE DATABASE app_other;\nCREATE TABLE app_other.template (id INT PRIMARY KEY, v INT);\n\
         CREATE TABLE app.own (id INT PRIMARY KEY, v VARCHAR(9))",
    )
    .await;
    run(
        &mut rig.target_conn().await,
        "CREATE DATABASE app_other;\nCREATE TABLE app_other.template (other INT PRIMARY KEY)",
    )
    .await;
    rig.start();
    rig.on_source("CREATE TABLE app.like_own LIKE app.own").await;
    rig.settle().await;
    assert_alike(&rig, "app").await;
    rig.on_source("CREATE TABLE app.t LIKE app_other.template").await;
    let why = why(&mut rig);
    assert!(
        why.contains("`app_other`.`template`") && why.contains("does not belong to the task"),
        "{why}"
    );
    // Made by hand, it goes on.
    run(
        &mut rig.target_conn().await,
        "CREATE TABLE app.t (id INT PRIMARY KEY, v INT)",
    )
    .await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.start();
    rig.on_source("INSERT INTO app.t VALUES (1, 2)").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_alike(&rig, "app").await;
}

/// The source has taken each of these: what the target would demand beyond it, or has not, is no reason to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_demands_more_takes_what_the_source_took() {
    let mut rig = Rig::new(&Plan {
        source: &["--restrict-fk-on-non-standard-key=OFF"],
        target: &["--default-storage-engine=MyISAM"],
        ..Plan::default()
    })
    .await;
    rig.on_source(
        "CREATE DATABASE app_other;
         CREATE TABLE app_other.parent (id INT PRIMARY KEY);
         INSERT INTO app_other.parent VALUES (1), (2);
         CREATE TABLE app.abroad (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES app_other.parent (id));
         INSERT INTO app.abroad VALUES (1, 1);
         CREATE TABLE app.families (id INT PRIMARY KEY, kind INT, KEY (kind));
         INSERT INTO app.families VALUES (1, 7), (2, 7);
         CREATE TABLE app.copied (id INT PRIMARY KEY, kind INT, FOREIGN KEY (kind) REFERENCES families (kind));
         INSERT INTO app.copied VALUES (1, 7)",
    )
    .await;
    rig.start();
    rig.on_source(
        "ALTER TABLE app.abroad ADD x INT, ALGORITHM = COPY;
         INSERT INTO app.abroad VALUES (2, 2, 2);
         CREATE TABLE app.late (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES app_other.parent (id));
         INSERT INTO app.late VALUES (1, 2);
         CREATE TABLE app.added (id INT PRIMARY KEY, parent INT);
         INSERT INTO app.added VALUES (1, 2);
         ALTER TABLE app.added ADD FOREIGN KEY (parent) REFERENCES app_other.parent (id);
         CREATE TABLE app.replayed (id INT PRIMARY KEY, kind INT, FOREIGN KEY (kind) REFERENCES families (kind));
         INSERT INTO app.replayed VALUES (1, 7)",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_alike(&rig, "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_filled_by_its_session_is_refused() {
    let mut rig =
        Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY);\nCREATE TABLE app.empty (id INT PRIMARY KEY)")
            .await;
    rig.start();
    rig.on_source(
        "ALTER TABLE app.empty ADD c BIGINT DEFAULT (CONNECTION_ID());
         INSERT INTO app.empty (id) VALUES (1);
         INSERT INTO app.t VALUES (1)",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig.on_source("ALTER TABLE app.t ADD c BIGINT DEFAULT (CONNECTION_ID())")
        .await;
    let why = why(&mut rig);
    assert!(
        why.contains("CONNECTION_ID()") && why.contains("copy the table anew"),
        "{why}"
    );
}
