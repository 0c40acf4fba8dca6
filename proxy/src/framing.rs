//! Following packets through a stream of bytes that arrives in arbitrary pieces, without keeping or copying payloads.
//!
//! A [`Follower`] is told of bytes as they come and says where payloads begin and end. Of each payload it remembers the first
//! [`HEAD`] bytes: enough to tell what it is and to read an OK packet's status. A payload of several packets is one payload here.

use outrigger_protocol::packet::{HEADER_SIZE, PacketHeader};

/// How much of a payload's beginning is remembered: an OK packet's head, two integers of nine bytes, status, warnings.
pub(crate) const HEAD: usize = 24;

/// What happened at the place up to which bytes were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A payload's head is known: [`HEAD`] bytes, or all of it where it is shorter.
    Begin,
    /// The payload's last byte was passed.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a packet's header, or before it.
    Header,
    /// In a payload whose head is not yet complete.
    Head,
    /// In a payload after its head.
    Body,
}

/// A place in a stream of packets.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    place: Place,
    header: [u8; HEADER_SIZE],
    header_len: usize,
    /// Bytes left of the present packet's payload.
    left: usize,
    /// The present packet's payload goes on in the next packet.
    continued: bool,
    /// The next packet goes on with the payload.
    continuing: bool,
    head: [u8; HEAD],
    head_len: usize,
    size: usize,
    seq: u8,
}

impl Follower {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Header,
            header: [0; HEADER_SIZE],
            header_len: 0,
            left: 0,
            continued: false,
            continuing: false,
            head: [0; HEAD],
            head_len: 0,
            size: 0,
            seq: 0,
        }
    }

    /// The head of the payload that began last.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// The size of the first packet of the payload that began last.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The sequence number of the last packet seen.
    pub(crate) fn seq(&self) -> u8 {
        self.seq
    }

    /// The sequence number of the last packet seen was changed to this one.
    pub(crate) fn renumbered(&mut self, seq: u8) {
        self.seq = seq;
    }

    /// True between payloads, no byte of the next one seen.
    pub(crate) fn at_boundary(&self) -> bool {
        self.place == Place::Header && self.header_len == 0 && !self.continuing
    }

    /// Follows `bytes` up to the next event or their end. Returns how many were passed and the event, if any; without one all
    /// were passed. To be called again with the rest, which may be empty: an empty payload ends without another byte.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Event>) {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.place {
                Place::Header => {
                    let take = rest.len().min(HEADER_SIZE - self.header_len);
                    self.header[self.header_len..self.header_len + take].copy_from_slice(&rest[..take]);
                    self.header_len += take;
                    at += take;
                    if self.header_len < HEADER_SIZE {
                        return (at, None);
                    }
                    self.enter_packet();
                }
                Place::Head => {
                    let due = self.size.min(HEAD) - self.head_len;
                    let take = rest.len().min(due);
                    self.head[self.head_len..self.head_len + take].copy_from_slice(&rest[..take]);
                    self.head_len += take;
                    self.left -= take;
                    at += take;
                    if take < due {
                        return (at, None);
                    }
                    self.place = Place::Body;
                    return (at, Some(Event::Begin));
                }
                Place::Body => {
                    let take = rest.len().min(self.left);
                    self.left -= take;
                    at += take;
                    if self.left > 0 {
                        return (at, None);
                    }
                    self.place = Place::Header;
                    self.header_len = 0;
                    self.continuing = self.continued;
                    if !self.continued {
                        return (at, Some(Event::End));
                    }
                }
            }
        }
    }

    fn enter_packet(&mut self) {
        let header = PacketHeader::parse(self.header);
        self.left = header.size();
        self.continued = header.is_continued();
        self.seq = header.seq;
        if self.continuing {
            self.place = Place::Body;
        } else {
            self.place = Place::Head;
            self.head_len = 0;
            self.size = header.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::packet::{MAX_PAYLOAD, put};
    use proptest::prelude::*;

    use super::*;

    /// Follows a stream in pieces of the given sizes, the last repeated, and returns head, size and end of every payload.
    fn follow(stream: &[u8], pieces: &[usize]) -> (Vec<(Vec<u8>, usize, usize)>, bool) {
        let mut follower = Follower::new();
        let mut found = Vec::new();
        let mut begun = 0;
        let (mut at, mut turn) = (0, 0);
        loop {
            let piece = pieces.get(turn).or(pieces.last()).copied().unwrap_or(1).max(1);
            turn += 1;
            let until = stream.len().min(at + piece);
            loop {
                let (taken, event) = follower.step(&stream[at..until]);
                at += taken;
                match event {
                    Some(Event::Begin) => begun += 1,
                    Some(Event::End) => found.push((follower.head().to_vec(), follower.size(), at)),
                    None => break,
                }
            }
            assert_eq!(at, until);
            if at == stream.len() {
                assert!(begun == found.len() || begun == found.len() + 1);
                return (found, follower.at_boundary());
            }
        }
    }

    #[test]
    fn a_payload_of_several_packets_is_one() {
        let mut stream = Vec::new();
        put(&mut stream, &vec![5; MAX_PAYLOAD], 0);
        put(&mut stream, &vec![6; MAX_PAYLOAD + 3], 0);
        put(&mut stream, b"", 1);
        let (found, whole) = follow(&stream, &[70_000]);
        assert!(whole);
        let first = MAX_PAYLOAD + 2 * HEADER_SIZE;
        let second = first + MAX_PAYLOAD + 3 + 2 * HEADER_SIZE;
        assert_eq!(
            found,
            [
                (vec![5; HEAD], MAX_PAYLOAD, first),
                (vec![6; HEAD], MAX_PAYLOAD, second),
                (vec![], 0, second + HEADER_SIZE)
            ]
        );
    }

    proptest! {
        #[test]
        fn splits_make_no_difference(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
            pieces in prop::collection::vec(1..40usize, 1..60),
            cut in 0..8usize,
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for payload in &payloads {
                put(&mut stream, payload, 3);
                expected.push((payload[..payload.len().min(HEAD)].to_vec(), payload.len(), stream.len()));
            }
            stream.truncate(stream.len().saturating_sub(cut));
            expected.retain(|(_, _, end)| *end <= stream.len());
            let boundary = expected.last().map_or(0, |(_, _, end)| *end) == stream.len();
            prop_assert_eq!(follow(&stream, &pieces), (expected, boundary));
        }

        #[test]
        fn arbitrary_bytes_never_panic(stream: Vec<u8>, pieces in prop::collection::vec(1..9usize, 1..9)) {
            follow(&stream, &pieces);
        }
    }
}
