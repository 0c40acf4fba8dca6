//! What goes in, in order, and what is refused.

use bytesize::ByteSize;
use outrigger_storage::{Error, Log, Offset, View};
use tempfile::tempdir;

use crate::support::{append, config, copy, expect, file, open, piece_of, position, soon};

#[tokio::test]
async fn transactions_come_back_in_order_also_after_reopening() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let id = log.id();
    assert_eq!(log.position(), None);
    assert_eq!(*log.reached().borrow(), None);
    let mut appender = log.appender().unwrap();
    for number in 1..=1000 {
        append(&mut appender, number, &[200]).await;
    }
    assert_eq!(soon(appender.sync()).await.unwrap(), Offset(1000));
    assert_eq!(log.position(), Some(position(1000)));
    expect(&mut log.reader(Offset::ZERO).unwrap(), 1, 1000, &[200]).await;
    drop(appender);
    log.close().unwrap();

    let log = open(dir.path());
    assert_eq!(log.id(), id);
    assert_eq!(log.position(), Some(position(1000)));
    assert_eq!(*log.durable().borrow(), Offset(1000));
    assert_eq!(*log.reached().borrow(), Some(file(1000)));
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1001, &[200]).await;
    expect(&mut log.reader(Offset::ZERO).unwrap(), 1, 1001, &[200]).await;
    expect(&mut log.reader(Offset(998)).unwrap(), 999, 1001, &[200]).await;
}

#[tokio::test]
async fn a_transaction_in_pieces_shows_only_when_whole() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let mut reader = log.reader(Offset::ZERO).unwrap();
    for piece in 0..3 {
        appender.append(piece_of(1, piece, 100_000, false)).await.unwrap();
    }
    assert_eq!(soon(appender.sync()).await.unwrap(), Offset::ZERO);
    assert_eq!(reader.try_next().unwrap(), None);
    assert_eq!(log.position(), None);
    appender.append(piece_of(1, 3, 100_000, true)).await.unwrap();
    soon(appender.sync()).await.unwrap();
    expect(&mut reader, 1, 1, &[100_000; 4]).await;
    assert_eq!(reader.try_next().unwrap(), None);
}

#[tokio::test]
async fn an_unfinished_transaction_is_discarded_with_its_appender() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[50]).await;
    for piece in 0..5 {
        appender.append(piece_of(2, piece, 70_000, false)).await.unwrap();
    }
    drop(appender);
    assert_eq!(log.position(), Some(position(1)));
    let mut appender = log.appender().unwrap();
    append(&mut appender, 2, &[10, 20]).await;
    append(&mut appender, 3, &[10, 20]).await;
    let mut reader = log.reader(Offset(1)).unwrap();
    expect(&mut reader, 2, 3, &[10, 20]).await;
    drop((reader, appender));
    drop(log);
    // The same from the disk.
    let log = open(dir.path());
    expect(&mut log.reader(Offset(1)).unwrap(), 2, 3, &[10, 20]).await;
}

#[tokio::test]
async fn pieces_out_of_order_are_refused() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    assert!(matches!(
        appender.append(piece_of(1, 1, 9, true)).await,
        Err(Error::Sequence { .. })
    ));
    appender.append(piece_of(1, 0, 9, false)).await.unwrap();
    assert!(matches!(
        appender.append(piece_of(1, 0, 9, true)).await,
        Err(Error::Sequence { .. })
    ));
    appender.append(piece_of(1, 1, 9, true)).await.unwrap();
    expect(&mut log.reader(Offset::ZERO).unwrap(), 1, 1, &[9, 9]).await;
}

#[tokio::test]
async fn there_is_one_appender_and_one_process() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let appender = log.appender().unwrap();
    assert!(matches!(log.appender(), Err(Error::AppenderTaken)));
    drop(appender);
    drop(log.appender().unwrap());
    let refused = Log::open(config(dir.path())).unwrap_err();
    let Error::InUse { holder, .. } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(holder.host.is_some() && holder.since.is_some());
    assert!(refused.to_string().contains(&holder.to_string()), "{refused}");
    let mut view = View::open(dir.path()).unwrap();
    assert_eq!(view.info().unwrap().in_use.as_ref(), Some(holder));
    drop(log);
    view.refresh().unwrap();
    assert_eq!(view.info().unwrap().in_use, None);
    let log = open(dir.path());
    assert!(
        refused.to_string().contains(&dir.path().display().to_string()),
        "{refused}"
    );
    drop(log);
}

