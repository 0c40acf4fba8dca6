//! One value, as text in SQL's spelling or as JSON.

use outrigger_protocol::binlog::ColumnType;
use outrigger_protocol::value::{Date, Time, TimeOfDay, Value};

use super::column::{Bytes, Column};

/// The value as SQL would have it: `NULL`, `7`, `'text'`, `x'00ff'`, `b'101'`.
pub(super) fn sql(column: &Column, value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => match column.kind {
            ColumnType::BIT => {
                let width = usize::from(column.meta);
                format!("b'{number:0width$b}'")
            }
            _ => member(column, *number).map_or_else(|| number.to_string(), |text| quoted(&text)),
        },
        Value::Float(number) => format!("{number:?}"),
        Value::Double(number) => format!("{number:?}"),
        Value::Decimal(digits) => String::from_utf8_lossy(digits).into_owned(),
        Value::Bytes(bytes) => match (as_text(column, bytes), &column.bytes) {
            (Some(text), _) => quoted(text),
            (None, Bytes::Charset(name)) => format!("_{name} x'{}'", hex(bytes)),
            (None, _) => format!("x'{}'", hex(bytes)),
        },
        Value::Json(text) => quoted(&String::from_utf8_lossy(text)),
        Value::TypedJson(document) => quoted(&String::from_utf8_lossy(&document.text)),
        Value::Date(_) | Value::Time(_) | Value::DateTime(..) => format!("'{}'", moment(column, value)),
    }
}

/// The value as JSON. Whatever JSON's numbers can't hold exactly is a string; bytes that are no text are an object.
pub(super) fn json(column: &Column, value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => member(column, *number).map_or_else(|| (*number).into(), Into::into),
        // The shortest text of a FLOAT, not the DOUBLE next to it.
        Value::Float(number) => number
            .to_string()
            .parse::<f64>()
            .unwrap_or_else(|_| f64::from(*number))
            .into(),
        Value::Double(number) => (*number).into(),
        Value::Decimal(text) | Value::Json(text) => String::from_utf8_lossy(text).into_owned().into(),
        Value::TypedJson(document) => String::from_utf8_lossy(&document.text).into_owned().into(),
        Value::Bytes(bytes) => match (as_text(column, bytes), &column.bytes) {
            (Some(text), _) => text.into(),
            (None, Bytes::Charset(name)) => serde_json::json!({ "charset": name, "hex": hex(bytes) }),
            (None, _) => serde_json::json!({ "hex": hex(bytes) }),
        },
        Value::Date(_) | Value::Time(_) | Value::DateTime(..) => moment(column, value).into(),
    }
}

/// ENUM's member, or SET's joined by commas.
fn member(column: &Column, number: u64) -> Option<String> {
    let members = &column.members;
    match column.kind {
        ColumnType::ENUM if number == 0 => Some(String::new()),
        ColumnType::ENUM => {
            let at = usize::try_from(number).ok()?.checked_sub(1)?;
            members.get(at).cloned()
        }
        ColumnType::SET if !members.is_empty() => {
            let chosen = members
                .iter()
                .enumerate()
                .filter(|(at, _)| number >> at.min(&63) & 1 == 1);
            Some(
                chosen
                    .map(|(_, text)| text.as_str())
                    .collect::<Vec<_>>()
                    .join(","),
            )
        }
        _ => None,
    }
}

