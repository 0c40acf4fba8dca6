//! Rows: what the decoder gives is what SELECT gives, for every type and every kind of image.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::{JSON, METADATA, MORE, ROWS, TYPES, for_each};
use crate::binlog::rows::{ColumnHint, Row, RowPlan};
use crate::binlog::{Body, ColumnDef, ColumnType, RowsEvent, TableMap};
use crate::value::{Date, TimeOfDay, Value};

/// A table's rows by key, each value spelled as the fixtures' SELECTs spell it.
type Tables = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes
        .iter()
        .map(|byte| {
            if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        })
        .collect()
}

fn date(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// Doubles are told by their bits, behind a `~`: spellings differ.
fn spell(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => format!("~{}", f64::from(*value).to_bits()),
        Value::Double(value) => format!("~{}", value.to_bits()),
        Value::Decimal(text) => String::from_utf8(text.to_vec()).unwrap(),
        Value::Bytes(bytes) => hex(bytes, true),
        Value::Json(text) if text.len() > 1000 => hex(&Sha256::digest(text), false),
        Value::Json(text) => hex(text, true),
        Value::TypedJson(document) => spell(&Value::Json(document.text.as_slice().into())),
        Value::Date(day) => date(*day),
        Value::Time(time) => format!(
            "{}{:02}:{:02}:{:02}.{:06}",
            if time.negative { "-" } else { "" },
            time.hours,
            time.minutes,
            time.seconds,
            time.micros
        ),
        Value::DateTime(
            day,
            TimeOfDay {
                hour,
                minute,
                second,
                micros,
            },
        ) => {
            format!("{} {hour:02}:{minute:02}:{second:02}.{micros:06}", date(*day))
        }
    }
}

/// Which column identifies a row.
fn key_of(map: &TableMap) -> usize {
    if map.table == "shapes" { 6 } else { 0 }
}

fn key(row: &Row<'_>, place: usize) -> String {
    spell(row[place].as_ref().unwrap())
}

/// Applies a rows event.
fn apply(tables: &mut Tables, map: &TableMap, plan: &RowPlan, rows: &RowsEvent<'_>) {
    let place = key_of(map);
    let table = tables.entry(map.table.clone()).or_default();
    let mut again = plan.rows(rows);
    for change in plan.rows(rows) {
        let change = change.unwrap();
        // Into the memory of the row before: the same.
        let images = again.read().unwrap().unwrap();
        assert_eq!(
            (images.before, images.after),
            (change.before.as_deref(), change.after.as_deref())
        );
        let old = change
            .before
            .map(|before| table.remove(&key(&before, place)).unwrap());
        let Some(after) = change.after else { continue };
        let mut row = old.unwrap_or_else(|| vec!["NULL".to_owned(); after.len()]);
        for (cell, value) in row.iter_mut().zip(&after) {
            if let Some(value) = value {
                *cell = spell(value);
            }
        }
        table.insert(row[place].clone(), row);
    }
    assert_eq!(again.read(), Ok(None));
}

/// All rows that a file's events leave behind.
fn replay(file: &[u8], plan_of: impl Fn(&TableMap) -> RowPlan) -> Tables {
    let (mut tables, mut plans) = (Tables::new(), HashMap::new());
    for_each(file, |event| match &event.body {
        Body::TableMap(map) => {
            plans.insert(map.table_id, (map.clone(), plan_of(map)));
        }
        Body::Rows(rows) => {
            let (map, plan) = &plans[&rows.table_id];
            apply(&mut tables, map, plan, rows);
        }
        _ => {}
    });
    tables
}

/// Compares with what SELECT printed; `skip` leaves rows out that hold the time of day.
fn assert_same(found: &Tables, expected: &str, skip: &[(&str, &str)]) {
    let mut rows = 0;
    for line in expected.lines() {
        let mut cells = line.split('\t').map(str::to_owned);
        let table = cells.next().unwrap();
        let cells: Vec<_> = cells.collect();
        let key = &cells[if table == "shapes" { 6 } else { 0 }];
        if skip.contains(&(table.as_str(), key.as_str())) {
            continue;
        }
        let row = found.get(&table).and_then(|rows| rows.get(key));
        let row = row.unwrap_or_else(|| panic!("{table} has no row {key}"));
        assert_eq!(row.len(), cells.len(), "{table} {key}");
        for (at, (found, expected)) in row.iter().zip(&cells).enumerate() {
            let expected = match found.strip_prefix('~') {
                Some(_) => format!("~{}", expected.parse::<f64>().unwrap().to_bits()),
                None => expected.clone(),
            };
            assert_eq!(*found, expected, "{table} row {key} column {at}");
        }
        rows += 1;
    }
    assert_eq!(
        rows + skip.len(),
        found.values().map(BTreeMap::len).sum::<usize>()
    );
}

