//! XA transactions in the log: how they are named, and which ones stand prepared at a place of it.
//!
//! A prepared transaction's rows are nobody's to see until it is committed, so no copy has them: a task that begins between
//! the two needs the log from the prepare on. What is found here goes into its first checkpoint, and holds the log (C4).
//!
//! Of other transactions no more than the first statement is looked at.

use std::collections::HashMap;

use outrigger_protocol::binlog::{Body, EventKind, Unfolder};
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::ddl::{self, Kind};
use outrigger_storage::{Log, Offset, Record};

use crate::checkpoint::PreparedXa;
use crate::error::{Error, Place};

/// An XID in the spelling that the server logs: `X'gtrid',X'bqual',format`.
pub(crate) fn spell(gtrid: &[u8], bqual: &[u8], format_id: u32) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    format!("X'{}',X'{}',{format_id}", hex(gtrid), hex(bqual))
}

/// The XID in `XA COMMIT xid` or `XA ROLLBACK xid` as the server logs it, in [`spell`]'s spelling.
pub(crate) fn xid(statement: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(statement).ok()?.trim();
    let (verb, rest) = text.split_once(char::is_whitespace)?;
    let (action, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let known = verb.eq_ignore_ascii_case("XA")
        && ["COMMIT", "ROLLBACK"]
            .iter()
            .any(|a| action.eq_ignore_ascii_case(a));
    let mut parts = rest.trim().split(',');
    let bytes = |part: Option<&str>| -> Option<String> {
        let part = part?.trim();
        let hex = part
            .strip_prefix(['X', 'x'])?
            .strip_prefix('\'')?
            .strip_suffix('\'')?;
        hex.bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| hex.to_ascii_lowercase())
    };
    let (gtrid, bqual) = (bytes(parts.next())?, bytes(parts.next())?);
    let format: u32 = parts.next()?.trim().parse().ok()?;
    (known && parts.next().is_none()).then(|| format!("X'{gtrid}',X'{bqual}',{format}"))
}

/// The XA transactions that are prepared and neither committed nor rolled back at the end of `through`, as far as the log still
/// has them, oldest first. Reads the log up to there. May be cancelled.
pub(crate) async fn prepared(log: &Log, through: Offset) -> Result<Vec<PreparedXa>, Error> {
    loop {
        match scan(log, through).await {
            // What was trimmed while it was read is needed by nobody who could know of it: once more, without it.
            Err(Error::Log(outrigger_storage::Error::Trimmed { .. })) => {}
            other => return other,
        }
    }
}

async fn scan(log: &Log, through: Offset) -> Result<Vec<PreparedXa>, Error> {
    let mut read = Offset(log.stats().first.0.saturating_sub(1));
    let mut reader = log.reader(read)?;
    let mut open = Open::default();
    while read < through {
        let record = reader.next().await?;
        open.read(&record)?;
        read = if record.end.is_some() { record.offset } else { read };
        // Reading from memory or disk is always ready: let others run.
        tokio::task::consume_budget().await;
    }
    Ok(open.list())
}

/// What is prepared after the records that were read: no more than the source holds prepared at once.
#[derive(Debug, Default)]
struct Open {
    /// Finds the events of the transaction that is being read.
    unfolder: Unfolder,
    about: About,
    prepared: HashMap<String, Offset>,
}

/// What the transaction that is being read is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum About {
    /// No statement of it was read.
    #[default]
    Unknown,
    /// It began with XA START.
    Xa,
    /// What follows says nothing of XA.
    Nothing,
}

