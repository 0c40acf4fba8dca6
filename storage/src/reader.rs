//! Reading the log in order, and waiting at its end.

use crate::{Error, Record};

/// A reader at its own place in the log.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// The next record of a durable transaction; waits for one at the end of the log. Cancellation-safe: a record is lost to
    /// nobody if the future is dropped.
    pub async fn next(&mut self) -> Result<Record, Error> {
        unimplemented!()
    }

    /// The next record if one is durable, without waiting; `None` if nothing durable follows what was returned.
    pub fn try_next(&mut self) -> Result<Option<Record>, Error> {
        unimplemented!()
    }
}
