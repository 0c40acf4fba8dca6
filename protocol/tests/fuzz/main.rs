//! Fuzzing on stable Rust, without further tools: real inputs and those of the corpus, mutated again and again. An input that makes a
//! decoder do something new joins the pool, so that mutations reach deeper.
//!
//! `cargo test` replays the corpus and does a short run; `make fuzz SECONDS=3600` a long one (`OUTRIGGER_FUZZ_SECONDS`), of one decoder
//! only with `DECODER=json` (`OUTRIGGER_FUZZ_DECODER`). Found are: panics, arithmetic overflow (checked in this build), broken promises
//! (each decoder's `run` asserts them), memory beyond a small multiple of the input, and runs that don't end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that fails panics; lengths here are small; a long run reports"
)]

mod campaign;
mod corpus;
mod decoders;
mod events;
mod mutator;
mod rows;
mod sql;
mod wire;

#[test]
fn decoders_withstand_damaged_and_invented_bytes() {
    campaign::run(&decoders::DECODERS);
}
