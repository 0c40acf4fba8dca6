//! Accepting connections, up to a limit, until the proxy is stopped; then waiting for the sessions to end.

mod inherited;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::endpoint::Endpoint;
use outrigger_protocol::packet::put;
use outrigger_tls::rsa::KeyPair;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info, info_span, warn};

pub use inherited::Inherited;

use crate::access::header::{self, Header};
use crate::access::{Refusal, Seat};
use crate::certificate::Certificate;
use crate::config::{Config, Listen, ListenAddress};
use crate::current::{Current, Reloader};
use crate::error::Error;
use crate::guard::{Guard, PassAll};
use crate::hold::Gate;
use crate::metrics::Metrics;
use crate::roster::Roster;
use crate::session::{self, Guest, Shared};
use crate::slow::Allowance;
use crate::stream::{Stream, Watch};
use crate::upstream::Upstream;
use crate::workers::Workers;

/// How long accepting pauses after the system refused (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a load balancer may take to say for whom it connects: it is the first thing that it does. Enough for a packet that is sent
/// again.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A proxy that listens.
pub struct Proxy {
    listeners: Vec<Listener>,
    shared: Shared,
}

/// A bound address.
struct Listener {
    socket: Socket,
    address: ListenAddress,
    /// What the configuration said about it when it was bound, and where in the list.
    listen: Listen,
    index: usize,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection as it was accepted.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Proxy {
    /// Listens at the configured addresses. Connections wait in the kernel until [`run`](Self::run).
    ///
    /// A unix socket left behind by a process that is gone is replaced. `upstream` is the source and how links to it are protected; its
    /// account and password are not used, sessions log in with the client's.
    pub async fn bind(config: Config, upstream: Endpoint) -> Result<Self, Error> {
        Self::bind_with(config, upstream, Inherited::default()).await
    }

    /// The same, where sockets may have been handed over.
    pub async fn bind_with(
        config: Config,
        upstream: Endpoint,
        mut inherited: Inherited,
    ) -> Result<Self, Error> {
        config.validate()?;
        let upstream = Upstream::new(upstream).map_err(Error::Upstream)?;
        let certificate = Certificate::load(&config.tls)?.map(Arc::new);
        let key = match upstream.may_be_safe() {
            true => Some(Arc::new(make_key().await?)),
            false => None,
        };
        let mut listeners = Vec::new();
        for (index, listen) in config.listen.iter().enumerate() {
            listeners.extend(Listener::bind(listen, index, &mut inherited).await?);
        }
        let metrics = Arc::new(Metrics::new());
        let roster = Roster::new();
        Ok(Self {
            listeners,
            shared: Shared {
                seats: Arc::default(),
                refusals: Arc::default(),
                config,
                upstream,
                certificate,
                key,
                contexts: Arc::default(),
                guard: Arc::new(PassAll),
                metrics,
                gate: Gate::new(Arc::clone(&roster)),
                roster,
                allowance: Arc::new(Allowance::new()),
            },
        })
    }

    /// Has commands judged by `guard`.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<dyn Guard>) -> Self {
        self.shared.guard = guard;
        self
    }

    /// Counts with `metrics` instead of handles of the global recorder.
    #[must_use]
    pub fn counting_with(mut self, metrics: Arc<Metrics>) -> Self {
        self.shared.metrics = metrics;
        self
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Where new transactions can be held.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.shared.gate)
    }

    /// Who is connected.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.shared.roster)
    }

    /// Where it listens, in the configuration's order; port 0 is replaced by the port that was taken.
    pub fn local_addresses(&self) -> Vec<ListenAddress> {
        self.listeners
            .iter()
            .map(|listener| listener.address.clone())
            .collect()
    }

    /// Ready to serve, and the means to give it another configuration while it does.
    pub fn reloadable(self) -> (Ready, Reloader) {
        let current = Current::new(self.shared);
        let ready = Ready {
            listeners: self.listeners,
            current: current.clone(),
        };
        (ready, Reloader(current))
    }

    /// Serves with the configuration that it has: see [`Ready::run`].
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        self.reloadable().0.run(cancel).await
    }
}

/// A proxy that is set up.
pub struct Ready {
    listeners: Vec<Listener>,
    current: Current,
}

