//! `outrigger demo`: a source and a target of its own, a shop's data, traffic through the proxy while the copy runs, the
//! sidecar killed in the middle, and at the end every row of every table compared.

pub mod compare;
pub mod port;
pub mod server;
mod shop;
pub mod sidecar;
mod traffic;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio_util::sync::CancellationToken;

use compare::Comparison;
use server::{Installation, Server};
use shop::Sizes;
use sidecar::Sidecar;
use traffic::{Client, Tally};

/// Clients that buy in the shop at the same time.
const CLIENTS: u64 = 8;
/// How often each starts a transaction.
const PACE: Duration = Duration::from_millis(40);
/// How long the target may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(300);

/// What `outrigger demo` can be told.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How long traffic runs.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Rows the source is filled with before the copy starts.
    #[arg(long, default_value_t = 520_000)]
    pub rows: u64,
    /// Leave both servers and the sidecar running at the end, print how to connect, and wait for Ctrl-C.
    #[arg(long)]
    pub stay: bool,
}

/// Runs the demo; an error when anything differs or fails.
pub fn run(args: &DemoArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("outrigger-demo-").tempdir()?;
    let installation = Installation::find()?;
    say("starting a source and a target, both empty MySQL servers in a temporary folder")?;
    let source = Server::start(&installation, &folder.path().join("source"), &[])?;
    let target = Server::start(&installation, &folder.path().join("target"), &[])?;
    let http = format!("127.0.0.1:{}", port::free()?);
    let proxy = port::free()?;
    let config = config(&source, &target, proxy, &http);
    let program = std::env::current_exe().context("finding this program")?;
    let sidecar = Sidecar::new(&program, &folder.path().join("sidecar"), &config, &http)?;
    let mut demo = Demo {
        source,
        target,
        sidecar,
        proxy,
    };
    let equal = runtime.block_on(demo.play(args))?;
    if args.stay {
        runtime.block_on(demo.stay(folder.path(), &http))?;
    }
    demo.sidecar.stop(Duration::from_secs(60))?;
    if !equal {
        bail!("source and target differ");
    }
    Ok(())
}

struct Demo {
    source: Server,
    target: Server,
    sidecar: Sidecar,
    proxy: u16,
}

impl Demo {
    async fn play(&mut self, args: &DemoArgs) -> Result<bool> {
        let sizes = Sizes::of(args.rows);
        say(&format!(
            "filling the source with {} rows of a shop's data",
            sizes.total()
        ))?;
        let mut source = Conn::new(root(&self.source)).await?;
        let mut target = Conn::new(root(&self.target)).await?;
        accounts(&mut source, &mut target).await?;
        shop::create(&mut source).await?;
        shop::fill(&mut source, sizes).await?;

        say("starting the sidecar: it copies while the shop is open")?;
        let began = Instant::now();
        self.sidecar.start()?;
        let copied = self.serve(args, sizes, began).await?;

        say("the shop is closed; waiting for the target to catch up")?;
        let closed = Instant::now();
        self.sidecar.wait_until_synchronizing(CATCH_UP)?;
        let replayed = self.catch_up(&mut source, &mut target).await?;
        say(&format!(
            "in step {:.1} s after the last order",
            closed.elapsed().as_secs_f64()
        ))?;
        self.figures(&copied, replayed).await?;
        let comparisons = compare::databases(&mut source, &mut target, &["shop"]).await?;
        report(&comparisons)?;
        Ok(comparisons.iter().all(Comparison::equal))
    }

