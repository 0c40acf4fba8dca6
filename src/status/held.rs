//! A log that fills although its tasks have applied it: the rows of a prepared XA transaction are read again when it ends, so nothing
//! from there on is trimmed. Pure.

use std::fmt;

use super::document::LogPart;

/// What a task needs of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a> {
    /// Its name.
    pub(super) task: &'a str,
    /// It has applied everything up to this offset.
    pub(super) applied: u64,
    /// It needs nothing up to this offset any more.
    pub(super) done: u64,
}

/// Prepared XA transactions that hold most of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The task that needs them longest.
    task: String,
    /// The oldest one's offset.
    since: u64,
    /// Capture waits for their end, which it would have to read first.
    pub for_good: bool,
}

/// What holds `log`, where that is more than half of it and more than half of its quota, or makes capture wait.
pub(super) fn held(log: &LogPart, tasks: &[Needs<'_>]) -> Option<Held> {
    let slowest = tasks.iter().min_by_key(|task| task.done)?;
    let applied = tasks.iter().map(|task| task.applied).min()?;
    let held = applied.saturating_sub(slowest.done);
    let kept = (log.last + 1).saturating_sub(log.first);
    let trimmed = log.first > slowest.done;
    let for_good = log.paused && !log.overdue && applied >= log.last && trimmed;
    let soon = log.bytes > log.quota / 2 && held > kept / 2;
    (held > 0 && (for_good || soon)).then(|| Held {
        task: slowest.task.to_owned(),
        since: slowest.done + 1,
        for_good,
    })
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, since, .. } = self;
        write!(
            f,
            "held since offset {since} by a prepared XA transaction of task {task}"
        )?;
        f.write_str(if self.for_good {
            ", everything is applied. To end it on the source does not help now, since its end lies behind the place where capture \
             stands: raise [log] quota and start again"
        } else {
            ": XA COMMIT or XA ROLLBACK it on the source (XA RECOVER lists them) before the log is full, or raise [log] quota"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::document::Phase;

    fn log(first: u64, last: u64, bytes: u64, paused: bool) -> LogPart {
        LogPart {
            path: String::new(),
            id: String::new(),
            first,
            last,
            bytes,
            quota: 100,
            paused,
            overdue: false,
            held: None,
            found: Vec::new(),
            phase: Phase::plain("open"),
        }
    }

    fn needs(task: &str, applied: u64, done: u64) -> Needs<'_> {
        Needs { task, applied, done }
    }

    #[test]
    fn a_full_log_of_which_everything_is_applied_is_held_for_good() {
        let full = log(5, 50, 80, true);
        let held = held(&full, &[needs("a", 50, 50), needs("b", 50, 4)]).unwrap();
        assert!(held.for_good);
        let text = held.to_string();
        assert!(
            text.starts_with("held since offset 5 by a prepared XA transaction of task b"),
            "{text}"
        );
        assert!(text.ends_with("raise [log] quota and start again"), "{text}");
    }

    #[test]
    fn a_log_that_fills_is_warned_of() {
        let held_now = |log: &LogPart, tasks: &[Needs<'_>]| held(log, tasks).map(|held| held.for_good);
        assert_eq!(
            held_now(&log(5, 50, 51, false), &[needs("a", 50, 4)]),
            Some(false)
        );
        assert_eq!(held_now(&log(5, 50, 50, false), &[needs("a", 50, 4)]), None);
        // A task that is behind, a transaction that was prepared lately.
        assert_eq!(held_now(&log(5, 50, 51, false), &[needs("a", 10, 4)]), None);
        assert_eq!(held_now(&log(5, 50, 51, false), &[needs("a", 50, 40)]), None);
        assert_eq!(held_now(&log(5, 50, 51, false), &[needs("a", 50, 50)]), None);
        assert_eq!(
            held_now(&log(5, 50, 51, false), &[needs("a", 50, 4), needs("b", 4, 4)]),
            None
        );
    }

    #[test]
    fn what_is_to_be_applied_or_trimmed_is_waited_for() {
        let held_now =
            |log: &LogPart, tasks: &[Needs<'_>]| held(log, tasks).is_some_and(|held| held.for_good);
        assert!(!held_now(&log(5, 50, 80, true), &[needs("a", 49, 4)]));
        assert!(!held_now(&log(4, 50, 80, true), &[needs("a", 50, 4)]));
        assert!(!held_now(&log(5, 50, 80, true), &[needs("a", 50, 50)]));
        assert!(!held_now(&log(5, 50, 80, true), &[]));
        let overdue = LogPart {
            overdue: true,
            ..log(5, 50, 80, true)
        };
        assert!(!held_now(&overdue, &[needs("a", 50, 4)]));
    }
}