impl Ready {
    /// Serves until `cancel` is cancelled, then drains: no new connections, sessions between commands and outside a transaction are closed
    /// at once, the others when they get there or at the drain timeout.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let mut accepting = JoinSet::new();
        let workers = Arc::new(Workers::start().map_err(Error::Threads)?);
        let (current, metrics) = (self.current.clone(), Arc::clone(&self.current.get().metrics));
        let certificate = move || current.get().certificate.clone();
        let watching = Certificate::watch(certificate, metrics, cancel.clone());
        accepting.spawn(async move {
            watching.await;
            Ok(())
        });
        for listener in self.listeners {
            let address = listener.address.clone();
            let serving = serve(
                listener,
                self.current.clone(),
                Arc::clone(&workers),
                cancel.clone(),
            );
            let span = info_span!("listener", %address);
            accepting.spawn(
                async move {
                    // A task of its own, so that its panic can be told with its address.
                    tokio::spawn(serving)
                        .await
                        .map_err(|_panic| Error::Defect(address))
                }
                .instrument(span),
            );
        }
        let mut outcome = Ok(());
        while let Some(ended) = accepting.join_next().await {
            if let Ok(Err(defect)) = ended {
                // One listener less is not what was asked for: stop the others too.
                cancel.cancel();
                outcome = Err(defect);
            }
        }
        outcome
    }
}

/// The key pair for clients without TLS before a safe link to the source.
async fn make_key() -> Result<KeyPair, Error> {
    let made = tokio::task::spawn_blocking(KeyPair::generate).await;
    made.unwrap_or_else(|cause| Err(outrigger_tls::Error::Unfit(cause.to_string())))
        .map_err(Error::Key)
}

impl Listener {
    /// What an entry of the configuration names; several sockets may have been handed over under one name.
    async fn bind(listen: &Listen, index: usize, inherited: &mut Inherited) -> Result<Vec<Self>, Error> {
        let failed = |cause| Error::Listen {
            address: listen.address.clone(),
            cause,
        };
        let bound = match &listen.address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = ListenAddress::Tcp(listener.local_addr().map_err(failed)?);
                vec![(Socket::Tcp(listener), address)]
            }
            ListenAddress::Systemd(name) => {
                let taken = inherited.take(name).map_err(failed)?;
                if listen.has_lists() && taken.iter().any(|(socket, _)| matches!(socket, Socket::Unix(_))) {
                    return Err(Error::ListsForUnix(name.clone()));
                }
                taken
            }
            ListenAddress::Unix(path) => {
                remove_stale(path).await.map_err(failed)?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                // As MySQL's own socket: who may enter is decided by accounts.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).map_err(failed)?;
                vec![(Socket::Unix(listener), listen.address.clone())]
            }
        };
        let listeners = bound.into_iter().map(|(socket, address)| Self {
            socket,
            address,
            listen: listen.clone(),
            index,
        });
        Ok(listeners.collect())
    }

    /// Waits for a client. Cancellation-safe.
    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer))
            }
            Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }

    /// What the configuration says about it now.
    fn listen<'a>(&'a self, config: &'a Config) -> &'a Listen {
        let same = |listen: &&Listen| listen.address == self.listen.address;
        let listen = config
            .listen
            .get(self.index)
            .filter(same)
            .or_else(|| config.listen.iter().find(same));
        listen.unwrap_or(&self.listen)
    }

    /// A place for the client, and whether it is somebody who must first say for whom it connects; or why there is none.
    fn admit(&self, client: &Accepted, shared: &Shared) -> Result<(Seat, bool), Refusal> {
        let config = &shared.config;
        let listen = self.listen(config);
        let Some(peer) = client.peer() else {
            return Ok((shared.seats.take(config.max_connections)?, false));
        };
        let header = config.expects_header(listen, peer.ip());
        if !header && !config.admits(listen, peer.ip()) {
            return Err(Refusal::Address(peer.ip()));
        }
        let mut seat = shared.seats.take(config.max_connections)?;
        if !header {
            seat.belongs_to(peer.ip(), config.max_connections_per_address)?;
        }
        Ok((seat, header))
    }
}

impl Accepted {
    /// The other end's address, where it has one.
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Self::Unix(_) => None,
        }
    }

    /// Taken out of the runtime that accepted it.
    fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream, _) => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

/// A client that belongs to no runtime.
enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Set up for relaying.
    fn into_stream(self, watch: Watch) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => Stream::tcp(TcpStream::from_std(stream)?, watch),
            Self::Unix(stream) => Ok(Stream::Unix(UnixStream::from_std(stream)?)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that was handed over stays its owner's.
        if let ListenAddress::Unix(path) = &self.listen.address
            && let Err(cause) = std::fs::remove_file(path)
        {
            debug!(%cause, path = %path.display(), "the unix socket could not be removed");
        }
    }
}

