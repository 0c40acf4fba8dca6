//! Where the definition of a stored program ends: behind its body, which may hold statements of its own.
//!
//! Follows MySQL's grammar (`sp_proc_stmt` in its `sql/sql_yacc.yy`) as far as semicolons hang on it: which statements hold others, and by
//! which word each ends. Words that are no reserved ones (BEGIN, END, DO) may be names, and functions are called IF and REPEAT: what
//! stands where a statement begins is told from what stands in one. Where all this does not fit, the definition is taken to end at its first
//! semicolon, and what comes after it is judged: nothing hides behind a body that was misread.

use outrigger_protocol::sql::lexer::{Token, TokenKind};

use super::Reader;

/// What stands before the body decides where that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Routine,
    Trigger,
    Event,
}

impl Program {
    /// The kind of program that this word of CREATE is for.
    pub(crate) fn of(noun: Token<'_>) -> Option<Self> {
        let is = |word| noun.is(word);
        match () {
            () if is("PROCEDURE") || is("FUNCTION") => Some(Self::Routine),
            () if is("TRIGGER") => Some(Self::Trigger),
            () if is("EVENT") => Some(Self::Event),
            () => None,
        }
    }
}

/// A statement that holds others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Block,
    If,
    Case,
    Loop,
    Repeat,
    While,
}

impl Open {
    /// The word behind its END.
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Block => None,
            Self::If => Some("IF"),
            Self::Case => Some("CASE"),
            Self::Loop => Some("LOOP"),
            Self::Repeat => Some("REPEAT"),
            Self::While => Some("WHILE"),
        }
    }
}

/// What a token is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A statement begins with it.
    Beginning,
    /// A statement that ends with a semicolon.
    Statement,
    /// An expression that ends with this word; statements follow, but behind END.
    Condition(&'static str),
}

/// The body does not fit the grammar as it is known here.
struct Unfit;

