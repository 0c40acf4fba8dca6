//! Keeps the log no longer than its tasks need it (C4): everything that every task has durably applied may go.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_storage::{Log, Offset};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::retention::{self, Arrivals, Policy};
use super::{Error, blocking};
use crate::http::{TrimAnswer, TrimOrder};
use crate::status::Observer;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);
/// Of what was in the log before the process began, so many transactions are asked for their age.
const SAMPLES: u64 = 16;

/// Trims until cancelled. A trim that fails is told and tried again.
pub(super) async fn run(
    log: Log,
    policy: Policy,
    observer: Arc<Observer>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrivals = found(&log).await;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let (stats, now) = (log.stats(), SystemTime::now());
        arrivals.note(stats.last, now);
        let state = retention::Log {
            first: stats.first,
            last: stats.last,
            full: stats.paused,
            crowded: stats.bytes.0 > stats.quota.0 / 2,
        };
        let decision = retention::decide(policy, state, applied(&observer), &arrivals, now);
        log.set_overdue(decision.overdue);
        let trimmed = log.clone();
        let trimming = move || match decision.through {
            Some(through) => trimmed.trim(through),
            None => trimmed.tidy(),
        };
        match blocking("trimming the log", trimming).await? {
            Ok(()) => debug!(through = ?decision.through, "log trimmed"),
            Err(error) => warn!("{error}"),
        }
    }
}

/// What was in the log before: it came no earlier than its commit, which is as much as is known.
async fn found(log: &Log) -> Arrivals {
    let (mut arrivals, stats) = (Arrivals::default(), log.stats());
    let (first, last) = (stats.first.0, stats.last.0);
    for sample in 0..=SAMPLES {
        let offset = Offset(first + last.saturating_sub(first) / SAMPLES * sample);
        if first > last || offset.0 > last {
            break;
        }
        let Ok(mut reader) = log.reader(Offset(offset.0 - 1)) else {
            continue;
        };
        if let Ok(record) = reader.next().await
            && let Some(begin) = record.begin
        {
            let commit = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(begin.commit_micros));
            arrivals.note(
                offset,
                commit.unwrap_or(SystemTime::UNIX_EPOCH).min(SystemTime::now()),
            );
        }
    }
    arrivals
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
