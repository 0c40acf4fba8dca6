//! A statement without its values, after the manner of MySQL's `DIGEST_TEXT`: what may be logged.
//!
//! Literals become `?`, lists of them `?, ...`, rows of them `(?, ...), ...`; comments go, space becomes one space. Names and keywords
//! stay as they are written. What can't be read to its end, a quote that is never closed, is left out: it may be a value.

use super::SqlMode;
use super::lexer::{Lexer, Token, TokenKind};

/// What stands for something left out.
const MORE: &str = "...";

/// The digest of `sql` in no more than `longest` bytes and what says that there is more. `cut`: the statement is longer than what is there.
pub fn digest(sql: &[u8], mode: SqlMode, cut: bool, longest: usize) -> String {
    let mut pieces = Pieces::default();
    for token in Lexer::new(sql, mode) {
        match token.kind {
            TokenKind::Space | TokenKind::Comment => pieces.spaced = true,
            _ => pieces.push(token),
        }
    }
    let mut text = String::new();
    for Piece { kind, spaced } in &pieces.list {
        if *spaced && !text.is_empty() {
            text.push(' ');
        }
        match kind {
            Kind::Text(token) => text.extend(
                String::from_utf8_lossy(token.text)
                    .chars()
                    .map(|c| if c.is_control() { '\u{fffd}' } else { c }),
            ),
            Kind::Value => text.push('?'),
            Kind::Values => text.push_str("?, ..."),
            Kind::Row { several: false } => text.push_str("(?)"),
            Kind::Row { several: true } => text.push_str("(?, ...)"),
            Kind::Rows { several: false } => text.push_str("(?), ..."),
            Kind::Rows { several: true } => text.push_str("(?, ...), ..."),
            Kind::Unreadable => text.push_str(MORE),
        }
        if text.len() > longest {
            let mut end = longest;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(MORE);
            return text;
        }
    }
    if cut && !text.ends_with(MORE) {
        text.push_str(MORE);
    }
    text
}

#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    kind: Kind<'a>,
    /// Space stands before it.
    spaced: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Text(Token<'a>),
    /// A literal.
    Value,
    /// Several, with commas between them.
    Values,
    /// Literals in parentheses.
    Row {
        several: bool,
    },
    /// Several of those, with commas between them.
    Rows {
        several: bool,
    },
    Unreadable,
}

/// What was read, reduced as far as it can be.
#[derive(Debug, Default)]
struct Pieces<'a> {
    list: Vec<Piece<'a>>,
    /// Space was passed since the last piece.
    spaced: bool,
}

impl<'a> Pieces<'a> {
    fn push(&mut self, token: Token<'a>) {
        let spaced = std::mem::take(&mut self.spaced);
        let kind = match token.kind {
            TokenKind::String | TokenKind::Number | TokenKind::Bits => Kind::Value,
            TokenKind::Word if token.is("NULL") && self.is_place_of_a_value() => Kind::Value,
            TokenKind::Unterminated => Kind::Unreadable,
            _ => Kind::Text(token),
        };
        self.list.push(Piece { kind, spaced });
        match kind {
            Kind::Value => self.reduce_value(),
            Kind::Text(token) if token.is_punct(b')') => self.reduce_row(),
            _ => {}
        }
    }

