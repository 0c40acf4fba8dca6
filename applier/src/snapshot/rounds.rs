//! The copy from beginning to end, in rounds: read definitions behind a fence, create, copy rows, then ask the log what
//! changed meanwhile and do that again, until nothing did.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_storage::Offset;

use crate::checkpoint::Metadata;
use crate::ddl::Rules;
use crate::error::{Error, Side};
use crate::foreign::{self, Ties};
use crate::literal::quote_text;
use crate::schema::{ObjectKey, Source, Space, engine, visible, zone};
use crate::snapshot::fence::fence;
use crate::snapshot::history::{Change, History};
use crate::snapshot::progress::{self, ObjectState, State};
use crate::snapshot::rows::{self, Failed, TableJob};
use crate::snapshot::visit::{Visit, visit};
use crate::snapshot::{Context, CopyOutcome, SkipUntil};
use crate::status::TaskState;
use crate::target::{self, Target};

/// A copy under way.
pub(crate) struct Rounds {
    pub(crate) context: Context,
    pub(crate) metadata: Metadata,
    pub(crate) source: Source,
    pub(crate) target: Target,
    /// What `copy_progress` holds.
    pub(crate) objects: BTreeMap<ObjectKey, ObjectState>,
    history: History,
    /// The source takes `T` and `t` for one table.
    folds_names: bool,
}

impl Rounds {
    /// Connects to both sides and reads how far an earlier process came.
    pub(crate) async fn open(context: Context, metadata: Metadata) -> Result<Self, Error> {
        let source = Source::connect(&context.config).await?;
        let mut target = context.connect_target().await?;
        target::lift(target.conn())
            .await
            .map_err(|cause| Error::server(Side::Target, "setting the session up", cause))?;
        let objects = progress::load(&mut target, &metadata).await?;
        // The checkpoint does not move before the copy is done: it is where the task begins.
        let begin = metadata.load(target.conn()).await?;
        let begin = begin.ok_or_else(|| Error::Copy {
            what: "the task's checkpoint is gone from the target".to_owned(),
        })?;
        let history = History::new(begin.offset);
        Ok(Self {
            context: context.folded(begin.folds_names),
            metadata,
            source,
            target,
            objects,
            history,
            folds_names: begin.folds_names,
        })
    }

    /// Copies until nothing is left and nothing changed behind it.
    pub(crate) async fn run(mut self) -> Result<CopyOutcome, Error> {
        self.context.status.set_state(TaskState::CopyingSchema);
        let mut seen = self.fence().await?;
        let mut todo = self.unfinished().await?;
        let mut resume = true;
        loop {
            engine::refuse_on_source(self.source.conn(), |key| todo.contains(key)).await?;
            zone::refuse_on_source(self.source.conn(), |key| todo.contains(key)).await?;
            let ties = self.ties(&mut todo).await?;
            let Visit { jobs, mut failed } = Box::pin(visit(&mut self, &todo, &ties, seen, resume)).await?;
            resume = false;
            // What no change explains is said before hours are spent on the rows of other tables.
            if !failed.is_empty() && self.changed().await?.1.is_empty() {
                return Err(failed.swap_remove(0).1);
            }
            if !jobs.is_empty() {
                self.context.status.set_state(TaskState::CopyingRows);
                let whole = |job: &TableJob| job.parts.is_empty();
                let tables: Vec<(ObjectKey, bool)> = jobs
                    .iter()
                    .map(|job| (job.plan.object.clone(), whole(job)))
                    .collect();
                failed.extend(rows::copy(&self.context, &self.metadata, jobs).await?);
                for (table, whole) in tables {
                    if let Some(object) = self.objects.get_mut(&table) {
                        object.state = State::Done;
                        object.whole = whole;
                    }
                }
            }
            let mut stale;
            (seen, stale) = self.changed().await?;
            if stale.is_empty() {
                return match failed.into_iter().next() {
                    Some((_, error)) => Err(error),
                    None => self.finish(seen).await,
                };
            }
            let names = stale.iter().map(ObjectKey::quoted).collect::<Vec<_>>().join(", ");
            tracing::info!(
                objects = names,
                "definitions changed during the copy: copying these again"
            );
            stale.extend(failed.into_iter().map(|(key, _): Failed| key));
            todo = stale;
        }
    }

    /// What has changed since it was seen, and up to where that is known.
    async fn changed(&mut self) -> Result<(Offset, BTreeSet<ObjectKey>), Error> {
        let seen = self.fence().await?;
        let config = &self.context.config;
        let rules = Rules {
            selection: &config.selection,
            metadata_database: &config.metadata_database,
            folds_names: self.folds_names,
        };
        self.history.extend(&self.context.log, rules, seen).await?;
        refuse_changed(&self.objects, self.history.changes())?;
        let mut stale = stale(&self.objects, self.history.changes());
        self.add_children(&mut stale).await?;
        Ok((seen, stale))
    }

