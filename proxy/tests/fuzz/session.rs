//! One session: the input is a list of moves by client and source, and the proxy between them must not panic, hang or grow.
//!
//! A move is a byte that says who moves and how, a length of two bytes, and as many bytes. Moves in packets are numbered as they should
//! be, so that mutations of what is inside reach far; bare ones are what they are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Cursor;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use outrigger_protocol::endpoint::{Address, Endpoint, Identity, Secret, TlsMode};
use outrigger_protocol::packet::put;
use outrigger_proxy::guard::{self, Policy, Watched};
use outrigger_proxy::{Config, ListenAddress, Proxy, SslMode, TlsConfig};
use outrigger_tls::{Acceptor, Connector};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The source moves, not the client.
pub(crate) const SOURCE: u8 = 1;
/// The bytes go out as they are, in no packet.
pub(crate) const BARE: u8 = 1 << 1;
/// It begins a command: numbered from 0.
pub(crate) const ANEW: u8 = 1 << 2;
/// The proxy gets time before the next move.
pub(crate) const WAIT: u8 = 1 << 3;
/// Nothing more comes from there.
pub(crate) const CLOSE: u8 = 1 << 4;
/// TLS begins: the client has sent this request for it, or the source has got the proxy's.
pub(crate) const TLS: u8 = 1 << 5;

/// In the first byte of an input: the client is connected over TCP.
pub(crate) const OVER_TCP: u8 = 1;
/// The proxy wants TLS of the source.
pub(crate) const SAFE: u8 = 1 << 1;

/// How long a session may go on once both ends have left.
const LAST: Duration = Duration::from_secs(10);
/// How long a handshake of TLS may take: whoever does not answer it is no part of it.
const SECURED: Duration = Duration::from_millis(20);
/// How long a request for TLS is: a packet of 32 bytes.
const REQUEST: usize = 4 + 32;
/// Of what an end hears this much is looked at.
const HEARD: usize = 1 << 16;

trait Bytes: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

/// The proxies, one whose link to the source is bare and one that wants it safe, and what the ends need for TLS.
struct Stage {
    runtime: Runtime,
    _folder: tempfile::TempDir,
    fronts: [Front; 2],
    acceptor: Acceptor,
    connector: Connector,
}

/// A proxy's port and path, and the socket of the source behind it.
struct Front {
    port: u16,
    path: PathBuf,
    source: UnixListener,
}

static STAGE: LazyLock<Mutex<Stage>> = LazyLock::new(|| Mutex::new(Stage::new()));

impl Stage {
    fn new() -> Self {
        // One thread: what the proxy does with an input does not depend on the machine.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fronts = runtime.block_on(async {
            [
                Front::new(folder.path(), "bare", TlsMode::Disabled).await,
                Front::new(folder.path(), "safe", TlsMode::Required).await,
            ]
        });
        let (certificate, key) = identity();
        Self {
            runtime,
            _folder: folder,
            fronts,
            acceptor: Acceptor::new(&Identity { certificate, key }, None).unwrap(),
            connector: Connector::new(&endpoint(PathBuf::new(), TlsMode::Required), None).unwrap(),
        }
    }

    async fn connect(&self, how: u8) -> (Box<dyn Bytes>, Box<dyn Bytes>) {
        let front = &self.fronts[usize::from(how & SAFE != 0)];
        let client: Box<dyn Bytes> = if how & OVER_TCP != 0 {
            let stream = TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
            // No port is kept for late packets: there are thousands a second.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            Box::new(stream)
        } else {
            Box::new(UnixStream::connect(&front.path).await.unwrap())
        };
        let (source, _) = front.source.accept().await.unwrap();
        (client, Box::new(source))
    }

    /// What comes of a link on which TLS is to begin; `ahead` was read from it already.
    async fn secure(&self, mover: u8, ahead: Vec<u8>, bare: Box<dyn Bytes>) -> Option<Box<dyn Bytes>> {
        let (read, write) = tokio::io::split(bare);
        let link = tokio::io::join(Cursor::new(ahead).chain(read), write);
        let securing = async {
            let safe: Box<dyn Bytes> = match mover & SOURCE != 0 {
                true => Box::new(self.acceptor.accept(link).await.ok()?),
                false => Box::new(self.connector.connect(link).await.ok()?),
            };
            Some(safe)
        };
        tokio::time::timeout(SECURED, securing).await.ok().flatten()
    }
}

impl Front {
    async fn new(folder: &Path, name: &str, tls: TlsMode) -> Self {
        let (behind, path) = (
            folder.join(format!("{name}-source")),
            folder.join(format!("{name}-proxy")),
        );
        let source = UnixListener::bind(&behind).unwrap();
        let (cert, key) = identity();
        let config = Config {
            listen: vec![
                "127.0.0.1:0".parse().unwrap(),
                ListenAddress::Unix(path.clone()).into(),
            ],
            tls: TlsConfig {
                ssl_mode: SslMode::Optional,
                cert: Some(cert),
                key: Some(key),
                client_ca: None,
            },
            ..Config::default()
        };
        let policy = Policy::new(&guard::Config::default(), Arc::new(Everything));
        let proxy = Proxy::bind(config, endpoint(behind, tls))
            .await
            .unwrap()
            .guarded_by(Arc::new(policy));
        let ListenAddress::Tcp(address) = proxy.listening().addresses()[0].clone() else {
            panic!("no port");
        };
        tokio::spawn(proxy.run(CancellationToken::new()));
        Self {
            port: address.port(),
            path,
            source,
        }
    }
}

/// A certificate and its key that are nobody's, until 2126.
fn identity() -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/tls");
    (folder.join("cert.pem"), folder.join("key.pem"))
}

