//! Keeping to the quota (invariant C4), and giving back what nobody needs.
//!
//! What counts is what the directory takes on disk, measured every few MiB and after every trim. Trimming marks at once
//! and deletes now and then: each deletion leaves a range mark in RocksDB, so many small ones would cost more than they free.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::{Config, Error, Offset};

/// The directory is measured again after this much was appended.
const MEASURE_EVERY: u64 = 8 << 20;
/// Trimmed records are deleted after this much was appended since the last deletion,
const DELETE_EVERY: u64 = 32 << 20;
/// or after this time,
const DELETE_AFTER: Duration = Duration::from_secs(15);
/// or after this time when half of the quota is used; at once when the quota is used up.
const DELETE_SOON: Duration = Duration::from_secs(1);

/// What a deletion left in memory tables, write-ahead logs and files of level 0 is given back after this time,
const SWEEP_AFTER: Duration = Duration::from_secs(20);
/// unless more than this was appended since: then RocksDB does that work soon by itself.
const CALM: u64 = 64 << 20;

/// How full the log is and what was trimmed.
pub(crate) struct Retention {
    quota: u64,
    /// Appends wait beyond this: a file being flushed or compacted stands on disk twice for a while.
    limit: u64,
    usage: Mutex<Usage>,
    /// Held by the one who deletes.
    deleting: Mutex<Deleted>,
    paused: AtomicBool,
    /// Something is older than it may be, and not applied: appends wait.
    overdue: AtomicBool,
    trimmed: Notify,
}

struct Usage {
    /// What the directory took when last measured.
    measured: u64,
    /// What was appended since.
    since: u64,
    /// What was appended since the last deletion.
    since_deletion: u64,
    /// Readers may not ask for this or anything before.
    trimmed: Offset,
}

struct Deleted {
    through: Offset,
    at: Instant,
    /// When the first deletion was whose remains are still there.
    unswept: Option<Instant>,
}

impl Retention {
    pub(crate) fn new(config: &Config, measured: u64, trimmed: Offset) -> Self {
        let quota = config.quota.0;
        Self {
            quota,
            limit: quota - (quota / 4).min(640 << 20),
            usage: Mutex::new(Usage {
                measured,
                since: 0,
                since_deletion: 0,
                trimmed,
            }),
            deleting: Mutex::new(Deleted {
                through: trimmed,
                at: Instant::now(),
                // A process before may have left some.
                unswept: (trimmed > Offset::ZERO).then(Instant::now),
            }),
            paused: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            trimmed: Notify::new(),
        }
    }

    /// Everything up to here was trimmed.
    pub(crate) fn trimmed(&self) -> Offset {
        self.lock().trimmed
    }

    /// Bytes on disk, as far as known.
    pub(crate) fn bytes(&self) -> u64 {
        let usage = self.lock();
        usage.measured + usage.since
    }

    /// What the log may take.
    pub(crate) fn quota(&self) -> u64 {
        self.quota
    }

    /// Whether an append waits for room.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Whether something is older than it may be.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    pub(crate) fn set_overdue(&self, overdue: bool) {
        if self.overdue.swap(overdue, Ordering::Relaxed) != overdue {
            self.trimmed.notify_one();
        }
    }

    /// Whether `bytes` more may be appended.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        !self.is_overdue() && self.has_room(bytes)
    }

    /// Whether the quota has room for `bytes` more.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.bytes().saturating_add(bytes) <= self.limit
    }

    /// Waits for the next trim, or for `patience`: space also comes back when RocksDB finishes work of its own.
    pub(crate) async fn wait_for_trim(&self, patience: Duration) {
        // Cancelled by the deadline: nothing is lost, the caller measures again.
        drop(tokio::time::timeout(patience, self.trimmed.notified()).await);
    }

    /// `bytes` were appended.
    pub(crate) fn appended(&self, bytes: u64, engine: &Engine, metrics: &Metrics) -> Result<(), Error> {
        let due = {
            let mut usage = self.lock();
            usage.since += bytes;
            usage.since_deletion += bytes;
            usage.since >= MEASURE_EVERY.min(self.quota / 64)
        };
        if due {
            self.measure(engine, metrics)
        } else {
            Ok(())
        }
    }

    /// Asks the file system what the directory takes.
    pub(crate) fn measure(&self, engine: &Engine, metrics: &Metrics) -> Result<(), Error> {
        let measured = engine.disk_bytes()?;
        let mut usage = self.lock();
        usage.measured = measured;
        usage.since = 0;
        metrics.measured(measured);
        Ok(())
    }

    /// Forgets what lies up to `through`; deletes it if that is worth it now.
    pub(crate) fn trim(&self, through: Offset, engine: &Engine, metrics: &Metrics) -> Result<(), Error> {
        let mut deleted = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let (target, since, used) = {
            let mut usage = self.lock();
            usage.trimmed = usage.trimmed.max(through);
            (usage.trimmed, usage.since_deletion, usage.measured + usage.since)
        };
        let (age, paused) = (deleted.at.elapsed(), self.is_paused());
        let due = paused
            || since >= DELETE_EVERY
            || age >= DELETE_AFTER
            || (used > self.quota / 2 && age >= DELETE_SOON);
        if target > deleted.through && due {
            engine.trim(deleted.through, target)?;
            deleted.through = target;
            deleted.at = Instant::now();
            deleted.unswept = deleted.unswept.or(Some(deleted.at));
            self.lock().since_deletion = 0;
            if paused || used > self.limit / 4 * 3 {
                engine.reclaim(target)?;
                deleted.unswept = None;
            }
        } else if deleted
            .unswept
            .is_some_and(|since| since.elapsed() >= SWEEP_AFTER)
        {
            if since <= CALM {
                engine.reclaim(deleted.through)?;
            } else {
                engine.delete_files(deleted.through)?;
            }
            deleted.unswept = None;
        } else {
            return Ok(());
        }
        self.measure(engine, metrics)?;
        tracing::debug!(through = %target, bytes = self.bytes(), "log trimmed");
        self.trimmed.notify_one();
        Ok(())
    }

    /// Gives back everything that was trimmed, at any price: an append waits for it.
    pub(crate) fn reclaim(&self, engine: &Engine, metrics: &Metrics) -> Result<(), Error> {
        let mut deleted = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.trimmed();
        if target > deleted.through {
            engine.trim(deleted.through, target)?;
        }
        engine.reclaim(target)?;
        *deleted = Deleted {
            through: target,
            at: Instant::now(),
            unswept: None,
        };
        self.lock().since_deletion = 0;
        self.measure(engine, metrics)?;
        self.trimmed.notify_one();
        Ok(())
    }

    /// Says that an append waits, until the guard is dropped.
    pub(crate) fn pause(&self, metrics: &Metrics) -> Pause<'_> {
        self.paused.store(true, Ordering::Relaxed);
        metrics.paused(true);
        if self.is_overdue() {
            tracing::warn!(
                "log: transactions older than max_age are not applied yet, capture pauses until targets have applied them"
            );
        } else {
            tracing::warn!(quota = %bytesize::ByteSize(self.quota), "log: the quota is used up, capture pauses until something can be trimmed");
        }
        Pause {
            retention: self,
            metrics: metrics.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        // A panic elsewhere leaves the counters whole: each update is one statement.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, the log counts as paused.
pub(crate) struct Pause<'a> {
    retention: &'a Retention,
    metrics: Metrics,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.retention.paused.store(false, Ordering::Relaxed);
        self.metrics.paused(false);
        tracing::info!("log: there is room again, or nobody waits for it any more");
    }
}
