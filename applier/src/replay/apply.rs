//! The sending half: carries out what the [`schedule`](super::schedule) says, on several connections at the same time, and tells
//! everybody what is committed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use outrigger_storage::Offset;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::divergence::{self, Findings};
use super::lane::{Batch, Commit, Done, Lane};
use super::schedule::{Committed, Order, Schedule, Task, Way, Yielding};
use crate::checkpoint::{Checkpoint, Metadata};
use crate::error::Error;
use crate::snapshot::Context;
use crate::status::{Applied, TaskState};
use crate::target::Target;
use crate::throttle::Lanes;

/// When nothing has come for so long the checkpoint moves over what only notes speak of.
const SETTLE: Duration = Duration::from_millis(200);

/// What the planner hands over.
#[derive(Debug)]
pub(super) enum Step {
    /// Statements of a group, in whole or in part.
    Batch(Box<Batch>),
    /// Answered once everything handed over before is committed.
    Barrier(oneshot::Sender<()>),
}

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What comes back.
enum Answer {
    /// One more lane, or why there is none.
    Opened(Result<Lane, Error>),
    Finished(Finished),
}

/// What a lane did.
struct Finished {
    lane: Lane,
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
    Commit(Way),
    Undo,
}

/// The apply loop and its connections.
pub(super) struct Apply {
    context: Context,
    metadata: Metadata,
    exact_after: Offset,
    durable: watch::Receiver<Offset>,
    schedule: Schedule<Lane>,
    /// How many connections may be in use.
    allowed: Lanes,
    busy: FuturesUnordered<Work>,
    /// Groups that have moved the checkpoint and are being committed.
    advancing: mpsc::Sender<u64>,
    advanced: mpsc::Receiver<u64>,
    /// When a commit was last answered.
    answered: Instant,
    barrier: Option<oneshot::Sender<()>>,
    /// True while the planner owes a step.
    asked: bool,
    /// The last group of which everything is committed, it and what is before it.
    last: Option<Done>,
    /// How far the log may be trimmed as far as the checkpoint is.
    trim_through: Offset,
}

