//! From the binary protocol to canonical values: the same that row events decode to.

use std::borrow::Cow;

use mysql_async::Value as Wire;
use outrigger_protocol::value::{Date, Time, TimeOfDay, Value};

use crate::definition::{ColumnDef, ColumnKind};
use crate::json_kinds;
use crate::literal::{quote_name, write_literal};

/// How a column is selected: enums, sets and bits by number, all else as stored.
pub(crate) fn selected(column: &ColumnDef) -> String {
    let name = quote_name(&column.name);
    match column.kind {
        ColumnKind::Enum | ColumnKind::Set | ColumnKind::Bit => format!("CAST({name} AS UNSIGNED)"),
        _ => name,
    }
}

/// The canonical value of what the binary protocol sent for `column`; `None` if it is of a shape that this type never has.
pub(crate) fn decode(wire: Wire, column: &ColumnDef) -> Option<Value<'static>> {
    Some(match (wire, column.kind) {
        (Wire::NULL, _) => Value::Null,
        (Wire::Int(v), ColumnKind::Enum | ColumnKind::Set | ColumnKind::Bit) => {
            Value::UInt(u64::try_from(v).ok()?)
        }
        (Wire::UInt(v), ColumnKind::Enum | ColumnKind::Set | ColumnKind::Bit) => Value::UInt(v),
        (Wire::Int(v), ColumnKind::Year) => Value::Int(v),
        (Wire::UInt(v), ColumnKind::Year) => Value::Int(i64::try_from(v).ok()?),
        (Wire::Int(v), _) if column.unsigned => Value::UInt(u64::try_from(v).ok()?),
        (Wire::Int(v), _) => Value::Int(v),
        (Wire::UInt(v), _) if column.unsigned => Value::UInt(v),
        (Wire::UInt(v), _) => Value::Int(i64::try_from(v).ok()?),
        (Wire::Float(v), _) => Value::Float(v),
        (Wire::Double(v), _) => Value::Double(v),
        (Wire::Bytes(v), ColumnKind::Decimal) => Value::Decimal(Cow::Owned(v)),
        (Wire::Bytes(v), _) => Value::Bytes(Cow::Owned(v)),
        (Wire::Date(year, month, day, hour, minute, second, micros), kind) => {
            let date = Date { year, month, day };
            match kind {
                ColumnKind::Date => Value::Date(date),
                _ => Value::DateTime(
                    date,
                    TimeOfDay {
                        hour,
                        minute,
                        second,
                        micros,
                    },
                ),
            }
        }
        (Wire::Time(negative, days, hours, minutes, seconds, micros), _) => {
            let hours = days.checked_mul(24)?.checked_add(u32::from(hours))?;
            Value::Time(Time {
                negative,
                hours: u16::try_from(hours).ok()?,
                minutes,
                seconds,
                micros,
            })
        }
    })
}

/// A document and the kinds of its parts; `None` if they don't belong together.
pub(crate) fn decode_json(wire: Wire, kinds: Wire) -> Option<Value<'static>> {
    match (wire, kinds) {
        (Wire::NULL, _) => Some(Value::Null),
        (Wire::Bytes(text), Wire::Bytes(kinds)) => json_kinds::attach(text, &kinds),
        _ => None,
    }
}

/// A key's value as an SQL literal in plain ASCII, compared in the column's own character set.
pub(crate) fn key_literal(value: &Value<'_>, column: &ColumnDef) -> String {
    if let Value::Bytes(bytes) = value {
        let charset = column.charset.as_deref().unwrap_or("binary");
        let hex: String = bytes
            .iter()
            .flat_map(|b| [hex_digit(b >> 4), hex_digit(b & 15)])
            .collect();
        return format!("_{charset} x'{hex}'");
    }
    let mut out = Vec::new();
    write_literal(&mut out, value, column);
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::plain;

    #[test]
    fn time_spans_join_days_and_hours() {
        let column = plain("t", ColumnKind::Time);
        let value = decode(Wire::Time(true, 34, 22, 59, 59, 1), &column).unwrap();
        assert_eq!(
            value,
            Value::Time(Time {
                negative: true,
                hours: 838,
                minutes: 59,
                seconds: 59,
                micros: 1
            })
        );
        assert_eq!(decode(Wire::Time(false, u32::MAX, 0, 0, 0, 0), &column), None);
    }

    #[test]
    fn signedness_is_the_columns() {
        let unsigned = ColumnDef {
            unsigned: true,
            ..plain("u", ColumnKind::BigInt)
        };
        assert_eq!(decode(Wire::Int(5), &unsigned), Some(Value::UInt(5)));
        assert_eq!(
            decode(Wire::UInt(u64::MAX), &unsigned),
            Some(Value::UInt(u64::MAX))
        );
        assert_eq!(
            decode(Wire::Int(-5), &plain("i", ColumnKind::Int)),
            Some(Value::Int(-5))
        );
        assert_eq!(
            decode(Wire::Int(3), &plain("e", ColumnKind::Enum)),
            Some(Value::UInt(3))
        );
    }

    #[test]
    fn keys_are_ascii() {
        let column = ColumnDef {
            charset: Some("latin1".into()),
            ..plain("c", ColumnKind::VarChar)
        };
        assert_eq!(
            key_literal(&Value::Bytes(Cow::Borrowed(b"\xe4'")), &column),
            "_latin1 x'e427'"
        );
        assert_eq!(
            key_literal(
                &Value::Bytes(Cow::Borrowed(b"")),
                &plain("b", ColumnKind::Binary { length: 1 })
            ),
            "_binary x''"
        );
    }
}
