//! How keys and values are laid out on disk, version 2. Pure; arbitrary bytes are an error, never a panic.
//!
//! ```text
//! key       offset u64 BE, piece u32 BE
//! record    1 u8, flags u8, crc32 u32 LE,
//!           [BEGIN: commit_micros u64 LE, start, checksum u8, [GTID: source 16 bytes, tag, number u64 LE]],
//!           [END: file position after the transaction],
//!           events
//! position  1 u8, flags u8 (PASSED: later than the end of the last transaction), crc32 u32 LE, last offset u64 LE,
//!           file position, [GTIDS: GTID set as in COM_BINLOG_DUMP_GTID]
//! kept      1 u8, 0 u8, crc32 u32 LE, for each: from u64 LE, file position, 1 u8 if there are GTIDs, GTID set, words
//! GTID set, words in kept: length u32 LE, text;
//! start, file position: offset u64 LE, file name;   tag: u8 length, bytes;   file name: u16 LE length, bytes
//! ```
//!
//! The CRC covers the key and everything in the value but itself, so a record in another's place is found out too.

mod schema;

use bytes::Bytes;
use outrigger_protocol::binlog::ChecksumAlg;
use outrigger_protocol::cursor::{Cursor, Truncated};
use outrigger_protocol::gtid::{Gtid, GtidSet, SourceId, Tag};
use outrigger_protocol::position::{FilePosition, SourcePosition};

pub(crate) use self::schema::{decode_schema, encode_schema, parse_schema_key, schema_key, table_prefix};
use crate::record::{Begin, Piece, Record};
use crate::{Error, Offset};

/// The layout that this version writes and reads, of keys, values and column families.
pub(crate) const FORMAT: u32 = 2;

const VALUE_VERSION: u8 = 1;
const BEGIN: u8 = 1;
const END: u8 = 2;
const GTID: u8 = 4;
const GTIDS: u8 = 1;
const PASSED: u8 = 2;
/// Where the CRC stands in a value, and where it ends.
const CRC: std::ops::Range<usize> = 2..6;

/// The key of what is kept, in the column family of what is known about the log.
pub(crate) const META_KEPT: &[u8] = b"kept";

/// Bytes of a record's key.
pub(crate) const KEY_LEN: usize = 12;

/// A record's key.
pub(crate) type Key = [u8; KEY_LEN];

/// Why bytes are not what this module writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// A field is missing.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The checksum doesn't match.
    #[error("its checksum is wrong")]
    Checksum,
    /// A field has a value that is never written.
    #[error("{0}")]
    Malformed(&'static str),
}

impl FormatError {
    /// The error of a caller whose piece can't be stored.
    pub(crate) fn refused(&self) -> Error {
        let what = match self {
            Self::Malformed(what) => what,
            Self::Truncated(_) | Self::Checksum => "a piece could not be laid out",
        };
        Error::Sequence { what }
    }
}

