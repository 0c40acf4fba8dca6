//! What can go wrong with the log. Every message begins with the side (`log`), says what happened and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;

use crate::{Holder, Offset};

/// What RocksDB says of a file after its first error (`db/log_writer.cc`, `file/writable_file_writer.h`).
const EARLIER: [&str; 2] = ["Seen error", "Writer has previous error"];

/// An error of the log. Cloned to everyone whom a failed sync concerns.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A setting is out of bounds.
    #[error("log: the setting {what}")]
    Config {
        /// Which setting, its value, its bounds.
        what: String,
    },
    /// The directory belongs to another process, or is open already in this one.
    #[error(
        "log: {} is in use by {holder}; stop that outrigger, or give this one a directory of its own", path.display()
    )]
    InUse {
        /// The log's directory.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// A file operation outside RocksDB failed.
    #[error("log: {doing} {} failed: {source}; check the directory, its owner and the space left on the disk", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's own words.
        source: Arc<io::Error>,
    },
    /// RocksDB failed. After a failed write or sync the log takes nothing more until it is opened again.
    #[error(
        "log: {doing} in {} failed: {source}; check the space left and the health of that disk, then start again (nothing that was \
         reported as durable is lost by starting again)", path.display()
    )]
    Engine {
        /// The log's directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// RocksDB's own words.
        source: EngineError,
    },
    /// The log was written by a version with another format.
    #[error(
        "log: {} has format {found}, written by {} of outrigger; this one reads format {supported}. Use that version, or an empty \
         directory (targets are then copied anew)", path.display(), age(*found, *supported)
    )]
    Version {
        /// The log's directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format this version reads and writes.
        supported: u32,
    },
    /// The directory holds something else.
    #[error("log: {} is not a log: {why}; name a log's own directory, or an empty one for a new log", path.display())]
    NotALog {
        /// The directory.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// What is stored contradicts itself or its checksum.
    #[error(
        "log: {} is damaged: {what}; check that disk. If it can't be restored, use an empty directory (targets are then copied anew)",
        path.display()
    )]
    Corrupt {
        /// The log's directory.
        path: PathBuf,
        /// Where, and what is wrong there.
        what: String,
    },
    /// The wanted transactions were trimmed.
    #[error(
        "log: what follows offset {after} was trimmed, the log begins at {first}; the target has to be copied anew"
    )]
    Trimmed {
        /// The offset after which reading was to begin.
        after: Offset,
        /// The first offset that is kept.
        first: Offset,
    },
    /// An offset beyond what the log ever held: the checkpoint belongs to another log, or this log lost its end.
    #[error(
        "log: offset {wanted} was asked for, the log ends at {last}; the checkpoint is not of this log, or the log lost its end: copy the target anew"
    )]
    Beyond {
        /// The offset asked for.
        wanted: Offset,
        /// The last durable offset.
        last: Offset,
    },
    /// A start was given to a log that holds transactions already.
    #[error(
        "log: it holds transactions up to {last} already, its start can't be set; use an empty directory"
    )]
    NotEmpty {
        /// The last durable offset.
        last: Offset,
    },
    /// A second appender was asked for.
    #[error("log: it has an appender already; drop that one first")]
    AppenderTaken,
    /// A piece came out of order: a defect of the caller.
    #[error("log: {what}; this is a defect, please report it")]
    Sequence {
        /// What was wrong with the piece.
        what: &'static str,
    },
    /// One transaction alone fills the quota.
    #[error(
        "log: one transaction is larger than the quota allows ({bytes} so far, quota {quota}); raise the log's quota and start again"
    )]
    TransactionTooLarge {
        /// What of it was appended.
        bytes: ByteSize,
        /// The quota.
        quota: ByteSize,
    },
    /// The log that was open before is not there.
    #[error(
        "log: the log that was in {} is not there any more; is its disk mounted? It is opened again as soon as it is \
         back. If it was deleted, stop Outrigger, and begin with a new log and a new copy", path.display()
    )]
    Gone {
        /// The log's directory.
        path: PathBuf,
    },
    /// The log was closed.
    #[error("log: it was closed")]
    Closed,
}

impl Error {
    /// Whether mending the disk (room, write access, health) heals it, with nothing to be decided by anybody.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Engine { source, .. } => source.0.kind() == rocksdb::ErrorKind::IOError,
            Self::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
            Self::Gone { .. } => true,
            _ => false,
        }
    }

    /// Whether RocksDB only says that it met an error before: whoever was there then has been told which.
    pub(crate) fn is_of_an_earlier_one(&self) -> bool {
        match self {
            Self::Engine { source, .. } => {
                let text = source.0.to_string();
                EARLIER.iter().any(|words| text.contains(words))
            }
            _ => false,
        }
    }
}

fn age(found: u32, supported: u32) -> &'static str {
    if found < supported {
        "an older version"
    } else {
        "a newer version"
    }
}

/// RocksDB's own error, opaque: callers show it, nothing else.
#[derive(Debug, Clone)]
pub struct EngineError(pub(crate) rocksdb::Error);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for EngineError {}
