//! Values as SQL literals, in the bytes and character set that the source stored (A5).
//!
//! Statements are bytes, not text: a string keeps its column's character set behind an introducer (`_latin1'…'`), escaped
//! byte by byte. That is right for any character set because the session's client character set is utf8mb4, whose
//! multi-byte characters contain neither quote nor backslash. `sql_mode` must not contain `NO_BACKSLASH_ESCAPES`.

mod json;

use std::io::Write as _;

pub(crate) use self::json::{typed_json_size, value_length};
pub(crate) use outrigger_protocol::sql::{quote_bytes as quoted, quote_name, quote_text};
use outrigger_protocol::value::{Date, Time, TimeOfDay, Value};

use crate::definition::{ColumnDef, ColumnKind};

/// Appends the value as it is compared with the column.
pub(crate) fn write_literal(out: &mut Vec<u8>, value: &Value<'_>, column: &ColumnDef) {
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Int(v) => integer(out, *v),
        // The server compares a SET as a number with a sign: one with its 64th member is below zero.
        Value::UInt(v) if column.kind == ColumnKind::Set => integer(out, v.cast_signed()),
        Value::UInt(v) => unsigned(out, *v),
        Value::Float(v) => float(out, f64::from(*v)),
        Value::Double(v) => float(out, *v),
        Value::Decimal(text) => out.extend_from_slice(text),
        Value::Bytes(bytes) => {
            match &column.charset {
                Some(charset) => {
                    out.push(b'_');
                    out.extend_from_slice(charset.as_bytes());
                }
                None => out.extend_from_slice(b"_binary"),
            }
            quoted(out, bytes);
        }
        Value::Json(text) => json::write_text(out, text),
        Value::TypedJson(document) => json::write_typed(out, document),
        Value::Date(d) => {
            out.push(b'\'');
            date(out, *d);
            out.push(b'\'');
        }
        Value::Time(t) => time(out, *t),
        Value::DateTime(d, t) => {
            out.push(b'\'');
            date(out, *d);
            out.push(b' ');
            time_of_day(out, *t);
            out.push(b'\'');
        }
    }
}

/// Appends the value as it is stored into the column; [`write_literal`] is for comparing.
pub(crate) fn write_stored(out: &mut Vec<u8>, value: &Value<'_>, column: &ColumnDef) {
    match value {
        Value::Float(v) => float(out, within(f64::from(*v), &column.declared)),
        Value::UInt(v) => unsigned(out, *v),
        _ => write_literal(out, value, column),
    }
}

/// The value, no larger than FLOAT(M,D) takes: `FLOAT(10,2)` takes 99999999.99 and stores the nearest number of 24 bits, which
/// is 100000000 and would be refused. That is the only one beyond the limit, so the limit becomes it.
fn within(value: f64, declared: &str) -> f64 {
    let limit = || {
        let (digits, places) = declared
            .strip_prefix("float(")?
            .split_once(')')?
            .0
            .split_once(',')?;
        let (digits, places): (i32, i32) = (digits.parse().ok()?, places.parse().ok()?);
        Some(10_f64.powi(digits.checked_sub(places)?) - 10_f64.powi(-places))
    };
    limit().map_or(value, |limit| value.clamp(-limit, limit))
}

/// Appends a condition that holds for exactly this value, for `WHERE`. `<=>` where the column may be NULL.
pub(crate) fn write_equals(out: &mut Vec<u8>, value: &Value<'_>, column: &ColumnDef) {
    let name = quote_name(&column.name);
    if *value == Value::Null {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" IS NULL");
        return;
    }
    let (open, close): (&[u8], &[u8]) = match value {
        // A vector compares with nothing but its bytes.
        _ if column.kind == ColumnKind::Vector => (b"CAST(", b" AS BINARY)"),
        // A bare column of FLOAT(M,D) is never equal to what is beyond its limit, for the optimizer.
        Value::Float(v) if within(f64::from(*v), &column.declared).abs() < f64::from(v.abs()) => {
            (b"", b"+0e0")
        }
        _ => (b"", b""),
    };
    out.extend_from_slice(open);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(close);
    out.extend_from_slice(if column.nullable { b"<=>" } else { b"=" });
    if column.kind == ColumnKind::Json {
        out.extend_from_slice(b"CAST(");
        write_literal(out, value, column);
        out.extend_from_slice(b" AS JSON)");
    } else {
        write_literal(out, value, column);
    }
}

/// Formats into the buffer; writing to a `Vec` can't fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {
        #[expect(clippy::let_underscore_must_use, reason = "writing to a Vec can't fail")]
        { let _ = write!($out, $($arg)*); }
    };
}

pub(crate) fn integer(out: &mut Vec<u8>, v: i64) {
    put!(out, "{v}");
}

pub(crate) fn unsigned(out: &mut Vec<u8>, v: u64) {
    put!(out, "{v}");
}

/// Exponent form: the server then parses a DOUBLE, never a DECIMAL, and gets the same 64 bits.
fn float(out: &mut Vec<u8>, v: f64) {
    put!(out, "{v:e}");
}

fn date(out: &mut Vec<u8>, d: Date) {
    put!(out, "{:04}-{:02}-{:02}", d.year, d.month, d.day);
}

fn time_of_day(out: &mut Vec<u8>, t: TimeOfDay) {
    put!(out, "{:02}:{:02}:{:02}", t.hour, t.minute, t.second);
    micros(out, t.micros);
}

