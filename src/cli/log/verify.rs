//! `outrigger log verify`: every checksum of all that is stored, and whether it follows itself without a gap; table definitions
//! too.

mod definitions;

mod events;

use std::path::PathBuf;

use anyhow::bail;
use bytesize::ByteSize;
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::FilePosition;
use outrigger_storage::{Error, Offset, Record, View};
use serde::Serialize;

use self::events::Events;
use super::{Which, print_json};
use crate::cli::print;

/// Damages told in full; the rest is counted.
const TOLD: usize = 1000;

/// Which log.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    #[command(flatten)]
    which: Which,
}

/// The answer, as `--json` prints it. Fields are added, never renamed.
#[derive(Debug, Default, Serialize)]
struct Answer {
    path: PathBuf,
    id: String,
    /// Whole transactions, pieces, events and bytes of events that were checked.
    transactions: u64,
    pieces: u64,
    events: u64,
    bytes: u64,
    /// Versions of tables' definitions that were checked.
    definitions: u64,
    damaged: u64,
    /// A sentence each, the first thousand.
    damages: Vec<String>,
}

impl Answer {
    fn damage(&mut self, what: String) {
        self.damaged += 1;
        if self.damages.len() < TOLD {
            self.damages.push(what);
        }
    }
}

pub(super) fn verify(args: &VerifyArgs, screen: &MultiProgress) -> anyhow::Result<()> {
    let answer = check(&mut args.which.open()?, screen)?;
    if args.which.json {
        print_json(&answer)?;
    } else {
        print(&render(&answer))?;
    }
    if answer.damaged > 0 {
        let damages = if answer.damaged == 1 { "damage" } else { "damages" };
        bail!(
            "the log in {} has {} {damages}",
            answer.path.display(),
            answer.damaged
        );
    }
    Ok(())
}

fn check(view: &mut View, screen: &MultiProgress) -> anyhow::Result<Answer> {
    let info = view.info()?;
    let mut answer = Answer {
        path: view.path().to_path_buf(),
        id: info.id.to_string(),
        ..Answer::default()
    };
    let known = info.position.and_then(|position| position.gtids);
    let bar = screen.add(bar(info.first.0, info.last.0));
    walk(view, known, &mut answer, &bar)?;
    bar.finish_and_clear();
    definitions::check(view, &view.info()?, &mut answer)?;
    Ok(answer)
}

