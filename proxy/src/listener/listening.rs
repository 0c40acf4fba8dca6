//! The addresses at which clients come in, and how others take their place while the proxy runs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::door::{Listener, Socket};
use super::inherited::Inherited;
use crate::config::{Listen, ListenAddress};
use crate::error::Error;

/// How many clients may wait to be accepted, as far as the system allows.
pub(super) const BACKLOG: u32 = 1024;

/// Where clients are to come in, as long as the proxy accepts any: each listener's sockets are closed once it is in no list and nobody
/// accepts there any more.
#[derive(Clone)]
pub struct Listening(Arc<watch::Sender<Wanted>>);

/// Which listeners there are to be.
pub(super) struct Wanted {
    /// Where clients come in; `None` once the proxy accepts none any more.
    pub(super) open: Option<Vec<Arc<Listener>>>,
    /// Given up, but those that came before may not be let in yet.
    leaving: Vec<Weak<Listener>>,
}

impl Listening {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        let listeners = listeners.into_iter().map(Arc::new).collect();
        Self(Arc::new(watch::Sender::new(Wanted {
            open: Some(listeners),
            leaving: Vec::new(),
        })))
    }

    /// Where it listens, in the configuration's order; port 0 is replaced by the port that was taken.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        let wanted = self.0.borrow();
        { wanted.open.iter() }
            .flatten()
            .map(|listener| listener.address.clone())
            .collect()
    }

    /// Listens at the addresses where nobody does yet. Connections wait in the kernel until [`take_up`](Self::take_up).
    pub(crate) async fn prepare(&self, wanted: &[Listen]) -> Result<Vec<Arc<Listener>>, Error> {
        let (mut leaving, gone) = {
            let wanted = self.0.borrow();
            let gone: Vec<_> = wanted.leaving.iter().filter_map(Weak::upgrade).collect();
            (wanted.open.clone().unwrap_or_default(), gone)
        };
        // First of all who stays: an address that comes may be in the way of one that leaves only.
        let staying: Vec<_> = { wanted.iter() }
            .map(|listen| take(&mut leaving, &listen.address))
            .collect();
        leaving.extend(gone);
        let mut listeners = Vec::new();
        for (index, (listen, stays)) in wanted.iter().zip(staying).enumerate() {
            if stays.is_empty() {
                let bound = Listener::bind(listen, index, &mut Inherited::default(), &leaving).await?;
                listeners.extend(bound.into_iter().map(Arc::new));
                continue;
            }
            if let ListenAddress::Systemd(name) = &listen.address
                && listen.has_lists()
                && stays.iter().any(|listener| listener.is_unix())
            {
                return Err(Error::ListsForUnix(name.clone()));
            }
            listeners.extend(stays);
        }
        Ok(listeners)
    }

    /// From now on clients come in there and nowhere else; not once [`close`](Self::close) was called.
    pub(crate) fn take_up(&self, listeners: Vec<Arc<Listener>>) {
        self.0.send_if_modified(|wanted| {
            let Some(open) = &mut wanted.open else {
                return false;
            };
            let before = std::mem::replace(open, listeners);
            let leaves = |before: &&Arc<Listener>| !open.iter().any(|stays| Arc::ptr_eq(stays, before));
            wanted.leaving.retain(|listener| listener.strong_count() > 0);
            wanted
                .leaving
                .extend({ before.iter() }.filter(leaves).map(Arc::downgrade));
            true
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Wanted> {
        self.0.subscribe()
    }

    /// Clients come in nowhere any more.
    pub(super) fn close(&self) {
        self.0.send_modify(|wanted| wanted.open = None);
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.addresses()).finish()
    }
}

/// Who accepts at present, and by what each is stopped.
#[derive(Default)]
pub(super) struct Open(Vec<(Arc<Listener>, CancellationToken)>);

impl Open {
    /// Stops whoever is not among `wanted`, and returns who is to begin.
    pub(super) fn follow(
        &mut self,
        wanted: Option<&[Arc<Listener>]>,
        cancel: &CancellationToken,
    ) -> Vec<(Arc<Listener>, CancellationToken)> {
        let wanted = wanted.filter(|_| !cancel.is_cancelled()).unwrap_or_default();
        self.0.retain(|(listener, stop)| {
            let stays = wanted.iter().any(|wanted| Arc::ptr_eq(wanted, listener));
            if !stays {
                stop.cancel();
            }
            stays
        });
        let begins = { wanted.iter() }
            .filter(|wanted| !{ self.0.iter() }.any(|(listener, _)| Arc::ptr_eq(wanted, listener)))
            .map(|listener| (Arc::clone(listener), cancel.child_token()))
            .collect::<Vec<_>>();
        self.0.extend(begins.iter().cloned());
        begins
    }
}

/// Takes out what was bound for an entry of this address: several sockets may have been handed over under one name. Port 0 may have been
/// wanted more than once.
fn take(listeners: &mut Vec<Arc<Listener>>, address: &ListenAddress) -> Vec<Arc<Listener>> {
    let is_same = |listener: &Arc<Listener>| listener.listen.address == *address;
    match address {
        ListenAddress::Systemd(_) => listeners.extract_if(.., |listener| is_same(listener)).collect(),
        _ => { listeners.iter().position(is_same) }
            .map(|at| listeners.remove(at))
            .into_iter()
            .collect(),
    }
}

/// Listens at an address. One that is `leaving` may be in the way (another of this machine's addresses with the same port, or this one
/// once more), but nobody else's.
pub(super) async fn bind(address: SocketAddr, leaving: &[Arc<Listener>]) -> io::Result<TcpListener> {
    let refused = match TcpListener::bind(address).await {
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => cause,
        bound => return bound,
    };
    let in_the_way = |listener: &Arc<Listener>| match &listener.socket {
        Socket::Tcp(socket) => socket
            .local_addr()
            .is_ok_and(|bound| bound.port() == address.port()),
        Socket::Unix(_) => false,
    };
    let leaving: Vec<_> = { leaving.iter() }
        .filter(|listener| in_the_way(listener))
        .collect();
    if leaving.is_empty() {
        return Err(refused);
    }
    let shared = |shared: bool| -> io::Result<()> {
        for listener in &leaving {
            if let Socket::Tcp(socket) = &listener.socket {
                SockRef::from(socket).set_reuse_port(shared)?;
            }
        }
        Ok(())
    };
    // Shared for this moment only: another process that is started with the same address must be refused.
    shared(true)?;
    let bound = bind_shared(address);
    shared(false)?;
    let listener = bound?;
    SockRef::from(&listener).set_reuse_port(false)?;
    Ok(listener)
}

fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
