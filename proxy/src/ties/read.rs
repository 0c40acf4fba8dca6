//! What a text would do to the state of its session, by the lexer.

use outrigger_protocol::charset;
use outrigger_protocol::sql::lexer::{Token, TokenKind};
use outrigger_protocol::sql::{SqlMode, lexable, modes};

use super::{Effect, Reasons};
use crate::guard::read::{Name, Program, Reader, content};

/// Effects of one text that are told apart: with more, the session is tied until it begins anew.
const MOST: usize = 16;

/// Bytes of the longest name that is kept: a database's and a table's.
const LONGEST: usize = 2 * 64 * 4 + 1;

/// What a text does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) effects: Vec<Effect>,
    /// There is one statement in it.
    pub(crate) alone: bool,
}

impl Read {
    /// True where the character set of the client's text may be another one afterwards.
    pub(crate) fn may_change_charset(&self) -> bool {
        self.effects.iter().any(Effect::may_change_charset)
    }

    /// True where the session's `sql_mode` may be another one afterwards.
    pub(crate) fn may_change_mode(&self) -> bool {
        self.effects.iter().any(Effect::may_change_mode)
    }
}

/// False for text that leaves the session as it is: its first word begins no statement of interest, and it holds no variable of a user's,
/// no call for a lock and no second statement. This is all that is done with nearly every statement. `locked`: tables are locked.
pub(crate) fn is_of_interest(text: &[u8], locked: bool) -> bool {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic());
    let word = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let known = |words: &[&str]| {
        words
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    };
    let begins = match word.len() {
        0 => !text.is_empty(),
        3 => known(&["SET"]),
        4 => known(&["CALL", "DROP", "LOCK"]),
        5 => known(&["FLUSH"]) || locked && known(&["BEGIN", "START"]),
        6 => known(&["CREATE", "UNLOCK"]),
        7 => known(&["PREPARE", "EXECUTE", "HANDLER"]),
        10 => known(&["DEALLOCATE"]),
        _ => false,
    };
    begins || text.contains(&b'@') || has_second_statement(text) || has_lock(text)
}

fn has_second_statement(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |byte| *byte == b';').skip(1);
    parts.any(|rest| {
        rest.iter()
            .any(|byte| !byte.is_ascii_whitespace() && *byte != b';')
    })
}

/// `GET_LOCK`, `RELEASE_LOCK`, `RELEASE_ALL_LOCKS` and their like.
fn has_lock(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'_') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest
            .get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"lock"))
        {
            return true;
        }
    }
    false
}

/// Reads a text whole. `mode` and `database`, the default one, are there if they are known. Where the mode is not, or changes on the way, and
/// what is done hangs on it, the session is tied.
pub(crate) fn text(text: &[u8], mode: Option<SqlMode>, charset: &str, database: Option<&[u8]>) -> Read {
    let text = lexable(text, charset);
    let mut read = in_mode(&text, mode.unwrap_or_default(), database);
    let in_doubt = mode.is_none() || !read.alone && read.may_change_mode();
    if in_doubt
        && modes(&text, None)
            .into_iter()
            .any(|mode| in_mode(&text, mode, database) != read)
    {
        read.effects.push(Effect::Ties(Reasons::UNSEEN));
        read.alone = false;
    }
    read
}

fn in_mode(text: &[u8], mode: SqlMode, database: Option<&[u8]>) -> Read {
    let mut scene = Scene {
        mode,
        database: database.map(|name| String::from_utf8_lossy(name).into_owned()),
        effects: Vec::new(),
        prepared: false,
    };
    let count = scene.statements(text);
    Read {
        effects: scene.effects,
        alone: count == 1,
    }
}

struct Scene {
    mode: SqlMode,
    database: Option<String>,
    effects: Vec<Effect>,
    /// Reading what PREPARE was given.
    prepared: bool,
}

impl Scene {
    fn statements(&mut self, text: &[u8]) -> usize {
        let mut reader = Reader::new(text, self.mode);
        let mut count = 0;
        while reader.begin_statement() {
            count += 1;
            self.statement(&mut reader);
            // What was not read: expressions.
            self.scan(&mut reader, |_| false);
        }
        count
    }

