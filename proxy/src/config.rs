//! What the proxy is told: addresses, limits, deadlines.

mod listen;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{self, Network};
use crate::certificate::Certificate;
use crate::compression::Algorithm;
use crate::error::Error;
use crate::stream::Watch;

pub use listen::{Listen, ListenAddress};

/// The proxy's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where applications connect: `"ip:port"` (port 0 takes a free one) or the path of a unix socket. Default
    /// `["127.0.0.1:3307"]`, at least one.
    pub listen: Vec<Listen>,
    /// The only addresses that may connect over TCP, unless an entry of `listen` has a list of its own; the others get MySQL's error
    /// 1130. Default none: all may.
    pub allow: Vec<Network>,
    /// Addresses that may not connect over TCP, whatever `allow` says, unless an entry of `listen` has a list of its own. Default none.
    pub deny: Vec<Network>,
    /// Addresses of load balancers, each of whose connections over TCP must begin with a PROXY protocol header; the client that it names
    /// is then the one that lists, limits and logs know. Holds likewise. Default none.
    pub proxy_protocol: Vec<Network>,
    /// How clients may have their sessions compressed, by the proxy itself and unless an entry of `listen` has a list of its own: the names of
    /// the server's `protocol_compression_algorithms`. Default all: as each client asks; at least one.
    pub compression: Vec<Algorithm>,
    /// The most connections at a time; one more is answered with MySQL's error 1040. Default 1000, 1 to 1,000,000.
    pub max_connections: usize,
    /// The most connections from one IP address at a time; one more is answered likewise. Default 0: no limit.
    pub max_connections_per_address: usize,
    /// The most sessions of one user at a time; one more is answered, once authenticated, with MySQL's error 1203. Default 0: no limit.
    pub max_connections_per_user: usize,
    /// How long reaching the source may take, its greeting included. Default 10 s, more than 0.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a client may take from the greeting until it is authenticated. Default 30 s, more than 0.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How long a client may be silent between commands and outside a transaction until it is told so with MySQL's error 4031 and closed.
    /// Default 0: as long as the source allows.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long sessions may go on with a running command or an open transaction once the proxy is stopping; those without are
    /// closed at once. Default 30 s; 0 closes all at once.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long a TCP peer may be silent before the kernel asks whether it is still there. Default 60 s, at least 1 s.
    #[serde(with = "humantime_serde")]
    pub keepalive: Duration,
    /// How long a TCP peer may acknowledge nothing of what was sent or asked, or take nothing in, until its connection is given up: TCP's
    /// own TCP_USER_TIMEOUT. Default 5 min; 0 leaves it to the kernel, about 15 minutes; else at least 1 s.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,
    /// Statements that take this long, from the command's head to the end of the reply, are logged with their digest. Default 0: none is.
    #[serde(with = "humantime_serde")]
    pub slow_query: Duration,
    /// TLS towards clients. Read from a section of its own.
    #[serde(skip)]
    pub tls: TlsConfig,
}

/// TLS between clients and the proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Whether clients may or must come over TLS (1.2 or later). Default off.
    pub ssl_mode: SslMode,
    /// The proxy's certificate, and those between it and an authority: a PEM file, read again when it changes. Needed unless off.
    pub cert: Option<PathBuf>,
    /// That certificate's private key: a PEM file. Needed unless off.
    pub key: Option<PathBuf>,
    /// The authorities that sign clients' certificates: a PEM file. A client need not have one; what it shows is verified. Without it
    /// clients are not asked.
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    /// Reads the files as the proxy would. False where TLS is off, and nothing was read.
    ///
    /// # Errors
    /// When one can't be read or does not serve.
    pub fn check(&self) -> Result<bool, Error> {
        Certificate::load(self).map(|loaded| loaded.is_some())
    }

    fn validate(&self) -> Result<(), Error> {
        let named = [self.cert.is_some(), self.key.is_some()];
        match (self.ssl_mode, named) {
            (SslMode::Optional | SslMode::Required, [false, _] | [_, false]) => Err(Error::Tls(
                "TLS with clients needs the proxy's certificate and its private key: set `cert` and `key`",
            )),
            _ => Ok(()),
        }
    }
}

