//! The sending half: one round trip per batch, every statement's affected rows checked, then the commit.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::Offset;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Metadata;
use crate::error::{Error, Place, Side};
use crate::snapshot::Context;
use crate::statement::{Expect, RowCounts, STRICT};
use crate::status::{Applied, TaskState};
use crate::target::Target;

/// What the planner hands over.
#[derive(Debug)]
pub(super) enum Step {
    /// Statements of a group, in whole or in part.
    Batch(Box<Batch>),
    /// Answered once everything handed over before is committed.
    Barrier(oneshot::Sender<()>),
}

/// The statements of one round trip.
#[derive(Debug)]
pub(super) struct Batch {
    /// The statements, `;` between them.
    pub(super) sql: Vec<u8>,
    /// What each must report.
    pub(super) expects: Vec<Expect>,
    /// Rows in it.
    pub(super) counts: RowCounts,
    /// True when its first statement begins the target transaction.
    pub(super) opens: bool,
    /// Where its group began, for messages.
    pub(super) place: Place,
    /// What the commit after it makes durable; `None`: the group goes on with the next batch.
    pub(super) commit: Option<Commit>,
}

/// What a commit makes durable.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) offset: Offset,
    pub(super) trim_through: Offset,
    pub(super) position: SourcePosition,
    /// The source's commit time of the last transaction, microseconds since 1970.
    pub(super) commit_micros: u64,
    /// Source transactions in the group.
    pub(super) transactions: u64,
}

/// How often a group that met a deadlock is sent again before the task starts over from its checkpoint.
const MAX_CONFLICTS: u32 = 10;

/// The apply loop and its connection.
pub(super) struct Apply {
    context: Context,
    metadata: Metadata,
    target: Target,
    exact_after: Offset,
    began: Option<Instant>,
    counts: RowCounts,
    bytes: u64,
}

impl Apply {
    pub(super) fn new(context: Context, metadata: Metadata, target: Target, exact_after: Offset) -> Self {
        Self {
            context,
            metadata,
            target,
            exact_after,
            began: None,
            counts: RowCounts::default(),
            bytes: 0,
        }
    }

    /// Sends what comes until the planner ends or `cancel` is called; a batch that was begun is finished.
    pub(super) async fn run(
        mut self,
        mut steps: mpsc::Receiver<Step>,
        ask: mpsc::Sender<()>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let applied = self.context.status.applied().borrow().offset;
        let durable = *self.context.log.durable().borrow();
        self.show_phase(applied, durable <= applied);
        loop {
            // A planner that has ended does not read any more; what it sent before still counts.
            ask.try_send(()).ok();
            let step = tokio::select! {
                // Nothing is half done here but a group whose next batch is not there yet: the server rolls it back.
                () = cancel.cancelled() => return Ok(()),
                step = steps.recv() => step,
            };
            match step {
                Some(Step::Batch(batch)) => self.batch(*batch).await?,
                // The planner waits for it; when it is gone nobody does.
                Some(Step::Barrier(done)) => drop(done.send(())),
                None => return Ok(()),
            }
        }
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.commit.is_some() {
            fail::fail_point!("checkpoint", |_| outrigger_storage::failpoint::kill());
        }
        if batch.opens {
            self.began = Some(Instant::now());
            self.counts = RowCounts::default();
            self.bytes = 0;
        }
        let mut conflicts = 0;
        while let Err(error) = self.send(&batch).await {
            // Only a group that is here as a whole can be sent again.
            if !error.is_conflict() || !batch.opens || batch.commit.is_none() || conflicts == MAX_CONFLICTS {
                // The connection is dropped after this, which rolls back as well.
                self.target.execute("ROLLBACK", "rolling a group back").await.ok();
                return Err(error);
            }
            conflicts += 1;
            self.context.metrics.retries.increment(1);
            self.context
                .status
                .counters
                .retries
                .fetch_add(1, Ordering::Relaxed);
            self.target.execute("ROLLBACK", "rolling a group back").await?;
            self.target.execute(STRICT, "setting the session up").await?;
            tokio::time::sleep(Duration::from_millis(rand::random_range(
                1..20 * u64::from(conflicts),
            )))
            .await;
        }
        self.counts.inserted += batch.counts.inserted;
        self.counts.updated += batch.counts.updated;
        self.counts.deleted += batch.counts.deleted;
        self.bytes += u64::try_from(batch.sql.len()).unwrap_or(u64::MAX);
        if let Some(commit) = batch.commit {
            fail::fail_point!("group-commit", |_| outrigger_storage::failpoint::kill());
            self.target.execute("COMMIT", "committing a group").await?;
            self.committed(commit);
        }
        Ok(())
    }

