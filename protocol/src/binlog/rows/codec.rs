//! How one column's values are written in a row image.

use std::borrow::Cow;

use super::{ColumnHint, DecimalShape, temporal};
use crate::binlog::error::Within;
use crate::binlog::{ColumnDef, ColumnType, Error, json};
use crate::cursor::Cursor;
use crate::value::Value;

/// One column's form, decided once per table map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// Signed integer of so many bytes: 1, 2, 3, 4 or 8.
    Int(u8),
    /// Unsigned integer of so many bytes.
    UInt(u8),
    Float,
    Double,
    Decimal(DecimalShape),
    Year,
    Date,
    /// Digits after the point.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// Big-endian number of so many bytes.
    Bit(u8),
    /// Bytes after a length of so many bytes.
    Bytes(u8),
    /// The same, trailing zero bytes left out: filled up to so many.
    Padded(u8, u16),
    /// A document after a length of so many bytes.
    Json(u8),
}

impl Codec {
    /// The form of a column; `Err` is a sentence on what is missing or wrong.
    pub(super) fn new(column: &ColumnDef, hint: Option<ColumnHint>) -> Result<Self, Error> {
        let integer = |width: u8| match column.unsigned.or(hint.map(|hint| hint.unsigned)) {
            Some(true) => Ok(Self::UInt(width)),
            Some(false) => Ok(Self::Int(width)),
            None => Err(Error::malformed(
                "TABLE_MAP event",
                "it doesn't tell whether numbers are signed, and the table's definition wasn't given",
            )),
        };
        let meta = u8::try_from(column.meta);
        let within = |most: u8| match meta {
            Ok(value) if value <= most => Ok(value),
            _ => Err(Error::malformed(
                "TABLE_MAP event",
                format!("{} with metadata {}", column.kind, column.meta),
            )),
        };
        let length_of = |most: u16| if most > 255 { 2 } else { 1 };
        Ok(match column.kind {
            ColumnType::TINY => integer(1)?,
            ColumnType::SHORT => integer(2)?,
            ColumnType::INT24 => integer(3)?,
            ColumnType::LONG => integer(4)?,
            ColumnType::LONGLONG => integer(8)?,
            ColumnType::FLOAT => Self::Float,
            ColumnType::DOUBLE => Self::Double,
            ColumnType::NEWDECIMAL => {
                let [precision, scale] = column.meta.to_be_bytes();
                Self::Decimal(DecimalShape::new(precision, scale)?)
            }
            ColumnType::YEAR => Self::Year,
            ColumnType::DATE => Self::Date,
            ColumnType::TIME2 => Self::Time(within(6)?),
            ColumnType::DATETIME2 => Self::DateTime(within(6)?),
            ColumnType::TIMESTAMP2 => Self::Timestamp(within(6)?),
            ColumnType::TIME => Self::OldTime,
            ColumnType::DATETIME => Self::OldDateTime,
            ColumnType::TIMESTAMP => Self::OldTimestamp,
            ColumnType::BIT => Self::Bit(within(64)?.div_ceil(8)),
            ColumnType::ENUM | ColumnType::SET => Self::UInt(within(8)?),
            ColumnType::VARCHAR => Self::Bytes(length_of(column.meta)),
            ColumnType::STRING => match column
                .collation
                .map(|number| number == BINARY)
                .or(hint.map(|hint| hint.binary))
            {
                Some(true) => Self::Padded(length_of(column.meta), column.meta),
                Some(false) => Self::Bytes(length_of(column.meta)),
                None => {
                    return Err(Error::malformed(
                        "TABLE_MAP event",
                        "it doesn't tell CHAR from BINARY, and the table's definition wasn't given",
                    ));
                }
            },
            ColumnType::BLOB | ColumnType::GEOMETRY | ColumnType::VECTOR => Self::Bytes(within(4)?),
            ColumnType::JSON => Self::Json(within(4)?),
            other => {
                return Err(Error::malformed(
                    "TABLE_MAP event",
                    format!("a column of {other}"),
                ));
            }
        })
    }

