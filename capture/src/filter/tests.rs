//! Examples of single judgements, then whole histories as a MySQL 9.7 server wrote them.

use outrigger_protocol::binlog::FILE_MAGIC;
use outrigger_protocol::position::{FilePosition, SourcePosition};

use super::*;
use crate::stream;
use crate::transaction::{Assembler, Step};

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
