//! Keeps a log growing: connects, streams, reconnects, until it is cancelled or can't go on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Appender, Log};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::check::{self, SourceInfo};
use crate::connection::{Connection, Replica};
use crate::filter::Filter;
use crate::intake::{Batch, Intake};
use crate::metrics::Metrics;
use crate::reconnect::{Outages, Verdict};
use crate::schema::{Looker, Names, Recorder};
use crate::semi_sync::Acknowledger;
use crate::status::Progress;
use crate::transaction::Assembler;
use crate::{Config, Error, State, Status};

/// Captures one source into one log.
pub struct Capturer {
    config: Config,
    log: Log,
    status: Arc<Status>,
    metrics: Metrics,
    outages: Outages,
    /// Reads table definitions.
    looker: Looker,
}

impl Capturer {
    /// A capture of `config.source` into `log`, which must have a start position ([`crate::start_position`]). Nothing
    /// happens before [`Capturer::run`].
    pub fn new(config: Config, log: Log, status: Arc<Status>) -> Self {
        let outages = Outages::new(config.retry_window);
        status.set(State::Connecting);
        let looker = Looker::new(
            config.source.clone(),
            config.connect_timeout,
            config.selection.clone(),
        );
        Self {
            config,
            log,
            status,
            metrics: Metrics::new(),
            outages,
            looker,
        }
    }

    /// Captures until `cancel` is cancelled (then everything appended is synced and the result is `Ok`) or until
    /// something that trying again can't heal.
    ///
    /// # Errors
    /// Whatever [`Error::is_transient`] says no to, and [`Error::GaveUp`] when the source stayed out of reach for the
    /// whole retry window.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), Error> {
        let outcome = self.keep_capturing(&cancel).await;
        self.metrics.streaming.set(0.0);
        let why = outcome.as_ref().err().map(ToString::to_string);
        self.status.set(State::Stopped { why });
        outcome
    }

    async fn keep_capturing(&mut self, cancel: &CancellationToken) -> Result<(), Error> {
        loop {
            let mut appender = self.log.appender()?;
            let outcome = tokio::select! {
                // Dropping the stream in mid-read or mid-append is safe: what is not a whole transaction in the log by then
                // is discarded with the appender and captured anew.
                () = cancel.cancelled() => None,
                outcome = self.attempt(&mut appender) => Some(outcome),
            };
            self.metrics.streaming.set(0.0);
            // The next attempt starts at the log's durable position: it must cover everything appended.
            appender.sync().await?;
            drop(appender);
            let error = match outcome {
                None => return Ok(()),
                Some(Ok(never)) => match never {},
                Some(Err(error)) => error,
            };
            let wait = match self
                .outages
                .failed(error, Instant::now(), SystemTime::now(), rand::random())
            {
                Verdict::Stop(error) => return Err(error),
                Verdict::Retry {
                    wait,
                    since,
                    until,
                    why,
                    log,
                } => {
                    let what = if log {
                        "the log can't be read"
                    } else {
                        "the source is out of reach"
                    };
                    warn!(%why, ?wait, "{what}, trying again");
                    self.status.set(State::Retrying {
                        since,
                        why,
                        next: SystemTime::now() + wait,
                        until,
                        log,
                    });
                    wait
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Connects and streams until something breaks.
    async fn attempt(&mut self, appender: &mut Appender) -> Result<Infallible, Error> {
        let position = self.log.position().ok_or(Error::NoStart)?;
        let mut connection = Connection::open(&self.config.source, self.config.connect_timeout).await?;
        let info = check::inspect(&mut connection, &self.config).await?;
        self.recognize(&connection, &info, &position)?;
        let before = self.log.server()?;
        let same = before.as_ref().is_some_and(|before| *before == info.server_uuid);
        let followed = check::prove_continuity(&mut connection, &info, &position, same).await?;
        let replica = Replica {
            server_id: self.server_id(info.server_id),
            uuid: self.log.id().to_string(),
            host: host_name(),
            heartbeat: self.config.heartbeat,
        };
        let case = connection
            .scalar("SELECT @@lower_case_table_names", "reading its variables")
            .await?;
        let names = Names {
            server: info.server_uuid.clone(),
            folded: case != "0",
        };
        let awaited = self.config.semi_sync && connection.announce_acknowledgements().await?;
        let schema = Recorder::open(&mut self.looker, &self.log, appender, &position, names, awaited).await?;
        let gtids = position.gtids.as_ref().filter(|_| info.gtids);
        let checksum = connection.dump(&replica, gtids, &position.file).await?;
        info!(source = %self.config.source.address, version = info.version, %position, "streaming the source's binlog");
        // Without GTIDs it is the one of which the log's start is.
        let arrives = !same && gtids.is_some();
        if !arrives {
            self.log.set_server(&info.server_uuid)?;
        }
        self.metrics.connects.increment(1);
        self.metrics.streaming.set(1.0);
        let acknowledger = connection.acknowledger();
        self.status.connected(position.clone(), acknowledger.is_some());
        let filter = self.config.selection.clone().map(Filter::new);
        let mut assembler = Assembler::new(position.clone(), info.gtids, checksum).filtered(filter);
        if gtids.is_none() {
            assembler = assembler.passing_until(position.file);
        }
        let mut intake = Intake {
            assembler,
            connection,
            appender,
            schema,
            log: &self.log,
            status: &self.status,
            metrics: &self.metrics,
            outages: &mut self.outages,
            // A heartbeat may be late by a slow disk or a busy network, but not three.
            patience: self.config.heartbeat * 3 + self.config.connect_timeout,
            progress: Progress::default(),
            events: 0,
            passed: None,
            batch: Batch::default(),
            awaited,
            followed,
            arriving: arrives.then(|| info.server_uuid.clone()),
        };
        tokio::select! {
            // Whichever ends first ended by an error, and the connection is given up: nothing is lost by dropping the other.
            outcome = intake.run() => outcome,
            outcome = acknowledge(acknowledger, self.log.reached()) => outcome,
        }
    }

    /// Without GTIDs nothing in the binlog tells servers apart: at least the one read before must still be the one.
    fn recognize(
        &self,
        connection: &Connection,
        info: &SourceInfo,
        position: &SourcePosition,
    ) -> Result<(), Error> {
        match self.log.server()? {
            Some(before) if before != info.server_uuid && (position.gtids.is_none() || !info.gtids) => {
                let extra = format!(
                    "{position} of server {before}, this is server {}",
                    info.server_uuid
                );
                Err(Error::History {
                    address: connection.address().clone(),
                    extra,
                })
            }
            _ => Ok(()),
        }
    }

    /// The configured number, or one from host name and log: stable, and hardly anyone else's.
    fn server_id(&self, sources: u32) -> u32 {
        let derived = || {
            let hash = fnv(format!("{} {}", host_name(), self.log.id()).as_bytes());
            // Above what people give by hand.
            let id = 1_000_000_000 + hash % 3_000_000_000;
            if id == sources { id + 1 } else { id }
        };
        self.config.server_id.unwrap_or_else(derived)
    }
}

/// Acknowledges what is durable, where the source waits for that; else does nothing for ever.
async fn acknowledge(
    acknowledger: Option<Acknowledger>,
    durable: watch::Receiver<Option<FilePosition>>,
) -> Result<Infallible, Error> {
    match acknowledger {
        Some(acknowledger) => acknowledger.run(durable).await,
        None => std::future::pending().await,
    }
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// What `SHOW REPLICAS` shows.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "outrigger".to_owned(),
        name => name.to_owned(),
    }
}
