//! What statements look like, and what they count.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::definition::tests::plain;
use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::json_kinds;
use outrigger_protocol::definition::{KeyDef, UniqueKey};

fn table(keyed: bool) -> Arc<Table> {
    let columns = vec![
        ColumnDef {
            nullable: false,
            ..plain("id", ColumnKind::Int)
        },
        plain("name", ColumnKind::VarChar),
        ColumnDef {
            generated: true,
            ..plain("twice", ColumnKind::Int)
        },
        ColumnDef {
            on_update: true,
            ..plain("at", ColumnKind::Timestamp)
        },
    ];
    let key = keyed.then(|| KeyDef {
        name: "PRIMARY".into(),
        columns: vec![0],
        prefixed: false,
    });
    let def = TableDef {
        database: "d".into(),
        table: "t".into(),
        columns,
        key,
        other_unique_keys: vec![UniqueKey {
            name: "u".into(),
            columns: vec![Some(1)],
        }],
    };
    Arc::new(Table::new(def))
}

fn foldable() -> Arc<Table> {
    Arc::new(Table::new(TableDef {
        other_unique_keys: Vec::new(),
        ..table(true).def.clone()
    }))
}

fn row(id: i64, name: &'static str) -> Vec<Option<Value<'static>>> {
    vec![
        Some(Value::Int(id)),
        Some(Value::Bytes(Cow::Borrowed(name.as_bytes()))),
        // Generated, and not in every image.
        (id % 2 == 0).then_some(Value::Int(2 * id)),
        Some(Value::Null),
    ]
}

fn text(statements: Statements) -> (Vec<String>, Vec<Option<u64>>) {
    let (sql, expects, _) = statements.finish();
    let sql = String::from_utf8(sql).unwrap();
    (
        sql.split(';').map(str::to_owned).collect(),
        expects.into_iter().map(|e| e.rows).collect(),
    )
}

/// A text that makes a row too long to be folded.
fn long(letter: &str) -> &'static str {
    Box::leak(letter.repeat(3000).into_boxed_str())
}

#[test]
fn consecutive_inserts_and_deletes_are_one_statement_each() {
    let t = table(true);
    let a = long("a");
    let mut s = Statements::new();
    s.change(&t, Change::Insert(&row(1, a)), Mode::Exact);
    s.change(&t, Change::Insert(&row(2, a)), Mode::Exact);
    s.change(&t, Change::Delete(&row(1, a)), Mode::Exact);
    s.change(&t, Change::Delete(&row(2, a)), Mode::Exact);
    let (sql, rows) = text(s);
    assert_eq!(
        sql,
        [
            format!(
                "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'{a}',NULL),(2,_utf8mb4'{a}',NULL)"
            ),
            "DELETE FROM `d`.`t` WHERE `id` IN(1,2)".to_owned()
        ]
    );
    assert_eq!(rows, [Some(2), Some(2)]);
}

#[test]
fn an_upsert_must_not_find_another_row_by_another_key() {
    let mut def = table(true).def.clone();
    def.other_unique_keys[0].columns = vec![Some(3)];
    let t = Arc::new(Table::new(def));
    let mut s = Statements::new();
    s.change(&t, Change::Update(&row(1, "a"), &row(1, "b")), Mode::Exact);
    assert_eq!(
        text(s).0,
        [
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'b',NULL)ON DUPLICATE KEY UPDATE \
          `name`=VALUES(`name`),`at`=VALUES(`at`),`id`=IF(`id`=VALUES(`id`),`id`,NULL)"
        ]
    );
}

