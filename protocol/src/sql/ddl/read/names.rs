//! Reads names: of objects, with the database before them, and of accounts.

use super::{Keyword, NO_NAME, NOT_UTF8, Reader, Reason, UNTERMINATED};
use crate::sql::ddl::{Object, ObjectKind, Role};
use crate::sql::lexer::TokenKind;

impl Reader<'_> {
    /// `[=] user[@host]`, `[=] CURRENT_USER[()]`.
    pub(super) fn account(&mut self) -> Result<(), Reason> {
        self.eat_punct(b'=');
        if self.eat("CURRENT_USER") {
            if self.eat_punct(b'(') {
                self.eat_punct(b')');
            }
            return Ok(());
        }
        self.account_part()?;
        if self.eat_punct(b'@') {
            self.account_part()?;
        }
        Ok(())
    }

    fn account_part(&mut self) -> Result<(), Reason> {
        match self.next().map(|token| token.kind) {
            Some(TokenKind::Word | TokenKind::QuotedName | TokenKind::String) => Ok(()),
            _ => Err("the account after DEFINER is not readable"),
        }
    }

    /// `ON t`, after the type of an index that may stand before it.
    pub(super) fn on_table(&mut self) -> Result<(), Reason> {
        if self.eat("USING") || self.eat("TYPE") {
            self.next().ok_or(NO_NAME)?;
        }
        if !self.eat("ON") {
            return Err("the index's table is missing");
        }
        self.object(ObjectKind::Table, Role::Subject)
    }

    /// The database may be left out: then it is the default one, and the object's name is empty.
    pub(super) fn altered_database(&mut self) -> Result<(), Reason> {
        match Keyword::of(self.peek()).get() {
            // (CHARSET and ENCRYPTION are names here: `ALTER DATABASE CHARSET latin1` is an error in MySQL.)
            b"DEFAULT" | b"CHARACTER" | b"CHAR" | b"COLLATE" | b"READ" => {
                let at = self.end;
                self.objects.push(Object {
                    kind: ObjectKind::Database,
                    schema: None,
                    name: String::new(),
                    role: Role::Subject,
                    span: at..at,
                });
                Ok(())
            }
            _ => self.object(ObjectKind::Database, Role::Subject),
        }
    }

    /// `RENAME TO e`, before the event's body.
    pub(super) fn event_rename(&mut self) -> Result<(), Reason> {
        while let Some(token) = self.next() {
            if token.is("DO") {
                break;
            }
            if token.is("RENAME") && self.eat("TO") {
                self.object(ObjectKind::Event, Role::NewName)?;
            }
        }
        Ok(())
    }

    /// Reads `[database .] name` and notes the object.
    pub(super) fn object(&mut self, kind: ObjectKind, role: Role) -> Result<(), Reason> {
        // `.t` is an old way of writing `t`.
        self.eat_punct(b'.');
        let start = self.peek().map_or(self.end, |token| token.start);
        let mut name = self.name()?;
        let mut schema = None;
        if kind != ObjectKind::Database && self.eat_punct(b'.') {
            schema = Some(std::mem::replace(&mut name, self.name()?));
        }
        let object = Object {
            kind,
            schema,
            name,
            role,
            span: start..self.end,
        };
        if role == Role::Read {
            self.reads.push(object);
        } else {
            self.objects.push(object);
        }
        Ok(())
    }

    pub(super) fn name(&mut self) -> Result<String, Reason> {
        let token = self.next().ok_or(NO_NAME)?;
        if token.kind == TokenKind::Unterminated {
            return Err(UNTERMINATED);
        }
        let name = token.name().ok_or(NO_NAME)?;
        match std::str::from_utf8(&name) {
            Ok("") => Err(NO_NAME),
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(NOT_UTF8),
        }
    }
}
