//! What a crash leaves: nothing that was advertised is lost, nothing half stands there, nothing stands twice (C2, W3).

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_storage::{Config, Error, Log, Offset};
use tempfile::tempdir;

use crate::support::{DEADLINE, append, config, copy, expect, open, piece_of, position, soon};

/// Sizes of each transaction's pieces in these tests.
const PIECES: [usize; 3] = [3000, 2000, 1000];

/// Files of the write-ahead log.
fn write_ahead_logs(path: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect()
}

/// Sizes that make a rush: writes go past the write-ahead log.
const RUSH: [usize; 3] = [300_000, 200_000, 100_000];

/// Opens what a crash left: everything up to `durable` is there, whole, and the position fits; then the log goes on.
async fn expect_whole(path: &Path, durable: u64) -> u64 {
    expect_whole_of(path, durable, &PIECES).await
}

async fn expect_whole_of(path: &Path, durable: u64, sizes: &[usize]) -> u64 {
    let log = open(path);
    let found = log.recovery().sentences();
    assert!(
        found.iter().any(|what| what.contains("ended without closing")),
        "{found:?}"
    );
    let last = log.durable().borrow().0;
    assert!(
        last >= durable,
        "{durable} was advertised as durable, {last} was found"
    );
    assert_eq!(log.position(), (last > 0).then(|| position(last)));
    let mut reader = log.reader(Offset::ZERO).unwrap();
    expect(&mut reader, 1, last, sizes).await;
    let mut appender = log.appender().unwrap();
    append(&mut appender, last + 1, sizes).await;
    expect(&mut reader, last + 1, last + 1, sizes).await;
    soon(appender.sync()).await.unwrap();
    assert_eq!(reader.try_next().unwrap(), None);
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_log_in_use_opens_whole() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for round in 0..20_u64 {
        for number in round * 50 + 1..=round * 50 + 50 {
            append(&mut appender, number, &PIECES).await;
        }
        let durable = log.durable().borrow().0;
        let crashed = tempdir().unwrap();
        copy(dir.path(), crashed.path());
        expect_whole(crashed.path(), durable).await;
    }
}

#[tokio::test]
async fn an_unfinished_transaction_is_gone_after_a_crash() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &PIECES).await;
    for piece in 0..20 {
        appender.append(piece_of(2, piece, 100_000, false)).await.unwrap();
    }
    soon(appender.sync()).await.unwrap();
    let crashed = tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let log = open(crashed.path());
    let found = log.recovery();
    assert_eq!(found.discarded, Some((Offset(2), 20)));
    assert_eq!(found.torn_bytes, None);
    assert_eq!(found.left_by.as_ref().unwrap().pid, Some(std::process::id()));
    let text = found.sentences().join("\n");
    assert!(
        text.contains("an unfinished transaction of 20 pieces was discarded"),
        "{text}"
    );
    log.close().unwrap();
    let log = open(crashed.path());
    assert_eq!(log.recovery(), &outrigger_storage::Recovery::default());
    drop(log);
    let again = tempdir().unwrap();
    copy(dir.path(), again.path());
    assert_eq!(expect_whole(again.path(), 1).await, 1);
}

#[tokio::test]
async fn a_torn_write_ahead_log_ends_at_a_whole_transaction() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for number in 1..=30 {
        append(&mut appender, number, &PIECES).await;
    }
    soon(appender.sync()).await.unwrap();
    let wal = |path: &Path| write_ahead_logs(path).into_iter().max().unwrap();
    let size = std::fs::metadata(wal(dir.path())).unwrap().len();
    let mut seen = std::collections::BTreeSet::new();
    let mut reported = 0;
    for cut in 1..40 {
        let crashed = tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let file = std::fs::File::options()
            .write(true)
            .open(wal(crashed.path()))
            .unwrap();
        file.set_len(size - cut * size / 41).unwrap();
        drop(file);
        let torn = open(crashed.path()).recovery().torn_bytes;
        reported += u32::from(torn.is_some());
        let crashed = tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let file = std::fs::File::options()
            .write(true)
            .open(wal(crashed.path()))
            .unwrap();
        file.set_len(size - cut * size / 41).unwrap();
        seen.insert(expect_whole(crashed.path(), 0).await);
    }
    assert!(seen.len() > 10, "the cuts hit only {seen:?}");
    // Some cuts may fall between two records.
    assert!(
        reported > 30,
        "a torn end was reported after {reported} of 39 cuts"
    );
}

#[tokio::test]
async fn a_damaged_last_record_is_found_at_opening() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[100]).await;
    drop(appender);
    drop(log);
    {
        let families = ["default", "events", "meta", "schemas"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), families).unwrap();
        let events = db.cf_handle("events").unwrap();
        let (key, mut value) = db
            .iterator_cf(events, rocksdb::IteratorMode::End)
            .next()
            .unwrap()
            .unwrap();
        *value.last_mut().unwrap() ^= 1;
        db.put_cf(events, key, value).unwrap();
    }
    let refused = Log::open(config(dir.path())).unwrap_err();
    assert!(
        matches!(&refused, Error::Corrupt { what, .. } if what.contains("offset 1")),
        "{refused}"
    );
}

