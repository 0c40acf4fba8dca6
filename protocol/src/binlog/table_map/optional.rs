//! What a table map tells besides what decoding rows needs: signedness, character sets, names, members, keys.

use super::{ColumnType, TableMap, WHAT, text_of};
use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::Cursor;

/// Reads the fields to the event's end: type, length, value. A type that isn't known may be passed over: it is optional, and says
/// nothing about how rows are written.
pub(super) fn read(map: &mut TableMap, mut cursor: Cursor<'_>) -> Result<(), Error> {
    while !cursor.is_empty() {
        let field = cursor.u8().within(WHAT)?;
        let value = Cursor::new(cursor.lenenc_bytes().within(WHAT)?);
        match field {
            1 => bits(map, value, ColumnType::is_numeric, |column, unsigned| {
                column.unsigned = Some(unsigned)
            })?,
            2 => default_collation(map, value, ColumnType::is_character)?,
            3 => collations(map, value, ColumnType::is_character)?,
            4 => names(map, value)?,
            5 => members(map, value, ColumnType::SET)?,
            6 => members(map, value, ColumnType::ENUM)?,
            7 => numbers(map, value, ColumnType::GEOMETRY, |column, number| {
                column.geometry = Some(number)
            })?,
            8 => primary_key(map, value, false)?,
            9 => primary_key(map, value, true)?,
            10 => default_collation(map, value, ColumnType::is_enum_or_set)?,
            11 => collations(map, value, ColumnType::is_enum_or_set)?,
            12 => bits(
                map,
                value,
                |_| true,
                |column, visible| column.visible = Some(visible),
            )?,
            13 => numbers(map, value, ColumnType::VECTOR, |column, number| {
                column.dimension = Some(number)
            })?,
            _ => {}
        }
    }
    Ok(())
}

/// One bit per column of a kind, the first in the highest bit.
fn bits(
    map: &mut TableMap,
    mut value: Cursor<'_>,
    applies: impl Fn(ColumnType) -> bool,
    set: impl Fn(&mut super::ColumnDef, bool),
) -> Result<(), Error> {
    let bitmap = value.rest();
    let columns = map.columns.iter_mut().filter(|column| applies(column.kind));
    for (at, column) in columns.enumerate() {
        let byte = bitmap.get(at / 8).ok_or(Error::Truncated { what: WHAT })?;
        set(column, byte & (0x80 >> (at % 8)) != 0);
    }
    Ok(())
}

/// A collation's number.
fn collation(value: &mut Cursor<'_>) -> Result<u16, Error> {
    let number = value.lenenc().within(WHAT)?;
    u16::try_from(number).map_err(|_too_large| Error::malformed(WHAT, format!("collation {number}")))
}

/// One collation for all columns of a kind, then the exceptions: index among those columns, collation.
fn default_collation(
    map: &mut TableMap,
    mut value: Cursor<'_>,
    applies: impl Fn(ColumnType) -> bool,
) -> Result<(), Error> {
    let default = collation(&mut value)?;
    let mut columns: Vec<_> = map
        .columns
        .iter_mut()
        .filter(|column| applies(column.kind))
        .collect();
    for column in &mut columns {
        column.collation = Some(default);
    }
    while !value.is_empty() {
        let index = usize::try_from(value.lenenc().within(WHAT)?).unwrap_or(usize::MAX);
        let number = collation(&mut value)?;
        let column = columns
            .get_mut(index)
            .ok_or_else(|| Error::malformed(WHAT, format!("text column {index}")))?;
        column.collation = Some(number);
    }
    Ok(())
}

/// One collation per column of a kind.
fn collations(
    map: &mut TableMap,
    mut value: Cursor<'_>,
    applies: impl Fn(ColumnType) -> bool,
) -> Result<(), Error> {
    for column in map.columns.iter_mut().filter(|column| applies(column.kind)) {
        column.collation = Some(collation(&mut value)?);
    }
    Ok(())
}

fn names(map: &mut TableMap, mut value: Cursor<'_>) -> Result<(), Error> {
    for column in &mut map.columns {
        column.name = Some(text_of(value.lenenc_bytes().within(WHAT)?)?);
    }
    Ok(())
}

/// Per column of the kind: how many members, then each.
fn members(map: &mut TableMap, mut value: Cursor<'_>, kind: ColumnType) -> Result<(), Error> {
    for column in map.columns.iter_mut().filter(|column| column.kind == kind) {
        let count = value.lenenc().within(WHAT)?;
        let members = (0..count).map(|_| Ok(value.lenenc_bytes().within(WHAT)?.to_vec()));
        column.members = Some(members.collect::<Result<_, Error>>()?);
    }
    Ok(())
}

fn numbers(
    map: &mut TableMap,
    mut value: Cursor<'_>,
    kind: ColumnType,
    set: impl Fn(&mut super::ColumnDef, u64),
) -> Result<(), Error> {
    for column in map.columns.iter_mut().filter(|column| column.kind == kind) {
        set(column, value.lenenc().within(WHAT)?);
    }
    Ok(())
}

fn primary_key(map: &mut TableMap, mut value: Cursor<'_>, prefixed: bool) -> Result<(), Error> {
    let mut key = Vec::new();
    while !value.is_empty() {
        let index = usize::try_from(value.lenenc().within(WHAT)?).unwrap_or(usize::MAX);
        let prefix = if prefixed { value.lenenc().within(WHAT)? } else { 0 };
        if index >= map.columns.len() {
            return Err(Error::malformed(
                WHAT,
                format!("a primary key over column {index}"),
            ));
        }
        key.push((index, prefix));
    }
    map.primary_key = Some(key);
    Ok(())
}
