//! Writing to the log.

use outrigger_protocol::position::FilePosition;

use crate::{Error, Offset, Piece};

/// The one writer of a log. Dropping it discards an unfinished transaction and makes the finished ones durable.
#[derive(Debug)]
pub struct Appender {}

impl Appender {
    /// Appends a piece; it is durable some milliseconds later. Waits while the quota is used up or much is not yet synced.
    pub async fn append(&mut self, piece: Piece) -> Result<(), Error> {
        unimplemented!("{piece:?}")
    }

    /// Says that the source's binlog was read up to `position`; [`Log::reached`](crate::Log::reached) shows it once everything
    /// appended before is durable.
    pub fn reached(&mut self, position: FilePosition) {
        unimplemented!("{position}")
    }

    /// Waits until everything appended is durable, and returns the highest durable offset.
    pub async fn sync(&mut self) -> Result<Offset, Error> {
        unimplemented!()
    }
}
