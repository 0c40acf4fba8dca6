//! The log as its users hold it.

use outrigger_protocol::position::{FilePosition, SourcePosition};
use tokio::sync::watch;

use crate::{Appender, Config, Error, LogId, Offset, Reader, Stats};

/// An open log. Clones share it.
#[derive(Debug, Clone)]
pub struct Log {}

impl Log {
    /// Opens the log in `config.path`, creating it if the directory is empty or missing. Blocks.
    pub fn open(config: Config) -> Result<Self, Error> {
        unimplemented!("{config:?}")
    }

    /// The log's identity, drawn when it was created.
    pub fn id(&self) -> LogId {
        unimplemented!()
    }

    /// The appender; there is one at a time. Everything a former one appended is durable before this returns.
    pub fn appender(&self) -> Result<Appender, Error> {
        unimplemented!()
    }

    /// A reader of what follows `after`.
    pub fn reader(&self, after: Offset) -> Result<Reader, Error> {
        unimplemented!("{after}")
    }

    /// Where capture resumes, durable; `None` if the log never had a start nor a transaction.
    pub fn position(&self) -> Option<SourcePosition> {
        unimplemented!()
    }

    /// The highest durable offset (C2).
    pub fn durable(&self) -> watch::Receiver<Offset> {
        unimplemented!()
    }

    /// How far the source's binlog was read, everything up to there durable.
    pub fn reached(&self) -> watch::Receiver<Option<FilePosition>> {
        unimplemented!()
    }

    /// Says where the capture of an empty log starts; durable on return. Blocks for one sync.
    pub fn set_start(&self, position: &SourcePosition) -> Result<(), Error> {
        unimplemented!("{position}")
    }

    /// Forgets everything up to and including `through`. Blocks for file deletions.
    pub fn trim(&self, through: Offset) -> Result<(), Error> {
        unimplemented!("{through}")
    }

    /// A view of the log now.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// Makes everything durable and stops the log's threads; whoever still holds a clone, a reader or an appender gets
    /// [`Error::Closed`]. Blocks.
    pub fn close(self) -> Result<(), Error> {
        unimplemented!()
    }
}
