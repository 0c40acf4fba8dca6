//! From an event's bytes to what it means for the log, and nothing before its checksum held (C1).
//!
//! Only events that begin, end or place a transaction are decoded; rows, which are nearly all of a binlog, are verified
//! and passed on as they are. An event of a type that is not known is an error, unless the source marked it ignorable.

use outrigger_protocol::binlog::{Body, ChecksumAlg, Error, Event, EventHeader, EventKind};
use outrigger_protocol::position::FilePosition;

use crate::transaction::Meaning;

/// Verifies one event and says what it means.
///
/// # Errors
/// A wrong size or checksum, an unknown type, or a body that contradicts its format.
pub(crate) fn read(bytes: &[u8], checksum: ChecksumAlg) -> Result<(EventHeader, Meaning<'_>), Error> {
    let header = EventHeader::parse(bytes)?;
    if usize::try_from(header.size) != Ok(bytes.len()) {
        return Err(Error::Size {
            stated: header.size,
            actual: bytes.len(),
        });
    }
    match header.kind {
        EventKind::TABLE_MAP
        | EventKind::WRITE_ROWS_V1
        | EventKind::UPDATE_ROWS_V1
        | EventKind::DELETE_ROWS_V1
        | EventKind::WRITE_ROWS
        | EventKind::UPDATE_ROWS
        | EventKind::DELETE_ROWS
        | EventKind::PARTIAL_UPDATE_ROWS
        | EventKind::ROWS_QUERY => {
            checksum.verify(bytes)?;
            Ok((header, Meaning::Inner))
        }
        EventKind::XID | EventKind::TRANSACTION_PAYLOAD => {
            checksum.verify(bytes)?;
            Ok((header, Meaning::Last))
        }
        _ => Ok((header, meaning(Event::parse(bytes, checksum)?))),
    }
}

fn meaning(event: Event<'_>) -> Meaning<'_> {
    match event.body {
        Body::FormatDescription(format) => Meaning::Format(format.checksum),
        Body::Rotate(rotate) => Meaning::Rotate(FilePosition::new(rotate.file, rotate.position)),
        Body::Gtid(gtid) => Meaning::Gtid(gtid),
        Body::PreviousGtids(set) => Meaning::PreviousGtids(set),
        Body::Query(query) => Meaning::Statement(query.statement),
        Body::Xid(_) | Body::XaPrepare(_) | Body::TransactionPayload(_) => Meaning::Last,
        Body::Heartbeat(heartbeat) => {
            Meaning::Heartbeat(FilePosition::new(heartbeat.file, heartbeat.position))
        }
        Body::Incident(incident) => Meaning::Incident(format!(
            "{}: {}",
            incident.number,
            String::from_utf8_lossy(incident.message)
        )),
        Body::Stop => Meaning::Stop,
        Body::TableMap(_)
        | Body::Rows(_)
        | Body::RowsQuery(_)
        | Body::IntVar(_)
        | Body::Rand(_)
        | Body::UserVar(_)
        | Body::LoadData => Meaning::Inner,
        Body::Ignorable => Meaning::Ignorable,
    }
}
