//! One connection to the target on which groups are executed: a batch per round trip, every statement's affected rows checked,
//! and the commit, which moves the checkpoint (A1).

use std::time::Duration;

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::Offset;

use super::conflict::Footprint;
use super::divergence::{self, Findings};
use super::schedule::Way;
use crate::checkpoint::{At, Demand, Metadata, Note, PreparedXa};
use crate::config::OnDivergence;
use crate::error::{Error, Place, Side};
use crate::snapshot::Context;
use crate::statement::{Expect, RowCounts, Single, checks, write_checked};
use crate::target::{SESSION, Target};

/// Statements of a group, in whole or in part: one round trip.
#[derive(Debug)]
pub(super) struct Batch {
    /// The statements, `;` between them.
    pub(super) sql: Vec<u8>,
    /// What each must report.
    pub(super) expects: Vec<Expect>,
    /// Changes that follow them one by one.
    pub(super) careful: Careful,
    /// The last transaction in it.
    pub(super) through: Offset,
    /// Rows in it.
    pub(super) counts: RowCounts,
    /// What it touches.
    pub(super) footprint: Footprint,
    /// True when its first statement begins the target transaction.
    pub(super) opens: bool,
    /// Where its group began, for messages.
    pub(super) place: Place,
    /// What the commit after it makes durable; `None`: the group goes on with the next batch.
    pub(super) commit: Option<Commit>,
}

impl Batch {
    /// No statements, only a commit.
    pub(super) fn empty(commit: Commit) -> Self {
        Self {
            sql: Vec::new(),
            expects: Vec::new(),
            careful: Careful {
                singles: Vec::new(),
                policy: OnDivergence::Stop,
            },
            through: commit.done.offset,
            counts: RowCounts::default(),
            footprint: Footprint::default(),
            opens: true,
            place: Place::new(commit.done.offset, None),
            commit: Some(commit),
        }
    }
}

/// Changes that are executed one after the other, because a group that held them did not find the rows that it expected.
#[derive(Debug)]
pub(super) struct Careful {
    pub(super) singles: Vec<Single>,
    pub(super) policy: OnDivergence,
}

/// What a commit makes durable.
#[derive(Debug)]
pub(super) struct Commit {
    /// The transaction before the group's first.
    pub(super) after: Offset,
    /// What the last statement of its last batch must report.
    pub(super) rows: Option<u64>,
    /// The prepared XA transactions, where the group changes them.
    pub(super) xa: Option<Vec<PreparedXa>>,
    /// It holds a definition statement, which was noted before it was run.
    pub(super) definition: bool,
    /// It may be committed before an older one.
    pub(super) may_be_noted: bool,
    /// What everybody is told once it is done.
    pub(super) done: Done,
}

/// A group that is durable on the target.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// The last transaction in it.
    pub(super) offset: Offset,
    /// The same place on the source.
    pub(super) position: SourcePosition,
    /// The log is not needed up to there any more once the checkpoint is at `offset`.
    pub(super) trim_through: Offset,
    /// The log must be durable up to there before.
    pub(super) durable: Option<Offset>,
    /// The source's commit time of the last transaction, microseconds since 1970.
    pub(super) commit_micros: u64,
    /// Source transactions in the group.
    pub(super) transactions: u64,
}

/// By this the statement that moves the checkpoint, or notes a group beside it, says that the task was taken over, or that the group
/// before this one is not committed.
const ER_BAD_NULL: u16 = 1048;
/// By this a check between statements says that what it checked is not so, and a key that counts by itself that it must not change.
pub(super) const ER_DATA_OUT_OF_RANGE: u16 = 1690;

/// A row has a unique value that another one has.
pub(super) const ER_DUP_ENTRY: u16 = 1062;

/// From this round trip on a target is far: one round trip less is worth a check by the server behind each statement.
const FAR: Duration = Duration::from_millis(1);

/// So many checks by the server stand between statements, so that these and the commit are one round trip,
const CHECKED: usize = 64;

/// on a near target fewer.
const CHECKED_NEAR: usize = 4;

/// Or more, one for so much of the round trip that is saved: some times what a check takes.
const CHECKED_EVERY: Duration = Duration::from_micros(100);

/// What a lane has besides [`SESSION`]. A group that is in the way of one before it waits no longer for a lock than so many seconds: it
/// is undone then. A group's first change begins its transaction.
const LANE: &str = "SET innodb_lock_wait_timeout = 2, autocommit = 0";

/// The connection.
pub(super) struct Lane {
    target: Target,
    metadata: Metadata,
    epoch: u64,
    far: bool,
}

