//! The sending half: groups executed on several connections at the same time, committed one after the other in the source's
//! order (A2).
//!
//! A group is executed as soon as no group before it that is still open has anything in common with it (A3), and committed
//! when it is the oldest one. The oldest group never waits for a younger one: where the server's locks are wider than the
//! rows, so that it does, the younger ones are undone and executed again after it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use outrigger_storage::Offset;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::conflict::History;
use super::divergence::{self, Findings};
use super::lane::{Batch, Done, Lane};
use crate::checkpoint::Metadata;
use crate::error::Error;
use crate::snapshot::Context;
use crate::statement::RowCounts;
use crate::status::TaskState;
use crate::target::Target;
use crate::throttle::Lanes;

/// What the planner hands over.
#[derive(Debug)]
pub(super) enum Step {
    /// Statements of a group, in whole or in part.
    Batch(Box<Batch>),
    /// Answered once everything handed over before is committed.
    Barrier(oneshot::Sender<()>),
}

/// How often a group that met a deadlock is executed again before the task starts over from its checkpoint.
const MAX_CONFLICTS: u32 = 10;
/// After one group was in the way of another, so many run one by one; each time it happens again, twice as many.
const CAUTION: u64 = 16;
/// But no more than these.
const MAX_CAUTION: u64 = 4096;

type Work = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// What a lane did.
struct Finished {
    /// `None` where it could not be opened.
    lane: Option<Lane>,
    group: u64,
    what: What,
    outcome: Result<(), Error>,
    /// Rows that were not as expected, and were dealt with.
    findings: Findings,
    /// When its commit was sent.
    sent: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Execute,
    Commit,
    Undo,
}

/// A group that is not committed yet.
struct Group {
    number: u64,
    /// May be executed once this one is committed.
    after: u64,
    /// The newest batch of it.
    batch: Arc<Batch>,
    state: State,
    /// Its connection, while nothing runs there.
    lane: Option<Lane>,
    began: Instant,
    counts: RowCounts,
    bytes: u64,
    conflicts: u32,
    /// What was found in what was executed of it.
    findings: Findings,
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

/// The apply loop and its connections.
pub(super) struct Apply {
    context: Context,
    metadata: Metadata,
    exact_after: Offset,
    durable: watch::Receiver<Offset>,
    idle: Vec<Lane>,
    /// Connections, idle or not, and how many there may be.
    lanes: usize,
    /// How many of them may be in use.
    allowed: Lanes,
    most: usize,
    busy: FuturesUnordered<Work>,
    /// Oldest first.
    groups: VecDeque<Group>,
    history: History,
    /// The last group entered, and the last one committed.
    entered: u64,
    committed: u64,
    /// So many of the next groups run one by one, and how many do when it happens again.
    cautious: u64,
    caution: u64,
    barrier: Option<oneshot::Sender<()>>,
    /// True while the planner owes a step.
    asked: bool,
}

impl Apply {
    pub(super) async fn new(
        context: Context,
        metadata: Metadata,
        target: Target,
        exact_after: Offset,
    ) -> Result<Self, Error> {
        let lane = Lane::new(target, metadata.clone(), context.epoch).await?;
        let config = &context.config;
        let allowed = Lanes::new(config.group.lanes, config.limits.max_latency);
        context.status.set_lanes(allowed.now());
        Ok(Self {
            durable: context.log.durable(),
            most: context.config.group.lanes,
            context,
            metadata,
            exact_after,
            idle: vec![lane],
            lanes: 1,
            allowed,
            busy: FuturesUnordered::new(),
            groups: VecDeque::new(),
            history: History::default(),
            entered: 0,
            committed: 0,
            cautious: 0,
            caution: CAUTION,
            barrier: None,
            asked: false,
        })
    }

