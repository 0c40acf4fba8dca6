//! Table definitions by offset (A4): definition statements of all kinds between rows, while the sidecar runs and while it
//! is down; then each row of the log is read by the version at its offset. Every value says of which column it is.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger_protocol::binlog::rows::{ColumnHint, RowPlan};
use outrigger_protocol::binlog::{Body, ChecksumAlg, Event, Events, TableMap};
use outrigger_protocol::definition::ColumnKind;
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::value::Value;
use outrigger_storage::{Definition, Offset, Schema, View};

use crate::support::{PATIENCE, Plan, Rig, run};

/// The tables as they should be: by database and name, the columns, and whether each is an INT.
type Tables = BTreeMap<(String, String), Vec<(String, bool)>>;

/// What a statement makes of a table: database, name, columns; `None`: it is gone.
type Made<'a> = (&'a str, &'a str, Option<&'a str>);

/// The value of an INT column of that name.
fn number(name: &str) -> i64 {
    name.bytes().map(|byte| i64::from(byte) * 7).sum()
}

/// Columns from `name` (VARCHAR) and `#name` (INT), separated by spaces.
fn columns(list: &str) -> Vec<(String, bool)> {
    list.split(' ')
        .map(|name| match name.strip_prefix('#') {
            Some(name) => (name.to_owned(), true),
            None => (name.to_owned(), false),
        })
        .collect()
}

/// The source and what its tables should be.
struct World {
    conn: Conn,
    tables: Tables,
}

