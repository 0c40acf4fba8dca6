//! The wire-protocol proxy that applications connect to.
//!
//! One client, one upstream connection, one task. Bytes are relayed as they come (P1); packets are followed by their headers,
//! so that the proxy knows at every moment whether a session is between commands and outside a transaction: that is when it
//! may be closed without breaking anything, and where a [`guard`] may refuse a command.
//!
//! - [`Proxy`] binds addresses, accepts up to a limit, drains when it is stopped.
//! - `session` leads one connection: upstream, greeting, relay, farewell. `relay` moves the bytes.
//! - `framing` and `phase` are pure: where packets begin and end, what ends a reply.

mod config;
mod error;
mod framing;
mod greeting;
pub mod guard;
mod listener;
mod metrics;
mod phase;
mod pipe;
mod relay;
mod session;
mod stream;

pub use config::{Config, ListenAddress};
pub use error::Error;
pub use listener::Proxy;
pub use metrics::Metrics;
