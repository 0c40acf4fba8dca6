//! Copying: the selected databases' definitions and rows, from a source that goes on changing, to the target.
//!
//! No global lock, no long transaction. Tables are read in key order, chunk by chunk; a chunk's rows and how far it came
//! commit together on the target, so a copy goes on where it was after any crash. Rows read at different times make no
//! consistent whole by themselves: replaying the log from before the first chunk does, idempotently up to
//! [`CopyOutcome::exact_after`], exactly from there on. Tables without a usable key, and tables whose rows follow others
//! without a word in the log, are copied at one exact place instead.
//!
//! Definitions may change meanwhile: the copy works in rounds, and what the log shows to have changed after it was read is
//! dropped and read again in the next round (`rounds` decides, `history` reads the log).

mod chunk;
mod decode;
mod fence;
mod history;
mod key;
mod loader;
mod plan;
pub(crate) mod progress;
mod reader;
mod rounds;
mod rows;
mod visit;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_storage::{Log, Offset};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Metadata;
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::snapshot::rounds::Rounds;
use crate::status::TaskStatus;
use crate::target::{Sessions, Target};
use crate::throttle::Throttle;

/// What a copy works with.
#[derive(Clone)]
pub(crate) struct Context {
    /// The task's configuration.
    pub(crate) config: Arc<Config>,
    /// The log; capture into it has begun and goes on.
    pub(crate) log: Log,
    /// Where progress is shown.
    pub(crate) status: Arc<TaskStatus>,
    /// Where it is counted.
    pub(crate) metrics: Metrics,
    /// The epoch under which this process holds the task's checkpoint.
    pub(crate) epoch: u64,
    /// Transactions up to here are replayed row by row: a group of them did not find the rows that it expected.
    pub(crate) careful_through: Offset,
    /// Whatever is sent to the target waits for it.
    pub(crate) throttle: Arc<Throttle>,
    /// What is open on the target.
    pub(crate) sessions: Arc<Sessions>,
}

impl Context {
    /// The same for a source that takes names which differ by case alone for one, if it does: it keeps them in lower case.
    pub(crate) fn folded(&self, folds_names: bool) -> Self {
        let mut context = self.clone();
        if folds_names {
            let config = Arc::make_mut(&mut context.config);
            config.selection = config.selection.folded();
        }
        context
    }

    /// One more session on the target.
    pub(crate) async fn connect_target(&self) -> Result<Target, Error> {
        self.sessions
            .connect(&self.config.target, self.config.connect_timeout)
            .await
    }
}

/// What replay must know about a finished copy. It is durable in `copy_progress` before [`run`] returns it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CopyOutcome {
    /// Up to here replay is idempotent (REPLACE, a missing row is no error) and skips every DDL statement: what was
    /// copied holds its result. After here replay is exact.
    pub(crate) exact_after: Offset,
    /// Which row events are in the copy already, although they are not idempotent or no longer fit the definition.
    pub(crate) skip_until: SkipUntil,
}

/// Up to which offset a table's row events are skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SkipUntil {
    /// By database and table. Also names tables that no longer exist.
    pub(crate) tables: BTreeMap<(String, String), Offset>,
    /// All tables of a database: it was dropped at this offset.
    pub(crate) databases: BTreeMap<String, Offset>,
    /// Tables that were copied at the place up to which they are skipped: from there on replay is exact for them.
    pub(crate) exact: BTreeSet<(String, String)>,
}

impl SkipUntil {
    /// True for a table that was copied at one place.
    pub(crate) fn is_exact(&self, database: &str, table: &str) -> bool {
        self.exact.contains(&(database.to_owned(), table.to_owned()))
    }

    /// The offset up to which (inclusive) row events of this table are skipped; [`Offset::ZERO`] when none are.
    pub(crate) fn table(&self, database: &str, table: &str) -> Offset {
        let one = self.tables.get(&(database.to_owned(), table.to_owned())).copied();
        one.max(self.databases.get(database).copied())
            .unwrap_or(Offset::ZERO)
    }
}

/// Copies what the configuration selects, from where an earlier process came to, until it is complete. `None`: cancelled.
/// The metadata tables exist and the checkpoint row is held under [`Context::epoch`].
///
/// # Errors
/// Whatever ends the copy; running it again continues where it was.
pub(crate) async fn run(
    context: Context,
    metadata: Metadata,
    cancel: CancellationToken,
) -> Result<Option<CopyOutcome>, Error> {
    if !context.config.copy.schema && !context.config.copy.rows {
        return Ok(Some(CopyOutcome::default()));
    }
    let work = Box::pin(async move { Rounds::open(context, metadata).await?.run().await });
    tokio::select! {
        outcome = work => outcome.map(Some),
        // Dropping the work closes its connections; open target transactions roll back.
        () = cancel.cancelled() => Ok(None),
    }
}
