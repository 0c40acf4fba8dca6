//! The proxy beside a direct connection, and beside HAProxy in TCP mode (the floor of what a relay in user space costs) and MySQL Router
//! when installed: point selects, one large result, idle connections, connections made and closed, a result over a narrow link.

mod crowd;
mod large;
mod packed;
mod points;
mod relays;

use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use outrigger::demo::port;
use outrigger::demo::server::Server;

use self::relays::Relay;
use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::{tables, usage};

/// Sessions that the server and the proxy may have: the crowd and what measures it.
const MOST: usize = 6000;

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// What is measured; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// How many connections ask for points at the same time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Rows in each of the eight tables.
    #[arg(long, default_value_t = 10_000)]
    rows: u32,
    /// Seconds of one contestant's turn.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB of the large result.
    #[arg(long, default_value_t = 1024)]
    mib: usize,
    /// MiB of the result over a narrow link.
    #[arg(long, default_value_t = 64)]
    narrow_mib: usize,
    /// How many connections are idle.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Point selects.
    Points,
    /// One large result.
    Large,
    /// Idle connections.
    Idle,
    /// Connections made and closed.
    Connects,
    /// A result over a narrow link, compressed or not.
    Compression,
}

/// A way to the server, and the process that is the way: the server itself, a sidecar, a relay.
struct Way {
    name: &'static str,
    port: u16,
    pid: Option<u32>,
    turns: Vec<Turn>,
}

/// What one turn gave: of which figure, its unit, its value.
struct Turn {
    figure: String,
    unit: &'static str,
    value: f64,
}

impl Way {
    fn new(name: &'static str, port: u16, pid: Option<u32>) -> Self {
        Self {
            name,
            port,
            pid,
            turns: Vec::new(),
        }
    }

    /// True for a process that passes on what comes: the server itself does not.
    fn relays(&self) -> bool {
        self.name != "direct"
    }

    fn is_ours(&self) -> bool {
        ["outrigger", "socket"].contains(&self.name)
    }

    fn note(&mut self, figure: impl Into<String>, unit: &'static str, value: f64) -> Result<()> {
        let figure = figure.into();
        lab::say(&format!("{figure}, {}: {value:.2} {unit}", self.name))?;
        self.turns.push(Turn { figure, unit, value });
        Ok(())
    }

    fn rounds(&self, figure: &str) -> Vec<f64> {
        let turns = self.turns.iter().filter(|turn| turn.figure == figure);
        turns.map(|turn| turn.value).collect()
    }

    fn points(&mut self, connections: usize, time: Duration, rows: u32) -> Result<()> {
        let cpu = usage::of_process(self.pid)?;
        let mut answers = points::ask(self.port, connections, time, rows)?;
        let cpu = usage::of_process(self.pid)? - cpu;
        let queries = answers.latencies.len() as f64;
        let rate = queries / answers.elapsed.as_secs_f64();
        let p99 = bar::percentile(&mut answers.latencies, 99);
        self.note(format!("{connections}_rate"), "queries/s", rate)?;
        self.note(format!("{connections}_p99"), "ms", p99)?;
        self.note(format!("{connections}_cpu"), "us/query", cpu * 1e6 / queries)
    }

    fn large(&mut self, mib: usize) -> Result<()> {
        let before = usage::resident_kib(self.pid)?;
        let rate = large::fetch(self.port, mib)?;
        let grown = usage::resident_kib(self.pid)? - before;
        self.note("large_rate", "MB/s", rate)?;
        if self.relays() {
            self.note("large_resident", "MiB", grown / 1024.0)?;
        }
        Ok(())
    }

