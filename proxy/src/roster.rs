//! Who is connected: a record for every connection from accept to farewell, which its session keeps up to date and others read.
//!
//! What changes with every command is in atomics that only the session's task writes: no lock on the way of a command. What changes with
//! a login or a USE is behind a lock of the record's own. The list's lock is taken when a connection begins or ends, and to read it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_protocol::command::CommandByte;
use tokio::sync::Notify;

use crate::hold::Inside;
use crate::ties::Reasons;

/// No command is under way.
const NONE: u8 = u8::MAX;

bitflags::bitflags! {
    /// Where a session is, as others see it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct State: u32 {
        /// It is through with authentication.
        const ENTERED = 1;
        /// A command is under way, or a transaction is open or may be.
        const BUSY = 1 << 1;
        /// A transaction is open.
        const IN_TRANSACTION = 1 << 2;
        /// Its packets can't be followed: nothing more is known.
        const UNFOLLOWED = 1 << 3;
        /// A replica reads the binlog.
        const REPLICATING = 1 << 4;
        /// Its next command waits because transactions are held.
        const HELD = 1 << 5;
        /// It holds locks of tables.
        const LOCKED = 1 << 6;
        /// Since an error nothing has told whether a transaction is open.
        const IN_DOUBT = 1 << 7;
        /// A hold waits until these end.
        const INSIDE = Self::IN_TRANSACTION.bits() | Self::LOCKED.bits();
    }
}

/// All connections.
#[derive(Debug)]
pub struct Roster {
    began: Instant,
    list: Mutex<List>,
    /// Told when a session has left, or what it was inside of while transactions are held.
    pub(crate) left: Notify,
}

#[derive(Debug, Default)]
struct List {
    last: u64,
    records: BTreeMap<u64, Arc<Record>>,
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Record {
    /// When the roster was opened: moments are counted from there.
    began: Instant,
    since: Instant,
    listener: Arc<str>,
    who: Mutex<Who>,
    state: AtomicU32,
    /// What ties the session to its server.
    reasons: AtomicU32,
    command: AtomicU8,
    /// When the command came, or the reply before it ended; in nanoseconds.
    turned: AtomicU64,
    commands: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// What a login or a USE changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    client: String,
    pub(crate) source_id: Option<u32>,
    pub(crate) user: Option<String>,
    pub(crate) database: Option<String>,
    tls: bool,
    /// How its session is compressed.
    compression: Option<&'static str>,
    /// Variables of the session that were set.
    variables: Vec<String>,
}

/// A connection's place in the roster, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    roster: Arc<Roster>,
    number: u64,
    record: Arc<Record>,
}

/// A connection as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The proxy's number for it; never used twice.
    pub number: u64,
    /// The source's number for it, as in its process list; absent before the source has greeted.
    pub source_id: Option<u32>,
    /// The account's name that the client gave; absent before it did.
    pub user: Option<String>,
    /// The default database; absent where there is none or it is not known.
    pub database: Option<String>,
    /// The client's address, or `unix`.
    pub client: String,
    /// The address where the client came in.
    pub listener: String,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// How its session is compressed, by the algorithm's name; absent where it is not.
    pub compression: Option<&'static str>,
    /// How long ago it connected.
    pub connected: Duration,
    /// What it is doing.
    pub activity: Activity,
    /// For how long: since the command came, or since the last reply ended.
    pub lasting: Duration,
    /// Whether a transaction was open at the end of the last reply that told.
    pub in_transaction: bool,
    /// What would be lost if it went on on another server, an open transaction aside; `error` where one may be open since an error.
    pub tied_by: Vec<&'static str>,
    /// Variables of the session that were set, without their values: another server would have to be told.
    pub variables: Vec<String>,
    /// Commands that it sent.
    pub commands: u64,
    /// Bytes that came from the client.
    pub received: u64,
    /// Bytes that came from the source.
    pub sent: u64,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Logging in.
    Authenticating,
    /// Nothing.
    Idle,
    /// A command is under way; `None` for a byte that MySQL has no command for.
    Command(Option<CommandByte>),
    /// Its next command waits because transactions are held.
    Held,
    /// Reading the binlog.
    Replicating,
    /// Something that the proxy can't follow.
    Unfollowed,
}

impl Seen {
    /// Whether it could go on on another server now: at a boundary, and nothing but variables to be carried over.
    pub fn is_movable(&self) -> bool {
        let rests = matches!(self.activity, Activity::Idle | Activity::Held);
        rests && !self.in_transaction && self.tied_by.is_empty()
    }
}

