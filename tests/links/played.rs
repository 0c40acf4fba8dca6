//! Plugins of which MySQL 9 has no server, behind the proxy over every pair of links: the test plays the source, the driver is the client.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger_protocol::auth::{
    AuthSwitchRequest, CACHING_SHA2_PASSWORD, CLEAR_PASSWORD, NATIVE_PASSWORD, native_password,
};
use outrigger_protocol::endpoint::{Address, Endpoint, Identity};
use outrigger_protocol::handshake::{Capabilities, Greeting, HandshakeResponse, StatusFlags, is_tls_request};
use outrigger_protocol::packet::{HEADER_SIZE, PacketHeader, put};
use outrigger_protocol::reply::{ErrPacket, OkPacket};
use outrigger_proxy::SslMode;
use outrigger_tls::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::{LINKS, Link, Source};

const PASSWORD: &str = "a played secret";
const NONCE: &[u8; 20] = b"0123456789abcdefghij";

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// A source whose accounts all have one plugin and one password.
struct Played {
    plugin: &'static str,
    tls: Option<Acceptor>,
}

impl Played {
    /// One session.
    async fn lead(&self, mut stream: Box<dyn Bytes>) -> std::io::Result<()> {
        let mut offered =
            Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
        offered |= Capabilities::LONG_PASSWORD | Capabilities::TRANSACTIONS;
        offered.set(Capabilities::SSL, self.tls.is_some());
        let greeting = Greeting {
            server_version: b"5.7.44".to_vec(),
            connection_id: 8,
            capabilities: offered,
            collation: 45,
            status: StatusFlags::AUTOCOMMIT,
            auth_data: vec![b'n'; 20],
            auth_plugin: CACHING_SHA2_PASSWORD.as_bytes().to_vec(),
        };
        send(&mut stream, &greeting.encode(), 0).await?;
        let (mut seq, mut payload) = receive(&mut stream).await?;
        if let Some(acceptor) = &self.tls {
            assert!(is_tls_request(&payload), "it goes over TLS");
            stream = Box::new(acceptor.accept(stream).await?);
            (seq, payload) = receive(&mut stream).await?;
        }
        let response = HandshakeResponse::parse(&payload).unwrap();
        assert_eq!(
            response.capabilities.contains(Capabilities::SSL),
            self.tls.is_some()
        );
        let (user, agreed) = (response.user.to_vec(), response.capabilities);
        let clear = self.plugin == CLEAR_PASSWORD;
        let switch = AuthSwitchRequest {
            plugin: self.plugin.as_bytes(),
            data: if clear { b"" } else { NONCE },
        };
        send(&mut stream, &switch.encode(), seq + 1).await?;
        let (seq, proof) = receive(&mut stream).await?;
        let due = match clear {
            true => [PASSWORD.as_bytes(), b"\0"].concat(),
            false => native_password(PASSWORD.as_bytes(), NONCE),
        };
        if proof != due {
            let words = format!("Access denied for user '{}'", String::from_utf8_lossy(&user));
            let refusal = ErrPacket::new(1045, "28000", words);
            return send(&mut stream, &refusal.encode(), seq + 1).await;
        }
        send(&mut stream, &OkPacket::default().encode(agreed), seq + 1).await?;
        // Whatever is commanded next is done.
        loop {
            let (seq, _command) = receive(&mut stream).await?;
            send(&mut stream, &OkPacket::default().encode(agreed), seq + 1).await?;
        }
    }

    /// Sessions, one after the other: the test has one at a time.
    async fn serve(self, tcp: TcpListener, unix: UnixListener) {
        loop {
            let stream: Box<dyn Bytes> = tokio::select! {
                accepted = tcp.accept() => Box::new(accepted.unwrap().0),
                accepted = unix.accept() => Box::new(accepted.unwrap().0),
            };
            // It ends when the other side has had enough.
            self.lead(stream).await.ok();
        }
    }
}

async fn send(stream: &mut Box<dyn Bytes>, payload: &[u8], seq: u8) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    put(&mut bytes, payload, seq);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn receive(stream: &mut Box<dyn Bytes>) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER_SIZE];
    stream.read_exact(&mut header).await?;
    let header = PacketHeader::parse(header);
    let mut payload = vec![0; header.size()];
    stream.read_exact(&mut payload).await?;
    Ok((header.seq, payload))
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_no_server_has_any_more() {
    let source = Source::start().await;
    let identity = Identity {
        certificate: source.pem("server-cert.pem"),
        key: source.pem("server-key.pem"),
    };
    for (plugin, upstream) in [NATIVE_PASSWORD, CLEAR_PASSWORD]
        .into_iter()
        .flat_map(|plugin| LINKS.map(|upstream| (plugin, upstream)))
    {
        let socket = source.folder.path().join(format!("{plugin}-{upstream:?}"));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = UnixListener::bind(&socket).unwrap();
        let tls = (upstream == Link::Tls).then(|| Acceptor::new(&identity, None).unwrap());
        let playing = tokio::spawn(Played { plugin, tls }.serve(tcp, unix));
        let endpoint = Endpoint {
            address: match upstream {
                Link::Socket => Address::Socket(socket),
                Link::Plain | Link::Tls => Address::Tcp {
                    host: "127.0.0.1".to_owned(),
                    port,
                },
            },
            ..source.endpoint(upstream)
        };
        let proxy = source
            .proxy("proxy.sock", endpoint, source.tls(SslMode::Optional))
            .await;
        for client in LINKS {
            let what = format!("{plugin} over {client:?} and {upstream:?}");
            let safe = client != Link::Plain && upstream != Link::Plain;
            let login = async |password: &str| {
                let opts = proxy
                    .options(client, "app", password)
                    .enable_cleartext_plugin(true);
                Conn::new(opts).await.map_err(|error| error.to_string())
            };
            if plugin == CLEAR_PASSWORD && !safe {
                let refused = login(PASSWORD).await.map(drop).expect_err(&what);
                assert!(
                    refused.contains("3159") && refused.contains("in clear"),
                    "{what}: {refused}"
                );
                continue;
            }
            let mut conn = login(PASSWORD).await.expect(&what);
            conn.ping().await.expect(&what);
            conn.disconnect().await.expect(&what);
            let refused = login("a wrong one").await.map(drop).expect_err(&what);
            assert!(
                refused.contains("Access denied for user 'app'"),
                "{what}: {refused}"
            );
        }
        proxy.stop().await;
        playing.abort();
    }
}
