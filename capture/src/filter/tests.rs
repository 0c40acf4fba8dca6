//! Examples of single judgements, then whole histories as a MySQL 9.7 server wrote them.

use outrigger_protocol::binlog::{CHECKSUM_LEN, FILE_MAGIC, GtidEvent};
use outrigger_protocol::position::{FilePosition, SourcePosition};

use super::*;
use crate::stream;
use crate::transaction::{Assembler, HOLD_BYTES, Meaning, Step};

/// Everything in some databases, and single tables.
#[derive(Debug)]
struct Only(&'static [&'static str]);

impl Selection for Only {
    fn table(&self, database: &str, table: &str) -> bool {
        let full = format!("{database}.{table}");
        self.0.contains(&database) || self.0.contains(&full.as_str())
    }

    fn database(&self, database: &str) -> bool {
        self.0.iter().any(|name| name.split('.').next() == Some(database))
    }
}

fn filter(selection: &'static [&'static str]) -> Filter {
    Filter::new(Arc::new(Only(selection)))
}

/// An event of this body; sizes and offsets are not looked at here.
fn event(kind: EventKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[4] = kind.0;
    bytes.extend_from_slice(body);
    let size = u32::try_from(bytes.len()).expect("small");
    bytes[9..13].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn map(database: &str, table: &str) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    for name in [database, table] {
        body.push(u8::try_from(name.len()).expect("short"));
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    event(EventKind::TABLE_MAP, &body)
}

fn rows(last: bool) -> Vec<u8> {
    event(
        EventKind::WRITE_ROWS,
        &[7, 0, 0, 0, 0, 0, u8::from(last), 0, 2, 0, 1, 1, 0, 0],
    )
}

fn query(schema: &str, statement: &str) -> Vec<u8> {
    let mut body = vec![0; 13];
    body[8] = u8::try_from(schema.len()).expect("short");
    body.extend_from_slice(schema.as_bytes());
    body.push(0);
    body.extend_from_slice(statement.as_bytes());
    event(EventKind::QUERY, &body)
}

#[test]
fn a_statement_stays_when_one_of_its_tables_is_selected() {
    let mut filter = filter(&["app"]);
    let query = event(EventKind::ROWS_QUERY, b"\x01x");
    let mut fates = |events: &[&[u8]]| -> Vec<Fate> {
        let kind = |bytes: &[u8]| EventKind(bytes[4]);
        events.iter().map(|e| filter.inner(kind(e), e)).collect()
    };
    let (mine, other) = (map("app", "t"), map("other", "t"));
    let (more, last) = (rows(false), rows(true));
    use Fate::{Drop, Hold, Keep};
    assert_eq!(fates(&[&query, &other, &more, &last]), [Hold, Hold, Drop, Drop]);
    assert_eq!(
        fates(&[&query, &other, &mine, &more, &last]),
        [Hold, Hold, Keep, Keep, Keep]
    );
    // A foreign key's children, however the maps are ordered; and the statement after it begins anew.
    assert_eq!(
        fates(&[&mine, &other, &last, &other, &last]),
        [Keep, Keep, Keep, Hold, Drop]
    );
    // A map that comes late is looked at, too.
    assert_eq!(
        fates(&[&other, &more, &mine, &last, &last]),
        [Hold, Drop, Keep, Keep, Drop]
    );
}

#[test]
fn definitions_go_when_all_they_change_is_known_and_unselected() {
    let mut filter = filter(&["app", "part.one"]);
    for (schema, sql, fate) in [
        ("other", "CREATE TABLE t (a INT)", Fate::Drop),
        ("app", "CREATE TABLE other.t (a INT)", Fate::Drop),
        ("other", "RENAME TABLE t TO app.t", Fate::Keep),
        ("other", "DROP TABLE a, b, part.one", Fate::Keep),
        ("part", "DROP TABLE two", Fate::Drop),
        ("part", "CREATE PROCEDURE p() SELECT 1", Fate::Keep),
        ("", "DROP DATABASE part", Fate::Keep),
        ("", "DROP DATABASE other", Fate::Drop),
        ("", "CREATE TABLE nowhere (a INT)", Fate::Keep),
        (
            "other",
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE app.t",
            Fate::Keep,
        ),
        (
            "other",
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
            Fate::Drop,
        ),
        ("other", "FROBNICATE t", Fate::Keep),
        ("other", "INSERT INTO t VALUES (1)", Fate::Keep),
        ("other", "GRANT ALL ON other.* TO u", Fate::Keep),
        ("other", "SAVEPOINT `s`", Fate::Frame),
        ("other", "XA END X'31',X'',1", Fate::Keep),
    ] {
        let bytes = query(schema, sql);
        assert_eq!(filter.statement(&bytes, ChecksumAlg::Off), fate, "{sql}");
    }
}

const EVENTS: &[u8] = include_bytes!("../../../protocol/tests/fixtures/events.binlog");

/// A server's file through the assembler: the transactions kept, their events' kinds, and how many were passed.
fn through(selection: Option<&'static [&'static str]>) -> (Vec<Vec<EventKind>>, u64, SourcePosition) {
    let start = SourcePosition {
        gtids: Some("".parse().expect("a set")),
        file: FilePosition::new("binlog.000001", 4),
    };
    let mut machine = Assembler::new(start, true, ChecksumAlg::Crc32).filtered(selection.map(filter));
    let (mut kept, mut passed) = (Vec::new(), 0);
    let mut rest = EVENTS.strip_prefix(&FILE_MAGIC).expect("a binlog file");
    while !rest.is_empty() {
        let size = usize::try_from(EventHeader::parse(rest).expect("a header").size).expect("small");
        let (bytes, after) = rest.split_at(size);
        rest = after;
        let (header, meaning) = stream::read(bytes, machine.checksum()).expect("sound");
        match machine.push(header, bytes, meaning).expect("in order") {
            Step::Whole(piece, _) => kept.push(kinds(&piece.events)),
            Step::Passed { .. } => passed += 1,
            Step::Piece(_) => unreachable!("all are small"),
            Step::Wait | Step::Reached(_) => {}
        }
    }
    (kept, passed, machine.between().expect("no transaction is open"))
}

