//! Column types by MySQL's numbers, and the metadata that goes with each.

use std::fmt;

use super::WHAT;
use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::Cursor;

/// A column's type by MySQL's `enum_field_types` number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnType(pub u8);

macro_rules! column_types {
    ($($number:literal $name:ident $text:literal;)*) => {
        impl ColumnType {
            $(#[doc = concat!($text, ", number ", stringify!($number), ".")] pub const $name: Self = Self($number);)*

            /// The type's name; `None` for a number that no known server writes.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

column_types! {
    1 TINY "TINYINT";
    2 SHORT "SMALLINT";
    3 LONG "INT";
    4 FLOAT "FLOAT";
    5 DOUBLE "DOUBLE";
    7 TIMESTAMP "TIMESTAMP (before MySQL 5.6)";
    8 LONGLONG "BIGINT";
    9 INT24 "MEDIUMINT";
    10 DATE "DATE";
    11 TIME "TIME (before MySQL 5.6)";
    12 DATETIME "DATETIME (before MySQL 5.6)";
    13 YEAR "YEAR";
    15 VARCHAR "VARCHAR";
    16 BIT "BIT";
    17 TIMESTAMP2 "TIMESTAMP";
    18 DATETIME2 "DATETIME";
    19 TIME2 "TIME";
    20 TYPED_ARRAY "multi-valued index";
    242 VECTOR "VECTOR";
    245 JSON "JSON";
    246 NEWDECIMAL "DECIMAL";
    247 ENUM "ENUM";
    248 SET "SET";
    252 BLOB "BLOB or TEXT";
    254 STRING "CHAR or BINARY";
    255 GEOMETRY "GEOMETRY";
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl fmt::Debug for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ColumnType {
    /// Whether the table map's signedness bitmap has a bit for columns of this type.
    pub fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::TINY
                | Self::SHORT
                | Self::INT24
                | Self::LONG
                | Self::LONGLONG
                | Self::NEWDECIMAL
                | Self::FLOAT
                | Self::DOUBLE
                | Self::YEAR
        )
    }

    /// Whether the table map's list of character sets has an entry for columns of this type.
    pub fn is_character(self) -> bool {
        matches!(self, Self::STRING | Self::VARCHAR | Self::BLOB)
    }

    /// Whether values are numbers of listed members.
    pub fn is_enum_or_set(self) -> bool {
        matches!(self, Self::ENUM | Self::SET)
    }

    /// Takes a column's metadata and tells the type that its values really have, and what the metadata says
    /// (see [`ColumnDef::meta`](super::ColumnDef::meta)).
    pub(super) fn read(number: u8, meta: &mut Cursor<'_>) -> Result<(Self, u16), Error> {
        let kind = Self(number);
        let value = match kind {
            Self::FLOAT
            | Self::DOUBLE
            | Self::BLOB
            | Self::GEOMETRY
            | Self::JSON
            | Self::VECTOR
            | Self::TIME2
            | Self::DATETIME2
            | Self::TIMESTAMP2 => u16::from(meta.u8().within(WHAT)?),
            Self::VARCHAR => meta.u16().within(WHAT)?,
            Self::NEWDECIMAL => meta.u16_be().within(WHAT)?,
            Self::BIT => {
                let (bits, bytes) = (meta.u8().within(WHAT)?, meta.u8().within(WHAT)?);
                u16::from(bytes) * 8 + u16::from(bits)
            }
            Self::STRING | Self::ENUM | Self::SET => return Self::read_string(meta),
            Self::TYPED_ARRAY => {
                return Err(Error::Unsupported {
                    what: "a table with a column of a multi-valued index".to_owned(),
                    advice: "the source writes hidden columns of functional indexes into its binlog: update it to MySQL 8.0.22 or later",
                });
            }
            _ if kind.name().is_some() => 0,
            _ => return Err(Error::malformed(WHAT, format!("a column of type {number}"))),
        };
        Ok((kind, value))
    }

    /// The first byte is the real type (ENUM and SET are written as strings), with two bits of the length inverted in it where a string
    /// is longer than 255 bytes; the second byte is the length.
    fn read_string(meta: &mut Cursor<'_>) -> Result<(Self, u16), Error> {
        const LENGTH_BITS: u8 = 0x30;
        let (kind, length) = (meta.u8().within(WHAT)?, meta.u8().within(WHAT)?);
        let high = u16::from((kind & LENGTH_BITS) ^ LENGTH_BITS) << 4;
        match Self(kind | LENGTH_BITS) {
            Self::STRING => Ok((Self::STRING, high | u16::from(length))),
            real @ (Self::ENUM | Self::SET) if high == 0 => Ok((real, u16::from(length))),
            other => Err(Error::malformed(
                WHAT,
                format!("a string column that is really {other}"),
            )),
        }
    }
}