    /// Opens the shop for the given time and kills the sidecar twice meanwhile: early in the copy, and in the middle.
    async fn serve(&mut self, args: &DemoArgs, sizes: Sizes, began: Instant) -> Result<Watch> {
        let cancel = CancellationToken::new();
        let tally = Arc::new(Tally::default());
        let app = app(self.proxy);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| Client::new(app.clone(), sizes, seed, PACE, Arc::clone(&tally)))
            .map(|client| tokio::spawn(client.run(cancel.clone())))
            .collect();
        let length = Duration::from_secs(args.seconds);
        let mut kills = vec![length / 2, length / 12];
        let mut alteration = Some(length * 3 / 4);
        let mut watch = Watch::default();
        while began.elapsed() < length {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::task::block_in_place(|| watch.look(&mut self.sidecar, began));
            if kills.last().is_some_and(|at| began.elapsed() >= *at) {
                kills.pop();
                say(&format!(
                    "{:.0} s: SIGKILL to the sidecar ({})",
                    began.elapsed().as_secs_f64(),
                    watch.phase()
                ))?;
                self.sidecar.kill()?;
                watch.restarted();
                self.sidecar.start()?;
            }
            if alteration.is_some_and(|at| began.elapsed() >= at) {
                alteration = None;
                say("the shop adds a column: ALTER TABLE shop.products ADD COLUMN origin …")?;
                let mut conn = Conn::new(root(&self.source)).await?;
                conn.query_drop("ALTER TABLE shop.products ADD COLUMN origin CHAR(2) CHARACTER SET latin1 NOT NULL DEFAULT 'DE' AFTER title").await?;
            }
        }
        cancel.cancel();
        for client in clients {
            client.await?;
        }
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        say(&format!(
            "the shop committed {} transactions through the proxy, rolled back {}, was interrupted {} times by the kills, failed {} times",
            of(&tally.committed),
            of(&tally.rolled_back),
            of(&tally.interrupted),
            of(&tally.failed)
        ))?;
        if of(&tally.failed) > 0 {
            bail!("the shop got errors that it would not have got from the source itself");
        }
        while !watch.copied() && began.elapsed() < length + CATCH_UP {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::task::block_in_place(|| watch.look(&mut self.sidecar, began));
        }
        Ok(watch)
    }

    /// Commits one last row on the source and waits for it on the target: everything before it is there then.
    async fn catch_up(&mut self, source: &mut Conn, target: &mut Conn) -> Result<u64> {
        source
            .query_drop("INSERT INTO shop.probes (sent) VALUES (NOW(6))")
            .await?;
        let last = source.last_insert_id();
        let until = Instant::now() + CATCH_UP;
        loop {
            let seen: Option<u64> = target
                .exec_first("SELECT id FROM shop.probes WHERE id = ?", (last,))
                .await?;
            if seen.is_some() {
                break;
            }
            if Instant::now() > until {
                bail!(
                    "the target has not caught up; the sidecar's log ends:\n{}",
                    self.sidecar.log_end()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = tokio::task::block_in_place(|| self.sidecar.status())?;
        Ok(replayed(&status))
    }

    /// Measures the delay, then prints what was measured.
    async fn figures(&mut self, watch: &Watch, replayed: u64) -> Result<()> {
        say("measuring the delay from commit on the source to visible on the target, 5 s")?;
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.cancel();
        });
        let mut delays = traffic::probe(&app(self.proxy), &root(&self.target), &cancel).await?;
        delays.sort();
        let at = |percent: usize| {
            delays
                .get(delays.len() * percent / 100)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1e3
        };
        say(&format!(
            "commit to visible: p50 {:.1} ms, p99 {:.1} ms over {} commits",
            at(50),
            at(99),
            delays.len()
        ))?;
        say(&format!(
            "copied {} rows in {:.1} s: {:.0} rows/s, with one kill in it",
            watch.rows(),
            watch.copy_seconds,
            watch.copy_rate()
        ))?;
        let peak = watch.peak_apply_rate;
        say(&format!(
            "applied {} row changes since the last start, at most {peak:.0} rows/s",
            replayed
        ))?;
        say(&format!(
            "the sidecar's resident memory was at most {} MiB",
            self.sidecar.peak_kib() / 1024
        ))
    }

    /// Leaves everything running until Ctrl-C.
    async fn stay(&mut self, folder: &Path, http: &str) -> Result<()> {
        say(&format!("everything stays up, in {}:", folder.display()))?;
        say(&format!(
            "  the shop through the proxy   mysql -h127.0.0.1 -P{} -ushop -pshop shop",
            self.proxy
        ))?;
        say(&format!(
            "  the source                   mysql -h127.0.0.1 -P{} -uroot",
            self.source.port()
        ))?;
        say(&format!(
            "  the target                   mysql -h127.0.0.1 -P{} -uroot",
            self.target.port()
        ))?;
        say(&format!(
            "  what the sidecar does        outrigger status --url http://{http}"
        ))?;
        say("Ctrl-C ends it and removes the folder")?;
        Ok(tokio::signal::ctrl_c().await?)
    }
}

/// What the status showed over time.
#[derive(Debug, Default)]
struct Watch {
    rows_copied: BTreeMap<String, u64>,
    copy_seconds: f64,
    copied: bool,
    phase: String,
    peak_apply_rate: f64,
    last: Option<(Instant, u64)>,
}

