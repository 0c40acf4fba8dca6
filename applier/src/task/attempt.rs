//! One attempt: from connecting to whatever ends it.

use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::SourcePosition;
use outrigger_storage::{Log, Offset};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Checkpoint, Held, Metadata, Notes, PreparedXa};
use crate::config::Config;
use crate::error::{Error, Side};
use crate::link::{self, Link};
use crate::metrics::Metrics;
use crate::schema::folds_names;
use crate::snapshot::{self, Context, CopyOutcome, progress};
use crate::status::{Applied, TaskState, TaskStatus};
use crate::target::{Sessions, Target};
use crate::throttle::Throttle;
use crate::{coverage, replay, xa};

use super::bystander;
use super::offline::Offline;

/// How often a log that has no start yet is looked at.
const LOG_POLL: Duration = Duration::from_millis(50);

/// After so many seconds of waiting for the source there is a line in the log.
const LOOK: u32 = 10;

/// What an attempt works with.
pub(super) struct Attempt<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) log: &'a Log,
    pub(super) status: &'a Arc<TaskStatus>,
    pub(super) metrics: &'a Metrics,
    pub(super) offline: Option<&'a Offline>,
    /// Transactions up to here are replayed row by row.
    pub(super) careful_through: Offset,
    /// What attempts open on the target.
    pub(super) sessions: &'a Arc<Sessions>,
    /// The epoch under which this process had the task.
    pub(super) held: &'a Held,
}

