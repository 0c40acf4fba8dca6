//! The target side of Outrigger: brings one selection of a source's databases to one target and keeps it in step.
//!
//! A [`Task`] copies schema and rows (`snapshot`), then replays the change log (`replay`) so that the target always shows
//! a prefix of the source's history (A2). Rows and the checkpoint commit in one target transaction (A1). What the task is
//! doing can be read at any time from its [`TaskStatus`].
//!
//! The crate reads the log and talks to the target, and to the source for the copy alone; it never captures.

pub mod checkpoint;
mod computed;
pub mod config;
pub mod coverage;
pub mod error;
pub mod metrics;
pub mod status;
pub mod task;

mod ddl;
mod definition;
mod foreign;
mod json_kinds;
mod link;
mod literal;
mod replay;
mod schema;
mod snapshot;
mod statement;
mod target;
mod throttle;
mod xa;

pub use checkpoint::{Checkpoint, checkpoint};
pub use config::{
    CommitOrder, Config, CopyConfig, GroupConfig, LimitsConfig, OnDivergence, OnExistingTables, Pattern,
    Selection,
};
pub use ddl::check_system_zone;
pub use error::{Error, Side};
pub use metrics::Metrics;
pub use schema::absent;
pub use status::{DivergenceKind, Divergences, TaskSnapshot, TaskState, TaskStatus};
pub use task::{Offline, Task};
