//! A metadata database that another version of the sidecar wrote: an older one is brought up, a newer one left alone.

use mysql_async::prelude::Queryable;

use crate::apply::why;
use crate::support::{PATIENCE, Rig, run};

const TABLES: &str = "
CREATE TABLE app.keyed (id INT PRIMARY KEY, v INT);
CREATE TABLE app.keyless (v INT);
INSERT INTO app.keyed VALUES (1, 1), (2, 2);
INSERT INTO app.keyless VALUES (1), (1), (2);
";

/// From the first layout with a number to the one before.
const OLD: &str = "
ALTER TABLE outrigger.copy_progress DROP COLUMN whole;
DROP TABLE outrigger.layout;
";

const CHANGES: &str = "
UPDATE app.keyed SET v = v + 1;
DELETE FROM app.keyless WHERE v = 1 LIMIT 1;
CREATE TABLE app.later (id INT PRIMARY KEY);
INSERT INTO app.later VALUES (1);
";

async fn columns(rig: &Rig) -> Vec<(String, String, String, Option<String>)> {
    let sql = "SELECT CONVERT(table_name USING utf8mb4), CONVERT(column_name USING utf8mb4), CONVERT(column_type USING utf8mb4), \
               CONVERT(column_default USING utf8mb4) \
               FROM information_schema.columns WHERE table_schema = 'outrigger' ORDER BY table_name, ordinal_position";
    rig.target_conn().await.query(sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_one_is_brought_up() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    let ours = columns(&rig).await;
    run(&mut rig.target_conn().await, OLD).await;
    assert_ne!(columns(&rig).await, ours);
    rig.on_source(CHANGES).await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    assert_eq!(columns(&rig).await, ours);
    // A step that was made and not noted is not made twice.
    rig.sidecar.stop(PATIENCE).unwrap();
    run(&mut rig.target_conn().await, "DROP TABLE outrigger.layout").await;
    rig.start();
    rig.settle().await;
    assert_eq!(columns(&rig).await, ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_older_one_goes_on() {
    let mut rig = Rig::with(TABLES).await;
    rig.sidecar.start_with("chunk-commit=return").unwrap();
    rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    run(&mut rig.target_conn().await, OLD).await;
    rig.start();
    rig.on_source(CHANGES).await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_one_is_refused() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    let newer = "UPDATE outrigger.layout SET version = 99";
    run(&mut rig.target_conn().await, newer).await;
    rig.on_source("INSERT INTO app.keyed VALUES (9, 9)").await;
    rig.sidecar.start().unwrap();
    let why = why(&mut rig);
    for word in ["newer version of Outrigger", "`outrigger`", "layout 99"] {
        assert!(why.contains(word), "no {word:?} in {why}");
    }
    let mut target = rig.target_conn().await;
    let layout: Option<u32> = target
        .query_first("SELECT version FROM outrigger.layout")
        .await
        .unwrap();
    let row: Option<u32> = target
        .query_first("SELECT id FROM app.keyed WHERE id = 9")
        .await
        .unwrap();
    assert_eq!((layout, row), (Some(99), None));
}
