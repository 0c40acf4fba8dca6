//! A relay between two ends that the test plays itself, over socket pairs.

use outrigger_protocol::handshake::{Capabilities, StatusFlags};
use outrigger_protocol::packet::put;
use outrigger_protocol::reply::OkPacket;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::account::Books;
use crate::compression::Method;
use crate::guard::{self, Command, PassAll, Policy, Verdict, Watched};
use crate::hold::Gate;
use crate::metrics::Metrics;
use crate::roster::{Entry, Roster};
use crate::slow::Allowance;

/// Refuses queries that contain `DROP`, once it has seen all of them.
struct NoDrop;

impl Guard for NoDrop {
    fn judge(&self, command: &Command<'_>, _session: &mut Session) -> Verdict {
        if command.more {
            Verdict::More
        } else if command.payload.windows(4).any(|window| window == b"DROP") {
            Verdict::Refuse(ErrPacket::new(1235, "42000", "not while it is being copied"))
        } else {
            Verdict::Pass
        }
    }
}

fn relay(guard: Arc<dyn Guard>) -> (UnixStream, Relay, UnixStream) {
    let (client, relay, server, _place) = gated(guard);
    (client, relay, server)
}

/// A relay whose session may be held, and its place in the roster.
fn gated(guard: Arc<dyn Guard>) -> (UnixStream, Relay, UnixStream, (Arc<Gate>, Entry)) {
    let (client, inner) = UnixStream::pair().expect("a pair");
    let (outer, server) = UnixStream::pair().expect("a pair");
    let phase = Phase::new(
        Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF,
        StatusFlags::AUTOCOMMIT,
    );
    let roster = Roster::new();
    let gate = Gate::new(Arc::clone(&roster));
    let entry = roster.enter("test".to_owned(), Arc::from("test"));
    let books = Books {
        gate: Arc::clone(&gate),
        metrics: Arc::new(Metrics::new()),
        slow: None,
        allowance: Arc::new(Allowance::new()),
    };
    let account = Account::new(books, Arc::clone(&entry));
    (
        client,
        Relay::new(
            Stream::Unix(inner),
            Stream::Unix(outer),
            phase,
            (guard, Session::default()),
            account,
        ),
        server,
        (gate, entry),
    )
}

fn packets(payloads: &[&[u8]], first: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut seq = first;
    for payload in payloads {
        seq = put(&mut out, payload, seq);
    }
    out
}

fn ok() -> Vec<u8> {
    OkPacket {
        status: StatusFlags::AUTOCOMMIT,
        ..OkPacket::default()
    }
    .encode(Capabilities::PROTOCOL_41)
}

fn query(text: &str) -> Vec<u8> {
    packets(&[&[b"\x03", text.as_bytes()].concat()], 0)
}

/// Lets a future run beside a relay's flow until it is done.
async fn beside<T>(relay: &mut Relay, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        end = relay.flow(false) => unreachable!("{end:?}"),
    }
}

