//! Compressed packets: three bytes of length, one of sequence, three of the length before compression, then the payload; as it is where
//! the last is 0. (MySQL's protocol documentation, "Compressed Packet".)
//!
//! Pure: bytes in, bytes out. Lengths in headers are what the client says; they bound what is taken, memory is never asked for by them.

use std::sync::Arc;

use super::contexts::{Contexts, Decompressor};
use super::{Fault, Method};

/// Bytes before a payload.
const HEADER_SIZE: usize = 7;
/// Shorter ones are not worth it: MySQL's `MIN_COMPRESS_LENGTH`.
const SMALLEST: usize = 50;
/// No packet that is made stands for more: what the relay moves at a time.
pub(super) const MOST: usize = crate::pipe::CAPACITY;

/// Makes one packet of `plain`, of [`MOST`] bytes at the most, in place of what `out` holds.
pub(super) fn pack(method: Method, contexts: &Contexts, plain: &[u8], seq: u8, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_SIZE + plain.len(), 0);
    let room = &mut out[HEADER_SIZE..];
    // Only if it saves something.
    let end = room.len().saturating_sub(1);
    let packed = match plain.len() {
        ..SMALLEST => None,
        _ => contexts.compress(method, plain, &mut room[..end]),
    };
    let (size, before) = match packed {
        Some(size) => (size, plain.len()),
        None => {
            room.copy_from_slice(plain);
            (plain.len(), 0)
        }
    };
    out.truncate(HEADER_SIZE + size);
    out[..3].copy_from_slice(&three_bytes(size));
    out[3] = seq;
    out[4..HEADER_SIZE].copy_from_slice(&three_bytes(before));
}

fn three_bytes(length: usize) -> [u8; 3] {
    let [low, middle, high, ..] = length.to_le_bytes();
    [low, middle, high]
}

fn length([low, middle, high]: [u8; 3]) -> usize {
    usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16
}

/// What the packets of both directions are numbered by, as the packets inside: a command from 0 on, and on from there.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The next packet's, either way.
    pub(super) next: u8,
    /// The client's next one: it may still be sending a command while another is answered.
    following: u8,
}

impl Numbers {
    /// A packet of the client's came.
    fn came(&mut self, number: u8) -> Result<(), Fault> {
        if ![0, self.next, self.following].contains(&number) {
            return Err(Fault::OutOfOrder);
        }
        self.next = number.wrapping_add(1);
        self.following = self.next;
        Ok(())
    }
}

/// A place in a stream of compressed packets.
pub(super) struct Unpacker {
    method: Method,
    contexts: Arc<Contexts>,
    header: [u8; HEADER_SIZE],
    /// Bytes of the header that are here.
    filled: usize,
    body: Body,
}

enum Body {
    /// Not begun.
    None,
    /// As it is, with so many bytes to come.
    Stored(usize),
    Packed(Packed),
}

/// A compressed payload.
struct Packed {
    decompressor: Decompressor,
    /// Bytes of it to come.
    left: usize,
    /// Bytes that it stands for and that were not made yet.
    due: usize,
    /// What it stands for.
    size: usize,
    /// The last step had no room for all that it could make.
    more: bool,
}

impl Unpacker {
    pub(super) fn new(method: Method, contexts: Arc<Contexts>) -> Self {
        Self {
            method,
            contexts,
            header: [0; HEADER_SIZE],
            filled: 0,
            body: Body::None,
        }
    }

    /// True between packets, no byte of the next one seen.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0
    }

    /// Unpacks `input` into `room`, which is not empty, up to the end of a packet that gave something, or of either. Returns how much was
    /// used and made.
    pub(super) fn unpack(
        &mut self,
        input: &[u8],
        room: &mut [u8],
        numbers: &mut Numbers,
    ) -> Result<(usize, usize), Fault> {
        let (mut used, mut made) = (0, 0);
        loop {
            let (rest, room) = (&input[used..], &mut room[made..]);
            match &mut self.body {
                Body::None => {
                    let take = rest.len().min(HEADER_SIZE - self.filled);
                    self.header[self.filled..self.filled + take].copy_from_slice(&rest[..take]);
                    self.filled += take;
                    used += take;
                    if self.filled < HEADER_SIZE {
                        return Ok((used, made));
                    }
                    self.begin(numbers)?;
                    continue;
                }
                Body::Stored(left) => {
                    let take = rest.len().min(room.len()).min(*left);
                    room[..take].copy_from_slice(&rest[..take]);
                    *left -= take;
                    (used, made) = (used + take, made + take);
                    if *left > 0 {
                        return Ok((used, made));
                    }
                    self.end(None);
                }
                Body::Packed(packed) => {
                    let (taken, given, ended) = packed.step(rest, room)?;
                    (used, made) = (used + taken, made + given);
                    match (ended, taken + given) {
                        (true, _) => {
                            if let Body::Packed(packed) = std::mem::replace(&mut self.body, Body::None) {
                                self.end(Some(packed));
                            }
                        }
                        (false, 0) => return Ok((used, made)),
                        (false, _) => continue,
                    }
                }
            }
            if made > 0 {
                return Ok((used, made));
            }
        }
    }

    /// The header is here.
    fn begin(&mut self, numbers: &mut Numbers) -> Result<(), Fault> {
        let [a, b, c, number, d, e, f] = self.header;
        numbers.came(number)?;
        let (left, size) = (length([a, b, c]), length([d, e, f]));
        self.body = match size {
            0 => Body::Stored(left),
            _ => Body::Packed(Packed {
                decompressor: self.contexts.decompressor(self.method)?,
                left,
                due: size,
                size,
                more: false,
            }),
        };
        Ok(())
    }

    /// The payload is through.
    fn end(&mut self, packed: Option<Packed>) {
        (self.filled, self.body) = (0, Body::None);
        if let Some(packed) = packed {
            self.contexts.give_back(packed.decompressor, packed.size);
        }
    }
}

impl Packed {
    /// Goes on; returns how much was used and made, and whether it is through.
    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<(usize, usize, bool), Fault> {
        let input = &input[..input.len().min(self.left)];
        // What follows the last byte that is due must be the data's end, and no other byte.
        let mut beyond = [0];
        let over = self.due == 0;
        let room = match over {
            true => &mut beyond[..],
            false => {
                let end = room.len().min(self.due);
                &mut room[..end]
            }
        };
        if room.is_empty() || input.is_empty() && self.left > 0 && !self.more {
            return Ok((0, 0, false));
        }
        let step = self.decompressor.step(input, room)?;
        self.left -= step.used;
        self.more = step.made == room.len();
        if over && step.made > 0 {
            return Err(Fault::Damaged);
        }
        self.due -= step.made;
        let whole = self.left == 0 && self.due == 0;
        match step.ended {
            true if whole => Ok((step.used, step.made, true)),
            true => Err(Fault::Damaged),
            false if self.left == 0 && !self.more => Err(Fault::Damaged),
            false => Ok((step.used, step.made, false)),
        }
    }
}
