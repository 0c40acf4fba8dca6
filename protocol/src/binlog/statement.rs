//! INTVAR, RAND, USER_VAR: what a statement-format statement reads besides its text.

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
    /// The value.
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