/// Removes a unix socket that nobody listens at any more.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Accepts at one address and owns the sessions that begin there.
async fn serve(listener: Listener, current: Current, workers: Arc<Workers>, cancel: CancellationToken) {
    let mut sessions = JoinSet::new();
    let name: Arc<str> = Arc::from(listener.address.to_string());
    info!(address = %listener.address, upstream = %current.get().upstream.address(), "the proxy listens");
    loop {
        let accepted = tokio::select! {
            // Accepting and joining are cancellation-safe.
            () = cancel.cancelled() => break,
            Some(ended) = sessions.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let shared = current.get();
        match accepted {
            Ok(client) => match listener.admit(&client, &shared) {
                Ok((seat, header)) => {
                    let arrival = Arrival {
                        peer: client.peer(),
                        header,
                        seat,
                        listen: listener.listen(&shared.config).clone(),
                        listener: Arc::clone(&name),
                    };
                    let session = hold(
                        client.detach(),
                        arrival,
                        Arc::clone(&shared),
                        cancel.child_token(),
                    );
                    workers.spawn(&mut sessions, session);
                }
                Err(refusal) => span(client.peer()).in_scope(|| {
                    shared.note(&refusal);
                    refuse(client, &refusal);
                }),
            },
            Err(cause) => {
                warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    info!(sessions = sessions.len(), "the proxy drains");
    while let Some(ended) = sessions.join_next().await {
        report(ended);
    }
}

/// A client that was accepted.
struct Arrival {
    /// Where it connects from; absent for a unix socket.
    peer: Option<SocketAddr>,
    /// It must first say for whom it connects.
    header: bool,
    seat: Seat,
    listen: Listen,
    /// The address where it came in.
    listener: Arc<str>,
}

/// What belongs to a connection, in the log.
fn span(client: Option<SocketAddr>) -> Span {
    info_span!("connection", client = %name(client))
}

fn name(client: Option<SocketAddr>) -> String {
    client.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// One session with its place among the others.
async fn hold(
    client: io::Result<Detached>,
    mut arrival: Arrival,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let open = shared.metrics.open();
    let stream = client.and_then(|client| client.into_stream(shared.config.watch()));
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(cause) => return debug!(%cause, "a client left at once"),
    };
    if arrival.header {
        let introduced = tokio::select! {
            // Nothing has begun that would have to be finished.
            () = cancel.cancelled() => return,
            introduced = introduce(&mut stream, &mut arrival, &shared) => introduced,
        };
        match introduced {
            Ok(()) => {}
            Err(Some(refusal)) => {
                span(arrival.peer).in_scope(|| shared.note(&refusal));
                let error = session::in_place_of_greeting(refusal.error());
                return session::farewell(stream, Some((0, error))).await;
            }
            // A balancer that only looks whether somebody is there.
            Err(None) => return,
        }
    }
    let mut guest = Guest {
        seat: arrival.seat,
        record: shared.roster.enter(name(arrival.peer), arrival.listener),
        compression: shared.config.compression_at(&arrival.listen).to_vec(),
    };
    session::lead(stream, &mut guest, &shared, &cancel)
        .instrument(span(arrival.peer))
        .await;
    drop((open, guest));
}

/// Reads the header in which a balancer says who its client is: from then on that is who connects. `None` when the balancer has left.
async fn introduce(
    stream: &mut Stream,
    arrival: &mut Arrival,
    shared: &Shared,
) -> Result<(), Option<Refusal>> {
    let config = &shared.config;
    let within = HEADER_TIMEOUT.min(config.handshake_timeout);
    let read = timeout(within, read_header(stream)).await;
    match read {
        Err(_elapsed) => return Err(Some(Refusal::NoHeader("no PROXY protocol header has come"))),
        Ok(Ok(Some(client))) => arrival.peer = Some(client),
        // The balancer itself is the client.
        Ok(Ok(None)) => {}
        Ok(Err(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
            return Err(Some(Refusal::NoHeader("this is no PROXY protocol header")));
        }
        Ok(Err(_gone)) => return Err(None),
    }
    if let Some(client) = arrival.peer {
        if !config.admits(&arrival.listen, client.ip()) {
            return Err(Some(Refusal::Address(client.ip())));
        }
        let most = config.max_connections_per_address;
        arrival.seat.belongs_to(client.ip(), most).map_err(Some)?;
    }
    Ok(())
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

fn report(ended: Result<(), JoinError>) {
    if let Err(cause) = ended {
        error!(%cause, "a session ended by a defect of the proxy");
    }
}

/// Tells a client why it may not enter and closes. The socket is fresh: the packet fits its buffer, nothing waits.
fn refuse(client: Accepted, refusal: &Refusal) {
    use std::io::Write;

    let mut packet = Vec::new();
    put(
        &mut packet,
        &session::in_place_of_greeting(refusal.error()).encode(),
        0,
    );
    let told = match client {
        Accepted::Tcp(stream, _) => stream.into_std().and_then(|mut stream| stream.write_all(&packet)),
        Accepted::Unix(stream) => stream.into_std().and_then(|mut stream| stream.write_all(&packet)),
    };
    if let Err(cause) = told {
        debug!(%cause, "a client left before it was refused");
    }
}

#[cfg(test)]
#[path = "listener/tests.rs"]
mod tests;
