//! Events larger than what is held of them at a time: through capture, log and applier, and out of the log again (C3).

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::{PATIENCE, Plan, Rig, run};

const TABLES: &str = "CREATE TABLE app.noise (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(1024))";

/// A compressed transaction of so many MiB that can't be compressed.
fn noise(mib: u32) -> String {
    let rows = mib * 1024;
    format!(
        "SET SESSION cte_max_recursion_depth = 1000000;
         SET SESSION binlog_transaction_compression = ON;
         INSERT INTO app.noise (v) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) \
         SELECT RANDOM_BYTES(1024) FROM s"
    )
}

fn log(rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command
        .arg("log")
        .args(arguments)
        .current_dir(rig.path("sidecar"));
    command
}

/// What a command prints with `--json`, line by line.
fn answers(rig: &Rig, arguments: &[&str]) -> Vec<Value> {
    let output = log(rig, arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    match serde_json::from_str(&text) {
        Ok(one) => vec![one],
        Err(_) => text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    }
}

/// The most memory that a command held, in MiB.
fn peak_of(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_passes_in_parts() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let idle = rig.sidecar.peak_kib();
    rig.on_source(&noise(150)).await;
    rig.settle().await;
    let used = (rig.sidecar.peak_kib() - idle) / 1024;
    assert!(
        used <= 256,
        "150 MiB in one compressed transaction took {used} MiB of memory"
    );
    rig.assert_equal(&["app"]).await;

    let shown = answers(&rig, &["show"]);
    let large = shown
        .iter()
        .find(|transaction| transaction["compressed"] == true)
        .unwrap();
    assert_eq!(large["changes"][0]["rows"], 150 * 1024, "{large:#}");
    assert!(
        large["pieces"].as_u64() > Some(100) && large["bytes"].as_u64() > Some(150 << 20),
        "{large:#}"
    );
    let verified = &answers(&rig, &["verify"])[0];
    assert_eq!(verified["damaged"], 0, "{verified:#}");

    let folder = rig.path("export");
    let to = folder.to_str().unwrap();
    let held = peak_of(log(&rig, &["export", "--to", to]));
    assert!(held < 150, "the export held {held} MiB");
    let mut reading = rig
        .installation
        .command("mysqlbinlog")
        .args([
            "--no-defaults",
            "--verify-binlog-checksum",
            "--base64-output=decode-rows",
        ])
        .arg(folder.join("binlog.000001"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut payloads, mut rows) = (0, 0);
    for line in BufReader::new(reading.stdout.take().unwrap()).lines() {
        let line = line.unwrap_or_default();
        payloads += usize::from(line.contains("Transaction_Payload"));
        rows += usize::from(line.contains("Write_rows"));
    }
    assert!(reading.wait().unwrap().success());
    assert!(
        payloads >= 1 && rows > 10_000,
        "{payloads} payloads, {rows} events of rows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_an_event() {
    let mut rig = Rig::with(TABLES).await;
    rig.sidecar.start_with("log-append=25*off->return").unwrap();
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    rig.on_source(&noise(40)).await;
    let until = Instant::now() + PATIENCE;
    while rig.sidecar.running().unwrap() {
        assert!(Instant::now() < until, "never there: {}", rig.sidecar.log_end());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Nothing of it is there for readers.
    let shown = answers(&rig, &["show"]);
    assert!(
        shown.iter().all(|transaction| transaction["compressed"] == false),
        "{shown:#?}"
    );
    assert_eq!(answers(&rig, &["verify"])[0]["damaged"], 0);
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let verified = &answers(&rig, &["verify"])[0];
    assert_eq!(verified["damaged"], 0, "{verified:#}");
}

/// Transactions that go to the target in several batches, each as soon as the one before is executed: all of them on one
/// connection, in one target transaction.
#[tokio::test(flavor = "multi_thread")]
async fn every_batch_of_a_transaction_counts() {
    let mut rig = Rig::new(&Plan {
        task: "group = { lanes = 4, max_bytes = \"64 KiB\" }",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY, v INT, filler VARCHAR(2000))")
        .await;
    rig.start();
    rig.settle().await;
    let mut source = rig.source_conn().await;
    for first in (0..24_000).step_by(160) {
        let rows: Vec<String> = (first..first + 160)
            .map(|id| format!("({id}, 0, REPEAT('x', 1000))"))
            .collect();
        let last = first + 159;
        run(
            &mut source,
            &format!(
                "INSERT INTO app.t VALUES {};\nUPDATE app.t SET v = 1 WHERE id BETWEEN {first} AND {last}",
                rows.join(",")
            ),
        )
        .await;
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// A row as large as a default server takes, copied and replayed; the statements that write it are larger.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_64_mib() {
    let options = ["--max-allowed-packet=256M"];
    let mut rig = Rig::new(&Plan {
        source: &options,
        target: &options,
        ..Plan::default()
    })
    .await;
    // Bytes of which some, and of which all have to be escaped.
    rig.on_source(
        "CREATE TABLE app.t (id INT PRIMARY KEY, b LONGBLOB, n INT);
         INSERT INTO app.t VALUES (1, REPEAT(RANDOM_BYTES(1024), 65536), 1), (2, REPEAT(x'00', 67108864), 2), (3, '', 3)",
    )
    .await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    for change in [
        "INSERT INTO app.t VALUES (4, REPEAT(RANDOM_BYTES(1024), 65536), 4)",
        "UPDATE app.t SET n = n + 10",
        "UPDATE app.t SET b = REPEAT(x'27', 67108864) WHERE id = 3",
        "UPDATE app.t SET b = REPEAT(RANDOM_BYTES(1024), 65536), id = 20 WHERE id = 2",
        "DELETE FROM app.t WHERE id IN (1, 4)",
    ] {
        rig.on_source(change).await;
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