fn kinds(mut events: &[u8]) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while !events.is_empty() {
        let header = EventHeader::parse(events).expect("a header");
        kinds.push(header.kind);
        events = &events[usize::try_from(header.size).expect("small")..];
    }
    kinds
}

#[test]
fn a_servers_history_is_thinned_out_and_its_gtids_are_not() {
    let (everything, none, position) = through(None);
    assert_eq!(none, 0);
    assert_eq!(
        through(Some(&["fixture"])),
        (everything.clone(), 0, position.clone())
    );
    let (kept, passed, after) = through(Some(&["fixture.nothing", "fixture.child"]));
    assert_eq!(after, position, "every transaction counts");
    assert_eq!(
        u64::try_from(kept.len()).expect("few") + passed,
        u64::try_from(everything.len()).expect("few")
    );
    let has = |kind: EventKind| kept.iter().filter(|t| t.contains(&kind)).count();
    // XA transactions are followed to their end, their unselected rows are gone; the compressed one is gone as a whole.
    assert_eq!(
        (has(EventKind::XA_PREPARE), has(EventKind::TRANSACTION_PAYLOAD)),
        (2, 0)
    );
    let xa = kept
        .iter()
        .find(|t| t.contains(&EventKind::XA_PREPARE))
        .expect("one");
    assert!(
        !xa.contains(&EventKind::TABLE_MAP) && !xa.contains(&EventKind::ROWS_QUERY),
        "{xa:?}"
    );
    // What a parent's deletion does to its children stands in one statement: both stay.
    let cascade = kept
        .iter()
        .find(|t| t.iter().filter(|k| **k == EventKind::DELETE_ROWS).count() == 2)
        .expect("the cascade");
    assert_eq!(cascade.iter().filter(|k| **k == EventKind::TABLE_MAP).count(), 2);
    // Statement format can't be told apart.
    assert!(has(EventKind::INTVAR) > 0);
    let (_, _, nothing) = through(Some(&["elsewhere"]));
    assert_eq!(nothing, position);
}

