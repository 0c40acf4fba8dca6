//! One visit of a set of objects: read each definition on the source, make the target's the same, plan its rows.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_storage::Offset;

use crate::config::OnExistingTables;
use crate::definition;
use crate::error::{Error, Side};
use crate::foreign::Ties;
use crate::schema::{Found, ObjectKey, Space, create, engine};
use crate::snapshot::plan::TablePlan;
use crate::snapshot::progress::{self, ObjectState, State};
use crate::snapshot::rounds::Rounds;
use crate::snapshot::rows::{Failed, TableJob, ended_by_change};

/// What a visit leaves to do.
pub(crate) struct Visit {
    /// Tables whose rows are to be copied.
    pub(crate) jobs: Vec<TableJob>,
    /// Objects that could not be created or planned, perhaps because they are changing.
    pub(crate) failed: Vec<Failed>,
}

/// An object, its definition on the source, and what to do with it on the target.
struct Visited {
    key: ObjectKey,
    found: Found,
    /// We have dealt with it before: what stands on the target under its name is ours.
    ours: bool,
    /// The target's own is kept.
    kept: bool,
    /// Its rows are being copied already: only the plan is needed.
    resumes: bool,
    /// It was or is being copied at one place: what rows the target has are ours.
    whole: bool,
}

/// Visits `todo`: definition changes up to `seen` are in what is read. With `resume`, tables whose rows an earlier process
/// began to copy are taken up where they were. What `ties` ties together is to be copied at one place.
pub(crate) async fn visit(
    rounds: &mut Rounds,
    todo: &BTreeSet<ObjectKey>,
    ties: &Ties,
    seen: Offset,
    resume: bool,
) -> Result<Visit, Error> {
    let visited = read(rounds, todo, ties, resume).await?;
    let noted: Vec<(ObjectKey, ObjectState)> = visited
        .iter()
        .filter(|v| !v.resumes)
        .map(|v| (v.key.clone(), state_of(v, seen)))
        .collect();
    progress::save(&mut rounds.target, &rounds.metadata, &noted).await?;
    rounds.objects.extend(noted);
    drop_old(rounds, &visited).await?;
    // Only now: after a crash before the drop, these must be visited again.
    let gone = visited
        .iter()
        .filter(|v| v.ours && matches!(v.found, Found::Absent));
    let gone: Vec<_> = gone
        .map(|v| {
            (
                v.key.clone(),
                ObjectState {
                    state: State::Absent,
                    seen,
                    kept: false,
                    whole: false,
                },
            )
        })
        .collect();
    progress::save(&mut rounds.target, &rounds.metadata, &gone).await?;
    rounds.objects.extend(gone);

    let mut failed = Vec::new();
    let mut views = Vec::new();
    for v in &visited {
        match &v.found {
            Found::View { .. } if !v.kept => views.push(v),
            Found::Absent | Found::View { .. } => {}
            _ if v.kept || v.resumes => {}
            found => {
                let utf8mb4 = rounds.source.utf8mb4();
                if let Err(error) = create::create(&mut rounds.target, &v.key, found, utf8mb4).await {
                    explain(v, error, &mut failed)?;
                }
            }
        }
    }
    create_views(rounds, views, &mut failed).await?;
    let mut jobs = Vec::new();
    for v in &visited {
        if failed.iter().any(|(key, _)| *key == v.key) {
            continue;
        }
        match plan(rounds, v, ties.unit(&v.key)).await {
            Ok(job) => jobs.extend(job),
            Err(error) => explain(v, error, &mut failed)?,
        }
    }
    Ok(Visit { jobs, failed })
}

/// A failure that a changing definition may explain waits for the log's word; any other ends the copy.
fn explain(v: &Visited, error: Error, failed: &mut Vec<Failed>) -> Result<(), Error> {
    if !ended_by_change(&error) {
        return Err(error);
    }
    failed.push((v.key.clone(), error));
    Ok(())
}

fn state_of(v: &Visited, seen: Offset) -> ObjectState {
    let state = if matches!(v.found, Found::Absent) && !v.ours {
        State::Absent
    } else {
        State::Seen
    };
    ObjectState {
        state,
        seen,
        kept: v.kept,
        whole: v.whole,
    }
}

