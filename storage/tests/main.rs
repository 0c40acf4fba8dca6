//! The log through its public face, on real directories; crashes are simulated with copies of a directory in use and with
//! child processes that end at named points.

#![expect(clippy::unwrap_used, reason = "a test may end where it can't go on")]

#[path = "log/crash.rs"]
mod crash;
#[path = "log/quota.rs"]
mod quota;
#[path = "log/reading.rs"]
mod reading;
#[path = "log/schemas.rs"]
mod schemas;
#[path = "log/support.rs"]
mod support;
#[path = "log/view.rs"]
mod view;
#[path = "log/writing.rs"]
mod writing;
