//! Replay, beside MySQL's own replica: how fast a backlog of small transactions is drained, and how long a commit takes to be
//! visible on the target under a steady load.

mod backlog;
mod delay;
mod far;
mod replica;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use outrigger::demo::sidecar::Sidecar;

use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::{load, tables, usage};
pub(crate) use backlog::Backlog;
use replica::Replica;

/// The peer's name.
const PEER: &str = "native-replica";
/// Load that runs before the delay is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// How fast backlogs are drained.
    Drain,
    /// From a commit on the source until it is visible on the target.
    Delay,
    /// How much of its rate a drain keeps when the target is far away.
    Wan,
    /// From a commit on the source until it is visible on a target that is far away, in either order.
    WanDelay,
}

/// What can be changed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Flags {
    /// What is measured; all by default but the far target.
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Drain, Part::Delay], value_enum)]
    part: Vec<Part>,
    /// Which backlogs are drained.
    #[arg(long, value_delimiter = ',', default_values_t = [Backlog::Mix], value_enum)]
    backlog: Vec<Backlog>,
    /// The round trip to the far target, in milliseconds.
    #[arg(long, default_value_t = 100)]
    round_trip_ms: u64,
    /// Rows in each of the eight tables.
    #[arg(long, default_value_t = 20_000)]
    rows: u32,
    /// Transactions in the backlog of one round.
    #[arg(long, default_value_t = 20_000)]
    transactions: u32,
    /// Transactions per second while the delay is measured.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Seconds for which the delay is measured in one round.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// Who applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Ours,
    Native,
}

impl Contestant {
    /// Both, each first in every other round.
    fn turns(round: u64) -> [Self; 2] {
        if round.is_multiple_of(2) {
            [Self::Ours, Self::Native]
        } else {
            [Self::Native, Self::Ours]
        }
    }
}

/// Figures of the rounds, ours and the peer's.
#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<f64>,
    native: Vec<f64>,
}

impl Rounds {
    fn push(&mut self, contestant: Contestant, value: f64) {
        match contestant {
            Contestant::Ours => self.ours.push(value),
            Contestant::Native => self.native.push(value),
        }
    }

    fn print(&self, name: &str, unit: &str) -> Result<()> {
        bar::print(Figure { name, unit }, &self.ours, PEER, &self.native)
    }
}

/// A source with two targets, at most one of which is being applied to at a time.
struct Bench {
    flags: Flags,
    source: Server,
    target: Server,
    sidecar: Sidecar,
    replica: Replica,
}

/// Runs the benchmark.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let lab = Lab::new()?;
    let mut flags = flags.clone();
    if flags.quick {
        (flags.rows, flags.transactions, flags.seconds) = (2_000, 2_000, 3);
    }
    if flags.part.contains(&Part::Wan) {
        far::drains(&lab, &flags).await?;
    }
    if flags.part.contains(&Part::WanDelay) {
        far::delays(&lab, &flags).await?;
    }
    if flags.part.contains(&Part::Drain) || flags.part.contains(&Part::Delay) {
        Bench::new(&lab, flags).await?.measure().await?;
    }
    Ok(())
}

impl Bench {
    /// Fills the source and brings both targets in step with it.
    async fn new(lab: &Lab, flags: Flags) -> Result<Self> {
        let (source, target, native) = (
            lab.server("source")?,
            lab.server("target")?,
            lab.server("native")?,
        );
        lab::account(&source).await?;
        lab::account(&target).await?;
        lab::say(&format!(
            "filling {} tables with {} rows each",
            tables::TABLES,
            flags.rows
        ))?;
        tables::fill(&source, flags.rows).await?;
        if flags.part.contains(&Part::Drain) {
            for backlog in &flags.backlog {
                backlog.fill(&source).await?;
            }
        }
        lab::say("bringing both targets in step")?;
        let replica = Replica::of(&source, native).await?;
        replica.stop_applying().await?;
        let mut sidecar = lab.sidecar("sidecar", &source, &target, "")?;
        sidecar.start()?;
        sidecar.wait_until_synchronizing(lab::PATIENCE)?;
        stop(&mut sidecar)?;
        Ok(Self {
            flags,
            source,
            target,
            sidecar,
            replica,
        })
    }

    async fn measure(&mut self) -> Result<()> {
        if self.flags.part.contains(&Part::Drain) {
            for backlog in self.flags.backlog.clone() {
                self.drains(backlog).await?;
            }
        }
        if self.flags.part.contains(&Part::Delay) {
            self.delayed().await?;
        }
        self.compare().await
    }

    /// Each contestant drains the same backlogs.
    async fn drains(&mut self, backlog: Backlog) -> Result<()> {
        let (mut rate, mut cpu, mut cost) = (Rounds::default(), Rounds::default(), Vec::new());
        let transactions = backlog.transactions(self.flags.transactions);
        for round in 0..self.flags.rounds {
            lab::say(&format!(
                "round {round}: writing {transactions} transactions ({backlog:?})"
            ))?;
            load::backlog(&self.source, backlog, self.flags.rows, transactions, round).await?;
            let last = mark(&self.source).await?;
            self.replica.wait_until_received(&self.source).await?;
            for contestant in Contestant::turns(round) {
                Lab::settle()?;
                let (elapsed, cpu_seconds, own) = self.drain(contestant, last).await?;
                lab::say(&format!(
                    "round {round}: {contestant:?} drained it in {:.2} s with {cpu_seconds:.1} CPU s",
                    elapsed.as_secs_f64()
                ))?;
                rate.push(contestant, f64::from(transactions) / elapsed.as_secs_f64());
                cpu.push(contestant, cpu_seconds);
                if contestant == Contestant::Ours {
                    cost.push(own * 100_000.0 / f64::from(transactions * backlog.changes()));
                }
            }
        }
        let name = backlog.name();
        rate.print(&format!("apply_{name}"), "transactions/s")?;
        cpu.print(&format!("apply_{name}_cpu"), "CPU-s")?;
        lab::say(&format!(
            "the sidecar alone used {:.2} CPU s per 100,000 row changes of {backlog:?}",
            bar::median(&cost)
        ))
    }

