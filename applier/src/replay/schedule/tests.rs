//! Whole histories against a target in the small: connections that hold locks until they commit or roll back, locks wider than
//! what groups are known to touch, connections that can't be had, answers in any order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use outrigger_protocol::position::{FilePosition, SourcePosition};
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::conflict::Footprint;
use super::super::lane::{Careful, Commit, Done};
use super::*;
use crate::config::OnDivergence;
use crate::error::Place;

/// A group to come: the unique values and the other locks of each of its batches.
#[derive(Debug, Clone)]
struct Planned {
    batches: Vec<(BTreeSet<u64>, BTreeSet<u64>)>,
    /// Its commit waits for the log.
    waits: bool,
    /// It may be committed before an older one.
    may_be_noted: bool,
}

impl Planned {
    fn values(&self) -> BTreeSet<u64> {
        self.batches
            .iter()
            .flat_map(|(values, _)| values.clone())
            .collect()
    }

    fn is_whole(&self) -> bool {
        self.batches.len() == 1
    }

    fn batch(&self, number: u64, part: usize) -> Batch {
        let mut footprint = Footprint::default();
        for value in &self.batches[part].0 {
            footprint.value(1, *value);
        }
        let commit = (part + 1 == self.batches.len()).then(|| Commit {
            after: Offset(number - 1),
            rows: None,
            xa: None,
            definition: false,
            may_be_noted: self.may_be_noted,
            done: Done {
                offset: Offset(number),
                position: SourcePosition {
                    gtids: None,
                    file: FilePosition::new("binlog.000001", number),
                },
                trim_through: Offset(number),
                durable: self.waits.then_some(Offset(number)),
                commit_micros: 0,
                transactions: 1,
            },
        });
        Batch {
            sql: Vec::new(),
            expects: Vec::new(),
            careful: Careful {
                singles: Vec::new(),
                policy: OnDivergence::Stop,
            },
            through: Offset(number),
            counts: RowCounts::default(),
            footprint,
            opens: part == 0,
            // By this the test knows which it is.
            place: Place::new(Offset(number * 10 + u64::try_from(part).expect("few")), None),
            commit,
        }
    }
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lane(u32);

/// What a connection's open transaction holds.
#[derive(Debug, Default)]
struct Held {
    locks: BTreeSet<u64>,
    /// The batches executed in it.
    batches: Vec<u64>,
}

/// How a history ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    AllCommitted,
    /// The task starts over from its checkpoint.
    StartsOver,
}

struct Model {
    groups: Vec<Planned>,
    schedule: Schedule<Lane>,
    most: usize,
    lanes: BTreeMap<Lane, Held>,
    next_lane: u32,
    flying: Vec<Order<Lane>>,
    /// A connection is being opened.
    opening: bool,
    durable: Offset,
    /// The next batch to hand over: group and part.
    coming: VecDeque<(u64, usize)>,
    order: CommitOrder,
    /// Orders whose groups have moved the checkpoint.
    advanced: BTreeSet<u64>,
    /// As they were committed, as the schedule was told of it, and as it said that all before them are, too.
    committed: Vec<u64>,
    answered: BTreeSet<u64>,
    told: Vec<u64>,
    /// What the target says: the checkpoint, and the notes.
    checkpoint: u64,
    notes: BTreeSet<u64>,
    conflicts: BTreeMap<u64, u32>,
    /// So many connections can't be opened.
    unreachable: usize,
    /// So many steps until no more batches are taken.
    until_end: Option<usize>,
    choices: VecDeque<Index>,
}

impl Model {
    fn new(
        groups: Vec<Planned>,
        order: CommitOrder,
        most: usize,
        unreachable: usize,
        choices: Vec<Index>,
    ) -> Self {
        let first = Lane(0);
        let coming = groups.iter().zip(1..).flat_map(|(group, number)| {
            let parts = 0..group.batches.len();
            parts.map(move |part| (number, part)).collect::<Vec<_>>()
        });
        Self {
            coming: coming.collect(),
            groups,
            schedule: Schedule::new(first, most, order, Offset::ZERO, Offset::ZERO),
            order,
            advanced: BTreeSet::new(),
            answered: BTreeSet::new(),
            told: Vec::new(),
            checkpoint: 0,
            notes: BTreeSet::new(),
            most,
            lanes: BTreeMap::from([(first, Held::default())]),
            next_lane: 1,
            flying: Vec::new(),
            opening: false,
            durable: Offset::ZERO,
            committed: Vec::new(),
            conflicts: BTreeMap::new(),
            unreachable,
            until_end: None,
            choices: choices.into(),
        }
    }

