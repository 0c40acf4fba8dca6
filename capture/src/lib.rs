//! The source side: a replication connection to a MySQL source, verified events, whole transactions into the log.
//!
//! [`check`](check::check) says whether a source can be captured, [`reach`] which accounts don't let in who connects from here,
//! [`start_position`] where a new log begins, and a [`Capturer`] keeps a log growing from there until it is cancelled: it reconnects by itself within a retry window,
//! proves at every connect that nothing is missing (C5), acts on an event only after its checksum held (C1), and keeps
//! table definitions beside the transactions (A4).

mod accounts;
mod backoff;
mod capturer;
pub mod check;
mod config;
mod connection;
mod error;
mod filter;
mod intake;
mod login;
mod metrics;
mod reconnect;
mod schema;
mod semi_sync;
mod start;
mod status;
mod stream;
mod transaction;
mod version;
mod wire;

pub use accounts::{Reach, ShutOut, reach};
pub use capturer::Capturer;
pub use check::{SourceInfo, check};
pub use config::Config;
pub use error::Error;
pub use filter::Selection;
pub use start::start_position;
pub use status::{Snapshot, State, Status};