impl Lane {
    /// Takes a connection over.
    pub(super) async fn new(mut target: Target, metadata: Metadata, epoch: u64) -> Result<Self, Error> {
        target.execute(LANE, "setting the session up").await?;
        Ok(Self {
            far: target.round_trip() > FAR,
            target,
            metadata,
            epoch,
        })
    }

    /// Opens one more.
    pub(super) async fn open(context: &Context, metadata: Metadata) -> Result<Self, Error> {
        let target = context.connect_target().await?;
        Self::new(target, metadata, context.epoch).await
    }

    /// Executes a batch and checks what its statements report.
    pub(super) async fn execute(&mut self, batch: &Batch) -> Result<Findings, Error> {
        if !batch.sql.is_empty() {
            let (affected, ended) = self.target.run(&batch.sql).await;
            self.check(batch, &affected, ended)?;
        }
        divergence::execute(&mut self.target, &batch.careful).await
    }

    /// Commits what was executed. `advanced` is called when the checkpoint has moved and the COMMIT is left.
    pub(super) async fn commit(
        &mut self,
        commit: &Commit,
        way: Way,
        advanced: impl FnOnce(),
    ) -> Result<(), Error> {
        fail::fail_point!("group-commit", |_| outrigger_storage::failpoint::kill());
        let mut sql = Vec::new();
        self.end(&mut sql, commit, way);
        let (affected, ended) = self.target.run_telling(&sql, 1, advanced).await;
        self.committed(&affected, ended, way).await
    }

