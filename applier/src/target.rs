//! A connection to the target as the task writes through it: session settings, what the server can do, statements sent
//! many at a time with each one's affected rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger_protocol::endpoint::Endpoint;

use crate::error::{Error, Side};
use crate::link::{self, Link};
use crate::literal::quote_text;

/// The session under which rows are written, whoever writes them (A5): UTC, no conversions, no checks that the source
/// has done already, nothing refused that the source could store, errors instead of silent changes.
pub(crate) const SESSION: &str = "SET NAMES utf8mb4, time_zone = '+00:00', \
     sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
     foreign_key_checks = 0, unique_checks = 1, autocommit = 1, transaction_isolation = 'READ-COMMITTED', \
     wait_timeout = 2147483, net_write_timeout = 3600, net_read_timeout = 3600, group_concat_max_len = 4294967295";

/// Settings that an account may lack the privilege for. They only lift demands on definitions that the source did not make.
const LIFTED: [&str; 4] = [
    "SET sql_require_primary_key = 0",
    "SET sql_generate_invisible_primary_key = 0",
    "SET innodb_strict_mode = 0",
    "SET restrict_fk_on_non_standard_key = 0",
];

/// Readies a session for definitions that the source has already taken.
pub(crate) async fn lift(conn: &mut Link) -> Result<(), mysql_async::Error> {
    for lifted in LIFTED {
        match conn.query_drop(lifted).await {
            // Not allowed, or unknown to this version: then what the server demands holds.
            Ok(()) | Err(mysql_async::Error::Server(_)) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// What the target is and allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// As it names itself.
    pub(crate) version: String,
    /// The largest statement it takes, in bytes.
    pub(crate) max_allowed_packet: usize,
    /// True when the account may create objects with another account's definer.
    pub(crate) set_any_definer: bool,
}

/// So many sessions of a task can be told from others.
const MARKS: usize = 256;

/// How long sessions that were ended may take to undo what they did.
const UNDOING: Duration = Duration::from_secs(10);
/// How often they are looked for.
const POLL: Duration = Duration::from_millis(50);

/// The sessions that a task opens on the target. Each holds a user lock by whose name it is known, so that the next attempt can end
/// it, also one of another process: a session whose connection broke, or whose machine is gone, holds its locks until its server
/// notices, which can take hours.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Begins the locks' names.
    prefix: String,
    next: AtomicUsize,
    /// Where the first connection of the present attempt led to.
    server: Mutex<Option<String>>,
}

impl Sessions {
    /// Of the task of that name.
    pub(crate) fn new(metadata_database: &str, task: &str) -> Self {
        let name = quote_text(&format!("{metadata_database}.{task}"));
        Self {
            prefix: format!("CONCAT('outrigger.', LEFT(SHA2({name}, 256), 40), '.', "),
            next: AtomicUsize::new(0),
            server: Mutex::new(None),
        }
    }

    /// The first connection of an attempt: wherever it leads, the others have to.
    pub(crate) async fn begin(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Target, Error> {
        *self.lock() = None;
        self.connect(endpoint, timeout).await
    }

    /// Refuses a connection to another server than the ones before. An address may lead to a replica while the server that it led to is
    /// still there, at a failover say: what is committed here and there by turns would be on neither.
    pub(crate) fn prove(&self, endpoint: &Endpoint, link: &Link) -> Result<(), Error> {
        let Some(now) = link.server() else {
            return Ok(());
        };
        let mut server = self.lock();
        let before = server.get_or_insert_with(|| now.to_owned());
        if before == now {
            return Ok(());
        }
        Err(Error::Elsewhere {
            address: endpoint.address.to_string(),
            before: before.clone(),
            now: now.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, and marks the session.
    pub(crate) async fn connect(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Target, Error> {
        let mut target = Target::connect(endpoint, timeout).await?;
        self.prove(endpoint, &target.conn)?;
        for _ in 0..MARKS {
            let mark = self.next.fetch_add(1, Ordering::Relaxed) % MARKS;
            let question = format!("SELECT GET_LOCK({}{mark}), 0)", self.prefix);
            match target.conn.query_first::<Option<u8>>(question).await {
                // Another one has it.
                Ok(Some(Some(0))) => {}
                Ok(_) => return Ok(target),
                Err(cause @ mysql_async::Error::Server(_)) => {
                    tracing::debug!(%cause, "the session can't be marked");
                    return Ok(target);
                }
                Err(cause) => return Err(Error::server(Side::Target, "setting the session up", cause)),
            }
        }
        Ok(target)
    }

    /// Ends all but `target`: nobody is to use them any more.
    pub(crate) async fn end_others(&self, target: &mut Target) -> Result<(), Error> {
        let question = format!(
            "WITH RECURSIVE marks (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM marks WHERE n + 1 < {MARKS}), \
             sessions (id) AS (SELECT IS_USED_LOCK({}n)) FROM marks) \
             SELECT id FROM sessions WHERE id IS NOT NULL AND id <> CONNECTION_ID()",
            self.prefix
        );
        let until = Instant::now() + UNDOING;
        loop {
            // One that ends meanwhile may show up without its number.
            let found: Vec<Option<u64>> = match target.conn.query(question.as_str()).await {
                Ok(found) => found,
                Err(cause @ mysql_async::Error::Server(_)) => {
                    tracing::warn!(%cause, "what a lost connection left open on the target can't be found, and is not ended");
                    return Ok(());
                }
                Err(cause) => {
                    return Err(Error::server(
                        Side::Target,
                        "looking for sessions of former connections",
                        cause,
                    ));
                }
            };
            let sessions: Vec<u64> = found.into_iter().flatten().collect();
            if sessions.is_empty() || Instant::now() > until {
                return Ok(());
            }
            for session in sessions {
                match target.conn.query_drop(format!("KILL {session}")).await {
                    // It may have ended by itself, or belong to another account.
                    Ok(()) | Err(mysql_async::Error::Server(_)) => {}
                    Err(cause) => {
                        return Err(Error::server(
                            Side::Target,
                            "ending sessions of former connections",
                            cause,
                        ));
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// One session on the target.
pub(crate) struct Target {
    conn: Link,
    capabilities: Capabilities,
    round_trip: Duration,
}

impl Target {
    /// Connects, sets the session up and asks what the server can do.
    pub(crate) async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, Error> {
        let mut conn = link::connect(endpoint, Side::Target, timeout).await?;
        let fail = |cause| Error::server(Side::Target, "setting the session up", cause);
        conn.query_drop(SESSION).await.map_err(fail)?;
        let asked = Instant::now();
        let (version, packet): (String, u64) = conn
            .query_first("SELECT VERSION(), @@max_allowed_packet")
            .await
            .map_err(fail)?
            .unwrap_or_default();
        let round_trip = asked.elapsed();
        let grants: Vec<String> = conn.query("SHOW GRANTS").await.map_err(fail)?;
        let set_any_definer = grants.iter().any(|g| {
            g.contains("SET_ANY_DEFINER")
                || g.contains("SET_USER_ID")
                || g.contains("SUPER") && g.contains(" ON *.* ")
                || g.starts_with("GRANT ALL PRIVILEGES ON *.*")
        });
        let max_allowed_packet = usize::try_from(packet).unwrap_or(usize::MAX).max(1024);
        Ok(Self {
            conn,
            capabilities: Capabilities {
                version,
                max_allowed_packet,
                set_any_definer,
            },
            round_trip,
        })
    }

    /// What the server is and allows.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How long the server took to answer a trivial question when the session began.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// The connection itself, for queries with results.
    pub(crate) fn conn(&mut self) -> &mut Link {
        &mut self.conn
    }

    /// Sends the statements (separated by `;`) in one round trip and returns the affected rows of each that ran, and how
    /// it ended. The first error ends the batch: the statements after it did not run. An open transaction stays open.
    pub(crate) async fn run(&mut self, statements: &[u8]) -> (Vec<u64>, Result<(), mysql_async::Error>) {
        self.run_telling(statements, usize::MAX, || {}).await
    }

    /// The same; `tell` is called as soon as so many have run.
    pub(crate) async fn run_telling(
        &mut self,
        statements: &[u8],
        after: usize,
        tell: impl FnOnce(),
    ) -> (Vec<u64>, Result<(), mysql_async::Error>) {
        let mut answers = Answers {
            affected: Vec::new(),
            after,
            tell: Some(tell),
        };
        let (conn, watch) = self.conn.bare();
        let ended = watch.over(run(conn, statements, &mut answers)).await;
        (answers.affected, ended)
    }

    /// One statement without a result; `doing` names it in the error.
    pub(crate) async fn execute(&mut self, statement: impl AsRef<[u8]>, doing: &str) -> Result<u64, Error> {
        let fail = |cause| Error::server(Side::Target, doing, cause);
        self.conn.query_drop(statement.as_ref()).await.map_err(fail)?;
        Ok(self.conn.affected_rows())
    }
}

/// The affected rows of the statements that ran, and whom to tell after so many.
struct Answers<T> {
    affected: Vec<u64>,
    after: usize,
    tell: Option<T>,
}

impl<T: FnOnce()> Answers<T> {
    fn push(&mut self, rows: u64) {
        self.affected.push(rows);
        if self.affected.len() == self.after
            && let Some(tell) = self.tell.take()
        {
            tell();
        }
    }
}

async fn run(
    conn: &mut Conn,
    statements: &[u8],
    answers: &mut Answers<impl FnOnce()>,
) -> Result<(), mysql_async::Error> {
    let mut result = conn.query_iter(statements).await?;
    loop {
        answers.push(result.affected_rows());
        if result.is_empty() {
            return Ok(());
        }
        while result.next().await?.is_some() {}
        // An error after the first statement is kept by the driver until somebody reads on; till then it looks like the
        // end, with no rows affected.
        if result.columns().is_none() {
            result.next().await?;
            return Ok(());
        }
    }
}