/// The key of a piece; ascending keys are the log's order.
pub(crate) fn key(offset: Offset, piece: u32) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&offset.0.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// Offset and piece from a key.
pub(crate) fn parse_key(key: &[u8]) -> Result<(Offset, u32), FormatError> {
    let wrong = |_| FormatError::Malformed("its key is not twelve bytes");
    let key: Key = key.try_into().map_err(wrong)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = key;
    Ok((
        Offset(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        u32::from_be_bytes([i, j, k, l]),
    ))
}

/// Room that a record's value takes besides its events, nearly always.
pub(crate) const HEAD_ROOM: usize = 160;

/// Adds a record's value to `out`; where in `out` its events begin. `Err` if a file name can't be stored.
pub(crate) fn encode_record(out: &mut Vec<u8>, key: &Key, piece: &Piece) -> Result<usize, FormatError> {
    let start = out.len();
    let mut flags = 0;
    out.extend_from_slice(&[VALUE_VERSION, 0, 0, 0, 0, 0]);
    if let Some(begin) = &piece.begin {
        flags |= BEGIN;
        out.extend_from_slice(&begin.commit_micros.to_le_bytes());
        put_file(out, &begin.start)?;
        out.push(begin.checksum.number());
        if let Some(gtid) = &begin.gtid {
            flags |= GTID;
            out.extend_from_slice(&gtid.source.0);
            let tag = gtid.tag.as_str();
            out.push(
                u8::try_from(tag.len())
                    .map_err(|_too_long| FormatError::Malformed("a GTID's tag is longer than 255 bytes"))?,
            );
            out.extend_from_slice(tag.as_bytes());
            out.extend_from_slice(&gtid.number.to_le_bytes());
        }
    }
    if let Some(end) = &piece.end {
        flags |= END;
        put_file(out, &end.position.file)?;
    }
    let head = out.len();
    out.extend_from_slice(&piece.events);
    out[start + 1] = flags;
    seal(key, &mut out[start..]);
    Ok(head)
}

/// The record under `key`; its events share `value`'s memory.
pub(crate) fn decode_record(key: &[u8], value: &Bytes) -> Result<Record, FormatError> {
    let (offset, piece) = parse_key(key)?;
    let (flags, mut cursor) = open(key, value)?;
    if flags & !(BEGIN | END | GTID) != 0 || (flags & GTID != 0 && flags & BEGIN == 0) {
        return Err(FormatError::Malformed("its flags are not of this version"));
    }
    let begin = if flags & BEGIN == 0 {
        None
    } else {
        Some(read_begin(&mut cursor, flags & GTID != 0)?)
    };
    let end = if flags & END == 0 {
        None
    } else {
        Some(read_file(&mut cursor)?)
    };
    let head = value.len() - cursor.remaining();
    Ok(Record {
        offset,
        piece,
        begin,
        events: value.slice(head..),
        end,
    })
}

fn read_begin(cursor: &mut Cursor<'_>, has_gtid: bool) -> Result<Begin, FormatError> {
    let commit_micros = cursor.u64()?;
    let start = read_file(cursor)?;
    let unknown = |_| FormatError::Malformed("its checksum algorithm is unknown");
    let checksum = ChecksumAlg::from_number(cursor.u8()?).map_err(unknown)?;
    let gtid = if has_gtid {
        let source = SourceId(cursor.array()?);
        let length = usize::from(cursor.u8()?);
        let tag = std::str::from_utf8(cursor.bytes(length)?).ok().and_then(Tag::new);
        let tag = tag.ok_or(FormatError::Malformed("its GTID's tag is none"))?;
        Some(Gtid {
            source,
            tag,
            number: cursor.u64()?,
        })
    } else {
        None
    };
    Ok(Begin {
        gtid,
        commit_micros,
        checksum,
        start,
    })
}

/// What is stored beside the records: where capture resumes, and which transaction came last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last whole transaction; zero if there was none yet.
    pub(crate) last: Offset,
    /// The place after it, and after what was not kept behind it.
    pub(crate) source: SourcePosition,
    /// True when transactions that were not kept stand between the last one's end and `source`.
    pub(crate) passed: bool,
}

/// The value that holds `source` as the place after `last`.
pub(crate) fn encode_position(last: Offset, source: &SourcePosition) -> Result<Vec<u8>, FormatError> {
    put_position(last, source, 0)
}

/// The value that holds `source` as a place further on than the end of `last`, with nothing kept in between.
pub(crate) fn encode_passed(last: Offset, source: &SourcePosition) -> Result<Vec<u8>, FormatError> {
    put_position(last, source, PASSED)
}

fn put_position(last: Offset, source: &SourcePosition, flags: u8) -> Result<Vec<u8>, FormatError> {
    let mut out = vec![VALUE_VERSION, flags, 0, 0, 0, 0];
    out.extend_from_slice(&last.0.to_le_bytes());
    put_file(&mut out, &source.file)?;
    if let Some(gtids) = &source.gtids {
        out[1] |= GTIDS;
        out.extend_from_slice(&gtids.encode());
    }
    seal(b"", &mut out);
    Ok(out)
}

/// Reads what [`encode_position`] wrote.
pub(crate) fn decode_position(value: &[u8]) -> Result<Position, FormatError> {
    let (flags, mut cursor) = open(b"", value)?;
    let last = Offset(cursor.u64()?);
    let file = read_file(&mut cursor)?;
    let gtids = match flags & !PASSED {
        0 => None,
        GTIDS => {
            let wrong = |_| FormatError::Malformed("its GTID set is none");
            Some(GtidSet::decode(cursor.rest()).map_err(wrong)?)
        }
        _ => return Err(FormatError::Malformed("its flags are not of this version")),
    };
    Ok(Position {
        last,
        source: SourcePosition { gtids, file },
        passed: flags & PASSED != 0,
    })
}