impl Reader<'_> {
    /// Passes over the rest of a definition: from behind the word that says what is defined, or for a trigger from anywhere before FOR EACH ROW,
    /// up to the semicolon that ends it.
    pub(crate) fn skip_program(&mut self, program: Program) {
        if self.doubts_bodies {
            return;
        }
        let before = (self.lexer, self.peeked);
        self.header(program);
        if self.body().is_err() {
            (self.lexer, self.peeked) = before;
            // Once is enough: however many of them there are, a text is read twice at most.
            self.doubts_bodies = true;
        }
    }

    /// Goes to the body.
    fn header(&mut self, program: Program) {
        match program {
            Program::Routine => {
                self.eat_if_exists();
                self.name();
                self.characteristics();
            }
            Program::Trigger => {
                while let Some(token) = self.next() {
                    if token.is("FOR") && self.eat("EACH") && self.eat("ROW") {
                        break;
                    }
                }
                if self.eat("FOLLOWS") || self.eat("PRECEDES") {
                    self.name();
                }
            }
            Program::Event => {
                self.eat_if_exists();
                self.name();
                while self.next().is_some_and(|token| !token.is("DO")) {}
            }
        }
    }

    /// Passes over a routine's parameters, what it returns and what is said of it.
    fn characteristics(&mut self) {
        const WORDS: [&str; 31] = [
            "ASCII",
            "BINARY",
            "BYTE",
            "CHAR",
            "CHARACTER",
            "CHARSET",
            "COLLATE",
            "COMMENT",
            "CONTAINS",
            "DATA",
            "DEFINER",
            "DETERMINISTIC",
            "INVOKER",
            "LANGUAGE",
            "MODIFIES",
            "NO",
            "NOT",
            "PRECISION",
            "READS",
            "RETURNS",
            "SECURITY",
            "SIGNED",
            "SQL",
            "UNICODE",
            "UNSIGNED",
            "USING",
            "VARBINARY",
            "VARCHAR",
            "VARCHARACTER",
            "VARYING",
            "ZEROFILL",
        ];
        let is_char = |token: Token<'_>| token.is("CHAR") || token.is("CHARACTER");
        while let Some(token) = self.peek() {
            if token.is_punct(b'(') {
                self.parentheses();
                continue;
            }
            if token.kind != TokenKind::String && !WORDS.into_iter().any(|word| token.is(word)) {
                return;
            }
            self.next();
            // It was the body's label.
            if self.eat_punct(b':') {
                return;
            }
            let named = ["CHARSET", "COLLATE", "LANGUAGE"]
                .into_iter()
                .any(|word| token.is(word));
            if named
                || is_char(token) && self.eat("SET")
                || token.is("RETURNS") && !self.peek().is_some_and(is_char)
            {
                self.next();
            }
        }
    }

    fn parentheses(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Passes over the body.
    fn body(&mut self) -> Result<(), Unfit> {
        let mut open = Vec::new();
        let mut place = Place::Beginning;
        // CASE expressions that are not closed.
        let mut cases = 0_usize;
        // What comes before: an operand, or a dot or `@` behind which any word is a name.
        let (mut operand, mut names) = (false, false);
        while let Some(token) = self.peeked {
            if token.is_punct(b';') {
                if cases > 0 || matches!(place, Place::Condition(_)) {
                    return Err(Unfit);
                }
                if open.is_empty() {
                    return Ok(());
                }
                self.advance();
                place = Place::Beginning;
                continue;
            }
            self.advance();
            if place == Place::Beginning {
                place = self.beginning(token, &mut open)?;
                (operand, names) = (false, false);
                continue;
            }
            let is = |word| !names && token.is(word);
            let ends = |word| cases == 0 && place == Place::Condition(word) && is(word);
            if is("CASE") {
                cases += 1;
            } else if cases > 0 && operand && is("END") {
                cases -= 1;
            } else if ends("THEN") || operand && ends("DO") {
                place = Place::Beginning;
            } else if operand && ends("END") {
                self.close(&mut open)?;
                place = Place::Statement;
            }
            operand = names || is_operand(token);
            names = token.is_punct(b'.') || token.is_punct(b'@');
        }
        // Of a text that is cut, the end may be.
        match self.cut || open.is_empty() && cases == 0 && !matches!(place, Place::Condition(_)) {
            true => Ok(()),
            false => Err(Unfit),
        }
    }

    /// What follows the first word of a statement, or of a part of one that holds others.
    fn beginning(&mut self, token: Token<'_>, open: &mut Vec<Open>) -> Result<Place, Unfit> {
        if matches!(token.kind, TokenKind::Word | TokenKind::QuotedName) && self.eat_punct(b':') {
            // A label.
            return Ok(Place::Beginning);
        }
        let mut opens = |what, place| {
            open.push(what);
            Ok(place)
        };
        let is = |word| token.is(word);
        match () {
            () if is("BEGIN") => opens(Open::Block, Place::Beginning),
            () if is("IF") => opens(Open::If, Place::Condition("THEN")),
            () if is("CASE") => opens(Open::Case, Place::Condition("THEN")),
            () if is("LOOP") => opens(Open::Loop, Place::Beginning),
            () if is("REPEAT") => opens(Open::Repeat, Place::Beginning),
            () if is("WHILE") => opens(Open::While, Place::Condition("DO")),
            () if is("ELSEIF") || is("WHEN") => Ok(Place::Condition("THEN")),
            () if is("ELSE") => Ok(Place::Beginning),
            () if is("UNTIL") => Ok(Place::Condition("END")),
            () if is("END") => self.close(open).map(|()| Place::Statement),
            () if is("DECLARE") => Ok(self.declaration()),
            () => Ok(Place::Statement),
        }
    }

    /// Behind END.
    fn close(&mut self, open: &mut Vec<Open>) -> Result<(), Unfit> {
        let closed = open.pop().ok_or(Unfit)?;
        match closed.word().is_none_or(|word| self.eat(word)) {
            true => Ok(()),
            false => Err(Unfit),
        }
    }

    /// Behind DECLARE: of a handler, a statement follows.
    fn declaration(&mut self) -> Place {
        let handles = ["CONTINUE", "EXIT", "UNDO"]
            .into_iter()
            .any(|word| self.eat(word));
        if !(handles && self.eat("HANDLER") && self.eat("FOR")) {
            return Place::Statement;
        }
        loop {
            // A number, a name, SQLWARNING, SQLEXCEPTION; NOT FOUND; SQLSTATE [VALUE] '42000'.
            if self.eat("SQLSTATE") {
                self.eat("VALUE");
            } else {
                self.eat("NOT");
            }
            self.next();
            if !self.eat_punct(b',') {
                return Place::Beginning;
            }
        }
    }
}

/// True where the token ends a value, so that END behind it is no name.
fn is_operand(token: Token<'_>) -> bool {
    const OPERATORS: [&str; 31] = [
        "ALL", "AND", "AS", "BETWEEN", "BINARY", "BY", "CASE", "DISTINCT", "DIV", "ELSE", "ELSEIF", "FROM",
        "HAVING", "IF", "IN", "INTERVAL", "IS", "JOIN", "LIKE", "LIMIT", "MOD", "NOT", "ON", "OR", "REGEXP",
        "RLIKE", "SELECT", "THEN", "WHEN", "WHERE", "XOR",
    ];
    match token.kind {
        TokenKind::Punct(byte) => matches!(byte, b')' | b'?'),
        TokenKind::Word => !OPERATORS.into_iter().any(|word| token.is(word)),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
