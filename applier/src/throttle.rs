//! How fast a task may be: rows and bytes per second, over replay and copy together; and how many lanes, while the target is
//! slow to commit.
//!
//! Whoever has something to send reserves time for it and waits until that time has come, so what is large is followed by a
//! long pause. On average the rate holds; nothing is saved up while there is nothing to do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::LimitsConfig;

/// The longest pause after one batch, whatever its size.
const LONGEST: u64 = 3600 * 1_000_000;

/// A task's rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    rows_per_second: u64,
    bytes_per_second: u64,
    /// When what was reserved is over.
    free_at: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        Self {
            rows_per_second: limits.rows_per_second,
            bytes_per_second: limits.bytes_per_second.0,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until rows and bytes may be sent.
    pub(crate) async fn wait(&self, rows: u64, bytes: u64) {
        let now = Instant::now();
        let at = self.reserve(now, rows, bytes);
        if at > now {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Reserves time from the moment that is returned.
    fn reserve(&self, now: Instant, rows: u64, bytes: u64) -> Instant {
        let cost = micros(rows, self.rows_per_second).max(micros(bytes, self.bytes_per_second));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.max(*free_at);
        *free_at = at + Duration::from_micros(cost);
        at
    }
}

/// How long an amount takes at a rate; at rate 0 no time.
fn micros(amount: u64, per_second: u64) -> u64 {
    let micros = (u128::from(amount) * 1_000_000).checked_div(u128::from(per_second));
    u64::try_from(micros.unwrap_or_default()).map_or(LONGEST, |micros| micros.min(LONGEST))
}

/// After a slow commit, how long it takes until another one can halve the lanes once more.
const SETTLE: Duration = Duration::from_secs(1);
/// For how long commits must be quick until there is one lane more.
const RECOVER: Duration = Duration::from_secs(5);

/// How many lanes may be in use: half as many after a slow commit, one more after some time without any.
#[derive(Debug)]
pub(crate) struct Lanes {
    most: usize,
    now: usize,
    /// A commit that takes longer is slow; zero: none is.
    max_latency: Duration,
    changed: Instant,
}

impl Lanes {
    pub(crate) fn new(most: usize, max_latency: Duration) -> Self {
        Self {
            most,
            now: most,
            max_latency,
            changed: Instant::now(),
        }
    }

    /// How many there may be.
    pub(crate) fn now(&self) -> usize {
        self.now
    }

    /// A commit took that long. True when the number has changed.
    pub(crate) fn committed(&mut self, latency: Duration, now: Instant) -> bool {
        if self.max_latency.is_zero() {
            return false;
        }
        let (before, since) = (self.now, now.saturating_duration_since(self.changed));
        if latency > self.max_latency {
            if self.now == self.most || since >= SETTLE {
                self.now = (self.now / 2).max(1);
                // Also where there is nothing left to take away: recovery begins anew.
                self.changed = now;
            }
        } else if self.now < self.most && since >= RECOVER {
            self.now += 1;
            self.changed = now;
        }
        self.now != before
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    fn throttle(rows: u64, bytes: u64) -> Throttle {
        Throttle::new(&LimitsConfig {
            rows_per_second: rows,
            bytes_per_second: ByteSize(bytes),
            max_latency: Duration::ZERO,
        })
    }

    #[test]
    fn the_rate_holds_on_average() {
        let throttle = throttle(100, 1000);
        let now = Instant::now() + Duration::from_secs(1);
        // The first waits for nobody, each other one for those before it; what takes longer counts.
        assert_eq!(throttle.reserve(now, 50, 100), now);
        assert_eq!(throttle.reserve(now, 1, 2000), now + Duration::from_millis(500));
        assert_eq!(throttle.reserve(now, 1, 1), now + Duration::from_millis(2500));
        // Time in which nothing was sent is not saved up.
        let later = now + Duration::from_secs(100);
        assert_eq!(throttle.reserve(later, 100, 0), later);
        assert_eq!(throttle.reserve(later, 100, 0), later + Duration::from_secs(1));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let throttle = throttle(0, 0);
        let now = Instant::now() + Duration::from_secs(1);
        for _ in 0..3 {
            assert_eq!(throttle.reserve(now, u64::MAX, u64::MAX), now);
        }
    }

    #[test]
    fn lanes_halve_at_once_and_come_back_slowly() {
        let (quick, slow) = (Duration::from_millis(1), Duration::from_millis(100));
        let mut lanes = Lanes::new(8, Duration::from_millis(50));
        let mut now = Instant::now();
        assert!(lanes.committed(slow, now) && lanes.now() == 4);
        // Commits that were on their way then tell nothing new.
        assert!(!lanes.committed(slow, now) && lanes.now() == 4);
        for wanted in [2, 1, 1] {
            now += SETTLE;
            lanes.committed(slow, now);
            assert_eq!(lanes.now(), wanted);
        }
        assert!(!lanes.committed(quick, now + SETTLE));
        for wanted in 2..=8 {
            now += RECOVER;
            assert!(lanes.committed(quick, now));
            assert_eq!(lanes.now(), wanted);
        }
        assert!(!lanes.committed(quick, now + RECOVER));
        let mut unbound = Lanes::new(8, Duration::ZERO);
        assert!(!unbound.committed(slow, now) && unbound.now() == 8);
    }
}
