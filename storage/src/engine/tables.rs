//! Reading an open database, whether this process writes it or only looks at it.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use rocksdb::{ColumnFamily, DB, ReadOptions};

use super::{
    EVENTS, META, META_FILE, META_FORMAT, META_ID, META_POSITION, META_SERVER, META_TRIMMED, damaged,
    engine_error, not_a_log,
};
use crate::format::{
    FORMAT, Kept, META_KEPT, Position, decode_kept, decode_position, decode_record, key, parse_key,
};
use crate::{Error, LogId, Offset, Record};

/// An open database and its directory's name.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) db: &'a DB,
    pub(super) path: &'a Path,
}

/// What `meta` holds.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) id: LogId,
    pub(crate) position: Option<Position>,
    /// Everything up to here is gone.
    pub(crate) trimmed: Offset,
}

impl Meta {
    /// The last whole transaction; zero before the first.
    pub(crate) fn last(&self) -> Offset {
        self.position
            .as_ref()
            .map_or(Offset::ZERO, |position| position.last)
    }
}

impl<'a> Tables<'a> {
    /// Records from `from` on, none beyond `through`: at least one, then as many as fit `budget` bytes. Every record is
    /// checked, and they follow each other without a gap. What stands before a damage is returned; the damage is an error when
    /// it comes first. Blocks for the disk.
    pub(super) fn records(
        self,
        from: (Offset, u32),
        through: Offset,
        budget: usize,
    ) -> Result<Vec<Record>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(through.next(), 0));
        options.set_readahead_size(512 << 10);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(EVENTS)?, options);
        let mut values = BytesMut::new();
        let mut ends = Vec::new();
        iterator.seek(key(from.0, from.1));
        while let Some((key, value)) = iterator.item() {
            if !ends.is_empty() && values.len() + value.len() > budget {
                break;
            }
            values.extend_from_slice(value);
            ends.push((key.to_vec(), values.len()));
            iterator.next();
        }
        let read = iterator.status();
        drop(iterator);
        let (records, fault) = self.check(from, &ends, &values.freeze());
        if !records.is_empty() {
            return Ok(records);
        }
        read.map_err(|e| engine_error(self.path, "reading", e))?;
        Err(fault.unwrap_or_else(|| self.missing(from)))
    }

    /// Decodes consecutive values up to the first that is damaged or missing, and says what is wrong there.
    fn check(
        self,
        from: (Offset, u32),
        ends: &[(Vec<u8>, usize)],
        values: &Bytes,
    ) -> (Vec<Record>, Option<Error>) {
        let mut records: Vec<Record> = Vec::with_capacity(ends.len());
        let (mut wanted, mut begin) = (from, 0);
        for (key, end) in ends {
            let record = match decode_record(key, &values.slice(begin..*end)) {
                Ok(record) => record,
                Err(error) => return (records, Some(damaged(self.path, &describe(key), &error))),
            };
            if (record.offset, record.piece) != wanted || (record.piece == 0) != record.begin.is_some() {
                return (records, Some(self.missing(wanted)));
            }
            wanted = record.follower();
            begin = *end;
            records.push(record);
        }
        (records, None)
    }

    fn missing(self, (offset, piece): (Offset, u32)) -> Error {
        Error::Corrupt {
            path: self.path.to_path_buf(),
            what: format!("piece {piece} of offset {offset} is missing"),
        }
    }

    /// What `meta` holds; `None` if the database is none of ours yet.
    pub(super) fn meta(self) -> Result<Option<Meta>, Error> {
        let corrupt = |what: String| Error::Corrupt {
            path: self.path.to_path_buf(),
            what,
        };
        let fixed = |value: Option<Vec<u8>>, what: &str| -> Result<Option<u64>, Error> {
            let Some(value) = value else { return Ok(None) };
            let bytes = <[u8; 8]>::try_from(value.as_slice());
            bytes
                .map(|bytes| Some(u64::from_be_bytes(bytes)))
                .map_err(|_length| corrupt(format!("its {what} is not eight bytes")))
        };
        match fixed(self.get(META_FORMAT)?, "format version")? {
            None => return Ok(None),
            Some(version) if version == u64::from(FORMAT) => {}
            Some(version) => {
                return Err(Error::Version {
                    path: self.path.to_path_buf(),
                    found: u32::try_from(version).unwrap_or(u32::MAX),
                    supported: FORMAT,
                });
            }
        }
        let id = self.get(META_ID)?.and_then(|bytes| LogId::from_slice(&bytes));
        let position = self
            .get(META_POSITION)?
            .map(|value| decode_position(&value))
            .transpose();
        Ok(Some(Meta {
            id: id.ok_or_else(|| corrupt("its identity is missing".into()))?,
            position: position.map_err(|e| damaged(self.path, "the stored position", &e))?,
            trimmed: Offset(fixed(self.get(META_TRIMMED)?, "trim mark")?.unwrap_or(0)),
        }))
    }

    /// What is kept, from which offset on; empty: nothing was ever said about it.
    pub(super) fn kept(self) -> Result<Vec<Kept>, Error> {
        match self.get(META_KEPT)? {
            Some(value) => decode_kept(&value).map_err(|e| damaged(self.path, "what is kept", &e)),
            None => Ok(Vec::new()),
        }
    }

    /// Which server is captured; `None` before the first.
    pub(super) fn server(self) -> Result<Option<String>, Error> {
        let id = self.get(META_SERVER)?;
        Ok(id.map(|id| String::from_utf8_lossy(&id).into_owned()))
    }

    /// Which binlog file was read last, and when it was begun; `None` where nobody said.
    pub(super) fn file(self) -> Result<Option<(String, u32)>, Error> {
        let Some(value) = self.get(META_FILE)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&value);
        let parts = text.split_once(' ');
        Ok(parts.and_then(|(begun, file)| Some((file.to_owned(), begun.parse().ok()?))))
    }

    fn get(self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db
            .get_cf(self.family(META)?, key)
            .map_err(|e| engine_error(self.path, "reading its metadata", e))
    }

    /// A column family by its name.
    pub(super) fn family(self, name: &str) -> Result<&'a ColumnFamily, Error> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| not_a_log(self.path, format!("it has no column family {name:?}")))
    }
}

/// How a record's key is called in a sentence.
pub(super) fn describe(key: &[u8]) -> String {
    match parse_key(key) {
        Ok((offset, piece)) => format!("piece {piece} of offset {offset}"),
        Err(_) => format!("the record under key {key:02x?}"),
    }
}
