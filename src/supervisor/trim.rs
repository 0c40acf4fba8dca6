//! Keeps the log no longer than its tasks need it (C4): everything that every task has durably applied may go.

use std::sync::Arc;
use std::time::Duration;

use outrigger_storage::{Log, Offset};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Error, blocking};
use crate::http::{TrimAnswer, TrimOrder};
use crate::status::Observer;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);
/// Transactions kept beyond what is needed, for a look at what happened last.
const KEPT: u64 = 1000;

/// Trims until cancelled. A trim that fails is told and tried again.
pub(super) async fn run(log: Log, observer: Arc<Observer>, cancel: CancellationToken) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let stats = log.stats();
        let Some(through) = trim_through(applied(&observer), stats.first, stats.paused) else {
            continue;
        };
        let trimmed = log.clone();
        match blocking("trimming the log", move || trimmed.trim(through)).await? {
            Ok(()) => debug!(%through, "log trimmed"),
            Err(error) => warn!("{error}"),
        }
    }
}

/// Trims through what was asked for, at once, if every task has applied it.
pub(super) fn ordered(observer: &Observer, order: TrimOrder) -> Result<TrimAnswer, String> {
    let log = observer
        .log()
        .open()
        .ok_or("the log can't be used now: `outrigger status` says why")?;
    let slowest = applied(observer).collect::<Option<Vec<_>>>();
    let Some(slowest) = slowest.and_then(|applied| applied.into_iter().min()) else {
        return Err(
            "a task has not said yet what it needs of the log; try again once it has begun".to_owned(),
        );
    };
    let through = order.through.map_or(slowest, Offset);
    if through > slowest {
        return Err(format!(
            "offset {through} is still needed: the slowest task needs everything after offset {slowest}, `outrigger status` \
             shows which one that is"
        ));
    }
    let before = log.stats();
    let trimmed = log.trim(through).and_then(|()| log.reclaim());
    trimmed.map_err(|error| error.to_string())?;
    let stats = log.stats();
    Ok(TrimAnswer {
        first: stats.first.0,
        bytes: stats.bytes.0,
        bytes_before: before.bytes.0,
    })
}

/// What each task does not need any more; `None` for one that has not said.
fn applied(observer: &Observer) -> impl Iterator<Item = Option<Offset>> {
    observer.tasks().iter().map(|task| {
        let applied = task.status.applied().borrow().clone();
        applied.position.is_some().then_some(applied.trim_through)
    })
}

/// Through which offset the log may be trimmed now. `applied` has, per task, what is not needed any more, or `None` for a
/// task that has not said: then nothing may go. A few more are kept unless the log is full.
fn trim_through(applied: impl Iterator<Item = Option<Offset>>, first: Offset, full: bool) -> Option<Offset> {
    let slowest = applied.collect::<Option<Vec<_>>>()?.into_iter().min()?;
    let through = if full {
        slowest
    } else {
        Offset(slowest.0.saturating_sub(KEPT))
    };
    (through >= first && through > Offset::ZERO).then_some(through)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(applied: &[Option<u64>], first: u64, full: bool) -> Option<u64> {
        trim_through(
            applied.iter().map(|offset| offset.map(Offset)),
            Offset(first),
            full,
        )
        .map(|offset| offset.0)
    }

    #[test]
    fn the_slowest_task_decides() {
        assert_eq!(through(&[Some(5000), Some(3000)], 1, false), Some(2000));
        assert_eq!(through(&[Some(5000), Some(3000)], 2001, false), None);
    }

    #[test]
    fn a_task_that_has_not_said_holds_everything() {
        assert_eq!(through(&[Some(5000), None], 1, true), None);
        assert_eq!(through(&[], 1, true), None);
        assert_eq!(through(&[Some(0)], 1, true), None);
    }

    #[test]
    fn a_full_log_keeps_nothing_extra() {
        assert_eq!(through(&[Some(500)], 1, false), None);
        assert_eq!(through(&[Some(500)], 1, true), Some(500));
    }
}
