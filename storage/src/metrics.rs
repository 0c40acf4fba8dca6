//! What the log measures of itself, through the `metrics` facade: install a recorder before opening the log.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles, looked up once.
#[derive(Clone)]
pub(crate) struct Metrics {
    appended_bytes: Counter,
    transactions: Counter,
    stalls: Counter,
    sync_seconds: Histogram,
    durable_offset: Gauge,
    bytes: Gauge,
    paused: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            appended_bytes: counter!("outrigger_log_appended_bytes_total"),
            transactions: counter!("outrigger_log_transactions_total"),
            stalls: counter!("outrigger_log_write_stalls_total"),
            sync_seconds: histogram!("outrigger_log_sync_seconds"),
            durable_offset: gauge!("outrigger_log_durable_offset"),
            bytes: gauge!("outrigger_log_bytes"),
            paused: gauge!("outrigger_log_paused"),
        }
    }

    pub(crate) fn appended(&self, bytes: u64, transactions: usize) {
        self.appended_bytes.increment(bytes);
        self.transactions
            .increment(u64::try_from(transactions).unwrap_or(u64::MAX));
    }

    pub(crate) fn stalled(&self) {
        self.stalls.increment(1);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; offsets stay below 2^53 for centuries"
    )]
    pub(crate) fn synced(&self, took: Duration, durable: u64) {
        self.sync_seconds.record(took.as_secs_f64());
        self.durable_offset.set(durable as f64);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; a directory stays below 2^53 bytes"
    )]
    pub(crate) fn measured(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }

    pub(crate) fn paused(&self, paused: bool) {
        self.paused.set(if paused { 1.0 } else { 0.0 });
    }
}
