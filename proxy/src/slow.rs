//! The slow log: a line for each statement that takes too long, with a digest of it, never its values.
//!
//! Whether a statement is slow is known at its end; so where the log is on, the beginning of each statement's text is kept until then, and
//! the digest of each statement that is prepared until it is closed. Where the log is off, nothing is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outrigger_protocol::sql::digest::digest;
use outrigger_protocol::sql::{SqlMode, modes, readings};

/// Of a statement's text, this much is looked at.
const KEPT: usize = 4096;
/// No digest is longer (as MySQL's `performance_schema_max_digest_length`).
const LONGEST: usize = 1024;
/// Lines in [`PERIOD`]: a source that stands still must not fill the disk of the log.
const LINES: u32 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// The beginning of a statement's text, and how it is read. Its memory is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    cut: bool,
    /// Absent where it is not known.
    mode: Option<SqlMode>,
    charset: &'static str,
}

impl Text {
    /// Keeps another text, of which `text` has come; there is `more` of it or not.
    pub(crate) fn keep(&mut self, text: &[u8], more: bool, mode: Option<SqlMode>, charset: &'static str) {
        let kept = text.get(..KEPT).unwrap_or(text);
        self.bytes.clear();
        self.bytes.extend_from_slice(kept);
        self.cut = more || kept.len() < text.len();
        (self.mode, self.charset) = (mode, charset);
    }

    pub(crate) fn digest(&self) -> String {
        let readings = readings(&self.bytes, self.charset);
        let mut digests = readings.iter().flat_map(|text| {
            let modes = modes(text, self.mode).into_iter();
            modes.map(|mode| digest(text, mode, self.cut, LONGEST))
        });
        let first = digests.next().unwrap_or_default();
        digests.fold(first, |all, next| common(all, &next))
    }
}

/// What two digests have in common from their beginning on: in either reading no value.
fn common(mut all: String, other: &str) -> String {
    let same = all
        .chars()
        .zip(other.chars())
        .take_while(|(left, right)| left == right);
    let end = same.map(|(same, _)| same.len_utf8()).sum();
    if end < all.len().max(other.len()) {
        all.truncate(end);
        all.push_str("...");
    }
    all
}

/// Lines that may still be written, for all sessions together.
#[derive(Debug)]
pub(crate) struct Allowance {
    state: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Allowance {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(Spent {
                since: Instant::now(),
                lines: 0,
                left_out: 0,
            }),
        }
    }

    /// Whether another line may be written, and how many were left out since the last one.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let mut spent = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(spent.since) >= PERIOD {
            (spent.since, spent.lines) = (now, 0);
        }
        if spent.lines >= LINES {
            spent.left_out += 1;
            return None;
        }
        spent.lines += 1;
        Some(std::mem::take(&mut spent.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_as_far_as_it_is_looked_at() {
        let mut text = Text::default();
        text.keep(b"SELECT 'secret'", false, Some(SqlMode::empty()), "utf8mb4");
        assert_eq!(text.digest(), "SELECT ?");
        text.keep(b"SELECT 'secr", true, Some(SqlMode::empty()), "utf8mb4");
        assert_eq!(text.digest(), "SELECT ...");
        let long = format!("SELECT '{}'", "secret".repeat(1000));
        text.keep(long.as_bytes(), false, Some(SqlMode::empty()), "utf8mb4");
        assert_eq!(text.digest(), "SELECT ...");
        // In SJIS the second byte of 表 is a backslash.
        let sjis = [b"SELECT '".as_slice(), &[0x95, 0x5c], b"', 'secret'"].concat();
        text.keep(&sjis, false, Some(SqlMode::empty()), "sjis");
        assert_eq!(text.digest(), "SELECT ?, ...");
    }

    /// Where the character set is not known, a string may end sooner or later.
    #[test]
    fn no_value_is_shown_in_whatever_character_set() {
        let sjis = [
            b"SELECT a, '".as_slice(),
            &[0x95, 0x5c],
            b"', secret, '",
            &[0x95, 0x5c],
            b"' FROM t",
        ]
        .concat();
        let utf8 = [b"SELECT a, '".as_slice(), &[0x95, 0x5c], b"', secret, 's'"].concat();
        let mut text = Text::default();
        for (bytes, charset, expected) in [
            (&sjis, "sjis", "SELECT a, ?, secret, ? FROM t"),
            (&sjis, "", "SELECT a, ?..."),
            (&utf8, "", "SELECT a, ?..."),
            (&"SELECT 'größe', 'x'".as_bytes().to_vec(), "", "SELECT ?, ..."),
        ] {
            text.keep(bytes, false, Some(SqlMode::empty()), charset);
            assert_eq!(text.digest(), expected, "{charset}");
        }
    }

    /// Nor where the mode is not.
    #[test]
    fn no_value_is_shown_in_whatever_mode() {
        let mut text = Text::default();
        for (sql, expected) in [
            (r"SELECT a, '\', secret, '\' FROM t", "SELECT a, ?..."),
            (r"SELECT 'it\'s', ' secret '", "SELECT ?..."),
            ("SELECT 'a', \"b\"", "SELECT ?, ..."),
        ] {
            text.keep(sql.as_bytes(), false, None, "utf8mb4");
            assert_eq!(text.digest(), expected, "{sql}");
        }
    }

    #[test]
    fn lines_are_left_out_and_counted() {
        let allowance = Allowance::new();
        let now = Instant::now();
        for _ in 0..LINES {
            assert_eq!(allowance.take(now), Some(0));
        }
        assert_eq!((allowance.take(now), allowance.take(now)), (None, None));
        assert_eq!(allowance.take(now + PERIOD), Some(2));
        assert_eq!(allowance.take(now + PERIOD), Some(0));
    }
}
