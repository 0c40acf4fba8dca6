//! What it takes to reach a MySQL server: address, account, secret, link safety. Values only; connecting is left to the
//! crates that do I/O.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// What every session of ours relies on, to be run first, whatever a server's global variables give new ones: answers come whole, a COMMIT
/// leaves nothing open behind it, a question no transaction; no statement is refused, or read otherwise, because it names no key.
pub const SESSION: &str = "SET autocommit = 1, sql_select_limit = 18446744073709551615, completion_type = 'NO_CHAIN', sql_safe_updates = 0, \
     sql_big_selects = 1, sql_auto_is_null = 0";

/// A server and the account used on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where the server listens.
    pub address: Address,
    /// The account's name.
    pub user: String,
    /// The account's password; may be empty.
    pub password: Secret,
    /// How the link is protected.
    pub tls: TlsMode,
    /// The authorities (PEM) by which `VerifyCa` and `VerifyIdentity` judge the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// What the server is shown when it asks who connects: for an account with `REQUIRE X509`.
    pub tls_identity: Option<Identity>,
}

/// A certificate and its private key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp {
        /// Host name, IPv4 or IPv6 address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A unix socket's path.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Text that is never printed (W1): `Debug` shows `***`, there is no `Display`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// MySQL's `ssl-mode` words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// Never TLS.
    #[default]
    Disabled,
    /// TLS where the server has it, else not. Nothing is verified. A unix socket stays as it is.
    Preferred,
    /// TLS or no connection.
    Required,
    /// TLS, and the server's certificate must be signed by the given authority.
    VerifyCa,
    /// Like `VerifyCa`, and the certificate must name the host.
    VerifyIdentity,
}
