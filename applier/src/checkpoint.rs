//! The task's row in the metadata database on the target: what is durably applied (A1), and who may apply.
//!
//! The row changes in the same target transaction as the rows it speaks of, so it is always the truth, whatever crashed
//! when. Taking a task over raises the row's epoch; every change of the row demands the epoch that was taken, so of two
//! processes started for one task only the later one can write ([`Error::Fenced`]), and the other stops.

mod layout;
mod notes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Row;
use outrigger_protocol::endpoint::Endpoint;
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::Offset;
use serde::{Deserialize, Serialize};

pub use self::notes::{Note, Notes};
use crate::error::{Error, Side};
use crate::link::{self, Link};
use crate::literal::{quote_name, quote_text, quoted, unsigned};
use crate::target::Target;

/// What the target has durably applied of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log that `offset` belongs to.
    pub log_id: String,
    /// Everything up to here is applied.
    pub offset: Offset,
    /// What is applied beyond it.
    pub notes: Notes,
    /// The same place on the source: where a capture into a new log starts.
    pub position: SourcePosition,
    /// Up to here replay is idempotent, after it exact; `None` while the copy has not finished.
    pub exact_after: Option<Offset>,
    /// A DDL statement that was about to be run, as its room wrote it down.
    pub ddl_pending: Option<String>,
    /// XA transactions that are prepared and neither committed nor rolled back.
    pub xa_prepared: Vec<PreparedXa>,
    /// The source takes `T` and `t` for one table (its `lower_case_table_names`).
    pub folds_names: bool,
    /// What the task selected when it last ran, in [`crate::coverage::words`].
    pub selection: String,
    /// Raised by each process that takes the task over.
    pub epoch: u64,
}

impl Checkpoint {
    /// Up to where the log is not needed any more: prepared XA transactions are read again when they end.
    pub fn trim_through(&self) -> Offset {
        trim_through(self.offset, &self.xa_prepared)
    }

    /// The last transaction that is applied, whatever older ones are not.
    pub(crate) fn last_applied(&self) -> Offset {
        self.offset.max(self.notes.last())
    }
}

/// The epoch under which a process has a task; 0: it never had. One that finds a later one does not take the task back.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicU64);

impl Held {
    /// Whether this process had the task before.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Up to where the log is not needed once `applied` is.
pub(crate) fn trim_through(applied: Offset, prepared: &[PreparedXa]) -> Offset {
    let oldest = prepared
        .iter()
        .map(|xa| Offset(xa.offset.0.saturating_sub(1)))
        .min();
    oldest.map_or(applied, |oldest| oldest.min(applied))
}

/// A prepared XA transaction: kept by reference, its rows stay in the log until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedXa {
    /// The XID as SQL text, in one spelling.
    pub xid: String,
    /// The log's transaction that holds its rows.
    pub offset: Offset,
}

/// Reads a task's checkpoint; `None` when the task never began on this target.
///
/// # Errors
/// When the target can't be reached or refuses, or was written by a newer version.
pub async fn checkpoint(
    target: &Endpoint,
    metadata_database: &str,
    task: &str,
) -> Result<Option<Checkpoint>, Error> {
    let mut conn = link::connect(target, Side::Target, Duration::from_secs(10)).await?;
    let metadata = Metadata::new(metadata_database, task);
    let found = match metadata.layout(&mut conn).await {
        Ok(_known) => metadata.load(&mut conn).await,
        Err(newer) => Err(newer),
    };
    // The answer is in hand; how the session ends does not matter.
    conn.disconnect().await.ok();
    found
}

/// Names the metadata database and the task, and spells the statements on them.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    /// The database, quoted.
    database: String,
    /// The task, quoted.
    task: String,
    /// The task, as it is.
    name: String,
}

impl Metadata {
    /// Names only; nothing is sent.
    pub(crate) fn new(database: &str, task: &str) -> Self {
        Self {
            database: quote_name(database),
            task: quote_text(task),
            name: task.to_owned(),
        }
    }