    /// The piece `back` places before the end.
    fn back(&self, back: usize) -> Option<Kind<'a>> {
        let at = self.list.len().checked_sub(back + 1)?;
        self.list.get(at).map(|piece| piece.kind)
    }

    fn is_punct(&self, back: usize, bytes: &[u8]) -> bool {
        match self.back(back) {
            Some(Kind::Text(token)) => bytes.iter().any(|byte| token.is_punct(*byte)),
            _ => false,
        }
    }

    /// A word would stand where literals do.
    fn is_place_of_a_value(&self) -> bool {
        self.is_punct(0, b"(,=")
    }

    /// Puts `kind` in the place of the last pieces.
    fn replace(&mut self, last: usize, kind: Kind<'a>) {
        self.list.truncate(self.list.len() + 1 - last);
        if let Some(piece) = self.list.last_mut() {
            piece.kind = kind;
        }
    }

    /// The last piece is a literal: takes its sign and character set in, and a list that it goes on.
    fn reduce_value(&mut self) {
        let introduced = matches!(self.back(1), Some(Kind::Text(token)) if token.kind == TokenKind::Word && token.text.starts_with(b"_"));
        let signed = self.is_punct(1, b"+-") && self.is_punct(2, b"(,=<>");
        if introduced || signed {
            self.replace(2, Kind::Value);
        }
        if self.is_punct(1, b",") && matches!(self.back(2), Some(Kind::Value | Kind::Values)) {
            self.replace(3, Kind::Values);
        }
    }

    /// The last piece closes parentheses.
    fn reduce_row(&mut self) {
        let several = match self.back(1) {
            Some(Kind::Value) => false,
            Some(Kind::Values) => true,
            _ => return,
        };
        if !self.is_punct(2, b"(") {
            return;
        }
        self.replace(3, Kind::Row { several });
        if self.is_punct(1, b",")
            && let Some(Kind::Row { several } | Kind::Rows { several }) = self.back(2)
        {
            self.replace(3, Kind::Rows { several });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(sql: &str) -> String {
        digest(sql.as_bytes(), SqlMode::empty(), false, 1024)
    }

    #[test]
    fn values_go_and_lists_are_folded() {
        for (sql, expected) in [
            (
                "SELECT c  FROM t\n WHERE id=17 AND s = 'it''s' -- why",
                "SELECT c FROM t WHERE id=? AND s = ?",
            ),
            (
                "SELECT * FROM t WHERE a IN (1, 2,3)",
                "SELECT * FROM t WHERE a IN (?, ...)",
            ),
            (
                "SELECT * FROM t WHERE a IN (-1)",
                "SELECT * FROM t WHERE a IN (?)",
            ),
            (
                "INSERT INTO t VALUES (1,'a',NULL), (2,_utf8mb4'b',0x00),(3, N'c', 1e3)",
                "INSERT INTO t VALUES (?, ...), ...",
            ),
            ("INSERT t (a) VALUES (1),(2)", "INSERT t (a) VALUES (?), ..."),
            (
                "SELECT a-1, NULL FROM t WHERE b IS NULL LIMIT 1, 2",
                "SELECT a-?, ... FROM t WHERE b IS NULL LIMIT ?, ...",
            ),
            ("SET PASSWORD = 'secret'", "SET PASSWORD = ?"),
            ("/* token=secret */ SELECT `a b`, \"secret\"", "SELECT `a b`, ?"),
            ("CALL p(1, @x, 2)", "CALL p(?, @x, ?)"),
            ("SELECT 'never closed secret", "SELECT ..."),
            ("SELECT /* never closed secret", "SELECT ..."),
            ("", ""),
        ] {
            assert_eq!(of(sql), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        let cut = digest("SELECT é, été FROM t".as_bytes(), SqlMode::empty(), false, 11);
        assert_eq!(cut, "SELECT é, ...");
        assert_eq!(digest(b"SELECT a", SqlMode::empty(), true, 100), "SELECT a...");
        assert_eq!(digest(b"SELECT 'a", SqlMode::empty(), true, 100), "SELECT ...");
    }

    proptest! {
        #[test]
        fn no_string_is_left_whatever_is_around_it(before in "[a-z0-9(),=@ .;+-]{0,20}", value in "[A-Z]{4,9}", after in "[a-z0-9(),= ]{0,20}") {
            for quote in ['\'', '"'] {
                let text = of(&format!("{before} {quote}{value}{quote} {after}"));
                prop_assert!(!text.contains(&value), "{text}");
            }
        }

        #[test]
        fn any_bytes_give_a_bounded_text(bytes: Vec<u8>, bits: u64, cut: bool, longest in 0..200_usize) {
            let text = digest(&bytes, SqlMode::from_bits_retain(bits), cut, longest);
            prop_assert!(text.len() <= longest + MORE.len());
        }
    }
}
