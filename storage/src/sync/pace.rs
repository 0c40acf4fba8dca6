//! When a sync is due, and whether what comes in goes to the write-ahead log or past it. Pure: it is told the time.

use std::time::{Duration, Instant};

use crate::Config;

/// As much as a memory table holds within this time is a rush: writes go past the write-ahead log. Less than that in twice the
/// time ends it.
const RUSH: Duration = Duration::from_millis(500);

/// Between two syncs past the write-ahead log: each writes a table.
const UNLOGGED_INTERVAL: Duration = Duration::from_millis(100);

/// What a sync is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Everything as before.
    None,
    /// Writes go past the write-ahead log from here on.
    Unlog,
    /// Writes go to the write-ahead log again.
    Relog,
}

/// The rules, and what they depend on.
#[derive(Debug)]
pub(super) struct Pace {
    sync_interval: Duration,
    sync_bytes: u64,
    write_buffer: u64,
    unlogged: bool,
    /// Bytes synced since a moment.
    counted: Option<(Instant, u64)>,
}

impl Pace {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            sync_interval: config.sync_interval,
            sync_bytes: config.sync_bytes.0,
            write_buffer: config.memory_table(),
            unlogged: false,
            counted: None,
        }
    }

    /// From one sync to the next while less than [`enough`](Self::enough) is waiting.
    pub(super) fn interval(&self) -> Duration {
        if self.unlogged {
            UNLOGGED_INTERVAL
        } else {
            self.sync_interval
        }
    }

    /// True while writes go past the write-ahead log.
    pub(super) fn is_rush(&self) -> bool {
        self.unlogged
    }

    /// A sync begins at once when this much is waiting.
    pub(super) fn enough(&self) -> u64 {
        if self.unlogged {
            // RocksDB begins a new table by itself when one is full: not to be waited for.
            self.write_buffer / 4 * 3
        } else {
            self.sync_bytes
        }
    }

    /// Appends wait when this much is waiting.
    pub(super) fn too_much(&self) -> u64 {
        if self.unlogged {
            2 * self.write_buffer
        } else {
            self.sync_bytes.saturating_mul(16)
        }
    }

    /// How long nothing may come in before a sync of nothing is due, which ends a rush; `None` outside of one.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let since = self.counted.map_or(now, |(since, _)| since);
        self.unlogged
            .then(|| (2 * RUSH).saturating_sub(now.saturating_duration_since(since)))
    }

    /// A sync of `bytes` ended.
    pub(super) fn synced(&mut self, bytes: u64, now: Instant) -> Change {
        let window = if self.unlogged { 2 * RUSH } else { RUSH };
        let (since, counted) = self.counted.get_or_insert((now, 0));
        *counted += bytes;
        let (rush, over) = (
            *counted >= self.write_buffer,
            now.saturating_duration_since(*since) >= window,
        );
        if !rush && !over {
            return Change::None;
        }
        self.counted = Some((now, 0));
        match (self.unlogged, rush) {
            (false, true) => {
                self.unlogged = true;
                Change::Unlog
            }
            (true, false) => {
                self.unlogged = false;
                Change::Relog
            }
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_rush_goes_past_the_log_until_it_ends() {
        let config = Config::new("log");
        let mut pace = Pace::new(&config);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!((pace.enough(), pace.too_much()), (MIB, 16 * MIB));
        for step in 0..15 {
            assert_eq!(pace.synced(MIB, after(step * 10)), Change::None);
        }
        assert_eq!(pace.synced(MIB, after(150)), Change::Unlog);
        assert_eq!((pace.enough(), pace.too_much()), (12 * MIB, 32 * MIB));
        assert!(pace.interval() > config.sync_interval);
        for step in 1..=8 {
            let now = after(150 + step * 100);
            assert_eq!(pace.synced(2 * MIB, now), Change::None, "step {step}");
        }
        for step in 1..10 {
            let now = after(950 + step * 100);
            assert_eq!(pace.synced(MIB, now), Change::None, "step {step}");
        }
        assert_eq!(pace.synced(MIB, after(1950)), Change::Relog);
        assert_eq!((pace.enough(), pace.interval()), (MIB, config.sync_interval));
    }

    #[test]
    fn silence_ends_a_rush() {
        let mut pace = Pace::new(&Config::new("log"));
        let start = Instant::now();
        assert_eq!(pace.rest(start), None);
        assert_eq!(pace.synced(64 * MIB, start), Change::Unlog);
        let mut now = start;
        let change = loop {
            let wait = pace.rest(now).unwrap();
            if wait.is_zero() {
                break pace.synced(0, now);
            }
            now += wait;
        };
        assert_eq!((change, now), (Change::Relog, start + 2 * RUSH));
        assert_eq!(pace.rest(now), None);
    }

    #[test]
    fn a_steady_flow_is_no_rush() {
        let mut pace = Pace::new(&Config::new("log"));
        let start = Instant::now();
        for step in 0..1000 {
            let now = start + Duration::from_millis(step * 5);
            assert_eq!(pace.synced(MIB / 8, now), Change::None, "step {step}");
        }
    }

    #[test]
    fn a_rush_after_a_long_silence_is_one() {
        let mut pace = Pace::new(&Config::new("log"));
        let start = Instant::now();
        assert_eq!(pace.synced(1, start), Change::None);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.synced(8 * MIB, later), Change::None);
        assert_eq!(pace.synced(16 * MIB, later), Change::Unlog);
    }

    #[test]
    fn a_small_quota_has_small_tables() {
        let mut config = Config::new("log");
        config.quota = ByteSize::mib(64);
        let mut pace = Pace::new(&config);
        assert_eq!(pace.synced(4 * MIB, Instant::now()), Change::Unlog);
    }
}
