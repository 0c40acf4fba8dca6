//! A connection of either kind, and how the source is reached.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection over TCP or a unix socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP, without Nagle's delay and with keepalive.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Takes a TCP connection and sets it up for relaying.
    pub(crate) fn tcp(stream: TcpStream, keepalive: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(Self::Tcp(stream))
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
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets hold nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