    /// Each contestant's delay under the same load.
    async fn delayed(&mut self) -> Result<()> {
        let (mut middle, mut tail) = (Rounds::default(), Rounds::default());
        for round in 0..self.flags.rounds {
            for contestant in Contestant::turns(round) {
                Lab::settle()?;
                let mut delays = self.delays(contestant, round).await?;
                let (p50, p99) = (bar::percentile(&mut delays, 50), bar::percentile(&mut delays, 99));
                lab::say(&format!(
                    "round {round}: {contestant:?} p50 {p50:.1} ms, p99 {p99:.1} ms over {} commits",
                    delays.len()
                ))?;
                middle.push(contestant, p50);
                tail.push(contestant, p99);
            }
        }
        middle.print("apply_delay_p50", "ms")?;
        tail.print("apply_delay_p99", "ms")?;
        self.replica.start_receiving().await
    }

    async fn compare(&mut self) -> Result<()> {
        lab::say("comparing every row")?;
        self.replica.start_applying().await?;
        self.sidecar.start()?;
        let last = mark(&self.source).await?;
        wait_until_visible(&mut lab::root(&self.target).await?, last).await?;
        wait_until_visible(&mut lab::root(self.replica.server()).await?, last).await?;
        lab::must_be_equal(&self.source, &self.target).await?;
        stop(&mut self.sidecar)?;
        lab::say(&format!(
            "the sidecar's resident memory was at most {} MiB",
            self.sidecar.peak_kib() / 1024
        ))
    }

    /// Starts a contestant, waits until the last row is visible, and stops it. The CPU time is that of applying, the target
    /// server's own included; then the sidecar's alone.
    async fn drain(&mut self, contestant: Contestant, last: u64) -> Result<(Duration, f64, f64)> {
        let server = self.server(contestant);
        let mut conn = lab::root(server).await?;
        let pid = server.pid();
        let (began, cpu) = (Instant::now(), usage::of_process(pid)?);
        self.start(contestant).await?;
        wait_until_visible(&mut conn, last).await?;
        let elapsed = began.elapsed();
        let own = match contestant {
            Contestant::Ours => usage::of_process(self.sidecar.pid())?,
            Contestant::Native => 0.0,
        };
        let cpu_seconds = usage::of_process(pid)? - cpu + own;
        self.stop(contestant).await?;
        Ok((elapsed, cpu_seconds, own))
    }

    /// Delays of single commits while the load runs, once the contestant is in step. Nothing of the other one runs.
    async fn delays(&mut self, contestant: Contestant, round: u64) -> Result<Vec<Duration>> {
        match contestant {
            Contestant::Ours => self.replica.stop_receiving().await?,
            Contestant::Native => self.replica.start_receiving().await?,
        }
        self.start(contestant).await?;
        let last = mark(&self.source).await?;
        wait_until_visible(&mut lab::root(self.server(contestant)).await?, last).await?;
        let time = Duration::from_secs(self.flags.seconds);
        let mut writers = load::steady(
            &self.source,
            self.flags.rows,
            self.flags.rate,
            WARM_UP + time,
            100 + round,
        );
        tokio::time::sleep(WARM_UP).await;
        let delays = delay::sample(&self.source, self.server(contestant), time).await?;
        while let Some(done) = writers.join_next().await {
            done??;
        }
        self.stop(contestant).await?;
        Ok(delays)
    }

    fn server(&self, contestant: Contestant) -> &Server {
        match contestant {
            Contestant::Ours => &self.target,
            Contestant::Native => self.replica.server(),
        }
    }

    async fn start(&mut self, contestant: Contestant) -> Result<()> {
        match contestant {
            Contestant::Ours => self.sidecar.start(),
            Contestant::Native => self.replica.start_applying().await,
        }
    }

    async fn stop(&mut self, contestant: Contestant) -> Result<()> {
        match contestant {
            Contestant::Ours => stop(&mut self.sidecar),
            Contestant::Native => self.replica.stop_applying().await,
        }
    }
}

fn stop(sidecar: &mut Sidecar) -> Result<()> {
    match sidecar.stop(lab::PATIENCE)? {
        Some(0) => Ok(()),
        code => bail!(
            "the sidecar ended with {code:?}; its log ends:\n{}",
            sidecar.log_end()
        ),
    }
}

/// Commits a row of its own on the source; where it is visible, everything before it is too.
async fn mark(source: &Server) -> Result<u64> {
    let mut conn = lab::connect(source).await?;
    delay::commit(&mut conn).await
}

async fn wait_until_visible(target: &mut Conn, id: u64) -> Result<()> {
    let until = Instant::now() + lab::PATIENCE;
    while Instant::now() < until {
        let sql = format!("SELECT id FROM {}.probes WHERE id = {id}", tables::DATABASE);
        if target.query_first::<u64, _>(sql).await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bail!("the backlog is not applied within {:?}", lab::PATIENCE)
}
