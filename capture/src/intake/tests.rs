//! Streams over a wire into a real log: large events in chunks of any size, damaged, cut off, and gone on with.

use std::path::Path;
use std::sync::Arc;

use outrigger_protocol::binlog::{CHECKSUM_LEN, ChecksumAlg, EventHeader, EventKind, HEADER_LEN};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_protocol::packet;
use outrigger_protocol::position::SourcePosition;
use outrigger_protocol::reply::OK;
use outrigger_storage::{Config, Offset};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::Selection;
use crate::filter::Filter;
use crate::schema::Looker;
use crate::wire::Wire;

const PATIENCE: Duration = Duration::from_secs(60);

fn address() -> Address {
    Address::Tcp {
        host: "test".to_owned(),
        port: 1,
    }
}

/// A binlog in the making: events that follow each other.
struct Binlog {
    offset: u64,
    transactions: u8,
}

impl Binlog {
    fn event(&mut self, kind: EventKind, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEADER_LEN + body.len() + CHECKSUM_LEN).expect("small");
        self.offset += u64::from(size);
        let header = EventHeader {
            timestamp: 1_700_000_000,
            kind,
            server_id: 1,
            size,
            log_pos: u32::try_from(self.offset).expect("small"),
            flags: 0,
        };
        let mut event = [header.to_bytes().as_slice(), body].concat();
        event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
        event
    }

    /// The head of the next transaction.
    fn gtid(&mut self) -> Vec<u8> {
        self.transactions += 1;
        let mut body = vec![0];
        body.extend_from_slice(&[7; 16]);
        body.extend_from_slice(&u64::from(self.transactions).to_le_bytes());
        self.event(EventKind::GTID, &body)
    }

    /// One of a few rows events of these sizes.
    fn plain(&mut self, sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut begin = vec![0; 14];
        begin.extend_from_slice(b"BEGIN");
        let mut events = vec![self.gtid(), self.event(EventKind::QUERY, &begin)];
        for size in sizes {
            events.push(self.event(EventKind::WRITE_ROWS, &noise(*size)));
        }
        events.push(self.event(EventKind::XID, &[0; 8]));
        events
    }

    /// A statement by itself.
    fn statement(&mut self, database: &str, sql: &str) -> Vec<Vec<u8>> {
        let mut body = vec![0; 13];
        body[8] = u8::try_from(database.len()).expect("short");
        for part in [database.as_bytes(), &[0], sql.as_bytes()] {
            body.extend_from_slice(part);
        }
        vec![self.gtid(), self.event(EventKind::QUERY, &body)]
    }

    /// One that is compressed, to so many bytes.
    fn compressed(&mut self, size: usize) -> Vec<Vec<u8>> {
        vec![
            self.gtid(),
            self.event(EventKind::TRANSACTION_PAYLOAD, &noise(size)),
        ]
    }
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    });
    bytes.take(size).collect()
}

/// What a dump of these events sends.
fn packets(events: &[Vec<u8>]) -> Vec<u8> {
    let (mut bytes, mut sequence) = (Vec::new(), 0);
    for event in events {
        sequence = packet::put(&mut bytes, &[&[OK], event.as_slice()].concat(), sequence);
    }
    bytes
}

/// Streams what arrives, in writes of at most `chunk`, until the connection ends; says why it did.
async fn stream(log: &Log, sent: Vec<u8>, chunk: usize) -> Error {
    stream_selected(log, sent, chunk, None).await
}

/// The same, leaving out what `selection` does not want. Definitions are looked for where nobody answers.
async fn stream_selected(
    log: &Log,
    sent: Vec<u8>,
    chunk: usize,
    selection: Option<Arc<dyn Selection>>,
) -> Error {
    let (near, mut far) = tokio::io::duplex(chunk);
    let feeding = tokio::spawn(async move { far.write_all(&sent).await });
    let endpoint = Endpoint {
        address: Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 1,
        },
        user: String::new(),
        password: Secret::default(),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_identity: None,
    };
    let mut looker = Looker::new(endpoint, PATIENCE, None);
    let mut appender = log.appender().expect("one at a time");
    let (status, metrics) = (Status::new(), Metrics::new());
    let mut outages = Outages::new(PATIENCE);
    let position = log.position().expect("a start");
    let mut intake = Intake {
        assembler: Assembler::new(position, true, ChecksumAlg::Crc32).filtered(selection.map(Filter::new)),
        connection: Connection::streaming(Wire::over(address(), Box::new(near)), PATIENCE),
        appender: &mut appender,
        schema: Recorder::idle(&mut looker),
        log,
        status: &status,
        metrics: &metrics,
        outages: &mut outages,
        patience: PATIENCE,
        progress: Progress::default(),
        events: 0,
        passed: None,
        batch: Batch::default(),
        awaited: false,
        followed: false,
        arriving: None,
    };
    let Err(error) = intake.run().await;
    drop(intake);
    drop(appender);
    // A stream that ended early has not taken all of it.
    feeding.abort();
    error
}

fn open(path: &Path) -> Log {
    let log = Log::open(Config::new(path)).expect("a log");
    if log.position().is_none() {
        let start = SourcePosition {
            gtids: Some("".parse().expect("a set")),
            file: FilePosition::new("binlog.000001", 4),
        };
        log.set_start(&start).expect("a start");
    }
    log
}

