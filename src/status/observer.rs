//! Gathers what the crates say about themselves into one [`Document`]. Reading only; nobody waits for an observer for longer
//! than a few fields are copied.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outrigger_applier::status::TableCopy;
use outrigger_applier::{LimitsConfig, Side, TaskState, TaskStatus};
use outrigger_capture::{SourceInfo, State, Status};
use outrigger_proxy::guard::{Hits, Policy};

use super::document::{
    DivergedTable, DivergencesPart, Document, GuardPart, LastDivergence, LimitsPart, LogPart, Phase,
    ProxyPart, SourcePart, TablePart, TaskPart, TrafficPart,
};
use super::ending::Ending;
use super::held::{Held, Needs, held};
use super::log::{ObservedLog, waiting};
use super::rate::Window;
use super::sessions::{SessionPart, Sessions};
use crate::telemetry::process;

/// Everything that a sidecar's status is made from.
#[derive(Debug)]
pub struct Observer {
    started: Instant,
    log: Arc<ObservedLog>,
    source_address: String,
    source_info: OnceLock<SourceInfo>,
    capture: Arc<Status>,
    capture_ended: Ending,
    proxy: Option<ObservedProxy>,
    tasks: Vec<ObservedTask>,
    rates: Mutex<Rates>,
}

/// A task as the observer sees it.
#[derive(Debug)]
pub struct ObservedTask {
    /// Its name.
    pub name: String,
    /// Where its target listens.
    pub target: String,
    /// What it says about itself.
    pub status: Arc<TaskStatus>,
    /// How fast it may be.
    pub limits: LimitsConfig,
    /// On how many connections.
    pub lanes: usize,
    /// How it ended, told by the supervisor.
    pub ended: Ending,
}

/// The proxy as the observer sees it.
#[derive(Debug)]
pub struct ObservedProxy {
    /// Where it listens.
    pub listening: outrigger_proxy::Listening,
    /// What it refuses, and how often it did.
    pub guard: Arc<Policy>,
    /// What it counts.
    pub metrics: Arc<outrigger_proxy::Metrics>,
    /// Who is connected.
    pub roster: Arc<outrigger_proxy::Roster>,
    /// How it ended, told by the supervisor.
    pub ended: Ending,
}

#[derive(Debug, Default)]
struct Rates {
    captured_transactions: Window,
    captured_bytes: Window,
    commands: Window,
    tasks: Vec<TaskRates>,
}

#[derive(Debug, Default)]
struct TaskRates {
    transactions: Window,
    rows: Window,
    copied: Window,
    /// By database and table, while they are being copied.
    tables: HashMap<(String, String), Window>,
}

fn guard_part(hits: Hits) -> GuardPart {
    GuardPart {
        rule: hits.rule.description().name.to_owned(),
        refused: hits.refused,
        warned: hits.warned,
    }
}

fn traffic(proxy: &ObservedProxy, rates: &Rates) -> TrafficPart {
    let connected = proxy.roster.count();
    TrafficPart {
        connections: connected.sessions,
        in_transaction: connected.in_transaction,
        commands_per_second: rates.commands.per_second(),
        commands: proxy.metrics.commands(),
        errors: proxy.metrics.errors(),
    }
}

impl Observer {
    /// An observer of a sidecar that is about to start.
    pub fn new(
        log: Arc<ObservedLog>,
        capture: (Arc<Status>, String, Ending),
        proxy: Option<ObservedProxy>,
        tasks: Vec<ObservedTask>,
    ) -> Self {
        let (capture, source_address, capture_ended) = capture;
        let rates = Rates {
            tasks: tasks.iter().map(|_| TaskRates::default()).collect(),
            ..Rates::default()
        };
        Self {
            started: Instant::now(),
            log,
            source_address,
            source_info: OnceLock::new(),
            capture,
            capture_ended,
            proxy,
            tasks,
            rates: Mutex::new(rates),
        }
    }

    /// The tasks, in the order of the configuration.
    pub fn tasks(&self) -> &[ObservedTask] {
        &self.tasks
    }

    /// The log.
    pub fn log(&self) -> &ObservedLog {
        &self.log
    }

    /// How capture ended, told by the supervisor.
    pub fn capture_ended(&self) -> &Ending {
        &self.capture_ended
    }

    /// The proxy, where there is one.
    pub fn proxy(&self) -> Option<&ObservedProxy> {
        self.proxy.as_ref()
    }

