//! Foreign keys that change rows of other tables, on sources that log what they do (MySQL 9.6 and later) and on those that do
//! not (older ones; here one that is told to leave them to InnoDB): both sides end equal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{PATIENCE, Plan, Rig, connect};

const UNLOGGED: &[&str] = &["--innodb-native-foreign-keys=ON"];
const LOGGED: &[&str] = &["--innodb-native-foreign-keys=OFF"];

/// A chain of three whose keys follow each other, SET NULL both ways, a child without a key, a parent without a key, trees of both
/// actions, a cycle, and a table that only forbids.
const TABLES: &str = "
CREATE TABLE app.a (id INT PRIMARY KEY, v INT);
CREATE TABLE app.b (id INT AUTO_INCREMENT PRIMARY KEY, a INT, v INT, touched TIMESTAMP(6) NULL ON UPDATE CURRENT_TIMESTAMP(6), FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE app.c (id INT AUTO_INCREMENT PRIMARY KEY, b INT, s VARCHAR(20), FOREIGN KEY (b) REFERENCES b (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE app.d (c INT, b INT, UNIQUE (c), FOREIGN KEY (c) REFERENCES c (id) ON DELETE SET NULL ON UPDATE SET NULL, FOREIGN KEY (b) REFERENCES b (id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE app.loose (a INT, s VARCHAR(10), FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE app.codes (code VARCHAR(10) NULL UNIQUE, v INT);
CREATE TABLE app.coded (id INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(10) NULL, FOREIGN KEY (code) REFERENCES codes (code) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE app.tree (id INT PRIMARY KEY, up INT, v INT, FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE);
CREATE TABLE app.staff (id INT PRIMARY KEY, boss INT, v INT, FOREIGN KEY (boss) REFERENCES staff (id) ON DELETE SET NULL);
CREATE TABLE app.x (id INT PRIMARY KEY, y INT);
CREATE TABLE app.y (id INT PRIMARY KEY, x INT, FOREIGN KEY (x) REFERENCES x (id) ON DELETE CASCADE);
ALTER TABLE app.x ADD FOREIGN KEY (y) REFERENCES y (id) ON DELETE CASCADE;
CREATE TABLE app.guard (id INT AUTO_INCREMENT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id));
CREATE TABLE app.alone (id INT PRIMARY KEY, v INT);
SET SESSION cte_max_recursion_depth = 1000000;
INSERT INTO app.a WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300) SELECT n, n FROM s;
INSERT INTO app.b (a, v) SELECT x.id, y.id FROM app.a x, app.a y WHERE y.id <= 5;
INSERT INTO app.c (b, s) SELECT b.id, 'c' FROM app.b, app.a WHERE a.id <= 3;
INSERT INTO app.d SELECT id, b FROM app.c WHERE id % 3 = 0;
INSERT INTO app.loose SELECT a, 'same' FROM app.b WHERE v <= 3;
INSERT INTO app.codes SELECT CONCAT('k', id), id FROM app.a;
INSERT INTO app.coded (code) SELECT CONCAT('k', a) FROM app.b;
INSERT INTO app.tree SELECT id, NULLIF(id DIV 17, 0), id FROM app.a;
INSERT INTO app.staff SELECT id, NULLIF(id DIV 3, 0), id FROM app.a;
INSERT INTO app.x SELECT id, NULL FROM app.a;
INSERT INTO app.y SELECT id, id FROM app.a;
UPDATE app.x SET y = id + 1 WHERE id % 4 <> 0 AND id < 300;
INSERT INTO app.guard (a) SELECT id FROM app.a WHERE id % 10 = 0;
INSERT INTO app.alone SELECT id, id FROM app.b";

/// Each action once, in transactions with other changes of the same rows before and after it.
const ACTIONS: &str = "
UPDATE app.a SET id = id + 1000 WHERE id IN (1, 2, 3);

DELETE FROM app.a WHERE id IN (4, 5, 1001);

START TRANSACTION;
INSERT INTO app.a VALUES (2000, 1);
INSERT INTO app.b (id, a) VALUES (90000, 2000), (90001, 2000);
INSERT INTO app.c (id, b) VALUES (90000, 90000);
INSERT INTO app.d VALUES (90000, 90001);
INSERT INTO app.alone SELECT 100000 + id, id FROM app.c;
UPDATE app.a SET id = 2001, v = 2 WHERE id = 2000;
INSERT INTO app.alone SELECT 200000 + id, id FROM app.c;
UPDATE app.b SET v = 7 WHERE a = 2001;
UPDATE app.b SET id = 90002 WHERE id = 90001;
DELETE FROM app.b WHERE id = 90000;
INSERT INTO app.b (id, a) VALUES (90000, 2001);
INSERT INTO app.c (id, b) VALUES (90000, 90000);
COMMIT;

UPDATE app.c SET id = id + 100000 WHERE id BETWEEN 300 AND 340;

DELETE FROM app.c WHERE id BETWEEN 341 AND 360;

REPLACE INTO app.b (id, a, v) VALUES (200, 40, 1);

UPDATE app.codes SET code = UPPER(code) WHERE v < 20;

UPDATE app.codes SET code = NULL WHERE v BETWEEN 30 AND 40;

DELETE FROM app.codes WHERE v BETWEEN 50 AND 60;

DELETE FROM app.tree WHERE id IN (9, 10, 170, 40);

DELETE FROM app.staff WHERE id < 20;

DELETE FROM app.x WHERE id IN (5, 21);

DELETE FROM app.y WHERE id BETWEEN 100 AND 110;

SET SESSION foreign_key_checks = 0;
DELETE FROM app.a WHERE id = 60;
UPDATE app.a SET id = 3000 WHERE id = 61;
SET SESSION foreign_key_checks = 1;

XA START 'one';
DELETE FROM app.a WHERE id IN (62, 63);
UPDATE app.a SET id = 3001 WHERE id = 64;
XA END 'one';
XA PREPARE 'one';
XA COMMIT 'one';

DELETE FROM app.b WHERE id > 1000";

async fn rig(source: &[&str], task: &str) -> Rig {
    let rig = Rig::new(&Plan {
        source,
        // Only a target that leaves them to its engine as well can follow.
        target: source,
        task,
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLES).await;
    rig
}

async fn every_action(source: &[&str]) {
    // Batches so small that a transaction takes several.
    let mut rig = rig(source, "group = { max_bytes = \"64KiB\" }").await;
    rig.start();
    for action in ACTIONS.split("\n\n") {
        rig.on_source(action).await;
        rig.settle().await;
        let different = rig.differences(&["app"]).await;
        assert!(different.is_empty(), "{action}: {different:#?}");
    }
    let count: Option<u64> = rig
        .target_conn()
        .await
        .query_first("SELECT COUNT(*) FROM app.b WHERE a = 1002")
        .await
        .unwrap();
    assert_eq!(count, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_that_the_source_does_not_log() {
    every_action(UNLOGGED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_that_the_source_logs() {
    every_action(LOGGED).await;
}

/// What writers may be told: deadlock, lock wait, duplicate, forbidden by a foreign key, too deep, too wide.
const EXPECTED: [u16; 8] = [1213, 1205, 1062, 1451, 1452, 1761, 3008, 6575];

/// One random transaction.
fn transaction(dice: &mut StdRng) -> Vec<String> {
    let mut statements = vec!["START TRANSACTION".to_owned()];
    if dice.random_range(0..15) == 0 {
        statements.insert(0, "SET SESSION foreign_key_checks = 0".to_owned());
    }
    for _ in 0..dice.random_range(1..6) {
        statements.extend(statement(dice).split(';').map(str::to_owned));
    }
    let end = if dice.random_range(0..12) == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    };
    statements.extend([end.to_owned(), "SET SESSION foreign_key_checks = 1".to_owned()]);
    statements
}

fn statement(dice: &mut StdRng) -> String {
    let (k, l) = (dice.random_range(1..320), dice.random_range(1..320));
    let (b, c) = (dice.random_range(1..1600), dice.random_range(1..4600));
    let free = dice.random_range(400..9_000_000);
    match dice.random_range(0..30) {
        0 => format!("DELETE FROM app.a WHERE id IN ({k}, {l})"),
        1 => format!("UPDATE app.a SET id = {free} WHERE id = {k}"),
        2 => format!("UPDATE app.a SET id = id + 5000, v = {l} WHERE id BETWEEN {k} AND {k} + 2"),
        3 => format!("UPDATE app.a SET id = {k} WHERE id >= 400 ORDER BY id LIMIT 1"),
        4..7 => format!("INSERT IGNORE INTO app.a VALUES ({k}, {l})"),
        7 => format!("REPLACE INTO app.a VALUES ({k}, {l})"),
        8..11 => format!("INSERT IGNORE INTO app.b (id, a, v) VALUES ({b}, {k}, {l}), ({b} + 1, {l}, 1)"),
        11 => format!("DELETE FROM app.b WHERE id BETWEEN {b} AND {b} + 3"),
        12 => format!("UPDATE app.b SET id = id + 100000 WHERE id = {b}"),
        13 => format!("UPDATE app.b SET a = {k}, v = {l} WHERE id BETWEEN {b} AND {b} + 3"),
        14..17 => format!("INSERT IGNORE INTO app.c (id, b, s) VALUES ({c}, {b}, 'new')"),
        17 => format!("UPDATE app.c SET id = id + 200000 WHERE id = {c}"),
        18 => format!("DELETE FROM app.c WHERE id BETWEEN {c} AND {c} + 5"),
        19 => format!("INSERT IGNORE INTO app.d (c, b) VALUES ({c}, {b})"),
        20 => format!("INSERT IGNORE INTO app.loose VALUES ({k}, 'same'), ({k}, 'same')"),
        21 => format!("UPDATE app.codes SET code = 'K{k}' WHERE v = {k}"),
        22 => format!("DELETE FROM app.codes WHERE v = {k}"),
        23 => format!(
            "INSERT IGNORE INTO app.codes VALUES ('k{k}', {k});INSERT IGNORE INTO app.coded (code) VALUES ('k{k}')"
        ),
        24 => format!("DELETE FROM app.tree WHERE id = {k}"),
        25 => format!("INSERT IGNORE INTO app.tree VALUES ({k}, {l} DIV 17, {l}), ({l}, NULL, {k})"),
        26 => format!("DELETE FROM app.staff WHERE id BETWEEN {k} AND {k} + 2"),
        27 => format!("INSERT IGNORE INTO app.staff VALUES ({k}, NULL, 1), ({l}, {k}, 2)"),
        28 => format!("DELETE FROM app.x WHERE id = {k};DELETE FROM app.y WHERE id = {l}"),
        _ => format!(
            "INSERT IGNORE INTO app.x VALUES ({k}, NULL);INSERT IGNORE INTO app.y VALUES ({l}, {k});\
             UPDATE IGNORE app.x SET y = {l} WHERE id = {k}"
        ),
    }
}

async fn write(mut conn: mysql_async::Conn, mut dice: StdRng, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        for statement in transaction(&mut dice) {
            match conn.query_drop(&statement).await {
                Ok(()) => {}
                Err(mysql_async::Error::Server(error)) if EXPECTED.contains(&error.code) => {}
                Err(error) => panic!("{statement}: {error}"),
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn seed() -> u64 {
    std::env::var("OUTRIGGER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random::<u64>)
}

/// Random writers from before the copy to the end, kills in the copy and in replay.
async fn random_writers(source: &[&str], seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut rig = rig(source, "copy = { chunk_rows = 200 }").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..3 {
        writers.push(tokio::spawn(write(
            connect(&rig.source).await,
            StdRng::seed_from_u64(seed.wrapping_add(writer + 1)),
            Arc::clone(&stop),
            Arc::clone(&done),
        )));
    }
    let (early, late) = (dice.random_range(0..10), dice.random_range(11..40));
    let (groups, more) = (dice.random_range(0..20), dice.random_range(0..200));
    for point in [
        format!("chunk-commit={early}*off->return"),
        format!("chunk-commit={late}*off->return"),
        format!("group-commit={groups}*off->return"),
        format!("group-committed={more}*off->return"),
    ] {
        rig.sidecar.start_with(&point).unwrap();
        rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    }
    rig.start();
    let until = Instant::now() + Duration::from_secs(3);
    tokio::time::sleep_until(until.into()).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    rig.settle().await;
    let done = done.load(Ordering::Relaxed);
    assert!(done > 200, "the load was no load");
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_writers_on_a_source_that_does_not_log() {
    let seed = seed();
    println!("seed {seed}: repeat with OUTRIGGER_SEED={seed}");
    random_writers(UNLOGGED, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_writers_on_a_source_that_logs() {
    let seed = seed();
    println!("seed {seed}: repeat with OUTRIGGER_SEED={seed}");
    random_writers(LOGGED, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_is_added_later() {
    let plan = Plan {
        source: UNLOGGED,
        target: UNLOGGED,
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(
        "CREATE TABLE app.parent (id INT PRIMARY KEY);
         CREATE TABLE app.child (id INT PRIMARY KEY, p INT);
         INSERT INTO app.parent VALUES (1), (2), (3);
         INSERT INTO app.child VALUES (1, 1), (2, 2), (3, 3)",
    )
    .await;
    rig.start();
    rig.on_source(
        "DELETE FROM app.parent WHERE id = 3;
         DELETE FROM app.child WHERE id = 3;
         ALTER TABLE app.child ADD FOREIGN KEY (p) REFERENCES app.parent (id) ON DELETE CASCADE ON UPDATE CASCADE;
         UPDATE app.parent SET id = 10 WHERE id = 1;
         DELETE FROM app.parent WHERE id = 2;
         CREATE TABLE app.grandchild (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES app.child (id) ON DELETE SET NULL);
         INSERT INTO app.grandchild VALUES (1, 1);
         DELETE FROM app.parent WHERE id = 10",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// One of the tables changes while they are copied: all of them are copied again.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_while_tied_tables_are_copied() {
    let mut rig = rig(UNLOGGED, "copy = { chunk_rows = 200 }").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(write(
        connect(&rig.source).await,
        StdRng::seed_from_u64(1),
        Arc::clone(&stop),
        Arc::clone(&done),
    ));
    // In the middle of the largest table, which comes first; the one to be changed is not read yet.
    rig.sidecar
        .start_with("chunk-commit=10*off->1*sleep(4000)->off")
        .unwrap();
    let mut target = rig.target_conn().await;
    let until = Instant::now() + PATIENCE;
    let copied = "SELECT COALESCE(SUM(row_count), 0) FROM outrigger.copy_part WHERE table_name = 'c'";
    // Neither the metadata database nor its tables are there from the beginning.
    while !matches!(target.query_first::<u64, _>(copied).await, Ok(Some(1..))) {
        assert!(
            Instant::now() < until,
            "no row was copied: {}",
            rig.sidecar.log_end()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.on_source("ALTER TABLE app.d ADD COLUMN w INT NOT NULL DEFAULT 7")
        .await;
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    rig.settle().await;
    let said = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(said.contains("copying these again"), "{said}");
    rig.assert_equal(&["app"]).await;
}
