//! What of a target's table contradicts the rows of a source, and what does not: cases by hand.

use super::*;
use outrigger_protocol::definition::AnswerRow;

/// How much a table map tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metadata {
    /// MySQL 5.7.
    None,
    Minimal,
    Full,
}

/// Columns from `a int unsigned; s varchar(9) in latin1; g int generated; h int invisible`.
fn table(columns: &str) -> TableDef {
    let row = |text: &str| -> AnswerRow {
        let (name, rest) = text.trim().split_once(' ').unwrap();
        let (rest, charset) = match rest.split_once(" in ") {
            Some((rest, charset)) => (rest, Some(charset.to_owned())),
            None => (rest, None),
        };
        let (declared, extra) = match rest.rsplit_once(' ') {
            Some((declared, "generated")) => (declared, "STORED GENERATED"),
            Some((declared, "invisible")) => (declared, "INVISIBLE"),
            _ => (rest, ""),
        };
        let kind = declared.split(['(', ' ']).next().unwrap();
        let length = declared.split(['(', ')']).nth(1).map(str::to_owned);
        let collation = charset.clone().map(|charset| format!("{charset}_bin"));
        [
            Some(name.to_owned()),
            Some(kind.to_owned()),
            Some(declared.to_owned()),
            charset,
            collation,
            length.filter(|length| length.parse::<u64>().is_ok()),
            Some("YES".to_owned()),
            Some(extra.to_owned()),
            Some("0".to_owned()),
        ]
        .into()
    };
    let rows: Vec<AnswerRow> = columns.split(';').map(row).collect();
    TableDef::from_answers("app", "t", &rows, &[]).unwrap().unwrap()
}

/// What a server writes of such a table.
fn map(def: &TableDef, metadata: Metadata) -> TableMap {
    let column = |column: &ColumnDef| {
        let kind = (1..=255).map(ColumnType).filter(|kind| kind.name().is_some());
        let kind = kind.rev().find(|kind| same_type(*kind, column.kind)).unwrap();
        let collation = match column.charset.as_deref() {
            Some("latin1") => 8,
            Some("utf8mb3" | "utf8") => 33,
            Some("ascii") => 11,
            Some("utf8mb4") => 255,
            Some(other) => panic!("{other}"),
            None if kind.is_enum_or_set() => 255,
            None => charset::BINARY,
        };
        let (minimal, full) = (metadata != Metadata::None, metadata == Metadata::Full);
        let told = minimal && kind.is_character() || full && kind.is_enum_or_set();
        let members = || column.members().into_iter().map(String::into_bytes).collect();
        binlog::ColumnDef {
            kind,
            meta: match (column.kind, column.digits()) {
                (ColumnKind::Decimal, (precision, scale)) => precision * 256 + scale,
                (_, (digits, _)) => digits,
            },
            nullable: true,
            unsigned: (minimal && kind.is_numeric()).then_some(column.unsigned),
            collation: told.then_some(collation),
            name: full.then(|| column.name.clone()),
            members: (full && kind.is_enum_or_set()).then(members),
            geometry: None,
            dimension: None,
            visible: full.then_some(!column.invisible),
        }
    };
    TableMap {
        table_id: 7,
        flags: 0,
        database: "app".to_owned(),
        table: "t".to_owned(),
        columns: def.columns.iter().map(column).collect(),
        primary_key: None,
    }
}

/// What is said when rows of `source` come to `target`.
fn said(source: &str, target: &str, metadata: Metadata, exact: bool) -> Option<String> {
    let source = table(source);
    let map = map(&source, metadata);
    let layout = Layout::new(&map, exact.then_some(&source));
    layout.contradiction(&table(target))
}

