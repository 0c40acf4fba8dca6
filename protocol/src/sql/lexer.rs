//! Cuts SQL text into tokens the way MySQL's own lexer does, on bytes.
//!
//! It promises: the tokens' texts, one after the other, are the input; any bytes whatever give tokens, never a panic; it
//! allocates nothing. It knows all comment forms, version comments (`/*!80016 … */`, whose content is SQL), quoted names,
//! strings under `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES`, `N'…'`, `x'…'`, `b'…'`, numbers such as `1e3`, names that begin with a
//! digit, account names (`u@host.example`) and dollar-quoted bodies. Introducers (`_utf8mb4'…'`) are a word and a string.
//!
//! Text is expected in a character set in which bytes below 0x80 mean ASCII wherever they stand (UTF-8, not SJIS or GBK) and those above
//! belong to names (not latin1, which has a space among them): [`lexable`](super::lexable) converts the others.

use std::borrow::Cow;

use super::SqlMode;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Spaces, tabs, line ends.
    Space,
    /// A comment, or the opening (`/*!80016`) or closing (`*/`) of a version comment.
    Comment,
    /// A keyword or an unquoted name; after `@` also a host name with dots.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    QuotedName,
    /// A string; `N'…'` too.
    String,
    /// A number.
    Number,
    /// `0x…`, `x'…'`, `0b…`, `b'…'`.
    Bits,
    /// One byte of punctuation.
    Punct(u8),
    /// A quote or a comment that is never closed; reaches to the end of the text.
    Unterminated,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its bytes as they stand in the text.
    pub text: &'a [u8],
    /// Where they start in the text.
    pub start: usize,
}

impl<'a> Token<'a> {
    /// The byte after its last.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Is it this keyword (ASCII, any case, unquoted)?
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// Is it this byte of punctuation?
    pub fn is_punct(&self, byte: u8) -> bool {
        self.kind == TokenKind::Punct(byte)
    }

    /// The name that a [`TokenKind::Word`] or [`TokenKind::QuotedName`] stands for, its quotes removed and doubled ones halved.
    pub fn name(&self) -> Option<Cow<'a, [u8]>> {
        match self.kind {
            TokenKind::Word => Some(Cow::Borrowed(self.text)),
            TokenKind::QuotedName => {
                let (quote, inner) = match self.text {
                    [quote, inner @ .., _] => (*quote, inner),
                    _ => return None,
                };
                if !inner.contains(&quote) {
                    return Some(Cow::Borrowed(inner));
                }
                let mut name = Vec::with_capacity(inner.len());
                let mut rest = inner.iter();
                while let Some(&byte) = rest.next() {
                    name.push(byte);
                    if byte == quote {
                        rest.next();
                    }
                }
                Some(Cow::Owned(name))
            }
            _ => None,
        }
    }
}

/// A space beyond ASCII. It stands for one in [`lexable`](super::lexable) text: in UTF-8 it is no part of any character.
pub(super) const WIDE_SPACE: u8 = 0xff;

/// An iterator over the tokens of a text, spaces and comments included.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    mode: SqlMode,
    at: usize,
    version: u32,
    /// `$tag$` may begin a string.
    dollar_quotes: bool,
    in_version_comment: bool,
    after: After,
}

/// What the token before means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Anything,
    /// A name ended right here: a `.` goes on with it.
    Name,
    /// A name and a dot: `db.1st` is a name, not a number.
    NameDot,
    /// `@`: a host name or a variable's name.
    At,
}

impl<'a> Lexer<'a> {
    /// Reads `sql` as a server in `mode` would, with every version comment's content counting. (That is right for text from a
    /// binlog: the server that wrote it has made plain comments of those that it skipped.)
    pub fn new(sql: &'a [u8], mode: SqlMode) -> Self {
        Lexer {
            sql,
            mode,
            at: 0,
            version: u32::MAX,
            dollar_quotes: true,
            in_version_comment: false,
            after: After::Anything,
        }
    }

    /// Reads as the server of this version (90700 for 9.7.0): content of comments for later versions is comment.
    pub fn for_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Reads as servers before MySQL 9, to which `$tag$` is a name.
    pub fn without_dollar_quotes(mut self) -> Self {
        self.dollar_quotes = false;
        self
    }