/// Not a test of its own: what the child process of [`killed`] does.
#[tokio::test]
async fn child_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os("OUTRIGGER_LOG_TEST_CHILD") else {
        return;
    };
    let _scenario = fail::FailScenario::setup();
    let rush = std::env::var_os("OUTRIGGER_LOG_TEST_RUSH").is_some();
    let sizes = if rush { RUSH } else { PIECES };
    let log = if rush {
        Log::open(rushing(Path::new(&path))).unwrap()
    } else {
        open(Path::new(&path))
    };
    let durable = log.durable();
    let mut appender = log.appender().unwrap();
    let from = durable.borrow().0 + 1;
    for number in from.. {
        append(&mut appender, number, &sizes).await;
        // One write: the signal comes from another thread at any time.
        let line = format!("durable {}\n", *durable.borrow());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

/// Runs a child on `path` until its failpoint ends it; the last offset that it saw advertised.
fn killed(path: &Path, failpoints: &str, rush: bool) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if rush {
        command.env("OUTRIGGER_LOG_TEST_RUSH", "1");
    }
    let mut child = command
        .args([
            "--exact",
            "crash::child_appends_until_it_is_killed",
            "--nocapture",
        ])
        .env("OUTRIGGER_LOG_TEST_CHILD", path)
        .env("FAILPOINTS", failpoints)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut durable = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if let Some(offset) = line.unwrap().strip_prefix("durable ") {
            durable = offset.parse().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself");
    durable
}

#[tokio::test]
async fn a_process_killed_at_any_write_or_sync_leaves_a_whole_log() {
    let dir = tempdir().unwrap();
    let mut last = 0;
    // Before each piece of a transaction, before syncs early and late; one log goes through it all.
    let points = [
        "log-append=30*off->return",
        "log-append=31*off->return",
        "log-append=902*off->return",
    ];
    let syncs = [
        "log-sync=return",
        "log-sync=1*off->return",
        "log-sync=9*off->return",
    ];
    for failpoints in points.into_iter().chain(syncs) {
        let durable = killed(dir.path(), failpoints, false);
        assert!(durable >= last || durable == 0, "{failpoints}");
        last = expect_whole(dir.path(), durable.max(last)).await + 1;
    }
    assert!(last > 100, "only {last} transactions were written");
}

/// Tables of 1 MiB, so that little makes a rush.
fn rushing(path: &Path) -> Config {
    let mut config = config(path);
    config.write_buffer = ByteSize::mib(1);
    config
}

#[tokio::test]
async fn a_process_killed_in_a_rush_leaves_a_whole_log() {
    let dir = tempdir().unwrap();
    let mut last = 0;
    for failpoints in [
        "log-sync=3*off->return",
        "log-append=100*off->return",
        "log-sync=9*off->return",
        "log-append=301*off->return",
        "log-append=302*off->return",
        "log-sync=14*off->return",
    ] {
        let durable = killed(dir.path(), failpoints, true);
        assert!(durable >= last || durable == 0, "{failpoints}");
        let before = last;
        if failpoints.starts_with("log-sync=14") {
            // Deep in the rush the write-ahead log holds nothing that counts.
            let without = tempdir().unwrap();
            copy(dir.path(), without.path());
            for log in write_ahead_logs(without.path()) {
                std::fs::File::create(log).unwrap();
            }
            expect_whole_of(without.path(), durable, &RUSH).await;
        }
        last = expect_whole_of(dir.path(), durable.max(last), &RUSH).await + 1;
        assert!(last > before, "{failpoints}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rush_the_write_ahead_log_is_used_again() {
    let dir = tempdir().unwrap();
    let log = Log::open(rushing(dir.path())).unwrap();
    let mut appender = log.appender().unwrap();
    for number in 1..=100 {
        append(&mut appender, number, &[300_000]).await;
    }
    assert_eq!(soon(appender.sync()).await.unwrap(), Offset(100));
    let logged = || -> u64 {
        let logs = write_ahead_logs(dir.path()).into_iter();
        logs.filter_map(|path| Some(std::fs::metadata(path).ok()?.len()))
            .sum()
    };
    let bytes = logged();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut last = 100;
    while logged() < bytes + 200_000 {
        assert!(tokio::time::Instant::now() < deadline, "the rush never ends");
        last += 1;
        append(&mut appender, last, &[20_000]).await;
        soon(appender.sync()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(appender);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.position(), Some(position(last)));
    let mut reader = log.reader(Offset::ZERO).unwrap();
    expect(&mut reader, 1, 100, &[300_000]).await;
    expect(&mut reader, 101, last, &[20_000]).await;
}

#[tokio::test]
async fn a_damaged_table_is_reported_not_skipped() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for number in 1..=2000 {
        append(&mut appender, number, &[50_000]).await;
    }
    drop(appender);
    drop(log);
    let tables = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let table = tables
        .filter(|path| path.extension().is_some_and(|kind| kind == "sst"))
        .min()
        .unwrap();
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(table)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(100_000)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(100_000)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    let log = open(dir.path());
    let mut reader = log.reader(Offset::ZERO).unwrap();
    let error = loop {
        match soon(reader.next()).await {
            Ok(record) => assert!(record.offset < Offset(2000), "the damage was not noticed"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Engine { .. } | Error::Corrupt { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains(&dir.path().display().to_string()),
        "{error}"
    );
}