/// What a log keeps from a place on, in its owner's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The first offset for which it holds.
    pub from: Offset,
    /// Where the source had been read up to when it began to hold: behind the end of the offset before, if transactions were
    /// left out there.
    pub since: SourcePosition,
    /// The words.
    pub what: String,
}

/// The value that holds the whole list.
pub(crate) fn encode_kept(kept: &[Kept]) -> Result<Vec<u8>, FormatError> {
    fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), FormatError> {
        let too_long = |_| FormatError::Malformed("what is kept is longer than can be stored");
        let length = u32::try_from(text.len()).map_err(too_long)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
    let mut out = vec![VALUE_VERSION, 0, 0, 0, 0, 0];
    for entry in kept {
        out.extend_from_slice(&entry.from.0.to_le_bytes());
        put_file(&mut out, &entry.since.file)?;
        out.push(u8::from(entry.since.gtids.is_some()));
        let gtids = entry.since.gtids.as_ref().map(ToString::to_string);
        put_text(&mut out, gtids.as_deref().unwrap_or_default())?;
        put_text(&mut out, &entry.what)?;
    }
    seal(META_KEPT, &mut out);
    Ok(out)
}

/// Reads what [`encode_kept`] wrote.
pub(crate) fn decode_kept(value: &[u8]) -> Result<Vec<Kept>, FormatError> {
    fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, FormatError> {
        let length = usize::try_from(cursor.u32()?).unwrap_or(usize::MAX);
        let wrong = |_| FormatError::Malformed("a text is not UTF-8");
        std::str::from_utf8(cursor.bytes(length)?).map_err(wrong)
    }
    let (_, mut cursor) = open(META_KEPT, value)?;
    let mut kept = Vec::new();
    while !cursor.is_empty() {
        let from = Offset(cursor.u64()?);
        let file = read_file(&mut cursor)?;
        let has_gtids = cursor.u8()? != 0;
        let gtids = text(&mut cursor)?;
        let gtids = match has_gtids {
            true => {
                let wrong = |_| FormatError::Malformed("its GTID set is none");
                Some(gtids.parse::<GtidSet>().map_err(wrong)?)
            }
            false => None,
        };
        let what = text(&mut cursor)?.to_owned();
        kept.push(Kept {
            from,
            since: SourcePosition { gtids, file },
            what,
        });
    }
    Ok(kept)
}

