//! Looking at a log from outside: while it is written, when it is closed, when it is damaged, when it is none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytesize::ByteSize;
use outrigger_storage::{Error, Log, Offset, View};
use tempfile::tempdir;

use crate::support::{append, config, open, position, record_of, soon};

/// Sizes of each transaction's pieces in these tests.
const PIECES: [usize; 2] = [3000, 1000];

/// All that a view shows from `from` on is whole, in order and to the byte as it was appended; where it ends.
fn expect_view(view: &mut View, from: u64) -> u64 {
    let mut wanted = (from.max(view.info().unwrap().first.0), 0);
    for record in view.records(Offset(from)) {
        let record = record.unwrap();
        let size = PIECES[usize::try_from(wanted.1).unwrap()];
        assert_eq!(record, record_of(wanted.0, wanted.1, size, wanted.1 == 1));
        wanted = if wanted.1 == 1 {
            (wanted.0 + 1, 0)
        } else {
            (wanted.0, 1)
        };
    }
    assert_eq!(wanted.1, 0, "the view ends in the middle of a transaction");
    wanted.0 - 1
}

/// Every file with its size and the time it was written.
fn fingerprint(path: &Path) -> BTreeMap<String, (u64, SystemTime)> {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, (metadata.len(), metadata.modified().unwrap()))
        })
        .collect()
}

#[tokio::test]
async fn a_closed_log_is_shown_and_left_as_it_is() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let id = log.id();
    let mut appender = log.appender().unwrap();
    for number in 1..=500 {
        append(&mut appender, number, &PIECES).await;
    }
    drop(appender);
    log.close().unwrap();
    let before = fingerprint(dir.path());
    let mut view = View::open(dir.path()).unwrap();
    let info = view.info().unwrap();
    assert_eq!(
        (info.id, info.first, info.last, info.trimmed),
        (id, Offset(1), Offset(500), Offset::ZERO)
    );
    assert_eq!(info.position, Some(position(500)));
    assert_eq!(info.bytes.0, before.values().map(|(size, _)| size).sum::<u64>());
    assert_eq!(expect_view(&mut view, 0), 500);
    assert_eq!(expect_view(&mut view, 499), 500);
    assert_eq!(view.records(Offset(501)).count(), 0);
    view.refresh().unwrap();
    drop(view);
    assert_eq!(fingerprint(dir.path()), before);
}

#[tokio::test]
async fn an_open_log_is_shown_as_it_grows() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    log.set_start(&position(0)).unwrap();
    let mut view = View::open(dir.path()).unwrap();
    assert_eq!(view.info().unwrap().last, Offset::ZERO);
    assert_eq!(view.info().unwrap().position, Some(position(0)));
    assert_eq!(view.records(Offset::ZERO).count(), 0);
    let mut appender = log.appender().unwrap();
    for round in 1..=10_u64 {
        for number in round * 10 - 9..=round * 10 {
            append(&mut appender, number, &PIECES).await;
        }
        // What is durable is there after a refresh, and nothing before it.
        assert_eq!(expect_view(&mut view, 0), round * 10 - 10);
        soon(appender.sync()).await.unwrap();
        view.refresh().unwrap();
        assert_eq!(expect_view(&mut view, 0), round * 10);
        assert_eq!(view.info().unwrap().position, Some(position(round * 10)));
    }
}

