//! Which group is executed, committed or undone when, and on which connection. Pure: it asks nobody and waits for nothing.
//!
//! A group is executed as soon as no group before it that is still open has anything in common with it (A3), and committed
//! when it is the oldest one (A2), or, in eventual order, when it is executed and the log can't lose it any more. While the server still
//! writes the oldest one's commit, the next one's may be on its way: the checkpoint's row lets it wait there. The oldest group never
//! waits for a younger one: where the server's locks are wider than the rows, so that it does, the younger ones are undone and executed
//! again after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use outrigger_storage::Offset;

use super::conflict::{After, History};
use super::divergence::Findings;
use super::lane::{Batch, Done};
use crate::config::CommitOrder;
use crate::statement::RowCounts;

/// How often a group that met a deadlock is executed again before the task starts over from its checkpoint.
const MAX_CONFLICTS: u32 = 10;
/// After one group was in the way of another, so many run one by one; each time it happens again, twice as many.
const CAUTION: u64 = 16;
/// But no more than these.
const MAX_CAUTION: u64 = 4096;
/// So many groups are committed before one that is older, at most: each leaves a note on the target.
const MAX_AHEAD: usize = 1024;
/// A group of no more rows and bytes is executed in less time than its commit takes: what comes while it waits for its turn had
/// better wait, too, and be committed with what comes next.
const SMALL: u64 = 64;
const SMALL_BYTES: u64 = 64 * 1024;

/// A group that is not committed yet. `L` is a connection.
#[derive(Debug)]
pub(super) struct Group<L> {
    number: u64,
    /// May be executed once this one is committed, and all before it,
    after: u64,
    /// and what it has something in common with.
    common: After,
    /// The newest batch of it.
    batch: Arc<Batch>,
    state: State,
    /// Its connection, while nothing runs there.
    lane: Option<L>,
    /// It has moved the checkpoint, and is being committed.
    advanced: bool,
    began: Instant,
    counts: RowCounts,
    bytes: u64,
    conflicts: u32,
    /// What was found in what was executed of it.
    findings: Findings,
}

/// A group that is committed, and so is every one before it.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) done: Done,
    pub(super) way: Way,
    pub(super) began: Instant,
    pub(super) counts: RowCounts,
    pub(super) bytes: u64,
    pub(super) findings: Findings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A batch of it is to be executed.
    Waiting,
    /// Something of it is on its way.
    Running,
    /// What came of it is executed.
    Executed,
}

/// What is to be done on a connection.
#[derive(Debug)]
pub(super) struct Order<L> {
    pub(super) group: u64,
    pub(super) lane: L,
    pub(super) batch: Arc<Batch>,
    pub(super) what: Task,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Execute the batch, and commit if that may be.
    Execute { commit: Option<Way> },
    /// Commit what was executed.
    Commit(Way),
    /// Roll back what was executed.
    Undo,
}

/// How a group is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the oldest one, or the oldest one is at its commit: the checkpoint moves from `behind` over it, and takes the notes away that
    /// stand before it.
    Checkpoint { clear: bool, behind: Offset },
    /// Before an older one: it leaves a note. The checkpoint is at `behind`, or beyond.
    Note { behind: Offset },
}

/// What follows from meeting another group's locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yielding {
    /// It is executed again once the ones before it are committed.
    ToOlder,
    /// It is the oldest one: the younger ones are undone first. So often it has happened to it.
    ToNobody { conflicts: u32 },
    /// It can't be executed again from here.
    Never,
}

/// The groups that are open, and the connections.
#[derive(Debug)]
pub(super) struct Schedule<L> {
    /// Oldest first.
    groups: VecDeque<Group<L>>,
    /// Rollbacks that were decided.
    undoing: Vec<Order<L>>,
    idle: Vec<L>,
    /// Connections, idle or not, how many are being opened, and how many there may be.
    lanes: usize,
    opening: usize,
    most: usize,
    /// A group could be executed, had it a connection.
    lacks_lane: bool,
    history: History,
    order: CommitOrder,
    /// The last group entered, and the last one that is committed with all before it.
    entered: u64,
    committed: u64,
    /// The last one over which the checkpoint moved.
    marked: u64,
    /// Where the checkpoint is, as far as commits are answered.
    place: Offset,
    /// Those that are committed before an older one.
    ahead: BTreeMap<u64, Committed>,
    /// The last transaction that a note on the target speaks of; 0: there is none.
    noted: Offset,
    /// So many of the next groups run one by one, and how many do when it happens again.
    cautious: u64,
    caution: u64,
}

