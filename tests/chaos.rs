//! Random kills under load: whatever the instant, source and target end equal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{Rig, connect, seed};

const TABLES: &str = "
CREATE TABLE app.accounts (id INT PRIMARY KEY, owner VARCHAR(30) UNIQUE, balance DECIMAL(12,2), touched TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6));
CREATE TABLE app.moves (id BIGINT AUTO_INCREMENT PRIMARY KEY, from_id INT, to_id INT, amount DECIMAL(12,2), FOREIGN KEY (from_id) REFERENCES accounts (id) ON DELETE CASCADE);
CREATE TABLE app.audit (what VARCHAR(20), n INT, j JSON);
SET SESSION cte_max_recursion_depth = 1000000;
INSERT INTO app.accounts (id, owner, balance) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 60000) SELECT n, CONCAT('owner', n), n FROM s;
INSERT INTO app.moves (from_id, to_id, amount) SELECT id, id, 0.01 FROM app.accounts;
INSERT INTO app.audit SELECT 'start', id % 7, NULL FROM app.accounts LIMIT 3000;
";

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_in_a_minute_of_writes() {
    let seed = seed();
    println!("seed {seed}: repeat with OUTRIGGER_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut rig = Rig::with(TABLES).await;
    let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..4 {
        let conn = connect(&rig.source).await;
        let dice = StdRng::seed_from_u64(seed.wrapping_add(writer + 1));
        writers.push(tokio::spawn(write(
            conn,
            dice,
            Arc::clone(&stop),
            Arc::clone(&committed),
        )));
    }
    let began = Instant::now();
    rig.sidecar.start().unwrap();
    for kill in 1..=10_u32 {
        let at = Duration::from_secs(6) * (kill - 1) + Duration::from_millis(dice.random_range(200..5800));
        tokio::time::sleep_until((began + at).into()).await;
        rig.sidecar.kill().unwrap();
        rig.sidecar.start().unwrap();
    }
    tokio::time::sleep_until((began + Duration::from_secs(60)).into()).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    rig.sidecar
        .wait_until_synchronizing(crate::support::PATIENCE)
        .unwrap();
    rig.settle().await;
    println!(
        "{} transactions committed while the sidecar was killed 10 times",
        committed.load(Ordering::Relaxed)
    );
    assert!(committed.load(Ordering::Relaxed) > 500, "the load was no load");
    rig.assert_equal(&["app"]).await;
}

async fn write(
    mut conn: mysql_async::Conn,
    mut dice: StdRng,
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::Relaxed) {
        let (a, b) = (dice.random_range(1..60_000), dice.random_range(1..60_000));
        let mut statements = vec!["START TRANSACTION".to_owned()];
        match dice.random_range(0..10) {
            0..5 => statements.extend([
                format!("INSERT INTO app.moves (from_id, to_id, amount) SELECT id, {b}, 1.5 FROM app.accounts WHERE id = {a}"),
                format!("UPDATE app.accounts SET balance = balance - 1.5 WHERE id = {a}"),
                format!("UPDATE app.accounts SET balance = balance + 1.5 WHERE id = {b}"),
            ]),
            5 => statements.push(format!("DELETE FROM app.accounts WHERE id = {a}")),
            6 => statements.push(format!("INSERT IGNORE INTO app.accounts (id, owner, balance) VALUES ({a}, 'owner{a}', 5)")),
            7 => statements.push(format!("REPLACE INTO app.accounts (id, owner, balance) VALUES ({a}, 'owner{b}', 6)")),
            8 => statements.push(format!("INSERT INTO app.audit VALUES ('w', {a} % 7, JSON_OBJECT('a', {a})), ('w', 1, NULL), ('w', 1, NULL)")),
            _ => statements.push("DELETE FROM app.audit WHERE n = 1 LIMIT 1".to_owned()),
        }
        statements.push(
            if dice.random_range(0..20) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            }
            .to_owned(),
        );
        let mut failed = false;
        for statement in &statements {
            match conn.query_drop(statement).await {
                Ok(()) => {}
                // Deadlocks among the writers; the server has rolled the transaction back.
                Err(mysql_async::Error::Server(error)) if matches!(error.code, 1213 | 1205) => {
                    failed = true;
                    conn.query_drop("ROLLBACK").await.unwrap();
                    break;
                }
                Err(error) => panic!("{statement}: {error}"),
            }
        }
        committed.fetch_add(u64::from(!failed), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
