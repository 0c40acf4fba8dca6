//! What is noted of a session while its bytes flow: which commands are under way since when, and what became of them; for the metrics, and
//! for the [`roster`](crate::roster).
//!
//! It costs one look at the clock at a command's head and one at the end of its reply, and allocates nothing unless a client sends
//! commands ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use outrigger_protocol::command::CommandByte;

use crate::metrics::{Metrics, Origin};
use crate::roster::{Record, State};

/// A session's account.
pub(crate) struct Account {
    metrics: Arc<Metrics>,
    record: Arc<Record>,
    /// What the record says.
    state: State,
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
    /// Of a session that has just authenticated.
    pub(crate) fn new(metrics: Arc<Metrics>, record: Arc<Record>) -> Self {
        let now = Instant::now();
        record.set_state(State::ENTERED);
        record.rests(now);
        Self {
            metrics,
            record,
            state: State::ENTERED,
            head_at: now,
            underway: VecDeque::with_capacity(2),
        }
    }

    #[cfg(test)]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn read_from_client(&self, bytes: usize) {
        self.metrics.read_from_client(bytes);
        self.record.received_from_client(bytes);
    }

    pub(crate) fn read_from_upstream(&self, bytes: usize) {
        self.metrics.read_from_upstream(bytes);
        self.record.received_from_source(bytes);
    }

    /// The head of a command came.
    pub(crate) fn begun(&mut self) {
        self.head_at = Instant::now();
    }

    /// That command was judged; it is `owed` a reply, the source's or ours.
    pub(crate) fn judged(&mut self, kind: Option<CommandByte>, owed: bool) {
        self.metrics.command(kind);
        self.record.sent_command();
        if owed {
            if self.underway.is_empty() {
                self.record.runs(kind, self.head_at);
                self.enter(self.state | State::BUSY);
            }
            self.underway.push_back(Underway {
                kind,
                began: self.head_at,
            });
        }
    }

    /// The reply to the oldest command has ended, with an error if there is a number, and a transaction is open or not.
    pub(crate) fn answered(&mut self, origin: Origin, error: Option<u16>, in_transaction: bool) {
        if let Some(code) = error {
            self.metrics.error(origin, code);
        }
        let Some(command) = self.underway.pop_front() else {
            return;
        };
        let now = Instant::now();
        if let Some(kind) = command.kind {
            self.metrics.took(kind, now.duration_since(command.began));
        }
        match self.underway.front() {
            Some(next) => self.record.runs(next.kind, next.began),
            None => self.record.rests(now),
        }
        let mut state = self.state;
        state.set(State::IN_TRANSACTION, in_transaction);
        state.set(State::BUSY, in_transaction || !self.underway.is_empty());
        self.enter(state);
    }

    /// The source says farewell with this error.
    pub(crate) fn farewell(&self, code: u16) {
        self.metrics.error(Origin::Source, code);
    }

    /// The default database may be another one.
    pub(crate) fn uses(&self, database: Option<&[u8]>) {
        self.record.uses(database);
    }

    /// Nothing more will be known.
    pub(crate) fn lost(&mut self) {
        self.metrics.unfollowed();
        self.enter(self.state | State::UNFOLLOWED);
    }

    fn enter(&mut self, state: State) {
        if state != self.state {
            self.state = state;
            self.record.set_state(state);
        }
    }
}
