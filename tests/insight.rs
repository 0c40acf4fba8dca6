//! What the proxy tells about the traffic through it: metrics, who is connected, what is slow.

use mysql_async::prelude::Queryable;
use std::time::Instant;

use mysql_async::{ChangeUserOpts, Conn, OptsBuilder};
use outrigger::status::{SessionPart, Sessions};

use crate::support::{PATIENCE, Plan, Rig};

fn options(rig: &Rig) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .db_name(Some("app"))
        .prefer_socket(false)
}

async fn through(rig: &Rig) -> Conn {
    Conn::new(options(rig)).await.unwrap()
}

/// The value of a series in `/metrics`.
fn series(rig: &Rig, name: &str) -> Option<f64> {
    let text = rig.sidecar.get("/metrics").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_timed_and_errors_counted() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let mut conn = through(&rig).await;
    let count = |kind: &str| {
        series(
            &rig,
            &format!("outrigger_proxy_command_seconds_count{{command=\"{kind}\"}}"),
        )
    };
    let before = count("query").unwrap_or(0.0);
    for _ in 0..5 {
        conn.query_drop("DO 1").await.unwrap();
    }
    conn.query_drop("DO SLEEP(0.3)").await.unwrap();
    conn.exec_drop("SELECT * FROM t WHERE id = ?", (1,))
        .await
        .unwrap();
    for _ in 0..2 {
        conn.query_drop("SELECT * FROM nowhere").await.unwrap_err();
    }
    conn.query_drop("SET sql_log_bin = 0").await.unwrap_err();
    let mut wrong = Conn::new(options(&rig).pass(Some("wrong"))).await;
    assert!(wrong.is_err());
    wrong = Conn::new(options(&rig)).await;
    drop(wrong.unwrap());
    assert!(count("query").unwrap() >= before + 9.0);
    assert_eq!(
        (count("stmt_prepare"), count("stmt_execute")),
        (Some(1.0), Some(1.0))
    );
    let slower = |bound: &str| {
        let all = count("query").unwrap();
        all - series(
            &rig,
            &format!("outrigger_proxy_command_seconds_bucket{{command=\"query\",le=\"{bound}\"}}"),
        )
        .unwrap()
    };
    assert!(slower("0.25") >= 1.0, "the sleep");
    let errors = |code: u16, from: &str| {
        series(
            &rig,
            &format!("outrigger_proxy_errors_total{{code=\"{code}\",from=\"{from}\"}}"),
        )
    };
    assert_eq!(errors(1146, "source"), Some(2.0));
    assert_eq!(errors(1235, "proxy"), Some(1.0));
    assert_eq!(errors(1045, "source"), Some(1.0));
    assert_eq!(errors(1235, "source"), None);
}

