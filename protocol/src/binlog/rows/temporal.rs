//! Dates and times as rows hold them, in the form before and since MySQL 5.6.

use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::{Cursor, Truncated};
use crate::value::{Date, Time, TimeOfDay, Value};

/// How many bytes a fraction of so many digits takes, and by what its number is multiplied to get microseconds.
fn fraction_form(digits: u8) -> (u8, u32) {
    match digits {
        0 => (0, 0),
        1 | 2 => (1, 10_000),
        3 | 4 => (2, 100),
        _ => (3, 1),
    }
}

/// Takes a big-endian number of `width` bytes, at most 8.
fn big_endian(cursor: &mut Cursor<'_>, width: usize) -> Result<u64, Truncated> {
    let bytes = cursor.bytes(width)?;
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Takes the lowest `bits` bits off a number.
fn take(value: &mut u64, bits: u32) -> u64 {
    let low = *value & ((1 << bits) - 1);
    *value >>= bits;
    low
}

/// A part that the server keeps within `most`.
fn part<T: TryFrom<u64>>(value: u64, most: u64, what: &'static str) -> Result<T, Error> {
    match T::try_from(value) {
        Ok(part) if value <= most => Ok(part),
        _ => Err(Error::malformed(what, format!("a part of it is {value}"))),
    }
}

fn date(year: u64, month: u64, day: u64, what: &'static str) -> Result<Date, Error> {
    Ok(Date {
        year: part(year, 9999, what)?,
        month: part(month, 12, what)?,
        day: part(day, 31, what)?,
    })
}

fn time_of_day(
    hour: u64,
    minute: u64,
    second: u64,
    micros: u64,
    what: &'static str,
) -> Result<TimeOfDay, Error> {
    Ok(TimeOfDay {
        hour: part(hour, 23, what)?,
        minute: part(minute, 59, what)?,
        second: part(second, 59, what)?,
        micros: part(micros, 999_999, what)?,
    })
}

/// A signed span from its magnitude.
fn time(
    negative: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
    micros: u64,
    what: &'static str,
) -> Result<Time, Error> {
    Ok(Time {
        negative,
        hours: part(hours, 838, what)?,
        minutes: part(minutes, 59, what)?,
        seconds: part(seconds, 59, what)?,
        micros: part(micros, 999_999, what)?,
    })
}

/// Splits the bits that all packed forms share: year and month (month counts to 13), day, hour, minute, second.
fn date_time(mut bits: u64, micros: u64, what: &'static str) -> Result<(Date, TimeOfDay), Error> {
    let (second, minute, hour) = (take(&mut bits, 6), take(&mut bits, 6), take(&mut bits, 5));
    let (day, months) = (take(&mut bits, 5), bits);
    Ok((
        date(months / 13, months % 13, day, what)?,
        time_of_day(hour, minute, second, micros, what)?,
    ))
}

/// DATE: three bytes, day, month and year in 5, 4 and 15 bits.
pub(super) fn read_date(cursor: &mut Cursor<'_>) -> Result<Value<'static>, Error> {
    const WHAT: &str = "DATE value";
    let mut bits = u64::from(cursor.u24().within(WHAT)?);
    let (day, month) = (take(&mut bits, 5), take(&mut bits, 4));
    date(bits, month, day, WHAT).map(Value::Date)
}

/// TIME since 5.6: hours, minutes and seconds in 10, 6, 6 bits, then the fraction; the whole is one big-endian number, biased so that
/// bytes compare like times. Negative times are negative numbers, fraction included.
pub(super) fn read_time(cursor: &mut Cursor<'_>, digits: u8) -> Result<Value<'static>, Error> {
    const WHAT: &str = "TIME value";
    let (width, factor) = fraction_form(digits);
    let fraction_bits = u32::from(width) * 8;
    let bias = 1_u64 << (fraction_bits + 23);
    let stored = big_endian(cursor, 3 + usize::from(width)).within(WHAT)?;
    let mut bits = stored.abs_diff(bias);
    let fraction = take(&mut bits, fraction_bits);
    let (seconds, minutes) = (take(&mut bits, 6), take(&mut bits, 6));
    time(
        stored < bias,
        bits,
        minutes,
        seconds,
        fraction * u64::from(factor),
        WHAT,
    )
    .map(Value::Time)
}

/// DATETIME since 5.6: five biased bytes, then the fraction.
pub(super) fn read_datetime(cursor: &mut Cursor<'_>, digits: u8) -> Result<Value<'static>, Error> {
    const WHAT: &str = "DATETIME value";
    const BIAS: u64 = 1 << 39;
    let (width, factor) = fraction_form(digits);
    let stored = cursor.u40_be().within(WHAT)?;
    let fraction = big_endian(cursor, usize::from(width)).within(WHAT)?;
    let bits = stored
        .checked_sub(BIAS)
        .ok_or_else(|| Error::malformed(WHAT, "it is negative"))?;
    let (date, time) = date_time(bits, fraction * u64::from(factor), WHAT)?;
    Ok(Value::DateTime(date, time))
}

/// TIMESTAMP since 5.6: seconds since the epoch, unsigned, big-endian, then the fraction.
pub(super) fn read_timestamp(cursor: &mut Cursor<'_>, digits: u8) -> Result<Value<'static>, Error> {
    const WHAT: &str = "TIMESTAMP value";
    let (width, factor) = fraction_form(digits);
    let seconds = cursor.u32_be().within(WHAT)?;
    let fraction = big_endian(cursor, usize::from(width)).within(WHAT)?;
    timestamp(seconds, fraction * u64::from(factor), WHAT)
}

/// TIMESTAMP before 5.6: seconds since the epoch, little-endian.
pub(super) fn read_old_timestamp(cursor: &mut Cursor<'_>) -> Result<Value<'static>, Error> {
    const WHAT: &str = "TIMESTAMP value";
    timestamp(cursor.u32().within(WHAT)?, 0, WHAT)
}

/// TIME before 5.6: a signed number of three bytes, hhhmmss in decimal.
pub(super) fn read_old_time(cursor: &mut Cursor<'_>) -> Result<Value<'static>, Error> {
    const WHAT: &str = "TIME value";
    const SIGN: u32 = 1 << 23;
    let stored = cursor.u24().within(WHAT)?;
    let negative = stored & SIGN != 0;
    let number = u64::from(if negative { (SIGN << 1) - stored } else { stored });
    time(
        negative,
        number / 10_000,
        number / 100 % 100,
        number % 100,
        0,
        WHAT,
    )
    .map(Value::Time)
}

/// DATETIME before 5.6: eight bytes, yyyymmddhhmmss in decimal.
pub(super) fn read_old_datetime(cursor: &mut Cursor<'_>) -> Result<Value<'static>, Error> {
    const WHAT: &str = "DATETIME value";
    let number = cursor.u64().within(WHAT)?;
    let (day, clock) = (number / 1_000_000, number % 1_000_000);
    Ok(Value::DateTime(
        date(day / 10_000, day / 100 % 100, day % 100, WHAT)?,
        time_of_day(clock / 10_000, clock / 100 % 100, clock % 100, 0, WHAT)?,
    ))
}

/// Seconds since the epoch as date and time in UTC; 0 stands for the zero date.
fn timestamp(seconds: u32, micros: u64, what: &'static str) -> Result<Value<'static>, Error> {
    if seconds == 0 {
        return Ok(Value::DateTime(
            Date::default(),
            TimeOfDay {
                micros: part(micros, 999_999, what)?,
                ..TimeOfDay::default()
            },
        ));
    }
    let (days, clock) = (seconds / 86_400, u64::from(seconds % 86_400));
    // Civil from days, with years that begin in March: after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = u64::from(days) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year_of_era + next_year;
    let time = time_of_day(clock / 3_600, clock / 60 % 60, clock % 60, micros, what)?;
    Ok(Value::DateTime(date(year, month, day, what)?, time))
}

/// The packed form in which JSON holds dates and times: the bits of DATETIME or TIME, then 24 bits of microseconds.
pub(in crate::binlog) mod packed {
    use super::{Date, Error, Time, TimeOfDay, date_time, take, time};

    /// DATETIME and DATE.
    pub(in crate::binlog) fn datetime(packed: i64) -> Result<(Date, TimeOfDay), Error> {
        const WHAT: &str = "DATETIME in a JSON document";
        let mut bits = u64::try_from(packed).map_err(|_negative| Error::malformed(WHAT, "it is negative"))?;
        let micros = take(&mut bits, 24);
        date_time(bits, micros, WHAT)
    }

    /// TIME.
    pub(in crate::binlog) fn span(packed: i64) -> Result<Time, Error> {
        let mut bits = packed.unsigned_abs();
        let (micros, seconds, minutes) = (take(&mut bits, 24), take(&mut bits, 6), take(&mut bits, 6));
        time(
            packed < 0,
            bits,
            minutes,
            seconds,
            micros,
            "TIME in a JSON document",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8, micros: u32) -> Value<'static> {
        Value::DateTime(
            Date { year, month, day },
            TimeOfDay {
                hour,
                minute,
                second,
                micros,
            },
        )
    }

    #[test]
    fn timestamps_from_one_to_the_last() {
        let of = |seconds: u32| timestamp(seconds, 0, "test").unwrap();
        assert_eq!(of(0), at(0, 0, 0, 0, 0, 0, 0));
        assert_eq!(of(1), at(1970, 1, 1, 0, 0, 1, 0));
        assert_eq!(of(951_782_400), at(2000, 2, 29, 0, 0, 0, 0));
        assert_eq!(of(0x7fff_ffff), at(2038, 1, 19, 3, 14, 7, 0));
        assert_eq!(of(0x8000_0000), at(2038, 1, 19, 3, 14, 8, 0));
        assert_eq!(of(u32::MAX), at(2106, 2, 7, 6, 28, 15, 0));
    }

    /// The example of MySQL's own comment on `my_time_packed_to_binary`, and its neighbours.
    #[test]
    fn negative_times_with_fractions() {
        let of = |bytes: &[u8], digits| read_time(&mut Cursor::new(bytes), digits).unwrap();
        let span = |negative, seconds, micros| {
            Value::Time(Time {
                negative,
                hours: 0,
                minutes: 0,
                seconds,
                micros,
            })
        };
        assert_eq!(of(&[0x80, 0, 1, 0], 2), span(false, 1, 0));
        assert_eq!(of(&[0x80, 0, 0, 1], 2), span(false, 0, 10_000));
        assert_eq!(of(&[0x7f, 0xff, 0xff, 0xff], 2), span(true, 0, 10_000));
        assert_eq!(of(&[0x7f, 0xff, 0xff, 0], 2), span(true, 1, 0));
        assert_eq!(of(&[0x7f, 0xff, 0xfe, 0xff], 2), span(true, 1, 10_000));
        assert_eq!(of(&[0x7f, 0xff, 0xfe, 0xf6], 2), span(true, 1, 100_000));
    }

    #[test]
    fn before_mysql_5_6() {
        let date_time = 20_121_231_235_959_u64.to_le_bytes();
        assert_eq!(
            read_old_datetime(&mut Cursor::new(&date_time)).unwrap(),
            at(2012, 12, 31, 23, 59, 59, 0)
        );
        let time = read_old_time(&mut Cursor::new(
            &(0x0100_0000_u32 - 8_385_959).to_le_bytes()[..3],
        ))
        .unwrap();
        assert_eq!(
            time,
            Value::Time(Time {
                negative: true,
                hours: 838,
                minutes: 59,
                seconds: 59,
                micros: 0
            })
        );
        assert_eq!(
            read_old_timestamp(&mut Cursor::new(&[1, 0, 0, 0])).unwrap(),
            at(1970, 1, 1, 0, 0, 1, 0)
        );
    }
}
