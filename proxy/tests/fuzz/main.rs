//! Whole sessions under attack: a client and a source that say anything, in any pieces, with the running proxy between them. The tool is
//! the one of `protocol/tests/fuzz`; `make fuzz DECODER=session SECONDS=3600` runs this alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that fails panics; lengths here are small; a long run reports"
)]

#[path = "../../../protocol/tests/fuzz/campaign.rs"]
mod campaign;
#[path = "../../../protocol/tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../../protocol/tests/fuzz/mutator.rs"]
mod mutator;
mod seeds;
mod session;

use campaign::Decoder;

static SESSIONS: [Decoder; 1] = [Decoder {
    name: "session",
    seeds: seeds::sessions,
    run: session::play,
    words: seeds::WORDS,
    // Two pipes, a handshake's largest packet on either side, and what the guard holds of a statement.
    memory: |length| 2 * 1024 * 1024 + 64 * length,
}];

#[test]
fn sessions_withstand_damaged_and_invented_bytes() {
    campaign::run(&SESSIONS);
}
