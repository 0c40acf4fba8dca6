//! The proxy between two independent clients and a real server: what they see is what they would see directly.

use std::process::Stdio;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::support::{Plan, Rig};

fn text(output: &std::process::Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The `mysql` command as the application's account over TCP.
fn mysql(rig: &Rig, port: u16, arguments: &[&str]) -> std::process::Command {
    let mut command = rig.mysql(&["-h127.0.0.1", "-P", &port.to_string(), "-uapp"]);
    command.args(arguments);
    command
}

async fn through(port: u16) -> Conn {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("app"))
        .pass(Some("app"))
        .db_name(Some("app"))
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30));
    Conn::new(opts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mysql_command_sees_the_same_through_the_proxy() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT PRIMARY KEY, s TEXT);\nINSERT INTO app.t VALUES (1, 'é'), (2, NULL)",
    )
    .await;
    rig.start();
    let big = rig.path("big.sql");
    std::fs::write(
        &big,
        format!("SELECT LENGTH('{}') AS n;\n", "x".repeat(20_000_000)),
    )
    .unwrap();
    let scripts = [
        "SELECT * FROM t; SELECT 1; SELECT 2",
        "SELECT nonsense FROM t",
        "SHOW WARNINGS; SELECT REPEAT('a', 3000000) AS long_one",
        "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END//\nDELIMITER ;\nCALL p(); DROP PROCEDURE p",
        "SET @a = 1; PREPARE s FROM 'SELECT ? + 1'; EXECUTE s USING @a",
        "BEGIN; UPDATE t SET s = 'x'; ROLLBACK; SELECT s FROM t",
        "SET GLOBAL max_allowed_packet = 67108864",
    ];
    for script in scripts {
        let run = |port: u16| {
            let arguments = ["-papp", "--default-character-set=utf8mb4", "-t", "app"];
            let mut child = mysql(&rig, port, &arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
            text(&child.wait_with_output().unwrap())
        };
        assert_eq!(run(rig.source.port()), run(rig.proxy), "{script}");
    }
    let run = |port: u16| {
        let input = std::fs::File::open(&big).unwrap();
        let arguments = ["-papp", "--max-allowed-packet=64M", "app"];
        text(&mysql(&rig, port, &arguments).stdin(input).output().unwrap())
    };
    assert_eq!(run(rig.source.port()), run(rig.proxy));
    assert!(run(rig.proxy).contains("20000000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_get_the_servers_own_answer() {
    let mut rig = Rig::with("SELECT 1").await;
    rig.start();
    let run = |port: u16| {
        let arguments = [
            "-pwrong",
            "--ssl-mode=DISABLED",
            "--get-server-public-key",
            "-e",
            "SELECT 1",
        ];
        text(&mysql(&rig, port, &arguments).output().unwrap())
    };
    assert_eq!(run(rig.source.port()), run(rig.proxy));
    assert!(run(rig.proxy).contains("ERROR 1045"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_client_sees_the_same_through_the_proxy() {
    let mut rig =
        Rig::with("CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB, d DECIMAL(10,2))")
            .await;
    rig.start();
    rig.on_source("SET GLOBAL max_allowed_packet = 134217728").await;
    let mut conn = through(rig.proxy).await;
    // Around the border at which a payload continues in a second packet.
    for size in [
        0,
        1,
        250,
        251,
        65_535,
        65_536,
        0xff_ffff - 40,
        0xff_ffff,
        0x100_0000,
        40_000_000,
    ] {
        let blob = vec![b'z'; size];
        conn.exec_drop("INSERT INTO t (b, d) VALUES (?, 1.5)", (&blob,))
            .await
            .unwrap();
        let id = conn.last_insert_id().unwrap();
        let back: Option<(Vec<u8>, String)> = conn
            .exec_first("SELECT b, d FROM t WHERE id = ?", (id,))
            .await
            .unwrap();
        let (back, decimal) = back.unwrap();
        assert!(back == blob, "{size} bytes came back as {}", back.len());
        assert_eq!(decimal, "1.50");
    }
    let mut results = conn
        .query_iter("SELECT 1; SELECT 2, 3; DO 1; SELECT 'x'")
        .await
        .unwrap();
    let mut count = 0;
    while !results.is_empty() {
        results.collect::<mysql_async::Row>().await.unwrap();
        count += 1;
    }
    drop(results);
    assert_eq!(count, 4);
    let error = conn.query_drop("SELECT broken FROM nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_eq!(conn.query_first::<u8, _>("SELECT 7").await.unwrap(), Some(7));
    conn.change_user(mysql_async::ChangeUserOpts::default())
        .await
        .unwrap();
    conn.reset().await.unwrap();
    conn.ping().await.unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_idle_clients_and_exits_0() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let mut idle = through(rig.proxy).await;
    let mut busy = through(rig.proxy).await;
    let running = tokio::spawn(async move { busy.query_first::<u8, _>("SELECT SLEEP(2)").await });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(
        rig.sidecar.stop(crate::support::PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
    // What was running when the stop came was answered; the idle client was told.
    assert_eq!(running.await.unwrap().unwrap(), Some(0));
    assert!(idle.ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_on_both_sides() {
    let mut rig = Rig::new(&Plan {
        over_socket: true,
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY);\nINSERT INTO app.t VALUES (42)")
        .await;
    rig.start();
    let socket = rig.path("proxy.sock").to_str().unwrap().to_owned();
    for round in 0..2 {
        // The first round goes the full path of caching_sha2_password, the second the fast one.
        if round == 0 {
            rig.on_source("FLUSH PRIVILEGES").await;
        }
        let arguments = [
            "-S",
            &socket,
            "-uapp",
            "-papp",
            "-N",
            "-e",
            "SELECT id FROM app.t",
        ];
        let said = text(&rig.mysql(&arguments).output().unwrap());
        assert!(said.contains("42"), "round {round}: {said}");
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_authentication_over_tcp() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    rig.on_source("FLUSH PRIVILEGES").await;
    let mut conn = through(rig.proxy).await;
    assert_eq!(conn.query_first::<u8, _>("SELECT 1").await.unwrap(), Some(1));
    let who: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
    assert_eq!(who.as_deref(), Some("app@%"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_refused_as_mysql_does() {
    let mut rig = Rig::new(&Plan {
        proxy: "max_connections = 2",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let first = through(rig.proxy).await;
    let _second = through(rig.proxy).await;
    let ask = || {
        text(
            &mysql(&rig, rig.proxy, &["-papp", "-e", "SELECT 1"])
                .output()
                .unwrap(),
        )
    };
    let said = ask();
    assert!(
        said.contains("1040") && said.contains("Too many connections"),
        "{said}"
    );
    first.disconnect().await.unwrap();
    let until = std::time::Instant::now() + crate::support::PATIENCE;
    while !ask().contains("\n1") {
        assert!(
            std::time::Instant::now() < until,
            "the place was never free again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_down_is_said_at_once() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    rig.source.kill().unwrap();
    let said = text(
        &mysql(&rig, rig.proxy, &["-papp", "-e", "SELECT 5"])
            .output()
            .unwrap(),
    );
    assert!(said.contains("2003"), "{said}");
    rig.source.launch().unwrap();
    let arguments = ["-papp", "--get-server-public-key", "-N", "-e", "SELECT 5"];
    let said = text(&mysql(&rig, rig.proxy, &arguments).output().unwrap());
    assert!(said.contains('5'), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_in_a_statement_is_missed_as_directly() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let ports = [rig.source.port(), rig.proxy];
    let clients = ports.map(|port| {
        let arguments = ["-papp", "--get-server-public-key", "-e", "SELECT SLEEP(600)"];
        let mut command = mysql(&rig, port, &arguments);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut watching = rig.source_conn().await;
    let until = std::time::Instant::now() + crate::support::PATIENCE;
    let sleeping = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info = 'SELECT SLEEP(600)'";
    while watching.query_first::<u8, _>(sleeping).await.unwrap() != Some(2) {
        assert!(std::time::Instant::now() < until, "they do not run");
    }
    rig.source.kill().unwrap();
    let said = clients.map(|client| text(&client.wait_with_output().unwrap()));
    assert_eq!(said[0], said[1]);
    assert!(said[1].contains("ERROR 2013"), "{}", said[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_closed_as_mysql_closes_it() {
    let mut rig = Rig::new(&Plan {
        proxy: "idle_timeout = \"1s\"",
        ..Plan::default()
    })
    .await;
    rig.start();
    // By the source's clock on one way, by the proxy's on the other.
    let run = |port: u16, wait: &str| {
        let script = format!("SET wait_timeout = {wait}; SELECT 1;\n");
        let mut child = mysql(
            &rig,
            port,
            &["-papp", "--get-server-public-key", "--skip-reconnect", "-n"],
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, script.as_bytes()).unwrap();
        // The silence that is too long.
        std::thread::sleep(std::time::Duration::from_secs(4));
        std::io::Write::write_all(&mut input, b"SELECT 2;\n").unwrap();
        drop(input);
        text(&child.wait_with_output().unwrap())
    };
    let (direct, through) = (run(rig.source.port(), "1"), run(rig.proxy, "600"));
    assert_eq!(direct, through);
    assert!(through.contains("ERROR 4031"), "{through}");
}
