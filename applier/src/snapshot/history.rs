//! What changed definitions while they were being copied: the log, read for its DDL.

use outrigger_protocol::binlog::{Body, ChecksumAlg, Event, EventHeader, EventKind, HEADER_LEN, QueryEvent};
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::ddl::{self, Kind, Object, ObjectKind, Role, Statement, Verb};
use outrigger_storage::{Log, Offset, Record};

use crate::config::Selection;
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
    /// It gives tables another name: foreign keys of other tables follow silently.
    pub(crate) renames: bool,
}

/// All changes of the log up to an offset.
#[derive(Debug)]
pub(crate) struct History {
    through: Offset,
    changes: Vec<Change>,
    checksum: ChecksumAlg,
    folds_names: bool,
}

impl History {
    /// Nothing read yet. `folds_names`: the source takes `T` and `t` for one table.
    pub(crate) fn new(folds_names: bool) -> Self {
        Self { through: Offset::ZERO, changes: Vec::new(), checksum: ChecksumAlg::Off, folds_names }
    }

    /// The changes so far, in order.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Reads on through `through`, which must be durable.
    pub(crate) async fn extend(&mut self, log: &Log, selection: &Selection, through: Offset) -> Result<(), Error> {
        if through <= self.through {
            return Ok(());
        }
        let mut reader = log.reader(self.through)?;
        while self.through < through {
            let record = reader.next().await?;
            self.read(selection, &record)?;
            if record.end.is_some() {
                self.through = record.offset;
            }
            // Reading from memory or disk is always ready: let others run.
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    fn read(&mut self, selection: &Selection, record: &Record) -> Result<(), Error> {
        if let Some(begin) = &record.begin {
            self.checksum = begin.checksum;
        }
        let place = || Place::new(record.offset, record.begin.as_ref().map(|b| b.start.clone()));
        let fail = |cause| Error::Event { place: place(), cause };
        let mut rest: &[u8] = &record.events;
        while !rest.is_empty() {
            let header = EventHeader::parse(rest).map_err(fail)?;
            let size = usize::try_from(header.size).unwrap_or(usize::MAX);
            let Some(bytes) = rest.get(..size).filter(|_| size >= HEADER_LEN) else {
                let what = "the log holds a cut-off event: copy anew with a new log".to_owned();
                return Err(Error::Transaction { place: place(), what });
            };
            rest = &rest[size..];
            match header.kind {
                EventKind::QUERY => {
                    if let Body::Query(query) = Event::parse(bytes, self.checksum).map_err(fail)?.body {
                        self.note(selection, record.offset, &query, &place)?;
                    }
                }
                EventKind::TRANSACTION_PAYLOAD => {
                    let Body::TransactionPayload(payload) = Event::parse(bytes, self.checksum).map_err(fail)?.body else {
                        continue;
                    };
                    for inner in payload.events() {
                        let inner = inner.map_err(fail)?;
                        if EventHeader::parse(&inner).map_err(fail)?.kind != EventKind::QUERY {
                            continue;
                        }
                        if let Body::Query(query) = Event::parse(&inner, ChecksumAlg::Off).map_err(fail)?.body {
                            self.note(selection, record.offset, &query, &place)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(
        &mut self,
        selection: &Selection,
        offset: Offset,
        query: &QueryEvent<'_>,
        place: &dyn Fn() -> Place,
    ) -> Result<(), Error> {
        let mode = SqlMode::from_bits_retain(query.session.sql_mode.unwrap_or(0));
        let statement = ddl::classify(query.statement, mode);
        let Ok(schema) = std::str::from_utf8(query.schema) else {
            return Err(Error::Transaction { place: place(), what: "the default database's name is not UTF-8".to_owned() });
        };
        match statement.kind {
            Kind::Ddl(..) => {
                if let Some(change) = touched(&statement, offset, schema, selection, self.folds_names) {
                    self.changes.push(change);
                }
                Ok(())
            }
            Kind::Unknown => {
                let reason = statement.reason.unwrap_or("it is not known");
                let what = format!(
                    "a statement can't be classified ({reason}), so whether it changed a selected table is not known: \
                     start the task anew from after it"
                );
                Err(Error::Transaction { place: place(), what })
            }
            _ => Ok(()),
        }
    }
}

/// What a definition statement changed of the selection; `None` if nothing.
fn touched(statement: &Statement, offset: Offset, schema: &str, selection: &Selection, fold: bool) -> Option<Change> {
    let Kind::Ddl(verb, _) = statement.kind else { return None };
    let folded = |name: &str| if fold { name.to_lowercase() } else { name.to_owned() };
    let mut objects: Vec<ObjectKey> = Vec::new();
    let mut dropped_database = None;
    for object in &statement.objects {
        let Some(key) = key_of(object, schema, &folded) else { continue };
        if object.role == Role::Read || !key.is_selected(selection) {
            continue;
        }
        if key.space == Space::Database && verb == Verb::Drop {
            dropped_database = Some(key.database.clone());
        }
        if !objects.contains(&key) {
            objects.push(key);
        }
    }
    let renames = statement.objects.iter().any(|o| o.role == Role::NewName);
    (!objects.is_empty()).then_some(Change { offset, objects, dropped_database, renames })
}

fn key_of(object: &Object, schema: &str, folded: &dyn Fn(&str) -> String) -> Option<ObjectKey> {
    let database = folded(object.schema.as_deref().unwrap_or(schema));
    let key = |space, name: String| Some(ObjectKey { space, database: database.clone(), name });
    match object.kind {
        ObjectKind::Database => Some(ObjectKey::database(folded(&object.name))),
        ObjectKind::Table | ObjectKind::Index | ObjectKind::View => key(Space::Table, folded(&object.name)),
        // Names of routines never differ by case alone.
        ObjectKind::Procedure => key(Space::Procedure, object.name.to_lowercase()),
        ObjectKind::Function => key(Space::Function, object.name.to_lowercase()),
        ObjectKind::Trigger | ObjectKind::Event | ObjectKind::Library => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pattern;

    fn change(sql: &str, fold: bool) -> Option<Change> {
        let include = vec![Pattern::try_from("shop".to_owned()).unwrap()];
        let selection = Selection { include, exclude: Vec::new() };
        let statement = ddl::classify(sql.as_bytes(), SqlMode::empty());
        touched(&statement, Offset(7), "shop", &selection, fold)
    }

    #[test]
    fn a_rename_touches_both_names() {
        let change = change("RENAME TABLE a TO b, other.c TO shop.D", false).unwrap();
        let names: Vec<_> = change.objects.iter().map(ObjectKey::quoted).collect();
        assert_eq!(names, ["`shop`.`a`", "`shop`.`b`", "`shop`.`D`"]);
        assert!(change.renames);
    }

    #[test]
    fn a_dropped_database_is_remembered_and_names_fold_where_the_source_folds() {
        let dropped = change("DROP DATABASE SHOP", true).unwrap();
        assert_eq!(dropped.dropped_database.as_deref(), Some("shop"));
        assert_eq!(change("DROP DATABASE SHOP", false), None);
        assert_eq!(change("CREATE TABLE elsewhere.t (a INT)", false), None);
        assert_eq!(change("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1", false), None);
    }
}
