//! What a capture is doing, for whoever asks: written by the capture, read by anyone at any time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_protocol::position::{FilePosition, SourcePosition};

/// What the capture is doing right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Reaching the source, or not started yet.
    Connecting,
    /// Reading the source's binlog.
    Streaming,
    /// The source is out of reach, or the log can't be read; trying again.
    Retrying {
        /// When that began.
        since: SystemTime,
        /// What happened, and what to do about it.
        why: String,
        /// When the next try is; where that is over, it is under way.
        next: SystemTime,
        /// When the capture gives up.
        until: SystemTime,
        /// Whether it is the log.
        log: bool,
    },
    /// The log has reached its quota; reading goes on once something was trimmed.
    Paused {
        /// Since when.
        since: SystemTime,
    },
    /// Not running any more: cancelled (`why` is absent), or stopped by an error.
    Stopped {
        /// The error's sentence.
        why: Option<String>,
    },
}

/// A capture's state, shared with those who show it; cheap to read.
#[derive(Debug)]
pub struct Status {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    position: Option<SourcePosition>,
    /// The newest place read, when it is past `position`: a rotation or a heartbeat.
    file: Option<FilePosition>,
    transactions: u64,
    passed: u64,
    bytes: u64,
    connects: u64,
    semi_sync: bool,
    last_commit_micros: u64,
    last_event: Option<SystemTime>,
    behind: Duration,
    /// The newest commit's moment on our clock, as far as the source's can be believed.
    newest: SystemTime,
    /// When the source last said that it has no more.
    level_at: Option<SystemTime>,
    begun: SystemTime,
}

/// What happened since a status was last told.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Transactions appended.
    pub(crate) transactions: u64,
    /// Transactions left out: nobody wants anything in them.
    pub(crate) passed: u64,
    /// Bytes of events appended.
    pub(crate) bytes: u64,
    /// The place after the newest transaction.
    pub(crate) position: Option<SourcePosition>,
    /// The place after the newest event.
    pub(crate) file: Option<FilePosition>,
    /// When the newest transaction was committed; 0: none was.
    pub(crate) commit_micros: u64,
    /// True when anything came at all.
    pub(crate) heard: bool,
    /// True when the newest event said that the source has nothing more.
    pub(crate) level: bool,
}

/// A copy of everything in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the capture is doing.
    pub state: State,
    /// How far the source's binlog has been read.
    pub file: Option<FilePosition>,
    /// Every transaction received, as MySQL prints a GTID set; absent where the source runs without GTIDs.
    pub gtids: Option<String>,
    /// Transactions appended to the log since the process started.
    pub transactions: u64,
    /// Transactions left out of the log since the process started, because no task selects anything in them.
    pub passed: u64,
    /// Bytes of events appended to the log since the process started.
    pub bytes: u64,
    /// Times the source was connected to since the process started.
    pub connects: u64,
    /// True when the source can wait at commit until the log is synced (semi-synchronous replication).
    pub semi_sync: bool,
    /// When the source committed the newest transaction, in µs since 1970; 0 before the first.
    pub last_commit_micros: u64,
    /// When anything (a heartbeat too) last came from the source.
    pub last_event: Option<SystemTime>,
    /// How far the log may be behind the source. While streaming: the age that the newest transaction had when it came (at
    /// most the time since the one before it, however the source's clock is set), nothing once the source said that it has no more. Otherwise growing since the source was last heard, or since this
    /// process began.
    pub delay: Duration,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::Connecting,
                position: None,
                file: None,
                transactions: 0,
                passed: 0,
                bytes: 0,
                connects: 0,
                semi_sync: false,
                last_commit_micros: 0,
                last_event: None,
                behind: Duration::ZERO,
                newest: SystemTime::UNIX_EPOCH,
                level_at: None,
                begun: SystemTime::now(),
            }),
        }
    }
}