    /// The next token that is neither space nor comment.
    pub fn next_significant(&mut self) -> Option<Token<'a>> {
        self.find(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Comment))
    }

    fn rest(&self) -> &'a [u8] {
        self.sql.get(self.at..).unwrap_or_default()
    }

    /// Kind and length of the token at the front of `rest`, which isn't empty.
    fn measure(&mut self, rest: &'a [u8], first: u8) -> (TokenKind, usize) {
        let second = rest.get(1).copied();
        let after = std::mem::replace(&mut self.after, After::Anything);
        if after == After::At && (is_host_byte(first)) {
            return (TokenKind::Word, run(rest, is_host_byte));
        }
        if after == After::NameDot && is_name_byte(first) {
            self.after = After::Name;
            return (TokenKind::Word, run(rest, is_name_byte));
        }
        match first {
            _ if is_space(first) => (TokenKind::Space, run(rest, is_space)),
            b'#' => (TokenKind::Comment, line(rest)),
            b'-' if second == Some(b'-')
                && rest.get(2).is_none_or(|&b| b <= b' ' || b == 0x7f || is_space(b)) =>
            {
                (TokenKind::Comment, line(rest))
            }
            b'/' if second == Some(b'*') => self.comment(rest),
            b'*' if second == Some(b'/') && self.in_version_comment => {
                self.in_version_comment = false;
                (TokenKind::Comment, 2)
            }
            b'\'' => self.string(rest, 0),
            b'"' if self.mode.contains(SqlMode::ANSI_QUOTES) => self.quoted_name(rest),
            b'"' => self.string(rest, 0),
            b'`' => self.quoted_name(rest),
            b'N' | b'n' if second == Some(b'\'') => self.string(rest, 1),
            b'x' | b'X' | b'b' | b'B' if second == Some(b'\'') => quoted_bits(rest),
            b'0'..=b'9' => self.number_or_name(rest),
            b'.' if second.is_some_and(|b| b.is_ascii_digit()) && after != After::Name => {
                (TokenKind::Number, fraction(rest))
            }
            b'.' => {
                self.after = if after == After::Name {
                    After::NameDot
                } else {
                    After::Anything
                };
                (TokenKind::Punct(b'.'), 1)
            }
            b'@' if second == Some(b'@') => (TokenKind::Punct(b'@'), 1),
            b'@' => {
                let system = self.at.checked_sub(1).and_then(|at| self.sql.get(at)) == Some(&b'@');
                self.after = if system { After::Anything } else { After::At };
                (TokenKind::Punct(b'@'), 1)
            }
            b'$' => self.dollar(rest),
            _ if is_name_byte(first) => {
                self.after = After::Name;
                (TokenKind::Word, run(rest, is_name_byte))
            }
            _ => (TokenKind::Punct(first), 1),
        }
    }

    /// A comment, or the opening of a version comment whose content counts.
    fn comment(&mut self, rest: &[u8]) -> (TokenKind, usize) {
        if rest.get(2) != Some(&b'!') {
            return match find(rest, 2, b"*/") {
                Some(end) => (TokenKind::Comment, end),
                None => (TokenKind::Unterminated, rest.len()),
            };
        }
        let digits = rest
            .iter()
            .skip(3)
            .take(6)
            .take_while(|b| b.is_ascii_digit())
            .count();
        // Fewer than five digits are no version but content; so is a sixth that has no space behind it, or comes to a server before 8.1.
        let digits = match digits {
            6 if self.version >= 80_100 && rest.get(9).is_some_and(|b| is_space(*b)) => 6,
            5.. => 5,
            _ => 0,
        };
        let wanted = rest
            .iter()
            .skip(3)
            .take(digits)
            .fold(0_u32, |version, digit| version * 10 + u32::from(digit - b'0'));
        if wanted <= self.version {
            self.in_version_comment = true;
            return (TokenKind::Comment, 3 + digits);
        }
        // Skipped: a comment that may hold plain comments.
        let mut at = 3;
        loop {
            let tail = rest.get(at..).unwrap_or_default();
            if tail.is_empty() {
                return (TokenKind::Unterminated, rest.len());
            } else if tail.starts_with(b"*/") {
                return (TokenKind::Comment, at + 2);
            } else if tail.starts_with(b"/*") {
                match find(rest, at + 2, b"*/") {
                    Some(end) => at = end,
                    None => return (TokenKind::Unterminated, rest.len()),
                }
            } else {
                at += 1;
            }
        }
    }

    /// A string whose quote stands at `open`.
    fn string(&self, rest: &[u8], open: usize) -> (TokenKind, usize) {
        let quote = rest.get(open).copied();
        let escapes = !self.mode.contains(SqlMode::NO_BACKSLASH_ESCAPES);
        let mut at = open + 1;
        while let Some(&byte) = rest.get(at) {
            if byte == b'\\' && escapes {
                at += 2;
            } else if Some(byte) != quote {
                at += 1;
            } else if rest.get(at + 1).copied() == quote {
                at += 2;
            } else {
                return (TokenKind::String, at + 1);
            }
        }
        (TokenKind::Unterminated, rest.len())
    }

    fn quoted_name(&mut self, rest: &[u8]) -> (TokenKind, usize) {
        let quote = rest.first().copied();
        let mut at = 1;
        while let Some(&byte) = rest.get(at) {
            if Some(byte) != quote {
                at += 1;
            } else if rest.get(at + 1).copied() == quote {
                at += 2;
            } else {
                self.after = After::Name;
                return (TokenKind::QuotedName, at + 1);
            }
        }
        (TokenKind::Unterminated, rest.len())
    }

    /// What begins with a digit: a number, hexadecimal or binary digits, or a name such as `1st`.
    fn number_or_name(&mut self, rest: &[u8]) -> (TokenKind, usize) {
        let whole = run(rest, is_name_byte);
        if let [b'0', b'x' | b'b', ..] = rest {
            let digit: fn(u8) -> bool = if rest.get(1) == Some(&b'x') {
                |b| b.is_ascii_hexdigit()
            } else {
                |b| matches!(b, b'0' | b'1')
            };
            let digits = run(rest.get(2..).unwrap_or_default(), digit);
            if digits > 0 && digits + 2 == whole {
                return (TokenKind::Bits, whole);
            }
        }
        let digits = run(rest, |b| b.is_ascii_digit());
        if digits < whole {
            let exponent = exponent(rest.get(digits..).unwrap_or_default());
            if exponent > 0 {
                return (TokenKind::Number, digits + exponent);
            }
            self.after = After::Name;
            return (TokenKind::Word, whole);
        }
        if rest.get(digits) == Some(&b'.') {
            return (
                TokenKind::Number,
                digits + fraction(rest.get(digits..).unwrap_or_default()),
            );
        }
        (TokenKind::Number, digits)
    }

    /// `$tag$ … $tag$` (bodies of JavaScript routines), else a name that begins with a dollar sign.
    fn dollar(&mut self, rest: &[u8]) -> (TokenKind, usize) {
        let tag = 1 + run(rest.get(1..).unwrap_or_default(), |b| {
            is_name_byte(b) && b != b'$'
        });
        if self.dollar_quotes
            && rest.get(tag) == Some(&b'$')
            && let Some(delimiter) = rest.get(..=tag)
        {
            match find(rest, tag + 1, delimiter) {
                Some(end) => return (TokenKind::String, end),
                // A server that knows such quotes takes no text in which one is never closed.
                None => self.dollar_quotes = false,
            }
        }
        self.after = After::Name;
        (TokenKind::Word, run(rest, is_name_byte))
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let first = *rest.first()?;
        let (kind, length) = self.measure(rest, first);
        let start = self.at;
        let text = rest.get(..length).unwrap_or(rest);
        self.at += text.len();
        Some(Token { kind, text, start })
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | WIDE_SPACE)
}