impl Watch {
    /// Looks once; a sidecar that is just starting has nothing to show.
    fn look(&mut self, sidecar: &mut Sidecar, began: Instant) {
        let Ok(status) = sidecar.status() else { return };
        let Some(state) = sidecar::task_states(&status).into_iter().next() else {
            return;
        };
        let tables = status["tasks"][0]["tables"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for table in &tables {
            // After a restart, a table that is done may not be listed any more.
            let name = table["table"].as_str().unwrap_or_default().to_owned();
            let most = self.rows_copied.entry(name).or_default();
            *most = table["rows_copied"].as_u64().unwrap_or(0).max(*most);
        }
        let done = matches!(state.as_str(), "catching_up" | "synchronizing");
        if !self.copied {
            self.copy_seconds = began.elapsed().as_secs_f64();
            self.copied = done;
        }
        let now = (Instant::now(), replayed(&status));
        if let Some((at, before)) = self.last
            && now.0 - at >= Duration::from_millis(900)
        {
            #[expect(clippy::cast_precision_loss, reason = "a rate to print")]
            let rows = now.1.saturating_sub(before) as f64;
            self.peak_apply_rate = self.peak_apply_rate.max(rows / (now.0 - at).as_secs_f64());
            self.last = Some(now);
        } else if self.last.is_none() {
            self.last = Some(now);
        }
        self.phase = state.replace('_', " ");
    }

    fn rows(&self) -> u64 {
        self.rows_copied.values().sum()
    }

    fn restarted(&mut self) {
        self.last = None;
    }

    fn phase(&self) -> &str {
        if self.phase.is_empty() {
            "starting"
        } else {
            &self.phase
        }
    }

    fn copied(&self) -> bool {
        self.copied
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate to print")]
    fn copy_rate(&self) -> f64 {
        self.rows() as f64 / self.copy_seconds.max(0.001)
    }
}

/// Row changes replayed since the sidecar started.
fn replayed(status: &serde_json::Value) -> u64 {
    let task = &status["tasks"][0];
    ["rows_inserted", "rows_updated", "rows_deleted"]
        .iter()
        .filter_map(|key| task[*key].as_u64())
        .sum()
}

/// The accounts an operator would make: one for the shop, one for the sidecar on each side with no more than it needs.
async fn accounts(source: &mut Conn, target: &mut Conn) -> Result<()> {
    for statement in [
        "CREATE USER shop@'%' IDENTIFIED BY 'shop'",
        "GRANT ALL ON shop.* TO shop@'%'",
        "CREATE USER outrigger@'%' IDENTIFIED BY 'demo-source'",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT, SHOW VIEW, LOCK TABLES ON *.* TO outrigger@'%'",
    ] {
        source.query_drop(statement).await?;
    }
    for statement in [
        "CREATE USER outrigger@'%' IDENTIFIED BY 'demo-target'",
        "GRANT ALL ON shop.* TO outrigger@'%'",
        "GRANT ALL ON outrigger.* TO outrigger@'%'",
    ] {
        target.query_drop(statement).await?;
    }
    Ok(())
}

fn config(source: &Server, target: &Server, proxy: u16, http: &str) -> String {
    format!(
        r#"[source]
host = "127.0.0.1"
port = {}
user = "outrigger"
password = "demo-source"

[log]
path = "log"

[proxy]
listen = ["127.0.0.1:{proxy}"]

[[task]]
name = "demo"
include = ["shop"]

[task.target]
host = "127.0.0.1"
port = {}
user = "outrigger"
password = "demo-target"

[http]
listen = "{http}"
"#,
        source.port(),
        target.port()
    )
}

/// An administrator's way in, over the unix socket.
fn root(server: &Server) -> Opts {
    OptsBuilder::default()
        .socket(server.socket().to_str())
        .user(Some("root"))
        .into()
}

/// An application's way in, through the proxy.
fn app(proxy: u16) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(proxy)
        .user(Some("shop"))
        .pass(Some("shop"))
        .prefer_socket(false)
        .into()
}

fn report(comparisons: &[Comparison]) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<22} {:>10} {:>10}  {:<48} same",
        "table", "source", "target", "checksum"
    )?;
    for comparison in comparisons {
        let rows = |digest: &Option<compare::Digest>| {
            digest
                .as_ref()
                .map_or("absent".to_owned(), |digest| digest.rows.to_string())
        };
        let sum = |digest: &Option<compare::Digest>| {
            digest
                .as_ref()
                .map_or(String::new(), |digest| digest.checksum.clone())
        };
        let (ours, theirs) = (sum(&comparison.source), sum(&comparison.target));
        let checksum = if ours == theirs {
            ours
        } else {
            format!("{ours} / {theirs}")
        };
        writeln!(
            out,
            "{:<22} {:>10} {:>10}  {checksum:<48} {}",
            comparison.table,
            rows(&comparison.source),
            rows(&comparison.target),
            if comparison.equal() { "yes" } else { "NO" }
        )?;
    }
    let different = comparisons
        .iter()
        .filter(|comparison| !comparison.equal())
        .count();
    writeln!(out, "{} tables compared, {different} differ", comparisons.len())?;
    Ok(out.flush()?)
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "demo: {text}")?;
    Ok(out.flush()?)
}
