//! The layout of table definitions.
//!
//! ```text
//! key     database, 0, table, 0, offset u64 BE
//! value   1 u8, 0 u8, crc32 u32 LE, JSON of what is known
//! ```
//!
//! No name contains a zero byte. One table's versions stand side by side, in the order of their offsets.

use super::{FormatError, VALUE_VERSION, open, seal};
use crate::schema::{Schema, SchemaVersion};
use crate::{Error, Offset};

/// What the keys of a table's versions begin with.
pub(crate) fn table_prefix(database: &str, table: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(database.len() + table.len() + 10);
    key.extend_from_slice(database.as_bytes());
    key.push(0);
    key.extend_from_slice(table.as_bytes());
    key.push(0);
    key
}

/// The key of a table's version.
pub(crate) fn schema_key(database: &str, table: &str, offset: Offset) -> Vec<u8> {
    let mut key = table_prefix(database, table);
    key.extend_from_slice(&offset.0.to_be_bytes());
    key
}

/// Key and value of a version.
pub(crate) fn encode_schema(version: &SchemaVersion) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let refused = |what| Err(Error::Sequence { what });
    let key = schema_key(&version.database, &version.table, version.offset);
    if version.database.contains('\0') || version.table.contains('\0') {
        return refused("a table's name has a zero byte in it");
    }
    let mut value = vec![VALUE_VERSION, 0, 0, 0, 0, 0];
    if serde_json::to_writer(&mut value, &version.schema).is_err() {
        return refused("a table's definition could not be laid out");
    }
    seal(&key, &mut value);
    Ok((key, value))
}

/// Reads what [`encode_schema`] wrote.
pub(crate) fn decode_schema(key: &[u8], value: &[u8]) -> Result<SchemaVersion, FormatError> {
    let (database, table, offset) = parse_schema_key(key)?;
    let (flags, cursor) = open(key, value)?;
    if flags != 0 {
        return Err(FormatError::Malformed("its flags are not of this version"));
    }
    let json = &value[value.len() - cursor.remaining()..];
    let schema: Schema = serde_json::from_slice(json)
        .map_err(|_no_json| FormatError::Malformed("it is no table's definition"))?;
    Ok(SchemaVersion {
        database,
        table,
        offset,
        schema,
    })
}

/// Database, table and offset from a key.
pub(crate) fn parse_schema_key(key: &[u8]) -> Result<(String, String, Offset), FormatError> {
    const WRONG: FormatError = FormatError::Malformed("its key names no table");
    let (names, offset) = key.split_last_chunk::<8>().ok_or(WRONG)?;
    let names = std::str::from_utf8(names).map_err(|_not_utf8| WRONG)?;
    let mut parts = names.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(database), Some(table), Some(""), None) => Ok((
            database.to_owned(),
            table.to_owned(),
            Offset(u64::from_be_bytes(*offset)),
        )),
        _ => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_protocol::definition::TableDef;
    use outrigger_protocol::position::FilePosition;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{Definition, Reading};

    fn definition() -> impl Strategy<Value = Arc<Definition>> {
        ("[^\0]{0,9}", "[a-z]{1,9}", ".{0,30}").prop_map(|(name, declared, create)| {
            let text = |text: &str| Some(text.to_owned());
            let column = vec![
                Some(name),
                text("int"),
                Some(declared),
                None,
                None,
                None,
                text("YES"),
                text(""),
                text("0"),
            ];
            let table = TableDef::from_answers("d", "t", &[column], &[]).unwrap().unwrap();
            Arc::new(Definition { table, create })
        })
    }

    fn schema() -> impl Strategy<Value = Schema> {
        let reading = (proptest::option::of(definition()), any::<u64>(), any::<u64>()).prop_map(
            |(found, after, until)| {
                Arc::new(Reading {
                    found,
                    after: FilePosition::new("b.1", after),
                    until: FilePosition::new("b.2", until),
                    server: "uuid".into(),
                })
            },
        );
        prop_oneof![
            Just(Schema::Absent),
            Just(Schema::Late(None)),
            reading.prop_map(|reading| Schema::Late(Some(reading))),
            definition().prop_map(Schema::Exact),
        ]
    }

    proptest! {
        #[test]
        fn a_version_comes_back_as_it_went_and_damage_is_found_out(
            database in "[^\0]{0,9}", table in "[^\0]{0,9}", offset: u64, schema in schema(),
            at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let version = SchemaVersion { database, table, offset: Offset(offset), schema };
            let (key, mut value) = encode_schema(&version).unwrap();
            prop_assert_eq!(decode_schema(&key, &value), Ok(version));
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(decode_schema(&key, &value).is_err());
        }

        #[test]
        fn versions_of_a_table_stand_in_order(a: u64, b: u64) {
            let (left, right) = (schema_key("d", "t", Offset(a)), schema_key("d", "t", Offset(b)));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert!(schema_key("d", "t!", Offset(a)) > right);
        }

        #[test]
        fn arbitrary_bytes_are_an_error_at_most(key: Vec<u8>, json: Vec<u8>) {
            let mut value = vec![VALUE_VERSION, 0, 0, 0, 0, 0];
            value.extend_from_slice(&json);
            let good = schema_key("d", "t", Offset(1));
            seal(&good, &mut value);
            drop(decode_schema(&good, &value));
            drop(decode_schema(&key, &json));
        }
    }

    #[test]
    fn a_name_with_a_zero_byte_is_refused() {
        let version = |database: &str, table: &str| SchemaVersion {
            database: database.into(),
            table: table.into(),
            offset: Offset(1),
            schema: Schema::Absent,
        };
        assert!(encode_schema(&version("a\0b", "c")).is_err());
        assert!(encode_schema(&version("a", "b\0c")).is_err());
    }
}
