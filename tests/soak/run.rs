//! One run: a workload, faults over it, then the verdict.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use outrigger::demo::sidecar::Sidecar;
use outrigger::demo::{compare, port};
use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::Config;

use super::binlog;
use super::judge::{self, Findings};
use super::pair::{Pair, binlog_end};
use super::plan::{Crash, Fault, Plan, Restart, failing_sync};
use super::relay::Relay;
use crate::support::{PATIENCE, definitions};
use crate::workload::drive::{self, Driven, Tally};
use crate::workload::{PREFIX, Workload};

/// How long a crash point may take to be reached before the sidecar is killed where it is.
const REACHED: Duration = Duration::from_secs(4);

/// How much the writers get done at least.
const WORKS: u64 = 60;

/// What a run did.
#[derive(Debug, Default, Clone)]
pub(super) struct Report {
    /// Transactions on the source that the log had to hold.
    pub(super) transactions: usize,
    pub(super) tally: Tally,
    /// Ended by SIGKILL at the crash point that was asked for.
    pub(super) crashes: u64,
    /// Ended by SIGKILL at any other moment.
    pub(super) kills: u64,
    /// Crash points that were not reached in time.
    pub(super) missed: Vec<String>,
    /// Links broken.
    pub(super) cuts: u64,
    /// Restarts of the source.
    pub(super) source_restarts: u64,
    /// Restarts of the target.
    pub(super) target_restarts: u64,
    /// The log's errors.
    pub(super) findings: Findings,
    /// What else went wrong.
    pub(super) wrong: Vec<String>,
}

impl Report {
    pub(super) fn good(&self) -> bool {
        self.findings.none() && self.wrong.is_empty()
    }
}

/// A run under way.
struct Run<'a> {
    pair: &'a mut Pair,
    sidecar: Sidecar,
    relay: Relay,
    report: Report,
}

/// Runs a seed. Errors are of the run itself; what the sidecar did wrong is in the report.
pub(super) async fn run(seed: u64, pair: &mut Pair, folder: &Path) -> Result<Report> {
    let plan = Plan::new(seed);
    let workload = Workload::new(seed, plan.shape);
    pair.clean(plan.shape.gtids, plan.row_image)
        .await
        .context("cleaning up before the run")?;
    let mut source = pair.source_conn().await?;
    for statement in workload.setup() {
        source
            .query_drop(&statement)
            .await
            .with_context(|| statement.clone())?;
    }
    // Without GTIDs a log begins at the start of a file.
    source.query_drop("FLUSH BINARY LOGS").await?;
    let begin = binlog_end(&mut source).await?;
    drop(source);
    let relay = Relay::start(pair.source.port()).await?;
    let http = format!("127.0.0.1:{}", port::free()?);
    let config = config(&plan, relay.port(), pair.target.port(), &http);
    let sidecar = Sidecar::new(Path::new(env!("CARGO_BIN_EXE_outrigger")), folder, &config, &http)?;
    let mut run = Run {
        pair,
        sidecar,
        relay,
        report: Report::default(),
    };
    if let Err(error) = run.all(&plan, &workload, begin, folder).await {
        run.report.wrong.push(format!("{error:#}"));
    }
    // Whatever happened, the next run needs both servers.
    run.revive()?;
    Ok(run.report)
}