#[test]
fn a_key_with_a_time_in_it_is_spelled_out() {
    let mut def = table(true).def.clone();
    def.columns[3].nullable = false;
    def.key = Some(KeyDef {
        name: "PRIMARY".into(),
        columns: vec![0, 3],
        prefixed: false,
    });
    let t = Arc::new(Table::new(def));
    let mut s = Statements::new();
    for id in [1, 2] {
        let day = outrigger_protocol::value::Date {
            year: 2020,
            month: 1,
            day: 1,
        };
        let mut image = row(id, "a");
        image[3] = Some(Value::DateTime(
            day,
            outrigger_protocol::value::TimeOfDay::default(),
        ));
        s.change(&t, Change::Delete(&image), Mode::Exact);
    }
    assert_eq!(
        text(s),
        (
            vec![
                "DELETE FROM `d`.`t` WHERE ((`id`=1 AND `at`='2020-01-01 00:00:00') OR (`id`=2 AND `at`='2020-01-01 00:00:00'))"
                    .to_owned()
            ],
            vec![Some(2)]
        )
    );
}

#[test]
fn an_update_names_what_changed_and_what_the_server_would_change() {
    let t = table(true);
    let mut s = Statements::new();
    let b = long("b");
    s.change(&t, Change::Update(&row(1, "a"), &row(1, b)), Mode::Exact);
    assert_eq!(
        text(s).0,
        [format!(
            "UPDATE `d`.`t` SET `name`=_utf8mb4'{b}',`at`=NULL WHERE `id`=1"
        )]
    );
}

#[test]
fn idempotent_updates_replace_and_remove_the_old_key() {
    let t = table(true);
    let mut s = Statements::new();
    s.change(&t, Change::Update(&row(1, "a"), &row(2, "a")), Mode::Idempotent);
    s.change(&t, Change::Delete(&row(2, "a")), Mode::Idempotent);
    let (sql, rows) = text(s);
    assert_eq!(
        sql,
        [
            "DELETE FROM `d`.`t` WHERE `id` IN(1)",
            "REPLACE INTO `d`.`t`(`id`,`name`,`at`)VALUES(2,_utf8mb4'a',NULL)",
            "DELETE FROM `d`.`t` WHERE `id` IN(2)"
        ]
    );
    assert_eq!(rows, [None, None, None]);
}

#[test]
fn without_a_key_equal_is_not_enough() {
    let condition = |column: &ColumnDef, value: &Value<'_>| {
        let mut out = Vec::new();
        write_exactly(&mut out, value, "`t`", column);
        String::from_utf8(out).unwrap()
    };
    let (json, float) = (plain("j", ColumnKind::Json), plain("f", ColumnKind::Double));
    let (document, wanted) = (
        json_kinds::expression("`t`.`j`"),
        json_kinds::expression("wanted.j"),
    );
    assert_eq!(
        condition(&json, &Value::Json(Cow::Borrowed(b"[1.0]"))),
        format!(
            " AND (SELECT CAST(CAST(wanted.j AS CHAR) AS BINARY)=CAST(CAST(`t`.`j` AS CHAR) AS BINARY) AND {wanted}={document} \
             FROM (SELECT CAST(_utf8mb4'[1.0]' AS JSON)j)wanted)"
        )
    );
    assert_eq!(condition(&float, &Value::Double(-0.0)), " AND LEFT(`f`,1)='-'");
    assert_eq!(condition(&float, &Value::Double(0.0)), " AND LEFT(`f`,1)<>'-'");
    assert_eq!(condition(&float, &Value::Double(0.5)), "");
}

#[test]
fn without_a_key_the_whole_row_is_compared_by_bytes() {
    let t = table(false);
    let mut s = Statements::new();
    s.change(&t, Change::Delete(&row(1, "a")), Mode::Idempotent);
    assert_eq!(
        text(s).0,
        [
            "DELETE FROM `d`.`t` WHERE `id`=1 AND `name`<=>_utf8mb4'a' AND CAST(`name` AS BINARY)=_binary'a' AND `at` IS NULL LIMIT 1"
        ]
    );
}