fn time(out: &mut Vec<u8>, t: Time) {
    out.extend_from_slice(if t.negative { b"'-" } else { b"'" });
    put!(out, "{:02}:{:02}:{:02}", t.hours, t.minutes, t.seconds);
    micros(out, t.micros);
    out.push(b'\'');
}

fn micros(out: &mut Vec<u8>, micros: u32) {
    if micros != 0 {
        put!(out, ".{micros:06}");
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::definition::tests::plain;

    fn literal(value: &Value<'_>, column: &ColumnDef) -> String {
        let mut out = Vec::new();
        write_literal(&mut out, value, column);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn each_type_in_its_form() {
        let int = plain("c", ColumnKind::Int);
        let text = ColumnDef {
            charset: Some("latin1".into()),
            ..plain("c", ColumnKind::VarChar)
        };
        let blob = plain("c", ColumnKind::Blob);
        assert_eq!(literal(&Value::Null, &int), "NULL");
        assert_eq!(literal(&Value::Int(i64::MIN), &int), "-9223372036854775808");
        assert_eq!(literal(&Value::UInt(u64::MAX), &int), "18446744073709551615");
        assert_eq!(literal(&Value::Double(-0.0), &int), "-0e0");
        assert_eq!(literal(&Value::Double(1.5e300), &int), "1.5e300");
        assert_eq!(literal(&Value::Float(0.1), &int), "1.0000000149011612e-1");
        assert_eq!(
            literal(&Value::Bytes(Cow::Borrowed(b"it's")), &text),
            r"_latin1'it\'s'"
        );
        assert_eq!(
            literal(&Value::Bytes(Cow::Borrowed(b"\0\\")), &blob),
            r"_binary'\0\\'"
        );
        let d = Date {
            year: 0,
            month: 0,
            day: 0,
        };
        assert_eq!(literal(&Value::Date(d), &int), "'0000-00-00'");
        let t = TimeOfDay {
            hour: 23,
            minute: 59,
            second: 59,
            micros: 10,
        };
        assert_eq!(
            literal(&Value::DateTime(d, t), &int),
            "'0000-00-00 23:59:59.000010'"
        );
        let t = Time {
            negative: true,
            hours: 838,
            minutes: 59,
            seconds: 59,
            micros: 0,
        };
        assert_eq!(literal(&Value::Time(t), &int), "'-838:59:59'");
    }

    #[test]
    fn a_set_is_compared_with_a_sign_and_stored_without() {
        let (set, all) = (plain("s", ColumnKind::Set), Value::UInt(u64::MAX));
        assert_eq!(literal(&all, &set), "-1");
        let mut out = Vec::new();
        write_stored(&mut out, &all, &set);
        assert_eq!(out, b"18446744073709551615");
    }

    #[test]
    fn a_float_beyond_its_digits_is_stored_as_the_largest_that_has_them() {
        let column = ColumnDef {
            declared: "float(10,2) unsigned".into(),
            ..plain("f", ColumnKind::Float)
        };
        let stored = |value: f32, column: &ColumnDef| {
            let mut out = Vec::new();
            write_stored(&mut out, &Value::Float(value), column);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(stored(99_999_999.99, &column), "9.999999999e7");
        assert_eq!(stored(0.1, &column), "1.0000000149011612e-1");
        assert_eq!(stored(-0.0, &column), "-0e0");
        assert_eq!(literal(&Value::Float(99_999_999.99), &column), "1e8");
        let mut out = Vec::new();
        write_equals(&mut out, &Value::Float(99_999_999.99), &column);
        assert_eq!(out, b"`f`+0e0<=>1e8");
        assert_eq!(stored(1e8, &plain("f", ColumnKind::Float)), "1e8");
    }

    #[test]
    fn conditions_are_null_safe_where_needed() {
        let mut out = Vec::new();
        write_equals(
            &mut out,
            &Value::Json(Cow::Borrowed(b"{}")),
            &plain("j`", ColumnKind::Json),
        );
        assert_eq!(out, b"`j```<=>CAST(_utf8mb4'{}' AS JSON)");
        out.clear();
        write_equals(
            &mut out,
            &Value::Int(1),
            &ColumnDef {
                nullable: false,
                ..plain("a", ColumnKind::Int)
            },
        );
        assert_eq!(out, b"`a`=1");
    }

    /// What the server's lexer makes of a quoted string.
    fn unquote(text: &[u8]) -> Option<Vec<u8>> {
        let inner = text.strip_prefix(b"'")?.strip_suffix(b"'")?;
        let mut out = Vec::new();
        let mut bytes = inner.iter().copied();
        while let Some(b) = bytes.next() {
            out.push(match b {
                b'\'' => return None,
                b'\\' => match bytes.next()? {
                    b'0' => 0,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b'Z' => 0x1a,
                    other => other,
                },
                other => other,
            });
        }
        Some(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn quoted_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            quoted(&mut out, &bytes);
            prop_assert_eq!(unquote(&out), Some(bytes));
        }

        #[test]
        fn floats_come_back_bit_for_bit(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            let mut out = Vec::new();
            float(&mut out, v);
            let back: f64 = String::from_utf8_lossy(&out).parse().unwrap();
            prop_assert_eq!(back.to_bits(), bits);
        }
    }
}