    async fn fence(&mut self) -> Result<Offset, Error> {
        fence(
            &mut self.source,
            &self.context.log,
            self.context.config.retry_window,
        )
        .await
    }

    /// What an earlier process has not seen to its end, or not at all.
    async fn unfinished(&mut self) -> Result<BTreeSet<ObjectKey>, Error> {
        let listed = self.source.list(&self.context.config).await?;
        let sight = self.source.sight().await?;
        if let Some(on) = sight.hidden(&self.context.config.selection, &listed) {
            let what = format!(
                "what is selected is not there, or hidden from the account: if it is there, GRANT SELECT, SHOW VIEW ON {on} TO {}",
                self.source.account()
            );
            return Err(Error::Unsuitable {
                side: Side::Source,
                what,
            });
        }
        let absent = visible::absent(&self.context.config.selection, &listed);
        if !absent.is_empty() {
            tracing::warn!(
                include = absent.join(", "),
                "the source has nothing of these names: what is created there later is taken up"
            );
        }
        if !sight.routines {
            let account = self.source.account();
            tracing::warn!(
                "routines are hidden from the account, so none are copied: GRANT SHOW_ROUTINE ON *.* TO {account}"
            );
        }
        let begun = self
            .objects
            .iter()
            .filter(|(_, o)| matches!(o.state, State::Seen | State::Copying));
        let mut todo: BTreeSet<ObjectKey> = begun.map(|(key, _)| key.clone()).collect();
        todo.extend(listed.into_iter().filter(|key| !self.objects.contains_key(key)));
        Ok(todo)
    }

    /// The sets of tables that are copied at one place, since the source does not log what their foreign keys do; one of a set in
    /// `todo` takes the others along, also those that it was tied to when they were copied.
    async fn ties(&mut self, todo: &mut BTreeSet<ObjectKey>) -> Result<Ties, Error> {
        let config = std::sync::Arc::clone(&self.context.config);
        if !config.copy.rows || !foreign::left_to_innodb(self.source.conn(), Side::Source).await? {
            return Ok(Ties::default());
        }
        let keys = foreign::load(self.source.conn(), Side::Source).await?;
        if let Some(key) = foreign::astray(&keys, &config.selection) {
            return Err(Error::Unsuitable {
                side: Side::Source,
                what: foreign::why_astray(&key.child, &key.parent),
            });
        }
        let units = foreign::units(&keys, &config.selection);
        if !units.is_empty() && !foreign::left_to_innodb(self.target.conn(), Side::Target).await? {
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: foreign::UNABLE_TARGET.to_owned(),
            });
        }
        let before = foreign::load(self.target.conn(), Side::Target).await?;
        let mut all = foreign::units(&before, &config.selection);
        all.extend(units.iter().cloned());
        foreign::complete(todo, &all);
        let untied = foreign::untied(&keys, &before, &config.selection);
        Ok(Ties { units, untied })
    }

    /// Adds tables whose foreign keys name a table that was renamed, or a column of it that was: their definitions changed with it,
    /// unlogged.
    async fn add_children(&mut self, stale: &mut BTreeSet<ObjectKey>) -> Result<(), Error> {
        for change in self.history.changes().iter().filter(|c| c.renames) {
            for parent in change.objects.iter().filter(|o| o.space == Space::Table) {
                let query = format!(
                    "SELECT CAST(constraint_schema AS CHAR), CAST(table_name AS CHAR) \
                     FROM information_schema.referential_constraints \
                     WHERE unique_constraint_schema = {} AND referenced_table_name = {}",
                    quote_text(&parent.database),
                    quote_text(&parent.name)
                );
                let children: Vec<(String, String)> = self
                    .target
                    .conn()
                    .query(query)
                    .await
                    .map_err(|cause| Error::server(Side::Target, "reading foreign keys", cause))?;
                let children = children
                    .into_iter()
                    .map(|(database, name)| ObjectKey::table(database, name));
                stale.extend(
                    children.filter(|child| self.objects.get(child).is_some_and(|o| o.seen < change.offset)),
                );
            }
        }
        Ok(())
    }

    async fn finish(mut self, exact_after: Offset) -> Result<CopyOutcome, Error> {
        let skips = skips(self.history.changes());
        progress::save_skips(&mut self.target, &self.metadata, &skips).await?;
        let skip_until = progress::load_skips(&mut self.target, &self.metadata).await?;
        Ok(CopyOutcome {
            exact_after,
            skip_until,
        })
    }
}

