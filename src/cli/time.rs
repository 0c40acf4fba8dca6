//! Moments as operators write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC as microseconds since 1970: `2026-11-22T12:00:00Z`, `2026-11-22 12:00:00.5`, or seconds since 1970.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("{text:?} is no time: write it in UTC like 2026-11-22T12:00:00Z, or as seconds since 1970")
    };
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1_000_000).ok_or_else(wrong);
    }
    let moment = humantime::parse_rfc3339_weak(text).map_err(|_malformed| wrong())?;
    micros(moment).ok_or_else(wrong)
}

fn micros(moment: SystemTime) -> Option<u64> {
    let since = moment.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("2026-11-22T12:00:00Z"), Ok(1_795_348_800_000_000));
        assert_eq!(parse("2026-11-22 12:00:00.25"), Ok(1_795_348_800_250_000));
        assert_eq!(parse("1795348800"), Ok(1_795_348_800_000_000));
        for wrong in ["", "yesterday", "2026-11-22", "-1", "99999999999999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
