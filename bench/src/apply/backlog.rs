//! Backlogs of different kinds: their tables, and the transactions of which they are made.

use std::fmt::Write;

use anyhow::Result;
use clap::ValueEnum;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use rand::Rng;
use rand::rngs::StdRng;

use crate::lab;
use crate::tables::{self, DATABASE};

/// Rows that nine of ten changes of a hot backlog go to.
const HOT: u32 = 10;
/// Tables with three secondary indexes each.
const INDEXED: u32 = 10;
/// Rows in each of them, and in the one with unique values.
const INDEXED_ROWS: u32 = 10_000;
/// Rows in the table without a key.
const KEYLESS_ROWS: u32 = 10_000;
/// Rows per statement while filling.
const BATCH: u32 = 500;

/// A kind of backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backlog {
    /// sysbench's `oltp_write_only`.
    Mix,
    /// Nine of ten changes to the same ten rows.
    Hot,
    /// Rows of 1 KB, inserts only.
    Insert,
    /// Ten tables with three secondary indexes.
    Indexed,
    /// A table with unique values besides its key, which change.
    Unique,
    /// A table of 10,000 rows without a key.
    Keyless,
}

impl Backlog {
    /// As the figures' names have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mix => "drain",
            Self::Hot => "drain_hot",
            Self::Insert => "drain_insert",
            Self::Indexed => "drain_indexed",
            Self::Unique => "drain_unique",
            Self::Keyless => "drain_keyless",
        }
    }

    /// How many transactions it has where the mix has so many: a row without a key is looked for among all rows.
    pub(super) fn transactions(self, mix: u32) -> u32 {
        match self {
            Self::Keyless => mix / 20,
            _ => mix,
        }
    }

    /// Row changes in each of its transactions.
    pub(super) fn changes(self) -> u32 {
        match self {
            Self::Insert | Self::Keyless => 1,
            _ => 4,
        }
    }

    /// Creates and fills its tables; those of the mix are there.
    pub(super) async fn fill(self, source: &Server) -> Result<()> {
        let mut conn = lab::root(source).await?;
        lab::durable(&mut conn, false).await?;
        match self {
            Self::Mix | Self::Hot => {}
            Self::Insert => {
                let sql = format!(
                    "CREATE TABLE {DATABASE}.inserts (id BIGINT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(500) NOT NULL, b VARCHAR(500) NOT NULL)"
                );
                conn.query_drop(sql).await?;
            }
            Self::Indexed => {
                for table in 1..=INDEXED {
                    let sql = format!(
                        "CREATE TABLE {DATABASE}.indexed{table} (id INT PRIMARY KEY, a INT NOT NULL, b DATETIME NOT NULL, c VARCHAR(40) NOT NULL, \
                         pad CHAR(60) NOT NULL, KEY (a), KEY (b, a), KEY (c))"
                    );
                    conn.query_drop(sql).await?;
                    let row =
                        |id| format!("({id},{id},NOW() - INTERVAL {id} MINUTE,CONCAT('text ',{id}),'pad')");
                    fill(&mut conn, &format!("indexed{table}"), INDEXED_ROWS, row).await?;
                }
            }
            Self::Unique => {
                let sql = format!(
                    "CREATE TABLE {DATABASE}.uniques (id INT PRIMARY KEY, place INT UNIQUE, name VARCHAR(40) NOT NULL UNIQUE, n INT NOT NULL)"
                );
                conn.query_drop(sql).await?;
                let row = |id| format!("({id},{id},CONCAT('name ',{id}),0)");
                fill(&mut conn, "uniques", INDEXED_ROWS, row).await?;
            }
            Self::Keyless => {
                let sql = format!("CREATE TABLE {DATABASE}.keyless (a INT, b VARCHAR(40), c DATETIME)");
                conn.query_drop(sql).await?;
                let row = |id| format!("({id},CONCAT('text ',{id}),NOW())");
                fill(&mut conn, "keyless", KEYLESS_ROWS, row).await?;
            }
        }
        lab::durable(&mut conn, true).await
    }

    /// One transaction of it.
    pub(crate) fn transaction(self, dice: &mut StdRng, rows: u32) -> String {
        match self {
            Self::Mix => tables::transaction(dice, rows),
            Self::Hot => {
                let mut sql = "BEGIN;".to_owned();
                for _ in 0..4 {
                    let cold = dice.random_range(0..10) == 0;
                    let (table, id) = match cold {
                        true => (dice.random_range(1..=tables::TABLES), dice.random_range(1..=rows)),
                        false => (1, dice.random_range(1..=HOT)),
                    };
                    sql.push_str(&format!(
                        "UPDATE {DATABASE}.sbtest{table} SET k = k + 1 WHERE id = {id};"
                    ));
                }
                sql + "COMMIT"
            }
            Self::Insert => format!(
                "INSERT INTO {DATABASE}.inserts (a, b) VALUES ('{}','{}')",
                tables::digits(dice, 41),
                tables::digits(dice, 41)
            ),
            Self::Indexed => {
                let mut place = || {
                    (
                        dice.random_range(1..=INDEXED),
                        dice.random_range(1..=INDEXED_ROWS),
                    )
                };
                let ((a, x), (b, y), (c, z)) = (place(), place(), place());
                let n = dice.random_range(0..1_000_000);
                format!(
                    "BEGIN; UPDATE {DATABASE}.indexed{a} SET a = {n}, b = NOW() WHERE id = {x}; \
                     UPDATE {DATABASE}.indexed{b} SET c = 'text {n}' WHERE id = {y}; DELETE FROM {DATABASE}.indexed{c} WHERE id = {z}; \
                     INSERT INTO {DATABASE}.indexed{c} VALUES ({z}, {n}, NOW(), 'text {n}', 'pad'); COMMIT"
                )
            }
            Self::Unique => {
                let mut id = || dice.random_range(1..=INDEXED_ROWS);
                let (a, b, c, d) = (id(), id(), id(), id());
                // Rows give their place up and take another one's; names change by case only.
                format!(
                    "BEGIN; UPDATE {DATABASE}.uniques SET place = NULL WHERE place = {a}; \
                     UPDATE {DATABASE}.uniques SET place = {a} WHERE id = {b}; \
                     UPDATE {DATABASE}.uniques SET n = n + 1 WHERE id = {c}; \
                     UPDATE {DATABASE}.uniques SET name = CONCAT('NAME ', {d}), n = n + 1 WHERE id = {d}; COMMIT"
                )
            }
            Self::Keyless => {
                let (id, n) = (
                    dice.random_range(1..=KEYLESS_ROWS),
                    dice.random_range(0..1_000_000),
                );
                match dice.random_range(0..4) {
                    0 => format!("INSERT INTO {DATABASE}.keyless VALUES ({id}, 'text {n}', NOW())"),
                    1 => format!("DELETE FROM {DATABASE}.keyless WHERE a = {id} LIMIT 1"),
                    _ => format!("UPDATE {DATABASE}.keyless SET b = 'text {n}' WHERE a = {id} LIMIT 1"),
                }
            }
        }
    }
}

async fn fill(
    conn: &mut mysql_async::Conn,
    table: &str,
    rows: u32,
    row: impl Fn(u32) -> String,
) -> Result<()> {
    for first in (1..=rows).step_by(usize::try_from(BATCH)?) {
        let mut sql = format!("INSERT INTO {DATABASE}.{table} VALUES ");
        for id in first..(first + BATCH).min(rows + 1) {
            write!(sql, "{}{}", if id == first { "" } else { "," }, row(id))?;
        }
        conn.query_drop(sql).await?;
    }
    Ok(())
}
