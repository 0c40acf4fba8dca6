//! Places in a log as operators know them (a backup's GTID set or binlog position, a GTID, a time) turned into offsets.
//!
//! A [`Search`] is shown every transaction of a log once, in order, and then answers. What it can't prove from the log it
//! refuses: a start with a gap before it would be silently wrong data (C5).

use std::fmt;
use std::str::FromStr;

use outrigger_protocol::gtid::{Gtid, GtidSet};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Begin, Offset};

/// What a restored target holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Every transaction of the log up to this one.
    Offset(Offset),
    /// These transactions.
    Gtids(GtidSet),
    /// Everything before this place of the source's binlog.
    File(FilePosition),
}

/// Where to stop; always between two transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// After the last transaction that the log holds.
    End,
    /// After this transaction.
    Offset(Offset),
    /// After this transaction.
    Gtid(Gtid),
    /// Before the first transaction that was committed later (microseconds since 1970).
    Time(u64),
}

/// Why a place is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The log lacks transactions that come after what is held.
    #[error(
        "the log begins at offset {first}, and {what} between what the target holds and that: restore a newer backup, or use \
         a log that reaches back further"
    )]
    Gap {
        /// The first offset kept.
        first: Offset,
        /// What is missing, as a clause.
        what: String,
    },
    /// What is held is no prefix of the log.
    #[error(
        "the target is said to hold {holds} and not {lacks}, which the source committed earlier: is this the right GTID set?"
    )]
    Torn {
        /// A transaction that is held.
        holds: String,
        /// An earlier one that is not.
        lacks: String,
    },
    /// A binlog position inside a transaction.
    #[error("{0} is inside a transaction (offset {1}), not between two")]
    Inside(FilePosition, Offset),
    /// Transactions without GTIDs.
    #[error(
        "the log's transactions have no GTIDs: say the place by offset or by the source's binlog file and position"
    )]
    NoGtids,
    /// A GTID that no transaction has.
    #[error("transaction {0} is not in the log (offsets {1} to {2})")]
    Unknown(Gtid, Offset, Offset),
    /// An offset that the log does not hold.
    #[error("offset {0} is not in the log, which holds {1} to {2}")]
    Outside(Offset, Offset, Offset),
}

impl FromStr for Held {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let offset = text.parse().map_err(|error| format!("{text}: {error}"))?;
            return Ok(Self::Offset(Offset(offset)));
        }
        match text.parse::<GtidSet>() {
            Ok(gtids) if !gtids.is_empty() => return Ok(Self::Gtids(gtids)),
            _ => {}
        }
        let place = text.rsplit_once(':').and_then(|(file, offset)| {
            let file = (!file.is_empty() && !file.contains([':', ',', '/'])).then_some(file)?;
            Some(FilePosition::new(file, offset.parse().ok()?))
        });
        place.map(Self::File).ok_or_else(|| {
            format!("{text:?} is neither an offset of the log, nor a GTID set, nor FILE:POSITION of the source's binlog")
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Gtids(gtids) => write!(f, "{gtids}"),
            Self::File(place) => write!(f, "{place}"),
        }
    }
}

/// What is known of the log as a whole.
#[derive(Debug, Clone)]
pub struct Extent {
    /// The first offset kept; above `last` when nothing is.
    pub first: Offset,
    /// The last transaction.
    pub last: Offset,
    /// The place after it on the source.
    pub position: SourcePosition,
}

/// Where replay begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The last transaction that the target holds, and the place after it; `None` when no [`Held`] was given.
    pub start: Option<(Offset, SourcePosition)>,
    /// The last transaction to apply.
    pub through: Offset,
}

/// The search for both ends.
#[derive(Debug)]
pub struct Search {
    held: Option<Held>,
    until: Until,
    extent: Extent,
    anonymous: bool,
    start: Start,
    end: Option<Offset>,
}

