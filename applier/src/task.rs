//! A task from beginning to end: prepare, copy, catch up, follow; and again after a failure that may pass.

use std::sync::Arc;

use outrigger_storage::Log;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::status::TaskStatus;

/// A task that has not begun.
#[derive(Debug)]
pub struct Task {
    config: Arc<Config>,
    log: Log,
    status: Arc<TaskStatus>,
}

impl Task {
    /// Nothing is connected before [`Task::run`]. Capture into the log must have begun, or begin soon: the copy waits for it.
    pub fn new(config: Config, log: Log, status: Arc<TaskStatus>) -> Self {
        Self {
            config: Arc::new(config),
            log,
            status,
        }
    }

    /// Runs until cancelled (then `Ok`, nothing half done) or until something fails that no retry heals. Either way the
    /// status says `stopped` and why.
    ///
    /// # Errors
    /// What stopped the task; running it again continues where it was.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let _ = (&self.config, &self.log, &self.status, cancel);
        Ok(())
    }
}