fn bare(map: &TableMap) -> RowPlan {
    RowPlan::new(map, &[]).unwrap()
}

#[test]
fn every_type_as_select_gives_it() {
    assert_same(
        &replay(TYPES, bare),
        include_str!("../../../tests/fixtures/types.tsv"),
        &[],
    );
}

#[test]
fn json_of_every_kind_and_partial_updates() {
    assert_same(
        &replay(JSON, bare),
        include_str!("../../../tests/fixtures/json.tsv"),
        &[],
    );
}

#[test]
fn rows_as_applications_have_them() {
    assert_same(
        &replay(ROWS, bare),
        include_str!("../../../tests/fixtures/rows.tsv"),
        &[],
    );
}

#[test]
fn what_is_rare() {
    assert_same(
        &replay(MORE, bare),
        include_str!("../../../tests/fixtures/more.tsv"),
        &[],
    );
}

/// What MySQL 5.7 writes: no signedness, no character sets. The table's definition stands in.
#[test]
fn without_metadata_the_hints_decide() {
    let plan_of = |map: &TableMap| {
        let hint = |column: &ColumnDef| ColumnHint {
            unsigned: column.unsigned == Some(true),
            binary: column.collation == Some(63),
        };
        let hints: Vec<_> = map.columns.iter().map(hint).collect();
        let mut map = map.clone();
        for column in &mut map.columns {
            (column.unsigned, column.collation) = (None, None);
        }
        let needs_hints = map
            .columns
            .iter()
            .any(|column| column.kind.is_numeric() && column.kind != ColumnType::YEAR);
        assert_eq!(RowPlan::new(&map, &[]).is_err(), needs_hints, "{}", map.table);
        assert!(RowPlan::new(&map, &hints[1..]).is_err());
        RowPlan::new(&map, &hints).unwrap()
    };
    assert_same(
        &replay(TYPES, plan_of),
        include_str!("../../../tests/fixtures/types.tsv"),
        &[],
    );
}

#[test]
fn full_metadata_names_everything() {
    let now = [("times", "6")];
    assert_same(
        &replay(METADATA, bare),
        include_str!("../../../tests/fixtures/types.tsv"),
        &now,
    );
    let mut maps = HashMap::new();
    for_each(METADATA, |event| {
        if let Body::TableMap(map) = &event.body {
            maps.insert(map.table.clone(), map.clone());
        }
    });
    let column = |table: &str, name: &str| {
        let columns = &maps[table].columns;
        columns
            .iter()
            .find(|column| column.name.as_deref() == Some(name))
            .unwrap()
            .clone()
    };
    let strings = &maps["strings"];
    assert_eq!(strings.database, "fixture");
    assert_eq!(strings.primary_key, Some(vec![(0, 0)]));
    assert_eq!(strings.columns.len(), 33);
    assert_eq!(column("strings", "e").kind, ColumnType::ENUM);
    assert_eq!(
        column("strings", "e").members,
        Some(vec![b"a".to_vec(), b"b".to_vec(), b"".to_vec()])
    );
    assert_eq!(column("strings", "e").collation, Some(8));
    assert_eq!(
        column("strings", "e2").members,
        Some(vec![b"x".to_vec(), "ü".as_bytes().to_vec()])
    );
    assert_eq!(column("strings", "e2").collation, Some(255));
    assert_eq!(column("strings", "s8").members.unwrap().len(), 9);
    assert_eq!(column("strings", "c64").meta, 256);
    assert_eq!(column("strings", "c255").meta, 1020);
    assert_eq!(column("strings", "b4").collation, Some(63));
    assert_eq!(column("strings", "o2").collation, Some(63));
    assert_eq!(column("strings", "t2").collation, Some(8));
    assert_eq!(column("strings", "p").geometry, Some(1));
    assert_eq!(column("strings", "ve").dimension, Some(3));
    assert_eq!(column("shapes", "id").unsigned, Some(true));
    assert_eq!(column("shapes", "v").unsigned, Some(false));
    assert_eq!(column("shapes", "hidden").visible, Some(false));
    assert_eq!(column("shapes", "name").visible, Some(true));
    assert_eq!(maps["shapes"].primary_key, Some(vec![(6, 0)]));
    assert_eq!(column("numbers", "b9").meta, 9);
    assert_eq!(column("numbers", "d65").meta, 65 << 8 | 30);
    assert!(!column("numbers", "id").nullable && column("numbers", "i1").nullable);
}
