//! What holds for connections that begin now, and how it is replaced while the proxy runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::certificate::Certificate;
use crate::config::Config;
use crate::error::Error;
use crate::listener::{Listener, Listening};
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
pub struct Reloader {
    current: Current,
    listening: Listening,
}

impl Reloader {
    pub(crate) fn new(current: Current, listening: Listening) -> Self {
        Self { current, listening }
    }

    /// Reads the TLS files of both sides for another configuration, and listens where nobody does yet; it holds from
    /// [`Prepared::take_up`] on. Blocks for files.
    ///
    /// # Errors
    /// When the configuration is out of bounds, a file does not serve, or an address can't be listened at.
    pub async fn prepare(&self, config: Config) -> Result<Prepared, Error> {
        config.validate()?;
        let certificate = Certificate::load(&config.tls)?.map(Arc::new);
        let before = self.current.get();
        let upstream = before.upstream.read_again().map_err(Error::Upstream)?;
        Ok(Prepared {
            listeners: self.listening.prepare(&config.listen).await?,
            listening: self.listening.clone(),
            current: self.current.clone(),
            config,
            certificate,
            upstream,
        })
    }
}

/// A configuration that a running proxy can take up, with its files and sockets.
pub struct Prepared {
    current: Current,
    listening: Listening,
    listeners: Vec<Arc<Listener>>,
    config: Config,
    certificate: Option<Arc<Certificate>>,
    upstream: Upstream,
}

impl Prepared {
    /// Has it hold for connections that begin from now on; those that are there keep what they began with, also where they came in at
    /// an address that is listened at no more.
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
        self.listening.take_up(self.listeners);
    }
}
