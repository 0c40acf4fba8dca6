//! Keeps a log growing: connects, streams, reconnects, until it is cancelled or can't go on.

use std::sync::Arc;

use outrigger_storage::Log;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, Status};

/// Captures one source into one log.
pub struct Capturer {
    config: Config,
    log: Log,
    status: Arc<Status>,
}

impl Capturer {
    /// A capture of `config.source` into `log`, which must have a start position ([`crate::start_position`]). Nothing
    /// happens before [`Capturer::run`].
    pub fn new(config: Config, log: Log, status: Arc<Status>) -> Self {
        Self { config, log, status }
    }

    /// Captures until `cancel` is cancelled (then everything appended is synced and the result is `Ok`) or until
    /// something that trying again can't heal.
    ///
    /// # Errors
    /// Whatever [`Error::is_transient`] says no to, and [`Error::GaveUp`] when the source stayed out of reach for the
    /// whole retry window.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        crate::capturer::run(self, cancel).await
    }
}
