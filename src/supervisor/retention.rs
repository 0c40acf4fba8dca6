//! What of the log may go, and whether it is full by age. Pure.
//!
//! Only what every task has applied goes (C4). Of that, `keep` holds what came lately, as long as the log takes no more than half of
//! its quota, and `max_age` lets go of what came too long ago. What is older and not applied can't go: the log is full then,
//! and capture waits, as it does when the quota is used up.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use outrigger_storage::Offset;

/// Applied transactions kept in any case, for a look at what happened last, unless the log is full.
const KEPT: u64 = 1000;
/// The most moments remembered; beyond that every other one is forgotten.
const MOMENTS: usize = 4096;

/// What the configuration says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Policy {
    pub(super) keep: Duration,
    pub(super) max_age: Option<Duration>,
}

/// The log at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// The first offset kept, and the last durable one.
    pub(super) first: Offset,
    pub(super) last: Offset,
    /// An append waits for room.
    pub(super) full: bool,
    /// More than half of the quota is taken.
    pub(super) crowded: bool,
}

/// What a task needs of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// It has applied everything up to here.
    pub(super) applied: Offset,
    /// It needs nothing up to here any more: less, while an XA transaction is prepared, or the log's sync is behind.
    pub(super) done: Offset,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Through where to trim.
    pub(super) through: Option<Offset>,
    /// Whether the oldest transaction that is not applied has been there for longer than `max_age`.
    pub(super) overdue: bool,
}

/// Decides. `tasks` has what each task needs, or `None` for one that has not said: then nothing may go.
pub(super) fn decide(
    policy: Policy,
    log: Log,
    tasks: impl Iterator<Item = Option<Needs>>,
    arrivals: &Arrivals,
    now: SystemTime,
) -> Decision {
    let tasks = tasks.collect::<Option<Vec<_>>>().unwrap_or_default();
    // What is applied may not be in the log for good yet; by the next look it is.
    let slowest = tasks.iter().map(|task| task.done.min(log.last)).min();
    let applied = tasks.iter().map(|task| task.applied).min();
    let before = |age: Duration| {
        now.checked_sub(age)
            .map_or(Offset::ZERO, |then| arrivals.until(then))
    };
    // What is applied and held for a prepared XA transaction must not make capture wait: the end of that lies ahead.
    let unapplied = applied.unwrap_or(Offset::ZERO).next().max(log.first);
    let overdue = policy
        .max_age
        .is_some_and(|age| unapplied <= log.last && unapplied <= before(age));
    let through = slowest.map(|slowest| {
        if log.full {
            return slowest;
        }
        let latest = Offset(slowest.0.saturating_sub(KEPT));
        let wanted = if log.crowded || policy.keep.is_zero() {
            latest
        } else {
            latest.min(before(policy.keep))
        };
        let too_old = policy.max_age.map_or(Offset::ZERO, before);
        wanted.max(too_old).min(slowest)
    });
    Decision {
        through: through.filter(|through| *through >= log.first && *through > Offset::ZERO),
        overdue,
    }
}

/// When transactions came into the log, as far as known: a moment for every now and then.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By these moments everything up to these offsets had come.
    moments: VecDeque<(Offset, SystemTime)>,
}

impl Arrivals {
    /// Everything up to `offset` had come by `moment`.
    pub(super) fn note(&mut self, offset: Offset, moment: SystemTime) {
        // A clock that was set back: later offsets came no earlier.
        let moment = self.moments.back().map_or(moment, |(_, last)| moment.max(*last));
        if self.moments.back().is_none_or(|(last, _)| *last < offset) {
            self.moments.push_back((offset, moment));
        }
        if self.moments.len() > MOMENTS {
            let mut odd = false;
            self.moments.retain(|_| {
                odd = !odd;
                !odd
            });
        }
    }