/// The objects whose definition changed after it was read, or that appeared. What was never read was seen at no offset.
fn stale(objects: &BTreeMap<ObjectKey, ObjectState>, changes: &[Change]) -> BTreeSet<ObjectKey> {
    let mut stale = BTreeSet::new();
    let before = |key: &ObjectKey, offset: Offset| objects.get(key).is_none_or(|o| o.seen < offset);
    for change in changes {
        stale.extend(
            change
                .objects
                .iter()
                .filter(|key| before(key, change.offset))
                .cloned(),
        );
        if let Some(database) = &change.dropped_database {
            let inside = objects
                .iter()
                .filter(|(key, o)| key.database == *database && o.seen < change.offset);
            stale.extend(inside.map(|(key, _)| key.clone()));
        }
    }
    stale
}

/// An object that was kept as the target had it can't follow a change that the copy should have contained.
fn refuse_changed(objects: &BTreeMap<ObjectKey, ObjectState>, changes: &[Change]) -> Result<(), Error> {
    let kept = |key: &&ObjectKey| objects.get(*key).is_some_and(|o| o.kept);
    let tables = |change: &Change| {
        change
            .objects
            .iter()
            .filter(|key| key.space != Space::Database)
            .find(kept)
            .cloned()
    };
    match changes.iter().find_map(tables) {
        None => Ok(()),
        Some(key) => Err(Error::Copy {
            what: format!(
                "the definition of {} changed on the source during the copy, and the target's own was kept: make both \
                 equal and start the task anew, or drop the table on the target",
                key.quoted()
            ),
        }),
    }
}

/// Up to which offset row events are in what was copied after the last change of their table.
fn skips(changes: &[Change]) -> SkipUntil {
    let mut skips = SkipUntil::default();
    for change in changes {
        for key in change.objects.iter().filter(|key| key.space == Space::Table) {
            skips
                .tables
                .insert((key.database.clone(), key.name.clone()), change.offset);
        }
        if let Some(database) = &change.dropped_database {
            skips.databases.insert(database.clone(), change.offset);
        }
    }
    skips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::table("d", name)
    }

    fn change(offset: u64, names: &[&str]) -> Change {
        let objects = names.iter().map(|n| key(n)).collect();
        Change {
            offset: Offset(offset),
            objects,
            dropped_database: None,
            renames: false,
        }
    }

    fn seen(entries: &[(&str, u64)]) -> BTreeMap<ObjectKey, ObjectState> {
        let state = |seen| ObjectState {
            state: State::Done,
            seen: Offset(seen),
            kept: false,
            whole: false,
        };
        entries
            .iter()
            .map(|(name, offset)| (key(name), state(*offset)))
            .collect()
    }

    #[test]
    fn what_changed_after_it_was_read_is_read_again() {
        let objects = seen(&[("a", 10), ("b", 10)]);
        assert!(stale(&objects, &[change(10, &["a"])]).is_empty());
        assert_eq!(
            stale(&objects, &[change(11, &["a", "new"])]),
            BTreeSet::from([key("a"), key("new")])
        );
        // Named at any offset and never read: it may have been in the middle of being created when tables were listed.
        assert_eq!(stale(&objects, &[change(3, &["c"])]), BTreeSet::from([key("c")]));
    }

    #[test]
    fn a_dropped_database_takes_all_that_was_read_before() {
        let objects = seen(&[("a", 10), ("b", 30)]);
        let drop = Change {
            offset: Offset(20),
            objects: vec![ObjectKey::database("d")],
            dropped_database: Some("d".into()),
            renames: false,
        };
        assert_eq!(
            stale(&objects, std::slice::from_ref(&drop)),
            BTreeSet::from([key("a"), ObjectKey::database("d")])
        );
        let skips = skips(&[change(5, &["a"]), drop, change(25, &["b"])]);
        assert_eq!(skips.table("d", "a"), Offset(20));
        assert_eq!(skips.table("d", "b"), Offset(25));
        assert_eq!(skips.table("e", "a"), Offset::ZERO);
    }

    #[test]
    fn a_kept_table_must_not_have_changed() {
        let mut objects = seen(&[("a", 10)]);
        assert!(refuse_changed(&objects, &[change(5, &["a"])]).is_ok());
        objects.values_mut().for_each(|o| o.kept = true);
        assert!(refuse_changed(&objects, &[change(5, &["b"])]).is_ok());
        assert!(
            refuse_changed(&objects, &[change(5, &["a"])])
                .unwrap_err()
                .to_string()
                .contains("`d`.`a`")
        );
    }
}