impl Attempt<'_> {
    /// Runs until cancelled (`Ok`) or failed.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let config = self.config;
        let metadata = Metadata::new(&config.metadata_database, &config.name);
        let mut target = self
            .sessions
            .begin(&config.target, config.connect_timeout)
            .await?;
        if self.held.any() {
            metadata.refuse_taken(&mut target, self.held).await?;
        }
        bystander::refuse(&mut target, &config.selection).await?;
        metadata.prepare(&mut target).await?;
        let Some(found) = self.checkpoint(&metadata, &mut target, cancel).await? else {
            return Ok(());
        };
        // Whoever may not have the task has been refused by now: nobody's sessions are ended for that.
        self.sessions.end_others(&mut target).await?;
        // A commit that a former connection had sent may have taken effect only now: what counts is what the row says once
        // nobody else can write it.
        let from = metadata
            .take_over(
                &mut target,
                &found,
                &coverage::words([&config.selection]),
                self.held,
            )
            .await?;
        tracing::info!(
            task = config.name,
            version = target.capabilities().version,
            offset = from.offset.0,
            "begun"
        );
        self.status.set_applied(Applied {
            offset: from.offset,
            trim_through: from.trim_through(),
            position: Some(from.position.clone()),
        });
        let context = Context {
            config: Arc::clone(config),
            log: self.log.clone(),
            status: Arc::clone(self.status),
            metrics: self.metrics.clone(),
            epoch: from.epoch,
            careful_through: self.careful_through,
            throttle: Arc::new(Throttle::new(&config.limits)),
            sessions: Arc::clone(self.sessions),
        };
        let copied = match from.exact_after {
            Some(exact_after) => CopyOutcome {
                exact_after,
                skip_until: progress::load_skips(&mut target, &metadata).await?,
            },
            None => {
                let copied = snapshot::run(context.clone(), metadata.clone(), cancel.clone()).await?;
                let Some(copied) = copied else { return Ok(()) };
                // The copy may have taken longer than a server keeps an idle session.
                target = context.connect_target().await?;
                self.store_exact_after(&metadata, &mut target, from.epoch, copied.exact_after)
                    .await?;
                copied
            }
        };
        self.status.set_state(TaskState::CatchingUp);
        let through = self.offline.map(|offline| offline.through);
        Box::pin(replay::run(
            &context, &metadata, target, from, copied, through, cancel,
        ))
        .await
    }

    /// The task's checkpoint; a new one at the log's end where there is none. `None`: cancelled.
    async fn checkpoint(
        &self,
        metadata: &Metadata,
        target: &mut Target,
        cancel: &CancellationToken,
    ) -> Result<Option<Checkpoint>, Error> {
        let ours = self.log.id().to_string();
        if let Some(found) = metadata.load(target.conn()).await? {
            if found.log_id != ours {
                return Err(Error::LogReplaced {
                    task: self.config.name.clone(),
                    theirs: found.log_id,
                    ours,
                    metadata: self.config.metadata_database.clone(),
                });
            }
            self.prove_coverage(&found)?;
            if let Some(offline) = self.offline {
                offline.admit(&self.config.name, &found)?;
            }
            return Ok(Some(found));
        }
        if let Some(offline) = self.offline {
            refuse_invisible_keys(target).await?;
            let folds_names = folds_names(target.conn(), Side::Target).await?;
            let mut first = offline.first(&self.config.name, &self.config.selection, ours, folds_names)?;
            self.prove_coverage(&first)?;
            // One that was not kept may never be committed; if it is, replay stops.
            let (kept, _lost) = self.prepared(first.offset).await?;
            first.xa_prepared = kept;
            metadata.create(target, &first).await?;
            return Ok(Some(first));
        }
        let (offset, position) = tokio::select! {
            start = self.start() => start,
            () = cancel.cancelled() => return Ok(None),
        };
        let mut source =
            link::connect(&self.config.source, Side::Source, self.config.connect_timeout).await?;
        let folds_names = suits(&mut source, target).await?;
        if let Some(gtids) = &position.gtids {
            tokio::select! {
                shown = wait_until_shown(&mut source, gtids) => shown?,
                () = cancel.cancelled() => return Ok(None),
            }
        }
        // The answers are in hand; how the session ends does not matter.
        source.disconnect().await.ok();
        let (xa_prepared, lost) = tokio::select! {
            found = self.prepared(offset) => found?,
            () = cancel.cancelled() => return Ok(None),
        };
        if let Some(xa) = lost.first() {
            return Err(not_kept(xa, &self.config.name));
        }
        let first = Checkpoint {
            log_id: ours,
            offset,
            notes: Notes::default(),
            position,
            exact_after: None,
            ddl_pending: None,
            xa_prepared,
            folds_names,
            selection: coverage::words([&self.config.selection]),
            epoch: 0,
        };
        metadata.create(target, &first).await?;
        Ok(Some(first))
    }

    /// The XA transactions that are prepared at `offset`, where a task begins that no copy brings their rows: those whose rows the
    /// log has, and those of which it lacks what the task selects.
    async fn prepared(&self, offset: Offset) -> Result<(Vec<PreparedXa>, Vec<PreparedXa>), Error> {
        let kept = self.log.kept()?;
        let holds = |xa: &PreparedXa| coverage::holds(&kept, xa.offset, &self.config.selection);
        Ok(xa::prepared(self.log, offset).await?.into_iter().partition(holds))
    }

    /// What the task selects must have been copied, and must be in the log from the checkpoint on.
    fn prove_coverage(&self, found: &Checkpoint) -> Result<(), Error> {
        let config = self.config;
        if !coverage::covers(&found.selection, &config.selection) {
            return Err(Error::Widened {
                task: config.name.clone(),
                before: found.selection.clone(),
                now: coverage::words([&config.selection]),
                metadata: config.metadata_database.clone(),
            });
        }
        let kept = self.log.kept()?;
        match coverage::gap(&kept, found.offset, &found.position, &config.selection) {
            None => Ok(()),
            Some(gap) => Err(Error::NotKept {
                task: config.name.clone(),
                after: gap.after,
                until: match gap.before {
                    Some(before) => format!("and before {before}"),
                    None => "and to this day".to_owned(),
                },
                kept: gap.what,
                metadata: config.metadata_database.clone(),
            }),
        }
    }

    /// Where replay begins: the log's durable end, once the log has a start.
    async fn start(&self) -> (Offset, SourcePosition) {
        let durable = self.log.durable();
        loop {
            let offset = *durable.borrow();
            if let Some(position) = self.log.position()
                && *durable.borrow() == offset
            {
                return (offset, position);
            }
            tokio::time::sleep(LOG_POLL).await;
        }
    }

    async fn store_exact_after(
        &self,
        metadata: &Metadata,
        target: &mut Target,
        epoch: u64,
        exact_after: Offset,
    ) -> Result<(), Error> {
        let mut sql = Vec::new();
        metadata.set_exact_after(&mut sql, epoch, exact_after);
        let (affected, ended) = target.run(&sql).await;
        ended.map_err(|cause| Error::server(Side::Target, "noting that the copy is done", cause))?;
        if affected == [1] {
            Ok(())
        } else {
            Err(metadata.fenced(target, epoch).await)
        }
    }
}

