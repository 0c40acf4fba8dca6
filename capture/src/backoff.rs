//! How long to wait before the source is tried again: pure, told the time and the dice.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(5);

/// Waits that double from 200 ms to 5 s, each shortened at random by up to half so that many captures don't knock at
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next wait. `dice` is a fair random number.
    pub(crate) fn wait(&mut self, dice: u32) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LAST);
        let half = full / 2;
        half + half.mul_f64(f64::from(dice) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn grows_to_a_bound_and_stays_there() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.wait(u32::MAX)).collect();
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[11], LAST);
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_half_and_whole(dice in proptest::collection::vec(any::<u32>(), 1..40)) {
            let mut backoff = Backoff::default();
            for dice in dice {
                let full = backoff.next;
                let wait = backoff.wait(dice);
                prop_assert!(wait >= full / 2 && wait <= full && wait <= LAST);
            }
        }
    }
}
