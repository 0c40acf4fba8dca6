//! A whole proxy between clients and a source that the test plays.

mod native_password;
mod reload;
mod rig;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use outrigger_protocol::endpoint::{Address, Secret, TlsMode};
use outrigger_protocol::handshake::{Capabilities, Greeting, StatusFlags};
use outrigger_protocol::packet::{join, put};
use outrigger_protocol::reply::{ERR, ErrPacket, OkPacket};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::*;
use crate::compression::Algorithm;
use crate::config::{Listen, ListenAddress, SslMode, TlsConfig};
use crate::guard::{self, Command, Policy, Session, Verdict, Watched};
use crate::roster::{Activity, Seen};

use self::rig::*;

#[tokio::test]
async fn greetings_are_masked_and_wishes_checked() {
    let rig = Rig::start(|_| {}).await;
    let mut client = rig.connect().await;
    let greeting = Greeting::parse(&receive(&mut client).await.1).expect("a greeting");
    assert_eq!(greeting.capabilities, Capabilities::all() - Capabilities::SSL);
    respond(&mut client, PLAIN | Capabilities::SSL).await;
    let (seq, code, text) = receive_error(&mut client).await;
    assert_eq!((seq, code), (2, 1043));
    assert!(text.contains("ssl-mode"), "{text}");
    // Nobody would know who it is.
    let mut nobody = rig.connect().await;
    receive(&mut nobody).await;
    send(&mut nobody, &response("app", PLAIN)[..34], 1).await;
    assert_eq!(
        receive_error(&mut nobody).await,
        (2, 1043, "Bad handshake".to_owned())
    );
    let counted = rig.metrics.exposition();
    assert!(
        counted.contains("errors_total{code=\"1043\",from=\"proxy\"} 2\n"),
        "{counted}"
    );
    rig.stop().await;
}

/// Nothing of the source is selected.
struct Nothing;

impl Watched for Nothing {
    fn table(&self, _database: &str, _table: &str) -> bool {
        false
    }

    fn database(&self, _database: &str) -> bool {
        false
    }

    fn may_purge(&self, _before: Option<&str>) -> bool {
        true
    }
}

/// MySQL's clients say that they know attributes of queries to every server, and send them to those that offered that.
#[tokio::test]
async fn what_the_source_did_not_offer_does_not_hold() {
    for offered in [
        Capabilities::all(),
        Capabilities::all() - Capabilities::QUERY_ATTRIBUTES,
    ] {
        let policy = Policy::new(&guard::Config::default(), Arc::new(Nothing));
        let play = move |stream| play_source_that_offers(stream, offered);
        let rig = Rig::guarded(|_| {}, play, Arc::new(policy)).await;
        let mut client = rig.connect().await;
        receive(&mut client).await;
        respond(&mut client, PLAIN | Capabilities::QUERY_ATTRIBUTES).await;
        assert_eq!(receive(&mut client).await.1[0], 0);
        let attributes: &[u8] = match offered.contains(Capabilities::QUERY_ATTRIBUTES) {
            true => b"\0\x01",
            false => b"",
        };
        let command = [b"\x03", attributes, b"SET sql_log_bin=0"].concat();
        send(&mut client, &command, 0).await;
        let (seq, payload) = receive(&mut client).await;
        let error = ErrPacket::parse(&payload).expect("an error");
        assert_eq!((seq, error.code), (1, 1235), "{offered:?}");
        drop(client);
        rig.stop().await;
    }
}

/// Who is let in and can't be told so has a session at the source that is ended at once, also where the proxy refuses it.
#[tokio::test]
async fn who_breaks_off_as_it_is_let_in_is_logged_out() {
    for most in [0, 1] {
        let (heard, mut hears) = tokio::sync::mpsc::channel(2);
        let play = move |mut stream: UnixStream| {
            let heard = heard.clone();
            async move {
                send(&mut stream, &greeting(Capabilities::all()), 0).await;
                receive(&mut stream).await;
                send(&mut stream, &OkPacket::default().encode(PLAIN), 2).await;
                heard.send(try_receive(&mut stream).await).await.ok();
            }
        };
        let rig = Rig::before(|config| config.max_connections_per_user = most, play).await;
        let _first = match most {
            0 => None,
            _ => Some(rig.enter().await),
        };
        let mut client = rig.connect().await;
        receive(&mut client).await;
        let reads_no_more = SockRef::from(&client).shutdown(std::net::Shutdown::Read);
        reads_no_more.expect("shut down");
        respond(&mut client, PLAIN).await;
        let said = tokio::time::timeout(Duration::from_secs(60), hears.recv()).await;
        assert_eq!(said.expect("soon"), Some(Some((0, b"\x01".to_vec()))), "{most}");
        rig.stop().await;
    }
}

