//! Keeps the log no longer than its tasks need it (C4): everything that every task has durably applied may go.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_storage::{Log, Offset};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::retention::{self, Arrivals, Needs, Policy};
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
    let mut held = None;
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
        let decision = retention::decide(policy, state, needs(&observer), &arrivals, now);
        log.set_overdue(decision.overdue);
        let trimmed = log.clone();
        let trimming = move || match decision.through {
            Some(through) => trimmed.trim(through).and_then(|()| trimmed.tidy()),
            None => trimmed.tidy(),
        };
        match blocking("trimming the log", trimming).await? {
            Ok(()) => debug!(through = ?decision.through, "log trimmed"),
            Err(error) => warn!("{error}"),
        }
        let held_now = observer.held();
        if let Some(why) = held_now.as_ref().filter(|_| held != held_now) {
            warn!("the log is {why}");
        }
        held = held_now;
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
    let needs = needs(observer).collect::<Option<Vec<_>>>();
    let last = log.stats().last;
    let Some(slowest) = needs.and_then(|needs| needs.iter().map(|task| task.done.min(last)).min()) else {
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

/// What each task needs; `None` for one that has not said.
fn needs(observer: &Observer) -> impl Iterator<Item = Option<Needs>> {
    observer.tasks().iter().map(|task| {
        let applied = task.status.applied().borrow().clone();
        applied.position.is_some().then_some(Needs {
            applied: applied.offset,
            done: applied.trim_through,
        })
    })
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::ChecksumAlg;
    use outrigger_protocol::position::{FilePosition, SourcePosition};
    use outrigger_storage::{Begin, Config, End, Piece};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn transaction(number: u64, committed: SystemTime) -> Piece {
        let since = committed.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Piece {
            begin: Some(Begin {
                gtid: None,
                commit_micros: u64::try_from(since.as_micros()).unwrap(),
                checksum: ChecksumAlg::Off,
                start: FilePosition::new("binlog.000001", number * 100),
            }),
            events: vec![0; 90].into(),
            end: Some(End {
                position: SourcePosition {
                    gtids: None,
                    file: FilePosition::new("binlog.000001", number * 100 + 100),
                },
                schemas: Vec::new(),
            }),
        }
    }

    /// Which of the 64 transactions of a log that was there before the process are older than an hour: through where.
    async fn older_than_an_hour(committed: impl Fn(u64, SystemTime) -> SystemTime) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(Config::new(dir.path())).unwrap();
        let (mut appender, now) = (log.appender().unwrap(), SystemTime::now());
        for number in 1..=64 {
            let piece = transaction(number, committed(number, now));
            appender.append(piece).await.unwrap();
        }
        appender.sync().await.unwrap();
        let state = retention::Log {
            first: Offset(1),
            last: Offset(64),
            full: false,
            crowded: false,
        };
        let policy = Policy {
            max_age: Some(HOUR),
            keep: Duration::MAX,
        };
        let all = Needs {
            applied: Offset(64),
            done: Offset(64),
        };
        let tasks = [Some(all)].into_iter();
        let decision = retention::decide(policy, state, tasks, &found(&log).await, now);
        drop(appender);
        log.close().unwrap();
        decision.through.map(|offset| offset.0)
    }

    #[tokio::test]
    async fn a_source_whose_clock_goes_backwards_ages_nothing_early() {
        let until = older_than_an_hour(|number, now| now - HOUR * if number <= 32 { 2 } else { 0 }).await;
        assert!(until.is_some_and(|until| (28..=32).contains(&until)), "{until:?}");
        // Set back by a day early on: what came after that is not older than what came before.
        let back = |number, now| now - if number <= 8 { Duration::ZERO } else { 24 * HOUR };
        assert_eq!(older_than_an_hour(back).await, None);
        // Ahead by a day until the middle: that counts as now, and so does what follows.
        let ahead = |number, now| if number <= 32 { now + 24 * HOUR } else { now };
        assert_eq!(older_than_an_hour(ahead).await, None);
        // At the beginning of time.
        let never = |_, _| SystemTime::UNIX_EPOCH;
        assert!(older_than_an_hour(never).await.is_some());
    }
}
