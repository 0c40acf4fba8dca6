//! A connection of any kind, and how the source is reached.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_tls::TlsStream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::bridge::Link;
use crate::compression::{Compressed, Contexts, Fault, Method};

/// A connection over TCP or a unix socket, bare or inside TLS, compressed or not.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP, without Nagle's delay, and watched.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TLS over one of those.
    Tls(Box<TlsStream<Stream>>),
    /// In compressed packets, over one of those.
    Compressed(Box<Compressed<Stream>>),
}

/// How a TCP peer is noticed that is gone and did not say so: its machine, or the way to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// After so long without a byte the kernel asks.
    pub(crate) keepalive: Duration,
    /// After so long without an answer, or without room for what is to be sent, it gives the connection up; 0: as it thinks right.
    pub(crate) user_timeout: Duration,
}

/// TCP's congestion control that every Linux has and lets everybody use: it costs next to nothing.
const PLAIN: &[u8] = b"reno";

impl Watch {
    fn over(self, stream: &TcpStream) -> io::Result<()> {
        if !self.user_timeout.is_zero() {
            SockRef::from(stream).set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        if !is_loopback(stream) {
            return self.ask(stream);
        }
        // Its kernel is ours, and says what became of it. What never gets lost or congested needs nobody to measure and pace it, either;
        // where that can't be had it goes on as it is.
        SockRef::from(stream).set_tcp_congestion(PLAIN).ok();
        Ok(())
    }

    fn ask(self, stream: &TcpStream) -> io::Result<()> {
        let mut interval = self.keepalive;
        if !self.user_timeout.is_zero() {
            // It decides when silence was long enough; some probes should have got lost by then.
            interval = (self.user_timeout / 4).clamp(Duration::from_secs(1), self.keepalive);
        }
        let probes = TcpKeepalive::new()
            .with_time(self.keepalive)
            .with_interval(interval);
        SockRef::from(stream).set_tcp_keepalive(&probes)
    }
}

impl Stream {
    /// Takes a TCP connection and sets it up for relaying.
    pub(crate) fn tcp(stream: TcpStream, watch: Watch) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        watch.over(&stream)?;
        Ok(Self::Tcp(stream))
    }

    /// What was made of a bare connection.
    pub(crate) fn tls(stream: impl Into<TlsStream<Stream>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// A client's connection from here on compressed.
    pub(crate) fn compressed(self, method: Method, contexts: Arc<Contexts>) -> Self {
        Self::Compressed(Box::new(Compressed::new(self, method, contexts)))
    }

    /// The connection below compression, if there is any: what was read and not unpacked is lost.
    pub(crate) fn uncompressed(self) -> Self {
        match self {
            Self::Compressed(stream) => stream.into_inner(),
            other => other,
        }
    }

    /// True for one that travels in compressed packets.
    pub(crate) fn is_compressed(&self) -> bool {
        matches!(self, Self::Compressed(_))
    }

    /// What is written next the client will take for the reply to a command that it has yet to send.
    pub(crate) fn answers_next(&mut self) {
        if let Self::Compressed(stream) = self {
            stream.answers_next();
        }
    }

    /// What was wrong with what the client sent, if that is why nothing more is read.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Compressed(stream) => stream.fault(),
            Self::Tcp(_) | Self::Unix(_) | Self::Tls(_) => None,
        }
    }

    /// Connects to `address`, trying each address of a host name in turn. The caller bounds the time.
    pub(crate) async fn connect(address: &Address, watch: Watch) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                Self::tcp(TcpStream::connect((host.as_str(), *port)).await?, watch)
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
            Self::Compressed(stream) => stream.get_ref().link(),
        }
    }

    /// True when the peer is on this machine, as far as that can be told.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(stream) => is_loopback(stream),
            Self::Unix(_) => true,
            Self::Tls(_) => false,
            Self::Compressed(stream) => stream.get_ref().is_local(),
        }
    }

    /// Whether bytes that were written may have to be flushed.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Compressed(_))
    }

    /// True when the peer showed a certificate and it was found good.
    pub(crate) fn is_vouched_for(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().is_some(),
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Compressed(stream) => stream.get_ref().is_vouched_for(),
        }
    }
}

fn is_loopback(stream: &TcpStream) -> bool {
    stream
        .peer_addr()
        .is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Sockets hold nothing back.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Compressed(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(watch: Watch) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let near = TcpStream::connect(address).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        (Stream::tcp(near, watch).expect("set up"), far)
    }

    #[tokio::test]
    async fn the_kernel_watches_the_peer() {
        let seconds = Duration::from_secs;
        for (keepalive, user_timeout, interval) in [(60, 300, 60), (60, 60, 15), (60, 2, 1), (2, 0, 2)] {
            let watch = Watch {
                keepalive: seconds(keepalive),
                user_timeout: seconds(user_timeout),
            };
            let (near, _far) = pair(watch).await;
            let Stream::Tcp(near) = &near else {
                unreachable!("it is TCP")
            };
            let socket = SockRef::from(near);
            assert!(!socket.keepalive().expect("asked"), "on this machine");
            watch.ask(near).expect("set");
            assert!(socket.keepalive().expect("asked"));
            assert_eq!(socket.tcp_keepalive_time().expect("asked"), seconds(keepalive));
            assert_eq!(socket.tcp_keepalive_interval().expect("asked"), seconds(interval));
            let given_up = socket.tcp_user_timeout().expect("asked").unwrap_or_default();
            assert_eq!(given_up, seconds(user_timeout));
        }
    }

    /// A lost machine can't be played on one machine without its administrator's rights; one that takes nothing in can.
    #[tokio::test]
    async fn a_peer_that_takes_nothing_in_is_given_up() {
        let watch = Watch {
            keepalive: Duration::from_secs(1),
            user_timeout: Duration::from_secs(1),
        };
        let (mut near, far) = pair(watch).await;
        let writing = async {
            loop {
                if let Err(cause) = near.write_all(&[0; 65536]).await {
                    return cause.kind();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), writing).await;
        assert_eq!(ended.expect("given up"), io::ErrorKind::TimedOut);
        drop(far);
    }
}
