//! Examples first, then properties over generated histories.

use outrigger_protocol::gtid::Gtid;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// Makes events that follow each other in a file.
struct Source {
    offset: u64,
    next_gno: u64,
}

impl Source {
    fn new(offset: u64) -> Self {
        Self { offset, next_gno: 1 }
    }

    /// An event of `size` bytes at the file's end.
    fn event(&mut self, kind: EventKind, size: usize) -> (EventHeader, Vec<u8>) {
        self.offset += u64::try_from(size).expect("small");
        let header = EventHeader {
            timestamp: 1_700_000_000,
            kind,
            server_id: 1,
            size: u32::try_from(size).expect("small"),
            log_pos: u32::try_from(self.offset & 0xffff_ffff).expect("masked"),
            flags: 0,
        };
        (header, vec![kind.0; size])
    }

    fn gtid(&mut self) -> Gtid {
        let number = self.next_gno;
        self.next_gno += 1;
        let set: GtidSet = format!("{UUID}:{number}").parse().expect("a set");
        let (source, tag, _) = set.iter().next().expect("one");
        Gtid {
            source: *source,
            tag: tag.clone(),
            number,
        }
    }
}

fn head(gtid: Option<Gtid>) -> Meaning<'static> {
    Meaning::Gtid(GtidEvent {
        gtid,
        rows_only: true,
        last_committed: 0,
        sequence_number: 1,
        immediate_commit_micros: 1_700_000_000_123_456,
        original_commit_micros: 0,
        transaction_length: 0,
        immediate_server_version: 90_700,
        original_server_version: 90_700,
        commit_group_ticket: None,
    })
}

fn assembler(gtids: Option<&str>) -> Assembler {
    let gtids = gtids.map(|text| text.parse().expect("a set"));
    let position = SourcePosition {
        gtids,
        file: FilePosition::new("binlog.000001", 4),
    };
    Assembler::new(position, true, ChecksumAlg::Crc32)
}

fn push(
    assembler: &mut Assembler,
    event: &(EventHeader, Vec<u8>),
    meaning: Meaning<'_>,
) -> Result<Step, Fault> {
    assembler.push(event.0, &event.1, meaning)
}

