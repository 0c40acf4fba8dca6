//! What changed definitions while they were being copied: the log, read for its DDL.

use outrigger_protocol::binlog::{Body, Event, EventKind, Unfolder};
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::ddl::{self, Kind, ObjectKind, Role, Verb};
use outrigger_storage::{Log, Offset, Record};

use crate::ddl::{Change as Statement, Named, Rules, Verdict, judge};
use crate::error::{Error, Place};
use crate::schema::{ObjectKey, Space};

/// One definition change that touches the task's selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Where it stands in the log.
    pub(crate) offset: Offset,
    /// The selected objects that it creates, alters, drops or renames. A table that was renamed stands here under both names.
    pub(crate) objects: Vec<ObjectKey>,
    /// The database that it dropped with all that was in it.
    pub(crate) dropped_database: Option<String>,
    /// It gives tables or columns another name: foreign keys of other tables follow silently.
    pub(crate) renames: bool,
}

/// All changes of the log from where the task begins up to an offset.
#[derive(Debug)]
pub(crate) struct History {
    through: Offset,
    changes: Vec<Change>,
    /// Finds the events of the transaction that is being read.
    unfolder: Unfolder,
}

impl History {
    /// Nothing read yet; reading begins after `after`.
    pub(crate) fn new(after: Offset) -> Self {
        Self {
            through: after,
            changes: Vec::new(),
            unfolder: Unfolder::default(),
        }
    }

    /// The changes so far, in order.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Reads on through `through`, which must be durable.
    pub(crate) async fn extend(&mut self, log: &Log, rules: Rules<'_>, through: Offset) -> Result<(), Error> {
        if through <= self.through {
            return Ok(());
        }
        let mut reader = log.reader(self.through)?;
        while self.through < through {
            let record = reader.next().await?;
            self.read(rules, &record)?;
            if record.end.is_some() {
                self.through = record.offset;
            }
            // Reading from memory or disk is always ready: let others run.
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    fn read(&mut self, rules: Rules<'_>, record: &Record) -> Result<(), Error> {
        if let Some(begin) = &record.begin {
            self.unfolder = Unfolder::new(begin.checksum);
        }
        let place = || Place::new(record.offset, record.begin.as_ref().map(|b| b.start.clone()));
        let fail = |cause| Error::Event {
            place: place(),
            cause,
        };
        let mut bytes: &[u8] = &record.events;
        while let Some(found) = self.unfolder.next(&mut bytes).map_err(fail)? {
            if found.header().map_err(fail)?.kind == EventKind::QUERY {
                let event = found.parse().map_err(fail)?;
                self.changes.extend(change(rules, record.offset, &event, &place)?);
            }
        }
        if record.end.is_some() {
            self.unfolder.finish().map_err(fail)?;
        }
        Ok(())
    }
}

/// What a statement changes of the selection, if anything.
fn change(
    rules: Rules<'_>,
    offset: Offset,
    event: &Event<'_>,
    place: &dyn Fn() -> Place,
) -> Result<Option<Change>, Error> {
    let Body::Query(query) = &event.body else {
        return Ok(None);
    };
    if is_transactions_own(query.statement) {
        return Ok(None);
    }
    match judge(query, event.header.timestamp, rules) {
        Verdict::Apply(statement) => Ok(touched(&statement, offset)),
        Verdict::Skip(_) => Ok(None),
        Verdict::Stop(what) => Err(Error::Transaction { place: place(), what }),
    }
}

/// The statements that begin and end transactions and their parts: no definition changes.
fn is_transactions_own(statement: &[u8]) -> bool {
    matches!(
        ddl::classify(statement, SqlMode::empty()).kind,
        Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Savepoint
            | Kind::RollbackToSavepoint
            | Kind::ReleaseSavepoint
            | Kind::XaStart
            | Kind::XaEnd
            | Kind::XaPrepare
            | Kind::XaCommit
            | Kind::XaRollback
            | Kind::XaRecover
    )
}

/// What a definition statement changed of the selection; `None` if nothing that is copied.
fn touched(statement: &Statement, offset: Offset) -> Option<Change> {
    let Kind::Ddl(verb, _) = statement.statement.kind else {
        return None;
    };
    let mut objects: Vec<ObjectKey> = Vec::new();
    let mut dropped_database = None;
    for object in statement.objects.iter().filter(|o| o.role != Role::Read) {
        let Some(key) = key_of(object) else { continue };
        if key.space == Space::Database && verb == Verb::Drop {
            dropped_database = Some(key.database.clone());
        }
        if !objects.contains(&key) {
            objects.push(key);
        }
    }
    let renames = statement.objects.iter().any(|o| o.role == Role::NewName) || statement.renames_columns();
    (!objects.is_empty()).then_some(Change {
        offset,
        objects,
        dropped_database,
        renames,
    })
}

fn key_of(named: &Named) -> Option<ObjectKey> {
    let space = match named.kind {
        ObjectKind::Database => Space::Database,
        ObjectKind::Table | ObjectKind::Index | ObjectKind::View => Space::Table,
        ObjectKind::Procedure => Space::Procedure,
        ObjectKind::Function => Space::Function,
        ObjectKind::Trigger | ObjectKind::Event | ObjectKind::Library => return None,
    };
    Some(ObjectKey {
        space,
        database: named.database.clone(),
        name: named.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::binlog::{QueryEvent, SessionVars};

    use super::*;

    fn change(sql: &str, folds_names: bool) -> Option<Change> {
        let query = QueryEvent {
            thread_id: 1,
            exec_time: 0,
            error_code: 0,
            schema: b"shop",
            statement: sql.as_bytes(),
            session: SessionVars {
                charsets: Some((255, 255, 255)),
                ..SessionVars::default()
            },
        };
        touched(&Statement::read(&query, 0, folds_names), Offset(7))
    }

    #[test]
    fn a_rename_touches_both_names() {
        let change = change("RENAME TABLE a TO b, c TO shop.D", false).unwrap();
        let names: Vec<_> = change.objects.iter().map(ObjectKey::quoted).collect();
        assert_eq!(names, ["`shop`.`a`", "`shop`.`b`", "`shop`.`c`", "`shop`.`D`"]);
        assert!(change.renames);
    }

    #[test]
    fn a_renamed_column_is_a_rename() {
        let renames = |sql: &str| change(sql, false).unwrap().renames;
        assert!(renames("ALTER TABLE a RENAME COLUMN id TO pid"));
        assert!(renames("ALTER TABLE a ADD b INT, CHANGE id pid BIGINT"));
        assert!(!renames("ALTER TABLE a ADD b INT, CHANGE id id BIGINT"));
    }

    #[test]
    fn a_dropped_database_is_remembered_and_names_fold_where_the_source_folds() {
        let dropped = change("DROP DATABASE SHOP", true).unwrap();
        assert_eq!(dropped.dropped_database.as_deref(), Some("shop"));
        let altered = change("ALTER DATABASE shop CHARACTER SET latin1", false).unwrap();
        assert_eq!(
            (altered.dropped_database, altered.objects),
            (None, vec![ObjectKey::database("shop")])
        );
        assert_eq!(
            change(
                "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
                false
            ),
            None
        );
        assert_eq!(change("FLUSH TABLES", false), None);
    }

    #[test]
    fn transactions_own_statements_are_no_changes() {
        assert!(is_transactions_own(b"BEGIN") && is_transactions_own(b"XA END X'61',X'',1"));
        assert!(!is_transactions_own(b"DROP TABLE t"));
    }
}
