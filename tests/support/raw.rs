//! A client that does nothing by itself: it logs in, sends the payloads that it is given, and keeps every byte that it hears.

use outrigger_protocol::handshake::{Capabilities, Greeting, HandshakeResponse};
use outrigger_protocol::packet::{self, HEADER_SIZE, PacketHeader, put};
use outrigger_tls::Connector;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::packed::{self, Method};

pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// What most clients of today ask for, MySQL's own programs' query attributes and metadata on demand left out.
pub(crate) const USUAL: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// No payload in the tests is larger.
const LIMIT: usize = 1 << 27;

/// A session.
pub(crate) struct Raw {
    stream: Box<dyn Bytes>,
    /// The session's number on the server.
    pub(crate) id: u32,
    pub(crate) capabilities: Capabilities,
    /// All that was heard since the greeting.
    pub(crate) heard: Vec<u8>,
    /// Where the next payload begins in it.
    at: usize,
    /// The number of the packet that follows the last payload.
    pub(crate) next_seq: u8,
}

impl Raw {
    /// A connection that has read the greeting, and what that offers.
    pub(crate) async fn greeted(port: u16) -> std::io::Result<(Box<dyn Bytes>, Greeting)> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut stream: Box<dyn Bytes> = Box::new(stream);
        let mut header = [0; HEADER_SIZE];
        stream.read_exact(&mut header).await?;
        let mut payload = vec![0; PacketHeader::parse(header).size()];
        stream.read_exact(&mut payload).await?;
        let greeting = Greeting::parse(&payload).map_err(std::io::Error::other)?;
        Ok((stream, greeting))
    }

    /// Logs in as an account without a password, over TLS if a way is given, and compressed from there on if that is wanted. Fails when the server refuses.
    pub(crate) async fn login(
        port: u16,
        account: (&str, &str),
        wanted: Capabilities,
        tls: Option<&Connector>,
    ) -> std::io::Result<Self> {
        let mut raw = Self::login_at(3, port, account, wanted, tls).await?;
        if let Some(method) = Method::agreed(raw.capabilities) {
            raw.stream = packed::unpacked(raw.stream, method);
        }
        Ok(raw)
    }

    /// The same with this level for zstd, and what is compressed stays so.
    pub(crate) async fn login_at(
        level: u8,
        port: u16,
        (user, database): (&str, &str),
        wanted: Capabilities,
        tls: Option<&Connector>,
    ) -> std::io::Result<Self> {
        let (mut stream, greeting) = Self::greeted(port).await?;
        let capabilities = wanted & greeting.capabilities | Capabilities::CONNECT_WITH_DB;
        let response = HandshakeResponse {
            capabilities,
            max_packet_size: 1 << 30,
            collation: 45,
            user: user.as_bytes(),
            auth_response: b"",
            database: Some(database.as_bytes()),
            auth_plugin: wanted
                .contains(Capabilities::PLUGIN_AUTH)
                .then_some(b"caching_sha2_password"),
            attributes: Vec::new(),
            zstd_level: capabilities
                .contains(Capabilities::ZSTD_COMPRESSION)
                .then_some(level),
        };
        let mut seq = 1;
        let mut payload = response.encode();
        if let Some(connector) = tls {
            let request = response.tls_request();
            payload[..4].copy_from_slice(&request[..4]);
            let mut bytes = Vec::new();
            seq = put(&mut bytes, &request, seq);
            stream.write_all(&bytes).await?;
            stream = Box::new(connector.connect(stream).await.map_err(std::io::Error::other)?);
        }
        let mut raw = Self {
            stream,
            id: greeting.connection_id,
            capabilities,
            heard: Vec::new(),
            at: 0,
            next_seq: 0,
        };
        raw.send(&payload, seq).await?;
        let said = raw.receive().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        match said.first() {
            Some(0) => {
                // The number of the packet is one more where TLS was asked for.
                (raw.heard, raw.at) = (Vec::new(), 0);
                Ok(raw)
            }
            _ => Err(std::io::Error::other(String::from_utf8_lossy(&said).into_owned())),
        }
    }

    /// Sends a payload in packets numbered from `seq` on.
    pub(crate) async fn send(&mut self, payload: &[u8], seq: u8) -> std::io::Result<u8> {
        let mut bytes = Vec::with_capacity(payload.len() + HEADER_SIZE);
        let next = put(&mut bytes, payload, seq);
        self.write(&bytes).await?;
        Ok(next)
    }

    /// Sends bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next payload; `None` when the server has closed.
    pub(crate) async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        while !is_whole(&self.heard[self.at..]) {
            let end = self.heard.len();
            self.heard.resize(end + (1 << 18), 0);
            let count = self.stream.read(&mut self.heard[end..]).await;
            self.heard.truncate(end + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Ok(None);
            }
        }
        let joined = packet::join(&self.heard[self.at..], LIMIT).map_err(std::io::Error::other)?;
        let joined = joined.ok_or(std::io::ErrorKind::InvalidData)?;
        (self.at, self.next_seq) = (self.at + joined.consumed, joined.next_seq);
        Ok(Some(joined.payload.into_owned()))
    }

    /// Blanks the nonce at the end of the last payload in what was heard.
    pub(crate) fn forget_nonce(&mut self) {
        self.heard[self.at - 21..self.at].fill(0);
    }

    /// Sends all of `bytes` and keeps what comes until the server closes; both at once, so that neither waits for the other.
    pub(crate) async fn drain(mut self, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let writing = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        let (wrote, read) = tokio::join!(writing, reader.read_to_end(&mut self.heard));
        wrote?;
        read?;
        Ok(self.heard)
    }
}

/// Whether a payload's last byte is there.
fn is_whole(mut bytes: &[u8]) -> bool {
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_SIZE>() {
        let header = PacketHeader::parse(*header);
        match rest.get(header.size()..) {
            Some(_) if !header.is_continued() => return true,
            Some(after) => bytes = after,
            None => return false,
        }
    }
    false
}