    /// Notes what the source said about itself; the first answer stays.
    pub fn source_is(&self, info: SourceInfo) {
        self.source_info.get_or_init(|| info);
    }

    /// Notes all counters for the rates; to be called every second.
    pub fn sample(&self, now: Instant) {
        let capture = self.capture.snapshot();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.captured_transactions.push(now, capture.transactions);
        rates.captured_bytes.push(now, capture.bytes);
        if let Some(proxy) = &self.proxy {
            rates.commands.push(now, proxy.metrics.commands());
        }
        for (task, rates) in self.tasks.iter().zip(&mut rates.tasks) {
            rates.sample(now, task);
        }
    }

    /// Everything, now.
    pub fn document(&self) -> Document {
        let mut log = self.log.part();
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut source = self.source_part(&rates);
        let mut tasks: Vec<TaskPart> = self
            .tasks
            .iter()
            .zip(&rates.tasks)
            .map(|(task, rates)| task.part(rates, &log, &source))
            .collect();
        if source.phase.state == "paused" && log.overdue {
            let why = "the log holds transactions older than max_age that are not applied; it goes on once every task has applied them, \
                       or with a longer max_age in [log]";
            source.phase.why = Some(why.to_owned());
        }
        if let Some(held) = self.held_in(&log) {
            let why = held.to_string();
            if source.phase.state == "paused" && held.for_good {
                source.phase.why = Some(format!("the log has reached its quota, {why}"));
            }
            log.held = Some(why);
        }
        if let Some(waiting) = waiting(&log) {
            tasks.iter_mut().for_each(|task| task.phase = waiting.clone());
            source.phase = waiting;
        }
        Document {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            resident_bytes: process::usage().map_or(0, |usage| usage.resident_bytes),
            source,
            proxy: self.proxy.as_ref().map(|proxy| ProxyPart {
                listen: { proxy.listening.addresses().into_iter() }
                    .map(|address| address.to_string())
                    .collect(),
                guard: proxy.guard.hits().into_iter().map(guard_part).collect(),
                traffic: traffic(proxy, &rates),
                phase: ended(&proxy.ended).unwrap_or_else(|| Phase::plain("listening")),
            }),
            log,
            tasks,
        }
    }

    /// What holds most of the log although it is applied, now.
    pub fn held(&self) -> Option<Held> {
        self.held_in(&self.log.part())
    }

    fn held_in(&self, log: &LogPart) -> Option<Held> {
        let needs = self.tasks.iter().map(|task| {
            let applied = task.status.applied().borrow().clone();
            applied.position.is_some().then_some(Needs {
                task: &task.name,
                applied: applied.offset.0,
                done: applied.trim_through.0,
            })
        });
        held(log, &needs.collect::<Option<Vec<_>>>()?)
    }

    /// Who is connected to the proxy, now.
    pub fn sessions(&self) -> Sessions {
        let seen = self.proxy.as_ref().map(|proxy| proxy.roster.list());
        Sessions {
            sessions: seen
                .unwrap_or_default()
                .into_iter()
                .map(SessionPart::from)
                .collect(),
        }
    }

    fn source_part(&self, rates: &Rates) -> SourcePart {
        let capture = self.capture.snapshot();
        SourcePart {
            address: self.source_address.clone(),
            server_version: self.source_info.get().map(|info| info.version.clone()),
            phase: ended(&self.capture_ended).unwrap_or_else(|| capture_phase(capture.state)),
            file: capture.file.map(|file| file.to_string()),
            gtids: capture.gtids,
            semi_sync: capture.semi_sync,
            transactions: capture.transactions,
            passed: capture.passed,
            transactions_per_second: rates.captured_transactions.per_second(),
            bytes_per_second: rates.captured_bytes.per_second(),
            silent_seconds: capture.last_event.map(since),
            delay_seconds: capture.delay.as_secs_f64(),
        }
    }
}

impl TaskRates {
    fn sample(&mut self, now: Instant, task: &ObservedTask) {
        let counters = &task.status.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.rows.push(
            now,
            count(&counters.inserted) + count(&counters.updated) + count(&counters.deleted),
        );
        self.transactions.push(now, count(&counters.transactions));
        let tables = task.status.snapshot().tables;
        self.copied
            .push(now, tables.iter().map(|table| table.rows_copied).sum());
        let open = tables.into_iter().filter(|table| !table.done);
        let mut before = std::mem::take(&mut self.tables);
        self.tables = open
            .map(|table| {
                let name = (table.database, table.table);
                let mut window = before.remove(&name).unwrap_or_default();
                window.push(now, table.rows_copied);
                (name, window)
            })
            .collect();
    }

