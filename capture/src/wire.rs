//! Packets over a socket: reads of 256 KiB, payloads as slices of the read buffer, every wait with a deadline (W2). A large
//! payload can be taken in parts as it arrives, and is held as a whole only if the receiver asks for that.

use std::io;
use std::ops::Range;
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_protocol::packet::{self, HEADER_SIZE, PacketHeader};
use outrigger_tls::Connector;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpStream, UnixStream};

use crate::Error;
use crate::semi_sync;

/// Bytes of the read buffer; it grows for a larger packet and shrinks back after it.
const READ_BYTES: usize = 256 * 1024;

/// A payload of at most this many bytes is received whole, a larger one in parts.
pub(crate) const WHOLE_BYTES: usize = 8 << 20;

/// A part has at least this many bytes, unless the packet has no more; that is enough for every header.
const PART_BYTES: usize = 64 * 1024;

/// A byte stream to a server.
pub(crate) trait Link: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Link for T {}

/// A socket, cut into packets.
pub(crate) struct Wire {
    address: Address,
    link: Box<dyn Link>,
    buffer: Vec<u8>,
    /// What of `buffer` was read from the socket and not yet used.
    filled: Range<usize>,
    /// A large payload that was asked for as a whole.
    joined: Vec<u8>,
    /// What is still to come of the packet of which the header was read.
    packet: Option<Packet>,
    /// True between the first part of a payload and its last.
    in_parts: bool,
    /// The payload ends a round: packets are counted anew behind it.
    recounts: bool,
    /// The sequence number of the next packet, either way.
    sequence: u8,
    /// What was received last.
    last: Span,
    /// Events come with a header that says whether the source waits for an acknowledgement.
    semi_sync: bool,
}

/// The header that some bytes begin with, once they are enough.
fn header(bytes: &[u8]) -> Option<PacketHeader> {
    bytes.first_chunk().copied().map(PacketHeader::parse)
}

/// The rest of a packet.
#[derive(Debug, Clone, Copy)]
struct Packet {
    left: usize,
    /// Another packet of the same payload follows.
    continued: bool,
}

impl Packet {
    fn of(header: PacketHeader) -> Self {
        Self {
            left: header.size(),
            continued: header.is_continued(),
        }
    }

    /// Bytes that must be there before some of it are given out.
    fn due(self, in_parts: bool) -> usize {
        if in_parts || self.continued || self.left > WHOLE_BYTES {
            self.left.min(PART_BYTES)
        } else {
            self.left
        }
    }
}

/// Where what was just received lies.
#[derive(Debug, Clone)]
enum Span {
    Buffer(Range<usize>),
    Joined,
}

impl Wire {
    /// Connects within `patience`.
    pub(crate) async fn connect(address: &Address, patience: Duration) -> Result<Self, Error> {
        let connecting = async {
            let link: Box<dyn Link> = match address {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Address::Socket(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok(link)
        };
        match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(link)) => Ok(Self::over(address.clone(), link)),
            Ok(Err(source)) => Err(Error::Connect {
                address: address.clone(),
                source,
            }),
            Err(_elapsed) => Err(Error::Silent {
                address: address.clone(),
                doing: "connecting",
                after: patience,
            }),
        }
    }

    /// Over a link that is there already.
    pub(crate) fn over(address: Address, link: Box<dyn Link>) -> Self {
        Self {
            address,
            link,
            buffer: vec![0; READ_BYTES],
            filled: 0..0,
            joined: Vec::new(),
            packet: None,
            in_parts: false,
            recounts: false,
            sequence: 0,
            last: Span::Buffer(0..0),
            semi_sync: false,
        }
    }

    /// From here on events come with semi-synchronous replication's header.
    pub(crate) fn expect_semi_sync(&mut self) {
        self.semi_sync = true;
    }

    /// Whether they do.
    pub(crate) fn expects_semi_sync(&self) -> bool {
        self.semi_sync
    }

