//! How links are made safe: TLS in the modes by which MySQL's programs know it, and RSA where a password crosses a link without.
//!
//! - [`Connector`] begins TLS with a server; [`is_wanted`] says whether that is called for.
//! - [`Acceptor`] answers clients that begin it.
//! - [`rsa`] is the step by which `caching_sha2_password` and `sha256_password` hide a password on an unsafe link.
//!
//! The bytes of TLS are rustls's business, those of RSA AWS-LC's. Files are read when something is made and not again.

mod acceptor;
mod connector;
mod pem;
pub mod rsa;

pub use acceptor::Acceptor;
pub use connector::{Connector, is_wanted};
pub use tokio_rustls::TlsStream;

/// Why a link can't be made safe.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something to mend; the sentence says what.
    #[error("{0}")]
    Unfit(String),
    /// The link broke.
    #[error(transparent)]
    Broken(#[from] std::io::Error),
}