    /// Takes one value that is not NULL into `slot`, using again the memory of what is there.
    #[inline]
    pub(super) fn read<'a>(self, cursor: &mut Cursor<'a>, slot: &mut Option<Value<'a>>) -> Result<(), Error> {
        let value = match self {
            Self::Int(width) => Value::Int(signed(cursor, width)?),
            Self::UInt(width) => Value::UInt(unsigned(cursor, width)?),
            Self::Float => Value::Float(f32::from_bits(cursor.u32().within("FLOAT value")?)),
            Self::Double => Value::Double(f64::from_bits(cursor.u64().within("DOUBLE value")?)),
            Self::Decimal(shape) => {
                let mut text = emptied(slot);
                shape.read(cursor, &mut text)?;
                Value::Decimal(Cow::Owned(text))
            }
            Self::Year => Value::Int(match cursor.u8().within("YEAR value")? {
                0 => 0,
                since_1900 => 1900 + i64::from(since_1900),
            }),
            Self::Date => temporal::read_date(cursor)?,
            Self::Time(digits) => temporal::read_time(cursor, digits)?,
            Self::DateTime(digits) => temporal::read_datetime(cursor, digits)?,
            Self::Timestamp(digits) => temporal::read_timestamp(cursor, digits)?,
            Self::OldTime => temporal::read_old_time(cursor)?,
            Self::OldDateTime => temporal::read_old_datetime(cursor)?,
            Self::OldTimestamp => temporal::read_old_timestamp(cursor)?,
            Self::Bit(width) => {
                let bytes = cursor.bytes(usize::from(width)).within("BIT value")?;
                Value::UInt(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            Self::Bytes(length) => Value::Bytes(Cow::Borrowed(prefixed(cursor, length)?)),
            Self::Padded(length, size) => {
                let bytes = prefixed(cursor, length)?;
                Value::Bytes(if bytes.len() < usize::from(size) {
                    let mut whole = emptied(slot);
                    whole.extend_from_slice(bytes);
                    whole.resize(usize::from(size), 0);
                    Cow::Owned(whole)
                } else {
                    Cow::Borrowed(bytes)
                })
            }
            Self::Json(length) => {
                let document = prefixed(cursor, length)?;
                json::value(document, emptied(slot))?
            }
        };
        *slot = Some(value);
        Ok(())
    }
}

/// The memory of a slot's value, emptied, if the value owns any.
#[inline]
fn emptied(slot: &mut Option<Value<'_>>) -> Vec<u8> {
    match slot.take() {
        Some(
            Value::Decimal(Cow::Owned(mut bytes))
            | Value::Json(Cow::Owned(mut bytes))
            | Value::Bytes(Cow::Owned(mut bytes)),
        ) => {
            bytes.clear();
            bytes
        }
        _ => Vec::new(),
    }
}

/// The collation of BINARY, VARBINARY and BLOB.
const BINARY: u16 = 63;

/// Takes a little-endian number of 1 to 8 bytes.
#[inline]
fn unsigned(cursor: &mut Cursor<'_>, width: u8) -> Result<u64, Error> {
    match width {
        1 => cursor.u8().map(u64::from),
        2 => cursor.u16().map(u64::from),
        3 => cursor.u24().map(u64::from),
        4 => cursor.u32().map(u64::from),
        8 => cursor.u64(),
        _ => cursor.bytes(usize::from(width)).map(|bytes| {
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        }),
    }
    .within("integer value")
}

/// The same in two's complement.
#[inline]
fn signed(cursor: &mut Cursor<'_>, width: u8) -> Result<i64, Error> {
    let unused = 64 - 8 * u32::from(width);
    Ok((unsigned(cursor, width)? << unused).cast_signed() >> unused)
}

/// Takes a length of 1 to 4 bytes, then so many bytes.
#[inline]
pub(super) fn prefixed<'a>(cursor: &mut Cursor<'a>, length: u8) -> Result<&'a [u8], Error> {
    let size = unsigned(cursor, length)?;
    cursor
        .bytes(usize::try_from(size).unwrap_or(usize::MAX))
        .within("string value")
}