    /// What crowds take, one after the other. What one leaves to the next counts for that, too: it has use of it.
    fn idle(&mut self, connections: usize) -> Result<()> {
        let before = usage::resident_kib(self.pid)?;
        for (name, compression) in crowd::CROWDS {
            let crowd = match crowd::gather(self.port, connections, compression) {
                Err(cause) if !self.is_ours() => {
                    lab::say(&format!("{name}, {}: left out, {cause}", self.name))?;
                    continue;
                }
                crowd => crowd?,
            };
            let grown = usage::resident_kib(self.pid)? - before;
            drop(crowd);
            self.note(
                format!("{name}_resident"),
                "KiB/connection",
                grown / connections as f64,
            )?;
            // Its sessions have ended before the next one comes: there is no room for both.
            thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn connects(&mut self, time: Duration) -> Result<()> {
        let rate = crowd::come_and_go(self.port, time)?;
        self.note("connects_rate", "connections/s", rate)
    }

    async fn compression(&mut self, lab: &Lab, mib: usize) -> Result<()> {
        for algorithm in packed::ALGORITHMS {
            let cpu = usage::of_process(self.pid)?;
            let time = packed::fetch(lab, self.port, algorithm, mib).await?;
            let cpu = usage::of_process(self.pid)? - cpu;
            self.note(format!("{algorithm}_time"), "s", time.as_secs_f64())?;
            self.note(format!("{algorithm}_cpu"), "CPU-s", cpu)?;
        }
        Ok(())
    }
}

/// Runs the benchmark.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let lab = Lab::new()?;
    let (rows, time) = if flags.quick {
        (1_000, Duration::from_secs(1))
    } else {
        (flags.rows, Duration::from_secs(flags.seconds))
    };
    let (mib, idle) = match flags.quick {
        true => (64, 200),
        false => (flags.mib, flags.idle),
    };
    let crowded = format!("--max-connections={MOST}");
    let source = lab.server_with("source", &[&crowded])?;
    let targets = [lab.server("target")?, lab.server("another-target")?];
    for server in [&source, &targets[0], &targets[1]] {
        lab::account(server).await?;
    }
    lab::say(&format!(
        "filling {} tables with {rows} rows each",
        tables::TABLES
    ))?;
    tables::fill(&source, rows).await?;
    let ports = [port::free()?, port::free()?];
    let listen =
        ports.map(|port| format!("[proxy]\nlisten = [\"127.0.0.1:{port}\"]\nmax_connections = {MOST}\n"));
    let mut sidecars = [
        lab.sidecar("sidecar", &source, &targets[0], &listen[0])?,
        lab.sidecar_over_socket("over-socket", &source, &targets[1], &listen[1])?,
    ];
    for sidecar in &mut sidecars {
        sidecar.start()?;
        sidecar.wait_until_synchronizing(lab::PATIENCE)?;
    }
    let relays = Relay::all(&lab, source.port())?;
    let mut ways = ways(&source, &relays, [0, 1].map(|at| (ports[at], sidecars[at].pid())));
    let wanted = |part| flags.part.is_empty() || flags.part.contains(&part);
    for round in 0..flags.rounds {
        for turn in 0..ways.len() {
            // Another one begins in each round.
            let next = (round + turn) % ways.len();
            let Some(way) = ways.get_mut(next) else { continue };
            for connections in flags.connections.iter().filter(|_| wanted(Part::Points)) {
                way.points(*connections, time, rows)?;
            }
            if wanted(Part::Large) {
                way.large(mib)?;
            }
            if wanted(Part::Connects) {
                way.connects(time)?;
            }
        }
    }
    // Once is enough, and not before what comes after would find the memory that this has left.
    for way in ways.iter_mut().filter(|way| way.relays() && wanted(Part::Idle)) {
        way.idle(idle)?;
    }
    let narrow = if flags.quick { 4 } else { flags.narrow_mib };
    let two = |way: &&mut Way| ["outrigger", "direct"].contains(&way.name);
    for way in ways.iter_mut().filter(two).filter(|_| wanted(Part::Compression)) {
        way.compression(&lab, narrow).await?;
    }
    for sidecar in &mut sidecars {
        sidecar.stop(lab::PATIENCE)?;
    }
    report(&ways)
}

/// Ours first, over TCP and over the server's socket.
fn ways(source: &Server, relays: &[Relay], ours: [(u16, Option<u32>); 2]) -> Vec<Way> {
    let [tcp, socket] = ours;
    let mut ways = vec![
        Way::new("outrigger", tcp.0, tcp.1),
        Way::new("socket", socket.0, socket.1),
        Way::new("direct", source.port(), source.pid()),
    ];
    ways.extend(
        relays
            .iter()
            .map(|relay| Way::new(relay.name, relay.port, Some(relay.pid()))),
    );
    ways
}

/// Ours over TCP beside all others; ours over the socket beside ours over TCP and the relays.
fn report(ways: &[Way]) -> Result<()> {
    let [tcp, socket, peers @ ..] = ways else {
        return Ok(());
    };
    for (ours, prefix) in [(tcp, "proxy"), (socket, "proxy_socket")] {
        let own = [tcp];
        let beside = match prefix {
            "proxy" => Vec::new(),
            _ => Vec::from(own),
        };
        let mut figures: Vec<(&str, &str)> = Vec::new();
        for turn in &ours.turns {
            if !figures.contains(&(turn.figure.as_str(), turn.unit)) {
                figures.push((&turn.figure, turn.unit));
            }
        }
        for (figure, unit) in figures {
            for peer in beside.iter().copied().chain(peers) {
                let theirs = peer.rounds(figure);
                if theirs.is_empty() {
                    continue;
                }
                // A direct connection has no relay that could use CPU: there it is the server's own, for scale.
                let name = match (peer.name, figure.ends_with("_cpu")) {
                    ("direct", true) => "mysqld",
                    ("outrigger", _) => "tcp",
                    (name, _) => name,
                };
                let full = format!("{prefix}_{figure}_{name}");
                bar::print(Figure { name: &full, unit }, &ours.rounds(figure), name, &theirs)?;
            }
        }
    }
    Ok(())
}
