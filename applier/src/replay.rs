//! Replay: the change log, from the checkpoint on, applied to the target in order and exactly once.
//!
//! Two halves work at the same time. The *planner* reads the log, decodes events and writes statements; the *apply* loop
//! executes them on several *lanes* (connections) and commits in order; `conflict` says which groups may be executed at the same
//! time. The apply loop asks when a lane is free, and gets everything that the planner has ready: one transaction when
//! there is no backlog, as many as fit into a group when there is one. What has to be done alone (definition statements,
//! A6) waits until everything before it is committed.
//!
//! Where a group did not find the rows that it expected, replay starts again from the checkpoint and executes the changes up to
//! some way behind that group row by row (`divergence`).
//!
//! Any failure ends both halves. Starting again from the checkpoint row is the one way of recovery: what a lost
//! connection left undecided is read there, never guessed.

mod apply;
mod cascade;
mod conflict;
mod divergence;
mod lane;
mod layout;
mod planner;
mod schedule;
mod tables;

use outrigger_storage::Offset;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Checkpoint, Metadata};
use crate::error::Error;
use crate::snapshot::{Context, CopyOutcome};
use crate::target::Target;

/// Follows the log until cancelled, until everything `through` an offset is committed (both are `Ok`), or until something fails.
///
/// # Errors
/// What failed; [`Error::is_retryable`] says whether starting again from the checkpoint can help.
pub(crate) async fn run(
    context: &Context,
    metadata: &Metadata,
    target: Target,
    from: Checkpoint,
    copied: CopyOutcome,
    through: Option<Offset>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let context = context.folded(from.folds_names);
    let planning = context.connect_target().await?;
    // One step in flight: the planner is never more than one group ahead of what was asked for.
    let (steps, incoming) = mpsc::channel(1);
    let (ask, asked) = mpsc::channel(1);
    let apply = apply::Apply::new(
        context.clone(),
        metadata.clone(),
        target,
        &from,
        copied.exact_after,
    )
    .await?;
    let handover = planner::Handover::new(steps, asked);
    let planner = planner::Planner::new(
        context.clone(),
        metadata.clone(),
        planning,
        from,
        copied,
        through,
        handover,
    )
    .await?;
    // Dropping the set ends the planner, whichever way this function is left.
    let mut planning = JoinSet::new();
    planning.spawn(planner.run());
    apply.run(incoming, ask, cancel).await?;
    if cancel.is_cancelled() {
        return Ok(());
    }
    match planning.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(failure)) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
        _ => Ok(()),
    }
}