/// The bytes as text where they surely are.
fn as_text<'a>(column: &Column, bytes: &'a [u8]) -> Option<&'a str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let sure = match &column.bytes {
        Bytes::Text => true,
        Bytes::Binary => false,
        Bytes::Charset(name) => {
            !matches!(name.as_str(), "ucs2" | "utf16" | "utf16le" | "utf32") && text.is_ascii()
        }
        Bytes::Unknown => !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')),
    };
    sure.then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            // What would change the terminal stays visible.
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A date, a time, or both; TIMESTAMP in UTC.
fn moment(column: &Column, value: &Value<'_>) -> String {
    let date = |d: &Date| format!("{:04}-{:02}-{:02}", d.year, d.month, d.day);
    let fraction = |micros: u32| {
        let digits = match column.kind {
            ColumnType::TIME2 | ColumnType::DATETIME2 | ColumnType::TIMESTAMP2 => {
                usize::from(column.meta.min(6))
            }
            _ => 0,
        };
        match digits {
            0 => String::new(),
            digits => format!(".{}", &format!("{micros:06}")[..digits]),
        }
    };
    match value {
        Value::Date(d) => date(d),
        Value::DateTime(d, t) => {
            let TimeOfDay {
                hour,
                minute,
                second,
                micros,
            } = t;
            format!(
                "{} {hour:02}:{minute:02}:{second:02}{}",
                date(d),
                fraction(*micros)
            )
        }
        Value::Time(t) => {
            let Time {
                hours,
                minutes,
                seconds,
                micros,
                ..
            } = t;
            let sign = if t.negative { "-" } else { "" };
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(*micros))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnType, meta: u16, bytes: Bytes) -> Column {
        Column {
            name: "c".to_owned(),
            kind,
            meta,
            members: vec!["a".to_owned(), "b".to_owned(), "c'".to_owned()],
            bytes,
        }
    }

    fn check(kind: ColumnType, meta: u16, bytes: Bytes, value: &Value<'_>, as_sql: &str, as_json: &str) {
        let column = column(kind, meta, bytes);
        assert_eq!(sql(&column, value), as_sql);
        assert_eq!(json(&column, value).to_string(), as_json);
    }

    #[test]
    fn bytes_are_text_where_they_surely_are() {
        let bytes = |bytes: &'static [u8]| Value::Bytes(bytes.into());
        let text = ColumnType::VARCHAR;
        let latin = || Bytes::Charset("latin1".to_owned());
        check(text, 80, Bytes::Text, &Value::Null, "NULL", "null");
        check(
            text,
            80,
            Bytes::Text,
            &bytes(b"it's\n\x1b"),
            r"'it''s\n\u{1b}'",
            r#""it's\n\u001b""#,
        );
        check(
            text,
            80,
            latin(),
            &bytes(b"\xe4"),
            "_latin1 x'e4'",
            r#"{"charset":"latin1","hex":"e4"}"#,
        );
        check(text, 80, latin(), &bytes(b"a"), "'a'", "\"a\"");
        check(
            ColumnType::BLOB,
            2,
            Bytes::Binary,
            &bytes(b"a\0"),
            "x'6100'",
            r#"{"hex":"6100"}"#,
        );
        check(
            text,
            80,
            Bytes::Unknown,
            &bytes(b"a\0"),
            "x'6100'",
            r#"{"hex":"6100"}"#,
        );
    }

    #[test]
    fn numbers_and_members() {
        let check =
            |kind, meta, value, as_sql, as_json| check(kind, meta, Bytes::Unknown, &value, as_sql, as_json);
        check(ColumnType::BIT, 4, Value::UInt(5), "b'0101'", "5");
        check(ColumnType::ENUM, 1, Value::UInt(3), "'c'''", "\"c'\"");
        check(ColumnType::ENUM, 1, Value::UInt(4), "4", "4");
        check(ColumnType::SET, 1, Value::UInt(5), "'a,c'''", "\"a,c'\"");
        let most = "18446744073709551615";
        check(ColumnType::LONGLONG, 0, Value::UInt(u64::MAX), most, most);
        check(ColumnType::FLOAT, 4, Value::Float(0.1), "0.1", "0.1");
        check(
            ColumnType::NEWDECIMAL,
            0,
            Value::Decimal(b"-1.50".as_slice().into()),
            "-1.50",
            "\"-1.50\"",
        );
    }

    #[test]
    fn moments() {
        let time = Time {
            negative: true,
            hours: 838,
            minutes: 1,
            seconds: 2,
            micros: 340_000,
        };
        let date = Date {
            year: 2026,
            month: 0,
            day: 9,
        };
        let at = TimeOfDay {
            micros: 7,
            ..TimeOfDay::default()
        };
        let check = |kind, meta, value, text: &str| {
            check(
                kind,
                meta,
                Bytes::Unknown,
                &value,
                &format!("'{text}'"),
                &format!("\"{text}\""),
            );
        };
        check(ColumnType::TIME2, 2, Value::Time(time), "-838:01:02.34");
        check(
            ColumnType::DATETIME2,
            6,
            Value::DateTime(date, at),
            "2026-00-09 00:00:00.000007",
        );
        check(
            ColumnType::DATETIME2,
            0,
            Value::DateTime(date, at),
            "2026-00-09 00:00:00",
        );
        check(ColumnType::DATE, 0, Value::Date(date), "2026-00-09");
    }
}
