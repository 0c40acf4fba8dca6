//! Copying the rows of many tables over several connections: a list of jobs, and workers that take from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use outrigger_storage::Offset;
use tokio::sync::mpsc;

use crate::checkpoint::Metadata;
use crate::error::Error;
use crate::schema::{ObjectKey, Source};
use crate::snapshot::loader::Loader;
use crate::snapshot::plan::TablePlan;
use crate::snapshot::progress::{self, Part, State};
use crate::snapshot::{Context, reader, whole};
use crate::target::Target;

/// A table whose rows are to be copied.
#[derive(Debug)]
pub(crate) struct TableJob {
    pub(crate) plan: Arc<TablePlan>,
    /// Its parts that are not done; empty: the table is copied whole.
    pub(crate) parts: Vec<Part>,
    /// Tables of one unit are copied whole at one place.
    pub(crate) unit: Option<usize>,
}

/// What became of a table that could not be copied: its definition has probably changed, the log will tell.
pub(crate) type Failed = (ObjectKey, Error);

enum Work {
    Part {
        plan: Arc<TablePlan>,
        part: Part,
        table: Arc<TableWork>,
    },
    /// Tables at one place.
    Whole(Vec<Arc<TablePlan>>),
}

impl Work {
    fn objects(&self) -> Vec<ObjectKey> {
        match self {
            Self::Part { plan, .. } => vec![plan.object.clone()],
            Self::Whole(plans) => plans.iter().map(|plan| plan.object.clone()).collect(),
        }
    }
}

/// Shared by a table's parts.
struct TableWork {
    left: Mutex<usize>,
}

impl TableWork {
    /// One part less; true for the last.
    fn finish_one(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(1);
        *left == 0
    }
}

/// Copies the tables' rows and returns those that their changed definitions ended. Anything else that fails ends it all.
pub(crate) async fn copy(
    context: &Context,
    metadata: &Metadata,
    jobs: Vec<TableJob>,
) -> Result<Vec<Failed>, Error> {
    let work = list(jobs);
    let workers = context.config.copy.connections.clamp(1, work.len().max(1));
    let queue = Arc::new(Mutex::new(work));
    let mut running = Vec::new();
    for _ in 0..workers {
        let (context, metadata, queue) = (context.clone(), metadata.clone(), Arc::clone(&queue));
        // Dropping the handle's guard ends the worker: nothing is left running when one fails or the copy is cancelled.
        let handle = tokio::spawn(async move { worker(&context, &metadata, &queue).await });
        running.push(Guarded(handle));
    }
    let outcomes = try_join_all(running).await?;
    Ok(outcomes.into_iter().flatten().collect())
}

/// Largest first, so that the last to end is small; a table's parts side by side.
fn list(mut jobs: Vec<TableJob>) -> VecDeque<Work> {
    let size = |job: &TableJob| job.plan.rows_estimated.saturating_mul(job.plan.row_bytes.max(1));
    jobs.sort_by_key(|job| std::cmp::Reverse(size(job)));
    let mut work = VecDeque::new();
    // Where each unit's work stands.
    let mut units: BTreeMap<usize, usize> = BTreeMap::new();
    for job in jobs {
        if job.parts.is_empty() {
            let known = job.unit.and_then(|unit| units.get(&unit));
            match known.and_then(|at| work.get_mut(*at)) {
                Some(Work::Whole(plans)) => plans.push(job.plan),
                _ => {
                    units.extend(job.unit.map(|unit| (unit, work.len())));
                    work.push_back(Work::Whole(vec![job.plan]));
                }
            }
            continue;
        }
        let table = Arc::new(TableWork {
            left: Mutex::new(job.parts.len()),
        });
        for part in job.parts {
            work.push_back(Work::Part {
                plan: Arc::clone(&job.plan),
                part,
                table: Arc::clone(&table),
            });
        }
    }
    work
}

/// A spawned worker that ends with its handle.
struct Guarded(tokio::task::JoinHandle<Result<Vec<Failed>, Error>>);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for Guarded {
    type Output = Result<Vec<Failed>, Error>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(Error::Copy {
                    what: format!("a worker of the copy ended: {error}"),
                })
            })
        })
    }
}

async fn worker(
    context: &Context,
    metadata: &Metadata,
    queue: &Mutex<VecDeque<Work>>,
) -> Result<Vec<Failed>, Error> {
    let mut failed = Vec::new();
    let (mut source, mut target) = connect(context).await?;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(work) = next else { return Ok(failed) };
        match one(context, metadata, &mut source, &mut target, &work).await {
            Ok(()) => {}
            Err(error) if ended_by_change(&error) => {
                let objects = work.objects();
                let names: Vec<String> = objects.iter().map(ObjectKey::quoted).collect();
                tracing::warn!(
                    tables = names.join(", "),
                    %error,
                    "a table can't be copied, perhaps because it has changed; the log will say, once the others are copied"
                );
                // None of those that are copied at one place is done.
                let what = error.to_string();
                let mut objects = objects.into_iter();
                failed.extend(objects.next().map(|object| (object, error)));
                failed.extend(objects.map(|object| (object, Error::Copy { what: what.clone() })));
                // Both sessions may stand in the middle of something.
                (source, target) = connect(context).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn connect(context: &Context) -> Result<(Source, Target), Error> {
    let source = Source::connect(&context.config).await?;
    let target = context.connect_target().await?;
    Ok((source, target))
}

async fn one(
    context: &Context,
    metadata: &Metadata,
    source: &mut Source,
    target: &mut Target,
    work: &Work,
) -> Result<(), Error> {
    let skip_until = match work {
        Work::Whole(plans) => whole::copy(context, metadata, source, target, plans).await?,
        Work::Part { plan, part, table } => {
            let object = &plan.object;
            let (sender, chunks) = mpsc::channel(1);
            let loader = Loader {
                context,
                metadata,
                plan,
                part: part.number,
            };
            let max_packet = target.capabilities().max_allowed_packet;
            let reading = reader::read_part(source, plan, part, &context.config.copy, max_packet, sender);
            let (read, loaded) = tokio::join!(reading, loader.load(target, chunks));
            let loaded = loaded?;
            read?;
            if !loaded {
                return Err(Error::Copy {
                    what: format!("reading {} ended early", object.quoted()),
                });
            }
            if !table.finish_one() {
                return Ok(());
            }
            Offset::ZERO
        }
    };
    for object in work.objects() {
        progress::set_state(target, metadata, &object, State::Done, skip_until).await?;
        context.status.table_done(&object.database, &object.name);
    }
    Ok(())
}

/// True for errors that a definition change under the copy's feet may explain: whatever a server refuses for good, on either side, and rows
/// that are not as their table was. If nothing has changed, the log says so, and the error ends the copy.
pub(crate) fn ended_by_change(error: &Error) -> bool {
    match error {
        Error::Shape { .. } => true,
        other => other.code().is_some() && !other.is_retryable(),
    }
}
