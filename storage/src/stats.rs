//! What the log looks like from outside, for status pages and metrics.

use bytesize::ByteSize;
use serde::Serialize;

use crate::{LogId, Offset};

/// A view of the log at one moment; see [`Log::stats`](crate::Log::stats).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The log's identity.
    pub id: LogId,
    /// The first offset that is kept; above `last` when the log holds nothing.
    pub first: Offset,
    /// The last durable offset; [`Offset::ZERO`] before the first transaction.
    pub last: Offset,
    /// What the log's directory takes on disk, plus what was appended since that was measured.
    pub bytes: ByteSize,
    /// What it may take.
    pub quota: ByteSize,
    /// True while the appender waits because the quota is used up, or because something is overdue.
    pub paused: bool,
    /// True while something is older than it may be and not applied.
    pub overdue: bool,
    /// Appended and not yet synced.
    pub unsynced: ByteSize,
}
