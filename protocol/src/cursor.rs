//! Reading fields out of bytes that came from a network or a disk.
//!
//! A [`Cursor`] walks over a borrowed slice; each method takes one field and moves on, or answers [`Truncated`] and leaves the
//! cursor where it was. Nothing panics and nothing allocates. What the fields mean is left to the callers.

/// The bytes ended before the field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes wanted where {available} are left")]
pub struct Truncated {
    /// How many bytes the field needs (for a terminated string, one more than there were).
    pub needed: usize,
    /// How many bytes were left.
    pub available: usize,
}

/// A place in a byte slice from which fields are taken one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
}

macro_rules! little_endian {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $width:literal;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self) -> Result<$type, Truncated> {
            let mut wide = [0; size_of::<$type>()];
            wide[..$width].copy_from_slice(self.bytes($width)?);
            Ok(<$type>::from_le_bytes(wide))
        }
    )*};
}

macro_rules! big_endian {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $width:literal;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self) -> Result<$type, Truncated> {
            let mut wide = [0; size_of::<$type>()];
            wide[size_of::<$type>() - $width..].copy_from_slice(self.bytes($width)?);
            Ok(<$type>::from_be_bytes(wide))
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// A cursor at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that is left; the cursor is empty afterwards.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// What is left, without taking it.
    pub fn peek(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, left) = self.bytes.split_at_checked(count).ok_or(Truncated {
            needed: count,
            available: self.bytes.len(),
        })?;
        self.bytes = left;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), Truncated> {
        self.bytes(count).map(|_| ())
    }

    little_endian! {
        /// An unsigned byte.
        u8: u8, 1;
        /// Two bytes, least significant first.
        u16: u16, 2;
        /// Three bytes, least significant first.
        u24: u32, 3;
        /// Four bytes, least significant first.
        u32: u32, 4;
        /// Six bytes, least significant first.
        u48: u64, 6;
        /// Eight bytes, least significant first.
        u64: u64, 8;
    }

    big_endian! {
        /// Two bytes, most significant first.
        u16_be: u16, 2;
        /// Three bytes, most significant first.
        u24_be: u32, 3;
        /// Four bytes, most significant first.
        u32_be: u32, 4;
        /// Five bytes, most significant first.
        u40_be: u64, 5;
        /// Six bytes, most significant first.
        u48_be: u64, 6;
        /// Eight bytes, most significant first.
        u64_be: u64, 8;
    }

    /// A length-encoded integer: one byte below 251, or `0xfc`, `0xfd`, `0xfe` and 2, 3, 8 bytes.
    ///
    /// `0xfb` (NULL in a text row) and `0xff` (the head of an error packet) are no integers: they answer as if the field were
    /// missing. Callers that may meet them look at [`peek`](Self::peek) first.
    pub fn lenenc(&mut self) -> Result<u64, Truncated> {
        let mut ahead = *self;
        let value = match ahead.u8()? {
            short @ 0..=0xfa => u64::from(short),
            0xfc => u64::from(ahead.u16()?),
            0xfd => u64::from(ahead.u24()?),
            0xfe => ahead.u64()?,
            0xfb | 0xff => {
                return Err(Truncated {
                    needed: 2,
                    available: 1,
                });
            }
        };
        *self = ahead;
        Ok(value)
    }

    /// A length-encoded length, then that many bytes.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Truncated> {
        let mut ahead = *self;
        let length = usize::try_from(ahead.lenenc()?).unwrap_or(usize::MAX);
        let field = ahead.bytes(length)?;
        *self = ahead;
        Ok(field)
    }

    /// The bytes up to the next zero, which is passed over.
    pub fn null_terminated(&mut self) -> Result<&'a [u8], Truncated> {
        let available = self.bytes.len();
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or(Truncated {
            needed: available.saturating_add(1),
            available,
        })?;
        let field = self.bytes(end)?;
        self.skip(1)?;
        Ok(field)
    }
}

/// Appends `value` to `out` as a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xfa => out.push(bytes[0]),
        0xfb..=0xffff => {
            out.push(0xfc);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xff_ffff => {
            out.push(0xfd);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends the length of `field` as a length-encoded integer, then `field`.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, field: &[u8]) {
    // A slice is never longer than 2^63 bytes.
    put_lenenc(out, u64::try_from(field.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_of_every_width() {
        let mut cursor = Cursor::new(&[1, 2, 0, 3, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.u16(), Ok(2));
        assert_eq!(cursor.u24(), Ok(3));
        assert_eq!(cursor.u32(), Ok(4));
        assert_eq!(cursor.u48(), Ok(5));
        assert_eq!(cursor.u24_be(), Ok(0x1_0001));
        assert_eq!(cursor.u24_be(), Ok(1));
        assert_eq!(
            cursor.u8(),
            Err(Truncated {
                needed: 1,
                available: 0
            })
        );
    }

    #[test]
    fn a_failed_read_moves_nothing() {
        let mut cursor = Cursor::new(&[0xfc, 9]);
        assert!(cursor.lenenc().is_err());
        assert!(cursor.null_terminated().is_err());
        assert!(cursor.u64().is_err());
        assert_eq!(cursor.rest(), [0xfc, 9]);
    }

    proptest! {
        #[test]
        fn lenenc_round_trips(value: u64) {
            let mut out = Vec::new();
            put_lenenc(&mut out, value);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.lenenc(), Ok(value));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn big_endian_is_the_mirror(bytes: [u8; 8]) {
            let mut mirrored = bytes;
            mirrored.reverse();
            prop_assert_eq!(Cursor::new(&bytes).u64_be(), Cursor::new(&mirrored).u64());
            prop_assert_eq!(Cursor::new(&bytes[..6]).u48_be(), Cursor::new(&mirrored[2..]).u48());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, count: usize) {
            let mut cursor = Cursor::new(&bytes);
            for _ in 0..2 {
                let lengths = (cursor.lenenc_bytes().is_ok(), cursor.null_terminated().is_ok(), cursor.bytes(count).is_ok());
                std::hint::black_box(lengths);
            }
        }
    }
}