/// What is known of the start so far.
#[derive(Debug, Default)]
struct Start {
    /// The last transaction held, as far as shown.
    last: Option<Offset>,
    /// The place after it.
    file: Option<FilePosition>,
    /// The first transaction that is not held.
    lacks: Option<Begin>,
    /// GTIDs held, of the transactions shown.
    held: GtidSet,
    /// GTIDs not held, of the transactions shown.
    after: GtidSet,
    wrong: Option<PlaceError>,
}

impl Search {
    /// A search that has been shown nothing.
    pub fn new(held: Option<Held>, until: Until, extent: Extent) -> Self {
        Self {
            held,
            until,
            extent,
            anonymous: false,
            start: Start::default(),
            end: None,
        }
    }

    /// False when the answer is known without looking at any transaction.
    pub fn needs_transactions(&self) -> bool {
        self.held.is_some() || matches!(self.until, Until::Gtid(_) | Until::Time(_))
    }

    /// The next transaction: what is known at its beginning, and the place after it.
    pub fn transaction(&mut self, offset: Offset, begin: &Begin, end: &FilePosition) {
        if offset > self.extent.last {
            return;
        }
        self.anonymous |= begin.gtid.is_none();
        match &self.until {
            Until::Gtid(gtid) if begin.gtid.as_ref() == Some(gtid) => self.end = Some(offset),
            Until::Time(micros) if self.end.is_none() && begin.commit_micros > *micros => {
                self.end = Some(Offset(offset.0.saturating_sub(1)));
            }
            _ => {}
        }
        let Some(held) = &self.held else { return };
        let holds = match held {
            Held::Offset(last) => offset <= *last,
            Held::Gtids(set) => begin.gtid.as_ref().is_some_and(|gtid| set.contains(gtid)),
            Held::File(place) => {
                if begin.start < *place && *place < *end {
                    self.start.wrong = Some(PlaceError::Inside(place.clone(), offset));
                }
                *end <= *place
            }
        };
        match (holds, &self.start.lacks) {
            (true, None) => {
                if let Some(gtid) = &begin.gtid {
                    self.start.held.insert(gtid.clone());
                }
                self.start.last = Some(offset);
                self.start.file = Some(end.clone());
            }
            (true, Some(lacks)) => {
                let name = |gtid: &Option<Gtid>| {
                    gtid.as_ref()
                        .map_or_else(|| "a transaction".to_owned(), Gtid::to_string)
                };
                self.start.wrong.get_or_insert(PlaceError::Torn {
                    holds: name(&begin.gtid),
                    lacks: name(&lacks.gtid),
                });
            }
            (false, _) => {
                if let Some(gtid) = &begin.gtid {
                    self.start.after.insert(gtid.clone());
                }
                self.start.lacks.get_or_insert_with(|| begin.clone());
            }
        }
    }

    /// The answer, after the last transaction.
    ///
    /// # Errors
    /// When a place is not in the log, or what comes before it can't be told.
    pub fn finish(self) -> Result<Found, PlaceError> {
        let (first, last) = (self.extent.first, self.extent.last);
        let through = match &self.until {
            Until::End => last,
            Until::Offset(offset) if *offset <= last && offset.next() >= first => *offset,
            Until::Offset(offset) => return Err(PlaceError::Outside(*offset, first, last)),
            Until::Gtid(gtid) => self
                .end
                .ok_or_else(|| PlaceError::Unknown(gtid.clone(), first, last))?,
            Until::Time(_) => self.end.unwrap_or(last),
        };
        let start = match &self.held {
            None => None,
            Some(held) => Some(self.start(held)?),
        };
        Ok(Found { start, through })
    }