    /// Sends a batch and checks what its statements report.
    async fn send(&mut self, batch: &Batch) -> Result<(), Error> {
        let (affected, ended) = self.target.run(&batch.sql).await;
        for (rows, expect) in affected.iter().zip(&batch.expects) {
            if expect.rows.is_none_or(|wanted| wanted == *rows) {
                continue;
            }
            let Some(table) = &expect.table else {
                return Err(self.metadata.fenced(&mut self.target, self.context.epoch).await);
            };
            let wanted = expect.rows.unwrap_or_default();
            return Err(Error::Divergence {
                table: table.quoted.clone(),
                place: batch.place.clone(),
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
        let table = at.and_then(|expect| expect.table.as_ref());
        let code = if let mysql_async::Error::Server(error) = &cause {
            error.code
        } else {
            0
        };
        match table {
            Some(table) if code == 1062 => Err(Error::Divergence {
                table: table.quoted.clone(),
                place: batch.place.clone(),
                what: format!(
                    "a row to be inserted has a key that the target holds already (key: {})",
                    table.key_names()
                ),
            }),
            Some(table) => Err(Error::server(
                Side::Target,
                format!("writing rows of {}", table.quoted),
                cause,
            )),
            None => Err(Error::server(Side::Target, "writing the checkpoint", cause)),
        }
    }

    /// The group is durable on the target: counts it and tells everybody.
    fn committed(&mut self, commit: Commit) {
        let (status, metrics) = (&self.context.status, &self.context.metrics);
        let counters = &status.counters;
        let add = |counter: &std::sync::atomic::AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        add(&counters.inserted, self.counts.inserted);
        add(&counters.updated, self.counts.updated);
        add(&counters.deleted, self.counts.deleted);
        add(&counters.bytes, self.bytes);
        add(&counters.transactions, commit.transactions);
        add(&counters.groups, 1);
        metrics.rows_inserted.increment(self.counts.inserted);
        metrics.rows_updated.increment(self.counts.updated);
        metrics.rows_deleted.increment(self.counts.deleted);
        metrics.bytes.increment(self.bytes);
        metrics.transactions.increment(commit.transactions);
        metrics.groups.increment(1);
        if let Some(began) = self.began.take() {
            metrics.group_seconds.record(began.elapsed().as_secs_f64());
        }
        let offset = commit.offset;
        let caught_up = *self.context.log.durable().borrow() <= offset;
        status.committed(commit.commit_micros, caught_up);
        metrics.offset.set(offset.0 as f64);
        status.set_applied(Applied {
            offset,
            trim_through: commit.trim_through,
            position: Some(commit.position),
        });
        self.show_phase(offset, caught_up || status.delay() < Duration::from_secs(1));
    }

    /// Once the copy's time is over and the target was as good as level, the task is synchronizing.
    fn show_phase(&self, applied: Offset, level: bool) {
        let status = &self.context.status;
        if status.state() == TaskState::Synchronizing {
            return;
        }
        let exact = applied >= self.exact_after;
        status.set_state(if exact && level {
            TaskState::Synchronizing
        } else {
            TaskState::CatchingUp
        });
    }
}
