//! Another configuration and other addresses while the proxy runs.

use super::rig::*;
use super::*;

#[tokio::test]
async fn another_configuration_holds_for_those_who_come_then() {
    let rig = Rig::start(|config| {
        config.max_connections = 1;
        config
            .listen
            .push(ListenAddress::Tcp(([127, 0, 0, 1], 0).into()).into());
    })
    .await;
    let mut first = rig.enter().await;
    assert_eq!(receive_error(&mut rig.connect().await).await.1, 1040);
    // One that does not hold changes nothing.
    let broken = Config {
        max_connections: 0,
        ..rig.config.clone()
    };
    assert!(rig.reloader.prepare(broken).await.is_err());
    let without_files = TlsConfig {
        ssl_mode: SslMode::Required,
        cert: Some(rig.folder.path().join("none")),
        key: Some(rig.folder.path().join("none")),
        client_ca: None,
    };
    let broken = Config {
        max_connections: 9,
        tls: without_files,
        ..rig.config.clone()
    };
    assert!(matches!(
        rig.reloader.prepare(broken).await,
        Err(Error::Certificate(_))
    ));
    assert_eq!(receive_error(&mut rig.connect().await).await.1, 1040);
    // Another limit, and a list for an address that is at another place.
    let mut changed = Config {
        max_connections: 3,
        ..rig.config.clone()
    };
    changed.listen.reverse();
    changed.listen[0].deny = Some(vec!["127.0.0.1".parse().expect("a network")]);
    rig.reloader
        .prepare(changed.clone())
        .await
        .expect("it holds")
        .take_up();
    let mut second = rig.enter().await;
    assert_eq!(receive_error(&mut rig.connect_over_tcp(1).await).await.1, 1130);
    for client in [&mut first, &mut second] {
        send(client, b"\x0e", 0).await;
        assert_eq!(receive(client).await.1[0], 0);
    }
    rig.stop().await;
}

/// Waits until nobody listens at a unix socket any more.
async fn gone(path: &Path) {
    let waiting = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    gone.expect("the socket is closed");
}

#[tokio::test]
async fn other_addresses_take_the_place_of_those_before() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let narrow: ListenAddress = format!("127.0.0.1:{port}").parse().expect("an address");
    let mut rig = Rig::start(|config| config.listen.push(narrow.clone().into())).await;
    let listening = rig.listening.clone();
    let mut first = rig.enter().await;
    let before = rig.config.clone();
    let (path, other) = (rig.path(), rig.folder.path().join("other"));

    // An address that is taken: nothing changes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = ListenAddress::Tcp(taken.local_addr().expect("bound"));
    let mut broken = before.clone();
    broken.listen = vec![ListenAddress::Unix(other.clone()).into(), taken.into()];
    assert!(matches!(
        rig.reloader.prepare(broken).await,
        Err(Error::Listen { .. })
    ));
    assert!(!other.exists());
    rig.enter().await;
    drop(rig.connect_over_tcp(1).await);

    // Wider than the one before, of the same port, and another path: as in the configuration from now on.
    let wide: ListenAddress = format!("0.0.0.0:{port}").parse().expect("an address");
    let mut changed = before.clone();
    changed.listen = vec![wide.clone().into(), ListenAddress::Unix(other.clone()).into()];
    rig.reloader
        .prepare(changed.clone())
        .await
        .expect("it holds")
        .take_up();
    assert_eq!(listening.addresses(), [wide, ListenAddress::Unix(other.clone())]);
    rig.addresses = listening.addresses();
    UnixStream::connect(&other).await.expect("connected");
    // Nobody is at the former ones soon, and who came there stays.
    gone(&path).await;
    send(&mut first, b"\x0e", 0).await;
    assert_eq!(receive(&mut first).await.1[0], 0);
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    receive(&mut client).await;
    // Nobody else's process may share the port.
    let shared = tokio::net::TcpSocket::new_v4().expect("a socket");
    shared.set_reuseaddr(true).expect("set");
    assert!(shared.bind(([127, 0, 0, 1], port).into()).is_err());

    // And back; what was prepared and is not taken up changes nothing.
    drop(rig.reloader.prepare(before.clone()).await.expect("it holds"));
    assert!(!path.exists());
    rig.reloader.prepare(before).await.expect("it holds").take_up();
    rig.enter().await;
    gone(&other).await;
    rig.reloader.prepare(changed).await.expect("it holds").take_up();
    rig.stop().await;
    assert!(!path.exists() && !other.exists());
}

/// Two addresses take each other's place again and again; every client that connects in the meantime is greeted.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_addresses_change_is_let_in() {
    let address = |text: &str| text.parse::<ListenAddress>().expect("an address");
    let rig = Rig::start(|config| config.listen = vec![address("127.0.0.1:0").into()]).await;
    let ListenAddress::Tcp(bound) = rig.addresses[0].clone() else {
        panic!("not TCP");
    };
    let addresses = ["0.0.0.0", "127.0.0.1"].map(|ip| address(&format!("{ip}:{}", bound.port())));
    let done = CancellationToken::new();
    let greeted: Arc<[AtomicUsize; 4]> = Arc::default();
    let clients: Vec<_> = (0..greeted.len())
        .map(|number| {
            let (done, greeted) = (done.clone(), Arc::clone(&greeted));
            tokio::spawn(async move {
                while !done.is_cancelled() {
                    let mut client = TcpStream::connect(bound).await.expect("connected");
                    receive(&mut client).await;
                    greeted[number].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // At first the address that it began with.
    for listen in [&addresses[1], &addresses[0]].into_iter().cycle().take(7) {
        if rig.listening.addresses() != [listen.clone()] {
            let mut changed = rig.config.clone();
            changed.listen = vec![listen.clone().into()];
            rig.reloader.prepare(changed).await.expect("it holds").take_up();
        }
        let before = greeted.each_ref().map(|count| count.load(Ordering::Relaxed));
        // The second one came when that address was there.
        while { greeted.iter().zip(before) }.any(|(now, before)| now.load(Ordering::Relaxed) < before + 2) {
            assert!(!clients.iter().any(JoinHandle::is_finished), "not let in");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    done.cancel();
    for client in clients {
        client.await.expect("all are greeted");
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_address_that_was_just_given_up_can_be_taken_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let bound = free.local_addr().expect("bound");
    drop(free);
    let rig = Rig::start(|config| config.listen.push(ListenAddress::Tcp(bound).into())).await;
    let both = rig.config.clone();
    let mut fewer = both.clone();
    fewer.listen.pop();
    for _ in 0..3 {
        let mut early = TcpStream::connect(bound).await.expect("connected");
        for config in [&fewer, &both] {
            let prepared = rig.reloader.prepare(config.clone()).await;
            prepared.expect("it holds").take_up();
        }
        receive(&mut early).await;
        let mut client = TcpStream::connect(bound).await.expect("connected");
        receive(&mut client).await;
    }
    rig.stop().await;
}
