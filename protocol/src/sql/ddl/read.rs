//! Reads a statement's head: verbs, what they are followed by, names.

use std::ops::Range;

use super::{Kind, Object, ObjectKind, Role, Statement, Verb};
use crate::sql::SqlMode;
use crate::sql::lexer::{Lexer, Token, TokenKind};

mod names;
mod table;

/// Why a statement isn't understood: the second half of a sentence.
type Reason = &'static str;

const NOT_A_VERB: Reason = "it begins with no keyword known here";
const NO_NAME: Reason = "a name is missing where one was expected";
const NOT_UTF8: Reason = "a name in it is not UTF-8";
const UNTERMINATED: Reason = "a quote or comment in it is never closed";
const UNKNOWN_OBJECT: Reason = "what it creates, alters or drops is not known here";

/// See [`super::classify`].
pub(super) fn statement(sql: &[u8], mode: SqlMode) -> Statement {
    let mut reader = Reader::new(sql, mode);
    let (kind, reason) = match reader.verb() {
        Ok(kind) => (kind, None),
        Err(reason) => (Kind::Unknown, Some(reason)),
    };
    Statement {
        kind,
        objects: reader.objects,
        reads: reader.reads,
        definer: reader.definer,
        makes_rows: reader.makes_rows,
        start_transaction: reader.start_transaction,
        reason,
    }
}

/// A keyword in capitals, for matching.
struct Keyword([u8; 16], usize);

impl Keyword {
    fn of(token: Option<Token<'_>>) -> Self {
        let mut buffer = [0; 16];
        let Some(token) = token.filter(|token| token.kind == TokenKind::Word) else {
            return Keyword(buffer, 0);
        };
        match buffer.get_mut(..token.text.len()) {
            Some(target) => {
                target.copy_from_slice(token.text);
                target.make_ascii_uppercase();
                Keyword(buffer, token.text.len())
            }
            None => Keyword(buffer, 0),
        }
    }

    fn get(&self) -> &[u8] {
        self.0.get(..self.1).unwrap_or_default()
    }
}

/// What follows `CREATE`, `ALTER`, `DROP` and their modifiers.
enum Noun {
    InDatabase(ObjectKind),
    OfServer,
}

/// Significant tokens of one statement with one of look-ahead, and what was found so far.
struct Reader<'a> {
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
    /// The byte after the last token taken.
    end: usize,
    objects: Vec<Object>,
    reads: Vec<Object>,
    definer: Option<Range<usize>>,
    makes_rows: bool,
    start_transaction: Option<Range<usize>>,
    temporary: bool,
}

impl<'a> Reader<'a> {
    fn new(sql: &'a [u8], mode: SqlMode) -> Self {
        let mut lexer = Lexer::new(sql, mode);
        let peeked = lexer.next_significant();
        Reader {
            lexer,
            peeked,
            end: 0,
            objects: Vec::new(),
            reads: Vec::new(),
            definer: None,
            makes_rows: false,
            start_transaction: None,
            temporary: false,
        }
    }

