//! What a command's text would do that some rule is about. Pure: text and what is known of the session in, findings out.
//!
//! Every statement of the text is read, and the text that SQL's PREPARE is given. Comments and quoting are the lexer's
//! business; a literal is never read as a statement. Bodies of routines, triggers and events are passed over: they are not executed
//! now. Behind a statement that may set the text's character set or mode the rest is read in each that it may be in.
//! Where `ANSI_QUOTES` would make a name of a string, a string is taken for a name: in the other mode that is no statement.

use std::borrow::Cow;
use std::fmt;

use outrigger_protocol::sql::lexer::{Lexer, Token, TokenKind};
use outrigger_protocol::sql::{SqlMode, lexable, modes, readings};

use super::session::Database;
use super::{Rule, Session, Watched, tools};

mod body;
mod set;
mod table;

pub(crate) use body::Program;

/// The version of a server that does not say it: no MySQL has it, and what only MariaDB reads (`/*!100100 … */`) is comment.
const NEWEST: u32 = 99_999;

/// Statements of one text behind which it is read anew, in every way.
const MOST_TURNS: usize = 8;

/// What a rule is about, and the sign by which it was seen: names at most, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    pub(super) seen: String,
}

/// A text, and what decides about it.
pub(super) struct Scene<'a> {
    pub(super) session: &'a mut Session,
    pub(super) watched: &'a dyn Watched,
    /// In which the text is being read.
    pub(super) mode: SqlMode,
    /// `$tag$` is read as the beginning of a string, not as a name.
    dollar_quotes: bool,
    /// The text is longer than what has come.
    pub(super) cut: bool,
    /// The default database at the statement that is being read.
    database: Database,
    pub(super) findings: Vec<Finding>,
    /// Reading what PREPARE was given.
    prepared: bool,
    /// The statement that is being read may set the character set or the mode of what comes after it.
    turns: bool,
    /// The ends of such statements.
    turned: Vec<Turn>,
}

/// A place from which on a text may be in another character set, or another mode.
#[derive(Debug, Clone)]
struct Turn {
    at: usize,
    /// The default database there.
    database: Database,
}

impl<'a> Scene<'a> {
    pub(super) fn new(session: &'a mut Session, watched: &'a dyn Watched, cut: bool) -> Self {
        let database = session.database();
        Self {
            session,
            watched,
            mode: SqlMode::empty(),
            dollar_quotes: true,
            cut,
            database,
            findings: Vec::new(),
            prepared: false,
            turns: false,
            turned: Vec::new(),
        }
    }

    /// Notes the first sign of each rule: a text may show many, and is read in many ways.
    fn found(&mut self, rule: Rule, seen: impl fmt::Display) {
        if self.findings.iter().all(|finding| finding.rule != rule) {
            let seen = seen.to_string();
            self.findings.push(Finding { rule, seen });
        }
    }

    /// Notes that the text may have to be read in other ways from here on.
    fn turn(&mut self, at: usize) {
        if self.turned.len() < MOST_TURNS && self.turned.iter().all(|turn| turn.at != at) {
            self.turned.push(Turn {
                at,
                database: self.database.clone(),
            });
        }
    }

    /// True when some table of the default database may be selected. What is not known may be.
    fn is_at_home(&self) -> bool {
        match &self.database {
            Database::Unknown | Database::Known(None) => true,
            Database::Known(Some(name)) => {
                std::str::from_utf8(name).map_or(true, |name| self.watched.database(name))
            }
        }
    }

    /// True when the table is selected, or may be: names in another character set are not known.
    fn is_selected(&self, name: &Name, table: &str) -> bool {
        let database = match (&name.database, &self.database) {
            (Some(database), _) => Some(database.as_str()).filter(|name| is_utf8(name)),
            (None, Database::Known(Some(database))) => std::str::from_utf8(database).ok(),
            // Without a database the statement fails by itself.
            (None, Database::Known(None)) => return false,
            (None, Database::Unknown) => None,
        };
        database.is_none_or(|database| match is_utf8(table) {
            true => self.watched.table(database, table),
            false => self.watched.database(database),
        })
    }
}

