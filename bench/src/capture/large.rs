//! Memory while large things pass: a large transaction, a large compressed one, a large row.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;

use super::binlog;
use super::ours::{self, Ours};
use crate::bar::{self, Figure};
use crate::lab::{self, Lab};

/// What may be resident above idle.
const LIMIT_MIB: f64 = 256.0;
/// A row of the large transactions.
const ROW: u64 = 1000;

/// Sizes in MiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) transaction: u64,
    pub(super) compressed: u64,
    pub(super) row: u64,
}

/// Captures each of them into a new log and prints the peak of what is resident above idle.
pub(super) async fn run(lab: &Lab, source: &Server, sizes: Sizes) -> Result<()> {
    let mut conn = lab::root(source).await?;
    lab::durable(&mut conn, false).await?;
    for statement in [
        "SET GLOBAL max_allowed_packet = 1073741824",
        "CREATE DATABASE large",
        "CREATE TABLE large.rows_1k (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(1000) CHARACTER SET latin1 NOT NULL)",
        "CREATE TABLE large.seeds (v VARCHAR(1000) CHARACTER SET latin1 NOT NULL)",
        "CREATE TABLE large.wide (id BIGINT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB NOT NULL)",
    ] {
        conn.query_drop(statement).await?;
    }
    // A seed of 16 MiB, from which the server multiplies by itself.
    let seeds = (16 << 20) / ROW;
    conn.query_drop("SET SESSION cte_max_recursion_depth = 1000000")
        .await?;
    conn.query_drop(format!(
        "INSERT INTO large.seeds WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {seeds}) \
         SELECT HEX(RANDOM_BYTES(500)) FROM n"
    ))
    .await?;
    let copies = |mib: u64| {
        let copy = "INSERT INTO large.rows_1k (v) SELECT v FROM large.seeds".to_owned();
        vec![copy; usize::try_from(mib / 16).unwrap_or(1).max(1)]
    };
    let row = format!(
        "INSERT INTO large.wide (v) VALUES (REPEAT(HEX(RANDOM_BYTES(512)), {}))",
        (sizes.row << 20) / 1024
    );
    for (name, compression, statements) in [
        ("capture_memory_row", "OFF", vec![row]),
        ("capture_memory_transaction", "OFF", copies(sizes.transaction)),
        ("capture_memory_compressed", "ON", copies(sizes.compressed)),
    ] {
        // A new session: both settings are read when it begins.
        let mut conn = lab::root(source).await?;
        conn.query_drop(format!(
            "SET SESSION binlog_transaction_compression = {compression}"
        ))
        .await?;
        let start = outrigger_capture::start_position(&ours::capture(source)).await?;
        lab::say(&format!("{name}: writing"))?;
        conn.query_drop("BEGIN").await?;
        for statement in statements {
            conn.query_drop(statement).await?;
        }
        conn.query_drop("COMMIT").await?;
        let (end, bytes) = binlog::end(&mut conn, &start.file).await?;
        lab::say(&format!("{name}: capturing {} MiB of binlog files", bytes >> 20))?;
        let now = outrigger_capture::start_position(&ours::capture(source)).await?;
        let mut idle = Ours::start(lab, source, &now, None)?;
        idle.reach(&end).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = status("VmRSS")?;
        idle.end().await?;
        idle.remove()?;
        // Forgets the former peak.
        fs::write("/proc/self/clear_refs", "5").context("resetting the peak of resident memory")?;
        let mut ours = Ours::start(lab, source, &start, None)?;
        ours.reach(&end).await?;
        let peak = status("VmHWM")?;
        ours.end().await?;
        ours.remove()?;
        let above = peak.saturating_sub(before) as f64 / 1024.0;
        let figure = Figure { name, unit: "MiB" };
        bar::print(figure, &[above], "limit", &[LIMIT_MIB])?;
    }
    Ok(())
}

/// A figure in KiB from this process's status.
fn status(field: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number
        .with_context(|| format!("no {field} in /proc/self/status"))?
        .parse()?)
}
