//! What opening a log finds of a crash.

use super::Holder;
use crate::Offset;

/// What was found, and put right, when a log was opened. All empty after an orderly end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The process that had the log open and ended without closing it.
    pub left_by: Option<Holder>,
    /// The write-ahead log ended in so many bytes that were no whole record: a write that a crash cut short, and that was
    /// never reported as durable.
    pub torn_bytes: Option<u64>,
    /// The transaction of which some pieces, but not the last, were there, and how many: discarded, to be captured anew.
    pub discarded: Option<(Offset, u64)>,
}

impl Recovery {
    /// A sentence for each finding.
    pub fn sentences(&self) -> Vec<String> {
        let left = self
            .left_by
            .as_ref()
            .map(|holder| format!("{holder}, ended without closing the log"));
        let torn = self.torn_bytes.map(|bytes| {
            format!("the write-ahead log ended in a torn record ({bytes} bytes that were not durable yet), which was dropped")
        });
        let discarded = self.discarded.map(|(offset, pieces)| {
            let pieces = if pieces == 1 { "1 piece".to_owned() } else { format!("{pieces} pieces") };
            format!("an unfinished transaction of {pieces} was discarded (it would have been offset {offset}); it is captured anew")
        });
        [left, torn, discarded].into_iter().flatten().collect()
    }
}
