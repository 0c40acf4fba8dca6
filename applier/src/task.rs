//! A task from beginning to end: prepare, copy, catch up, follow; and again after a failure that may pass.
//!
//! Every attempt starts from what the target's metadata database says, so an attempt after a failure, a restart and a
//! first start are the same thing (W3).

mod attempt;
mod bystander;
mod careful;
mod offline;
mod retry;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use outrigger_storage::Log;
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use self::careful::Careful;
pub use self::offline::Offline;
use self::retry::{Retries, Verdict};
use crate::checkpoint::Held;
use crate::config::Config;
use crate::error::{Error, Side};
use crate::metrics::Metrics;
use crate::status::{TaskState, TaskStatus};
use crate::target::Sessions;

/// A task that has not begun.
#[derive(Debug)]
pub struct Task {
    config: Arc<Config>,
    log: Log,
    status: Arc<TaskStatus>,
    /// Replay what the log holds, and nothing else; `None`: copy and follow.
    offline: Option<Offline>,
}

impl Task {
    /// Nothing is connected before [`Task::run`]. Capture into the log must have begun, or begin soon: the copy waits for it.
    pub fn new(config: Config, log: Log, status: Arc<TaskStatus>) -> Self {
        status.set_state(TaskState::Preparing);
        Self {
            config: Arc::new(config),
            log,
            status,
            offline: None,
        }
    }

    /// A task that replays what the log holds up to a place and ends there. The source in `config` is never connected.
    pub fn offline(config: Config, log: Log, status: Arc<TaskStatus>, offline: Offline) -> Self {
        Self {
            offline: Some(offline),
            ..Self::new(config, log, status)
        }
    }

    /// Runs until cancelled (then `Ok`, nothing half done), until an offline replay has reached its end, or until something
    /// fails that no retry heals. Either way the
    /// status says `stopped` and why.
    ///
    /// # Errors
    /// What stopped the task; running it again continues where it was.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let ended = self.attempts(&cancel).await;
        let why = ended.as_ref().err().map(ToString::to_string);
        self.status.set_state(TaskState::Stopped { why });
        ended
    }

    async fn attempts(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let metrics = Metrics::new(&self.config.name);
        let mut retries = Retries::new(self.config.retry_window);
        let mut careful = Careful::default();
        let held = Held::default();
        let sessions = Arc::new(Sessions::new(&self.config.metadata_database, &self.config.name));
        loop {
            self.status.set_state(TaskState::Preparing);
            let before = self.status.work_done();
            let attempt = Attempt {
                config: &self.config,
                log: &self.log,
                status: &self.status,
                metrics: &metrics,
                offline: self.offline.as_ref(),
                careful_through: careful.through(),
                sessions: &sessions,
                held: &held,
            };
            let Err(error) = Box::pin(attempt.run(cancel)).await else {
                return Ok(());
            };
            if cancel.is_cancelled() {
                return Ok(());
            }
            if self.status.work_done() != before {
                retries.succeeded();
            }
            if let Error::Mismatch { through, .. } = &error {
                careful.failed(*through);
                let through = careful.through().0;
                tracing::info!(task = self.config.name, %error, through, "going on row by row");
                continue;
            }
            if !error.is_retryable() {
                return Err(error);
            }
            let side = error.side().unwrap_or(Side::Target);
            match retries.failed(side, Instant::now()) {
                Verdict::GiveUp => {
                    let minutes = self.config.retry_window.as_secs() / 60;
                    return Err(Error::RetryWindow {
                        minutes,
                        cause: Box::new(error),
                    });
                }
                Verdict::Wait { pause, since, until } => {
                    tracing::warn!(task = self.config.name, %error, ?pause, "trying again");
                    metrics.retries.increment(1);
                    let why = error.to_string();
                    let times = [since, Instant::now() + pause, until].map(unix);
                    self.status.retrying(side, times, why);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = cancel.cancelled() => return Ok(()),
                    }
                }
            }
        }
    }
}

/// Unix seconds of an instant near now.
fn unix(instant: Instant) -> u64 {
    let (now, wall) = (
        Instant::now(),
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    );
    let moved = wall.saturating_add(instant.saturating_duration_since(now));
    moved
        .saturating_sub(now.saturating_duration_since(instant))
        .as_secs()
}
