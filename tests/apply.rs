//! What the target holds when something happens between executing and knowing (A1), and who may write (the fence).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::sidecar;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::eventual::until;
use crate::support::{PATIENCE, Plan, Rig, run, seed};

const TABLES: &str = "
CREATE TABLE app.keyed (id INT AUTO_INCREMENT PRIMARY KEY, v INT);
CREATE TABLE app.keyless (v INT, s VARCHAR(50));
INSERT INTO app.keyless VALUES (1, 'same'), (1, 'same');
";

async fn stop(rig: &mut Rig) {
    assert_eq!(
        rig.sidecar.stop(PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// What the stopped task says.
pub(crate) fn why(rig: &mut Rig) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(status) = rig.sidecar.status()
            && sidecar::task_states(&status) == ["stopped"]
        {
            return status["tasks"][0]["why"].to_string() + &rig.sidecar.log_end();
        }
        assert!(
            Instant::now() < until,
            "the task goes on; {}",
            rig.sidecar.log_end()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The sidecar stopped, and its log as it was before the last transactions that the target has.
async fn with_a_log_that_lost_its_end(plan: &Plan<'_>) -> Rig {
    let mut rig = Rig::new(plan).await;
    rig.on_source(TABLES).await;
    rig.start();
    rig.settle().await;
    stop(&mut rig).await;
    let (log, kept) = (rig.path("sidecar").join("log"), rig.path("log-before"));
    copy(&log, &kept);
    rig.start();
    for round in 0..20 {
        rig.on_source(&format!(
            "INSERT INTO app.keyless VALUES ({round}, 'again'), ({round}, 'again');
             DELETE FROM app.keyless WHERE s = 'same' LIMIT 1;
             INSERT INTO app.keyed (v) VALUES ({round});
             UPDATE app.keyed SET v = v + 1 ORDER BY id LIMIT 1;"
        ))
        .await;
    }
    rig.settle().await;
    stop(&mut rig).await;
    std::fs::remove_dir_all(&log).unwrap();
    copy(&kept, &log);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_ahead_of_its_log_gets_nothing_twice() {
    let off = &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"][..];
    for (source, trimmed) in [(&[][..], false), (&[][..], true), (off, false)] {
        let plan = Plan {
            source,
            ..Plan::default()
        };
        let mut rig = with_a_log_that_lost_its_end(&plan).await;
        if trimmed {
            // What it still holds was applied, and may go.
            let log = |arguments: &[&str]| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
                command
                    .arg("log")
                    .args(arguments)
                    .arg("--log")
                    .arg(rig.path("sidecar").join("log"));
                let output = command.output().unwrap();
                assert!(output.status.success(), "{output:?}");
                serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
            };
            let last = log(&["info", "--json"])["last"].to_string();
            log(&["trim", "--json", "--force", "--through", &last]);
        }
        rig.on_source("INSERT INTO app.keyless VALUES (99, 'after'); INSERT INTO app.keyed (v) VALUES (99);")
            .await;
        rig.start();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        // From here on the log and the target agree again.
        stop(&mut rig).await;
        rig.on_source("INSERT INTO app.keyless VALUES (100, 'after');")
            .await;
        rig.start();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_lost_too_stops_the_task() {
    let mut rig = with_a_log_that_lost_its_end(&Plan::default()).await;
    let mut target = rig.target_conn().await;
    run(
        &mut target,
        "UPDATE outrigger.checkpoint SET log_offset = log_offset + 5, \
         gtids = CONCAT(gtids, ',aaaaaaaa-0000-0000-0000-000000000000:1-5')",
    )
    .await;
    rig.sidecar.start().unwrap();
    rig.on_source("INSERT INTO app.keyed (v) VALUES (99);").await;
    let why = why(&mut rig);
    assert!(
        why.contains("aaaaaaaa-0000-0000-0000-000000000000:1-5") && why.contains("copy"),
        "{why}"
    );
    let found: Option<u64> = target
        .query_first("SELECT COUNT(*) FROM app.keyed WHERE v = 99")
        .await
        .unwrap();
    assert_eq!(found, Some(0));
}

/// Waits until a session runs such a statement.
pub(crate) async fn waits(conn: &mut Conn, like: &str) {
    let until = Instant::now() + PATIENCE;
    let sql = format!(
        "SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE '{like}' AND id <> CONNECTION_ID()"
    );
    while conn.query_first::<u64, _>(&sql).await.unwrap() != Some(1) {
        assert!(Instant::now() < until, "nobody waits with {like}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_on_its_way_counts() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    // The row of the checkpoint is locked, so that a commit hangs in the server while whoever sent it dies.
    let mut lock = rig.target_conn().await;
    run(
        &mut lock,
        "START TRANSACTION; SELECT 1 FROM outrigger.checkpoint FOR UPDATE",
    )
    .await;
    rig.on_source("INSERT INTO app.keyless VALUES (7, 'once')").await;
    waits(&mut lock, "%SET log_offset = IF%").await;
    rig.sidecar.kill().unwrap();
    rig.sidecar.start().unwrap();
    waits(&mut lock, "%SET epoch = %").await;
    run(&mut lock, "ROLLBACK").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_task_writes_nothing() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    rig.settle().await;
    let mut target = rig.target_conn().await;
    run(&mut target, "UPDATE outrigger.checkpoint SET epoch = epoch + 1").await;
    rig.on_source("INSERT INTO app.keyed (v) VALUES (99);").await;
    let why = why(&mut rig);
    assert!(why.contains("another process"), "{why}");
    let found: Option<u64> = target
        .query_first("SELECT COUNT(*) FROM app.keyed WHERE v = 99")
        .await
        .unwrap();
    assert_eq!(found, Some(0));
}

/// Puts the target a few milliseconds away, so that groups and their commits travel together.
pub(crate) async fn far(rig: &Rig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = (rig.target.port(), listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", near)).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                // The protocol takes turns: holding up what the client says delays each round trip once.
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let config = std::fs::read_to_string(rig.sidecar.config()).unwrap();
    let moved = config.replace(&format!("port = {near}\n"), &format!("port = {far}\n"));
    assert_ne!(config, moved);
    std::fs::write(rig.sidecar.config(), moved).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_target_is_checked_as_a_near_one_is() {
    for (harm, said) in [
        ("DELETE FROM app.keyed WHERE id = 1", "affected"),
        ("INSERT INTO app.keyed VALUES (2, 0)", "holds already"),
        (
            "UPDATE outrigger.checkpoint SET epoch = epoch + 1",
            "another process",
        ),
    ] {
        let mut rig = Rig::with(TABLES).await;
        far(&rig).await;
        rig.on_source("INSERT INTO app.keyed VALUES (1, 0);").await;
        rig.start();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        run(&mut rig.target_conn().await, harm).await;
        rig.on_source(
            "START TRANSACTION; INSERT INTO app.keyless VALUES (99, 'no'); UPDATE app.keyed SET v = 1 WHERE id = 1; \
             INSERT INTO app.keyed VALUES (2, 1); COMMIT",
        )
        .await;
        let why = why(&mut rig);
        assert!(why.contains(said), "{harm}: {why}");
        let found: Option<u64> = rig
            .target_conn()
            .await
            .query_first("SELECT COUNT(*) FROM app.keyless WHERE v = 99")
            .await
            .unwrap();
        assert_eq!(found, Some(0), "{harm}");
    }
}

const CROWD: &str = "
CREATE TABLE app.accounts (id INT PRIMARY KEY, balance INT NOT NULL);
CREATE TABLE app.journal (id INT PRIMARY KEY, what TEXT NOT NULL);
CREATE TABLE app.seats (id INT PRIMARY KEY, place INT UNIQUE, name VARCHAR(30) NOT NULL, nick VARCHAR(30) COLLATE utf8mb4_bin NOT NULL, \
  UNIQUE (name), UNIQUE (nick(4)), UNIQUE ((id + 1000)));
CREATE TABLE app.words (word VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT NOT NULL);
CREATE TABLE app.bag (v INT, s VARCHAR(20));
SET SESSION cte_max_recursion_depth = 1000;
INSERT INTO app.accounts WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20) SELECT n, 100 FROM s;
INSERT INTO app.seats WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20) SELECT n, n, CONCAT('name ', n), CONCAT(n, ' nick') FROM s;
";

/// One transaction of many: money moves, seats change hands, words change their spelling.
fn crowd(n: usize, dice: &mut StdRng) -> Vec<String> {
    let mut one = || dice.random_range(1..=20);
    let (a, b, c, d) = (one(), one(), one(), one());
    if (n / 50).is_multiple_of(2) {
        // Nothing in common with anybody, and of every size.
        let insert = format!(
            "INSERT INTO app.journal VALUES ({n}, REPEAT('x', {}))",
            n * 37 % 2000
        );
        return vec![insert];
    }
    let word = ["a", "A", "á", "b", "B", "ß", "ss", "e", "é", "E"][dice.random_range(0..10)];
    vec![
        "START TRANSACTION".to_owned(),
        format!("UPDATE app.accounts SET balance = balance - 1 WHERE id = {a}"),
        format!("UPDATE app.accounts SET balance = balance + 1 WHERE id = {b}"),
        format!("INSERT INTO app.journal VALUES ({n}, '{a} to {b}')"),
        format!("UPDATE app.seats SET place = NULL WHERE place = {c}"),
        format!("UPDATE app.seats SET place = {c} WHERE id = {d}"),
        match n % 5 {
            0 => format!("DELETE FROM app.words WHERE word = '{word}'"),
            1 => format!("INSERT INTO app.words VALUES ('{word}', {n}) ON DUPLICATE KEY UPDATE n = {n}"),
            2 => format!("REPLACE INTO app.words VALUES ('{word}', {n})"),
            3 => format!(
                "UPDATE app.seats SET name = IF(name LIKE 'n%', UPPER(name), LOWER(name)) WHERE id = {a}"
            ),
            _ => format!("INSERT INTO app.bag VALUES ({a}, 'same'), ({a}, 'same')"),
        },
        format!("DELETE FROM app.bag WHERE v = {b} LIMIT 1"),
        "COMMIT".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_conflicts_over_many_lanes_stays_a_prefix() {
    let plan = Plan {
        task: "group = { max_transactions = 3, lanes = 8 }",
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(CROWD).await;
    rig.start();
    rig.settle().await;
    stop(&mut rig).await;
    let seed = seed();
    println!("seed {seed}: repeat with OUTRIGGER_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut source = rig.source_conn().await;
    for n in 1..=3000 {
        for statement in crowd(n, &mut dice) {
            source
                .query_drop(&statement)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {statement}: {error}"));
        }
    }
    rig.sidecar.start().unwrap();
    let (mut target, mut samples) = (rig.target_conn().await, 0);
    let until = Instant::now() + PATIENCE;
    loop {
        let (sum, rows, last): (i64, u64, Option<u64>) = target
            .query_first("SELECT (SELECT SUM(balance) FROM app.accounts), COUNT(*), MAX(id) FROM app.journal")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (sum, rows),
            (2000, last.unwrap_or_default()),
            "seed {seed}: no state of the source"
        );
        samples += 1;
        if rows == 3000 {
            break;
        }
        assert!(
            Instant::now() < until && rig.sidecar.running().unwrap(),
            "seed {seed}: {}",
            rig.sidecar.log_end()
        );
    }
    assert!(samples > 20, "only {samples} looks at the target");
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_and_events_do_not_act_on_the_target() {
    let mut rig = Rig::with(TABLES).await;
    // On the source they do, and what they do is in the binlog.
    rig.on_source(
        "CREATE TRIGGER app.twice AFTER INSERT ON app.keyed FOR EACH ROW INSERT INTO app.keyless VALUES (NEW.v, 'trigger');
         CREATE EVENT app.later ON SCHEDULE EVERY 1 DAY DO DELETE FROM app.keyless;",
    )
    .await;
    rig.start();
    rig.on_source("INSERT INTO app.keyed (v) VALUES (1), (2);").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    for (create, drop, named) in [
        (
            "CREATE TRIGGER app.again AFTER INSERT ON app.keyed FOR EACH ROW INSERT INTO app.keyless VALUES (NEW.v, 'again')",
            "DROP TRIGGER app.again",
            "`app`.`again` on `app`.`keyed`",
        ),
        (
            "CREATE EVENT app.now ON SCHEDULE EVERY 1 SECOND DO INSERT INTO app.keyless VALUES (0, 'event')",
            "ALTER EVENT app.now DISABLE",
            "event `app`.`now`",
        ),
    ] {
        stop(&mut rig).await;
        let mut target = rig.target_conn().await;
        run(&mut target, "SET GLOBAL event_scheduler = OFF").await;
        run(&mut target, create).await;
        rig.sidecar.start().unwrap();
        let why = why(&mut rig);
        assert!(why.contains(named), "{why}");
        stop(&mut rig).await;
        run(&mut target, drop).await;
        rig.start();
        rig.on_source("INSERT INTO app.keyed (v) VALUES (3);").await;
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}

/// The oldest group waits for a lock in vain, again and again: those behind it are undone each time, and none overtakes it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_lock_is_not_overtaken() {
    let mut rig = Rig::new(&Plan {
        task: "group = { max_transactions = 1, lanes = 4 }",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, v INT); INSERT INTO app.t VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
        .await;
    rig.start();
    rig.settle().await;
    let mut lock = rig.target_conn().await;
    run(
        &mut lock,
        "START TRANSACTION;\nSELECT 1 FROM app.t WHERE id = 1 FOR UPDATE",
    )
    .await;
    for id in 1..=4 {
        rig.on_source(&format!("UPDATE app.t SET v = 1 WHERE id = {id}"))
            .await;
    }
    let mut target = rig.target_conn().await;
    let until = Instant::now() + PATIENCE;
    loop {
        let visible: Option<i64> = target.query_first("SELECT SUM(v) FROM app.t").await.unwrap();
        assert_eq!(visible, Some(0), "a later transaction is visible");
        let status = rig.sidecar.status().unwrap();
        if status["tasks"][0]["retries"].as_u64().unwrap() >= 3 {
            break;
        }
        assert!(Instant::now() < until, "{status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It was undone and executed again by the same process, on the same connections.
    let status = rig.sidecar.status().unwrap();
    assert_eq!(status["tasks"][0]["state"], "synchronizing", "{status:#}");
    run(&mut lock, "ROLLBACK").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// A commit that lasts on the target: the one behind it waits there, is undone, and comes after it, whatever becomes of the server meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_behind_a_commit_does_not_overtake_it() {
    for killed in [false, true] {
        let mut rig = Rig::new(&Plan {
            target: &["--plugin-load-add=semisync_source.so"],
            task: "group = { max_transactions = 1, lanes = 4 }",
            ..Plan::default()
        })
        .await;
        rig.on_source(TABLES).await;
        rig.start();
        rig.settle().await;
        let mut target = rig.target_conn().await;
        // Nobody acknowledges.
        run(
            &mut target,
            "SET GLOBAL rpl_semi_sync_source_timeout = 3600000;\nSET GLOBAL rpl_semi_sync_source_enabled = ON",
        )
        .await;
        rig.on_source("INSERT INTO app.keyless VALUES (2, 'first')").await;
        let waiting =
            "SELECT COUNT(*) FROM performance_schema.processlist WHERE state LIKE '%semi-sync ACK%'";
        until(&mut target, waiting, 1).await;
        rig.on_source("INSERT INTO app.keyed (v) VALUES (2)").await;
        waits(&mut target, "%SET log_offset = IF(epoch = % AND log_offset = %").await;
        rig.on_source("INSERT INTO app.keyless VALUES (3, 'third');\nDELETE FROM app.keyed")
            .await;
        if killed {
            rig.target.kill().unwrap();
            rig.target.launch().unwrap();
        } else {
            let end = Instant::now() + PATIENCE;
            loop {
                let rows =
                    "SELECT (SELECT COUNT(*) FROM app.keyless) * 10 + (SELECT COUNT(*) FROM app.keyed)";
                let found: Option<u64> = target.query_first(rows).await.unwrap();
                assert_eq!(found, Some(20), "a transaction is visible before its turn");
                let status = rig.sidecar.status().unwrap();
                assert_eq!(status["tasks"][0]["state"], "synchronizing", "{status:#}");
                if status["tasks"][0]["retries"].as_u64().unwrap() >= 1 {
                    break;
                }
                assert!(Instant::now() < end, "{status:#}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            run(&mut target, "SET GLOBAL rpl_semi_sync_source_enabled = OFF").await;
        }
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
}
