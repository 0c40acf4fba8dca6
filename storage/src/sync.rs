//! Making appends durable, and saying so only then (invariant C2).
//!
//! One thread syncs the write-ahead log for everyone: every `sync_interval` what was appended since, sooner where `sync_bytes` are waiting or
//! somebody asks. At once would be in the way of replay, which does not wait for it: the commit on the target would share disk
//! and processors with it. For the same reason the thread looks by itself while appends keep coming; only the first one after
//! a rest has to wake it. In a rush it syncs tables instead ([`pace`]). A failed sync is final: what RocksDB and the kernel still hold is
//! then unknown, so the log takes nothing more.

mod pace;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_protocol::position::{FilePosition, SourcePosition};
use tokio::sync::watch;

use self::pace::{Change, Pace};
use crate::engine::Engine;
use crate::format::Position;
use crate::metrics::Metrics;
use crate::{Config, Error, Offset};

/// So many intervals without an append, and the thread rests until there is one.
const QUIET: u32 = 16;
/// How long the thread that met an error may take to say so, where another is only told that there was one.
const CAUSE: Duration = Duration::from_secs(1);

/// What is durable, what is not yet, and who is told.
pub(crate) struct Durability {
    state: Mutex<State>,
    /// Wakes the sync thread.
    work: Condvar,
    /// Wakes those who wait for a sync without a runtime.
    done: Condvar,
    /// The last whole transaction that was appended.
    appended: watch::Sender<Offset>,
    durable: watch::Sender<Offset>,
    reached: watch::Sender<Option<FilePosition>>,
    /// Wakes those who wait for a sync within a runtime.
    progress: watch::Sender<u64>,
}

struct State {
    /// Bytes appended since the log was opened.
    appended: u64,
    /// How many of them are durable.
    synced: u64,
    /// The last whole transaction appended, and the place after it.
    last: Whole,
    /// The same of what is durable.
    durable: Whole,
    /// Not published yet: it waits for what was appended before it.
    reached: Option<FilePosition>,
    /// The server that is read, since this process began; `reached` is on it.
    server: Option<Arc<str>>,
    /// Somebody wants a sync now.
    asked: bool,
    /// When the thread looks next for what was appended; `None` while it rests until it is woken.
    due: Option<Instant>,
    /// How often in a row it has found nothing.
    quiet: u32,
    pace: Pace,
    stopping: bool,
    failed: Option<Error>,
}

/// A whole transaction and the place after it; offset zero and the start position before the first.
#[derive(Debug, Clone)]
struct Whole {
    offset: Offset,
    position: Option<Arc<SourcePosition>>,
}

/// What one sync covers.
struct Batch {
    appended: u64,
    last: Whole,
    reached: Option<FilePosition>,
    /// Whose place that is.
    server: Option<Arc<str>>,
}

impl Durability {
    /// Everything that was found at opening is durable.
    pub(crate) fn new(config: &Config, found: Option<Position>) -> Self {
        let offset = found.as_ref().map_or(Offset::ZERO, |position| position.last);
        let position = found.map(|position| Arc::new(position.source));
        let reached = position.as_ref().map(|position| position.file.clone());
        let last = Whole { offset, position };
        let state = State {
            appended: 0,
            synced: 0,
            durable: last.clone(),
            last,
            reached: None,
            server: None,
            asked: false,
            due: None,
            quiet: 0,
            pace: Pace::new(config),
            stopping: false,
            failed: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
            appended: watch::Sender::new(offset),
            durable: watch::Sender::new(offset),
            reached: watch::Sender::new(reached),
            progress: watch::Sender::new(0),
        }
    }

    /// The last whole transaction that was appended, durable or not.
    pub(crate) fn last_appended(&self) -> &watch::Sender<Offset> {
        &self.appended
    }

    pub(crate) fn durable(&self) -> &watch::Sender<Offset> {
        &self.durable
    }

    pub(crate) fn reached(&self) -> &watch::Sender<Option<FilePosition>> {
        &self.reached
    }

    /// Where capture resumes.
    pub(crate) fn position(&self) -> Option<SourcePosition> {
        self.lock().durable.position.as_deref().cloned()
    }

    /// Bytes appended and not yet durable.
    pub(crate) fn unsynced(&self) -> u64 {
        let state = self.lock();
        state.appended - state.synced
    }