    /// The last offset known to have come by `then`; zero if none is.
    fn until(&self, then: SystemTime) -> Offset {
        let count = self.moments.partition_point(|(_, moment)| *moment <= then);
        count
            .checked_sub(1)
            .and_then(|index| self.moments.get(index))
            .map_or(Offset::ZERO, |(offset, _)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn log(first: u64, last: u64) -> Log {
        Log {
            first: Offset(first),
            last: Offset(last),
            full: false,
            crowded: false,
        }
    }

    /// A log into which 1000 transactions came each hour for ten hours.
    fn arrivals() -> (Arrivals, SystemTime) {
        let start = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        let mut arrivals = Arrivals::default();
        for hour in 1..=10_u32 {
            arrivals.note(Offset(u64::from(hour) * 1000), start + hour * HOUR);
        }
        (arrivals, start + 10 * HOUR)
    }

    fn through(policy: Policy, log: Log, applied: &[Option<u64>]) -> Option<u64> {
        let (arrivals, now) = arrivals();
        let tasks = applied.iter().map(|offset| offset.map(|at| needs(at, at)));
        let decision = decide(policy, log, tasks, &arrivals, now);
        decision.through.map(|offset| offset.0)
    }

    fn needs(applied: u64, done: u64) -> Needs {
        Needs {
            applied: Offset(applied),
            done: Offset(done),
        }
    }

    fn overdue(max_age: Duration, first: u64, applied: Option<u64>) -> bool {
        is_overdue(max_age, first, applied.map(|at| needs(at, at)))
    }

    fn is_overdue(max_age: Duration, first: u64, task: Option<Needs>) -> bool {
        let (arrivals, now) = arrivals();
        let policy = Policy {
            max_age: Some(max_age),
            ..Policy::default()
        };
        decide(policy, log(first, 10_000), [task].into_iter(), &arrivals, now).overdue
    }

    #[test]
    fn the_slowest_task_decides() {
        let policy = Policy::default();
        assert_eq!(
            through(policy, log(1, 9000), &[Some(5000), Some(3000)]),
            Some(2000)
        );
        assert_eq!(through(policy, log(2001, 9000), &[Some(5000), Some(3000)]), None);
    }

    #[test]
    fn a_task_that_has_not_said_holds_everything() {
        let policy = Policy {
            max_age: Some(HOUR),
            ..Policy::default()
        };
        let full = Log {
            full: true,
            crowded: true,
            ..log(1, 9000)
        };
        assert_eq!(through(policy, full, &[Some(5000), None]), None);
        assert_eq!(through(policy, full, &[]), None);
        assert_eq!(through(policy, full, &[Some(0)]), None);
    }

    #[test]
    fn a_full_log_keeps_nothing_extra() {
        let policy = Policy {
            keep: 5 * HOUR,
            max_age: None,
        };
        assert_eq!(through(Policy::default(), log(1, 900), &[Some(500)]), None);
        let full = Log {
            full: true,
            ..log(1, 9000)
        };
        assert_eq!(through(policy, full, &[Some(8500)]), Some(8500));
        // Applied before it was durable in the log: by now it is, and nothing else may come that would say so again.
        assert_eq!(through(policy, full, &[Some(9001)]), Some(9000));
    }

    #[test]
    fn what_came_lately_is_kept_while_there_is_room() {
        let policy = Policy {
            keep: 5 * HOUR,
            max_age: None,
        };
        assert_eq!(through(policy, log(1, 10_000), &[Some(9900)]), Some(5000));
        assert_eq!(through(policy, log(1, 10_000), &[Some(3000)]), Some(2000));
        let crowded = Log {
            crowded: true,
            ..log(1, 10_000)
        };
        assert_eq!(through(policy, crowded, &[Some(9900)]), Some(8900));
    }

    #[test]
    fn what_is_too_old_goes_once_it_is_applied() {
        let policy = Policy {
            keep: Duration::ZERO,
            max_age: Some(2 * HOUR),
        };
        assert_eq!(through(policy, log(1, 10_000), &[Some(8600)]), Some(8000));
        assert_eq!(through(policy, log(1, 10_000), &[Some(7100)]), Some(7100));
    }

    #[test]
    fn what_is_too_old_and_not_applied_is_overdue() {
        assert!(overdue(2 * HOUR, 1, Some(7999)));
        assert!(!overdue(2 * HOUR, 1, Some(8000)));
        assert!(!overdue(2 * HOUR, 10_001, Some(10_000)));
        assert!(overdue(2 * HOUR, 1, None));
        assert!(!overdue(2 * HOUR, 8001, None));
        assert!(!overdue(20 * HOUR, 1, Some(0)));
    }

    #[test]
    fn what_is_held_although_it_is_applied_is_not_overdue() {
        // For a prepared XA transaction; and what was applied before the log's sync.
        assert!(!is_overdue(2 * HOUR, 1, Some(needs(10_000, 300))));
        assert!(!is_overdue(2 * HOUR, 1, Some(needs(10_001, 9999))));
        assert!(is_overdue(2 * HOUR, 1, Some(needs(7999, 300))));
        let (arrivals, now) = arrivals();
        let policy = Policy {
            max_age: Some(2 * HOUR),
            ..Policy::default()
        };
        let task = [Some(needs(10_000, 300))].into_iter();
        assert_eq!(
            decide(policy, log(1, 10_000), task, &arrivals, now).through,
            Some(Offset(300))
        );
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_older() {
        let (mut arrivals, now) = arrivals();
        for offset in 11..=40 {
            arrivals.note(Offset(offset * 1000), now - 9 * HOUR);
        }
        assert_eq!(arrivals.until(now - HOUR), Offset(9000));
        assert_eq!(arrivals.until(now), Offset(40_000));
    }

    #[test]
    fn moments_are_bounded() {
        let (mut arrivals, now) = arrivals();
        for offset in 0..20_000_u64 {
            arrivals.note(Offset(11_000 + offset), now + Duration::from_secs(offset));
        }
        assert!(arrivals.moments.len() <= MOMENTS);
        assert_eq!(arrivals.until(now + 100 * HOUR), Offset(30_999));
    }
}
