//! Listening sockets that a service manager opened and handed over, as systemd does for a `.socket` unit.

use std::io;

use listenfd::ListenFd;

use super::door::Socket;
use crate::config::ListenAddress;

/// What was handed over and not taken yet, by name.
pub struct Inherited {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Inherited {
    /// What this process was started with (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES). To be asked once, before there are other threads: the
    /// variables are removed, so that no child takes the sockets for its own.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            sockets: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// All sockets of this name, and where they listen.
    pub(super) fn take(&mut self, name: &str) -> io::Result<Vec<(Socket, ListenAddress)>> {
        let mut taken = Vec::new();
        for index in 0..self.sockets.len() {
            if self.names.get(index).is_some_and(|found| found == name) {
                taken.extend(self.take_one(index, name)?);
            }
        }
        match taken.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no socket of that name was handed over when this process was started",
            )),
            false => Ok(taken),
        }
    }

    fn take_one(&mut self, index: usize, name: &str) -> io::Result<Option<(Socket, ListenAddress)>> {
        // One of the other kind stays where it is.
        if let Ok(found) = self.sockets.take_tcp_listener(index) {
            return found
                .map(|listener| {
                    listener.set_nonblocking(true)?;
                    let address = ListenAddress::Tcp(listener.local_addr()?);
                    Ok((Socket::Tcp(listener), address))
                })
                .transpose();
        }
        let found = self.sockets.take_unix_listener(index)?;
        found
            .map(|listener| {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let address = match address.as_pathname() {
                    Some(path) => ListenAddress::Unix(path.to_owned()),
                    None => ListenAddress::Systemd(name.to_owned()),
                };
                Ok((Socket::Unix(listener), address))
            })
            .transpose()
    }
}

impl Default for Inherited {
    /// Nothing.
    fn default() -> Self {
        Self {
            sockets: ListenFd::empty(),
            names: Vec::new(),
        }
    }
}
