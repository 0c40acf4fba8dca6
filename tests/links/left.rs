//! Clients that leave in the middle of a handshake, and what a source on another machine makes of it.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use outrigger_protocol::endpoint::{Address, Endpoint, TlsMode};
use outrigger_protocol::handshake::HandshakeResponse;
use outrigger_protocol::packet::put;
use outrigger_proxy::SslMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Link, Source};
use crate::support::raw::{Raw, USUAL};
use crate::support::{PATIENCE, connect, run};

/// This machine's address in its network, if it is in one.
fn own_address() -> Option<IpAddr> {
    // Nothing is sent: it is asked which address would be used.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// A client says this much of a handshake and leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Greeted,
    AskingForTls,
    /// Its password's proof is asked for.
    Asked,
}

impl Leaves {
    async fn play(self, port: u16) -> std::io::Result<()> {
        let (mut stream, _) = Raw::greeted(port).await?;
        let response = HandshakeResponse {
            capabilities: USUAL,
            max_packet_size: 1 << 24,
            collation: 45,
            user: b"sha2",
            auth_response: &[9; 32],
            database: None,
            auth_plugin: Some(b"caching_sha2_password"),
            attributes: Vec::new(),
            zstd_level: None,
        };
        let payload = match self {
            Self::Greeted => return Ok(()),
            Self::AskingForTls => response.tls_request(),
            Self::Asked => response.encode(),
        };
        let mut bytes = Vec::new();
        put(&mut bytes, &payload, 1);
        stream.write_all(&bytes).await?;
        if self == Self::Asked {
            stream.read_exact(&mut [0; 6]).await?;
        }
        Ok(())
    }
}

/// A source on another machine counts handshakes that break off against the proxy's address, and after some lets nobody in from there.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_do_not_count_against_the_proxy() {
    let Some(host) = own_address() else {
        println!("this machine is in no network: left out");
        return;
    };
    let addresses = format!("--bind-address=127.0.0.1,{host}");
    let source = Source::with(&[&addresses, "--max-connect-errors=2"]).await;
    let mut admin = connect(&source.server).await;
    let counts = format!(
        "SELECT sum_connect_errors + count_handshake_errors, count_auth_plugin_errors + count_authentication_errors \
         FROM performance_schema.host_cache WHERE ip = '{host}'"
    );
    for (tls, name) in [(TlsMode::Disabled, "bare.sock"), (TlsMode::Required, "tls.sock")] {
        let upstream = Endpoint {
            address: Address::Tcp {
                host: host.to_string(),
                port: source.server.port(),
            },
            tls,
            ..source.endpoint(Link::Plain)
        };
        let proxy = source.proxy(name, upstream, source.tls(SslMode::Optional)).await;
        // The source counts for addresses that it knows, from now on.
        run(&mut admin, "TRUNCATE performance_schema.host_cache").await;
        proxy.driver(Link::Tls, "sha2", "sha2 secret").await.unwrap();
        for (turn, leaves) in [Leaves::Greeted, Leaves::AskingForTls, Leaves::Asked]
            .repeat(3)
            .into_iter()
            .enumerate()
        {
            leaves.play(proxy.0.port).await.unwrap();
            let until = Instant::now() + PATIENCE;
            loop {
                let (broken, refused): (usize, usize) = admin.query_first(&counts).await.unwrap().unwrap();
                assert_eq!(broken, 0, "{leaves:?} over {tls:?}");
                if refused > turn {
                    break;
                }
                assert!(Instant::now() < until, "{leaves:?} over {tls:?}: never ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        proxy.driver(Link::Tls, "sha2", "sha2 secret").await.unwrap();
        proxy.stop().await;
    }
}
