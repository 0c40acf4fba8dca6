//! How long commands take, by kind: histograms of fixed buckets, written as Prometheus reads them.
//!
//! A recorder of the `metrics` facade keeps every sample until somebody reads it. At tens of thousands of commands a second that is too
//! much: here a sample is two additions to counters, and the memory is what it was at the start.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrigger_protocol::command::CommandByte;

const NAME: &str = "outrigger_proxy_command_seconds";

/// Upper bounds of the buckets in microseconds, and as Prometheus shows them in seconds.
const BOUNDS: [(u64, &str); 19] = [
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
];

/// A histogram for every kind of command.
#[derive(Debug)]
pub(super) struct Latencies {
    kinds: [Histogram; CommandByte::ALL.len()],
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| Histogram::default()),
        }
    }
}

/// Each bucket has what is in none before it; the last one is beyond all bounds.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Latencies {
    /// A command of this kind took so long from its head to the end of its reply.
    pub(super) fn record(&self, kind: CommandByte, took: Duration) {
        if let Some(histogram) = self.kinds.get(usize::from(kind.byte())) {
            histogram.record(took);
        }
    }

    /// Commands of all kinds.
    pub(super) fn count(&self) -> u64 {
        let buckets = self.kinds.iter().flat_map(|histogram| &histogram.buckets);
        buckets.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The kinds that occurred.
    pub(super) fn write(&self, out: &mut String) {
        out.push_str("# HELP outrigger_proxy_command_seconds From the head of a command to the end of its reply, by kind\n");
        out.push_str("# TYPE outrigger_proxy_command_seconds histogram\n");
        for (kind, histogram) in CommandByte::ALL.iter().zip(&self.kinds) {
            histogram.write(kind.name(), out);
        }
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| bound * 1000 < nanoseconds);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn write(&self, kind: &str, out: &mut String) {
        let counts = self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        let mut below = 0;
        for (bound, count) in bounds.zip(counts) {
            below += count;
            line(
                out,
                "bucket",
                &format!("command=\"{kind}\",le=\"{bound}\""),
                below,
            );
        }
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        line(out, "sum", &format!("command=\"{kind}\""), sum);
        line(out, "count", &format!("command=\"{kind}\""), total);
    }
}

fn line(out: &mut String, part: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string never fails.
    writeln!(out, "{NAME}_{part}{{{labels}}} {value}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_below() {
        let latencies = Latencies::default();
        for microseconds in [1, 50, 51, 1_000, 61_000_000] {
            latencies.record(CommandByte::Query, Duration::from_micros(microseconds));
        }
        let mut text = String::new();
        latencies.write(&mut text);
        for line in [
            "# TYPE outrigger_proxy_command_seconds histogram",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"0.00005\"} 2",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"0.0001\"} 3",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"0.0005\"} 3",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"0.001\"} 4",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"60\"} 4",
            "outrigger_proxy_command_seconds_bucket{command=\"query\",le=\"+Inf\"} 5",
            "outrigger_proxy_command_seconds_sum{command=\"query\"} 61.001102",
            "outrigger_proxy_command_seconds_count{command=\"query\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("ping"), "{text}");
    }

    #[test]
    fn bounds_ascend_and_are_what_they_show() {
        assert!(BOUNDS.is_sorted());
        for (microseconds, text) in BOUNDS {
            let seconds: f64 = text.parse().expect("a number");
            assert_eq!(
                Duration::from_secs_f64(seconds),
                Duration::from_micros(microseconds)
            );
        }
    }
}
