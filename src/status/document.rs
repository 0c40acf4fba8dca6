//! The status document: its shape is the HTTP API's, version 1. Fields are added, never renamed.

use serde::{Deserialize, Serialize};

/// Everything that `outrigger status` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The sidecar's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Its memory in RAM, in bytes; 0 where unknown.
    pub resident_bytes: u64,
    /// The source, and capture from it.
    pub source: SourcePart,
    /// The change log.
    pub log: LogPart,
    /// The proxy, where there is one.
    pub proxy: Option<ProxyPart>,
    /// Every task, in the order of the configuration.
    pub tasks: Vec<TaskPart>,
}

/// What a part is doing, and why when it is not what it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// One or two words: `streaming`, `copying_rows`, `synchronizing`, `waiting_for_source`, `retrying`, `stopped`…
    pub state: String,
    /// The last error with what to do about it, while it matters.
    pub why: Option<String>,
    /// The server that fails, `source` or `target`, where one does.
    pub side: Option<String>,
    /// For how many seconds it has been retrying or waiting.
    pub for_seconds: Option<f64>,
    /// In how many seconds it tries again; 0 while it does.
    pub next_try_in_seconds: Option<f64>,
    /// In how many seconds retrying is given up.
    pub gives_up_in_seconds: Option<f64>,
}

impl Phase {
    /// A state in which all is well.
    pub fn plain(state: &str) -> Self {
        Self {
            state: state.to_owned(),
            why: None,
            side: None,
            for_seconds: None,
            next_try_in_seconds: None,
            gives_up_in_seconds: None,
        }
    }

    /// Stopped; by an error when `why` is there.
    pub fn stopped(why: Option<String>) -> Self {
        Self {
            why,
            ..Self::plain("stopped")
        }
    }

    /// Whether somebody should look.
    pub fn is_trouble(&self) -> bool {
        matches!(self.state.as_str(), "retrying" | "paused" | "stopped")
    }
}

/// The source, and capture from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourcePart {
    /// Where it listens.
    pub address: String,
    /// Its version, once it was asked.
    pub server_version: Option<String>,
    /// What capture is doing.
    #[serde(flatten)]
    pub phase: Phase,
    /// How far its binlog was read, as file and offset.
    pub file: Option<String>,
    /// Every transaction received, as a GTID set; absent without GTIDs.
    pub gtids: Option<String>,
    /// True when the source can wait at commit until the log is synced.
    pub semi_sync: bool,
    /// Transactions captured since the process started.
    pub transactions: u64,
    /// Transactions left out since then, because no task selects anything in them.
    pub passed: u64,
    /// Transactions captured per second, over the last ten.
    pub transactions_per_second: f64,
    /// Bytes of events captured per second, over the last ten.
    pub bytes_per_second: f64,
    /// Seconds since anything came from the source, heartbeats included.
    pub silent_seconds: Option<f64>,
    /// Seconds that the log may be behind the source; grows while the source is out of reach.
    pub delay_seconds: f64,
}

/// The change log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogPart {
    /// The folder.
    pub path: String,
    /// The log's identity.
    pub id: String,
    /// The first offset kept.
    pub first: u64,
    /// The last durable offset.
    pub last: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes it may take.
    pub quota: u64,
    /// True while the quota is used up and capture waits.
    pub paused: bool,
    /// True while a transaction is older than `max_age` and not applied by every task.
    #[serde(default)]
    pub overdue: bool,
    /// What holds most of it although it is applied, and what to do; absent while nothing does.
    #[serde(default)]
    pub held: Option<String>,
    /// What opening it found of a crash, a sentence each.
    #[serde(default)]
    pub found: Vec<String>,
    /// `open`, or why it can't be used.
    #[serde(flatten)]
    pub phase: Phase,
}

/// The proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyPart {
    /// Where applications connect.
    pub listen: Vec<String>,
    /// The guard's rules that caught something since the sidecar started.
    #[serde(default)]
    pub guard: Vec<GuardPart>,
    /// What passes through it.
    #[serde(default)]
    pub traffic: TrafficPart,
    /// What it is doing.
    #[serde(flatten)]
    pub phase: Phase,
}

/// What passes through the proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficPart {
    /// Clients connected.
    pub connections: usize,
    /// How many of them have a transaction open.
    pub in_transaction: usize,
    /// Commands per second, over the last ten.
    pub commands_per_second: f64,
    /// Commands answered since the sidecar started.
    pub commands: u64,
    /// Errors that clients got since then.
    pub errors: u64,
}

