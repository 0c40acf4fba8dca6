//! Opening a connection to either server: address, account, deadline. What is set on the session is left to the caller.

use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder};
use outrigger_protocol::endpoint::{Address, Endpoint, TlsMode};

use crate::error::{Error, Side};

/// Packets as large as the protocol has them: one column of 1 GiB.
const MAX_PACKET: usize = 1 << 30;

/// Connects and authenticates within `timeout`. Affected rows count the rows found, not the rows changed.
pub(crate) async fn connect(endpoint: &Endpoint, side: Side, timeout: Duration) -> Result<Conn, Error> {
    if endpoint.tls != TlsMode::Disabled {
        let what = format!(
            "TLS mode {:?} is not supported on this link: use a unix socket or tls = \"disabled\"",
            endpoint.tls
        );
        return Err(Error::Unsuitable { side, what });
    }
    let opts = OptsBuilder::default()
        .user(Some(endpoint.user.as_str()))
        .pass(Some(endpoint.password.expose()))
        .prefer_socket(false)
        .client_found_rows(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .stmt_cache_size(0)
        .max_allowed_packet(Some(MAX_PACKET))
        .connect_attribute("program_name", "outrigger");
    let opts = match &endpoint.address {
        Address::Tcp { host, port } => opts.ip_or_hostname(host.as_str()).tcp_port(*port),
        Address::Socket(path) => opts.socket(Some(path.to_string_lossy())),
    };
    let connecting = Conn::new(Opts::from(opts));
    match tokio::time::timeout(timeout, connecting).await {
        Ok(connected) => connected
            .map_err(|cause| Error::server(side, format!("connecting to {}", endpoint.address), cause)),
        Err(_elapsed) => Err(Error::ConnectTimeout {
            side,
            address: endpoint.address.to_string(),
            seconds: timeout.as_secs(),
        }),
    }
}
