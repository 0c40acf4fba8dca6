//! What a statement does to tables' definitions, read from its head. Pure.

use outrigger_protocol::binlog::QueryEvent;
use outrigger_protocol::sql::ddl::{Kind, Named, ObjectKind, Role, Verb, read_query};

use super::Name;

/// A change of tables' definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is no such table any more.
    Gone(Name),
    /// The table has another name, and the same definition.
    Moved {
        /// The name that it had.
        from: Name,
        /// The name that it has.
        to: Name,
    },
    /// The table was made or altered.
    Changed(Name),
    /// None of the database's tables is left.
    DatabaseGone(String),
    /// Not known: any table may have changed.
    Anything,
}

/// What the event's statement does, in the text's order. `folds_names`: the source takes `T` and `t` for one table.
pub(crate) fn changes(query: &QueryEvent<'_>, folds_names: bool) -> Vec<Change> {
    let (statement, objects) = read_query(query, folds_names);
    let name = |object: &Named| (object.database.clone(), object.name.clone());
    let subjects = || objects.iter().filter(|object| object.role != Role::Read);
    let changed = || subjects().map(|object| Change::Changed(name(object))).collect();
    match statement.kind {
        // It ended half-way: which of its tables it changed is to be seen.
        Kind::Ddl(_, ObjectKind::Table | ObjectKind::Index) if query.error_code != 0 => changed(),
        Kind::Ddl(Verb::Truncate, _) => Vec::new(),
        Kind::Ddl(Verb::Drop, ObjectKind::Table) => {
            subjects().map(|object| Change::Gone(name(object))).collect()
        }
        Kind::Ddl(Verb::Rename, ObjectKind::Table) => pairs(&objects)
            .map(|(from, to)| Change::Moved {
                from: name(from),
                to: name(to),
            })
            .collect(),
        Kind::Ddl(Verb::Alter, ObjectKind::Table) => {
            let mut changes: Vec<Change> = changed();
            if let Some((from, _)) = pairs(&objects).next() {
                changes.insert(0, Change::Gone(name(from)));
                changes.retain(|change| *change != Change::Changed(name(from)));
            }
            changes
        }
        Kind::Ddl(_, ObjectKind::Table | ObjectKind::Index) => changed(),
        Kind::Ddl(Verb::Drop, ObjectKind::Database) => subjects()
            .map(|object| Change::DatabaseGone(object.database.clone()))
            .collect(),
        Kind::Unknown => vec![Change::Anything],
        _ => Vec::new(),
    }
}

/// Old and new names.
fn pairs(objects: &[Named]) -> impl Iterator<Item = (&Named, &Named)> {
    let next = objects.iter().skip(1);
    let pairs = objects.iter().zip(next);
    pairs.filter(|(from, to)| from.role == Role::Subject && to.role == Role::NewName)
}
