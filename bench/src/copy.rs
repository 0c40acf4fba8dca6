//! The first copy of all rows into an empty target, beside `mysqldump | mysql`, and mydumper with myloader when installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;

use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::tables::{self, DATABASE, TABLES};
use crate::usage;

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Rows in each of the eight tables.
    #[arg(long, default_value_t = 50_000)]
    rows: u32,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// Who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Ours,
    Mysqldump,
    Mydumper,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "outrigger",
            Self::Mysqldump => "mysqldump|mysql",
            Self::Mydumper => "mydumper+myloader",
        }
    }
}

/// One turn of one contestant.
struct Turn {
    contestant: Contestant,
    rows_per_second: f64,
    cpu_seconds: f64,
}

/// Takes one value out of a turn.
type Pick = fn(&Turn) -> f64;

/// The servers, and how much there is to copy.
struct Bench {
    source: Server,
    target: Server,
    rows: u32,
    /// Its folder goes last.
    lab: Lab,
}

/// Runs the benchmark.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let lab = Lab::new()?;
    let rows = if flags.quick { 5_000 } else { flags.rows };
    let bench = Bench {
        source: lab.server("source")?,
        target: lab.server("target")?,
        lab,
        rows,
    };
    lab::account(&bench.source).await?;
    lab::account(&bench.target).await?;
    lab::say(&format!("filling {TABLES} tables with {rows} rows each"))?;
    tables::fill(&bench.source, rows).await?;
    let mut contestants = vec![Contestant::Ours, Contestant::Mysqldump];
    if lab::find("mydumper").is_some() && lab::find("myloader").is_some() {
        contestants.push(Contestant::Mydumper);
    } else {
        lab::say("mydumper and myloader are not installed: left out")?;
    }
    let mut turns = Vec::new();
    for round in 0..flags.rounds {
        for _ in 0..contestants.len() {
            let Some(contestant) = contestants.first().copied() else {
                break;
            };
            contestants.rotate_left(1);
            let turn = bench.turn(contestant, round).await?;
            lab::say(&format!(
                "round {round}: {} {:.0} rows/s with {:.1} CPU s",
                contestant.name(),
                turn.rows_per_second,
                turn.cpu_seconds
            ))?;
            turns.push(turn);
        }
        // Another one begins the next round.
        contestants.rotate_left(1);
    }
    report(&turns)
}

fn report(turns: &[Turn]) -> Result<()> {
    let figures: [(&str, &str, Pick); 2] = [
        ("rate", "rows/s", |turn| turn.rows_per_second),
        ("cpu", "CPU-s", |turn| turn.cpu_seconds),
    ];
    for (peer, suffix) in [
        (Contestant::Mysqldump, "mysqldump"),
        (Contestant::Mydumper, "mydumper"),
    ] {
        for (kind, unit, value) in figures {
            let of = |who| {
                let turns = turns.iter().filter(|turn| turn.contestant == who);
                turns.map(value).collect::<Vec<_>>()
            };
            let (name, theirs) = (format!("copy_{kind}_{suffix}"), of(peer));
            if !theirs.is_empty() {
                bar::print(
                    Figure { name: &name, unit },
                    &of(Contestant::Ours),
                    peer.name(),
                    &theirs,
                )?;
            }
        }
    }
    Ok(())
}

impl Bench {
    /// Empties the target, lets the contestant copy, and looks at what it made.
    async fn turn(&self, contestant: Contestant, round: usize) -> Result<Turn> {
        let mut target = lab::root(&self.target).await?;
        for database in [DATABASE, "outrigger"] {
            target
                .query_drop(format!("DROP DATABASE IF EXISTS {database}"))
                .await?;
        }
        Lab::settle()?;
        let (elapsed, cpu_seconds) = match contestant {
            Contestant::Ours => self.outrigger(round).await?,
            Contestant::Mysqldump => self.mysqldump()?,
            Contestant::Mydumper => self.mydumper()?,
        };
        lab::must_be_equal(&self.source, &self.target)
            .await
            .with_context(|| format!("after {}", contestant.name()))?;
        Ok(Turn {
            contestant,
            rows_per_second: f64::from(self.rows) * f64::from(TABLES) / elapsed.as_secs_f64(),
            cpu_seconds,
        })
    }

    /// From the start of the process until the task has read and written the last row.
    async fn outrigger(&self, round: usize) -> Result<(Duration, f64)> {
        let name = format!("sidecar{round}");
        let mut sidecar = self.lab.sidecar(&name, &self.source, &self.target, "")?;
        let began = Instant::now();
        sidecar.start()?;
        lab::wait_until_copied(&mut sidecar).await?;
        let elapsed = began.elapsed();
        let cpu = usage::of_process(sidecar.pid())?;
        sidecar.wait_until_synchronizing(lab::PATIENCE)?;
        sidecar.stop(lab::PATIENCE)?;
        Ok((elapsed, cpu))
    }

    fn mysqldump(&self) -> Result<(Duration, f64)> {
        let mut dump = self.lab.installation.command("mysqldump");
        dump.args(lab::client_options(&self.source))
            .args([
                "--single-transaction",
                "--set-gtid-purged=OFF",
                "--databases",
                DATABASE,
            ])
            .stdout(Stdio::piped());
        let mut load = self.lab.installation.command("mysql");
        load.args(lab::client_options(&self.target));
        let (began, cpu) = (Instant::now(), usage::of_ended_children()?);
        let mut dump = dump.spawn().context("starting mysqldump")?;
        let rows = dump
            .stdout
            .take()
            .ok_or_else(|| anyhow!("mysqldump has no output"))?;
        let loaded = load.stdin(rows).status().context("running mysql")?;
        // With the last reader of the pipe gone, mysqldump ends even if mysql did too early.
        drop(load);
        let dumped = dump.wait()?;
        if !loaded.success() || !dumped.success() {
            bail!("mysqldump ended with {dumped}, mysql with {loaded}");
        }
        Ok((began.elapsed(), usage::of_ended_children()? - cpu))
    }

    fn mydumper(&self) -> Result<(Duration, f64)> {
        let folder = self.lab.path("dump");
        lab::remove(&folder)?;
        let (began, cpu) = (Instant::now(), usage::of_ended_children()?);
        let mut dump = peer("mydumper", &self.source, &folder, "-o")?;
        dump.args(["-B", DATABASE, "-r", "50000"]);
        succeed(&mut dump)?;
        // By default it would switch the target's binlog off.
        succeed(peer("myloader", &self.target, &folder, "-d")?.arg("-e"))?;
        let spent = (began.elapsed(), usage::of_ended_children()? - cpu);
        lab::remove(&folder)?;
        Ok(spent)
    }
}

/// A program of the mydumper suite with four connections to a server.
fn peer(program: &str, server: &Server, folder: &Path, option: &str) -> Result<Command> {
    let mut command = Command::new(lab::find(program).ok_or_else(|| anyhow!("no {program}"))?);
    command
        .args(["-h", "127.0.0.1", "-u", lab::ACCOUNT, "-t", "4", "-P"])
        .arg(server.port().to_string())
        .arg(option)
        .arg(folder);
    Ok(command)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
