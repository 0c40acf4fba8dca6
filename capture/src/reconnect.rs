//! What an error means for the next attempt: wait and try again, or stop. Pure, told the time and the dice.

use std::time::{Duration, Instant, SystemTime};

use crate::Error;
use crate::backoff::Backoff;

/// A server's refusal to send its binlog counts as final when it comes so often without progress in between: the first
/// may be a race with a purge or a restart, and the attempt after it proves continuity anew, which names a gap better than
/// the refusal does.
const REFUSALS: u32 = 3;

/// The outage that is going on, if any.
#[derive(Debug)]
pub(crate) struct Outages {
    window: Duration,
    current: Option<Outage>,
    backoff: Backoff,
    refusals: u32,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    begin: Instant,
    since: SystemTime,
}

/// What to do after an error.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It won't heal.
    Stop(Error),
    /// Try again after `wait`.
    Retry {
        /// How long to wait.
        wait: Duration,
        /// When the outage began.
        since: SystemTime,
        /// When the capture gives up.
        until: SystemTime,
        /// The error's sentence.
        why: String,
        /// Whether it is the log that fails.
        log: bool,
    },
}

impl Outages {
    /// No outage so far; each may last for `window`.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            current: None,
            backoff: Backoff::default(),
            refusals: 0,
        }
    }

    /// The source answers: an outage, if there was one, is over.
    pub(crate) fn progressed(&mut self) {
        if self.current.is_some() || self.refusals > 0 {
            self.current = None;
            self.backoff = Backoff::default();
            self.refusals = 0;
        }
    }

    /// Judges an attempt's error.
    pub(crate) fn failed(&mut self, error: Error, now: Instant, wall: SystemTime, dice: u32) -> Verdict {
        let refused = matches!(error, Error::Dump { .. });
        self.refusals += u32::from(refused);
        if !(error.is_transient() || (refused && self.refusals < REFUSALS)) {
            return Verdict::Stop(error);
        }
        let outage = *self.current.get_or_insert(Outage {
            begin: now,
            since: wall,
        });
        let left = self
            .window
            .saturating_sub(now.saturating_duration_since(outage.begin));
        if left.is_zero() {
            return Verdict::Stop(Error::GaveUp {
                window: self.window,
                last: Box::new(error),
            });
        }
        Verdict::Retry {
            wait: self.backoff.wait(dice).min(left),
            since: outage.since,
            until: outage.since + self.window,
            why: error.to_string(),
            log: matches!(error, Error::Log(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_protocol::endpoint::Address;

    const HOUR: Duration = Duration::from_secs(3600);

    fn address() -> Address {
        Address::Tcp {
            host: "db".to_owned(),
            port: 3306,
        }
    }

    fn silent() -> Error {
        Error::Silent {
            address: address(),
            doing: "waiting",
            after: HOUR,
        }
    }

    fn refused() -> Error {
        Error::Dump {
            address: address(),
            position: String::new(),
            code: 1236,
            message: String::new(),
        }
    }

    #[test]
    fn gives_up_when_the_window_is_over_and_names_the_last_error() {
        let (begin, wall) = (Instant::now(), SystemTime::now());
        let mut outages = Outages::new(HOUR);
        let first = outages.failed(silent(), begin, wall, 0);
        assert!(
            matches!(first, Verdict::Retry { since, until, .. } if since == wall && until == wall + HOUR)
        );
        let late = outages.failed(silent(), begin + HOUR * 9 / 10, wall + HOUR, 0);
        assert!(
            matches!(late, Verdict::Retry { since, .. } if since == wall),
            "the outage began earlier"
        );
        let over = outages.failed(silent(), begin + HOUR, wall + HOUR, 0);
        assert!(
            matches!(over, Verdict::Stop(Error::GaveUp { last, .. }) if matches!(*last, Error::Silent { .. }))
        );
    }

    #[test]
    fn progress_ends_an_outage() {
        let (begin, wall) = (Instant::now(), SystemTime::now());
        let mut outages = Outages::new(HOUR);
        outages.failed(silent(), begin, wall, 0);
        outages.progressed();
        let next = outages.failed(silent(), begin + HOUR * 2, wall + HOUR * 2, 0);
        assert!(matches!(next, Verdict::Retry { since, .. } if since == wall + HOUR * 2));
    }

    #[test]
    fn a_wait_never_passes_the_windows_end() {
        let (begin, wall) = (Instant::now(), SystemTime::now());
        let mut outages = Outages::new(Duration::from_millis(50));
        let verdict = outages.failed(silent(), begin, wall, u32::MAX);
        assert!(matches!(verdict, Verdict::Retry { wait, .. } if wait <= Duration::from_millis(50)));
    }

    #[test]
    fn refusals_are_final_in_a_row_only() {
        let (begin, wall) = (Instant::now(), SystemTime::now());
        let mut outages = Outages::new(HOUR);
        for round in 0..2 {
            for _ in 1..REFUSALS {
                assert!(matches!(
                    outages.failed(refused(), begin, wall, 0),
                    Verdict::Retry { .. }
                ));
            }
            if round == 0 {
                outages.progressed();
            }
        }
        assert!(matches!(
            outages.failed(refused(), begin, wall, 0),
            Verdict::Stop(Error::Dump { .. })
        ));
    }

    /// A moment without file descriptors, say. A log that fails for good says so at the next write.
    #[test]
    fn a_log_that_cannot_be_read_now_is_read_again() {
        let failed = |error| {
            let mut outages = Outages::new(HOUR);
            outages.failed(Error::Log(error), Instant::now(), SystemTime::now(), 0)
        };
        let unread = outrigger_storage::Error::Io {
            path: "log".into(),
            doing: "measuring",
            // EMFILE.
            source: std::io::Error::from_raw_os_error(24).into(),
        };
        assert!(matches!(failed(unread), Verdict::Retry { log: true, .. }));
        let damaged = outrigger_storage::Error::Corrupt {
            path: "log".into(),
            what: String::new(),
        };
        assert!(matches!(failed(damaged), Verdict::Stop(Error::Log(_))));
    }

    #[test]
    fn what_cannot_heal_stops_at_once() {
        let mut outages = Outages::new(HOUR);
        let purged = Error::Purged {
            address: address(),
            missing: String::new(),
        };
        let verdict = outages.failed(purged, Instant::now(), SystemTime::now(), 0);
        assert!(matches!(verdict, Verdict::Stop(Error::Purged { .. })));
    }
}