    /// Takes the direction to the server away, for acknowledgements; nothing can be sent by this wire then. `None` without
    /// semi-synchronous replication.
    pub(crate) fn split_off_writer(&mut self) -> Option<WriteHalf<Box<dyn Link>>> {
        if !self.semi_sync {
            return None;
        }
        let link = std::mem::replace(&mut self.link, Box::new(tokio::io::empty()));
        let (reader, writer) = tokio::io::split(link);
        self.link = Box::new(tokio::io::join(reader, tokio::io::sink()));
        Some(writer)
    }

    /// Puts TLS around everything from here on.
    pub(crate) async fn protect(&mut self, connector: &Connector, patience: Duration) -> Result<(), Error> {
        if !self.filled.is_empty() {
            let what = "bytes before TLS began; they can't be trusted".to_owned();
            return Err(Error::Protocol {
                address: self.address.clone(),
                doing: "beginning TLS",
                what,
            });
        }
        let bare = std::mem::replace(&mut self.link, Box::new(tokio::io::empty()));
        match tokio::time::timeout(patience, connector.connect(bare)).await {
            Ok(Ok(link)) => {
                self.link = Box::new(link);
                Ok(())
            }
            Ok(Err(outrigger_tls::Error::Unfit(what))) => Err(Error::Tls {
                address: self.address.clone(),
                what,
            }),
            Ok(Err(outrigger_tls::Error::Broken(source))) => Err(Error::Broken {
                address: self.address.clone(),
                doing: "beginning TLS",
                source,
            }),
            Err(_elapsed) => Err(Error::Silent {
                address: self.address.clone(),
                doing: "beginning TLS",
                after: patience,
            }),
        }
    }

    /// The server's address.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts a new exchange: the next packet has number 0.
    pub(crate) fn restart_sequence(&mut self) {
        self.sequence = 0;
    }

    /// The next payload begins the answer to a command that was sent in one packet, behind which others may have been sent.
    pub(crate) fn expect_answer(&mut self) {
        self.sequence = 1;
    }

