//! Logging in: the greeting, the response, and whatever the account's authentication plugin asks for after it.
//!
//! `caching_sha2_password` in full: the cached scramble, and where the server has none cached the password itself, in clear
//! over a unix socket and over TLS, by the server's RSA key over plain TCP. `mysql_native_password`, too.

use std::time::Duration;

use outrigger_protocol::auth::{
    self, AuthPacket, CACHING_SHA2_PASSWORD, NATIVE_PASSWORD, SHA2_FAST_AUTH_SUCCESS,
    SHA2_FULL_AUTHENTICATION, SHA2_REQUEST_PUBLIC_KEY,
};
use outrigger_protocol::endpoint::{Address, Endpoint};
use outrigger_protocol::handshake::{Capabilities, Greeting, HandshakeResponse};
use outrigger_protocol::reply::ERR;
use outrigger_tls::{Connector, rsa};
use zeroize::Zeroizing;

use crate::Error;
use crate::connection::server_error;
use crate::version::Version;
use crate::wire::Wire;

const DOING: &str = "logging in";

/// utf8mb4_general_ci, known to every version since 5.5.
const COLLATION: u8 = 45;

/// The largest payload either side may send: a binlog event of 1 GiB.
const MAX_PACKET: u32 = 1 << 30;

/// What we use, where the server has it.
const WANTED: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA);

