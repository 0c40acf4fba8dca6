//! From an event's bytes to what it means for the log, and nothing before its checksum held (C1).
//!
//! Only events that begin, end or place a transaction are decoded; rows, which are nearly all of a binlog, are verified
//! and passed on as they are. An event of a type that is not known is an error, unless the source marked it ignorable.

use outrigger_protocol::binlog::{Body, ChecksumAlg, Error, Event, EventHeader, EventKind, RunningChecksum};
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
        kind if kind.is_rows() || matches!(kind, EventKind::TABLE_MAP | EventKind::ROWS_QUERY) => {
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

/// Whether an event can be taken over part by part, by its first part: then its header, and the check that runs along. Nothing
/// of it counts before that check ended well. What must be looked at as a whole is none of these.
///
/// # Errors
/// When that is no event.
pub(crate) fn in_parts(
    first: &[u8],
    checksum: ChecksumAlg,
) -> Result<Option<(EventHeader, RunningChecksum)>, Error> {
    let header = EventHeader::parse(first)?;
    if header.kind.is_rows() || header.kind == EventKind::TRANSACTION_PAYLOAD {
        Ok(Some((header, RunningChecksum::new(&header, checksum)?)))
    } else {
        Ok(None)
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

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::{FILE_MAGIC, FLAG_IGNORABLE};

    use super::*;

    const EVENTS: &[u8] = include_bytes!("../../protocol/tests/fixtures/events.binlog");

    /// A server's events, each with the rule by which its checksum is.
    fn events() -> Vec<(&'static [u8], ChecksumAlg)> {
        let mut rest = EVENTS.strip_prefix(&FILE_MAGIC).expect("a binlog file");
        let (mut all, mut checksum) = (Vec::new(), ChecksumAlg::Crc32);
        while !rest.is_empty() {
            let size = usize::try_from(EventHeader::parse(rest).expect("a header").size).expect("small");
            let (bytes, after) = rest.split_at(size);
            rest = after;
            all.push((bytes, checksum));
            if let (_, Meaning::Format(found)) = read(bytes, checksum).expect("sound") {
                checksum = found;
            }
        }
        all
    }

    /// C1: a bit that flipped anywhere is found out, whatever the event's type, also where nothing is decoded.
    #[test]
    fn no_event_is_taken_whose_checksum_is_wrong() {
        let mut kinds = std::collections::BTreeSet::new();
        for (bytes, checksum) in events() {
            kinds.insert(bytes[4]);
            for at in [0, bytes.len() / 2, bytes.len() - 5, bytes.len() - 1] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 4;
                assert!(read(&damaged, checksum).is_err(), "type {} at {at}", bytes[4]);
            }
        }
        assert!(kinds.len() > 12, "{kinds:?}");
    }

    #[test]
    fn an_unknown_event_stops_unless_it_may_be_ignored() {
        let mut bytes = vec![0; 30];
        (bytes[4], bytes[9]) = (99, 30);
        assert!(matches!(
            read(&bytes, ChecksumAlg::Off),
            Err(Error::UnknownEvent(_))
        ));
        bytes[17..19].copy_from_slice(&FLAG_IGNORABLE.to_le_bytes());
        assert!(matches!(
            read(&bytes, ChecksumAlg::Off),
            Ok((_, Meaning::Ignorable))
        ));
    }
}