    /// An error if the log failed or was closed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lock().check()
    }

    /// The start position of an empty log was stored and synced.
    pub(crate) fn started(&self, position: &SourcePosition) {
        let mut state = self.lock();
        state.last.position = Some(Arc::new(position.clone()));
        state.durable = state.last.clone();
        self.reached.send_replace(Some(position.file.clone()));
    }

    /// `bytes` were written; `whole` if they end a transaction.
    pub(crate) fn appended(&self, bytes: u64, whole: Option<(Offset, SourcePosition)>) {
        let mut state = self.lock();
        let before = state.unsynced();
        state.appended += bytes;
        if let Some((offset, position)) = whole {
            self.appended
                .send_if_modified(|last| std::mem::replace(last, offset) != offset);
            state.reached = Some(position.file.clone());
            state.last = Whole {
                offset,
                position: Some(Arc::new(position)),
            };
        }
        let rests = state.due.is_none();
        if rests {
            state.due = Some(Instant::now() + state.pace.interval());
        }
        let enough = state.pace.enough();
        let is_enough = before < enough && state.unsynced() >= enough;
        drop(state);
        if rests || is_enough {
            self.work.notify_one();
        }
    }

    /// The source was read up to `position`: published when everything appended so far is durable.
    pub(crate) fn read_up_to(&self, position: FilePosition) {
        let mut state = self.lock();
        if state.unsynced() == 0 {
            self.reached.send_replace(Some(position));
        } else {
            state.reached = Some(position);
        }
    }

    /// From here on `server` is read. Places that another one reached are of no use to anybody: servers name their files alike.
    pub(crate) fn reads(&self, server: &str) {
        let mut state = self.lock();
        if state.server.as_deref() != Some(server) {
            state.server = Some(server.into());
            state.reached = None;
            self.reached.send_replace(None);
        }
    }

    /// How far the binlog of `server` was read, everything up to there durable.
    pub(crate) fn reached_on(&self, server: &str) -> Option<FilePosition> {
        let state = self.lock();
        let ours = state.server.as_deref() == Some(server);
        ours.then(|| self.reached.borrow().clone()).flatten()
    }

    /// Waits until no more than a bounded amount is unsynced.
    pub(crate) async fn room(&self) -> Result<(), Error> {
        {
            let state = self.lock();
            state.check()?;
            if state.has_room() {
                return Ok(());
            }
        }
        self.wait(|state| state.has_room()).await
    }

    /// Waits until everything appended so far is durable.
    pub(crate) async fn flush(&self) -> Result<Offset, Error> {
        let appended = self.ask();
        self.wait(|state| state.synced >= appended).await?;
        Ok(*self.durable.borrow())
    }

    /// The same without a runtime.
    pub(crate) fn flush_blocking(&self) -> Result<(), Error> {
        let appended = self.ask();
        let mut state = self.lock();
        while state.synced < appended {
            state.check()?;
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Asks for a sync of everything appended so far, unless in a rush: each would write a table.
    pub(crate) fn hasten(&self) {
        let mut state = self.lock();
        if !state.pace.is_rush() {
            self.ask_of(&mut state);
        }
    }

    /// Asks for a sync of everything appended so far; how much that is.
    fn ask(&self) -> u64 {
        let mut state = self.lock();
        self.ask_of(&mut state);
        state.appended
    }

    fn ask_of(&self, state: &mut State) {
        if state.unsynced() > 0 {
            state.asked = true;
            self.work.notify_one();
        }
    }

    async fn wait(&self, enough: impl Fn(&State) -> bool) -> Result<(), Error> {
        let mut progress = self.progress.subscribe();
        loop {
            {
                let state = self.lock();
                if enough(&state) {
                    return Ok(());
                }
                state.check()?;
            }
            progress.changed().await.map_err(|_gone| Error::Closed)?;
        }
    }

    /// What made the log fail.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    /// Waits until the log fails.
    pub(crate) async fn wait_for_failure(&self) -> Error {
        let mut progress = self.progress.subscribe();
        loop {
            if let Some(error) = self.failure() {
                return error;
            }
            if progress.changed().await.is_err() {
                return Error::Closed;
            }
        }
    }

    /// Ends the log's work for good: everyone who waits is told. Gives what it failed of, which may be what another thread met first.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let mut state = self.lock();
        if error.is_of_an_earlier_one() {
            let told = self
                .done
                .wait_timeout_while(state, CAUSE, |state| state.failed.is_none());
            state = told.unwrap_or_else(PoisonError::into_inner).0;
        }
        let cause = state.failed.get_or_insert_with(|| {
            tracing::error!(%error, "the log failed");
            error
        });
        let cause = cause.clone();
        self.wake_all();
        cause
    }

    /// Tells the thread to sync what is left and to end, and everyone else that the log is closed.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_one();
        self.done.notify_all();
        self.progress.send_modify(|_| {});
        self.appended.send_modify(|_| {});
        self.durable.send_modify(|_| {});
    }

    /// The sync thread's work, until [`stop`](Self::stop) or a failure.
    pub(crate) fn run(&self, engine: &Engine, metrics: &Metrics) {
        while let Some(batch) = self.next_batch() {
            fail::fail_point!("log-sync", |_| crate::failpoint::kill());
            let began = Instant::now();
            // A directory that is gone takes everything and keeps nothing: looked for after the sync, so that nothing is
            // published that went there.
            let synced = engine.sync().and_then(|()| engine.be_there());
            let outcome = synced.and_then(|()| {
                metrics.synced(began.elapsed(), batch.last.offset.0);
                match self.publish(batch) {
                    Change::None => Ok(()),
                    Change::Unlog => {
                        engine.unlog();
                        Ok(())
                    }
                    Change::Relog => engine.relog(),
                }
            });
            if let Err(error) = outcome {
                self.fail(error);
            }
        }
    }

    /// Sleeps until a sync is due; `None` when there is nothing more to do.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() || (state.stopping && state.unsynced() == 0) {
                return None;
            }
            let now = Instant::now();
            let looks = state.due.is_some_and(|due| due <= now);
            let rest = state.pace.rest(now).filter(|_| state.unsynced() == 0);
            if rest == Some(Duration::ZERO) || state.is_due(looks) {
                return Some(state.take(now));
            }
            if looks {
                state.found_nothing(now);
            }
            let wait = state.due.map(|due| due.saturating_duration_since(now));
            state = match wait.into_iter().chain(rest).min() {
                Some(time) => self.pause(state, time),
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Sleeps until there is something to look at, at most for `time`.
    fn pause<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let woken = self.work.wait_timeout(state, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Everything in `batch` is durable now.
    fn publish(&self, batch: Batch) -> Change {
        let mut state = self.lock();
        let bytes = batch.appended - state.synced;
        state.synced = batch.appended;
        if batch.last.offset > state.durable.offset {
            self.durable.send_replace(batch.last.offset);
        }
        state.durable = batch.last;
        // What was read after this batch's last append may be published too, if nothing was appended since.
        let later = if state.unsynced() == 0 {
            state.reached.take()
        } else {
            None
        };
        // Another server may be read by now.
        let before = batch.reached.filter(|_| batch.server == state.server);
        if let Some(position) = later.or(before) {
            self.reached.send_replace(Some(position));
        }
        self.progress.send_replace(state.synced);
        self.done.notify_all();
        state.pace.synced(bytes, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counters whole: each update is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unsynced(&self) -> u64 {
        self.appended - self.synced
    }

    /// Whether what was appended is to be synced now; `looks`: its time has come.
    fn is_due(&self, looks: bool) -> bool {
        let now = looks || self.stopping || self.asked || self.unsynced() >= self.pace.enough();
        now && self.unsynced() > 0
    }

    /// What a sync that begins now covers.
    fn take(&mut self, now: Instant) -> Batch {
        self.asked = false;
        self.quiet = 0;
        self.look_again(now);
        Batch {
            appended: self.appended,
            last: self.last.clone(),
            reached: self.reached.take(),
            server: self.server.clone(),
        }
    }

    fn found_nothing(&mut self, now: Instant) {
        self.quiet += 1;
        if self.quiet < QUIET {
            self.look_again(now);
        } else {
            self.due = None;
        }
    }

    /// Where each append is synced by itself, each wakes the thread.
    fn look_again(&mut self, now: Instant) {
        let interval = self.pace.interval();
        self.due = (!interval.is_zero()).then(|| now + interval);
    }

    fn has_room(&self) -> bool {
        self.unsynced() < self.pace.too_much()
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.stopping => Err(Error::Closed),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(8);

    fn durability(interval: Duration) -> Durability {
        let mut config = Config::new("unused");
        config.sync_interval = interval;
        Durability::new(&config, None)
    }

    #[test]
    fn one_append_after_a_rest_is_looked_for_in_time_and_then_rest_comes_again() {
        let durability = durability(INTERVAL);
        assert_eq!(durability.lock().due, None);
        durability.appended(10, None);
        let mut state = durability.lock();
        let due = state.due.expect("the thread is woken to set its alarm");
        assert!(due <= Instant::now() + INTERVAL);
        assert!(!state.is_due(false));
        assert!(state.is_due(true));
        state.synced = state.take(due).appended;
        assert_eq!((state.unsynced(), state.due), (0, Some(due + INTERVAL)));
        assert!(!state.is_due(true));
        for look in 1..QUIET {
            state.found_nothing(due + look * INTERVAL);
            assert_eq!(state.due, Some(due + (look + 1) * INTERVAL));
        }
        state.found_nothing(due + QUIET * INTERVAL);
        assert_eq!(state.due, None);
    }

    #[test]
    fn an_append_between_looks_keeps_their_time() {
        let durability = durability(INTERVAL);
        durability.appended(10, None);
        let due = durability.lock().due;
        durability.appended(10, None);
        assert_eq!(durability.lock().due, due);
        durability.hasten();
        assert!(durability.lock().is_due(false));
    }

    #[test]
    fn without_an_interval_each_append_is_due_at_once() {
        let durability = durability(Duration::ZERO);
        for _ in 0..2 {
            durability.appended(10, None);
            let mut state = durability.lock();
            let due = state.due.expect("the thread is woken");
            assert!(due <= Instant::now());
            state.synced = state.take(due).appended;
            assert_eq!(state.due, None);
        }
    }
}