/// A packet in a compressed packet that does not compress it.
fn stored(payload: &[u8], seq: u8, number: u8) -> Vec<u8> {
    let mut plain = Vec::new();
    put(&mut plain, payload, seq);
    let size = u8::try_from(plain.len()).expect("small");
    [&[size, 0, 0, number, 0, 0, 0], plain.as_slice()].concat()
}

/// The packet in a compressed packet that is too short to be compressed: the number of the one outside, of the one inside, and the payload.
async fn receive_stored(stream: &mut UnixStream) -> (u8, u8, Vec<u8>) {
    let mut header = [0; 7];
    stream.read_exact(&mut header).await.expect("a header");
    assert_eq!((&header[1..3], &header[4..]), (&[0; 2][..], &[0; 3][..]));
    let mut plain = vec![0; usize::from(header[0])];
    stream.read_exact(&mut plain).await.expect("a packet");
    (header[3], plain[3], plain.split_off(4))
}

/// Login is not compressed, the first command is; numbers count as the client counts, and what the proxy says by itself is understood. The
/// source hears nothing of it all.
#[tokio::test]
async fn a_session_is_compressed_from_its_first_command_on() {
    let rig = Rig::start(|_| {}).await;
    let mut client = rig.connect().await;
    receive(&mut client).await;
    respond(&mut client, PLAIN | Capabilities::COMPRESS).await;
    assert_eq!(
        receive(&mut client).await.1[0],
        0,
        "the end of the login as it is"
    );
    let found = rig.roster.list();
    assert_eq!(found[0].compression, Some("zlib"));
    for command in [b"\x0e", b"\x1f"] {
        // The number inside is the client's own affair.
        client.write_all(&stored(command, 7, 0)).await.expect("written");
        let (outside, inside, payload) = receive_stored(&mut client).await;
        assert_eq!((outside, inside, payload[0]), (1, 1, 0));
    }
    // Another account, whose login is compressed, too.
    let change = b"\x11other\0\0shop\0\x2d\0caching_sha2_password\0";
    client.write_all(&stored(change, 0, 0)).await.expect("written");
    let (outside, inside, payload) = receive_stored(&mut client).await;
    assert_eq!((outside, inside, payload[0]), (1, 1, 0));
    // Its turn to speak is over, so this is an answer to what it has not asked yet.
    rig.cancel.cancel();
    let (outside, inside, payload) = receive_stored(&mut client).await;
    let error = ErrPacket::parse(&payload).expect("an error");
    assert_eq!((outside, inside, error.code), (1, 1, 1053));
    assert_eq!(client.read(&mut [0; 1]).await.expect("closed"), 0);
    drop(client);
    rig.stop().await;
}

#[tokio::test]
async fn compression_is_offered_as_the_address_says() {
    use crate::compression::Algorithm::{Uncompressed, Zlib, Zstd};
    let both = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
    let rig = Rig::start(|config| {
        let tcp = |compression: Option<Vec<Algorithm>>| Listen {
            compression,
            ..ListenAddress::Tcp(([127, 0, 0, 1], 0).into()).into()
        };
        config.compression = vec![Uncompressed];
        let lists = [None, Some(vec![Zlib, Uncompressed]), Some(vec![Zstd])];
        config.listen.extend(lists.map(tcp));
    })
    .await;
    let offers = [
        (1, Capabilities::empty()),
        (2, Capabilities::COMPRESS),
        (3, Capabilities::ZSTD_COMPRESSION),
    ];
    for (index, offered) in offers {
        let mut client = rig.connect_over_tcp(index).await;
        let greeting = Greeting::parse(&receive(&mut client).await.1).expect("a greeting");
        assert_eq!(greeting.capabilities & both, offered);
        respond(&mut client, PLAIN | (both - offered)).await;
        let (seq, code, _) = receive_error(&mut client).await;
        assert_eq!((seq, code), (2, 1043));
    }
    let mut client = rig.connect_over_tcp(3).await;
    receive(&mut client).await;
    respond(&mut client, PLAIN).await;
    assert_eq!(receive_error(&mut client).await.1, 3922);
    rig.stop().await;
}

