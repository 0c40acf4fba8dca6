//! The stored form (`sql-common/json_binary.h`): a type, then the value; arrays and objects are tables of offsets to their parts.

use super::WHAT;
use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::Cursor;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// A value in its stored form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    kind: u8,
    /// From the value's first byte to the end of what holds it.
    data: &'a [u8],
}

/// A value, its parts still stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    /// UTF-8, to be checked by who uses it.
    String(&'a [u8]),
    /// Another SQL type's value: that type's number and its bytes.
    Opaque(u8, &'a [u8]),
    Array(Container<'a>),
    Object(Container<'a>),
}

/// An array or object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    /// The whole container: offsets count from its first byte.
    data: &'a [u8],
    /// Offsets take 4 bytes, not 2.
    large: bool,
    count: usize,
    /// Where the entries that point to keys begin (objects).
    keys: usize,
    /// Where the entries that point to values begin.
    values: usize,
}

/// How much may still be read. Every part of a real document has bytes of its own; bytes that point to the same place again and again
/// would otherwise grow without bound.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// For a document of so many bytes.
    pub(super) fn new(document: usize) -> Self {
        Self(document)
    }

    /// Pays for a part.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Error::malformed(WHAT, "its parts overlap")),
        }
    }
}

impl<'a> Element<'a> {
    /// A whole document.
    pub(super) fn root(document: &'a [u8]) -> Result<Self, Error> {
        match document.split_first() {
            None => Ok(Self {
                kind: LITERAL,
                data: &[0],
            }),
            Some((kind, data)) => Ok(Self { kind: *kind, data }),
        }
    }

    /// The most bytes that the value can take.
    pub(super) fn size(self) -> usize {
        self.data.len() + 1
    }

    /// What the value is.
    #[inline]
    pub(super) fn shape(self) -> Result<Shape<'a>, Error> {
        let mut cursor = Cursor::new(self.data);
        Ok(match self.kind {
            SMALL_OBJECT => Shape::Object(Container::new(self.data, false, true)?),
            LARGE_OBJECT => Shape::Object(Container::new(self.data, true, true)?),
            SMALL_ARRAY => Shape::Array(Container::new(self.data, false, false)?),
            LARGE_ARRAY => Shape::Array(Container::new(self.data, true, false)?),
            LITERAL => match cursor.u8().within(WHAT)? {
                0 => Shape::Null,
                1 => Shape::Bool(true),
                2 => Shape::Bool(false),
                other => return Err(Error::malformed(WHAT, format!("literal {other}"))),
            },
            INT16 => Shape::Int(i64::from(cursor.u16().within(WHAT)?.cast_signed())),
            UINT16 => Shape::UInt(u64::from(cursor.u16().within(WHAT)?)),
            INT32 => Shape::Int(i64::from(cursor.u32().within(WHAT)?.cast_signed())),
            UINT32 => Shape::UInt(u64::from(cursor.u32().within(WHAT)?)),
            INT64 => Shape::Int(cursor.u64().within(WHAT)?.cast_signed()),
            UINT64 => Shape::UInt(cursor.u64().within(WHAT)?),
            DOUBLE => match f64::from_bits(cursor.u64().within(WHAT)?) {
                finite if finite.is_finite() => Shape::Double(finite),
                _ => return Err(Error::malformed(WHAT, "a double that is no number")),
            },
            STRING => Shape::String(sized(&mut cursor)?),
            OPAQUE => {
                let kind = cursor.u8().within(WHAT)?;
                Shape::Opaque(kind, sized(&mut cursor)?)
            }
            other => return Err(Error::malformed(WHAT, format!("type {other}"))),
        })
    }
}

/// Takes a length, seven bits to a byte, lowest first, then so many bytes.
#[inline]
fn sized<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    let first = cursor.u8().within(WHAT)?;
    if first < 0x80 {
        return cursor.bytes(usize::from(first)).within(WHAT);
    }
    let mut length = u64::from(first & 0x7f);
    for place in 1..5 {
        let byte = cursor.u8().within(WHAT)?;
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return cursor
                .bytes(usize::try_from(length).unwrap_or(usize::MAX))
                .within(WHAT);
        }
    }
    Err(Error::malformed(WHAT, "a length of more than five bytes"))
}

/// Text, if it is.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err(Error::malformed(WHAT, "a string is no UTF-8 text")),
    }
}

impl<'a> Container<'a> {
    /// `data` begins with the number of parts and the size in bytes; then come the entries of keys and of values.
    #[inline]
    fn new(data: &'a [u8], large: bool, object: bool) -> Result<Self, Error> {
        let mut cursor = Cursor::new(data);
        let count = offset(&mut cursor, large)?;
        let size = offset(&mut cursor, large)?;
        let data = data.get(..size).ok_or_else(cut_off)?;
        let width = if large { 4 } else { 2 };
        let keys = 2 * width;
        let values = if object { keys + count * (width + 2) } else { keys };
        if values + count * (width + 1) > size {
            return Err(cut_off());
        }
        Ok(Self {
            data,
            large,
            count,
            keys,
            values,
        })
    }

    /// Number of parts.
    pub(super) fn len(self) -> usize {
        self.count
    }

    /// What stands from `start` on.
    #[inline]
    fn at(self, start: usize) -> Result<&'a [u8], Error> {
        self.data.get(start..).ok_or_else(cut_off)
    }

    /// An object's key number `index`: UTF-8, to be checked by who uses it.
    #[inline]
    pub(super) fn key(self, index: usize) -> Result<&'a [u8], Error> {
        let (start, length) = if self.large {
            let [a, b, c, d, low, high] = *self.entry(self.keys + index * 6)?;
            (wide([a, b, c, d]), u16::from_le_bytes([low, high]))
        } else {
            let [a, b, low, high] = *self.entry(self.keys + index * 4)?;
            (narrow([a, b]), u16::from_le_bytes([low, high]))
        };
        self.at(start)?.get(..usize::from(length)).ok_or_else(cut_off)
    }

    /// Value number `index`: small ones stand in the entry itself.
    #[inline]
    pub(super) fn value(self, index: usize) -> Result<Element<'a>, Error> {
        let (kind, inline, start, end): (_, &[u8], _, _) = if self.large {
            let entry: &[u8; 5] = self.entry(self.values + index * 5)?;
            let [kind, inline @ ..] = entry;
            (*kind, inline, wide(*inline), self.values + self.count * 5)
        } else {
            let entry: &[u8; 3] = self.entry(self.values + index * 3)?;
            let [kind, inline @ ..] = entry;
            (*kind, inline, narrow(*inline), self.values + self.count * 3)
        };
        let stands_here = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => self.large,
            _ => false,
        };
        let data = if stands_here {
            inline
        } else if start < end {
            // A part never begins before the entries end: what would is a loop.
            return Err(Error::malformed(WHAT, "a part begins within the table of parts"));
        } else {
            self.at(start)?
        };
        Ok(Element { kind, data })
    }

    /// An entry's bytes.
    #[inline]
    fn entry<const N: usize>(self, start: usize) -> Result<&'a [u8; N], Error> {
        self.at(start)?.first_chunk().ok_or_else(cut_off)
    }
}

#[cold]
fn cut_off() -> Error {
    Error::Truncated { what: WHAT }
}

fn narrow(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(bytes))
}

fn wide(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

/// Takes a size or a count.
#[inline]
fn offset(cursor: &mut Cursor<'_>, large: bool) -> Result<usize, Error> {
    Ok(if large {
        wide(cursor.array().within(WHAT)?)
    } else {
        narrow(cursor.array().within(WHAT)?)
    })
}
