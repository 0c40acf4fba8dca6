//! From an accepted connection to an authenticated session: the source's greeting, TLS on either side, and the packets of authentication,
//! which the [`bridge`](crate::bridge) judges. Also the authentication in the middle of a session, COM_CHANGE_USER.
//!
//! Packets are read one at a time and numbered anew for each side: a side with TLS has one packet more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::auth::AuthPacket;
use outrigger_protocol::handshake::{
    Capabilities, HandshakeResponse, StatusFlags, is_tls_request, response_capabilities,
};
use outrigger_protocol::reply::ErrPacket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::bridge::{self, Act, Bridge, Link, Payload};
use crate::compression::{Algorithm, Fault, Method};
use crate::config::SslMode;
use crate::greeting;
use crate::guard::Session;
use crate::metrics::Origin;
use crate::phase::Phase;
use crate::session::{Guest, Shared, close, early, farewell, quit, shutdown, too_slow};
use crate::stream::Stream;
use crate::upstream::Greeted;
use crate::wire::Wire;

/// A source and a client that are through with authentication.
pub(crate) struct Met {
    pub(crate) client: Stream,
    pub(crate) upstream: Stream,
    pub(crate) bridge: Bridge,
    pub(crate) phase: Phase,
    /// What the guard knows of the session.
    pub(crate) session: Session,
}

/// How an authentication ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The source has decided and the client knows; the session's status, if it is in.
    Over(Option<StatusFlags>),
    ClientGone,
    UpstreamGone,
    /// The source has let the client in, and it ends here: the proxy has not, or the client is gone. It is owed nothing more.
    Told,
    /// The client is owed this error.
    Refused(ErrPacket<'static>),
}

/// How long something may go on.
pub(crate) struct Limits<'c> {
    deadline: Instant,
    cancel: Option<&'c CancellationToken>,
}

impl Limits<'_> {
    /// For `time` from now on.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            cancel: None,
        }
    }

    /// What `work` comes to, or why it took too long.
    pub(crate) async fn hold(&self, work: impl Future<Output = Outcome>) -> Outcome {
        match self.bound(work).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Refused(error),
        }
    }

    /// `work` is dropped when it takes too long.
    async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, ErrPacket<'static>> {
        let cancelled = async {
            match self.cancel {
                Some(cancel) => cancel.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancelled => Err(shutdown()),
            done = timeout_at(self.deadline, work) => done.map_err(|_elapsed| too_slow()),
        }
    }
}

/// Connects upstream and leads the handshake. `None` when that failed; the client was told.
pub(crate) async fn meet(
    client: Stream,
    shared: &Shared,
    guest: &mut Guest,
    cancel: &CancellationToken,
) -> Option<Met> {
    let connect_timeout = shared.config.connect_timeout;
    let offers = (shared.certificate.is_some(), guest.compression.as_slice());
    let reached = tokio::select! {
        // Whatever is half done is dropped, and with it closed.
        () = cancel.cancelled() => {
            farewell(client, Some((0, early(1053, "Server shutdown in progress".to_owned())))).await;
            return None;
        }
        reached = timeout(connect_timeout, shared.upstream.reach(shared.config.watch(), offers)) => reached,
    };
    let address = shared.upstream.address();
    let timed_out = || {
        Err(early(
            2003,
            format!("Can't connect to MySQL server on '{address}': no greeting within {connect_timeout:?}"),
        ))
    };
    let greeted = match reached.unwrap_or_else(|_elapsed| timed_out()) {
        Ok(greeted) => greeted,
        Err(error) => {
            shared.metrics.upstream_failed();
            warn!(upstream = %address, error = %error.text(), "the source can't be reached for a client");
            farewell(client, Some((0, error))).await;
            return None;
        }
    };
    let limits = Limits {
        deadline: Instant::now() + shared.config.handshake_timeout,
        cancel: Some(cancel),
    };
    let mut client = Wire::new(client);
    if greeting::is_refusal(&greeted.payload) {
        if let Ok(error) = ErrPacket::parse(&greeted.payload) {
            shared.metrics.error(Origin::Source, error.code);
        }
        limits.bound(client.send(&greeted.payload)).await.ok();
        farewell(client.into_stream(), None).await;
        return None;
    }
    guest.record.greeted(greeted.connection_id);
    let greeting = (greeted.payload.as_slice(), guest.compression.as_slice());
    let answered = match greet(client, greeting, shared, &limits).await {
        Ok(answered) => answered,
        Err(left) => {
            let farewell = left.say_farewell(shared);
            tokio::join!(decline(greeted, shared), farewell);
            return None;
        }
    };
    guest.record.responded(
        &answered.user,
        answered.client.stream().link() == Link::Tls,
        answered.compression.map(Method::name),
    );
    authenticate(answered, greeted, (shared, guest), &limits).await
}