#[tokio::test]
async fn one_client_too_many_is_told() {
    let rig = Rig::start(|config| config.max_connections = 1).await;
    let first = rig.enter().await;
    let refused = receive_error(&mut rig.connect().await).await;
    assert_eq!(refused, (0, 1040, "Too many connections".to_owned()));
    drop(first);
    // The place is free again once the proxy has noticed.
    let free = async {
        loop {
            if receive(&mut rig.connect().await).await.1[0] == 10 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free)
        .await
        .expect("a free place");
    rig.stop().await;
}

#[tokio::test]
async fn access_lists_hold_for_their_listeners() {
    let rig = Rig::start(|config| {
        let tcp = |allow: Option<&str>, deny: Option<&str>| Listen {
            allow: allow.map(|text| vec![text.parse().expect("a network")]),
            deny: deny.map(|text| vec![text.parse().expect("a network")]),
            ..ListenAddress::Tcp(([127, 0, 0, 1], 0).into()).into()
        };
        config.allow = vec!["192.0.2.0/24".parse().expect("a network")];
        config.listen.extend([
            tcp(None, None),
            tcp(Some("127.0.0.0/8"), None),
            tcp(Some("127.0.0.0/8"), Some("127.0.0.1")),
        ]);
    })
    .await;
    let refusal = "Host '127.0.0.1' is not allowed to connect to this MySQL server".to_owned();
    for (index, admitted) in [(1, false), (2, true), (3, false)] {
        let mut client = rig.connect_over_tcp(index).await;
        if admitted {
            assert_eq!(receive(&mut client).await.1[0], 10);
        } else {
            assert_eq!(receive_error(&mut client).await, (0, 1130, refusal.clone()));
        }
    }
    // Clients of a unix socket have no address.
    rig.enter().await;
    rig.stop().await;
}

#[tokio::test]
async fn connections_are_limited_by_address() {
    let rig = Rig::start(|config| {
        config.max_connections_per_address = 1;
        config
            .listen
            .push(ListenAddress::Tcp(([127, 0, 0, 1], 0).into()).into());
    })
    .await;
    let mut first = rig.connect_over_tcp(1).await;
    assert_eq!(receive(&mut first).await.1[0], 10);
    let refused = receive_error(&mut rig.connect_over_tcp(1).await).await;
    assert_eq!(
        refused,
        (0, 1040, "Too many connections from '127.0.0.1'".to_owned())
    );
    rig.enter().await;
    rig.enter().await;
    drop(first);
    let free = async { while receive(&mut rig.connect_over_tcp(1).await).await.1[0] != 10 {} };
    tokio::time::timeout(Duration::from_secs(10), free)
        .await
        .expect("a free place");
    rig.stop().await;
}

#[tokio::test]
async fn sessions_are_limited_by_user_once_they_are_authenticated() {
    let rig = Rig::start(|config| config.max_connections_per_user = 1).await;
    // Who has not shown a password takes no place.
    let mut undecided = rig.connect().await;
    receive(&mut undecided).await;
    let mut first = rig.enter().await;
    let full = |seq, user: &str| {
        let text = format!("User {user} already has more than 'max_user_connections' active connections");
        (seq, 1203, text)
    };
    respond(&mut undecided, PLAIN).await;
    assert_eq!(receive_error(&mut undecided).await, full(2, "app"));
    // The source lets these in as the same.
    let odd = Capabilities::CONNECT_ATTRS | Capabilities::PLUGIN_AUTH;
    let attributes = [&response("app", PLAIN | odd)[..], b"plugin\0\x03\xc8ab"].concat();
    for response in [response("'app'", PLAIN), attributes] {
        let mut again = rig.connect().await;
        receive(&mut again).await;
        send(&mut again, &response, 1).await;
        assert_eq!(receive_error(&mut again).await, full(2, "app"));
    }
    // Another user may, and may not become the first.
    let mut other = rig.connect().await;
    receive(&mut other).await;
    send(&mut other, &response("other", PLAIN), 1).await;
    assert_eq!(receive(&mut other).await.1[0], 0);
    send(&mut other, b"\x11app\0\0\0\0", 0).await;
    assert_eq!(receive_error(&mut other).await, full(1, "app"));
    // A session that changes its user leaves the place.
    send(&mut first, b"\x11app\0\0\0", 0).await;
    assert_eq!(receive(&mut first).await.1[0], 0);
    send(&mut first, b"\x11third\0\0\0", 0).await;
    assert_eq!(receive(&mut first).await.1[0], 0);
    rig.enter().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_trusted_balancer_says_who_its_client_is() {
    let rig = Rig::start(|config| {
        let tcp = Listen::from(ListenAddress::Tcp(([127, 0, 0, 1], 0).into()));
        config.deny = vec!["198.51.100.7".parse().expect("a network")];
        config.proxy_protocol = vec!["127.0.0.1".parse().expect("a network")];
        config.max_connections_per_address = 1;
        config.handshake_timeout = Duration::from_millis(300);
        config.listen.push(tcp.clone());
        config.listen.push(Listen {
            proxy_protocol: Some(Vec::new()),
            ..tcp
        });
    })
    .await;
    let through = async |header: &[u8]| {
        let mut client = rig.connect_over_tcp(1).await;
        client.write_all(header).await.expect("written");
        client
    };
    let mut first = through(b"PROXY TCP4 203.0.113.1 127.0.0.1 1000 3307\r\n").await;
    assert_eq!(receive(&mut first).await.1[0], 10);
    let seen: Vec<_> = rig.roster.list().into_iter().map(|seen| seen.client).collect();
    assert_eq!(seen, ["203.0.113.1:1000"]);
    let refusals: [(&[u8], u16, &str); 6] = [
        (
            b"PROXY TCP4 203.0.113.1 127.0.0.1 1001 3307\r\n",
            1040,
            "Too many connections from '203.0.113.1'",
        ),
        (
            b"PROXY TCP4 198.51.100.7 127.0.0.1 1 3307\r\n",
            1130,
            "Host '198.51.100.7'",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\0\x01\0\x02",
            1130,
            "Host '198.51.100.7'",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", 1043, "no PROXY protocol header"),
        // Half of one, and none: the deadline.
        (b"PROXY TCP4", 1043, "header has come"),
        (b"", 1043, "header has come"),
    ];
    for (header, code, text) in refusals {
        let (seq, found, said) = receive_error(&mut through(header).await).await;
        assert!(
            seq == 0 && found == code && said.contains(text),
            "{}: {found} {said}",
            header.escape_ascii()
        );
    }
    // A balancer that looks whether somebody is there; once for itself, once without a word.
    drop(through(b"").await);
    let mut own = through(b"PROXY UNKNOWN\r\n").await;
    assert_eq!(receive(&mut own).await.1[0], 10);
    // Who is not trusted has no say: its header is no packet.
    let mut direct = rig.connect_over_tcp(2).await;
    drop(own);
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 3307\r\n";
    while receive(&mut direct).await.1[0] != 10 {
        direct = rig.connect_over_tcp(2).await;
    }
    direct.write_all(header).await.expect("written");
    assert_eq!(receive_error(&mut direct).await.1, 1156);
    rig.stop().await;
}

#[tokio::test]
async fn a_source_that_is_down_is_said_to_be() {
    let rig = Rig::start(|_| {}).await;
    std::fs::remove_file(rig.folder.path().join("source")).expect("removed");
    let (seq, code, text) = receive_error(&mut rig.connect().await).await;
    assert_eq!((seq, code), (0, 2003));
    assert!(text.contains("try again"), "{text}");
    rig.stop().await;
}

#[tokio::test]
async fn a_source_that_is_no_server_is_said_to_be_none() {
    for (said, word) in [
        (&b"\x0a9.7.4\0\0"[..], "ends too soon"),
        (b"\x09", "version 9"),
        (b"", "ends too soon"),
    ] {
        let other = move |mut stream: UnixStream| async move { send(&mut stream, said, 0).await };
        let rig = Rig::before(|_| {}, other).await;
        let (seq, code, text) = receive_error(&mut rig.connect().await).await;
        assert!(seq == 0 && code == 2012 && text.contains(word), "{code} {text}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn slow_clients_are_closed() {
    let rig = Rig::start(|config| {
        config.handshake_timeout = Duration::from_millis(100);
        config.connect_timeout = Duration::from_millis(400);
    })
    .await;
    let mut silent = rig.connect().await;
    receive(&mut silent).await;
    let (seq, code, _) = receive_error(&mut silent).await;
    assert_eq!((seq, code), (2, 1159));
    // Who is authenticated may be as slow as the source allows.
    let mut idle = rig.enter().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    send(&mut idle, b"\x0e", 0).await;
    assert_eq!(receive(&mut idle).await.1[0], 0);
    rig.stop().await;
}

#[tokio::test]
async fn idle_clients_are_closed_and_others_are_not() {
    let rig = Rig::start(|config| config.idle_timeout = Duration::from_secs(1)).await;
    let (mut idle, mut in_transaction, mut busy) = (rig.enter().await, rig.enter().await, rig.enter().await);
    send(&mut in_transaction, b"\x03BEGIN", 0).await;
    receive(&mut in_transaction).await;
    let mut half = rig.enter().await;
    half.write_all(&[1, 0, 0]).await.expect("written");
    let over = std::cell::Cell::new(false);
    let working = async {
        // To the end of a reply.
        while !over.get() {
            send(&mut busy, b"\x0e", 0).await;
            assert_eq!(receive(&mut busy).await.1[0], 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waiting = async {
        let said = receive_error(&mut idle).await;
        over.set(true);
        said
    };
    let ((), (seq, code, text)) = tokio::join!(working, waiting);
    assert_eq!((seq, code), (1, 4031));
    assert!(
        text.starts_with("The client was disconnected by the server because of inactivity"),
        "{text}"
    );
    // Neither a transaction nor half a command is silence; the end of it is its beginning.
    half.write_all(&[0, 0x0e]).await.expect("written");
    assert_eq!(receive(&mut half).await.1[0], 0);
    send(&mut in_transaction, b"\x03COMMIT", 0).await;
    assert_eq!(receive(&mut in_transaction).await.1[0], 0);
    for client in [&mut in_transaction, &mut half, &mut busy] {
        assert_eq!(receive_error(client).await.1, 4031);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_source_that_says_nothing_is_not_waited_for() {
    let mute = |stream: UnixStream| async move {
        // Held until the proxy leaves.
        let (mut reading, _writing) = stream.into_split();
        reading.read_exact(&mut [0; 1]).await.ok();
    };
    let rig = Rig::before(|config| config.connect_timeout = Duration::from_millis(200), mute).await;
    let (seq, code, text) = receive_error(&mut rig.connect().await).await;
    assert_eq!((seq, code), (0, 2003));
    assert!(text.contains("no greeting within 200ms"), "{text}");
    rig.stop().await;
}

/// Two clients whose last command failed: none has a transaction open but the second.
async fn failed(rig: &Rig) -> (UnixStream, UnixStream) {
    let (mut over, mut open) = (rig.enter().await, rig.enter().await);
    send(&mut over, b"\x03BEGIN", 0).await;
    receive(&mut over).await;
    for (client, failing) in [(&mut over, &b"\x03DEADLOCK"[..]), (&mut open, b"\x03CALL")] {
        send(client, failing, 0).await;
        assert_eq!(receive(client).await.1[0], ERR);
    }
    (over, open)
}

#[tokio::test]
async fn who_failed_is_idle_as_soon_as_no_transaction_is_open() {
    let rig = Rig::start(|config| config.idle_timeout = Duration::from_secs(1)).await;
    let (mut over, mut open) = failed(&rig).await;
    assert_eq!(receive_error(&mut over).await.1, 4031);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    send(&mut open, b"\x03COMMIT", 0).await;
    assert_eq!(receive(&mut open).await.1[0], 0);
    assert_eq!(receive_error(&mut open).await.1, 4031);
    rig.stop().await;
}

#[tokio::test]
async fn who_failed_is_inside_of_a_hold_only_while_a_transaction_is_open() {
    let rig = Rig::start(|_| {}).await;
    let (mut over, mut open) = failed(&rig).await;
    for again in [false, true] {
        if again {
            // The sessions are asked anew.
            for client in [&mut over, &mut open] {
                send(client, b"\x03DEADLOCK", 0).await;
                assert_eq!(receive(client).await.1[0], ERR);
            }
            rig.until(|seen| seen.tied_by.contains(&"error"), 2).await;
        }
        let hold = rig.gate.hold(Duration::from_secs(60)).expect("held");
        if !again {
            let known = |seen: &Seen| !seen.tied_by.contains(&"error");
            rig.until(|seen| known(seen) && seen.in_transaction, 1).await;
            rig.until(known, 2).await;
            send(&mut over, b"\x03BEGIN", 0).await;
            rig.until_held(1).await;
            assert_eq!((hold.inside().in_transaction, hold.inside().running), (1, 0));
            send(&mut open, b"\x03COMMIT", 0).await;
            assert_eq!(receive(&mut open).await.1[0], 0);
        }
        assert_eq!(hold.settled().await, Ok(()));
        hold.release();
        if !again {
            assert_eq!(receive(&mut over).await.1[0], 0);
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn who_failed_is_drained_as_soon_as_no_transaction_is_open() {
    let rig = Rig::start(|config| config.drain_timeout = Duration::from_secs(600)).await;
    let (mut over, mut open) = failed(&rig).await;
    rig.cancel.cancel();
    assert_eq!(receive_error(&mut over).await.1, 1053);
    send(&mut open, b"\x03COMMIT", 0).await;
    assert_eq!(receive(&mut open).await.1[0], 0);
    assert_eq!(receive_error(&mut open).await.1, 1053);
    rig.stop().await;
}

#[tokio::test]
async fn draining_spares_transactions_until_the_deadline() {
    let rig = Rig::start(|_| {}).await;
    let mut idle = rig.enter().await;
    let mut finishing = rig.enter().await;
    let mut lingering = rig.enter().await;
    for client in [&mut finishing, &mut lingering] {
        send(client, b"\x03BEGIN", 0).await;
        receive(client).await;
    }
    rig.cancel.cancel();
    let farewell = (1, 1053, "Server shutdown in progress".to_owned());
    assert_eq!(receive_error(&mut idle).await, farewell);
    send(&mut finishing, b"\x03COMMIT", 0).await;
    assert_eq!(receive(&mut finishing).await.1[0], 0);
    assert_eq!(receive_error(&mut finishing).await, farewell);
    assert_eq!(receive_error(&mut lingering).await, farewell);
    rig.stop().await;
}

/// Asks for more of each command, and leaves its task nothing to do in the same go: as a session does whose both ends always have something.
struct Busy;

impl Guard for Busy {
    fn judge(&self, _command: &Command<'_>, _session: &mut Session) -> Verdict {
        let mut context = Context::from_waker(Waker::noop());
        while std::pin::pin!(tokio::task::consume_budget())
            .poll(&mut context)
            .is_ready()
        {}
        Verdict::More
    }
}

#[tokio::test]
async fn draining_does_not_wait_for_a_busy_session_to_rest() {
    let rig = Rig::guarded(|_| {}, play_source, Arc::new(Busy)).await;
    let mut client = rig.enter().await;
    // More than the relay's buffer holds, of which no more comes.
    let begun = [&b"\0\0\x10\0\x03"[..], &[b' '; 100]].concat();
    client.write_all(&begun).await.expect("written");
    rig.until(
        |seen| matches!(seen.activity, Activity::Idle) && seen.received > 100,
        1,
    )
    .await;
    rig.cancel.cancel();
    let farewell = (1, 1053, "Server shutdown in progress".to_owned());
    let told = tokio::time::timeout(Duration::from_secs(60), receive_error(&mut client)).await;
    assert_eq!(told.expect("closed at the deadline"), farewell);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_held_back_goes_on_or_is_told_that_the_proxy_stops() {
    let rig = Rig::start(|_| {}).await;
    let mut client = rig.enter().await;
    let mut other = rig.enter().await;
    // A hold that nobody releases ends by itself.
    let over = rig.gate.hold(Duration::from_millis(50)).expect("held");
    send(&mut client, b"\x0e", 0).await;
    assert_eq!(receive(&mut client).await.1[0], 0);
    assert!(!over.lasts());
    let hold = rig.gate.hold(Duration::from_secs(600)).expect("held");
    for waiting in [&mut client, &mut other] {
        send(waiting, b"\x03INSERT", 0).await;
    }
    rig.until_held(2).await;
    assert!(hold.inside().is_empty());
    // Logging in is no transaction.
    let mut late = rig.enter().await;
    hold.release();
    for waiting in [&mut client, &mut other] {
        assert_eq!(receive(waiting).await.1[0], 0);
    }
    let _hold = rig.gate.hold(Duration::from_secs(600)).expect("held");
    send(&mut late, b"\x03INSERT", 0).await;
    rig.until_held(1).await;
    rig.cancel.cancel();
    // As the reply to what was not executed.
    let farewell = (1, 1053, "Server shutdown in progress".to_owned());
    assert_eq!(receive_error(&mut late).await, farewell);
    rig.stop().await;
}

#[tokio::test]
async fn sockets_left_behind_are_replaced_and_those_in_use_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    let config = Config {
        listen: vec![ListenAddress::Unix(path).into()],
        ..Config::default()
    };
    let upstream = endpoint(folder.path().join("none"));
    let first = Proxy::bind(config.clone(), upstream.clone())
        .await
        .expect("replaced");
    let second = Proxy::bind(config, upstream).await;
    assert!(matches!(second, Err(Error::Listen { .. })));
    drop(first);
}