#[test]
fn an_enums_error_value_is_written_without_strictness() {
    let mut columns = table(true).def.columns.clone();
    columns[1] = plain("e", ColumnKind::Enum);
    let def = TableDef {
        columns,
        ..table(true).def.clone()
    };
    let t = Arc::new(Table::new(def));
    let row = |e| [Value::Int(1), Value::UInt(e), Value::Null, Value::Null].map(Some);
    let mut s = Statements::new();
    s.change(&t, Change::Insert(&row(0)), Mode::Exact);
    s.change(&t, Change::Insert(&row(1)), Mode::Exact);
    let (sql, _) = text(s);
    assert_eq!(sql.len(), 4);
    assert_eq!(sql[0], LENIENT);
    assert_eq!(sql[2], STRICT);
}

#[test]
fn a_cascading_change_stands_alone_between_what_was_before_and_comes_after() {
    let t = foldable();
    let mut s = Statements::new();
    s.change(&t, Change::Insert(&row(1, "a")), Mode::Exact);
    s.change_cascading(&t, Change::Delete(&row(1, "a")));
    s.change_cascading(&t, Change::Update(&row(2, "a"), &row(3, "a")));
    s.change(&t, Change::Insert(&row(1, "b")), Mode::Exact);
    assert!(s.has_rows());
    let (sql, rows) = text(s);
    assert_eq!(
        sql,
        [
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'a',NULL)",
            "SET foreign_key_checks=1",
            "DELETE FROM `d`.`t` WHERE `id`=1",
            "SET foreign_key_checks=0",
            "SET foreign_key_checks=1",
            "UPDATE `d`.`t` SET `id`=3,`at`=NULL WHERE `id`=2",
            "SET foreign_key_checks=0",
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'b',NULL)",
        ]
    );
    assert_eq!(rows, [Some(1), None, Some(1), None, None, Some(1), None, Some(1)]);
}

/// A row of which only these columns were logged.
fn part(row: Vec<Option<Value<'static>>>, columns: &[usize]) -> Vec<Option<Value<'static>>> {
    let keep = |(at, value): (usize, Option<Value<'static>>)| value.filter(|_| columns.contains(&at));
    row.into_iter().enumerate().map(keep).collect()
}

#[test]
fn a_part_of_a_row_says_nothing_of_the_rest() {
    let t = foldable();
    let mut s = Statements::new();
    // What is folded of the table stands before it.
    s.change(&t, Change::Insert(&row(1, "a")), Mode::Exact);
    let (before, after) = (part(row(1, "a"), &[0]), part(row(1, "b"), &[1]));
    s.change_partial(&t, Change::Update(&before, &after));
    s.change_partial(&t, Change::Update(&before, &part(row(5, "b"), &[0])));
    s.change_partial(&t, Change::Insert(&part(row(2, "x"), &[0])));
    s.change_partial(&t, Change::Insert(&part(row(3, "x"), &[0])));
    s.change_partial(&t, Change::Insert(&part(row(4, "x"), &[0, 1])));
    s.change_partial(&t, Change::Delete(&part(row(2, "x"), &[0])));
    s.change_partial(&t, Change::Delete(&part(row(3, "x"), &[0])));
    let (sql, rows) = text(s);
    assert_eq!(
        sql,
        [
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'a',NULL)",
            "UPDATE `d`.`t` SET `name`=_utf8mb4'b',`at`=`at` WHERE `id`=1",
            "UPDATE `d`.`t` SET `id`=5,`at`=`at` WHERE `id`=1",
            "INSERT INTO `d`.`t`(`id`)VALUES(2),(3)",
            "INSERT INTO `d`.`t`(`id`,`name`)VALUES(4,_utf8mb4'x')",
            "DELETE FROM `d`.`t` WHERE `id` IN(2,3)",
        ]
    );
    assert_eq!(rows, [1, 1, 1, 2, 1, 2].map(Some));
    assert!(!t.is_whole(&Change::Update(&before, &row(1, "b"))));
    assert!(!t.is_whole(&Change::Update(&row(1, "a"), &after)));
    assert!(t.is_whole(&Change::Update(&row(1, "a"), &row(1, "b"))));
    assert!(t.is_found_by(&before) && !t.is_found_by(&after) && !table(false).is_found_by(&before));
}

#[test]
fn a_document_that_equals_the_old_one_is_written_all_the_same() {
    let mut def = foldable().def.clone();
    def.columns[1] = plain("j", ColumnKind::Json);
    let t = Arc::new(Table::new(def));
    let update = |text: &'static str, before: &[usize]| {
        let after = vec![
            None,
            Some(Value::Json(Cow::Borrowed(text.as_bytes()))),
            None,
            None,
        ];
        let mut s = Statements::new();
        s.change_partial(&t, Change::Update(&part(row(1, "{}"), before), &after));
        s.finish()
    };
    let (sql, expects, _) = update("[1.0]", &[0]);
    let sql = String::from_utf8(sql).unwrap();
    assert!(sql.starts_with(
        "UPDATE `d`.`t` SET `j`=CAST('null' AS JSON),`at`=`at` WHERE `id`=1 AND `j`<=>CAST(_utf8mb4'[1.0]' AS JSON) AND NOT (SELECT"
    ));
    assert!(sql.ends_with("wanted);UPDATE `d`.`t` SET `j`=_utf8mb4'[1.0]',`at`=`at` WHERE `id`=1"));
    assert_eq!(
        expects.iter().map(|e| e.rows).collect::<Vec<_>>(),
        [None, Some(1)]
    );
    // No numbers, or the old one is known.
    assert_eq!(update("[true]", &[0]).1.len(), 1);
    assert_eq!(update("[1.0]", &[0, 1]).1.len(), 1);
}