    /// The task's row; `None` when there is none, or no table.
    pub(crate) async fn load(&self, conn: &mut Link) -> Result<Option<Checkpoint>, Error> {
        let query = format!(
            "SELECT log_id, log_offset, gtids, file, file_offset, exact_after, ddl_pending, CAST(xa_prepared AS CHAR), folds_names, \
             selection, epoch \
             FROM {}.checkpoint WHERE task = {}",
            self.database, self.task
        );
        let row: Option<Row> = match conn.query_first(query).await {
            Ok(row) => row,
            // No such database, no such table: nothing was ever applied.
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1049 | 1146) => return Ok(None),
            Err(cause) => return Err(Error::server(Side::Target, "reading the checkpoint", cause)),
        };
        let Some(mut found) = row.map(|row| self.decode(row)).transpose()? else {
            return Ok(None);
        };
        found.notes = self.load_notes(conn, found.offset).await?;
        Ok(Some(found))
    }

    fn decode(&self, row: Row) -> Result<Checkpoint, Error> {
        type Columns = (
            String,
            u64,
            Option<String>,
            String,
            u64,
            Option<u64>,
            Option<String>,
            String,
            bool,
            String,
            u64,
        );
        let unsuitable = |what: String| Error::Unsuitable {
            side: Side::Target,
            what: format!(
                "the checkpoint of task {} in {}.checkpoint can't be read: {what}",
                self.name, self.database
            ),
        };
        let columns: Columns = mysql_async::from_row_opt(row).map_err(|e| unsuitable(e.to_string()))?;
        let (
            log_id,
            offset,
            gtids,
            file,
            file_offset,
            exact_after,
            ddl_pending,
            xa,
            folds_names,
            selection,
            epoch,
        ) = columns;
        let gtids: Option<GtidSet> = gtids
            .map(|text| text.parse())
            .transpose()
            .map_err(|e| unsuitable(format!("gtids: {e}")))?;
        Ok(Checkpoint {
            log_id,
            offset: Offset(offset),
            notes: Notes::default(),
            position: SourcePosition {
                gtids,
                file: FilePosition::new(file, file_offset),
            },
            exact_after: exact_after.map(Offset),
            ddl_pending,
            xa_prepared: serde_json::from_str(&xa).map_err(|e| unsuitable(format!("xa_prepared: {e}")))?,
            folds_names,
            selection,
            epoch,
        })
    }

    /// Writes the first row of a task.
    pub(crate) async fn create(&self, target: &mut Target, first: &Checkpoint) -> Result<(), Error> {
        self.forget_notes(target).await?;
        let mut sql = format!(
            "INSERT INTO {}.checkpoint SET task = {}, log_id = {}, epoch = 0, folds_names = {}, selection = {}, xa_prepared = ",
            self.database,
            self.task,
            quote_text(&first.log_id),
            first.folds_names,
            quote_text(&first.selection)
        )
        .into_bytes();
        write_xa(&mut sql, &first.xa_prepared);
        sql.extend_from_slice(b", log_offset = ");
        unsigned(&mut sql, first.offset.0);
        write_position(&mut sql, &first.position);
        if let Some(exact_after) = first.exact_after {
            sql.extend_from_slice(b", exact_after = ");
            unsigned(&mut sql, exact_after.0);
        }
        let (_, ended) = target.run(&sql).await;
        ended.map_err(|cause| Error::server(Side::Target, "writing the first checkpoint", cause))
    }

    /// Refuses a task that another process has taken over since this one had it.
    pub(crate) async fn refuse_taken(&self, target: &mut Target, held: &Held) -> Result<(), Error> {
        let ours = held.0.load(Ordering::Relaxed);
        match self.load(target.conn()).await {
            Ok(Some(found)) if ours > 0 && found.epoch > ours => Err(Error::Fenced {
                task: self.name.clone(),
                theirs: found.epoch,
                ours,
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the task over: whoever had it can't write any more. Notes what it selects from now on. Returns the row as it is
    /// after that: a commit that was still on its way is in it, or never will be.
    pub(crate) async fn take_over(
        &self,
        target: &mut Target,
        found: &Checkpoint,
        selection: &str,
        held: &Held,
    ) -> Result<Checkpoint, Error> {
        let mut epoch = found.epoch;
        loop {
            let ours = epoch + 1;
            // First: where the connection breaks now, this may be the row's, by us.
            held.0.fetch_max(ours, Ordering::Relaxed);
            let sql = format!(
                "UPDATE {}.checkpoint SET epoch = {ours}, selection = {} WHERE task = {} AND epoch = {epoch}",
                self.database,
                quote_text(selection),
                self.task
            );
            let taken = target.execute(&sql, "taking the task over").await?;
            match self.load(target.conn()).await? {
                Some(found) if taken == 1 && found.epoch == ours => return Ok(found),
                // A former connection of ours did it meanwhile; if it was somebody else, that one finds the next epoch.
                Some(found) if taken == 0 && found.epoch == ours => epoch = ours,
                found => {
                    return Err(Error::Fenced {
                        task: self.name.clone(),
                        theirs: found.map_or(0, |c| c.epoch),
                        ours,
                    });
                }
            }
        }
    }

    /// Why a change of the row found none: somebody else has the task.
    pub(crate) async fn fenced(&self, target: &mut Target, ours: u64) -> Error {
        match self.load(target.conn()).await {
            Ok(found) => Error::Fenced {
                task: self.name.clone(),
                theirs: found.map_or(0, |c| c.epoch),
                ours,
            },
            Err(error) => error,
        }
    }

    /// Appends the statement that moves the checkpoint. Where it does not find what is demanded it fails with ER_BAD_NULL_ERROR, so that a
    /// commit sent behind it does not happen. With a `definition` statement it forgets that one, and no other: the planner may be running
    /// one while the checkpoint moves over what only notes speak of.
    pub(crate) fn advance(
        &self,
        out: &mut Vec<u8>,
        demand: Demand,
        at: Offset,
        position: &SourcePosition,
        xa: Option<&[PreparedXa]>,
        definition: bool,
    ) {
        self.update(out);
        out.extend_from_slice(b"log_offset = ");
        demand.write(out, at);
        write_position(out, position);
        if let Some(xa) = xa {
            out.extend_from_slice(b", xa_prepared = ");
            write_xa(out, xa);
        }
        if definition {
            out.extend_from_slice(b", ddl_pending = NULL");
        }
        out.extend_from_slice(b", changed = NOW(6) WHERE task = ");
        out.extend_from_slice(self.task.as_bytes());
    }

    /// Appends the statement that notes a definition statement about to be run, or forgets it.
    pub(crate) fn set_ddl_pending(&self, out: &mut Vec<u8>, epoch: u64, pending: Option<&str>) {
        self.update(out);
        out.extend_from_slice(b"ddl_pending = ");
        match pending {
            Some(text) => quoted(out, text.as_bytes()),
            None => out.extend_from_slice(b"NULL"),
        }
        self.demand(out, epoch);
    }

    /// Appends the statement that notes where replay becomes exact: the copy is done.
    pub(crate) fn set_exact_after(&self, out: &mut Vec<u8>, epoch: u64, exact_after: Offset) {
        self.update(out);
        out.extend_from_slice(b"exact_after = ");
        unsigned(out, exact_after.0);
        self.demand(out, epoch);
    }

    /// Appends a statement that holds the task's row against a take-over until the transaction ends: for a transaction that
    /// writes rows without moving the checkpoint. It must return one row.
    pub(crate) fn hold(&self, out: &mut Vec<u8>, epoch: u64) {
        out.extend_from_slice(b"SELECT 1 FROM ");
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(b".checkpoint");
        self.demand(out, epoch);
        out.extend_from_slice(b" FOR SHARE");
    }

    /// The metadata database's quoted name.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The task's name as an SQL literal.
    pub(crate) fn task(&self) -> &str {
        &self.task
    }

    fn update(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"UPDATE ");
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(b".checkpoint SET ");
    }

    fn demand(&self, out: &mut Vec<u8>, epoch: u64) {
        out.extend_from_slice(b" WHERE task = ");
        out.extend_from_slice(self.task.as_bytes());
        out.extend_from_slice(b" AND epoch = ");
        unsigned(out, epoch);
    }
}

/// What must be so for a group to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Nobody took the task over.
    pub(crate) epoch: u64,
    /// Where the checkpoint is: elsewhere if the group before was not committed after all, or if the server has lost what it had answered.
    pub(crate) place: At,
    /// The session's last statement affected so many rows.
    pub(crate) rows: Option<u64>,
}

/// A place of the checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// There.
    Exactly(Offset),
    /// There, or further.
    Least(Offset),
}

