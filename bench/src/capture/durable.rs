//! From the commit on the source to durable in the log, under a steady load of sysbench's transactions.
//!
//! The clock starts with the source's own commit time, which it takes before it syncs its binlog: what is measured includes
//! the source's sync.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use outrigger::demo::server::Server;
use outrigger_storage::Offset;

use super::ours::{self, Ours};
use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::{load, tables};

/// Load before the first delay that counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// What must not be exceeded by 99 of 100.
const LIMIT: f64 = 15.0;

/// What the load is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) rows: u32,
    pub(super) rate: u32,
    pub(super) seconds: u64,
    pub(super) rounds: usize,
    pub(super) sync_interval: Option<Duration>,
}

/// Measures and prints.
pub(super) async fn run(lab: &Lab, source: &Server, load: Load) -> Result<()> {
    tables::fill(source, load.rows).await?;
    let (mut half, mut most) = (Vec::new(), Vec::new());
    for round in 0..load.rounds {
        Lab::settle()?;
        let start = outrigger_capture::start_position(&ours::capture(source)).await?;
        let mut ours = Ours::start(lab, source, &start, load.sync_interval)?;
        let time = WARM_UP + Duration::from_secs(load.seconds);
        let mut writers = load::steady(source, load.rows, load.rate, time, u64::try_from(round)?);
        tokio::time::sleep(WARM_UP).await;
        let mut delays = sample(&ours, Duration::from_secs(load.seconds)).await?;
        while let Some(done) = writers.join_next().await {
            done??;
        }
        ours.end().await?;
        ours.remove()?;
        let (p50, p99) = (bar::percentile(&mut delays, 50), bar::percentile(&mut delays, 99));
        lab::say(&format!(
            "round {round}: {} transactions/s, durable after {p50:.1} ms (half), {p99:.1} ms (99 of 100)",
            u64::try_from(delays.len())? / load.seconds
        ))?;
        half.push(p50);
        most.push(p99);
    }
    let figure = |name| Figure { name, unit: "ms" };
    bar::print(figure("capture_durable_p50"), &half, "limit", &[LIMIT])?;
    bar::print(figure("capture_durable_p99"), &most, "limit", &[LIMIT])
}

/// The delays of all transactions that become durable in the given time.
async fn sample(ours: &Ours, time: Duration) -> Result<Vec<Duration>> {
    let mut durable = ours.log.durable();
    let mut reader = ours.log.reader(*durable.borrow_and_update())?;
    let deadline = tokio::time::Instant::now() + time;
    let mut delays = Vec::new();
    loop {
        match tokio::time::timeout_at(deadline, durable.changed()).await {
            Ok(changed) => changed?,
            Err(_elapsed) => break,
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let through: Offset = *durable.borrow_and_update();
        while let Some(record) = reader.try_next()? {
            if let Some(begin) = &record.begin {
                delays.push(now.saturating_sub(Duration::from_micros(begin.commit_micros)));
            }
            if record.end.is_some() && record.offset >= through {
                break;
            }
        }
    }
    if delays.is_empty() {
        bail!("nothing became durable under the load");
    }
    Ok(delays)
}
