//! Conversations as client and server have them, told payload by payload.

use outrigger_protocol::packet::MAX_PAYLOAD;
use outrigger_protocol::reply::OkPacket;
use proptest::prelude::*;

use super::*;

const OLD: Capabilities = Capabilities::PROTOCOL_41;
const NEW: Capabilities = Capabilities::PROTOCOL_41.union(Capabilities::DEPRECATE_EOF);
const IDLE: StatusFlags = StatusFlags::AUTOCOMMIT;
const OPEN: StatusFlags = StatusFlags::IN_TRANS;
const MORE: StatusFlags = StatusFlags::MORE_RESULTS_EXISTS;

struct Talk(Phase);

impl Talk {
    /// A session that has just authenticated.
    fn new(capabilities: Capabilities) -> Self {
        let talk = Self(Phase::new(capabilities, IDLE));
        assert!(talk.0.is_quiet());
        talk
    }

    fn client(&mut self, seq: u8, payload: &[u8]) -> FromClient {
        let head = &payload[..payload.len().min(crate::framing::HEAD)];
        let found = self.0.client_payload(Packet {
            head,
            size: payload.len(),
            seq,
        });
        if let FromClient::Command(kind) = found {
            self.0.passed(kind);
        }
        found
    }

    fn ask(&mut self, command: CommandByte) {
        assert_eq!(
            self.client(0, &[command.byte(), b'x']),
            FromClient::Command(Some(command))
        );
    }

    fn server(&mut self, payload: &[u8]) -> FromServer {
        let head = &payload[..payload.len().min(crate::framing::HEAD)];
        self.0.server_payload(Packet {
            head,
            size: payload.len(),
            seq: 1,
        })
    }

    /// The session is busy until the last of these payloads.
    fn answer(&mut self, payloads: &[Vec<u8>]) {
        for payload in payloads {
            assert!(!self.0.is_quiet(), "quiet before {payload:?}");
            self.server(payload);
            assert!(!self.0.is_lost(), "lost at {payload:?}");
        }
    }

    fn quiet(&self) -> bool {
        self.0.is_quiet()
    }

    /// It is in doubt whether a transaction is open: the source is asked, and says this.
    fn learns(&mut self, status: StatusFlags) {
        assert!(self.0.may_ask() && self.0.is_in_doubt() && !self.quiet());
        self.0.ask();
        assert!(!self.0.may_ask() && self.0.has_asked() && !self.quiet());
        assert_eq!(self.server(&ok(status)), FromServer::Status);
        assert!(!self.0.is_in_doubt() && !self.0.has_asked() && !self.0.is_lost());
    }
}

fn ok(status: StatusFlags) -> Vec<u8> {
    OkPacket {
        status,
        affected_rows: 70_000,
        last_insert_id: u64::MAX,
        ..OkPacket::default()
    }
    .encode(NEW)
}

/// What ends rows where EOF packets are deprecated.
fn ok_end(status: StatusFlags) -> Vec<u8> {
    let mut packet = ok(status);
    packet[0] = EOF_HEAD;
    packet
}

const EOF_HEAD: u8 = 0xfe;

fn eof(status: StatusFlags) -> Vec<u8> {
    outrigger_protocol::reply::EofPacket { warnings: 0, status }.encode()
}

fn err() -> Vec<u8> {
    ErrPacket::new(1064, "42000", "syntax").encode()
}

fn definition() -> Vec<u8> {
    b"\x03def\0\0\0\x01a\0\x0c\x3f\0\0\0\0\0\x08\x81\0\0\0\0".to_vec()
}

fn row() -> Vec<u8> {
    b"\x011".to_vec()
}

#[test]
fn rows_with_and_without_eof_packets() {
    let mut talk = Talk::new(OLD);
    talk.ask(CommandByte::Query);
    talk.answer(&[
        vec![2],
        definition(),
        definition(),
        eof(IDLE),
        row(),
        vec![0xfb],
        eof(IDLE),
    ]);
    assert!(talk.quiet());
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[vec![2], definition(), definition(), row(), row(), ok_end(IDLE)]);
    assert!(talk.quiet());
}