impl World {
    /// Runs a statement; `tables` are the new columns of tables (none: gone). Then a row goes into each table.
    async fn change(&mut self, sql: &str, tables: &[Made<'_>]) {
        run(&mut self.conn, sql).await;
        for (database, table, list) in tables {
            let name = ((*database).to_owned(), (*table).to_owned());
            match list {
                Some(list) => self.tables.insert(name, columns(list)),
                None => self.tables.remove(&name),
            };
        }
        self.insert().await;
    }

    async fn insert(&mut self) {
        for ((database, table), columns) in &self.tables {
            let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let value = |(name, int): &(String, bool)| match int {
                true => number(name).to_string(),
                false => format!("'{name}'"),
            };
            let values: Vec<_> = columns.iter().map(value).collect();
            let sql = format!(
                "INSERT INTO {database}.{table} ({}) VALUES ({})",
                names.join(", "),
                values.join(", ")
            );
            run(&mut self.conn, &sql).await;
        }
    }

    /// Definition statements of all kinds, with rows between them; `step` follows each.
    #[expect(clippy::too_many_lines, reason = "a list of statements and what they make")]
    async fn storm(&mut self, round: usize, mut step: impl AsyncFnMut(&mut Conn)) {
        let n = round;
        let make = |list: &str| {
            let column = |(name, int): (String, bool)| match int {
                true => format!("{name} INT"),
                false => format!("{name} VARCHAR(40)"),
            };
            let list: Vec<_> = columns(list).into_iter().map(column).collect();
            format!("(id INT AUTO_INCREMENT PRIMARY KEY, {})", list.join(", "))
        };
        let a1 = format!("x{n} #y{n}");
        let a2 = format!("z{n} x{n} #y{n}");
        let a3 = format!("z{n} x{n}");
        let a4 = format!("z{n} w{n}");
        let b1 = format!("#p{n} q{n} r{n}");
        let b2 = format!("s{n} #t{n} u{n} v{n}");
        let b3 = format!("u{n} s{n} #t{n} v{n}");
        let e1 = format!("#p{n} q{n} r{n} f{n}");
        let d1 = format!("k{n} #m{n} o{n}");
        let steps: Vec<(String, Vec<Made<'_>>)> = vec![
            (
                format!(
                    "DROP TABLE IF EXISTS app.a, app.b, app.c, app.d, app.e;\nCREATE TABLE app.a {};\nCREATE TABLE app.b {}",
                    make(&a1),
                    make(&b1)
                ),
                vec![
                    ("app", "a", Some(&a1)),
                    ("app", "b", Some(&b1)),
                    ("app", "c", None),
                    ("app", "d", None),
                    ("app", "e", None),
                ],
            ),
            (
                format!("ALTER TABLE app.a ADD COLUMN z{n} VARCHAR(40) AFTER id"),
                vec![("app", "a", Some(&a2))],
            ),
            (
                format!("ALTER TABLE app.a DROP COLUMN y{n}"),
                vec![("app", "a", Some(&a3))],
            ),
            (
                format!("USE app;\nALTER TABLE a RENAME COLUMN x{n} TO w{n}"),
                vec![("app", "a", Some(&a4))],
            ),
            (
                "RENAME TABLE app.a TO app.tmp, app.b TO app.a, app.tmp TO app.b".to_owned(),
                vec![("app", "a", Some(&b1)), ("app", "b", Some(&a4))],
            ),
            (
                format!("DROP TABLE app.b;\nCREATE TABLE app.b {}", make(&b2)),
                vec![("app", "b", Some(&b2))],
            ),
            (
                "CREATE TABLE app.c LIKE app.a".to_owned(),
                vec![("app", "c", Some(&b1))],
            ),
            (
                format!(
                    "CREATE TABLE app.d SELECT 'k{n}' AS k{n}, {} AS m{n}, 'o{n}' AS o{n}",
                    number(&format!("m{n}"))
                ),
                vec![("app", "d", Some(&d1))],
            ),
            (
                format!("ALTER TABLE app.c RENAME TO app.e, ADD COLUMN f{n} VARCHAR(40)"),
                vec![("app", "c", None), ("app", "e", Some(&e1))],
            ),
            (
                format!("ALTER TABLE app.b MODIFY u{n} VARCHAR(40) AFTER id"),
                vec![("app", "b", Some(&b3))],
            ),
            (
                format!(
                    "DROP DATABASE IF EXISTS app_x;\nCREATE DATABASE app_x;\nCREATE TABLE app_x.t {}",
                    make(&a1)
                ),
                vec![("app_x", "t", Some(&a1)), ("app_x", "e", None)],
            ),
            (
                format!(
                    "DROP DATABASE app_x;\nCREATE DATABASE app_x;\nCREATE TABLE app_x.t {}",
                    make(&a2)
                ),
                vec![("app_x", "t", Some(&a2))],
            ),
            (
                "RENAME TABLE app.e TO app_x.e".to_owned(),
                vec![("app", "e", None), ("app_x", "e", Some(&e1))],
            ),
            (
                "RENAME TABLE app.a TO app.tmp, app.b TO app.a, app.tmp TO app.b".to_owned(),
                vec![("app", "a", Some(&b3)), ("app", "b", Some(&b1))],
            ),
        ];
        for (sql, tables) in steps {
            self.change(&sql, &tables).await;
            step(&mut self.conn).await;
        }
    }
}

/// Writes all the time, so that the source is never where the stream is.
struct Noise {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Noise {
    async fn start(rig: &Rig) -> Self {
        let mut conn = rig.source_conn().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                conn.query_drop("INSERT INTO app.noise () VALUES ()")
                    .await
                    .unwrap();
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// Waits until the log has everything that the source has committed by now.
async fn captured(conn: &mut Conn, view: &mut View) {
    let executed: String = conn
        .query_first("SELECT @@global.gtid_executed")
        .await
        .unwrap()
        .unwrap();
    let executed: GtidSet = executed.parse().unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        view.refresh().unwrap();
        let gtids = view.info().unwrap().position.and_then(|position| position.gtids);
        if gtids.is_some_and(|ours| executed.subtract(&ours).is_empty()) {
            return;
        }
        assert!(Instant::now() < until, "not captured");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many rows were read, and how.
#[derive(Debug, Default)]
struct Tally {
    /// By an exact version.
    exact: usize,
    /// Whose table map names the columns, and which have no exact version.
    by_map: usize,
    /// By position only.
    unnamed: usize,
    /// That today's definition would have misread.
    misread_today: usize,
}

/// Reads every row of tables of interest by the version at its offset, from `from` on; the next offset.
fn read_all(view: &mut View, from: Offset, tally: &mut Tally) -> Offset {
    view.refresh().unwrap();
    let newest: HashMap<(String, String), Schema> = view
        .schemas()
        .unwrap()
        .map(|version| version.map(|v| ((v.database, v.table), v.schema)).unwrap())
        .collect();
    let mut records = view.records(from);
    let (mut maps, mut checksum, mut next) = (HashMap::new(), ChecksumAlg::Off, from);
    while let Some(record) = records.next() {
        let record = record.unwrap();
        next = record.offset.next();
        if let Some(begin) = &record.begin {
            checksum = begin.checksum;
        }
        for event in Events::new(&record.events) {
            match Event::parse(event.unwrap(), checksum).unwrap().body {
                Body::TableMap(map) => {
                    maps.insert(map.table_id, map);
                }
                Body::Rows(rows) => {
                    let map: &TableMap = &maps[&rows.table_id];
                    if map.table == "noise" || map.table == "settle" {
                        continue;
                    }
                    let version = records
                        .schema(&map.database, &map.table, record.offset)
                        .unwrap()
                        .unwrap_or_else(|| panic!("nothing is known of {} at {}", map.name(), record.offset));
                    let by_map: Option<Vec<String>> =
                        map.columns.iter().map(|column| column.name.clone()).collect();
                    let names = match version.exact() {
                        Some(definition) => {
                            tally.exact += 1;
                            Some(names_of(definition))
                        }
                        None if by_map.is_some() => {
                            tally.by_map += 1;
                            None
                        }
                        None => {
                            tally.unnamed += 1;
                            None
                        }
                    };
                    for names in [&names, &by_map].into_iter().flatten() {
                        let plan = plan(map, version.exact());
                        let mut images = plan.rows(&rows);
                        while let Some(images) = images.read().unwrap() {
                            let wrong = misfit(names, images.after.unwrap());
                            assert_eq!(wrong, None, "{} at {}: {version:?}", map.name(), record.offset);
                        }
                    }
                    let name = (map.database.clone(), map.table.clone());
                    let today = match newest.get(&name) {
                        Some(Schema::Exact(definition)) => names_of(definition),
                        _ => Vec::new(),
                    };
                    let plan = plan(map, version.exact());
                    let mut images = plan.rows(&rows);
                    let images = images.read().unwrap().unwrap();
                    tally.misread_today += usize::from(misfit(&today, images.after.unwrap()).is_some());
                }
                _ => {}
            }
        }
    }
    next
}

fn names_of(definition: &Definition) -> Vec<String> {
    let columns = definition.table.columns.iter();
    columns.map(|column| column.name.clone()).collect()
}

fn plan(map: &TableMap, definition: Option<&Definition>) -> RowPlan {
    let hints: Vec<ColumnHint> = definition.map_or_else(Vec::new, |definition| {
        let columns = definition.table.columns.iter();
        columns
            .map(|column| ColumnHint {
                unsigned: column.unsigned,
                binary: matches!(column.kind, ColumnKind::Binary { .. }),
            })
            .collect()
    });
    RowPlan::new(map, &hints).unwrap()
}

/// The first value that doesn't say the name of its column.
fn misfit(names: &[String], row: &[Option<Value<'_>>]) -> Option<String> {
    if names.len() != row.len() {
        return Some(format!("{} columns, {} values", names.len(), row.len()));
    }
    let wrong = |(name, value): &(&String, &Option<Value<'_>>)| match value {
        _ if *name == "id" => false,
        Some(Value::Int(value)) => *value != number(name),
        Some(Value::Bytes(bytes)) => **bytes != *name.as_bytes(),
        _ => true,
    };
    names.iter().zip(row).find(wrong).map(|(name, _)| name.clone())
}

/// Waits until the newest version of every table is exact and right.
async fn all_exact(view: &mut View, tables: &Tables) {
    let until = Instant::now() + PATIENCE;
    for ((database, table), columns) in tables {
        loop {
            view.refresh().unwrap();
            let version = view.schema(database, table, Offset(u64::MAX)).unwrap().unwrap();
            if let Some(definition) = version.exact() {
                let mut names = names_of(definition);
                names.retain(|name| name != "id");
                let expected: Vec<_> = columns.iter().map(|(name, _)| name.clone()).collect();
                assert_eq!(names, expected, "{database}.{table}: {version:?}");
                assert!(
                    definition
                        .create
                        .starts_with(&format!("CREATE TABLE `{table}` ("))
                );
                break;
            }
            assert!(
                Instant::now() < until,
                "{database}.{table} is not exact: {version:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How the source is told to work.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Plain,
    /// Rows come with the names of their columns.
    Names,
    /// Commits wait for the log.
    Waits,
}

async fn storm(kind: Source) {
    let options: &[&str] = match kind {
        Source::Plain => &[],
        Source::Names => &["--binlog-row-metadata=FULL"],
        Source::Waits => &["--plugin-load-add=semisync_source.so"],
    };
    let plan = Plan {
        include: &["app", "app_x"],
        source: options,
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    if kind == Source::Waits {
        let file = rig.path("sidecar/outrigger.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // A look that waits does so for half of it, longer than the source waits for an acknowledgement.
        let changed = "[source]\nsemi_sync = true\nconnect_timeout = \"60s\"\n";
        std::fs::write(&file, text.replace("[source]\n", changed)).unwrap();
    }
    rig.on_source(
        "CREATE TABLE app.noise (id INT AUTO_INCREMENT PRIMARY KEY);\nCREATE TABLE app.seeded (id INT AUTO_INCREMENT PRIMARY KEY, old VARCHAR(40));\n\
         CREATE DATABASE app_x",
    )
    .await;
    rig.start();
    let mut world = World {
        conn: rig.source_conn().await,
        tables: Tables::new(),
    };
    if kind == Source::Waits {
        run(&mut world.conn, "SET GLOBAL rpl_semi_sync_source_enabled = ON").await;
    }
    world
        .tables
        .insert(("app".into(), "seeded".into()), columns("old"));
    world.insert().await;
    let noise = Noise::start(&rig).await;
    let path = rig.folder.path().join("sidecar/log");
    let mut view = View::open(Path::new(&path)).unwrap();

    // The stream keeps up: nothing is late.
    let mut tally = Tally::default();
    world
        .storm(1, async |conn: &mut Conn| captured(conn, &mut view).await)
        .await;
    all_exact(&mut view, &world.tables).await;
    let mut next = read_all(&mut view, Offset(1), &mut tally);
    if kind == Source::Waits {
        // What the next statement finds unread stays so.
        assert!(tally.exact > 0 && tally.misread_today > 0, "{tally:?}");
    } else {
        assert_eq!((tally.by_map, tally.unnamed), (0, 0), "{tally:?}");
        assert!(tally.exact >= 50 && tally.misread_today >= 15, "{tally:?}");
    }

    // The statements come faster than it can look.
    for round in 2..4 {
        world.storm(round, async |_: &mut Conn| {}).await;
    }
    captured(&mut world.conn, &mut view).await;
    all_exact(&mut view, &world.tables).await;
    next = read_all(&mut view, next, &mut tally);
    if kind == Source::Waits {
        let gave_up: Option<(String, u64)> = world
            .conn
            .query_first("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_no_tx'")
            .await
            .unwrap();
        assert_eq!(gave_up.unwrap().1, 0, "commits that nobody acknowledged in time");
        // Down, it is not waited for.
        run(
            &mut world.conn,
            "SET GLOBAL rpl_semi_sync_source_wait_no_replica = OFF",
        )
        .await;
    }

    // It is down meanwhile.
    rig.sidecar.kill().unwrap();
    drop(view);
    for round in 4..6 {
        world.storm(round, async |_: &mut Conn| {}).await;
    }
    rig.sidecar.start().unwrap();
    let mut view = View::open(Path::new(&path)).unwrap();
    captured(&mut world.conn, &mut view).await;
    all_exact(&mut view, &world.tables).await;
    let mut down = Tally::default();
    read_all(&mut view, next, &mut down);
    assert!(down.exact > 0 && down.misread_today > 0, "{down:?}");
    match kind {
        Source::Names => assert!(down.by_map > 0 && down.unnamed == 0, "{down:?}"),
        _ => assert!(down.by_map == 0 && down.unnamed > 0, "{down:?}"),
    }
    noise.stop().await;
    rig.sidecar.stop(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_as_of_their_offset() {
    storm(Source::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_definition_is_lost_are_named_by_their_table_map() {
    storm(Source::Names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_source_that_waits_for_the_log_are_read_as_of_their_offset() {
    storm(Source::Waits).await;
}
