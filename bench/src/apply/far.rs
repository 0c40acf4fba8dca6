//! A target that is far away: a relay delays every byte on the way to it.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use outrigger::demo::sidecar::Sidecar;

use super::{Backlog, Flags, WARM_UP, delay, mark, stop, wait_until_visible};
use crate::bar::{self, Figure};
use crate::lab::{self, Lab};
use crate::link::Relay;
use crate::tables::DATABASE;
use crate::{load, tables};

/// Two targets of one source, each with a sidecar of its own.
struct Pair {
    source: Server,
    contestants: Vec<Contestant>,
}

struct Contestant {
    server: Server,
    sidecar: Sidecar,
    /// The way to it, where it is not the direct one.
    _relay: Option<Relay>,
}

impl Pair {
    /// Named targets, far or near, and what each task is told besides.
    async fn new(lab: &Lab, flags: &Flags, targets: [(&str, bool, &str); 2]) -> Result<Self> {
        let source = lab.server(&format!("{}-source", targets[0].0))?;
        lab::account(&source).await?;
        tables::fill(&source, flags.rows).await?;
        let mut contestants = Vec::new();
        for (name, far, more) in targets {
            let server = lab.server(name)?;
            lab::account(&server).await?;
            let relay = match far {
                true => Some(Relay::start(server.port(), Duration::from_millis(flags.round_trip_ms)).await?),
                false => None,
            };
            let port = relay.as_ref().map_or(server.port(), |relay| relay.port);
            let mut sidecar = lab.sidecar_at(&format!("{name}-sidecar"), &source, port, "")?;
            let mut config = std::fs::OpenOptions::new().append(true).open(sidecar.config())?;
            config.write_all(more.as_bytes())?;
            sidecar.start()?;
            sidecar.wait_until_synchronizing(lab::PATIENCE)?;
            stop(&mut sidecar)?;
            contestants.push(Contestant {
                server,
                sidecar,
                _relay: relay,
            });
        }
        Ok(Self { source, contestants })
    }

    /// Brings both targets to where the source is: a definition statement waits for everything before it.
    async fn catch_up(&mut self) -> Result<()> {
        let mut source = lab::root(&self.source).await?;
        source
            .query_drop(format!("CREATE TABLE {DATABASE}.the_end (id INT PRIMARY KEY)"))
            .await?;
        for Contestant { server, sidecar, .. } in &mut self.contestants {
            sidecar.start()?;
            let mut target = lab::root(server).await?;
            let until = Instant::now() + lab::PATIENCE;
            let there = format!(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = '{DATABASE}' AND table_name = 'the_end'"
            );
            while target.query_first::<u64, _>(&there).await?.is_none() {
                if Instant::now() > until {
                    bail!("a target is not level within {:?}", lab::PATIENCE);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop(sidecar)?;
        }
        Ok(())
    }

    async fn compare(&self) -> Result<()> {
        for contestant in &self.contestants {
            lab::must_be_equal(&self.source, &contestant.server).await?;
        }
        Ok(())
    }
}

/// A far target beside a near one: two sidecars drain the same backlog. Their clocks run from the first to the last transaction
/// that is visible, so that neither start counts.
pub(super) async fn drains(lab: &Lab, flags: &Flags) -> Result<()> {
    let mut pair = Pair::new(lab, flags, [("near", false, ""), ("far", true, "")]).await?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..flags.rounds {
        lab::say(&format!(
            "round {round}: writing {} transactions",
            flags.transactions
        ))?;
        let first = mark(&pair.source).await?;
        load::backlog(
            &pair.source,
            Backlog::Mix,
            flags.rows,
            flags.transactions,
            200 + round,
        )
        .await?;
        let last = mark(&pair.source).await?;
        for (Contestant { server, sidecar, .. }, rates) in pair.contestants.iter_mut().zip(&mut rates) {
            Lab::settle()?;
            let mut conn = lab::root(server).await?;
            sidecar.start()?;
            wait_until_visible(&mut conn, first).await?;
            let began = Instant::now();
            wait_until_visible(&mut conn, last).await?;
            let rate = f64::from(flags.transactions) / began.elapsed().as_secs_f64();
            lab::say(&format!("round {round}: {rate:.0} transactions/s"))?;
            rates.push(rate);
            stop(sidecar)?;
        }
    }
    pair.compare().await?;
    let figure = Figure {
        name: "apply_wan",
        unit: "transactions/s",
    };
    let [near, far] = rates;
    bar::print(figure, &far, "undelayed", &near)
}

/// Delays of single commits on a far target under a steady load: in eventual order, beside the source's.
pub(super) async fn delays(lab: &Lab, flags: &Flags) -> Result<()> {
    let eventual = "\n[task.group]\norder = \"eventual\"\n";
    let mut pair = Pair::new(lab, flags, [("eventual", true, eventual), ("ordered", true, "")]).await?;
    let (mut middle, mut tail) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..flags.rounds {
        for at in [round % 2, (round + 1) % 2].map(|turn| usize::from(turn == 1)) {
            let Contestant { server, sidecar, .. } = &mut pair.contestants[at];
            Lab::settle()?;
            sidecar.start()?;
            let last = mark(&pair.source).await?;
            wait_until_visible(&mut lab::root(server).await?, last).await?;
            let time = Duration::from_secs(flags.seconds);
            let mut writers = load::steady(&pair.source, flags.rows, flags.rate, WARM_UP + time, 300 + round);
            tokio::time::sleep(WARM_UP).await;
            let mut delays = delay::sample(&pair.source, server, time).await?;
            while let Some(done) = writers.join_next().await {
                done??;
            }
            let (p50, p99) = (bar::percentile(&mut delays, 50), bar::percentile(&mut delays, 99));
            lab::say(&format!(
                "round {round}: {} p50 {p50:.1} ms, p99 {p99:.1} ms over {} commits",
                ["eventual", "ordered"][at],
                delays.len()
            ))?;
            middle[at].push(p50);
            tail[at].push(p99);
            let last = mark(&pair.source).await?;
            wait_until_visible(&mut lab::root(server).await?, last).await?;
            stop(sidecar)?;
        }
    }
    for (name, [eventual, ordered]) in [("apply_wan_delay_p50", &middle), ("apply_wan_delay_p99", &tail)] {
        let figure = Figure { name, unit: "ms" };
        bar::print(figure, eventual, "ordered", ordered)?;
    }
    pair.catch_up().await?;
    pair.compare().await
}
