//! What the log takes on disk for what it holds, and how soon trimming gives it back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::binlog::Stretch;
use super::ours::Ours;
use crate::bar::{self, Figure};
use crate::lab;

/// The log's files are what they are once their size did not change for this long.
const SETTLED: Duration = Duration::from_secs(2);
/// How often a supervisor trims.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// What may be left after trimming everything.
const EMPTY: u64 = 64 << 20;

/// The log has captured the stretch: prints what it takes, trims it, prints how long that took.
pub(super) async fn measure(ours: &Ours, stretch: &Stretch, name: &str) -> Result<()> {
    let mut bytes = ours.on_disk()?;
    let mut since = Instant::now();
    while since.elapsed() < SETTLED {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = ours.on_disk()?;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    let figure = |name: &'static str, unit| Figure { name, unit };
    let ratio = if name == "1k" {
        "log_disk_1k"
    } else {
        "log_disk_mix"
    };
    bar::print(
        figure(ratio, "MB"),
        &[bytes as f64 / 1e6],
        "binlog",
        &[stretch.bytes as f64 / 1e6],
    )?;
    let began = Instant::now();
    let last = *ours.log.durable().borrow();
    while ours.on_disk()? > EMPTY {
        if began.elapsed() > lab::PATIENCE {
            bail!(
                "trimming does not return the space: {} bytes are left",
                ours.on_disk()?
            );
        }
        let log = ours.log.clone();
        tokio::task::spawn_blocking(move || log.trim(last)).await??;
        tokio::time::sleep(TRIM_EVERY).await;
    }
    let name = if name == "1k" {
        "log_trim_1k"
    } else {
        "log_trim_mix"
    };
    bar::print(
        figure(name, "s"),
        &[began.elapsed().as_secs_f64()],
        "limit",
        &[60.0],
    )
}
