//! `outrigger log show` and `export`: what a log holds, read by people, programs and MySQL's own tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::compare;
use outrigger::demo::server::Server;
use serde_json::Value;

use crate::support::{Plan, Rig, connect, run};

/// `outrigger log …` on the rig's log.
fn log(rig: &Rig, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .arg("log")
        .args(arguments)
        .current_dir(rig.path("sidecar"))
        .output()
        .unwrap()
}

/// What it prints when it succeeds.
fn said(rig: &Rig, arguments: &[&str]) -> String {
    let output = log(rig, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every line as a JSON value.
fn shown(rig: &Rig, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["show", "--json"], arguments].concat();
    let text = said(rig, &arguments);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn one(conn: &mut Conn, query: &str) -> String {
    let found: Option<String> = conn.query_first(query).await.unwrap();
    found.unwrap_or_default().replace('\n', "")
}

/// Changes of every kind that a binlog holds, compressed ones, tagged ones, large ones, over several files.
const CHANGES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, e ENUM('a','b'), s VARCHAR(200) CHARACTER SET latin1, b VARBINARY(20), d DECIMAL(20,5), ts TIMESTAMP(3) NULL, j JSON, f FLOAT);
INSERT INTO app.t (e, s, b, d, ts, j, f) VALUES ('a', 'ä', x'00ff', -1.5, '2020-02-02 02:02:02.222', '{\"k\": [1, 2.5, \"x\"]}', 0.1), ('b', 'it''s', NULL, 12345678.9, NULL, NULL, 1e20);
UPDATE app.t SET s = CONCAT(s, '!'), j = JSON_SET(j, '$.k[0]', 7) WHERE id = 1;
CREATE TABLE app.keyless (v INT, s VARCHAR(50));
INSERT INTO app.keyless VALUES (1, 'same'), (1, 'same'), (NULL, NULL);
DELETE FROM app.keyless WHERE v = 1 LIMIT 1;
SET SESSION binlog_transaction_compression = ON;
INSERT INTO app.t (e, s) SELECT 'a', REPEAT('compressed ', 15) FROM information_schema.collations;
UPDATE app.t SET f = id WHERE id > 2;
SET SESSION binlog_transaction_compression = OFF;
SET SESSION gtid_next = 'AUTOMATIC:tagged';
INSERT INTO app.t (e, s) VALUES ('b', 'by a tag');
SET SESSION gtid_next = 'AUTOMATIC';
FLUSH BINARY LOGS;
XA START 'one', 'branch', 7;
INSERT INTO app.keyless VALUES (7, 'prepared');
XA END 'one', 'branch', 7;
XA PREPARE 'one', 'branch', 7
";

const MORE: &str = "
XA COMMIT 'one', 'branch', 7;
XA START 'two';
INSERT INTO app.keyless VALUES (8, 'one phase');
XA END 'two';
XA COMMIT 'two' ONE PHASE;
ALTER TABLE app.t RENAME COLUMN s TO renamed, ADD COLUMN extra BIGINT UNSIGNED DEFAULT 18446744073709551615;
CREATE TABLE app.big (id INT PRIMARY KEY, a LONGBLOB);
SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO app.big WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 700) SELECT n, REPEAT(CHAR(n % 256), 10000) FROM s;
SET GLOBAL binlog_checksum = NONE;
UPDATE app.t SET renamed = 'without checksum' WHERE id = 2;
SET GLOBAL binlog_checksum = CRC32;
CREATE TABLE app.chosen SELECT id, renamed FROM app.t;
TRUNCATE TABLE app.keyless;
INSERT INTO app.big VALUES (100000, REPEAT('y', 3000000))
";

/// A rig whose running sidecar has captured all of these; and the source's GTIDs before them.
async fn with_changes() -> (Rig, String) {
    let mut rig = Rig::new(&Plan::default()).await;
    let before = one(&mut rig.source_conn().await, "SELECT @@gtid_executed").await;
    rig.start();
    rig.on_source(CHANGES).await;
    // From a session of its own: the prepared transaction belongs to nobody now.
    rig.on_source(MORE).await;
    rig.settle().await;
    (rig, before)
}

/// The names of the exported files, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let index = std::fs::read_to_string(folder.join("binlog.index")).unwrap();
    let files: Vec<PathBuf> = index.lines().map(|line| folder.join(line)).collect();
    let there = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(there, files.len() + 1, "nothing but what the index lists");
    files
}