/// False for a name that was made of bytes that are not UTF-8.
fn is_utf8(name: &str) -> bool {
    !name.contains(char::REPLACEMENT_CHARACTER)
}

/// A table's or trigger's name as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) database: Option<String>,
    pub(crate) name: String,
}

/// True where MySQL may take what is written for the name of this variable or engine: it compares them without accents (`ö` is `o`, `ß` is
/// `s`), case and spaces at the end. What is beyond ASCII may be any letter; where it is not UTF-8, one letter may be several characters.
fn may_be(written: &str, known: &str) -> bool {
    let written = written.trim_end_matches(' ');
    let Some(wide) = written.find(|letter: char| !letter.is_ascii()) else {
        return written.eq_ignore_ascii_case(known);
    };
    let (head, rest) = written.split_at(wide);
    let Some((begin, known)) = known.split_at_checked(head.len()) else {
        return false;
    };
    let tail = rest.trim_start_matches(|letter: char| !letter.is_ascii());
    let most = rest.chars().count() - tail.chars().count();
    begin.eq_ignore_ascii_case(head)
        && (1..=most)
            .map_while(|letters| known.get(letters..))
            .any(|known| may_be(tail, known))
}

/// False for text in which nothing can be found: its first word begins no statement that rules are about, it has no comment of the form
/// in which tools have theirs, and no second statement. This is all that is done with nearly every statement.
pub(super) fn is_of_interest(text: &[u8]) -> bool {
    if !is_plain(text) {
        return true;
    }
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'/' if rest.as_slice().first() == Some(&b'*') => return true,
            b';' => {
                return rest
                    .as_slice()
                    .iter()
                    .any(|byte| !byte.is_ascii_whitespace() && *byte != b';');
            }
            _ => {}
        }
    }
    false
}

/// True when the text begins with a word that begins no statement which rules are about.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    let known = |words: &[&str]| {
        words
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    };
    match word.len() {
        0 => text.is_empty(),
        3 => !known(&["SET", "USE"]),
        5 => !known(&["ALTER", "RESET", "PURGE"]),
        6 => !known(&["CREATE"]),
        7 => !known(&["PREPARE"]),
        _ => true,
    }
}

/// Reads a text whole; in every way that it may be meant, from where on its character set or its mode is not known.
pub(super) fn text(text: &[u8], mode: Option<SqlMode>, scene: &mut Scene<'_>) {
    let charset = scene.session.charset();
    let begin = Turn {
        at: 0,
        database: scene.database.clone(),
    };
    scene.mode = mode.unwrap_or_default();
    let first = statements(&lexable(text, charset), 0, scene);
    if let (Some(database), Database::Known(Some(name))) = (&first.used, &scene.database) {
        debug_assert_eq!(database, name);
        let alone = first.count == 1;
        scene.session.asks_for(database, alone);
    }
    if charset.is_empty() || mode.is_none() || may_quote_by_dollars(text) {
        in_every_way(text, &begin, (charset, mode), scene);
    }
    let mut next = 0;
    while let Some(turn) = scene.turned.get(next).cloned() {
        in_every_way(text, &turn, ("", None), scene);
        next += 1;
    }
}

/// Reads a text from a turn on; not where that can only come to what was read already.
fn in_every_way(text: &[u8], from: &Turn, (charset, mode): (&str, Option<SqlMode>), scene: &mut Scene<'_>) {
    let tail = text.get(from.at..).unwrap_or_default();
    let by_dollars = match may_quote_by_dollars(tail) {
        true => &[true, false][..],
        false => &[true],
    };
    let mut ways = Vec::new();
    for reading in readings(tail, charset) {
        for mode in modes(&reading, mode) {
            ways.extend(by_dollars.iter().map(|quotes| (reading.clone(), mode, *quotes)));
        }
    }
    if ways.len() < 2 {
        return;
    }
    for (reading, mode, dollar_quotes) in ways {
        (scene.mode, scene.dollar_quotes) = (mode, dollar_quotes);
        scene.database = from.database.clone();
        statements(&reading, from.at, scene);
    }
}

