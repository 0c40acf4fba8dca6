//! A client that was accepted, until its session begins.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use outrigger_protocol::packet::put;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info_span};

use crate::access::header::{self, Header};
use crate::access::{Refusal, Seat};
use crate::config::Listen;
use crate::session::{self, Guest, Shared};
use crate::stream::{Stream, Watch};

/// How long a load balancer may take to say for whom it connects: it is the first thing that it does. Enough for a packet that is sent
/// again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection as it was accepted.
pub(super) enum Client {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Client {
    /// The other end's address, where it has one.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Self::Unix(_) => None,
        }
    }

    /// Brought to another runtime than the one that accepted it, if there is one.
    pub(super) fn brought(self, elsewhere: Option<&Handle>) -> io::Result<Self> {
        let Some(runtime) = elsewhere else {
            return Ok(self);
        };
        let _inside = runtime.enter();
        Ok(match self {
            Self::Tcp(stream, peer) => Self::Tcp(TcpStream::from_std(stream.into_std()?)?, peer),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
        })
    }

    /// Set up for relaying.
    fn into_stream(self, watch: Watch) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream, _) => Stream::tcp(stream, watch),
            Self::Unix(stream) => Ok(Stream::Unix(stream)),
        }
    }

    /// Tells a client why it may not enter and closes. The socket is fresh: the packet fits its buffer, nothing waits.
    pub(super) fn refuse(self, refusal: &Refusal) {
        let mut packet = Vec::new();
        put(
            &mut packet,
            &session::in_place_of_greeting(refusal.error()).encode(),
            0,
        );
        let told = match self {
            Self::Tcp(stream, _) => stream.into_std().and_then(|mut stream| stream.write_all(&packet)),
            Self::Unix(stream) => stream.into_std().and_then(|mut stream| stream.write_all(&packet)),
        };
        if let Err(cause) = told {
            debug!(%cause, "a client left before it was refused");
        }
    }
}

/// Who came, where, and in what place among the others.
pub(super) struct Arrival {
    /// Where it connects from; absent for a unix socket.
    pub(super) peer: Option<SocketAddr>,
    /// It must first say for whom it connects.
    pub(super) header: bool,
    pub(super) seat: Seat,
    pub(super) listen: Listen,
    /// The address where it came in.
    pub(super) listener: Arc<str>,
}

impl Arrival {
    /// Leads the client's session, from its first byte to its end.
    pub(super) async fn lead(mut self, client: Client, shared: Arc<Shared>, cancel: CancellationToken) {
        let _told = Defect;
        let open = shared.metrics.open();
        let mut stream = match client.into_stream(shared.config.watch()) {
            Ok(stream) => stream,
            Err(cause) => return debug!(%cause, "a client left at once"),
        };
        if self.header {
            let introduced = tokio::select! {
                // Nothing has begun that would have to be finished.
                () = cancel.cancelled() => return,
                introduced = self.introduce(&mut stream, &shared) => introduced,
            };
            match introduced {
                Ok(()) => {}
                Err(Some(refusal)) => {
                    span(self.peer).in_scope(|| shared.note(&refusal));
                    let error = session::in_place_of_greeting(refusal.error());
                    return session::farewell(stream, Some((0, error))).await;
                }
                // A balancer that only looks whether somebody is there.
                Err(None) => return,
            }
        }
        let mut guest = Guest {
            seat: self.seat,
            record: shared.roster.enter(name(self.peer), self.listener),
            compression: shared.config.compression_at(&self.listen).to_vec(),
        };
        session::lead(stream, &mut guest, &shared, &cancel)
            .instrument(span(self.peer))
            .await;
        drop((open, guest));
    }

    /// Reads the header in which a balancer says who its client is: from then on that is who connects. `None` when the balancer has left.
    async fn introduce(&mut self, stream: &mut Stream, shared: &Shared) -> Result<(), Option<Refusal>> {
        let config = &shared.config;
        let within = HEADER_TIMEOUT.min(config.handshake_timeout);
        let read = timeout(within, read_header(stream)).await;
        match read {
            Err(_elapsed) => return Err(Some(Refusal::NoHeader("no PROXY protocol header has come"))),
            Ok(Ok(Some(client))) => self.peer = Some(client),
            // The balancer itself is the client.
            Ok(Ok(None)) => {}
            Ok(Err(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
                return Err(Some(Refusal::NoHeader("this is no PROXY protocol header")));
            }
            Ok(Err(_gone)) => return Err(None),
        }
        if let Some(client) = self.peer {
            if !config.admits(&self.listen, client.ip()) {
                return Err(Some(Refusal::Address(client.ip())));
            }
            let most = config.max_connections_per_address;
            self.seat.belongs_to(client.ip(), most).map_err(Some)?;
        }
        Ok(())
    }
}

/// The address in a header, and no byte beyond it is read.
async fn read_header(stream: &mut Stream) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::new();
    loop {
        match header::read(&bytes) {
            Ok(Header::Missing(missing)) => {
                let had = bytes.len();
                bytes.resize(had + missing, 0);
                let count = stream.read(&mut bytes[had..]).await?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes.truncate(had + count);
            }
            Ok(Header::For(client)) => return Ok(Some(client)),
            Ok(Header::Own) => return Ok(None),
            Err(header::Malformed) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What belongs to a connection, in the log.
pub(super) fn span(client: Option<SocketAddr>) -> Span {
    info_span!("connection", client = %name(client))
}

fn name(client: Option<SocketAddr>) -> String {
    client.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// Tells it in the log when a session ends by a panic.
struct Defect;

impl Drop for Defect {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("a session ended by a defect of the proxy");
        }
    }
}
