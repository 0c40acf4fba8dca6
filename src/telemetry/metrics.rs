//! The recorder behind the crates' metrics, and their text for Prometheus.

use std::sync::Arc;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

/// Bounds of every histogram of seconds: a tenth of a millisecond to a minute.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// The installed recorder.
#[derive(Clone)]
pub struct Recorder {
    handle: Arc<PrometheusHandle>,
}

impl Recorder {
    /// Installs the process's recorder, once; before any crate makes its metrics.
    ///
    /// # Errors
    /// When a recorder is installed already.
    pub fn install() -> anyhow::Result<Self> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .install_recorder()?;
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Reads the process's own gauges and lets the recorder tidy up; to be called every few seconds.
    pub fn upkeep(&self) {
        if let Some(usage) = process::usage() {
            gauge!("process_resident_memory_bytes").set(as_gauge(usage.resident_bytes));
            gauge!("process_open_fds").set(as_gauge(usage.open_files));
        }
        self.handle.run_upkeep();
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

/// A count as a gauge's value: exact up to 2^53, which no size here reaches.
pub fn as_gauge(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_become_gauges_exactly() {
        for (count, value) in [
            (0, 0.0),
            (4_294_967_295, 4_294_967_295.0),
            (1 << 52, 4_503_599_627_370_496.0),
        ] {
            assert_eq!(super::as_gauge(count), value);
        }
    }
}