impl Demand {
    /// An offset, or NULL where it is not so.
    fn write(self, out: &mut Vec<u8>, at: Offset) {
        out.extend_from_slice(b"IF(epoch = ");
        unsigned(out, self.epoch);
        let (is, place) = match self.place {
            At::Exactly(place) => (&b" AND log_offset = "[..], place),
            At::Least(place) => (&b" AND log_offset >= "[..], place),
        };
        out.extend_from_slice(is);
        unsigned(out, place.0);
        if let Some(rows) = self.rows {
            out.extend_from_slice(b" AND ROW_COUNT() = ");
            unsigned(out, rows);
        }
        out.push(b',');
        unsigned(out, at.0);
        out.extend_from_slice(b",NULL)");
    }
}

fn write_xa(out: &mut Vec<u8>, xa: &[PreparedXa]) {
    // A list of names and numbers always has a JSON form.
    quoted(out, serde_json::to_string(xa).unwrap_or_default().as_bytes());
}

fn write_position(out: &mut Vec<u8>, position: &SourcePosition) {
    out.extend_from_slice(b", gtids = ");
    match &position.gtids {
        Some(gtids) => quoted(out, gtids.to_string().as_bytes()),
        None => out.extend_from_slice(b"NULL"),
    }
    out.extend_from_slice(b", file = ");
    quoted(out, position.file.file.as_bytes());
    out.extend_from_slice(b", file_offset = ");
    unsigned(out, position.file.offset);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_demands_its_epoch_its_place_and_what_the_last_statement_affected() {
        let metadata = Metadata::new("out`rigger", "it's");
        let position = SourcePosition {
            gtids: None,
            file: FilePosition::new("binlog.000001", 4),
        };
        let demand = |rows| Demand {
            epoch: 7,
            place: At::Exactly(Offset(8)),
            rows,
        };
        let mut sql = Vec::new();
        metadata.advance(&mut sql, demand(None), Offset(9), &position, None, true);
        assert_eq!(
            String::from_utf8(sql).unwrap(),
            "UPDATE `out``rigger`.checkpoint SET log_offset = IF(epoch = 7 AND log_offset = 8,9,NULL), gtids = NULL, file = 'binlog.000001', \
             file_offset = 4, ddl_pending = NULL, changed = NOW(6) WHERE task = 'it\\'s'"
        );
        let mut sql = Vec::new();
        metadata.advance(&mut sql, demand(Some(3)), Offset(9), &position, None, false);
        let sql = String::from_utf8(sql).unwrap();
        assert!(
            sql.contains("log_offset = IF(epoch = 7 AND log_offset = 8 AND ROW_COUNT() = 3,9,NULL)")
                && !sql.contains("ddl_pending"),
            "{sql}"
        );
    }
}
