//! What is noted of a session while its bytes flow: which commands are under way since when, and what became of them; for the metrics, for
//! the [`roster`](crate::roster), for the [slow log](crate::slow) and for a [hold](crate::hold).
//!
//! It costs one look at the clock at a command's head and one at the end of its reply, and allocates nothing unless a client sends
//! commands ahead.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_protocol::command::CommandByte;
use tracing::warn;

use crate::guard::{Command, Session};
use crate::hold::Gate;
use crate::metrics::{Metrics, Origin};
use crate::roster::{Record, State};
use crate::slow::{Allowance, Text};
use crate::ties::read::{self, Read};
use crate::ties::tracked::Tracked;
use crate::ties::{Effect, Reasons, Ties};

/// Digests of prepared statements that a session keeps for the slow log; the source allows 16,382 of them to all sessions by default.
const DIGESTS: usize = 1024;

/// What all sessions' accounts share.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) metrics: Arc<Metrics>,
    /// Statements that take this long are logged.
    pub(crate) slow: Option<Duration>,
    pub(crate) allowance: Arc<Allowance>,
    /// Where commands may have to wait.
    pub(crate) gate: Arc<Gate>,
}

/// A session's account.
pub(crate) struct Account {
    books: Books,
    record: Arc<Record>,
    /// What the record says.
    state: State,
    /// When the head of the client's last command came.
    head_at: Instant,
    /// Commands that are owed a reply, in their order.
    underway: VecDeque<Underway>,
    /// Of the reply that is coming.
    rows: u64,
    bytes: u64,
    /// A text that is not in use; its memory is.
    spare: Text,
    /// What was prepared, by the source's number for it; the source bounds how much.
    prepared: HashMap<u32, Prepared>,
    /// Of those, the digests that are kept.
    digests: usize,
    ties: Ties,
    /// Commands under way after which the client's text may be in another character set.
    unsettled: usize,
    /// Those after which the session may be in another mode.
    unsettled_mode: usize,
    /// What the record says of them.
    reasons: Reasons,
    /// How many variables the record has.
    shown: usize,
}

/// A prepared statement.
#[derive(Debug, Default)]
struct Prepared {
    digest: Option<Box<str>>,
    /// What it does to the session when it is executed.
    does: Read,
}

/// A command that is owed a reply.
#[derive(Debug)]
struct Underway {
    kind: Option<CommandByte>,
    began: Instant,
    subject: Subject,
    does: Read,
    /// The client's text may be in another character set afterwards.
    unsettles: bool,
    /// The session may be in another mode afterwards.
    unsettles_mode: bool,
}

/// What the source says of the session's state at the end of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changes {
    /// That it is as it was; or it was not asked for.
    Nothing,
    /// This.
    Told(Tracked),
    /// Something that was not understood.
    Untold,
}

/// What a command is about, as the slow log tells.
#[derive(Debug)]
enum Subject {
    /// Nothing, or there is no slow log.
    None,
    /// A statement, or several.
    Text(Text),
    /// A prepared statement of this number.
    Prepared(u32),
}

/// Whether a transaction is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// As of the last reply that told.
    pub(crate) in_transaction: bool,
    /// An error came since.
    pub(crate) in_doubt: bool,
}

/// How a reply ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) origin: Origin,
    /// The error's number, if it is one.
    pub(crate) error: Option<u16>,
    /// Whether a transaction is open.
    pub(crate) standing: Standing,
    /// The number of the statement that was prepared.
    pub(crate) prepared: Option<u32>,
    pub(crate) changes: Changes,
}

