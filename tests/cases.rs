//! Folders of SQL: `before.sql` is there when the copy starts, `after.sql` is replayed; then both sides must hold the same
//! definitions and the same rows. A case named NAME works in the database `case_NAME`, which is the default one.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use mysql_async::prelude::Queryable;

use crate::support::{Plan, Rig, definitions};

fn run_file(rig: &Rig, database: &str, file: &Path) {
    let socket = rig.source.socket();
    let socket = socket.to_str().unwrap();
    let arguments = [
        "-uroot",
        "-S",
        socket,
        "--default-character-set=utf8mb4",
        "--binary-mode",
        database,
    ];
    let output = rig
        .mysql(&arguments)
        .stdin(Stdio::from(fs::File::open(file).unwrap()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Fills a database with what a case has before the copy.
pub(crate) fn run_before(rig: &Rig, case: &str, database: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    run_file(rig, database, &folder.join(case).join("before.sql"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal() {
    run_all(&Settings::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal_where_table_maps_tell_all() {
    run_all(&Settings {
        metadata: "FULL",
        ..Settings::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal_where_rows_are_logged_in_part() {
    run_all(&Settings {
        image: "MINIMAL",
        ..Settings::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal_where_blobs_are_left_out() {
    run_all(&Settings {
        metadata: "FULL",
        image: "NOBLOB",
        ..Settings::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal_where_chunks_are_small() {
    run_all(&Settings {
        chunk_rows: 2,
        ..Settings::default()
    })
    .await;
}

/// A view's and a routine's text is kept in the character set of the session that made it.
#[tokio::test(flavor = "multi_thread")]
async fn views_and_routines_keep_the_literals_of_their_session() {
    const ASKED: &str = "SELECT CONCAT_WS(' ', app.latin(), app.four(), HEX(l.a), HEX(l.b), HEX(l.c), HEX(f.a), HEX(f.b), HEX(f.c)) \
                         FROM app.latin_view AS l, app.four_view AS f";
    let columns = "'é' AS a, _latin1'é' AS b, _utf8mb4'😀' AS c";
    let returned = "CONCAT_WS(' ', HEX('é'), HEX(_latin1'é'), HEX(_utf8mb4'😀'))";
    let objects = |name: &str| {
        format!(
            "CREATE VIEW app.{name}_view AS SELECT {columns};\n\
             CREATE FUNCTION app.{name}() RETURNS VARCHAR(60) DETERMINISTIC RETURN {returned}"
        )
    };
    let mut rig = Rig::new(&Plan {
        source: &["--log-bin-trust-function-creators=1"],
        target: &["--log-bin-trust-function-creators=1"],
        source_grants: "REPLICATION SLAVE, REPLICATION CLIENT, SELECT, SHOW VIEW, LOCK TABLES, SHOW_ROUTINE",
        ..Plan::default()
    })
    .await;
    rig.on_source(&format!(
        "SET NAMES latin1;\n{};\nSET NAMES utf8mb4;\n{}",
        objects("latin"),
        objects("four")
    ))
    .await;
    rig.start();
    let ours: Option<String> = rig.source_conn().await.query_first(ASKED).await.unwrap();
    let theirs: Option<String> = rig.target_conn().await.query_first(ASKED).await.unwrap();
    assert!(
        ours.as_ref().is_some_and(|ours| ours.contains("F09F9880")),
        "{ours:?}"
    );
    assert_eq!(ours, theirs);
}

/// How the source logs, and how its tables are copied.
struct Settings {
    metadata: &'static str,
    image: &'static str,
    chunk_rows: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            metadata: "MINIMAL",
            image: "FULL",
            chunk_rows: 20_000,
        }
    }
}

async fn run_all(settings: &Settings) {
    let options = [
        format!("--binlog-row-metadata={}", settings.metadata),
        format!("--binlog-row-image={}", settings.image),
    ];
    let copy = format!("copy = {{ chunk_rows = {} }}", settings.chunk_rows);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.sort();
    let mut rig = Rig::new(&Plan {
        include: &["case_*", "app"],
        source: &options.each_ref().map(String::as_str),
        partial_row_images: settings.image != "FULL",
        task: &copy,
        ..Plan::default()
    })
    .await;
    let databases: Vec<String> = cases.iter().map(|case| format!("case_{case}")).collect();
    for (case, database) in cases.iter().zip(&databases) {
        rig.on_source(&format!(
            "CREATE DATABASE {database} DEFAULT CHARACTER SET utf8mb4"
        ))
        .await;
        run_file(&rig, database, &folder.join(case).join("before.sql"));
    }
    rig.start();
    rig.settle().await;
    let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
    rig.assert_equal(&databases).await;
    for (case, database) in cases.iter().zip(&databases) {
        run_file(&rig, database, &folder.join(case).join("after.sql"));
    }
    rig.settle().await;
    rig.assert_equal(&databases).await;
    let (mut source, mut target) = (rig.source_conn().await, rig.target_conn().await);
    for database in databases {
        let ours = definitions(&mut source, database).await.unwrap();
        let theirs = definitions(&mut target, database).await.unwrap();
        assert_eq!(ours, theirs);
    }
}