/// Ends the handshake at the source that a client has left, by a login that fails. One that breaks off a source counts against the
/// proxy's address, and after `max_connect_errors` of them in a row it lets nobody in from there; its own machine's it does not count.
async fn decline(greeted: Greeted, shared: &Shared) {
    let limits = Limits::new(shared.config.connect_timeout);
    let mut upstream = greeted.wire;
    if upstream.stream().is_local() {
        return close(upstream.into_stream()).await;
    }
    let (response, request) = nobody(greeted.tls);
    if greeted.tls {
        match secure(upstream, request, false, shared, &limits).await {
            Ok(secured) => upstream = secured,
            Err(error) => {
                debug!(%error, "a handshake with the source was not ended");
                return;
            }
        }
    }
    if limits
        .bound(upstream.send(&response))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        let_fail(&mut upstream, &limits).await;
    }
    quit(upstream.into_stream()).await;
}

/// The response of an account that no source has, and the request for TLS before it.
fn nobody(tls: bool) -> (Payload, Option<Vec<u8>>) {
    let nobody = HandshakeResponse {
        capabilities: Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH,
        max_packet_size: 1 << 24,
        collation: 45,
        user: b"outrigger-nobody",
        auth_response: b"",
        database: None,
        auth_plugin: Some(b"caching_sha2_password"),
        attributes: Vec::new(),
        zstd_level: None,
    };
    let mut response = Payload::new(nobody.encode());
    let request = greeting::fit(&mut response, tls);
    (response, request)
}

/// Brings an authentication to its end that the client has left, as one without a password.
async fn let_fail(upstream: &mut Wire<Stream>, limits: &Limits<'_>) {
    let failing = async {
        while let Ok(said) = upstream.receive().await {
            match AuthPacket::parse(&said) {
                Ok(Some(AuthPacket::Ok | AuthPacket::Err)) | Err(_) => return,
                Ok(_) => {}
            }
            if let Some(excuse) = bridge::excuse(&said)
                && upstream.send(excuse).await.is_err()
            {
                return;
            }
        }
    };
    // Whatever came of it, the connection is over.
    limits.bound(failing).await.ok();
}

/// The same in the middle of it: the source may wait for the client's next word.
async fn abandon(mut upstream: Wire<Stream>, bridge: &Bridge, shared: &Shared) {
    if upstream.stream().is_local() {
        return close(upstream.into_stream()).await;
    }
    let limits = Limits::new(shared.config.connect_timeout);
    let excused = async {
        match bridge.excuse() {
            Some(excuse) => upstream.send(excuse).await,
            None => Ok(()),
        }
    };
    if limits.bound(excused).await.is_ok_and(|sent| sent.is_ok()) {
        let_fail(&mut upstream, &limits).await;
    }
    close(upstream.into_stream()).await;
}

/// A client whose handshake ended early.
struct Left {
    /// Absent where nothing can be said any more.
    client: Option<Wire<Stream>>,
    error: Option<ErrPacket<'static>>,
}

impl Left {
    const SILENTLY: Self = Self {
        client: None,
        error: None,
    };

    fn with(client: Wire<Stream>, error: ErrPacket<'static>) -> Self {
        Self {
            client: Some(client),
            error: Some(error),
        }
    }