impl<L> Schedule<L> {
    /// With one connection, and at most so many. On the target are a checkpoint and notes up to these offsets.
    pub(super) fn new(lane: L, most: usize, order: CommitOrder, place: Offset, noted: Offset) -> Self {
        Self {
            groups: VecDeque::new(),
            undoing: Vec::new(),
            idle: vec![lane],
            lanes: 1,
            opening: 0,
            most,
            lacks_lane: false,
            history: History::default(),
            order,
            entered: 0,
            committed: 0,
            marked: 0,
            place,
            ahead: BTreeMap::new(),
            noted,
            cautious: 0,
            caution: CAUTION,
        }
    }

    /// True when everything that was entered is committed.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// True when everything is committed and only notes say so of the last of it: a group without rows would have the checkpoint say it.
    pub(super) fn is_behind(&self) -> bool {
        self.groups.is_empty() && self.marked < self.committed
    }

    /// Whether a group is open. One that is not any more was given up: its connection goes, and with it what it holds.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.find(number).is_some()
    }

    /// How many connections there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether another batch could be executed now, on at most `allowed` connections.
    pub(super) fn wants_more(&self, allowed: usize) -> bool {
        match self.groups.back() {
            Some(group) if group.state == State::Waiting => false,
            // One that goes on does so where it began.
            Some(group) if group.batch.commit.is_none() => group.state == State::Executed,
            _ if self.groups.len() >= allowed || self.ahead.len() >= MAX_AHEAD => false,
            Some(group) if self.groups.len() > 1 && self.has_turns() && group.is_small() => false,
            _ => !self.idle.is_empty() || self.lanes < self.most,
        }
    }

    /// True when each group's commit comes after that of the one before.
    fn has_turns(&self) -> bool {
        self.order == CommitOrder::Source
    }

    /// Takes a batch over: a new group, or more of the last one.
    pub(super) fn enter(&mut self, batch: Batch) {
        let batch = Arc::new(batch);
        let bytes = u64::try_from(batch.sql.len()).unwrap_or(u64::MAX);
        if !batch.opens
            && let Some(group) = self.groups.back_mut()
        {
            let common = self.history.enter(group.number, &batch.footprint, self.committed);
            group.common.extend(common);
            group.counts.add(batch.counts);
            group.bytes += bytes;
            group.batch = batch;
            group.state = State::Waiting;
            return;
        }
        self.entered += 1;
        let common = self.history.enter(self.entered, &batch.footprint, self.committed);
        let mut after = 0;
        if self.cautious > 0 {
            self.cautious -= 1;
            after = self.entered - 1;
        }
        self.groups.push_back(Group {
            number: self.entered,
            after,
            common,
            counts: batch.counts,
            batch,
            state: State::Waiting,
            lane: None,
            advanced: false,
            began: Instant::now(),
            bytes,
            conflicts: 0,
            findings: Findings::default(),
        });
    }

    /// Takes no more batches: goes on with the groups that are here as a whole, before the first that isn't. With `begun`, only with
    /// those of which something was started. What another one began is rolled back by the server.
    pub(super) fn end(&mut self, begun: bool) {
        let completes =
            |group: &&Group<L>| group.batch.commit.is_some() && !(begun && group.state == State::Waiting);
        let kept = self.groups.iter().take_while(completes).count();
        let given_up = self.groups.split_off(kept);
        // Their connections go with them.
        let lost = given_up.iter().filter(|group| group.holds());
        self.lanes = self.lanes.saturating_sub(lost.count());
    }

    /// What can be started now, the log being durable up to there; to be asked until there is nothing more.
    pub(super) fn next(&mut self, durable: Offset) -> Option<Order<L>> {
        self.lacks_lane = false;
        let next = self
            .undoing
            .pop()
            .or_else(|| (0..self.groups.len()).find_map(|at| self.next_of(at, durable)));
        if next.is_none() && self.starves() {
            // Younger groups have all connections, and none of them ends before the oldest one.
            let younger = (1..self.groups.len()).rev();
            if let Some(at) =
                { younger }.find(|at| self.groups[*at].is_whole() && self.groups[*at].lane.is_some())
            {
                self.undo(at);
                return self.undoing.pop();
            }
        }
        next
    }

    /// True when one more connection is to be opened now, besides those that are being opened. It is for whoever waits by then: who
    /// lacks one may get that of another group sooner. To be asked after [`Self::next`].
    pub(super) fn opens(&mut self) -> bool {
        let opens = self.lacks_lane && self.opening == 0 && self.lanes < self.most;
        self.opening += usize::from(opens);
        opens
    }

    /// A connection was opened.
    pub(super) fn opened(&mut self, lane: L) {
        self.opening -= 1;
        self.lanes += 1;
        self.idle.push(lane);
    }

    /// None could be opened. Those that are there do; false where all of them are held by groups that need the oldest one's end, which
    /// has none.
    pub(super) fn not_opened(&mut self) -> bool {
        self.opening -= 1;
        self.most = self.lanes;
        let taken = self.groups.iter().skip(1).any(Group::is_stuck);
        !(self.oldest_waits() && taken)
    }

    /// True when the oldest group waits for a connection.
    fn oldest_waits(&self) -> bool {
        self.groups
            .front()
            .is_some_and(|group| group.state == State::Waiting && group.lane.is_none() && self.may_run(group))
    }

    /// True when the oldest group waits for a connection, and nothing under way will leave one.
    fn starves(&self) -> bool {
        let ends = |group: &Group<L>| group.state == State::Running;
        self.oldest_waits() && self.opening == 0 && self.lanes >= self.most && !self.groups.iter().any(ends)
    }

    fn next_of(&mut self, at: usize, durable: Offset) -> Option<Order<L>> {
        let way = self.way(at).filter(|(_, wanted)| *wanted <= durable);
        let commit = way.map(|(way, _)| way);
        let may_run = self.groups.get(at).is_some_and(|group| self.may_run(group));
        let group = self.groups.get_mut(at)?;
        let batch = &group.batch;
        let (lane, what) = match (group.state, commit) {
            (State::Waiting, commit) if may_run => {
                // The rest of a group is part of the target transaction that it began, or of none.
                let any = if batch.opens {
                    &mut self.idle
                } else {
                    &mut Vec::new()
                };
                let Some(lane) = group.lane.take().or_else(|| any.pop()) else {
                    self.lacks_lane |= batch.opens;
                    return None;
                };
                (lane, Task::Execute { commit })
            }
            (State::Executed, Some(way)) => (group.lane.take()?, Task::Commit(way)),
            _ => return None,
        };
        group.state = State::Running;
        Some(Order {
            group: group.number,
            lane,
            batch: Arc::clone(&group.batch),
            what,
        })
    }

    /// Whether nothing that is open is in a group's way.
    fn may_run(&self, group: &Group<L>) -> bool {
        let ahead = |number| self.ahead.contains_key(&number);
        group.after <= self.committed && group.common.is_met(self.committed, ahead)
    }

    /// How a group may be committed, and what must be durable in the log before.
    fn way(&self, at: usize) -> Option<(Way, Offset)> {
        let commit = self.groups.get(at)?.batch.commit.as_ref()?;
        let durable = commit.done.durable.unwrap_or_default();
        let Some(before) = at.checked_sub(1).map(|before| &self.groups[before]) else {
            let clear = self.noted > Offset::ZERO;
            let behind = self.place;
            return Some((Way::Checkpoint { clear, behind }, durable));
        };
        if !self.has_turns() {
            let behind = self.place;
            return { commit.may_be_noted }.then_some((Way::Note { behind }, commit.done.offset));
        }
        // What is in parts holds locks and can't be executed again, should that commit fail or last.
        let group = &self.groups[at];
        let follows = before.advanced && before.number + 1 == group.number && group.is_whole();
        let clear = self.noted > Offset::ZERO;
        let behind = before.batch.commit.as_ref()?.done.offset;
        (at == 1 && follows && !clear).then_some((Way::Checkpoint { clear, behind }, durable))
    }

    /// True when a group is executed and what it holds is not durable in the log yet.
    pub(super) fn waits_for_the_log(&self) -> bool {
        let executed = |at: &usize| self.groups[*at].state == State::Executed;
        let mut ways = (0..self.groups.len())
            .filter(executed)
            .filter_map(|at| self.way(at));
        ways.any(|(_, wanted)| wanted > Offset::ZERO)
    }

    /// A group has moved the checkpoint, and only its COMMIT is left: whoever moves it next waits on the server until that is done.
    pub(super) fn advanced(&mut self, number: u64) {
        if let Some(at) = self.find(number) {
            self.groups[at].advanced = self.groups[at].state == State::Running;
        }
    }

    /// A batch was executed.
    pub(super) fn executed(&mut self, number: u64, lane: L, findings: Findings) {
        let Some(at) = self.find(number) else { return };
        let group = &mut self.groups[at];
        group.state = State::Executed;
        group.lane = Some(lane);
        group.advanced = false;
        group.findings.extend(findings);
        if group.after >= number {
            self.undo(at);
        }
    }

    /// A group was committed. Returns those of which this is now true of all before them, too, in order.
    pub(super) fn committed(&mut self, number: u64, lane: L, findings: Findings, way: Way) -> Vec<Committed> {
        let group = self.find(number).and_then(|at| self.groups.remove(at));
        let Some((mut group, done)) = group.and_then(|group| {
            let done = group.batch.commit.as_ref()?.done.clone();
            Some((group, done))
        }) else {
            return Vec::new();
        };
        self.idle.push(lane);
        group.findings.extend(findings);
        let offset = done.offset;
        match way {
            Way::Note { .. } => self.noted = self.noted.max(offset),
            Way::Checkpoint { .. } => {
                self.marked = self.marked.max(number);
                self.place = self.place.max(offset);
                if self.noted <= offset {
                    self.noted = Offset::ZERO;
                }
            }
        }
        if self.cautious == 0 {
            self.caution = self.caution.saturating_sub(1).max(CAUTION);
        }
        let committed = Committed {
            done,
            way,
            began: group.began,
            counts: group.counts,
            bytes: group.bytes,
            findings: group.findings,
        };
        self.ahead.insert(number, committed);
        let mut all = Vec::new();
        while let Some(next) = self.ahead.remove(&(self.committed + 1)) {
            self.committed += 1;
            all.push(next);
        }
        all
    }

    /// What was found in groups whose commits are on their way: nobody will be told whether they take effect.
    pub(super) fn undecided(&mut self) -> Findings {
        let mut found = Findings::default();
        let under_way = |group: &&mut Group<L>| group.state == State::Running;
        for group in self.groups.iter_mut().filter(under_way) {
            found.extend(std::mem::take(&mut group.findings));
        }
        found
    }

    /// What was found in groups that are committed before an older one.
    pub(super) fn found_ahead(&mut self) -> Findings {
        let mut found = Findings::default();
        for group in self.ahead.values_mut() {
            found.extend(std::mem::take(&mut group.findings));
        }
        found
    }

    /// A group was rolled back: nothing of it is left, any connection will do.
    pub(super) fn undone(&mut self, number: u64, lane: L) {
        let Some(at) = self.find(number) else { return };
        self.idle.push(lane);
        let group = &mut self.groups[at];
        group.findings = Findings::default();
        group.wait_again();
    }

    /// A group met another one's locks and executed nothing of its batch. It is undone and executed again; if it is the oldest one,
    /// after all younger ones were undone.
    pub(super) fn met_locks(&mut self, number: u64, lane: L) -> Yielding {
        let Some(at) = self.find(number) else {
            return Yielding::ToOlder;
        };
        let group = &mut self.groups[at];
        group.lane = Some(lane);
        // Only a group that is here as a whole can be executed again.
        if !group.is_whole() || group.conflicts == MAX_CONFLICTS {
            return Yielding::Never;
        }
        group.conflicts += 1;
        let conflicts = group.conflicts;
        self.cautious = self.caution;
        self.caution = (2 * self.caution).min(MAX_CAUTION);
        if at > 0 {
            group.after = number - 1;
            self.undo(at);
            return Yielding::ToOlder;
        }
        if self.groups.iter().skip(1).any(Group::is_stuck) {
            return Yielding::Never;
        }
        for younger in (1..self.groups.len()).rev() {
            let group = &mut self.groups[younger];
            group.after = group.after.max(group.number - 1);
            match group.state {
                State::Executed => self.undo(younger),
                // Undone as soon as it is executed.
                State::Running => group.after = group.number,
                State::Waiting => {}
            }
        }
        self.undo(0);
        Yielding::ToNobody { conflicts }
    }

    /// Rolls a group back that is to be executed again.
    fn undo(&mut self, at: usize) {
        let group = &mut self.groups[at];
        group.after = group.after.min(group.number - 1);
        let Some(lane) = group.lane.take() else { return };
        group.state = State::Running;
        self.undoing.push(Order {
            group: group.number,
            lane,
            batch: Arc::clone(&group.batch),
            what: Task::Undo,
        });
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.groups.iter().position(|group| group.number == number)
    }
}

impl<L> Group<L> {
    /// True when all of it is here and it can be executed from its beginning.
    fn is_whole(&self) -> bool {
        self.batch.opens && self.batch.commit.is_some()
    }

    /// True when it holds a connection, and its locks, until it is committed: it can't be undone and executed again.
    fn is_stuck(&self) -> bool {
        !self.is_whole() && self.holds()
    }

    fn is_small(&self) -> bool {
        self.counts.total() <= SMALL && self.bytes <= SMALL_BYTES
    }

    fn holds(&self) -> bool {
        self.lane.is_some() || self.state == State::Running
    }

    /// Nothing of it is executed.
    fn wait_again(&mut self) {
        // The oldest group may have asked for it to be undone once more meanwhile: that is done with.
        self.after = self.after.min(self.number - 1);
        self.advanced = false;
        self.state = State::Waiting;
    }
}

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
