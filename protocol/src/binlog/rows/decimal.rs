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
    /// The shape of DECIMAL(precision, scale), if there is one.
    pub(in crate::binlog) fn new(precision: u8, scale: u8) -> Result<Self, Error> {
        match precision.checked_sub(scale) {
            Some(whole) if (1..=65).contains(&precision) && scale <= 30 => Ok(Self { whole, scale }),
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

    /// Takes a value and writes it as the server prints it, with all digits after the point.
    pub(in crate::binlog) fn read(self, cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Error> {
        let bytes = cursor.bytes(self.size()).within(WHAT)?;
        // The highest bit is set for values from zero up; all bits of negative values are inverted.
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
        let mut groups = Groups {
            bytes,
            first: true,
            mask: if negative { 0xff } else { 0 },
        };
        let mut text = Vec::with_capacity(usize::from(self.whole) + usize::from(self.scale) + 3);
        if negative {
            text.push(b'-');
        }
        let start = text.len();
        groups.digits(self.whole % GROUP, &mut text)?;
        for _ in 0..self.whole / GROUP {
            groups.digits(GROUP, &mut text)?;
        }
        let zeros = text[start..].iter().take_while(|digit| **digit == b'0').count();
        text.drain(start..start + zeros);
        if text.len() == start {
            text.push(b'0');
        }
        if self.scale > 0 {
            text.push(b'.');
            for _ in 0..self.scale / GROUP {
                groups.digits(GROUP, &mut text)?;
            }
            groups.digits(self.scale % GROUP, &mut text)?;
        }
        Ok(text)
    }
}

/// The groups of digits that are still to be read.
struct Groups<'a> {
    bytes: &'a [u8],
    first: bool,
    mask: u8,
}

impl Groups<'_> {
    /// Appends the next group as `count` digits.
    fn digits(&mut self, count: u8, text: &mut Vec<u8>) -> Result<(), Error> {
        let size = usize::from(BYTES[usize::from(count)]);
        let (group, left) = self
            .bytes
            .split_at_checked(size)
            .ok_or(Error::Truncated { what: WHAT })?;
        self.bytes = left;
        let mut value: u32 = 0;
        for byte in group {
            let mut byte = byte ^ self.mask;
            if std::mem::take(&mut self.first) {
                byte ^= 0x80;
            }
            value = value << 8 | u32::from(byte);
        }
        let start = text.len();
        text.resize(start + usize::from(count), b'0');
        for place in text[start..].iter_mut().rev() {
            *place += u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
        if value != 0 {
            return Err(Error::malformed(
                WHAT,
                format!("a group holds more than {count} digits"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(precision: u8, scale: u8, bytes: &[u8]) -> String {
        let mut cursor = Cursor::new(bytes);
        let text = DecimalShape::new(precision, scale)
            .unwrap()
            .read(&mut cursor)
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
        assert!(shape.read(&mut Cursor::new(&[0x80 | 100])).is_err());
        assert!(DecimalShape::new(3, 4).is_err());
    }
}
