//! The planning half: log records become statements, source transactions become groups.
//!
//! A group is closed when the apply loop is free and the log has nothing more to add at this moment, or when it is full. A
//! transaction that alone is larger than a group goes out in parts, all within one target transaction.

mod ahead;
mod definition;
mod handover;
mod transaction;
mod xa;
mod zone;

use std::time::Duration;

use outrigger_protocol::position::SourcePosition;
use outrigger_storage::{Log, Offset, Reader, Record};
use tokio::time::Instant;

use self::ahead::Ahead;
pub(super) use self::handover::Handover;
use self::transaction::Transaction;
use super::apply::Step;
use super::conflict::Footprint;
use super::lane::{Batch, Careful, Commit, Done};
use super::tables::Tables;
use crate::checkpoint::{Checkpoint, Metadata, Notes, PreparedXa, trim_through};
use crate::error::{Error, Place};
use crate::schema::zone::Zones;
use crate::snapshot::{Context, CopyOutcome};
use crate::statement::{Single, Singles, Statements};
use crate::target::Target;

/// How long transactions that change nothing here wait for company before the checkpoint moves over them.
const IDLE_CHECKPOINT: Duration = Duration::from_millis(200);

/// With each such step in the round trip to the target groups may be larger by their limit once more,
const WIDER_EVERY: Duration = Duration::from_millis(4);
/// up to this many times: one that follows another by what they have in common waits for a round trip, and should be worth it.
const MAX_BREADTH: usize = 32;
/// Bytes are memory: they grow no more than so many times.
const MAX_BREADTH_BYTES: usize = 8;

/// The planner: owns the reader and everything that is known of the log so far.
pub(super) struct Planner {
    context: Context,
    metadata: Metadata,
    /// For definitions and definition statements; rows go over the apply loop's own connection.
    target: Target,
    reader: Reader,
    log: Log,
    tables: Tables,
    copied: CopyOutcome,
    handover: Handover,
    /// The place after the last planned transaction.
    position: SourcePosition,
    prepared: Vec<PreparedXa>,
    /// A definition statement that may or may not have been run before a crash.
    pending: Option<String>,
    /// The source takes `T` and `t` for one table.
    folds_names: bool,
    group: Group,
    current: Option<Transaction>,
    /// What the target has and the log had lost.
    ahead: Option<Ahead>,
    /// What the target has beyond its checkpoint.
    notes: Notes,
    /// The source's time zones, once they mattered.
    zones: Option<Zones>,
    /// How the target is told the time zone of the source's machine, once that mattered.
    system_zone: Option<String>,
    /// The last planned transaction.
    planned: Offset,
    /// Planning ends with this transaction; `None`: never.
    through: Option<Offset>,
}

/// Why planning ends.
#[derive(Debug)]
enum Halt {
    /// It can't go on.
    Failed(Box<Error>),
    /// Nobody applies any more; whoever ended that says why.
    ApplyEnded,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<outrigger_storage::Error> for Halt {
    fn from(error: outrigger_storage::Error) -> Self {
        Error::from(error).into()
    }
}

/// The target transaction that is being planned.
struct Group {
    statements: Statements,
    /// Its changes are executed one by one.
    careful: bool,
    singles: Singles,
    /// What the statements touch that were not handed over yet.
    footprint: Footprint,
    /// True once a batch of it was handed over.
    opened: bool,
    /// Whole source transactions in it.
    transactions: u64,
    began: Instant,
    place: Place,
    /// What stands before it in the log, and the last transaction in it.
    after: Offset,
    last: Offset,
    commit_micros: u64,
    /// True when there is something in it that must not wait for company.
    urgent: bool,
    xa_changed: bool,
}

impl Group {
    fn new() -> Self {
        Self {
            statements: Statements::begin(),
            careful: false,
            singles: Singles::default(),
            footprint: Footprint::default(),
            opened: false,
            transactions: 0,
            began: Instant::now(),
            place: Place::default(),
            after: Offset::ZERO,
            last: Offset::ZERO,
            commit_micros: 0,
            urgent: false,
            xa_changed: false,
        }
    }

    /// True when there is something to send that changes rows.
    fn has_rows(&self) -> bool {
        self.statements.has_rows() || !self.singles.is_empty()
    }

    /// Rows to send so far.
    fn rows(&self) -> u64 {
        self.statements.counts().total() + self.singles.counts().total()
    }

