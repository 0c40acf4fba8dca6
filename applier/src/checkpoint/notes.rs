//! What is applied beyond the checkpoint: with [`CommitOrder::Eventual`](crate::config::CommitOrder) a group may be committed before an
//! older one. Such a group leaves a note beside the checkpoint, in its own target transaction (A1); the checkpoint takes the notes
//! away as it moves over them. Whoever starts again from the checkpoint passes over what is noted.
//!
//! Notes speak of the log by its offsets alone, so only what the log can't lose any more is noted.

use outrigger_storage::Offset;

use super::{Demand, Metadata};
use crate::error::{Error, Side};
use crate::link::Link;
use crate::literal::unsigned;
use crate::target::Target;

pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS {}.applied_ahead (\
       task VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'the task', \
       after_offset BIGINT UNSIGNED NOT NULL COMMENT 'everything behind this one', \
       log_offset BIGINT UNSIGNED NOT NULL COMMENT 'and up to here is applied', \
       PRIMARY KEY (task, log_offset)\
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4";

/// Transactions that follow each other, applied before some older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// All behind this one,
    pub after: Offset,
    /// up to this one.
    pub through: Offset,
}

/// What is applied beyond a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// Whether a transaction is one of these.
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.0
            .iter()
            .any(|note| note.after < offset && offset <= note.through)
    }

    /// The last one of all; 0 if there is none.
    pub(crate) fn last(&self) -> Offset {
        self.0
            .iter()
            .map(|note| note.through)
            .max()
            .unwrap_or(Offset::ZERO)
    }
}

impl FromIterator<Note> for Notes {
    fn from_iter<I: IntoIterator<Item = Note>>(notes: I) -> Self {
        Self(notes.into_iter().collect())
    }
}

impl Metadata {
    /// The task's notes behind its checkpoint.
    pub(super) async fn load_notes(&self, conn: &mut Link, checkpoint: Offset) -> Result<Notes, Error> {
        let query = format!(
            "SELECT after_offset, log_offset FROM {}.applied_ahead WHERE task = {} AND log_offset > {checkpoint}",
            self.database, self.task
        );
        let rows: Vec<(u64, u64)> = match conn.query(query).await {
            Ok(rows) => rows,
            // An older layout has none.
            Err(mysql_async::Error::Server(error)) if error.code == 1146 => Vec::new(),
            Err(cause) => {
                let doing = "reading what is applied beyond the checkpoint";
                return Err(Error::server(Side::Target, doing, cause));
            }
        };
        Ok(rows
            .into_iter()
            .map(|(after, through)| Note {
                after: Offset(after),
                through: Offset(through),
            })
            .collect())
    }

    /// Forgets all notes of the task: those of a copy that was given up speak of another log.
    pub(super) async fn forget_notes(&self, target: &mut Target) -> Result<(), Error> {
        let forget = format!(
            "DELETE FROM {}.applied_ahead WHERE task = {}",
            self.database, self.task
        );
        target.execute(&forget, "writing the first checkpoint").await?;
        Ok(())
    }

    /// Appends the statement that notes a group. It fails with ER_BAD_NULL_ERROR as [`Metadata::advance`] does, and holds the task's row
    /// against a take-over until the transaction ends.
    pub(crate) fn note(&self, out: &mut Vec<u8>, demand: Demand, note: Note) {
        out.extend_from_slice(b"INSERT INTO ");
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(b".applied_ahead SET task = ");
        out.extend_from_slice(self.task.as_bytes());
        out.extend_from_slice(b", after_offset = ");
        unsigned(out, note.after.0);
        out.extend_from_slice(b", log_offset = (SELECT ");
        demand.write(out, note.through);
        out.extend_from_slice(b" FROM ");
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(b".checkpoint WHERE task = ");
        out.extend_from_slice(self.task.as_bytes());
        out.extend_from_slice(b" FOR SHARE)");
    }

    /// Appends the statement that takes the notes away over which the checkpoint moves.
    pub(crate) fn clear_notes(&self, out: &mut Vec<u8>, through: Offset) {
        out.extend_from_slice(b"DELETE FROM ");
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(b".applied_ahead WHERE task = ");
        out.extend_from_slice(self.task.as_bytes());
        out.extend_from_slice(b" AND log_offset <= ");
        unsigned(out, through.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::At;

    #[test]
    fn a_note_is_of_what_stands_behind_one_transaction_and_up_to_another() {
        let note = |after, through| Note {
            after: Offset(after),
            through: Offset(through),
        };
        let notes: Notes = [note(9, 11), note(5, 6)].into_iter().collect();
        let noted: Vec<u64> = (1..20).filter(|at| notes.contains(Offset(*at))).collect();
        assert_eq!(noted, [6, 10, 11]);
        assert_eq!(
            (notes.last(), Notes::default().last()),
            (Offset(11), Offset::ZERO)
        );
    }

    #[test]
    fn a_note_demands_the_epoch_and_what_the_last_statement_affected() {
        let (metadata, mut sql) = (Metadata::new("outrigger", "it's"), Vec::new());
        let note = Note {
            after: Offset(5),
            through: Offset(9),
        };
        let demand = Demand {
            epoch: 7,
            place: At::Least(Offset(4)),
            rows: Some(3),
        };
        metadata.note(&mut sql, demand, note);
        assert_eq!(
            String::from_utf8(sql).unwrap(),
            "INSERT INTO `outrigger`.applied_ahead SET task = 'it\\'s', after_offset = 5, \
             log_offset = (SELECT IF(epoch = 7 AND log_offset >= 4 AND ROW_COUNT() = 3,9,NULL) FROM `outrigger`.checkpoint WHERE task = 'it\\'s' FOR SHARE)"
        );
    }
}
