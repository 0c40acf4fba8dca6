//! One column's value, the same whether it was copied with a query or decoded from a row event.
//!
//! Both paths meet here so that a table copied in part and replayed in part holds one form of each value: enums and sets
//! by number, strings as the bytes that the source stored (in the column's own character set, `BINARY(n)` padded to its
//! length), `TIMESTAMP` as a date and time in UTC, JSON as text beside which
//! stands what the text can't tell.

use std::borrow::Cow;

/// One column's value, borrowing from the bytes it was decoded from where it can.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A signed integer column, or YEAR (0 stands for year 0000).
    Int(i64),
    /// An unsigned integer column; ENUM's ordinal (0 is the error value ''), SET's and BIT's bits.
    UInt(u64),
    /// FLOAT, bit for bit.
    Float(f32),
    /// DOUBLE, bit for bit.
    Double(f64),
    /// DECIMAL as the server prints it, with all its fractional digits (`-12.340`).
    Decimal(Cow<'a, [u8]>),
    /// CHAR, VARCHAR, TEXT, BINARY, VARBINARY, BLOB, GEOMETRY (SRID and WKB), VECTOR: the stored bytes.
    Bytes(Cow<'a, [u8]>),
    /// JSON as UTF-8 text that the server parses back to the same document.
    Json(Cow<'a, [u8]>),
    /// JSON with parts that text alone would turn into something else.
    TypedJson(Box<TypedJson>),
    /// DATE; zero and partial dates included.
    Date(Date),
    /// TIME, −838:59:59 to 838:59:59.
    Time(Time),
    /// DATETIME as stored, TIMESTAMP in UTC.
    DateTime(Date, TimeOfDay),
}

/// A JSON document with parts of types that JSON's text doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TypedJson {
    /// As the server prints it, UTF-8.
    pub text: Vec<u8>,
    /// Those parts, in the text's order; at least one.
    pub parts: Vec<TypedPart>,
}

/// A scalar in a document's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypedPart {
    /// Where it begins in the text.
    pub at: usize,
    /// What it is.
    pub kind: JsonKind,
}

/// A type that a part of a JSON document can have, and its text can't tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonKind {
    /// DECIMAL, printed as a number.
    Decimal,
    /// An integer without sign that one with a sign could be as well, printed as a number.
    Unsigned,
    /// DATE, printed as a string, as are all that follow.
    Date,
    /// TIME.
    Time,
    /// DATETIME.
    DateTime,
    /// TIMESTAMP.
    Timestamp,
    /// Bytes of the column type with this number, printed as `"base64:typeN:…"`.
    Opaque(u8),
}

/// A calendar date as MySQL stores it: any part may be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// The time part of a DATETIME or TIMESTAMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Microseconds, 0 to 999,999.
    pub micros: u32,
}

/// A TIME value: a signed span of up to 838 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Time {
    /// True below zero.
    pub negative: bool,
    /// 0 to 838.
    pub hours: u16,
    /// 0 to 59.
    pub minutes: u8,
    /// 0 to 59.
    pub seconds: u8,
    /// Microseconds, 0 to 999,999.
    pub micros: u32,
}

impl Value<'_> {
    /// The same value owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Value::Null => Value::Null,
            Value::Int(v) => Value::Int(v),
            Value::UInt(v) => Value::UInt(v),
            Value::Float(v) => Value::Float(v),
            Value::Double(v) => Value::Double(v),
            Value::Decimal(v) => Value::Decimal(own(v)),
            Value::Bytes(v) => Value::Bytes(own(v)),
            Value::Json(v) => Value::Json(own(v)),
            Value::TypedJson(v) => Value::TypedJson(v),
            Value::Date(d) => Value::Date(d),
            Value::Time(t) => Value::Time(t),
            Value::DateTime(d, t) => Value::DateTime(d, t),
        }
    }
}