impl Status {
    /// A status of a capture that has not started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything, as of now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            state: inner.state.clone(),
            file: inner
                .file
                .clone()
                .or_else(|| inner.position.as_ref().map(|p| p.file.clone())),
            gtids: inner
                .position
                .as_ref()
                .and_then(|p| p.gtids.as_ref())
                .map(ToString::to_string),
            transactions: inner.transactions,
            passed: inner.passed,
            bytes: inner.bytes,
            connects: inner.connects,
            semi_sync: inner.semi_sync,
            last_commit_micros: inner.last_commit_micros,
            last_event: inner.last_event,
            delay: inner.delay(SystemTime::now()),
        }
    }

    /// Says what the capture is doing now.
    pub(crate) fn set(&self, state: State) {
        self.lock().state = state;
    }

    /// A connection stands and its stream begins at `position`.
    /// `semi_sync`: what is durable is acknowledged to the source.
    pub(crate) fn connected(&self, position: SourcePosition, semi_sync: bool) {
        let mut inner = self.lock();
        inner.state = State::Streaming;
        inner.connects += 1;
        inner.semi_sync = semi_sync;
        inner.file = None;
        inner.position = Some(position);
        inner.last_event = Some(SystemTime::now());
    }

    /// Adds what was appended and read since the last call.
    pub(crate) fn advance(&self, progress: Progress) {
        let mut inner = self.lock();
        inner.transactions += progress.transactions;
        inner.passed += progress.passed;
        inner.bytes += progress.bytes;
        if let Some(position) = progress.position {
            inner.position = Some(position);
        }
        if let Some(file) = progress.file {
            inner.file = Some(file);
        }
        let now = SystemTime::now();
        if progress.commit_micros != 0 {
            inner.last_commit_micros = progress.commit_micros;
            let committed = SystemTime::UNIX_EPOCH + Duration::from_micros(progress.commit_micros);
            inner.newest = plausible(
                committed,
                inner.newest.max(inner.level_at.unwrap_or(inner.newest)),
                now,
            );
            inner.behind = now.duration_since(inner.newest).unwrap_or_default();
        }
        if progress.level {
            inner.level_at = Some(now);
            inner.behind = Duration::ZERO;
        }
        if progress.heard {
            inner.last_event = Some(now);
        }
    }

    #[cfg(test)]
    fn set_last_event(&self, at: SystemTime) {
        self.lock().last_event = Some(at);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a commit can have been by our clock: not before the one before it, nor before the source said that it had no more,
/// and not after now. The source's own clock may say anything: it may be set, or be another server's.
fn plausible(committed: SystemTime, earliest: SystemTime, now: SystemTime) -> SystemTime {
    committed.max(earliest).min(now)
}

impl Inner {
    fn delay(&self, now: SystemTime) -> Duration {
        let silence = match self.state {
            State::Streaming | State::Paused { .. } => Duration::ZERO,
            State::Connecting | State::Retrying { .. } | State::Stopped { .. } => now
                .duration_since(self.last_event.unwrap_or(self.begun))
                .unwrap_or_default(),
        };
        self.behind.saturating_add(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn came(commit_micros: u64, level: bool) -> Progress {
        Progress {
            commit_micros,
            heard: true,
            level,
            ..Progress::default()
        }
    }

    fn micros(at: SystemTime) -> u64 {
        u64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()).unwrap()
    }

    #[test]
    fn old_transactions_mean_a_delay_until_the_source_has_no_more() {
        let status = Status::new();
        status.set(State::Streaming);
        status.advance(came(micros(SystemTime::now() - HOUR), false));
        assert!(status.snapshot().delay >= HOUR);
        status.advance(came(micros(SystemTime::now() + HOUR), false));
        assert_eq!(status.snapshot().delay, Duration::ZERO, "a clock ahead of ours");
        let status = Status::new();
        status.set(State::Streaming);
        status.advance(came(micros(SystemTime::now() - HOUR), false));
        status.advance(came(0, true));
        assert_eq!(status.snapshot().delay, Duration::ZERO);
    }

    #[test]
    fn a_clock_that_goes_backwards_is_no_delay() {
        const MOMENT: Duration = Duration::from_secs(60);
        let status = Status::new();
        status.set(State::Streaming);
        status.advance(came(micros(SystemTime::now()), false));
        status.advance(came(micros(SystemTime::now() - HOUR), false));
        assert!(status.snapshot().delay < MOMENT, "later than the one before it");
        // And one that was years ahead does not hide a delay for years.
        status.advance(came(micros(SystemTime::now() + 10_000 * HOUR), false));
        status.advance(came(micros(SystemTime::now()), false));
        assert!(status.lock().newest <= SystemTime::now());

        let status = Status::new();
        status.set(State::Streaming);
        status.advance(came(0, true));
        status.advance(came(1, false));
        assert!(status.snapshot().delay < MOMENT, "later than the heartbeat");
    }

    #[test]
    fn a_source_that_is_not_heard_is_an_hour_ahead_after_an_hour() {
        let status = Status::new();
        for state in [State::Connecting, State::Stopped { why: None }] {
            status.set(State::Streaming);
            status.advance(came(0, true));
            status.set_last_event(SystemTime::now() - HOUR);
            assert_eq!(status.snapshot().delay, Duration::ZERO);
            status.set(state);
            assert!(status.snapshot().delay >= HOUR);
            // A connection's end is told too, but nothing came.
            status.advance(Progress::default());
            assert!(status.snapshot().delay >= HOUR);
        }
    }
}