impl Apply {
    pub(super) async fn new(
        context: Context,
        metadata: Metadata,
        target: Target,
        from: &Checkpoint,
        exact_after: Offset,
    ) -> Result<Self, Error> {
        let lane = Lane::new(target, metadata.clone(), context.epoch).await?;
        let config = &context.config;
        let allowed = Lanes::new(config.group.lanes, config.limits.max_latency);
        context.status.set_lanes(allowed.now());
        let (advancing, advanced) = mpsc::channel(config.group.lanes);
        Ok(Self {
            durable: context.log.durable(),
            schedule: Schedule::new(
                lane,
                config.group.lanes,
                config.group.order,
                from.offset,
                from.notes.last(),
            ),
            context,
            metadata,
            exact_after,
            allowed,
            busy: FuturesUnordered::new(),
            advancing,
            advanced,
            answered: Instant::now(),
            barrier: None,
            asked: false,
            last: None,
            trim_through: from.trim_through(),
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
            if self.schedule.is_empty() {
                if let Some(done) = self.barrier.take() {
                    // The planner waits for it; when it is gone nobody does.
                    done.send(()).ok();
                }
                if ended {
                    match self.settles() {
                        Some(batch) => self.schedule.enter(batch),
                        None => return Ok(()),
                    }
                }
            }
            self.start();
            let wants_more = !ended && self.barrier.is_none() && self.schedule.wants_more(self.allowed.now());
            if wants_more && !self.asked {
                // A planner that has ended does not read any more; what it sent before still counts.
                ask.try_send(()).ok();
                self.asked = true;
            }
            tokio::select! {
                () = cancel.cancelled(), if !ended => {
                    ended = true;
                    self.schedule.end(true);
                    self.barrier = None;
                }
                Some(answer) = self.busy.next() => match answer {
                    Answer::Opened(lane) => self.opened(lane)?,
                    Answer::Finished(finished) => self.finished(finished).await?,
                },
                Some(group) = self.advanced.recv() => self.schedule.advanced(group),
                // What was asked for may not be wanted any more by the time it comes.
                step = steps.recv(), if wants_more => {
                    self.asked = false;
                    match step {
                        Some(Step::Batch(batch)) => self.schedule.enter(*batch),
                        Some(Step::Barrier(done)) => self.barrier = Some(done),
                        None => {
                            ended = true;
                            self.schedule.end(false);
                        }
                    }
                },
                () = tokio::time::sleep(SETTLE), if self.schedule.is_behind() => {
                    if let Some(batch) = self.settles() {
                        self.schedule.enter(batch);
                    }
                }
                changed = self.durable.changed(), if self.schedule.waits_for_the_log() => {
                    if changed.is_err() {
                        return Err(outrigger_storage::Error::Closed.into());
                    }
                }
            }
        }
    }

    /// Starts whatever can be started.
    fn start(&mut self) {
        let durable = *self.durable.borrow();
        while let Some(order) = self.schedule.next(durable) {
            if order.batch.commit.is_some() && matches!(order.what, Task::Execute { .. }) {
                fail::fail_point!("checkpoint", |_| outrigger_storage::failpoint::kill());
            }
            self.busy.push(Box::pin(carry_out(order, self.advancing.clone())));
        }
        if self.schedule.opens() {
            let (context, metadata) = (self.context.clone(), self.metadata.clone());
            self.busy.push(Box::pin(async move {
                Answer::Opened(Lane::open(&context, metadata).await)
            }));
        }
    }

    fn opened(&mut self, lane: Result<Lane, Error>) -> Result<(), Error> {
        let error = match lane {
            Ok(lane) => {
                self.schedule.opened(lane);
                return Ok(());
            }
            Err(error) => error,
        };
        if !self.schedule.not_opened() {
            return Err(error);
        }
        let lanes = self.schedule.most();
        tracing::warn!(%error, lanes, "one more connection to the target is not to be had; the task goes on without it");
        Ok(())
    }

    async fn finished(&mut self, finished: Finished) -> Result<(), Error> {
        let Finished {
            lane,
            group,
            what,
            outcome,
            findings,
            sent,
        } = finished;
        if !self.schedule.contains(group) {
            return Ok(());
        }
        match (outcome, what) {
            (Ok(()), What::Commit(way)) => {
                // One that was sent behind another one waited for that.
                let now = Instant::now();
                let latency = now.duration_since(sent.max(self.answered));
                self.answered = now;
                if self.allowed.committed(latency, now.into()) {
                    let lanes = self.allowed.now();
                    self.context.status.set_lanes(lanes);
                    tracing::info!(
                        task = self.context.config.name,
                        lanes,
                        "as fast as the target commits"
                    );
                }
                let committed = self.schedule.committed(group, lane, findings, way);
                let marks = |group: &&Committed| matches!(group.way, Way::Checkpoint { .. });
                if let Some(group) = committed.iter().rfind(marks) {
                    self.trim_through = group.done.trim_through;
                }
                for group in committed {
                    self.committed(&group);
                    group.findings.publish(&self.context);
                }
                Ok(())
            }
            (Ok(()), What::Undo) => {
                self.schedule.undone(group, lane);
                Ok(())
            }
            (Ok(()), What::Execute) => {
                self.schedule.executed(group, lane, findings);
                Ok(())
            }
            (Err(error), What::Execute) if error.is_conflict() => {
                match self.schedule.met_locks(group, lane) {
                    Yielding::Never => return Err(error),
                    Yielding::ToOlder => self.retried(&error, group),
                    Yielding::ToNobody { conflicts } => {
                        self.retried(&error, group);
                        // Whoever else writes there gets a moment.
                        let longest = 20 * u64::from(conflicts);
                        tokio::time::sleep(Duration::from_millis(rand::random_range(1..longest))).await;
                    }
                }
                Ok(())
            }
            (Err(error), what) => {
                self.schedule.found_ahead().publish(&self.context);
                if let What::Commit(_) = what {
                    let mut found = self.schedule.undecided();
                    found.extend(findings);
                    found.doubt(&self.context);
                }
                divergence::stopped(&self.context, &error);
                Err(error)
            }
        }
    }

    fn retried(&self, error: &Error, group: u64) {
        self.context.metrics.retries.increment(1);
        self.context
            .status
            .counters
            .retries
            .fetch_add(1, Ordering::Relaxed);
        tracing::debug!(group, %error, "a group is executed again");
    }

    /// A group without rows, by which the checkpoint moves over what only notes speak of.
    fn settles(&self) -> Option<Batch> {
        let done = self.last.clone().filter(|_| self.schedule.is_behind())?;
        let transactions = 0;
        Some(Batch::empty(Commit {
            after: done.offset,
            rows: None,
            xa: None,
            definition: false,
            may_be_noted: false,
            done: Done { transactions, ..done },
        }))
    }

    /// The group and all before it are durable on the target: counts it and tells everybody.
    fn committed(&mut self, group: &Committed) {
        let done = &group.done;
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
        let offset = done.offset;
        // What replay has begun need not be durable.
        let caught_up = self.context.log.appended() <= offset;
        status.committed(done.commit_micros, caught_up);
        metrics.offset.set(offset.0 as f64);
        // Whoever starts again reads the log from the checkpoint on.
        status.set_applied(Applied {
            offset,
            trim_through: self.trim_through,
            position: Some(done.position.clone()),
        });
        self.show_phase(offset, caught_up || status.delay() < Duration::from_secs(1));
        self.last = Some(done.clone());
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

/// Does what is to be done on a connection.
async fn carry_out(order: Order<Lane>, advancing: mpsc::Sender<u64>) -> Answer {
    let Order {
        group,
        lane,
        batch,
        what,
    } = order;
    let mut finished = Finished {
        lane,
        group,
        what: What::Execute,
        outcome: Ok(()),
        findings: Findings::default(),
        sent: Instant::now(),
    };
    // Where this gets lost the next group's commit waits for this one's answer.
    let advanced = || {
        advancing.try_send(group).ok();
    };
    match (what, &batch.commit) {
        (Task::Undo, _) => {
            finished.what = What::Undo;
            finished.outcome = finished.lane.undo().await;
        }
        (Task::Commit(way), Some(commit)) => finished.commit(commit, way, advanced).await,
        // Nobody orders the commit of what is not complete.
        (Task::Commit(_), None) => {}
        (Task::Execute { commit: Some(way) }, Some(commit)) => {
            finished.execute_and_commit(&batch, commit, way, advanced).await;
        }
        (Task::Execute { .. }, _) => finished.execute(&batch).await,
    }
    Answer::Finished(finished)
}

impl Finished {
    async fn execute(&mut self, batch: &Batch) {
        match self.lane.execute(batch).await {
            Ok(found) => self.findings = found,
            Err(error) => self.outcome = Err(error),
        }
    }

    /// Executes the last or only batch of a group, and commits.
    async fn execute_and_commit(
        &mut self,
        batch: &Batch,
        commit: &Commit,
        way: Way,
        advanced: impl FnOnce(),
    ) {
        if self.lane.suits_one_trip(batch) {
            match self.lane.execute_and_commit(batch, commit, way, advanced).await {
                // Nothing was committed: it is as if it had been executed only.
                Err(error) if error.is_conflict() => self.outcome = Err(error),
                outcome => (self.what, self.outcome) = (What::Commit(way), outcome),
            }
            return;
        }
        self.execute(batch).await;
        if self.outcome.is_ok() {
            self.sent = Instant::now();
            self.commit(commit, way, advanced).await;
        }
    }

    /// Commits what was executed.
    async fn commit(&mut self, commit: &Commit, way: Way, advanced: impl FnOnce()) {
        match self.lane.commit(commit, way, advanced).await {
            // It waited too long for another one's commit: nothing was committed, and it is executed again.
            Err(error) if error.is_conflict() => self.outcome = Err(error),
            outcome => (self.what, self.outcome) = (What::Commit(way), outcome),
        }
    }
}
