//! Writers on the source: as many transactions as wanted, or as many per second as wanted.

use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use outrigger::demo::server::Server;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::apply::Backlog;
use crate::{lab, tables};

/// Connections that write a backlog.
const BACKLOG_WRITERS: u32 = 16;
/// Connections that write at a steady rate.
const STEADY_WRITERS: u32 = 8;

/// Commits `transactions` of a kind from several connections, without waiting for the source's disk: only the binlog that this
/// leaves is of interest. The source is durable again afterwards.
pub(crate) async fn backlog(
    source: &Server,
    kind: Backlog,
    rows: u32,
    transactions: u32,
    seed: u64,
) -> Result<()> {
    let mut admin = lab::root(source).await?;
    lab::durable(&mut admin, false).await?;
    let mut writers = JoinSet::new();
    for writer in 0..BACKLOG_WRITERS {
        let opts = lab::opts(source);
        let share = transactions / BACKLOG_WRITERS + u32::from(writer < transactions % BACKLOG_WRITERS);
        let mut dice = StdRng::seed_from_u64(seed * 1000 + u64::from(writer));
        writers.spawn(async move {
            let mut conn = Conn::new(opts).await?;
            for _ in 0..share {
                commit(&mut conn, &kind.transaction(&mut dice, rows)).await?;
            }
            anyhow::Ok(conn.disconnect().await?)
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    lab::durable(&mut admin, true).await
}

/// Writers that commit `rate` transactions of the mix per second for the given time. To be awaited by the caller.
pub(crate) fn steady(
    source: &Server,
    rows: u32,
    rate: u32,
    time: Duration,
    seed: u64,
) -> JoinSet<Result<()>> {
    let pace = Duration::from_secs(1) * STEADY_WRITERS / rate.max(1);
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..STEADY_WRITERS {
        let opts: Opts = lab::opts(source);
        let mut dice = StdRng::seed_from_u64(seed * 1000 + 500 + u64::from(writer));
        writers.spawn(async move {
            let mut conn = Conn::new(opts).await?;
            let mut next = start + pace * writer / STEADY_WRITERS;
            while start.elapsed() < time {
                tokio::time::sleep_until(next.into()).await;
                commit(&mut conn, &tables::transaction(&mut dice, rows)).await?;
                next += pace;
            }
            anyhow::Ok(conn.disconnect().await?)
        });
    }
    writers
}

/// Commits one transaction; deadlocks and lock waits are part of life with rows in common, and cost another try.
async fn commit(conn: &mut Conn, sql: &str) -> Result<()> {
    loop {
        match conn.query_drop(sql).await {
            Ok(()) => return Ok(()),
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1062 | 1205 | 1213) => {
                conn.query_drop("ROLLBACK").await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
