//! Table definitions by offset (A4): stored with their statement, looked up by offset, trimmed behind the readers, checked.

use std::sync::Arc;

use outrigger_protocol::definition::TableDef;
use outrigger_storage::{Appender, Definition, End, Error, Log, Offset, Piece, Schema, SchemaVersion, View};

use crate::support::{append, begin, config, copy, events, open, position, soon};

fn version(table: &str, offset: u64, column: &str) -> SchemaVersion {
    let text = |text: &str| Some(text.to_owned());
    let row = vec![
        text(column),
        text("int"),
        text("int"),
        None,
        None,
        None,
        text("YES"),
        text(""),
        text("0"),
    ];
    let table_def = TableDef::from_answers("d", table, &[row], &[]).unwrap().unwrap();
    let definition = Definition {
        table: table_def,
        create: format!("CREATE TABLE `{table}` (\n  `{column}` int\n)"),
    };
    with(table, offset, Schema::Exact(Arc::new(definition)))
}

fn with(table: &str, offset: u64, schema: Schema) -> SchemaVersion {
    SchemaVersion {
        database: "d".into(),
        table: table.into(),
        offset: Offset(offset),
        schema,
    }
}

/// Appends transaction `number`, a definition statement with these versions.
async fn define(appender: &mut Appender, number: u64, schemas: Vec<SchemaVersion>) -> Result<(), Error> {
    let piece = Piece {
        begin: Some(begin(number)),
        events: events(number, 0, 50),
        end: Some(End {
            position: position(number),
            schemas,
        }),
    };
    soon(appender.append(piece)).await
}

/// The name of the column that the table had.
fn column(log: &Log, table: &str, at: u64) -> Option<String> {
    let version = log.schema("d", table, Offset(at)).unwrap()?;
    Some(match &version.schema {
        Schema::Absent => "absent".to_owned(),
        Schema::Late(_) => "late".to_owned(),
        Schema::Exact(definition) => definition.table.columns[0].name.clone(),
    })
}

#[tokio::test]
async fn a_table_is_as_it_was_at_each_offset_also_after_a_crash() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    assert_eq!(appender.next(), Offset(1));
    soon(appender.put_schemas(vec![version("a", 0, "a0"), with("ab", 0, Schema::Late(None))]))
        .await
        .unwrap();
    append(&mut appender, 1, &[10]).await;
    define(&mut appender, 2, vec![version("a", 2, "a2")])
        .await
        .unwrap();
    append(&mut appender, 3, &[10]).await;
    define(&mut appender, 4, vec![with("a", 4, Schema::Absent)])
        .await
        .unwrap();
    define(
        &mut appender,
        5,
        vec![version("a", 5, "a5"), version("ab", 0, "ab0")],
    )
    .await
    .unwrap();
    soon(appender.sync()).await.unwrap();
    let expected = ["a0", "a0", "a2", "a2", "absent", "a5", "a5"];
    let check = |log: &Log| {
        for (at, expected) in (0..).zip(expected) {
            assert_eq!(column(log, "a", at).as_deref(), Some(expected), "at {at}");
        }
        assert_eq!(column(log, "ab", 9).as_deref(), Some("ab0"));
        assert_eq!(column(log, "b", 9), None);
        assert_eq!(column(log, "", 9), None);
        let all: Vec<_> = log.schemas().unwrap().map(|version| version.unwrap()).collect();
        let names: Vec<_> = all.iter().map(|v| (v.table.as_str(), v.offset.0)).collect();
        assert_eq!(names, [("a", 0), ("a", 2), ("a", 4), ("a", 5), ("ab", 0)]);
    };
    check(&log);
    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.schemas().unwrap().count(), 5);
    assert_eq!(
        view.schema("d", "a", Offset(3)).unwrap(),
        Some(version("a", 2, "a2"))
    );
    copy(dir.path(), crashed.path());
    check(&open(crashed.path()));
    drop(appender);
    log.close().unwrap();
    check(&open(dir.path()));
}