/// Bytes of unquoted names; all of 0x80 and above but the space among them.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || (byte >= 0x80 && byte != WIDE_SPACE)
}

fn is_host_byte(byte: u8) -> bool {
    is_name_byte(byte) || byte == b'.'
}

/// How many bytes at the front satisfy `belongs`.
fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| !belongs(byte))
        .unwrap_or(bytes.len())
}

/// The rest of the line, its end excluded.
fn line(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte != b'\n')
}

/// The end of the first `needle` at or after `from`.
fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(needle.len())
        .position(|window| window == needle)
        .map(|at| from + at + needle.len())
}

/// `.123`, `.`, `.5e-3`: bytes of a number from its point on.
fn fraction(bytes: &[u8]) -> usize {
    let digits = 1 + run(bytes.get(1..).unwrap_or_default(), |b| b.is_ascii_digit());
    digits + exponent(bytes.get(digits..).unwrap_or_default())
}

/// `e3`, `E-3`: bytes of an exponent; 0 if there is none.
fn exponent(bytes: &[u8]) -> usize {
    let sign = match bytes {
        [b'e' | b'E', b'+' | b'-', ..] => 2,
        [b'e' | b'E', ..] => 1,
        _ => return 0,
    };
    match run(bytes.get(sign..).unwrap_or_default(), |b| b.is_ascii_digit()) {
        0 => 0,
        digits => sign + digits,
    }
}

/// `x'…'`, `b'…'`.
fn quoted_bits(bytes: &[u8]) -> (TokenKind, usize) {
    match find(bytes, 2, b"'") {
        Some(end) => (TokenKind::Bits, end),
        None => (TokenKind::Unterminated, bytes.len()),
    }
}

#[cfg(test)]
mod tests;
