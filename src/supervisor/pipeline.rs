//! Everything that needs the log: capture, tasks, trimming. They begin once it is open. When it fails (a full disk, a read-only
//! file system, an I/O error) they end together, and begin again when it can be opened, from what was durable: nothing is lost,
//! and proxy and HTTP go on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use outrigger_applier::{Task, TaskStatus};
use outrigger_capture::{Capturer, SourceInfo};
use outrigger_storage::{Log, LogId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::parts::{Part, Parts};
use super::retention::Policy;
use super::selection::Wanted;
use super::{Error, STOPPING, blocking, start, trim};
use crate::status::{Ending, Observer};

/// The pause before a log that can't be used is opened again; it doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// What the log's users are made from, each time anew.
pub(super) struct Pipeline {
    pub(super) log: outrigger_storage::Config,
    pub(super) capture: outrigger_capture::Config,
    /// What the log keeps; everything where this is absent.
    pub(super) wanted: Option<Arc<Wanted>>,
    pub(super) capture_status: Arc<outrigger_capture::Status>,
    pub(super) tasks: Vec<(outrigger_applier::Config, Arc<TaskStatus>)>,
    pub(super) observer: Arc<Observer>,
}

impl Pipeline {
    /// Runs until cancelled; `log` is the log, unless it could not be opened yet.
    pub(super) async fn run(self, log: Option<Log>, cancel: CancellationToken) -> Result<(), Error> {
        let mut known = None;
        let mut open = log;
        loop {
            let log = match open.take() {
                Some(log) => log,
                None => match self.open(known, &cancel).await {
                    Some(log) => log,
                    None => return Ok(()),
                },
            };
            known = Some(log.id());
            let failed = self.session(&log, &cancel).await?;
            let closing = blocking("closing the log", move || log.close()).await?;
            if !failed {
                return Ok(closing?);
            }
        }
    }

    /// Opens the log as soon as that works; `None` when cancelled.
    async fn open(&self, known: Option<LogId>, cancel: &CancellationToken) -> Option<Log> {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = cancel.cancelled() => return None,
            }
            let opened = match known {
                None => {
                    let begun = begin(&self.log, &self.capture, self.wanted.as_deref()).await;
                    begun.map(|(log, info)| {
                        info.into_iter().for_each(|info| self.observer.source_is(info));
                        log
                    })
                }
                Some(id) => {
                    let config = self.log.clone();
                    let opening = blocking("opening the log", move || Log::reopen(config, id)).await;
                    opening.and_then(|opened| Ok(opened?))
                }
            };
            match opened {
                Ok(log) => {
                    info!("the log can be used again");
                    return Some(log);
                }
                Err(error) => {
                    debug!(%error, "the log can't be opened yet");
                    self.observer.log().lost(error.to_string());
                }
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Runs everyone until cancelled (`false`) or until the log fails.
    async fn session(&self, log: &Log, cancel: &CancellationToken) -> Result<bool, Error> {
        let stop = cancel.child_token();
        let mut parts = self.start(log, &stop);
        self.observer.log().opened(log.clone());
        let failure = loop {
            tokio::select! {
                // All three only wait; nothing is lost when another is first.
                () = cancel.cancelled() => break None,
                error = log.failure() => break Some(error),
                () = parts.next() => {}
            }
        };
        if let Some(error) = &failure {
            self.observer.log().lost(error.to_string());
        }
        stop.cancel();
        if timeout(STOPPING, parts.all()).await.is_err() {
            let names = parts.names();
            parts.abort();
            if failure.is_none() {
                return Err(Error::Stuck {
                    deadline: STOPPING,
                    parts: names,
                });
            }
            warn!(parts = names, "stopped where they were, because the log failed");
            parts.all().await;
        }
        Ok(failure.is_some())
    }

    fn start(&self, log: &Log, stop: &CancellationToken) -> Parts {
        let mut parts = Parts::default();
        let ended = self.observer.capture_ended();
        ended.reset();
        let capturer = Capturer::new(
            self.capture.clone(),
            log.clone(),
            Arc::clone(&self.capture_status),
        );
        parts.spawn(Part::Capture, ended.clone(), capturer.run(stop.child_token()));
        for ((config, status), observed) in self.tasks.iter().zip(self.observer.tasks()) {
            observed.ended.reset();
            let task = Task::new(config.clone(), log.clone(), Arc::clone(status));
            parts.spawn(
                Part::Task(observed.name.clone()),
                observed.ended.clone(),
                task.run(stop.child_token()),
            );
        }
        let policy = Policy {
            keep: self.log.keep,
            max_age: self.log.max_age,
        };
        let trimming = trim::run(
            log.clone(),
            policy,
            Arc::clone(&self.observer),
            stop.child_token(),
        );
        parts.spawn(Part::Trimming, Ending::default(), trimming);
        parts
    }
}

/// Opens the log for the first time since the process began, and makes sure that the source can be captured into it.
pub(super) async fn begin(
    config: &outrigger_storage::Config,
    capture: &outrigger_capture::Config,
    wanted: Option<&Wanted>,
) -> Result<(Log, Option<SourceInfo>), Error> {
    let config = config.clone();
    let log = blocking("opening the log", move || Log::open(config)).await??;
    let info = start::prepare(capture, &log).await?;
    start::note_what_is_kept(&log, wanted).await?;
    Ok((log, info))
}
