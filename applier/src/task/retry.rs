//! When to try again: backoff with jitter, inside a window that each side has for itself.

use std::time::{Duration, Instant};

use crate::error::Side;

/// The first pause; each failure doubles it.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again after `pause`; the side fails `since` and is tried `until`.
    Wait {
        pause: Duration,
        since: Instant,
        until: Instant,
    },
    /// The window is over.
    GiveUp,
}

/// The failures since the last success.
#[derive(Debug)]
pub(super) struct Retries {
    window: Duration,
    source: Option<(Instant, u32)>,
    target: Option<(Instant, u32)>,
}

impl Retries {
    /// No failure yet.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            source: None,
            target: None,
        }
    }

    /// Something was achieved: both windows begin anew with the next failure.
    pub(super) fn succeeded(&mut self) {
        self.source = None;
        self.target = None;
    }

    /// A side failed.
    pub(super) fn failed(&mut self, side: Side, now: Instant) -> Verdict {
        let failures = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        let (since, count) = failures.get_or_insert((now, 0));
        *count += 1;
        let until = *since + self.window;
        if now >= until {
            return Verdict::GiveUp;
        }
        let pause = FIRST.saturating_mul(1 << (*count - 1).min(10)).min(LONGEST);
        let pause = pause.mul_f64(rand::random_range(0.5..1.0));
        Verdict::Wait {
            pause,
            since: *since,
            until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_a_window_of_its_own() {
        let mut retries = Retries::new(Duration::from_secs(60));
        let start = Instant::now();
        assert!(matches!(
            retries.failed(Side::Source, start),
            Verdict::Wait { .. }
        ));
        let late = start + Duration::from_secs(59);
        assert!(matches!(retries.failed(Side::Target, late), Verdict::Wait { since, .. } if since == late));
        assert_eq!(
            retries.failed(Side::Source, start + Duration::from_secs(60)),
            Verdict::GiveUp
        );
        retries.succeeded();
        assert!(matches!(
            retries.failed(Side::Source, start + Duration::from_secs(61)),
            Verdict::Wait { .. }
        ));
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut retries = Retries::new(Duration::from_secs(3600));
        let now = Instant::now();
        for n in 0..40 {
            let Verdict::Wait { pause, .. } = retries.failed(Side::Target, now) else {
                panic!()
            };
            assert!(pause <= LONGEST && (n > 0 || pause <= FIRST), "{n} {pause:?}");
        }
    }
}
