//! Semi-synchronous replication: the source's commit waits until this side says that it has the transaction, which it says
//! once the log is synced (C2). Owns the two bytes before each event and the acknowledgement's packet
//! (`plugin/semisync/semisync.h`).

use std::convert::Infallible;
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_protocol::packet;
use outrigger_protocol::position::FilePosition;
use outrigger_protocol::reply::OK;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::watch;

use crate::Error;
use crate::wire::Link;

/// First of the two bytes between a packet's OK and the event, and of an acknowledgement.
pub(crate) const MAGIC: u8 = 0xef;

/// The second byte's bit: the source waits for an acknowledgement of this event.
const AWAITED: u8 = 1;

/// True for an event's packet after which the source waits.
pub(crate) fn awaits_acknowledgement(packet: &[u8]) -> bool {
    matches!(packet, [OK, MAGIC, flags, ..] if flags & AWAITED != 0)
}

/// The packet that says: everything up to `place` is here for good.
fn acknowledgement(place: &FilePosition) -> Vec<u8> {
    let mut payload = vec![MAGIC];
    payload.extend_from_slice(&place.offset.to_le_bytes());
    payload.extend_from_slice(place.file.as_bytes());
    let mut out = Vec::new();
    // Always counted from 0, whatever the events' packets count.
    packet::put(&mut out, &payload, 0);
    out
}

/// The direction to the source, which waits there for what is durable.
pub(crate) struct Acknowledger {
    writer: WriteHalf<Box<dyn Link>>,
    address: Address,
    patience: Duration,
}

impl Acknowledger {
    /// Acknowledges through `writer`; each packet may take `patience`.
    pub(crate) fn new(writer: WriteHalf<Box<dyn Link>>, address: Address, patience: Duration) -> Self {
        Self {
            writer,
            address,
            patience,
        }
    }

    /// Acknowledges each place that becomes durable, until the connection breaks. A place covers all before it, so those that
    /// come while one is being sent are told as one.
    pub(crate) async fn run(
        mut self,
        mut durable: watch::Receiver<Option<FilePosition>>,
    ) -> Result<Infallible, Error> {
        const DOING: &str = "acknowledging transactions";
        // What was durable before this connection is what it was asked to go on from.
        durable.mark_unchanged();
        loop {
            if durable.changed().await.is_err() {
                // The log is closing; whoever captures finds that out.
                return std::future::pending().await;
            }
            let place = durable.borrow_and_update().clone();
            let Some(place) = place else { continue };
            let packet = acknowledgement(&place);
            let sending = async {
                self.writer.write_all(&packet).await?;
                self.writer.flush().await
            };
            match tokio::time::timeout(self.patience, sending).await {
                Ok(Ok(())) => {}
                Ok(Err(source)) => {
                    return Err(Error::Broken {
                        address: self.address,
                        doing: DOING,
                        source,
                    });
                }
                Err(_elapsed) => {
                    return Err(Error::Silent {
                        address: self.address,
                        doing: DOING,
                        after: self.patience,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_magic_offset_and_file() {
        let packet = acknowledgement(&FilePosition::new("b.7", 0x0102_0304_0506));
        assert_eq!(packet, b"\x0c\0\0\0\xef\x06\x05\x04\x03\x02\x01\0\0b.7");
    }

    #[test]
    fn only_flagged_events_are_waited_for() {
        assert!(awaits_acknowledgement(&[OK, MAGIC, 1, 9]));
        assert!(!awaits_acknowledgement(&[OK, MAGIC, 0, 9]));
        assert!(!awaits_acknowledgement(&[OK, 1, 1]));
        assert!(!awaits_acknowledgement(&[OK]));
    }
}