    /// Notes an effect; what is kept stays small however long the text is.
    fn add(&mut self, effect: Effect) {
        let repeats = matches!(effect, Effect::Ties(_) | Effect::Sets(_)) && self.effects.contains(&effect);
        if repeats {
            return;
        }
        let effect = match effect {
            Effect::Sets(name)
            | Effect::Temporary(Some(name))
            | Effect::DropsTable(Some(name))
            | Effect::Prepares(name, _)
            | Effect::Executes(name)
            | Effect::Deallocates(name)
            | Effect::Locks(Some(name))
            | Effect::Unlocks(name)
                if name.len() > LONGEST =>
            {
                Effect::Ties(Reasons::UNSEEN)
            }
            effect => effect,
        };
        match self.effects.len() {
            ..MOST => self.effects.push(effect),
            MOST => self.effects.push(Effect::Ties(Reasons::UNSEEN)),
            _ => {}
        }
    }

    fn statement(&mut self, reader: &mut Reader<'_>) {
        let Some(first) = reader.peek() else {
            return;
        };
        if first.is("SELECT") || first.is("DO") {
            reader.next();
            return self.lock(reader);
        }
        if first.kind != TokenKind::Word {
            return;
        }
        reader.next();
        if first.is("SET") {
            self.set(reader);
        } else if first.is("CREATE") {
            self.create(reader);
        } else if first.is("DROP") {
            self.drop(reader);
        } else if first.is("PREPARE") {
            self.prepare(reader);
        } else if first.is("EXECUTE") {
            if let Some(name) = reader.part() {
                self.add(Effect::Executes(name.to_lowercase()));
            }
        } else if first.is("DEALLOCATE") && reader.eat("PREPARE") {
            self.deallocate(reader);
        } else if first.is("CALL") {
            self.add(Effect::Ties(Reasons::UNSEEN));
        } else if first.is("LOCK") {
            self.add(match reader.eat("INSTANCE") {
                true => Effect::Ties(Reasons::LOCKED_TABLES),
                false => Effect::LocksTables,
            });
        } else if first.is("UNLOCK") && (reader.eat("TABLES") || reader.eat("TABLE")) {
            self.add(Effect::UnlocksTables);
        } else if first.is("FLUSH") {
            let _unlogged = reader.eat("LOCAL") || reader.eat("NO_WRITE_TO_BINLOG");
            // With names of tables it locks those.
            let named = !(reader.eat("TABLES") || reader.eat("TABLE"))
                || !reader.peek().is_some_and(|token| token.is("WITH"));
            let mut locks = false;
            self.scan(reader, |token| {
                locks |= token.is("LOCK") || token.is("EXPORT");
                false
            });
            match (locks, named) {
                (true, true) => self.add(Effect::LocksTables),
                (true, false) => self.add(Effect::LocksServer),
                (false, _) => {}
            }
        } else if first.is("HANDLER") {
            self.add(Effect::Ties(Reasons::HANDLERS));
        } else if first.is("BEGIN") || first.is("START") && reader.eat("TRANSACTION") {
            self.add(Effect::Begins);
        } else if first.is("USE") {
            self.database = None;
        } else if first.is("LOAD") || first.is("GET") {
            // Columns, or what is got, go into variables.
            let mut variable = false;
            self.scan(reader, |token| {
                variable |= token.is_punct(b'@');
                false
            });
            if variable {
                self.add(Effect::Ties(Reasons::USER_VARIABLES));
            }
        }
    }

