//! Accepting connections, up to a limit, until the proxy is stopped; then waiting for the sessions to end.

mod arrival;
mod inherited;

use std::io;
use std::net;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::endpoint::Endpoint;
use outrigger_tls::rsa::KeyPair;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

pub use inherited::Inherited;

use self::arrival::{Arrival, Client};
use crate::access::{Refusal, Seat};
use crate::certificate::Certificate;
use crate::config::{Config, Listen, ListenAddress};
use crate::current::{Current, Reloader};
use crate::error::Error;
use crate::guard::{Guard, PassAll};
use crate::hold::Gate;
use crate::metrics::Metrics;
use crate::roster::Roster;
use crate::session::Shared;
use crate::slow::Allowance;
use crate::upstream::Upstream;
use crate::workers::{Team, Workers};

/// How long accepting pauses after the system refused (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// A socket that belongs to no runtime: where connections are accepted, a [`Door`] is made of it.
enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

/// A socket in the runtime that accepts at it.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
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
        let workers = Workers::start().map_err(Error::Threads)?;
        let (current, metrics) = (self.current.clone(), Arc::clone(&self.current.get().metrics));
        let certificate = move || current.get().certificate.clone();
        let watching = Certificate::watch(certificate, metrics, cancel.clone());
        accepting.spawn(async move {
            watching.await;
            Ok(())
        });
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let address = listener.address.clone();
            let team = workers.from(number);
            let serving = serve(listener, self.current.clone(), team.clone(), cancel.clone());
            let span = info_span!("listener", %address);
            accepting.spawn(
                async move {
                    match team.accept(serving).await {
                        Ok(served) => served.map_err(|cause| Error::Listen { address, cause }),
                        Err(_panic) => Err(Error::Defect(address)),
                    }
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
        workers.drain().await;
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
                let bound = TcpListener::bind(address).await;
                let listener = bound.and_then(TcpListener::into_std).map_err(failed)?;
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
                let bound = UnixListener::bind(path);
                let listener = bound.and_then(UnixListener::into_std).map_err(failed)?;
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

    /// Where clients come in, in the runtime of the caller.
    fn door(&self) -> io::Result<Door> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => Door::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Socket::Unix(listener) => Door::Unix(UnixListener::from_std(listener.try_clone()?)?),
        })
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
    fn admit(&self, client: &Client, shared: &Shared) -> Result<(Seat, bool), Refusal> {
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

impl Door {
    /// Waits for a client. Cancellation-safe.
    async fn accept(&self) -> io::Result<Client> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Client::Tcp(stream, peer)
            }
            Self::Unix(listener) => Client::Unix(listener.accept().await?.0),
        })
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

/// Accepts at one address.
async fn serve(
    listener: Listener,
    current: Current,
    team: Team,
    cancel: CancellationToken,
) -> io::Result<()> {
    let name: Arc<str> = Arc::from(listener.address.to_string());
    let door = listener.door()?;
    info!(address = %listener.address, upstream = %current.get().upstream.address(), "the proxy listens");
    loop {
        let accepted = tokio::select! {
            // Accepting is cancellation-safe.
            () = cancel.cancelled() => return Ok(()),
            accepted = door.accept() => accepted,
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
                    let place = team.fewest();
                    match client.brought(place.elsewhere()) {
                        Ok(client) => {
                            place.lead(arrival.lead(client, Arc::clone(&shared), cancel.child_token()));
                        }
                        Err(cause) => debug!(%cause, "a client left at once"),
                    }
                }
                Err(refusal) => arrival::span(client.peer()).in_scope(|| {
                    shared.note(&refusal);
                    client.refuse(&refusal);
                }),
            },
            Err(cause) => {
                warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "listener/tests.rs"]
mod tests;
