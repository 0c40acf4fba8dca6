//! The log's disk full, or failing: the status says so, proxy and HTTP go on, and everything goes on where it was once that is
//! mended, without a restart and with nothing lost (C2, W3).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;

use crate::support::{PATIENCE, Rig};

const TABLES: &str = "
CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(2000));
INSERT INTO app.t (v) VALUES (1), (2), (3);
";
/// No file of the process may become larger: a disk that is full as far as it can see.
const FULL: &str = "--fsize=100000:unlimited";

/// About 100 KB that don't compress, in one transaction.
const ROWS: &str = "INSERT INTO app.t (v) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) \
                    SELECT RANDOM_BYTES(1000) FROM s";

fn limit(rig: &Rig, size: &str) {
    let pid = rig.sidecar.pid().unwrap().to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &pid, size])
        .status()
        .unwrap();
    assert!(done.success());
}

async fn wait_for(rig: &mut Rig, what: &str, found: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    let mut last = Value::Null;
    while Instant::now() < until {
        assert!(
            rig.sidecar.running().unwrap(),
            "it ended:\n{}",
            rig.sidecar.log_end()
        );
        if let Ok(status) = rig.sidecar.status() {
            if found(&status) {
                return status;
            }
            last = status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {what}: {last:#}\n{}", rig.sidecar.log_end());
}

fn is_waiting(part: &Value) -> bool {
    part["state"] == "retrying"
        && part["side"] == "log"
        && part["for_seconds"].is_number()
        && part["why"].as_str().is_some_and(|why| why.contains("log: "))
}

/// While the log can't be used: everyone says so, and the proxy passes on what applications do.
async fn expect_waiting(rig: &mut Rig) {
    let status = wait_for(rig, "waiting for the log", |status| is_waiting(&status["log"])).await;
    assert!(is_waiting(&status["source"]), "{status:#}");
    assert!(is_waiting(&status["tasks"][0]), "{status:#}");
    let health = rig.sidecar.get("/healthz").unwrap_err().to_string();
    assert!(health.contains("503"), "{health}");
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .prefer_socket(false);
    let mut conn = Conn::new(opts).await.unwrap();
    conn.query_drop("INSERT INTO app.t (v) VALUES ('through the proxy')")
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let pid = rig.sidecar.pid();
    for round in 0..2 {
        rig.on_source(ROWS).await;
        rig.settle().await;
        limit(&rig, FULL);
        for _ in 0..5 {
            rig.on_source(ROWS).await;
        }
        expect_waiting(&mut rig).await;
        rig.on_source(&format!("CREATE TABLE app.meanwhile{round} (id INT PRIMARY KEY)"))
            .await;
        rig.on_source(ROWS).await;
        limit(&rig, "--fsize=unlimited:unlimited");
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
        let status = rig.sidecar.status().unwrap();
        assert_eq!(status["log"]["state"], "open", "{status:#}");
    }
    assert_eq!(rig.sidecar.pid(), pid);
    assert_eq!(
        rig.sidecar.stop(PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    for _ in 0..5 {
        rig.on_source(ROWS).await;
    }
    rig.settle().await;
    // Opening the log again writes what the write-ahead log holds into tables.
    rig.sidecar.kill().unwrap();
    rig.on_source(ROWS).await;
    rig.sidecar.start_under(&["prlimit", FULL], "").unwrap();
    expect_waiting(&mut rig).await;
    limit(&rig, "--fsize=unlimited:unlimited");
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let status = rig.sidecar.status().unwrap();
    assert!(
        status["log"]["found"]
            .to_string()
            .contains("ended without closing"),
        "{status:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_loses_nothing() {
    let mut rig = Rig::with(TABLES).await;
    rig.sidecar
        .start_with("log-sync-fails=15*off->1*return->10*off->1*return")
        .unwrap();
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    let until = Instant::now() + PATIENCE;
    let failures = |rig: &Rig| {
        let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
        log.matches("the log can be used again").count()
    };
    while failures(&rig) < 2 {
        assert!(Instant::now() < until, "{}", rig.sidecar.log_end());
        rig.on_source(
            "INSERT INTO app.t (v) VALUES ('x');\nUPDATE app.t SET v = CONCAT(v, '.') WHERE id % 7 = 0",
        )
        .await;
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// What a disk that does not take writes answers.
/// What the kernel says of a disk that is smaller than it claims depends on who writes: the file system its journal, or the log
/// past the page cache, which gets the loop device's own answer.
const WHY: &[&str] = &[
    "Read-only file system",
    "Input/output error",
    "No space left on device",
];

/// A file system of the log's own, in a file that is mounted. Unmounted when dropped.
struct Disk {
    at: PathBuf,
    image: PathBuf,
    /// A file system in memory that holds the image, and may be smaller than it.
    store: PathBuf,
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Disk {
    /// `None` where nothing can be mounted (no privileges, no loop devices, no ext4). `real`: how much of its 256 MiB there is.
    fn new(rig: &Rig, real: &str) -> Option<Self> {
        let (at, store) = (rig.path("sidecar/log"), rig.path("store"));
        std::fs::create_dir_all(&at).unwrap();
        std::fs::create_dir_all(&store).unwrap();
        let size = format!("size={real}");
        if !succeeds("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", text(&store)]) {
            return None;
        }
        let image = store.join("image");
        let disk = Self { at, image, store };
        std::fs::File::create(&disk.image)
            .unwrap()
            .set_len(256 << 20)
            .unwrap();
        (succeeds("mkfs.ext4", &["-q", "-E", "nodiscard", text(&disk.image)]) && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        succeeds("mount", &["-o", "loop", text(&self.image), text(&self.at)])
    }

    /// Takes it away, whoever uses it, and brings it back whole.
    fn mend(&self) {
        assert!(succeeds("umount", &["-l", text(&self.at)]));
        assert!(succeeds("mount", &["-o", "remount,size=400m", text(&self.store)]));
        // It is in use until the process has let go of its files.
        let until = Instant::now() + PATIENCE;
        let used = || {
            let listed = Command::new("losetup").args(["-j", text(&self.image)]).output();
            !listed.unwrap().stdout.is_empty()
        };
        while used() {
            assert!(
                Instant::now() < until,
                "files of a log that failed are still open"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        // Succeeds for nothing to mend (0) and for mended (1).
        let checked = Command::new("e2fsck")
            .args(["-p", text(&self.image)])
            .output()
            .unwrap();
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mounted in [&self.at, &self.store] {
            succeeds("umount", &["-l", text(mounted)]);
        }
    }
}

#[expect(clippy::print_stdout, reason = "a test that can't do its work says so")]
fn skipped() {
    println!("SKIPPED: nothing can be mounted here (this needs root, mount, loop devices and mkfs.ext4)");
}

/// Breaks the log's disk, expects that everybody says so, mends it, expects that nothing is lost.
async fn broken_and_mended(real: &str, breaking: impl Fn(&Disk), why: &[&str]) {
    let mut rig = Rig::with(TABLES).await;
    let Some(disk) = Disk::new(&rig, real) else {
        return skipped();
    };
    rig.start();
    let pid = rig.sidecar.pid();
    rig.on_source(ROWS).await;
    rig.settle().await;
    breaking(&disk);
    let until = Instant::now() + PATIENCE;
    while !is_waiting(&rig.sidecar.status().unwrap()["log"]) {
        assert!(Instant::now() < until, "never noticed: {}", rig.sidecar.log_end());
        rig.on_source(ROWS).await;
    }
    expect_waiting(&mut rig).await;
    let said = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(
        why.iter().any(|why| said.contains(why)),
        "{}",
        rig.sidecar.log_end()
    );
    rig.on_source("CREATE TABLE app.meanwhile (id INT PRIMARY KEY)")
        .await;
    rig.on_source(ROWS).await;
    disk.mend();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let status = rig.sidecar.status().unwrap();
    assert_eq!(status["log"]["state"], "open", "{status:#}");
    assert_eq!(rig.sidecar.pid(), pid);
    rig.sidecar.stop(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_waited_for() {
    let abort = |disk: &Disk| assert!(succeeds("mount", &["-o", "remount,abort", text(&disk.at)]));
    broken_and_mended("400m", abort, &WHY[..2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_waited_for() {
    // There is less of it than it says: from there on every write is an I/O error.
    // Either the log's own file is hit, or the file system's journal, which makes all of it read-only.
    broken_and_mended("24m", |_| (), WHY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_directory_vanishes_is_named() {
    let mut rig = Rig::with(TABLES).await;
    rig.start();
    let pid = rig.sidecar.pid();
    let (log, away) = (rig.path("sidecar/log"), rig.path("sidecar/away"));
    for idle in [false, true] {
        rig.on_source(ROWS).await;
        rig.settle().await;
        // As a disk that is unmounted: open files stay usable.
        std::fs::rename(&log, &away).unwrap();
        if !idle {
            rig.on_source("INSERT INTO app.t (v) VALUES ('nowhere')").await;
        }
        let status = wait_for(&mut rig, "gone", |status| is_waiting(&status["log"])).await;
        let why = status["log"]["why"].as_str().unwrap();
        assert!(
            why.contains("is not there any more") && why.contains("mounted"),
            "{why}"
        );
        expect_waiting(&mut rig).await;
        std::fs::rename(&away, &log).unwrap();
        rig.settle().await;
        rig.assert_equal(&["app"]).await;
    }
    // Deleted, and something else in its place: never taken for the log.
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    rig.on_source("INSERT INTO app.t (v) VALUES ('lost')").await;
    expect_waiting(&mut rig).await;
    // RocksDB writes its manifest anew when a write fails, wherever that goes: what it leaves there is no log.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let status = rig.sidecar.status().unwrap();
        let why = status["log"]["why"].as_str().unwrap();
        assert!(why.contains("If it was deleted"), "{why}");
        assert!(!log.join("outrigger.lock").exists(), "made anew");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.sidecar.pid(), pid);
}
