//! A connection of any kind, and how the source is reached.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_tls::TlsStream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::bridge::Link;

/// A connection over TCP or a unix socket, bare or inside TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP, without Nagle's delay and with keepalive.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TLS over one of those.
    Tls(Box<TlsStream<Stream>>),
}

impl Stream {
    /// Takes a TCP connection and sets it up for relaying.
    pub(crate) fn tcp(stream: TcpStream, keepalive: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(Self::Tcp(stream))
    }

    /// What was made of a bare connection.
    pub(crate) fn tls(stream: impl Into<TlsStream<Stream>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// Connects to `address`, trying each address of a host name in turn. The caller bounds the time.
    pub(crate) async fn connect(address: &Address, keepalive: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                Self::tcp(TcpStream::connect((host.as_str(), *port)).await?, keepalive)
            }
            Address::Socket(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// What it is as far as passwords are concerned.
    pub(crate) fn link(&self) -> Link {
        match self {
            Self::Tcp(_) => Link::Plain,
            Self::Unix(_) => Link::Socket,
            Self::Tls(_) => Link::Tls,
        }
    }

    /// Whether bytes that were written may have to be flushed.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// True when the peer showed a certificate and it was found good.
    pub(crate) fn is_vouched_for(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().is_some(),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Sockets hold nothing back.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
