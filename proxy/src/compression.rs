//! The compressed protocol towards a client: a layer over its connection from the end of authentication on.
//!
//! What a client reads and writes is the same bytes as without, cut at any place into compressed packets (`compression/packet.rs`). The proxy
//! does this itself, the link to the source is plain. What is held of a session: one read's bytes, and one packet on its way out. What it takes to
//! compress is held only while it is at work ([`Contexts`]).

mod contexts;
mod packet;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outrigger_protocol::reply::ErrPacket;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::packet::{Numbers, Unpacker};

pub(crate) use self::contexts::Contexts;

/// Bytes of compressed packets that are read at a time.
const READ: usize = 8 * 1024;

/// What may be agreed on with a client, by the names of the server's `protocol_compression_algorithms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// At level 6, as the server's.
    Zlib,
    /// At the level that the client asks for.
    Zstd,
    /// None. Where it is missing, clients without compression are refused.
    Uncompressed,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Uncompressed => "uncompressed",
        })
    }
}

/// How a session is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Zlib,
    /// At this level.
    Zstd(u8),
}

impl Method {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd(_) => "zstd",
        }
    }
}

/// What is wrong with what a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// A compressed packet's number is not the one that is due.
    #[error("compressed packets out of order")]
    OutOfOrder,
    /// It can't be decompressed, or not to the length that its header says.
    #[error("a compressed packet that can't be decompressed")]
    Damaged,
}

impl Fault {
    /// The server's error for it.
    pub(crate) fn error(self) -> ErrPacket<'static> {
        match self {
            Self::OutOfOrder => ErrPacket::new(1156, "08S01", "Got packets out of order"),
            Self::Damaged => ErrPacket::new(1157, "08S01", "Couldn't uncompress communication packet"),
        }
    }

    /// The fault for which reading failed.
    pub(crate) fn of(cause: &io::Error) -> Option<Self> {
        cause.get_ref()?.downcast_ref().copied()
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// A connection on which all bytes travel in compressed packets.
pub(crate) struct Compressed<S> {
    inner: S,
    method: Method,
    contexts: Arc<Contexts>,
    numbers: Numbers,
    unpacker: Unpacker,
    /// Once there is one, nothing is read any more.
    fault: Option<Fault>,
    /// What was read, of which this part is still to be unpacked.
    raw: Box<[u8]>,
    start: usize,
    end: usize,
    /// A packet on its way out, and how much of it went.
    out: Vec<u8>,
    sent: usize,
}

impl<S> Compressed<S> {
    /// Over a connection whose next bytes, either way, are a compressed packet's.
    pub(crate) fn new(inner: S, method: Method, contexts: Arc<Contexts>) -> Self {
        Self {
            inner,
            method,
            unpacker: Unpacker::new(method, Arc::clone(&contexts)),
            contexts,
            numbers: Numbers::default(),
            fault: None,
            raw: vec![0; READ].into_boxed_slice(),
            start: 0,
            end: 0,
            out: Vec::new(),
            sent: 0,
        }
    }

    /// What is below.
    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    /// What is below; bytes that were read and not unpacked are lost.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// Why nothing more is read.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What is written next the client will take for the reply to a command that it has yet to send.
    pub(crate) fn answers_next(&mut self) {
        self.numbers.next = 1;
    }
}

impl<S: AsyncWrite + Unpin> Compressed<S> {
    /// Writes what is left of the packet on its way out.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Compressed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(fault) = this.fault {
                return Poll::Ready(Err(fault.into()));
            }
            let raw = &this.raw[this.start..this.end];
            match this
                .unpacker
                .unpack(raw, buf.initialize_unfilled(), &mut this.numbers)
            {
                Ok((used, made)) => {
                    this.start += used;
                    if made > 0 {
                        buf.advance(made);
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(fault) => {
                    this.fault = Some(fault);
                    continue;
                }
            }
            // There was room, so all that was here is used up.
            let mut raw = ReadBuf::new(&mut this.raw);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut raw))?;
            (this.start, this.end) = (0, raw.filled().len());
            if this.end == 0 {
                return Poll::Ready(match this.unpacker.is_between() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Compressed<S> {
    /// Takes as much as goes into one packet. It goes out as the connection takes it, at the latest with a flush.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let plain = &buf[..buf.len().min(packet::MOST)];
        if !plain.is_empty() {
            packet::pack(
                this.method,
                &this.contexts,
                plain,
                this.numbers.next,
                &mut this.out,
            );
            this.sent = 0;
            this.numbers.next = this.numbers.next.wrapping_add(1);
        }
        match this.poll_drain(cx) {
            Poll::Ready(Err(cause)) => Poll::Ready(Err(cause)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(plain.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S: fmt::Debug> fmt::Debug for Compressed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed")
            .field("inner", &self.inner)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "compression/tests.rs"]
mod tests;
