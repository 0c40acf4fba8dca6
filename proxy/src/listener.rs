//! Accepting connections, up to a limit, until the proxy is stopped; then waiting for the sessions to end.

mod arrival;
mod door;
mod inherited;
mod listening;

use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::endpoint::Endpoint;
use outrigger_tls::rsa::KeyPair;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

pub use inherited::Inherited;
pub use listening::Listening;

use self::arrival::Arrival;
pub(crate) use self::door::Listener;
use self::listening::Open;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::current::{Current, Reloader};
use crate::error::Error;
use crate::guard::{Guard, PassAll};
use crate::hold::Gate;
use crate::metrics::Metrics;
use crate::roster::Roster;
use crate::session::Shared;
use crate::slow::Allowance;
use crate::upstream::Upstream;
use crate::workers::{Team, Workers};

/// How long accepting pauses after the system refused (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A proxy that listens.
pub struct Proxy {
    listening: Listening,
    shared: Shared,
}

impl Proxy {
    /// Listens at the configured addresses. Connections wait in the kernel until [`run`](Self::run).
    ///
    /// A unix socket left behind by a process that is gone is replaced. `upstream` is the source and how links to it are protected; its
    /// account and password are not used, sessions log in with the client's.
    pub async fn bind(config: Config, upstream: Endpoint) -> Result<Self, Error> {
        Self::bind_with(config, upstream, Inherited::default()).await
    }

    /// The same, where sockets may have been handed over.
    pub async fn bind_with(
        config: Config,
        upstream: Endpoint,
        mut inherited: Inherited,
    ) -> Result<Self, Error> {
        config.validate()?;
        let upstream = Upstream::new(upstream).map_err(Error::Upstream)?;
        let certificate = Certificate::load(&config.tls)?.map(Arc::new);
        let key = match upstream.may_be_safe() {
            true => Some(Arc::new(make_key().await?)),
            false => None,
        };
        let mut listeners = Vec::new();
        for (index, listen) in config.listen.iter().enumerate() {
            listeners.extend(Listener::bind(listen, index, &mut inherited, &[]).await?);
        }
        let metrics = Arc::new(Metrics::new());
        let roster = Roster::new();
        Ok(Self {
            listening: Listening::new(listeners),
            shared: Shared {
                seats: Arc::default(),
                refusals: Arc::default(),
                config,
                upstream,
                certificate,
                key,
                contexts: Arc::default(),
                guard: Arc::new(PassAll),
                metrics,
                gate: Gate::new(Arc::clone(&roster)),
                roster,
                allowance: Arc::new(Allowance::new()),
            },
        })
    }

    /// Has commands judged by `guard`.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<dyn Guard>) -> Self {
        self.shared.guard = guard;
        self
    }

    /// Counts with `metrics` instead of handles of the global recorder.
    #[must_use]
    pub fn counting_with(mut self, metrics: Arc<Metrics>) -> Self {
        self.shared.metrics = metrics;
        self
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Where new transactions can be held.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.shared.gate)
    }

    /// Who is connected.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.shared.roster)
    }

    /// Where it listens, now and later.
    pub fn listening(&self) -> Listening {
        self.listening.clone()
    }

    /// Ready to serve, and the means to give it another configuration while it does.
    pub fn reloadable(self) -> (Ready, Reloader) {
        let current = Current::new(self.shared);
        let ready = Ready {
            listening: self.listening.clone(),
            current: current.clone(),
        };
        (ready, Reloader::new(current, self.listening))
    }

    /// Serves with the configuration that it has: see [`Ready::run`].
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        self.reloadable().0.run(cancel).await
    }
}

/// A proxy that is set up.
pub struct Ready {
    listening: Listening,
    current: Current,
}

