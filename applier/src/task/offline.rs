//! Replay without the source: where it ends, and where it begins on a target that was restored otherwise. Decisions only.

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::Offset;

use crate::checkpoint::{Checkpoint, Notes};
use crate::config::Selection;
use crate::coverage;
use crate::error::{Error, Side};

/// A replay of what a log holds, up to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offline {
    /// The last transaction to apply; durable in the log.
    pub through: Offset,
    /// What a target without a checkpoint of the task holds: every transaction up to this one, whose end is the position.
    /// `None`: such a target is refused. A target with a checkpoint goes on from there.
    pub start: Option<(Offset, SourcePosition)>,
}

impl Offline {
    /// Whether replay can go on from what the target has.
    pub(super) fn admit(&self, task: &str, found: &Checkpoint) -> Result<(), Error> {
        let refuse = |what: String| {
            Err(Error::Unsuitable {
                side: Side::Target,
                what,
            })
        };
        let Some(exact_after) = found.exact_after else {
            return refuse(format!(
                "its copy of task {task} has not finished, and the rows that are missing come from the source: run the task first"
            ));
        };
        if found.last_applied() > self.through {
            return refuse(format!(
                "it has applied task {task} through offset {} already, which is after {}: replay can't go back; restore the \
                 target to an earlier state, or ask for a later end",
                found.last_applied(),
                self.through
            ));
        }
        if self.through < exact_after {
            return refuse(format!(
                "its rows were copied while the source changed, so that it shows one state of the source from offset {exact_after} \
                 on, and not at {}: ask for a later end",
                self.through
            ));
        }
        match &self.start {
            Some((start, _)) if found.offset < *start => refuse(format!(
                "its checkpoint of task {task} says offset {}, but {start} was given as what it holds: one of them is wrong",
                found.offset
            )),
            _ => Ok(()),
        }
    }

    /// The first checkpoint of a target that was restored otherwise.
    pub(super) fn first(
        &self,
        task: &str,
        selection: &Selection,
        log_id: String,
        folds_names: bool,
    ) -> Result<Checkpoint, Error> {
        let Some((offset, position)) = self.start.clone() else {
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: format!(
                    "it has no checkpoint of task {task}, so nothing says where replay begins: if it was restored from a backup, \
                     say what that holds"
                ),
            });
        };
        let first = Checkpoint {
            log_id,
            offset,
            notes: Notes::default(),
            position,
            exact_after: Some(offset),
            ddl_pending: None,
            xa_prepared: Vec::new(),
            folds_names,
            selection: coverage::words([selection]),
            epoch: 0,
        };
        self.admit(task, &first)?;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::position::FilePosition;

    use super::*;

    fn replay(through: u64, start: Option<u64>) -> Offline {
        let position = SourcePosition {
            gtids: None,
            file: FilePosition::new("binlog.000001", 4),
        };
        Offline {
            through: Offset(through),
            start: start.map(|offset| (Offset(offset), position)),
        }
    }

    /// The offset that a target begins from, or what it is told. `found`: its checkpoint's offset and end of the copy.
    fn begin(offline: &Offline, found: Option<(u64, Option<u64>)>) -> Result<u64, String> {
        let admitted = match found {
            None => offline.first("t", &Selection::default(), String::new(), false),
            Some((offset, exact_after)) => {
                let first = replay(u64::MAX, Some(0)).first("t", &Selection::default(), String::new(), false);
                let found = Checkpoint {
                    offset: Offset(offset),
                    exact_after: exact_after.map(Offset),
                    ..first.unwrap()
                };
                offline.admit("t", &found).map(|()| found)
            }
        };
        admitted.map(|c| c.offset.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_checkpoint_is_where_it_goes_on() {
        assert_eq!(begin(&replay(9, None), Some((5, Some(3)))), Ok(5));
        assert_eq!(begin(&replay(5, None), Some((5, Some(3)))), Ok(5));
        // The same command a second time, after an interruption.
        assert_eq!(begin(&replay(9, Some(4)), Some((5, Some(4)))), Ok(5));
        assert_eq!(begin(&replay(9, Some(4)), None), Ok(4));
    }

    #[test]
    fn what_would_tear_history_is_refused() {
        for (offline, found, word) in [
            (replay(4, None), Some((5, Some(3))), "can't go back"),
            (replay(9, None), Some((5, None)), "has not finished"),
            (replay(6, None), Some((5, Some(7))), "shows one state"),
            (replay(9, Some(6)), Some((5, Some(3))), "one of them is wrong"),
            (replay(9, None), None, "nothing says where replay begins"),
            (replay(3, Some(4)), None, "can't go back"),
        ] {
            let said = begin(&offline, found).unwrap_err();
            assert!(said.contains(word), "{offline:?} {found:?}: {said}");
        }
    }
}
