//! What stands behind a table's name in `CREATE TABLE` and `ALTER TABLE`, as far as it names other tables.

use super::{Keyword, Reader, Reason, UNTERMINATED};
use crate::sql::ddl::{ObjectKind, Role};
use crate::sql::lexer::TokenKind;

impl Reader<'_> {
    /// Behind `CREATE TABLE t`: `LIKE`, foreign keys, a query.
    pub(super) fn table_definition(&mut self) -> Result<(), Reason> {
        let mut depth = 0_usize;
        let mut first = true;
        let mut after_dot = false;
        let mut end = self.end;
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                TokenKind::Word if !after_dot => match Keyword::of(Some(token)).get() {
                    b"LIKE" if first => self.object(ObjectKind::Table, Role::Read)?,
                    b"REFERENCES" => self.object(ObjectKind::Table, Role::Read)?,
                    b"START" if depth == 0 && self.eat("TRANSACTION") => {
                        self.start_transaction = Some(end..self.end);
                    }
                    // From here on it is a query, whose tables aren't read.
                    b"SELECT" => {
                        self.makes_rows = true;
                        return Ok(());
                    }
                    b"TABLE" | b"VALUES" | b"WITH" if depth == 0 || first => {
                        self.makes_rows = true;
                        return Ok(());
                    }
                    _ => {}
                },
                TokenKind::Unterminated => return Err(UNTERMINATED),
                _ => {}
            }
            after_dot = token.is_punct(b'.');
            first &= token.is_punct(b'(');
            end = self.end;
        }
        Ok(())
    }

    /// Behind `ALTER TABLE t`: new names, exchanged tables, foreign keys.
    pub(super) fn table_changes(&mut self) -> Result<(), Reason> {
        let mut depth = 0_usize;
        let mut change_begins = true;
        while let Some(token) = self.next() {
            let begins = std::mem::replace(&mut change_begins, false);
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                TokenKind::Punct(b',') => change_begins = depth == 0,
                TokenKind::Word => match Keyword::of(Some(token)).get() {
                    b"REFERENCES" => self.object(ObjectKind::Table, Role::Read)?,
                    b"RENAME" if begins => self.table_rename()?,
                    b"EXCHANGE" if begins && self.eat("PARTITION") => self.exchange()?,
                    b"DISCARD" | b"IMPORT" if begins => {
                        return Err(
                            "it detaches or attaches a table's file, whose rows are not in the binlog",
                        );
                    }
                    _ => {}
                },
                TokenKind::Unterminated => return Err(UNTERMINATED),
                _ => {}
            }
        }
        Ok(())
    }

    /// `RENAME [TO | AS | =] t`; not `RENAME COLUMN`, `RENAME INDEX`, `RENAME KEY`.
    fn table_rename(&mut self) -> Result<(), Reason> {
        match Keyword::of(self.peek()).get() {
            b"COLUMN" | b"INDEX" | b"KEY" => return Ok(()),
            b"TO" | b"AS" => {
                self.next();
            }
            _ => {
                self.eat_punct(b'=');
            }
        }
        self.object(ObjectKind::Table, Role::NewName)
    }

    /// `EXCHANGE PARTITION p WITH TABLE t`.
    fn exchange(&mut self) -> Result<(), Reason> {
        self.name()?;
        if self.eat("WITH") && self.eat("TABLE") {
            return self.object(ObjectKind::Table, Role::Exchanged);
        }
        Err("the table of EXCHANGE PARTITION is missing")
    }
}
