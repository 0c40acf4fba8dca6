//! Which groups must wait for which (A3). Pure.
//!
//! A group's *footprint* is every unique value that its rows had before or have after it, as numbers: equal values give equal
//! numbers, different values hardly ever do. Two groups that have none in common may be executed at the same time; they
//! commit in order all the same (A2). Values of which equality can't be told without the server's collations stand for their
//! whole index, rows without a key for their whole table.

mod identity;

use std::collections::{HashMap, HashSet};

pub(super) use self::identity::Identity;

/// Values remembered at most; beyond that older groups count as being in everybody's way.
const MAX_VALUES: usize = 1 << 18;

/// What a group touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Unique values, each with its index in it.
    values: Vec<u64>,
    /// Indexes with some value.
    indexes: HashSet<u64>,
    /// Indexes with a value that may equal any other.
    vague: HashSet<u64>,
    /// True when it must run alone.
    everything: bool,
}

impl Footprint {
    /// A unique value in an index.
    pub(super) fn value(&mut self, index: u64, value: u64) {
        self.values.push(value);
        self.indexes.insert(index);
    }

    /// A value that may equal any other one of the index.
    pub(super) fn vague(&mut self, index: u64) {
        self.vague.insert(index);
    }

    /// It must run alone.
    pub(super) fn everything(&mut self) {
        self.everything = true;
    }
}

/// What must be committed before a group may be executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct After {
    /// Every group up to this one.
    pub(super) through: u64,
    /// And each of these.
    pub(super) groups: Vec<u64>,
}

impl After {
    /// True when it is: all groups up to `through` are committed, and so are those that `ahead` says yes to.
    pub(super) fn is_met(&self, through: u64, ahead: impl Fn(u64) -> bool) -> bool {
        self.through <= through && self.groups.iter().all(|group| *group <= through || ahead(*group))
    }

    /// What must be committed before more of the same group may be executed.
    pub(super) fn extend(&mut self, more: Self) {
        self.through = self.through.max(more.through);
        self.groups.extend(more.groups);
    }
}

/// The group that touched an index last, with any value and with a vague one.
#[derive(Debug, Clone, Copy, Default)]
struct Touched {
    any: u64,
    vague: u64,
}

/// Who touched what last.
#[derive(Debug, Default)]
pub(super) struct History {
    values: HashMap<u64, u64>,
    indexes: HashMap<u64, Touched>,
    /// Groups up to here are in everybody's way.
    floor: u64,
    /// The last group entered.
    last: u64,
}

impl History {
    /// Enters a group, or more of the group entered last; `number` never goes down. Returns what must be committed before it may be
    /// executed. Groups up to `committed` are forgotten: they are, with all before them.
    ///
    /// Of the groups that touched one value only the last counts: each waited for the one before it.
    pub(super) fn enter(&mut self, number: u64, footprint: &Footprint, committed: u64) -> After {
        self.forget(committed);
        let mut through = if footprint.everything {
            number.saturating_sub(1)
        } else {
            self.floor.min(number.saturating_sub(1))
        };
        let mut groups = Vec::new();
        let mut wait = |other: u64| {
            if other > committed && other < number && !groups.contains(&other) {
                groups.push(other);
            }
        };
        for value in &footprint.values {
            // A number seen before in this group hides the one before that: it was counted then.
            wait(self.values.insert(*value, number).unwrap_or_default());
        }
        for index in &footprint.indexes {
            let touched = self.indexes.entry(*index).or_default();
            wait(touched.vague);
            touched.any = number;
        }
        for index in &footprint.vague {
            let touched = self.indexes.entry(*index).or_default();
            if touched.any == touched.vague {
                wait(touched.vague);
            } else {
                // Those with exact values did not wait for each other.
                through = through.max(touched.any.min(number - 1));
            }
            *touched = Touched {
                any: number,
                vague: number,
            };
        }
        if footprint.everything {
            self.floor = number;
        }
        self.last = number;
        After { through, groups }
    }