/// What one rule of the guard caught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardPart {
    /// Its name.
    pub rule: String,
    /// Commands that it refused.
    pub refused: u64,
    /// Commands that it let pass with a warning.
    pub warned: u64,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskPart {
    /// Its name.
    pub name: String,
    /// Where its target listens.
    pub target: String,
    /// What it is doing.
    #[serde(flatten)]
    pub phase: Phase,
    /// The copy, table by table.
    pub tables: Vec<TablePart>,
    /// The last offset applied.
    pub offset: u64,
    /// The same place on the source.
    pub position: Option<String>,
    /// Seconds that the target may be behind the source; grows while the source is out of reach.
    pub delay_seconds: f64,
    /// Transactions in the log that are not applied.
    pub transactions_behind: u64,
    /// About how many bytes of log that is.
    pub log_bytes_behind: u64,
    /// Source transactions applied per second, over the last ten.
    pub transactions_per_second: f64,
    /// Rows changed on the target per second, over the last ten; copied rows are not counted.
    pub rows_per_second: f64,
    /// Rows copied per second, over the last ten.
    pub copied_rows_per_second: f64,
    /// Rows inserted by replay since the sidecar started.
    pub rows_inserted: u64,
    /// Rows updated by replay since the sidecar started.
    pub rows_updated: u64,
    /// Rows deleted by replay since the sidecar started.
    pub rows_deleted: u64,
    /// Source transactions applied since the sidecar started.
    pub transactions: u64,
    /// Target transactions since the sidecar started.
    pub groups: u64,
    /// DDL statements applied since the sidecar started.
    pub ddl: u64,
    /// Groups sent again and connections made again since the sidecar started.
    pub retries: u64,
    /// Rows that the target should have had and hadn't, or the other way round, since the sidecar started.
    #[serde(default)]
    pub divergences: DivergencesPart,
    /// How fast it may be.
    #[serde(default)]
    pub limits: LimitsPart,
}

/// How fast a task may be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitsPart {
    /// Rows per second; 0: no limit.
    pub rows_per_second: u64,
    /// Bytes of statements per second; 0: no limit.
    pub bytes_per_second: u64,
    /// A commit that takes longer halves the lanes; 0: none does.
    pub max_latency_seconds: f64,
    /// Lanes that may be used.
    pub lanes: usize,
    /// Lanes that may be used at present; 0 before replay began.
    pub lanes_now: usize,
}

/// Rows that were not on the target as they should have been.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DivergencesPart {
    /// How many.
    pub rows: u64,
    /// How many by table and kind.
    pub tables: Vec<DivergedTable>,
    /// The last one.
    pub last: Option<LastDivergence>,
}

/// One table's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DivergedTable {
    /// The table, quoted.
    pub table: String,
    /// `missing_row`, `extra_row` or `different_row`.
    pub kind: String,
    /// How many.
    pub rows: u64,
}

/// The last row that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDivergence {
    /// The table, quoted.
    pub table: String,
    /// `missing_row`, `extra_row` or `different_row`.
    pub kind: String,
    /// The source transaction that met it.
    pub place: String,
    /// When, by the sidecar's clock (RFC 3339).
    pub at: String,
}

/// How far one table's copy is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TablePart {
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// True once all rows are copied.
    pub done: bool,
    /// Rows copied.
    pub rows_copied: u64,
    /// The source's estimate of all rows.
    pub rows_estimated: u64,
    /// Bytes copied.
    pub bytes_copied: u64,
    /// Rows per second.
    pub rows_per_second: f64,
    /// Seconds left at that rate; absent while nothing can be said.
    pub seconds_left: Option<f64>,
}

impl Document {
    /// What is wrong, a sentence each; empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        let source = ("source".to_owned(), &self.source.phase);
        let log = ("log".to_owned(), &self.log.phase);
        let proxy = self.proxy.iter().map(|proxy| ("proxy".to_owned(), &proxy.phase));
        let tasks = self
            .tasks
            .iter()
            .map(|task| (format!("task {}", task.name), &task.phase));
        [log, source]
            .into_iter()
            .chain(proxy)
            .chain(tasks)
            .filter(|(_, phase)| phase.is_trouble())
            .map(|(part, phase)| match &phase.why {
                Some(why) => format!("{part} is {}: {why}", phase.state),
                None => format!("{part} is {}", phase.state),
            })
            .collect()
    }
}
