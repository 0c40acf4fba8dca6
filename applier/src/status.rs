//! What a task is doing, readable at any time: its phase, the copy by table, the applied place, the delay, the counters.
//!
//! The task writes, everybody reads; nobody waits for anybody for longer than a field's copy takes.

mod divergence;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::Offset;
use tokio::sync::watch;

pub use self::divergence::{DivergenceKind, Divergences, LastDivergence};
use crate::error::{Place, Side};

/// The phase a task is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TaskState {
    /// Connecting, checking, creating the metadata tables.
    #[default]
    Preparing,
    /// Creating databases and tables on the target.
    CopyingSchema,
    /// Copying rows.
    CopyingRows,
    /// Replaying what was committed during the copy or while the task was away.
    CatchingUp,
    /// Following: the target is a prefix of the source's history, seconds or less behind.
    Synchronizing,
    /// A server failed; the task tries again.
    Retrying {
        /// The server that failed.
        side: Side,
        /// Since when, Unix seconds.
        since: u64,
        /// When the next try is, Unix seconds; where that is over, it is under way.
        next: u64,
        /// Until when it is tried, Unix seconds.
        until: u64,
        /// The last failure.
        why: String,
    },
    /// The task has ended.
    Stopped {
        /// The error, or `None` when it was asked to.
        why: Option<String>,
    },
}

/// How far one table's copy is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableCopy {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// True once all its rows were copied.
    pub done: bool,
    /// The source's own estimate of its rows.
    pub rows_estimated: u64,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// Bytes copied so far, as sent to the target.
    pub bytes_copied: u64,
}

/// How far the target is. `offset` is durable on the target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// Everything up to here is applied.
    pub offset: Offset,
    /// Everything up to here is not needed any more: `offset`, or less while a prepared XA transaction waits for its end. The log need not
    /// hold it durably yet.
    pub trim_through: Offset,
    /// The same place as `offset` on the source; `None` until the checkpoint was read.
    pub position: Option<SourcePosition>,
}

/// Shared by the task, the supervisor and whoever shows it.
#[derive(Debug)]
pub struct TaskStatus {
    name: String,
    state: Mutex<TaskState>,
    tables: Mutex<BTreeMap<(String, String), TableCopy>>,
    applied: watch::Sender<Applied>,
    /// When the source committed the oldest transaction that is not applied yet (or the youngest that is); 0: nothing waits.
    waiting_since_micros: AtomicU64,
    /// When the log last held nothing that was not applied.
    level_at_micros: AtomicU64,
    divergences: Mutex<Divergences>,
    lanes: AtomicUsize,
    /// What was counted since the process began.
    pub counters: Counters,
}

/// Counted since the process began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows inserted.
    pub inserted: AtomicU64,
    /// Rows updated.
    pub updated: AtomicU64,
    /// Rows deleted.
    pub deleted: AtomicU64,
    /// Source transactions applied or passed.
    pub transactions: AtomicU64,
    /// Target transactions.
    pub groups: AtomicU64,
    /// DDL statements.
    pub ddl: AtomicU64,
    /// Bytes of statements.
    pub bytes: AtomicU64,
    /// Groups sent again, connections made again.
    pub retries: AtomicU64,
}

/// [`TaskStatus`] at one moment, for `status` and the HTTP API.
#[derive(Debug, Clone)]
pub struct TaskSnapshot {
    /// The task's name.
    pub name: String,
    /// The phase.
    pub state: TaskState,
    /// The copy, table by table.
    pub tables: Vec<TableCopy>,
    /// The last applied offset.
    pub offset: u64,
    /// The same place on the source, as text.
    pub position: Option<String>,
    /// Seconds behind the source, 0 when caught up.
    pub delay_seconds: f64,
    /// Rows inserted by replay.
    pub rows_inserted: u64,
    /// Rows updated by replay.
    pub rows_updated: u64,
    /// Rows deleted by replay.
    pub rows_deleted: u64,
    /// Source transactions replayed.
    pub transactions: u64,
    /// Target transactions.
    pub groups: u64,
    /// DDL statements replayed.
    pub ddl: u64,
    /// Bytes of statements sent by replay.
    pub bytes: u64,
    /// Groups sent again, connections made again.
    pub retries: u64,
    /// Rows that the target should have had and hadn't, or the other way round.
    pub divergences: Divergences,
    /// Lanes that replay may use at present; 0 before it began.
    pub lanes: usize,
}

