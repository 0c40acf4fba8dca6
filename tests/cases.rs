//! Folders of SQL: `before.sql` is there when the copy starts, `after.sql` is replayed; then both sides must hold the same
//! definitions and the same rows. A case named NAME works in the database `case_NAME`, which is the default one.

use std::fs;
use std::path::Path;
use std::process::Stdio;

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
