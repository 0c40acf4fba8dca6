//! Rates from counters that only grow, over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back a rate looks.
const SPAN: Duration = Duration::from_secs(10);

/// Samples of one counter over the last ten seconds. Bounded: at most [`Window::CAPACITY`] samples are kept.
#[derive(Debug, Default)]
pub struct Window {
    samples: VecDeque<(Instant, u64)>,
}

impl Window {
    /// The most samples kept; a faster sampler looks back less far.
    pub const CAPACITY: usize = 64;

    /// Notes the counter's value at a moment. A counter that went back began anew, and so does the window.
    pub fn push(&mut self, now: Instant, count: u64) {
        if self.samples.back().is_some_and(|(_, last)| count < *last) {
            self.samples.clear();
        }
        // The oldest sample stays while it is needed to span the whole window.
        while self.samples.len() >= Self::CAPACITY
            || self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, count));
    }

    /// Counts per second between the oldest and the newest sample; 0 while there are fewer than two.
    pub fn per_second(&self) -> f64 {
        let (Some((first, low)), Some((last, high))) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        let seconds = last.saturating_duration_since(*first).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        crate::telemetry::metrics::as_gauge(high - low) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_looks_back_ten_seconds() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.per_second(), 0.0);
        for second in 0..60 {
            // 100 per second for half a minute, then nothing.
            window.push(start + Duration::from_secs(second), 100 * second.min(30));
            if second == 30 {
                assert!((window.per_second() - 100.0).abs() < 0.001);
            }
        }
        assert_eq!(window.per_second(), 0.0);
    }

    #[test]
    fn a_counter_that_begins_anew_does_not_go_negative() {
        let start = Instant::now();
        let mut window = Window::default();
        window.push(start, 1000);
        window.push(start + Duration::from_secs(1), 5);
        assert_eq!(window.per_second(), 0.0);
        window.push(start + Duration::from_secs(2), 10);
        assert!((window.per_second() - 5.0).abs() < 0.001);
    }
}
