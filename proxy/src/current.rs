//! What holds for connections that begin now, and how it is replaced while the proxy runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::certificate::Certificate;
use crate::config::Config;
use crate::error::Error;
use crate::session::Shared;

/// What all sessions share. Replaced whole, so that a connection has one state of it from its beginning to its end.
#[derive(Clone)]
pub(crate) struct Current(Arc<RwLock<Arc<Shared>>>);

impl Current {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(shared))))
    }

    /// For a connection that begins now.
    pub(crate) fn get(&self) -> Arc<Shared> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, shared: Shared) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shared);
    }
}

/// Gives a running proxy another configuration.
#[derive(Clone)]
pub struct Reloader(pub(crate) Current);

impl Reloader {
    /// Has `config` hold for connections that begin from now on, and reads the TLS files of both sides again. Those that are there keep what
    /// they began with. Addresses of `listen` stay as they are: one that is not in `config` keeps its lists. Blocks for files.
    ///
    /// # Errors
    /// When the configuration is out of bounds or a file does not serve. Then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<(), Error> {
        config.validate()?;
        let before = self.0.get();
        let certificate = Certificate::load(&config.tls)?.map(Arc::new);
        let upstream = before.upstream.read_again().map_err(Error::Upstream)?;
        self.0.replace(Shared {
            config,
            certificate,
            upstream,
            seats: Arc::clone(&before.seats),
            refusals: Arc::clone(&before.refusals),
            key: before.key.clone(),
            guard: Arc::clone(&before.guard),
            metrics: Arc::clone(&before.metrics),
            roster: Arc::clone(&before.roster),
            allowance: Arc::clone(&before.allowance),
            gate: Arc::clone(&before.gate),
        });
        Ok(())
    }
}