#[test]
fn rows_ends_and_errors_are_told() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    let told: Vec<_> = [vec![1], definition(), row(), row(), ok_end(MORE), ok(IDLE)]
        .iter()
        .map(|payload| talk.server(payload))
        .collect();
    let expected = [
        FromServer::Part,
        FromServer::Part,
        FromServer::Row,
        FromServer::Row,
        FromServer::Part,
        FromServer::End(None),
    ];
    assert_eq!(told, expected);
    talk.ask(CommandByte::StmtExecute);
    assert_eq!(talk.server(&err()), FromServer::End(Some(1064)));
    assert_eq!(talk.server(&err()), FromServer::Farewell(1064));
    assert_eq!(talk.server(&row()), FromServer::Unknown);
}

#[test]
fn a_huge_row_is_no_end() {
    let mut huge = vec![0xfe; MAX_PAYLOAD];
    huge[1..9].copy_from_slice(&20_000_000_u64.to_le_bytes());
    for (capabilities, end) in [(NEW, ok_end(IDLE)), (OLD, eof(IDLE))] {
        let mut talk = Talk::new(capabilities);
        talk.ask(CommandByte::Query);
        talk.answer(&[vec![1], definition()]);
        if capabilities == OLD {
            talk.answer(&[eof(IDLE)]);
        }
        talk.answer(&[huge.clone(), end]);
        assert!(talk.quiet());
    }
}

#[test]
fn transactions_and_errors() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[ok(OPEN)]);
    assert!(!talk.quiet());
    talk.ask(CommandByte::Query);
    talk.answer(&[err()]);
    assert!(
        !talk.quiet(),
        "an error does not say that the transaction is over"
    );
    assert!(talk.0.is_in_doubt() && talk.0.is_in_transaction());
    talk.ask(CommandByte::Query);
    assert!(!talk.0.may_ask(), "its reply tells");
    talk.answer(&[ok(IDLE)]);
    assert!(talk.quiet());
    talk.ask(CommandByte::Query);
    talk.answer(&[vec![1], definition(), row(), err()]);
    talk.learns(IDLE);
    assert!(talk.quiet());
}

#[test]
fn an_error_anywhere_leaves_a_transaction_in_doubt() {
    let prepared = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (command, reply) in [
        (CommandByte::Query, vec![err()]),
        // The first of several statements has begun one.
        (CommandByte::Query, vec![ok(OPEN | MORE), err()]),
        (CommandByte::Query, vec![vec![1], definition(), row(), err()]),
        (CommandByte::StmtPrepare, vec![err()]),
        (CommandByte::StmtExecute, vec![err()]),
        (CommandByte::InitDb, vec![err()]),
    ] {
        let mut talk = Talk::new(NEW);
        talk.ask(command);
        talk.answer(&reply);
        // What tells nothing leaves it so.
        talk.ask(CommandByte::StmtPrepare);
        talk.answer(std::slice::from_ref(&prepared));
        talk.ask(CommandByte::StmtSendLongData);
        talk.ask(CommandByte::StmtClose);
        talk.learns(OPEN);
        assert!(talk.0.is_in_transaction());
        // Likewise from an open one.
        talk.ask(command);
        talk.answer(&reply);
        talk.learns(IDLE);
        assert!(talk.quiet(), "{command:?}");
    }
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[b"\xfb/tmp/x".to_vec()]);
    talk.client(2, b"");
    talk.answer(&[err()]);
    talk.learns(IDLE);
    // So does an account that is not let in, and one that is begins anew.
    talk.0.restarted(None);
    assert!(talk.0.may_ask());
    talk.0.restarted(Some(IDLE));
    assert!(talk.quiet());
    // An error of ours says nothing of the source.
    talk.0.refused(ErrPacket::new(1235, "42000", "no"), 1);
    assert!(talk.0.take_error().is_some() && talk.quiet());
}

#[test]
fn who_is_asked_may_leave_and_who_leaves_is_not_asked() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[err()]);
    talk.0.ask();
    assert_eq!(talk.server(&err()), FromServer::Farewell(1064));
    assert!(!talk.0.is_lost() && !talk.0.may_ask() && !talk.quiet());
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[err()]);
    talk.0.ask();
    assert_eq!(talk.server(&row()), FromServer::Unknown);
    assert!(talk.0.is_lost());
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[err()]);
    talk.ask(CommandByte::Quit);
    assert!(!talk.0.may_ask());
}

#[test]
fn several_results() {
    let mut talk = Talk::new(OLD);
    talk.ask(CommandByte::Query);
    talk.answer(&[
        ok(IDLE | MORE),
        vec![1],
        definition(),
        eof(IDLE | MORE),
        row(),
        eof(IDLE | MORE),
        ok(IDLE),
    ]);
    assert!(talk.quiet());
}

