//! Makes a new input out of known ones.

use std::time::{SystemTime, UNIX_EPOCH};

/// Inputs are not grown beyond this.
const LONGEST: usize = 64 * 1024;

/// Numbers at which formats change their minds.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    0x0f,
    0x10,
    0x1f,
    0x20,
    0x40,
    0x7f,
    0x80,
    0xfa,
    0xfb,
    0xfc,
    0xfd,
    0xfe,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
];

/// Seconds and their parts, as a number that differs from run to run.
pub(crate) fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

pub(crate) struct Mutator {
    state: u64,
    words: &'static [&'static [u8]],
}

impl Mutator {
    pub(crate) fn new(seed: u64, words: &'static [&'static [u8]]) -> Self {
        Self { state: seed, words }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A short length most times, now and then a long one.
    fn length(&mut self, most: usize) -> usize {
        let bits = self.below(8) + 1;
        1 + self.below((1_usize << bits).min(most))
    }

    /// A few changes to one of `pool`, its newest part preferred.
    pub(crate) fn mutate(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let from = if self.below(3) == 0 { pool.len() / 2 } else { 0 };
        let at = from + self.below(pool.len() - from);
        let mut input = pool.get(at).cloned().unwrap_or_default();
        let most = if self.below(4) == 0 { 16 } else { 3 };
        let changes = 1 + self.below(most);
        for _ in 0..changes {
            self.change(&mut input, pool);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let length = input.len();
        let at = self.below(length);
        let span = self.length(length.max(1)).min(length - at);
        match self.below(12) {
            0 if length > 0 => input[at] ^= 1 << self.below(8),
            1 if length > 0 => input[at] = self.byte(),
            2 if length > 0 => input[at] = input[at].wrapping_add(1),
            3 if length > 0 => input[at] = input[at].wrapping_sub(1),
            4 => {
                input.drain(at..at + span);
            }
            5 => {
                let piece = input[at..at + span].to_vec();
                let place = self.below(length + 1);
                input.splice(place..place, piece);
            }
            6 => {
                let bytes: Vec<u8> = (0..self.length(32)).map(|_| self.byte()).collect();
                input.splice(at..at, bytes);
            }
            7 => self.number(input, at),
            8 => {
                let other = &pool[self.below(pool.len())];
                let start = self.below(other.len());
                let piece = &other[start..(start + self.length(other.len().max(1))).min(other.len())];
                let end = if self.below(2) == 0 {
                    at
                } else {
                    (at + piece.len()).min(length)
                };
                input.splice(at..end, piece.iter().copied());
            }
            9 => {
                let other = &pool[self.below(pool.len())];
                input.truncate(at);
                input.extend_from_slice(&other[self.below(other.len() + 1)..]);
            }
            10 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                let end = if self.below(2) == 0 {
                    at
                } else {
                    (at + word.len()).min(length)
                };
                input.splice(at..end, word.iter().copied());
            }
            _ => {
                let byte = self.byte();
                input.splice(at..at, std::iter::repeat_n(byte, span));
            }
        }
    }

    /// Overwrites some bytes with a telling number, in either order of bytes.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let number = match self.below(4) {
            0 => (input.len() as u64).wrapping_add(self.next() % 5).wrapping_sub(2),
            1 => u64::MAX - self.next() % 3,
            _ => NUMBERS[self.below(NUMBERS.len())],
        };
        let width = [1, 2, 3, 4, 8][self.below(5)].min(input.len() - at);
        let little = number.to_le_bytes();
        let backwards = self.below(4) == 0;
        for place in 0..width {
            input[at + place] = little[if backwards { width - 1 - place } else { place }];
        }
    }
}