impl Account {
    /// Of a session that has just authenticated.
    pub(crate) fn new(books: Books, record: Arc<Record>) -> Self {
        let now = Instant::now();
        record.set_state(State::ENTERED);
        record.rests(now);
        Self {
            books,
            record,
            state: State::ENTERED,
            head_at: now,
            underway: VecDeque::with_capacity(2),
            rows: 0,
            bytes: 0,
            spare: Text::default(),
            prepared: HashMap::new(),
            digests: 0,
            ties: Ties::default(),
            unsettled: 0,
            unsettled_mode: 0,
            reasons: Reasons::empty(),
            shown: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.books.metrics
    }

    pub(crate) fn read_from_client(&self, bytes: usize) {
        self.books.metrics.read_from_client(bytes);
        self.record.received_from_client(bytes);
    }

    pub(crate) fn read_from_upstream(&self, bytes: usize) {
        self.books.metrics.read_from_upstream(bytes);
        self.record.received_from_source(bytes);
    }

    /// The session begins with text in this character set.
    pub(crate) fn speaks(&mut self, charset: &'static str) {
        self.ties.speaks(charset);
    }

    /// The character set of the client's next command; empty where it is not known, or hangs on a reply that is still to come.
    pub(crate) fn charset(&self) -> &'static str {
        match self.unsettled {
            0 => self.ties.charset(),
            _ => "",
        }
    }

    /// True where the last reply tells in which mode the client's next command is read; no other one to come does.
    pub(crate) fn knows_mode(&self) -> bool {
        self.unsettled_mode == 0
    }

    /// The head of a command came.
    pub(crate) fn begun(&mut self) {
        self.head_at = Instant::now();
    }

    /// That command goes to the source, which owes a reply or not.
    pub(crate) fn passed(&mut self, command: &Command<'_>, session: &Session, owed: bool) {
        let does = self.does(command, session);
        let subject = match self.books.slow {
            Some(_) => self.subject(command, session, &does),
            None => Subject::None,
        };
        if command.kind == Some(CommandByte::StmtClose)
            && let Some(closed) = command
                .statement()
                .and_then(|number| self.prepared.remove(&number))
        {
            self.digests -= usize::from(closed.digest.is_some());
            self.show_ties();
        }
        self.judged(command.kind, (subject, does), owed);
    }

    /// That command does not go to the source; the client is owed an error.
    pub(crate) fn refused(&mut self, kind: Option<CommandByte>) {
        self.judged(kind, (Subject::None, Read::default()), true);
    }

    fn judged(&mut self, kind: Option<CommandByte>, (subject, does): (Subject, Read), owed: bool) {
        self.books.metrics.command(kind);
        self.record.sent_command();
        if owed {
            if self.underway.is_empty() {
                self.record.runs(kind, self.head_at);
            }
            let anew = kind == Some(CommandByte::ResetConnection);
            let unsettles = anew || does.may_change_charset();
            let unsettles_mode = anew || does.may_change_mode();
            self.unsettled += usize::from(unsettles);
            self.unsettled_mode += usize::from(unsettles_mode);
            self.underway.push_back(Underway {
                kind,
                began: self.head_at,
                subject,
                does,
                unsettles,
                unsettles_mode,
            });
        } else {
            if self.underway.is_empty() {
                self.record.rests(self.head_at);
            }
            self.rest();
        }
    }

    /// What the slow log would say of a command.
    fn subject(&mut self, command: &Command<'_>, session: &Session, does: &Read) -> Subject {
        match command.kind {
            Some(CommandByte::Query | CommandByte::StmtPrepare) => {
                let text = command.text().unwrap_or_default();
                let mut kept = std::mem::take(&mut self.spare);
                let more = command.payload.len() < command.size;
                // Some of several statements may be in one character set or mode, some in another.
                let charset = match does.may_change_charset() && !does.alone {
                    true => "",
                    false => session.charset(),
                };
                let mode = command.sql_mode.filter(|_| does.alone || !does.may_change_mode());
                kept.keep(text, more, mode, charset);
                Subject::Text(kept)
            }
            Some(CommandByte::StmtExecute | CommandByte::StmtFetch) => {
                command.statement().map_or(Subject::None, Subject::Prepared)
            }
            _ => Subject::None,
        }
    }

    /// What a command does to the session's state, or prepares to do.
    fn does(&self, command: &Command<'_>, session: &Session) -> Read {
        match command.kind {
            Some(CommandByte::Query | CommandByte::StmtPrepare) => {
                let text = command.text().unwrap_or_default();
                // A command whose reply is still to come may lock some.
                let locked = self.ties.has_locked_tables() || !self.underway.is_empty();
                if !read::is_of_interest(text, locked) {
                    return Read::default();
                }
                read::text(
                    text,
                    command.sql_mode,
                    session.charset(),
                    session.default_database(),
                )
            }
            Some(CommandByte::StmtExecute) => {
                let prepared = command.statement().and_then(|number| self.prepared.get(&number));
                prepared.map(|prepared| prepared.does.clone()).unwrap_or_default()
            }
            Some(CommandByte::ChangeUser) => Read {
                effects: vec![Effect::Charset(session.charset())],
                alone: true,
            },
            // Whether several statements may stand in a text.
            Some(CommandByte::SetOption) => Read {
                effects: vec![Effect::Sets("multi_statements".to_owned())],
                alone: true,
            },
            _ => Read::default(),
        }
    }

