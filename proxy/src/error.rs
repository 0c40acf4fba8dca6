//! What keeps the proxy from starting or running. Faults of a single connection are told to its client and logged, not here.

use std::io;

use crate::config::ListenAddress;

/// Why the proxy can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of its bounds.
    #[error("proxy configuration: {0}")]
    Config(&'static str),
    /// A setting of `[proxy.tls]` is not right.
    #[error("proxy configuration: {0}")]
    Tls(&'static str),
    /// A listen address is neither `ip:port` nor a path.
    #[error(
        "proxy configuration: {0:?} is no address to listen at: write \"ip:port\", the absolute path of a unix socket, or \"systemd:NAME\""
    )]
    ListenAddress(String),
    /// An entry of an access list is none.
    #[error(
        "{0:?} is no address and no network: write \"10.1.2.3\" or \"10.0.0.0/8\", without bits of an address behind the prefix"
    )]
    Network(String),
    /// An address can't be listened at.
    #[error(
        "the proxy can't listen at {address}: {cause}; is another program using it, or is it not this machine's?"
    )]
    Listen {
        /// Where.
        address: ListenAddress,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Lists of addresses for a unix socket that was handed over under this name.
    #[error(
        "proxy configuration: listen: a unix socket was handed over as \"systemd:{0}\", whose clients have no address; access lists are for TCP"
    )]
    ListsForUnix(String),
    /// The certificate for clients can't be used.
    #[error("proxy.tls: {0}")]
    Certificate(#[source] outrigger_tls::Error),
    /// TLS to the source can't be set up.
    #[error("proxy: TLS to the source: {0}")]
    Upstream(#[source] outrigger_tls::Error),
    /// No key could be made for clients without TLS.
    #[error("proxy: {0}")]
    Key(#[source] outrigger_tls::Error),
    /// The threads for sessions can't be started.
    #[error(
        "the proxy can't start its threads: {0}; is a limit reached, of threads or of open files (ulimit -u, ulimit -n)?"
    )]
    Threads(#[source] io::Error),
    /// One of the proxy's own tasks panicked.
    #[error("the proxy's listener at {0} ended by a defect of the proxy; the log has its message")]
    Defect(ListenAddress),
}
