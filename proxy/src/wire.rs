//! Packets one at a time, for the handshake: no byte beyond the packet that is asked for is read, so TLS or the relay can take the
//! connection over after any of them.

use std::io;

use outrigger_protocol::packet::{HEADER_SIZE, PacketHeader, put};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::bridge::Payload;

/// No packet of a handshake is longer: attributes have 64 KiB at most.
const LIMIT: usize = 128 * 1024;

/// A connection, cut into packets.
pub(crate) struct Wire<S> {
    source: Source<S>,
    header: [u8; HEADER_SIZE],
    /// Bytes of the next packet that are here, header included.
    filled: usize,
    payload: Payload,
    /// The next packet's number, either way.
    seq: u8,
    /// The peer was the last to send, or nobody has.
    our_turn: bool,
}

/// Where packets come from: what was read before, then the connection.
struct Source<S> {
    stream: S,
    ahead: Zeroizing<Vec<u8>>,
    /// Bytes of `ahead` that were used.
    used: usize,
    /// Bytes that the connection gave.
    received: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over a connection on which nothing was sent yet.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            our_turn: true,
            ..Self::resumed(stream, 0)
        }
    }

    /// Over a connection that was made of another's after a packet of the peer's; the next one has number `seq`.
    pub(crate) fn resumed(stream: S, seq: u8) -> Self {
        Self {
            source: Source {
                stream,
                ahead: Zeroizing::default(),
                used: 0,
                received: 0,
            },
            header: [0; HEADER_SIZE],
            filled: 0,
            payload: Zeroizing::default(),
            seq,
            our_turn: false,
        }
    }

    /// Over a connection from which `ahead` was read already: it begins with a command's header.
    pub(crate) fn commanded(stream: S, ahead: Zeroizing<Vec<u8>>) -> Self {
        let mut wire = Self::resumed(stream, 0);
        wire.source.ahead = ahead;
        wire
    }

    /// The number of the next packet.
    pub(crate) fn seq(&self) -> u8 {
        self.seq
    }

    /// The number under which the peer would now understand an error: in its turn, or as the reply to what it is to send.
    pub(crate) fn reply_seq(&self) -> u8 {
        self.seq.wrapping_add(u8::from(!self.our_turn))
    }

    /// Bytes that were received since this was asked last.
    pub(crate) fn take_received(&mut self) -> usize {
        std::mem::take(&mut self.source.received)
    }

    /// The connection.
    pub(crate) fn stream(&self) -> &S {
        &self.source.stream
    }

    /// The connection, between packets.
    pub(crate) fn into_stream(self) -> S {
        self.source.stream
    }

    /// What was read ahead and not used.
    pub(crate) fn into_rest(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.source.ahead[self.source.used..].to_vec())
    }

    /// The next packet's payload. Cancellation-safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the peer left, [`io::ErrorKind::InvalidData`] for a packet out of turn or too long.
    pub(crate) async fn receive(&mut self) -> io::Result<Payload> {
        while self.filled < HEADER_SIZE {
            self.filled += self.source.read(&mut self.header[self.filled..]).await?;
        }
        let header = PacketHeader::parse(self.header);
        if header.seq != self.seq || header.size() > LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a packet out of turn or too long",
            ));
        }
        if self.payload.len() != header.size() {
            self.payload = Zeroizing::new(vec![0; header.size()]);
        }
        while self.filled < HEADER_SIZE + header.size() {
            let room = &mut self.payload[self.filled - HEADER_SIZE..];
            self.filled += self.source.read(room).await?;
        }
        self.filled = 0;
        self.seq = self.seq.wrapping_add(1);
        self.our_turn = true;
        Ok(std::mem::take(&mut self.payload))
    }

    /// Sends one payload.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_SIZE + payload.len()));
        self.seq = put(&mut bytes, payload, self.seq);
        self.our_turn = false;
        self.source.stream.write_all(&bytes).await?;
        self.source.stream.flush().await
    }
}

impl<S: AsyncRead + Unpin> Source<S> {
    /// Reads into `room`, which is not empty.
    async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = &self.ahead[self.used..];
        if !left.is_empty() {
            let count = left.len().min(room.len());
            room[..count].copy_from_slice(&left[..count]);
            self.used += count;
            return Ok(count);
        }
        match self.stream.read(room).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received += count;
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_come_whole_and_nothing_beyond_is_taken(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6), ahead in 0..600_usize, rest: Vec<u8>,
        ) {
            let mut bytes = Vec::new();
            let mut seq = 0;
            for payload in &payloads {
                seq = put(&mut bytes, payload, seq);
            }
            let all = [bytes, rest.clone()].concat();
            let (here, later) = all.split_at(ahead.min(all.len()));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (near, mut far) = tokio::io::duplex(1 << 16);
                far.write_all(later).await.expect("written");
                drop(far);
                let mut wire = Wire::commanded(near, Zeroizing::new(here.to_vec()));
                for payload in &payloads {
                    assert_eq!(*wire.receive().await.expect("a packet"), *payload);
                }
                let mut left = wire.source.ahead[wire.source.used..].to_vec();
                wire.into_stream().read_to_end(&mut left).await.expect("read");
                assert_eq!(left, rest);
            });
        }
    }

    #[tokio::test]
    async fn numbers_are_kept_and_a_wrong_one_is_told_apart_from_an_end() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut ours, mut theirs) = (Wire::new(near), Wire::new(far));
        assert_eq!(ours.reply_seq(), 0);
        ours.send(b"greeting").await.expect("sent");
        assert_eq!(ours.reply_seq(), 2, "as the reply to what the peer is to send");
        theirs.receive().await.expect("received");
        theirs.send(b"response").await.expect("sent");
        ours.receive().await.expect("received");
        assert_eq!((ours.seq(), ours.reply_seq()), (2, 2));
        let mut theirs = Wire::new(theirs.into_stream());
        theirs.send(b"counted anew").await.expect("sent");
        let wrong = ours.receive().await.expect_err("out of turn");
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
        drop(theirs);
        let mut ours = Wire::new(ours.into_stream());
        let gone = ours.receive().await.map(drop).expect_err("gone");
        assert!(matches!(
            gone.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
        ));
    }
}
