//! The events of one transaction against their own checksums. Nothing is joined or decompressed: a cut event's checksum runs
//! along with its parts. Pure.

use outrigger_protocol::binlog::{ChecksumAlg, Error, EventHeader, RunningChecksum, Span, Splitter};

/// Checks each event of a transaction against its own CRC, also those that are cut between pieces.
#[derive(Debug)]
pub(super) struct Events {
    checksum: ChecksumAlg,
    splitter: Splitter,
    /// A cut event so far: its header, and its CRC unless that can't be right any more.
    cut: Option<(EventHeader, Option<RunningChecksum>)>,
}

impl Events {
    /// For a transaction whose events are protected by `checksum`.
    pub(super) fn new(checksum: ChecksumAlg) -> Self {
        Self {
            checksum,
            splitter: Splitter::default(),
            cut: None,
        }
    }

    /// The next piece, `last` if it is the transaction's: how many events end in it, and the first that is wrong. After an
    /// error no more can be told apart.
    pub(super) fn record(&mut self, bytes: &[u8], last: bool) -> (u64, Result<Option<String>, String>) {
        let (mut rest, mut counted, mut wrong) = (bytes, 0, None);
        loop {
            let at = bytes.len() - rest.len();
            let span = match self.splitter.next(&mut rest) {
                Ok(Some(span)) => span,
                Ok(None) => break,
                Err(error) => return (counted, Err(format!("the event at byte {at}: {error}"))),
            };
            let ends = matches!(span, Span::Whole(_) | Span::Last(_));
            match self.span(span) {
                Ok(()) => counted += u64::from(ends),
                Err((kind, error)) => {
                    wrong.get_or_insert_with(|| {
                        let place = if matches!(span, Span::Whole(_)) {
                            format!("at byte {at}")
                        } else {
                            "that is cut between pieces".to_owned()
                        };
                        format!("the {kind} event {place}: {error}")
                    });
                }
            }
        }
        match (last && !self.splitter.is_between(), wrong) {
            (_, Some(wrong)) => (counted, Ok(Some(wrong))),
            (true, None) => {
                let kind = self.cut.as_ref().map_or(String::new(), |(header, _)| {
                    format!("{} that says that it is {} bytes, ", header.kind, header.size)
                });
                (
                    counted,
                    Err(format!("it ends inside of an event, {kind}some are missing")),
                )
            }
            (false, None) => (counted, Ok(None)),
        }
    }

    fn span(&mut self, span: Span<'_>) -> Result<(), (String, Error)> {
        match span {
            Span::Whole(event) => {
                let kind = || EventHeader::parse(event).map_or(String::new(), |h| h.kind.to_string());
                self.checksum.verify(event).map(drop).map_err(|e| (kind(), e))
            }
            Span::First(header, part) => {
                let named = |error| (header.kind.to_string(), error);
                self.cut = Some((header, None));
                let mut running = RunningChecksum::new(&header, self.checksum).map_err(named)?;
                running.push(&header.to_bytes()).map_err(named)?;
                running.push(part).map_err(named)?;
                self.cut = Some((header, Some(running)));
                Ok(())
            }
            Span::More(part) | Span::Last(part) => {
                let last = matches!(span, Span::Last(_));
                let Some((header, running)) = &mut self.cut else {
                    return Ok(());
                };
                let named = |error| (header.kind.to_string(), error);
                if let Some(running) = running {
                    running.push(part).map_err(named)?;
                }
                match self.cut.take_if(|_| last) {
                    Some((header, Some(running))) => {
                        running.finish().map_err(|error| (header.kind.to_string(), error))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}
