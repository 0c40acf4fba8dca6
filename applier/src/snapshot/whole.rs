//! Tables that are copied whole, in one consistent snapshot, at a place that is known exactly: those without a usable key, and
//! together those whose rows follow each other by foreign keys on a source that does not log it.
//!
//! Replay can't be idempotent for them: without a key, a row can't be written over; and a cascade at its time does to rows that were
//! read later what was done to others. So their row events are skipped up to that place and applied exactly from there.
//! Writers of the tables wait for the moment in which the snapshot is opened; then the copy reads on alone. A copy that
//! broke off begins again with empty tables.

use std::sync::Arc;
use std::time::Duration;

use outrigger_storage::Offset;
use tokio::sync::mpsc;

use crate::checkpoint::Metadata;
use crate::error::{Error, Side};
use crate::literal::quote_name;
use crate::schema::Source;
use crate::snapshot::fence::{binlog_end, covered, last_before};
use crate::snapshot::loader::Loader;
use crate::snapshot::plan::TablePlan;
use crate::snapshot::progress::{self, Part};
use crate::snapshot::{Context, reader};
use crate::target::Target;

/// How often the tables' lock is asked for; each time writers queue behind it for [`LOCK_WAIT`] at most.
const LOCK_ATTEMPTS: u32 = 60;
const LOCK_WAIT: u64 = 10;

/// Copies the tables and returns the offset up to which the copy contains their row events.
pub(crate) async fn copy(
    context: &Context,
    metadata: &Metadata,
    source: &mut Source,
    target: &mut Target,
    plans: &[Arc<TablePlan>],
) -> Result<Offset, Error> {
    for plan in plans {
        let object = &plan.object;
        let doing = format!("emptying {} to copy it anew", object.quoted());
        target
            .execute(&format!("TRUNCATE TABLE {}", object.quoted()), &doing)
            .await?;
        progress::create_parts(target, metadata, object, &[Part::default().range], true).await?;
        context
            .status
            .table_found(&object.database, &object.name, plan.rows_estimated, 0, 0);
    }
    let skip_until = open_snapshot(context, source, plans).await?;
    for plan in plans {
        rows(context, metadata, source, target, plan).await?;
    }
    close_snapshot(source).await?;
    Ok(skip_until)
}

/// Copies one table's rows as the open snapshot has them.
async fn rows(
    context: &Context,
    metadata: &Metadata,
    source: &mut Source,
    target: &mut Target,
    plan: &Arc<TablePlan>,
) -> Result<(), Error> {
    let object = &plan.object;
    let (sender, chunks) = mpsc::channel(1);
    let loader = Loader {
        context,
        metadata,
        plan,
        part: 0,
    };
    let max_packet = target.capabilities().max_allowed_packet;
    let reading = reader::read_whole(source, plan, &context.config.copy, max_packet, sender);
    let (read, loaded) = tokio::join!(reading, loader.load(target, chunks));
    let loaded = loaded?;
    read?;
    if !loaded {
        return Err(Error::Copy {
            what: format!("reading {} ended early", object.quoted()),
        });
    }
    Ok(())
}

/// Opens a snapshot on `source` while nobody writes to the tables, and finds the offset that it contains exactly.
async fn open_snapshot(
    context: &Context,
    source: &mut Source,
    plans: &[Arc<TablePlan>],
) -> Result<Offset, Error> {
    let doing = format!("opening a snapshot of {}", names(plans, ""));
    let mut holder = Source::connect(&context.config).await?;
    lock(&mut holder, plans).await?;
    // Durable before the snapshot, so before its place.
    let before = *context.log.durable().borrow();
    let fail = |cause| Error::server(Side::Source, doing.as_str(), cause);
    source
        .conn()
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        .await
        .map_err(fail)?;
    let place = binlog_end(&mut holder).await?;
    holder.conn().query_drop("UNLOCK TABLES").await.map_err(fail)?;
    let through = covered(&context.log, &place, context.config.retry_window).await?;
    last_before(&context.log, before, through, &place).await
}

async fn lock(holder: &mut Source, plans: &[Arc<TablePlan>]) -> Result<(), Error> {
    let doing = format!(
        "locking {}, to be copied at one place, for the moment in which the snapshot is opened",
        names(plans, "")
    );
    let mut databases: Vec<&str> = plans.iter().map(|plan| plan.object.database.as_str()).collect();
    databases.dedup();
    let on = match databases.as_slice() {
        [one] => format!("{}.*", quote_name(one)),
        _ => "*.*".to_owned(),
    };
    let denied = holder.denial("LOCK TABLES, SELECT", &on);
    let wait = format!("SET lock_wait_timeout = {LOCK_WAIT}");
    holder
        .conn()
        .query_drop(wait)
        .await
        .map_err(|cause| Error::server(Side::Source, doing.as_str(), cause))?;
    let statement = format!("LOCK TABLES {}", names(plans, " READ"));
    let mut attempt = 1;
    loop {
        let Err(cause) = holder.conn().query_drop(&statement).await else {
            return Ok(());
        };
        let error = denied.wrap(&doing, cause);
        if !error.is_conflict() || attempt == LOCK_ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The tables, each with a word behind it.
fn names(plans: &[Arc<TablePlan>], word: &str) -> String {
    let names: Vec<String> = plans
        .iter()
        .map(|plan| format!("{}{word}", plan.object.quoted()))
        .collect();
    names.join(", ")
}

async fn close_snapshot(source: &mut Source) -> Result<(), Error> {
    source
        .conn()
        .query_drop("COMMIT")
        .await
        .map_err(|cause| Error::server(Side::Source, "closing a snapshot", cause))
}