#[test]
fn a_column_without_a_default_is_left_to_the_server() {
    let mut def = foldable().def.clone();
    def.columns[1].nullable = false;
    let t = Arc::new(Table::new(def.clone()));
    let mut s = Statements::new();
    s.change_partial(&t, Change::Insert(&part(row(1, "x"), &[0])));
    assert_eq!(
        text(s).0,
        [LENIENT, "INSERT INTO `d`.`t`(`id`)VALUES(1)", STRICT].map(str::to_owned)
    );
    def.columns[1].has_default = true;
    let t = Arc::new(Table::new(def));
    let mut s = Statements::new();
    s.change_partial(&t, Change::Insert(&part(row(1, "x"), &[0])));
    assert_eq!(text(s).0, ["INSERT INTO `d`.`t`(`id`)VALUES(1)"]);
}

#[test]
fn a_row_is_found_by_another_key_where_only_that_was_logged() {
    let mut def = table(true).def.clone();
    assert!(
        table(true).found_otherwise().is_empty(),
        "its columns may be NULL"
    );
    def.columns[1].nullable = false;
    let others = Table::new(def).found_otherwise();
    let [other] = others.as_slice() else {
        panic!("{others:?}")
    };
    assert!(other.is_found_by(&part(row(1, "a"), &[1])));
    assert_eq!(
        (
            other.key_names().as_str(),
            other.def.other_unique_keys[0].name.as_str()
        ),
        ("name", "PRIMARY")
    );
}

#[test]
fn a_part_of_a_row_is_no_repair_of_it() {
    let t = table(true);
    let before = part(row(1, "a"), &[0]);
    let single = |change: Change<'_, '_>| {
        let mut singles = Singles::default();
        singles.push(
            &t,
            change,
            Mode::Exact,
            &crate::error::Place::default(),
            Effect::Repairable,
        );
        singles.list.remove(0)
    };
    let update = single(Change::Update(&before, &part(row(1, "b"), &[1])));
    assert!(update.repair.is_none());
    assert_eq!(
        (update.before.as_deref(), update.after.as_deref()),
        (Some("id = 1"), Some("id = 1"))
    );
    let insert = single(Change::Insert(&before)).repair.unwrap();
    assert_eq!(insert.replace, b"REPLACE INTO `d`.`t`(`id`)VALUES(1)");
    let delete = single(Change::Delete(&before)).repair.unwrap();
    assert_eq!(delete.remove, b"DELETE FROM `d`.`t` WHERE `id` IN(1)");
}

