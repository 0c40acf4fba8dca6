//! Examples: what a statement makes of what was known, and when a reading is proof.

use outrigger_protocol::binlog::{QueryEvent, SessionVars};
use outrigger_protocol::definition::TableDef;

use super::*;

fn name(table: &str) -> Name {
    ("d".to_owned(), table.to_owned())
}

fn place(offset: u64) -> FilePosition {
    FilePosition::new("binlog.000001", offset)
}

fn definition(table: &str, column: &str) -> Arc<Definition> {
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
    let table_def = TableDef::from_answers("d", table, &[row], &[])
        .expect("understood")
        .expect("a table");
    Arc::new(Definition {
        table: table_def,
        create: format!("CREATE TABLE `{table}` (\n  `{column}` int\n)"),
    })
}

fn reading(found: Option<Arc<Definition>>, after: u64, until: u64) -> Option<Arc<Reading>> {
    Some(Arc::new(Reading {
        found,
        after: place(after),
        until: place(until),
        server: "one".into(),
    }))
}

fn query(sql: &str, error_code: u16) -> Vec<Change> {
    let event = QueryEvent {
        thread_id: 1,
        exec_time: 0,
        error_code,
        schema: b"d",
        statement: sql.as_bytes(),
        session: SessionVars::default(),
    };
    changes(&event, false)
}

/// A log of versions and the machine that fills it.
#[derive(Default)]
struct Log {
    history: History,
    versions: BTreeMap<(Name, Offset), Schema>,
}

impl Log {
    fn store(&mut self, versions: Vec<SchemaVersion>) {
        for version in versions {
            self.versions.insert(
                ((version.database, version.table), version.offset),
                version.schema,
            );
        }
    }

    fn stored(&self) -> Vec<SchemaVersion> {
        let all = self.versions.iter();
        all.map(|((name, offset), schema)| version(name.clone(), *offset, schema.clone()))
            .collect()
    }

    fn newest(&self, name: &Name) -> Option<SchemaVersion> {
        let found = self.versions.iter().rfind(|((table, _), _)| table == name);
        found.map(|((name, offset), schema)| version(name.clone(), *offset, schema.clone()))
    }

    /// A statement that ends at `end`; `look` says what is found of a table, if one is looked at.
    fn run(&mut self, offset: u64, end: u64, sql: &str, look: impl Fn(&Name) -> Option<Arc<Reading>>) {
        let mut history = std::mem::take(&mut self.history);
        let turn = history.turn(&query(sql, 0), Offset(offset), &place(end), |name| {
            self.newest(name)
        });
        let found = turn.look.iter().map(|name| (name.clone(), look(name))).collect();
        let versions = history.finish(turn, found, &place(end));
        self.history = history;
        self.store(versions);
    }

    fn passed(&mut self, at: u64) {
        let versions = self.history.passed(&place(at));
        self.store(versions);
    }

    /// What is known of a table, in short: `column`, `absent`, `late`, and `?` for nothing.
    fn is(&self, table: &str, at: u64) -> String {
        let name = name(table);
        let newest = self
            .versions
            .iter()
            .rfind(|((table, offset), _)| *table == name && offset.0 <= at);
        match newest.map(|(_, schema)| schema) {
            None => "?".to_owned(),
            Some(Schema::Absent) => "absent".to_owned(),
            Some(Schema::Late(_)) => "late".to_owned(),
            Some(Schema::Exact(definition)) => {
                format!("{} {}", definition.table.table, definition.table.columns[0].name)
            }
        }
    }
}

fn nothing(name: &Name) -> Option<Arc<Reading>> {
    panic!("{name:?} need not be looked at")
}

#[test]
fn what_was_read_is_exact_once_the_stream_has_passed_where_it_was_read() {
    let mut log = Log::default();
    log.run(3, 100, "ALTER TABLE a ADD x INT", |_| {
        reading(Some(definition("a", "x")), 150, 200)
    });
    assert_eq!(log.is("a", 3), "late");
    log.passed(199);
    assert_eq!(log.is("a", 3), "late");
    log.passed(200);
    assert_eq!(log.is("a", 3), "a x");
    assert_eq!(log.is("a", 2), "?");
    // Nothing behind it in the binlog: at once.
    log.run(4, 300, "ALTER TABLE a ADD y INT", |_| {
        reading(Some(definition("a", "y")), 300, 300)
    });
    assert_eq!((log.is("a", 3), log.is("a", 4)), ("a x".into(), "a y".into()));
}

