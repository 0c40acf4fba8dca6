//! Places in a source's binary log, and how they compare.
//!
//! A [`SourcePosition`] is where a capture resumes: by GTID set where the source has GTIDs, by file and offset where it
//! has not. It owns no meaning of the log's own offsets; those belong to `storage`.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gtid::GtidSet;

/// A place in a source's binary log by file name and byte offset (`binlog.000012:4711`).
///
/// Ordered by the number that ends the file name, then the offset: names of one server share their stem, and the number
/// grows past six digits, so comparing text would be wrong. Offsets are 64-bit: an event's own 32-bit `log_pos` wraps in
/// files over 4 GiB, readers of events unwrap it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FilePosition {
    /// The binlog file's base name, without a directory.
    pub file: String,
    /// Bytes from the beginning of that file.
    pub offset: u64,
}

impl FilePosition {
    /// The place `offset` bytes into `file`.
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        Self {
            file: file.into(),
            offset,
        }
    }

    /// The number that ends the file name; 0 when there is none.
    fn sequence(&self) -> u64 {
        self.file
            .rsplit('.')
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    }
}

impl Ord for FilePosition {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.sequence(), self.offset, &self.file).cmp(&(other.sequence(), other.offset, &other.file))
    }
}

impl PartialOrd for FilePosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// What has been received of a source's history: where the next capture starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Every transaction received or applied so far; `None` where the source runs without GTIDs.
    pub gtids: Option<GtidSet>,
    /// The same place by file and offset on the server that was read.
    pub file: FilePosition,
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gtids {
            Some(gtids) => write!(f, "{gtids} ({})", self.file),
            None => write!(f, "{}", self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_order_by_number_not_text() {
        assert!(FilePosition::new("binlog.999999", 9) < FilePosition::new("binlog.1000000", 4));
        assert!(FilePosition::new("binlog.000002", 4) > FilePosition::new("binlog.000001", 900));
        assert!(FilePosition::new("binlog.000002", 4) < FilePosition::new("binlog.000002", 5));
    }
}
