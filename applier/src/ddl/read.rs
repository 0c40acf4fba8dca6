//! Reads a query event: what it does, which objects it changes, by their full names.

use std::borrow::Cow;
use std::fmt;

use outrigger_protocol::binlog::{QueryEvent, SessionVars};
use outrigger_protocol::charset;
use outrigger_protocol::sql::ddl::{Kind, Object, ObjectKind, Role, Statement, classify};
use outrigger_protocol::sql::lexer::{Lexer, Token, TokenKind};
use outrigger_protocol::sql::{SqlMode, lexable};

use crate::literal::quote_name;

/// How much of a statement a message shows.
const HEAD: usize = 100;

/// One statement of the source, read, with all that is needed to apply it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// What its head says.
    pub(crate) statement: Statement,
    /// The objects that it changes, in the text's order.
    pub(crate) objects: Vec<Named>,
    /// Its default database; empty: none.
    pub(crate) database: String,
    /// Its text as logged, in the session's `character_set_client`.
    pub(crate) text: Vec<u8>,
    /// The settings of its session.
    pub(crate) settings: SessionVars,
    /// Seconds of its `timestamp`.
    pub(crate) timestamp: u32,
    /// Error numbers with which it may end: 0, or the one with which it ended on the source.
    pub(crate) tolerated: Vec<u16>,
}

/// An object by its full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// What it is.
    pub(crate) kind: ObjectKind,
    /// Its database; for a database itself, its name.
    pub(crate) database: String,
    /// Its name; empty for a database.
    pub(crate) name: String,
    /// What the statement does with it.
    pub(crate) role: Role,
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

impl Change {
    /// Reads a query event that was logged at `timestamp`. `folds_names`: the source takes `T` and `t` for one table.
    pub(crate) fn read(query: &QueryEvent<'_>, timestamp: u32, folds_names: bool) -> Self {
        let mut statement = classify(
            &lexable_text(query.statement, &query.session),
            mode(&query.session),
        );
        let mut unknown = |reason| {
            statement.kind = Kind::Unknown;
            statement.reason = Some(reason);
        };
        let (database, objects) = match std::str::from_utf8(query.schema) {
            Ok(database) => match resolve(&statement.objects, database, folds_names) {
                Some(objects) => (database.to_owned(), objects),
                None => {
                    unknown("it names an object without its database and has no default database");
                    (database.to_owned(), Vec::new())
                }
            },
            Err(_) => {
                unknown("its default database's name is not UTF-8");
                (String::from_utf8_lossy(query.schema).into_owned(), Vec::new())
            }
        };
        Self {
            statement,
            objects,
            database,
            text: query.statement.to_vec(),
            settings: query.session.clone(),
            timestamp,
            tolerated: vec![query.error_code],
        }
    }

    /// The text for the lexer, same length.
    pub(super) fn lexable(&self) -> Cow<'_, [u8]> {
        lexable_text(&self.text, &self.settings)
    }

    /// The `sql_mode` under which the text is read.
    pub(super) fn mode(&self) -> SqlMode {
        mode(&self.settings)
    }

    /// The statement's beginning for messages, up to its first literal: values are not shown (W1).
    pub(crate) fn head(&self) -> String {
        let text = self.lexable();
        let mut head = String::new();
        for token in Lexer::new(&text, self.mode()) {
            match token.kind {
                TokenKind::Comment => continue,
                TokenKind::Space if head.is_empty() || head.ends_with(' ') => continue,
                TokenKind::Space => head.push(' '),
                _ if is_literal(&token) || head.len() + token.text.len() > HEAD => {
                    head.push('…');
                    return head;
                }
                _ => head.push_str(&String::from_utf8_lossy(token.text)),
            }
        }
        head.truncate(head.trim_end().len());
        head
    }
}

fn is_literal(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        TokenKind::String | TokenKind::Number | TokenKind::Bits | TokenKind::Unterminated
    )
}

fn mode(settings: &SessionVars) -> SqlMode {
    SqlMode::from_bits_retain(settings.sql_mode.unwrap_or(0))
}

/// A character set without a known name is taken for one of single bytes: then names in it are not known either.
fn lexable_text<'a>(text: &'a [u8], settings: &SessionVars) -> Cow<'a, [u8]> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A query event of this text.
    pub(in crate::ddl) fn event<'a>(schema: &'a str, statement: &'a [u8]) -> QueryEvent<'a> {
        QueryEvent {
            thread_id: 1,
            exec_time: 0,
            error_code: 0,
            schema: schema.as_bytes(),
            statement,
            session: SessionVars {
                charsets: Some((255, 255, 255)),
                ..SessionVars::default()
            },
        }
    }

    fn names(schema: &str, sql: &str, folds: bool) -> String {
        let change = Change::read(&event(schema, sql.as_bytes()), 0, folds);
        assert_eq!(
            change.statement.reason.is_some(),
            change.statement.kind == Kind::Unknown
        );
        change
            .objects
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn names_are_completed_and_folded() {
        assert_eq!(
            names("shop", "RENAME TABLE A TO Other.`b``c`", false),
            "`shop`.`A` `Other`.`b``c`"
        );
        assert_eq!(
            names("Shop", "RENAME TABLE A TO Other.B", true),
            "`shop`.`a` `other`.`b`"
        );
        assert_eq!(
            names("shop", "ALTER DATABASE CHARACTER SET latin1", false),
            "`shop`"
        );
        assert_eq!(names("", "DROP DATABASE x", false), "`x`");
        assert_eq!(names("shop", "DROP PROCEDURE P", false), "`shop`.`p`");
        assert_eq!(names("", "DROP TABLE x", false), "");
        assert_eq!(
            Change::read(&event("", b"DROP TABLE x"), 0, false).statement.kind,
            Kind::Unknown
        );
    }

    #[test]
    fn a_name_in_another_character_set_is_not_guessed() {
        let mut query = event("shop", b"DROP TABLE `t\xc3\xa9`");
        assert_eq!(Change::read(&query, 0, false).objects[0].name, "té");
        query.session.charsets = Some((8, 8, 8));
        assert_eq!(Change::read(&query, 0, false).statement.kind, Kind::Unknown);
        query.session.charsets = Some((13, 13, 13));
        query.statement = b"CREATE TABLE t (a INT COMMENT '\x95\x5c') -- '";
        assert_eq!(Change::read(&query, 0, false).objects[0].name, "t");
    }

    #[test]
    fn the_head_shows_no_values() {
        let head = |sql: &str| Change::read(&event("s", sql.as_bytes()), 0, false).head();
        assert_eq!(
            head("INSERT /* 'x' */ INTO t VALUES ('secret', 7)"),
            "INSERT INTO t VALUES (…"
        );
        assert_eq!(
            head("DROP  TABLE\n`a` /* generated by server */"),
            "DROP TABLE `a`"
        );
        assert!(head(&format!("DROP TABLE {}", "abcdefghi, ".repeat(30))).len() <= HEAD + 3);
    }
}
