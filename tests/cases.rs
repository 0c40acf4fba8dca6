//! Folders of SQL: `before.sql` is there when the copy starts, `after.sql` is replayed; then both sides must hold the same
//! definitions and the same rows. A case named NAME works in the database `case_NAME`, which is the default one.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use mysql_async::prelude::Queryable;

use crate::support::{Plan, Rig};

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

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_equal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.sort();
    let mut rig = Rig::new(&Plan {
        include: &["case_*", "app"],
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
        let sql = format!(
            "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables WHERE table_schema = '{database}'"
        );
        let tables: Vec<String> = source.query(sql).await.unwrap();
        for table in tables {
            let sql = format!("SHOW CREATE TABLE {database}.`{}`", table.replace('`', "``"));
            let ours: mysql_async::Row = source.query_first(&sql).await.unwrap().unwrap();
            let theirs: mysql_async::Row = target.query_first(&sql).await.unwrap().unwrap();
            let text = |row: &mysql_async::Row| row.get::<String, _>(1).unwrap();
            assert_eq!(plain(&text(&ours)), plain(&text(&theirs)), "{database}.{table}");
        }
    }
}

/// A definition without its counter and its definer.
fn plain(text: &str) -> String {
    let words = text
        .split(' ')
        .filter(|word| !word.starts_with("AUTO_INCREMENT=") && !word.starts_with("DEFINER="));
    words.collect::<Vec<_>>().join(" ")
}