impl Open {
    /// The log's next record.
    fn read(&mut self, record: &Record) -> Result<(), Error> {
        if let Some(begin) = &record.begin {
            self.unfolder = Unfolder::new(begin.checksum);
            self.about = About::Unknown;
        }
        let fail = |cause| Error::Event {
            place: Place::new(
                record.offset,
                record.begin.as_ref().map(|begin| begin.start.clone()),
            ),
            cause,
        };
        let mut bytes: &[u8] = &record.events;
        while self.about != About::Nothing
            && let Some(found) = self.unfolder.next(&mut bytes).map_err(fail)?
        {
            if !matches!(
                found.header().map_err(fail)?.kind,
                EventKind::QUERY | EventKind::XA_PREPARE
            ) {
                continue;
            }
            match found.parse().map_err(fail)?.body {
                Body::XaPrepare(xa) if !xa.one_phase => {
                    self.prepared
                        .insert(spell(xa.gtrid, xa.bqual, xa.format_id), record.offset);
                }
                Body::Query(query) if self.about == About::Unknown => {
                    let kind = ddl::classify(query.statement, SqlMode::empty()).kind;
                    self.about = match kind {
                        Kind::XaStart => About::Xa,
                        _ => About::Nothing,
                    };
                    if let (Kind::XaCommit | Kind::XaRollback, Some(xid)) = (kind, xid(query.statement)) {
                        self.prepared.remove(&xid);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn list(self) -> Vec<PreparedXa> {
        let xa = |(xid, offset)| PreparedXa { xid, offset };
        let mut list: Vec<_> = self.prepared.into_iter().map(xa).collect();
        list.sort_by_key(|xa| xa.offset);
        list
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::ChecksumAlg;
    use outrigger_protocol::position::FilePosition;
    use outrigger_storage::Begin;

    use super::*;

    #[test]
    fn both_events_spell_an_xid_alike() {
        assert_eq!(xid(b"XA COMMIT X'7831',X'',1"), Some(spell(b"x1", b"", 1)));
        assert_eq!(
            xid(b"xa rollback X'7831',X'4A',4294967295"),
            Some(spell(b"x1", b"J", u32::MAX))
        );
        assert_eq!(xid(b"XA COMMIT 'x1'"), None);
        assert_eq!(xid(b"XA"), None);
    }

    /// An event without a checksum.
    fn event(kind: EventKind, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(19 + body.len()).unwrap();
        let mut bytes = vec![0; 19];
        bytes[4] = kind.0;
        bytes[9..13].copy_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn query(text: &str) -> Vec<u8> {
        // No status variables, no default database.
        let body = [&[0; 13][..], &[0], text.as_bytes()].concat();
        event(EventKind::QUERY, &body)
    }

    fn prepare(gtrid: &str, one_phase: bool) -> Vec<u8> {
        let length = u32::try_from(gtrid.len()).unwrap();
        let numbers = [1, length, 0].map(u32::to_le_bytes).concat();
        event(
            EventKind::XA_PREPARE,
            &[&[u8::from(one_phase)][..], &numbers, gtrid.as_bytes()].concat(),
        )
    }

    /// What stands prepared after transactions that end so, in pieces cut anywhere.
    fn open(ends: &[Vec<u8>]) -> Vec<(String, u64)> {
        let mut open = Open::default();
        for (at, end) in ends.iter().enumerate() {
            let offset = Offset(u64::try_from(at).unwrap() + 1);
            let events = match end[4] == EventKind::XA_PREPARE.0 {
                true => [
                    query("XA START X'61',X'',1"),
                    query("XA END X'61',X'',1"),
                    end.clone(),
                ]
                .concat(),
                false => end.clone(),
            };
            let begin = Begin {
                gtid: None,
                commit_micros: 0,
                checksum: ChecksumAlg::Off,
                start: FilePosition::new("binlog.000001", 4),
            };
            let pieces: Vec<&[u8]> = events.chunks(7).collect();
            for (piece, events) in pieces.iter().enumerate() {
                let record = Record {
                    offset,
                    piece: u32::try_from(piece).unwrap(),
                    begin: (piece == 0).then(|| begin.clone()),
                    events: events.to_vec().into(),
                    end: (piece + 1 == pieces.len()).then(|| FilePosition::new("binlog.000001", 900)),
                };
                open.read(&record).unwrap();
            }
        }
        open.list().into_iter().map(|xa| (xa.xid, xa.offset.0)).collect()
    }

    #[test]
    fn the_last_prepare_that_nothing_ended_stands() {
        let (commit, rollback) = (query("XA COMMIT X'61',X'',1"), query("XA ROLLBACK X'61',X'',1"));
        let a = "X'61',X'',1".to_owned();
        assert_eq!(open(&[]), []);
        assert_eq!(open(&[prepare("a", false)]), [(a.clone(), 1)]);
        assert_eq!(open(&[prepare("a", true)]), []);
        for end in [&commit, &rollback] {
            assert_eq!(open(&[prepare("a", false), end.clone()]), []);
            assert_eq!(
                open(&[prepare("a", false), end.clone(), prepare("a", false)]),
                [(a.clone(), 3)]
            );
        }
        let other = query("XA COMMIT X'62',X'',1");
        assert_eq!(
            open(&[
                prepare("b", false),
                prepare("a", false),
                prepare("c", false),
                other
            ]),
            [(a, 2), ("X'63',X'',1".to_owned(), 3)]
        );
        // What is behind the first statement of another transaction is not looked at.
        let other = [query("BEGIN"), prepare("d", false)].concat();
        assert_eq!(open(&[other]), []);
    }
}
