//! What is captured: a stretch of the source's binlog, written by procedures on the server.

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;
use outrigger_protocol::position::{FilePosition, SourcePosition};
use tokio::task::JoinSet;

use super::ours;
use crate::lab;

/// Connections that fill the binlog.
const WRITERS: u32 = 4;
/// Rows that each of them changes.
const ROWS: u32 = 5000;

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Eight rows of 1 KB are inserted.
    Wide,
    /// sysbench's `oltp_write_only`: two updates, a delete and an insert of rows of 200 bytes.
    Mix,
    /// One row of 100 bytes is inserted: the work is per event.
    Small,
}

impl Shape {
    /// As in the figures' names.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wide => "1k",
            Self::Mix => "mix",
            Self::Small => "small",
        }
    }

    /// Transactions per call of the procedure.
    fn transactions(self) -> u32 {
        match self {
            Self::Wide => 500,
            Self::Mix => 1000,
            Self::Small => 4000,
        }
    }

    /// The table's columns besides its key.
    fn columns(self) -> &'static str {
        match self {
            Self::Wide => "v VARCHAR(1000) CHARACTER SET latin1 NOT NULL",
            Self::Mix => {
                "k INT NOT NULL, c CHAR(120) CHARACTER SET latin1 NOT NULL, pad CHAR(60) CHARACTER SET latin1 NOT NULL, KEY (k)"
            }
            Self::Small => "v VARCHAR(100) CHARACTER SET latin1 NOT NULL",
        }
    }

    /// What the procedure repeats; `w` is the writer's number.
    fn body(self) -> String {
        let table = format!("capture.t_{}", self.name());
        match self {
            Self::Wide => {
                let values = ["(HEX(RANDOM_BYTES(500)))"; 8].join(", ");
                format!("INSERT INTO {table} (v) VALUES {values};")
            }
            Self::Small => format!("INSERT INTO {table} (v) VALUES (HEX(RANDOM_BYTES(50)));"),
            Self::Mix => {
                // Each writer has rows of its own, so that none waits for another.
                let id = format!("w * {ROWS} + 1 + FLOOR(RAND() * {ROWS})");
                format!(
                    "START TRANSACTION; SET @x = {id}; SET @y = {id}; SET @z = {id}; \
                     UPDATE {table} SET k = k + 1 WHERE id = @x; \
                     UPDATE {table} SET c = HEX(RANDOM_BYTES(60)) WHERE id = @y; \
                     DELETE FROM {table} WHERE id = @z; \
                     INSERT INTO {table} VALUES (@z, RAND() * 100000, HEX(RANDOM_BYTES(60)), HEX(RANDOM_BYTES(30))); COMMIT;"
                )
            }
        }
    }
}

/// A piece of the source's binlog.
pub(super) struct Stretch {
    pub(super) start: SourcePosition,
    pub(super) end: FilePosition,
    pub(super) bytes: u64,
}

/// Writes a stretch of binlog by a procedure on the server.
pub(super) async fn write(source: &Server, shape: Shape, mib: u64) -> Result<Stretch> {
    let mut conn = lab::root(source).await?;
    lab::durable(&mut conn, false).await?;
    let name = shape.name();
    for statement in [
        "CREATE DATABASE IF NOT EXISTS capture".to_owned(),
        format!(
            "CREATE TABLE capture.t_{name} (id BIGINT PRIMARY KEY AUTO_INCREMENT, {})",
            shape.columns()
        ),
        format!(
            "CREATE PROCEDURE capture.write_{name}(w INT, times INT) BEGIN WHILE times > 0 DO {} SET times = times - 1; END WHILE; END",
            shape.body()
        ),
    ] {
        conn.query_drop(statement).await?;
    }
    if shape == Shape::Mix {
        conn.query_drop("SET SESSION cte_max_recursion_depth = 1000000")
            .await?;
        conn.query_drop(format!(
            "INSERT INTO capture.t_{name} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
             SELECT i, i, HEX(RANDOM_BYTES(60)), HEX(RANDOM_BYTES(30)) FROM n",
            WRITERS * ROWS
        ))
        .await?;
    }
    conn.query_drop("FLUSH BINARY LOGS").await?;
    let start = outrigger_capture::start_position(&ours::capture(source)).await?;
    loop {
        let (end, bytes) = end(&mut conn, &start.file).await?;
        if bytes >= mib << 20 {
            lab::durable(&mut conn, true).await?;
            return Ok(Stretch { start, end, bytes });
        }
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let opts = lab::opts(source);
            let call = format!("CALL capture.write_{name}({writer}, {})", shape.transactions());
            writers.spawn(async move { Conn::new(opts).await?.query_drop(call).await });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
    }
}

/// Where the binlog ends, and its bytes since the beginning of the given file.
pub(super) async fn end(conn: &mut Conn, start: &FilePosition) -> Result<(FilePosition, u64)> {
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