/// Source, target, and what is said. Also whether it is seen by a table map that tells no names, and by one that tells types alone.
const WRONG: &[(&str, &str, &str, bool, bool)] = &[
    (
        "id int; a int; b int",
        "id int; b int; a int",
        "column 2 is `a` on the source, `b` on the target, column 3 is `b` on the source, `a` on the target \
             (the source's columns: `id`, `a`, `b`; the target's: `id`, `b`, `a`)",
        false,
        false,
    ),
    (
        "a int; b int",
        "a int; c int",
        "column 2 is `b` on the source, `c`",
        false,
        false,
    ),
    (
        "a int; b text in utf8mb4",
        "b text in utf8mb4; a int",
        "column 1 is `a`",
        true,
        true,
    ),
    (
        "a int; b int",
        "a int",
        "the source's rows have 2 columns, the target's table 1",
        true,
        true,
    ),
    (
        "a int",
        "a int; b int",
        "the source's rows have 1 columns, the target's table 2",
        true,
        true,
    ),
    (
        "a int unsigned",
        "a int",
        "is unsigned on the source, int on the target",
        true,
        false,
    ),
    (
        "a bigint",
        "a bigint unsigned",
        "is signed on the source, bigint unsigned",
        true,
        false,
    ),
    (
        "a tinyint",
        "a int unsigned",
        "is signed on the source",
        true,
        true,
    ),
    (
        "a int",
        "a smallint",
        "is INT on the source, smallint",
        true,
        true,
    ),
    (
        "a int",
        "a varchar(20) in utf8mb4",
        "is INT on the source, varchar(20)",
        true,
        true,
    ),
    (
        "a datetime",
        "a timestamp",
        "is DATETIME on the source, timestamp",
        true,
        true,
    ),
    ("a float", "a double", "is FLOAT on the source", true, true),
    (
        "a datetime(6)",
        "a datetime(3)",
        "is 6 digits after the point on the source, datetime(3)",
        true,
        true,
    ),
    (
        "a decimal(10,3)",
        "a decimal(12,2)",
        "is 3 digits after the point on the source, decimal(12,2)",
        true,
        true,
    ),
    ("a time(1)", "a time", "is 1 digits after the point", true, true),
    (
        "a text in utf8mb4",
        "a text in latin1",
        "is utf8mb4 on the source, latin1",
        true,
        false,
    ),
    (
        "a varchar(9) in latin1",
        "a varchar(9) in utf8mb4",
        "is latin1 on the source, utf8mb4",
        true,
        false,
    ),
    (
        "a varbinary(9)",
        "a varchar(9) in utf8mb4",
        "is binary on the source, utf8mb4",
        true,
        false,
    ),
    (
        "a char(9) in utf8mb4",
        "a binary(9)",
        "is utf8mb4 on the source, binary",
        true,
        false,
    ),
    (
        "e enum('x','y')",
        "e enum('y','x')",
        "member 1 of column 1 (`e`) is 'x' on the source, 'y'",
        false,
        false,
    ),
    (
        "e enum('x','y')",
        "e enum('x')",
        "member 2 of column 1 (`e`) is 'y' on the source, missing",
        false,
        false,
    ),
    (
        "s set('x','y','z')",
        "s set('x','z','y')",
        "member 2 of column 1 (`s`)",
        false,
        false,
    ),
];

#[test]
fn what_would_make_values_go_wrong_is_named() {
    for (source, target, words, by_minimal, by_types) in WRONG {
        for (metadata, exact, seen) in [
            (Metadata::Full, true, true),
            (Metadata::Full, false, true),
            (Metadata::Minimal, true, true),
            (Metadata::None, true, true),
            (Metadata::Minimal, false, *by_minimal),
            (Metadata::None, false, *by_types),
        ] {
            let said = said(source, target, metadata, exact);
            let case = format!("{source} -> {target}, {metadata:?}, exact: {exact}: {said:?}");
            assert_eq!(said.is_some(), seen, "{case}");
            let named = metadata == Metadata::Full || exact;
            assert!(!named || said.is_some_and(|said| said.contains(words)), "{case}");
        }
    }
    // Only the definition tells what is computed.
    let generated = said("a int; g int", "a int; g int generated", Metadata::Minimal, true);
    assert!(
        generated
            .is_some_and(|said| said.contains("(`g`) is written on the source, generated on the target"))
    );
}

#[test]
fn what_the_target_may_have_otherwise_passes() {
    for (source, target) in [
        ("id int; a int", "ID int; A int"),
        ("a int", "a bigint"),
        ("a tinyint unsigned", "a int"),
        ("a int unsigned", "a bigint unsigned"),
        ("a varchar(9) in utf8mb4", "a varchar(900) in utf8mb4"),
        ("a char(9) in latin1", "a varchar(9) in latin1"),
        ("a varchar(9) in utf8mb4", "a longtext in utf8mb4"),
        ("a varbinary(9)", "a blob"),
        ("a binary(9)", "a varbinary(20)"),
        ("a tinytext in utf8mb4", "a longtext in utf8mb4"),
        ("a text in utf8mb3", "a text in utf8mb4"),
        ("a text in utf8", "a text in utf8mb3"),
        ("a char(3) in ascii", "a char(3) in latin1"),
        ("a text in latin1", "a blob"),
        ("a decimal(8,2) unsigned", "a decimal(12,2)"),
        ("a datetime(3)", "a datetime(6)"),
        ("a year", "a year"),
        ("e enum('x','it''s')", "e enum('x','it''s','z')"),
        ("s set('x')", "s set('x','y')"),
        (
            "a int; my_row_id bigint unsigned invisible",
            "a int; my_row_id bigint unsigned",
        ),
        ("a int; g int generated", "a int; g int generated"),
        ("a int; g int generated", "a int; g int"),
        (
            "j json; p geometry; v vector(3); b bit(9)",
            "j json; p point; v vector(9); b bit(64)",
        ),
    ] {
        for (metadata, exact) in [
            (Metadata::Full, true),
            (Metadata::Full, false),
            (Metadata::Minimal, true),
            (Metadata::None, true),
            (Metadata::Minimal, false),
        ] {
            let said = said(source, target, metadata, exact);
            assert_eq!(said, None, "{source} -> {target}, {metadata:?}, exact: {exact}");
        }
    }
    assert_eq!(said("É int", "é int", Metadata::Full, false), None);
}

