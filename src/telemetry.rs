//! What the process tells about itself while it runs: log lines, metrics, its own memory.

pub mod logs;
pub mod metrics;
pub mod process;
