//! What a definition reads from the rows of `information_schema`, and what it tells of columns and keys.

use super::*;

/// A plain nullable column.
fn plain(name: &str, kind: ColumnKind, declared: &str) -> ColumnDef {
    let text = matches!(kind, ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text);
    ColumnDef {
        name: name.into(),
        kind,
        declared: declared.into(),
        unsigned: false,
        charset: text.then(|| "utf8mb4".to_owned()),
        collation: text.then(|| "utf8mb4_0900_ai_ci".to_owned()),
        nullable: true,
        generated: false,
        on_update: false,
        auto_increment: false,
        has_default: false,
        invisible: false,
    }
}

fn texts(row: &[&str]) -> AnswerRow {
    row.iter()
        .map(|text| (*text != "NULL").then(|| (*text).to_owned()))
        .collect()
}

#[test]
fn answers_become_a_definition() {
    let columns = [
        texts(&[
            "id",
            "bigint",
            "bigint unsigned",
            "NULL",
            "NULL",
            "NULL",
            "NO",
            "auto_increment",
            "0",
        ]),
        texts(&[
            "e",
            "enum",
            "enum('unsigned','it''s','a\\\\b')",
            "latin1",
            "latin1_bin",
            "8",
            "YES",
            "",
            "1",
        ]),
        texts(&[
            "v",
            "varchar",
            "varchar(9)",
            "latin1",
            "latin1_bin",
            "9",
            "YES",
            "VIRTUAL GENERATED INVISIBLE",
            "0",
        ]),
        texts(&[
            "b",
            "binary",
            "binary(3)",
            "NULL",
            "NULL",
            "3",
            "NO",
            "DEFAULT_GENERATED on update CURRENT_TIMESTAMP",
            "1",
        ]),
    ];
    let keys = [
        texts(&["PRIMARY", "id", "", "0"]),
        texts(&["u", "e", "YES", "0"]),
        texts(&["u", "NULL", "YES", "0"]),
        texts(&["w", "e", "YES", "1"]),
    ];
    let def = TableDef::from_answers("d", "t", &columns, &keys)
        .unwrap()
        .unwrap();
    let [id, e, v, b] = def.columns.as_slice() else {
        unreachable!("four columns")
    };
    assert!(id.unsigned && !id.nullable && id.charset.is_none() && !id.has_default);
    assert_eq!(
        (e.charset.as_deref(), e.collation.as_deref()),
        (None, Some("latin1_bin"))
    );
    assert!(!e.unsigned && e.has_default && e.nullable);
    assert_eq!(e.members(), ["unsigned", "it's", "a\\b"]);
    assert_eq!(
        (v.charset.as_deref(), v.collation.as_deref()),
        (Some("latin1"), Some("latin1_bin"))
    );
    assert!(v.generated && v.invisible && v.members().is_empty());
    assert_eq!(b.kind, ColumnKind::Binary { length: 3 });
    assert!(b.on_update && b.has_default);
    assert_eq!(
        def.key.as_ref().map(|key| key.columns.as_slice()),
        Some([0].as_slice())
    );
    assert_eq!(
        def.other_unique_keys,
        [
            UniqueKey {
                name: "u".into(),
                columns: vec![Some(1), None]
            },
            UniqueKey {
                name: "w".into(),
                columns: vec![None]
            }
        ]
    );
}

#[test]
fn what_is_no_definition_is_refused() {
    assert_eq!(TableDef::from_answers("d", "t", &[], &[]), Ok(None));
    assert!(TableDef::from_answers("d", "t", &[texts(&["id"])], &[]).is_err());
    let odd = texts(&["x", "tuple", "tuple(2)", "NULL", "NULL", "NULL", "NO", "", "0"]);
    assert!(
        TableDef::from_answers("d", "t", &[odd], &[])
            .unwrap_err()
            .contains("tuple(2)")
    );
}

#[test]
fn a_table_is_like_another_when_rows_mean_the_same_in_both() {
    let def = |columns: Vec<ColumnDef>, key: Option<Vec<usize>>| TableDef {
        database: "d".into(),
        table: "t".into(),
        columns,
        key: key.map(|columns| KeyDef {
            name: "PRIMARY".into(),
            columns,
            prefixed: false,
        }),
        other_unique_keys: Vec::new(),
    };
    let id = || plain("id", ColumnKind::Int, "int unsigned");
    let v = || plain("v", ColumnKind::VarChar, "varchar(9)");
    let w = || plain("w", ColumnKind::VarChar, "varchar(9)");
    let ours = def(vec![id(), v(), w()], Some(vec![0]));
    let old = plain("id", ColumnKind::Int, "int(10) unsigned");
    assert_eq!(ours.unlike(&ours), None);
    assert_eq!(ours.unlike(&def(vec![old, v(), w()], Some(vec![0]))), None);
    let latin1 = ColumnDef {
        charset: Some("latin1".into()),
        ..w()
    };
    let wide = plain("w", ColumnKind::VarChar, "varchar(10)");
    for (columns, key) in [
        (vec![id(), w(), v()], Some(vec![0])),
        (vec![id(), v()], Some(vec![0])),
        (vec![id(), v(), latin1], Some(vec![0])),
        (vec![id(), v(), wide], Some(vec![0])),
        (vec![id(), v(), w()], None),
        (vec![id(), v(), w()], Some(vec![0, 1])),
    ] {
        assert!(ours.unlike(&def(columns, key)).is_some());
    }
}

#[test]
fn the_first_unique_key_without_null_or_expression_is_taken() {
    let columns = [
        plain("a", ColumnKind::Int, "int"),
        plain("b", ColumnKind::Int, "int"),
    ];
    let part = |index, column, nullable| KeyPart {
        index,
        column,
        nullable,
        prefix: column == Some("b"),
    };
    let parts = [
        part("k1", Some("a"), true),
        part("k2", None, false),
        part("k3", Some("b"), false),
        part("k3", Some("a"), false),
    ];
    let (key, others) = choose_key(&columns, &parts);
    assert_eq!(
        key,
        Some(KeyDef {
            name: "k3".into(),
            columns: vec![1, 0],
            prefixed: true
        })
    );
    let names = |keys: &[UniqueKey]| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&others), ["k1", "k2"]);
    let (key, others) = choose_key(&columns, &parts[..2]);
    assert_eq!((key, others.len()), (None, 2));
}
