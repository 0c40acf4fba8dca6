//! Commit to visible: a row is committed on the source and looked for on the target until it is there.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use outrigger::demo::server::Server;
use tokio::sync::oneshot;

use crate::lab;
use crate::tables::DATABASE;

/// Between two looks at the target.
const LOOK: Duration = Duration::from_micros(300);
/// Between two commits.
const PAUSE: Duration = Duration::from_millis(20);
/// A row that takes longer than this does not come.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Delays over the given time, sampled by a thread of its own: a runtime's timers count whole milliseconds.
pub(super) async fn sample(source: &Server, target: &Server, time: Duration) -> Result<Vec<Duration>> {
    let (source, target) = (lab::opts(source), lab::opts(target));
    let (sender, receiver) = oneshot::channel();
    let sampler = thread::spawn(move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the sampler")
            .and_then(|runtime| runtime.block_on(look(source, target, time)));
        // The receiver only goes away with the whole benchmark.
        drop(sender.send(outcome));
    });
    let outcome = receiver.await;
    sampler
        .join()
        .map_err(|_panic| anyhow!("the sampler has a defect"))?;
    outcome?
}

async fn look(source: Opts, target: Opts, time: Duration) -> Result<Vec<Duration>> {
    let (mut source, mut target) = (Conn::new(source).await?, Conn::new(target).await?);
    let until = Instant::now() + time;
    let mut delays = Vec::new();
    while Instant::now() < until {
        let id = commit(&mut source).await?;
        let committed = Instant::now();
        let sql = format!("SELECT id FROM {DATABASE}.probes WHERE id = {id}");
        while target.query_first::<u64, _>(&sql).await?.is_none() {
            if committed.elapsed() > GIVE_UP {
                bail!("a commit is not visible on the target after {GIVE_UP:?}");
            }
            thread::sleep(LOOK);
        }
        delays.push(committed.elapsed());
        thread::sleep(PAUSE);
    }
    Ok(delays)
}

/// Commits one row of the probes and returns its key.
pub(super) async fn commit(source: &mut Conn) -> Result<u64> {
    source
        .query_drop(format!("INSERT INTO {DATABASE}.probes (sent) VALUES (NOW(6))"))
        .await?;
    source
        .last_insert_id()
        .ok_or_else(|| anyhow!("the source made no key"))
}