    /// Sends what comes until the planner ends or `cancel` is called; whole groups that are here are finished.
    pub(super) async fn run(
        mut self,
        mut steps: mpsc::Receiver<Step>,
        ask: mpsc::Sender<()>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let applied = self.context.status.applied().borrow().offset;
        let durable = *self.durable.borrow_and_update();
        self.show_phase(applied, durable <= applied);
        let mut ended = false;
        loop {
            if self.groups.is_empty() {
                if let Some(done) = self.barrier.take() {
                    // The planner waits for it; when it is gone nobody does.
                    done.send(()).ok();
                }
                if ended {
                    return Ok(());
                }
            }
            self.start();
            let wants_more = !ended && self.wants_more();
            if wants_more && !self.asked {
                // A planner that has ended does not read any more; what it sent before still counts.
                ask.try_send(()).ok();
                self.asked = true;
            }
            tokio::select! {
                () = cancel.cancelled(), if !ended => {
                    ended = true;
                    self.keep(|group| group.state != State::Waiting && group.batch.commit.is_some());
                    self.barrier = None;
                }
                Some(finished) = self.busy.next() => self.finished(finished).await?,
                // What was asked for may not be wanted any more by the time it comes.
                step = steps.recv(), if wants_more => {
                    self.asked = false;
                    match step {
                        Some(Step::Batch(batch)) => self.enter(*batch),
                        Some(Step::Barrier(done)) => self.barrier = Some(done),
                        None => {
                            ended = true;
                            self.keep(|group| group.batch.commit.is_some());
                        }
                    }
                },
                changed = self.durable.changed(), if self.waits_for_the_log() => {
                    if changed.is_err() {
                        return Err(outrigger_storage::Error::Closed.into());
                    }
                }
            }
        }
    }

    /// Goes on with the groups before the first that can't be completed. What that one began is rolled back by the server.
    fn keep(&mut self, completes: impl Fn(&Group) -> bool) {
        let kept = self.groups.iter().take_while(|group| completes(group)).count();
        self.groups.truncate(kept);
    }

    /// Whether another batch could be executed now.
    fn wants_more(&self) -> bool {
        match self.groups.back() {
            _ if self.barrier.is_some() => false,
            Some(group) if group.state == State::Waiting => false,
            // One that goes on does so where it began.
            Some(group) if group.batch.commit.is_none() => group.state == State::Executed,
            _ if self.groups.len() >= self.allowed.now() => false,
            _ => !self.idle.is_empty() || self.lanes < self.most,
        }
    }

    /// Takes a batch over: a new group, or more of the last one.
    fn enter(&mut self, batch: Batch) {
        let batch = Arc::new(batch);
        let bytes = u64::try_from(batch.sql.len()).unwrap_or(u64::MAX);
        if !batch.opens
            && let Some(group) = self.groups.back_mut()
        {
            let after = self.history.enter(group.number, &batch.footprint, self.committed);
            group.after = group.after.max(after);
            group.counts.add(batch.counts);
            group.bytes += bytes;
            group.batch = batch;
            group.state = State::Waiting;
            return;
        }
        self.entered += 1;
        let mut after = self.history.enter(self.entered, &batch.footprint, self.committed);
        if self.cautious > 0 {
            self.cautious -= 1;
            after = self.entered - 1;
        }
        self.groups.push_back(Group {
            number: self.entered,
            after,
            counts: batch.counts,
            batch,
            state: State::Waiting,
            lane: None,
            began: Instant::now(),
            bytes,
            conflicts: 0,
            findings: Findings::default(),
        });
    }

    /// Starts whatever can be started.
    fn start(&mut self) {
        for at in 0..self.groups.len() {
            self.start_one(at);
        }
    }

    fn start_one(&mut self, at: usize) {
        let durable = *self.durable.borrow();
        let Some(group) = self.groups.get_mut(at) else {
            return;
        };
        let oldest = at == 0;
        let batch = Arc::clone(&group.batch);
        let may_commit = oldest
            && batch
                .commit
                .as_ref()
                .is_some_and(|commit| commit.done.durable.is_none_or(|wanted| wanted <= durable));
        match group.state {
            State::Waiting if group.after <= self.committed => {
                let lane = match group.lane.take() {
                    Some(lane) => Some(lane),
                    // The rest of a group is part of the target transaction that it began, or of none.
                    None if !batch.opens => return,
                    None => match self.idle.pop() {
                        Some(lane) => Some(lane),
                        None if self.lanes < self.most => {
                            self.lanes += 1;
                            None
                        }
                        None => return,
                    },
                };
                group.state = State::Running;
                if batch.commit.is_some() {
                    fail::fail_point!("checkpoint", |_| outrigger_storage::failpoint::kill());
                }
                let (context, metadata) = (self.context.clone(), self.metadata.clone());
                let number = group.number;
                self.busy.push(Box::pin(async move {
                    let opened = match lane {
                        Some(lane) => Ok(lane),
                        None => Lane::open(&context, metadata).await,
                    };
                    execute(opened, number, &batch, may_commit).await
                }));
            }
            State::Executed if may_commit => {
                let Some(mut lane) = group.lane.take() else { return };
                group.state = State::Running;
                let number = group.number;
                let sent = Instant::now();
                self.busy.push(Box::pin(async move {
                    let outcome = match &batch.commit {
                        Some(commit) => lane.commit(commit).await,
                        None => Ok(()),
                    };
                    Finished {
                        lane: Some(lane),
                        group: number,
                        what: What::Commit,
                        outcome,
                        findings: Findings::default(),
                        sent,
                    }
                }));
            }
            _ => {}
        }
    }

