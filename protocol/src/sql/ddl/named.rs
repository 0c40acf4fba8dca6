//! A query event's statement, with the full names of the objects that it changes.

use std::borrow::Cow;
use std::fmt;

use super::{Kind, Object, ObjectKind, Role, Statement, classify};
use crate::binlog::{QueryEvent, SessionVars};
use crate::charset;
use crate::sql::{SqlMode, lexable, quote_name};

/// An object by its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is.
    pub kind: ObjectKind,
    /// Its database; for a database itself, its name.
    pub database: String,
    /// Its name; empty for a database.
    pub name: String,
    /// What the statement does with it.
    pub role: Role,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_name(&self.database))?;
        if self.kind != ObjectKind::Database {
            write!(f, ".{}", quote_name(&self.name))?;
        }
        Ok(())
    }
}

/// What the event's statement is, and the objects that it changes, in the text's order. A statement that names an object without
/// saying in which database is [`Kind::Unknown`]. `folds_names`: the server takes `T` and `t` for one table.
pub fn read_query(query: &QueryEvent<'_>, folds_names: bool) -> (Statement, Vec<Named>) {
    let text = lexable_text(query.statement, &query.session);
    let mut statement = classify(&text, sql_mode(&query.session));
    let resolved = match std::str::from_utf8(query.schema) {
        Ok(default) => resolve(&statement.objects, default, folds_names)
            .ok_or("it names an object without its database and has no default database"),
        Err(_) => Err("its default database's name is not UTF-8"),
    };
    let objects = resolved.unwrap_or_else(|reason| {
        statement.kind = Kind::Unknown;
        statement.reason = Some(reason);
        Vec::new()
    });
    (statement, objects)
}

/// The `sql_mode` under which the session's text is read.
pub fn sql_mode(settings: &SessionVars) -> SqlMode {
    SqlMode::from_bits_retain(settings.sql_mode.unwrap_or(0))
}

/// The session's text for the lexer, same length. A character set without a known name is taken for one of single bytes: then names
/// in it are not known either.
pub fn lexable_text<'a>(text: &'a [u8], settings: &SessionVars) -> Cow<'a, [u8]> {
    let name = match settings.charsets {
        Some((client, _, _)) => charset::charset_of(client).map_or("unknown", |(name, _)| name),
        None => "utf8mb4",
    };
    lexable(text, name)
}

/// Full names; `None` if a database is neither written nor the default.
fn resolve(objects: &[Object], default: &str, folds_names: bool) -> Option<Vec<Named>> {
    let fold = |name: &str| {
        if folds_names {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    };
    objects
        .iter()
        .map(|object| {
            let (database, name) = match object.kind {
                ObjectKind::Database if object.name.is_empty() => (default, String::new()),
                ObjectKind::Database => (object.name.as_str(), String::new()),
                // Names of routines never differ by case alone.
                ObjectKind::Procedure | ObjectKind::Function => (
                    object.schema.as_deref().unwrap_or(default),
                    object.name.to_lowercase(),
                ),
                _ => (object.schema.as_deref().unwrap_or(default), fold(&object.name)),
            };
            let named = Named {
                kind: object.kind,
                database: fold(database),
                name,
                role: object.role,
            };
            (!database.is_empty()).then_some(named)
        })
        .collect()
}
