//! What the log may use and how often it syncs.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// How a log is kept. Every field but `path` has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The log's directory; created if missing, used by one process at a time.
    pub path: PathBuf,
    /// What the directory may hold on disk. When it is full, capture pauses until targets have applied and the log was
    /// trimmed. Default 20 GiB, at least 64 MiB.
    #[serde(default = "default_quota")]
    pub quota: ByteSize,
    /// For how long transactions that every target has applied are kept, for whoever wants to look at them, as long as the
    /// directory takes no more than half of its quota. Who trims acts on it, not the log itself. Default 0.
    #[serde(default, with = "humantime_serde")]
    pub keep: Duration,
    /// How old a transaction in the log may become. Older ones go as soon as every target has applied them; while one of them is
    /// not applied, capture pauses. Who trims acts on it. Default: no limit. At least 1 s.
    #[serde(default, with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// From one sync of the write-ahead log to the next, while less than `sync_bytes` is waiting and nobody asks: so long an append waits
    /// for company at most. A source that waits for the log (`semi_sync`) asks each time. Default 8 ms, at most 1 s, 0 to sync after every
    /// append.
    #[serde(default = "default_sync_interval", with = "humantime_serde")]
    pub sync_interval: Duration,
    /// This much appended and not yet synced starts a sync at once; sixteen times as much makes the appender wait.
    /// Default 1 MiB, 4 KiB to 16 MiB.
    #[serde(default = "default_sync_bytes")]
    pub sync_bytes: ByteSize,
    /// RocksDB's block cache, index blocks included. Default 32 MiB, at least 1 MiB.
    #[serde(default = "default_cache")]
    pub cache: ByteSize,
    /// Size of one in-memory table of RocksDB, of which three may exist at a time; the write-ahead log is bounded by four of
    /// them. Default 16 MiB, 1 MiB to 1 GiB; a sixteenth of the quota if that is less.
    #[serde(default = "default_write_buffer")]
    pub write_buffer: ByteSize,
    /// Recent records kept in memory for readers near the end of the log. Default 16 MiB.
    #[serde(default = "default_tail")]
    pub tail: ByteSize,
}

fn default_quota() -> ByteSize {
    ByteSize::gib(20)
}

fn default_sync_interval() -> Duration {
    Duration::from_millis(8)
}

fn default_sync_bytes() -> ByteSize {
    ByteSize::mib(1)
}

fn default_cache() -> ByteSize {
    ByteSize::mib(32)
}

fn default_write_buffer() -> ByteSize {
    ByteSize::mib(16)
}

fn default_tail() -> ByteSize {
    ByteSize::mib(16)
}

impl Config {
    /// A log in `path`, everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            quota: default_quota(),
            keep: Duration::ZERO,
            max_age: None,
            sync_interval: default_sync_interval(),
            sync_bytes: default_sync_bytes(),
            cache: default_cache(),
            write_buffer: default_write_buffer(),
            tail: default_tail(),
        }
    }

    /// Bytes of one in-memory table: as configured, but never more than a sixteenth of the quota.
    pub(crate) fn memory_table(&self) -> u64 {
        self.write_buffer.0.min(self.quota.0 / 16).max(1 << 20)
    }

    /// What is out of bounds, as a sentence; [`Log::open`](crate::Log::open) asks too.
    pub fn validate(&self) -> Result<(), crate::Error> {
        let mib = |n: u64| n << 20;
        let complaint = if self.path.as_os_str().is_empty() {
            Some("path is empty: name a directory".to_owned())
        } else if self.quota.0 < mib(64) {
            Some(format!("quota is {}: give it at least 64 MiB", self.quota))
        } else if self.max_age.is_some_and(|age| age < Duration::from_secs(1)) {
            Some(format!(
                "max_age is {:?}: at least 1s",
                self.max_age.unwrap_or_default()
            ))
        } else if self.max_age.is_some_and(|age| age < self.keep) {
            Some(format!(
                "keep is {:?}, but nothing is kept for longer than max_age, which is {:?}",
                self.keep,
                self.max_age.unwrap_or_default()
            ))
        } else if self.sync_interval > Duration::from_secs(1) {
            Some(format!("sync_interval is {:?}: at most 1s", self.sync_interval))
        } else if !(4096..=mib(16)).contains(&self.sync_bytes.0) {
            Some(format!("sync_bytes is {}: 4 KiB to 16 MiB", self.sync_bytes))
        } else if self.cache.0 < mib(1) {
            Some(format!("cache is {}: give it at least 1 MiB", self.cache))
        } else if !(mib(1)..=mib(1024)).contains(&self.write_buffer.0) {
            Some(format!("write_buffer is {}: 1 MiB to 1 GiB", self.write_buffer))
        } else {
            None
        };
        complaint.map_or(Ok(()), |what| Err(crate::Error::Config { what }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_bounds() {
        Config::new("log").validate().unwrap();
    }

    #[test]
    fn out_of_bounds_says_which_field() {
        let mut config = Config::new("log");
        config.quota = ByteSize::kib(3);
        assert!(config.validate().unwrap_err().to_string().contains("quota"));
        assert!(
            Config::new("")
                .validate()
                .unwrap_err()
                .to_string()
                .contains("path")
        );
    }
}