fn mysqlbinlog(rig: &Rig, arguments: &[&str], files: &[PathBuf]) -> Command {
    let mut command = rig.installation.command("mysqlbinlog");
    command.arg("--no-defaults").args(arguments).args(files);
    command
}

/// Replays files as an operator would: `mysqlbinlog FILES | mysql`.
fn pipe(rig: &Rig, files: &[PathBuf], server: &Server) {
    let mut from = mysqlbinlog(rig, &["--verify-binlog-checksum"], files)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let socket = format!("--socket={}", server.socket().display());
    let to = rig
        .mysql(&["--user=root", "--binary-mode", "--max-allowed-packet=1G", &socket])
        .stdin(from.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(to.status.success(), "{}", String::from_utf8_lossy(&to.stderr));
    assert!(from.wait().unwrap().success());
}

/// A server that has nothing but the database and the GTIDs from before the log.
async fn empty(rig: &Rig, before: &str) -> Server {
    let options = [
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--max-allowed-packet=1G",
    ];
    let server = Server::start(&rig.installation, &rig.path("empty"), &options).unwrap();
    let mut conn = connect(&server).await;
    run(
        &mut conn,
        &format!("CREATE DATABASE app;\nRESET BINARY LOGS AND GTIDS;\nSET GLOBAL gtid_purged = '{before}'"),
    )
    .await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_files_are_a_server_s() {
    let (mut rig, before) = with_changes().await;
    let executed = one(&mut rig.source_conn().await, "SELECT @@gtid_executed").await;
    // While the sidecar runs; then once more when it doesn't.
    let folder = rig.path("export");
    let arguments = ["export", "--to", folder.to_str().unwrap(), "--max-size", "2 MiB"];
    let text = said(&rig, &arguments);
    let files = files(&folder);
    assert!(files.len() >= 6, "{text}");
    let again = log(&rig, &arguments);
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("is there already"),
        "nothing is overwritten"
    );
    for file in &files {
        let output = mysqlbinlog(
            &rig,
            &["--verify-binlog-checksum", "--verbose"],
            std::slice::from_ref(file),
        )
        .output()
        .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !error.contains("ERROR"),
            "{}: {error}",
            file.display()
        );
    }
    let server = empty(&rig, &before).await;
    pipe(&rig, &files, &server);
    let (mut source, mut other) = (rig.source_conn().await, connect(&server).await);
    let compared = compare::databases(&mut source, &mut other, &["app"])
        .await
        .unwrap();
    assert!(
        compared.len() >= 5 && compared.iter().all(compare::Comparison::equal),
        "{compared:#?}"
    );
    assert_eq!(one(&mut other, "SELECT @@gtid_executed").await, executed);

    rig.sidecar.kill().unwrap();
    let second = rig.path("second");
    said(
        &rig,
        &["export", "--to", second.to_str().unwrap(), "--max-size", "2 MiB"],
    );
    for file in &files {
        let name = file.file_name().unwrap();
        assert!(
            std::fs::read(file).unwrap() == std::fs::read(second.join(name)).unwrap(),
            "{}",
            file.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_exported_files() {
    let (rig, before) = with_changes().await;
    let executed = one(&mut rig.source_conn().await, "SELECT @@gtid_executed").await;
    let folder = rig.path("export");
    said(
        &rig,
        &["export", "--to", folder.to_str().unwrap(), "--prefix", "old"],
    );
    // They become the binlogs of a server that has nothing else, and another one replicates from it.
    let origin = rig.path("origin");
    let options = [
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--server-id=71",
    ];
    let mut server = Server::start(&rig.installation, &origin, &options).unwrap();
    server.stop().unwrap();
    let data = origin.join("data");
    let index = std::fs::read_to_string(folder.join("old.index")).unwrap();
    for name in index.lines() {
        std::fs::copy(folder.join(name), data.join(name)).unwrap();
    }
    std::fs::write(data.join("old.index"), &index).unwrap();
    server.set_options(&[&options[..], &["--log-bin=old"]].concat());
    server.launch().unwrap();
    run(&mut connect(&server).await, "SET SESSION sql_log_bin = 0;\nCREATE USER replica@'%' IDENTIFIED BY 'r';\nGRANT REPLICATION SLAVE ON *.* TO replica@'%'").await;
    let replica = empty(&rig, &before).await;
    let mut conn = connect(&replica).await;
    run(
        &mut conn,
        &format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'replica', SOURCE_PASSWORD = 'r', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
             START REPLICA",
            server.port()
        ),
    )
    .await;
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)");
    let waited: Option<u8> = conn.query_first(wait).await.unwrap();
    let trouble = one(&mut conn, "SELECT GROUP_CONCAT(LAST_ERROR_MESSAGE) FROM (SELECT LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker UNION SELECT LAST_ERROR_MESSAGE FROM performance_schema.replication_connection_status) e").await;
    assert_eq!(waited, Some(0), "{trouble}");
    let compared = compare::databases(&mut rig.source_conn().await, &mut conn, &["app"])
        .await
        .unwrap();
    assert!(
        compared.len() >= 5 && compared.iter().all(compare::Comparison::equal),
        "{compared:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shown_as_text_and_json() {
    let mut rig = Rig::new(&Plan {
        source: &["--binlog-row-metadata=FULL", "--binlog-rows-query-log-events=ON"],
        ..Plan::default()
    })
    .await;
    rig.start();
    rig.on_source(CHANGES).await;
    rig.on_source(MORE).await;
    rig.settle().await;

    // Without rows no value is printed, only what happened.
    let text = said(&rig, &["show"]);
    for line in [
        "  insert app.t: 2 rows",
        "  update app.t: 1 row\n",
        "  delete app.keyless: 1 row\n",
        "  insert app.big: 700 rows",
        ":tagged:1, committed 20",
        "compressed",
        "  statement: XA COMMIT X'6f6e65',X'6272616e6368',7",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(
        !text.contains("it''s") && !text.contains("by a tag") && !text.contains("one phase'"),
        "{text}"
    );

    // Names as of the row's own time.
    let rows = shown(&rig, &["--rows", "--table", "app.t"]);
    let first = &rows[1]["changes"][0];
    assert_eq!(
        (&first["kind"], &first["table"], &first["rows"]),
        (&"insert".into(), &"t".into(), &2.into())
    );
    assert!(first["by"].as_str().unwrap().starts_with("INSERT INTO app.t"));
    let row = &first["images"][0]["after"];
    assert_eq!(
        row["s"],
        serde_json::json!({"charset": "latin1", "hex": "e4"}),
        "{row:#}"
    );
    assert_eq!(row["b"], serde_json::json!({"hex": "00ff"}));
    assert_eq!(
        (&row["e"], &row["d"], &row["f"]),
        (&"a".into(), &"-1.50000".into(), &0.1.into())
    );
    assert_eq!(row["j"], r#"{"k": [1, 2.5, "x"]}"#);
    let renamed = rows
        .iter()
        .rev()
        .find(|row| row["changes"][0]["kind"] == "update")
        .unwrap();
    let after = &renamed["changes"][0]["images"][0]["after"];
    assert_eq!(
        (&after["renamed"], &after["extra"]),
        (&"without checksum".into(), &u64::MAX.into()),
        "{renamed:#}"
    );
    assert!(rows.iter().all(|row| !row.to_string().contains("keyless")));
    let compressed: Vec<_> = rows.iter().filter(|row| row["compressed"] == true).collect();
    assert!(compressed.len() == 2 && compressed[0]["changes"][0]["rows"].as_u64() > Some(100));

    // By offset, by GTID, by time.
    let offset = renamed["offset"].to_string();
    assert_eq!(
        shown(
            &rig,
            &["--from-offset", &offset, "--until-offset", &offset, "--rows"]
        ),
        [(*renamed).clone()]
    );
    let gtid = renamed["gtid"].as_str().unwrap();
    assert_eq!(
        shown(&rig, &["--gtid", gtid, "--rows", "--table", "app.t"]),
        [(*renamed).clone()]
    );
    let committed = renamed["committed"].as_str().unwrap();
    let at = shown(
        &rig,
        &["--from-time", committed, "--until-time", committed, "--rows"],
    );
    assert!(at.contains(renamed) && at.iter().all(|row| row["committed"] == committed));
    assert!(shown(&rig, &["--from-time", "2999-01-01 00:00:00"]).is_empty());
    // Pieces of a large transaction are one.
    let big = shown(&rig, &["--table", "app.big"]);
    assert!(
        big.iter()
            .any(|row| row["pieces"].as_u64() > Some(5) && row["changes"][0]["rows"] == 700),
        "{big:#?}"
    );
}
