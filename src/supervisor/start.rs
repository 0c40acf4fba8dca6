//! Before anything runs: whether the source can be captured, and where a new log starts.

use outrigger_applier::coverage;
use outrigger_capture::SourceInfo;
use outrigger_storage::Log;
use tracing::{info, warn};

use super::selection::Wanted;
use super::{Error, blocking};

/// Checks the source, and gives a new log its start. A log that has a position resumes there, and then a source that is
/// out of reach for the moment is no reason not to start: capture tries again within its window.
pub(super) async fn prepare(
    capture: &outrigger_capture::Config,
    log: &Log,
) -> Result<Option<SourceInfo>, Error> {
    let resumed = log.position();
    let info = match outrigger_capture::check(capture).await {
        Ok(info) => Some(info),
        Err(error) if resumed.is_some() && error.is_transient() => {
            warn!("{error}; starting all the same, capture tries again");
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(info) = &info {
        info!(
            version = info.version,
            server_uuid = info.server_uuid,
            gtid_mode = info.gtid_mode,
            "source is ready"
        );
        if !info.durable {
            warn!(
                "the source does not sync each commit to disk (sync_binlog = 1 and innodb_flush_log_at_trx_commit = 1 would): a crash of its \
                 host can take back transactions that the targets have already; capture then stops and says so"
            );
        }
        if !info.binlog_filters.is_empty() {
            warn!(
                "the source keeps some databases out of its binlog (binlog-do-db, binlog-ignore-db: {}); changes there are \
                 not captured",
                info.binlog_filters.join(", ")
            );
        }
    }
    match resumed {
        Some(position) => info!(%position, "capture resumes"),
        None => {
            let position = outrigger_capture::start_position(capture).await?;
            info!(%position, "the log is new, capture starts");
            let log = log.clone();
            blocking("setting the log's start", move || log.set_start(&position)).await??;
        }
    }
    Ok(info)
}

/// Notes in the log what is kept from here on (`None`: everything), so that a task which wants more of it finds out.
pub(super) async fn note_what_is_kept(log: &Log, wanted: Option<&Wanted>) -> Result<(), Error> {
    let words = wanted.map_or_else(|| coverage::EVERYTHING.to_owned(), Wanted::words);
    let log = log.clone();
    Ok(blocking("noting what the log keeps", move || log.keep(&words)).await??)
}