fn endpoint(path: PathBuf, tls: TlsMode) -> Endpoint {
    Endpoint {
        address: Address::Socket(path),
        user: String::new(),
        password: Secret::default(),
        tls,
        tls_ca: None,
        tls_identity: None,
    }
}

/// Every table is one that matters: the guard has something to do.
struct Everything;

impl Watched for Everything {
    fn table(&self, _database: &str, _table: &str) -> bool {
        true
    }

    fn database(&self, _database: &str) -> bool {
        true
    }

    fn may_purge(&self, _before: Option<&str>) -> bool {
        false
    }
}

/// Plays an input. Returns a number for what both ends heard.
pub(crate) fn play(input: &[u8]) -> u64 {
    let stage = STAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((how, moves)) = input.split_first() else {
        return 0;
    };
    stage.runtime.block_on(async {
        let (client, source) = stage.connect(*how).await;
        let (mut client, mut source) = (End::new(client), End::new(source));
        let mut rest = moves;
        while let Some(([kind, low, high], after)) = rest.split_first_chunk::<3>() {
            let size = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
            let (bytes, next) = after.split_at(size);
            rest = next;
            let mover = if kind & SOURCE != 0 {
                &mut source
            } else {
                &mut client
            };
            match kind & TLS != 0 {
                true => mover.begin_tls(stage.deref(), *kind, bytes).await,
                false => mover.make_move(*kind, bytes).await,
            }
            for _ in 0..if kind & WAIT != 0 { 8 } else { 0 } {
                tokio::task::yield_now().await;
                client.listen().await;
                source.listen().await;
            }
        }
        let leaving = async {
            tokio::join!(client.leave(), source.leave());
        };
        assert!(
            tokio::time::timeout(LAST, leaving).await.is_ok(),
            "the session goes on without anybody in it"
        );
        let mut behaviour = DefaultHasher::new();
        for end in [&client, &source] {
            end.behaviour().hash(&mut behaviour);
        }
        behaviour.finish()
    })
}

/// One of the two that speak with the proxy.
struct End {
    stream: Box<dyn Bytes>,
    heard: Vec<u8>,
    /// Where the packets end whose numbers were looked at.
    at: usize,
    /// The next packet's number.
    seq: u8,
    deaf: bool,
}

impl End {
    fn new(stream: Box<dyn Bytes>) -> Self {
        Self {
            stream,
            heard: Vec::new(),
            at: 0,
            seq: 0,
            deaf: false,
        }
    }

    async fn make_move(&mut self, kind: u8, bytes: &[u8]) {
        self.listen().await;
        let mut out = Vec::new();
        if kind & BARE != 0 {
            out.extend_from_slice(bytes);
        } else {
            let seq = if kind & ANEW != 0 { 0 } else { self.due() };
            self.seq = put(&mut out, bytes, seq);
        }
        // The proxy may have closed. What it does not take at once it has no room for: this end is not one to wait.
        tokio::time::timeout(Duration::from_millis(2), self.stream.write_all(&out))
            .await
            .ok();
        if kind & CLOSE != 0 {
            self.stream.shutdown().await.ok();
        }
    }

    async fn begin_tls(&mut self, stage: &Stage, kind: u8, request: &[u8]) {
        let mut ahead = Vec::new();
        if kind & SOURCE == 0 {
            self.make_move(kind, request).await;
        } else {
            // Behind the request comes what TLS begins with.
            for _ in 0..64 {
                tokio::task::yield_now().await;
                self.listen().await;
            }
            ahead = self.heard.split_off(REQUEST.min(self.heard.len()));
            self.due();
        }
        let bare = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        match stage.secure(kind, ahead, bare).await {
            Some(safe) => self.stream = safe,
            None => self.deaf = true,
        }
    }

    /// The number that is due: after the last packet that was heard, or after our own where nothing was since.
    fn due(&mut self) -> u8 {
        while let Some(header) = self.heard.get(self.at..self.at + 4) {
            self.seq = header[3].wrapping_add(1);
            self.at +=
                4 + usize::from(header[0]) + (usize::from(header[1]) << 8) + (usize::from(header[2]) << 16);
        }
        self.seq
    }

    /// Takes what is there.
    async fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while !self.deaf {
            let read = self.stream.read(&mut buffer);
            tokio::select! {
                biased;
                count = read => match count {
                    Ok(count) if count > 0 => self.take(&buffer[..count]),
                    _ => self.deaf = true,
                },
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Says nothing more and hears the rest.
    async fn leave(&mut self) {
        self.stream.shutdown().await.ok();
        let mut buffer = vec![0; 4096];
        while !self.deaf {
            match self.stream.read(&mut buffer).await {
                Ok(count) if count > 0 => self.take(&buffer[..count]),
                _ => self.deaf = true,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = HEARD.saturating_sub(self.heard.len());
        self.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The kinds of the first packets that were heard, errors by their numbers, and roughly how much it was.
    fn behaviour(&self) -> (Vec<u8>, u32) {
        let mut kinds = Vec::new();
        let mut at = 0;
        while let Some(header) = self.heard.get(at..at + 4)
            && kinds.len() < 24
        {
            let payload = &self.heard[at + 4..];
            kinds.push(header[3]);
            kinds.extend(payload.first());
            if payload.first() == Some(&0xff) {
                kinds.extend(payload.get(1..3).unwrap_or_default());
            }
            at += 4 + usize::from(header[0]) + (usize::from(header[1]) << 8) + (usize::from(header[2]) << 16);
        }
        (kinds, usize::BITS - self.heard.len().leading_zeros())
    }
}