fn not_kept(xa: &PreparedXa, task: &str) -> Error {
    let what = format!(
        "XA transaction {} was prepared at offset {} of the change log, when no task selected all that task {task} does, so the log \
         may lack some of its rows: end it (XA COMMIT {0} or XA ROLLBACK {0}) and, once that is captured, start the task again",
        xa.xid, xa.offset
    );
    Error::Unsuitable {
        side: Side::Source,
        what,
    }
}

/// Refuses two servers that can't be a pair; tells whether the source takes names that differ by case alone for one.
async fn suits(source: &mut Link, target: &mut Target) -> Result<bool, Error> {
    let folds = folds_names(source, Side::Source).await?;
    let uuid = server_uuid(source, Side::Source).await?;
    if server_uuid(target.conn(), Side::Target).await? == uuid {
        let what = "it is the same server as the source (by server_uuid): correct the address of one of them"
            .to_owned();
        return Err(Error::Unsuitable {
            side: Side::Target,
            what,
        });
    }
    refuse_invisible_keys(target).await?;
    Ok(folds)
}

/// Waits until the source shows everybody what its binlog held: a transaction goes to replicas first, and with semi-synchronous
/// replication is shown only once one of them has acknowledged it. What replay does not bring the copy must see.
async fn wait_until_shown(source: &mut Link, gtids: &GtidSet) -> Result<(), Error> {
    let question = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', {LOOK})");
    loop {
        let late: Option<u8> = source.query_first(&question).await.map_err(|cause| {
            Error::server(Side::Source, "waiting until it shows what it has logged", cause)
        })?;
        if late == Some(0) {
            return Ok(());
        }
        tracing::warn!(
            "the copy waits until the source shows what its binlog has already: commits wait there, for a semi-synchronous replica's \
             acknowledgement perhaps"
        );
    }
}

fn reading_settings(side: Side) -> impl FnOnce(mysql_async::Error) -> Error {
    move |cause| Error::server(side, "reading its settings", cause)
}

async fn server_uuid(conn: &mut Link, side: Side) -> Result<String, Error> {
    let uuid: Option<String> = conn
        .query_first("SELECT @@server_uuid")
        .await
        .map_err(reading_settings(side))?;
    Ok(uuid.unwrap_or_default())
}

async fn refuse_invisible_keys(target: &mut Target) -> Result<(), Error> {
    let invisible: Option<(String, String)> = target
        .conn()
        .query_first("SHOW VARIABLES LIKE 'sql_generate_invisible_primary_key'")
        .await
        .map_err(reading_settings(Side::Target))?;
    if invisible.is_some_and(|(_, value)| value == "ON") {
        let what = "it adds a column to tables without a primary key, so they would differ from the source's: SET PERSIST \
                    sql_generate_invisible_primary_key = OFF there"
            .to_owned();
        return Err(Error::Unsuitable {
            side: Side::Target,
            what,
        });
    }
    Ok(())
}
