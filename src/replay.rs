//! Replay of a log that no sidecar has open, onto one target, without the source, up to a place.
//!
//! The applier does the work and its checkpoint on the target says how far it is, so a replay that was interrupted goes on
//! when it is started again, and `outrigger run` goes on where a replay ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use outrigger_applier::{Offline, Task, TaskStatus};
use outrigger_protocol::position::SourcePosition;
use outrigger_storage::{Log, Offset};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::log::place::{Extent, Found, Held, Search, Until};
use crate::supervisor::signals::Signals;

/// How often it is said how far the replay is.
const REPORT: Duration = Duration::from_secs(10);

/// What to replay.
#[derive(Debug)]
pub struct Job {
    /// The log; it must exist.
    pub log: outrigger_storage::Config,
    /// Selection, target, groups. Its source is not used.
    pub task: outrigger_applier::Config,
    /// What a target without a checkpoint holds.
    pub held: Option<Held>,
    /// Where to stop.
    pub until: Until,
}

/// How far a replay came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Everything up to here is applied.
    pub offset: Offset,
    /// The same place on the source.
    pub position: Option<SourcePosition>,
    /// Where it was to end.
    pub through: Offset,
    /// Source transactions that this run applied or passed over.
    pub transactions: u64,
    /// Target transactions.
    pub groups: u64,
}

/// Runs the job until it is done, fails, or a signal stops it between two groups.
///
/// # Errors
/// When the log can't be opened, a place is not in it, or the target can't follow.
pub async fn run(job: Job) -> anyhow::Result<Outcome> {
    let mut signals = Signals::listen()?;
    let Job {
        log: settings,
        task,
        held,
        until,
    } = job;
    let (log, found) = tokio::task::spawn_blocking(move || prepare(settings, held, until)).await??;
    let through = found.through;
    let offline = Offline {
        through,
        start: found.start,
    };
    info!(task = task.name, target = %task.target.address, through = through.0, "replay begins");
    let status = Arc::new(TaskStatus::new(&task.name));
    let cancel = CancellationToken::new();
    let mut running =
        tokio::spawn(Task::offline(task, log.clone(), Arc::clone(&status), offline).run(cancel.clone()));
    let mut reports = tokio::time::interval(REPORT);
    reports.reset();
    let ended = loop {
        tokio::select! {
            // The task is asked to end, and finishes the group that it has begun.
            () = signals.next() => cancel.cancel(),
            _ = reports.tick() => info!(offset = status.applied().borrow().offset.0, through = through.0, "replaying"),
            ended = &mut running => break ended,
        }
    };
    ended.context("the replay ended in a defect; please report it")??;
    let applied = status.applied().borrow().clone();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let outcome = Outcome {
        offset: applied.offset,
        position: applied.position,
        through,
        transactions: load(&status.counters.transactions),
        groups: load(&status.counters.groups),
    };
    tokio::task::spawn_blocking(move || log.close()).await??;
    Ok(outcome)
}

/// Opens the log and finds both ends in it. Blocks.
fn prepare(
    settings: outrigger_storage::Config,
    held: Option<Held>,
    until: Until,
) -> anyhow::Result<(Log, Found)> {
    refuse_missing(&settings.path)?;
    let path = settings.path.display().to_string();
    let log = match Log::open(settings) {
        Err(outrigger_storage::Error::InUse { .. }) => {
            bail!(
                "the log {path} is in use by a running sidecar, which replays it by itself: stop it first, or use a copy of the log"
            )
        }
        opened => opened?,
    };
    let (stats, position) = (log.stats(), log.position());
    let Some(position) = position else {
        bail!("the log {path} is empty: capture has not begun yet");
    };
    let extent = Extent {
        first: stats.first,
        last: stats.last,
        position,
    };
    let mut search = Search::new(held, until, extent);
    if search.needs_transactions() {
        let mut reader = log.reader(Offset(stats.first.0.saturating_sub(1)))?;
        let mut begin = None;
        while let Some(record) = reader.try_next()? {
            begin = record.begin.or(begin);
            if let (Some(begin), Some(end)) = (&begin, &record.end) {
                search.transaction(record.offset, begin, end);
            }
        }
    }
    Ok((log, search.finish()?))
}

/// Opening creates a log where there is none; a replay of nothing is a mistake in the path.
fn refuse_missing(path: &Path) -> anyhow::Result<()> {
    ensure!(
        path.join("CURRENT").exists(),
        "there is no log in {}; [log] path in the configuration or --log says where it is",
        path.display()
    );
    Ok(())
}
