//! Packets: a header of three bytes of length and one of sequence, then that many bytes.
//!
//! A payload (one command, one row, one reply) travels in one packet unless it has 2^24−1 bytes or more: then in packets of
//! exactly that size and a last, shorter (perhaps empty) one. This file splits and joins; who reads and writes the bytes is
//! up to the callers.

use std::borrow::Cow;

/// Bytes in a packet's header.
pub const HEADER_SIZE: usize = 4;

/// The most payload that one packet carries; a packet of this size is followed by another of the same payload.
pub const MAX_PAYLOAD: usize = 0xff_ffff;

/// Why bytes are no packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A packet's sequence number is not the one after its predecessor's.
    #[error("packets out of order: sequence number {found} where {expected} was due")]
    OutOfOrder {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        found: u8,
    },
    /// The payload is longer than the receiver allows.
    #[error("a payload of more than {limit} bytes, the most that is accepted")]
    TooLarge {
        /// The most that is accepted.
        limit: usize,
    },
}

/// The four bytes before every packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// Bytes of payload in this packet, at most [`MAX_PAYLOAD`].
    pub len: u32,
    /// Counts packets from 0 at every command, wrapping at 256.
    pub seq: u8,
}

impl PacketHeader {
    /// Reads a header; all bytes are valid ones.
    pub fn parse(bytes: [u8; HEADER_SIZE]) -> Self {
        let [low, middle, high, seq] = bytes;
        Self {
            len: u32::from_le_bytes([low, middle, high, 0]),
            seq,
        }
    }

    /// The header's bytes.
    pub fn encode(self) -> [u8; HEADER_SIZE] {
        let [low, middle, high, _] = self.len.to_le_bytes();
        [low, middle, high, self.seq]
    }

    /// Bytes of payload, as a size.
    pub fn size(self) -> usize {
        usize::try_from(self.len).unwrap_or(MAX_PAYLOAD)
    }

    /// True when the payload goes on in the next packet.
    pub fn is_continued(self) -> bool {
        self.size() == MAX_PAYLOAD
    }
}

/// Splits a payload into packets, the first of them numbered `seq`. There is always at least one.
pub fn split(payload: &[u8], seq: u8) -> impl Iterator<Item = (PacketHeader, &[u8])> {
    let mut left = Some(payload);
    let mut seq = seq;
    std::iter::from_fn(move || {
        let payload = left?;
        let (chunk, after) = payload.split_at(payload.len().min(MAX_PAYLOAD));
        left = (chunk.len() == MAX_PAYLOAD).then_some(after);
        let header = PacketHeader {
            len: u32::try_from(chunk.len()).unwrap_or(0),
            seq,
        };
        seq = seq.wrapping_add(1);
        Some((header, chunk))
    })
}

/// Appends a payload as packets to `out` and returns the sequence number after the last.
pub fn put(out: &mut Vec<u8>, payload: &[u8], seq: u8) -> u8 {
    let mut next = seq;
    for (header, chunk) in split(payload, seq) {
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(chunk);
        next = header.seq.wrapping_add(1);
    }
    next
}

/// A whole payload found at the head of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined<'a> {
    /// The payload, borrowed when it came in one packet.
    pub payload: Cow<'a, [u8]>,
    /// The sequence number after its last packet.
    pub next_seq: u8,
    /// How many of the bytes, headers included, were used.
    pub consumed: usize,
}

/// Takes the first payload, in however many packets, from `bytes`; `None` while its last byte has not come.
///
/// `limit` bounds the payload: a larger one is an error as soon as its headers tell.
pub fn join(bytes: &[u8], limit: usize) -> Result<Option<Joined<'_>>, Error> {
    let mut payload = Cow::Borrowed(&bytes[..0]);
    let mut consumed = 0;
    let mut expected = None;
    loop {
        let Some((head, body)) = bytes[consumed..].split_first_chunk::<HEADER_SIZE>() else {
            return Ok(None);
        };
        let header = PacketHeader::parse(*head);
        if let Some(expected) = expected.filter(|seq| *seq != header.seq) {
            return Err(Error::OutOfOrder {
                expected,
                found: header.seq,
            });
        }
        if payload.len() + header.size() > limit {
            return Err(Error::TooLarge { limit });
        }
        let Some(chunk) = body.get(..header.size()) else {
            return Ok(None);
        };
        if payload.is_empty() {
            payload = Cow::Borrowed(chunk);
        } else {
            payload.to_mut().extend_from_slice(chunk);
        }
        consumed += HEADER_SIZE + chunk.len();
        let next_seq = header.seq.wrapping_add(1);
        if !header.is_continued() {
            return Ok(Some(Joined {
                payload,
                next_seq,
                consumed,
            }));
        }
        expected = Some(next_seq);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_payload_of_exactly_the_maximum_ends_with_an_empty_packet() {
        for (size, packets) in [
            (0, 1),
            (1, 1),
            (MAX_PAYLOAD - 1, 1),
            (MAX_PAYLOAD, 2),
            (2 * MAX_PAYLOAD + 5, 3),
        ] {
            let payload = vec![7; size];
            let mut out = Vec::new();
            let next = put(&mut out, &payload, 254);
            assert_eq!(out.len(), size + packets * HEADER_SIZE);
            let joined = join(&out, usize::MAX).expect("well formed").expect("whole");
            assert_eq!(joined.payload, payload);
            assert_eq!((joined.next_seq, joined.consumed), (next, out.len()));
            assert_eq!(usize::from(next), (254 + packets) % 256);
            assert_eq!(join(&out[..out.len() - 1], usize::MAX), Ok(None));
        }
    }

    #[test]
    fn order_and_limit_are_checked() {
        let mut out = Vec::new();
        put(&mut out, &vec![1; MAX_PAYLOAD + 1], 0);
        assert_eq!(
            join(&out, MAX_PAYLOAD),
            Err(Error::TooLarge { limit: MAX_PAYLOAD })
        );
        out[HEADER_SIZE + MAX_PAYLOAD + 3] = 9;
        assert_eq!(
            join(&out, usize::MAX),
            Err(Error::OutOfOrder {
                expected: 1,
                found: 9
            })
        );
    }

    proptest! {
        #[test]
        fn headers_round_trip(bytes: [u8; 4]) {
            prop_assert_eq!(PacketHeader::parse(bytes).encode(), bytes);
        }

        #[test]
        fn packets_round_trip(payload: Vec<u8>, seq: u8, tail: Vec<u8>) {
            let mut out = Vec::new();
            let next_seq = put(&mut out, &payload, seq);
            let consumed = out.len();
            out.extend_from_slice(&tail);
            let joined = join(&out, 1 << 20).expect("well formed").expect("whole");
            prop_assert_eq!(joined, Joined { payload: Cow::Borrowed(&payload), next_seq, consumed });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, limit: usize) {
            std::hint::black_box(join(&bytes, limit).is_ok());
        }
    }
}
