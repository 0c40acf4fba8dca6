//! A target that is ahead of the log: replay applies what is appended before it is durable there, so a crash of the machine may
//! take transactions from the log that the target has. Capture reads them again from the source; they are known by their place
//! there, and passed over.
//!
//! A log's offsets up to what was durable stay what they were; what is captured again may get others.

use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Begin, Log, Offset, Record};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Place};

/// What the target holds of what is read.
pub(super) struct Ahead {
    applied: SourcePosition,
    /// True when the log has lost some of it, or had.
    lost: bool,
    /// The transaction whose records are being read is one of them.
    passing: bool,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The target has it.
    Applied,
    /// It is new, and so is all that follows.
    New,
}

impl Ahead {
    /// After which offset to read for a checkpoint, and what to pass over there.
    pub(super) async fn of(from: &Checkpoint, log: &Log) -> Result<(Offset, Self), Error> {
        let mut ahead = Self {
            applied: from.position.clone(),
            lost: false,
            passing: false,
        };
        let (stats, durable) = (log.stats(), *log.durable().borrow());
        let last = from.offset.min(durable);
        ahead.lost = from.offset > durable;
        if last < stats.first {
            return Ok((last, ahead));
        }
        let read = async { log.reader(Offset(last.0 - 1))?.next().await };
        let record = match read.await {
            // What is trimmed was durable when it was applied.
            Err(outrigger_storage::Error::Trimmed { .. }) => return Ok((last, ahead)),
            read => read?,
        };
        if record.begin.as_ref().is_some_and(|begin| ahead.covers(begin)) {
            return Ok((last, ahead));
        }
        // What came after the crash may have got other offsets than before: what is selected may have changed.
        ahead.lost = true;
        Ok((Offset(stats.first.0 - 1), ahead))
    }

    fn covers(&self, begin: &Begin) -> bool {
        match (&self.applied.gtids, &begin.gtid) {
            (Some(applied), Some(gtid)) => applied.contains(gtid),
            _ => begin.start < self.applied.file,
        }
    }

    /// Judges the next record.
    pub(super) async fn judge(&mut self, record: &Record, log: &Log) -> Result<Verdict, Error> {
        if let Some(begin) = &record.begin {
            self.passing = self.covers(begin);
            self.lost |= self.passing;
            if !self.passing && self.lost {
                self.prove(record, log, &begin.start).await?;
            }
        }
        Ok(if self.passing {
            Verdict::Applied
        } else {
            Verdict::New
        })
    }

    /// Nothing that the target has may be missing on the source: all of it stands before the first transaction that is new.
    async fn prove(&self, record: &Record, log: &Log, start: &FilePosition) -> Result<(), Error> {
        let Some(applied) = &self.applied.gtids else {
            return Ok(());
        };
        let mut durable = log.durable();
        let there = durable.wait_for(|durable| *durable >= record.offset).await;
        there.map_err(|_gone| outrigger_storage::Error::Closed)?;
        let kept = log
            .position()
            .and_then(|position| position.gtids)
            .unwrap_or_default();
        let lost = applied.subtract(&kept);
        if lost.is_empty() {
            return Ok(());
        }
        Err(Error::Transaction {
            place: Place::new(record.offset, Some(start.clone())),
            what: format!(
                "the target has applied {lost}, which the log lost in a crash and the source does not have any more (is it \
                 another server than before?): source and target differ, copy the selected databases anew"
            ),
        })
    }
}
