//! Transactions held back and let go again, under load on a real server: no error, no reordering, nothing lost or done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use outrigger_protocol::endpoint::TlsMode;
use outrigger_proxy::{AlreadyHeld, Config, Inside};

use crate::support::front::Front;
use crate::support::stage::Stage;
use crate::support::{PATIENCE, connect};

const WRITERS: u32 = 16;
/// Holds in the test under load.
const HOLDS: usize = 60;
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A server with a table for all writers, and a proxy before it.
struct Held {
    stage: Stage,
    front: Front,
}

impl Held {
    async fn new() -> Self {
        let stage = Stage::new(
            &[],
            "CREATE USER app@'%' IDENTIFIED BY '';\nGRANT ALL ON *.* TO app@'%';\nCREATE DATABASE app;\n\
             CREATE TABLE app.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, writer INT, number INT, KEY (writer, number))",
        )
        .await;
        let config = Config {
            drain_timeout: LONG,
            ..Config::default()
        };
        let front = stage.front(stage.endpoint(true, TlsMode::Disabled), config).await;
        Self { stage, front }
    }

    async fn client(&self) -> Conn {
        client(self.front.port).await
    }
}

async fn client(port: u16) -> Conn {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("app"))
        .db_name(Some("app"))
        .prefer_socket(false);
    Conn::new(opts).await.unwrap()
}

/// Writes numbers in their order until told to stop, alone and in transactions, as text and prepared; every eighth transaction is rolled
/// back and done again. How many there are.
async fn write(mut conn: Conn, writer: u32, stop: Arc<AtomicBool>) -> u32 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let sql = |number: u32| format!("INSERT INTO t (writer, number) VALUES ({writer}, {number})");
        match number % 3 {
            0 => {
                conn.query_drop(sql(number)).await.unwrap();
                number += 1;
            }
            1 => {
                let again = number % 8 == 0;
                for end in ["ROLLBACK", "COMMIT"].into_iter().skip(usize::from(!again)) {
                    conn.query_drop("BEGIN").await.unwrap();
                    conn.query_drop(sql(number)).await.unwrap();
                    conn.query_drop(sql(number + 1)).await.unwrap();
                    conn.query_drop(end).await.unwrap();
                }
                number += 2;
            }
            _ => {
                conn.exec_drop("INSERT INTO t (writer, number) VALUES (?, ?)", (writer, number))
                    .await
                    .unwrap();
                number += 1;
            }
        }
        // What was written is there.
        if number % 50 == 0 {
            let sql = format!("SELECT COUNT(*) FROM t WHERE writer = {writer}");
            assert_eq!(conn.query_first(sql).await.unwrap(), Some(number));
        }
    }
    number
}

/// Transactions that have changed something and are open on the server.
async fn open_transactions(conn: &mut Conn) -> u64 {
    let sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
    conn.query_first(sql).await.unwrap().unwrap()
}