/// Reads the definitions, and holds them against what is on the target.
async fn read(
    rounds: &mut Rounds,
    todo: &BTreeSet<ObjectKey>,
    ties: &Ties,
    resume: bool,
) -> Result<Vec<Visited>, Error> {
    let schema = rounds.context.config.copy.schema;
    let policy = rounds.context.config.on_existing_tables;
    let mut existing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut visited = Vec::with_capacity(todo.len());
    let (mut refused, mut missing, mut unlike) = (Vec::new(), Vec::new(), Vec::new());
    for key in todo {
        let prior = rounds.objects.get(key).copied();
        let found = rounds.source.read(key).await?;
        if key.space == Space::Table && !existing.contains_key(&key.database) {
            let tables = create::existing_tables(&mut rounds.target, &key.database).await?;
            existing.insert(key.database.clone(), tables);
        }
        let exists =
            key.space == Space::Table && existing.get(&key.database).is_some_and(|t| t.contains(&key.name));
        // An object that is being copied is taken up where it was, under the definition it was read with; what is copied at one
        // place begins anew.
        let resumes = resume
            && prior.is_some_and(|p| p.state == State::Copying && !p.whole)
            && ties.unit(key).is_none()
            && !rounds.context.config.allow_partial_row_images
            && matches!(found, Found::Table { .. })
            && exists;
        let ours = prior.is_some_and(|p| !p.kept && p.state != State::Absent);
        let mut kept = prior.is_some_and(|p| p.kept);
        if !schema {
            kept = true;
            if matches!(found, Found::Table { .. }) && !exists {
                missing.push(key.quoted());
            }
        } else if exists && !ours && !kept && !matches!(found, Found::Absent) {
            match policy {
                OnExistingTables::Refuse => refused.push(key.quoted()),
                OnExistingTables::Keep => kept = true,
            }
        }
        if let (true, true, Found::Table { definition, .. }) = (kept, exists, &found) {
            let conn = rounds.target.conn();
            engine::refuse_on_target(conn, &key.database, &key.name).await?;
            let theirs = definition::load(conn, Side::Target, &key.database, &key.name).await?;
            if let Some(why) = theirs.and_then(|theirs| definition.unlike(&theirs)) {
                unlike.push(format!("{} ({why})", key.quoted()));
            }
            if ties.untied.contains(key) {
                let why =
                    "a foreign key of the source's is missing, and the source does not log what it does";
                unlike.push(format!("{} ({why})", key.quoted()));
            }
        }
        visited.push(Visited {
            key: key.clone(),
            found,
            ours,
            kept,
            resumes,
            whole: prior.is_some_and(|p| p.whole),
        });
    }
    if !refused.is_empty() {
        let what = format!(
            "the target has tables of these names already: {}: drop them there, leave them out of the selection, or set \
             on_existing_tables = \"keep\"",
            refused.join(", ")
        );
        return Err(Error::Copy { what });
    }
    if !missing.is_empty() {
        let what = format!(
            "the schema is not to be copied, and the target lacks {}: create them there",
            missing.join(", ")
        );
        return Err(Error::Copy { what });
    }
    if !unlike.is_empty() {
        let what = format!(
            "the target's own tables can't take the source's rows: {}: make them equal, or drop them on the target",
            unlike.join(", ")
        );
        return Err(Error::Copy { what });
    }
    Ok(visited)
}

/// Drops what an earlier visit made and this one makes anew, or finds gone.
async fn drop_old(rounds: &mut Rounds, visited: &[Visited]) -> Result<(), Error> {
    for v in visited.iter().filter(|v| v.ours && !v.kept && !v.resumes) {
        create::drop(&mut rounds.target, &v.key).await?;
        rounds.context.status.table_dropped(&v.key.database, &v.key.name);
    }
    let gone = visited
        .iter()
        .filter(|v| v.ours && v.key.space == Space::Database && matches!(v.found, Found::Absent));
    for v in gone {
        let whole = rounds.context.config.selection.whole_database(&v.key.database);
        if whole
            && create::existing_tables(&mut rounds.target, &v.key.database)
                .await?
                .is_empty()
        {
            let name = v.key.quoted();
            rounds
                .target
                .execute(
                    &format!("DROP DATABASE IF EXISTS {name}"),
                    &format!("dropping {name}"),
                )
                .await?;
        }
    }
    Ok(())
}

