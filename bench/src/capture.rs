//! From the source's binlog into the durable log, beside `mysqlbinlog --read-from-remote-server --raw`, which writes the same
//! bytes to a file without checking or syncing them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use outrigger_capture::{Capturer, Status};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::Log;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::usage;

/// The peer's name.
const PEER: &str = "mysqlbinlog";
/// Connections that fill the binlog.
const WRITERS: usize = 4;

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// MiB of binlog with rows of 1 KB, eight in a transaction.
    #[arg(long, default_value_t = 256)]
    mib: u64,
    /// MiB of binlog with rows of 100 bytes, each its own transaction.
    #[arg(long, default_value_t = 64)]
    small_mib: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// A kind of rows.
struct Shape {
    name: &'static str,
    bytes: u32,
    rows: usize,
    transactions: u32,
}

/// Rows of 1 KB.
const LARGE: Shape = Shape {
    name: "1k",
    bytes: 1000,
    rows: 8,
    transactions: 500,
};
/// Small rows in small transactions: the work is per event.
const SMALL: Shape = Shape {
    name: "small",
    bytes: 100,
    rows: 1,
    transactions: 4000,
};

/// A piece of the source's binlog.
struct Stretch {
    start: SourcePosition,
    end: FilePosition,
    bytes: u64,
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
    let (large, small) = if flags.quick {
        (32, 8)
    } else {
        (flags.mib, flags.small_mib)
    };
    for (shape, mib) in [(LARGE, large), (SMALL, small)] {
        lab::say(&format!("writing {mib} MiB of binlog, {} rows", shape.name))?;
        let stretch = write(&source, &shape, mib).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..flags.rounds {
            for contestant in [round % 2, (round + 1) % 2] {
                Lab::settle()?;
                if contestant == 0 {
                    ours.push(capture(&lab, &source, &stretch).await?);
                } else {
                    theirs.push(mysqlbinlog(&lab, &source, &stretch)?);
                }
            }
            if let (Some(ours), Some(theirs)) = (ours.last(), theirs.last()) {
                lab::say(&format!(
                    "round {round}: {:.0} MB/s with {:.2} CPU s, {PEER} {:.0} MB/s with {:.2} CPU s",
                    ours.megabytes_per_second,
                    ours.cpu_seconds,
                    theirs.megabytes_per_second,
                    theirs.cpu_seconds
                ))?;
            }
        }
        report(&shape, &ours, &theirs)?;
    }
    Ok(())
}

fn report(shape: &Shape, ours: &[Turn], theirs: &[Turn]) -> Result<()> {
    let figures: [(&str, &str, Pick); 2] = [
        ("rate", "MB/s", |turn| turn.megabytes_per_second),
        ("cpu", "CPU-s", |turn| turn.cpu_seconds),
    ];
    for (kind, unit, value) in figures {
        let name = format!("capture_{}_{kind}", shape.name);
        let rounds = |turns: &[Turn]| turns.iter().map(value).collect::<Vec<_>>();
        bar::print(Figure { name: &name, unit }, &rounds(ours), PEER, &rounds(theirs))?;
    }
    Ok(())
}

/// Writes a stretch of binlog by a procedure on the server.
async fn write(source: &Server, shape: &Shape, mib: u64) -> Result<Stretch> {
    let mut conn = lab::root(source).await?;
    lab::durable(&mut conn, false).await?;
    let (name, half) = (shape.name, shape.bytes / 2);
    let values = vec![format!("(HEX(RANDOM_BYTES({half})))"); shape.rows].join(", ");
    for statement in [
        "CREATE DATABASE IF NOT EXISTS capture".to_owned(),
        format!(
            "CREATE TABLE capture.t_{name} (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR({}) CHARACTER SET latin1 NOT NULL)",
            shape.bytes
        ),
        format!(
            "CREATE PROCEDURE capture.write_{name}(times INT) BEGIN WHILE times > 0 DO \
             INSERT INTO capture.t_{name} (v) VALUES {values}; SET times = times - 1; END WHILE; END"
        ),
        "FLUSH BINARY LOGS".to_owned(),
    ] {
        conn.query_drop(statement).await?;
    }
    let start = outrigger_capture::start_position(&endpoint(source)).await?;
    loop {
        let (end, bytes) = end(&mut conn, &start.file).await?;
        if bytes >= mib << 20 {
            lab::durable(&mut conn, true).await?;
            return Ok(Stretch { start, end, bytes });
        }
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let opts = lab::opts(source);
            let call = format!("CALL capture.write_{name}({})", shape.transactions);
            writers.spawn(async move { Conn::new(opts).await?.query_drop(call).await });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
    }
}

/// Where the binlog ends, and its bytes since the beginning of the given file.
async fn end(conn: &mut Conn, start: &FilePosition) -> Result<(FilePosition, u64)> {
    let files: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await?;
    let files: Vec<_> = files
        .iter()
        .filter_map(|row| Some(FilePosition::new(row.get::<String, _>(0)?, row.get(1)?)))
        .filter(|file| file >= start)
        .collect();
    let bytes = files.iter().map(|file| file.offset).sum();
    let end = files
        .into_iter()
        .next_back()
        .context("the source lists no binlog file")?;
    Ok((end, bytes))
}

/// Outrigger's turn: until everything is durable in a new log.
async fn capture(lab: &Lab, source: &Server, stretch: &Stretch) -> Result<Turn> {
    let folder = lab.path("log");
    lab::remove(&folder)?;
    let log = Log::open(outrigger_storage::Config::new(&folder))?;
    log.set_start(&stretch.start)?;
    let mut reached = log.reached();
    let cancel = CancellationToken::new();
    let config = outrigger_capture::Config::new(endpoint(source));
    let capturer = Capturer::new(config, log.clone(), Arc::new(Status::new()));
    let (began, cpu) = (Instant::now(), usage::of_this()?);
    let mut running = tokio::spawn(capturer.run(cancel.clone()));
    tokio::select! {
        outcome = tokio::time::timeout(
            lab::PATIENCE,
            reached.wait_for(|at| at.as_ref().is_some_and(|at| *at >= stretch.end)),
        ) => drop(outcome.context("the capture does not reach the binlog's end")??),
        outcome = &mut running => {
            outcome??;
            bail!("the capture ended by itself");
        }
    }
    let turn = Turn::new(stretch.bytes, began, usage::of_this()? - cpu);
    cancel.cancel();
    running.await??;
    log.close()?;
    lab::remove(&folder)?;
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

fn endpoint(server: &Server) -> Endpoint {
    Endpoint {
        address: Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        },
        user: lab::ACCOUNT.to_owned(),
        password: Secret::default(),
        tls: TlsMode::Disabled,
    }
}
