//! The wire-protocol proxy that applications connect to.
//!
//! One client, one upstream connection, one task. Bytes are relayed as they come (P1); packets are followed by their headers,
//! so that the proxy knows at every moment whether a session is between commands and outside a transaction: that is when it
//! may be closed without breaking anything, and where a [`guard`] may refuse a command.
//!
//! - [`Proxy`] binds addresses, accepts up to a limit, drains when it is stopped.
//! - `access` says who may connect and how many at a time.
//! - `session` leads one connection: handshake, relay, farewell. `relay` moves the bytes.
//! - `handshake` passes the packets up to the end of authentication, with TLS on either side; `bridge` is the pure machine that says
//!   what each side must be told where their links differ in safety. The proxy keeps no password.
//! - `compression` is the layer over a client's connection where a compressed session was agreed on.
//! - `account` notes what becomes of a session's commands: for the metrics, for the [`Roster`], who is connected, and
//!   for the `slow` log.
//! - `ties` follows what ties a session to its server: prepared statements, temporary tables, locks, variables.
//! - [`Gate`] holds new transactions back at their boundaries for as long as a [`Hold`] lasts.
//! - `framing` and `phase` are pure: where packets begin and end, what ends a reply.

mod access;
mod account;
mod bridge;
mod certificate;
mod compression;
mod config;
mod current;
mod error;
mod framing;
mod greeting;
pub mod guard;
mod handshake;
mod hold;
mod listener;
mod metrics;
mod phase;
mod pipe;
mod relay;
mod roster;
mod session;
mod slow;
mod stream;
mod throttle;
mod ties;
mod upstream;
mod wire;
mod workers;

pub use access::Network;
pub use compression::Algorithm;
pub use config::{Config, Listen, ListenAddress, SslMode, TlsConfig};
pub use current::{Prepared, Reloader};
pub use error::Error;
pub use hold::{AlreadyHeld, Gate, Hold, Inside};
pub use listener::{Inherited, Listening, Proxy, Ready};
pub use metrics::Metrics;
pub use roster::{Activity, Connected, Roster, Seen};
