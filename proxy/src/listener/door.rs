//! A bound address, and where clients come in there.

use std::io;
use std::net;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::debug;

use super::arrival::Client;
use super::inherited::Inherited;
use super::listening;
use crate::access::{Refusal, Seat};
use crate::config::{Config, Listen, ListenAddress};
use crate::error::Error;
use crate::session::Shared;

/// A packet filter (`linux/filter.h`) that drops a TCP segment with the flag SYN: load the header's byte 13, test bit 1, return none or all
/// of its bytes.
const NO_SYN: &[SockFilter] = &[
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
/// The end of a handshake comes sooner, and the next try of who was not answered later.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// A bound address.
pub(crate) struct Listener {
    pub(super) socket: Socket,
    pub(super) address: ListenAddress,
    /// What the configuration said about it when it was bound, and where in the list.
    pub(super) listen: Listen,
    pub(super) index: usize,
}

/// A socket that belongs to no runtime: where connections are accepted, a [`Door`] is made of it.
pub(super) enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

/// A socket in the runtime that accepts at it.
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// What an entry of the configuration names; several sockets may have been handed over under one name.
    pub(super) async fn bind(
        listen: &Listen,
        index: usize,
        inherited: &mut Inherited,
        leaving: &[Arc<Self>],
    ) -> Result<Vec<Self>, Error> {
        let failed = |cause| Error::Listen {
            address: listen.address.clone(),
            cause,
        };
        let bound = match &listen.address {
            ListenAddress::Tcp(address) => {
                let bound = listening::bind(*address, leaving).await;
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

    /// True for a unix socket.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.socket, Socket::Unix(_))
    }

    /// Where clients come in, in the runtime of the caller.
    pub(super) fn door(&self) -> io::Result<Door> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => Door::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Socket::Unix(listener) => Door::Unix(UnixListener::from_std(listener.try_clone()?)?),
        })
    }

    /// Before it is closed: how long those are to be waited for who have begun to connect. Who begins from now on is not answered, and
    /// tries again, a second later, at whoever listens there by then.
    pub(super) fn shut(&self) -> Duration {
        match (&self.socket, &self.listen.address) {
            (Socket::Tcp(socket), ListenAddress::Tcp(_)) => match SockRef::from(socket).attach_filter(NO_SYN)
            {
                Ok(()) => HANDSHAKE,
                Err(cause) => {
                    debug!(%cause, address = %self.address, "who comes while it is closed may be refused");
                    Duration::ZERO
                }
            },
            // Connections are made at once. One that was handed over stays open with its owner.
            _ => Duration::ZERO,
        }
    }

    /// What the configuration says about it now.
    pub(super) fn listen<'a>(&'a self, config: &'a Config) -> &'a Listen {
        let same = |listen: &&Listen| listen.address == self.listen.address;
        let listen = config
            .listen
            .get(self.index)
            .filter(same)
            .or_else(|| config.listen.iter().find(same));
        listen.unwrap_or(&self.listen)
    }

    /// A place for the client, and whether it is somebody who must first say for whom it connects; or why there is none.
    pub(super) fn admit(&self, client: &Client, shared: &Shared) -> Result<(Seat, bool), Refusal> {
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
    pub(super) async fn accept(&self) -> io::Result<Client> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Client::Tcp(stream, peer)
            }
            Self::Unix(listener) => Client::Unix(listener.accept().await?.0),
        })
    }

    /// A client that is here already, if there is one. Asks the kernel: the runtime may not have heard of it yet.
    pub(super) fn accept_waiting(&self) -> Option<io::Result<Client>> {
        let accepted = match self {
            Self::Tcp(listener) => SockRef::from(listener).accept(),
            Self::Unix(listener) => SockRef::from(listener).accept(),
        };
        let client = accepted.and_then(|(socket, peer)| {
            socket.set_nonblocking(true)?;
            Ok(match peer.as_socket() {
                Some(peer) => Client::Tcp(TcpStream::from_std(socket.into())?, peer),
                None => Client::Unix(UnixStream::from_std(socket.into())?),
            })
        });
        match client {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => None,
            client => Some(client),
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