impl Roster {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            list: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// A client connected.
    pub(crate) fn enter(self: &Arc<Self>, client: String, listener: Arc<str>) -> Entry {
        let now = Instant::now();
        let record = Arc::new(Record {
            began: self.began,
            since: now,
            listener,
            who: Mutex::new(Who {
                client,
                ..Who::default()
            }),
            state: AtomicU32::new(0),
            reasons: AtomicU32::new(0),
            command: AtomicU8::new(NONE),
            turned: AtomicU64::new(nanoseconds(now.duration_since(self.began))),
            commands: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let mut list = lock(&self.list);
        list.last += 1;
        let number = list.last;
        list.records.insert(number, Arc::clone(&record));
        Entry {
            roster: Arc::clone(self),
            number,
            record,
        }
    }

    /// How many are connected.
    pub fn count(&self) -> Connected {
        let list = lock(&self.list);
        let open = |record: &&Arc<Record>| record.state().contains(State::IN_TRANSACTION);
        Connected {
            sessions: list.records.len(),
            in_transaction: list.records.values().filter(open).count(),
        }
    }

    /// Whom a hold waits for.
    pub(crate) fn inside(&self) -> Inside {
        let mut inside = Inside::default();
        for record in lock(&self.list).records.values() {
            let state = record.state();
            if state.contains(State::REPLICATING) {
                // It changes nothing.
            } else if state.contains(State::UNFOLLOWED) {
                inside.unfollowed += 1;
            } else if state.intersects(State::INSIDE) {
                inside.in_transaction += 1;
            } else if state.contains(State::BUSY) {
                inside.running += 1;
            }
        }
        inside
    }

    /// Everybody, in the order in which they came.
    pub fn list(&self) -> Vec<Seen> {
        let records: Vec<_> = lock(&self.list)
            .records
            .iter()
            .map(|(number, record)| (*number, Arc::clone(record)))
            .collect();
        let now = Instant::now();
        records
            .into_iter()
            .map(|(number, record)| record.seen(number, now))
            .collect()
    }
}

/// How many are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// All of them.
    pub sessions: usize,
    /// Those with an open transaction.
    pub in_transaction: usize,
}

impl Record {
    fn seen(&self, number: u64, now: Instant) -> Seen {
        let who = lock(&self.who).clone();
        let state = self.state();
        let activity = if !state.contains(State::ENTERED) {
            Activity::Authenticating
        } else if state.contains(State::REPLICATING) {
            Activity::Replicating
        } else if state.contains(State::UNFOLLOWED) {
            Activity::Unfollowed
        } else if state.contains(State::HELD) {
            Activity::Held
        } else {
            match self.command.load(Ordering::Relaxed) {
                NONE => Activity::Idle,
                byte => Activity::Command(CommandByte::from_byte(byte)),
            }
        };
        let turned = self.began + Duration::from_nanos(self.turned.load(Ordering::Relaxed));
        Seen {
            number,
            source_id: who.source_id,
            user: who.user,
            database: who.database,
            client: who.client,
            listener: self.listener.to_string(),
            tls: who.tls,
            compression: who.compression,
            connected: now.saturating_duration_since(self.since),
            activity,
            lasting: now.saturating_duration_since(turned),
            in_transaction: state.contains(State::IN_TRANSACTION),
            tied_by: Reasons::from_bits_retain(self.reasons.load(Ordering::Relaxed))
                .names()
                .chain(state.contains(State::IN_DOUBT).then_some("error"))
                .collect(),
            variables: who.variables,
            commands: self.commands.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    pub(crate) fn seen_now(&self) -> Seen {
        self.seen(0, Instant::now())
    }

    pub(crate) fn identity(&self) -> Who {
        lock(&self.who).clone()
    }

    pub(crate) fn state(&self) -> State {
        State::from_bits_retain(self.state.load(Ordering::SeqCst))
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state.bits(), Ordering::SeqCst);
    }

    /// The source has greeted, with its number for the session.
    pub(crate) fn greeted(&self, source_id: u32) {
        lock(&self.who).source_id = Some(source_id);
    }

    /// The client has responded to the greeting, with this account's name.
    pub(crate) fn responded(&self, user: &[u8], tls: bool, compression: Option<&'static str>) {
        let mut who = lock(&self.who);
        who.user = Some(shown(user));
        who.tls = tls;
        who.compression = compression;
    }

    /// The session goes on as this account.
    pub(crate) fn changed_user(&self, user: &[u8]) {
        lock(&self.who).user = Some(shown(user));
    }

    /// The default database is this one now.
    pub(crate) fn uses(&self, database: Option<&[u8]>) {
        lock(&self.who).database = database.map(|name| String::from_utf8_lossy(name).into_owned());
    }

    /// This ties the session to its server.
    pub(crate) fn tied_by(&self, reasons: Reasons) {
        self.reasons.store(reasons.bits(), Ordering::Relaxed);
    }

    /// These variables of the session were set.
    pub(crate) fn has_set(&self, variables: &BTreeSet<String>) {
        lock(&self.who).variables = variables.iter().cloned().collect();
    }

    /// This command is the one under way, since that moment.
    pub(crate) fn runs(&self, command: Option<CommandByte>, since: Instant) {
        // Whatever the byte was: one that is no command's.
        let byte = command.map_or(NONE - 1, CommandByte::byte);
        self.command.store(byte, Ordering::Relaxed);
        self.turn(since);
    }

    /// No command is under way any more.
    pub(crate) fn rests(&self, since: Instant) {
        self.command.store(NONE, Ordering::Relaxed);
        self.turn(since);
    }

    /// How long no command has been under way and no transaction open, or in doubt; `None` where that is not so, or can't be known.
    pub(crate) fn rested(&self) -> Option<Duration> {
        let turned = self.began + Duration::from_nanos(self.turned.load(Ordering::Relaxed));
        let mut state = self.state();
        if state.contains(State::IN_DOUBT) && self.command.load(Ordering::Relaxed) == NONE {
            state.remove(State::IN_DOUBT | State::IN_TRANSACTION | State::BUSY);
        }
        (state == State::ENTERED).then(|| turned.elapsed())
    }

    fn turn(&self, at: Instant) {
        let at = nanoseconds(at.saturating_duration_since(self.began));
        self.turned.store(at, Ordering::Relaxed);
    }

    pub(crate) fn sent_command(&self) {
        add(&self.commands, 1);
    }

    pub(crate) fn received_from_client(&self, bytes: usize) {
        add(&self.received, bytes);
    }

    pub(crate) fn received_from_source(&self, bytes: usize) {
        add(&self.sent, bytes);
    }
}

/// Only the session's task writes, so nothing is lost between load and store.
fn add(counter: &AtomicU64, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(count),
        Ordering::Relaxed,
    );
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deref for Entry {
    type Target = Arc<Record>;

    fn deref(&self) -> &Arc<Record> {
        &self.record
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.roster.list).records.remove(&self.number);
        self.roster.left.notify_waiters();
    }
}

/// An account's name as it is kept: no source has a longer one.
fn shown(user: &[u8]) -> String {
    const LONGEST: usize = 32 * 4;
    String::from_utf8_lossy(user.get(..LONGEST).unwrap_or(user)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_listed_until_it_leaves() {
        let roster = Roster::new();
        let first = roster.enter("10.0.0.1:5000".to_owned(), Arc::from("127.0.0.1:3307"));
        let second = roster.enter("unix".to_owned(), Arc::from("/run/proxy"));
        assert_eq!(roster.list()[0].activity, Activity::Authenticating);
        first.greeted(42);
        first.responded(b"app", true, Some("zstd"));
        first.uses(Some(b"shop"));
        first.set_state(State::ENTERED | State::IN_TRANSACTION);
        first.received_from_client(3);
        first.received_from_client(4);
        first.runs(Some(CommandByte::Query), Instant::now());
        let seen = roster.list();
        assert_eq!(
            seen.iter().map(|seen| seen.client.as_str()).collect::<Vec<_>>(),
            ["10.0.0.1:5000", "unix"]
        );
        let found = &seen[0];
        assert_eq!(
            (found.source_id, found.user.as_deref(), found.database.as_deref()),
            (Some(42), Some("app"), Some("shop"))
        );
        assert_eq!(found.activity, Activity::Command(Some(CommandByte::Query)));
        assert_eq!(found.compression, Some("zstd"));
        assert!(found.tls && found.in_transaction && found.received == 7);
        first.runs(None, Instant::now());
        assert_eq!(roster.list()[0].activity, Activity::Command(None));
        first.rests(Instant::now());
        assert_eq!(roster.list()[0].activity, Activity::Idle);
        drop(first);
        let left = roster.list();
        assert_eq!((left.len(), left[0].number), (1, 2));
        drop(second);
        assert_eq!(roster.list(), []);
    }
}