    async fn say_farewell(self, shared: &Shared) {
        let Some(client) = self.client else {
            return;
        };
        if let Some(error) = &self.error {
            shared.metrics.error(Origin::Proxy, error.code);
            debug!(error = %error, "handshake ended");
        }
        let seq = client.reply_seq();
        farewell(client.into_stream(), self.error.map(|error| (seq, error))).await;
    }
}

/// A client that has answered the greeting.
struct Answered {
    client: Wire<Stream>,
    /// As the source may get it: compression is the proxy's.
    response: Payload,
    /// What it wishes for.
    wanted: Capabilities,
    /// The account's name, as the source knows it.
    user: Vec<u8>,
    /// Once authentication is over.
    compression: Option<Method>,
}

/// Greets the client, goes over to TLS where it asks for that, and returns its response.
async fn greet(
    mut client: Wire<Stream>,
    (greeting, compression): (&[u8], &[Algorithm]),
    shared: &Shared,
    limits: &Limits<'_>,
) -> Result<Answered, Left> {
    let answered = limits
        .bound(async {
            client.send(greeting).await?;
            client.receive().await
        })
        .await;
    let mut response = match settle(answered) {
        Ok(response) => response,
        Err(error) => {
            return Err(Left {
                client: Some(client),
                error,
            });
        }
    };
    if let Some(certificate) = &shared.certificate
        && is_tls_request(&response)
    {
        let (seq, acceptor) = (client.seq(), certificate.acceptor());
        let secured = limits.bound(acceptor.accept(client.into_stream())).await;
        match secured {
            Ok(Ok(stream)) => client = Wire::resumed(Stream::tls(stream), seq),
            failed => {
                shared.metrics.tls_failed();
                if let Ok(Err(cause)) = failed {
                    debug!(%cause, "a client's TLS handshake failed");
                }
                return Err(Left::SILENTLY);
            }
        }
        response = match settle(limits.bound(client.receive()).await) {
            Ok(response) => response,
            Err(error) => {
                return Err(Left {
                    client: Some(client),
                    error,
                });
            }
        };
    }
    count_client(shared, &mut client);
    let link = client.stream().link();
    if let Err(error) = greeting::check(&response, link == Link::Tls, compression) {
        return Err(Left::with(client, error));
    }
    if shared.config.tls.ssl_mode == SslMode::Required && link == Link::Plain {
        let error = ErrPacket::new(
            3159,
            "HY000",
            "Connections using insecure transport are prohibited while --require_secure_transport=ON.",
        );
        return Err(Left::with(client, error));
    }
    let compression = match greeting::take_compression(&mut response, compression) {
        Ok(compression) => compression,
        Err(error) => return Err(Left::with(client, error)),
    };
    let parsed = HandshakeResponse::parse(&response);
    Ok(Answered {
        client,
        user: parsed.map_or(Vec::new(), |response| greeting::user(&response)),
        wanted: response_capabilities(&response).unwrap_or(Capabilities::empty()),
        response,
        compression,
    })
}

/// What came of waiting for the client's packet, or what it gets: nothing when it has left.
fn settle(
    received: Result<io::Result<Payload>, ErrPacket<'static>>,
) -> Result<Payload, Option<ErrPacket<'static>>> {
    match received {
        Ok(Ok(payload)) => Ok(payload),
        Ok(Err(cause)) => Err(wrong_packet(&cause)),
        Err(late) => Err(Some(late)),
    }
}

/// The error for a packet that can't be taken; `None` when the connection is gone.
fn wrong_packet(cause: &io::Error) -> Option<ErrPacket<'static>> {
    let fault = Fault::of(cause).unwrap_or(Fault::OutOfOrder);
    (cause.kind() == io::ErrorKind::InvalidData).then(|| fault.error())
}