/// Files come and go under the view: tables, write-ahead logs, manifests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_written_and_trimmed_can_be_read_meanwhile() {
    let dir = tempdir().unwrap();
    let mut config = config(dir.path());
    config.quota = ByteSize::mib(64);
    config.write_buffer = ByteSize::mib(1);
    let log = Log::open(config).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let lookers: Vec<_> = [true, false]
        .into_iter()
        .map(|anew| {
            let (path, done) = (dir.path().to_path_buf(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut view = View::open(&path).unwrap();
                let (mut rounds, mut last, mut overtaken) = (0_u32, 0, 0_u32);
                loop {
                    // Before looking: the last round sees everything.
                    let finishing = done.load(Ordering::SeqCst);
                    if anew {
                        view = View::open(&path).unwrap();
                    } else {
                        view.refresh().unwrap();
                    }
                    let mut wanted = None;
                    for record in view.records(Offset::ZERO) {
                        let record = match record {
                            Ok(record) => record,
                            Err(Error::Trimmed { .. }) => {
                                overtaken += 1;
                                break;
                            }
                            Err(error) => panic!("{error}"),
                        };
                        let number = record.offset.0;
                        assert_eq!(wanted.unwrap_or((number, 0)), (number, record.piece));
                        assert_eq!(record, record_of(number, record.piece, 20_000, record.piece == 1));
                        wanted = Some((number + u64::from(record.piece), 1 - record.piece));
                    }
                    let end = view.info().unwrap().last.0;
                    assert!(end >= last, "the end went back from {last} to {end}");
                    last = end;
                    rounds += 1;
                    if finishing {
                        break;
                    }
                }
                (rounds, overtaken, last)
            })
        })
        .collect();
    let mut appender = log.appender().unwrap();
    for number in 1..=6_000_u64 {
        append(&mut appender, number, &[20_000, 20_000]).await;
        if number % 200 == 0 {
            soon(appender.sync()).await.unwrap();
            let trimming = log.clone();
            tokio::task::spawn_blocking(move || trimming.trim(Offset(number - 150)))
                .await
                .unwrap()
                .unwrap();
        }
    }
    soon(appender.sync()).await.unwrap();
    done.store(true, Ordering::SeqCst);
    for looker in lookers {
        let (rounds, overtaken, last) = looker.join().unwrap();
        println!("{rounds} rounds, {overtaken} times overtaken by a trim");
        assert_eq!(last, 6_000);
    }
}

#[tokio::test]
async fn a_damaged_record_is_named_after_what_is_good() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for number in 1..=100 {
        append(&mut appender, number, &PIECES).await;
    }
    drop(appender);
    drop(log);
    {
        let families = ["default", "events", "meta", "schemas"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), families).unwrap();
        let events = db.cf_handle("events").unwrap();
        let key = [60_u64.to_be_bytes().as_slice(), 1_u32.to_be_bytes().as_slice()].concat();
        let mut value = db.get_cf(events, &key).unwrap().unwrap();
        value[700] ^= 4;
        db.put_cf(events, &key, value).unwrap();
        let key = [80_u64.to_be_bytes().as_slice(), 0_u32.to_be_bytes().as_slice()].concat();
        db.delete_cf(events, key).unwrap();
    }
    let mut view = View::open(dir.path()).unwrap();
    let found: Vec<_> = view.records(Offset(50)).collect();
    assert_eq!(found.len(), 22);
    assert!(found.iter().take(21).all(Result::is_ok));
    let error = found.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(
        error.contains("piece 1 of offset 60: its checksum is wrong"),
        "{error}"
    );
    let found: Vec<_> = view.records(Offset(70)).collect();
    let error = found.last().unwrap().as_ref().unwrap_err().to_string();
    assert_eq!(found.len(), 21);
    assert!(error.contains("piece 0 of offset 80 is missing"), "{error}");
    assert_eq!(view.records(Offset(81)).filter(Result::is_ok).count(), 40);
}

#[tokio::test]
async fn what_is_no_log_is_called_so() {
    let dir = tempdir().unwrap();
    let missing = View::open(&dir.path().join("nowhere")).unwrap_err();
    assert!(
        matches!(&missing, Error::Io { path, .. } if path.ends_with("nowhere")),
        "{missing}"
    );
    assert!(matches!(View::open(dir.path()), Err(Error::NotALog { .. })));
    drop(rocksdb::DB::open_default(dir.path()).unwrap());
    let before = fingerprint(dir.path());
    assert!(matches!(View::open(dir.path()), Err(Error::NotALog { .. })));
    assert_eq!(fingerprint(dir.path()), before);

    let older = tempdir().unwrap();
    drop(open(older.path()));
    {
        let families = ["default", "events", "meta", "schemas"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), older.path(), families).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"format", 1_u64.to_be_bytes())
            .unwrap();
    }
    let refused = View::open(older.path()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Version {
                found: 1,
                supported: 2,
                ..
            }
        ),
        "{refused}"
    );
}
