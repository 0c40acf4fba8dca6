//! Compares what the source committed with what the log holds: once each, in order, byte by byte.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Config, Log, Offset};

use super::binlog::{Digest, Entry};

/// What the log holds.
#[derive(Debug)]
pub(super) struct Held {
    /// Transactions trimmed away before the first one.
    pub(super) trimmed: u64,
    pub(super) entries: Vec<Entry>,
    /// Where capture would resume.
    pub(super) position: Option<SourcePosition>,
}

/// Reads a log that no process uses.
pub(super) async fn read(config: Config) -> Result<Held> {
    let log = Log::open(config)?;
    let stats = log.stats();
    let before = Offset(stats.first.0.saturating_sub(1));
    let mut reader = log.reader(before)?;
    let mut entries = Vec::new();
    let mut open: Option<(FilePosition, Digest)> = None;
    let mut last = before;
    while last < stats.last {
        let record = reader.next().await?;
        if let Some(begin) = record.begin {
            if open.is_some() || record.offset != last.next() {
                bail!(
                    "offset {} follows {last}, or begins inside another transaction",
                    record.offset
                );
            }
            open = Some((begin.start, Digest::default()));
        }
        let (_, digest) = open.as_mut().context("a piece without a beginning")?;
        digest.add(&record.events);
        if let Some(end) = record.end {
            let (start, digest) = open.take().context("a piece without a beginning")?;
            if end.file != start.file {
                bail!("the transaction at {start} ends in another file, at {end}");
            }
            entries.push(digest.entry(start, end.offset));
            last = record.offset;
        }
    }
    let position = log.position();
    log.close()?;
    Ok(Held {
        trimmed: before.0,
        entries,
        position,
    })
}

/// What is wrong with a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    /// Committed on the source, not in the log.
    pub(super) lost: Vec<FilePosition>,
    /// More than once in the log.
    pub(super) doubled: Vec<FilePosition>,
    /// In the log with other bytes, in another place than its own, or never committed on the source.
    pub(super) wrong: Vec<String>,
}

impl Findings {
    pub(super) fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// Judges a log. `committed` is everything that the log has to hold; the transactions before `certain` may have been
/// committed before capture began: the first of them may be missing, not one in between.
pub(super) fn judge(committed: &[Entry], certain: usize, held: &Held) -> Findings {
    let mut findings = Findings::default();
    let places: BTreeMap<_, _> = committed
        .iter()
        .enumerate()
        .map(|(n, entry)| (key(&entry.start), n))
        .collect();
    let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
    let mut previous: Option<usize> = None;
    for entry in &held.entries {
        let Some(&place) = places.get(&key(&entry.start)) else {
            findings
                .wrong
                .push(format!("{} was never committed", entry.start));
            continue;
        };
        *seen.entry(place).or_default() += 1;
        if *entry != committed[place] {
            findings.wrong.push(format!(
                "{} differs: {entry:?}, committed as {:?}",
                entry.start, committed[place]
            ));
        }
        if previous.is_some_and(|previous| place < previous) {
            findings
                .wrong
                .push(format!("{} stands behind a later one", entry.start));
        }
        previous = Some(place);
    }
    findings.doubled = seen
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(place, _)| committed[*place].start.clone())
        .collect();
    // What was trimmed was held: its number says how much of the beginning it was.
    let trimmed = usize::try_from(held.trimmed).unwrap_or(usize::MAX);
    let first = match seen.keys().next() {
        Some(&first) => first,
        None => committed.len(),
    };
    let begin = first.saturating_sub(trimmed);
    if begin > certain {
        findings
            .lost
            .extend(committed[certain..begin].iter().map(|entry| entry.start.clone()));
    }
    if trimmed > first {
        findings.wrong.push(format!(
            "offset {} is only the {first}. transaction committed",
            trimmed + 1
        ));
    }
    let missing = (first..committed.len()).filter(|place| !seen.contains_key(place));
    findings
        .lost
        .extend(missing.map(|place| committed[place].start.clone()));
    findings
}

fn key(place: &FilePosition) -> (&str, u64) {
    (&place.file, place.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[u64]) -> Vec<Entry> {
        let entry = |&n: &u64| Entry {
            start: FilePosition::new("binlog.000001", n * 10),
            end: n * 10 + 10,
            bytes: 10,
            hash: n,
        };
        numbers.iter().map(entry).collect()
    }

    fn found(certain: usize, trimmed: u64, held: Vec<Entry>) -> Findings {
        judge(
            &entries(&[0, 1, 2, 3, 4]),
            certain,
            &Held {
                trimmed,
                entries: held,
                position: None,
            },
        )
    }

    #[test]
    fn a_log_that_holds_all_is_right() {
        assert!(found(0, 0, entries(&[0, 1, 2, 3, 4])).none());
        assert!(found(0, 2, entries(&[2, 3, 4])).none());
        assert!(found(2, 0, entries(&[2, 3, 4])).none());
        assert!(found(0, 5, Vec::new()).none());
    }

    #[test]
    fn what_is_missing_is_lost() {
        let lost = |certain, trimmed, numbers: &[u64]| -> Vec<u64> {
            let findings = found(certain, trimmed, entries(numbers));
            assert!(
                findings.doubled.is_empty() && findings.wrong.is_empty(),
                "{findings:?}"
            );
            findings.lost.iter().map(|place| place.offset / 10).collect()
        };
        assert_eq!(lost(0, 0, &[0, 1, 2, 3]), [4]);
        assert_eq!(lost(0, 0, &[0, 2, 4]), [1, 3]);
        assert_eq!(lost(0, 0, &[1, 2, 3, 4]), [0]);
        assert_eq!(lost(1, 0, &[2, 3, 4]), [1]);
        assert_eq!(lost(0, 1, &[2, 3, 4]), [0]);
        assert_eq!(lost(0, 0, &[]), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_stands_twice_is_doubled() {
        let findings = found(0, 0, entries(&[0, 1, 1, 2, 3, 4]));
        assert_eq!((findings.doubled.len(), findings.lost.len()), (1, 0));
        // One more was trimmed than was committed before the first one that is left.
        assert!(!found(0, 3, entries(&[2, 3, 4])).none());
    }

    #[test]
    fn what_is_in_the_wrong_order_or_altered_or_unknown_is_wrong() {
        assert_eq!(found(0, 0, entries(&[0, 2, 1, 3, 4])).wrong.len(), 1);
        assert_eq!(found(0, 0, entries(&[0, 1, 2, 3, 4, 5])).wrong.len(), 1);
        let mut altered = entries(&[0, 1, 2, 3, 4]);
        altered[3].hash = 0;
        assert_eq!(found(0, 0, altered).wrong.len(), 1);
    }
}