/// Answers the source's greeting with the client's response, and leads the rest of the authentication.
async fn authenticate(
    answered: Answered,
    greeted: Greeted,
    (shared, guest): (&Shared, &mut Guest),
    limits: &Limits<'_>,
) -> Option<Met> {
    let Answered {
        mut client,
        response,
        wanted,
        user,
        compression,
    } = answered;
    // Clients also set what was not offered, and don't use it.
    let capabilities = wanted & greeted.capabilities;
    let upstream_link = match greeted.tls {
        true => Link::Tls,
        false => greeted.wire.stream().link(),
    };
    let mut bridge = Bridge::new(client.stream().link(), upstream_link, greeted.nonce);
    let session = Session::of(&response, greeted.version);
    let mut response = bridge.response(response, capabilities);
    let mut upstream = greeted.wire;
    let request = greeting::fit(&mut response, greeted.tls);
    if greeted.tls {
        match secure(
            upstream,
            request,
            client.stream().is_vouched_for(),
            shared,
            limits,
        )
        .await
        {
            Ok(secured) => upstream = secured,
            Err(error) => {
                shared.metrics.upstream_failed();
                warn!(upstream = %shared.upstream.address(), error = %error.text(), "the source can't be reached for a client");
                Left::with(client, error).say_farewell(shared).await;
                return None;
            }
        }
    }
    let exchange = async {
        if upstream.send(&response).await.is_err() {
            return Outcome::UpstreamGone;
        }
        exchange(&mut client, &mut upstream, &mut bridge, (shared, guest, &user)).await
    };
    let outcome = limits.hold(exchange).await;
    count_client(shared, &mut client);
    shared.metrics.read_from_upstream(upstream.take_received());
    let phase = match outcome {
        Outcome::Over(Some(status)) => Phase::new(capabilities, status),
        Outcome::ClientGone => {
            abandon(upstream, &bridge, shared).await;
            return None;
        }
        Outcome::Told => {
            quit(upstream.into_stream()).await;
            farewell(client.into_stream(), None).await;
            return None;
        }
        Outcome::Over(None) | Outcome::UpstreamGone => {
            farewell(client.into_stream(), None).await;
            return None;
        }
        Outcome::Refused(error) => {
            let farewell = Left::with(client, error).say_farewell(shared);
            tokio::join!(abandon(upstream, &bridge, shared), farewell);
            return None;
        }
    };
    let client = client.into_stream();
    Some(Met {
        client: match compression {
            Some(method) => client.compressed(method, Arc::clone(&shared.contexts)),
            None => client,
        },
        upstream: upstream.into_stream(),
        bridge,
        phase,
        session,
    })
}

/// Goes over to TLS with the source.
async fn secure(
    mut upstream: Wire<Stream>,
    request: Option<Vec<u8>>,
    vouched_for: bool,
    shared: &Shared,
    limits: &Limits<'_>,
) -> Result<Wire<Stream>, ErrPacket<'static>> {
    let request = request.ok_or_else(|| ErrPacket::new(1043, "08S01", "Bad handshake"))?;
    let address = shared.upstream.address();
    let work = async {
        upstream.send(&request).await.map_err(|cause| {
            ErrPacket::new(
                2013,
                "HY000",
                format!("Lost connection to MySQL server on '{address}' before TLS ({cause})"),
            )
        })?;
        let seq = upstream.seq();
        let stream = shared
            .upstream
            .secure(upstream.into_stream(), vouched_for)
            .await?;
        Ok(Wire::resumed(stream, seq))
    };
    match limits.bound(timeout(shared.config.connect_timeout, work)).await? {
        Ok(secured) => secured,
        Err(_elapsed) => Err(ErrPacket::new(
            2026,
            "HY000",
            format!("SSL connection error between the proxy and '{address}': it takes too long"),
        )),
    }
}

fn count_client(shared: &Shared, client: &mut Wire<Stream>) {
    shared.metrics.read_from_client(client.take_received());
}

