//! What is noted of a session while its bytes flow: which commands are under way since when, and what became of them.
//!
//! It costs one look at the clock at a command's head and one at the end of its reply, and allocates nothing unless a client sends
//! commands ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use outrigger_protocol::command::CommandByte;

use crate::metrics::{Metrics, Origin};

/// A session's account.
pub(crate) struct Account {
    metrics: Arc<Metrics>,
    /// When the head of the client's last command came.
    head_at: Instant,
    /// Commands that are owed a reply, in their order.
    underway: VecDeque<Underway>,
}

/// A command that is owed a reply.
#[derive(Debug, Clone, Copy)]
struct Underway {
    kind: Option<CommandByte>,
    began: Instant,
}

impl Account {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            head_at: Instant::now(),
            underway: VecDeque::with_capacity(2),
        }
    }

    /// The head of a command came.
    pub(crate) fn begun(&mut self) {
        self.head_at = Instant::now();
    }

    /// That command was judged; it is `owed` a reply, the source's or ours.
    pub(crate) fn judged(&mut self, kind: Option<CommandByte>, owed: bool) {
        self.metrics.command(kind);
        if owed {
            self.underway.push_back(Underway {
                kind,
                began: self.head_at,
            });
        }
    }

    /// The reply to the oldest command has ended, with an error if there is a number.
    pub(crate) fn answered(&mut self, origin: Origin, error: Option<u16>) {
        if let Some(code) = error {
            self.metrics.error(origin, code);
        }
        let Some(command) = self.underway.pop_front() else {
            return;
        };
        if let Some(kind) = command.kind {
            self.metrics.took(kind, command.began.elapsed());
        }
    }

    /// The source says farewell with this error.
    pub(crate) fn farewell(&self, code: u16) {
        self.metrics.error(Origin::Source, code);
    }
}
