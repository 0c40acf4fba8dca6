//! A proxy over unix sockets, a source that the test plays, and a client's words.

use super::*;

pub(super) const PLAIN: Capabilities = Capabilities::PROTOCOL_41.union(Capabilities::SECURE_CONNECTION);

/// A proxy over unix sockets, and a source that greets and says OK to nearly every packet of a client's.
pub(super) struct Rig {
    pub(super) folder: tempfile::TempDir,
    pub(super) addresses: Vec<ListenAddress>,
    pub(super) listening: Listening,
    pub(super) roster: Arc<Roster>,
    pub(super) reloader: Reloader,
    pub(super) config: Config,
    pub(super) cancel: CancellationToken,
    pub(super) running: JoinHandle<Result<(), Error>>,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<Metrics>,
}

impl Rig {
    pub(super) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::before(change, play_source).await
    }

    /// A proxy before a source that `play` plays on each connection.
    pub(super) async fn before<P, F>(change: impl FnOnce(&mut Config), play: P) -> Self
    where
        P: Fn(UnixStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::guarded(change, play, Arc::new(PassAll)).await
    }

    pub(super) async fn guarded<P, F>(
        change: impl FnOnce(&mut Config),
        play: P,
        guard: Arc<dyn Guard>,
    ) -> Self
    where
        P: Fn(UnixStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let folder = tempfile::tempdir().expect("a folder");
        let source = UnixListener::bind(folder.path().join("source")).expect("a source");
        tokio::spawn(async move {
            while let Ok((stream, _)) = source.accept().await {
                tokio::spawn(play(stream));
            }
        });
        let mut config = Config {
            listen: vec![ListenAddress::Unix(folder.path().join("proxy")).into()],
            drain_timeout: Duration::from_millis(300),
            ..Config::default()
        };
        change(&mut config);
        let proxy = Proxy::bind(config.clone(), endpoint(folder.path().join("source")))
            .await
            .expect("bound")
            .guarded_by(guard);
        let listening = proxy.listening();
        let addresses = listening.addresses();
        let (roster, gate, metrics) = (proxy.roster(), proxy.gate(), proxy.metrics());
        let cancel = CancellationToken::new();
        let (ready, reloader) = proxy.reloadable();
        let running = tokio::spawn(ready.run(cancel.clone()));
        Self {
            folder,
            addresses,
            listening,
            roster,
            gate,
            metrics,
            reloader,
            config,
            cancel,
            running,
        }
    }

    /// Waits until so many clients are as `wanted` says.
    pub(super) async fn until(&self, wanted: impl Fn(&Seen) -> bool, count: usize) {
        while self.roster.list().iter().filter(|seen| wanted(seen)).count() != count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the commands of so many clients are held back.
    pub(super) async fn until_held(&self, count: usize) {
        self.until(|seen| seen.activity == Activity::Held, count).await;
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("proxy")
    }

    pub(super) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.expect("connected")
    }

    /// A client that has authenticated.
    pub(super) async fn enter(&self) -> UnixStream {
        let mut client = self.connect().await;
        receive(&mut client).await;
        respond(&mut client, PLAIN).await;
        assert_eq!(receive(&mut client).await.1[0], 0);
        client
    }

    /// A client over TCP, at the entry of `listen` with this index.
    pub(super) async fn connect_over_tcp(&self, index: usize) -> TcpStream {
        let ListenAddress::Tcp(address) = &self.addresses[index] else {
            unreachable!("the test listens there")
        };
        TcpStream::connect(address).await.expect("connected")
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        self.running.await.expect("joined").expect("drained");
        assert!(!self.folder.path().join("proxy").exists());
    }
}

/// A source behind a unix socket.
pub(super) fn endpoint(path: PathBuf) -> Endpoint {
    Endpoint {
        address: Address::Socket(path),
        user: String::new(),
        password: Secret::default(),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_identity: None,
    }
}

pub(super) async fn play_source(stream: UnixStream) {
    play_source_that_offers(stream, Capabilities::all()).await;
}

/// A source's greeting.
pub(super) fn greeting(capabilities: Capabilities) -> Vec<u8> {
    let greeting = Greeting {
        server_version: b"9.7.4".to_vec(),
        connection_id: 7,
        capabilities,
        collation: 255,
        status: StatusFlags::AUTOCOMMIT,
        auth_data: vec![b'n'; 20],
        auth_plugin: b"caching_sha2_password".to_vec(),
    };
    greeting.encode()
}

pub(super) async fn play_source_that_offers(mut stream: UnixStream, capabilities: Capabilities) {
    send(&mut stream, &greeting(capabilities), 0).await;
    let mut open = false;
    loop {
        let mut header = [0; 4];
        if stream.read_exact(&mut header).await.is_err() {
            return;
        }
        let mut payload = vec![0; usize::from(header[0])];
        stream.read_exact(&mut payload).await.expect("a payload");
        if payload.ends_with(b"DEADLOCK") || payload.ends_with(b"CALL") {
            // Fails: the one ends a transaction, the other has begun one.
            open = payload.ends_with(b"CALL");
            let error = ErrPacket::new(1213, "40001", "Deadlock found");
            send(&mut stream, &error.encode(), header[3] + 1).await;
            continue;
        }
        open = payload.ends_with(b"BEGIN") || open && payload == b"\x0e";
        let status = match open {
            true => StatusFlags::IN_TRANS,
            false => StatusFlags::AUTOCOMMIT,
        };
        send(
            &mut stream,
            &OkPacket {
                status,
                ..OkPacket::default()
            }
            .encode(PLAIN),
            header[3] + 1,
        )
        .await;
    }
}

pub(super) async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), payload: &[u8], seq: u8) {
    let mut bytes = Vec::new();
    put(&mut bytes, payload, seq);
    stream.write_all(&bytes).await.expect("written");
}

pub(super) async fn respond(client: &mut (impl AsyncRead + AsyncWrite + Unpin), wanted: Capabilities) {
    send(client, &response("app", wanted), 1).await;
}

/// A response with an empty password.
pub(super) fn response(user: &str, wanted: Capabilities) -> Vec<u8> {
    [
        wanted.bits().to_le_bytes().as_slice(),
        &[0; 28],
        user.as_bytes(),
        b"\0\0",
    ]
    .concat()
}

/// The next packet's sequence number and payload.
pub(super) async fn receive(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (u8, Vec<u8>) {
    try_receive(stream).await.expect("a packet")
}

/// `None` when the other side has closed.
pub(super) async fn try_receive(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(found) = join(&bytes, 1 << 20).expect("packets") {
            return Some((found.next_seq.wrapping_sub(1), found.payload.into_owned()));
        }
        bytes.push(stream.read_u8().await.ok()?);
    }
}

pub(super) async fn receive_error(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (u8, u16, String) {
    let (seq, payload) = receive(stream).await;
    assert_eq!(payload.first(), Some(&ERR), "{payload:?}");
    let error = ErrPacket::parse(&payload).expect("an error");
    assert_eq!(stream.read(&mut [0; 1]).await.expect("closed"), 0);
    (seq, error.code, error.text().into_owned())
}
