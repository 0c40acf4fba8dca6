//! Writing values as JSON text.

use super::binary::{Budget, Container, Element, Shape, utf8};
use super::{Spelled, WHAT, number};
use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::binlog::rows::DecimalShape;
use crate::binlog::rows::packed;
use crate::binlog::table_map::ColumnType;
use crate::cursor::Cursor;
use crate::value::{Date, JsonKind, TimeOfDay, TypedPart};

/// The server allows documents no deeper than this.
pub(super) const DEEPEST: usize = 100;

/// Appends a stored value's text.
pub(super) fn write(element: Element<'_>, out: &mut Spelled) -> Result<(), Error> {
    let mut budget = Budget::new(element.size());
    write_within(element, out, 1, &mut budget)
}

fn write_within(
    element: Element<'_>,
    out: &mut Spelled,
    depth: usize,
    budget: &mut Budget,
) -> Result<(), Error> {
    match element.shape()? {
        Shape::Array(items) => {
            check_depth(depth)?;
            budget.spend(items.len())?;
            out.text.push(b'[');
            for index in 0..items.len() {
                separate(index, &mut out.text);
                write_within(items.value(index)?, out, depth + 1, budget)?;
            }
            out.text.push(b']');
        }
        Shape::Object(members) => {
            check_depth(depth)?;
            write_members(members, out, depth, budget)?;
        }
        scalar => write_scalar(scalar, out, budget)?,
    }
    Ok(())
}

fn write_members(
    members: Container<'_>,
    out: &mut Spelled,
    depth: usize,
    budget: &mut Budget,
) -> Result<(), Error> {
    budget.spend(members.len())?;
    out.text.push(b'{');
    for index in 0..members.len() {
        separate(index, &mut out.text);
        let key = members.key(index)?;
        budget.spend(key.len())?;
        write_string(key, &mut out.text)?;
        out.text.extend_from_slice(b": ");
        write_within(members.value(index)?, out, depth + 1, budget)?;
    }
    out.text.push(b'}');
    Ok(())
}

/// Refuses what is nested deeper than the server allows.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(Error::malformed(
            WHAT,
            format!("it is nested deeper than {DEEPEST}"),
        ));
    }
    Ok(())
}

/// What stands before part number `index`.
pub(super) fn separate(index: usize, text: &mut Vec<u8>) {
    if index > 0 {
        text.extend_from_slice(b", ");
    }
}

/// Appends anything but an array or object.
pub(super) fn write_scalar(scalar: Shape<'_>, out: &mut Spelled, budget: &mut Budget) -> Result<(), Error> {
    let text = &mut out.text;
    match scalar {
        Shape::Null => text.extend_from_slice(b"null"),
        Shape::Bool(true) => text.extend_from_slice(b"true"),
        Shape::Bool(false) => text.extend_from_slice(b"false"),
        Shape::Int(value) => {
            if value < 0 {
                text.push(b'-');
            }
            number::put_integer(value.unsigned_abs(), text);
        }
        Shape::UInt(value) => {
            // Beyond that, no text is read as anything else.
            if i64::try_from(value).is_ok() {
                out.parts.push(TypedPart {
                    at: text.len(),
                    kind: JsonKind::Unsigned,
                });
            }
            number::put_integer(value, text);
        }
        Shape::Double(value) => number::put_double(value, text),
        Shape::String(value) => {
            budget.spend(value.len())?;
            write_string(value, text)?;
        }
        Shape::Opaque(kind, bytes) => {
            budget.spend(bytes.len())?;
            write_opaque(ColumnType(kind), bytes, out)?;
        }
        Shape::Array(_) | Shape::Object(_) => {
            return Err(Error::malformed(WHAT, "a container where a scalar was expected"));
        }
    }
    Ok(())
}

/// Appends a string in quotes, escaping what JSON demands.
#[inline]
pub(super) fn write_string(value: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
    text.push(b'"');
    let mut rest = value;
    let mut beyond_ascii = 0;
    loop {
        let plain = number_of_plain(rest, &mut beyond_ascii);
        let (before, after) = rest.split_at(plain);
        text.extend_from_slice(before);
        let Some((byte, after)) = after.split_first() else {
            break;
        };
        write_escape(*byte, text);
        rest = after;
    }
    text.push(b'"');
    if beyond_ascii & HIGH != 0 {
        utf8(value)?;
    }
    Ok(())
}