/// Locks even after a panic elsewhere: every value kept here is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskStatus {
    /// The status of a task that has not begun.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: Mutex::default(),
            tables: Mutex::default(),
            applied: watch::Sender::new(Applied::default()),
            waiting_since_micros: AtomicU64::new(0),
            level_at_micros: AtomicU64::new(0),
            divergences: Mutex::default(),
            lanes: AtomicUsize::new(0),
            counters: Counters::default(),
        }
    }

    /// The phase.
    pub fn state(&self) -> TaskState {
        lock(&self.state).clone()
    }

    /// Follows what is durably applied: the supervisor trims the log through `trim_through`.
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// How far the target is behind the source: the age of the oldest commit that is not applied, zero when none waits.
    pub fn delay(&self) -> Duration {
        match self.waiting_since_micros.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(now_micros().saturating_sub(since)),
        }
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> TaskSnapshot {
        let applied = self.applied.borrow().clone();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        TaskSnapshot {
            name: self.name.clone(),
            state: self.state(),
            tables: lock(&self.tables).values().cloned().collect(),
            offset: applied.offset.0,
            position: applied.position.map(|p| p.to_string()),
            delay_seconds: self.delay().as_secs_f64(),
            rows_inserted: count(&c.inserted),
            rows_updated: count(&c.updated),
            rows_deleted: count(&c.deleted),
            transactions: count(&c.transactions),
            groups: count(&c.groups),
            ddl: count(&c.ddl),
            bytes: count(&c.bytes),
            retries: count(&c.retries),
            divergences: lock(&self.divergences).clone(),
            lanes: self.lanes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_state(&self, state: TaskState) {
        *lock(&self.state) = state;
    }

    /// Registers a table, or replaces what is shown of it: `rows` and `bytes` were copied before this process began.
    pub(crate) fn table_found(
        &self,
        database: &str,
        table: &str,
        rows_estimated: u64,
        rows: u64,
        bytes: u64,
    ) {
        let found = TableCopy {
            database: database.to_owned(),
            table: table.to_owned(),
            rows_estimated,
            rows_copied: rows,
            bytes_copied: bytes,
            ..TableCopy::default()
        };
        lock(&self.tables).insert((database.to_owned(), table.to_owned()), found);
    }

    /// A chunk of the table was committed.
    pub(crate) fn table_copied(&self, database: &str, table: &str, rows: u64, bytes: u64) {
        let mut tables = lock(&self.tables);
        let Some(entry) = tables.get_mut(&(database.to_owned(), table.to_owned())) else {
            return;
        };
        entry.rows_copied += rows;
        entry.bytes_copied += bytes;
    }

    /// All of the table's rows are copied.
    pub(crate) fn table_done(&self, database: &str, table: &str) {
        if let Some(entry) = lock(&self.tables).get_mut(&(database.to_owned(), table.to_owned())) {
            entry.done = true;
        }
    }

    /// The table is gone or is to be copied anew.
    pub(crate) fn table_dropped(&self, database: &str, table: &str) {
        lock(&self.tables).remove(&(database.to_owned(), table.to_owned()));
    }

    pub(crate) fn set_applied(&self, applied: Applied) {
        self.applied.send_replace(applied);
    }

    /// A server failed; the task tries again.
    pub(crate) fn retrying(&self, side: Side, [since, next, until]: [u64; 3], why: String) {
        self.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.set_state(TaskState::Retrying {
            side,
            since,
            next,
            until,
            why,
        });
    }

    pub(crate) fn set_lanes(&self, lanes: usize) {
        self.lanes.store(lanes, Ordering::Relaxed);
    }

    /// Rows of a table were not as expected, the last one at `place`. Returns how many of the kind there were before.
    pub(crate) fn diverged(&self, table: &str, kind: DivergenceKind, rows: u64, place: &Place) -> u64 {
        let last = LastDivergence {
            table: table.to_owned(),
            kind,
            place: place.to_string(),
            at: now_micros() / 1_000_000,
        };
        lock(&self.divergences).add(rows, last)
    }

    /// Grows whenever something durable was achieved.
    pub(crate) fn work_done(&self) -> u64 {
        let copied: u64 = lock(&self.tables).values().map(|table| table.rows_copied).sum();
        self.counters.groups.load(Ordering::Relaxed).wrapping_add(copied)
    }

    /// A transaction committed at `micros` has been read from the log and is not applied yet.
    pub(crate) fn began(&self, micros: u64) {
        let level = self.level_at_micros.load(Ordering::Relaxed);
        // The oldest one counts.
        self.waiting_since_micros
            .compare_exchange(0, plausible(micros, level), Ordering::Relaxed, Ordering::Relaxed)
            .ok();
    }

    /// Everything up to the transaction committed at `micros` is applied; `caught_up`: the log holds nothing more.
    pub(crate) fn committed(&self, micros: u64, caught_up: bool) {
        if caught_up {
            self.level_at_micros.store(now_micros(), Ordering::Relaxed);
            self.waiting_since_micros.store(0, Ordering::Relaxed);
        } else {
            let before = self.waiting_since_micros.load(Ordering::Relaxed);
            let level = self.level_at_micros.load(Ordering::Relaxed);
            self.waiting_since_micros
                .store(plausible(micros, before.max(level)), Ordering::Relaxed);
        }
    }
}

fn now_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// When a commit can have been by our clock: not before `earliest`, when one before it was or the log held nothing more, and not
/// after now. The source's own clock may say anything. (A source that is not captured in time has a delay of its own.)
fn plausible(micros: u64, earliest: u64) -> u64 {
    micros.max(earliest).min(now_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_the_age_of_the_oldest_commit_that_waits() {
        let status = TaskStatus::new("t");
        assert_eq!(status.delay(), Duration::ZERO);
        status.began(1_000_000);
        status.began(u64::MAX);
        assert!(status.delay() > Duration::from_secs(1_000_000));
        status.committed(2_000_000, true);
        assert_eq!(status.delay(), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_goes_backwards_is_no_delay() {
        const MOMENT: Duration = Duration::from_secs(60);
        let status = TaskStatus::new("t");
        status.committed(now_micros(), true);
        status.began(1_000_000);
        assert!(status.delay() < MOMENT, "it came after everything was applied");
        status.committed(2_000_000, false);
        assert!(status.delay() < MOMENT);
        // A clock ahead of ours does not hide for ever that something waits.
        let status = TaskStatus::new("t");
        status.began(u64::MAX);
        let since = status.waiting_since_micros.load(Ordering::Relaxed);
        assert!(since > 0 && since <= now_micros());
    }

    #[test]
    fn a_tables_copy_goes_on_from_what_was_copied_before() {
        let status = TaskStatus::new("t");
        status.table_found("d", "t", 10, 5, 50);
        status.table_copied("d", "t", 5, 50);
        let shown = &status.snapshot().tables[0];
        assert_eq!((shown.rows_copied, shown.bytes_copied), (10, 100));
    }
}
