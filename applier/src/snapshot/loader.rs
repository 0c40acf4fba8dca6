//! Writing chunks to the target: rows and progress in one transaction (A1).

use mysql_async::prelude::Queryable;
use tokio::sync::mpsc;

use crate::checkpoint::Metadata;
use crate::computed;
use crate::error::{Error, Side};
use crate::snapshot::Context;
use crate::snapshot::chunk::{Chunk, Statement};
use crate::snapshot::plan::TablePlan;
use crate::snapshot::progress;
use crate::statement::LENIENT;
use crate::target::{SESSION, Target};

/// How often a chunk that met a deadlock or a long lock is sent again before the copy gives up.
const CONFLICT_RETRIES: u32 = 20;

/// Writes one part of one table.
pub(crate) struct Loader<'a> {
    pub(crate) context: &'a Context,
    pub(crate) metadata: &'a Metadata,
    pub(crate) plan: &'a TablePlan,
    pub(crate) part: u32,
}

impl Loader<'_> {
    /// Writes chunks until the one that says it is the last, or the channel ends. True when the last was written.
    pub(crate) async fn load(
        &self,
        target: &mut Target,
        mut chunks: mpsc::Receiver<Chunk>,
    ) -> Result<bool, Error> {
        while let Some(chunk) = chunks.recv().await {
            self.context.throttle.wait(chunk.rows, chunk.bytes).await;
            self.write(target, &chunk).await?;
            self.context.status.table_copied(
                &self.plan.object.database,
                &self.plan.object.name,
                chunk.rows,
                chunk.bytes,
            );
            self.context.metrics.copied_rows.increment(chunk.rows);
            self.context.metrics.copied_bytes.increment(chunk.bytes);
            self.context.metrics.copied_chunks.increment(1);
            if chunk.end {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn write(&self, target: &mut Target, chunk: &Chunk) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            match self.attempt(target, chunk).await {
                Err(error) if error.is_conflict() && attempt < CONFLICT_RETRIES => {
                    attempt += 1;
                    target.execute("ROLLBACK", "rolling back a chunk").await?;
                    // It may have ended between a lenient statement and the way back.
                    target.execute(SESSION, "setting the session up").await?;
                    tokio::time::sleep(std::time::Duration::from_millis(10 * u64::from(attempt))).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, target: &mut Target, chunk: &Chunk) -> Result<(), Error> {
        let doing = || format!("writing rows of {}", self.plan.object.quoted());
        let fail = |cause| Error::server(Side::Target, doing(), cause);
        let most = target.capabilities().max_allowed_packet;
        target.conn().query_drop("BEGIN").await.map_err(fail)?;
        for statement in &chunk.statements {
            if statement.sql.len() >= most {
                let what = format!(
                    "a row of {} takes a statement of {} bytes and the target's max_allowed_packet is {most}: raise it there",
                    self.plan.object.quoted(),
                    statement.sql.len()
                );
                return Err(Error::Unsuitable {
                    side: Side::Target,
                    what,
                });
            }
            self.send(target, statement).await.map_err(fail)?;
        }
        // The progress row, and the proof that the task is still ours until the commit.
        let mut last =
            progress::advance_part(self.metadata, &self.plan.object, self.part, chunk).into_bytes();
        last.push(b';');
        self.metadata.hold(&mut last, self.context.epoch);
        let (conn, watch) = target.conn().bare();
        let holding = async {
            let mut result = conn.query_iter(last).await?;
            let found = result.affected_rows();
            result.collect::<mysql_async::Row>().await?;
            let held = result.collect::<mysql_async::Row>().await?;
            result.drop_result().await?;
            Ok(found == 1 && !held.is_empty())
        };
        if !watch.over(holding).await.map_err(fail)? {
            return Err(self.metadata.fenced(target, self.context.epoch).await);
        }
        fail::fail_point!("chunk-commit", |_| outrigger_storage::failpoint::kill());
        target.conn().query_drop("COMMIT").await.map_err(fail)
    }

    async fn send(&self, target: &mut Target, statement: &Statement) -> Result<(), mysql_async::Error> {
        let conn = target.conn();
        if !statement.lenient {
            match conn.query_drop(statement.sql.as_slice()).await {
                Err(mysql_async::Error::Server(error)) if self.is_computed(error.code, &error.message) => {}
                ended => return ended,
            }
        }
        conn.query_drop(LENIENT).await?;
        conn.query_drop(statement.sql.as_slice()).await?;
        if !statement.lenient {
            // The columns are the source's own, so what is written fits; the server tells of as many values as it likes.
            let cut: Vec<(String, u16, String)> = conn.query("SHOW WARNINGS").await?;
            let written = cut
                .into_iter()
                .find(|(_, code, message)| computed::is_cut(*code) && !self.is_computed(*code, message));
            if let Some((_, code, message)) = written {
                return Err(mysql_async::Error::Server(mysql_async::ServerError {
                    code,
                    message,
                    state: "HY000".to_owned(),
                }));
            }
        }
        conn.query_drop(SESSION).await
    }

    /// Whether a message is about what the target computes of the rows, not about what is written.
    fn is_computed(&self, code: u16, message: &str) -> bool {
        computed::is_of_it(code, message, self.plan.selected[..self.plan.written].iter())
    }
}