#[test]
fn a_groups_net_effect_is_written() {
    let t = foldable();
    let mut s = Statements::new();
    for change in [
        Change::Update(&row(1, "a"), &row(1, "b")),
        Change::Insert(&row(7, "n")),
        Change::Delete(&row(2, "x")),
        Change::Update(&row(1, "b"), &row(1, "c")),
        Change::Insert(&row(2, "y")),
        Change::Delete(&row(3, "z")),
        Change::Insert(&row(8, "gone")),
        Change::Delete(&row(8, "gone")),
        Change::Update(&row(4, "k"), &row(5, "k")),
        Change::Update(&row(6, "to"), &row(6, "fro")),
        Change::Update(&row(6, "fro"), &row(6, "to")),
    ] {
        s.change(&t, change, Mode::Exact);
    }
    let (sql, rows) = text(s);
    assert_eq!(
        sql,
        [
            "DELETE FROM `d`.`t` WHERE `id` IN(3,4,6)",
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'c',NULL),(2,_utf8mb4'y',NULL)\
             ON DUPLICATE KEY UPDATE `name`=VALUES(`name`),`at`=VALUES(`at`)",
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(7,_utf8mb4'n',NULL),(5,_utf8mb4'k',NULL),(6,_utf8mb4'to',NULL)",
        ]
    );
    assert_eq!(rows, [Some(3), Some(4), Some(3)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However changes are merged, each row is expected once, and statements and expectations pair up.
    #[test]
    fn every_row_is_accounted_for(kinds in proptest::collection::vec(0u8..3, 1..3000)) {
        let t = table(false);
        let mut s = Statements::new();
        for kind in &kinds {
            let (a, b) = (row(1, "x"), row(1, "y"));
            let change = match kind { 0 => Change::Insert(&a), 1 => Change::Update(&a, &b), _ => Change::Delete(&a) };
            s.change(&t, change, Mode::Exact);
        }
        let (sql, expects, counts) = s.finish();
        let total: u64 = expects.iter().filter_map(|e| e.rows).sum();
        prop_assert_eq!(total, kinds.len() as u64);
        prop_assert_eq!(counts.inserted + counts.updated + counts.deleted, kinds.len() as u64);
        prop_assert_eq!(sql.iter().filter(|b| **b == b';').count() + 1, expects.len());
    }

    /// Folded or not, a table ends the same: a model executes both.
    #[test]
    fn the_net_effect_is_the_effect(picks in proptest::collection::vec((0u8..4, 0i64..6, 0i64..6, 0usize..3), 1..200)) {
        net_effect(&foldable(), &picks, false)?;
    }

    /// The same where names are unique, and wander between rows.
    #[test]
    fn unique_values_may_wander(picks in proptest::collection::vec((0u8..4, 0i64..6, 0i64..6, 0usize..8), 1..200)) {
        net_effect(&table(true), &picks, true)?;
    }
}

fn net_effect(t: &Arc<Table>, picks: &[(u8, i64, i64, usize)], unique: bool) -> Result<(), TestCaseError> {
    let start: BTreeMap<i64, &'static str> = [(0, "a"), (1, "b"), (2, "c")].into();
    let mut live = start.clone();
    let mut s = Statements::new();
    for (kind, id, other, name) in picks {
        let (id, other, name) = (*id, *other, NAMES[*name]);
        let taken = unique && live.values().any(|n| *n == name);
        match (kind, live.get(&id).copied()) {
            (0, None) if !taken => {
                live.insert(id, name);
                s.change(t, Change::Insert(&row(id, name)), Mode::Exact);
            }
            (1, Some(old)) => {
                live.remove(&id);
                s.change(t, Change::Delete(&row(id, old)), Mode::Exact);
            }
            (2, Some(old)) if old != name && !taken => {
                live.insert(id, name);
                s.change(t, Change::Update(&row(id, old), &row(id, name)), Mode::Exact);
            }
            (3, Some(old)) if !live.contains_key(&other) => {
                live.remove(&id);
                live.insert(other, old);
                s.change(t, Change::Update(&row(id, old), &row(other, old)), Mode::Exact);
            }
            _ => {}
        }
    }
    let (sql, rows) = text(s);
    let mut model = start;
    for (statement, expected) in sql.iter().zip(rows) {
        prop_assert_eq!(
            Some(execute(&mut model, statement, unique)),
            expected,
            "{}",
            statement
        );
    }
    prop_assert_eq!(model, live);
    Ok(())
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Executes a folded statement on a model of the table; returns the affected rows as the server counts them.
fn execute(model: &mut BTreeMap<i64, &'static str>, statement: &str, unique: bool) -> u64 {
    if let Some(keys) = statement.strip_prefix("DELETE FROM `d`.`t` WHERE `id` IN(") {
        let keys = keys
            .trim_end_matches(')')
            .split(',')
            .map(|k| k.parse::<i64>().unwrap());
        return keys.map(|k| u64::from(model.remove(&k).is_some())).sum();
    }
    let Some((_, values)) = statement.split_once(")VALUES(") else {
        return 0;
    };
    let (values, upsert) = match values.split_once(")ON DUPLICATE") {
        Some((values, _)) => (values, true),
        None => (values.trim_end_matches(')'), false),
    };
    let mut affected = 0;
    for tuple in values.split("),(") {
        let mut parts = tuple.split(',');
        let id: i64 = parts.next().unwrap().parse().unwrap();
        let name = NAMES
            .into_iter()
            .find(|n| parts.clone().next() == Some(&format!("_utf8mb4'{n}'")))
            .unwrap();
        let taken = model.iter().any(|(other, n)| *other != id && *n == name);
        assert!(!(unique && taken), "a unique value twice: {statement}");
        affected += match model.insert(id, name) {
            None => 1,
            Some(old) if upsert && old == name => 1,
            Some(_) if upsert => 2,
            Some(_) => panic!("a duplicate key"),
        };
    }
    affected
}

/// Each statement as `Expect::end` cuts it out.
fn cut(statements: Statements) -> Vec<String> {
    let (sql, expects, _) = statements.finish();
    let mut from = 0;
    let mut cut = Vec::new();
    for expect in expects {
        let part = String::from_utf8(sql[from..expect.end].to_vec()).unwrap();
        cut.push(part.trim_start_matches(';').to_owned());
        from = expect.end;
    }
    assert_eq!(from, sql.len());
    cut
}

#[test]
fn only_a_target_transaction_that_searches_rows_keeps_their_locks() {
    let (mut searched, keyed) = (table(false).def.clone(), foldable());
    searched.table = "s".into();
    let keyless = Arc::new(Table::new(searched));
    let mut s = Statements::begin();
    s.change(&keyed, Change::Delete(&row(1, "a")), Mode::Exact);
    s.change(&keyless, Change::Insert(&row(1, "a")), Mode::Exact);
    assert!(!cut(s).contains(&SEARCHING.to_owned()));

    let mut s = Statements::begin();
    s.change(&keyed, Change::Delete(&row(1, "a")), Mode::Exact);
    s.change(&keyless, Change::Delete(&row(1, "a")), Mode::Exact);
    let statements = cut(s);
    assert_eq!(statements[0], SEARCHING);
    assert!(statements[1].ends_with("LIMIT 1"), "{statements:?}");
    assert!(statements[2].ends_with("WHERE `id` IN(1)"), "{statements:?}");
    assert_eq!(statements.len(), 3);

    // What goes on in the middle of one can't change it any more.
    let mut s = Statements::new();
    s.change(&keyless, Change::Delete(&row(1, "a")), Mode::Exact);
    assert_eq!(cut(s).len(), 1);
}

#[test]
fn a_statement_takes_the_check_of_the_one_before_it_along() {
    let (folds, other) = (foldable(), foldable());
    let mut statements = Statements::new();
    let (before, after) = (row(1, "a"), row(1, "b"));
    statements.change(&folds, Change::Update(&before, &after), Mode::Exact);
    statements.change(&other, Change::Update(&before, &after), Mode::Exact);
    statements.change(&table(true), Change::Insert(&after), Mode::Idempotent);
    statements.change(&table(true), Change::Delete(&before), Mode::Exact);
    statements.change(&folds, Change::Delete(&before), Mode::Exact);
    statements.change(&other, Change::Insert(&before), Mode::Exact);
    let (sql, expects, _) = statements.finish();
    let checked = String::from_utf8(write_checked(&sql, &expects)).unwrap();
    let update = "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'b',NULL)ON DUPLICATE KEY UPDATE \
                  `name`=VALUES(`name`),`at`=VALUES(`at`)";
    assert_eq!(
        checked.split(';').collect::<Vec<_>>(),
        [
            update,
            &format!("{update},`id`=IF(ROW_COUNT()=2,`id`,NULL)"),
            "SET @outrigger=IF(ROW_COUNT()=2,1,EXP(710))",
            "REPLACE INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'b',NULL)",
            "DELETE FROM `d`.`t` WHERE `id` IN(1)",
            "DELETE FROM `d`.`t` WHERE `id` IN(1) AND ROW_COUNT()=1",
            "SET @outrigger=IF(ROW_COUNT()=1,1,EXP(710))",
            "INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES(1,_utf8mb4'a',NULL)",
        ]
    );
    let alone: Vec<bool> = checks(&expects).collect();
    assert_eq!(alone, [false, true, false, false, true, false]);
}

#[test]
fn a_key_is_kept_or_fails_as_its_type_does() {
    let keep = |change: &dyn Fn(&mut ColumnDef)| {
        let mut def = table(true).def.clone();
        change(&mut def.columns[0]);
        table::keep_if(&def, "x")
    };
    assert_eq!(keep(&|_| {}).as_deref(), Some("`id`=IF(x,`id`,NULL)"));
    let counting = keep(&|id| id.auto_increment = true);
    assert_eq!(counting.as_deref(), Some("`id`=IF(x,`id`,9223372036854775807+1)"));
    assert_eq!(keep(&|id| id.generated = true), None);
    for kind in [ColumnKind::Timestamp, ColumnKind::Float, ColumnKind::Double] {
        assert_eq!(keep(&|id| id.kind = kind), None);
    }
}

#[test]
fn the_highest_number_is_given_out_although_its_row_is_gone() {
    let mut def = foldable().def.clone();
    def.columns[0].auto_increment = true;
    let counts = Arc::new(Table::new(def));
    let come_and_gone = |t: &Arc<Table>, stays: Option<i64>| {
        let mut s = Statements::new();
        for id in 1..=3 {
            s.change(t, Change::Insert(&row(id, "a")), Mode::Exact);
        }
        for id in [3, 1, 2] {
            s.change(t, Change::Delete(&row(id, "a")), Mode::Exact);
        }
        if let Some(id) = stays {
            s.change(t, Change::Insert(&row(id, "b")), Mode::Exact);
        }
        text(s)
    };
    let insert = |id: i64, name: &str| {
        format!("INSERT INTO `d`.`t`(`id`,`name`,`at`)VALUES({id},_utf8mb4'{name}',NULL)")
    };
    let delete = "DELETE FROM `d`.`t` WHERE `id` IN(3)".to_owned();
    assert_eq!(
        come_and_gone(&counts, None),
        (vec![insert(3, "a"), delete.clone()], vec![Some(1), Some(1)])
    );
    // A higher one says it all, a lower one does not.
    assert_eq!(come_and_gone(&counts, Some(4)).0, [insert(4, "b")]);
    assert_eq!(
        come_and_gone(&counts, Some(2)).0,
        [insert(3, "a"), delete, insert(2, "b")]
    );
    assert_eq!(come_and_gone(&foldable(), None).0, [""]);
}