    /// Passes over expressions up to the statement's end, or where `until` says, and notes what they do.
    fn scan(&mut self, reader: &mut Reader<'_>, mut until: impl FnMut(&Token<'_>) -> bool) {
        let mut variable = false;
        while let Some(token) = reader.peek() {
            if until(&token) {
                return;
            }
            reader.next();
            variable |= token.is_punct(b'@');
            let assigns =
                variable && token.is_punct(b':') && reader.peek().is_some_and(|next| next.is_punct(b'='));
            let selects = token.is("INTO") && reader.peek().is_some_and(|next| next.is_punct(b'@'));
            if assigns || selects {
                self.add(Effect::Ties(Reasons::USER_VARIABLES));
            } else if token.kind == TokenKind::Word && has_lock(token.text) {
                let taken = !token.text.to_ascii_lowercase().starts_with(b"release_");
                if taken {
                    self.add(Effect::Locks(None));
                }
            }
        }
    }

    /// `SELECT GET_LOCK('name', 10)` and its like, and nothing else: only there it is certain what is done. What is read of anything else
    /// is scanned here, for it was consumed.
    fn lock(&mut self, reader: &mut Reader<'_>) {
        let is_function = |token: Token<'_>| {
            ["GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS"]
                .into_iter()
                .find(|name| token.is(name))
        };
        let Some(function) = reader.peek().and_then(is_function) else {
            return;
        };
        let before = self.effects.len();
        let mut tokens = Vec::new();
        self.scan(reader, |token| {
            tokens.push((token.kind, content(*token, SqlMode::empty()), token.is("AS")));
            false
        });
        let kinds: Vec<TokenKind> = tokens.iter().map(|(kind, ..)| *kind).collect();
        let name = tokens
            .get(2)
            .and_then(|(_, name, _)| name.as_ref())
            .map(|name| String::from_utf8_lossy(name).to_lowercase());
        use TokenKind::{Number, Punct, String as Text, Word};
        let (open, close, comma) = (Punct(b'('), Punct(b')'), Punct(b','));
        // The last word, perhaps behind AS, is a name for the result.
        let called = match kinds.as_slice() {
            [call @ .., Word, Word | TokenKind::QuotedName]
                if tokens.get(call.len()).is_some_and(|(.., r#as)| *r#as) =>
            {
                call.len()
            }
            [call @ .., Punct(b')'), Word | TokenKind::QuotedName] => call.len() + 1,
            all => all.len(),
        };
        let effect = match (function, kinds.get(..called).unwrap_or_default(), name) {
            ("GET_LOCK", call, Some(name)) if call == [Word, open, Text, comma, Number, close] => {
                Effect::Locks(Some(name))
            }
            ("RELEASE_LOCK", call, Some(name)) if call == [Word, open, Text, close] => Effect::Unlocks(name),
            ("RELEASE_ALL_LOCKS", call, None) if call == [Word, open, close] => Effect::UnlocksAll,
            _ => return,
        };
        self.effects.truncate(before);
        self.add(effect);
    }

    fn set(&mut self, reader: &mut Reader<'_>) {
        loop {
            let global = ["GLOBAL", "PERSIST", "PERSIST_ONLY"]
                .into_iter()
                .any(|scope| reader.eat(scope));
            let session = !global && (reader.eat("SESSION") || reader.eat("LOCAL"));
            if reader.eat_punct(b'@') {
                if reader.eat_punct(b'@') {
                    self.system_variable(reader, global);
                } else {
                    self.add(Effect::Ties(Reasons::USER_VARIABLES));
                }
            } else if reader.eat("TRANSACTION") {
                match (global, session) {
                    (true, _) => {}
                    (false, true) => self.add(Effect::Sets("transaction_isolation".to_owned())),
                    (false, false) => self.add(Effect::Ties(Reasons::NEXT_TRANSACTION)),
                }
                self.scan(reader, |_| false);
            } else if reader.eat("RESOURCE") {
                self.add(Effect::Ties(Reasons::UNSEEN));
            } else if !(reader.eat("PASSWORD") || reader.eat("DEFAULT")) {
                self.system_variable(reader, global);
            }
            let mut depth = 0_usize;
            self.scan(reader, |token| {
                match token.kind {
                    TokenKind::Punct(b'(') => depth += 1,
                    TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && token.is_punct(b',')
            });
            if !reader.eat_punct(b',') {
                return;
            }
        }
    }

    /// `[scope.]name`, or a word such as NAMES; what follows is read by others.
    fn system_variable(&mut self, reader: &mut Reader<'_>, mut global: bool) {
        let Some(mut name) = reader.part() else {
            return self.add(Effect::Ties(Reasons::UNSEEN));
        };
        while reader.eat_punct(b'.') {
            global |= ["global", "persist", "persist_only"]
                .into_iter()
                .any(|scope| name.eq_ignore_ascii_case(scope));
            match reader.part() {
                Some(part) => name = part,
                None => return self.add(Effect::Ties(Reasons::UNSEEN)),
            }
        }
        // The value's own `:=` is not a user's variable.
        reader.eat_punct(b':');
        if global {
            return;
        }
        if !name.is_ascii() || name.ends_with(' ') {
            // MySQL compares without accents and spaces at the end: it may be any.
            return self.add(Effect::Ties(Reasons::UNSEEN));
        }
        let name = match name.to_lowercase().as_str() {
            "character" | "char" => {
                reader.eat("SET");
                "names".to_owned()
            }
            "charset" => "names".to_owned(),
            other => other.to_owned(),
        };
        let is_charset = name == "names" || name == "character_set_client";
        self.add(Effect::Sets(name));
        if is_charset {
            reader.eat_punct(b'=');
            let charset = self.charset(reader);
            self.add(Effect::Charset(charset));
        }
    }

    /// The character set that is named next, by itself; empty where that can't be told.
    fn charset(&self, reader: &mut Reader<'_>) -> &'static str {
        let token = reader.peek().filter(|token| !has_lock(token.text));
        let Some(token) = token else {
            return "";
        };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let named = match token.kind {
            TokenKind::Word => text(token.text).as_deref().and_then(charset::of_client),
            TokenKind::String => {
                let name = content(token, self.mode).and_then(|name| text(&name));
                name.as_deref().and_then(charset::of_client)
            }
            TokenKind::Number => {
                let id = text(token.text).and_then(|digits| digits.parse().ok());
                let name = id.and_then(charset::charset_of).map(|(name, _)| name);
                name.and_then(charset::of_client)
            }
            _ => return "",
        };
        reader.next();
        let alone = reader
            .peek()
            .is_none_or(|next| next.is_punct(b',') || next.is("COLLATE"));
        named.filter(|_| alone).unwrap_or_default()
    }

    fn create(&mut self, reader: &mut Reader<'_>) {
        if reader.eat("TEMPORARY") {
            if reader.eat("TABLE") {
                reader.eat_if_exists();
                let name = reader.name().and_then(|name| self.full(name));
                self.add(Effect::Temporary(name));
            }
            return;
        }
        self.scan(reader, |token| Program::of(*token).is_some());
        if let Some(program) = reader.next().and_then(Program::of) {
            reader.skip_program(program);
        }
    }

    fn drop(&mut self, reader: &mut Reader<'_>) {
        if reader.eat("PREPARE") {
            return self.deallocate(reader);
        }
        reader.eat("TEMPORARY");
        if !(reader.eat("TABLE") || reader.eat("TABLES")) {
            return;
        }
        reader.eat_if_exists();
        while let Some(name) = reader.name() {
            let name = self.full(name);
            self.add(Effect::DropsTable(name));
            if !reader.eat_punct(b',') {
                return;
            }
        }
    }

    fn full(&self, name: Name) -> Option<String> {
        let database = name.database.or_else(|| self.database.clone())?;
        Some(format!("{database}\0{}", name.name))
    }

    fn deallocate(&mut self, reader: &mut Reader<'_>) {
        if let Some(name) = reader.part() {
            self.add(Effect::Deallocates(name.to_lowercase()));
        }
    }

    fn prepare(&mut self, reader: &mut Reader<'_>) {
        let Some(name) = reader.part() else {
            return;
        };
        if !reader.eat("FROM") {
            return;
        }
        let given = reader.next().and_then(|token| content(token, self.mode));
        let before = std::mem::take(&mut self.effects);
        match given {
            Some(text) if !self.prepared => {
                self.prepared = true;
                self.statements(&text);
                self.prepared = false;
            }
            _ => self.add(Effect::Ties(Reasons::UNSEEN)),
        }
        let prepared = std::mem::replace(&mut self.effects, before);
        self.add(Effect::Prepares(name.to_lowercase(), prepared));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(sql: &str) -> Vec<Effect> {
        let read = text(sql.as_bytes(), Some(SqlMode::empty()), "utf8mb4", Some(b"shop"));
        assert!(
            read.effects.is_empty() || is_of_interest(sql.as_bytes(), true),
            "{sql}"
        );
        read.effects
    }

    fn sets(name: &str) -> Effect {
        Effect::Sets(name.to_owned())
    }

    fn table(name: &str) -> Option<String> {
        Some(name.replace('.', "\0"))
    }

    #[test]
    fn most_statements_leave_nothing() {
        for sql in [
            "SELECT * FROM t WHERE a = 'x@y, SET a = 1; GET_LOCK'",
            "INSERT INTO orders (id, locked_by) VALUES (1, '@a := 1')",
            "SELECT @a, @@sql_mode, a->>'$.b'",
            "CREATE TABLE t (a INT)",
            "SET GLOBAL max_connections = 7, @@persist.sql_mode = ''",
            "SET PASSWORD = 'x'",
            "COMMIT",
            "",
            "/* SET a = 1 */ SELECT 1",
            "CREATE PROCEDURE p() BEGIN SET @a = 1; SET b = 2; END",
        ] {
            assert_eq!(of(sql), [], "{sql}");
        }
        assert!(!is_of_interest(b"SELECT c FROM sbtest1 WHERE id=17;\n", true));
        assert!(!is_of_interest(b"BEGIN", false) && is_of_interest(b"BEGIN", true));
    }

    #[test]
    fn variables() {
        let user = Effect::Ties(Reasons::USER_VARIABLES);
        assert_eq!(
            of("SET sql_mode = '', SESSION a=(SELECT 1, 2), @@local.b := 3"),
            [sets("sql_mode"), sets("a"), sets("b")]
        );
        assert_eq!(
            of("SET NAMES utf8mb4"),
            [sets("names"), Effect::Charset("utf8mb4")]
        );
        assert_eq!(
            of("/*!40101 SET @OLD = @@SQL_MODE, SQL_MODE='' */"),
            [user.clone(), sets("sql_mode")]
        );
        for other in ["SET sql_möde = ''", "SET `sql_mode ` = ''"] {
            assert_eq!(of(other), [Effect::Ties(Reasons::UNSEEN)], "{other}");
        }
        assert_eq!(
            of("SET TRANSACTION READ ONLY"),
            [Effect::Ties(Reasons::NEXT_TRANSACTION)]
        );
        assert_eq!(
            of("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY"),
            [sets("transaction_isolation")]
        );
        assert_eq!(of("SELECT @a := 1"), std::slice::from_ref(&user));
        assert_eq!(of("SELECT 1 INTO @a"), std::slice::from_ref(&user));
        assert_eq!(of("LOAD DATA INFILE 'f' INTO TABLE t (a, @b) SET c = @b"), [user]);
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        let user = [Effect::Ties(Reasons::USER_VARIABLES)];
        for program in [
            "PROCEDURE p() SELECT REPEAT('a', 3)",
            "PROCEDURE p() SELECT CASE WHEN 1 THEN CASE 2 WHEN 3 THEN 4 END END",
            "PROCEDURE p() BEGIN DECLARE end INT; SELECT end AS begin; SET @b = 1; END",
            "TRIGGER g BEFORE INSERT ON t FOR EACH ROW IF 1 THEN SET NEW.a = 1; SET @b = 1; END IF",
            "DEFINER = a@b EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN SET @b = 1; END",
        ] {
            assert_eq!(of(&format!("CREATE {program}; SELECT 1")), [], "{program}");
            assert_eq!(of(&format!("CREATE {program}; SET @a = 1")), user, "{program}");
        }
    }

    #[test]
    fn tables_and_locks() {
        assert_eq!(
            of("CREATE TEMPORARY TABLE IF NOT EXISTS a (b INT)"),
            [Effect::Temporary(table("shop.a"))]
        );
        assert_eq!(
            of("DROP TABLE IF EXISTS a, `x`.b"),
            [
                Effect::DropsTable(table("shop.a")),
                Effect::DropsTable(table("x.b"))
            ]
        );
        assert_eq!(of("USE other; DROP TABLE a"), [Effect::DropsTable(None)]);
        assert_eq!(of("LOCK TABLES a READ"), [Effect::LocksTables]);
        assert_eq!(of("FLUSH TABLES a, b WITH READ LOCK"), [Effect::LocksTables]);
        assert_eq!(of("FLUSH TABLES WITH READ LOCK"), [Effect::LocksServer]);
        assert_eq!(of("FLUSH PRIVILEGES"), []);
        assert_eq!(
            of("UNLOCK TABLES; BEGIN"),
            [Effect::UnlocksTables, Effect::Begins]
        );
        assert_eq!(
            of("select get_lock('A', 10)"),
            [Effect::Locks(Some("a".to_owned()))]
        );
        assert_eq!(
            of("SELECT GET_LOCK('a', 10) AS got"),
            [Effect::Locks(Some("a".to_owned()))]
        );
        assert_eq!(of("DO RELEASE_LOCK('a')"), [Effect::Unlocks("a".to_owned())]);
        assert_eq!(of("SELECT RELEASE_ALL_LOCKS()"), [Effect::UnlocksAll]);
        for unsure in [
            "SELECT GET_LOCK('a', 1) FROM t",
            "SELECT GET_LOCK(?, 1)",
            "UPDATE t SET a = GET_LOCK('a', 1)",
            "SELECT 1, GET_LOCK('a', 1)",
            "SELECT GET_LOCK('a', 1), GET_LOCK('b', 1)",
        ] {
            assert_eq!(of(unsure).first(), Some(&Effect::Locks(None)), "{unsure}");
        }
        assert_eq!(of("SELECT IF(a, RELEASE_LOCK('a'), 0)"), []);
        assert_eq!(of("SELECT RELEASE_LOCK('a') FROM t WHERE 0"), []);
    }

    #[test]
    fn what_is_prepared_acts_when_it_is_executed() {
        assert_eq!(
            of("PREPARE S FROM 'SET @a = 1'"),
            [Effect::Prepares(
                "s".to_owned(),
                vec![Effect::Ties(Reasons::USER_VARIABLES)]
            )]
        );
        assert_eq!(
            of("PREPARE s FROM @text"),
            [Effect::Prepares(
                "s".to_owned(),
                vec![Effect::Ties(Reasons::UNSEEN)]
            )]
        );
        assert_eq!(of("EXECUTE s USING @a"), [Effect::Executes("s".to_owned())]);
        assert_eq!(of("DROP PREPARE s"), [Effect::Deallocates("s".to_owned())]);
        assert_eq!(of("CALL p()"), [Effect::Ties(Reasons::UNSEEN)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, bits: u64) {
            text(&bytes, Some(SqlMode::from_bits_retain(bits)), "utf8mb4", None);
            text(&bytes, None, "utf8mb4", None);
        }

        /// What the quick look lets pass would not have shown anything.
        #[test]
        fn the_quick_look_misses_nothing(words in prop::collection::vec(prop::sample::select(vec![
            "SET", "SELECT", "@a", ":=", "1", "GET_LOCK", "('x', 1)", ";", "INTO", "CREATE", "TEMPORARY", "TABLE", "t", "/* */", "LOCK", "TABLES",
            "BEGIN", ",", "=", "CALL", "DROP", "PREPARE", "EXECUTE", "DEALLOCATE", "FLUSH", "HANDLER", "LOAD", "'@'",
        ]), 0..8)) {
            let sql = words.join(" ");
            let read = text(sql.as_bytes(), Some(SqlMode::empty()), "utf8mb4", None);
            prop_assert!(read.effects.is_empty() || is_of_interest(sql.as_bytes(), true), "{sql}: {read:?}");
        }
    }
}
