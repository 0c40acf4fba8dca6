//! Tables without a usable key: copied whole, in one consistent snapshot, at a place that is known exactly.
//!
//! Replay can't be idempotent for them, so their row events are skipped up to that place and applied exactly from there.
//! Writers of the table wait for the moment in which the snapshot is opened; then the copy reads on alone. A copy that
//! broke off begins again with an empty table.

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

/// How often the table's lock is asked for; each time writers queue behind it for [`LOCK_WAIT`] at most.
const LOCK_ATTEMPTS: u32 = 60;
const LOCK_WAIT: u64 = 10;

/// Copies the table and returns the offset up to which the copy contains its row events.
pub(crate) async fn copy(
    context: &Context,
    metadata: &Metadata,
    source: &mut Source,
    target: &mut Target,
    plan: &Arc<TablePlan>,
) -> Result<Offset, Error> {
    let object = &plan.object;
    let doing = format!("emptying {} to copy it anew", object.quoted());
    target
        .execute(&format!("TRUNCATE TABLE {}", object.quoted()), &doing)
        .await?;
    progress::create_parts(target, metadata, object, &[Part::default().range]).await?;
    context
        .status
        .table_found(&object.database, &object.name, plan.rows_estimated, 0, 0);
    let skip_until = open_snapshot(context, source, plan).await?;
    let (sender, chunks) = mpsc::channel(1);
    let loader = Loader {
        context,
        metadata,
        object,
        part: 0,
    };
    let max_packet = target.capabilities().max_allowed_packet;
    let reading = reader::read_whole(source, plan, &context.config.copy, max_packet, sender);
    let (read, loaded) = tokio::join!(reading, loader.load(target, chunks));
    let loaded = loaded?;
    read?;
    close_snapshot(source).await?;
    if !loaded {
        return Err(Error::Copy {
            what: format!("reading {} ended early", object.quoted()),
        });
    }
    Ok(skip_until)
}

/// Opens a snapshot on `source` while nobody writes to the table, and finds the offset that it contains exactly.
async fn open_snapshot(context: &Context, source: &mut Source, plan: &TablePlan) -> Result<Offset, Error> {
    let name = plan.object.quoted();
    let doing = format!("opening a snapshot of {name}");
    let mut holder = Source::connect(&context.config).await?;
    lock(&mut holder, plan).await?;
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

async fn lock(holder: &mut Source, plan: &TablePlan) -> Result<(), Error> {
    let name = plan.object.quoted();
    let doing =
        format!("locking {name}, which has no usable key, for the moment in which its snapshot is opened");
    let denied = holder.denial(
        "LOCK TABLES, SELECT",
        &format!("{}.*", quote_name(&plan.object.database)),
    );
    let wait = format!("SET lock_wait_timeout = {LOCK_WAIT}");
    holder
        .conn()
        .query_drop(wait)
        .await
        .map_err(|cause| Error::server(Side::Source, doing.as_str(), cause))?;
    let mut attempt = 1;
    loop {
        let Err(cause) = holder.conn().query_drop(format!("LOCK TABLES {name} READ")).await else {
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

async fn close_snapshot(source: &mut Source) -> Result<(), Error> {
    source
        .conn()
        .query_drop("COMMIT")
        .await
        .map_err(|cause| Error::server(Side::Source, "closing a snapshot", cause))
}