async fn written(conn: &mut Conn) -> u64 {
    conn.query_first("SELECT COUNT(*) FROM app.t")
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_notice_nothing_of_many_holds() {
    let held = Held::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        writers.push(tokio::spawn(write(
            held.client().await,
            writer,
            Arc::clone(&stop),
        )));
    }
    let mut admin = connect(&held.stage.server).await;
    let mut before = 0;
    for round in 0..HOLDS {
        // They write between holds; some holds find them at once.
        let until = Instant::now() + PATIENCE;
        while round % 4 != 0 && written(&mut admin).await <= before {
            assert!(Instant::now() < until, "nothing is written after hold {round}");
        }
        let hold = held.front.gate.hold(LONG).unwrap();
        assert_eq!(held.front.gate.hold(LONG).map(drop), Err(AlreadyHeld));
        hold.settled().await.unwrap();
        // What the server says of that may be a tenth of a second old.
        let until = Instant::now() + PATIENCE;
        while open_transactions(&mut admin).await != 0 {
            assert!(Instant::now() < until, "a transaction is open in hold {round}");
        }
        before = written(&mut admin).await;
        if round % 5 == 0 {
            // All of them come to wait, and stay.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            written(&mut admin).await,
            before,
            "something passed in hold {round}"
        );
        assert_eq!(hold.inside(), Inside::default());
        hold.release();
    }
    stop.store(true, Ordering::Relaxed);
    for (writer, running) in writers.into_iter().enumerate() {
        let count = running.await.unwrap();
        let sql = format!("SELECT number FROM app.t WHERE writer = {writer} ORDER BY id");
        let numbers: Vec<u32> = admin.query(sql).await.unwrap();
        assert!(
            numbers.iter().copied().eq(0..count),
            "writer {writer}: {count}, {numbers:?}"
        );
    }
    held.front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_outlasts_the_hold() {
    let held = Held::new().await;
    let mut inside = held.client().await;
    let mut outside = held.client().await;
    inside.query_drop("BEGIN").await.unwrap();
    let hold = held.front.gate.hold(Duration::from_millis(300)).unwrap();
    let waiting = tokio::spawn(async move {
        outside
            .query_drop("INSERT INTO t (writer) VALUES (1)")
            .await
            .unwrap();
        outside
    });
    // Within its transaction it goes on.
    inside
        .query_drop("INSERT INTO t (writer) VALUES (2)")
        .await
        .unwrap();
    let left = hold.settled().await.unwrap_err();
    assert_eq!(left.in_transaction, 1, "{left}");
    // The time is over, though nobody has released it.
    waiting.await.unwrap();
    inside.query_drop("COMMIT").await.unwrap();
    drop(hold);
    let mut admin = connect(&held.stage.server).await;
    assert_eq!(written(&mut admin).await, 2);
    // Locks of tables are waited for likewise: others may wait for them.
    inside.query_drop("LOCK TABLES t WRITE").await.unwrap();
    let hold = held.front.gate.hold(LONG).unwrap();
    assert_eq!(hold.inside().in_transaction, 1);
    inside
        .query_drop("INSERT INTO t (writer) VALUES (3)")
        .await
        .unwrap();
    inside.query_drop("UNLOCK TABLES").await.unwrap();
    hold.settled().await.unwrap();
    drop(hold);
    held.front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_wait_and_nothing_that_was_held_is_done() {
    let held = Held::new().await;
    let mut admin = connect(&held.stage.server).await;
    let mut leaving = held.client().await;
    let mut staying = held.client().await;
    let mut inside = held.client().await;
    inside.query_drop("BEGIN").await.unwrap();
    inside
        .query_drop("INSERT INTO t (writer) VALUES (1)")
        .await
        .unwrap();
    let hold = held.front.gate.hold(LONG).unwrap();
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        leaving.query_drop("INSERT INTO t (writer) VALUES (2)"),
    );
    assert!(left.await.is_err(), "it was not held");
    // It may as well have closed one direction only: its command waits on.
    drop(leaving);
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let waiting = tokio::spawn(async move {
        counter.fetch_add(1, Ordering::SeqCst);
        staying.query_drop("INSERT INTO t (writer) VALUES (3)").await
    });
    while count.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // Stopping lets the transaction end, and says to the other that its command was not done.
    let stopping = tokio::spawn(held.front.stop());
    waiting.await.unwrap().unwrap_err();
    inside.query_drop("COMMIT").await.unwrap();
    stopping.await.unwrap();
    drop(hold);
    let writers: Vec<u8> = admin.query("SELECT writer FROM app.t").await.unwrap();
    assert_eq!(writers, [1]);
}

/// What fails before a hold, and whether it leaves a transaction open.
const FAILING: [(&[&str], &str, bool); 7] = [
    // A definition statement commits before it fails.
    (
        &["BEGIN", "INSERT INTO t (writer) VALUES (7)"],
        "CREATE TABLE t (a INT)",
        false,
    ),
    (&["BEGIN"], "nonsense", true),
    (&[], "nonsense", false),
    (&[], "CALL begins()", true),
    (&[], "BEGIN; nonsense", true),
    (
        &["SET autocommit = 0"],
        "INSERT INTO t (id) VALUES (1), (1)",
        true,
    ),
    (&["SET autocommit = 0"], "nonsense", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_has_left_is_known_in_a_hold() {
    let held = Held::new().await;
    let mut admin = connect(&held.stage.server).await;
    let procedure = "CREATE PROCEDURE app.begins() BEGIN START TRANSACTION; INSERT INTO t (writer) VALUES (8); \
                     SIGNAL SQLSTATE '45000'; END";
    admin.query_drop(procedure).await.unwrap();
    for (before, failing, open) in FAILING {
        let mut session = held.client().await;
        for sql in before {
            session.query_drop(*sql).await.unwrap();
        }
        session.query_drop(failing).await.unwrap_err();
        session = ends_in_a_hold(&held, session, (failing, open)).await;
        // A client has seen nothing of it.
        session.query_drop("nonsense").await.unwrap_err();
        session.query_drop("DO 1").await.unwrap();
        drop(session);
    }
    // One of two that wait for each other is undone.
    admin
        .query_drop("INSERT INTO app.t (id) VALUES (1000), (2000)")
        .await
        .unwrap();
    let (mut one, mut other) = (held.client().await, held.client().await);
    let change = |id: u32| format!("UPDATE t SET writer = 9 WHERE id = {id}");
    for (session, id) in [(&mut one, 1000), (&mut other, 2000)] {
        session.query_drop("BEGIN").await.unwrap();
        session.query_drop(change(id)).await.unwrap();
    }
    let (first, second) = tokio::join!(one.query_drop(change(2000)), other.query_drop(change(1000)));
    assert!(first.is_err() != second.is_err());
    let (victim, mut winner) = if first.is_err() {
        (one, other)
    } else {
        (other, one)
    };
    winner.query_drop("COMMIT").await.unwrap();
    drop(winner);
    ends_in_a_hold(&held, victim, ("deadlock", false)).await;
    held.front.stop().await;
}

/// Holds transactions back: if the session has one open it ends it, else its next one waits.
async fn ends_in_a_hold(held: &Held, mut session: Conn, (failed, open): (&str, bool)) -> Conn {
    let hold = held.front.gate.hold(LONG).unwrap();
    if open {
        let ending = tokio::time::timeout(PATIENCE, session.query_drop("COMMIT"));
        ending
            .await
            .unwrap_or_else(|_late| panic!("{failed}: held"))
            .unwrap();
    }
    let settled = tokio::time::timeout(PATIENCE, hold.settled());
    settled
        .await
        .unwrap_or_else(|_late| panic!("{failed}: {}", hold.inside()))
        .unwrap();
    let mut beginning = session.query_drop("INSERT INTO t (writer) VALUES (10)");
    let passed = tokio::time::timeout(Duration::from_millis(100), &mut beginning).await;
    assert!(passed.is_err(), "{failed}: it was not held");
    assert_eq!(hold.inside(), Inside::default(), "{failed}");
    hold.release();
    beginning.await.unwrap();
    session
}