    fn start(&self, held: &Held) -> Result<(Offset, SourcePosition), PlaceError> {
        if let Some(wrong) = &self.start.wrong {
            return Err(wrong.clone());
        }
        let (first, last) = (self.extent.first, self.extent.last);
        let gap = |what: String| PlaceError::Gap { first, what };
        let before = Offset(first.0.saturating_sub(1));
        let offset = self.start.last.unwrap_or(before);
        match held {
            Held::Offset(wanted) if *wanted != offset => {
                return Err(PlaceError::Outside(*wanted, first, last));
            }
            Held::Offset(_) => {}
            Held::Gtids(set) => {
                let all = match &self.extent.position.gtids {
                    Some(all) if !self.anonymous => all,
                    _ => return Err(PlaceError::NoGtids),
                };
                // What the source committed before the log's first transaction must be held too. What capture left out
                // later, because nothing of it is selected, is in neither.
                let mut missing = all
                    .subtract(&self.start.held)
                    .subtract(&self.start.after)
                    .subtract(set);
                if self.start.last.is_some() {
                    let later = missing.subtract(&up_to_last(&self.start.held));
                    missing = missing.subtract(&later);
                }
                if !missing.is_empty() {
                    return Err(gap(format!("it does not have {missing}")));
                }
            }
            Held::File(place) if self.start.last.is_none() => {
                let begins = self
                    .start
                    .lacks
                    .as_ref()
                    .map_or(&self.extent.position.file, |begin| &begin.start);
                if place < begins {
                    return Err(gap(format!(
                        "its first transaction is at {begins}, so nothing tells what was"
                    )));
                }
            }
            Held::File(_) => {}
        }
        let begins = self.start.lacks.as_ref().map(|begin| begin.start.clone());
        let file = self.start.file.clone().or(begins);
        let position = SourcePosition {
            gtids: self
                .extent
                .position
                .gtids
                .as_ref()
                .map(|all| all.subtract(&self.start.after)),
            file: file.unwrap_or_else(|| self.extent.position.file.clone()),
        };
        Ok((offset, position))
    }
}