/// Checks all that the view shows; after a damage, goes on behind it.
fn walk(
    view: &mut View,
    known: Option<GtidSet>,
    answer: &mut Answer,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut from = Offset::ZERO;
    let mut check = Check::new(known);
    let last = view.info()?.last;
    loop {
        let mut failed = None;
        // The first offset that is not known to be whole.
        let mut at = from;
        for record in view.records(from) {
            match record {
                Ok(record) => {
                    at = record
                        .end
                        .as_ref()
                        .map_or(record.offset, |_| record.offset.next());
                    check.record(&record, answer);
                    bar.set_position(record.offset.0);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => return Ok(()),
            // Only a running process trims; what it took was of no use any more.
            Some(Error::Trimmed { first, .. }) => from = first,
            Some(Error::Corrupt { what, .. }) => {
                from = resume(view, at, last, &what, answer);
            }
            Some(Error::Engine { source, .. }) => {
                from = resume(view, at, last, &source.to_string(), answer);
            }
            Some(other) => return Err(other.into()),
        }
        check.interrupted();
    }
}

/// Notes a damage at `at`, and finds the first transaction behind it that can be read.
fn resume(view: &mut View, at: Offset, last: Offset, what: &str, answer: &mut Answer) -> Offset {
    let at = at.max(Offset(1));
    let mut readable = |offset: u64| {
        view.records(Offset(offset))
            .next()
            .is_none_or(|first| first.is_ok())
    };
    let (mut step, mut low) = (1, at.0);
    while low.saturating_add(step) <= last.0 && !readable(low + step) {
        low += step;
        step *= 2;
    }
    // `low` can't be read (or is the damaged one itself), `high` can.
    let mut high = low.saturating_add(step).min(last.0 + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if readable(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    let unchecked = if low == at.0 {
        format!("the rest of transaction {at} was not checked")
    } else {
        format!("transactions {at} to {low} can't be read")
    };
    answer.damage(format!("{what}; {unchecked}"));
    Offset(high)
}

/// What the records so far say about the next one. Pure.
#[derive(Debug, Default)]
struct Check {
    /// Every GTID that the stored position covers.
    known: Option<GtidSet>,
    seen: GtidSet,
    /// The events of the transaction that is being read; `None` once they can't be told apart.
    events: Option<Events>,
    /// The place after the transaction before, while nothing is missing in between.
    end: Option<FilePosition>,
}

impl Check {
    fn new(known: Option<GtidSet>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Something between the last record and the next was not seen.
    fn interrupted(&mut self) {
        self.events = None;
        self.end = None;
    }

    fn record(&mut self, record: &Record, answer: &mut Answer) {
        let place = format!("piece {} of offset {}", record.piece, record.offset);
        if let Some(begin) = &record.begin {
            self.events = Some(Events::new(begin.checksum));
            let before = self.end.take().filter(|end| end.file == begin.start.file);
            if let Some(gtid) = &begin.gtid {
                if self.seen.contains(gtid) {
                    answer.damage(format!("{place}: GTID {gtid} stands in the log twice"));
                }
                if self.known.as_ref().is_some_and(|known| !known.contains(gtid)) {
                    answer.damage(format!("{place}: GTID {gtid} is not in the stored position"));
                }
                self.seen.insert(gtid.clone());
            } else if let Some(end) = before.filter(|end| begin.start.offset < end.offset) {
                // With GTIDs another server, with files of its own, may have gone on.
                let start = &begin.start;
                answer.damage(format!(
                    "{place}: it begins at {start}, before the one before it ends ({end})"
                ));
            }
        }
        if let Some(events) = &mut self.events {
            let last = record.end.is_some();
            let (counted, outcome) = events.record(&record.events, last);
            answer.events += counted;
            match outcome {
                Ok(None) => {}
                Ok(Some(what)) => answer.damage(format!("{place}: {what}")),
                Err(what) if last => answer.damage(format!("{place}: {what}")),
                Err(what) => {
                    answer.damage(format!(
                        "{place}: {what}; the events behind it in this transaction were not checked"
                    ));
                    self.events = None;
                }
            }
        }
        answer.pieces += 1;
        answer.bytes += u64::try_from(record.events.len()).unwrap_or(u64::MAX);
        if let Some(end) = &record.end {
            answer.transactions += 1;
            self.end = Some(end.clone());
        }
    }
}

fn bar(first: u64, last: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("checking {bar:30} offset {pos} of {len}, {eta} left")
        .unwrap_or_else(|_unknown_key| ProgressStyle::default_bar());
    let bar = ProgressBar::new(last).with_style(style);
    bar.set_position(first);
    bar
}

fn render(answer: &Answer) -> String {
    let mut out = String::new();
    for damage in &answer.damages {
        out += &format!("damaged: {damage}\n");
    }
    out + &format!(
        "checked {} transactions, {} pieces, {} events, {} of events, {} table definitions: {}\n",
        answer.transactions,
        answer.pieces,
        answer.events,
        ByteSize(answer.bytes),
        answer.definitions,
        match answer.damaged {
            0 => "all is well".to_owned(),
            n => format!("{n} damaged"),
        }
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outrigger_protocol::binlog::ChecksumAlg;
    use outrigger_protocol::gtid::{Gtid, SourceId, Tag};
    use outrigger_protocol::position::SourcePosition;
    use outrigger_storage::{Begin, Config, End, Log, Piece};
    use tempfile::tempdir;

    use super::*;

    /// An event of 100 bytes; `stated` is the size that it claims.
    fn event(stated: u32) -> Vec<u8> {
        let mut event = vec![0x61; 100];
        event[4] = 16;
        event[9..13].copy_from_slice(&stated.to_le_bytes());
        event
    }

    fn piece(number: u64, checksum: ChecksumAlg, event: &[u8]) -> Piece {
        let source = SourceId([3; 16]);
        let file = FilePosition::new("binlog.000001", 1000 * number);
        Piece {
            begin: Some(Begin {
                gtid: Some(Gtid {
                    source,
                    tag: Tag::default(),
                    number: number % 500,
                }),
                commit_micros: 1,
                checksum,
                start: FilePosition::new("binlog.000001", 1000 * number - 1000),
            }),
            events: event.repeat(200).into(),
            end: Some(End {
                position: SourcePosition {
                    gtids: Some(format!("{source}:1-400").parse().unwrap()),
                    file,
                },
                schemas: Vec::new(),
            }),
        }
    }

    async fn log(path: &Path, pieces: impl IntoIterator<Item = Piece>) {
        let log = Log::open(Config::new(path)).unwrap();
        let mut appender = log.appender().unwrap();
        for piece in pieces {
            appender.append(piece).await.unwrap();
        }
        drop(appender);
        log.close().unwrap();
    }

    fn verified(path: &Path) -> Answer {
        check(&mut View::open(path).unwrap(), &MultiProgress::new()).unwrap()
    }

    #[tokio::test]
    async fn a_sound_log_is_counted() {
        let dir = tempdir().unwrap();
        log(
            dir.path(),
            (1..=300).map(|n| piece(n, ChecksumAlg::Off, &event(100))),
        )
        .await;
        let answer = verified(dir.path());
        assert_eq!(answer.damages, Vec::<String>::new());
        let counted = (answer.transactions, answer.pieces, answer.events, answer.bytes);
        assert_eq!(counted, (300, 300, 60_000, 6_000_000));
    }

    #[tokio::test]
    async fn events_and_gtids_are_looked_at() {
        let dir = tempdir().unwrap();
        let pieces = (1..=510).map(|n| match n {
            7 => piece(n, ChecksumAlg::Crc32, &event(100)),
            9 => piece(n, ChecksumAlg::Off, &event(101)),
            _ => piece(n, ChecksumAlg::Off, &event(100)),
        });
        log(dir.path(), pieces).await;
        let answer = verified(dir.path());
        let told = answer.damages.join("\n");
        assert!(
            told.contains("piece 0 of offset 7: the TABLE_MAP") || told.contains("piece 0 of offset 7: the "),
            "{told}"
        );
        assert!(told.contains("piece 0 of offset 9: "), "{told}");
        assert!(
            told.contains(
                "offset 401: GTID 03030303-0303-0303-0303-030303030303:401 is not in the stored position"
            ),
            "{told}"
        );
        assert!(
            told.contains("offset 501: GTID 03030303-0303-0303-0303-030303030303:1 stands in the log twice"),
            "{told}"
        );
        // 7 and 9; 401 to 500 outside of the position, the zeroth of them twice over; 501 to 510 twice.
        assert_eq!(answer.damaged, 2 + 100 + 10, "{told}");
        assert_eq!(answer.transactions, 510);
    }

    /// One transaction of three events, the second of which is cut twice, once in its checksum.
    fn cut(damage: impl FnOnce(&mut Vec<u8>), end: usize) -> Vec<Piece> {
        let sealed = |body: &[u8]| {
            let mut event = event(u32::try_from(19 + body.len() + 4).unwrap());
            event.truncate(19);
            event.extend_from_slice(body);
            event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
            event
        };
        let mut bytes = [sealed(&[1; 50]), sealed(&[2; 5000]), sealed(&[3; 50])].concat();
        let second_ends = 73 + 5023;
        damage(&mut bytes);
        let whole = piece(1, ChecksumAlg::Crc32, &[]);
        let part = |from: usize, to: usize| Piece {
            begin: whole.begin.clone().filter(|_| from == 0),
            events: bytes[from..to].to_vec().into(),
            end: whole.end.clone().filter(|_| to == end),
        };
        vec![
            part(0, 100),
            part(100, second_ends - 2),
            part(second_ends - 2, end),
        ]
    }

    #[tokio::test]
    async fn an_event_that_is_cut_between_pieces_is_checked() {
        let all = 73 + 5023 + 73;
        let damages = async |pieces| {
            let dir = tempdir().unwrap();
            log(dir.path(), pieces).await;
            let answer = verified(dir.path());
            (answer.events, answer.damages)
        };
        assert_eq!(damages(cut(|_| {}, all)).await, (3, Vec::new()));
        let (_, told) = damages(cut(|bytes| bytes[3000] ^= 1, all)).await;
        assert!(
            told.len() == 1 && told[0].contains("event that is cut between pieces: the checksum"),
            "{told:?}"
        );
        let (_, told) = damages(cut(|_| {}, all - 1)).await;
        assert!(
            told.len() == 1 && told[0].contains("ends inside of an event"),
            "{told:?}"
        );
        // A size that can't be: the rest can't be told apart, and is not taken for events.
        let (_, told) = damages(cut(|bytes| bytes[73 + 9..73 + 13].fill(0), all)).await;
        assert!(
            told.len() == 1 && told[0].contains("were not checked"),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn after_a_damage_it_goes_on_behind_it() {
        let dir = tempdir().unwrap();
        // Bytes that don't compress: many blocks.
        let mut state = 1_u64;
        let pieces = (1..=400).map(|n| {
            let mut random = event(100);
            for byte in &mut random[19..] {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *byte = state.to_be_bytes()[0];
            }
            let mut piece = piece(n, ChecksumAlg::Off, &random);
            piece.events = random.into();
            piece
        });
        log(dir.path(), pieces).await;
        // Opening it once more moves what is in the write-ahead log into a table.
        Log::open(Config::new(dir.path())).unwrap().close().unwrap();
        let tables = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let table = tables
            .filter(|path| path.extension().is_some_and(|kind| kind == "sst"))
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[36_000] ^= 1;
        std::fs::write(&table, bytes).unwrap();
        let answer = verified(dir.path());
        assert_eq!(answer.damaged, 1, "{:?}", answer.damages);
        assert!(
            answer.damages[0].contains("can't be read"),
            "{:?}",
            answer.damages
        );
        assert!(
            (100..399).contains(&answer.transactions),
            "{}",
            answer.transactions
        );
    }
}