    /// The next of the random choices, over and over.
    fn choose(&mut self, among: usize) -> usize {
        let choice = self.choices.pop_front().expect("some");
        self.choices.push_back(choice);
        choice.index(among)
    }

    fn group(&self, number: u64) -> &Planned {
        &self.groups[usize::try_from(number).expect("small") - 1]
    }

    fn run(&mut self) -> Ended {
        for _ in 0..20_000 {
            while let Some(order) = self.schedule.next(self.durable) {
                self.begin(&order);
                self.flying.push(order);
            }
            self.opening |= self.schedule.opens();
            if self.schedule.is_empty() && self.coming.is_empty() {
                return match self.until_end {
                    Some(0) => Ended::StartsOver,
                    _ => Ended::AllCommitted,
                };
            }
            match &mut self.until_end {
                None | Some(0) => {}
                Some(steps) => {
                    *steps -= 1;
                    if *steps == 0 {
                        let begun = self.choose(2) == 0;
                        self.schedule.end(begun);
                        self.coming.clear();
                        continue;
                    }
                }
            }
            let feeds = !self.coming.is_empty() && self.schedule.wants_more(self.most);
            let idle = self.flying.is_empty();
            if self.opening && (idle || self.choose(3) == 0) {
                if !self.open() {
                    let parts = self.groups.iter().any(|group| !group.is_whole());
                    assert!(parts, "there are others");
                    return Ended::StartsOver;
                }
                continue;
            }
            match self.choose(5) {
                0 if feeds => self.feed(),
                1 if self.durable.0 < 1000 => self.durable = Offset(self.durable.0 + 1),
                2 if self.advance() => {}
                _ if !idle => {
                    if let Some(ended) = self.land() {
                        return ended;
                    }
                }
                _ if feeds => self.feed(),
                _ if self.schedule.waits_for_the_log() => self.durable = Offset(1000),
                _ => panic!("it stands still: {:?}", self.schedule),
            }
        }
        panic!("it comes to no end: {:?}", self.schedule);
    }

    /// The connection is there, or not; false when the task starts over.
    fn open(&mut self) -> bool {
        self.opening = false;
        if self.unreachable > 0 && self.choose(2) == 0 {
            self.unreachable -= 1;
            let goes_on = self.schedule.not_opened();
            self.most = self.schedule.most();
            return goes_on;
        }
        let lane = Lane(self.next_lane);
        self.next_lane += 1;
        self.lanes.insert(lane, Held::default());
        // Those of groups that were given up go when they answer.
        let ends = self.until_end == Some(0);
        assert!(ends || self.lanes.len() <= self.most, "too many connections");
        self.schedule.opened(lane);
        true
    }

    fn feed(&mut self) {
        if let Some((number, part)) = self.coming.pop_front() {
            self.schedule.enter(self.group(number).batch(number, part));
        }
    }

    /// What must hold when something is started.
    fn begin(&self, order: &Order<Lane>) {
        let number = order.group;
        if let Task::Execute { .. } = order.what {
            let values = self.group(number).values();
            for other in 1..number {
                let disjoint = self.group(other).values().is_disjoint(&values);
                // Values that come with a later batch are known from then on only.
                let known = self.group(other).is_whole() && self.group(number).is_whole();
                assert!(
                    disjoint || !known || self.committed.contains(&other),
                    "A3: {number} runs beside {other}"
                );
            }
            let begun = !self.lanes[&order.lane].batches.is_empty();
            assert_ne!(
                begun, order.batch.opens,
                "the rest of {number} on another connection"
            );
        }
    }

    /// A group that is to be committed gets as far as its commit, if there is one.
    fn advance(&mut self) -> bool {
        let could = |order: &Order<Lane>| {
            let commits = matches!(order.what, Task::Execute { commit: Some(_) } | Task::Commit(_));
            let new = commits && !self.advanced.contains(&order.group);
            let turn = (1..order.group).all(|other| self.committed.contains(&other));
            new && turn && self.blocker(order).is_none()
        };
        let Some(at) = self.flying.iter().position(could) else {
            return false;
        };
        let order = &mut self.flying[at];
        let (number, lane, place) = (order.group, order.lane, order.batch.place.offset);
        if let Task::Execute { commit: Some(way) } = order.what {
            order.what = Task::Commit(way);
            self.execute(lane, place);
        }
        self.advanced.insert(number);
        self.schedule.advanced(number);
        true
    }

