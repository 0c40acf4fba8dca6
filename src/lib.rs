//! Outrigger keeps a MySQL-compatible target in step with a self-managed MySQL source.
//!
//! This package is the only place that wires the crates together: [`supervisor`] starts capture, tasks, proxy and HTTP and
//! stops them again; [`config`] reads what they are told; [`status`], [`http`], [`progress`] and [`telemetry`] show what they do;
//! [`log`] looks into a change log, [`replay`] applies one without its source; [`cli`] is the command. `ARCHITECTURE.md` has the map.

pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod log;
pub mod precheck;
pub mod progress;
pub mod replay;
pub mod status;
pub mod supervisor;
pub mod telemetry;
