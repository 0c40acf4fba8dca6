//! What an `ALTER TABLE` does to columns, as far as nothing else tells: names that it passes on from one column to another,
//! and columns by which it numbers the rows that there are.

use std::collections::BTreeSet;

use outrigger_protocol::sql::ddl::{Kind, ObjectKind, Verb};
use outrigger_protocol::sql::lexer::{Lexer, Token, TokenKind};

use super::read::Change;

/// What stands behind ADD or DROP where no column does. All of these are reserved, so none is a column's name without quotes.
const NO_COLUMN: [&str; 10] = [
    "PRIMARY",
    "UNIQUE",
    "KEY",
    "INDEX",
    "FULLTEXT",
    "SPATIAL",
    "CONSTRAINT",
    "CHECK",
    "FOREIGN",
    "PARTITION",
];

/// Functions that say something of the session or the server, and that servers take in a column's default all the same. Others of the kind
/// are refused by the source (ER_BINLOG_UNSAFE_SYSTEM_FUNCTION).
const ASKING: [&str; 4] = ["CONNECTION_ID", "CURRENT_ROLE", "VERSION", "ICU_VERSION"];

/// The columns of one `ALTER TABLE`, by their names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    /// Names that columns lose: `DROP x`, `CHANGE x y`, `RENAME COLUMN x TO y`.
    taken: BTreeSet<String>,
    /// Names that columns get: `ADD x`, `CHANGE y x`, `RENAME COLUMN y TO x`.
    given: BTreeSet<String>,
    /// A column has another name afterwards.
    renames: bool,
    /// Which rows get numbers.
    pub(super) numbers: Option<Numbers>,
    /// A function that fills a new column by what session or server it runs in, which servers let pass.
    pub(super) asks: Option<&'static str>,
}

/// Which rows a new AUTO_INCREMENT numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Numbers {
    /// All: the column is new.
    All,
    /// Those that have none in this column.
    Missing(String),
}

impl Change {
    /// Whether columns of its table have other names afterwards.
    pub(crate) fn renames_columns(&self) -> bool {
        Columns::of(self).renames
    }
}

impl Columns {
    /// Reads the statement; nothing is found in one that is no `ALTER TABLE`.
    pub(super) fn of(change: &Change) -> Self {
        let mut columns = Self::default();
        if change.statement.kind != Kind::Ddl(Verb::Alter, ObjectKind::Table) {
            return columns;
        }
        let lexable = change.lexable();
        let tokens: Vec<Token<'_>> = Lexer::new(&lexable, change.mode())
            .filter(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Comment))
            .take_while(|token| !token.is_punct(b';'))
            .collect();
        let list = behind_the_name(&tokens);
        for part in parts(list) {
            columns.read(part, &change.text);
        }
        columns
    }

    /// Whether a column gets a name that another one has had: then the definition may be the same afterwards.
    pub(super) fn passes_names_on(&self) -> bool {
        !self.taken.is_disjoint(&self.given)
    }

    /// Reads one change of the list.
    fn read(&mut self, part: &[Token<'_>], text: &[u8]) {
        let Some((verb, rest)) = part.split_first() else {
            return;
        };
        let (says_column, rest) = match rest.split_first() {
            Some((word, rest)) if word.is("COLUMN") => (true, rest),
            _ => (false, rest),
        };
        let is_column = says_column || !rest.first().is_some_and(is_no_column);
        let name = |at: usize| rest.get(at).and_then(|token| spelled(token, text));
        let definition = |from: usize| rest.get(from..).unwrap_or_default();
        if verb.is("ADD") && rest.first().is_some_and(|token| token.is_punct(b'(')) {
            // The parenthesis that closes the list is taken for a part of its last definition, and does no harm there.
            for one in parts(definition(1)).filter(|one| !one.first().is_some_and(is_no_column)) {
                self.add(one, text);
            }
        } else if verb.is("ADD") && is_column {
            self.add(rest, text);
        } else if verb.is("DROP") && is_column {
            self.taken.extend(name(0));
        } else if verb.is("CHANGE") {
            self.pass(name(0), name(1));
            self.number(definition(2), name(0));
        } else if verb.is("RENAME") && says_column {
            self.pass(name(0), name(2));
        } else if verb.is("MODIFY") {
            self.number(definition(1), name(0));
        }
    }

    fn add(&mut self, definition: &[Token<'_>], text: &[u8]) {
        let Some((name, rest)) = definition.split_first() else {
            return;
        };
        self.given.extend(spelled(name, text));
        self.number(rest, None);
        let called = rest.windows(2).filter(|pair| pair[1].is_punct(b'('));
        let mut asking = called.filter_map(|pair| ASKING.into_iter().find(|function| pair[0].is(function)));
        self.asks = self.asks.or(asking.next());
    }

    /// A column that keeps its name loses and gets none.
    fn pass(&mut self, from: Option<String>, to: Option<String>) {
        if from != to {
            self.renames = true;
            self.taken.extend(from);
            self.given.extend(to);
        }
    }

    /// Looks for AUTO_INCREMENT behind a column's name; `column`: it was there before.
    fn number(&mut self, definition: &[Token<'_>], column: Option<String>) {
        let mut depth = 0_usize;
        let words = definition.iter().take_while(|token| !token.is("AFTER"));
        for token in words {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                _ if depth == 0 && (token.is("AUTO_INCREMENT") || token.is("SERIAL")) => {
                    self.numbers = Some(column.map_or(Numbers::All, Numbers::Missing));
                    return;
                }
                _ => {}
            }
        }
    }
}

fn is_no_column(token: &Token<'_>) -> bool {
    NO_COLUMN.iter().any(|word| token.is(word))
}

/// A column's name in lower case, as the server compares them; in a character set that is not known, by its bytes.
fn spelled(token: &Token<'_>, text: &[u8]) -> Option<String> {
    token.name()?;
    let bytes = text.get(token.start..token.end())?;
    let bare = match token.kind {
        TokenKind::QuotedName => bytes.get(1..bytes.len() - 1)?,
        _ => bytes,
    };
    Some(match std::str::from_utf8(bare) {
        Ok(name) => name.replace("``", "`").to_lowercase(),
        Err(_) => bare.escape_ascii().to_string(),
    })
}

/// What stands behind `ALTER TABLE t`.
fn behind_the_name<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let table = tokens.iter().position(|token| token.is("TABLE"));
    let rest = table.and_then(|at| tokens.get(at + 1..)).unwrap_or_default();
    match rest {
        [_, dot, _, rest @ ..] if dot.is_punct(b'.') => rest,
        [_, rest @ ..] => rest,
        [] => rest,
    }
}

