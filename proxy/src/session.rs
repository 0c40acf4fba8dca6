//! One client's connection from accept to farewell.
//!
//! The handshake, the relay, a handshake again where the client asks for another account, and at the end a word for the client where the
//! protocol has room for one. Every wait but that for the peers' own traffic has a deadline (W2).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::packet::put;
use outrigger_protocol::reply::ErrPacket;
use outrigger_tls::rsa::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::access::{Refusal, Refusals, Seat, Seats};
use crate::account::{Account, Books};
use crate::bridge::Bridge;
use crate::certificate::Certificate;
use crate::compression::{Algorithm, Contexts};
use crate::config::Config;
use crate::guard::Guard;
use crate::handshake::{self, Limits, Outcome};
use crate::hold::Gate;
use crate::metrics::{Metrics, Origin};
use crate::relay::{End, Relay};
use crate::roster::{Entry, Roster};
use crate::slow::Allowance;
use crate::stream::Stream;
use crate::upstream::Upstream;

/// How long a client may take to read a farewell and leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// How soon a silent session is looked at again when the source had to be asked whether it is in a transaction.
const ANSWER: Duration = Duration::from_secs(1);

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) seats: Arc<Seats>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) upstream: Upstream,
    /// Ours; absent where clients are not offered TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// With which clients without TLS hide what the source gets in clear over a safe link; absent where it never does.
    pub(crate) key: Option<Arc<KeyPair>>,
    /// For compressed sessions.
    pub(crate) contexts: Arc<Contexts>,
    pub(crate) guard: Arc<dyn Guard>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) roster: Arc<Roster>,
    /// Where new transactions may be held.
    pub(crate) gate: Arc<Gate>,
    /// Lines of the slow log.
    pub(crate) allowance: Arc<Allowance>,
}

impl Shared {
    fn books(&self) -> Books {
        Books {
            metrics: Arc::clone(&self.metrics),
            slow: (!self.config.slow_query.is_zero()).then_some(self.config.slow_query),
            allowance: Arc::clone(&self.allowance),
            gate: Arc::clone(&self.gate),
        }
    }

    /// Counts a refusal, and says it in the log unless too much is said already.
    pub(crate) fn note(&self, refusal: &Refusal) {
        self.metrics.refused(refusal);
        self.metrics.error(Origin::Proxy, refusal.error().code);
        self.refusals.note(refusal);
    }
}

/// A client as the proxy keeps count of it, until it is dropped.
pub(crate) struct Guest {
    /// Its place among the connections.
    pub(crate) seat: Seat,
    /// Its place in the list of who is there.
    pub(crate) record: Entry,
    /// What it may agree on.
    pub(crate) compression: Vec<Algorithm>,
}

/// Leads one connection until it is over. Once `cancel` is cancelled it ends within the drain timeout and the farewell.
pub(crate) async fn lead(client: Stream, guest: &mut Guest, shared: &Shared, cancel: &CancellationToken) {
    let Some(met) = handshake::meet(client, shared, guest, cancel).await else {
        return;
    };
    let mut relay = Relay::new(
        met.client,
        met.upstream,
        met.phase,
        (Arc::clone(&shared.guard), met.session),
        Account::new(shared.books(), Arc::clone(&guest.record)),
    );
    let last = relay_until_end(&mut relay, met.bridge, (shared, guest), cancel).await;
    debug!(?last, "relay ended");
    let quiet = relay.is_quiet();
    let (client, upstream, seq) = relay.into_parts();
    if let (Last::Client | Last::Upstream, Some(fault)) = (&last, client.fault()) {
        // It did not leave, it can't be understood.
        debug!(%fault, "a client's compression can't be followed");
        let error = fault.error();
        shared.metrics.error(Origin::Proxy, error.code);
        close(upstream).await;
        return farewell(client, seq.map(|seq| (seq, error))).await;
    }
    match last {
        Last::Client => close(upstream).await,
        Last::Upstream => farewell(client, None).await,
        Last::Told => {
            quit(upstream).await;
            farewell(client, None).await;
        }
        Last::Refused(seq, error) => {
            close(upstream).await;
            farewell(client, Some((seq, error))).await;
        }
        Last::Closed(error) => {
            if quiet && seq.is_some() {
                quit(upstream).await;
            } else {
                close(upstream).await;
            }
            match seq {
                Some(seq) => farewell(client, Some((seq, error))).await,
                None => close(client).await,
            }
        }
    }
}