/// Logs in on a fresh connection and returns the server's version.
pub(crate) async fn login(
    wire: &mut Wire,
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<Version, Error> {
    let packet = wire.receive(DOING, patience).await?;
    if packet.first() == Some(&ERR) {
        // Too many connections, host blocked, host not allowed: said before any greeting.
        return Err(denial(endpoint, packet));
    }
    let greeting = Greeting::parse(packet).map_err(|error| protocol(endpoint, error.to_string()))?;
    let version = Version::new(String::from_utf8_lossy(&greeting.server_version));
    let mut plugin = match greeting.auth_plugin.as_slice() {
        known if scramble(known, b"", b"").is_some() => known.to_vec(),
        // The server's default is none of ours; it will ask to switch to the account's.
        _ => NATIVE_PASSWORD.as_bytes().to_vec(),
    };
    let mut nonce = greeting.auth_data;
    let password = endpoint.password.expose().as_bytes();
    let connector = connector(endpoint, greeting.capabilities.contains(Capabilities::SSL))?;
    let mut response = HandshakeResponse {
        capabilities: WANTED & greeting.capabilities,
        max_packet_size: MAX_PACKET,
        collation: COLLATION,
        user: endpoint.user.as_bytes(),
        auth_response: &scramble(&plugin, password, &nonce).unwrap_or_default(),
        database: None,
        auth_plugin: Some(&plugin),
        attributes: attributes(greeting.capabilities),
        zstd_level: None,
    };
    if let Some(connector) = &connector {
        wire.send(&response.tls_request(), DOING, patience).await?;
        wire.protect(connector, patience).await?;
        response.capabilities |= Capabilities::SSL;
    }
    wire.send(&response.encode(), DOING, patience).await?;
    loop {
        let packet = wire.receive(DOING, patience).await?;
        let parsed = AuthPacket::parse(packet).map_err(|error| protocol(endpoint, error.to_string()))?;
        match parsed {
            Some(AuthPacket::Ok) => return Ok(version),
            Some(AuthPacket::Err) => return Err(denial(endpoint, packet)),
            Some(AuthPacket::Switch(request)) => {
                plugin = request.plugin.to_vec();
                nonce = request.data.to_vec();
                let Some(answer) = scramble(&plugin, password, &nonce) else {
                    return Err(unsupported(endpoint, &plugin));
                };
                wire.send(&answer, DOING, patience).await?;
            }
            Some(AuthPacket::MoreData(data)) if plugin == CACHING_SHA2_PASSWORD.as_bytes() => match data {
                [SHA2_FAST_AUTH_SUCCESS] => {}
                [SHA2_FULL_AUTHENTICATION] => {
                    // Nobody listens between two processes of one host either.
                    let unheard = connector.is_some() || matches!(endpoint.address, Address::Socket(_));
                    prove_in_full(wire, endpoint, (&nonce, unheard), patience).await?;
                }
                _ => {
                    return Err(protocol(
                        endpoint,
                        "unknown data of caching_sha2_password".to_owned(),
                    ));
                }
            },
            Some(AuthPacket::NextFactor(request)) => {
                let plugin = format!("a second factor ({})", String::from_utf8_lossy(request.plugin));
                return Err(unsupported(endpoint, plugin.as_bytes()));
            }
            Some(AuthPacket::MoreData(_)) | None => {
                return Err(protocol(endpoint, "a packet that has no place there".to_owned()));
            }
        }
    }
}

/// How to protect the link; `None`: not at all. `offered`: the server can do TLS.
fn connector(endpoint: &Endpoint, offered: bool) -> Result<Option<Connector>, Error> {
    let made = outrigger_tls::is_wanted(endpoint, offered).and_then(|wanted| {
        wanted
            .then(|| Connector::new(endpoint, endpoint.tls_identity.as_ref()))
            .transpose()
    });
    made.map_err(|error| Error::Tls {
        address: endpoint.address.clone(),
        what: error.to_string(),
    })
}

/// The server has no cached hash: it wants the password itself.
async fn prove_in_full(
    wire: &mut Wire,
    endpoint: &Endpoint,
    (nonce, unheard): (&[u8], bool),
    patience: Duration,
) -> Result<(), Error> {
    let password = endpoint.password.expose().as_bytes();
    if unheard {
        let clear = Zeroizing::new([password, &[0]].concat());
        return wire.send(&clear, DOING, patience).await;
    }
    wire.send(&[SHA2_REQUEST_PUBLIC_KEY], DOING, patience).await?;
    let packet = wire.receive(DOING, patience).await?;
    let key = match AuthPacket::parse(packet) {
        Ok(Some(AuthPacket::MoreData(key))) => key,
        Ok(Some(AuthPacket::Err)) => return Err(denial(endpoint, packet)),
        _ => return Err(protocol(endpoint, "no RSA public key".to_owned())),
    };
    let hidden = Zeroizing::new(auth::xor_password(password, nonce));
    let secret = rsa::encrypt(&hidden, key).map_err(|what| protocol(endpoint, what.to_owned()))?;
    wire.send(&secret, DOING, patience).await
}

/// A password's proof by a plugin's rules; `None` for a plugin that isn't ours.
fn scramble(plugin: &[u8], password: &[u8], nonce: &[u8]) -> Option<Vec<u8>> {
    if plugin == NATIVE_PASSWORD.as_bytes() {
        Some(auth::native_password(password, nonce))
    } else if plugin == CACHING_SHA2_PASSWORD.as_bytes() {
        Some(auth::caching_sha2_password(password, nonce))
    } else {
        None
    }
}

/// What `performance_schema.session_connect_attrs` shows of us.
fn attributes(offered: Capabilities) -> Vec<(&'static [u8], &'static [u8])> {
    match offered.contains(Capabilities::CONNECT_ATTRS) {
        true => vec![
            (b"_client_name", b"outrigger"),
            (b"_client_version", env!("CARGO_PKG_VERSION").as_bytes()),
        ],
        false => Vec::new(),
    }
}

/// An ERR packet during login. What is the account's fault is told apart from a server that is full or going down.
fn denial(endpoint: &Endpoint, packet: &[u8]) -> Error {
    match server_error(&endpoint.address, DOING, packet) {
        // Access denied in its forms, host not allowed, old or unknown plugin, password expired, account locked
        Error::Server {
            code: code @ (1044 | 1045 | 1130 | 1698 | 1862 | 3118 | 3955),
            address,
            message,
            ..
        } => Error::Denied {
            address,
            user: endpoint.user.clone(),
            code,
            message,
        },
        Error::Server {
            code: 1251 | 1524,
            address,
            message,
            ..
        } => Error::Plugin {
            address,
            user: endpoint.user.clone(),
            plugin: message,
        },
        other => other,
    }
}

fn unsupported(endpoint: &Endpoint, plugin: &[u8]) -> Error {
    Error::Plugin {
        address: endpoint.address.clone(),
        user: endpoint.user.clone(),
        plugin: String::from_utf8_lossy(plugin).into_owned(),
    }
}

fn protocol(endpoint: &Endpoint, what: String) -> Error {
    Error::Protocol {
        address: endpoint.address.clone(),
        doing: DOING,
        what,
    }
}
