//! Runs one definition statement on the target, in a session of its own, once.

use std::time::{Duration, Instant};

use outrigger_protocol::endpoint::Endpoint;
use outrigger_storage::Offset;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Place, Side};
use crate::link::{self, Link};
use crate::literal::{quote_name, quote_text};
use crate::target::{self, Sessions};

use super::doubt::{Doubt, doubt};
use super::fingerprint::fingerprint;
use super::read::Change;
use super::settings;
use super::zone::{self, Clock};

/// Seconds that one wait for an earlier session of ours takes; then the log says what is waited for.
const WAIT: u64 = 10;

/// What fingerprints are taken under.
const SETUP: &str = "SET NAMES utf8mb4, sql_mode = '', sql_quote_show_create = 1";

/// Seconds that a statement waits for others' use of its tables to end; then it fails with an error that passes by itself.
const LOCK_WAIT: u64 = 60;

/// "Access denied; you need the … privilege".
const MISSING_PRIVILEGE: u16 = 1227;
/// "Unknown or incorrect time zone".
const UNKNOWN_TIME_ZONE: u16 = 1298;
/// "Unknown database", "access denied to database".
const NO_DEFAULT_DATABASE: [u16; 2] = [1049, 1044];

/// "Cannot add or update a child row", "failed to open the referenced table": the source has checked both, and what is referred to need not
/// be selected.
const UNRELATED: [u16; 2] = [1452, 1824];

/// What stands in the checkpoint while a statement runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// The statement's transaction.
    offset: Offset,
    /// Its objects as they were before it.
    fingerprint: String,
}

/// What is left to do with a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// A crash came between it and its checkpoint: it stands applied, nothing is to be run.
    AlreadyApplied,
    /// Store this text as the checkpoint's `ddl_pending`, then [`Session::run`].
    Run(String),
}

/// Why a statement was not run, or perhaps not.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// True when the server answered: it left nothing of the statement behind.
    pub(crate) answered: bool,
}

/// A session on the target for one statement. Its settings are the statement's, so it is never used for anything else.
#[derive(Debug)]
pub(crate) struct Session {
    conn: Link,
}

impl Session {
    /// Connects, and waits until no earlier session of this task runs a statement any more (a server goes on with a
    /// statement whose client is gone), at most `wait`.
    pub(crate) async fn open(
        target: &Endpoint,
        sessions: &Sessions,
        connect_timeout: Duration,
        wait: Duration,
        metadata_database: &str,
        task: &str,
    ) -> Result<Self, Error> {
        let mut conn = link::connect(target, Side::Target, connect_timeout).await?;
        sessions.prove(target, &conn)?;
        let fail = |cause| {
            Error::server(
                Side::Target,
                "preparing a session for a definition statement",
                cause,
            )
        };
        conn.query_drop(format!("{SETUP}, lock_wait_timeout = {LOCK_WAIT}"))
            .await
            .map_err(fail)?;
        let lock = quote_text(&lock_name(metadata_database, task));
        let begun = Instant::now();
        loop {
            let got: Option<Option<u8>> = conn
                .query_first(format!("SELECT GET_LOCK({lock}, {WAIT})"))
                .await
                .map_err(fail)?;
            if got.flatten() == Some(1) {
                return Ok(Self { conn });
            }
            // Whoever has it and does nothing is gone: its statement has ended, or was never sent.
            let idle: Vec<u64> = conn
                .query(format!(
                    "SELECT id FROM information_schema.processlist WHERE id = IS_USED_LOCK({lock}) AND command = 'Sleep'"
                ))
                .await
                .map_err(fail)?;
            for session in idle {
                // It may have ended by itself.
                conn.query_drop(format!("KILL {session}")).await.ok();
            }
            if begun.elapsed() >= wait {
                return Err(Error::Unsuitable {
                    side: Side::Target,
                    what: format!(
                        "an earlier definition statement of task {task} has not ended (its session holds the lock {lock}): wait for \
                         it or kill it, then start the task again"
                    ),
                });
            }
            tracing::info!(
                task,
                "waiting for a definition statement that still runs on the target"
            );
        }
    }

    /// Decides whether the statement of the transaction at `offset` is still to be run; `stored` is the checkpoint's
    /// `ddl_pending`.
    pub(crate) async fn prepare(
        &mut self,
        change: &Change,
        offset: Offset,
        stored: Option<&str>,
    ) -> Result<Prepared, Error> {
        let now = fingerprint(&mut self.conn, change).await.map_err(|cause| {
            Error::server(
                Side::Target,
                format!("looking at what `{}` changes", change.head()),
                cause,
            )
        })?;
        decide(offset, now, stored)
    }

