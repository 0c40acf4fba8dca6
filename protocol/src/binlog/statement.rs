//! INTVAR, RAND, USER_VAR: what a statement-format statement reads besides its text.

use super::Error;
use super::error::Within;
use crate::cursor::Cursor;

/// INTVAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntVar {
    /// `SET LAST_INSERT_ID = n`.
    LastInsertId(u64),
    /// `SET INSERT_ID = n`.
    InsertId(u64),
}

/// RAND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rand {
    /// `SET rand_seed1`.
    pub seed1: u64,
    /// `SET rand_seed2`.
    pub seed2: u64,
}

/// USER_VAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserVar<'a> {
    /// Without the `@`.
    pub name: &'a [u8],
    /// The value; `None` is NULL.
    pub value: Option<UserVarValue<'a>>,
}

/// A user variable that is not NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserVarValue<'a> {
    /// Text or bytes in a collation.
    String {
        /// Collation number.
        collation: u32,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A double, as bits.
    RealBits(u64),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A decimal in binary form: precision, scale, digits.
    Decimal(&'a [u8]),
}

impl IntVar {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "INTVAR event";
        let mut cursor = Cursor::new(body);
        let kind = cursor.u8().within(WHAT)?;
        let value = cursor.u64().within(WHAT)?;
        match kind {
            1 => Ok(Self::LastInsertId(value)),
            2 => Ok(Self::InsertId(value)),
            other => Err(Error::malformed(WHAT, format!("kind {other}"))),
        }
    }
}

impl Rand {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let seed1 = cursor.u64().within("RAND event")?;
        Ok(Self {
            seed1,
            seed2: cursor.u64().within("RAND event")?,
        })
    }
}

impl<'a> UserVar<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        const WHAT: &str = "USER_VAR event";
        const UNSIGNED: u8 = 1;
        let mut cursor = Cursor::new(body);
        let length = |wide: u32| usize::try_from(wide).unwrap_or(usize::MAX);
        let name_length = length(cursor.u32().within(WHAT)?);
        let name = cursor.bytes(name_length).within(WHAT)?;
        if cursor.u8().within(WHAT)? != 0 {
            return Ok(Self { name, value: None });
        }
        let kind = cursor.u8().within(WHAT)?;
        let collation = cursor.u32().within(WHAT)?;
        let value_length = length(cursor.u32().within(WHAT)?);
        let bytes = cursor.bytes(value_length).within(WHAT)?;
        let unsigned = cursor.u8().is_ok_and(|flags| flags & UNSIGNED != 0);
        let number = || Cursor::new(bytes).u64().within(WHAT);
        let value = match kind {
            0 => UserVarValue::String { collation, bytes },
            1 => UserVarValue::RealBits(number()?),
            2 if unsigned => UserVarValue::UInt(number()?),
            2 => UserVarValue::Int(number()?.cast_signed()),
            4 => UserVarValue::Decimal(bytes),
            other => return Err(Error::malformed(WHAT, format!("a value of kind {other}"))),
        };
        Ok(Self {
            name,
            value: Some(value),
        })
    }
}
