//! Binary log events: from the bytes of one event to what it means.
//!
//! [`Event::parse`] checks the CRC32 first (C1), then decodes header and body, borrowing from the bytes. Everything that
//! MySQL 5.7 to 9.7 write in row format is decoded; an event that carries data and isn't known is an error, never skipped.
//! Rows take two steps: a [`rows::RowPlan`] is made once per [`TableMap`], then decodes every [`RowsEvent`] of that table.
//!
//! Source of the formats: MySQL's `libs/mysql/binlog/event` and `sql/log_event.cc`, and bytes of real servers.

mod checksum;
mod error;
mod events;
mod file;
mod format;
mod gtid;
mod header;
pub mod json;
mod payload;
mod query;
pub mod rows;
mod span;
mod statement;
mod table_map;
#[cfg(test)]
mod tests;
mod unfold;
mod xa;

pub use checksum::{ChecksumAlg, RunningChecksum};
pub use error::Error;
pub use events::Events;
pub use file::{FileHead, FileWriter, Placed, Placing};
pub use format::{FormatDescription, Heartbeat, Incident, Rotate};
pub use gtid::GtidEvent;
pub use header::{
    CHECKSUM_LEN, EventHeader, EventKind, FILE_MAGIC, FLAG_ARTIFICIAL, FLAG_BINLOG_IN_USE, FLAG_IGNORABLE,
    FLAG_MTS_ISOLATE, FLAG_NO_FILTER, FLAG_RELAY_LOG, FLAG_SUPPRESS_USE, FLAG_THREAD_SPECIFIC, HEADER_LEN,
};
pub use payload::{Compression, Payload, PayloadEvents, Unpacker};
pub use query::{Invoker, QueryEvent, SessionVars};
pub use rows::{RowsEvent, RowsKind};
pub use span::{Span, Splitter};
pub use statement::{IntVar, Rand, UserVar, UserVarValue};
pub use table_map::{ColumnDef, ColumnType, TableMap};
pub use unfold::{Found, Unfolder};
pub use xa::XaPrepare;

use self::error::Within;
use crate::cursor::Cursor;
use crate::gtid::GtidSet;

/// One event, decoded, borrowing from the bytes it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// The common header.
    pub header: EventHeader,
    /// What the event says.
    pub body: Body<'a>,
}

