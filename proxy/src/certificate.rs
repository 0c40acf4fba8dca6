//! The proxy's certificate: loaded when the proxy begins, and again whenever its files have changed. What does not serve leaves the
//! one before in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use outrigger_protocol::endpoint::Identity;
use outrigger_tls::Acceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{SslMode, TlsConfig};
use crate::error::Error;
use crate::metrics::Metrics;

/// How often the files are looked at. A change is taken up at the first look that finds nothing new, so that a certificate and its key
/// may be replaced one after the other.
const INTERVAL: Duration = Duration::from_secs(1);

/// The certificate with which clients are answered.
pub(crate) struct Certificate {
    files: Files,
    current: RwLock<Acceptor>,
    changes: std::sync::Mutex<Changes>,
}

#[derive(Debug, Clone)]
struct Files {
    identity: Identity,
    client_ca: Option<PathBuf>,
}

impl Certificate {
    /// Loads what the configuration names; `None` where TLS is off.
    pub(crate) fn load(config: &TlsConfig) -> Result<Option<Self>, Error> {
        let (SslMode::Optional | SslMode::Required, Some(cert), Some(key)) =
            (config.ssl_mode, &config.cert, &config.key)
        else {
            return Ok(None);
        };
        let files = Files {
            identity: Identity {
                certificate: cert.clone(),
                key: key.clone(),
            },
            client_ca: config.client_ca.clone(),
        };
        // Looked at before they are read: what changes in between is noticed.
        let changes = Changes::since(files.stamps());
        let current = RwLock::new(files.load().map_err(Error::Certificate)?);
        Ok(Some(Self {
            files,
            current,
            changes: changes.into(),
        }))
    }

    /// What answers the next client.
    pub(crate) fn acceptor(&self) -> Acceptor {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Loads the files of the current certificate again whenever they have changed, until cancelled.
    pub(crate) async fn watch(
        current: impl Fn() -> Option<Arc<Self>>,
        metrics: Arc<Metrics>,
        cancel: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let Some(certificate) = current() else { continue };
            let metrics = Arc::clone(&metrics);
            let looking = tokio::task::spawn_blocking(move || certificate.look(&metrics));
            if let Err(cause) = looking.await {
                error!(%cause, "looking at the proxy's certificate ended by a defect");
            }
        }
    }

    /// One look at the files.
    fn look(&self, metrics: &Metrics) {
        let stamps = self.files.stamps();
        let settled = self
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look(stamps);
        if !settled {
            return;
        }
        let certificate = self.files.identity.certificate.display();
        match self.files.load() {
            Ok(acceptor) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                metrics.certificate_loaded();
                info!(%certificate, "the proxy's certificate was loaded again");
            }
            Err(cause) => {
                metrics.certificate_failed();
                error!(
                    %certificate,
                    "the proxy's certificate has changed and does not serve, the one before stays in use: {cause}"
                );
            }
        }
    }
}

impl Files {
    fn load(&self) -> Result<Acceptor, outrigger_tls::Error> {
        Acceptor::new(&self.identity, self.client_ca.as_deref())
    }

    fn stamps(&self) -> Vec<Stamp> {
        let paths = [&self.identity.certificate, &self.identity.key];
        paths
            .into_iter()
            .chain(&self.client_ca)
            .map(|path| stamp(path))
            .collect()
    }
}

/// What changes with a file's content: its time, size and number; `None` while it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;

    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// Which state of the files was loaded, and which was seen last.
#[derive(Debug)]
struct Changes {
    tried: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Changes {
    fn since(stamps: Vec<Stamp>) -> Self {
        Self {
            tried: stamps.clone(),
            seen: stamps,
        }
    }

    /// True when the files have changed and then stayed as they are from one look to the next.
    fn look(&mut self, now: Vec<Stamp>) -> bool {
        let settled = now == self.seen && now != self.tried;
        if settled {
            self.tried.clone_from(&now);
        }
        self.seen = now;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_and_when_it_has_settled() {
        let at = |second: u64| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(second), 9, 9));
        let mut changes = Changes::since(vec![at(1), at(1)]);
        let looks = [
            (vec![at(1), at(1)], false),
            // The certificate first, then its key.
            (vec![at(5), at(1)], false),
            (vec![at(5), at(6)], false),
            (vec![at(5), at(6)], true),
            (vec![at(5), at(6)], false),
            // Gone, and back as it was: nothing to load.
            (vec![None, at(6)], false),
            (vec![at(5), at(6)], false),
            (vec![at(5), at(6)], false),
        ];
        for (index, (now, due)) in looks.into_iter().enumerate() {
            assert_eq!(changes.look(now), due, "look {index}");
        }
    }
}
