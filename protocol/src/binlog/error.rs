//! What can be wrong with an event's bytes.

use super::EventKind;
use crate::cursor::Truncated;

/// Why an event could not be decoded. None of these can be mended by retrying the same bytes; a broken checksum may be
/// gone when the event is read from the source again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the value does.
    #[error("the binlog event is cut off in its {what}; read it from the source again")]
    Truncated {
        /// The part that was being read.
        what: &'static str,
    },
    /// The size in the header is not the number of bytes given.
    #[error(
        "the binlog event says that it has {stated} bytes, but {actual} came; read it from the source again"
    )]
    Size {
        /// From the header.
        stated: u32,
        /// What was given.
        actual: usize,
    },
    /// The CRC32 over the event does not match the one that ends it (C1).
    #[error(
        "the checksum of a binlog event ({kind}) is wrong: stated {stated:08x}, computed {computed:08x}; the event was damaged on disk or on the way. Read it again; if it stays, check the source's binlog with mysqlbinlog --verify-binlog-checksum"
    )]
    Checksum {
        /// The type that the (untrusted) header shows.
        kind: EventKind,
        /// From the event's end.
        stated: u32,
        /// Of the event's bytes.
        computed: u32,
    },
    /// A type that no supported server writes.
    #[error(
        "the source wrote a binlog event of an unknown kind ({0}); nothing is skipped, so capture stops here. Is the source's version supported?"
    )]
    UnknownEvent(EventKind),
    /// The bytes contradict the format.
    #[error("the binlog holds a malformed {what}: {detail}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A known format in a form that this version does not handle.
    #[error("the binlog holds {what}, which is not supported: {advice}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// A transaction payload could not be decompressed.
    #[error("a compressed transaction in the binlog can't be decompressed: {0}")]
    Decompression(String),
    /// The rows event and the table map (or the column hints) don't fit together.
    #[error("rows of table {table} don't fit its table map: {detail}")]
    Mismatch {
        /// `database.table`.
        table: String,
        /// What does not fit.
        detail: String,
    },
    /// One value of a row could not be decoded.
    #[error("column {column} of table {table} can't be read from the binlog: {source}")]
    Column {
        /// `database.table`.
        table: String,
        /// The column's place in the table, from 1.
        column: usize,
        /// What is wrong.
        source: Box<Error>,
    },
}

impl Error {
    /// A [`Error::Malformed`] about `what`.
    pub(crate) fn malformed(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Malformed {
            what,
            detail: detail.into(),
        }
    }
}

/// Adds what was being read to a cursor's "cut off".
pub(crate) trait Within<T> {
    /// Names the part.
    fn within(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Within<T> for Result<T, Truncated> {
    fn within(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|Truncated { .. }| Error::Truncated { what })
    }
}
