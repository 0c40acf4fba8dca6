//! Whether a task can get from a log what it selects: which selections contain which, and what a log says it kept.
//!
//! A log may leave out what nobody selected at the time ([`words`] is what it then notes). A task that selects more than
//! what was kept behind its checkpoint would miss rows without a sign: it has to stop. Doubt counts as "not contained".

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::{Kept, Offset};

use crate::config::{Selection, contains};

/// A log's words for: everything the source wrote.
pub const EVERYTHING: &str = "everything";

/// A log's words for: what these selections want, together.
pub fn words<'a>(selections: impl IntoIterator<Item = &'a Selection>) -> String {
    let list: Vec<&Selection> = selections.into_iter().collect();
    // A list of lists of texts always has a JSON form.
    serde_json::to_string(&list).unwrap_or_default()
}

/// True when everything in `wanted` is in what `words` say.
pub(crate) fn covers(words: &str, wanted: &Selection) -> bool {
    if words == EVERYTHING {
        return true;
    }
    let kept: Vec<Selection> = serde_json::from_str(words).unwrap_or_default();
    wanted.include.iter().all(|include| {
        kept.iter().any(|selection| {
            let included = selection.include.iter().any(|pattern| contains(pattern, include));
            let not_excluded = |left_out| wanted.exclude.iter().any(|ours| contains(ours, left_out));
            included && selection.exclude.iter().all(not_excluded)
        })
    })
}

/// What a log kept, and where, that is too little for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Nothing missing up to here.
    pub(crate) after: Offset,
    /// Nothing missing from here on; `None`: it is still so.
    pub(crate) before: Option<Offset>,
    /// What was kept there.
    pub(crate) what: String,
}

/// The first part of the log behind a checkpoint (its offset and position) where less was kept than `wanted`.
pub(crate) fn gap(
    kept: &[Kept],
    offset: Offset,
    position: &SourcePosition,
    wanted: &Selection,
) -> Option<Gap> {
    kept.iter().enumerate().find_map(|(at, entry)| {
        let next = kept.get(at + 1);
        let over = next.is_some_and(|next| is_past(next, offset, position));
        let short = !over && !covers(&entry.what, wanted);
        short.then(|| Gap {
            after: Offset(entry.from.0.saturating_sub(1)).max(offset),
            before: next.map(|next| next.from),
            what: entry.what.clone(),
        })
    })
}

/// True when the log's transaction at `offset` has everything of it that is in `wanted`.
pub(crate) fn holds(kept: &[Kept], offset: Offset, wanted: &Selection) -> bool {
    let entry = kept.iter().rev().find(|entry| entry.from <= offset);
    entry.is_none_or(|entry| covers(&entry.what, wanted))
}

/// True when a checkpoint is past the place where `entry` began. Behind the last offset before it transactions may have been
/// left out: a checkpoint at that offset is past them only if its position says so.
fn is_past(entry: &Kept, offset: Offset, position: &SourcePosition) -> bool {
    if offset >= entry.from {
        return true;
    }
    let reached = match (&position.gtids, &entry.since.gtids) {
        (Some(ours), Some(theirs)) => theirs.subtract(ours).is_empty(),
        _ => position.file >= entry.since.file,
    };
    offset.next() == entry.from && reached
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::position::FilePosition;

    use super::*;
    use crate::config::tests::selection;

    #[test]
    fn a_selection_is_covered_by_what_contains_it() {
        let kept = words([
            &selection(&["shop", "log.2*"], &["shop.tmp_*"]),
            &selection(&["a*b"], &[]),
        ]);
        for (include, exclude, covered) in [
            (&["shop"][..], &["shop.tmp_*"][..], true),
            (&["shop.orders"], &["*.tmp_*"], true),
            (&["shop"], &["shop.*"], true),
            (&["shop"], &["shop.tmp_1"], false),
            (&["shop"], &[], false),
            (&["log.2024"], &["*.tmp*"], true),
            (&["log.*"], &["*.tmp*"], false),
            (&["aXb.t", "a*bb"], &[], true),
            (&["a*"], &[], false),
            (&["shop", "other"], &["shop.tmp_*"], false),
            (&["*"], &[], false),
        ] {
            assert_eq!(
                covers(&kept, &selection(include, exclude)),
                covered,
                "{include:?} {exclude:?}"
            );
        }
        assert!(covers(EVERYTHING, &selection(&["*"], &[])));
        assert!(!covers("", &selection(&["x"], &[])), "words of another version");
    }

    fn position(number: u64, file: u64) -> SourcePosition {
        SourcePosition {
            gtids: Some(
                format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{number}")
                    .parse()
                    .unwrap(),
            ),
            file: FilePosition::new("binlog.000001", file),
        }
    }

    #[test]
    fn a_gap_is_what_lies_behind_the_checkpoint() {
        let (all, one) = (selection(&["*"], &[]), selection(&["one"], &[]));
        let entry = |from, since, what: &Selection| Kept {
            from: Offset(from),
            since: position(since, since),
            what: words([what]),
        };
        // All up to 10, "one" up to 20 and five transactions behind it, then all again.
        let kept = [entry(1, 1, &all), entry(11, 10, &one), entry(21, 25, &all)];
        let at = |offset, number| {
            gap(&kept, Offset(offset), &position(number, number), &all).map(|gap| (gap.after.0, gap.before))
        };
        assert_eq!(at(5, 5), Some((10, Some(Offset(21)))));
        assert_eq!(at(12, 12), Some((12, Some(Offset(21)))));
        assert_eq!(
            at(20, 20),
            Some((20, Some(Offset(21)))),
            "what was left out behind 20 is missing"
        );
        assert_eq!(at(20, 25), None, "begun after that");
        assert_eq!(at(21, 21), None, "GTIDs left out are in no checkpoint");
        assert_eq!(gap(&kept, Offset(5), &position(5, 5), &one), None);
        assert_eq!(
            gap(&[], Offset(5), &position(5, 5), &all),
            None,
            "a log that says nothing keeps all"
        );
        for (offset, whole) in [(1, true), (10, true), (11, false), (20, false), (21, true)] {
            assert_eq!(holds(&kept, Offset(offset), &all), whole, "{offset}");
            assert!(holds(&kept, Offset(offset), &one));
        }
        assert!(holds(&kept[1..], Offset(10), &all) && holds(&[], Offset(10), &all));
        let kept = [entry(11, 10, &one)];
        assert_eq!(
            gap(&kept, Offset(5), &position(5, 5), &all).map(|gap| gap.before),
            Some(None)
        );
    }
}
