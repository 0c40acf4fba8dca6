//! Errors that clients got, by their numbers.
//!
//! Statements can raise any number (`SIGNAL … MYSQL_ERRNO`), so only the first [`SLOTS`] of them are told apart: a client can't make the
//! list longer than that.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many numbers are told apart, whoever said them.
const SLOTS: usize = 128;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The source.
    Source,
    /// The proxy itself.
    Proxy,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Proxy => "proxy",
        }
    }
}

/// Counts of errors.
#[derive(Debug)]
pub(super) struct Errors {
    slots: [Slot; SLOTS],
    /// Those that found no slot.
    others: AtomicU64,
}

/// Taken once, by the first of its kind, and never given back.
#[derive(Debug, Default)]
struct Slot {
    /// 0 while it is free, else origin and number.
    key: AtomicU32,
    count: AtomicU64,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| Slot::default()),
            others: AtomicU64::new(0),
        }
    }
}

impl Errors {
    pub(super) fn count(&self, origin: Origin, code: u16) {
        let key = (1 + origin as u32) << 16 | u32::from(code);
        let first = usize::from(code) % SLOTS;
        for slot in self.slots.iter().cycle().skip(first).take(SLOTS) {
            let found = match slot.key.load(Ordering::Relaxed) {
                0 => match slot
                    .key
                    .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed)
                {
                    Ok(_free) => key,
                    Err(taken) => taken,
                },
                taken => taken,
            };
            if found == key {
                slot.count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them together.
    pub(super) fn total(&self) -> u64 {
        let told_apart: u64 = self
            .slots
            .iter()
            .map(|slot| slot.count.load(Ordering::Relaxed))
            .sum();
        told_apart + self.others.load(Ordering::Relaxed)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(
            "# HELP outrigger_proxy_errors_total Errors that clients got, by number and by who said them\n",
        );
        out.push_str("# TYPE outrigger_proxy_errors_total counter\n");
        let mut found: Vec<(u16, &str, u64)> = self
            .slots
            .iter()
            .filter_map(|slot| {
                let key = slot.key.load(Ordering::Relaxed);
                let origin = [Origin::Source, Origin::Proxy]
                    .into_iter()
                    .find(|origin| (key >> 16).checked_sub(1) == Some(*origin as u32))?;
                let code = u16::try_from(key & 0xffff).ok()?;
                Some((code, origin.name(), slot.count.load(Ordering::Relaxed)))
            })
            .collect();
        found.sort_unstable();
        let mut line = |code: &str, origin: &str, count: u64| {
            // Writing to a string never fails.
            writeln!(
                out,
                "outrigger_proxy_errors_total{{code=\"{code}\",from=\"{origin}\"}} {count}"
            )
            .ok();
        };
        for (code, origin, count) in found {
            line(&code.to_string(), origin, count);
        }
        match self.others.load(Ordering::Relaxed) {
            0 => {}
            others => line("other", "any", others),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_apart_up_to_a_bound() {
        let errors = Errors::default();
        errors.count(Origin::Source, 1062);
        errors.count(Origin::Proxy, 1235);
        errors.count(Origin::Source, 1235);
        errors.count(Origin::Source, 1062);
        for code in 5000..5300 {
            errors.count(Origin::Source, code);
        }
        errors.count(Origin::Source, 1062);
        let mut text = String::new();
        errors.write(&mut text);
        for line in [
            "outrigger_proxy_errors_total{code=\"1062\",from=\"source\"} 3",
            "outrigger_proxy_errors_total{code=\"1235\",from=\"proxy\"} 1",
            "outrigger_proxy_errors_total{code=\"1235\",from=\"source\"} 1",
            "outrigger_proxy_errors_total{code=\"5000\",from=\"source\"} 1",
            "outrigger_proxy_errors_total{code=\"other\",from=\"any\"} 175",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(text.lines().count(), 2 + SLOTS + 1);
        assert_eq!(errors.total(), 305);
    }
}
