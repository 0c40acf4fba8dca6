//! Who may connect, from where and how many at a time, and what those are told that may not.

pub(crate) mod header;
mod network;
mod seats;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use outrigger_protocol::reply::ErrPacket;
use tracing::warn;

pub use network::Network;
pub(crate) use seats::{Seat, Seats};

use crate::throttle::Throttle;

/// True when a listener with these lists takes connections from `address`: the deny list does not have it, and the allow list has it or
/// is empty.
pub(crate) fn admits(allow: &[Network], deny: &[Network], address: IpAddr) -> bool {
    let on = |list: &[Network]| list.iter().any(|network| network.contains(address));
    !on(deny) && (allow.is_empty() || on(allow))
}

/// Why a connection is refused by the proxy itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It comes from an address that is to say for whom, and does not.
    NoHeader(&'static str),
    /// The access lists are against this address.
    Address(IpAddr),
    /// All places are taken.
    Full,
    /// This address has as many connections as one may have.
    FullForAddress(IpAddr),
    /// This user has as many sessions as one may have.
    FullForUser(String),
}

impl Refusal {
    /// What to call it in metrics and the log, in the order of [`Refusal::index`].
    pub(crate) const NAMES: [&'static str; 5] = [
        "address",
        "max_connections",
        "max_connections_per_address",
        "max_connections_per_user",
        "proxy_protocol",
    ];

    /// Its place in [`Refusal::NAMES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Address(_) => 0,
            Self::Full => 1,
            Self::FullForAddress(_) => 2,
            Self::FullForUser(_) => 3,
            Self::NoHeader(_) => 4,
        }
    }

    /// Its name in metrics and the log.
    pub(crate) fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// What the client is told: MySQL's own errors, a limit by address aside, which MySQL does not have.
    pub(crate) fn error(&self) -> ErrPacket<'static> {
        let (code, state, message) = match self {
            Self::NoHeader(what) => (
                1043,
                "08S01",
                Cow::Owned(format!(
                    "Bad handshake: {what}; connections from this address must begin with a PROXY protocol header"
                )),
            ),
            Self::Address(address) => (
                1130,
                "HY000",
                Cow::Owned(format!(
                    "Host '{address}' is not allowed to connect to this MySQL server"
                )),
            ),
            Self::Full => (1040, "08004", Cow::Borrowed("Too many connections")),
            Self::FullForAddress(address) => (
                1040,
                "08004",
                Cow::Owned(format!("Too many connections from '{address}'")),
            ),
            Self::FullForUser(user) => (
                1203,
                "42000",
                Cow::Owned(format!(
                    "User {user} already has more than 'max_user_connections' active connections"
                )),
            ),
        };
        ErrPacket::new(code, state, message)
    }
}

/// Says in the log who was refused, not once for each of a flood.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    said: [Throttle; Refusal::NAMES.len()],
}

impl Refusals {
    /// The client of the current span was refused.
    pub(crate) fn note(&self, refusal: &Refusal) {
        if let Some(unsaid) = self.said[refusal.index()].pass(Instant::now()) {
            let (reason, error) = (refusal.name(), refusal.error());
            warn!(reason, unsaid, "a connection was refused: {}", error.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_before_allowed() {
        let networks = |texts: &[&str]| -> Vec<Network> {
            texts
                .iter()
                .map(|text| text.parse().expect("a network"))
                .collect()
        };
        let cases: [(&[&str], &[&str], &str, bool); 7] = [
            (&[], &[], "192.0.2.1", true),
            (&["10.0.0.0/8"], &[], "10.1.2.3", true),
            (&["10.0.0.0/8"], &[], "192.0.2.1", false),
            (&["10.0.0.0/8"], &["10.9.0.0/16"], "10.9.0.1", false),
            (&[], &["10.9.0.0/16"], "10.8.0.1", true),
            (&["10.0.0.0/8"], &[], "::1", false),
            (&["10.0.0.0/8", "::1"], &[], "::1", true),
        ];
        for (allow, deny, address, admitted) in cases {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(
                admits(&networks(allow), &networks(deny), address),
                admitted,
                "{allow:?} {deny:?} {address}"
            );
        }
    }
}
