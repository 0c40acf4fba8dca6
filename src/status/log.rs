//! The log as the status shows it: open, or out of use since when and why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use outrigger_storage::Log;

use super::document::{LogPart, Phase};
use super::ending::Ending;
use super::observer::{ended, since};

/// The log while the sidecar runs: the one that is open, or what is known of the one that can't be used.
#[derive(Debug)]
pub struct ObservedLog {
    state: Mutex<State>,
    /// How those who use it ended for good, told by the supervisor.
    pub ended: Ending,
}

#[derive(Debug)]
struct State {
    log: Option<Log>,
    lost: Option<(SystemTime, String)>,
    /// What was last seen of it.
    seen: LogPart,
}

impl ObservedLog {
    /// A log that is not open yet.
    pub fn new(path: String, quota: u64) -> Self {
        let seen = LogPart {
            path,
            id: String::new(),
            first: 1,
            last: 0,
            bytes: 0,
            quota,
            paused: false,
            overdue: false,
            held: None,
            found: Vec::new(),
            phase: Phase::plain("opening"),
        };
        Self {
            state: Mutex::new(State {
                log: None,
                lost: None,
                seen,
            }),
            ended: Ending::default(),
        }
    }

    /// The log, while it is open and works.
    pub fn open(&self) -> Option<Log> {
        let log = self.lock().log.clone()?;
        log.failed().is_none().then_some(log)
    }

    /// It is open, and those who use it have begun.
    pub fn opened(&self, log: Log) {
        let mut state = self.lock();
        state.log = Some(log);
        state.lost = None;
    }

    /// It can't be used; it is let go of. The moment when that began stays until it is open again.
    pub fn lost(&self, why: String) {
        let mut state = self.lock();
        let began = state
            .lost
            .as_ref()
            .map_or_else(SystemTime::now, |(began, _)| *began);
        state.see();
        state.lost = Some((began, why));
        let log = state.log.take();
        drop(state);
        // The last one to hold it closes it, which takes its time.
        drop(log);
    }

    /// The log's part of the document, now.
    pub fn part(&self) -> LogPart {
        let mut state = self.lock();
        state.see();
        let failed = state.log.as_ref().and_then(Log::failed);
        let lost = state.lost.clone();
        let lost = lost.or_else(|| failed.map(|error| (SystemTime::now(), error.to_string())));
        let phase = match lost {
            Some((began, why)) => Phase {
                why: Some(why),
                side: Some("log".to_owned()),
                for_seconds: Some(since(began)),
                ..Phase::plain("retrying")
            },
            None if state.log.is_some() => Phase::plain("open"),
            None => Phase::plain("opening"),
        };
        LogPart {
            phase: ended(&self.ended).unwrap_or(phase),
            ..state.seen.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self) {
        let Some(log) = &self.log else { return };
        let stats = log.stats();
        self.seen = LogPart {
            id: stats.id.to_string(),
            first: stats.first.0,
            last: stats.last.0,
            bytes: stats.bytes.as_u64(),
            quota: stats.quota.as_u64(),
            paused: stats.paused,
            overdue: stats.overdue,
            held: None,
            found: log.recovery().sentences(),
            path: std::mem::take(&mut self.seen.path),
            phase: Phase::plain("open"),
        };
    }
}

/// What capture and the tasks are doing while the log can't be used; `None` while it can.
pub(super) fn waiting(log: &LogPart) -> Option<Phase> {
    (log.phase.state == "retrying").then(|| log.phase.clone())
}