    /// How the target is told the zone of the source's machine, for this statement; `source`: that machine's clock, where it can be asked.
    pub(crate) async fn system_zone(
        &mut self,
        change: &Change,
        source: Option<Clock>,
        named: Option<&str>,
    ) -> Result<String, Error> {
        zone::resolve(&mut self.conn, source, named, &format!("`{}`", change.head())).await
    }

    /// Runs the statement under its event's settings. The session ends with it.
    pub(crate) async fn run(mut self, change: &Change, place: &Place) -> Result<(), Refused> {
        let doubt = self.doubt(change, place).await.map_err(|error| Refused {
            error,
            answered: true,
        })?;
        if matches!(doubt, Doubt::Done) {
            tracing::info!(%place, statement = change.head(), "what a definition statement makes is there already");
            return Ok(());
        }
        self.settle(change).await.map_err(|error| Refused {
            error,
            answered: false,
        })?;
        fail::fail_point!("ddl-before", |_| outrigger_storage::failpoint::kill());
        let mut outcome = self.conn.query_drop(text(change, false)).await;
        // The account may not set this definer: then it is the definer itself.
        if code(&outcome) == Some(MISSING_PRIVILEGE) && change.statement.definer.is_some() {
            outcome = self.conn.query_drop(text(change, true)).await;
        }
        if code(&outcome).is_some_and(|code| UNRELATED.contains(&code)) {
            tracing::warn!(
                %place,
                statement = change.head(),
                "a definition statement refers to tables or rows that are not on the target: it is run without foreign_key_checks"
            );
            outcome = self.conn.query_drop("SET foreign_key_checks = 0").await;
            if outcome.is_ok() {
                outcome = self.conn.query_drop(text(change, false)).await;
            }
        }
        fail::fail_point!("ddl-after", |_| outrigger_storage::failpoint::kill());
        let code = code(&outcome);
        match outcome {
            Ok(()) => {}
            Err(_) if code.is_some_and(|code| change.tolerated.contains(&code)) => {
                tracing::debug!(
                    statement = change.head(),
                    code,
                    "a definition statement ended as on the source"
                );
            }
            Err(cause) => {
                return Err(Refused {
                    answered: matches!(cause, mysql_async::Error::Server(_)),
                    error: refused(change, place, cause),
                });
            }
        }
        // It is done, and how the session ends does not matter.
        self.conn.disconnect().await.ok();
        Ok(())
    }

    /// What stands against the statement here; a refusal is an error.
    async fn doubt(&mut self, change: &Change, place: &Place) -> Result<Doubt, Error> {
        let doing = || format!("looking at what `{}` changes", change.head());
        let doubt = doubt(&mut self.conn, change)
            .await
            .map_err(|cause| Error::server(Side::Target, doing(), cause))?;
        match doubt {
            Doubt::Refused(what) => Err(Error::Transaction {
                place: place.clone(),
                what,
            }),
            other => Ok(other),
        }
    }

    /// Default database and settings of the event (A5).
    async fn settle(&mut self, change: &Change) -> Result<(), Error> {
        let doing = || format!("setting a session up as the one of `{}`", change.head());
        if !change.database.is_empty() {
            // A default database that isn't here is not needed, or the statement will say what it misses.
            let used = self
                .conn
                .query_drop(format!("USE {}", quote_name(&change.database)))
                .await;
            if !code(&used).is_some_and(|code| NO_DEFAULT_DATABASE.contains(&code)) {
                used.map_err(|cause| Error::server(Side::Target, doing(), cause))?;
            }
        }
        target::lift(&mut self.conn)
            .await
            .map_err(|cause| Error::server(Side::Target, doing(), cause))?;
        let settings = settings::set_statement(&change.settings, change.timestamp);
        let set = self.conn.query_drop(settings).await;
        if code(&set) == Some(UNKNOWN_TIME_ZONE) {
            let zone = change.settings.time_zone.as_deref().unwrap_or_default();
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: zone::unknown(zone, &format!("`{}`", change.head())),
            });
        }
        set.map_err(|cause| Error::server(Side::Target, doing(), cause))
    }
}

/// Names of user locks have 64 characters at most.
fn lock_name(metadata_database: &str, task: &str) -> String {
    let digest = Sha256::digest(format!("{metadata_database}\0{task}"));
    let hexadecimal: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("outrigger-ddl-{hexadecimal}")
}