    fn execute(&mut self, lane: Lane, place: u64) {
        let part = usize::try_from(place % 10).expect("small");
        let (values, wide) = self.group(place / 10).batches[part].clone();
        let held = self.lanes.entry(lane).or_default();
        held.batches.push(place);
        held.locks.extend(values.into_iter().chain(wide));
    }

    /// Something of what is under way comes back; how the history ended, if it did.
    fn land(&mut self) -> Option<Ended> {
        let at = self.choose(self.flying.len());
        let at = (0..self.flying.len())
            .map(|n| (at + n) % self.flying.len())
            .find(|at| self.blocker(&self.flying[*at]).is_none())
            // All wait for each other's locks: one gives up.
            .unwrap_or(at);
        let order = self.flying.swap_remove(at);
        let number = order.group;
        let lane = order.lane;
        if !self.schedule.contains(number) {
            self.lanes.remove(&lane);
            return None;
        }
        let blocked = self.blocker(&order).is_some();
        let commit = match order.what {
            Task::Undo => {
                self.lanes.insert(lane, Held::default());
                self.schedule.undone(number, lane);
                return None;
            }
            Task::Execute { .. } if blocked => return self.conflict(number, lane),
            Task::Execute { commit } => {
                self.execute(lane, order.batch.place.offset);
                commit
            }
            Task::Commit(way) => Some(way),
        };
        match commit {
            Some(way) => return self.commit(number, lane, way),
            None => self.schedule.executed(number, lane, Findings::default()),
        }
        None
    }

    /// A commit is answered. What it stands behind is committed before, though perhaps not answered; or it lasts too long.
    fn commit(&mut self, number: u64, lane: Lane, way: Way) -> Option<Ended> {
        if let Way::Checkpoint { behind: before, .. } = way {
            let waits = before != Offset::ZERO && !self.committed.contains(&before.0);
            if self.order == CommitOrder::Source {
                assert_eq!(before.0, number - 1, "behind another one");
            }
            if waits {
                if self.choose(4) == 0 {
                    return self.conflict(number, lane);
                }
                let before = self.flying.iter().find(|order| order.group == before.0);
                let before = before.expect("it is under way");
                match before.what {
                    Task::Commit(way) => self.take_effect(before.group, before.lane, way),
                    other => panic!("{number} behind {other:?}"),
                }
            }
        }
        if !self.committed.contains(&number) {
            self.take_effect(number, lane, way);
        }
        self.answer(number, lane, way);
        None
    }

    fn take_effect(&mut self, number: u64, lane: Lane, way: Way) {
        let held = std::mem::take(self.lanes.entry(lane).or_default());
        let parts = 0..self.group(number).batches.len();
        let all: Vec<u64> = parts
            .map(|part| number * 10 + u64::try_from(part).expect("few"))
            .collect();
        assert_eq!(held.batches, all, "A1: a transaction is not what was committed");
        assert!(
            !self.group(number).waits || self.durable.0 >= number,
            "before the log has it"
        );
        self.committed.push(number);
        match way {
            Way::Checkpoint { clear, behind } => {
                assert_eq!(behind.0, self.checkpoint, "the server would refuse it");
                let before = |other| self.committed.contains(&other);
                assert!((1..number).all(before), "the checkpoint moves over a gap");
                self.checkpoint = number;
                if clear {
                    self.notes.retain(|noted| *noted > number);
                }
                assert!(
                    self.notes.iter().all(|noted| *noted > number),
                    "a note is left behind"
                );
            }
            Way::Note { behind } => {
                assert!(behind.0 <= self.checkpoint, "the server would refuse it");
                assert_eq!(self.order, CommitOrder::Eventual, "A2");
                assert!(
                    self.group(number).may_be_noted,
                    "{number} is committed before an older one"
                );
                assert!(
                    self.durable.0 >= number,
                    "what is noted must not get another offset"
                );
                self.notes.insert(number);
            }
        }
    }

    fn answer(&mut self, number: u64, lane: Lane, way: Way) {
        self.answered.insert(number);
        let committed = self.schedule.committed(number, lane, Findings::default(), way);
        let offset = |group: Committed| group.done.offset.0;
        self.told.extend(committed.into_iter().map(offset));
        let prefix = (1..).take_while(|other| self.answered.contains(other));
        assert_eq!(self.told, prefix.collect::<Vec<_>>());
        if self.schedule.is_empty() && self.until_end != Some(0) {
            let last = self.told.last().copied().unwrap_or_default();
            assert_eq!(self.schedule.is_behind(), self.checkpoint < last);
        }
    }