#[test]
fn what_nobody_tells_is_read_by_the_targets_own_type_alone() {
    // A wider column would hide how the bytes are to be read.
    for (source, target) in [
        ("a int unsigned", "a bigint"),
        ("a char(9) in latin1", "a varchar(9) in latin1"),
    ] {
        assert!(said(source, target, Metadata::None, false).is_some(), "{source}");
        assert_eq!(said(source, target, Metadata::None, true), None, "{source}");
    }
    let (source, target) = (
        table("a int unsigned; b binary(9)"),
        table("a bigint; b varbinary(9)"),
    );
    let map = map(&source, Metadata::None);
    let hints = |exact| Layout::new(&map, exact).hints(&target);
    assert!(hints(Some(&source)).iter().any(|hint| hint.unsigned) && hints(Some(&source))[1].binary);
    assert!(!hints(None)[0].unsigned && !hints(None)[1].binary);
}

#[test]
fn a_definition_that_is_not_of_these_rows_is_left_aside() {
    let source = table("id int; a int");
    let full = map(&source, Metadata::Full);
    let minimal = map(&source, Metadata::Minimal);
    for other in ["id int", "id int; a int; b int", "id int; b int", "a int; id int"] {
        let other = table(other);
        assert_eq!(
            Layout::new(&full, Some(&other)).contradiction(&source),
            None,
            "{other:?}"
        );
    }
    let other = table("id int; a bigint");
    assert_eq!(Layout::new(&minimal, Some(&other)).contradiction(&source), None);
}

#[test]
fn members_are_compared_where_their_text_can_be_told() {
    let target = table("e enum('é','b')");
    let mut map = map(&table("e enum('é','c')"), Metadata::Full);
    let said = |map: &TableMap| Layout::new(map, None).contradiction(&target);
    assert!(said(&map).is_some());
    // In latin1, é is one byte; in UCS-2 nothing is as it looks.
    for (collation, members) in [
        (8, vec![b"\xe9".to_vec(), b"c".to_vec()]),
        (35, vec![b"\0\xe9".to_vec(), b"\0c".to_vec()]),
    ] {
        map.columns[0].collation = Some(collation);
        map.columns[0].members = Some(members);
        assert_eq!(said(&map), None);
    }
    map.columns[0].collation = Some(8);
    map.columns[0].members = Some(vec![b"a".to_vec(), b"b".to_vec()]);
    assert!(said(&map).is_some_and(|said| said.contains("'a' on the source, 'é'")));
}

#[test]
fn members_are_compared_as_definitions_show_them() {
    let shown = table("e enum('?','b?c','é')");
    let told = map(&table("e enum('🙂','b😀c','é')"), Metadata::Full);
    assert_eq!(Layout::new(&told, None).contradiction(&shown), None);
    let other = map(&table("e enum('🙂','bc','é')"), Metadata::Full);
    let said = Layout::new(&other, None).contradiction(&shown);
    assert!(said.is_some_and(|said| said.contains("member 2") && said.contains("'bc' on the source")));
    let question = map(&table("e enum('?','bx','é')"), Metadata::Full);
    assert!(Layout::new(&question, None).contradiction(&shown).is_some());
}

#[test]
fn a_sentence_stays_short() {
    let columns = |prefix: &str| -> String {
        let list: Vec<String> = (0..200).map(|n| format!("{prefix}{n} int")).collect();
        list.join(";")
    };
    let said = said(&columns("a"), &columns("b"), Metadata::Full, false).unwrap();
    assert!(
        said.len() < 3000 && said.contains("and 180 columns more") && said.contains('…'),
        "{said}"
    );
}