    /// Executes a whole group and commits it in one round trip. Every check stands between the statements: one that fails ends
    /// the batch before the commit.
    pub(super) async fn execute_and_commit(
        &mut self,
        batch: &Batch,
        commit: &Commit,
        way: Way,
        advanced: impl FnOnce(),
    ) -> Result<(), Error> {
        fail::fail_point!("group-commit", |_| outrigger_storage::failpoint::kill());
        // What the last statement must report is checked by the one that moves the checkpoint.
        let mut sql = write_checked(&batch.sql, &batch.expects);
        if !sql.is_empty() {
            sql.push(b';');
        }
        self.end(&mut sql, commit, way);
        let own = batch.expects.len() + checks(&batch.expects).filter(|checked| *checked).count();
        let (affected, ended) = self.target.run_telling(&sql, own + 1, advanced).await;
        let mut answers = affected.iter().copied();
        let mut found = Vec::with_capacity(batch.expects.len());
        let mut unchecked = false;
        for is_checked in checks(&batch.expects) {
            let Some(rows) = answers.next() else { break };
            found.push(rows);
            unchecked = is_checked && answers.next().is_none();
        }
        if found.len() < batch.expects.len() || unchecked {
            // What a check finds wrong is told by the number that it checked.
            let ended = if unchecked && has_code(&ended, ER_DATA_OUT_OF_RANGE) {
                Ok(())
            } else {
                ended
            };
            self.check(batch, &found, ended)?;
            // Nothing is wrong with what was answered, and the commit was not.
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: "it ended a group before its commit without an error".to_owned(),
            });
        }
        let rest: Vec<u64> = answers.collect();
        let checked = self.check(batch, &found, Ok(()));
        if let (Err(error), Ok(())) = (&checked, &ended) {
            // Starting again would go on behind it.
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: format!(
                    "it committed a group although its own check of it must have failed ({error}): rows of these transactions may differ \
                     now; compare them, and report this"
                ),
            });
        }
        checked?;
        self.committed(&rest, ended, way).await
    }

    /// True when a batch is better sent together with its commit.
    pub(super) fn suits_one_trip(&self, batch: &Batch) -> bool {
        // One row may take all that the target takes; half of it is room for the rest.
        let fits = || {
            let checks = 1024 * batch.expects.len();
            batch.sql.len() + checks < self.target.capabilities().max_allowed_packet / 2
        };
        batch.opens
            && batch.careful.singles.is_empty()
            && checks(&batch.expects).filter(|checked| *checked).count() <= self.most_checked()
            && fits()
    }

    /// Checks that cost less than the round trip that they save.
    fn most_checked(&self) -> usize {
        if !self.far {
            return CHECKED_NEAR;
        }
        let saved = self.target.round_trip().as_micros() / CHECKED_EVERY.as_micros();
        usize::try_from(saved).unwrap_or(usize::MAX).max(CHECKED)
    }

    /// Undoes what was executed and not committed.
    pub(super) async fn undo(&mut self) -> Result<(), Error> {
        self.target.execute("ROLLBACK", "rolling a group back").await?;
        // It may have ended between statements that need other settings and the way back.
        self.target.execute(SESSION, "setting the session up").await?;
        self.target.execute(LANE, "setting the session up").await?;
        Ok(())
    }

    /// Appends what says that the group is applied, and the commit.
    fn end(&self, sql: &mut Vec<u8>, commit: &Commit, way: Way) {
        let Commit {
            after,
            rows,
            xa,
            definition,
            done,
            ..
        } = commit;
        let through = done.offset;
        match way {
            Way::Note { behind } => {
                let note = Note {
                    after: *after,
                    through,
                };
                let demand = Demand {
                    epoch: self.epoch,
                    place: At::Least(behind),
                    rows: *rows,
                };
                self.metadata.note(sql, demand, note);
            }
            Way::Checkpoint { clear, behind } => {
                let demand = Demand {
                    epoch: self.epoch,
                    place: At::Exactly(behind),
                    rows: *rows,
                };
                self.metadata
                    .advance(sql, demand, through, &done.position, xa.as_deref(), *definition);
                if clear {
                    sql.push(b';');
                    self.metadata.clear_notes(sql, through);
                }
            }
        }
        sql.extend_from_slice(b";COMMIT");
    }

    async fn committed(
        &mut self,
        affected: &[u64],
        ended: Result<(), mysql_async::Error>,
        way: Way,
    ) -> Result<(), Error> {
        fail::fail_point!("group-committed", |_| outrigger_storage::failpoint::kill());
        let said = matches!(
            (way, affected),
            (Way::Checkpoint { clear: true, .. }, [1, _, 0])
                | (Way::Checkpoint { clear: false, .. } | Way::Note { .. }, [1, 0])
        );
        match ended {
            Ok(()) if said => Ok(()),
            Ok(()) => Err(self.metadata.fenced(&mut self.target, self.epoch).await),
            ended if has_code(&ended, ER_BAD_NULL) => {
                match self.metadata.fenced(&mut self.target, self.epoch).await {
                    Error::Fenced { theirs, ours, .. } if theirs == ours => Err(Error::Unfollowed),
                    fenced => Err(fenced),
                }
            }
            Err(cause) => Err(Error::server(Side::Target, "committing a group", cause)),
        }
    }

    fn check(
        &self,
        batch: &Batch,
        affected: &[u64],
        ended: Result<(), mysql_async::Error>,
    ) -> Result<(), Error> {
        for (rows, expect) in affected.iter().zip(&batch.expects) {
            let Some(table) = &expect.table else { continue };
            if expect.rows.is_none_or(|wanted| wanted == *rows) {
                continue;
            }
            let wanted = expect.rows.unwrap_or_default();
            return Err(Error::Mismatch {
                table: table.quoted.clone(),
                place: batch.place.clone(),
                through: batch.through,
                what: format!(
                    "{} affected {rows} rows instead of {wanted} (key: {})",
                    expect.what,
                    table.key_names()
                ),
            });
        }
        let Err(cause) = ended else {
            return match affected.len() == batch.expects.len() {
                true => Ok(()),
                false => Err(Error::Unsuitable {
                    side: Side::Target,
                    what: format!(
                        "it answered {} of {} statements",
                        affected.len(),
                        batch.expects.len()
                    ),
                }),
            };
        };
        let at = batch.expects.get(affected.len());
        let code = if let mysql_async::Error::Server(error) = &cause {
            error.code
        } else {
            0
        };
        match at.and_then(|expect| expect.table.as_ref()) {
            // By the latter two an update says that it found its row by another key than its own, or that the statement before it
            // did not find its rows.
            Some(table) if [ER_DUP_ENTRY, ER_BAD_NULL, ER_DATA_OUT_OF_RANGE].contains(&code) => {
                Err(Error::Mismatch {
                    table: table.quoted.clone(),
                    place: batch.place.clone(),
                    through: batch.through,
                    what: format!(
                        "a row to be written has a key that the target holds already (key: {})",
                        table.key_names()
                    ),
                })
            }
            Some(table) if table.computes(&cause) => Err(Error::Mismatch {
                table: table.quoted.clone(),
                place: batch.place.clone(),
                through: batch.through,
                what: "what the target computes of a row does not fit its column or index".to_owned(),
            }),
            Some(table) => Err(Error::server(
                Side::Target,
                format!("writing rows of {}", table.quoted),
                cause,
            )),
            None => Err(Error::server(Side::Target, "beginning a group", cause)),
        }
    }
}

pub(super) fn has_code(ended: &Result<(), mysql_async::Error>, code: u16) -> bool {
    matches!(ended, Err(mysql_async::Error::Server(error)) if error.code == code)
}
