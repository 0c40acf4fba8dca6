//! Fences: a place in the source's binlog, and the offset of the log that certainly covers it.

use std::time::Duration;

use mysql_async::Row;
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::FilePosition;
use outrigger_storage::{Log, Offset};

use crate::error::{Error, Side};
use crate::schema::Source;

/// A place in the history of the server that gave it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `server_uuid`: on another server the file's place means nothing.
    pub(crate) server: String,
    pub(crate) file: FilePosition,
    /// What was committed there; absent without GTIDs. What a session sees may be in the file and not in here yet, unless it
    /// is kept from being written by a lock.
    pub(crate) gtids: Option<GtidSet>,
}

/// Where the source's binlog ends at this moment. Everything that any session saw committed before stands before it.
pub(crate) async fn binlog_end(source: &mut Source) -> Result<Place, Error> {
    let doing = "reading the end of the binary log";
    let mut answer: Result<Option<Row>, _> = source.conn().query_first("SHOW BINARY LOG STATUS").await;
    // Before MySQL 8.2 the statement has another name.
    if matches!(&answer, Err(mysql_async::Error::Server(error)) if error.code == 1064) {
        answer = source.conn().query_first("SHOW MASTER STATUS").await;
    }
    let row = answer.map_err(|cause| source.fail(doing, "REPLICATION CLIENT", "*.*", cause))?;
    let server: Option<String> = source
        .conn()
        .query_first("SELECT @@server_uuid")
        .await
        .map_err(|cause| Error::server(Side::Source, doing, cause))?;
    let place = row.and_then(|row| {
        let file: String = row.get_opt(0)?.ok()?;
        let offset: u64 = row.get_opt(1)?.ok()?;
        let gtids: Option<String> = row.get_opt(4).and_then(Result::ok);
        let gtids: Option<GtidSet> = gtids.and_then(|set| set.parse().ok());
        Some(Place {
            server: server.unwrap_or_default(),
            file: FilePosition::new(file, offset),
            gtids: gtids.filter(|set| !set.is_empty()),
        })
    });
    place.ok_or_else(|| Error::Unsuitable {
        side: Side::Source,
        what: "the binary log is off: set log_bin in the server's configuration and restart it".to_owned(),
    })
}

/// Waits until capture has read through `place` and returns the last durable offset then: it covers `place`. While capture reads
/// another server (its address leads to a new one now, and only one of us has noticed) nothing is covered.
pub(crate) async fn covered(log: &Log, place: &Place, patience: Duration) -> Result<Offset, Error> {
    let mut reached = log.reached();
    let arrived = async {
        loop {
            reached.borrow_and_update();
            if log
                .reached_on(&place.server)
                .is_some_and(|reached| reached >= place.file)
            {
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
                "capture has not reached {} of server {} within {} minutes: see its state",
                place.file,
                place.server,
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

/// The last transaction that ends at or before `place`, looked for between `after`, which does, and `through`. By GTIDs where
/// there are some: those offsets may stem from another server, whose files have other places.
pub(crate) async fn last_before(
    log: &Log,
    after: Offset,
    through: Offset,
    place: &Place,
) -> Result<Offset, Error> {
    let mut reader = log.reader(after)?;
    let mut last = after;
    let mut gtid = None;
    let mut read = after;
    while read < through {
        let record = reader.next().await?;
        if let Some(begin) = record.begin {
            gtid = begin.gtid;
        }
        let Some(end) = record.end else { continue };
        read = record.offset;
        let before = match (&place.gtids, gtid.take()) {
            (Some(set), Some(gtid)) => set.contains(&gtid),
            _ => end <= place.file,
        };
        if before {
            last = read;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::ChecksumAlg;
    use outrigger_protocol::position::SourcePosition;
    use outrigger_storage::{Appender, Begin, Config, End, Piece};

    use super::*;

    const A: &str = "aaaaaaaa-0000-0000-0000-000000000000";
    const SOON: Duration = Duration::from_millis(200);

    fn place(server: &str, offset: u64, gtids: Option<&str>) -> Place {
        Place {
            server: server.to_owned(),
            file: FilePosition::new("binlog.000002", offset),
            gtids: gtids.map(|set| set.replace('A', A).parse().unwrap()),
        }
    }

    async fn append(appender: &mut Appender, number: u64, end: u64) {
        let piece = Piece {
            begin: Some(Begin {
                gtid: Some(format!("{A}:{number}").parse().unwrap()),
                commit_micros: 1,
                checksum: ChecksumAlg::Off,
                start: FilePosition::new("binlog.000002", end - 10),
            }),
            events: vec![0; 90].into(),
            end: Some(End {
                position: SourcePosition {
                    gtids: Some(format!("{A}:1-{number}").parse().unwrap()),
                    file: FilePosition::new("binlog.000002", end),
                },
                schemas: Vec::new(),
            }),
        };
        appender.append(piece).await.unwrap();
    }

    #[tokio::test]
    async fn another_servers_place_covers_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(Config::new(dir.path())).unwrap();
        log.set_server("old").unwrap();
        let mut appender = log.appender().unwrap();
        append(&mut appender, 1, 9000).await;
        append(&mut appender, 2, 9500).await;
        appender.sync().await.unwrap();
        assert_eq!(
            covered(&log, &place("old", 9500, None), SOON).await.unwrap(),
            Offset(2)
        );
        // The session that gave the place is on the new server already, capture is not.
        let new = place("new", 700, None);
        assert!(covered(&log, &new, SOON).await.is_err());
        // Nor when it has just gone there.
        log.set_server("new").unwrap();
        assert!(covered(&log, &new, SOON).await.is_err());
        append(&mut appender, 3, 600).await;
        appender.sync().await.unwrap();
        assert!(covered(&log, &new, SOON).await.is_err());
        append(&mut appender, 4, 800).await;
        appender.sync().await.unwrap();
        assert_eq!(covered(&log, &new, SOON).await.unwrap(), Offset(4));
        // A session that still is on the old one waits in vain rather than to be told nonsense.
        assert!(covered(&log, &place("old", 100, None), SOON).await.is_err());

        // What the old server wrote behind 700 is in the new one's place, what it wrote before 700 later is not.
        let within = async |place: Place| last_before(&log, Offset(0), Offset(4), &place).await.unwrap();
        assert_eq!(within(place("new", 700, Some("A:1-3"))).await, Offset(3));
        assert_eq!(within(place("new", 700, Some("A:1-2"))).await, Offset(2));
        assert_eq!(within(place("new", 700, Some("A:1"))).await, Offset(1));
        drop(appender);
        log.close().unwrap();
    }
}