impl Ready {
    /// Serves until `cancel` is cancelled, then drains: no new connections, sessions between commands and outside a transaction are closed
    /// at once, the others when they get there or at the drain timeout.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Error> {
        let mut accepting = JoinSet::new();
        let workers = Workers::start().map_err(Error::Threads)?;
        let (current, metrics) = (self.current.clone(), Arc::clone(&self.current.get().metrics));
        let certificate = move || current.get().certificate.clone();
        let watching = Certificate::watch(certificate, metrics, cancel.clone());
        accepting.spawn(async move {
            watching.await;
            Ok(())
        });
        let (mut wanted, mut open, mut number) = (self.listening.subscribe(), Open::default(), 0);
        let mut outcome = Ok(());
        loop {
            for (listener, stop) in open.follow(wanted.borrow_and_update().open.as_deref(), &cancel) {
                let (address, team) = (listener.address.clone(), workers.from(number));
                let serving = serve(listener, self.current.clone(), team.clone(), stop, cancel.clone());
                let span = info_span!("listener", %address);
                number += 1;
                accepting.spawn(
                    async move {
                        let ended = team.accept(serving).await;
                        ended.map_err(|_panic| Error::Defect(address))
                    }
                    .instrument(span),
                );
            }
            // Neither loses anything by being dropped.
            tokio::select! {
                changed = wanted.changed(), if !cancel.is_cancelled() => {
                    // The sender is here.
                    drop(changed);
                }
                ended = accepting.join_next() => match ended {
                    None => break,
                    Some(Ok(Err(defect))) => {
                        // One listener less is not what was asked for: stop the others too.
                        cancel.cancel();
                        outcome = Err(defect);
                    }
                    Some(_) => {}
                },
            }
        }
        drop(open);
        self.listening.close();
        workers.drain().await;
        outcome
    }
}

/// The key pair for clients without TLS before a safe link to the source.
async fn make_key() -> Result<KeyPair, Error> {
    let made = tokio::task::spawn_blocking(KeyPair::generate).await;
    made.unwrap_or_else(|cause| Err(outrigger_tls::Error::Unfit(cause.to_string())))
        .map_err(Error::Key)
}

/// Accepts at one address until `stop`; sessions go on until `cancel`.
async fn serve(
    listener: Arc<Listener>,
    current: Current,
    team: Team,
    stop: CancellationToken,
    cancel: CancellationToken,
) {
    let name: Arc<str> = Arc::from(listener.address.to_string());
    let door = loop {
        match listener.door() {
            Ok(door) => break door,
            Err(cause) => warn!(%cause, "connections can't be accepted yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
        }
    };
    let (mut closes, mut late) = (None, 0..listening::BACKLOG);
    info!(address = %listener.address, upstream = %current.get().upstream.address(), "the proxy listens");
    loop {
        let accepted = tokio::select! {
            // Accepting is cancellation-safe.
            () = cancel.cancelled() => return,
            // Where only this address is given up, those that came before are let in.
            () = stop.cancelled(), if closes.is_none() => {
                closes = Some(Instant::now() + listener.shut());
                continue;
            }
            () = tokio::time::sleep_until(closes.unwrap_or_else(Instant::now)), if closes.is_some() => {
                match late.next().and_then(|_| door.accept_waiting()) {
                    Some(accepted) => accepted,
                    None => return,
                }
            }
            accepted = door.accept() => accepted,
        };
        let shared = current.get();
        match accepted {
            Ok(client) => match listener.admit(&client, &shared) {
                Ok((seat, header)) => {
                    let arrival = Arrival {
                        peer: client.peer(),
                        header,
                        seat,
                        listen: listener.listen(&shared.config).clone(),
                        listener: Arc::clone(&name),
                    };
                    let place = team.fewest();
                    match client.brought(place.elsewhere()) {
                        Ok(client) => {
                            place.lead(arrival.lead(client, Arc::clone(&shared), cancel.child_token()));
                        }
                        Err(cause) => debug!(%cause, "a client left at once"),
                    }
                }
                Err(refusal) => arrival::span(client.peer()).in_scope(|| {
                    shared.note(&refusal);
                    client.refuse(&refusal);
                }),
            },
            Err(cause) => {
                warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
