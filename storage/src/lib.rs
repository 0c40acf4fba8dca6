//! The change log: every transaction that the source commits, verbatim and in order, on RocksDB.
//!
//! One [`Appender`] writes, any number of [`Reader`]s follow, each at its own pace. What the log advertises is durable
//! (invariant C2): an [`Offset`] is shown only after the write-ahead log that holds it was synced, and a reader never sees a
//! transaction whose last piece could still be lost. The log keeps to its quota (C4): when it is full the appender waits,
//! [`Stats::paused`](stats::Stats::paused) says so, and trimming what every target has applied lets it go on.
//!
//! Nothing outside this crate knows RocksDB, and this crate knows nothing of what the events mean.

mod appender;
mod config;
mod engine;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod format;
mod log;
mod metrics;
mod offset;
mod reader;
mod record;
mod retention;
mod schema;
pub mod stats;
mod sync;
mod tail;

pub use appender::Appender;
pub use config::Config;
pub use engine::{Holder, Info, Records, Recovery, Schemas, View};
pub use error::{EngineError, Error};
pub use format::Kept;
pub use log::Log;
pub use offset::{LogId, Offset};
pub use reader::Reader;
pub use record::{Begin, End, Piece, Record};
pub use schema::{Definition, Reading, Schema, SchemaVersion};
pub use stats::Stats;
