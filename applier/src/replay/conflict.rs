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
    /// Enters a group, or more of the group entered last; `number` never goes down. Returns the last of the groups before it
    /// that must be committed before it may be executed, 0 if there is none. Groups up to `committed` are forgotten.
    pub(super) fn enter(&mut self, number: u64, footprint: &Footprint, committed: u64) -> u64 {
        self.forget(committed);
        let mut after = if footprint.everything {
            number.saturating_sub(1)
        } else {
            self.floor.min(number.saturating_sub(1))
        };
        let mut wait = |other: u64| {
            if other < number {
                after = after.max(other);
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
            wait(if touched.any < number {
                touched.any
            } else {
                number - 1
            });
            *touched = Touched {
                any: number,
                vague: number,
            };
        }
        if footprint.everything {
            self.floor = number;
        }
        self.last = number;
        after
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
    use proptest::prelude::*;

    use super::*;

    fn footprint(values: &[u64]) -> Footprint {
        let mut footprint = Footprint::default();
        values.iter().for_each(|value| footprint.value(value % 3, *value));
        footprint
    }

    #[test]
    fn waits_for_the_last_group_with_a_value_in_common() {
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1, 2]), 0), 0);
        assert_eq!(history.enter(2, &footprint(&[3]), 0), 0);
        assert_eq!(history.enter(3, &footprint(&[2, 3]), 0), 2);
        assert_eq!(history.enter(4, &footprint(&[1]), 0), 1);
        assert_eq!(history.enter(5, &footprint(&[1]), 4), 0);
    }

    #[test]
    fn the_parts_of_a_group_are_not_in_each_others_way() {
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1]), 0), 0);
        assert_eq!(history.enter(2, &footprint(&[5]), 0), 0);
        assert_eq!(history.enter(2, &footprint(&[5, 1]), 0), 1);
        assert_eq!(history.enter(3, &footprint(&[5]), 0), 2);
    }

    #[test]
    fn a_vague_value_stands_for_its_index() {
        let mut vague = Footprint::default();
        vague.vague(7);
        let mut exact = Footprint::default();
        exact.value(7, 70);
        let mut history = History::default();
        assert_eq!(history.enter(1, &exact, 0), 0);
        assert_eq!(history.enter(2, &vague, 0), 1);
        assert_eq!(history.enter(3, &exact, 0), 2);
        assert_eq!(history.enter(4, &footprint(&[9]), 0), 0);
    }

    #[test]
    fn one_that_must_run_alone_waits_for_all_and_all_wait_for_it() {
        let mut alone = Footprint::default();
        alone.everything();
        let mut history = History::default();
        assert_eq!(history.enter(1, &footprint(&[1]), 0), 0);
        assert_eq!(history.enter(2, &alone, 0), 1);
        assert_eq!(history.enter(3, &footprint(&[4]), 0), 2);
        assert_eq!(history.enter(4, &footprint(&[5]), 2), 2);
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
            lags in prop::collection::vec(0..6_u64, 40),
        ) {
            let mut history = History::default();
            let mut committed = 0;
            for (at, group) in groups.iter().enumerate() {
                let number = u64::try_from(at).unwrap() + 1;
                committed = committed.max((number - 1).saturating_sub(lags[at]));
                let after = history.enter(number, group, committed);
                prop_assert!(after < number);
                for (before, other) in (1..number).zip(&groups) {
                    prop_assert!(before <= committed || before <= after || !clash(group, other), "{number} overtakes {before}");
                }
            }
        }
    }
}