/// Why a session is over.
#[derive(Debug)]
enum Last {
    /// The client left.
    Client,
    /// The source closed the connection.
    Upstream,
    /// The client has been told why.
    Told,
    /// The client is owed this error, under this number.
    Refused(u8, ErrPacket<'static>),
    /// The proxy closes it, with this error where the client can be told.
    Closed(ErrPacket<'static>),
}

async fn relay_until_end(
    relay: &mut Relay,
    mut bridge: Bridge,
    (shared, guest): (&Shared, &mut Guest),
    cancel: &CancellationToken,
) -> Last {
    let mut deadline = None;
    let idle = shared.config.idle_timeout;
    let mut look = Instant::now() + idle;
    let (mut held, mut doubts) = (false, false);
    let cancelled = cancel.cancelled();
    tokio::pin!(cancelled);
    loop {
        let closing = deadline.is_some();
        let end = tokio::select! {
            // First what is usual. `flow` keeps its state in the relay: dropping it loses nothing. Where both sides always have something
            // it spends all that the task may do in one go, so what else there is comes to its turn without asking for that.
            biased;
            end = relay.flow(closing) => end,
            () = unconstrained(&mut cancelled), if !closing => {
                deadline = Some(Instant::now() + shared.config.drain_timeout);
                continue;
            }
            () = unconstrained(sleep_until(deadline.unwrap_or_else(Instant::now))), if closing => return Last::Closed(shutdown()),
            // A look at what is noted anyway, once in the time that is allowed: commands cost nothing more.
            () = unconstrained(sleep_until(look)), if !idle.is_zero() && !closing => {
                let left = match guest.record.rested().filter(|_| !held) {
                    Some(silent) => idle.saturating_sub(silent),
                    None => idle,
                };
                if left.is_zero() && relay.is_quiet() {
                    let error = idle_too_long();
                    shared.metrics.error(Origin::Proxy, error.code);
                    return Last::Closed(error);
                }
                look = Instant::now() + match left.is_zero() {
                    // It will be known by then.
                    true if relay.ask() => idle.min(ANSWER),
                    true => idle,
                    false => left,
                };
                continue;
            }
            // A hold must know. Only waits.
            () = shared.gate.closed(), if doubts => {
                doubts = false;
                relay.tell_doubt();
                continue;
            }
            // Only waits.
            () = shared.gate.opened(), if held => {
                held = false;
                relay.tell_held();
                continue;
            }
        };
        match end {
            End::Client => return Last::Client,
            End::Upstream => return Last::Upstream,
            End::Quiet => return Last::Closed(shutdown()),
            End::Held => held = true,
            End::Doubt(in_doubt) => doubts = in_doubt,
            End::ChangeUser => {
                if let Err(last) = change_user(relay, &mut bridge, shared, guest).await {
                    return last;
                }
                guest.record.rests(std::time::Instant::now());
            }
        }
    }
}

/// Leads an authentication in the middle of a session; it has the handshake's time, whether the proxy stops or not.
async fn change_user(
    relay: &mut Relay,
    bridge: &mut Bridge,
    shared: &Shared,
    guest: &mut Guest,
) -> Result<(), Last> {
    let (mut client, mut upstream) = relay.lend();
    let limits = Limits::new(shared.config.handshake_timeout);
    let leading = handshake::change_user(&mut client, &mut upstream, bridge, (shared, guest));
    let outcome = limits.hold(leading).await;
    shared.metrics.read_from_client(client.take_received());
    shared.metrics.read_from_upstream(upstream.take_received());
    match outcome {
        Outcome::Over(status) => {
            let ahead = client.into_rest();
            relay.resume(&ahead, status);
            Ok(())
        }
        Outcome::ClientGone => Err(Last::Client),
        Outcome::UpstreamGone => Err(Last::Upstream),
        Outcome::Told => Err(Last::Told),
        Outcome::Refused(error) => Err(Last::Refused(client.reply_seq(), error)),
    }
}

pub(crate) fn shutdown() -> ErrPacket<'static> {
    ErrPacket::new(1053, "08S01", "Server shutdown in progress")
}

/// What MySQL says when `wait_timeout` is over.
fn idle_too_long() -> ErrPacket<'static> {
    ErrPacket::new(
        4031,
        "HY000",
        "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout for configuring this behavior.",
    )
}

pub(crate) fn too_slow() -> ErrPacket<'static> {
    ErrPacket::new(1159, "08S01", "Got timeout reading communication packets")
}

pub(crate) fn early(code: u16, message: String) -> ErrPacket<'static> {
    in_place_of_greeting(ErrPacket::new(code, "", message))
}

/// An error in place of a greeting: such carry no SQLSTATE, the client's understanding of it is not yet known.
pub(crate) fn in_place_of_greeting(error: ErrPacket<'static>) -> ErrPacket<'static> {
    ErrPacket {
        sqlstate: None,
        ..error
    }
}

/// Says `last` if there is something to say, ends the direction towards the client, and waits a moment for it to leave: closing with
/// unread bytes would make the kernel reset the connection and the last word be lost.
pub(crate) async fn farewell(mut client: Stream, last: Option<(u8, ErrPacket<'_>)>) {
    let goodbye = async {
        if let Some((seq, error)) = last {
            let mut bytes = Vec::new();
            put(&mut bytes, &error.encode(), seq);
            client.write_all(&bytes).await?;
            client.flush().await?;
        }
        client.shutdown().await?;
        let mut client = client.uncompressed();
        let mut sink = [0; 1024];
        while client.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection is over either way.
    timeout(FAREWELL, goodbye).await.ok();
}

/// Ends a session of the source's that is between commands in its own words, COM_QUIT, so that it need not count an aborted client.
pub(crate) async fn quit(mut upstream: Stream) {
    let goodbye = async {
        upstream.write_all(&[1, 0, 0, 0, 1]).await?;
        upstream.flush().await
    };
    // It may be gone already.
    timeout(FAREWELL, goodbye).await.ok();
    close(upstream).await;
}

pub(crate) async fn close(mut stream: Stream) {
    // A bare socket is shut down by being dropped.
    if stream.holds_back() {
        // Fails only when the peer has closed already.
        timeout(FAREWELL, stream.shutdown()).await.ok();
    }
}
