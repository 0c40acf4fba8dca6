//! Reads a query event: what it does, which objects it changes, by their full names.

use std::borrow::Cow;

use outrigger_protocol::binlog::{QueryEvent, SessionVars};
use outrigger_protocol::sql::SqlMode;
pub(crate) use outrigger_protocol::sql::ddl::Named;
use outrigger_protocol::sql::ddl::{
    Kind, ObjectKind, Role, Statement, Verb, lexable_text, read_query, sql_mode,
};
use outrigger_protocol::sql::lexer::{Lexer, Token, TokenKind};
use outrigger_protocol::sql::quote_name;

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
    /// The session that ran it, as the source numbers them (`SHOW PROCESSLIST`).
    pub(crate) session: u32,
    /// Its text as logged, in the session's `character_set_client`.
    pub(crate) text: Vec<u8>,
    /// The settings of its session.
    pub(crate) settings: SessionVars,
    /// Seconds of its `timestamp`.
    pub(crate) timestamp: u32,
    /// Error numbers with which it may end: 0, or the one with which it ended on the source.
    pub(crate) tolerated: Vec<u16>,
    /// The table of `CREATE TABLE … LIKE`; once it is judged, only where that does not belong to the task.
    pub(crate) template: Option<Named>,
}

impl Change {
    /// Reads a query event that was logged at `timestamp`. `folds_names`: the source takes `T` and `t` for one table.
    pub(crate) fn read(query: &QueryEvent<'_>, timestamp: u32, folds_names: bool) -> Self {
        let (statement, objects) = read_query(query, folds_names);
        let database = String::from_utf8_lossy(query.schema).into_owned();
        let template = template(&statement, query, folds_names);
        Self {
            template,
            statement,
            objects,
            database,
            session: query.thread_id,
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
        sql_mode(&self.settings)
    }

    /// The table that a statement which changes rows begins with, as far as its first words tell; for messages only.
    pub(crate) fn first_table(&self) -> Option<String> {
        const BEFORE: &[&str] = &[
            "INSERT",
            "REPLACE",
            "UPDATE",
            "DELETE",
            "LOW_PRIORITY",
            "HIGH_PRIORITY",
            "DELAYED",
            "QUICK",
            "IGNORE",
            "INTO",
            "FROM",
        ];
        let text = self.lexable();
        let mut tokens = Lexer::new(&text, self.mode())
            .filter(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Comment))
            .skip_while(|token| BEFORE.iter().any(|word| token.is(word)));
        let name = |token: Token<'_>| Some(String::from_utf8_lossy(&token.name()?).into_owned());
        let first = name(tokens.next()?)?;
        let (database, table) = match tokens.next() {
            Some(dot) if dot.is_punct(b'.') => (first, name(tokens.next()?)?),
            _ => (self.database.clone(), first),
        };
        Some(match database.is_empty() {
            true => quote_name(&table),
            false => format!("{}.{}", quote_name(&database), quote_name(&table)),
        })
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

/// What stands behind `CREATE TABLE t LIKE` or `CREATE TABLE t (LIKE`.
fn template(statement: &Statement, query: &QueryEvent<'_>, folds_names: bool) -> Option<Named> {
    if statement.kind != Kind::Ddl(Verb::Create, ObjectKind::Table) {
        return None;
    }
    let text = lexable_text(query.statement, &query.session);
    let behind = text.get(statement.objects.first()?.span.end..)?;
    let mut tokens = Lexer::new(behind, sql_mode(&query.session))
        .filter(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Comment));
    let is_like = tokens.find(|token| !token.is_punct(b'('))?.is("LIKE");
    let read = statement.reads.first().filter(|_| is_like)?;
    let default = String::from_utf8_lossy(query.schema);
    let fold = |name: &str| {
        if folds_names {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    };
    Some(Named {
        kind: ObjectKind::Table,
        database: fold(read.schema.as_deref().unwrap_or(&default)),
        name: fold(&read.name),
        role: Role::Read,
    })
}

fn is_literal(token: &Token<'_>) -> bool {
    matches!(
        token.kind,
        TokenKind::String | TokenKind::Number | TokenKind::Bits | TokenKind::Unterminated
    )
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
    fn a_template_is_found() {
        let template = |sql: &str| {
            let change = Change::read(&event("Shop", sql.as_bytes()), 0, true);
            change.template.map(|named| named.to_string())
        };
        for sql in [
            "CREATE TABLE a LIKE B",
            "CREATE TABLE IF NOT EXISTS `o`.a /* x */ (LIKE shop.B)",
        ] {
            assert_eq!(template(sql).as_deref(), Some("`shop`.`b`"), "{sql}");
        }
        for sql in [
            "CREATE TABLE a (b INT, FOREIGN KEY (b) REFERENCES c (b), CHECK (b LIKE 'x'))",
            "CREATE VIEW a AS SELECT 1",
            "DROP TABLE a",
        ] {
            assert_eq!(template(sql), None, "{sql}");
        }
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
    fn the_first_table_is_named() {
        let table = |sql: &str| Change::read(&event("s", sql.as_bytes()), 0, false).first_table();
        for (sql, expected) in [
            ("INSERT INTO t VALUES (1)", Some("`s`.`t`")),
            ("insert low_priority ignore `o`.`T` VALUES (1)", Some("`o`.`T`")),
            ("UPDATE /* x */ t SET a = 1", Some("`s`.`t`")),
            ("DELETE FROM a . b", Some("`a`.`b`")),
            ("REPLACE 'x'", None),
            ("", None),
        ] {
            assert_eq!(table(sql).as_deref(), expected, "{sql}");
        }
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