/// Who is connected, as `outrigger sessions` tells.
fn sessions(rig: &Rig, arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .arg("sessions")
        .arg("--config")
        .arg(rig.sidecar.config())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn find(rig: &Rig, id: u32) -> Option<SessionPart> {
    let list: Sessions = serde_json::from_str(&sessions(rig, &["--json"])).unwrap();
    list.sessions
        .into_iter()
        .find(|session| session.source_id == Some(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_lists_who_is_connected() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY);\nCREATE DATABASE other").await;
    rig.start();
    assert_eq!(sessions(&rig, &[]), "nobody is connected\n");
    let mut conn = through(&rig).await;
    let id: u32 = conn.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let found = find(&rig, id).unwrap();
    assert_eq!(
        (
            found.user.as_deref(),
            found.database.as_deref(),
            found.state.as_str()
        ),
        (Some("app"), Some("app"), "idle")
    );
    assert!(
        found.client.starts_with("127.0.0.1:") && !found.tls && !found.in_transaction,
        "{found:?}"
    );
    assert_eq!(found.listener, format!("127.0.0.1:{}", rig.proxy));
    assert!(found.received_bytes > 0 && found.sent_bytes > 0);

    conn.query_drop("USE other").await.unwrap();
    conn.query_drop("USE nowhere").await.unwrap_err();
    conn.query_drop("BEGIN").await.unwrap();
    let found = find(&rig, id).unwrap();
    assert_eq!(
        (found.database.as_deref(), found.in_transaction),
        (Some("other"), true)
    );
    conn.query_drop("COMMIT").await.unwrap();
    assert!(!find(&rig, id).unwrap().in_transaction);

    // A command is seen while it runs.
    let running = tokio::spawn(async move {
        // A sleep that is killed says so, or that it was interrupted.
        conn.query_drop("DO SLEEP(600)").await.ok();
        conn
    });
    let until = Instant::now() + PATIENCE;
    let found = loop {
        let found = find(&rig, id).unwrap();
        if found.command.is_some() {
            break found;
        }
        assert!(Instant::now() < until, "{found:?}");
    };
    assert_eq!(found.command.as_deref(), Some("query"));
    assert!(sessions(&rig, &[]).contains("query"));
    let mut admin = rig.source_conn().await;
    admin.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    let mut conn = running.await.unwrap();

    // Another account, then nobody.
    rig.on_source("CREATE USER second@'%' IDENTIFIED BY 'second'")
        .await;
    let second = ChangeUserOpts::default()
        .with_user(Some("second".to_owned()))
        .with_pass(Some("second".to_owned()))
        .with_db_name(None);
    conn.change_user(second).await.unwrap();
    let found = find(&rig, id).unwrap();
    assert_eq!((found.user.as_deref(), found.database), (Some("second"), None));
    let text = rig.sidecar.status().unwrap().to_string();
    assert!(text.contains("\"connections\":1"), "{text}");
    conn.disconnect().await.unwrap();
    let until = Instant::now() + PATIENCE;
    while find(&rig, id).is_some() {
        assert!(Instant::now() < until, "it is still listed");
    }
}

/// The lines of the slow log that have this in them.
fn slow_lines(rig: &Rig, with: &str) -> Vec<String> {
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    log.lines()
        .filter(|line| line.contains("a slow statement") && line.contains(with))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_statements_are_logged_without_their_values() {
    let mut rig = Rig::new(&Plan {
        proxy: "slow_query = \"300ms\"",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, s TEXT)")
        .await;
    rig.start();
    let mut conn = through(&rig).await;
    conn.query_drop("INSERT INTO t VALUES (1, 'fast secret'), (2, 'b')")
        .await
        .unwrap();
    conn.query_drop("SELECT id, SLEEP(0.4), 'slow secret' FROM t WHERE id IN (1, 2)")
        .await
        .unwrap();
    let prepared = "SELECT SLEEP(?) AS prepared, s FROM t WHERE id = ? /* secret */";
    conn.exec_drop(prepared, (0, 1)).await.unwrap();
    conn.exec_drop(prepared, (0.4, 1)).await.unwrap();
    conn.query_drop("SELECT SLEEP(0.4), nonsense('failed secret')")
        .await
        .unwrap_err();
    conn.query_drop("SELECT SLEEP(0.4), ST_GeomFromText('failed secret')")
        .await
        .unwrap_err();

    let id: u32 = conn.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let slow = slow_lines(&rig, "id IN (?, ...)");
    assert_eq!(slow.len(), 1, "{slow:?}");
    let line = &slow[0];
    for part in [
        "\"SELECT id, SLEEP(?), ? FROM t WHERE id IN (?, ...)\"",
        &format!("\"source_id\":{id},"),
        "\"user\":\"app\"",
        "\"database\":\"app\"",
        "\"command\":\"query\"",
        "\"rows\":2,",
        "\"seconds\":",
        "\"bytes\":",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let prepared = slow_lines(&rig, "SELECT SLEEP(?) AS prepared, s FROM t WHERE id = ?");
    assert_eq!(prepared.len(), 1, "{prepared:?}");
    assert!(
        prepared[0].contains("stmt_execute") && prepared[0].contains("\"rows\":1,"),
        "{prepared:?}"
    );
    let failed = slow_lines(&rig, "ST_GeomFromText(?)");
    assert!(
        failed.len() == 1 && failed[0].contains("\"error\":3037,"),
        "{failed:?}"
    );
    assert_eq!(slow_lines(&rig, "").len(), 3);
    assert_eq!(series(&rig, "outrigger_proxy_slow_statements_total"), Some(3.0));
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(!log.contains("secret"));
}

/// What ties the session to its server.
fn ties(rig: &Rig, id: u32) -> Vec<String> {
    let found = find(rig, id).unwrap();
    assert_eq!(found.movable, found.tied_by.is_empty() && !found.in_transaction);
    found.tied_by
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ties_a_session_to_its_server_is_followed() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT PRIMARY KEY);\nCREATE DATABASE other;\nCREATE PROCEDURE other.p() BEGIN SET @a = 1; END;\n\
         CREATE FUNCTION other.f() RETURNS INT DETERMINISTIC NO SQL BEGIN SET time_zone = '+03:00'; RETURN 1; END",
    )
    .await;
    rig.start();
    let mut conn = through(&rig).await;
    let id: u32 = conn.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    assert!(ties(&rig, id).is_empty());
    for (doing, undoing, tie) in [
        (
            "CREATE TEMPORARY TABLE a (b INT)",
            "DROP TABLE app.a",
            "temporary_tables",
        ),
        ("DO GET_LOCK('it', 10)", "SELECT RELEASE_LOCK('it')", "user_locks"),
        (
            "PREPARE s FROM 'SELECT 1'",
            "DEALLOCATE PREPARE s",
            "prepared_statements",
        ),
        ("LOCK TABLES t READ", "UNLOCK TABLES", "locked_tables"),
    ] {
        conn.query_drop(doing).await.unwrap();
        assert_eq!(ties(&rig, id), [tie], "{doing}");
        conn.query_drop("SELECT nonsense").await.unwrap_err();
        // An error does not say whether a transaction is open.
        assert_eq!(ties(&rig, id), [tie, "error"], "{doing}");
        conn.query_drop("DO 1").await.unwrap();
        assert_eq!(ties(&rig, id), [tie], "{doing}");
        conn.query_drop(undoing).await.unwrap();
        assert!(ties(&rig, id).is_empty(), "{undoing}");
    }
    let statement = conn.prep("SET @a = ?").await.unwrap();
    assert_eq!(ties(&rig, id), ["prepared_statements"]);
    conn.exec_drop(&statement, (1,)).await.unwrap();
    assert_eq!(ties(&rig, id), ["prepared_statements", "user_variables"]);
    conn.close(statement).await.unwrap();
    // Closing has no reply: the next command's says that it was done.
    conn.ping().await.unwrap();
    assert_eq!(ties(&rig, id), ["user_variables"]);
    conn.query_drop("SET SESSION sql_mode = 'ANSI'").await.unwrap();
    conn.query_drop("CALL other.p()").await.unwrap();
    assert_eq!(ties(&rig, id), ["user_variables", "unseen"]);
    assert!(find(&rig, id).unwrap().variables.contains(&"sql_mode".to_owned()));
    conn.reset().await.unwrap();
    assert!(ties(&rig, id).is_empty());
    assert_eq!(find(&rig, id).unwrap().variables, [""; 0]);

    // Of a client that asks the source to tell, also what a function has set is known.
    let port = rig.proxy.to_string();
    let mut telling = rig.mysql(&["-h127.0.0.1", "-P", &port, "-uapp", "-papp", "app", "-e"]);
    let mut telling = telling
        .arg("SELECT other.f(); SELECT SLEEP(600)")
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let list: Sessions = serde_json::from_str(&sessions(&rig, &["--json"])).unwrap();
        let mut others = list
            .sessions
            .iter()
            .filter(|session| session.source_id != Some(id));
        if others.any(|session| session.variables.contains(&"time_zone".to_owned())) {
            break;
        }
        assert!(Instant::now() < until, "{list:?}");
    }
    telling.kill().unwrap();
    telling.wait().unwrap();
}