/// Whether clients come over TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SslMode {
    /// It is not offered.
    #[default]
    Off,
    /// As each client likes.
    Optional,
    /// A client over TCP without TLS is refused with MySQL's error 3159. A unix socket is safe as it is.
    Required,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 3307))).into()],
            allow: Vec::new(),
            deny: Vec::new(),
            proxy_protocol: Vec::new(),
            compression: vec![Algorithm::Zlib, Algorithm::Zstd, Algorithm::Uncompressed],
            max_connections: 1000,
            max_connections_per_address: 0,
            max_connections_per_user: 0,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(30),
            idle_timeout: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(60),
            tcp_user_timeout: Duration::from_secs(300),
            slow_query: Duration::ZERO,
            tls: TlsConfig::default(),
        }
    }
}

impl Config {
    /// Checks the bounds that the fields document.
    pub fn validate(&self) -> Result<(), Error> {
        let fault = if self.listen.is_empty() {
            "listen: name at least one address"
        } else if self.listen.iter().any(Listen::is_contradictory) {
            "listen: access lists are for TCP; a unix socket's clients have no address"
        } else if self
            .listen
            .iter()
            .any(|listen| self.compression_at(listen).is_empty())
        {
            "compression: name at least one of zlib, zstd, uncompressed; [\"uncompressed\"] turns it off"
        } else if !(1..=1_000_000).contains(&self.max_connections) {
            "max_connections: must be 1 to 1000000"
        } else if self.connect_timeout.is_zero() {
            "connect_timeout: must be more than 0"
        } else if self.handshake_timeout.is_zero() {
            "handshake_timeout: must be more than 0"
        } else if self.keepalive < Duration::from_secs(1) {
            "keepalive: must be at least 1s"
        } else if (1..1000).contains(&self.tcp_user_timeout.as_millis()) {
            "tcp_user_timeout: must be 0 or at least 1s"
        } else {
            return self.tls.validate();
        };
        Err(Error::Config(fault))
    }

    /// How lost peers are noticed.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            keepalive: self.keepalive,
            user_timeout: self.tcp_user_timeout,
        }
    }

    /// True when a connection from `address` at this entry of `listen` begins with a PROXY protocol header.
    pub(crate) fn expects_header(&self, listen: &Listen, address: IpAddr) -> bool {
        let trusted = listen.proxy_protocol.as_ref().unwrap_or(&self.proxy_protocol);
        trusted.iter().any(|network| network.contains(address))
    }

    /// How clients of this entry of `listen` may be compressed.
    pub(crate) fn compression_at<'a>(&'a self, listen: &'a Listen) -> &'a [Algorithm] {
        listen.compression.as_ref().unwrap_or(&self.compression)
    }

    /// True when `address` may connect at this entry of `listen`.
    pub(crate) fn admits(&self, listen: &Listen, address: IpAddr) -> bool {
        let allow = listen.allow.as_ref().unwrap_or(&self.allow);
        let deny = listen.deny.as_ref().unwrap_or(&self.deny);
        access::admits(allow, deny, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let bare = Config {
            tls: TlsConfig {
                ssl_mode: SslMode::Optional,
                ..TlsConfig::default()
            },
            ..Config::default()
        };
        assert!(bare.validate().is_err());
        let nameless = Config {
            listen: vec![Listen {
                allow: Some(Vec::new()),
                ..ListenAddress::Unix("/s".into()).into()
            }],
            ..Config::default()
        };
        assert!(nameless.validate().is_err());
        let mut silent = Config::default();
        silent.compression.clear();
        assert!(silent.validate().is_err());
        silent.listen[0].compression = Some(vec![Algorithm::Uncompressed]);
        assert!(silent.validate().is_ok(), "each address has its own");
    }
}
