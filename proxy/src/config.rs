//! What the proxy is told: addresses, limits, deadlines.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The proxy's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where applications connect: `"ip:port"` (port 0 takes a free one) or the path of a unix socket. Default
    /// `["127.0.0.1:3307"]`, at least one.
    ///
    /// A client should arrive by the same kind of transport as the source is reached by: over a unix socket the source takes the link for
    /// safe and expects a password in clear where a TCP client encrypts it (the full path of `caching_sha2_password`).
    pub listen: Vec<ListenAddress>,
    /// The most connections at a time; one more is answered with MySQL's error 1040. Default 1000, 1 to 1,000,000.
    pub max_connections: usize,
    /// How long reaching the source may take, its greeting included. Default 10 s, more than 0.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a client may take from the greeting until it is authenticated. Default 30 s, more than 0.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long sessions may go on with a running command or an open transaction once the proxy is stopping; those without are
    /// closed at once. Default 30 s; 0 closes all at once.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long a TCP peer may be silent before the kernel asks whether it is still there. Default 60 s, at least 1 s.
    #[serde(with = "humantime_serde")]
    pub keepalive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 3307)))],
            max_connections: 1000,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Checks the bounds that the fields document.
    pub fn validate(&self) -> Result<(), Error> {
        let fault = if self.listen.is_empty() {
            "listen: name at least one address"
        } else if !(1..=1_000_000).contains(&self.max_connections) {
            "max_connections: must be 1 to 1000000"
        } else if self.connect_timeout.is_zero() {
            "connect_timeout: must be more than 0"
        } else if self.handshake_timeout.is_zero() {
            "handshake_timeout: must be more than 0"
        } else if self.keepalive < Duration::from_secs(1) {
            "keepalive: must be at least 1s"
        } else {
            return Ok(());
        };
        Err(Error::Config(fault))
    }
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket's path; absolute, or beginning with `./`.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') || text.starts_with("./") {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_not_an_address| Error::ListenAddress(text.to_owned()))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:3306", "[::1]:0", "/run/outrigger.sock", "./a.sock"] {
            assert_eq!(
                text.parse::<ListenAddress>().expect("an address").to_string(),
                text
            );
        }
        for text in ["localhost:3306", "3306", "", "127.0.0.1"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn bounds() {
        assert!(Config::default().validate().is_ok());
        let none = Config {
            listen: Vec::new(),
            ..Config::default()
        };
        assert!(none.validate().is_err());
        let zero = Config {
            max_connections: 0,
            ..Config::default()
        };
        assert!(zero.validate().is_err());
    }
}