    /// Rows per second of a table that is being copied.
    fn of_table(&self, table: &TableCopy) -> f64 {
        // A tuple of borrowed names is no key; tables under copy are few enough to be looked through.
        let same = |(database, name): &(String, String)| *database == table.database && *name == table.table;
        self.tables
            .iter()
            .find(|(name, _)| same(name))
            .map_or(0.0, |(_, window)| window.per_second())
    }
}

impl ObservedTask {
    fn part(&self, rates: &TaskRates, log: &LogPart, source: &SourcePart) -> TaskPart {
        let task = self.status.snapshot();
        let behind = log.last.saturating_sub(task.offset);
        TaskPart {
            name: self.name.clone(),
            target: self.target.clone(),
            phase: ended(&self.ended).unwrap_or_else(|| following(task_phase(task.state), &source.phase)),
            tables: task
                .tables
                .into_iter()
                .map(|table| table_part(rates.of_table(&table), table))
                .collect(),
            offset: task.offset,
            position: task.position,
            delay_seconds: task.delay_seconds.max(source.delay_seconds),
            transactions_behind: behind,
            log_bytes_behind: share(log, behind),
            transactions_per_second: rates.transactions.per_second(),
            rows_per_second: rates.rows.per_second(),
            copied_rows_per_second: rates.copied.per_second(),
            rows_inserted: task.rows_inserted,
            rows_updated: task.rows_updated,
            rows_deleted: task.rows_deleted,
            transactions: task.transactions,
            groups: task.groups,
            ddl: task.ddl,
            retries: task.retries,
            divergences: divergences(task.divergences),
            limits: LimitsPart {
                rows_per_second: self.limits.rows_per_second,
                bytes_per_second: self.limits.bytes_per_second.0,
                max_latency_seconds: self.limits.max_latency.as_secs_f64(),
                lanes: self.lanes,
                lanes_now: task.lanes,
            },
        }
    }
}

fn divergences(found: outrigger_applier::Divergences) -> DivergencesPart {
    DivergencesPart {
        rows: found.total(),
        last: found.last.map(|last| LastDivergence {
            table: last.table,
            kind: last.kind.name().to_owned(),
            place: last.place,
            at: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(last.at)).to_string(),
        }),
        tables: found
            .rows
            .into_iter()
            .map(|((table, kind), rows)| DivergedTable {
                table,
                kind: kind.name().to_owned(),
                rows,
            })
            .collect(),
    }
}

fn table_part(rows_per_second: f64, table: TableCopy) -> TablePart {
    let left = table.rows_estimated.saturating_sub(table.rows_copied);
    let seconds_left = (!table.done && rows_per_second > 0.0)
        .then(|| crate::telemetry::metrics::as_gauge(left) / rows_per_second);
    TablePart {
        database: table.database,
        table: table.table,
        done: table.done,
        rows_copied: table.rows_copied,
        rows_estimated: table.rows_estimated,
        bytes_copied: table.bytes_copied,
        rows_per_second,
        seconds_left,
    }
}

