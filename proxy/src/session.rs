//! One client's connection from accept to farewell.
//!
//! Connect upstream, greet, relay, and at the end a word for the client where the protocol has room for one. Every wait but that for
//! the peers' own traffic has a deadline (W2).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_protocol::packet::put;
use outrigger_protocol::reply::ErrPacket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Config;
use crate::greeting;
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::relay::{End, Relay};
use crate::stream::Stream;

/// How long a client may take to read a farewell and leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) upstream: Address,
    pub(crate) guard: Arc<dyn Guard>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A source that greeted and a client that answered.
struct Met {
    client: Stream,
    upstream: Stream,
    response: Vec<u8>,
    phase: Phase,
}

/// Leads one connection until it is over. Once `cancel` is cancelled it ends within the drain timeout and the farewell.
pub(crate) async fn lead(client: Stream, shared: &Shared, cancel: &CancellationToken) {
    let deadline = Instant::now() + shared.config.handshake_timeout + shared.config.connect_timeout;
    if let Some(met) = meet(client, shared, cancel).await {
        let relay = Relay::new(
            met.client,
            met.upstream,
            &met.response,
            met.phase,
            Arc::clone(&shared.guard),
            Arc::clone(&shared.metrics),
        );
        relay_until_end(relay, shared, cancel, deadline).await;
    }
}

/// Connects upstream and passes the first two packets. `None` when that failed; the client was told.
async fn meet(mut client: Stream, shared: &Shared, cancel: &CancellationToken) -> Option<Met> {
    let connect_timeout = shared.config.connect_timeout;
    let connected = tokio::select! {
        // Whatever is half done is dropped, and with it closed.
        () = cancel.cancelled() => {
            farewell(client, Some((0, early(1053, "Server shutdown in progress".to_owned())))).await;
            return None;
        }
        connected = timeout(connect_timeout, reach(shared)) => connected,
    };
    let timed_out = || {
        Err(early(
            2003,
            format!(
                "Can't connect to MySQL server on '{}': no greeting within {connect_timeout:?}",
                shared.upstream
            ),
        ))
    };
    let (mut upstream, greeting) = match connected.unwrap_or_else(|_elapsed| timed_out()) {
        Ok(reached) => reached,
        Err(error) => {
            shared.metrics.upstream_failed();
            warn!(upstream = %shared.upstream, error = %error.text(), "the source can't be reached for a client");
            farewell(client, Some((0, error))).await;
            return None;
        }
    };
    let exchange = async {
        greeting::send(&mut client, &greeting).await?;
        if greeting::is_refusal(&greeting) {
            return Ok(None);
        }
        greeting::receive_response(&mut client).await
    };
    let response = tokio::select! {
        // The client is owed nothing yet but a farewell.
        () = cancel.cancelled() => None,
        response = timeout(shared.config.handshake_timeout, exchange) => Some(response),
    };
    let refusal = match response {
        None => Some(shutdown()),
        Some(Err(_elapsed)) => Some(too_slow()),
        Some(Ok(Err(_) | Ok(None))) => None,
        Some(Ok(Ok(Some(response)))) => match greeting::check(&response) {
            Ok(wanted) => {
                let phase = Phase::new(wanted);
                return Some(Met {
                    client,
                    upstream,
                    response,
                    phase,
                });
            }
            Err(error) => Some(error),
        },
    };
    if let Some(error) = &refusal {
        debug!(error = %error, "handshake ended");
    }
    close(&mut upstream).await;
    // The client's response, if it came, had number 1.
    farewell(client, refusal.map(|error| (2, error))).await;
    None
}

/// The upstream connection and its greeting, masked; or the error that the client gets instead of a greeting.
async fn reach(shared: &Shared) -> Result<(Stream, Vec<u8>), ErrPacket<'static>> {
    let address = &shared.upstream;
    let mut upstream = Stream::connect(address, shared.config.keepalive).await.map_err(|cause| {
        early(2003, format!("Can't connect to MySQL server on '{address}' ({cause}): the proxy runs, the source does not answer; try again when it does"))
    })?;
    let mut greeting = greeting::receive_greeting(&mut upstream).await.map_err(|cause| {
        early(
            2013,
            format!(
                "Lost connection to MySQL server on '{address}' while waiting for its greeting ({cause})"
            ),
        )
    })?;
    if !greeting::is_refusal(&greeting) {
        greeting::mask(&mut greeting)
            .map_err(|cause| early(2012, format!("Error in handshake with '{address}': {cause}")))?;
    }
    Ok((upstream, greeting))
}

async fn relay_until_end(mut relay: Relay, shared: &Shared, cancel: &CancellationToken, handshake: Instant) {
    let mut closing = false;
    let mut deadline = handshake;
    let cancelled = cancel.cancelled();
    tokio::pin!(cancelled);
    let end = loop {
        let timed = closing || !relay.authenticated();
        tokio::select! {
            // First what is usual. `flow` keeps its state in the relay: dropping it loses nothing.
            biased;
            end = relay.flow(closing) => {
                if end != End::Authenticated {
                    break Some(end);
                }
            }
            () = &mut cancelled, if !closing => {
                closing = true;
                deadline = Instant::now() + shared.config.drain_timeout;
            }
            () = sleep_until(deadline), if timed => break None,
        }
    };
    debug!(?end, closing, "relay ended");
    let quiet = relay.is_quiet();
    let (mut client, mut upstream, seq) = relay.into_parts();
    match end {
        Some(End::Client) => close(&mut upstream).await,
        Some(End::Upstream) => farewell(client, None).await,
        _ => {
            if quiet && seq.is_some() {
                // COM_QUIT: the source need not count an aborted client. It may be gone already.
                timeout(FAREWELL, greeting::send(&mut upstream, &[1, 0, 0, 0, 1]))
                    .await
                    .ok();
            }
            close(&mut upstream).await;
            let last = if closing { shutdown() } else { too_slow() };
            match seq {
                Some(seq) => farewell(client, Some((seq, last))).await,
                None => close(&mut client).await,
            }
        }
    }
}

fn shutdown() -> ErrPacket<'static> {
    ErrPacket::new(1053, "08S01", "Server shutdown in progress")
}

fn too_slow() -> ErrPacket<'static> {
    ErrPacket::new(1159, "08S01", "Got timeout reading communication packets")
}

/// An error in place of a greeting: such carry no SQLSTATE, the client's understanding of it is not yet known.
pub(crate) fn early(code: u16, message: String) -> ErrPacket<'static> {
    ErrPacket {
        sqlstate: None,
        ..ErrPacket::new(code, "", message)
    }
}

/// Says `last` if there is something to say, ends the direction towards the client, and waits a moment for it to leave: closing with
/// unread bytes would make the kernel reset the connection and the last word be lost.
async fn farewell(mut client: Stream, last: Option<(u8, ErrPacket<'_>)>) {
    let goodbye = async {
        if let Some((seq, error)) = last {
            let mut bytes = Vec::new();
            put(&mut bytes, &error.encode(), seq);
            client.write_all(&bytes).await?;
        }
        client.shutdown().await?;
        let mut sink = [0; 1024];
        while client.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection is over either way.
    timeout(FAREWELL, goodbye).await.ok();
}

async fn close(stream: &mut Stream) {
    // Fails only when the peer has closed already.
    timeout(FAREWELL, stream.shutdown()).await.ok();
}
