//! Runs a workload's writers against a server that may go away at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::{Step, Work, Workload, Writer};

/// How long a writer waits for a server that is away.
const AWAY: Duration = Duration::from_secs(120);

/// What a server may answer to statements of writers who know nothing of each other, or while it stops. Anything else is a
/// mistake in the workload.
const EXPECTED: [u16; 38] = [
    1007, // database exists
    1008, // no such database to drop
    1049, // unknown database
    1050, // table exists
    1051, // unknown table
    1053, // server shutdown in progress
    1054, // unknown column
    1060, // duplicate column
    1061, // duplicate key name
    1062, // duplicate entry
    1091, // can't drop
    1105, // an update of several tables while the server stops
    1136, // column count: the table has another shape now
    1146, // no such table
    1180, // error during commit
    1205, // lock wait timeout
    1213, // deadlock
    1264, // out of range for a changed column
    1290, // read-only while it stops
    1317, // interrupted
    1364, // no default value
    1397, // XA: unknown xid
    1399, // XA: not in this state
    1402, // XA: rolled back
    1412, // table definition has changed
    1440, // XA: duplicate xid
    1451, // foreign key, parent
    1452, // foreign key, child
    1478, // partitioning, twice
    1493, // partition bounds, twice
    1507, // no such partition
    1517, // duplicate partition name
    1520, // partitions to reorganize don't follow each other
    1613, // XA: rolled back, timeout
    1614, // XA: rolled back, deadlock
    3008, // too many nested cascades
    3572, // lock not available
    6575, // a cascade through too many tables
];

/// Writers at work.
pub(crate) struct Driven {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

struct Shared {
    socket: PathBuf,
    stop: AtomicBool,
    done: AtomicU64,
    /// How often each error was answered.
    refused: Mutex<BTreeMap<u16, u64>>,
}

/// What the writers got done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Works without any error.
    pub(crate) done: u64,
    /// How often each error was answered.
    pub(crate) refused: BTreeMap<u16, u64>,
}

/// Starts every writer of the workload.
pub(crate) fn start(workload: &Workload, socket: &Path) -> Driven {
    let shared = Arc::new(Shared {
        socket: socket.to_owned(),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        refused: Mutex::default(),
    });
    let tasks = workload
        .writers()
        .into_iter()
        .map(|writer| tokio::spawn(write(writer, Arc::clone(&shared))));
    Driven {
        tasks: tasks.collect(),
        shared,
    }
}

impl Driven {
    /// Works done so far.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Lets every writer end its work, and ends what they left prepared.
    ///
    /// # Errors
    /// The first answer that no workload should get.
    pub(crate) async fn stop(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        end_prepared(&self.shared.socket).await?;
        let refused = self
            .shared
            .refused
            .lock()
            .map_or_else(|e| e.into_inner().clone(), |map| map.clone());
        Ok(Tally {
            done: self.shared.done.load(Ordering::Relaxed),
            refused,
        })
    }
}

/// Commits every XA transaction that waits for its end.
pub(crate) async fn end_prepared(socket: &Path) -> Result<()> {
    let mut conn = connect(socket).await?;
    let waiting: Vec<(i64, usize, usize, String)> = conn.query("XA RECOVER CONVERT XID").await?;
    for (format, gtrid, bqual, data) in waiting {
        let hex = data.trim_start_matches("0x");
        let (gtrid, rest) = hex.split_at(gtrid * 2);
        let bqual = &rest[..bqual * 2];
        conn.query_drop(format!("XA COMMIT X'{gtrid}', X'{bqual}', {format}"))
            .await
            .context("ending what was left prepared")?;
    }
    Ok(())
}

/// An administrator's connection.
pub(crate) async fn connect(socket: &Path) -> Result<Conn> {
    let opts: Opts = OptsBuilder::default()
        .socket(socket.to_str())
        .user(Some("root"))
        .into();
    Ok(Conn::new(opts).await?)
}

async fn write(writer: Writer, shared: Arc<Shared>) -> Result<()> {
    let mut session = writer.session.clone();
    session.push("SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2".to_owned());
    let mut conn = None;
    for work in writer {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        match run(&work, &mut conn, &session, &shared).await {
            Ok(()) => {
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            // Whatever was open is rolled back with the connection; what was prepared is ended at the end.
            Err(Refusal::Gone) => conn = None,
            Err(Refusal::Refused(code)) => {
                conn = None;
                if let Ok(mut refused) = shared.refused.lock() {
                    *refused.entry(code).or_default() += 1;
                }
            }
            Err(Refusal::Mistake(error)) => return Err(error),
        }
        tokio::time::sleep(work.pause).await;
    }
    Ok(())
}

enum Refusal {
    /// The connection broke.
    Gone,
    /// One of the expected answers.
    Refused(u16),
    /// Nothing that a workload should meet.
    Mistake(anyhow::Error),
}

async fn run(
    work: &Work,
    slot: &mut Option<Conn>,
    session: &[String],
    shared: &Shared,
) -> Result<(), Refusal> {
    for step in &work.steps {
        let Step::Sql(sql) = step else {
            *slot = None;
            continue;
        };
        let conn = match slot {
            Some(conn) => conn,
            None => slot.insert(enter(session, shared).await.map_err(Refusal::Mistake)?),
        };
        conn.query_drop(sql).await.map_err(|error| match error {
            mysql_async::Error::Server(error) if EXPECTED.contains(&error.code) => {
                Refusal::Refused(error.code)
            }
            mysql_async::Error::Server(error) => {
                Refusal::Mistake(anyhow::Error::new(error).context(format!("the workload's {sql:.300}")))
            }
            _ => Refusal::Gone,
        })?;
    }
    Ok(())
}

/// A new session; waits for the server.
async fn enter(session: &[String], shared: &Shared) -> Result<Conn> {
    let until = Instant::now() + AWAY;
    loop {
        let entered = async {
            let mut conn = connect(&shared.socket).await?;
            for statement in session {
                conn.query_drop(statement).await?;
            }
            anyhow::Ok(conn)
        };
        match entered.await {
            Ok(conn) => return Ok(conn),
            Err(error) if Instant::now() > until => bail!("no way into the source: {error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