impl Run<'_> {
    async fn all(
        &mut self,
        plan: &Plan,
        workload: &Workload,
        begin: (String, u64),
        folder: &Path,
    ) -> Result<()> {
        let socket = self.pair.source.socket();
        let first = plan
            .first_start
            .as_ref()
            .map_or_else(String::new, Crash::failpoint);
        let mut driven = plan.writers_first.then(|| drive::start(workload, &socket));
        self.sidecar.start_with(&first)?;
        let captured = self.until_captured(plan).await?;
        // What was committed before capture began need not be in the log.
        let certain = if driven.is_some() { captured } else { begin.clone() };
        let driven = driven.take().unwrap_or_else(|| drive::start(workload, &socket));
        let troubled = self.faults(plan).await;
        self.until_busy(&driven).await;
        self.revive()?;
        let stopped = driven.stop().await;
        troubled?;
        self.report.tally = stopped.context("the workload")?;
        self.relay.disarm();
        self.report.cuts = self.relay.cuts();
        self.settle().await?;
        self.compare().await?;
        if self.sidecar.stop(PATIENCE)? != Some(0) {
            bail!("the sidecar did not stop in order:\n{}", self.sidecar.log_end());
        }
        let executed = self.executed().await?;
        let committed = binlog::transactions(&self.pair.source_data())?;
        let mut config = Config::new(folder.join("log"));
        config.quota = bytesize::ByteSize::mib(256);
        let held = judge::read(config).await.context("reading the log")?;
        // What changes nothing need not be kept; what was committed before the log began neither.
        let wanted = committed
            .into_iter()
            .filter(|one| !before(&one.entry.start, &begin))
            .filter(|one| plan.settings.keep_all || one.changes);
        let wanted: Vec<_> = wanted.map(|one| one.entry).collect();
        let certain = wanted.partition_point(|entry| before(&entry.start, &certain));
        self.report.transactions = wanted.len();
        self.report.findings = judge::judge(&wanted, certain, &held);
        let position = held.position.context("the log has no position")?;
        if plan.shape.gtids && position.gtids.as_ref() != Some(&executed) {
            self.report.wrong.push(format!(
                "capture would resume at {position}, executed is {executed}"
            ));
        }
        Ok(())
    }

    /// Waits until capture has a start, and the task where it matters. Returns where the source's binlog ended a moment later: from there on nothing may be
    /// missing.
    async fn until_captured(&mut self, plan: &Plan) -> Result<(String, u64)> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // A crash point, or a source that broke off before the log had its start.
            self.restart_if_gone()?;
            let status = self.sidecar.status().unwrap_or_default();
            let (capture, task) = (&status["source"]["state"], &status["tasks"][0]["state"]);
            if capture == "stopped" {
                bail!("capture stopped:\n{}", self.sidecar.log_end());
            }
            // XA transactions that are prepared before the task has begun are none of its own.
            let begun = !plan.shape.xa || task.as_str().is_some_and(|state| state.starts_with("copying"));
            if capture == "streaming" && begun {
                let mut source = self.pair.source_conn().await?;
                return binlog_end(&mut source).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("capture did not begin:\n{}", self.sidecar.log_end())
    }

    fn restart_if_gone(&mut self) -> Result<()> {
        if self.sidecar.running()? {
            return Ok(());
        }
        self.sidecar.start()
    }

    async fn faults(&mut self, plan: &Plan) -> Result<()> {
        for step in &plan.faults {
            tokio::time::sleep(step.after).await;
            match &step.fault {
                Fault::Crash(crash) => self.crash(crash).await?,
                Fault::Kill => {
                    self.report.kills += u64::from(self.sidecar.running()?);
                    self.sidecar.kill()?;
                }
                Fault::Stop => {
                    // It may be gone already, by an earlier crash point.
                    if self.sidecar.running()? {
                        self.sidecar.stop(PATIENCE)?;
                    }
                }
                Fault::FailingSync(passages) => {
                    self.report.kills += u64::from(self.sidecar.running()?);
                    self.sidecar.kill()?;
                    self.sidecar.start_with(&failing_sync(*passages))?;
                }
                Fault::Cut(cut) => self.relay.arm(*cut),
                Fault::Source(restart) => {
                    self.report.source_restarts += 1;
                    again(&mut self.pair.source, restart).await?;
                }
                Fault::Target(restart) => {
                    self.report.target_restarts += 1;
                    again(&mut self.pair.target, restart).await?;
                }
            }
            self.restart_if_gone()?;
        }
        Ok(())
    }

    async fn crash(&mut self, crash: &Crash) -> Result<()> {
        if crash.in_replay() {
            self.until_replaying().await?;
        }
        self.report.kills += u64::from(self.sidecar.running()?);
        self.sidecar.kill()?;
        self.sidecar.start_with(&crash.failpoint())?;
        let until = Instant::now() + REACHED;
        while Instant::now() < until {
            if !self.sidecar.running()? {
                self.report.crashes += 1;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.report.missed.push(crash.failpoint());
        self.report.kills += 1;
        self.sidecar.kill()
    }

    /// Waits for the end of the copy, but not for long: under ever new definitions it takes its time.
    async fn until_replaying(&mut self) -> Result<()> {
        let until = Instant::now() + REACHED;
        while Instant::now() < until {
            self.restart_if_gone()?;
            let replaying = self.sidecar.status().is_ok_and(|status| {
                let state = &status["tasks"][0]["state"];
                state == "catching_up" || state == "synchronizing"
            });
            if replaying {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Writers get something done, whatever the faults left them; a source that is away comes back first.
    async fn until_busy(&self, driven: &Driven) {
        let until = Instant::now() + PATIENCE;
        while driven.done() < WORKS && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn revive(&mut self) -> Result<()> {
        for server in [&mut self.pair.source, &mut self.pair.target] {
            if server.pid().is_none() {
                server.launch()?;
            }
        }
        Ok(())
    }

    /// Until the target has all, and says so.
    async fn settle(&mut self) -> Result<()> {
        self.restart_if_gone()?;
        let mut source = self.pair.source_conn().await?;
        source
            .query_drop("CREATE TABLE app.settled (id INT PRIMARY KEY)")
            .await?;
        source.query_drop("INSERT INTO app.settled VALUES (1)").await?;
        let until = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < until {
            // A crash point may still lie ahead of a process that a fault has started.
            self.restart_if_gone()?;
            if let Ok(status) = self.sidecar.status() {
                let task = &status["tasks"][0];
                last = format!("{status:#}");
                if task["state"] == "stopped" || status["source"]["state"] == "stopped" {
                    bail!("it stopped: {} {}", task["why"], status["source"]["why"]);
                }
                if task["state"] == "synchronizing"
                    && task["transactions_behind"] == 0
                    && task["delay_seconds"] == 0.0
                    && self.settled().await
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "not in step within {PATIENCE:?}: {last}\n{}",
            self.sidecar.log_end()
        )
    }

    async fn executed(&self) -> Result<GtidSet> {
        let mut source = self.pair.source_conn().await?;
        let text: Option<String> = source.query_first("SELECT @@global.gtid_executed").await?;
        text.unwrap_or_default()
            .parse()
            .context("the source's gtid_executed")
    }

    async fn settled(&self) -> bool {
        let Ok(mut target) = self.pair.target_conn().await else {
            return false;
        };
        let found = target.query_first::<u8, _>("SELECT id FROM app.settled").await;
        matches!(found, Ok(Some(1)))
    }

    async fn compare(&mut self) -> Result<()> {
        let (mut source, mut target) = (self.pair.source_conn().await?, self.pair.target_conn().await?);
        let sql = format!(
            "SELECT CONVERT(schema_name USING utf8mb4) FROM information_schema.schemata WHERE schema_name LIKE '{PREFIX}%' ORDER BY 1"
        );
        let ours: Vec<String> = source.query(&sql).await?;
        let theirs: Vec<String> = target.query(&sql).await?;
        if ours != theirs {
            self.report.wrong.push(format!(
                "databases: {ours:?} on the source, {theirs:?} on the target"
            ));
        }
        let names: Vec<&str> = ours.iter().map(String::as_str).collect();
        let compared = compare::databases(&mut source, &mut target, &names).await?;
        let different = compared.iter().filter(|table| !table.equal());
        self.report
            .wrong
            .extend(different.map(|table| format!("rows differ: {table:?}")));
        for database in names {
            let ours = definitions(&mut source, database).await?;
            let theirs = definitions(&mut target, database).await?;
            if ours != theirs {
                let differ = ours
                    .iter()
                    .chain(&theirs)
                    .filter(|one| !(ours.contains(one) && theirs.contains(one)));
                let differ: Vec<_> = differ.collect();
                self.report.wrong.push(format!("definitions differ: {differ:#?}"));
            }
        }
        Ok(())
    }
}

fn before(place: &outrigger_protocol::position::FilePosition, than: &(String, u64)) -> bool {
    (place.file.as_str(), place.offset) < (than.0.as_str(), than.1)
}

async fn again(server: &mut outrigger::demo::server::Server, restart: &Restart) -> Result<()> {
    match restart.kill {
        true => server.kill()?,
        false => server.stop()?,
    }
    tokio::time::sleep(restart.away).await;
    server.launch()
}

fn config(plan: &Plan, source: u16, target: u16, http: &str) -> String {
    let settings = &plan.settings;
    let partial = plan.row_image != "FULL";
    let order = if settings.eventual { "eventual" } else { "source" };
    let mut text = format!(
        "[source]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"outrigger\"\npassword = \"source secret\"\n\
         heartbeat = \"300ms\"\nconnect_timeout = \"2s\"\nallow_partial_row_images = {partial}\n\n"
    );
    let log = format!(
        "[log]\npath = \"log\"\nquota = \"256 MiB\"\nkeep_all = {}\nsync_interval = \"{}ms\"\nsync_bytes = \"{} B\"\nwrite_buffer = \"{} MiB\"\n\
         tail = \"{} KiB\"\n\n",
        settings.keep_all,
        settings.sync_interval_ms,
        settings.sync_bytes,
        settings.write_buffer_mib,
        settings.tail_kib
    );
    let task = format!(
        "[http]\nlisten = \"{http}\"\n\n[[task]]\nname = \"soak\"\ninclude = [\"{PREFIX}*\"]\nconnect_timeout = \"2s\"\n\
         copy = {{ chunk_rows = {} }}\ngroup = {{ max_transactions = {}, order = \"{order}\" }}\n\n\
         [task.target]\nhost = \"127.0.0.1\"\nport = {target}\nuser = \"outrigger\"\npassword = \"target secret\"\n",
        settings.chunk_rows, settings.group_transactions
    );
    text.push_str(&log);
    text.push_str(&task);
    text
}