/// The log's bytes that `behind` of its transactions take, as if all were of one size.
fn share(log: &LogPart, behind: u64) -> u64 {
    let kept = (log.last + 1).saturating_sub(log.first).max(1);
    let bytes = u128::from(log.bytes) * u128::from(behind.min(kept)) / u128::from(kept);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A clock that was set back makes a moment lie in the future: that counts as now.
pub(super) fn since(moment: SystemTime) -> f64 {
    moment.elapsed().unwrap_or_default().as_secs_f64()
}

fn until(moment: SystemTime) -> f64 {
    moment
        .duration_since(SystemTime::now())
        .unwrap_or_default()
        .as_secs_f64()
}

pub(super) fn ended(ending: &Ending) -> Option<Phase> {
    ending.get().map(Phase::stopped)
}

fn capture_phase(state: State) -> Phase {
    match state {
        State::Connecting => Phase::plain("connecting"),
        State::Streaming => Phase::plain("streaming"),
        State::Retrying { since: began, why, next, until: end, log } => Phase {
            state: "retrying".to_owned(),
            why: Some(why),
            side: Some(if log { "log".to_owned() } else { Side::Source.to_string() }),
            for_seconds: Some(since(began)),
            next_try_in_seconds: Some(until(next)),
            gives_up_in_seconds: Some(until(end)),
        },
        State::Paused { since: began } => Phase {
            why: Some(
                "the log has reached its quota; it goes on once every task has applied more, or with a larger quota in [log]"
                    .to_owned(),
            ),
            for_seconds: Some(since(began)),
            ..Phase::plain("paused")
        },
        State::Stopped { why } => Phase::stopped(why),
    }
}

fn task_phase(state: TaskState) -> Phase {
    match state {
        TaskState::Preparing => Phase::plain("preparing"),
        TaskState::CopyingSchema => Phase::plain("copying_schema"),
        TaskState::CopyingRows => Phase::plain("copying_rows"),
        TaskState::CatchingUp => Phase::plain("catching_up"),
        TaskState::Synchronizing => Phase::plain("synchronizing"),
        TaskState::Retrying {
            side,
            since: began,
            next,
            until: end,
            why,
        } => Phase {
            state: "retrying".to_owned(),
            why: Some(why),
            side: Some(side.to_string()),
            for_seconds: Some(since(unix(began))),
            next_try_in_seconds: Some(until(unix(next))),
            gives_up_in_seconds: Some(until(unix(end))),
        },
        TaskState::Stopped { why } => Phase::stopped(why),
    }
}

/// The phase of a task that would be level with its source, if that were heard of.
fn following(task: Phase, source: &Phase) -> Phase {
    if task.state != "synchronizing" || matches!(source.state.as_str(), "streaming" | "paused") {
        return task;
    }
    Phase {
        why: Some(format!(
            "everything that was captured is applied, and capture is {}: the source's own line says why",
            source.state
        )),
        side: Some(Side::Source.to_string()),
        for_seconds: source.for_seconds,
        gives_up_in_seconds: source.gives_up_in_seconds,
        ..Phase::plain("waiting_for_source")
    }
}

fn unix(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(first: u64, last: u64, bytes: u64) -> LogPart {
        LogPart {
            path: String::new(),
            id: String::new(),
            first,
            last,
            bytes,
            quota: 0,
            paused: false,
            overdue: false,
            held: None,
            found: Vec::new(),
            phase: Phase::plain("open"),
        }
    }

    #[test]
    fn bytes_behind_are_a_share_of_the_log() {
        assert_eq!(share(&log(1, 100, 1000), 10), 100);
        assert_eq!(share(&log(51, 100, 1000), 60), 1000);
        assert_eq!(share(&log(1, 0, 1000), 0), 0);
        assert_eq!(share(&log(0, u64::MAX - 1, u64::MAX), u64::MAX), u64::MAX);
    }

    #[test]
    fn a_table_says_how_long_it_will_take() {
        let copy = TableCopy {
            rows_estimated: 300,
            rows_copied: 100,
            ..TableCopy::default()
        };
        assert_eq!(table_part(50.0, copy.clone()).seconds_left, Some(4.0));
        assert_eq!(table_part(0.0, copy.clone()).seconds_left, None);
        assert_eq!(
            table_part(50.0, TableCopy { done: true, ..copy }).seconds_left,
            None
        );
    }

    #[test]
    fn a_level_task_is_not_synchronizing_without_its_source() {
        let source = Phase {
            for_seconds: Some(60.0),
            ..Phase::plain("retrying")
        };
        let waiting = following(Phase::plain("synchronizing"), &source);
        assert_eq!(waiting.state, "waiting_for_source");
        assert_eq!(waiting.for_seconds, Some(60.0));
        assert_eq!(
            following(Phase::plain("catching_up"), &source).state,
            "catching_up"
        );
        for state in ["streaming", "paused"] {
            let task = following(Phase::plain("synchronizing"), &Phase::plain(state));
            assert_eq!(task.state, "synchronizing");
        }
    }

    #[test]
    fn retrying_says_for_how_long_and_why() {
        let now = SystemTime::now();
        let phase = capture_phase(State::Retrying {
            since: now - Duration::from_secs(60),
            why: "it is gone".to_owned(),
            next: now + Duration::from_secs(5),
            until: now + Duration::from_secs(600),
            log: false,
        });
        assert!(phase.is_trouble() && phase.why.as_deref() == Some("it is gone"));
        assert!(
            phase
                .next_try_in_seconds
                .is_some_and(|left| left > 0.0 && left <= 5.0)
        );
        assert!(phase.for_seconds.unwrap() >= 60.0 && phase.gives_up_in_seconds.unwrap() > 590.0);
    }
}