/// True where there are signs enough for a string in dollar quotes. Only MySQL 9 has them; to those before each is a name.
fn may_quote_by_dollars(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'$').count() >= 4
}

#[derive(Debug, Default)]
struct Read {
    count: usize,
    /// The database that the last USE names.
    used: Option<Vec<u8>>,
}

/// Reads statements that begin so far behind the text's beginning.
fn statements(text: &[u8], offset: usize, scene: &mut Scene<'_>) -> Read {
    let version = scene.session.version().unwrap_or(NEWEST);
    let mut lexer = Lexer::new(text, scene.mode).for_version(version);
    if !scene.dollar_quotes {
        lexer = lexer.without_dollar_quotes();
    }
    let mut reader = Reader::over(text, lexer);
    reader.cut = scene.cut;
    let mut read = Read::default();
    while reader.begin_statement() {
        read.count += 1;
        if let Some(used) = statement(&mut reader, scene) {
            scene.database = Database::Known(Some(used.clone()));
            read.used = Some(used);
        }
        reader.finish_statement();
        // What is prepared is no place of the text; the PREPARE's own end is one.
        if !scene.prepared && std::mem::take(&mut scene.turns) && reader.peeked.is_some() {
            scene.turn(offset + reader.at());
        }
        if let Some((rule, mark)) = reader.comment.take()
            && scene.is_at_home()
        {
            scene.found(rule, format_args!("the comment /* {mark} */"));
        }
    }
    read
}

/// Reads one statement as far as it matters. The database that it makes the default.
fn statement(reader: &mut Reader<'_>, scene: &mut Scene<'_>) -> Option<Vec<u8>> {
    let first = reader.next()?;
    if first.is("SET") {
        set::read(reader, scene);
    } else if first.is("CREATE") {
        table::create(reader, scene);
    } else if first.is("ALTER") {
        table::alter(reader, scene);
    } else if first.is("USE") {
        return reader.next()?.name().map(Cow::into_owned);
    } else if first.is("RESET") {
        reset(reader, scene);
    } else if first.is("PURGE") {
        purge(reader, scene);
    } else if first.is("PREPARE") {
        prepare(reader, scene);
    } else if first.is("EXECUTE") || first.is("CALL") {
        // What that does was said elsewhere.
        scene.turns = true;
    }
    None
}

/// `RESET MASTER`, `RESET BINARY LOGS AND GTIDS`, also among others.
fn reset(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    loop {
        if reader.eat("MASTER") || (reader.eat("BINARY") && reader.eat("LOGS")) {
            scene.found(Rule::ResetBinlogs, "RESET of the binary logs");
            return;
        }
        loop {
            match reader.next() {
                None => return,
                Some(token) if token.is_punct(b',') => break,
                Some(_) => {}
            }
        }
    }
}

/// `PURGE BINARY LOGS TO 'file'`, `BEFORE moment`.
fn purge(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    if !(reader.eat("BINARY") || reader.eat("MASTER")) || !reader.eat("LOGS") {
        return;
    }
    let file = if reader.eat("TO") {
        reader.next().and_then(|token| content(token, scene.mode))
    } else {
        None
    };
    let file = file.map(|file| String::from_utf8_lossy(&file).into_owned());
    if !scene.watched.may_purge(file.as_deref()) {
        scene.found(
            Rule::PurgeBinlogs,
            "PURGE of binary logs that capture still needs",
        );
    }
}

/// `PREPARE s FROM 'text'`, `PREPARE s FROM @variable`.
fn prepare(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    reader.next();
    if !reader.eat("FROM") {
        return;
    }
    let Some(token) = reader.next() else {
        return;
    };
    if token.is_punct(b'@') {
        scene.found(Rule::PreparedVariable, "PREPARE from a variable");
    } else if let Some(text) = content(token, scene.mode)
        && !scene.prepared
    {
        scene.prepared = true;
        // What is prepared cannot be USE, and a database that it would make the default is not.
        let before = scene.database.clone();
        statements(&text, 0, scene);
        scene.database = before;
        scene.prepared = false;
    }
}

