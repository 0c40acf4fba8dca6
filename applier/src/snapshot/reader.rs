//! Reading a table's rows from the source in chunks, one ahead of the loader.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use outrigger_protocol::value::Value;
use tokio::sync::mpsc;

use crate::config::CopyConfig;
use crate::definition::{ColumnDef, ColumnKind};
use crate::error::{Error, Side};
use crate::link::Watch;
use crate::literal::quote_name;
use crate::schema::Source;
use crate::snapshot::chunk::{Chunk, Encoder};
use crate::snapshot::decode::{decode, decode_json};
use crate::snapshot::plan::TablePlan;
use crate::snapshot::progress::Part;

/// Reads the part from where it stands to its end and sends it chunk by chunk, the last one marked. Ends early, without
/// error, when nobody receives any more. `max_packet` is what the target takes.
pub(crate) async fn read_part(
    source: &mut Source,
    plan: &Arc<TablePlan>,
    part: &Part,
    copy: &CopyConfig,
    max_packet: usize,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), Error> {
    let Some(walk) = &plan.walk else { return Ok(()) };
    let select = plan.select();
    let budget = copy.chunk_bytes.as_u64().max(1);
    let mut limit = plan.first_limit(budget, copy.chunk_rows);
    let mut last_key = part.last_key.clone();
    let mut encoder = Encoder::new(Arc::clone(plan), max_packet);
    loop {
        let sql = format!(
            "{select}{}",
            walk.key.tail(part.range, last_key.as_deref(), limit)
        );
        let mut rows = 0_u64;
        let mut bytes = 0_u64;
        let mut stream = Rows::open(source, plan, sql).await?;
        while let Some(row) = stream.next().await? {
            encoder.push(row);
            rows += 1;
            // Rows may be larger than the guess.
            if encoder.bytes() >= budget.saturating_mul(2) {
                bytes += encoder.bytes();
                let chunk = encoder.cut(false);
                last_key.clone_from(&chunk.last_key);
                if chunks.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
        }
        stream.close().await?;
        let end = rows < limit;
        bytes += encoder.bytes();
        if end || encoder.rows() > 0 {
            let chunk = encoder.cut(end);
            if chunk.last_key.is_some() {
                last_key.clone_from(&chunk.last_key);
            }
            if chunks.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        if end {
            return Ok(());
        }
        limit = next_limit(budget, copy.chunk_rows, rows, bytes);
    }
}

/// Reads the whole table as the session's open snapshot has it.
pub(crate) async fn read_whole(
    source: &mut Source,
    plan: &Arc<TablePlan>,
    copy: &CopyConfig,
    max_packet: usize,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), Error> {
    let budget = copy.chunk_bytes.as_u64().max(1);
    let mut encoder = Encoder::new(Arc::clone(plan), max_packet);
    let mut stream = Rows::open(source, plan, plan.select()).await?;
    while let Some(row) = stream.next().await? {
        encoder.push(row);
        if (encoder.bytes() >= budget || encoder.rows() >= copy.chunk_rows)
            && chunks.send(encoder.cut(false)).await.is_err()
        {
            return Ok(());
        }
    }
    stream.close().await?;
    // Nobody receiving means that loading failed, and it says why.
    chunks.send(encoder.cut(true)).await.ok();
    Ok(())
}

/// How many rows fill the budget, if they go on as large as these were.
fn next_limit(budget: u64, most: u64, rows: u64, bytes: u64) -> u64 {
    let row = (bytes / rows.max(1)).max(1);
    (budget / row).clamp(1, most.max(1))
}

/// The rows of one prepared query, in the binary protocol.
struct Rows<'a> {
    result: mysql_async::QueryResult<'a, 'static, mysql_async::BinaryProtocol>,
    watch: &'a Watch,
    columns: &'a [ColumnDef],
    doing: String,
}

impl<'a> Rows<'a> {
    async fn open(source: &'a mut Source, plan: &'a TablePlan, sql: String) -> Result<Self, Error> {
        let doing = format!("reading rows of {}", plan.object.quoted());
        let on = format!("{}.*", quote_name(&plan.object.database));
        let denied = source.denial("SELECT", &on);
        let (conn, watch) = source.conn().bare();
        let result = watch
            .over(conn.exec_iter(sql, ()))
            .await
            .map_err(|cause| denied.wrap(&doing, cause))?;
        Ok(Self {
            result,
            watch,
            columns: &plan.selected,
            doing,
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<Value<'static>>>, Error> {
        let fail = |cause| Error::server(Side::Source, self.doing.as_str(), cause);
        let Some(row) = self.watch.over(self.result.next()).await.map_err(fail)? else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(self.columns.len());
        let mut wires = row.unwrap();
        let mut kinds = wires.split_off(self.columns.len().min(wires.len())).into_iter();
        for (wire, column) in wires.into_iter().zip(self.columns) {
            let value = if column.kind == ColumnKind::Json {
                kinds.next().and_then(|kinds| decode_json(wire, kinds))
            } else {
                decode(wire, column)
            };
            let value = value.ok_or_else(|| Error::Shape {
                side: Side::Source,
                doing: self.doing.clone(),
                column: quote_name(&column.name),
            })?;
            values.push(value);
        }
        Ok(Some(values))
    }

    async fn close(self) -> Result<(), Error> {
        let Self {
            result, doing, watch, ..
        } = self;
        watch
            .over(result.drop_result())
            .await
            .map_err(|cause| Error::server(Side::Source, doing, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunk_follows_the_rows_size() {
        assert_eq!(next_limit(1000, 500, 10, 100), 100);
        assert_eq!(next_limit(1000, 500, 10, 1), 500);
        assert_eq!(next_limit(1000, 500, 1, 5000), 1);
        assert_eq!(next_limit(1000, 500, 0, 0), 500);
    }
}