    /// True when the oldest group is executed and what it holds is not durable in the log yet.
    fn waits_for_the_log(&self) -> bool {
        self.groups.front().is_some_and(|group| {
            group.state == State::Executed
                && group
                    .batch
                    .commit
                    .as_ref()
                    .is_some_and(|commit| commit.done.durable.is_some())
        })
    }

    async fn finished(&mut self, finished: Finished) -> Result<(), Error> {
        let Finished {
            lane,
            group: number,
            what,
            outcome,
            findings,
            sent,
        } = finished;
        let Some(at) = self.groups.iter().position(|group| group.number == number) else {
            // It was given up: whatever its connection holds goes with it.
            return Ok(());
        };
        match (outcome, what) {
            (Ok(()), What::Commit) => {
                self.idle.extend(lane);
                if self.allowed.committed(sent.elapsed(), Instant::now().into()) {
                    let lanes = self.allowed.now();
                    self.context.status.set_lanes(lanes);
                    tracing::info!(
                        task = self.context.config.name,
                        lanes,
                        "as fast as the target commits"
                    );
                }
                if let Some(mut group) = self.groups.remove(at) {
                    group.findings.extend(findings);
                    self.committed(&group);
                    group.findings.publish(&self.context);
                }
                Ok(())
            }
            (Ok(()), What::Undo) => {
                // Nothing of it is left: any connection will do.
                self.idle.extend(lane);
                let group = &mut self.groups[at];
                // The oldest group may have asked for it once more meanwhile: that is done with.
                group.after = group.after.min(number - 1);
                group.state = State::Waiting;
                self.groups[at].findings = Findings::default();
                Ok(())
            }
            (Ok(()), What::Execute) => {
                let group = &mut self.groups[at];
                group.state = State::Executed;
                group.lane = lane;
                group.findings.extend(findings);
                if group.after >= number {
                    self.undo(at);
                }
                Ok(())
            }
            (Err(error), What::Execute) if lane.is_none() && self.lanes > 1 => {
                // Nothing was sent. Where no more connections are to be had, those that are there do.
                self.lanes -= 1;
                self.most = self.lanes;
                tracing::warn!(%error, lanes = self.lanes, "one more connection to the target is not to be had; the task goes on without it");
                let group = &mut self.groups[at];
                // The oldest group may have asked for it to be undone: there is nothing to undo.
                group.after = group.after.min(number - 1);
                group.state = State::Waiting;
                Ok(())
            }
            (Err(error), What::Execute) if error.is_conflict() => {
                self.groups[at].lane = lane;
                self.yield_to_the_oldest(at, error).await
            }
            (Err(error), _) => {
                divergence::stopped(&self.context, &error);
                Err(error)
            }
        }
    }

    /// A group met another one's locks. It is undone and executed again; if it is the oldest one, after all younger ones
    /// were undone.
    async fn yield_to_the_oldest(&mut self, at: usize, error: Error) -> Result<(), Error> {
        let group = &mut self.groups[at];
        let whole = group.batch.opens && group.batch.commit.is_some();
        // Only a group that is here as a whole can be executed again.
        if !whole || group.conflicts == MAX_CONFLICTS {
            return Err(error);
        }
        group.conflicts += 1;
        let conflicts = group.conflicts;
        self.context.metrics.retries.increment(1);
        self.context
            .status
            .counters
            .retries
            .fetch_add(1, Ordering::Relaxed);
        self.cautious = self.caution;
        self.caution = (2 * self.caution).min(MAX_CAUTION);
        tracing::debug!(place = %self.groups[at].batch.place, %error, oldest = at == 0, "a group is executed again");
        if at > 0 {
            self.groups[at].after = self.groups[at].number - 1;
            self.undo(at);
            return Ok(());
        }
        for younger in (1..self.groups.len()).rev() {
            let group = &mut self.groups[younger];
            let holds = group.lane.is_some() || group.state == State::Running;
            if !(group.batch.opens && group.batch.commit.is_some()) && holds {
                return Err(error);
            }
            group.after = group.after.max(group.number - 1);
            match group.state {
                State::Executed => self.undo(younger),
                // Undone as soon as it is executed.
                State::Running => group.after = group.number,
                State::Waiting => {}
            }
        }
        self.undo(0);
        // Whoever else writes there gets a moment.
        tokio::time::sleep(Duration::from_millis(rand::random_range(
            1..20 * u64::from(conflicts),
        )))
        .await;
        Ok(())
    }