/// Leads the authentication that the client's next packet, COM_CHANGE_USER, begins.
pub(crate) async fn change_user(
    client: &mut Wire<&mut Stream>,
    upstream: &mut Wire<&mut Stream>,
    bridge: &mut Bridge,
    (shared, guest): (&Shared, &mut Guest),
) -> Outcome {
    let (command, user) = match client.receive().await {
        Ok(command) => {
            let user = greeting::other_user(&command);
            (bridge.change_user(command), user)
        }
        Err(cause) => return wrong_packet(&cause).map_or(Outcome::ClientGone, Outcome::Refused),
    };
    if upstream.send(&command).await.is_err() {
        return Outcome::UpstreamGone;
    }
    let outcome = exchange(client, upstream, bridge, (shared, guest, &user)).await;
    if let Outcome::Over(Some(_)) = outcome {
        guest.record.changed_user(&user);
    }
    outcome
}

/// Passes packets as the bridge says until authentication is over. Whom the source lets in takes a place among its user's sessions: not
/// before, so that nobody takes the places of a user without knowing the password.
async fn exchange<C, U>(
    client: &mut Wire<C>,
    upstream: &mut Wire<U>,
    bridge: &mut Bridge,
    (shared, guest, user): (&Shared, &mut Guest, &[u8]),
) -> Outcome
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let act = tokio::select! {
            // Receiving is cancellation-safe.
            biased;
            payload = upstream.receive() => match payload {
                Ok(payload) => bridge.upstream_payload(payload),
                Err(_gone) => return Outcome::UpstreamGone,
            },
            payload = client.receive() => match payload {
                Ok(payload) => bridge.client_payload(payload, shared.key.as_deref()),
                Err(cause) => return wrong_packet(&cause).map_or(Outcome::ClientGone, Outcome::Refused),
            },
        };
        if let Act::Over(_, Some(_)) = &act
            && let Err(refusal) = guest.seat.is_of(user, shared.config.max_connections_per_user)
        {
            shared.note(&refusal);
            // Heard or not.
            client.send(&refusal.error().encode()).await.ok();
            return Outcome::Told;
        }
        let sent = match &act {
            Act::ToUpstream(payload) => upstream
                .send(payload)
                .await
                .map_err(|_gone| Outcome::UpstreamGone),
            Act::ToClient(payload) | Act::Over(payload, _) => {
                client.send(payload).await.map_err(|_gone| Outcome::ClientGone)
            }
            Act::Refuse(_) => Ok(()),
        };
        if let Act::Over(payload, None) = &act
            && let Ok(error) = ErrPacket::parse(payload)
        {
            shared.metrics.error(Origin::Source, error.code);
        }
        match (sent, act) {
            // Its session has begun, and there is nothing more that the source waits for.
            (Err(_gone), Act::Over(_, Some(_))) => return Outcome::Told,
            (Err(gone), _) => return gone,
            (Ok(()), Act::Over(_, status)) => return Outcome::Over(status),
            (Ok(()), Act::Refuse(error)) => return Outcome::Refused(error),
            (Ok(()), Act::ToUpstream(_) | Act::ToClient(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    /// Sources count handshakes that break off; a login without a password fails, whatever the plugin.
    #[tokio::test]
    async fn what_a_client_left_is_brought_to_its_end() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let mut source = Wire::new(Stream::Unix(far));
        let playing = async {
            source.send(b"greeting").await.expect("sent");
            let response = source.receive().await.expect("a response");
            let parsed = HandshakeResponse::parse(&response).expect("understood");
            assert_eq!(
                (parsed.user, parsed.auth_response),
                (&b"outrigger-nobody"[..], &b""[..])
            );
            for (question, answer) in [
                (
                    &b"\xfemysql_native_password\0nnnnnnnnnnnnnnnnnnnn\0"[..],
                    &b""[..],
                ),
                (b"\x01\x04", b"\0"),
            ] {
                source.send(question).await.expect("sent");
                assert_eq!(*source.receive().await.expect("an answer"), answer);
            }
            let error = ErrPacket::new(1045, "28000", "Access denied");
            source.send(&error.encode()).await.expect("sent");
        };
        let leaving = async {
            let limits = Limits::new(Duration::from_secs(60));
            let mut upstream = Wire::new(Stream::Unix(near));
            upstream.receive().await.expect("a greeting");
            upstream.send(&nobody(false).0).await.expect("sent");
            let_fail(&mut upstream, &limits).await;
        };
        tokio::join!(playing, leaving);
    }
}
