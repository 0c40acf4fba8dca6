//! The bytes of one direction between reading and writing: one fixed buffer, three marks.
//!
//! ```text
//!   0 ──── start ──── released ──── end ──── capacity
//!     sent       to be sent    held      room
//! ```
//!
//! Nothing is read while released bytes wait to be sent: a slow reader stalls its own source and nobody else (P3). A pipe that is empty while
//! nothing comes has no buffer: the sessions of a thread share those that are not in use, and idle ones cost little, however many there were
//! before.

use std::cell::RefCell;

use zeroize::{Zeroize, Zeroizing};

/// Bytes that one direction of a connection may hold.
pub(crate) const CAPACITY: usize = 32 * 1024;

/// So many buffers are kept by each thread for the next session with something to pass on.
const KEPT: usize = 32;

thread_local! {
    /// Those that no session of this thread is using, of [`CAPACITY`] bytes each.
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// One direction's buffer.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// None where it has no length.
    buffer: Box<[u8]>,
    start: usize,
    released: usize,
    end: usize,
}

impl Pipe {
    /// An empty pipe holding `first`, unreleased; as large as that, if need be.
    pub(crate) fn with(first: &[u8]) -> Self {
        let mut buffer = Vec::new();
        if !first.is_empty() {
            buffer.resize(CAPACITY.max(first.len()), 0);
            buffer[..first.len()].copy_from_slice(first);
        }
        Self {
            buffer: buffer.into_boxed_slice(),
            start: 0,
            released: 0,
            end: first.len(),
        }
    }

    /// What may be written.
    pub(crate) fn sendable(&self) -> &[u8] {
        &self.buffer[self.start..self.released]
    }

    /// What was read and not yet released.
    pub(crate) fn held(&self) -> &[u8] {
        &self.buffer[self.released..self.end]
    }

    /// The same, to be changed.
    pub(crate) fn held_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.released..self.end]
    }

    /// The last `count` bytes that were released, if none of them was sent.
    pub(crate) fn just_released(&self, count: usize) -> Option<&[u8]> {
        let from = self
            .released
            .checked_sub(count)
            .filter(|from| *from >= self.start)?;
        self.buffer.get(from..self.released)
    }

    /// Takes all held bytes out; nothing of them is left behind.
    pub(crate) fn take_held(&mut self) -> Zeroizing<Vec<u8>> {
        let held = &mut self.buffer[self.released..self.end];
        let taken = Zeroizing::new(held.to_vec());
        held.zeroize();
        self.end = self.released;
        taken
    }

    /// True when nothing is in the pipe.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True when all that is held fills the pipe.
    pub(crate) fn is_full_of_held(&self) -> bool {
        !self.buffer.is_empty() && self.held().len() == self.buffer.len()
    }

    /// `count` bytes of [`sendable`](Self::sendable) were written.
    pub(crate) fn sent(&mut self, count: usize) {
        self.start = self.released.min(self.start.saturating_add(count));
    }

    /// Lets the next `count` held bytes go.
    pub(crate) fn release(&mut self, count: usize) {
        self.released = self.end.min(self.released.saturating_add(count));
    }

    /// Takes the next `count` held bytes out; they are never sent.
    pub(crate) fn discard(&mut self, count: usize) {
        let from = self.end.min(self.released.saturating_add(count));
        self.buffer.copy_within(from..self.end, self.released);
        self.end -= from - self.released;
    }

    /// Where the next bytes may be read into; empty while something waits to be sent or the pipe is full.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start < self.released {
            return &mut [];
        }
        if self.buffer.is_empty() {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            self.buffer = spare.unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice());
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.released = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Nothing comes for now: gives the buffer to whoever has use of it, if there is nothing in it.
    pub(crate) fn rest(&mut self) {
        if !self.is_empty() {
            return;
        }
        (self.start, self.released, self.end) = (0, 0, 0);
        let buffer = std::mem::take(&mut self.buffer);
        SPARE.with_borrow_mut(|spare| {
            if buffer.len() == CAPACITY && spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }

    /// `count` bytes were read into [`room`](Self::room).
    pub(crate) fn received(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end.saturating_add(count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_has_nothing_has_no_buffer_and_few_are_kept() {
        let mut pipes: Vec<Pipe> = (0..2 * KEPT).map(|_| Pipe::with(b"")).collect();
        let kept = || SPARE.with_borrow(Vec::len);
        for pipe in &mut pipes {
            assert_eq!(pipe.room().len(), CAPACITY);
            pipe.rest();
        }
        assert_eq!(kept(), 1, "one after the other they need one");
        for pipe in &mut pipes {
            pipe.room()[0] = 7;
            pipe.received(1);
            pipe.rest();
            assert_eq!(pipe.held(), [7]);
        }
        assert_eq!(kept(), 0);
        for pipe in &mut pipes {
            pipe.release(1);
            pipe.sent(1);
            pipe.rest();
        }
        assert_eq!(kept(), KEPT);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((0..5u8, 0..40_000usize), 0..80)) {
            let mut pipe = Pipe::with(b"");
            let mut read = 0_usize;
            let (mut written, mut expected, mut held) = (Vec::new(), Vec::new(), Vec::new());
            for (step, size) in steps {
                match step {
                    0 => {
                        let room = pipe.room();
                        let count = size.min(room.len());
                        for slot in &mut room[..count] {
                            *slot = u8::try_from(read % 251).expect("small");
                            held.push(*slot);
                            read += 1;
                        }
                        pipe.received(count);
                    }
                    1 => {
                        let count = size.min(held.len());
                        pipe.release(count);
                        expected.extend(held.drain(..count));
                    }
                    2 => {
                        let count = size.min(held.len());
                        pipe.discard(count);
                        held.drain(..count);
                    }
                    3 => pipe.rest(),
                    _ => {
                        let count = size.min(pipe.sendable().len());
                        written.extend_from_slice(&pipe.sendable()[..count]);
                        pipe.sent(count);
                    }
                }
                prop_assert_eq!(pipe.held(), held.as_slice());
                let last = pipe.just_released(3).map(<[u8]>::to_vec);
                prop_assert!(last.is_none_or(|last| expected.ends_with(&last)));
            }
            written.extend_from_slice(pipe.sendable());
            prop_assert_eq!(written, expected);
        }
    }
}
