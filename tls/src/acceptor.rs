//! TLS towards clients: our certificate, and whose certificates are taken.

use std::io;
use std::path::Path;
use std::sync::Arc;

use outrigger_protocol::endpoint::Identity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::server::TlsStream;

use crate::{Error, pem};

/// All that it takes to answer clients that begin TLS (1.2 or later).
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
}

impl Acceptor {
    /// Shows clients `identity`. A client need not show anything; what it shows must be signed by an authority in `client_ca`. Without
    /// `client_ca` it is not asked.
    ///
    /// # Errors
    /// When a file can't be read or does not serve.
    pub fn new(identity: &Identity, client_ca: Option<&Path>) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = pem::identity(["cert", "key"], identity)?;
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Unfit(error.to_string()))?;
        let config = match client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(pem::authorities("client_ca", path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| Error::Unfit(format!("client_ca doesn't serve: {error}")))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let config = config
            .with_single_cert(chain, key)
            .map_err(|error| Error::Unfit(format!("cert and key don't serve: {error}")))?;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Answers a client's handshake over `link`.
    ///
    /// # Errors
    /// What the client did not take or show, or how the link broke.
    pub async fn accept<L: AsyncRead + AsyncWrite + Unpin>(&self, link: L) -> io::Result<TlsStream<L>> {
        self.tls.accept(link).await
    }
}
