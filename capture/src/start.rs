//! Where a new log begins.

use std::time::Duration;

use outrigger_protocol::position::{FilePosition, SourcePosition};

use crate::check::{PATIENCE, SourceInfo, inspect, parse_gtids, status_statement};
use crate::connection::{Connection, Row};
use crate::{Config, Error};

/// Where a new log begins: a place that everything a later query can see comes before, or is captured.
///
/// With GTIDs that is `gtid_executed`; without, the beginning of the current binlog file, because a file is only begun
/// once every transaction in the ones before has been committed in the engine.
///
/// An XA transaction that is prepared before that place and committed after it would be in no log: the place is taken when none
/// is prepared, for which this waits up to [`Config::prepared_wait`]. One that escapes all the same is found out by whoever replays the log,
/// and stops it.
///
/// # Errors
/// As for [`check`](crate::check()), and [`Error::Prepared`].
pub async fn start_position(config: &Config) -> Result<SourcePosition, Error> {
    let mut connection = Connection::open(&config.source, PATIENCE).await?;
    let info = inspect(&mut connection, config).await?;
    let position = between_prepared(&mut connection, &info, config.prepared_wait).await?;
    connection.close().await;
    Ok(position)
}

/// How often the source is asked for prepared transactions, and after how many times that is said again.
const PREPARED_POLL: Duration = Duration::from_millis(200);
const PREPARED_TOLD_EVERY: u32 = 50;
/// The same where none is prepared for long, but always some for a moment; and how long for a moment is waited without them.
const BUSY_POLL: Duration = Duration::from_millis(5);
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// The present place, once no XA transaction is prepared at it.
async fn between_prepared(
    connection: &mut Connection,
    info: &SourceInfo,
    patience: Duration,
) -> Result<SourcePosition, Error> {
    let begun = tokio::time::Instant::now();
    let mut none_since = None;
    for round in 0_u32.. {
        let Look {
            position,
            prepared,
            still,
        } = look(connection, info).await?;
        let Some(prepared) = prepared else {
            tracing::warn!(
                "the source's account may not see whether XA transactions are prepared (GRANT XA_RECOVER_ADMIN ON *.* TO it); \
                 one that is, and is committed later, stops the tasks"
            );
            return Ok(position);
        };
        if prepared == 0 {
            if still {
                return Ok(position);
            }
            if none_since.get_or_insert_with(tokio::time::Instant::now).elapsed() >= BUSY_PATIENCE {
                tracing::warn!(
                    "XA transactions are prepared on the source all the time: if one was in the very moment where the log begins, its commit \
                     stops the tasks"
                );
                return Ok(position);
            }
            tokio::time::sleep(BUSY_POLL).await;
            continue;
        }
        if begun.elapsed() >= patience {
            return Err(Error::Prepared {
                address: connection.address().clone(),
                count: prepared,
                patience,
            });
        }
        if round.is_multiple_of(PREPARED_TOLD_EVERY) {
            tracing::warn!(
                prepared,
                "a new log begins when no XA transaction is prepared on the source; waiting for their XA COMMIT or XA ROLLBACK"
            );
        }
        tokio::time::sleep(PREPARED_POLL).await;
    }
    Err(Error::NoStart)
}

/// What was found at one moment.
struct Look {
    position: SourcePosition,
    /// XA transactions that were prepared just before it or just after; `None`: the account may not see them.
    prepared: Option<usize>,
    /// None was prepared or ended meanwhile.
    still: bool,
}

/// Looks at what is prepared before and behind the place. One that is prepared at it is seen by either look, or was ended in between, which is
/// counted.
async fn look(connection: &mut Connection, info: &SourceInfo) -> Result<Look, Error> {
    const DOING: &str = "asking for prepared XA transactions";
    const COUNTS: &str =
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_xa_prepare', 'Com_xa_commit', 'Com_xa_rollback')";
    const RECOVER: &str = "XA RECOVER";
    // The file before the set: what commits in between is then captured by either.
    let place = [
        status_statement(connection.version()),
        "SELECT @@global.gtid_executed",
    ];
    let statements = [COUNTS, RECOVER, place[0], place[1], RECOVER, COUNTS];
    let mut answers = connection.queries(&statements, DOING).await?.into_iter();
    let mut next = || answers.next().unwrap_or(Ok(Vec::new()));
    let (counts, before, status, gtids, behind, counts_behind) =
        (next()?, next(), next()?, next(), next(), next()?);
    let Some(status) = status.first() else {
        return Err(Error::BinlogOff {
            address: connection.address().clone(),
        });
    };
    let gtids = match info.gtids {
        true => Some(parse_gtids(
            connection,
            &gtids?.first().map_or_else(String::new, |row| row.text(0)),
        )?),
        false => None,
    };
    let seen = |rows: Result<Vec<Row>, Error>| match rows {
        Ok(rows) => Ok(Some(rows.len())),
        // ER_XAER_RMERR is what an account without the privilege gets.
        Err(Error::Server {
            code: 1401 | 1227, ..
        }) => Ok(None),
        Err(error) => Err(error),
    };
    let (before, behind) = (seen(before)?, seen(behind)?);
    let texts = |rows: &[Row]| -> Vec<_> { rows.iter().map(Row::texts).collect() };
    Ok(Look {
        position: SourcePosition {
            gtids,
            file: FilePosition::new(status.text(0), 4),
        },
        prepared: before.zip(behind).map(|(before, behind)| before.max(behind)),
        still: texts(&counts) == texts(&counts_behind),
    })
}