/// The parts between commas outside of parentheses.
fn parts<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = &'t [Token<'a>]> {
    let mut depth = 0_usize;
    tokens.split(move |token| {
        match token.kind {
            TokenKind::Punct(b'(') => depth += 1,
            TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is_punct(b',')
    })
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::event;
    use super::*;

    fn columns(sql: &str) -> Columns {
        Columns::of(&Change::read(&event("s", sql.as_bytes()), 0, false))
    }

    #[test]
    fn names_are_passed_on() {
        for changes in [
            "CHANGE b a INT AFTER id, CHANGE a b INT AFTER a",
            "DROP COLUMN a, CHANGE b a INT, ADD COLUMN b INT",
            "DROP a, ADD A INT",
            "RENAME COLUMN a TO b, RENAME COLUMN `B` TO a",
            "DROP `x``y`, ADD (z DECIMAL(5, 2), `x``y` INT)",
            "CHANGE COLUMN a b INT, /* x */ ADD (PRIMARY KEY (b), a ENUM('1', ',') DEFAULT ',')",
        ] {
            for table in ["t", "s.t", "`s` . `t`"] {
                let sql = format!("ALTER TABLE {table} {changes}");
                assert!(columns(&sql).passes_names_on(), "{sql}");
            }
        }
        for changes in [
            "CHANGE a A BIGINT, ADD b INT, DROP c",
            "DROP KEY a, ADD KEY a (a, b)",
            "DROP PRIMARY KEY, ADD PRIMARY KEY (a), DROP b, MODIFY a INT",
            "RENAME COLUMN a TO b, RENAME INDEX b TO a",
            "DROP a, ADD b INT COMMENT 'ADD a'",
            "DROP CHECK a, ADD CONSTRAINT b CHECK (a > 1), ADD a INT, DROP PARTITION p",
        ] {
            let sql = format!("ALTER TABLE t {changes}");
            assert!(!columns(&sql).passes_names_on(), "{sql}");
        }
        assert!(columns("ALTER TABLE t RENAME COLUMN a TO b").renames);
        assert!(columns("ALTER TABLE t CHANGE a b INT").renames);
        assert!(!columns("ALTER TABLE t CHANGE a a BIGINT, DROP c, RENAME KEY a TO b, RENAME TO u").renames);
        assert_eq!(columns("RENAME TABLE a TO t, b TO a, t TO b"), Columns::default());
        assert_eq!(columns("ALTER TABLE t"), Columns::default());
    }

    #[test]
    fn new_columns_ask_the_session() {
        let asks = |changes: &str| columns(&format!("ALTER TABLE t {changes}")).asks;
        assert_eq!(
            asks("ADD c INT DEFAULT (connection_id() + 1)"),
            Some("CONNECTION_ID")
        );
        assert_eq!(
            asks("ADD (a INT, c TEXT DEFAULT (CURRENT_ROLE()))"),
            Some("CURRENT_ROLE")
        );
        for changes in [
            "ADD version INT",
            "ADD c INT COMMENT 'VERSION()' AFTER version",
            "ADD KEY version (a)",
            "ALTER c SET DEFAULT (CONNECTION_ID())",
        ] {
            assert_eq!(asks(changes), None, "{changes}");
        }
    }

    #[test]
    fn rows_are_numbered_by_new_columns() {
        let numbers = |changes: &str| columns(&format!("ALTER TABLE t {changes}")).numbers;
        for changes in [
            "ADD id INT AUTO_INCREMENT PRIMARY KEY",
            "ADD COLUMN id SERIAL FIRST",
            "ADD b INT, ADD (c INT, id INT UNSIGNED NOT NULL AUTO_INCREMENT, KEY (id))",
        ] {
            assert_eq!(numbers(changes), Some(Numbers::All), "{changes}");
        }
        let missing = Some(Numbers::Missing("id".to_owned()));
        assert_eq!(numbers("MODIFY `Id` INT AUTO_INCREMENT, ADD KEY (id)"), missing);
        assert_eq!(numbers("CHANGE COLUMN id x INT NOT NULL AUTO_INCREMENT"), missing);
        for changes in [
            "AUTO_INCREMENT = 7",
            "ADD b INT, AUTO_INCREMENT 7",
            "ADD b INT COMMENT 'AUTO_INCREMENT' AFTER `auto_increment`",
            "ADD b INT AFTER serial",
            "ADD b INT DEFAULT (serial)",
            "ADD KEY auto_increment (a)",
        ] {
            assert_eq!(numbers(changes), None, "{changes}");
        }
    }
}
