//! What holds for connections that begin now, and how it is replaced while the proxy runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::certificate::Certificate;
use crate::config::Config;
use crate::error::Error;
use crate::session::Shared;
use crate::upstream::Upstream;

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
    /// Reads the TLS files of both sides for another configuration, which holds from [`Prepared::take_up`] on. Blocks for files.
    ///
    /// # Errors
    /// When the configuration is out of bounds or a file does not serve.
    pub fn prepare(&self, config: Config) -> Result<Prepared, Error> {
        config.validate()?;
        let certificate = Certificate::load(&config.tls)?.map(Arc::new);
        let upstream = self.0.get().upstream.read_again().map_err(Error::Upstream)?;
        Ok(Prepared {
            current: self.0.clone(),
            config,
            certificate,
            upstream,
        })
    }
}

/// A configuration that a running proxy can take up, with its files.
pub struct Prepared {
    current: Current,
    config: Config,
    certificate: Option<Arc<Certificate>>,
    upstream: Upstream,
}

impl Prepared {
    /// Has it hold for connections that begin from now on; those that are there keep what they began with. Addresses of `listen` stay as they
    /// are: one that is not in the configuration keeps its lists.
    pub fn take_up(self) {
        let before = self.current.get();
        self.current.replace(Shared {
            config: self.config,
            certificate: self.certificate,
            upstream: self.upstream,
            seats: Arc::clone(&before.seats),
            refusals: Arc::clone(&before.refusals),
            key: before.key.clone(),
            contexts: Arc::clone(&before.contexts),
            guard: Arc::clone(&before.guard),
            metrics: Arc::clone(&before.metrics),
            roster: Arc::clone(&before.roster),
            allowance: Arc::clone(&before.allowance),
            gate: Arc::clone(&before.gate),
        });
    }
}
