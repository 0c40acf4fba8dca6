//! The numbers that a task publishes, by the `metrics` crate. Labels: the task's name, and closed sets.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::status::DivergenceKind;

/// One task's handles. Cheap to clone; made once per task after a recorder is installed.
#[derive(Clone)]
pub struct Metrics {
    task: String,
    /// `outrigger_apply_rows_total{kind="insert"}`
    pub rows_inserted: Counter,
    /// `outrigger_apply_rows_total{kind="update"}`
    pub rows_updated: Counter,
    /// `outrigger_apply_rows_total{kind="delete"}`
    pub rows_deleted: Counter,
    /// `outrigger_apply_transactions_total`: source transactions applied or, having nothing for this task, passed.
    pub transactions: Counter,
    /// `outrigger_apply_groups_total`: target transactions.
    pub groups: Counter,
    /// `outrigger_apply_ddl_total`: statements applied as barriers.
    pub ddl: Counter,
    /// `outrigger_apply_bytes_total`: statements sent to the target, in bytes.
    pub bytes: Counter,
    /// `outrigger_apply_retries_total`: groups sent again, and connections made again.
    pub retries: Counter,
    /// `outrigger_apply_offset`: the last applied offset of the change log.
    pub offset: Gauge,
    /// `outrigger_apply_group_seconds`: from sending a group to its commit.
    pub group_seconds: Histogram,
    /// `outrigger_copy_rows_total`
    pub copied_rows: Counter,
    /// `outrigger_copy_bytes_total`
    pub copied_bytes: Counter,
    /// `outrigger_copy_chunks_total`
    pub copied_chunks: Counter,
}

impl Metrics {
    /// Registers the task's metrics with the installed recorder.
    pub fn new(name: &str) -> Self {
        let task = || name.to_owned();
        Self {
            task: task(),
            rows_inserted: counter!("outrigger_apply_rows_total", "task" => task(), "kind" => "insert"),
            rows_updated: counter!("outrigger_apply_rows_total", "task" => task(), "kind" => "update"),
            rows_deleted: counter!("outrigger_apply_rows_total", "task" => task(), "kind" => "delete"),
            transactions: counter!("outrigger_apply_transactions_total", "task" => task()),
            groups: counter!("outrigger_apply_groups_total", "task" => task()),
            ddl: counter!("outrigger_apply_ddl_total", "task" => task()),
            bytes: counter!("outrigger_apply_bytes_total", "task" => task()),
            retries: counter!("outrigger_apply_retries_total", "task" => task()),
            offset: gauge!("outrigger_apply_offset", "task" => task()),
            group_seconds: histogram!("outrigger_apply_group_seconds", "task" => task()),
            copied_rows: counter!("outrigger_copy_rows_total", "task" => task()),
            copied_bytes: counter!("outrigger_copy_bytes_total", "task" => task()),
            copied_chunks: counter!("outrigger_copy_chunks_total", "task" => task()),
        }
    }

    /// `outrigger_task_divergences_total{table, kind="missing_row"|"extra_row"|"different_row"}`: rows that the target
    /// should have had and hadn't, or the other way round, or had with other values. A table has one from its first such row on.
    pub(crate) fn diverged(&self, table: &str, kind: DivergenceKind, rows: u64) {
        let (task, table) = (self.task.clone(), table.to_owned());
        counter!("outrigger_task_divergences_total", "task" => task, "table" => table, "kind" => kind.name())
            .increment(rows);
    }
}
