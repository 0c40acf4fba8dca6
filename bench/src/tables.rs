//! The tables that are copied, changed and read: sysbench's, with its column widths and its digits, and one for probes.

use std::fmt::Write;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::lab;

/// Where all of them are.
pub(crate) const DATABASE: &str = "sbtest";
/// How many there are besides the probes.
pub(crate) const TABLES: u32 = 8;
/// Rows per statement while filling.
const BATCH: u32 = 1000;

/// Creates and fills the tables, without waiting for the server's disk, which is durable again afterwards.
pub(crate) async fn fill(server: &Server, rows: u32) -> Result<()> {
    let mut conn = lab::root(server).await?;
    lab::durable(&mut conn, false).await?;
    conn.query_drop(format!("CREATE DATABASE {DATABASE}")).await?;
    conn.query_drop(format!(
        "CREATE TABLE {DATABASE}.probes (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, sent DATETIME(6) NOT NULL)"
    ))
    .await?;
    let mut work = JoinSet::new();
    for table in 1..=TABLES {
        conn.query_drop(format!(
            "CREATE TABLE {DATABASE}.sbtest{table} (id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, \
             c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_{table} (k))"
        ))
        .await?;
        work.spawn(fill_one(lab::opts(server), table, rows));
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    lab::durable(&mut conn, true).await
}

async fn fill_one(opts: mysql_async::Opts, table: u32, rows: u32) -> Result<()> {
    let mut conn = mysql_async::Conn::new(opts).await?;
    let mut dice = StdRng::seed_from_u64(u64::from(table));
    for first in (1..=rows).step_by(usize::try_from(BATCH)?) {
        let mut sql = format!("INSERT INTO {DATABASE}.sbtest{table} (id, k, c, pad) VALUES ");
        for id in first..(first + BATCH).min(rows + 1) {
            let separator = if id == first { "" } else { "," };
            let k = dice.random_range(1..=rows);
            write!(
                sql,
                "{separator}({id},{k},'{}','{}')",
                digits(&mut dice, 10),
                digits(&mut dice, 5)
            )?;
        }
        conn.query_drop(sql).await?;
    }
    Ok(conn.disconnect().await?)
}

/// One transaction of sysbench's `oltp_write_only`: an indexed and a plain update, a delete and an insert of the same key.
pub(crate) fn transaction(dice: &mut StdRng, rows: u32) -> String {
    let mut table = || (dice.random_range(1..=TABLES), dice.random_range(1..=rows));
    let ((a, x), (b, y), (c, z)) = (table(), table(), table());
    let k = dice.random_range(1..=rows);
    let (text, long, pad) = (digits(dice, 10), digits(dice, 10), digits(dice, 5));
    format!(
        "BEGIN; UPDATE {DATABASE}.sbtest{a} SET k = k + 1 WHERE id = {x}; \
         UPDATE {DATABASE}.sbtest{b} SET c = '{text}' WHERE id = {y}; \
         DELETE FROM {DATABASE}.sbtest{c} WHERE id = {z}; \
         INSERT INTO {DATABASE}.sbtest{c} (id, k, c, pad) VALUES ({z}, {k}, '{long}', '{pad}'); COMMIT"
    )
}

/// Groups of eleven digits with dashes between, as sysbench writes them.
pub(crate) fn digits(dice: &mut StdRng, groups: usize) -> String {
    let mut text = String::with_capacity(groups * 12);
    for group in 0..groups {
        let separator = if group == 0 { "" } else { "-" };
        let number = dice.random_range(0..100_000_000_000_u64);
        text.push_str(&format!("{separator}{number:011}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_their_columns() {
        let mut dice = StdRng::seed_from_u64(1);
        assert_eq!(digits(&mut dice, 10).len(), 119);
        assert_eq!(digits(&mut dice, 5).len(), 59);
    }
}
