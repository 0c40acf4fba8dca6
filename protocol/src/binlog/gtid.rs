//! GTID, ANONYMOUS_GTID and GTID_TAGGED: how a transaction begins.

use crate::gtid::Gtid;

/// The head of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// The transaction's name; `None` where the source runs without GTIDs.
    pub gtid: Option<Gtid>,
    /// False when the transaction may hold statement-format DML (the server's "may have SBR" flag); true says rows only.
    pub rows_only: bool,
    /// Logical clock: this transaction may run beside all after this one.
    pub last_committed: i64,
    /// Logical clock: this transaction's own number in its file.
    pub sequence_number: i64,
    /// Microseconds since the epoch of the commit on the server that was read; 0 before MySQL 8.0.
    pub immediate_commit_micros: u64,
    /// Microseconds since the epoch of the commit where the transaction first ran; 0 before MySQL 8.0.
    pub original_commit_micros: u64,
    /// Bytes of all events of the transaction, this one included; 0 when not told.
    pub transaction_length: u64,
    /// Version of the server that was read (90700); 0 or 999999 when not told.
    pub immediate_server_version: u32,
    /// Version of the server where the transaction first ran.
    pub original_server_version: u32,
    /// Group commit ticket, `None` when not told.
    pub commit_group_ticket: Option<u64>,
}