/// The highest bit of each of eight bytes.
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// How many bytes come before one that must be escaped: eight at a time are looked at. Their bits are added to `bits`.
#[inline]
fn number_of_plain(bytes: &[u8], bits: &mut u64) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        *bits |= word;
        // The highest bit of a byte in these says that the byte is below 0x20, a quote, a backslash. Borrows can set it in a byte too
        // many, above one that it is rightly set in.
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let found = (control | quote | backslash) & !word & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    for (place, byte) in bytes[at..].iter().enumerate() {
        if matches!(byte, 0..0x20 | b'"' | b'\\') {
            return at + place;
        }
        *bits |= u64::from(*byte);
    }
    bytes.len()
}

#[cold]
fn write_escape(byte: u8, text: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            text.extend_from_slice(b"\\u00");
            text.push(HEX[usize::from(byte >> 4)]);
            text.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    text.extend_from_slice(&[b'\\', short]);
}

/// Appends a value of another SQL type as the server prints it.
fn write_opaque(kind: ColumnType, bytes: &[u8], out: &mut Spelled) -> Result<(), Error> {
    out.parts.push(TypedPart {
        at: out.text.len(),
        kind: match kind {
            ColumnType::NEWDECIMAL => JsonKind::Decimal,
            ColumnType::DATE => JsonKind::Date,
            ColumnType::TIME => JsonKind::Time,
            ColumnType::DATETIME => JsonKind::DateTime,
            ColumnType::TIMESTAMP => JsonKind::Timestamp,
            ColumnType(other) => JsonKind::Opaque(other),
        },
    });
    let text = &mut out.text;
    let number = || Ok::<_, Error>(Cursor::new(bytes).u64().within(WHAT)?.cast_signed());
    match kind {
        ColumnType::NEWDECIMAL => {
            let mut cursor = Cursor::new(bytes);
            let shape = DecimalShape::of_value(cursor.u8().within(WHAT)?, cursor.u8().within(WHAT)?)?;
            shape.read(&mut cursor, text)?;
        }
        ColumnType::DATE => {
            let (date, _) = packed::datetime(number()?)?;
            text.extend_from_slice(format!("\"{}\"", spell_date(date)).as_bytes());
        }
        ColumnType::DATETIME | ColumnType::TIMESTAMP => {
            let (date, time) = packed::datetime(number()?)?;
            let TimeOfDay {
                hour,
                minute,
                second,
                micros,
            } = time;
            let date = spell_date(date);
            text.extend_from_slice(
                format!("\"{date} {hour:02}:{minute:02}:{second:02}.{micros:06}\"").as_bytes(),
            );
        }
        ColumnType::TIME => {
            let time = packed::span(number()?)?;
            let sign = if time.negative { "-" } else { "" };
            let (hours, minutes, seconds, micros) = (time.hours, time.minutes, time.seconds, time.micros);
            text.extend_from_slice(
                format!("\"{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}\"").as_bytes(),
            );
        }
        other => {
            text.extend_from_slice(format!("\"base64:type{}:", other.0).as_bytes());
            write_base64(bytes, text);
            text.push(b'"');
        }
    }
    Ok(())
}

fn spell_date(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

/// Appends bytes in base64 as the server does: a line feed, here escaped, after every 76 characters that others follow.
fn write_base64(bytes: &[u8], text: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const LINE: usize = 76 / 4;
    for (at, group) in bytes.chunks(3).enumerate() {
        if at > 0 && at % LINE == 0 {
            text.extend_from_slice(b"\\n");
        }
        let [first, second, third] = [0, 1, 2].map(|place| group.get(place).copied().unwrap_or(0));
        let sextets = [
            first >> 2,
            first << 4 | second >> 4,
            second << 2 | third >> 6,
            third,
        ];
        for (place, sextet) in sextets.into_iter().enumerate() {
            text.push(if place <= group.len() {
                ALPHABET[usize::from(sextet & 63)]
            } else {
                b'='
            });
        }
    }
}