/// A compressed transaction: rows of noise in one table after the other.
fn compressed(tables: &[&str], size: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut state = 1_u64;
    for table in tables {
        plain.extend_from_slice(&map("app", table));
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
        body.extend((0..size).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        }));
        plain.extend_from_slice(&event(EventKind::WRITE_ROWS, &body));
    }
    let data = zstd::bulk::compress(&plain, 1).expect("compressed");
    let field = |kind: u8, value: usize| {
        let value = u64::try_from(value).expect("small").to_le_bytes();
        [&[kind, 9, 0xfe][..], &value].concat()
    };
    let head = [field(1, data.len()), field(2, 0), field(3, plain.len()), vec![0]].concat();
    event(
        EventKind::TRANSACTION_PAYLOAD,
        &[&head[..], &data, &[0; CHECKSUM_LEN]].concat(),
    )
}

/// What becomes of a transaction with this payload, which comes in parts: its bytes, or none if it is passed; and what was held
/// at most.
fn judged(payload: &[u8], part: usize) -> (Option<usize>, usize) {
    let start = SourcePosition {
        gtids: None,
        file: FilePosition::new("binlog.000001", 4),
    };
    let mut machine = Assembler::new(start, true, ChecksumAlg::Crc32).filtered(Some(filter(&["app.mine"])));
    let gtid = event(EventKind::ANONYMOUS_GTID, &[0; 25]);
    let mut place = 4;
    let mut header = |bytes: &[u8]| {
        let header = EventHeader::parse(bytes).expect("a header");
        place += header.size;
        EventHeader {
            log_pos: place,
            ..header
        }
    };
    let head = Meaning::Gtid(GtidEvent {
        gtid: None,
        rows_only: true,
        last_committed: 0,
        sequence_number: 1,
        immediate_commit_micros: 1,
        original_commit_micros: 1,
        transaction_length: 0,
        immediate_server_version: 90_700,
        original_server_version: 90_700,
        commit_group_ticket: None,
    });
    machine.push(header(&gtid), &gtid, head).expect("a head");
    let (mut kept, mut left, mut largest) = (0, 0, 0);
    let mut parts = payload.chunks(part);
    let first = parts.next().expect("some");
    let mut steps = vec![machine.open_event(header(payload), first).expect("in order")];
    for part in parts {
        steps.push(machine.part(part));
    }
    for step in steps {
        if let Step::Piece(piece) = step {
            kept += piece.events.len();
            largest = largest.max(piece.events.len());
            left += 1;
        }
    }
    match machine.close_event().expect("in order") {
        Step::Whole(piece, _) => {
            assert_eq!(piece.begin.is_some(), left == 0);
            (Some(kept + piece.events.len() - gtid.len()), largest)
        }
        Step::Passed { .. } => {
            assert_eq!(left, 0);
            (None, largest)
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_large_compressed_transaction_is_judged_as_it_comes() {
    for part in [50_000, 1 << 20, usize::MAX] {
        let mine = compressed(&["mine", "other"], 2 << 20);
        assert_eq!(judged(&mine, part).0, Some(mine.len()), "{part}");
        let late = compressed(&["other", "others", "mine"], 2 << 20);
        assert_eq!(judged(&late, part).0, Some(late.len()), "{part}");
        let other = compressed(&["other", "others"], 2 << 20);
        assert_eq!(judged(&other, part).0, None, "{part}");
        // What can't be read is kept, for whoever reads the log to say so.
        let mut damaged = other.clone();
        let last = damaged.len() - 10;
        damaged.truncate(last);
        damaged[9..13].copy_from_slice(&u32::try_from(last).expect("small").to_le_bytes());
        assert_eq!(judged(&damaged, part).0, Some(damaged.len()), "{part}");
    }
}

#[test]
fn what_is_held_of_an_unwanted_transaction_is_bounded() {
    let unwanted = compressed(&["other"], HOLD_BYTES + (4 << 20));
    let (kept, largest) = judged(&unwanted, 1 << 20);
    assert_eq!(kept, Some(unwanted.len()));
    assert!(largest <= HOLD_BYTES + (3 << 20), "{largest}");
}