fn whole(step: Result<Step, Fault>) -> (Piece, FilePosition) {
    match step {
        Ok(Step::Whole(piece, place)) => (piece, place),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_small_transaction_is_one_piece() {
    let (mut machine, mut source) = (assembler(Some("")), Source::new(4));
    let gtid = source.gtid();
    for (kind, size, meaning) in [
        (EventKind::GTID, 79, head(Some(gtid.clone()))),
        (EventKind::QUERY, 60, Meaning::Statement(b"BEGIN")),
        (EventKind::TABLE_MAP, 50, Meaning::Inner),
        (EventKind::WRITE_ROWS, 40, Meaning::Inner),
    ] {
        let event = source.event(kind, size);
        assert!(matches!(push(&mut machine, &event, meaning), Ok(Step::Wait)));
    }
    let event = source.event(EventKind::XID, 31);
    let (piece, place) = whole(push(&mut machine, &event, Meaning::Last));
    assert_eq!(place, FilePosition::new("binlog.000001", 4 + 260));
    assert_eq!(piece.events.len(), 260);
    let begin = piece.begin.expect("the first piece");
    assert_eq!(begin.gtid, Some(gtid));
    assert_eq!(begin.start, FilePosition::new("binlog.000001", 4));
    assert_eq!(begin.commit_micros, 1_700_000_000_123_456);
    let end = piece.end.expect("the last piece").position;
    assert_eq!(end.file, place);
    assert_eq!(end.gtids.expect("a set").to_string(), format!("{UUID}:1"));
}

#[test]
fn a_clock_that_goes_backwards_changes_nothing_but_the_times() {
    let (mut machine, mut source) = (assembler(Some("")), Source::new(4));
    // The last one is of a server before 8.0, whose events have one time: that of the session, which may be set.
    let (later, earlier, old) = (1_800_000_000_000_000, 1_700_000_000_000_000, 631_152_000_000_000);
    for (number, (micros, timestamp)) in [(later, 1_800_000_000), (earlier, 1_700_000_000), (0, 631_152_000)]
        .into_iter()
        .enumerate()
    {
        let mut event = source.event(EventKind::GTID, 80);
        event.0.timestamp = timestamp;
        let Meaning::Gtid(mut gtid) = head(Some(source.gtid())) else {
            unreachable!()
        };
        gtid.immediate_commit_micros = micros;
        push(&mut machine, &event, Meaning::Gtid(gtid)).expect("a head");
        let event = source.event(EventKind::QUERY, 60);
        push(&mut machine, &event, Meaning::Statement(b"BEGIN")).expect("a begin");
        let event = source.event(EventKind::WRITE_ROWS, 60);
        push(&mut machine, &event, Meaning::Inner).expect("rows");
        let event = source.event(EventKind::XID, 31);
        let (piece, _) = whole(push(&mut machine, &event, Meaning::Last));
        assert_eq!(
            piece.begin.expect("whole").commit_micros,
            [later, earlier, old][number]
        );
        let set = piece
            .end
            .expect("whole")
            .position
            .gtids
            .expect("a set")
            .to_string();
        let until = if number == 0 {
            String::new()
        } else {
            format!("-{}", number + 1)
        };
        assert_eq!(set, format!("{UUID}:1{until}"));
    }
}

#[test]
fn a_large_transaction_leaves_in_pieces() {
    let (mut machine, mut source) = (assembler(Some("")), Source::new(4));
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    let event = source.event(EventKind::GTID, 80);
    let gtid = source.gtid();
    push(&mut machine, &event, head(Some(gtid))).expect("a head");
    let event = source.event(EventKind::QUERY, 80);
    push(&mut machine, &event, Meaning::Statement(b"BEGIN")).expect("a begin");
    for _ in 0..500 {
        let event = source.event(EventKind::WRITE_ROWS, 8192);
        match push(&mut machine, &event, Meaning::Inner).expect("rows") {
            Step::Piece(piece) => pieces.push(piece),
            step => assert!(matches!(step, Step::Wait)),
        }
    }
    let event = source.event(EventKind::XID, 31);
    pieces.push(whole(push(&mut machine, &event, Meaning::Last)).0);
    let count = pieces.len();
    for (index, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.begin.is_some(), index == 0);
        assert_eq!(piece.end.is_some(), index == count - 1);
        assert!(piece.events.len() < PIECE_BYTES + 8192);
        bytes += piece.events.len();
    }
    assert_eq!((count, bytes), (4, 80 + 80 + 500 * 8192 + 31));
}

#[test]
fn statements_end_transactions_as_the_server_says() {
    for (statements, whole_after) in [
        (&["CREATE TABLE t (a INT)"][..], 1),
        (&["XA COMMIT X'31',X'',1"], 1),
        (&["BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"], 3),
        (&["BEGIN", "SAVEPOINT `s`", "ROLLBACK TO `s`", "ROLLBACK"], 4),
        (
            &[
                "XA START X'31',X'',1",
                "XA END X'31',X'',1",
                "XA ROLLBACK X'31',X'',1",
            ],
            3,
        ),
        (
            &["BEGIN", "CREATE TABLE t (a INT) START TRANSACTION", "COMMIT"],
            3,
        ),
    ] {
        let (mut machine, mut source) = (assembler(None), Source::new(4));
        let event = source.event(EventKind::ANONYMOUS_GTID, 70);
        push(&mut machine, &event, head(None)).expect("a head");
        for (index, statement) in statements.iter().enumerate() {
            let event = source.event(EventKind::QUERY, 100);
            let step =
                push(&mut machine, &event, Meaning::Statement(statement.as_bytes())).expect("in order");
            assert_eq!(
                matches!(step, Step::Whole(..)),
                index + 1 == whole_after,
                "{statement}"
            );
        }
    }
}

#[test]
fn an_anonymous_transaction_ends_the_set_and_a_new_file_begins_one() {
    let (mut machine, mut source) = (assembler(Some(UUID_1_TO_3)), Source::new(4));
    let head_event = source.event(EventKind::ANONYMOUS_GTID, 70);
    push(&mut machine, &head_event, head(None)).expect("a head");
    let event = source.event(EventKind::QUERY, 100);
    let (piece, _) = whole(push(&mut machine, &event, Meaning::Statement(b"DROP TABLE t")));
    assert_eq!(piece.end.expect("an end").position.gtids, None);
    let rotate = source.event(EventKind::ROTATE, 44);
    let next = FilePosition::new("binlog.000002", 4);
    assert!(
        matches!(push(&mut machine, &rotate, Meaning::Rotate(next.clone())), Ok(Step::Reached(at)) if at == next)
    );
    let mut source = Source::new(4);
    let event = source.event(EventKind::PREVIOUS_GTIDS, 71);
    push(
        &mut machine,
        &event,
        Meaning::PreviousGtids(UUID_1_TO_3.parse().expect("a set")),
    )
    .expect("a set");
    source.next_gno = 4;
    let gtid = source.gtid();
    let event = source.event(EventKind::GTID, 70);
    push(&mut machine, &event, head(Some(gtid))).expect("a head");
    let event = source.event(EventKind::TRANSACTION_PAYLOAD, 500);
    let (piece, _) = whole(push(&mut machine, &event, Meaning::Last));
    let gtids = piece.end.expect("an end").position.gtids.expect("a set again");
    assert_eq!(gtids.to_string(), format!("{UUID}:1-4"));
}

const UUID_1_TO_3: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3";

#[test]
fn what_no_server_writes_is_a_fault() {
    let (mut machine, mut source) = (assembler(Some(UUID_1_TO_3)), Source::new(4));
    let event = source.event(EventKind::WRITE_ROWS, 40);
    assert!(
        matches!(push(&mut machine, &event, Meaning::Inner), Err(Fault::Order(_))),
        "rows outside"
    );
    let again = source.gtid();
    let event = source.event(EventKind::GTID, 70);
    assert!(
        matches!(
            push(&mut machine, &event, head(Some(again))),
            Err(Fault::Order(_))
        ),
        "twice"
    );
    source.next_gno = 4;
    let gtid = source.gtid();
    let event = source.event(EventKind::GTID, 70);
    push(&mut machine, &event, head(Some(gtid))).expect("a head");
    let event = source.event(EventKind::ROTATE, 40);
    let next = FilePosition::new("binlog.000002", 4);
    assert!(
        matches!(
            push(&mut machine, &event, Meaning::Rotate(next)),
            Err(Fault::Order(_))
        ),
        "torn"
    );
    source.event(EventKind::TABLE_MAP, 50);
    let event = source.event(EventKind::WRITE_ROWS, 40);
    assert!(
        matches!(push(&mut machine, &event, Meaning::Inner), Err(Fault::Order(_))),
        "an event is missing"
    );
    let event = source.event(EventKind::INCIDENT, 40);
    let words = Meaning::Incident("1: lost".to_owned());
    assert!(matches!(
        push(&mut machine, &event, words),
        Err(Fault::Incident(_))
    ));
}

#[test]
fn heartbeats_move_the_place_and_the_first_version_wraps() {
    let mut machine = assembler(None);
    machine.place.offset = (5 << 32) | 0xffff_ff00;
    let mut beat = Source::new(0).event(EventKind::HEARTBEAT, 40);
    beat.0.log_pos = 0x10;
    let step = push(
        &mut machine,
        &beat,
        Meaning::Heartbeat(FilePosition::new("binlog.000001", 0x10)),
    );
    assert!(matches!(step, Ok(Step::Reached(at)) if at.offset == (6 << 32) | 0x10));
    beat.0.kind = EventKind::HEARTBEAT_V2;
    let step = push(
        &mut machine,
        &beat,
        Meaning::Heartbeat(FilePosition::new("binlog.000009", 7 << 32)),
    );
    assert!(matches!(step, Ok(Step::Reached(at)) if at == FilePosition::new("binlog.000009", 7 << 32)));
}

#[test]
fn artificial_events_move_nothing() {
    let (mut machine, mut source) = (assembler(None), Source::new(4));
    machine.place.offset = 5000;
    let mut format = source.event(EventKind::FORMAT_DESCRIPTION, 122);
    format.0.log_pos = 0;
    assert!(matches!(
        push(&mut machine, &format, Meaning::Format(ChecksumAlg::Off)),
        Ok(Step::Wait)
    ));
    assert_eq!(
        (machine.place().offset, machine.checksum()),
        (5000, ChecksumAlg::Off)
    );
}

/// Its field has 32 bits: an event that ends where they begin anew says 0, like one that stands in no file.
#[test]
fn an_event_may_end_at_a_multiple_of_4_gib() {
    const BORDER: u64 = 1 << 32;
    let sizes = [79, 60, 40, 31];
    for on_border in 0..sizes.len() {
        for in_parts in [false, true] {
            let before: u64 = sizes.iter().take(on_border + 1).sum();
            let (mut machine, mut source) = (assembler(Some("")), Source::new(BORDER - before));
            machine.place.offset = source.offset;
            let events = [
                EventKind::GTID,
                EventKind::QUERY,
                EventKind::WRITE_ROWS,
                EventKind::XID,
            ]
            .into_iter()
            .zip(sizes)
            .map(|(kind, size)| source.event(kind, usize::try_from(size).expect("small")));
            let events: Vec<_> = events.collect();
            assert_eq!(events[on_border].0.log_pos, 0);
            let gtid = head(Some(source.gtid()));
            push(&mut machine, &events[0], gtid).expect("a head");
            push(&mut machine, &events[1], Meaning::Statement(b"BEGIN")).expect("a begin");
            if in_parts {
                let (header, bytes) = &events[2];
                machine.open_event(*header, bytes).expect("rows");
                machine.close_event().expect("rows");
            } else {
                push(&mut machine, &events[2], Meaning::Inner).expect("rows");
            }
            let (piece, place) = whole(push(&mut machine, &events[3], Meaning::Last));
            assert_eq!(place.offset, source.offset, "{on_border}");
            let begin = piece.begin.expect("whole");
            assert_eq!(begin.start.offset, BORDER - before, "{on_border}");
        }
    }
}

#[test]
fn a_stream_that_starts_too_early_is_passed_over() {
    let (mut machine, mut source) = (assembler(None), Source::new(4));
    machine = machine.passing_until(FilePosition::new("binlog.000001", 4 + 170));
    for round in 0..2 {
        let event = source.event(EventKind::ANONYMOUS_GTID, 70);
        push(&mut machine, &event, head(None)).expect("a head");
        let event = source.event(EventKind::QUERY, 100);
        let step = push(&mut machine, &event, Meaning::Statement(b"DROP TABLE t")).expect("in order");
        assert_eq!(matches!(step, Step::Whole(..)), round == 1);
    }
}

/// An event but for its end, in parts; what leaves meanwhile.
fn in_parts(machine: &mut Assembler, event: &(EventHeader, Vec<u8>), part: usize) -> Vec<Piece> {
    let mut parts = event.1.chunks(part);
    let first = parts.next().expect("an event has bytes");
    let mut steps = vec![machine.open_event(event.0, first).expect("in order")];
    steps.extend(parts.map(|part| machine.part(part)));
    let pieces = steps.into_iter().filter_map(|step| match step {
        Step::Piece(piece) => Some(piece),
        Step::Wait => None,
        other => unreachable!("{other:?}"),
    });
    pieces.collect()
}

/// What a transaction in a generated history consists of.
#[derive(Debug, Clone)]
enum Shape {
    Rows(Vec<usize>),
    Ddl(usize),
    Payload(usize),
    Rotate,
    Beat,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let shape = prop_oneof![
        proptest::collection::vec(19..400_000_usize, 0..12).prop_map(Shape::Rows),
        (30..2000_usize).prop_map(Shape::Ddl),
        (30..3_000_000_usize).prop_map(Shape::Payload),
        Just(Shape::Rotate),
        Just(Shape::Beat),
    ];
    proptest::collection::vec(shape, 0..25)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever the history: all bytes of all transactions come out once, in order, framed by one begin and one end each, at
    /// growing 64-bit places, also past 4 GiB.
    #[test]
    fn everything_comes_out_once(
        shapes in shapes(), far in any::<bool>(), anonymous in any::<bool>(), part in proptest::option::of(20_000..700_000_usize),
    ) {
        let start = if far { u64::from(u32::MAX) - 1_000_000 } else { 4 };
        let mut machine = assembler((!anonymous).then_some(""));
        machine.place.offset = start;
        let mut source = Source::new(start);
        let (mut file, mut sent, mut got, mut open, mut count) = (1, Vec::new(), Vec::new(), false, 0_u64);
        for shape in shapes {
            let mut events = Vec::new();
            let gtid = (!anonymous).then(|| source.gtid());
            match &shape {
                Shape::Rotate => {
                    file += 1;
                    let event = source.event(EventKind::ROTATE, 44);
                    source.offset = 4;
                    let next = FilePosition::new(format!("binlog.{file:06}"), 4);
                    prop_assert!(push(&mut machine, &event, Meaning::Rotate(next)).is_ok());
                    source.next_gno -= u64::from(!anonymous);
                    continue;
                }
                Shape::Beat => {
                    let mut event = Source::new(0).event(EventKind::HEARTBEAT_V2, 44);
                    event.0.log_pos = 0;
                    let at = machine.place().clone();
                    prop_assert!(push(&mut machine, &event, Meaning::Heartbeat(at)).is_ok());
                    source.next_gno -= u64::from(!anonymous);
                    continue;
                }
                Shape::Rows(sizes) => {
                    events.push((source.event(EventKind::GTID, 79), head(gtid)));
                    events.push((source.event(EventKind::QUERY, 80), Meaning::Statement(b"BEGIN")));
                    for size in sizes {
                        events.push((source.event(EventKind::WRITE_ROWS, *size), Meaning::Inner));
                    }
                    events.push((source.event(EventKind::XID, 31), Meaning::Last));
                }
                Shape::Ddl(size) => {
                    events.push((source.event(EventKind::GTID, 79), head(gtid)));
                    events.push((source.event(EventKind::QUERY, *size), Meaning::Statement(b"ALTER TABLE t FORCE")));
                }
                Shape::Payload(size) => {
                    events.push((source.event(EventKind::GTID, 79), head(gtid)));
                    events.push((source.event(EventKind::TRANSACTION_PAYLOAD, *size), Meaning::Last));
                }
            }
            count += 1;
            let last = events.len() - 1;
            for (index, (event, meaning)) in events.into_iter().enumerate() {
                sent.extend_from_slice(&event.1);
                let large = matches!(event.0.kind, EventKind::WRITE_ROWS | EventKind::TRANSACTION_PAYLOAD);
                let step = match part.filter(|_| large) {
                    None => push(&mut machine, &event, meaning).expect("in order"),
                    Some(part) => {
                        for piece in in_parts(&mut machine, &event, part) {
                            prop_assert_eq!(piece.begin.is_some(), !open);
                            prop_assert!(piece.end.is_none());
                            open = true;
                            got.extend_from_slice(&piece.events);
                        }
                        machine.close_event().expect("in order")
                    }
                };
                let piece = match step {
                    Step::Wait => {
                        prop_assert!(index < last);
                        continue;
                    }
                    Step::Piece(piece) => piece,
                    Step::Whole(piece, place) => {
                        prop_assert_eq!(index, last);
                        prop_assert_eq!(place, FilePosition::new(format!("binlog.{file:06}"), source.offset));
                        piece
                    }
                    Step::Reached(_) | Step::Passed { .. } => unreachable!("only outside, and without a filter"),
                };
                prop_assert_eq!(piece.begin.is_some(), !open);
                open = piece.end.is_none();
                got.extend_from_slice(&piece.events);
                if let (Some(end), false) = (piece.end, anonymous) {
                    prop_assert_eq!(end.position.gtids.expect("a set").count(), count);
                }
            }
            prop_assert!(!open);
        }
        prop_assert!(sent == got, "bytes differ");
    }
}