    /// Bytes to send so far.
    fn len(&self) -> usize {
        self.statements.len() + self.singles.len()
    }
}

impl Planner {
    pub(super) async fn new(
        context: Context,
        metadata: Metadata,
        target: Target,
        from: Checkpoint,
        copied: CopyOutcome,
        through: Option<Offset>,
        handover: Handover,
    ) -> Result<Self, Error> {
        let log = context.log.clone();
        let (after, ahead) = Ahead::of(&from, &log).await?;
        Ok(Self {
            reader: log.early_reader(after)?,
            ahead: Some(ahead),
            notes: from.notes,
            zones: None,
            system_zone: None,
            context,
            metadata,
            target,
            log,
            tables: Tables::default(),
            copied,
            handover,
            position: from.position,
            prepared: from.xa_prepared,
            pending: from.ddl_pending,
            folds_names: from.folds_names,
            group: Group::new(),
            current: None,
            planned: after,
            through,
        })
    }

    /// Plans until its last transaction is handed over, something fails, or the apply loop has ended.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        match self.plan().await {
            Err(Halt::Failed(error)) => Err(*error),
            Ok(()) | Err(Halt::ApplyEnded) => Ok(()),
        }
    }

    async fn plan(&mut self) -> Result<(), Halt> {
        while self.through.is_none_or(|through| self.planned < through) {
            let record = self.next().await?;
            self.record(record).await?;
        }
        self.close().await
    }

    /// The next record. While a group waits to be closed it is closed here, as soon as it should be.
    async fn next(&mut self) -> Result<Record, Halt> {
        loop {
            if let Some(record) = self.reader.try_next()? {
                return Ok(record);
            }
            if self.current.is_some() || self.group.transactions == 0 {
                return Ok(self.reader.next().await?);
            }
            let wait = match (self.group.urgent, !self.group.has_rows() && !self.group.opened) {
                (true, _) => Duration::ZERO,
                (false, true) => IDLE_CHECKPOINT.max(self.context.config.group.max_delay),
                (false, false) => self.context.config.group.max_delay,
            };
            let due = self.group.began + wait;
            let asked = async {
                // Even a time that is over takes a timer a millisecond.
                if wait > Duration::ZERO {
                    tokio::time::sleep_until(due).await;
                }
                self.handover.asked().await
            };
            // Both may be cancelled: `asked` keeps what it got, a record that was not taken stays in the log.
            tokio::select! {
                free = asked => {
                    free?;
                    self.close().await?;
                }
                record = self.reader.next() => return Ok(record?),
            }
        }
    }

    /// Plans a record.
    async fn record(&mut self, record: Record) -> Result<(), Halt> {
        if let Some(ahead) = &mut self.ahead {
            match ahead.judge(&record, &self.log).await? {
                ahead::Verdict::Applied => {
                    self.planned = record.offset;
                    return Ok(());
                }
                ahead::Verdict::New => self.ahead = None,
            }
        }
        if let Some(begin) = &record.begin {
            let careful = record.offset <= self.context.careful_through;
            if careful != self.group.careful {
                self.close().await?;
                self.group.careful = careful;
            }
            self.context.status.began(begin.commit_micros);
            self.tables.begin();
            let transaction = Transaction::new(record.offset, begin.clone());
            if self.group.transactions == 0 {
                self.group.began = Instant::now();
                self.group.place = transaction.place.clone();
                self.group.after = self.planned;
            }
            self.current = Some(transaction);
        }
        // What is noted was committed with its rows.
        if !self.notes.contains(record.offset) {
            self.events(&record).await?;
        }
        if let Some(end) = record.end {
            self.end(record.offset, end).await?;
            self.planned = record.offset;
            let most = self
                .context
                .config
                .group
                .max_transactions
                .saturating_mul(self.breadth());
            let full = self.group.opened
                || self.group.urgent
                || usize::try_from(self.group.transactions).unwrap_or(usize::MAX) >= most
                || self.group.len() >= self.max_bytes()
                || self.group.rows() >= self.max_rows();
            if full {
                return self.close().await;
            }
        }
        // Decoding a backlog must not keep this thread from everybody else.
        tokio::task::consume_budget().await;
        Ok(())
    }

    /// How many times larger than on a near target a group may be: commits follow each other at the distance of a round trip.
    fn breadth(&self) -> usize {
        let steps = self.target.round_trip().as_millis() / WIDER_EVERY.as_millis();
        usize::try_from(steps).unwrap_or(usize::MAX).clamp(1, MAX_BREADTH)
    }

    /// Bytes after which a batch is sent.
    fn max_bytes(&self) -> usize {
        let group = usize::try_from(self.context.config.group.max_bytes.0).unwrap_or(usize::MAX);
        // No more than what may be sent in a second, so that the pauses after it are short.
        let pace = match self.context.config.limits.bytes_per_second.0 {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        let group = group
            .saturating_mul(self.breadth().min(MAX_BREADTH_BYTES))
            .min(pace);
        // Room for the frame around the rows.
        group.min(self.target.capabilities().max_allowed_packet / 2)
    }

    /// Rows after which a group is closed: those of a second, where there is a limit.
    fn max_rows(&self) -> u64 {
        match self.context.config.limits.rows_per_second {
            0 => u64::MAX,
            rows => rows,
        }
    }

    /// Closes the group: checkpoint and commit.
    async fn close(&mut self) -> Result<(), Halt> {
        if self.group.transactions == 0 {
            return Ok(());
        }
        self.send(true).await?;
        self.group = Group {
            careful: self.group.careful,
            ..Group::new()
        };
        Ok(())
    }

    /// Hands over what is planned of a group that goes on.
    async fn spill(&mut self) -> Result<(), Halt> {
        self.send(false).await?;
        self.group.opened = true;
        Ok(())
    }

    async fn send(&mut self, closes: bool) -> Result<(), Halt> {
        let (sql, expects, mut counts) =
            std::mem::replace(&mut self.group.statements, Statements::new()).finish();
        let singles = std::mem::take(&mut self.group.singles);
        counts.add(singles.counts());
        let limit = self.target.capabilities().max_allowed_packet;
        let longest = singles
            .list
            .iter()
            .map(Single::longest)
            .fold(sql.len(), usize::max);
        if longest >= limit {
            let what = format!(
                "a statement of {longest} bytes is longer than the target's max_allowed_packet, {limit}: SET PERSIST \
                 max_allowed_packet = {} on the target",
                (longest + longest / 4).next_power_of_two().min(1 << 30)
            );
            return Err(Error::Transaction {
                place: self.group.place.clone(),
                what,
            }
            .into());
        }
        let last = expects.last().filter(|_| singles.list.is_empty());
        let commit = closes.then(|| self.commit(last.and_then(|expect| expect.rows)));
        let bytes = sql.len() + singles.len();
        let throttle = &self.context.throttle;
        throttle
            .wait(counts.total(), u64::try_from(bytes).unwrap_or(u64::MAX))
            .await;
        let (opens, place) = (!self.group.opened, self.group.place.clone());
        self.handover
            .send(Step::Batch(Box::new(Batch {
                sql,
                expects,
                careful: Careful {
                    singles: singles.list,
                    policy: self.context.config.on_divergence,
                },
                through: self
                    .current
                    .as_ref()
                    .map_or(self.group.last, |t| Offset(t.place.offset)),
                counts,
                footprint: std::mem::take(&mut self.group.footprint),
                opens,
                place,
                commit,
            })))
            .await
    }

    /// What the group's commit makes durable; its last statement must have affected `rows`.
    fn commit(&self, rows: Option<u64>) -> Commit {
        let offset = self.group.last;
        Commit {
            after: self.group.after,
            rows,
            xa: self.group.xa_changed.then(|| self.prepared.clone()),
            definition: self.group.urgent,
            may_be_noted: self.may_be_noted(),
            done: Done {
                offset,
                position: self.position.clone(),
                trim_through: trim_through(offset, &self.prepared),
                // What is kept by its offset must not get another one.
                durable: (self.group.xa_changed || self.group.urgent).then_some(offset),
                commit_micros: self.group.commit_micros,
                transactions: self.group.transactions,
            },
        }
    }

    /// Whether the group may be committed before an older one. Of one that changes more than rows, or holds what is noted already, the
    /// checkpoint speaks.
    fn may_be_noted(&self) -> bool {
        !self.group.xa_changed && !self.group.urgent && self.group.after >= self.notes.last()
    }

    /// Waits until everything planned so far is committed.
    async fn barrier(&mut self) -> Result<(), Halt> {
        self.close().await?;
        let (done, committed) = tokio::sync::oneshot::channel();
        self.handover.send(Step::Barrier(done)).await?;
        committed.await.map_err(|_ended| Halt::ApplyEnded)
    }
}