    /// Sends one payload, in as many packets as it takes.
    pub(crate) async fn send(
        &mut self,
        payload: &[u8],
        doing: &'static str,
        patience: Duration,
    ) -> Result<(), Error> {
        let mut out = Vec::with_capacity(payload.len() + HEADER_SIZE);
        self.sequence = packet::put(&mut out, payload, self.sequence);
        match tokio::time::timeout(patience, self.link.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Broken {
                address: self.address.clone(),
                doing,
                source,
            }),
            Err(_elapsed) => Err(Error::Silent {
                address: self.address.clone(),
                doing,
                after: patience,
            }),
        }
    }

    /// The next payload, whole. `patience` is how long the socket may stay silent, not how long all of it may take.
    pub(crate) async fn receive(&mut self, doing: &'static str, patience: Duration) -> Result<&[u8], Error> {
        self.receive_part(doing, patience).await?;
        self.receive_rest(doing, patience).await
    }

    /// The next part of the payload that [`has_more`](Self::has_more), or of the next payload: all of it if it is no larger
    /// than [`WHOLE_BYTES`].
    pub(crate) async fn receive_part(
        &mut self,
        doing: &'static str,
        patience: Duration,
    ) -> Result<&[u8], Error> {
        self.forget();
        let first = !self.in_parts;
        let range = loop {
            if let Some(range) = self.take(doing)? {
                break range;
            }
            self.fill(doing, patience).await?;
        };
        self.last = Span::Buffer(range);
        if first {
            self.recounts = self.semi_sync && semi_sync::awaits_acknowledgement(self.received());
        }
        if self.recounts && !self.in_parts {
            // The source begins to count anew behind such an event.
            self.sequence = 1;
        }
        Ok(self.received())
    }

    /// The part received last and all that follows of its payload, joined.
    pub(crate) async fn receive_rest(
        &mut self,
        doing: &'static str,
        patience: Duration,
    ) -> Result<&[u8], Error> {
        if self.in_parts {
            let mut joined = self.received().to_vec();
            while self.in_parts {
                let part = self.receive_part(doing, patience).await?;
                joined.extend_from_slice(part);
            }
            self.joined = joined;
            self.last = Span::Joined;
        }
        Ok(self.received())
    }

    /// Whether what was received last is a part of a payload of which more is to come.
    pub(crate) fn has_more(&self) -> bool {
        self.in_parts
    }

    /// What was received last, once more; nothing if receiving the next failed.
    pub(crate) fn received(&self) -> &[u8] {
        match &self.last {
            Span::Buffer(range) => self.buffer.get(range.clone()).unwrap_or_default(),
            Span::Joined => &self.joined,
        }
    }

    /// True when the next payload, or a part of a large one, is here already, so that receiving it won't wait.
    pub(crate) fn has_next(&self) -> bool {
        let rest = &self.buffer[self.filled.clone()];
        let (packet, begun) = match (self.packet, header(rest)) {
            (Some(packet), _) => (packet, 0),
            (None, Some(header)) => (Packet::of(header), HEADER_SIZE),
            (None, None) => return false,
        };
        rest.len() >= begun + packet.due(self.in_parts)
    }

    /// Forgets what was received last and gives back what it took.
    pub(crate) fn forget(&mut self) {
        self.last = Span::Buffer(0..0);
        self.joined = Vec::new();
        if self.buffer.len() > READ_BYTES && self.filled.len() < READ_BYTES {
            let mut buffer = vec![0; READ_BYTES];
            buffer[..self.filled.len()].copy_from_slice(&self.buffer[self.filled.clone()]);
            self.filled = 0..self.filled.len();
            self.buffer = buffer;
        }
    }

    /// Takes a payload out of the buffer, or a part of a large one.
    fn take(&mut self, doing: &'static str) -> Result<Option<Range<usize>>, Error> {
        let packet = match self.packet {
            Some(packet) => packet,
            None => {
                let Some(header) = header(&self.buffer[self.filled.clone()]) else {
                    return Ok(None);
                };
                if header.seq != self.sequence {
                    let what = format!("packet number {} where {} was due", header.seq, self.sequence);
                    return Err(Error::Protocol {
                        address: self.address.clone(),
                        doing,
                        what,
                    });
                }
                self.sequence = self.sequence.wrapping_add(1);
                self.filled.start += HEADER_SIZE;
                *self.packet.insert(Packet::of(header))
            }
        };
        if self.filled.len() < packet.due(self.in_parts) {
            return Ok(None);
        }
        let range = self.filled.start..self.filled.start + self.filled.len().min(packet.left);
        self.filled.start = range.end;
        let left = packet.left - range.len();
        self.packet = (left > 0).then_some(Packet { left, ..packet });
        self.in_parts = left > 0 || packet.continued;
        Ok(Some(range))
    }

    /// One read from the socket, after making room for what is due.
    async fn fill(&mut self, doing: &'static str, patience: Duration) -> Result<(), Error> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        let due = self
            .packet
            .map_or(HEADER_SIZE, |packet| packet.due(self.in_parts));
        if self.filled.start > 0
            && (self.filled.start + due > self.buffer.len() || self.filled.end == self.buffer.len())
        {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if due > self.buffer.len() {
            self.buffer.resize(due, 0);
        }
        let free = &mut self.buffer[self.filled.end..];
        let count = match tokio::time::timeout(patience, self.link.read(free)).await {
            Ok(Ok(0)) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed it",
            )),
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                return Err(Error::Silent {
                    address: self.address.clone(),
                    doing,
                    after: patience,
                });
            }
        };
        let count = count.map_err(|source| Error::Broken {
            address: self.address.clone(),
            doing,
            source,
        })?;
        self.filled.end += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::packet::MAX_PAYLOAD;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn address() -> Address {
        Address::Tcp {
            host: "test".to_owned(),
            port: 1,
        }
    }

    /// What a wire makes of `bytes` that arrive in reads of at most `chunk`.
    fn receive(bytes: Vec<u8>, chunk: usize, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(chunk);
            let feeding = tokio::spawn(async move { far.write_all(&bytes).await });
            let mut wire = Wire::over(address(), Box::new(near));
            let mut payloads = Vec::new();
            for _ in 0..count {
                payloads.push(wire.receive("testing", PATIENCE).await?.to_vec());
            }
            assert!(
                wire.buffer.len() <= WHOLE_BYTES + HEADER_SIZE,
                "the buffer holds no more than a payload that is taken whole"
            );
            feeding.await.expect("joined").expect("taken in full");
            Ok(payloads)
        })
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        let size = prop_oneof![8 => 0..300_usize, 4 => 0..600_000_usize];
        proptest::collection::vec(size, 1..40)
    }

    fn payload(index: usize, size: usize) -> Vec<u8> {
        vec![u8::try_from(index % 251).expect("small"); size]
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
        #[test]
        fn payloads_come_whole_however_they_are_cut(sizes in sizes(), chunk in 1..400_000_usize) {
            let chunk = if sizes.iter().sum::<usize>() > 100_000 { chunk.max(1000) } else { chunk };
            let expected: Vec<_> = sizes.iter().enumerate().map(|(index, &size)| payload(index, size)).collect();
            let (mut bytes, mut sequence) = (Vec::new(), 0);
            for payload in &expected {
                sequence = packet::put(&mut bytes, payload, sequence);
            }
            let got = receive(bytes, chunk, expected.len());
            prop_assert_eq!(got.ok(), Some(expected));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500)) {
            prop_assert!(receive(bytes, 64, 600).is_err(), "it ends some time");
        }
    }

    #[test]
    fn a_payload_of_several_packets_is_joined_and_its_memory_given_back() {
        for size in [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD] {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            let mut sequence = 0;
            for (index, size) in [10, size, 10].into_iter().enumerate() {
                expected.push(payload(index, size));
                sequence = packet::put(&mut bytes, &expected[index], sequence);
            }
            assert!(receive(bytes, 1 << 20, 3).expect("whole") == expected, "{size}");
        }
    }

    /// What a wire makes of `bytes` when it is asked for parts; the largest part, and the largest buffer.
    fn parts(bytes: Vec<u8>, chunk: usize, count: usize) -> (Vec<Vec<u8>>, usize, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(chunk);
            let feeding = tokio::spawn(async move { far.write_all(&bytes).await });
            let mut wire = Wire::over(address(), Box::new(near));
            let (mut payloads, mut part, mut buffer) = (Vec::new(), 0, 0);
            for _ in 0..count {
                let mut payload = Vec::new();
                loop {
                    let next = wire.receive_part("testing", PATIENCE).await.expect("sound");
                    part = part.max(next.len());
                    payload.extend_from_slice(next);
                    buffer = buffer.max(wire.buffer.len());
                    if !wire.has_more() {
                        break;
                    }
                }
                payloads.push(payload);
            }
            feeding.await.expect("joined").expect("taken in full");
            (payloads, part, buffer)
        })
    }

    #[test]
    fn a_large_payload_is_never_held() {
        for size in [WHOLE_BYTES + 1, MAX_PAYLOAD, 2 * MAX_PAYLOAD, 5 * MAX_PAYLOAD / 2] {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            let mut sequence = 0;
            for (index, size) in [10, size, 0, 10].into_iter().enumerate() {
                expected.push(payload(index, size));
                sequence = packet::put(&mut bytes, &expected[index], sequence);
            }
            let (got, part, buffer) = parts(bytes, 1 << 20, 4);
            assert!(got == expected, "{size}");
            assert!(part <= READ_BYTES && buffer == READ_BYTES, "{part} {buffer}");
        }
    }

    #[test]
    fn a_packet_out_of_turn_is_an_error() {
        let mut bytes = Vec::new();
        packet::put(&mut bytes, b"one", 0);
        packet::put(&mut bytes, b"three", 2);
        assert!(matches!(receive(bytes, 100, 2), Err(Error::Protocol { .. })));
    }
}