/// Every number of each source and tag up to the last one in `set`.
fn up_to_last(set: &GtidSet) -> GtidSet {
    let mut all = GtidSet::default();
    for (source, tag, intervals) in set.iter() {
        let last = intervals.last().map_or(0, |interval| interval.last);
        let tag = if tag.is_empty() {
            String::new()
        } else {
            format!(":{}", tag.as_str())
        };
        if let Ok(run) = format!("{source}{tag}:1-{last}").parse() {
            all.union(&run);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::ChecksumAlg;

    use super::*;

    const A: &str = "aaaaaaaa-0000-0000-0000-000000000000";

    /// Transactions 11 to 15 of a source, kept as offsets 3 to 7, each 100 bytes, one second apart.
    fn search(held: Option<&str>, until: Until) -> Result<Found, PlaceError> {
        let extent = Extent {
            first: Offset(3),
            last: Offset(7),
            position: SourcePosition {
                gtids: Some(format!("{A}:1-15").parse().unwrap()),
                file: FilePosition::new("b.000002", 1600),
            },
        };
        let held = held.map(|text| text.replace('A', A).parse().unwrap());
        let mut search = Search::new(held, until, extent);
        for n in 3..=8_u64 {
            let begin = Begin {
                gtid: Some(format!("{A}:{}", n + 8).parse().unwrap()),
                // One commit is out of order.
                commit_micros: if n == 6 { 4_500_000 } else { n * 1_000_000 },
                checksum: ChecksumAlg::Off,
                start: FilePosition::new("b.000002", (n + 8) * 100),
            };
            search.transaction(Offset(n), &begin, &FilePosition::new("b.000002", (n + 9) * 100));
        }
        search.finish()
    }

    fn through(until: Until) -> Result<u64, PlaceError> {
        search(None, until).map(|found| found.through.0)
    }

    #[test]
    fn ends() {
        assert_eq!(through(Until::End), Ok(7));
        assert_eq!(through(Until::Offset(Offset(4))), Ok(4));
        assert_eq!(through(Until::Offset(Offset(2))), Ok(2));
        assert!(matches!(
            through(Until::Offset(Offset(8))),
            Err(PlaceError::Outside(..))
        ));
        assert!(matches!(
            through(Until::Offset(Offset(1))),
            Err(PlaceError::Outside(..))
        ));
        assert_eq!(through(Until::Gtid(format!("{A}:12").parse().unwrap())), Ok(4));
        assert!(matches!(
            through(Until::Gtid(format!("{A}:10").parse().unwrap())),
            Err(PlaceError::Unknown(..))
        ));
        assert_eq!(through(Until::Time(4_000_000)), Ok(4));
        // A clock that went backwards doesn't let a later transaction in.
        assert_eq!(through(Until::Time(4_700_000)), Ok(4));
        assert_eq!(through(Until::Time(5_000_000)), Ok(6));
        assert_eq!(through(Until::Time(0)), Ok(2));
        assert_eq!(through(Until::Time(u64::MAX)), Ok(7));
    }

    #[test]
    fn starts() {
        let start = |held: &str| {
            search(Some(held), Until::End).map(|found| {
                let (offset, position) = found.start.unwrap();
                let gtids = position.gtids.unwrap().to_string();
                (offset.0, gtids.replace(A, "A"), position.file.offset)
            })
        };
        let at = |offset, gtids: &str, file| Ok((offset, gtids.to_owned(), file));
        for held in [
            "5",
            "A:1-13",
            "A:1-13,bbbbbbbb-0000-0000-0000-000000000000:1-9",
            "b.000002:1400",
        ] {
            assert_eq!(start(held), at(5, "A:1-13", 1400), "{held}");
        }
        for held in ["2", "A:1-10", "b.000002:1100"] {
            assert_eq!(start(held), at(2, "A:1-10", 1100), "{held}");
        }
        for held in ["7", "A:1-15", "b.000003:4"] {
            assert_eq!(start(held), at(7, "A:1-15", 1600), "{held}");
        }
        assert!(matches!(start("1"), Err(PlaceError::Outside(..))));
        assert!(matches!(start("8"), Err(PlaceError::Outside(..))));
        assert!(matches!(start("A:1-9"), Err(PlaceError::Gap { .. })));
        assert!(matches!(start("A:1-10:12"), Err(PlaceError::Torn { .. })));
        assert!(matches!(start("b.000002:1350"), Err(PlaceError::Inside(..))));
        assert!(matches!(start("b.000001:9999"), Err(PlaceError::Gap { .. })));
    }

    #[test]
    fn what_capture_left_out_is_no_gap() {
        let (numbers, end) = ([4, 5, 7], |n: u64| FilePosition::new("b.000001", n * 100 + 100));
        let start = |held: &str| {
            let extent = Extent {
                first: Offset(1),
                last: Offset(3),
                position: SourcePosition {
                    gtids: Some(format!("{A}:1-8").parse().unwrap()),
                    file: end(8),
                },
            };
            let held = Some(Held::Gtids(held.replace('A', A).parse().unwrap()));
            let mut search = Search::new(held, Until::End, extent);
            for (offset, n) in (1..).zip(numbers) {
                let begin = Begin {
                    gtid: Some(format!("{A}:{n}").parse().unwrap()),
                    commit_micros: n,
                    checksum: ChecksumAlg::Off,
                    start: FilePosition::new("b.000001", n * 100),
                };
                search.transaction(Offset(offset), &begin, &end(n));
            }
            search.finish().map(|found| found.start.unwrap().0.0)
        };
        assert_eq!(start("A:1-5"), Ok(2));
        assert_eq!(start("A:1-6"), Ok(2));
        assert!(matches!(start("A:1-2:4-5"), Err(PlaceError::Gap { .. })));
    }

    #[test]
    fn texts() {
        assert_eq!("7".parse(), Ok(Held::Offset(Offset(7))));
        assert!(matches!(format!("{A}:1-5").parse(), Ok(Held::Gtids(_))));
        assert_eq!(
            "mysql-bin.000012:157".parse(),
            Ok(Held::File(FilePosition::new("mysql-bin.000012", 157)))
        );
        for wrong in ["", "x", "a:b", "nonsense:1:2", "/var/lib/b.000001:4"] {
            assert!(wrong.parse::<Held>().is_err(), "{wrong}");
        }
    }
}
