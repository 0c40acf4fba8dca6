//! What is fuzzed: each decoder with its real inputs, what it promises, and how much memory it may take.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::campaign::Decoder;
use crate::{events, rows, sql, wire};

/// A small multiple, and room for error texts. The largest there is: a table map holds 160 bytes for a column that takes one.
fn multiple(length: usize) -> usize {
    256 * length + 16 * 1024
}

pub(crate) static DECODERS: [Decoder; 8] = [
    Decoder {
        name: "event",
        seeds: events::events,
        run: events::event,
        words: &[],
        memory: multiple,
    },
    Decoder {
        name: "rows",
        seeds: rows::statements,
        run: rows::rows,
        words: &[],
        memory: multiple,
    },
    Decoder {
        name: "json",
        seeds: rows::documents,
        run: rows::document,
        words: &[
            b"$.",
            b"$[",
            b"[last]",
            b"[last-1]",
            b".\"",
            b"\x00\x03$.k",
            b"\x02\x04$[0]",
            b"\x01\x04$[1]\x02\x04\x00",
        ],
        memory: multiple,
    },
    Decoder {
        name: "payload",
        seeds: events::payloads,
        run: events::payload,
        words: &[],
        // A compressed byte may stand for a thousand and more; a piece of 128 KiB is decompressed at a time, into a buffer that doubles.
        memory: |length| 1024 * 1024 + 256 * length.min(64 * 1024),
    },
    Decoder {
        name: "gtid",
        seeds: wire::gtid_sets,
        run: wire::gtid,
        words: wire::GTID_WORDS,
        memory: multiple,
    },
    Decoder {
        name: "packet",
        seeds: wire::packets,
        run: wire::packet,
        words: &[],
        memory: multiple,
    },
    Decoder {
        name: "lexer",
        seeds: sql::statements,
        run: sql::lex,
        words: sql::WORDS,
        memory: multiple,
    },
    Decoder {
        name: "ddl",
        seeds: sql::statements,
        run: sql::classify,
        words: sql::WORDS,
        memory: multiple,
    },
];

/// A number for what happened: the same for inputs that a decoder treats alike.
pub(crate) struct Behaviour(DefaultHasher);

impl Behaviour {
    pub(crate) fn new() -> Self {
        Self(DefaultHasher::new())
    }

    pub(crate) fn add(&mut self, part: impl Hash) {
        part.hash(&mut self.0);
    }

    /// A count, coarsely.
    pub(crate) fn count(&mut self, count: usize) {
        self.add(usize::BITS - count.leading_zeros());
    }

    /// A message without its numbers and beyond its head.
    pub(crate) fn message(&mut self, error: &dyn std::error::Error) {
        let text = error.to_string();
        self.add(
            text.chars()
                .filter(char::is_ascii_alphabetic)
                .take(80)
                .collect::<String>(),
        );
    }

    pub(crate) fn finish(self) -> u64 {
        self.0.finish()
    }
}
