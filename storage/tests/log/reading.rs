//! Following the log: from memory, from the disk, and waiting.

use std::time::Duration;

use bytesize::ByteSize;
use outrigger_storage::{Error, Log, Offset};
use tempfile::tempdir;

use crate::support::{append, config, expect, open, record_of, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_while_the_appender_writes() {
    let dir = tempdir().unwrap();
    let mut config = config(dir.path());
    // So little that readers fall back to the disk again and again.
    config.tail = ByteSize::kib(64);
    let log = Log::open(config).unwrap();
    let mut readers: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = log.reader(Offset::ZERO).unwrap();
            tokio::spawn(async move { expect(&mut reader, 1, 3000, &[1000, 30]).await })
        })
        .collect();
    let mut slow = log.reader(Offset::ZERO).unwrap();
    let mut appender = log.appender().unwrap();
    for number in 1..=3000 {
        append(&mut appender, number, &[1000, 30]).await;
        if number % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    expect(&mut slow, 1, 3000, &[1000, 30]).await;
    for reader in readers.drain(..) {
        soon(reader).await.unwrap();
    }
}

#[tokio::test]
async fn a_waiting_reader_is_woken_within_moments() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut reader = log.reader(Offset::ZERO).unwrap();
    let mut appender = log.appender().unwrap();
    for number in 1..=50 {
        let waiting = tokio::spawn(async move {
            let record = soon(reader.next()).await.unwrap();
            (reader, record)
        });
        tokio::task::yield_now().await;
        append(&mut appender, number, &[100]).await;
        let (back, record) = soon(waiting).await.unwrap();
        assert_eq!(record, record_of(number, 0, 100, true));
        reader = back;
    }
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    for tail in [ByteSize::mib(16), ByteSize::b(0)] {
        let dir = tempdir().unwrap();
        let mut config = config(dir.path());
        config.tail = tail;
        let log = Log::open(config).unwrap();
        let mut appender = log.appender().unwrap();
        let mut reader = log.reader(Offset::ZERO).unwrap();
        let mut seen = 0;
        let mut cancelled = 0;
        for number in 1..=2000_u64 {
            append(&mut appender, number, &[700]).await;
            // Zero lets the future be polled once; a little more lets it get anywhere.
            let patience = Duration::from_micros(number % 7 * 30);
            match tokio::time::timeout(patience, reader.next()).await {
                Ok(record) => {
                    seen += 1;
                    assert_eq!(record.unwrap(), record_of(seen, 0, 700, true));
                }
                Err(_) => cancelled += 1,
            }
        }
        assert!(cancelled > 0, "no future was cancelled: the test tests nothing");
        expect(&mut reader, seen + 1, 2000, &[700]).await;
    }
}

#[tokio::test]
async fn try_next_returns_all_that_is_durable() {
    for tail in [ByteSize::mib(16), ByteSize::b(0)] {
        let dir = tempdir().unwrap();
        let mut config = config(dir.path());
        config.tail = tail;
        let log = Log::open(config).unwrap();
        let mut appender = log.appender().unwrap();
        for number in 1..=5000 {
            append(&mut appender, number, &[600]).await;
        }
        soon(appender.sync()).await.unwrap();
        let mut reader = log.reader(Offset::ZERO).unwrap();
        for number in 1..=5000 {
            // Both ways of asking, mixed.
            let record = if number % 1500 == 7 {
                Some(reader.next().await.unwrap())
            } else {
                reader.try_next().unwrap()
            };
            assert_eq!(record, Some(record_of(number, 0, 600, true)));
        }
        assert_eq!(reader.try_next().unwrap(), None);
    }
}

#[tokio::test]
async fn an_offset_that_never_was_is_refused() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[10]).await;
    soon(appender.sync()).await.unwrap();
    assert!(log.reader(Offset(1)).is_ok());
    assert!(matches!(
        log.reader(Offset(2)),
        Err(Error::Beyond {
            wanted: Offset(2),
            last: Offset(1)
        })
    ));
    assert!(matches!(log.trim(Offset(2)), Err(Error::Beyond { .. })));
}