#[tokio::test]
async fn the_start_is_set_once_nothing_was_appended() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    log.set_start(&position(40)).unwrap();
    assert_eq!(log.position(), Some(position(40)));
    assert_eq!(*log.reached().borrow(), Some(file(40)));
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.position(), Some(position(40)));
    assert_eq!(*log.durable().borrow(), Offset::ZERO);
    log.set_start(&position(0)).unwrap();
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[10]).await;
    soon(appender.sync()).await.unwrap();
    assert!(matches!(
        log.set_start(&position(9)),
        Err(Error::NotEmpty { last: Offset(1) })
    ));
}

#[tokio::test]
async fn reached_waits_for_what_was_appended_before() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut reached = log.reached();
    let mut appender = log.appender().unwrap();
    // Nothing is on its way: at once.
    appender.reached(file(3));
    assert_eq!(*reached.borrow_and_update(), Some(file(3)));
    append(&mut appender, 4, &[1 << 20]).await;
    appender.reached(file(9));
    let position = soon(reached.wait_for(|position| *position == Some(file(9))))
        .await
        .unwrap()
        .clone();
    assert_eq!(position, Some(file(9)));
    assert_eq!(*log.durable().borrow(), Offset(1));
}

#[tokio::test]
async fn pieces_appended_together_are_stored_together_or_not_at_all() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let mut pieces = vec![piece_of(1, 0, 500, true), piece_of(2, 0, 600, false)];
    soon(appender.append_all(pieces.clone())).await.unwrap();
    pieces = vec![
        piece_of(2, 1, 700, false),
        piece_of(2, 2, 0, true),
        piece_of(3, 0, 800, true),
    ];
    let mut torn = pieces.clone();
    torn.push(piece_of(3, 1, 900, true));
    assert!(matches!(
        soon(appender.append_all(torn)).await,
        Err(Error::Sequence { .. })
    ));
    soon(appender.append_all(Vec::new())).await.unwrap();
    soon(appender.append_all(pieces)).await.unwrap();
    drop(appender);
    assert_eq!(log.position(), Some(position(3)));
    let crashed = tempdir().unwrap();
    for log in [log, {
        copy(dir.path(), crashed.path());
        open(crashed.path())
    }] {
        let mut reader = log.reader(Offset::ZERO).unwrap();
        expect(&mut reader, 1, 1, &[500]).await;
        expect(&mut reader, 2, 2, &[600, 700, 0]).await;
        expect(&mut reader, 3, 3, &[800]).await;
        assert_eq!(reader.try_next().unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_piece_comes_back_whole_and_so_do_its_neighbours() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let mut follower = log.reader(Offset::ZERO).unwrap();
    let sizes = [100, 20 << 20, 200];
    for number in 1..=2 {
        append(&mut appender, number, &sizes).await;
        soon(appender.sync()).await.unwrap();
        expect(&mut follower, number, number, &sizes).await;
    }
    expect(&mut log.reader(Offset(1)).unwrap(), 2, 2, &sizes).await;
    assert_eq!(log.position(), Some(position(2)));
}

#[tokio::test]
async fn another_format_or_another_database_is_refused() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("photo.jpg"), b"x").unwrap();
    let refused = Log::open(config(dir.path())).unwrap_err();
    assert!(
        matches!(&refused, Error::NotALog { why, .. } if why.contains("photo.jpg")),
        "{refused}"
    );
    let mut small = config(dir.path());
    small.quota = ByteSize::kib(1);
    assert!(matches!(Log::open(small), Err(Error::Config { .. })));

    let foreign = tempdir().unwrap();
    let db = rocksdb::DB::open_default(foreign.path()).unwrap();
    db.put(b"a", b"b").unwrap();
    drop(db);
    assert!(matches!(
        Log::open(config(foreign.path())),
        Err(Error::NotALog { .. })
    ));
    // It was left as it was.
    assert_eq!(
        rocksdb::DB::open_default(foreign.path())
            .unwrap()
            .get(b"a")
            .unwrap()
            .unwrap(),
        b"b"
    );

    for (stranger, who) in [(1_u64, "an older version"), (3, "a newer version")] {
        let other = tempdir().unwrap();
        drop(open(other.path()));
        let families = ["default", "events", "meta", "schemas"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), other.path(), families).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"format", stranger.to_be_bytes())
            .unwrap();
        drop(db);
        let refused = Log::open(config(other.path())).unwrap_err();
        assert!(
            matches!(refused, Error::Version { found, supported: 2, .. } if u64::from(found) == stranger),
            "{refused}"
        );
        assert!(refused.to_string().contains(who), "{refused}");
    }
}

#[tokio::test]
async fn a_closed_log_says_so_and_frees_its_directory() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let mut reader = log.reader(Offset::ZERO).unwrap();
    append(&mut appender, 1, &[10]).await;
    log.close().unwrap();
    // What was durable is still read.
    expect(&mut reader, 1, 1, &[10]).await;
    assert!(matches!(soon(reader.next()).await, Err(Error::Closed)));
    assert!(matches!(
        soon(appender.append(piece_of(2, 0, 10, true))).await,
        Err(Error::Closed)
    ));
    drop((reader, appender));
    expect(&mut open(dir.path()).reader(Offset::ZERO).unwrap(), 1, 1, &[10]).await;
}

