//! An entry of `listen`: where, and from whom.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::access::Network;
use crate::compression::Algorithm;
use crate::error::Error;

/// Where applications connect, and what holds there instead of what holds everywhere. Written as the address alone, or as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: ListenAddress,
    /// Instead of [`Config::allow`](super::Config::allow). TCP only.
    pub allow: Option<Vec<Network>>,
    /// Instead of [`Config::deny`](super::Config::deny). TCP only.
    pub deny: Option<Vec<Network>>,
    /// Instead of [`Config::proxy_protocol`](super::Config::proxy_protocol). TCP only.
    pub proxy_protocol: Option<Vec<Network>>,
    /// Instead of [`Config::compression`](super::Config::compression).
    pub compression: Option<Vec<Algorithm>>,
}

impl Listen {
    /// True for lists of addresses where clients have none.
    pub(super) fn is_contradictory(&self) -> bool {
        matches!(self.address, ListenAddress::Unix(_)) && self.has_lists()
    }

    /// True where it has some list of addresses.
    pub(crate) fn has_lists(&self) -> bool {
        let lists = [&self.allow, &self.deny, &self.proxy_protocol];
        lists.iter().any(|list| list.is_some())
    }
}

impl From<ListenAddress> for Listen {
    fn from(address: ListenAddress) -> Self {
        Self {
            address,
            allow: None,
            deny: None,
            proxy_protocol: None,
            compression: None,
        }
    }
}

impl FromStr for Listen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse::<ListenAddress>().map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// The long form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: ListenAddress,
    allow: Option<Vec<Network>>,
    deny: Option<Vec<Network>>,
    proxy_protocol: Option<Vec<Network>>,
    compression: Option<Vec<Algorithm>>,
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an address, or a table with one like { address = \"0.0.0.0:3307\", allow = [\"10.0.0.0/8\"] }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listen, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Listen {
            address: table.address,
            allow: table.allow,
            deny: table.deny,
            proxy_protocol: table.proxy_protocol,
            compression: table.compression,
        })
    }
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket's path; absolute, or beginning with `./`.
    Unix(PathBuf),
    /// Sockets that the service manager hands over under this name.
    Systemd(String),
}

impl FromStr for ListenAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') || text.starts_with("./") {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        if let Some(name) = text.strip_prefix("systemd:").filter(|name| !name.is_empty()) {
            return Ok(Self::Systemd(name.to_owned()));
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

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for text in [
            "127.0.0.1:3306",
            "[::1]:0",
            "/run/outrigger.sock",
            "./a.sock",
            "systemd:mysql",
        ] {
            assert_eq!(
                text.parse::<ListenAddress>().expect("an address").to_string(),
                text
            );
        }
        for text in ["localhost:3306", "3306", "", "127.0.0.1", "systemd:"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