#[test]
fn prepared_statements() {
    let prepared = |columns: u8, parameters: u8| vec![0, 1, 0, 0, 0, columns, 0, parameters, 0, 0, 0, 0];
    for capabilities in [OLD, NEW] {
        let ends = || (capabilities == OLD).then(|| eof(IDLE));
        let mut talk = Talk::new(capabilities);
        talk.ask(CommandByte::StmtPrepare);
        let mut reply = vec![prepared(2, 1), definition()];
        reply.extend(ends());
        reply.extend([definition(), definition()]);
        reply.extend(ends());
        talk.answer(&reply);
        assert!(talk.quiet());
        talk.ask(CommandByte::StmtPrepare);
        talk.answer(&[prepared(0, 0)]);
        assert!(talk.quiet());
        talk.ask(CommandByte::StmtSendLongData);
        assert!(talk.quiet());
        talk.ask(CommandByte::StmtReset);
        talk.answer(&[ok(IDLE)]);
        talk.ask(CommandByte::StmtClose);
        assert!(talk.quiet());
    }
}

#[test]
fn cursors() {
    let cursor = IDLE | StatusFlags::CURSOR_EXISTS;
    let mut talk = Talk::new(OLD);
    talk.ask(CommandByte::StmtExecute);
    talk.answer(&[vec![1], definition(), eof(cursor)]);
    talk.ask(CommandByte::StmtFetch);
    talk.answer(&[vec![0, 0, 1], eof(cursor | StatusFlags::LAST_ROW_SENT)]);
    assert!(talk.quiet());
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::StmtExecute);
    talk.answer(&[vec![1], definition(), ok_end(cursor)]);
    talk.ask(CommandByte::StmtFetch);
    talk.answer(&[vec![0, 0, 1], ok_end(cursor)]);
    assert!(talk.quiet());
}

#[test]
fn a_local_file() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.answer(&[b"\xfb/tmp/x".to_vec()]);
    assert_eq!(talk.client(2, b"1,2\n"), FromClient::Answer);
    assert_eq!(talk.client(0, b"\x03not a command"), FromClient::Answer);
    assert_eq!(talk.client(4, b""), FromClient::Answer);
    talk.answer(&[ok(IDLE)]);
    assert!(talk.quiet());
}

#[test]
fn commands_sent_ahead() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    talk.ask(CommandByte::StmtExecute);
    talk.ask(CommandByte::Ping);
    talk.answer(&[vec![1], definition(), ok_end(IDLE), err(), ok(IDLE)]);
    assert!(talk.quiet());
    while !talk.0.is_full() {
        talk.ask(CommandByte::Ping);
    }
    talk.answer(&[ok(IDLE)]);
    assert!(!talk.0.is_full());
}

#[test]
fn refusals_wait_their_turn() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::Query);
    let error = ErrPacket::new(1235, "42000", "no");
    talk.0.refused(error.clone(), 2);
    assert!(!talk.0.owes_error() && talk.0.take_error().is_none());
    talk.answer(&[ok(IDLE)]);
    assert!(talk.0.owes_error() && !talk.quiet());
    assert_eq!(talk.0.take_error(), Some((error, 2)));
    assert!(talk.quiet());
}

#[test]
fn commands_that_the_server_does_not_know_are_answered_with_an_error() {
    for unknown in [&[0xfa, 1][..], b""] {
        let mut talk = Talk::new(NEW);
        assert_eq!(talk.client(0, unknown), FromClient::Command(None));
        talk.answer(&[err()]);
        talk.learns(IDLE);
        assert!(talk.quiet());
    }
}

#[test]
fn out_parameters_are_followed_by_an_ok_packet_whatever_their_end_says() {
    let out = MORE | StatusFlags::PS_OUT_PARAMS;
    let mut talk = Talk::new(OLD);
    talk.ask(CommandByte::StmtExecute);
    talk.answer(&[vec![1], definition(), eof(out), row(), eof(IDLE), ok(IDLE)]);
    assert!(talk.quiet());
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::StmtExecute);
    talk.answer(&[vec![1], definition(), row(), ok_end(out), ok(IDLE)]);
    assert!(talk.quiet());
}