#[tokio::test]
async fn the_position_moves_past_what_is_not_kept() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[50]).await;
    appender.pass(&position(5)).unwrap();
    soon(appender.sync()).await.unwrap();
    assert_eq!(log.position(), Some(position(5)));
    assert_eq!(*log.durable().borrow(), Offset(1));
    drop(appender);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.position(), Some(position(5)));
    let mut appender = log.appender().unwrap();
    append(&mut appender, 2, &[50]).await;
    expect(&mut log.reader(Offset::ZERO).unwrap(), 1, 2, &[50]).await;
    appender.append(piece_of(3, 0, 50, false)).await.unwrap();
    assert!(matches!(appender.pass(&position(7)), Err(Error::Sequence { .. })));
}

#[tokio::test]
async fn what_is_kept_is_remembered_with_the_place_where_it_began() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    assert!(matches!(log.keep("a"), Err(Error::Sequence { .. })));
    log.set_start(&position(0)).unwrap();
    log.keep("a").unwrap();
    let mut appender = log.appender().unwrap();
    append(&mut appender, 1, &[50]).await;
    appender.pass(&position(3)).unwrap();
    drop(appender);
    log.keep("a").unwrap();
    log.keep("b").unwrap();
    assert_eq!(log.server().unwrap(), None);
    log.set_server("first").unwrap();
    log.set_server("second").unwrap();
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.server().unwrap().as_deref(), Some("second"));
    let kept: Vec<_> = log.kept().unwrap();
    let words: Vec<_> = kept.iter().map(|k| (k.from, k.what.as_str())).collect();
    assert_eq!(words, [(Offset(1), "a"), (Offset(2), "b")]);
    assert_eq!(kept[1].since, position(3));
    let mut appender = log.appender().unwrap();
    append(&mut appender, 2, &[50]).await;
    append(&mut appender, 3, &[50]).await;
    drop(appender);
    // A reader may still begin after offset 1, behind which "a" left something out.
    log.trim(Offset(1)).unwrap();
    log.keep("c").unwrap();
    assert_eq!(log.kept().unwrap().len(), 3);
    log.trim(Offset(2)).unwrap();
    log.keep("d").unwrap();
    let words: Vec<_> = log.kept().unwrap().into_iter().map(|k| k.what).collect();
    assert_eq!(words, ["b", "c", "d"]);
}

#[tokio::test]
async fn a_log_that_is_gone_is_not_made_anew() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    let id = log.id();
    log.close().unwrap();
    assert_eq!(Log::reopen(config(dir.path()), id).unwrap().id(), id);
    // As if the disk were not mounted.
    let empty = tempdir().unwrap();
    let refused = Log::reopen(config(empty.path()), id).unwrap_err();
    assert!(
        matches!(refused, Error::Gone { .. }) && refused.is_of_the_disk(),
        "{refused}"
    );
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    // Or another one were mounted there.
    drop(open(empty.path()));
    assert!(matches!(
        Log::reopen(config(empty.path()), id),
        Err(Error::Gone { .. })
    ));
}

#[tokio::test]
async fn a_place_is_on_the_server_that_is_read() {
    let dir = tempdir().unwrap();
    let log = open(dir.path());
    log.set_start(&position(40)).unwrap();
    assert_eq!(log.reached_on("a"), None, "nobody was read yet");
    log.set_server("a").unwrap();
    assert_eq!(log.reached_on("a"), None, "the start may be on another");
    let mut appender = log.appender().unwrap();
    appender.reached(file(50));
    assert_eq!((log.reached_on("a"), log.reached_on("b")), (Some(file(50)), None));
    log.set_server("a").unwrap();
    assert_eq!(
        log.reached_on("a"),
        Some(file(50)),
        "a new connection to the same one"
    );

    // Also while the last of the one before it is not durable yet.
    for round in 0..50_u64 {
        append(&mut appender, round + 1, &[100_000]).await;
        appender.reached(file(900 + round));
        let (old, new) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        log.set_server(new).unwrap();
        soon(appender.sync()).await.unwrap();
        assert_eq!(
            (log.reached_on(old), log.reached_on(new)),
            (None, None),
            "{round}"
        );
        appender.reached(file(3));
        assert_eq!(log.reached_on(new), Some(file(3)));
    }
    drop(appender);
    log.close().unwrap();
    assert_eq!(open(dir.path()).reached_on("a"), None);
}
