//! Writing numbers as JSON text, fast: most documents are full of them.

use std::io::Write;

/// Appends a number in decimal digits.
#[inline]
pub(super) fn put_integer(mut value: u64, text: &mut Vec<u8>) {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
        5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    let mut digits = [0; 20];
    let mut start = digits.len();
    while start == digits.len() || value > 0 {
        let pair = usize::try_from(value % 100).unwrap_or(0) * 2;
        value /= 100;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    start += usize::from(digits[start] == b'0');
    text.extend_from_slice(&digits[start..]);
}

/// Appends a finite double: the shortest digits that read back the same, always with a point or an exponent.
#[inline]
pub(super) fn put_double(value: f64, text: &mut Vec<u8>) {
    if !put_short_double(value, text) {
        // Rust's own form is that too. Writing to memory does not fail.
        let _written = write!(text, "{value:?}");
    }
}

/// Appends one digit.
fn put_digit(value: u64, text: &mut Vec<u8>) {
    text.push(b'0' + u8::try_from(value).unwrap_or(0));
}

/// Appends a double of at most four digits after the point and fifteen in all; false if it is another. Decimals that short are all
/// different doubles, so the first that is equal has the shortest digits; and the division is exact but for one correct rounding, as
/// reading the digits is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is whole, from zero to 10^15"
)]
fn put_short_double(value: f64, text: &mut Vec<u8>) -> bool {
    const MOST: f64 = 1e15;
    let magnitude = value.abs();
    for (places, power) in [(1_u8, 10.0), (2, 100.0), (3, 1e3), (4, 1e4)] {
        let scaled = (magnitude * power).round();
        if scaled >= MOST {
            return false;
        }
        if scaled / power == magnitude {
            if value.is_sign_negative() {
                text.push(b'-');
            }
            let power = 10_u64.pow(u32::from(places));
            let digits = scaled as u64;
            put_integer(digits / power, text);
            text.push(b'.');
            let mut fraction = digits % power;
            let mut power = power / 10;
            while power > 0 {
                put_digit(fraction / power, text);
                fraction %= power;
                power /= 10;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(value: f64) -> String {
        let mut text = Vec::new();
        put_double(value, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn doubles_of_every_kind() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (9.99, "9.99"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (246.8, "246.8"),
            (1e14, "100000000000000.0"),
            (99_999_999_999_999.9, "99999999999999.9"),
            (1e16, "1e16"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
        ];
        for (value, text) in cases {
            assert_eq!(double(value), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

        #[test]
        fn integers(value: u64, shift in 0_u32..64) {
            let mut text = Vec::new();
            put_integer(value >> shift, &mut text);
            prop_assert_eq!(String::from_utf8(text).unwrap(), (value >> shift).to_string());
        }

        #[test]
        fn doubles_as_rust_prints_them(bits: u64, whole in -10_000_000_000_i64..10_000_000_000, places in 0_i32..7) {
            for value in [f64::from_bits(bits), whole as f64 / 10_f64.powi(places), whole as f64 * 1234.0] {
                if value.is_finite() {
                    prop_assert_eq!(double(value), format!("{value:?}"));
                }
            }
        }
    }
}
