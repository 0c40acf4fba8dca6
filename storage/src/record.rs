//! What is appended and what is read: pieces of transactions.

use bytes::Bytes;
use outrigger_protocol::binlog::ChecksumAlg;
use outrigger_protocol::gtid::Gtid;
use outrigger_protocol::position::{FilePosition, SourcePosition};

use crate::{Offset, SchemaVersion};

/// A part of a transaction, as capture hands it in. Small transactions are one piece with both `begin` and `end`; larger
/// ones are cut into pieces of about 1 MiB, the first with `begin`, the last with `end`. A large event may be cut itself, so only
/// the first piece is sure to begin with an event, and the last to end with one.
#[derive(Debug, Clone)]
pub struct Piece {
    /// On the first piece only.
    pub begin: Option<Begin>,
    /// Events as the source sent them, one after the other; each tells its own length in its header. The pieces' bytes together
    /// are the transaction's.
    pub events: Bytes,
    /// On the last piece only.
    pub end: Option<End>,
}

/// What is known of a transaction before its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Its GTID; `None` if it is anonymous.
    pub gtid: Option<Gtid>,
    /// When the source committed it, in microseconds since 1970 (UTC).
    pub commit_micros: u64,
    /// The checksum that its events carry.
    pub checksum: ChecksumAlg,
    /// Where its first event stands in the source's binlog.
    pub start: FilePosition,
}

/// What is known once a transaction is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The place after it: where capture resumes.
    pub position: SourcePosition,
    /// What it changed of table definitions, stored in the same batch. Their offsets are its own
    /// ([`Appender::next`](crate::Appender::next)), or earlier ones that are told more exactly now.
    pub schemas: Vec<SchemaVersion>,
}

/// A part of a transaction, as a reader gets it. What stands in it is found from the transaction's first piece on
/// ([`Unfolder`](outrigger_protocol::binlog::Unfolder) joins what is cut).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which transaction of the log.
    pub offset: Offset,
    /// Which piece of it, from 0.
    pub piece: u32,
    /// On the first piece only.
    pub begin: Option<Begin>,
    /// Bytes of the transaction's events, as the source sent them.
    pub events: Bytes,
    /// On the last piece only: the place after the transaction in the source's binlog.
    pub end: Option<FilePosition>,
}

impl Record {
    /// Offset and piece of the record that comes after this one.
    pub(crate) fn follower(&self) -> (Offset, u32) {
        match self.end {
            Some(_) => (self.offset.next(), 0),
            None => (self.offset, self.piece.saturating_add(1)),
        }
    }
}