    fn forget(&mut self, committed: u64) {
        if committed >= self.last {
            self.values.clear();
            self.indexes.clear();
        } else if self.values.len() > MAX_VALUES {
            self.values.retain(|_, group| *group > committed);
            if self.values.len() > MAX_VALUES {
                self.values.clear();
                self.indexes.clear();
                self.floor = self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn footprint(values: &[u64]) -> Footprint {
        let mut footprint = Footprint::default();
        values.iter().for_each(|value| footprint.value(value % 3, *value));
        footprint
    }

    fn groups(groups: &[u64]) -> After {
        After {
            through: 0,
            groups: groups.to_vec(),
        }
    }

    fn through(through: u64) -> After {
        After {
            through,
            groups: Vec::new(),
        }
    }

    #[test]
    fn waits_for_the_last_group_with_a_value_in_common() {
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1, 2]), 0), groups(&[]));
        assert_eq!(history.enter(2, &footprint(&[3]), 0), groups(&[]));
        assert_eq!(history.enter(3, &footprint(&[2, 3]), 0), groups(&[1, 2]));
        assert_eq!(history.enter(4, &footprint(&[1]), 0), groups(&[1]));
        assert_eq!(history.enter(5, &footprint(&[1]), 4), groups(&[]));
    }

    #[test]
    fn the_parts_of_a_group_are_not_in_each_others_way() {
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1]), 0), groups(&[]));
        assert_eq!(history.enter(2, &footprint(&[5]), 0), groups(&[]));
        assert_eq!(history.enter(2, &footprint(&[5, 1]), 0), groups(&[1]));
        assert_eq!(history.enter(3, &footprint(&[5]), 0), groups(&[2]));
    }

    #[test]
    fn a_vague_value_stands_for_its_index() {
        let mut vague = Footprint::default();
        vague.vague(7);
        let mut exact = Footprint::default();
        exact.value(7, 70);
        let mut history = History::default();
        assert_eq!(history.enter(1, &exact, 0), groups(&[]));
        assert_eq!(history.enter(2, &vague, 0), through(1));
        assert_eq!(history.enter(3, &exact, 0), groups(&[1, 2]));
        assert_eq!(history.enter(4, &footprint(&[9]), 0), groups(&[]));
        assert_eq!(history.enter(5, &vague, 0), through(3));
        assert_eq!(history.enter(6, &vague, 0), groups(&[5]));
    }

    #[test]
    fn one_that_must_run_alone_waits_for_all_and_all_wait_for_it() {
        let mut alone = Footprint::default();
        alone.everything();
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1]), 0), groups(&[]));
        assert_eq!(history.enter(2, &alone, 0), through(1));
        assert_eq!(history.enter(3, &footprint(&[4]), 0), through(2));
        assert_eq!(history.enter(4, &footprint(&[5]), 2), through(2));
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for group in 1..=10_u64 {
            let values: Vec<u64> = (0..100_000).map(|n| group * 1_000_000 + n).collect();
            let mut footprint = Footprint::default();
            values.iter().for_each(|value| footprint.value(0, *value));
            history.enter(group, &footprint, 0);
            assert!(history.values.len() <= MAX_VALUES + 100_000);
        }
        assert!(history.floor > 0);
    }

    /// What two groups have in common, found the slow way.
    fn clash(a: &Footprint, b: &Footprint) -> bool {
        let touches = |f: &Footprint, index: &u64| f.indexes.contains(index) || f.vague.contains(index);
        a.everything
            || b.everything
            || a.values.iter().any(|value| b.values.contains(value))
            || a.vague.iter().any(|index| touches(b, index))
            || b.vague.iter().any(|index| touches(a, index))
    }

    fn any_footprint() -> impl Strategy<Value = Footprint> {
        let values = prop::collection::vec((0..4_u64, 0..30_u64), 0..5);
        let vague = prop::collection::vec(0..4_u64, 0..2);
        (values, vague, prop::bool::weighted(0.05)).prop_map(|(values, vague, everything)| {
            let mut footprint = Footprint::default();
            values
                .iter()
                .for_each(|(index, value)| footprint.value(*index, index * 100 + value));
            vague.iter().for_each(|index| footprint.vague(*index));
            if everything {
                footprint.everything();
            }
            footprint
        })
    }

    proptest! {
        #[test]
        fn nobody_overtakes_a_group_with_which_it_has_something_in_common(
            groups in prop::collection::vec(any_footprint(), 1..40),
            dice in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut history = History::default();
            // Groups are entered and committed in any order that is allowed.
            let (mut entered, mut committed, mut open) = (0, BTreeSet::new(), Vec::new());
            let mut dice = dice.into_iter().cycle();
            while committed.len() < groups.len() {
                let prefix = (1..).find(|group| !committed.contains(group)).unwrap_or_default() - 1;
                let number = u64::try_from(entered).unwrap() + 1;
                let enters = entered < groups.len() && (open.is_empty() || dice.next().unwrap().index(2) == 0);
                if enters {
                    let after = history.enter(number, &groups[entered], prefix);
                    prop_assert!(after.through < number && after.groups.iter().all(|group| *group < number));
                    open.push((number, after));
                    entered += 1;
                    continue;
                }
                let met = |(_, after): &(u64, After)| after.is_met(prefix, |group| committed.contains(&group));
                let ready: Vec<usize> = (0..open.len()).filter(|at| met(&open[*at])).collect();
                prop_assert!(!ready.is_empty(), "it stands still");
                let (number, _) = open.remove(ready[dice.next().unwrap().index(ready.len())]);
                let group = &groups[usize::try_from(number).unwrap() - 1];
                for (before, other) in (1..number).zip(&groups) {
                    prop_assert!(committed.contains(&before) || !clash(group, other), "{number} overtakes {before}");
                }
                committed.insert(number);
            }
        }
    }
}
