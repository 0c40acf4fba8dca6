//! Whether writes go to RocksDB's write-ahead log, or past it.
//!
//! Logged, a write is copied to the write-ahead log, which a sync makes durable within milliseconds, and from memory to a table
//! later. Unlogged, it goes to memory only, and a sync writes that memory to a table: less work per byte, more per sync, so it
//! pays while megabytes are waiting. A crash loses the unlogged writes since the last sync, and the log is then a prefix
//! of what was written, as ever, as long as no logged write follows an unlogged one that is not durable: hence the lock, which
//! writes and syncs share and a return to the write-ahead log has to itself.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};

/// The mode, held while something is written or synced.
#[derive(Debug, Default)]
pub(super) struct ModeLock(RwLock<Mode>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Logged,
    Unlogged,
}

/// While it lives the mode stays as it is.
pub(super) struct Held<'a>(RwLockReadGuard<'a, Mode>);

impl Held<'_> {
    /// Whether writes go past the write-ahead log.
    pub(super) fn is_unlogged(&self) -> bool {
        *self.0 == Mode::Unlogged
    }
}

impl ModeLock {
    /// Waits while the mode is being changed.
    pub(super) fn hold(&self) -> Held<'_> {
        // A panic while changing it leaves the old mode, which is right.
        Held(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing while the mode is being changed.
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        match self.0.try_read() {
            Ok(guard) => Some(Held(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Held(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What comes next goes past the write-ahead log.
    pub(super) fn set_unlogged(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Mode::Unlogged;
    }

    /// What comes next goes to the write-ahead log, once `flush` has made durable what came before; if it fails nothing changes.
    pub(super) fn set_logged<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut mode = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if *mode == Mode::Unlogged {
            flush()?;
        }
        *mode = Mode::Logged;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_between_the_flush_and_the_return_to_the_log() {
        let lock = ModeLock::default();
        assert!(!lock.hold().is_unlogged());
        lock.set_unlogged();
        assert!(lock.hold().is_unlogged());
        assert_eq!(lock.set_logged(|| Err("disk full")), Err("disk full"));
        assert!(
            lock.hold().is_unlogged(),
            "what is in memory only is not on the disk"
        );
        let flushed = lock.set_logged(|| {
            lock.try_hold()
                .is_none()
                .then_some(())
                .ok_or("a write came between")
        });
        assert_eq!(flushed, Ok(()));
        assert!(!lock.hold().is_unlogged());
    }
}
