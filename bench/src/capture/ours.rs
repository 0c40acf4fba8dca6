//! The sidecar's own capture and log, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outrigger::demo::server::Server;
use outrigger_capture::{Capturer, Status};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::Log;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lab::{self, Lab};
use crate::usage;

/// A capture into a new log.
pub(super) struct Ours {
    pub(super) log: Log,
    /// When it began, and what this process had used of the CPU by then.
    pub(super) began: (Instant, f64),
    folder: PathBuf,
    cancel: CancellationToken,
    running: JoinHandle<Result<(), outrigger_capture::Error>>,
}

impl Ours {
    /// Starts it, with the default configuration but for the given interval.
    pub(super) fn start(
        lab: &Lab,
        source: &Server,
        start: &SourcePosition,
        sync_interval: Option<Duration>,
    ) -> Result<Self> {
        let folder = lab.path("log");
        lab::remove(&folder)?;
        let mut config = outrigger_storage::Config::new(&folder);
        config.sync_interval = sync_interval.unwrap_or(config.sync_interval);
        let log = Log::open(config)?;
        log.set_start(start)?;
        let cancel = CancellationToken::new();
        let config = capture(source);
        let capturer = Capturer::new(config, log.clone(), Arc::new(Status::new()));
        let began = (Instant::now(), usage::of_this()?);
        let running = tokio::spawn(capturer.run(cancel.clone()));
        Ok(Self {
            log,
            began,
            folder,
            cancel,
            running,
        })
    }

    /// Waits until everything up to `end` is durable.
    pub(super) async fn reach(&mut self, end: &FilePosition) -> Result<()> {
        let mut reached = self.log.reached();
        tokio::select! {
            outcome = tokio::time::timeout(
                lab::PATIENCE,
                reached.wait_for(|at| at.as_ref().is_some_and(|at| at >= end)),
            ) => drop(outcome.context("the capture does not reach the binlog's end")??),
            outcome = &mut self.running => {
                outcome??;
                bail!("the capture ended by itself");
            }
        }
        Ok(())
    }

    /// Ends the capture; the log stays open.
    pub(super) async fn end(&mut self) -> Result<()> {
        self.cancel.cancel();
        Ok((&mut self.running).await??)
    }

    /// Bytes of the log's files.
    pub(super) fn on_disk(&self) -> Result<u64> {
        on_disk(&self.folder)
    }

    /// Closes the log and removes it.
    pub(super) fn remove(self) -> Result<()> {
        self.log.close()?;
        lab::remove(&self.folder)
    }
}

fn on_disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        // RocksDB deletes files at any time.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes)
}

/// The default configuration, but that nobody waits for prepared transactions.
pub(super) fn capture(source: &Server) -> outrigger_capture::Config {
    outrigger_capture::Config {
        prepared_wait: Duration::ZERO,
        ..outrigger_capture::Config::new(endpoint(source))
    }
}

/// How everybody reaches a server.
fn endpoint(server: &Server) -> Endpoint {
    Endpoint {
        address: Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        },
        user: lab::ACCOUNT.to_owned(),
        password: Secret::default(),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_identity: None,
    }
}