#[test]
fn definitions_that_are_left_out_still_have_their_eof_packets() {
    let agreed = OLD | Capabilities::OPTIONAL_RESULTSET_METADATA;
    let mut talk = Talk::new(agreed);
    talk.ask(CommandByte::Query);
    talk.answer(&[
        vec![1, 0],
        eof(MORE),
        row(),
        eof(MORE),
        vec![1, 0],
        eof(IDLE),
        eof(IDLE),
    ]);
    assert!(talk.quiet());
    let prepared = |columns, parameters| vec![0, 1, 0, 0, 0, columns, 0, parameters, 0, 0, 0, 0, 0];
    for (columns, parameters, ends) in [(0, 0, 0), (2, 0, 1), (0, 2, 1), (2, 2, 2)] {
        let mut talk = Talk::new(agreed);
        talk.ask(CommandByte::StmtPrepare);
        talk.answer(&[vec![prepared(columns, parameters)], vec![eof(IDLE); ends]].concat());
        assert!(talk.quiet());
        let mut talk = Talk::new(agreed | NEW);
        talk.ask(CommandByte::StmtPrepare);
        talk.answer(&[prepared(columns, parameters)]);
        assert!(talk.quiet());
    }
}

#[test]
fn what_is_not_understood_is_let_go() {
    let mut talk = Talk::new(NEW);
    talk.ask(CommandByte::BinlogDumpGtid);
    talk.server(&row());
    assert!(talk.0.is_lost() && talk.quiet() && !talk.0.may_speak());
    // What the source refuses changes nothing.
    for refused in [
        CommandByte::BinlogDump,
        CommandByte::Clone,
        CommandByte::SubscribeGroupReplication,
    ] {
        let mut talk = Talk::new(NEW);
        talk.ask(refused);
        assert!(!talk.quiet());
        talk.server(&ErrPacket::new(1227, "42000", "Access denied").encode());
        talk.learns(IDLE);
        assert!(!talk.0.is_lost() && talk.quiet());
    }
    for confusing in [&b"\x03select 1"[..], b""] {
        let mut talk = Talk::new(NEW);
        assert_eq!(talk.client(3, confusing), FromClient::Unknown);
        assert!(talk.0.is_lost() && !talk.quiet());
    }
    // Somebody was asked and doesn't answer as servers do.
    let mut talk = Talk::new(NEW);
    assert_eq!(talk.client(0, &[0xfa]), FromClient::Command(None));
    talk.server(&row());
    assert!(talk.0.is_lost());
    let mut talk = Talk::new(NEW);
    talk.server(&row());
    assert!(talk.0.is_lost());
    let mut talk = Talk::new(NEW);
    talk.server(&err());
    assert!(!talk.0.is_lost());
}

#[test]
fn replies_of_every_other_kind() {
    for (command, reply) in [
        (CommandByte::Statistics, b"Uptime: 5".to_vec()),
        (CommandByte::SetOption, eof(IDLE)),
        (CommandByte::ResetConnection, ok(IDLE)),
        (CommandByte::InitDb, err()),
        (CommandByte::Sleep, err()),
    ] {
        let mut talk = Talk::new(OLD);
        talk.ask(command);
        talk.answer(&[reply]);
        if talk.0.is_in_doubt() {
            talk.learns(IDLE);
        }
        assert!(talk.quiet(), "{command:?}");
    }
    let mut talk = Talk::new(OLD);
    talk.ask(CommandByte::FieldList);
    talk.answer(&[definition(), definition(), eof(IDLE)]);
    assert!(talk.quiet());
    talk.ask(CommandByte::Quit);
    assert!(!talk.quiet());
}

#[test]
fn results_without_column_definitions() {
    let capabilities = NEW | Capabilities::OPTIONAL_RESULTSET_METADATA;
    let mut talk = Talk::new(capabilities);
    talk.ask(CommandByte::Query);
    talk.answer(&[vec![1, 0], row(), ok_end(IDLE)]);
    talk.ask(CommandByte::Query);
    talk.answer(&[vec![1, 1], definition(), row(), ok_end(IDLE)]);
    assert!(talk.quiet());
}

proptest! {
    #[test]
    fn nothing_panics(bits: u32, payloads in prop::collection::vec((any::<bool>(), 0..4u8, prop::collection::vec(any::<u8>(), 0..30)), 0..60)) {
        let mut talk = Talk(Phase::new(Capabilities::from_bits_retain(bits), IDLE));
        for (from_client, seq, payload) in payloads {
            if from_client {
                talk.client(seq, &payload);
            } else {
                talk.server(&payload);
            }
        }
    }
}