/// What a string stands for; `None` for other tokens and strings in another character set.
pub(crate) fn content(token: Token<'_>, mode: SqlMode) -> Option<Vec<u8>> {
    if token.kind != TokenKind::String {
        return None;
    }
    let (quote, inner) = match token.text {
        [quote @ (b'\'' | b'"'), inner @ .., _] => (*quote, inner),
        _ => return None,
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == b'\\' && !mode.contains(SqlMode::NO_BACKSLASH_ESCAPES) {
            match rest.next() {
                Some(b'n') => out.push(b'\n'),
                Some(b't') => out.push(b'\t'),
                Some(b'r') => out.push(b'\r'),
                Some(b'0') => out.push(0),
                Some(b'b') => out.push(8),
                Some(b'Z') => out.push(0x1a),
                Some(other) => out.push(other),
                None => {}
            }
        } else {
            out.push(byte);
            if byte == quote {
                rest.next();
            }
        }
    }
    Some(out)
}

/// Significant tokens, one statement at a time, with one of look-ahead; tools' comments are noted on the way.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
    comment: Option<(Rule, &'static str)>,
    /// The text is longer than what has come.
    cut: bool,
    /// Some stored program's body was not understood.
    doubts_bodies: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8], mode: SqlMode) -> Self {
        Self::over(text, Lexer::new(text, mode).for_version(NEWEST))
    }

    fn over(text: &'a [u8], lexer: Lexer<'a>) -> Self {
        let mut reader = Self {
            text,
            lexer,
            peeked: None,
            comment: None,
            cut: false,
            doubts_bodies: false,
        };
        reader.advance();
        reader
    }

    fn advance(&mut self) {
        self.peeked = None;
        for token in self.lexer.by_ref() {
            match token.kind {
                TokenKind::Space => {}
                TokenKind::Comment => self.comment = self.comment.or_else(|| tools::of_comment(token.text)),
                _ => {
                    self.peeked = Some(token);
                    return;
                }
            }
        }
    }

    /// Goes to the next statement's first token; false when there is none.
    pub(crate) fn begin_statement(&mut self) -> bool {
        while self.peeked.is_some_and(|token| token.is_punct(b';')) {
            self.advance();
        }
        self.peeked.is_some()
    }

    /// Where the next token begins; the text's end where there is none.
    fn at(&self) -> usize {
        self.peeked.map_or(self.text.len(), |token| token.start)
    }

    fn finish_statement(&mut self) {
        while self.next().is_some() {}
    }

    /// The next token of the statement.
    pub(crate) fn peek(&self) -> Option<Token<'a>> {
        self.peeked.filter(|token| !token.is_punct(b';'))
    }

    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.advance();
        Some(token)
    }

    pub(crate) fn eat(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(keyword));
        if found {
            self.advance();
        }
        found
    }

    pub(crate) fn eat_punct(&mut self, byte: u8) -> bool {
        let found = self.peek().is_some_and(|token| token.is_punct(byte));
        if found {
            self.advance();
        }
        found
    }

    pub(crate) fn eat_if_exists(&mut self) {
        if self.eat("IF") {
            self.eat("NOT");
            self.eat("EXISTS");
        }
    }

    /// One part of a name; a string in double quotes may be one.
    pub(crate) fn part(&mut self) -> Option<String> {
        let token = self.next()?;
        let bytes = match token.kind {
            TokenKind::String if token.text.starts_with(b"\"") => {
                Cow::Owned(content(token, SqlMode::NO_BACKSLASH_ESCAPES)?)
            }
            _ => token.name()?,
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `[database .] name`.
    pub(crate) fn name(&mut self) -> Option<Name> {
        self.eat_punct(b'.');
        let first = self.part()?;
        Some(if self.eat_punct(b'.') {
            Name {
                database: Some(first),
                name: self.part()?,
            }
        } else {
            Name {
                database: None,
                name: first,
            }
        })
    }
}