    /// So many bytes of the reply that is coming went by.
    pub(crate) fn relayed(&mut self, bytes: usize) {
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// One row of it did.
    pub(crate) fn row(&mut self) {
        self.rows += 1;
    }

    /// The reply to the oldest command has ended.
    pub(crate) fn answered(&mut self, end: &End) {
        if let Some(code) = end.error {
            self.books.metrics.error(end.origin, code);
        }
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let Some(command) = self.underway.pop_front() else {
            return;
        };
        self.unsettled -= usize::from(command.unsettles);
        self.unsettled_mode -= usize::from(command.unsettles_mode);
        let now = Instant::now();
        let took = now.duration_since(command.began);
        if let Some(kind) = command.kind {
            self.books.metrics.took(kind, took);
        }
        if self.books.slow.is_some_and(|slow| took >= slow) {
            self.log(&command, took, (rows, bytes), end.error);
        }
        self.follow(command, end);
        match self.underway.front() {
            Some(next) => self.record.runs(next.kind, next.began),
            None => self.record.rests(now),
        }
        self.stands(end.standing);
    }

    /// The source has answered what the proxy asked by itself.
    pub(crate) fn told(&mut self, standing: Standing, changes: &Changes) {
        let changed = self.take_in(changes, &Read::default(), None);
        if changed | (standing.in_transaction && self.ties.in_transaction()) {
            self.show_ties();
        }
        self.stands(standing);
    }

    fn stands(&mut self, standing: Standing) {
        let mut state = self.state;
        state.set(State::IN_TRANSACTION, standing.in_transaction);
        state.set(State::IN_DOUBT, standing.in_doubt);
        state.set(State::LOCKED, self.ties.has_locked_tables());
        self.settle(state);
    }

    /// Follows what a command has done to the session's state.
    fn follow(&mut self, command: Underway, end: &End) {
        let Underway {
            kind, subject, does, ..
        } = command;
        let failed = end.error.is_some();
        let mut changed = true;
        match (kind, end.prepared) {
            (Some(CommandByte::StmtPrepare), Some(number)) => {
                let digest = match &subject {
                    Subject::Text(text) if self.digests < DIGESTS => Some(text.digest().into_boxed_str()),
                    _ => None,
                };
                self.digests += usize::from(digest.is_some());
                self.prepared.insert(number, Prepared { digest, does });
            }
            (Some(CommandByte::StmtPrepare), None) => {}
            (Some(CommandByte::ResetConnection | CommandByte::ChangeUser), _) if !failed => {
                self.prepared.clear();
                (self.digests, self.ties) = (0, Ties::default());
                self.ties.apply(&does.effects, None, true);
            }
            _ => {
                changed = self.take_in(&end.changes, &does, end.error);
            }
        }
        changed |= end.standing.in_transaction && self.ties.in_transaction();
        if let Subject::Text(text) = subject {
            self.spare = text;
        }
        if changed {
            self.show_ties();
        }
    }

    /// Takes in what a command does to the session's state, and what the source says of that; true if either is anything.
    fn take_in(&mut self, changes: &Changes, does: &Read, error: Option<u16>) -> bool {
        let told = self.heed(changes, does);
        self.ties.apply(&does.effects, error, does.alone);
        if let Changes::Told(Tracked {
            charset: Some(charset),
            ..
        }) = changes
        {
            self.ties.speaks(charset);
        }
        told || !does.effects.is_empty()
    }

    /// Takes in what the source says of the session's state; true if that is anything.
    fn heed(&mut self, changes: &Changes, does: &Read) -> bool {
        let unseen = Effect::Ties(Reasons::UNSEEN);
        match changes {
            Changes::Nothing => return false,
            Changes::Told(tracked) => {
                let variables: Vec<_> = tracked.variables.iter().cloned().map(Effect::Sets).collect();
                let explained = tracked.schema || !variables.is_empty() || !does.effects.is_empty();
                self.ties.apply(&variables, None, true);
                if tracked.state && !explained {
                    self.ties.apply(&[unseen], None, true);
                }
            }
            Changes::Untold => self.ties.apply(&[unseen], None, true),
        }
        true
    }

    /// Has others know what ties the session.
    fn show_ties(&mut self) {
        let mut reasons = self.ties.reasons();
        reasons.set(
            Reasons::PREPARED,
            reasons.contains(Reasons::PREPARED) || !self.prepared.is_empty(),
        );
        if reasons != self.reasons {
            self.reasons = reasons;
            self.record.tied_by(reasons);
        }
        let variables = self.ties.variables();
        if variables.len() != self.shown {
            self.shown = variables.len();
            self.record.has_set(variables);
        }
    }

    /// Writes a line of the slow log.
    fn log(&self, command: &Underway, took: Duration, (rows, bytes): (u64, u64), error: Option<u16>) {
        let digest;
        let statement = match &command.subject {
            Subject::None => return,
            Subject::Text(text) => {
                digest = text.digest();
                digest.as_str()
            }
            Subject::Prepared(number) => {
                let prepared = self.prepared.get(number);
                let digest = prepared.and_then(|prepared| prepared.digest.as_deref());
                digest.unwrap_or("a prepared statement that is not known")
            }
        };
        self.books.metrics.slow();
        let Some(left_out) = self.books.allowance.take(Instant::now()) else {
            return;
        };
        let identity = self.record.identity();
        warn!(
            source_id = identity.source_id,
            user = identity.user,
            database = identity.database,
            command = command.kind.map(CommandByte::name),
            seconds = took.as_secs_f64(),
            rows,
            bytes,
            error,
            left_out = (left_out > 0).then_some(left_out),
            %statement,
            "a slow statement"
        );
    }

    /// The source says farewell with this error.
    pub(crate) fn farewell(&self, code: u16) {
        self.books.metrics.error(Origin::Source, code);
    }

    /// The default database may be another one.
    pub(crate) fn uses(&self, database: Option<&[u8]>) {
        self.record.uses(database);
    }

    /// Nothing more will be known, but whether it is a replica.
    pub(crate) fn lost(&mut self, replicating: bool) {
        self.books.metrics.unfollowed();
        self.enter(match replicating {
            true => self.state | State::REPLICATING,
            false => self.state | State::UNFOLLOWED,
        });
        self.books.gate.left();
    }

    /// Says that a command is about to begin, and whether it may; else the command must be asked for again.
    pub(crate) fn may_begin(&mut self) -> bool {
        // Nothing has changed: nobody is to see it begin and wait again.
        if self.is_held() && self.books.gate.is_closed() {
            return false;
        }
        // This first, as the gate asks for.
        self.enter((self.state | State::BUSY).difference(State::HELD));
        if !self.books.gate.is_closed() {
            return true;
        }
        if !self.underway.is_empty() {
            // It goes on, or waits, once it is known what the command before it has left behind.
            return false;
        }
        if self.state.contains(State::IN_DOUBT) {
            // The source is asked first.
            return false;
        }
        if self.state.intersects(State::INSIDE) {
            return true;
        }
        self.rest();
        self.enter(self.state | State::HELD);
        false
    }

    /// True while the next command waits because transactions are held.
    pub(crate) fn is_held(&self) -> bool {
        self.state.contains(State::HELD)
    }

    /// The session may be at rest, and others must know.
    pub(crate) fn rest(&mut self) {
        self.settle(self.state);
    }

    fn settle(&mut self, mut state: State) {
        let busy = state.intersects(State::INSIDE | State::IN_DOUBT);
        state.set(State::BUSY, busy);
        self.enter(state);
        if !busy {
            self.books.gate.left();
        }
    }

    /// True while there is a hold: whether a transaction is open has to be known.
    pub(crate) fn must_know(&self) -> bool {
        self.books.gate.is_closed()
    }

    fn enter(&mut self, state: State) {
        if state != self.state {
            self.state = state;
            self.record.set_state(state);
        }
    }
}
