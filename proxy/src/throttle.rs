//! How often something that a stranger can cause at will is said in the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No more than one line in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// What may be said now and then.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// When it was said, and how often it was not since.
    last: Mutex<Option<(Instant, u64)>>,
}

impl Throttle {
    /// Whether it is to be said at `now`: then how often it was left unsaid before.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_mut() {
            Some((said, unsaid)) if now.saturating_duration_since(*said) < PAUSE => {
                *unsaid += 1;
                None
            }
            _ => Some(last.replace((now, 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_now_and_then_that_counts_the_rest() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.pass(start), Some(0));
        for second in 0..10 {
            assert_eq!(throttle.pass(start + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.pass(start + PAUSE), Some(10));
        assert_eq!(throttle.pass(start + PAUSE * 3), Some(0));
    }
}