/// What an event says, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// The first event of a file: server version, and whether the events that follow end in a checksum.
    FormatDescription(FormatDescription),
    /// The log goes on in another file.
    Rotate(Rotate),
    /// A transaction begins (GTID, ANONYMOUS_GTID, GTID_TAGGED).
    Gtid(GtidEvent),
    /// All GTIDs in the files before this one.
    PreviousGtids(GtidSet),
    /// A statement: DDL, BEGIN, COMMIT, XA…, or DML in statement format.
    Query(QueryEvent<'a>),
    /// What the rows events that follow are about.
    TableMap(TableMap),
    /// Changed rows of one table.
    Rows(RowsEvent<'a>),
    /// A transaction is committed; the number is the engine's own transaction id.
    Xid(u64),
    /// An XA transaction is prepared, or committed in one phase.
    XaPrepare(XaPrepare<'a>),
    /// The text of the statement that caused the rows events after it.
    RowsQuery(&'a [u8]),
    /// A whole transaction, compressed.
    TransactionPayload(Payload<'a>),
    /// Nothing has happened; the dump stands at this place (HEARTBEAT, HEARTBEAT_V2).
    Heartbeat(Heartbeat),
    /// The source's log has a gap: replication must not go on.
    Incident(Incident<'a>),
    /// The server shut down; the next file goes on.
    Stop,
    /// Statement format: the auto-increment value or LAST_INSERT_ID() that the next statement uses.
    IntVar(IntVar),
    /// Statement format: RAND()'s seeds for the next statement.
    Rand(Rand),
    /// Statement format: a user variable that the next statement reads.
    UserVar(UserVar<'a>),
    /// Statement format: a piece of a LOAD DATA file (BEGIN_LOAD_QUERY, APPEND_BLOCK, EXECUTE_LOAD_QUERY, DELETE_FILE). Its
    /// content can't be applied from here; a selected table it touches must stop the task.
    LoadData,
    /// Carries nothing that a reader must act on: flagged ignorable, or known to hold group-replication bookkeeping only.
    Ignorable,
}

impl<'a> Event<'a> {
    /// Decodes one whole event. `checksum` says whether it ends in a CRC32, which is verified before anything else is
    /// looked at; a FORMAT_DESCRIPTION tells by itself. Before the first of them pass what the source's `binlog_checksum` says.
    ///
    /// # Errors
    /// [`Error`] when the checksum doesn't match, the event is cut off or malformed, or its type is not known.
    pub fn parse(bytes: &'a [u8], checksum: ChecksumAlg) -> Result<Self, Error> {
        let header = EventHeader::parse(bytes)?;
        if u32::try_from(bytes.len()) != Ok(header.size) {
            return Err(Error::Size {
                stated: header.size,
                actual: bytes.len(),
            });
        }
        let body = if header.kind == EventKind::FORMAT_DESCRIPTION {
            Body::FormatDescription(FormatDescription::parse(bytes, checksum)?)
        } else {
            let content = checksum.verify(bytes)?;
            let (_, body) = content
                .split_at_checked(HEADER_LEN)
                .ok_or(Error::Truncated { what: "event header" })?;
            Body::parse(&header, body)?
        };
        Ok(Self { header, body })
    }
}

impl<'a> Body<'a> {
    /// Decodes what stands between header and checksum; anything but a FORMAT_DESCRIPTION.
    fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Error> {
        Ok(match header.kind {
            EventKind::ROTATE => Self::Rotate(Rotate::parse(body)?),
            EventKind::GTID => Self::Gtid(GtidEvent::parse(body, false)?),
            EventKind::ANONYMOUS_GTID => Self::Gtid(GtidEvent::parse(body, true)?),
            EventKind::GTID_TAGGED => Self::Gtid(GtidEvent::parse_tagged(body)?),
            EventKind::PREVIOUS_GTIDS => Self::PreviousGtids(
                GtidSet::decode(body)
                    .map_err(|error| Error::malformed("PREVIOUS_GTIDS event", error.to_string()))?,
            ),
            EventKind::QUERY => Self::Query(QueryEvent::parse(body)?),
            EventKind::TABLE_MAP => Self::TableMap(TableMap::parse(body)?),
            kind if kind.is_rows() => Self::Rows(RowsEvent::parse(header.kind, body)?),
            EventKind::XID => Self::Xid(Cursor::new(body).u64().within("XID event")?),
            EventKind::XA_PREPARE => Self::XaPrepare(XaPrepare::parse(body)?),
            EventKind::ROWS_QUERY => {
                // The one byte in front is a length that the server itself ignores: it can't hold long statements.
                let (_, text) = body.split_first().ok_or(Error::Truncated {
                    what: "ROWS_QUERY event",
                })?;
                Self::RowsQuery(text)
            }
            EventKind::TRANSACTION_PAYLOAD => Self::TransactionPayload(Payload::parse(body)?),
            EventKind::HEARTBEAT => Self::Heartbeat(Heartbeat::parse_v1(body, header.log_pos)?),
            EventKind::HEARTBEAT_V2 => Self::Heartbeat(Heartbeat::parse_v2(body)?),
            EventKind::INCIDENT => Self::Incident(Incident::parse(body)?),
            EventKind::STOP => Self::Stop,
            EventKind::INTVAR => Self::IntVar(IntVar::parse(body)?),
            EventKind::RAND => Self::Rand(Rand::parse(body)?),
            EventKind::USER_VAR => Self::UserVar(UserVar::parse(body)?),
            EventKind::BEGIN_LOAD_QUERY
            | EventKind::APPEND_BLOCK
            | EventKind::EXECUTE_LOAD_QUERY
            | EventKind::DELETE_FILE => Self::LoadData,
            EventKind::IGNORABLE | EventKind::TRANSACTION_CONTEXT | EventKind::VIEW_CHANGE => Self::Ignorable,
            _ if header.is_ignorable() => Self::Ignorable,
            unknown => return Err(Error::UnknownEvent(unknown)),
        })
    }
}