/// Creates views in the order in which they turn out to depend on each other.
async fn create_views(
    rounds: &mut Rounds,
    mut views: Vec<&Visited>,
    failed: &mut Vec<Failed>,
) -> Result<(), Error> {
    while !views.is_empty() {
        let before = views.len();
        let mut waiting = Vec::new();
        let mut errors = Vec::new();
        for v in views {
            let utf8mb4 = rounds.source.utf8mb4();
            match create::create(&mut rounds.target, &v.key, &v.found, utf8mb4).await {
                Ok(()) => {}
                // No such table, view, column or routine: yet, perhaps.
                Err(error) if matches!(error.code(), Some(1146 | 1356 | 1305 | 1054 | 1049)) => {
                    waiting.push(v);
                    errors.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        if waiting.len() == before {
            let list: Vec<String> = waiting
                .iter()
                .zip(errors)
                .map(|(v, error)| format!("{} ({error})", v.key.quoted()))
                .collect();
            let what = format!(
                "views can't be created on the target: {}: mend them on the source, or leave them out of the selection",
                list.join(", ")
            );
            failed.extend(
                waiting
                    .into_iter()
                    .map(|v| (v.key.clone(), Error::Copy { what: what.clone() })),
            );
            return Ok(());
        }
        views = waiting;
    }
    Ok(())
}

/// Plans a table's rows; objects without rows are done.
async fn plan(rounds: &mut Rounds, v: &Visited, unit: Option<usize>) -> Result<Option<TableJob>, Error> {
    let copy = rounds.context.config.copy.clone();
    // A part of a row can't be written over what was read before or after it.
    let partial = rounds.context.config.allow_partial_row_images;
    let Found::Table {
        definition,
        rows_estimated,
        row_bytes,
        ..
    } = &v.found
    else {
        if !matches!(v.found, Found::Absent) {
            rounds.set_done(&v.key).await?;
        }
        return Ok(None);
    };
    if !copy.rows {
        rounds.set_done(&v.key).await?;
        return Ok(None);
    }
    let size = (*rows_estimated, *row_bytes);
    let plan = TablePlan::make(
        &mut rounds.source,
        &v.key,
        definition,
        size,
        v.kept,
        unit.is_some() || partial,
    )
    .await?;
    if plan.walk.is_none() {
        if v.kept && !v.whole && !create::is_empty(&mut rounds.target, &v.key).await? {
            let why = match unit {
                None if partial => {
                    "may be logged in parts of rows (allow_partial_row_images), so it is copied as a whole"
                }
                None => "has no usable key, so its rows can't be told apart",
                Some(_) => {
                    "is tied to others by foreign keys whose effects the source does not log, so it is copied as a whole"
                }
            };
            let what = format!(
                "{} {why}, and the target's own table holds rows: empty it or drop it there, or leave it out of the selection",
                v.key.quoted()
            );
            return Err(Error::Copy { what });
        }
        rounds
            .context
            .status
            .table_found(&v.key.database, &v.key.name, *rows_estimated, 0, 0);
        return Ok(Some(TableJob {
            plan,
            parts: Vec::new(),
            unit,
        }));
    }
    if !v.resumes {
        let parts = plan.worthwhile_parts(copy.chunk_bytes.as_u64(), copy.connections);
        let ranges = plan.ranges(&mut rounds.source, parts).await?;
        progress::create_parts(&mut rounds.target, &rounds.metadata, &v.key, &ranges, false).await?;
    }
    let mut parts = progress::load_parts(&mut rounds.target, &rounds.metadata, &v.key).await?;
    let (rows, bytes) = parts
        .iter()
        .fold((0, 0), |(r, b), part| (r + part.rows, b + part.bytes));
    rounds
        .context
        .status
        .table_found(&v.key.database, &v.key.name, *rows_estimated, rows, bytes);
    parts.retain(|part| !part.done);
    if parts.is_empty() {
        rounds.set_done(&v.key).await?;
        rounds.context.status.table_done(&v.key.database, &v.key.name);
        return Ok(None);
    }
    Ok(Some(TableJob {
        plan,
        parts,
        unit: None,
    }))
}

impl Rounds {
    async fn set_done(&mut self, key: &ObjectKey) -> Result<(), Error> {
        progress::set_state(&mut self.target, &self.metadata, key, State::Done, Offset::ZERO).await?;
        if let Some(object) = self.objects.get_mut(key) {
            object.state = State::Done;
        }
        Ok(())
    }
}