    fn conflict(&mut self, number: u64, lane: Lane) -> Option<Ended> {
        // A deadlock has rolled everything back, a lock wait only the statement.
        if self.choose(2) == 0 {
            *self.lanes.entry(lane).or_default() = Held::default();
        }
        self.advanced.remove(&number);
        let count = self.conflicts.entry(number).or_default();
        *count += 1;
        let tried = *count > MAX_CONFLICTS;
        match self.schedule.met_locks(number, lane) {
            Yielding::Never => {
                let parts = self.groups.iter().any(|group| !group.is_whole());
                assert!(tried || parts, "a whole group can be executed again");
                Some(Ended::StartsOver)
            }
            Yielding::ToNobody { conflicts } => {
                assert!(
                    (1..number).all(|other| self.committed.contains(&other)),
                    "{conflicts}: not the oldest"
                );
                None
            }
            Yielding::ToOlder => None,
        }
    }

    /// Another connection that holds what an order needs.
    fn blocker(&self, order: &Order<Lane>) -> Option<Lane> {
        let Task::Execute { .. } = order.what else {
            return None;
        };
        let part = usize::try_from(order.batch.place.offset % 10).expect("small");
        let (values, wide) = &self.group(order.group).batches[part];
        let mut others = self.lanes.iter().filter(|(other, _)| **other != order.lane);
        others
            .find(|(_, held)| !held.locks.is_disjoint(values) || !held.locks.is_disjoint(wide))
            .map(|(other, _)| *other)
    }
}

fn planned(parts: usize) -> impl Strategy<Value = Planned> {
    // Locks from 100 on are those that nobody knows of.
    let values = prop::collection::btree_set(0..12_u64, 0..3);
    let wide = prop::collection::btree_set(100..104_u64, 0..2);
    let batches = prop::collection::vec((values, wide), 1..=parts);
    (batches, any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(batches, waits, may_be_noted)| Planned {
        batches,
        waits,
        may_be_noted,
    })
}

fn orders() -> impl Strategy<Value = CommitOrder> {
    prop_oneof![Just(CommitOrder::Source), Just(CommitOrder::Eventual)]
}

fn choices() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 20..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A1, A2, A3: whatever the order of answers, all is committed in order, each group as one whole; and nothing stands still.
    #[test]
    fn whole_groups_are_all_committed_in_order(
        groups in prop::collection::vec(planned(1), 1..30), order in orders(), most in 1..6_usize, unreachable in 0..5_usize, choices in choices(),
    ) {
        // One connection is there.
        let unreachable = unreachable.min(most - 1);
        let mut model = Model::new(groups, order, most, unreachable, choices);
        if model.run() == Ended::AllCommitted {
            prop_assert_eq!(model.committed.len(), model.groups.len());
        }
    }

    /// The task is stopped, or its planner ends, at any moment: what was begun and can be is brought to its end, in order.
    #[test]
    fn what_was_begun_is_ended(
        groups in prop::collection::vec(planned(3), 1..20), order in orders(), most in 1..6_usize, unreachable in 0..5_usize, choices in choices(),
        steps in 1..60_usize,
    ) {
        let unreachable = unreachable.min(most - 1);
        let mut model = Model::new(groups, order, most, unreachable, choices);
        model.until_end = Some(steps);
        model.run();
    }

    /// Groups in parts: one that can't be executed again may make the task start over, but not wait for ever.
    #[test]
    fn groups_in_parts_are_committed_or_the_task_starts_over(
        groups in prop::collection::vec(planned(3), 1..20), order in orders(), most in 1..6_usize, unreachable in 0..5_usize, choices in choices(),
    ) {
        let unreachable = unreachable.min(most - 1);
        let mut model = Model::new(groups, order, most, unreachable, choices);
        if model.run() == Ended::AllCommitted {
            prop_assert_eq!(model.committed.len(), model.groups.len());
        }
    }
}

/// What wide locks cost is bounded: groups that touch nothing in common are committed without starting over, each time.
#[test]
fn the_oldest_group_gets_its_locks() {
    let group = |value| Planned {
        batches: vec![(BTreeSet::from([value]), BTreeSet::from([100]))],
        waits: false,
        may_be_noted: true,
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&choices(), |choices| {
            let mut model = Model::new((0..40).map(group).collect(), CommitOrder::Source, 4, 0, choices);
            prop_assert_eq!(model.run(), Ended::AllCommitted);
            Ok(())
        })
        .expect("all are committed");
}
