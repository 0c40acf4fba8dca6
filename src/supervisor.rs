//! The one place that wires the crates together: opens the log, finds where capture starts, starts every part, keeps the
//! log trimmed, opens it again when it failed, stops everything in order.
//!
//! A part that fails takes no other part with it: its end is shown in the status with what to do, and the rest goes on.
//! Only a failure to start ends the process. Stopping asks all parts at once, waits for them within a deadline, and closes
//! the log last; stopping harder is always safe too (W3).

mod notify;
mod parts;
mod pipeline;
pub(crate) mod reload;
mod retention;
mod selection;
pub(crate) mod signals;
mod start;
mod trim;
mod watch;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::MultiProgress;
use outrigger_applier::TaskStatus;
use outrigger_protocol::endpoint::Endpoint;
use outrigger_proxy::{Inherited, Proxy, guard};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::http::{self, Pages};
use crate::status::{Ending, ObservedLog, ObservedProxy, ObservedTask, Observer};
use crate::telemetry::metrics::Recorder;
use parts::{Part, Parts};
use pipeline::Pipeline;
use reload::Reload;
use selection::Wanted;
use signals::{Hangup, Signals};
use watched::Watched;

/// Why a sidecar did not start, or did not stop as it should. Each sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] outrigger_storage::Error),
    /// The source cannot be captured.
    #[error(transparent)]
    Source(#[from] outrigger_capture::Error),
    /// The proxy cannot listen.
    #[error(transparent)]
    Proxy(#[from] outrigger_proxy::Error),
    /// The HTTP server cannot listen.
    #[error("http: cannot listen on {address} ({cause}); [http] listen in the configuration says where")]
    Http {
        /// The configured address.
        address: std::net::SocketAddr,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The operating system refused something that every process needs.
    #[error("{doing}: {cause}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// A part panicked while starting or stopping.
    #[error("{doing} ended in a defect ({cause}); please report it")]
    Defect {
        /// What was being done.
        doing: &'static str,
        /// The panic, as the runtime describes it.
        cause: tokio::task::JoinError,
    },
    /// What uses the log did not end as it should.
    #[error("{why}")]
    Unclean {
        /// The sentence.
        why: String,
    },
    /// A second signal came while stopping.
    #[error("stopped at once by a second signal; what was under way is resumed at the next start")]
    Impatient,
    /// Parts did not stop within the deadline.
    #[error("did not stop within {} s: {parts}; stopped them where they were, the next start resumes", deadline.as_secs())]
    Stuck {
        /// How long they were given.
        deadline: Duration,
        /// Their names.
        parts: String,
    },
}

/// Beyond the proxy's own drain: the time that parts have to finish what they are doing.
const STOPPING: Duration = Duration::from_secs(60);
/// What uses the log stops within [`STOPPING`] or says who did not; it gets the time to say so.
const MARGIN: Duration = Duration::from_secs(5);
/// HTTP clients that keep a connection open do not hold up a stop for longer.
const HTTP_STOPPING: Duration = Duration::from_secs(1);

/// Runs a sidecar until a signal stops it. SIGHUP has it read `file`, from which `config` was read, again.
///
/// # Errors
/// When it cannot start, or could not stop as it should.
pub async fn run(
    (file, config): (PathBuf, Config),
    inherited: Inherited,
    recorder: Recorder,
    screen: MultiProgress,
) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let hangup = Hangup::listen()?;
    let mut starting = std::pin::pin!(Sidecar::start((file, config), inherited, recorder, screen));
    let sidecar = tokio::select! {
        started = &mut starting => started?,
        // Nothing has begun that would have to be finished: a log that was opened is safe to drop.
        () = signals.next() => {
            info!("stopped before everything had started");
            return Ok(());
        }
    };
    notify::ready();
    sidecar.run(signals, hangup).await
}

/// Everything that runs.
struct Sidecar {
    log: Arc<ObservedLog>,
    parts: Parts,
    reload: Arc<Reload>,
    /// Stops all parts but HTTP, which tells about the stopping. Each has a child of it, so that none stops another.
    cancel: CancellationToken,
    cancel_http: CancellationToken,
}

impl Sidecar {
    async fn start(
        (file, config): (PathBuf, Config),
        inherited: Inherited,
        recorder: Recorder,
        screen: MultiProgress,
    ) -> Result<Self, Error> {
        let wanted = (!config.keep_all).then(|| Arc::new(Wanted::of(&config.tasks)));
        let (log, source_info) = match pipeline::begin(&config.log, &config.capture, wanted.as_deref()).await
        {
            Ok((log, info)) => (Some(log), info),
            Err(Error::Log(error)) if error.is_of_the_disk() => {
                warn!("{error}; starting all the same: proxy and HTTP run, the log is tried again");
                (None, None)
            }
            Err(error) => return Err(error),
        };
        let path = config.log.path.display().to_string();
        let observed_log = Arc::new(ObservedLog::new(path, config.log.quota.as_u64()));
        let (cancel, cancel_http) = (CancellationToken::new(), CancellationToken::new());
        let mut parts = Parts::default();

        let capture_status = Arc::new(outrigger_capture::Status::new());
        let watched = Watched {
            wanted: Wanted::of(&config.tasks),
            log: Arc::clone(&observed_log),
            capture: Arc::clone(&capture_status),
        };
        let policy = Arc::new(guard::Policy::new(&config.guard, Arc::new(watched)));
        let source = config.capture.source.clone();
        let bound = bind(config.proxy.clone(), source, inherited, Arc::clone(&policy)).await?;
        let (proxy, observed_proxy) = bound.unzip();
        let (proxy, reloader) = proxy.map(Proxy::reloadable).unzip();
        let reload = Arc::new(Reload::new(file, &config, policy, reloader));
        let statuses: Vec<_> = config
            .tasks
            .iter()
            .map(|task| Arc::new(TaskStatus::new(&task.name)))
            .collect();
        let tasks = config
            .tasks
            .iter()
            .zip(&statuses)
            .map(|(task, status)| ObservedTask {
                limits: task.limits.clone(),
                lanes: task.group.lanes,
                name: task.name.clone(),
                target: task.target.address.to_string(),
                status: Arc::clone(status),
                ended: Ending::default(),
            });
        let observer = Arc::new(Observer::new(
            Arc::clone(&observed_log),
            (
                Arc::clone(&capture_status),
                config.capture.source.address.to_string(),
                Ending::default(),
            ),
            observed_proxy,
            tasks.collect(),
        ));
        if let Some(info) = source_info {
            observer.source_is(info);
        }

        let http = listen(config.http.listen, &observer, &recorder, &reload).await?;
        parts.spawn(Part::Http, Ending::default(), http.run(cancel_http.child_token()));
        if let Some((proxy, observed)) = proxy.zip(observer.proxy()) {
            parts.spawn(
                Part::Proxy,
                observed.ended.clone(),
                proxy.run(cancel.child_token()),
            );
        }
        let mut capture = config.capture;
        capture.selection = wanted.clone().map(|wanted| wanted as _);
        let pipeline = Pipeline {
            log: config.log,
            capture,
            wanted,
            capture_status,
            tasks: config.tasks.into_iter().zip(statuses).collect(),
            observer: Arc::clone(&observer),
        };
        let ended = observed_log.ended.clone();
        parts.spawn(Part::Pipeline, ended, pipeline.run(log, cancel.child_token()));
        let watching = watch::run(observer, recorder, screen, cancel.child_token());
        parts.spawn(Part::Watching, Ending::default(), watching);
        Ok(Self {
            log: observed_log,
            parts,
            reload,
            cancel,
            cancel_http,
        })
    }

    /// Until a signal comes, then until all have stopped, another signal comes, or the deadline is over.
    async fn run(mut self, mut signals: Signals, mut hangup: Hangup) -> Result<(), Error> {
        let mut reloads = JoinSet::new();
        loop {
            tokio::select! {
                // All only wait; nothing is lost when another is first.
                () = signals.next() => break,
                () = self.parts.next() => {}
                // One at a time: a signal that comes meanwhile is heard afterwards.
                () = hangup.next(), if reloads.is_empty() => {
                    notify::reloading();
                    reloads.spawn(Arc::clone(&self.reload).reload());
                }
                // What came of it is in the log.
                Some(ended) = reloads.join_next() => {
                    if let Err(defect) = ended {
                        error!(%defect, "reading the configuration again ended in a defect; please report it");
                    }
                    notify::ready();
                }
            }
        }
        let stopping = STOPPING + MARGIN + self.reload.stop();
        info!("stopping; another signal stops at once");
        notify::stopping();
        self.cancel.cancel();
        let stuck = tokio::select! {
            stopped = timeout(stopping, self.parts.all_but_http()) => stopped.is_err(),
            () = signals.next() => return Err(Error::Impatient),
        };
        let names = self.parts.names();
        self.cancel_http.cancel();
        if timeout(HTTP_STOPPING, self.parts.all()).await.is_err() {
            self.parts.abort();
        }
        if stuck {
            return Err(Error::Stuck {
                deadline: stopping,
                parts: names,
            });
        }
        if let Some(Some(why)) = self.log.ended.get() {
            return Err(Error::Unclean { why });
        }
        info!("stopped");
        Ok(())
    }
}

/// The proxy, where one is wanted, and what is seen of it.
async fn bind(
    config: Option<outrigger_proxy::Config>,
    upstream: Endpoint,
    inherited: Inherited,
    policy: Arc<guard::Policy>,
) -> Result<Option<(Proxy, ObservedProxy)>, Error> {
    let Some(config) = config else {
        return Ok(None);
    };
    let proxy = Proxy::bind_with(config, upstream, inherited)
        .await?
        .guarded_by(Arc::clone(&policy) as _);
    let observed = ObservedProxy {
        listening: proxy.listening(),
        guard: policy,
        metrics: proxy.metrics(),
        roster: proxy.roster(),
        ended: Ending::default(),
    };
    Ok(Some((proxy, observed)))
}

async fn listen(
    address: std::net::SocketAddr,
    observer: &Arc<Observer>,
    recorder: &Recorder,
    reload: &Arc<Reload>,
) -> Result<http::Server, Error> {
    let reload = Arc::clone(reload);
    let (observer, recorder) = (Arc::clone(observer), recorder.clone());
    let (trimming, listing) = (Arc::clone(&observer), Arc::clone(&observer));
    let proxy = observer.proxy().map(|proxy| Arc::clone(&proxy.metrics));
    let pages = Pages {
        reload: Arc::new(move || tokio::spawn(Arc::clone(&reload).reload())),
        trim: Arc::new(move |order| trim::ordered(&trimming, order)),
        status: Arc::new(move || observer.document()),
        sessions: Arc::new(move || listing.sessions()),
        metrics: Arc::new(move || {
            let proxy = proxy.as_ref().map(|metrics| metrics.exposition());
            recorder.render() + &proxy.unwrap_or_default()
        }),
    };
    let server = http::Server::bind(address, pages)
        .await
        .map_err(|cause| Error::Http { address, cause })?;
    match server.local_address() {
        Ok(address) => info!(%address, "HTTP listens"),
        Err(error) => warn!(%error, "HTTP listens, the address is not known"),
    }
    Ok(server)
}

/// Does what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::Defect { doing, cause })
}