    /// The next token; `None` at the end of the statement.
    fn peek(&self) -> Option<Token<'a>> {
        self.peeked.filter(|token| !token.is_punct(b';'))
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.end = token.end();
        self.peeked = self.lexer.next_significant();
        Some(token)
    }

    fn eat(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(keyword));
        if found {
            self.next();
        }
        found
    }

    fn eat_punct(&mut self, byte: u8) -> bool {
        let found = self.peek().is_some_and(|token| token.is_punct(byte));
        if found {
            self.next();
        }
        found
    }

    fn keyword(&mut self) -> Keyword {
        Keyword::of(self.next())
    }

    /// `IF EXISTS`, `IF NOT EXISTS`.
    fn eat_if_exists(&mut self) {
        if self.eat("IF") {
            self.eat("NOT");
            self.eat("EXISTS");
        }
    }

    fn verb(&mut self) -> Result<Kind, Reason> {
        let Some(first) = self.next() else {
            return Ok(Kind::Empty);
        };
        match first.kind {
            TokenKind::Word => {}
            TokenKind::Punct(b'(') => return Ok(Kind::Query),
            TokenKind::Unterminated => return Err(UNTERMINATED),
            _ => return Err(NOT_A_VERB),
        }
        Ok(match Keyword::of(Some(first)).get() {
            b"SELECT" | b"SHOW" | b"EXPLAIN" | b"DESCRIBE" | b"DESC" | b"HELP" | b"TABLE" | b"VALUES"
            | b"CHECKSUM" | b"HANDLER" => Kind::Query,
            b"INSERT" | b"UPDATE" | b"DELETE" | b"REPLACE" | b"CALL" | b"DO" | b"BINLOG" => Kind::Dml,
            b"SET" => self.set(),
            b"BEGIN" => Kind::Begin,
            b"COMMIT" => Kind::Commit,
            b"START" if self.eat("TRANSACTION") => Kind::Begin,
            b"ROLLBACK" => {
                self.eat("WORK");
                if self.eat("TO") {
                    Kind::RollbackToSavepoint
                } else {
                    Kind::Rollback
                }
            }
            b"SAVEPOINT" => Kind::Savepoint,
            b"RELEASE" if self.eat("SAVEPOINT") => Kind::ReleaseSavepoint,
            b"WITH" => self.with()?,
            b"LOAD" if self.eat("INDEX") => Kind::Admin,
            b"LOAD" => Kind::Dml,
            b"XA" => self.xa()?,
            b"USE" | b"PREPARE" | b"EXECUTE" | b"DEALLOCATE" | b"LOCK" | b"UNLOCK" | b"GET" | b"SIGNAL"
            | b"RESIGNAL" => Kind::Session,
            b"GRANT" | b"REVOKE" | b"FLUSH" | b"ANALYZE" | b"OPTIMIZE" | b"REPAIR" | b"CHECK" | b"CACHE"
            | b"KILL" | b"PURGE" | b"RESET" | b"START" | b"STOP" | b"CHANGE" | b"INSTALL" | b"UNINSTALL"
            | b"SHUTDOWN" | b"RESTART" | b"CLONE" => Kind::Admin,
            b"CREATE" => self.create()?,
            b"ALTER" => self.alter()?,
            b"DROP" => self.drop()?,
            b"RENAME" => self.rename()?,
            b"TRUNCATE" => {
                self.eat("TABLE");
                self.object(ObjectKind::Table, Role::Subject)?;
                Kind::Ddl(Verb::Truncate, ObjectKind::Table)
            }
            b"IMPORT" => return Err("it takes a table from files, whose rows are not in the binlog"),
            _ => return Err(NOT_A_VERB),
        })
    }

    /// `SET PASSWORD` and `SET DEFAULT ROLE` concern accounts, the others the session.
    fn set(&mut self) -> Kind {
        match self.keyword().get() {
            b"PASSWORD" => Kind::Admin,
            b"DEFAULT" if self.eat("ROLE") => Kind::Admin,
            _ => Kind::Session,
        }
    }

    fn xa(&mut self) -> Result<Kind, Reason> {
        Ok(match self.keyword().get() {
            b"START" | b"BEGIN" => Kind::XaStart,
            b"END" => Kind::XaEnd,
            b"PREPARE" => Kind::XaPrepare,
            b"COMMIT" => Kind::XaCommit,
            b"ROLLBACK" => Kind::XaRollback,
            b"RECOVER" => Kind::XaRecover,
            _ => return Err("the verb after XA is not known here"),
        })
    }

    /// `WITH x AS (…)`: the verb stands outside of all parentheses.
    fn with(&mut self) -> Result<Kind, Reason> {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                TokenKind::Word if depth == 0 => match Keyword::of(Some(token)).get() {
                    b"SELECT" | b"TABLE" | b"VALUES" => return Ok(Kind::Query),
                    b"UPDATE" | b"DELETE" | b"INSERT" | b"REPLACE" => return Ok(Kind::Dml),
                    _ => {}
                },
                TokenKind::Unterminated => return Err(UNTERMINATED),
                _ => {}
            }
        }
        // `WITH x AS (…) (SELECT …)` has no verb outside of parentheses.
        Ok(Kind::Query)
    }

    fn create(&mut self) -> Result<Kind, Reason> {
        let Noun::InDatabase(kind) = self.noun()? else {
            return Ok(Kind::Admin);
        };
        self.eat_if_exists();
        match kind {
            ObjectKind::Table => {
                self.object(kind, Role::Subject)?;
                self.table_definition()?;
            }
            ObjectKind::Index => {
                self.next().ok_or(NO_NAME)?;
                self.on_table()?;
            }
            ObjectKind::Trigger => {
                self.object(kind, Role::Subject)?;
                while !self.eat("ON") {
                    self.next().ok_or(NO_NAME)?;
                }
                self.object(ObjectKind::Table, Role::Read)?;
            }
            ObjectKind::Function => {
                self.object(kind, Role::Subject)?;
                // `CREATE FUNCTION f RETURNS STRING SONAME '…'`: a loadable function, in no database.
                if !self.eat_punct(b'(') {
                    self.objects.clear();
                    return Ok(Kind::Admin);
                }
            }
            ObjectKind::Database
            | ObjectKind::View
            | ObjectKind::Procedure
            | ObjectKind::Event
            | ObjectKind::Library => self.object(kind, Role::Subject)?,
        }
        Ok(self.ddl(Verb::Create, kind))
    }

    fn alter(&mut self) -> Result<Kind, Reason> {
        let Noun::InDatabase(kind) = self.noun()? else {
            return Ok(Kind::Admin);
        };
        self.eat_if_exists();
        match kind {
            ObjectKind::Table => {
                self.object(kind, Role::Subject)?;
                self.table_changes()?;
            }
            ObjectKind::Database => self.altered_database()?,
            ObjectKind::Event => {
                self.object(kind, Role::Subject)?;
                self.event_rename()?;
            }
            ObjectKind::View | ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Library => {
                self.object(kind, Role::Subject)?;
            }
            ObjectKind::Trigger | ObjectKind::Index => return Err(UNKNOWN_OBJECT),
        }
        Ok(self.ddl(Verb::Alter, kind))
    }

    fn drop(&mut self) -> Result<Kind, Reason> {
        if self.eat("PREPARE") {
            return Ok(Kind::Session);
        }
        let Noun::InDatabase(kind) = self.noun()? else {
            return Ok(Kind::Admin);
        };
        self.eat_if_exists();
        match kind {
            ObjectKind::Index => {
                self.next().ok_or(NO_NAME)?;
                self.on_table()?;
            }
            ObjectKind::Table | ObjectKind::View => {
                self.object(kind, Role::Subject)?;
                while self.eat_punct(b',') {
                    self.object(kind, Role::Subject)?;
                }
            }
            _ => self.object(kind, Role::Subject)?,
        }
        Ok(self.ddl(Verb::Drop, kind))
    }

    fn rename(&mut self) -> Result<Kind, Reason> {
        if self.eat("USER") {
            return Ok(Kind::Admin);
        }
        if !self.eat("TABLE") && !self.eat("TABLES") {
            return Err(UNKNOWN_OBJECT);
        }
        loop {
            self.object(ObjectKind::Table, Role::Subject)?;
            if !self.eat("TO") {
                return Err("RENAME TABLE names no new name");
            }
            self.object(ObjectKind::Table, Role::NewName)?;
            if !self.eat_punct(b',') {
                return Ok(Kind::Ddl(Verb::Rename, ObjectKind::Table));
            }
        }
    }

    fn ddl(&self, verb: Verb, kind: ObjectKind) -> Kind {
        if self.temporary {
            Kind::Temporary
        } else {
            Kind::Ddl(verb, kind)
        }
    }

    /// Modifiers (`OR REPLACE`, `DEFINER = …`, `UNIQUE`, …) and the noun after them.
    fn noun(&mut self) -> Result<Noun, Reason> {
        let object = Noun::InDatabase;
        loop {
            let token = self.peek();
            let start = token.map_or(self.end, |token| token.start);
            return Ok(match self.keyword().get() {
                b"OR" if self.eat("REPLACE") => continue,
                b"ALGORITHM" => {
                    self.eat_punct(b'=');
                    self.next().ok_or(UNKNOWN_OBJECT)?;
                    continue;
                }
                b"DEFINER" => {
                    self.account()?;
                    self.definer = Some(start..self.end);
                    continue;
                }
                b"SQL" if self.eat("SECURITY") => {
                    self.next().ok_or(UNKNOWN_OBJECT)?;
                    continue;
                }
                b"TEMPORARY" => {
                    self.temporary = true;
                    continue;
                }
                b"SPATIAL" if self.eat("REFERENCE") => Noun::OfServer,
                b"UNIQUE" | b"FULLTEXT" | b"SPATIAL" | b"VECTOR" | b"ONLINE" | b"OFFLINE" | b"IGNORE"
                | b"AGGREGATE" | b"EXTERNAL" | b"MATERIALIZED" | b"JSON" | b"RELATIONAL" | b"DUALITY" => {
                    continue;
                }
                b"TABLE" | b"TABLES" => object(ObjectKind::Table),
                b"INDEX" | b"KEY" => object(ObjectKind::Index),
                b"VIEW" | b"VIEWS" => object(ObjectKind::View),
                b"DATABASE" | b"SCHEMA" => object(ObjectKind::Database),
                b"PROCEDURE" => object(ObjectKind::Procedure),
                b"FUNCTION" => object(ObjectKind::Function),
                b"TRIGGER" => object(ObjectKind::Trigger),
                b"EVENT" => object(ObjectKind::Event),
                b"LIBRARY" => object(ObjectKind::Library),
                b"USER" | b"ROLE" | b"SERVER" | b"TABLESPACE" | b"UNDO" | b"LOGFILE" | b"RESOURCE"
                | b"INSTANCE" => Noun::OfServer,
                _ => return Err(UNKNOWN_OBJECT),
            });
        }
    }
}