fn put_file(out: &mut Vec<u8>, position: &FilePosition) -> Result<(), FormatError> {
    let too_long = |_| FormatError::Malformed("a binlog file's name is longer than 65535 bytes");
    let length = u16::try_from(position.file.len()).map_err(too_long)?;
    out.extend_from_slice(&position.offset.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(position.file.as_bytes());
    Ok(())
}

fn read_file(cursor: &mut Cursor<'_>) -> Result<FilePosition, FormatError> {
    let offset = cursor.u64()?;
    let length = usize::from(cursor.u16()?);
    let wrong = |_| FormatError::Malformed("its binlog file's name is not UTF-8");
    let file = std::str::from_utf8(cursor.bytes(length)?).map_err(wrong)?;
    Ok(FilePosition::new(file, offset))
}

/// Writes the CRC of `key` and `value` into `value`.
fn seal(key: &[u8], value: &mut [u8]) {
    let crc = crc(key, value);
    value[CRC].copy_from_slice(&crc.to_le_bytes());
}

/// Checks version and CRC; the flags, and a cursor behind the CRC.
fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<(u8, Cursor<'a>), FormatError> {
    let mut cursor = Cursor::new(value);
    let (version, flags, stored) = (cursor.u8()?, cursor.u8()?, cursor.u32()?);
    if version != VALUE_VERSION {
        return Err(FormatError::Malformed("it is of another version"));
    }
    if crc(key, value) != stored {
        return Err(FormatError::Checksum);
    }
    Ok((flags, cursor))
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&value[..CRC.start]);
    hasher.update(&value[CRC.end..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::record::End;

    fn file() -> impl Strategy<Value = FilePosition> {
        ("[a-z.]{0,20}[0-9]{0,7}", any::<u64>()).prop_map(|(name, offset)| FilePosition::new(name, offset))
    }

    fn gtid() -> impl Strategy<Value = Gtid> {
        (
            any::<[u8; 16]>(),
            "|[a-z_][a-z0-9_]{0,31}",
            1..i64::MAX.unsigned_abs(),
        )
            .prop_map(|(source, tag, number)| Gtid {
                source: SourceId(source),
                tag: if tag.is_empty() {
                    Tag::default()
                } else {
                    Tag::new(&tag).unwrap()
                },
                number,
            })
    }

    fn begin() -> impl Strategy<Value = Begin> {
        let alg = prop_oneof![Just(ChecksumAlg::Off), Just(ChecksumAlg::Crc32)];
        (option::of(gtid()), any::<u64>(), alg, file()).prop_map(|(gtid, commit_micros, checksum, start)| {
            Begin {
                gtid,
                commit_micros,
                checksum,
                start,
            }
        })
    }

    fn source() -> impl Strategy<Value = SourcePosition> {
        (option::of(prop::collection::vec(gtid(), 0..5)), file()).prop_map(|(gtids, file)| {
            let gtids = gtids.map(|list| {
                let mut set = GtidSet::default();
                list.into_iter().for_each(|gtid| set.insert(gtid));
                set
            });
            SourcePosition { gtids, file }
        })
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let events = prop::collection::vec(any::<u8>(), 0..300);
        (option::of(begin()), events, option::of(source())).prop_map(|(begin, events, end)| Piece {
            begin,
            events: events.into(),
            end: end.map(|position| End {
                position,
                schemas: Vec::new(),
            }),
        })
    }

    proptest! {
        #[test]
        fn keys_keep_order_and_content(a in any::<(u64, u32)>(), b in any::<(u64, u32)>()) {
            let (left, right) = (key(Offset(a.0), a.1), key(Offset(b.0), b.1));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            prop_assert_eq!(parse_key(&left), Ok((Offset(a.0), a.1)));
        }

        #[test]
        fn a_record_comes_back_as_it_went(piece in piece(), offset: u64, number: u32) {
            let key = key(Offset(offset), number);
            let mut value = b"another".to_vec();
            let head = encode_record(&mut value, &key, &piece).unwrap() - b"another".len();
            let value = Bytes::from(value).slice(b"another".len()..);
            let record = decode_record(&key, &value).unwrap();
            prop_assert_eq!(&value[head..], &piece.events);
            let end = piece.end.map(|end| end.position.file);
            prop_assert_eq!(
                record,
                Record { offset: Offset(offset), piece: number, begin: piece.begin, events: piece.events, end }
            );
        }

        #[test]
        fn what_is_kept_comes_back(list in prop::collection::vec((any::<u64>(), source(), ".{0,40}"), 0..4)) {
            let list: Vec<Kept> =
                list.into_iter().map(|(from, since, what)| Kept { from: Offset(from), since, what }).collect();
            prop_assert_eq!(decode_kept(&encode_kept(&list).unwrap()), Ok(list));
        }

        #[test]
        fn a_flipped_bit_or_another_key_is_found_out(piece in piece(), at: prop::sample::Index, bit in 0..8_u8) {
            let (here, there) = (key(Offset(7), 1), key(Offset(8), 1));
            let mut value = Vec::new();
            encode_record(&mut value, &here, &piece).unwrap();
            prop_assert!(decode_record(&there, &value.clone().into()).is_err());
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(decode_record(&here, &value.into()).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_an_error_at_most(bytes in prop::collection::vec(any::<u8>(), 0..200), sealed: bool) {
            // With a right version and CRC the fields behind are reached too.
            let mut bytes = bytes;
            let key = key(Offset(1), 0);
            if sealed && bytes.len() >= CRC.end {
                bytes[0] = VALUE_VERSION;
                bytes[1] &= 7;
                let mut position = bytes.clone();
                position[1] &= 1;
                seal(b"", &mut position);
                drop(decode_position(&position));
                let mut kept = bytes.clone();
                seal(META_KEPT, &mut kept);
                drop(decode_kept(&kept));
                seal(&key, &mut bytes);
            }
            drop(decode_position(&bytes));
            drop(parse_key(&bytes));
            drop(decode_record(&key, &bytes.into()));
        }

        #[test]
        fn a_position_comes_back_as_it_went(source in source(), last: u64) {
            let value = encode_position(Offset(last), &source).unwrap();
            prop_assert_eq!(decode_position(&value), Ok(Position { last: Offset(last), source: source.clone(), passed: false }));
            let value = encode_passed(Offset(last), &source).unwrap();
            prop_assert_eq!(decode_position(&value), Ok(Position { last: Offset(last), source, passed: true }));
        }
    }
}