#[test]
fn a_statement_before_that_place_spoils_it() {
    let mut log = Log::default();
    log.run(3, 100, "ALTER TABLE a ADD x INT", |_| {
        reading(Some(definition("a", "y")), 150, 200)
    });
    // It stands between the two places: what was read may be half of it.
    log.run(4, 180, "ALTER TABLE a ADD y INT", |_| {
        reading(Some(definition("a", "y")), 250, 300)
    });
    log.passed(250);
    assert_eq!((log.is("a", 3), log.is("a", 4)), ("late".into(), "late".into()));
    log.passed(300);
    assert_eq!((log.is("a", 3), log.is("a", 4)), ("late".into(), "a y".into()));
}

#[test]
fn one_look_serves_all_statements_before_it() {
    let mut log = Log::default();
    log.run(3, 100, "ALTER TABLE a ADD x INT", |_| {
        reading(Some(definition("a", "z")), 500, 600)
    });
    log.run(4, 200, "ALTER TABLE a ADD y INT", nothing);
    log.run(5, 500, "ALTER TABLE a ADD z INT", nothing);
    log.passed(700);
    let known = [3, 4, 5].map(|at| log.is("a", at));
    assert_eq!(known, ["late", "late", "a z"]);
}

#[test]
fn dropped_and_renamed_tables_need_no_look() {
    let mut log = Log::default();
    for (offset, table) in [(1, "a"), (2, "b")] {
        log.run(offset, offset, &format!("CREATE TABLE {table} (x INT)"), |_| {
            reading(Some(definition(table, table)), offset, offset)
        });
    }
    log.run(3, 300, "RENAME TABLE a TO t, b TO a, t TO b", nothing);
    let known = ["a", "b", "t"].map(|table| log.is(table, 3));
    assert_eq!(known, ["a b", "b a", "absent"]);
    let create = |log: &Log| match log.newest(&name("a")).map(|version| version.schema) {
        Some(Schema::Exact(definition)) => definition.create.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(create(&log), "CREATE TABLE `a` (\n  `b` int\n)");
    log.run(4, 400, "DROP TABLE a", nothing);
    assert_eq!(log.is("a", 4), "absent");
    log.run(5, 500, "DROP DATABASE d", nothing);
    assert_eq!(log.is("b", 5), "absent");
    assert!(
        !log.versions.contains_key(&(name("a"), Offset(5))),
        "it was gone already"
    );
}

#[test]
fn a_renamed_table_is_looked_at_when_it_is_not_known_exactly() {
    let mut log = Log::default();
    log.run(1, 100, "CREATE TABLE a (x INT)", |_| {
        reading(Some(definition("a", "later")), 900, 950)
    });
    log.run(2, 200, "RENAME TABLE a TO b", |found| {
        assert_eq!(*found, name("b"));
        reading(Some(definition("b", "x")), 960, 970)
    });
    log.passed(970);
    let known = [("a", 1), ("a", 2), ("b", 2)].map(|(table, at)| log.is(table, at));
    assert_eq!(known, ["late", "absent", "b x"]);
}

#[test]
fn what_was_not_proven_is_taken_up_again_on_the_same_server_only() {
    let late = |found| {
        version(
            name("a"),
            Offset(3),
            Schema::Late(reading(Some(definition("a", found)), 150, 200)),
        )
    };
    let mut same = History::load([late("x")], "one");
    assert!(!same.has_unread());
    assert_eq!(same.passed(&place(200)).len(), 1);
    let mut other = History::load([late("x")], "two");
    assert_eq!(other.passed(&place(200)), []);
    assert_eq!(
        other.listed(vec![name("a"), name("b")], Offset(9)),
        [name("a"), name("b")]
    );
    let stored = other.read(vec![
        (name("a"), reading(Some(definition("a", "x")), 10, 20)),
        (name("b"), None),
    ]);
    let offsets: Vec<_> = stored.iter().map(|version| version.offset.0).collect();
    assert_eq!(offsets, [3, 9]);
    assert_eq!(other.passed(&place(20)).len(), 1);
    assert_eq!(other.unread(), [name("b")]);
}

/// A table that nobody selects any more may be altered, dropped or made anew without a word: what was known of it ends there.
#[test]
fn a_table_that_was_not_followed_for_a_while_is_read_anew() {
    let mut log = Log::default();
    for (offset, table) in [(1, "a"), (2, "b"), (3, "gone")] {
        log.run(offset, offset, &format!("CREATE TABLE {table} (x INT)"), |_| {
            reading(Some(definition(table, "old")), offset, offset)
        });
    }
    log.run(4, 4, "DROP TABLE gone", nothing);
    let restarted = |log: &Log| History::load(log.stored(), "one");
    let mut history = restarted(&log);
    let versions = history.unfollow(|table| *table == name("b"), Offset(4));
    log.store(versions);
    let known = ["a", "b", "gone"].map(|table| log.is(table, 5));
    assert_eq!(known, ["late", "b old", "late"]);
    assert_eq!(log.is("a", 3), "a old");
    assert!(!history.has_unread(), "nobody asks for what nobody wants");
    // Said once.
    assert_eq!(
        restarted(&log).unfollow(|table| *table == name("b"), Offset(5)),
        []
    );
    // Selected again, and altered or made anew meanwhile.
    let mut history = restarted(&log);
    let listed = ["a", "b", "gone"].map(name).to_vec();
    assert_eq!(history.listed(listed, Offset(9)), [name("a"), name("gone")]);
    let found = [("a", "new"), ("gone", "back")];
    let found =
        found.map(|(table, column)| (name(table), reading(Some(definition(table, column)), 900, 900)));
    let versions = history.read(found.to_vec());
    log.store(versions);
    log.history = history;
    log.passed(900);
    let known = ["a", "gone"].map(|table| (log.is(table, 8), log.is(table, 9)));
    assert_eq!(
        known,
        [
            ("late".to_owned(), "a new".to_owned()),
            ("late".to_owned(), "gone back".to_owned())
        ]
    );
}

#[test]
fn tables_that_came_and_went_take_no_memory() {
    let mut log = Log::default();
    log.history.listed(Vec::new(), Offset(0));
    for n in 0..1000 {
        let (offset, table) = (2 * n + 1, format!("a{n}"));
        log.run(offset, offset, &format!("CREATE TABLE {table} (x INT)"), |_| {
            reading(Some(definition(&table, "x")), offset, offset)
        });
        log.run(offset + 1, offset + 1, &format!("DROP TABLE {table}"), nothing);
    }
    assert_eq!((log.history.tables.len(), log.history.absent.len()), (0, 0));
    assert_eq!(
        (log.is("a5", 11), log.is("a5", 12)),
        ("a5 x".into(), "absent".into())
    );
    // Found to be gone: at once, and later.
    log.run(3001, 3001, "CREATE TABLE b (x INT)", |_| {
        reading(None, 3001, 3001)
    });
    log.run(3002, 3002, "CREATE TABLE c (x INT)", |_| {
        reading(None, 3003, 3004)
    });
    assert_eq!(log.is("c", 3002), "late");
    log.passed(3004);
    assert_eq!(
        (log.is("b", 3002), log.is("c", 3002)),
        ("absent".into(), "absent".into())
    );
    assert_eq!((log.history.tables.len(), log.history.absent.len()), (0, 0));
    // Made again.
    log.run(3005, 3005, "CREATE TABLE a5 (y INT)", |_| {
        reading(Some(definition("a5", "y")), 3005, 3005)
    });
    assert_eq!(
        (log.is("a5", 3004), log.is("a5", 3005)),
        ("absent".into(), "a5 y".into())
    );
    assert_eq!(log.history.tables.len(), 1);
}

/// A list of the source's tables may be older than the statement that dropped one of them.
#[test]
fn gone_tables_are_remembered_until_the_first_list() {
    let mut log = Log::default();
    log.run(3, 100, "DROP TABLE a", nothing);
    assert_eq!(log.history.tables.len(), 1);
    let listed = vec![name("a"), name("b")];
    assert_eq!(log.history.listed(listed, Offset(3)), [name("b")]);
    assert_eq!((log.history.tables.len(), log.history.absent.len()), (1, 0));
}

#[test]
fn statements_say_what_they_change() {
    let changed = |tables: &[&str]| -> Vec<Change> {
        tables.iter().map(|table| Change::Changed(name(table))).collect()
    };
    assert_eq!(query("CREATE TABLE a LIKE b", 0), changed(&["a"]));
    assert_eq!(query("CREATE INDEX i ON a (x)", 0), changed(&["a"]));
    assert_eq!(query("TRUNCATE a", 0), []);
    assert_eq!(query("CREATE VIEW v AS SELECT 1", 0), []);
    assert_eq!(query("GRANT SELECT ON d.* TO u", 0), []);
    assert_eq!(query("DROP TABLE a, b", 1051), changed(&["a", "b"]));
    assert_eq!(
        query("DROP TABLE a, b", 0),
        [Change::Gone(name("a")), Change::Gone(name("b"))]
    );
    assert_eq!(
        query("ALTER TABLE a RENAME TO b, ADD x INT", 0),
        [Change::Gone(name("a")), Change::Changed(name("b"))]
    );
    assert_eq!(
        query("ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b", 0),
        changed(&["a", "b"])
    );
    assert_eq!(query("DROP SCHEMA d", 0), [Change::DatabaseGone("d".into())]);
    assert_eq!(query("FROBNICATE TABLE a", 0), [Change::Anything]);
}
