//! A worker's two servers, used for one run after the other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::server::{Installation, Server};
use tempfile::TempDir;

use crate::support;
use crate::workload::{PREFIX, drive};

/// A source and a target with nothing of earlier runs in them.
pub(super) struct Pair {
    pub(super) source: Server,
    pub(super) target: Server,
    gtids: bool,
    pub(super) folder: TempDir,
}

/// Small and quick: what a crash of the host may do to them is not what is tried here, only crashes of processes.
const OPTIONS: [&str; 3] = [
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-buffer-size=8M",
    "--table-open-cache=400",
];

impl Pair {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("outrigger-soak-").tempdir()?;
        let installation = Installation::find()?;
        let source = Server::start(&installation, &folder.path().join("source"), &OPTIONS)?;
        let target = Server::start(&installation, &folder.path().join("target"), &OPTIONS)?;
        support::accounts(&source, &target, support::SOURCE_GRANTS).await;
        Ok(Self {
            source,
            target,
            gtids: true,
            folder,
        })
    }

    /// Removes what an earlier run left, and begins a new binlog file as the only one.
    pub(super) async fn clean(&mut self, gtids: bool, row_image: &str) -> Result<()> {
        drive::end_prepared(&self.source.socket()).await?;
        let mut source = self.source_conn().await?;
        let mut target = self.target_conn().await?;
        for conn in [&mut source, &mut target] {
            let sql = format!(
                "SELECT CONVERT(schema_name USING utf8mb4) FROM information_schema.schemata
                 WHERE schema_name LIKE '{PREFIX}%' OR schema_name = 'outrigger'"
            );
            let databases: Vec<String> = conn.query(sql).await?;
            // Tables that refer to each other across databases have no order in which they could be dropped.
            conn.query_drop("SET SESSION foreign_key_checks = 0").await?;
            for database in databases {
                conn.query_drop(format!("DROP DATABASE `{database}`")).await?;
            }
        }
        for setting in ["max_binlog_size", "binlog_row_metadata", "binlog_checksum"] {
            source
                .query_drop(format!("SET GLOBAL {setting} = DEFAULT"))
                .await?;
        }
        source
            .query_drop(format!("SET GLOBAL binlog_row_image = {row_image}"))
            .await?;
        self.set_gtids(&mut source, gtids).await?;
        // What the next start of the server must have too.
        let image = format!("--binlog-row-image={row_image}");
        let mut options = OPTIONS.to_vec();
        options.push(&image);
        if !gtids {
            options.push("--gtid-mode=OFF");
        }
        self.source.set_options(&options);
        source.query_drop("FLUSH BINARY LOGS").await?;
        let (file, _) = binlog_end(&mut source).await?;
        source
            .query_drop(format!("PURGE BINARY LOGS TO '{file}'"))
            .await?;
        // The target's own are of no use to anybody.
        target.query_drop("RESET BINARY LOGS AND GTIDS").await?;
        Ok(())
    }

    /// `gtid_mode` goes step by step.
    async fn set_gtids(&mut self, source: &mut Conn, on: bool) -> Result<()> {
        let steps = match (self.gtids, on) {
            (true, false) => ["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"],
            (false, true) => ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"],
            _ => return Ok(()),
        };
        for step in steps {
            source
                .query_drop(format!("SET GLOBAL gtid_mode = {step}"))
                .await?;
        }
        self.gtids = on;
        Ok(())
    }

    pub(super) async fn source_conn(&self) -> Result<Conn> {
        drive::connect(&self.source.socket()).await.context("the source")
    }

    pub(super) async fn target_conn(&self) -> Result<Conn> {
        drive::connect(&self.target.socket()).await.context("the target")
    }

    /// The source's data directory.
    pub(super) fn source_data(&self) -> PathBuf {
        self.source.folder().join("data")
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// File and offset at which the source's binlog ends.
pub(super) async fn binlog_end(source: &mut Conn) -> Result<(String, u64)> {
    let row: Option<mysql_async::Row> = source.query_first("SHOW BINARY LOG STATUS").await?;
    let row = row.context("the source has no binlog")?;
    let file = row.get(0).context("a binlog status without a file")?;
    let offset = row.get(1).context("a binlog status without an offset")?;
    Ok((file, offset))
}