/// The bytes of each transaction in the log, and the largest piece.
fn held(log: &Log) -> (Vec<Vec<u8>>, usize) {
    let mut reader = log.reader(Offset::ZERO).expect("all is there");
    let (mut all, mut open, mut largest) = (Vec::new(), Vec::new(), 0);
    while let Some(record) = reader.try_next().expect("sound") {
        largest = largest.max(record.events.len());
        open.extend_from_slice(&record.events);
        if record.end.is_some() {
            all.push(std::mem::take(&mut open));
        }
    }
    assert!(open.is_empty(), "a transaction without its end");
    (all, largest)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Small transactions around a large compressed one and one with large rows.
fn history(compressed: usize, rows: usize) -> Vec<Vec<Vec<u8>>> {
    let mut binlog = Binlog {
        offset: 4,
        transactions: 0,
    };
    vec![
        binlog.plain(&[100]),
        binlog.compressed(compressed),
        binlog.plain(&[5000, rows, 300]),
        binlog.plain(&[20]),
    ]
}

/// Selects database `d`.
#[derive(Debug)]
struct Mine;

impl Selection for Mine {
    fn table(&self, database: &str, _table: &str) -> bool {
        self.database(database)
    }

    fn database(&self, database: &str) -> bool {
        database == "d"
    }
}

/// C2: where looking at a table breaks the attempt off, the position that is stored for what nobody wanted before it must not cover
/// the statement, which comes again.
#[test]
fn a_definition_statement_that_was_not_appended_is_not_passed() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().expect("a folder"));
    runtime.block_on(async {
        let log = open(dir.path());
        let mut binlog = Binlog {
            offset: 4,
            transactions: 0,
        };
        let unwanted = binlog.statement("other", "CREATE TABLE t (x INT)");
        let end = binlog.offset;
        let wanted = binlog.statement("d", "ALTER TABLE t ADD y INT");
        let sent = packets(&[unwanted, wanted].concat());
        let error = stream_selected(&log, sent, 1000, Some(Arc::new(Mine))).await;
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        log.close().expect("closed");
        let log = open(dir.path());
        let position = log.position().expect("one");
        assert!(position.file.offset <= end, "{position}");
        let gtids = position.gtids.as_ref().expect("GTIDs").to_string();
        assert!(gtids.is_empty() || gtids.ends_with(":1"), "{position}");
        assert_eq!(held(&log).0.len(), 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn large_events_come_whole_however_they_arrive(
        compressed in 8_300_000..40_000_000_usize, rows in 8_300_000..20_000_000_usize, chunk in 1000..1_000_000_usize,
    ) {
        let (runtime, dir) = (runtime(), tempfile::tempdir().expect("a folder"));
        runtime.block_on(async {
            let history = history(compressed, rows);
            let log = open(dir.path());
            let error = stream(&log, packets(&history.concat()), chunk).await;
            prop_assert!(matches!(error, Error::Broken { .. }), "{error}");
            let (found, largest) = held(&log);
            let expected: Vec<_> = history.iter().map(|events| events.concat()).collect();
            prop_assert!(found == expected);
            // One that is just not large comes whole.
            let sizes = [compressed, rows].into_iter();
            let whole = sizes.filter(|size| *size < crate::wire::WHOLE_BYTES).max().unwrap_or(0);
            prop_assert!(largest < (3 << 20).max(whole + (64 << 10)), "{largest}");
            Ok(())
        })?;
    }

    /// C1, and C2 where the stream goes on: nothing of a damaged or unfinished transaction is there, and nothing twice.
    #[test]
    fn what_is_damaged_or_cut_off_leaves_nothing(
        second: bool, cut: bool, at in any::<Index>(), bit in 0..8_u8, chunk in 1000..1_000_000_usize,
    ) {
        let (runtime, dir) = (runtime(), tempfile::tempdir().expect("a folder"));
        runtime.block_on(async {
            let history = history(12_000_000, 9_000_000);
            let damaged = 1 + usize::from(second);
            let log = open(dir.path());
            let mut sent = history.clone();
            if cut {
                let end = packets(&history[..damaged].concat()).len();
                let all = packets(&history.concat());
                let size = history[damaged].concat().len();
                let error = stream(&log, all[..end + at.index(size)].to_vec(), chunk).await;
                prop_assert!(matches!(error, Error::Broken { .. }), "{error}");
            } else {
                let large = sent[damaged].iter_mut().max_by_key(|event| event.len()).expect("some");
                // The type decides who looks at it; everything else is found out by the checksum or the size.
                let at = match at.index(large.len()) {
                    4 => 5,
                    at => at,
                };
                large[at] ^= 1 << bit;
                let error = stream(&log, packets(&sent.concat()), chunk).await;
                prop_assert!(matches!(error, Error::Event { .. }), "{error}");
            }
            let expected: Vec<_> = history.iter().map(|events| events.concat()).collect();
            prop_assert!(held(&log).0 == expected[..damaged]);
            log.close().expect("closed");
            let log = open(dir.path());
            prop_assert!(held(&log).0 == expected[..damaged]);
            // The source sends it once more.
            let error = stream(&log, packets(&history[damaged..].concat()), chunk).await;
            prop_assert!(matches!(error, Error::Broken { .. }), "{error}");
            let found = held(&log).0;
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found == expected);
            Ok(())
        })?;
    }
}