    /// Rolls a group back that is to be executed again.
    fn undo(&mut self, at: usize) {
        let group = &mut self.groups[at];
        group.after = group.after.min(group.number - 1);
        let Some(mut lane) = group.lane.take() else { return };
        group.state = State::Running;
        let number = group.number;
        self.busy.push(Box::pin(async move {
            let outcome = lane.undo().await;
            Finished {
                lane: Some(lane),
                group: number,
                what: What::Undo,
                outcome,
                findings: Findings::default(),
                sent: Instant::now(),
            }
        }));
    }

    /// The group is durable on the target: counts it and tells everybody.
    fn committed(&mut self, group: &Group) {
        self.committed = group.number;
        if self.cautious == 0 {
            self.caution = self.caution.saturating_sub(1).max(CAUTION);
        }
        let Some(commit) = &group.batch.commit else { return };
        let done: &Done = &commit.done;
        let (status, metrics) = (&self.context.status, &self.context.metrics);
        let counters = &status.counters;
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        add(&counters.inserted, group.counts.inserted);
        add(&counters.updated, group.counts.updated);
        add(&counters.deleted, group.counts.deleted);
        add(&counters.bytes, group.bytes);
        add(&counters.transactions, done.transactions);
        add(&counters.groups, 1);
        metrics.rows_inserted.increment(group.counts.inserted);
        metrics.rows_updated.increment(group.counts.updated);
        metrics.rows_deleted.increment(group.counts.deleted);
        metrics.bytes.increment(group.bytes);
        metrics.transactions.increment(done.transactions);
        metrics.groups.increment(1);
        metrics.group_seconds.record(group.began.elapsed().as_secs_f64());
        let offset = done.applied.offset;
        let caught_up = *self.durable.borrow() <= offset;
        status.committed(done.commit_micros, caught_up);
        metrics.offset.set(offset.0 as f64);
        let mut applied = done.applied.clone();
        // The log forgets nothing that it does not hold yet.
        applied.trim_through = applied.trim_through.min(*self.durable.borrow());
        status.set_applied(applied);
        self.show_phase(offset, caught_up || status.delay() < Duration::from_secs(1));
    }

    /// Once the copy's time is over and the target was as good as level, the task is synchronizing.
    fn show_phase(&self, applied: Offset, level: bool) {
        let status = &self.context.status;
        if status.state() == TaskState::Synchronizing {
            return;
        }
        let exact = applied >= self.exact_after;
        status.set_state(if exact && level {
            TaskState::Synchronizing
        } else {
            TaskState::CatchingUp
        });
    }
}

/// Executes a batch; with its commit when it may be committed at once.
async fn execute(opened: Result<Lane, Error>, group: u64, batch: &Batch, may_commit: bool) -> Finished {
    let mut lane = match opened {
        Ok(lane) => lane,
        Err(error) => {
            return Finished {
                lane: None,
                group,
                what: What::Execute,
                outcome: Err(error),
                findings: Findings::default(),
                sent: Instant::now(),
            };
        }
    };
    let mut findings = Findings::default();
    let mut sent = Instant::now();
    let (what, outcome) = match &batch.commit {
        Some(commit) if may_commit && lane.suits_one_trip(batch) => {
            match lane.execute_and_commit(batch, commit).await {
                // Nothing was committed: it is as if it had been executed only.
                Err(error) if error.is_conflict() => (What::Execute, Err(error)),
                outcome => (What::Commit, outcome),
            }
        }
        commit => match (lane.execute(batch).await, commit) {
            (Ok(found), commit) => {
                findings = found;
                sent = Instant::now();
                match commit {
                    Some(commit) if may_commit => (What::Commit, lane.commit(commit).await),
                    _ => (What::Execute, Ok(())),
                }
            }
            (Err(error), _) => (What::Execute, Err(error)),
        },
    };
    Finished {
        lane: Some(lane),
        group,
        what,
        outcome,
        findings,
        sent,
    }
}
