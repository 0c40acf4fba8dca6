//! Building transactions, and waiting with a deadline.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use outrigger_protocol::binlog::ChecksumAlg;
use outrigger_protocol::gtid::{Gtid, GtidSet, SourceId, Tag};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Appender, Begin, Config, End, Log, Offset, Piece, Reader, Record};

/// No wait in these tests may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn config(path: &Path) -> Config {
    let mut config = Config::new(path);
    config.quota = ByteSize::gib(1);
    config
}

pub(crate) fn open(path: &Path) -> Log {
    Log::open(config(path)).unwrap()
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("the deadline has passed")
}

pub(crate) fn gtid(number: u64) -> Gtid {
    Gtid {
        source: SourceId([7; 16]),
        tag: Tag::default(),
        number,
    }
}

/// The place after transaction `number`.
pub(crate) fn position(number: u64) -> SourcePosition {
    let gtids: GtidSet = if number == 0 {
        GtidSet::default()
    } else {
        format!("{}:1-{number}", SourceId([7; 16])).parse().unwrap()
    };
    SourcePosition {
        gtids: Some(gtids),
        file: file(number),
    }
}

pub(crate) fn file(number: u64) -> FilePosition {
    FilePosition::new("binlog.000001", 1000 * number + 157)
}

pub(crate) fn begin(number: u64) -> Begin {
    Begin {
        gtid: Some(gtid(number)),
        commit_micros: 1_700_000_000_000_000 + number,
        checksum: ChecksumAlg::Crc32,
        start: file(number - 1),
    }
}

/// Bytes that differ by transaction and piece and don't compress.
pub(crate) fn events(number: u64, piece: u32, size: usize) -> Bytes {
    let mut state = (number << 20 | u64::from(piece)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}

/// Appends transaction `number` in as many pieces as there are sizes.
pub(crate) async fn append(appender: &mut Appender, number: u64, sizes: &[usize]) {
    for (piece, size) in (0..).zip(sizes) {
        let piece = piece_of(
            number,
            piece,
            *size,
            usize::try_from(piece).unwrap() + 1 == sizes.len(),
        );
        soon(appender.append(piece)).await.unwrap();
    }
}

pub(crate) fn piece_of(number: u64, piece: u32, size: usize, last: bool) -> Piece {
    Piece {
        begin: (piece == 0).then(|| begin(number)),
        events: events(number, piece, size),
        end: last.then(|| End {
            position: position(number),
            schemas: Vec::new(),
        }),
    }
}

/// What a reader should return for [`piece_of`].
pub(crate) fn record_of(number: u64, piece: u32, size: usize, last: bool) -> Record {
    Record {
        offset: Offset(number),
        piece,
        begin: (piece == 0).then(|| begin(number)),
        events: events(number, piece, size),
        end: last.then(|| file(number)),
    }
}

/// Reads transactions `from` to `to` and checks them to the byte.
pub(crate) async fn expect(reader: &mut Reader, from: u64, to: u64, sizes: &[usize]) {
    for number in from..=to {
        for (piece, size) in (0..).zip(sizes) {
            let last = usize::try_from(piece).unwrap() + 1 == sizes.len();
            let record = soon(reader.next()).await.unwrap();
            assert!(
                record == record_of(number, piece, *size, last),
                "offset {} piece {}",
                record.offset,
                record.piece
            );
        }
    }
}

/// A copy of a directory, as a crash at this moment could leave it: files are copied in the order of their names' kinds, the
/// write-ahead log first, so that nothing younger than it is taken along.
pub(crate) fn copy(from: &Path, to: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort_by_key(|name| !name.to_string_lossy().ends_with(".log"));
    for name in names {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}
