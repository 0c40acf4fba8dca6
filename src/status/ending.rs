//! How a part of the sidecar ended, once it has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared between who joins a part and who shows it. Empty while the part runs, then the error's sentence, or `None` when it
/// was asked to end.
#[derive(Debug, Clone, Default)]
pub struct Ending(Arc<Mutex<Option<Option<String>>>>);

impl Ending {
    /// How it ended; `None` while it runs.
    pub fn get(&self) -> Option<Option<String>> {
        self.lock().clone()
    }

    /// It ended.
    pub fn set(&self, why: Option<String>) {
        *self.lock() = Some(why);
    }

    /// It begins again.
    pub fn reset(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
