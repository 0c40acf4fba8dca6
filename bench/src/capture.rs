//! From the source's binlog into the durable log, beside `mysqlbinlog --read-from-remote-server --raw`, which writes the same
//! bytes to a file without checking or syncing them.

mod binlog;
mod disk;
mod durable;
mod large;
mod ours;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use outrigger::demo::server::Server;

use self::binlog::{Shape, Stretch};
use self::ours::Ours;
use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::usage;

/// The peer's name.
const PEER: &str = "mysqlbinlog";

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// MiB of binlog with rows of 1 KB, eight in a transaction.
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// MiB of binlog of sysbench's transactions.
    #[arg(long, default_value_t = 128)]
    mix_mib: u64,
    /// MiB of binlog with rows of 100 bytes, each its own transaction.
    #[arg(long, default_value_t = 64)]
    small_mib: u64,
    /// Transactions per second while the delay until durable is measured.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds for which that is measured in one round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What is measured: all but `large`, which takes minutes, unless given.
    #[arg(long, value_enum, default_values = ["rate", "durable"])]
    part: Vec<Part>,
    /// MiB of the large transaction; the compressed one has half of it.
    #[arg(long, default_value_t = 2048)]
    large_mib: u64,
    /// MiB of the large row.
    #[arg(long, default_value_t = 64)]
    row_mib: u64,
    /// The log's `sync_interval` in milliseconds, instead of its default.
    #[arg(long)]
    sync_interval_ms: Option<u64>,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Bytes per second, CPU, and what the log takes on disk.
    Rate,
    /// From the commit to durable.
    Durable,
    /// Memory while large transactions pass.
    Large,
}

/// One turn of one contestant.
struct Turn {
    megabytes_per_second: f64,
    cpu_seconds: f64,
}

/// Takes one value out of a turn.
type Pick = fn(&Turn) -> f64;

impl Turn {
    fn new(bytes: u64, began: Instant, cpu_seconds: f64) -> Self {
        Self {
            megabytes_per_second: bytes as f64 / 1e6 / began.elapsed().as_secs_f64(),
            cpu_seconds,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.server("source")?;
    lab::account(&source).await?;
    let quick = flags.quick;
    if flags.part.contains(&Part::Rate) {
        let (wide, mix, small) = if quick {
            (32, 16, 8)
        } else {
            (flags.mib, flags.mix_mib, flags.small_mib)
        };
        for (shape, mib) in [(Shape::Wide, wide), (Shape::Mix, mix), (Shape::Small, small)] {
            if mib > 0 {
                rate(&lab, &source, shape, mib, flags.rounds).await?;
            }
        }
    }
    if flags.part.contains(&Part::Durable) {
        let load = durable::Load {
            rows: if quick { 2_000 } else { 20_000 },
            rate: flags.rate,
            seconds: if quick { 3 } else { flags.seconds },
            rounds: flags.rounds.min(3),
            sync_interval: flags.sync_interval_ms.map(Duration::from_millis),
        };
        durable::run(&lab, &source, load).await?;
    }
    if flags.part.contains(&Part::Large) {
        let mib = if quick { 64 } else { flags.large_mib };
        let sizes = large::Sizes {
            transaction: mib,
            compressed: mib / 2,
            row: if quick { 16 } else { flags.row_mib },
        };
        large::run(&lab, &source, sizes).await?;
    }
    Ok(())
}

async fn rate(lab: &Lab, source: &Server, shape: Shape, mib: u64, rounds: usize) -> Result<()> {
    let name = shape.name();
    lab::say(&format!("writing {mib} MiB of binlog, {name} rows"))?;
    let stretch = binlog::write(source, shape, mib).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for contestant in [round % 2, (round + 1) % 2] {
            Lab::settle()?;
            if contestant == 0 {
                let last = round + 1 == rounds && shape != Shape::Small;
                ours.push(capture(lab, source, &stretch, last.then_some(name)).await?);
            } else {
                theirs.push(mysqlbinlog(lab, source, &stretch)?);
            }
        }
        if let (Some(ours), Some(theirs)) = (ours.last(), theirs.last()) {
            lab::say(&format!(
                "round {round}: {:.0} MB/s with {:.2} CPU s, {PEER} {:.0} MB/s with {:.2} CPU s",
                ours.megabytes_per_second, ours.cpu_seconds, theirs.megabytes_per_second, theirs.cpu_seconds
            ))?;
        }
    }
    report(name, &ours, &theirs)
}

fn report(name: &str, ours: &[Turn], theirs: &[Turn]) -> Result<()> {
    let figures: [(&str, &str, Pick); 2] = [
        ("rate", "MB/s", |turn| turn.megabytes_per_second),
        ("cpu", "CPU-s", |turn| turn.cpu_seconds),
    ];
    for (kind, unit, value) in figures {
        let name = format!("capture_{name}_{kind}");
        let rounds = |turns: &[Turn]| turns.iter().map(value).collect::<Vec<_>>();
        bar::print(Figure { name: &name, unit }, &rounds(ours), PEER, &rounds(theirs))?;
    }
    Ok(())
}

/// Outrigger's turn: until everything is durable in a new log. What the log takes on disk is then measured under the given name.
async fn capture(lab: &Lab, source: &Server, stretch: &Stretch, disk: Option<&str>) -> Result<Turn> {
    let mut ours = Ours::start(lab, source, &stretch.start, None)?;
    let (began, cpu) = ours.began;
    ours.reach(&stretch.end).await?;
    let turn = Turn::new(stretch.bytes, began, usage::of_this()? - cpu);
    ours.end().await?;
    if let Some(name) = disk {
        disk::measure(&ours, stretch, name).await?;
    }
    ours.remove()?;
    Ok(turn)
}

/// The peer's turn: until it has written its last file and ended.
fn mysqlbinlog(lab: &Lab, source: &Server, stretch: &Stretch) -> Result<Turn> {
    let folder = lab.path("raw");
    lab::remove(&folder)?;
    std::fs::create_dir(&folder)?;
    let mut command = lab.installation.command("mysqlbinlog");
    command
        .args(lab::client_options(source))
        .args(["--read-from-remote-server", "--raw", "--to-last-log"])
        .arg(format!("--result-file={}/", folder.display()))
        .arg(&stretch.start.file.file);
    let (began, cpu) = (Instant::now(), usage::of_ended_children()?);
    let output = command.output().context("running mysqlbinlog")?;
    let turn = Turn::new(stretch.bytes, began, usage::of_ended_children()? - cpu);
    if !output.status.success() {
        bail!(
            "mysqlbinlog ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    lab::remove(&folder)?;
    Ok(turn)
}