#[tokio::test]
async fn a_refused_command_never_arrives_and_is_answered_in_its_turn() {
    let (mut client, mut relay, mut server) = relay(Arc::new(NoDrop));
    let sent = [
        query("SELECT 1"),
        query("DROP TABLE t"),
        query("SELECT 2"),
        query("DROP 2"),
        query("SELECT 3"),
    ]
    .concat();
    let error = ErrPacket::new(1235, "42000", "not while it is being copied").encode();
    let heard = beside(&mut relay, async {
        // The first refusal is cut in two on its way.
        let (first, second) = sent.split_at(query("SELECT 1").len() + 9);
        client.write_all(first).await.expect("written");
        tokio::task::yield_now().await;
        client.write_all(second).await.expect("written");
        let mut arrived = vec![0; 3 * query("SELECT 1").len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(
            arrived,
            [query("SELECT 1"), query("SELECT 2"), query("SELECT 3")].concat()
        );
        server
            .write_all(&packets(&[&ok()], 1).repeat(3))
            .await
            .expect("written");
        let mut heard = vec![0; 3 * 11 + 2 * (4 + error.len())];
        client.read_exact(&mut heard).await.expect("read");
        heard
    })
    .await;
    let (yes, no) = (packets(&[&ok()], 1), packets(&[&error], 1));
    assert_eq!(heard, [&yes[..], &no, &yes, &no, &yes].concat());
    let counted = relay.account.metrics().exposition();
    assert!(
        counted.contains("outrigger_proxy_command_seconds_count{command=\"query\"} 5\n"),
        "{counted}"
    );
    assert!(
        counted.contains("errors_total{code=\"1235\",from=\"proxy\"} 2\n"),
        "{counted}"
    );
    assert_eq!(relay.flow(true).await, End::Quiet);
    assert_eq!(relay.into_parts().2, Some(1));
}

#[tokio::test]
async fn a_command_larger_than_the_buffer_is_judged_on_what_fits() {
    let (mut client, mut relay, mut server) = relay(Arc::new(NoDrop));
    let large = query(&"x".repeat(5 * crate::pipe::CAPACITY));
    beside(&mut relay, async {
        let mut arrived = vec![0; large.len()];
        let (wrote, read) = tokio::join!(client.write_all(&large), server.read_exact(&mut arrived));
        wrote.expect("written");
        read.expect("read");
        assert_eq!(arrived, large);
        // A command of the same size that is refused leaves the session whole.
        let refused = query(&("DROP".to_owned() + &"x".repeat(5 * crate::pipe::CAPACITY)));
        client
            .write_all(&[refused, query("after")].concat())
            .await
            .expect("written");
        let mut arrived = vec![0; query("after").len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(arrived, query("after"));
    })
    .await;
}

/// The client counts the packets of its command, and the number of the reply goes on from there.
#[tokio::test]
async fn a_command_of_several_packets_is_refused_once_it_has_come() {
    let (mut client, mut relay, _server) = relay(Arc::new(NoDrop));
    let refused = query(&("DROP".to_owned() + &"x".repeat(17 << 20)));
    let (last, begun) = refused.split_last().expect("bytes");
    let error = ErrPacket::new(1235, "42000", "not while it is being copied").encode();
    beside(&mut relay, async {
        client.write_all(begun).await.expect("written");
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(
            client.try_read(&mut [0; 1]).is_err(),
            "it has not been asked whole"
        );
        client.write_all(&[*last]).await.expect("written");
        let mut heard = vec![0; 4 + error.len()];
        client.read_exact(&mut heard).await.expect("read");
        assert_eq!(heard, packets(&[&error], 2));
    })
    .await;
    assert!(relay.is_quiet());
    assert_eq!(relay.into_parts().2, Some(1));
}

/// Likewise inside of compressed packets, which have numbers of their own.
#[tokio::test]
async fn a_compressed_command_of_several_packets_is_refused_once_it_has_come() {
    let (_, mut relay, _server) = relay(Arc::new(NoDrop));
    let (near, far) = UnixStream::pair().expect("a pair");
    relay.client = Stream::Unix(near).compressed(Method::Zlib, Arc::default());
    let mut client = Stream::Unix(far).compressed(Method::Zlib, Arc::default());
    let error = ErrPacket::new(1235, "42000", "not while it is being copied").encode();
    beside(&mut relay, async {
        let refused = query(&("DROP".to_owned() + &"x".repeat(17 << 20)));
        client.write_all(&refused).await.expect("written");
        client.flush().await.expect("flushed");
        let mut heard = vec![0; 4 + error.len()];
        client.read_exact(&mut heard).await.expect("read");
        assert_eq!(heard, packets(&[&error], 2));
    })
    .await;
}

#[tokio::test]
async fn an_open_transaction_is_waited_for() {
    let (mut client, mut relay, mut server) = relay(Arc::new(PassAll));
    let open = OkPacket {
        status: StatusFlags::IN_TRANS,
        ..OkPacket::default()
    }
    .encode(Capabilities::PROTOCOL_41);
    for (reply, quiet) in [(open, false), (ok(), true)] {
        beside(&mut relay, async {
            client.write_all(&query("a statement")).await.expect("written");
            server
                .read_exact(&mut vec![0; query("a statement").len()])
                .await
                .expect("read");
            server.write_all(&packets(&[&reply], 1)).await.expect("written");
            client.read_exact(&mut [0; 11]).await.expect("read");
        })
        .await;
        assert_eq!(relay.is_quiet(), quiet);
    }
    // Half a command is no quiet place.
    client.write_all(&query("half")[..6]).await.expect("written");
    beside(&mut relay, async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!relay.is_quiet());
}

/// Refuses COM_CHANGE_USER.
struct NobodyElse;

impl Guard for NobodyElse {
    fn judge(&self, command: &Command<'_>, _session: &mut Session) -> Verdict {
        match command.kind {
            Some(CommandByte::ChangeUser) => Verdict::Refuse(ErrPacket::new(1227, "42000", "not here")),
            _ => Verdict::Pass,
        }
    }
}

#[tokio::test]
async fn another_account_is_asked_for_in_its_turn_and_what_follows_is_kept() {
    let (mut client, mut relay, mut server) = relay(Arc::new(PassAll));
    let change = packets(&[b"\x11app\0"], 0);
    let sent = [query("before"), change, query("after")].concat();
    client.write_all(&sent).await.expect("written");
    let (end, ()) = tokio::join!(relay.flow(false), async {
        let mut arrived = vec![0; query("before").len()];
        server.read_exact(&mut arrived).await.expect("read");
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(
            server.try_read(&mut [0; 1]).is_err(),
            "nothing goes on before the reply"
        );
        server.write_all(&packets(&[&ok()], 1)).await.expect("written");
        client.read_exact(&mut [0; 11]).await.expect("read");
    });
    assert_eq!(end, End::ChangeUser);
    let (mut from_client, mut to_server) = relay.lend();
    assert_eq!(*from_client.receive().await.expect("a command"), b"\x11app\0");
    to_server.send(b"\x11other").await.expect("sent");
    let ahead = from_client.into_rest();
    relay.resume(&ahead, Some(StatusFlags::AUTOCOMMIT));
    beside(&mut relay, async {
        let mut arrived = vec![0; 10 + query("after").len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(arrived, [packets(&[b"\x11other"], 0), query("after")].concat());
        server.write_all(&packets(&[&ok()], 1)).await.expect("written");
        client.read_exact(&mut [0; 11]).await.expect("read");
    })
    .await;
    assert!(relay.is_quiet());
}

#[tokio::test]
async fn another_account_that_is_refused_is_never_asked_for() {
    let (mut client, mut relay, mut server) = relay(Arc::new(NobodyElse));
    client
        .write_all(&[packets(&[b"\x11app\0"], 0), query("after")].concat())
        .await
        .expect("written");
    beside(&mut relay, async {
        let mut arrived = vec![0; query("after").len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(arrived, query("after"));
        let refusal = packets(&[&ErrPacket::new(1227, "42000", "not here").encode()], 1);
        let mut heard = vec![0; refusal.len()];
        client.read_exact(&mut heard).await.expect("read");
        assert_eq!(heard, refusal);
    })
    .await;
}

#[tokio::test]
async fn what_each_side_sent_last_is_delivered() {
    let (mut client, mut relay, mut server) = relay(Arc::new(PassAll));
    server
        .write_all(&packets(
            &[&ErrPacket::new(3169, "HY000", "Session was killed").encode()],
            1,
        ))
        .await
        .expect("written");
    drop(server);
    assert_eq!(relay.flow(false).await, End::Upstream);
    drop(relay);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("read");
    assert!(heard.ends_with(b"Session was killed"));
}

/// Notes in which character set each command is judged.
#[derive(Default)]
struct Charsets(std::sync::Mutex<Vec<&'static str>>);

impl Guard for Charsets {
    fn judge(&self, _command: &Command<'_>, session: &mut Session) -> Verdict {
        self.0.lock().expect("whole").push(session.charset());
        Verdict::Pass
    }
}

#[tokio::test]
async fn the_clients_character_set_is_what_its_replies_have_made_it() {
    let charsets = Arc::new(Charsets::default());
    let guard: Arc<dyn Guard> = Arc::clone(&charsets) as _;
    let (mut client, mut relay, mut server) = relay(guard);
    let error = ErrPacket::new(1115, "42000", "Unknown character set").encode();
    let reset = packets(&[b"\x1f"], 0);
    beside(&mut relay, async {
        let mut play = async |commands: Vec<Vec<u8>>, replies: &[&[u8]]| {
            // All at once.
            client.write_all(&commands.concat()).await.expect("written");
            server
                .read_exact(&mut vec![0; commands.concat().len()])
                .await
                .expect("read");
            for reply in replies {
                server.write_all(&packets(&[reply], 1)).await.expect("written");
                client
                    .read_exact(&mut vec![0; 4 + reply.len()])
                    .await
                    .expect("read");
            }
        };
        let (ok, plain) = (ok(), query("SELECT 1"));
        play(vec![query("SET NAMES gbk"), plain.clone()], &[&ok, &ok]).await;
        play(vec![plain.clone()], &[&ok]).await;
        play(vec![query("SET NAMES big5"), plain.clone()], &[&error, &ok]).await;
        play(vec![query("SET NAMES sjis"), reset], &[&ok, &ok]).await;
        play(vec![plain], &[&ok]).await;
    })
    .await;
    let judged = charsets.0.lock().expect("whole").clone();
    assert_eq!(judged, ["", "", "gbk", "gbk", "", "gbk", "", ""]);
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

/// What is sent ahead is read in each mode in which it may be executed, until it is known in which.
#[tokio::test]
async fn the_sessions_mode_is_what_its_replies_have_made_it() {
    let policy = Policy::new(&guard::Config::default(), Arc::new(Nothing));
    let (mut client, mut relay, mut server) = relay(Arc::new(policy));
    let doubtful = query(r"SELECT '\'; SET sql_log_bin=0; -- '");
    let playing = beside(&mut relay, async {
        let mut play = async |commands: &[&[u8]], replies: &[&[u8]], refused: bool| {
            client.write_all(&commands.concat()).await.expect("written");
            let passed = &commands[..replies.len()];
            server
                .read_exact(&mut vec![0; passed.concat().len()])
                .await
                .expect("read");
            for reply in replies {
                server.write_all(&packets(&[reply], 1)).await.expect("written");
                client
                    .read_exact(&mut vec![0; 4 + reply.len()])
                    .await
                    .expect("read");
            }
            if refused {
                let mut header = [0; 5];
                client.read_exact(&mut header).await.expect("read");
                assert_eq!(header[4], outrigger_protocol::reply::ERR);
                let size = usize::from(u16::from_le_bytes([header[0], header[1]]));
                client.read_exact(&mut vec![0; size - 1]).await.expect("read");
            }
        };
        let setting = query("SET sql_mode = @@global.sql_mode");
        let (ok, bare) = (ok(), status(StatusFlags::NO_BACKSLASH_ESCAPES));
        play(&[&doubtful], &[&ok], false).await;
        play(&[&setting, &doubtful], &[&ok], true).await;
        play(&[&packets(&[b"\x1f"], 0), &doubtful], &[&ok], true).await;
        play(&[&doubtful], &[&ok], false).await;
        play(&[&setting], &[&bare], false).await;
        play(&[&doubtful], &[], true).await;
    });
    let played = tokio::time::timeout(std::time::Duration::from_secs(60), playing).await;
    played.expect("what is in doubt is refused");
}

/// The same, where commands may be held back, and a session asks the source because of that; as a session does it.
async fn beside_held<T>(relay: &mut Relay, gate: &Gate, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let mut doubts = false;
    loop {
        tokio::select! {
            // The flow after it: nothing else wakes it when the work releases a hold.
            biased;
            done = &mut work => return done,
            end = relay.flow(false) => match end {
                End::Held => {}
                End::Doubt(in_doubt) => doubts = in_doubt,
                end => unreachable!("{end:?}"),
            },
            () = gate.closed(), if doubts => {
                doubts = false;
                relay.tell_doubt();
            }
        }
    }
}

fn status(status: StatusFlags) -> Vec<u8> {
    OkPacket {
        status,
        ..OkPacket::default()
    }
    .encode(Capabilities::PROTOCOL_41)
}

/// The source gets this command, and so far no other.
async fn gets(server: &mut UnixStream, expected: &str) {
    let mut arrived = vec![0; query(expected).len()];
    server.read_exact(&mut arrived).await.expect("read");
    assert_eq!(arrived, query(expected));
    gets_nothing(server).await;
}

async fn gets_nothing(server: &UnixStream) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(server.try_read(&mut [0; 1]).is_err(), "something came");
}

async fn answers(server: &mut UnixStream, client: &mut UnixStream, reply: StatusFlags) {
    server
        .write_all(&packets(&[&status(reply)], 1))
        .await
        .expect("written");
    client.read_exact(&mut [0; 11]).await.expect("read");
}

const LONG: std::time::Duration = std::time::Duration::from_secs(600);

#[tokio::test]
async fn what_is_sent_ahead_is_held_at_its_boundary() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let (open, idle) = (StatusFlags::IN_TRANS, StatusFlags::AUTOCOMMIT);
    beside_held(&mut relay, &gate, async {
        client.write_all(&query("BEGIN")).await.expect("written");
        gets(&mut server, "BEGIN").await;
        let hold = gate.hold(LONG).expect("held");
        assert_eq!(hold.inside().running, 1);
        let ahead = ["INSERT 1", "COMMIT", "INSERT 2", "INSERT 3"].map(query).concat();
        client.write_all(&ahead).await.expect("written");
        // Whether a transaction is open only the reply to BEGIN says.
        gets_nothing(&server).await;
        answers(&mut server, &mut client, open).await;
        gets(&mut server, "INSERT 1").await;
        assert_eq!(hold.inside().in_transaction, 1);
        answers(&mut server, &mut client, open).await;
        gets(&mut server, "COMMIT").await;
        let (settled, ()) = tokio::join!(hold.settled(), answers(&mut server, &mut client, idle));
        assert_eq!(settled, Ok(()));
        gets_nothing(&server).await;
        assert!(hold.inside().is_empty());
        hold.release();
        let mut arrived = vec![0; 2 * query("INSERT 2").len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(arrived, ["INSERT 2", "INSERT 3"].map(query).concat());
        let again = gate.hold(LONG).expect("held");
        assert_eq!(again.inside().running, 1);
        answers(&mut server, &mut client, idle).await;
        answers(&mut server, &mut client, idle).await;
        assert_eq!(again.settled().await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn half_a_command_is_nothing_to_wait_for() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(NoDrop));
    let whole = query("SELECT 'a long one'");
    beside_held(&mut relay, &gate, async {
        client.write_all(&whole[..12]).await.expect("written");
        gets_nothing(&server).await;
        let hold = gate.hold(LONG).expect("held");
        assert_eq!(hold.settled().await, Ok(()));
        client.write_all(&whole[12..]).await.expect("written");
        gets_nothing(&server).await;
        assert_eq!(hold.inside(), crate::hold::Inside::default());
        hold.release();
        gets(&mut server, "SELECT 'a long one'").await;
    })
    .await;
}

#[tokio::test]
async fn who_has_said_all_still_hears_the_replies() {
    let (mut client, mut relay, mut server) = relay(Arc::new(PassAll));
    let (reply, sent) = (
        packets(&[&ok()], 1),
        [query("UPDATE 1"), query("UPDATE 2")].concat(),
    );
    client.write_all(&sent).await.expect("written");
    client.shutdown().await.expect("shut down");
    beside(&mut relay, async {
        let mut arrived = Vec::new();
        // The source is told that nothing more comes, as it would be without the proxy.
        server.read_to_end(&mut arrived).await.expect("read");
        assert_eq!(arrived, sent);
        server.write_all(&reply).await.expect("written");
        client.read_exact(&mut [0; 11]).await.expect("read");
        server.write_all(&reply).await.expect("written");
    })
    .await;
    assert_eq!(relay.flow(false).await, End::Client);
    drop(relay);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("read");
    assert_eq!(heard, reply);
}

#[tokio::test]
async fn who_is_held_may_say_no_more_and_is_served_in_its_turn() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let hold = gate.hold(LONG).expect("held");
    client.write_all(&query("INSERT 1")).await.expect("written");
    assert_eq!(relay.flow(false).await, End::Held);
    // It could be closed now: nothing has begun, and the client would take an error for its reply.
    assert!(relay.is_quiet());
    assert_eq!(relay.flow(true).await, End::Quiet);
    client.shutdown().await.expect("shut down");
    beside(&mut relay, async {
        gets_nothing(&server).await;
        hold.release();
    })
    .await;
    beside(&mut relay, async {
        let mut arrived = Vec::new();
        server.read_to_end(&mut arrived).await.expect("read");
        assert_eq!(arrived, query("INSERT 1"));
        server.write_all(&packets(&[&ok()], 1)).await.expect("written");
    })
    .await;
    assert_eq!(relay.flow(false).await, End::Client);
    client.read_exact(&mut [0; 11]).await.expect("read");
    // One that says goodbye goes at once.
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let _hold = gate.hold(LONG).expect("held");
    let goodbye = packets(&[b"\x01"], 0);
    client.write_all(&goodbye).await.expect("written");
    beside_held(&mut relay, &gate, async {
        let mut arrived = vec![0; goodbye.len()];
        server.read_exact(&mut arrived).await.expect("read");
        assert_eq!(arrived, goodbye);
    })
    .await;
}

/// The source gets this, and so far nothing else.
async fn gets_bytes(server: &mut UnixStream, expected: &[u8]) {
    let mut arrived = vec![0; expected.len()];
    server.read_exact(&mut arrived).await.expect("read");
    assert_eq!(arrived, expected);
    gets_nothing(server).await;
}

/// The source answers a command with an error, which the client hears.
async fn fails(server: &mut UnixStream, client: &mut UnixStream) {
    let error = packets(&[&ErrPacket::new(1213, "40001", "Deadlock found").encode()], 1);
    server.write_all(&error).await.expect("written");
    let mut heard = vec![0; error.len()];
    client.read_exact(&mut heard).await.expect("read");
    assert_eq!(heard, error);
}

#[tokio::test]
async fn locks_are_ended_by_what_is_sent_right_behind() {
    let (mut client, mut relay, mut server, (gate, entry)) = gated(Arc::new(PassAll));
    beside_held(&mut relay, &gate, async {
        let sent = ["LOCK TABLES t READ", "BEGIN", "COMMIT"].map(query).concat();
        client.write_all(&sent).await.expect("written");
        gets_bytes(&mut server, &sent).await;
        for flags in [
            StatusFlags::AUTOCOMMIT,
            StatusFlags::IN_TRANS,
            StatusFlags::AUTOCOMMIT,
        ] {
            answers(&mut server, &mut client, flags).await;
        }
        let seen = entry.seen_now();
        assert!(seen.is_movable(), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn what_an_error_has_left_is_asked_of_the_source_and_nobody_else_hears_of_it() {
    let (mut client, mut relay, mut server, (gate, entry)) = gated(Arc::new(PassAll));
    let (open, idle) = (StatusFlags::IN_TRANS, StatusFlags::AUTOCOMMIT);
    beside_held(&mut relay, &gate, async {
        client.write_all(&query("BEGIN")).await.expect("written");
        gets(&mut server, "BEGIN").await;
        answers(&mut server, &mut client, open).await;
        client.write_all(&query("UPDATE 1")).await.expect("written");
        gets(&mut server, "UPDATE 1").await;
        fails(&mut server, &mut client).await;
        // Nobody has to know.
        gets_nothing(&server).await;
        let seen = entry.seen_now();
        assert!(!seen.is_movable() && seen.tied_by == ["error"], "{seen:?}");
        let hold = gate.hold(LONG).expect("held");
        assert!(!hold.inside().is_empty());
        gets_bytes(&mut server, QUESTION).await;
        // A command that comes meanwhile waits for the answer, of which the client sees nothing, however it comes.
        client.write_all(&query("BEGIN")).await.expect("written");
        gets_nothing(&server).await;
        let answer = packets(&[&status(idle)], 1);
        server.write_all(&answer[..6]).await.expect("written");
        gets_nothing(&server).await;
        assert!(!hold.inside().is_empty());
        server.write_all(&answer[6..]).await.expect("written");
        assert_eq!(hold.settled().await, Ok(()));
        gets_nothing(&server).await;
        gets_nothing(&client).await;
        assert!(hold.inside().is_empty() && entry.seen_now().tied_by.is_empty());
        hold.release();
        gets(&mut server, "BEGIN").await;
        answers(&mut server, &mut client, open).await;
        // One that is open goes on.
        client.write_all(&query("UPDATE 2")).await.expect("written");
        gets(&mut server, "UPDATE 2").await;
        let hold = gate.hold(LONG).expect("held");
        client.write_all(&query("COMMIT")).await.expect("written");
        fails(&mut server, &mut client).await;
        gets_bytes(&mut server, QUESTION).await;
        server
            .write_all(&packets(&[&status(open)], 1))
            .await
            .expect("written");
        gets(&mut server, "COMMIT").await;
        let (settled, ()) = tokio::join!(hold.settled(), answers(&mut server, &mut client, idle));
        assert_eq!(settled, Ok(()));
    })
    .await;
    let counted = relay.account.metrics().exposition();
    assert!(
        counted.contains("outrigger_proxy_command_seconds_count{command=\"query\"} 5\n"),
        "{counted}"
    );
    assert!(!counted.contains("command=\"ping\"} 1"), "{counted}");
}

#[tokio::test]
async fn who_has_sent_more_than_what_failed_is_asked_only_when_the_last_reply_does_not_tell() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let idle = StatusFlags::AUTOCOMMIT;
    let close = packets(&[b"\x19\x01\0\0\0"], 0);
    beside_held(&mut relay, &gate, async {
        let sent = [query("UPDATE 1"), query("UPDATE 2")].concat();
        client.write_all(&sent).await.expect("written");
        gets_bytes(&mut server, &sent).await;
        let hold = gate.hold(LONG).expect("held");
        fails(&mut server, &mut client).await;
        gets_nothing(&server).await;
        let (settled, ()) = tokio::join!(hold.settled(), answers(&mut server, &mut client, idle));
        assert_eq!(settled, Ok(()));
        hold.release();
        // Nothing is owed to a command that closes a statement.
        client
            .write_all(&[query("UPDATE 3"), close.clone()].concat())
            .await
            .expect("written");
        gets_bytes(&mut server, &[query("UPDATE 3"), close].concat()).await;
        let hold = gate.hold(LONG).expect("held");
        fails(&mut server, &mut client).await;
        gets_bytes(&mut server, QUESTION).await;
        server
            .write_all(&packets(&[&status(idle)], 1))
            .await
            .expect("written");
        assert_eq!(hold.settled().await, Ok(()));
    })
    .await;
}

/// Stopping asks as well, and so does whoever wants to know (of a silent session).
#[tokio::test]
async fn a_session_is_closed_once_it_is_known_that_no_transaction_is_open() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let idle = StatusFlags::AUTOCOMMIT;
    for closing in [false, true] {
        client.write_all(&query("UPDATE 1")).await.expect("written");
        let (end, ()) = tokio::join!(relay.flow(false), async {
            gets(&mut server, "UPDATE 1").await;
            fails(&mut server, &mut client).await;
        });
        assert_eq!(end, End::Doubt(true));
        assert!(!relay.is_quiet());
        assert!(closing || relay.ask());
        let answering = async {
            gets_bytes(&mut server, QUESTION).await;
            let answer = packets(&[&status(idle)], 1);
            server.write_all(&answer).await.expect("written");
            gets_nothing(&server).await;
        };
        if closing {
            let ending = async {
                assert_eq!(relay.flow(true).await, End::Doubt(false), "it is asked");
                assert_eq!(relay.flow(true).await, End::Quiet);
            };
            tokio::join!(ending, answering);
        } else {
            beside_held(&mut relay, &gate, answering).await;
        }
        assert!(relay.is_quiet() && !relay.ask());
    }
}

#[tokio::test]
async fn a_source_that_leaves_when_asked_is_heard() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let killed = packets(
        &[&ErrPacket::new(3169, "HY000", "Session was killed").encode()],
        1,
    );
    beside_held(&mut relay, &gate, async {
        client.write_all(&query("UPDATE 1")).await.expect("written");
        gets(&mut server, "UPDATE 1").await;
        fails(&mut server, &mut client).await;
        let _hold = gate.hold(LONG).expect("held");
        gets_bytes(&mut server, QUESTION).await;
        server.write_all(&killed).await.expect("written");
        let mut heard = vec![0; killed.len()];
        client.read_exact(&mut heard).await.expect("read");
        assert_eq!(heard, killed);
    })
    .await;
    drop(server);
    assert_eq!(relay.flow(false).await, End::Upstream);
}

/// A command that waits for the end of the one before it, to be held or not, is still owed to the source.
#[tokio::test]
async fn who_says_no_more_while_a_command_is_under_way_is_served_to_the_end() {
    let (mut client, mut relay, mut server, (gate, _entry)) = gated(Arc::new(PassAll));
    let (open, idle) = (StatusFlags::IN_TRANS, StatusFlags::AUTOCOMMIT);
    client.write_all(&query("BEGIN")).await.expect("written");
    beside(&mut relay, gets(&mut server, "BEGIN")).await;
    let _hold = gate.hold(LONG).expect("held");
    client.write_all(&query("COMMIT")).await.expect("written");
    client.shutdown().await.expect("shut down");
    beside(&mut relay, async {
        gets_nothing(&server).await;
        answers(&mut server, &mut client, open).await;
        let mut arrived = Vec::new();
        server.read_to_end(&mut arrived).await.expect("read");
        assert_eq!(arrived, query("COMMIT"));
        server
            .write_all(&packets(&[&status(idle)], 1))
            .await
            .expect("written");
    })
    .await;
    assert_eq!(relay.flow(false).await, End::Client);
    client.read_exact(&mut [0; 11]).await.expect("read");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// P1: whatever the bytes are, both sides get them unchanged, however they are cut.
    #[test]
    fn bytes_arrive_unchanged(up in prop::collection::vec(any::<u8>(), 0..100_000), down in prop::collection::vec(any::<u8>(), 0..100_000),
        whole: bool, cuts in prop::collection::vec(1..9000usize, 1..20)) {
        // One payload, or many with sequence numbers that make no sense.
        let frame = |bytes: &[u8], first: u8| {
            if whole {
                return packets(&[bytes], first);
            }
            bytes.chunks(700).flat_map(|payload| packets(&[payload], payload[0] % 3)).collect::<Vec<u8>>()
        };
        // COM_CHANGE_USER is not relayed.
        let up: Vec<u8> = up.into_iter().map(|byte| if byte == 0x11 { 0x10 } else { byte }).collect();
        let (up, down) = (frame(&up, 0), frame(&down, 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let (client, mut relay, server) = relay(Arc::new(PassAll));
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            beside(&mut relay, async {
                let write = async |out: &mut tokio::net::unix::OwnedWriteHalf, bytes: &[u8]| {
                    let mut rest = bytes;
                    for cut in cuts.iter().cycle() {
                        let (piece, after) = rest.split_at(rest.len().min(*cut));
                        out.write_all(piece).await.expect("written");
                        rest = after;
                        if rest.is_empty() {
                            break;
                        }
                    }
                };
                let (mut arrived_up, mut arrived_down) = (vec![0; up.len()], vec![0; down.len()]);
                let ((), (), read_up, read_down) = tokio::join!(
                    write(&mut to_client, &up),
                    write(&mut to_server, &down),
                    from_server.read_exact(&mut arrived_up),
                    from_client.read_exact(&mut arrived_down),
                );
                read_up.expect("read");
                read_down.expect("read");
                assert!(arrived_up == up && arrived_down == down);
            }).await;
        });
    }
}
