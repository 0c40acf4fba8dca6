//! Point selects through the proxy, beside a direct connection, and beside HAProxy in TCP mode when installed: the floor of
//! what a relay in user space costs.

mod points;

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use outrigger::demo::server;

use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::{tables, usage};

/// How many connections ask at the same time.
const CONNECTIONS: [usize; 2] = [1, 16];

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Rows in each of the eight tables.
    #[arg(long, default_value_t = 10_000)]
    rows: u32,
    /// Seconds of one contestant's turn.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// A way to the server, and the process that is the way: the server itself, the sidecar, HAProxy.
struct Way {
    name: &'static str,
    port: u16,
    pid: Option<u32>,
    turns: Vec<Turn>,
}

/// What one turn gave.
struct Turn {
    connections: usize,
    queries_per_second: f64,
    p99_ms: f64,
    cpu_micros: f64,
}

/// Takes one value out of a turn.
type Pick = fn(&Turn) -> f64;

impl Way {
    fn rounds(&self, connections: usize, value: impl Fn(&Turn) -> f64) -> Vec<f64> {
        let turns = self.turns.iter().filter(|turn| turn.connections == connections);
        turns.map(value).collect()
    }

    fn measure(&mut self, connections: usize, time: Duration, rows: u32) -> Result<()> {
        let cpu = usage::of_process(self.pid)?;
        let mut answers = points::ask(self.port, connections, time, rows)?;
        let cpu = usage::of_process(self.pid)? - cpu;
        let queries = answers.latencies.len() as f64;
        let turn = Turn {
            connections,
            queries_per_second: queries / answers.elapsed.as_secs_f64(),
            p99_ms: bar::percentile(&mut answers.latencies, 99),
            cpu_micros: cpu * 1e6 / queries,
        };
        lab::say(&format!(
            "{} connections, {}: {:.0} queries/s, p99 {:.2} ms, {:.1} µs CPU per query",
            turn.connections, self.name, turn.queries_per_second, turn.p99_ms, turn.cpu_micros
        ))?;
        self.turns.push(turn);
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
    let (source, target) = (lab.server("source")?, lab.server("target")?);
    lab::account(&source).await?;
    lab::account(&target).await?;
    lab::say(&format!(
        "filling {} tables with {rows} rows each",
        tables::TABLES
    ))?;
    tables::fill(&source, rows).await?;
    let port = lab::free_port()?;
    let listen = format!("[proxy]\nlisten = [\"127.0.0.1:{port}\"]\n");
    let mut sidecar = lab.sidecar("sidecar", &source, &target, &listen)?;
    sidecar.start()?;
    sidecar.wait_until_synchronizing(lab::PATIENCE)?;
    let haproxy = match lab::find("haproxy") {
        Some(program) => Some(Haproxy::start(&program, &lab.path("haproxy.cfg"), source.port())?),
        None => {
            lab::say("haproxy is not installed: left out")?;
            None
        }
    };
    let way = |name, port, pid| Way {
        name,
        port,
        pid,
        turns: Vec::new(),
    };
    let mut ways = vec![
        way("outrigger", port, sidecar.pid()),
        way("direct", source.port(), source.pid()),
    ];
    ways.extend(
        haproxy
            .iter()
            .map(|haproxy| way("haproxy", haproxy.port, Some(haproxy.child.id()))),
    );
    for round in 0..flags.rounds {
        for connections in CONNECTIONS {
            for turn in 0..ways.len() {
                // Another one begins in each round.
                let next = (round + turn) % ways.len();
                if let Some(way) = ways.get_mut(next) {
                    way.measure(connections, time, rows)?;
                }
            }
        }
    }
    sidecar.stop(lab::PATIENCE)?;
    report(&ways)
}

fn report(ways: &[Way]) -> Result<()> {
    let Some((ours, peers)) = ways.split_first() else {
        return Ok(());
    };
    let figures: [(&str, &str, Pick); 3] = [
        ("rate", "queries/s", |turn| turn.queries_per_second),
        ("p99", "ms", |turn| turn.p99_ms),
        ("cpu", "us/query", |turn| turn.cpu_micros),
    ];
    for connections in CONNECTIONS {
        for peer in peers {
            for (kind, unit, value) in figures {
                // A direct connection has no relay that could use CPU: there it is the server's own, for scale.
                let name = match (peer.name, kind) {
                    ("direct", "cpu") => "mysqld",
                    (name, _) => name,
                };
                let figure = format!("proxy_{connections}_{kind}_{name}");
                bar::print(
                    Figure { name: &figure, unit },
                    &ours.rounds(connections, value),
                    name,
                    &peer.rounds(connections, value),
                )?;
            }
        }
    }
    Ok(())
}

/// HAProxy in TCP mode before one server; killed when dropped.
struct Haproxy {
    port: u16,
    child: Child,
}

impl Haproxy {
    fn start(program: &Path, config: &Path, upstream: u16) -> Result<Self> {
        let port = lab::free_port()?;
        let threads = std::thread::available_parallelism()?;
        let text = format!(
            "global\n  maxconn 2000\n  nbthread {threads}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n  \
             timeout server 600s\nlisten tcp\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{upstream}\n"
        );
        std::fs::write(config, text)?;
        let arguments = vec![program.into(), "-db".into(), "-f".into(), config.into()];
        let child = server::spawn(arguments, None)?;
        let haproxy = Self { port, child };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(haproxy);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("HAProxy does not accept connections")
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended already; either way there is nobody left to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
