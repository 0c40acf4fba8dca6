//! The numbers that a capture publishes, by the `metrics` crate.

use metrics::{Counter, Gauge, counter, gauge};

/// A capture's handles.
pub(crate) struct Metrics {
    /// `outrigger_capture_transactions_total`: transactions appended to the log.
    pub(crate) transactions: Counter,
    /// `outrigger_capture_passed_total`: transactions left out, because nothing in them is selected.
    pub(crate) passed: Counter,
    /// `outrigger_capture_bytes_total`: bytes of events appended to the log.
    pub(crate) bytes: Counter,
    /// `outrigger_capture_connects_total`: replication connections made.
    pub(crate) connects: Counter,
    /// `outrigger_capture_streaming`: 1 while the source's binlog is being read.
    pub(crate) streaming: Gauge,
    /// `outrigger_capture_commit_timestamp_seconds`: when the source committed the newest transaction appended.
    pub(crate) commit_timestamp: Gauge,
}

impl Metrics {
    /// Registers them with the installed recorder.
    pub(crate) fn new() -> Self {
        Self {
            transactions: counter!("outrigger_capture_transactions_total"),
            passed: counter!("outrigger_capture_passed_total"),
            bytes: counter!("outrigger_capture_bytes_total"),
            connects: counter!("outrigger_capture_connects_total"),
            streaming: gauge!("outrigger_capture_streaming"),
            commit_timestamp: gauge!("outrigger_capture_commit_timestamp_seconds"),
        }
    }
}
