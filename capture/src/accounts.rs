//! Which accounts of the source let somebody in who connects from where Outrigger does, as everybody does who comes through its proxy.
//!
//! The source decides by its own rules, of which the pure half here is a copy: an account's host is a pattern with `%` and `_`, a network
//! with a mask, or a name, and is held against both the client's name and its address.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use tokio::net::UdpSocket;

use crate::connection::Connection;
use crate::{Config, Error};

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a source knows of whoever connects through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The host as which it sees us.
    pub host: String,
    /// Accounts that don't let us in from there, as `user@host`.
    pub shut_out: Vec<ShutOut>,
}

/// An account that lets nobody in from where we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutOut {
    /// Its name.
    pub account: String,
    /// Another account of that user that does.
    pub instead: Option<String>,
}

/// Asks the source for its accounts, locked ones and its own aside, and for how it sees us.
///
/// # Errors
/// When the source can't be asked, or its account may not read `mysql.user`.
pub async fn reach(config: &Config) -> Result<Reach, Error> {
    const DOING: &str = "asking for its accounts";
    let mut connection = Connection::open(&config.source, PATIENCE).await?;
    let host = connection
        .scalar("SELECT SUBSTRING_INDEX(USER(), '@', -1)", DOING)
        .await?;
    let rows = connection
        .query(
            "SELECT user, host FROM mysql.user WHERE account_locked = 'N' AND user NOT LIKE 'mysql.%' ORDER BY user, host",
            DOING,
        )
        .await?;
    connection.close().await;
    let accounts: Vec<_> = rows.iter().map(|row| (row.text(0), row.text(1))).collect();
    let address = match host.parse() {
        Ok(address) => Some(address),
        Err(_name) => own_address(&config.source.address).await,
    };
    Ok(judge(host, address, &accounts))
}

/// Our address on the way to a server. Nothing is sent.
async fn own_address(server: &Address) -> Option<IpAddr> {
    let Address::Tcp { host, port } = server else {
        return None;
    };
    for any in ["0.0.0.0:0", "[::]:0"] {
        let socket = UdpSocket::bind(any).await.ok()?;
        if socket.connect((host.as_str(), *port)).await.is_ok() {
            return socket
                .local_addr()
                .ok()
                .map(|address| address.ip().to_canonical());
        }
    }
    None
}

fn judge(host: String, address: Option<IpAddr>, accounts: &[(String, String)]) -> Reach {
    let lets_in = |pattern: &str| matches(pattern, &host, address);
    let shut_out = accounts
        .iter()
        .filter(|(_, pattern)| !lets_in(pattern))
        .map(|(user, pattern)| ShutOut {
            account: format!("{user}@{pattern}"),
            instead: accounts
                .iter()
                .find(|(other, pattern)| other == user && lets_in(pattern))
                .map(|(user, pattern)| format!("{user}@{pattern}")),
        })
        .collect();
    Reach { host, shut_out }
}

/// True when an account of this host lets in a client of that name and address.
fn matches(pattern: &str, name: &str, address: Option<IpAddr>) -> bool {
    if let Some((network, mask)) = pattern.split_once('/')
        && let Some((network, mask)) = network.parse::<Ipv4Addr>().ok().zip(mask_of(mask))
    {
        return matches!(address, Some(IpAddr::V4(address)) if address.to_bits() & mask == network.to_bits());
    }
    let like = |text: &str| is_like(pattern.to_lowercase().as_bytes(), text.to_lowercase().as_bytes());
    pattern.is_empty() || like(name) || address.is_some_and(|address| like(&address.to_string()))
}

/// `255.255.255.0`, or the number of its bits.
fn mask_of(text: &str) -> Option<u32> {
    match text.parse::<u32>() {
        Ok(bits) if bits <= 32 => Some(u32::MAX.checked_shl(32 - bits).unwrap_or(0)),
        _ => text.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits),
    }
}

/// LIKE: `%` stands for anything, `_` for one character, a backslash takes their meaning away.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last `%` was, and how much of the text it stands for.
    let (mut at, mut seen) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while seen < text.len() {
        let (matched, size) = match (pattern.get(at), pattern.get(at + 1)) {
            (Some(b'%'), _) => {
                back = Some((at + 1, seen));
                at += 1;
                continue;
            }
            (Some(b'_'), _) => (true, 1),
            (Some(b'\\'), Some(escaped)) => (*escaped == text[seen], 2),
            (Some(byte), _) => (*byte == text[seen], 1),
            (None, _) => (false, 0),
        };
        match (matched, &mut back) {
            (true, _) => {
                at += size;
                seen += 1;
            }
            (false, Some((after, stands_for))) => {
                *stands_for += 1;
                (at, seen) = (*after, *stands_for);
            }
            (false, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_match_as_mysql_has_it() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        for (pattern, name, address, lets_in) in [
            ("%", "localhost", None, true),
            ("", "localhost", None, true),
            ("localhost", "localhost", address("127.0.0.1"), true),
            ("127.0.0.1", "localhost", address("127.0.0.1"), true),
            // Over a unix socket there is no address.
            ("127.0.0.1", "localhost", None, false),
            ("10.0.%", "localhost", address("127.0.0.1"), false),
            ("10.0.%", "10.0.3.4", address("10.0.3.4"), true),
            ("10.0._.4", "10.0.3.4", address("10.0.3.4"), true),
            ("10.0._.4", "10.0.33.4", address("10.0.33.4"), false),
            ("%.Example.com", "app1.example.COM", address("10.0.3.4"), true),
            ("%.example.com", "example.com", address("10.0.3.4"), false),
            ("10.0.0.0/255.255.0.0", "10.0.3.4", address("10.0.3.4"), true),
            ("10.0.0.0/255.255.255.0", "10.0.3.4", address("10.0.3.4"), false),
            ("10.0.0.0/16", "app1", address("10.0.3.4"), true),
            ("0.0.0.0/0", "app1", address("10.0.3.4"), true),
            ("10.0.0.0/16", "app1", address("::1"), false),
            ("::1", "localhost", address("::1"), true),
            ("a\\_b", "a_b", None, true),
            ("a\\_b", "axb", None, false),
        ] {
            assert_eq!(matches(pattern, name, address), lets_in, "{pattern} {name}");
        }
    }

    #[test]
    fn another_account_of_the_user_is_named() {
        let account = |user: &str, host: &str| (user.to_owned(), host.to_owned());
        let accounts = vec![
            account("app", "%"),
            account("app", "10.%"),
            account("batch", "10.0.0.9"),
            account("o", "localhost"),
        ];
        let found = judge("localhost".to_owned(), None, &accounts);
        let shut_out = |account: &str, instead: Option<&str>| ShutOut {
            account: account.to_owned(),
            instead: instead.map(str::to_owned),
        };
        assert_eq!(
            found.shut_out,
            [
                shut_out("app@10.%", Some("app@%")),
                shut_out("batch@10.0.0.9", None)
            ]
        );
    }

    /// The definition, without regard to how long it takes.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'%', rest @ ..] => (0..=text.len()).any(|skipped| slowly(rest, &text[skipped..])),
            [b'_', rest @ ..] => !text.is_empty() && slowly(rest, &text[1..]),
            [b'\\', escaped, rest @ ..] => text.first() == Some(escaped) && slowly(rest, &text[1..]),
            [byte, rest @ ..] => text.first() == Some(byte) && slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn like_is_its_definition(pattern in "[ab%_\\\\]{0,8}", text in "[ab%_]{0,8}") {
            prop_assert_eq!(is_like(pattern.as_bytes(), text.as_bytes()), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