fn decide(offset: Offset, fingerprint: String, stored: Option<&str>) -> Result<Prepared, Error> {
    let unreadable = |what: String| Error::Unsuitable {
        side: Side::Target,
        what: format!(
            "the checkpoint's ddl_pending {what}: it was not written by this version; copy the task anew"
        ),
    };
    if let Some(stored) = stored {
        let pending: Pending =
            serde_json::from_str(stored).map_err(|error| unreadable(format!("can't be read ({error})")))?;
        if pending.offset > offset {
            return Err(unreadable(format!(
                "belongs to offset {}, which comes after {offset}",
                pending.offset
            )));
        }
        if pending.offset == offset && pending.fingerprint != fingerprint {
            return Ok(Prepared::AlreadyApplied);
        }
    }
    let pending = Pending { offset, fingerprint };
    serde_json::to_string(&pending)
        .map(Prepared::Run)
        .map_err(|error| unreadable(format!("can't be written ({error})")))
}

/// The statement as it is sent: its own text, without `START TRANSACTION` behind a table's columns, and, if asked, with
/// the current account as definer.
fn text(change: &Change, own_definer: bool) -> Vec<u8> {
    let statement = &change.statement;
    let definer = statement.definer.clone().filter(|_| own_definer);
    let mut cuts = [
        (definer, &b"DEFINER = CURRENT_USER"[..]),
        (statement.start_transaction.clone(), &b""[..]),
    ];
    cuts.sort_by_key(|(span, _)| span.as_ref().map_or(0, |span| span.start));
    let mut out = Vec::with_capacity(change.text.len() + 8);
    let mut from = 0;
    for (span, replacement) in cuts {
        let Some(span) = span else { continue };
        out.extend_from_slice(change.text.get(from..span.start).unwrap_or_default());
        out.extend_from_slice(replacement);
        from = span.end;
    }
    out.extend_from_slice(change.text.get(from..).unwrap_or_default());
    out
}

fn code(outcome: &Result<(), mysql_async::Error>) -> Option<u16> {
    match outcome {
        Err(mysql_async::Error::Server(error)) => Some(error.code),
        _ => None,
    }
}

/// A refusal that will not pass by itself stops the task with what to do; the others are for the caller to try again.
fn refused(change: &Change, place: &Place, cause: mysql_async::Error) -> Error {
    let error = Error::server(Side::Target, format!("applying `{}`", change.head()), cause);
    if error.is_retryable() {
        return error;
    }
    Error::Transaction {
        place: place.clone(),
        what: format!(
            "{error}: remove what stands in the statement's way on the target, then start the task again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::event;
    use super::*;

    fn sent(sql: &str, own_definer: bool) -> String {
        let change = Change::read(&event("s", sql.as_bytes()), 0, false);
        String::from_utf8(text(&change, own_definer)).unwrap()
    }

    #[test]
    fn the_text_is_sent_as_it_is() {
        let sql = "ALTER /* x */ TABLE `a`\tADD b INT /*!80023 INVISIBLE */ -- y";
        assert_eq!(sent(sql, true), sql);
        let view = "CREATE ALGORITHM=MERGE DEFINER=`u`@`%` SQL SECURITY DEFINER VIEW `v` AS select 1";
        assert_eq!(sent(view, false), view);
        assert_eq!(
            sent(view, true),
            "CREATE ALGORITHM=MERGE DEFINER = CURRENT_USER SQL SECURITY DEFINER VIEW `v` AS select 1"
        );
        assert_eq!(
            sent(
                "CREATE TABLE `b` (\n `id` int\n) START TRANSACTION ENGINE=InnoDB",
                false
            ),
            "CREATE TABLE `b` (\n `id` int\n) ENGINE=InnoDB"
        );
    }

    #[test]
    fn a_changed_fingerprint_means_applied() {
        let Prepared::Run(stored) = decide(Offset(7), "a".into(), None).unwrap() else {
            panic!()
        };
        assert_eq!(
            decide(Offset(7), "a".into(), Some(&stored)).unwrap(),
            Prepared::Run(stored.clone())
        );
        assert_eq!(
            decide(Offset(7), "b".into(), Some(&stored)).unwrap(),
            Prepared::AlreadyApplied
        );
        assert!(matches!(
            decide(Offset(8), "b".into(), Some(&stored)).unwrap(),
            Prepared::Run(_)
        ));
        assert!(decide(Offset(6), "b".into(), Some(&stored)).is_err());
        assert!(decide(Offset(6), "b".into(), Some("nonsense")).is_err());
    }

    #[test]
    fn lock_names_fit() {
        assert!(lock_name("outrigger", &"t".repeat(64)).len() <= 64);
        assert_ne!(lock_name("a", "b"), lock_name("ab", ""));
    }
}
