//! DECIMAL's binary form (`decimal2bin`): groups of nine digits, big-endian, ordered so that bytes compare like numbers.

use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::Cursor;

const WHAT: &str = "DECIMAL value";

/// Digits in a full group, which takes four bytes.
const GROUP: u8 = 9;

/// Bytes that a group of 0 to 9 digits takes.
const BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// How the values of a DECIMAL(precision, scale) are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::binlog) struct DecimalShape {
    /// Digits before the point.
    whole: u8,
    /// Digits after the point.
    scale: u8,
}

impl DecimalShape {
    /// The shape of a column of type DECIMAL(precision, scale), if there is one.
    pub(in crate::binlog) fn new(precision: u8, scale: u8) -> Result<Self, Error> {
        Self::within(65, precision, scale)
    }

    /// The shape of a single value, as JSON holds it: its digits before the point may be counted with the zeros that fill their
    /// group (`-9…9.9…9` of 35 and 30 digits has precision 66), up to nine groups in all.
    pub(in crate::binlog) fn of_value(precision: u8, scale: u8) -> Result<Self, Error> {
        Self::within(9 * GROUP, precision, scale)
    }

    fn within(most: u8, precision: u8, scale: u8) -> Result<Self, Error> {
        match precision.checked_sub(scale) {
            Some(whole) if (1..=most).contains(&precision) && scale <= 30 => Ok(Self { whole, scale }),
            _ => Err(Error::malformed(
                WHAT,
                format!("its type is DECIMAL({precision},{scale})"),
            )),
        }
    }

    /// Bytes of a value.
    fn size(self) -> usize {
        let part =
            |digits: u8| usize::from(digits / GROUP) * 4 + usize::from(BYTES[usize::from(digits % GROUP)]);
        part(self.whole) + part(self.scale)
    }

    /// Takes a value and appends it as the server prints it, with all digits after the point.
    pub(in crate::binlog) fn read(self, cursor: &mut Cursor<'_>, text: &mut Vec<u8>) -> Result<(), Error> {
        let bytes = cursor.bytes(self.size()).within(WHAT)?;
        // The highest bit is set for values from zero up; all bits of negative values are inverted.
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
        let mut groups = Groups {
            rest: Cursor::new(bytes),
            flip: 0x80,
            mask: if negative { u32::MAX } else { 0 },
        };
        text.reserve(usize::from(self.whole) + usize::from(self.scale) + 3);
        if negative {
            text.push(b'-');
        }
        let start = text.len();
        // Nothing is written of zeros before the first digit.
        for count in parts(self.whole % GROUP, self.whole / GROUP) {
            let value = groups.next(count)?;
            if text.len() > start {
                put_digits(value, count.into(), text);
            } else if value > 0 {
                let count = POWERS.iter().position(|power| value < *power);
                put_digits(value, count.unwrap_or(POWERS.len() - 1), text);
            }
        }
        if text.len() == start {
            text.push(b'0');
        }
        if self.scale > 0 {
            text.push(b'.');
            for _ in 0..self.scale / GROUP {
                put_digits(groups.next(GROUP)?, GROUP.into(), text);
            }
            let count = self.scale % GROUP;
            put_digits(groups.next(count)?, count.into(), text);
        }
        Ok(())
    }
}

/// Digits of the groups before the point: first what is left over, then full groups.
fn parts(first: u8, full: u8) -> impl Iterator<Item = u8> {
    std::iter::once(first).chain(std::iter::repeat_n(GROUP, usize::from(full)))
}

/// 10 to the power of 0 to 9.
const POWERS: [u32; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Appends `value` as `count` digits, at most nine.
fn put_digits(mut value: u32, count: usize, text: &mut Vec<u8>) {
    let mut digits = [b'0'; POWERS.len() - 1];
    let digits = &mut digits[..count];
    for place in digits.iter_mut().rev() {
        *place += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    text.extend_from_slice(digits);
}

/// The groups of digits that are still to be read.
struct Groups<'a> {
    rest: Cursor<'a>,
    /// The first byte's highest bit, until it was read.
    flip: u8,
    mask: u32,
}

impl Groups<'_> {
    /// The next group's value, of `count` digits.
    #[inline]
    fn next(&mut self, count: u8) -> Result<u32, Error> {
        let size = BYTES[usize::from(count)];
        let (value, flip) = match size {
            0 => return Ok(0),
            1 => (u32::from(self.rest.u8().within(WHAT)?), u32::from(self.flip)),
            2 => (
                u32::from(self.rest.u16_be().within(WHAT)?),
                u32::from(self.flip) << 8,
            ),
            3 => (self.rest.u24_be().within(WHAT)?, u32::from(self.flip) << 16),
            _ => (self.rest.u32_be().within(WHAT)?, u32::from(self.flip) << 24),
        };
        self.flip = 0;
        let value = (value ^ flip ^ self.mask) & (u32::MAX >> (32 - 8 * u32::from(size)));
        if value >= POWERS[usize::from(count)] {
            return Err(Error::malformed(
                WHAT,
                format!("a group holds more than {count} digits"),
            ));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, bytes: &[u8]) -> String {
        let mut cursor = Cursor::new(bytes);
        let mut text = Vec::new();
        DecimalShape::new(precision, scale)
            .unwrap()
            .read(&mut cursor, &mut text)
            .unwrap();
        assert!(cursor.is_empty());
        String::from_utf8(text).unwrap()
    }

    /// The examples of MySQL's own comment on `decimal2bin`.
    #[test]
    fn the_example_of_the_server_s_source() {
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(14, 4, &positive), "1234567890.1234");
        let negative = positive.map(|byte: u8| !byte);
        assert_eq!(text(14, 4, &negative), "-1234567890.1234");
    }

    #[test]
    fn zeros() {
        assert_eq!(text(5, 0, &[0x80, 0, 0]), "0");
        assert_eq!(text(4, 4, &[0x80, 0]), "0.0000");
        assert_eq!(text(4, 4, &[0x7f, 0xfe]), "-0.0001");
    }

    #[test]
    fn too_large_a_group_is_refused() {
        let shape = DecimalShape::new(2, 0).unwrap();
        assert!(
            shape
                .read(&mut Cursor::new(&[0x80 | 100]), &mut Vec::new())
                .is_err()
        );
        assert!(DecimalShape::new(3, 4).is_err());
    }
}
