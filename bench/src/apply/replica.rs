//! MySQL's own replica: four workers that commit in the source's order, at mysqld's default durability.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mysql_async::prelude::Queryable;
use outrigger::demo::server::Server;

use crate::lab;

/// A server that replicates everything from a source, from its first binlog on.
#[derive(Debug)]
pub(super) struct Replica {
    server: Server,
}

impl Replica {
    /// Makes an empty server a replica and waits until it is in step.
    pub(super) async fn of(source: &Server, server: Server) -> Result<Self> {
        let mut conn = lab::root(&server).await?;
        conn.query_drop("SET GLOBAL replica_parallel_workers = 4, GLOBAL replica_preserve_commit_order = ON")
            .await?;
        conn.query_drop(format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = '{}', \
             SOURCE_PASSWORD = '', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            source.port(),
            lab::ACCOUNT
        ))
        .await?;
        conn.query_drop("START REPLICA").await?;
        let replica = Self { server };
        let gtids = executed(source).await?;
        replica
            .wait_until(&format!("GTID_SUBSET('{gtids}', @@GLOBAL.gtid_executed)"))
            .await?;
        Ok(replica)
    }

    /// The server.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Lets the receiver write the relay log.
    pub(super) async fn start_receiving(&self) -> Result<()> {
        self.order("START REPLICA IO_THREAD").await
    }

    /// Stops the receiver, which else runs all the time.
    pub(super) async fn stop_receiving(&self) -> Result<()> {
        self.order("STOP REPLICA IO_THREAD").await
    }

    /// Lets the workers apply what the relay log holds.
    pub(super) async fn start_applying(&self) -> Result<()> {
        self.order("START REPLICA SQL_THREAD").await
    }

    /// Stops the workers.
    pub(super) async fn stop_applying(&self) -> Result<()> {
        self.order("STOP REPLICA SQL_THREAD").await
    }

    /// Waits until the relay log holds all that the source has committed.
    pub(super) async fn wait_until_received(&self, source: &Server) -> Result<()> {
        let gtids = executed(source).await?;
        self.wait_until(&format!(
            "GTID_SUBSET('{gtids}', CONCAT((SELECT received_transaction_set FROM \
             performance_schema.replication_connection_status), ',', @@GLOBAL.gtid_executed))"
        ))
        .await
    }

    async fn order(&self, sql: &str) -> Result<()> {
        Ok(lab::root(&self.server).await?.query_drop(sql).await?)
    }

    async fn wait_until(&self, condition: &str) -> Result<()> {
        let mut conn = lab::root(&self.server).await?;
        let until = Instant::now() + lab::PATIENCE;
        while Instant::now() < until {
            let holds: Option<bool> = conn.query_first(format!("SELECT {condition}")).await?;
            if holds == Some(true) {
                return Ok(());
            }
            let errors: Vec<String> = conn
                .query(
                    "SELECT last_error_message FROM performance_schema.replication_connection_status \
                     WHERE last_error_number <> 0 UNION SELECT last_error_message FROM \
                     performance_schema.replication_applier_status_by_worker WHERE last_error_number <> 0",
                )
                .await?;
            if !errors.is_empty() {
                bail!("MySQL's replica stopped: {}", errors.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("MySQL's replica is not in step within {:?}", lab::PATIENCE)
    }
}

/// Everything a server has committed.
async fn executed(server: &Server) -> Result<String> {
    let mut conn = lab::root(server).await?;
    let gtids: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    Ok(gtids.unwrap_or_default().replace('\n', ""))
}
