//! Keeping to the quota, and trimming.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_storage::{Error, Log, Offset};
use tempfile::tempdir;

use crate::support::{append, config, expect, open, piece_of, position, soon};

fn small(path: &Path) -> Log {
    let mut config = config(path);
    config.quota = ByteSize::mib(64);
    Log::open(config).unwrap()
}

fn on_disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Appends until the log pauses; the next number to append.
async fn fill(log: &Log, appender: &mut outrigger_storage::Appender, path: &Path, mut number: u64) -> u64 {
    loop {
        let append = appender.append(piece_of(number, 0, 100_000, true));
        match tokio::time::timeout(Duration::from_millis(700), append).await {
            Ok(result) => result.unwrap(),
            Err(_) => return number,
        }
        number += 1;
        assert!(
            on_disk(path) <= log.stats().quota.0,
            "the quota is exceeded: {:?}",
            log.stats()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_pauses_and_resumes_when_trimmed() {
    let dir = tempdir().unwrap();
    let log = small(dir.path());
    let mut appender = log.appender().unwrap();
    let mut next = fill(&log, &mut appender, dir.path(), 1).await;
    assert!(next > 300, "paused after {next} transactions of 100 KB");
    for _ in 0..3 {
        // While an append waits the log says so.
        let waiting = tokio::spawn(async move {
            append(&mut appender, next, &[100_000]).await;
            appender
        });
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !log.stats().paused {
            assert!(tokio::time::Instant::now() < deadline, "never paused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!waiting.is_finished());
        // Half of it, then all but a few, then the same again.
        let through = Offset(next - 10);
        let trimming = log.clone();
        tokio::task::spawn_blocking(move || trimming.trim(through))
            .await
            .unwrap()
            .unwrap();
        appender = soon(waiting).await.unwrap();
        assert!(!log.stats().paused);
        assert_eq!(log.stats().first, through.next());
        soon(appender.sync()).await.unwrap();
        expect(&mut log.reader(through).unwrap(), through.0 + 1, next, &[100_000]).await;
        let before = next;
        next = fill(&log, &mut appender, dir.path(), next + 1).await;
        assert!(
            next > before + 300,
            "only {} transactions fitted after the trim",
            next - before
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_larger_than_the_quota_is_an_error_not_a_wait() {
    let dir = tempdir().unwrap();
    let log = small(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[100]).await;
    soon(appender.sync()).await.unwrap();
    log.trim(Offset(1)).unwrap();
    let mut piece = 0;
    let error = loop {
        assert!(piece < 100, "100 MB went into a log of 64 MiB");
        if let Err(error) = soon(appender.append(piece_of(2, piece, 1 << 20, false))).await {
            break error;
        }
        piece += 1;
    };
    assert!(matches!(error, Error::TransactionTooLarge { .. }), "{error}");
    assert!(piece > 40, "only {piece} MiB fitted");
    drop(appender);
    // The log itself is whole and goes on.
    let mut appender = log.appender().unwrap();
    assert_eq!(log.position(), Some(position(1)));
    append(&mut appender, 2, &[100]).await;
    expect(&mut log.reader(Offset(1)).unwrap(), 2, 2, &[100]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_is_gone_and_its_space_comes_back() {
    let dir = tempdir().unwrap();
    let mut config = config(dir.path());
    config.write_buffer = ByteSize::mib(4);
    config.quota = ByteSize::mib(256);
    let log = Log::open(config.clone()).unwrap();
    let mut appender = log.appender().unwrap();
    for number in 1..=1500 {
        append(&mut appender, number, &[100_000]).await;
    }
    soon(appender.sync()).await.unwrap();
    let before = on_disk(dir.path());
    let mut behind = log.reader(Offset::ZERO).unwrap();
    let mut through = Offset(1200);
    // Files of level 0 go only after RocksDB has moved them down: a later trim gets them.
    while on_disk(dir.path()) > before / 2 {
        through = through.next();
        assert!(
            through < Offset(1400),
            "{before} bytes before, {} after",
            on_disk(dir.path())
        );
        let trimming = log.clone();
        tokio::task::spawn_blocking(move || trimming.trim(through))
            .await
            .unwrap()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (last_gone, first) = (Offset(through.0 - 1), through.next());
    assert!(matches!(log.reader(last_gone), Err(Error::Trimmed { first: f, .. }) if f == first));
    assert!(matches!(soon(behind.next()).await, Err(Error::Trimmed { first: f, .. }) if f == first));
    expect(&mut log.reader(through).unwrap(), first.0, 1500, &[100_000]).await;
    drop((appender, behind));
    drop(log);
    let log = Log::open(config).unwrap();
    let stats = log.stats();
    // Marks that came with no deletion of their own are forgotten, which harms nobody.
    assert!(
        stats.first > Offset(1200) && stats.first <= first && stats.last == Offset(1500),
        "{stats:?}"
    );
    expect(&mut log.reader(through).unwrap(), first.0, 1500, &[100_000]).await;
}

#[tokio::test]
async fn a_log_trimmed_to_its_end_goes_on_where_it_was() {
    let dir = tempdir().unwrap();
    let log = small(dir.path());
    let mut appender = log.appender().unwrap();
    let mut number = 0;
    // Enough for a deletion to be worth it.
    while number < 400 {
        number += 1;
        append(&mut appender, number, &[100_000]).await;
    }
    soon(appender.sync()).await.unwrap();
    log.trim(Offset(number)).unwrap();
    drop(appender);
    drop(log);
    let log = open(dir.path());
    assert_eq!(
        (log.stats().first, log.stats().last),
        (Offset(number + 1), Offset(number))
    );
    assert_eq!(log.position(), Some(position(number)));
    let mut appender = log.appender().unwrap();
    append(&mut appender, number + 1, &[10]).await;
    expect(
        &mut log.reader(Offset(number)).unwrap(),
        number + 1,
        number + 1,
        &[10],
    )
    .await;
}

/// `stats` held the durable offset's read lock while it asked the sync thread's state, which publishes under the other order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_the_log_does_not_stop_it() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let lookers: Vec<_> = (0..2)
        .map(|_| {
            let (log, stop) = (log.clone(), std::sync::Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(log.stats().last <= Offset(2000));
                }
            })
        })
        .collect();
    for number in 1..=2000 {
        append(&mut appender, number, &[100]).await;
        soon(appender.sync()).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for looker in lookers {
        looker.join().unwrap();
    }
}

/// Space that was trimmed comes back within a minute although nothing more is appended: from tables of every level, memory
/// tables and write-ahead logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_log_gives_back_what_was_trimmed() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for number in 1..=300 {
        append(&mut appender, number, &[100_000]).await;
    }
    soon(appender.sync()).await.unwrap();
    assert!(on_disk(dir.path()) > 25_000_000);
    log.trim(Offset(290)).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    // What is left are ten transactions, and what RocksDB keeps for itself.
    while on_disk(dir.path()) > 1_100_000 + 500_000 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} bytes are still there",
            on_disk(dir.path())
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        let tidying = log.clone();
        tokio::task::spawn_blocking(move || tidying.tidy())
            .await
            .unwrap()
            .unwrap();
    }
    expect(&mut log.reader(Offset(290)).unwrap(), 291, 300, &[100_000]).await;
}

#[tokio::test]
async fn an_overdue_log_pauses_and_resumes() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[100]).await;
    appender.append(piece_of(2, 0, 100, false)).await.unwrap();
    // Only what is durable can be trimmed.
    soon(appender.sync()).await.unwrap();
    log.set_overdue(true);
    let mut waiting = tokio::spawn(async move {
        // In the middle of a transaction too.
        let outcome = appender.append(piece_of(2, 1, 100, true)).await;
        (outcome, appender)
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !log.stats().paused {
        assert!(tokio::time::Instant::now() < deadline, "never paused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.trim(Offset(1)).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(600), &mut waiting).await;
    assert!(early.is_err(), "it went on although something is overdue");
    log.set_overdue(false);
    let (outcome, mut appender) = soon(waiting).await.unwrap();
    outcome.unwrap();
    soon(appender.sync()).await.unwrap();
    assert!(!log.stats().paused);
    assert_eq!(*log.durable().borrow(), Offset(2));
}
