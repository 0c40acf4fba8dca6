//! Fences: a place in the source's binlog, and the offset of the log that certainly covers it.

use std::time::Duration;

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use outrigger_protocol::position::FilePosition;
use outrigger_storage::{Log, Offset};

use crate::error::{Error, Side};
use crate::schema::Source;

/// Where the source's binlog ends at this moment. Everything that any session saw committed before stands before it.
pub(crate) async fn binlog_end(source: &mut Source) -> Result<FilePosition, Error> {
    let doing = "reading the end of the binary log";
    let mut answer: Result<Option<Row>, _> = source.conn().query_first("SHOW BINARY LOG STATUS").await;
    // Before MySQL 8.2 the statement has another name.
    if matches!(&answer, Err(mysql_async::Error::Server(error)) if error.code == 1064) {
        answer = source.conn().query_first("SHOW MASTER STATUS").await;
    }
    let row = answer.map_err(|cause| source.fail(doing, "REPLICATION CLIENT", "*.*", cause))?;
    let place = row.and_then(|row| {
        let file: String = row.get_opt(0)?.ok()?;
        let offset: u64 = row.get_opt(1)?.ok()?;
        Some(FilePosition::new(file, offset))
    });
    place.ok_or_else(|| Error::Unsuitable {
        side: Side::Source,
        what: "the binary log is off: set log_bin in the server's configuration and restart it".to_owned(),
    })
}

/// Waits until capture has read through `place` and returns the last durable offset then: it covers `place`.
pub(crate) async fn covered(log: &Log, place: &FilePosition, patience: Duration) -> Result<Offset, Error> {
    let mut reached = log.reached();
    let arrived = async {
        loop {
            if reached.borrow_and_update().as_ref().is_some_and(|r| r >= place) {
                return Ok(());
            }
            // A full log is emptied by replay alone, which waits for this copy.
            if log.stats().paused {
                let what = "the change log has used up its quota before the copy was done: raise the log's quota, or copy \
                            less per task"
                    .to_owned();
                return Err(Error::Copy { what });
            }
            tokio::select! {
                changed = reached.changed() => if changed.is_err() {
                    return Err(Error::Copy { what: "the change log was closed".to_owned() });
                },
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    };
    match tokio::time::timeout(patience, arrived).await {
        Ok(outcome) => outcome?,
        Err(_elapsed) => {
            let what = format!(
                "capture has not reached {place} within {} minutes: see its state",
                patience.as_secs() / 60
            );
            return Err(Error::Copy { what });
        }
    }
    Ok(*log.durable().borrow())
}

/// A place of now and the offset that covers it: what is read of the source after this contains every change up to there.
pub(crate) async fn fence(source: &mut Source, log: &Log, patience: Duration) -> Result<Offset, Error> {
    let place = binlog_end(source).await?;
    covered(log, &place, patience).await
}

/// The last transaction that ends at or before `place`, looked for between `after`, which does, and `through`.
pub(crate) async fn last_before(
    log: &Log,
    after: Offset,
    through: Offset,
    place: &FilePosition,
) -> Result<Offset, Error> {
    let mut reader = log.reader(after)?;
    let mut last = after;
    while last < through {
        let record = reader.next().await?;
        let Some(end) = record.end else { continue };
        if end > *place {
            break;
        }
        last = record.offset;
    }
    Ok(last)
}