#[tokio::test]
async fn a_version_ahead_of_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    let refused = soon(appender.put_schemas(vec![version("a", 1, "a1")])).await;
    assert!(matches!(refused, Err(Error::Sequence { .. })), "{refused:?}");
    let refused = define(&mut appender, 1, vec![version("a", 2, "a2")]).await;
    assert!(matches!(refused, Err(Error::Sequence { .. })), "{refused:?}");
    define(&mut appender, 1, vec![version("a", 1, "a1")])
        .await
        .unwrap();
}

#[tokio::test]
async fn trimming_keeps_what_the_first_transaction_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    // More than half of it is used at once: trimming then deletes without delay.
    small.quota = bytesize::ByteSize::mib(64);
    let log = Log::open(small).unwrap();
    let mut appender = log.appender().unwrap();
    soon(appender.put_schemas(vec![version("a", 0, "a0"), version("b", 0, "b0")]))
        .await
        .unwrap();
    define(&mut appender, 1, vec![version("a", 1, "a1")])
        .await
        .unwrap();
    define(&mut appender, 2, vec![with("b", 2, Schema::Absent)])
        .await
        .unwrap();
    for number in 3..=6 {
        append(&mut appender, number, &[9 << 20]).await;
    }
    define(&mut appender, 7, vec![version("a", 7, "a7")])
        .await
        .unwrap();
    soon(appender.sync()).await.unwrap();
    log.trim(Offset(4)).unwrap();
    let left = |log: &Log| -> Vec<(String, u64)> {
        log.schemas()
            .unwrap()
            .map(|version| version.map(|v| (v.table, v.offset.0)).unwrap())
            .collect()
    };
    assert_eq!(left(&log), [("a".to_owned(), 1), ("a".to_owned(), 7)]);
    assert_eq!(column(&log, "a", 5).as_deref(), Some("a1"));
    drop(appender);
    log.close().unwrap();
    let log = open(dir.path());
    assert_eq!(left(&log), [("a".to_owned(), 1), ("a".to_owned(), 7)]);
}

#[tokio::test]
async fn a_damaged_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    define(
        &mut appender,
        1,
        vec![version("a", 1, "a1"), version("b", 1, "b1")],
    )
    .await
    .unwrap();
    drop(appender);
    log.close().unwrap();
    {
        let names = ["default", "events", "meta", "schemas"];
        let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), names).unwrap();
        let family = db.cf_handle("schemas").unwrap();
        let (a, b) = (b"d\0a\0\0\0\0\0\0\0\0\x01", b"d\0b\0\0\0\0\0\0\0\0\x01");
        // The definition of another table in this one's place: whole, but not where it belongs.
        let other = db.get_cf(family, b).unwrap().unwrap();
        assert!(db.get_cf(family, a).unwrap().is_some());
        db.put_cf(family, a, other).unwrap();
    }
    let error = Log::open(config(dir.path())).unwrap_err().to_string();
    assert!(
        error.contains("the definition of d.a as of offset 1: its checksum is wrong"),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_version_is_an_error_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut appender = log.appender().unwrap();
    for number in 1..=3 {
        define(&mut appender, number, vec![version("a", number, "a")])
            .await
            .unwrap();
    }
    drop(appender);
    log.close().unwrap();
    let families = ["default", "events", "schemas", "meta"];
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), families).unwrap();
    let family = db.cf_handle("schemas").unwrap();
    let mut key = b"d\0a\0".to_vec();
    key.extend_from_slice(&2_u64.to_be_bytes());
    let mut value = db.get_cf(family, &key).unwrap().unwrap();
    let last = value.len() - 1;
    value[last] ^= 1;
    db.put_cf(family, &key, value).unwrap();
    drop(db);
    let view = View::open(dir.path()).unwrap();
    let all: Vec<_> = view.schemas().unwrap().collect();
    let whole: Vec<_> = all
        .iter()
        .map(|version| version.as_ref().map(|v| v.offset.0).ok())
        .collect();
    assert_eq!(whole, [Some(1), None, Some(3)]);
    let damage = all[1].as_ref().unwrap_err().to_string();
    assert!(
        damage.contains("the definition of d.a as of offset 2"),
        "{damage}"
    );
    assert!(Log::open(config(dir.path())).is_err());
}
