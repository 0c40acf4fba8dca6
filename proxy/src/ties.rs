//! What ties a session to the server that it is on: state that another server would not have.
//!
//! Pure: told what commands would do ([`read`]) once their replies have ended. In doubt a session is tied: what is not understood, what
//! a routine may have left, what failed half-way. Only what triggers and stored functions do unseen is not followed, unless the
//! client has asked for the source's session tracking, and of a text that does not fit the relay's buffer what stands behind that.

use std::collections::BTreeSet;

pub(crate) mod read;
pub(crate) mod tracked;

/// Things of one kind that are told apart; with more, the session is tied until it begins anew.
const MOST: usize = 64;

bitflags::bitflags! {
    /// Why a session can't go on on another server.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub(crate) struct Reasons: u32 {
        const PREPARED = 1;
        const TEMPORARY_TABLES = 1 << 1;
        const USER_LOCKS = 1 << 2;
        const LOCKED_TABLES = 1 << 3;
        const USER_VARIABLES = 1 << 4;
        const HANDLERS = 1 << 5;
        const NEXT_TRANSACTION = 1 << 6;
        /// A routine was called, or something else happened that can't be seen through.
        const UNSEEN = 1 << 7;
    }
}

impl Reasons {
    /// Names for people and programs.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::PREPARED, "prepared_statements"),
            (Self::TEMPORARY_TABLES, "temporary_tables"),
            (Self::USER_LOCKS, "user_locks"),
            (Self::LOCKED_TABLES, "locked_tables"),
            (Self::USER_VARIABLES, "user_variables"),
            (Self::HANDLERS, "handlers"),
            (Self::NEXT_TRANSACTION, "next_transaction"),
            (Self::UNSEEN, "unseen"),
        ]
        .into_iter()
        .filter_map(move |(reason, name)| self.contains(reason).then_some(name))
    }
}

/// ER_NO_SUCH_TABLE.
const NO_SUCH_TABLE: u16 = 1146;

/// What a statement does to the session's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sets this variable of the session: what can be asked for there and set elsewhere.
    Sets(String),
    /// The client's text is in this character set from then on; empty where that can't be told.
    Charset(&'static str),
    /// Makes this a temporary table, or drops it; by its full name, absent where the default database is not known.
    Temporary(Option<String>),
    DropsTable(Option<String>),
    /// Prepares a statement of this name, which has these effects when it is executed.
    Prepares(String, Vec<Effect>),
    Executes(String),
    Deallocates(String),
    /// Takes a user's lock; by name where it is written out and nothing else is done.
    Locks(Option<String>),
    Unlocks(String),
    UnlocksAll,
    /// LOCK TABLES and its like.
    LocksTables,
    /// Takes the lock of all tables.
    LocksServer,
    UnlocksTables,
    /// A transaction begins: LOCK TABLES ends.
    Begins,
    /// Ties the session until it begins anew.
    Ties(Reasons),
}

/// The state of one session.
#[derive(Debug, Default)]
pub(crate) struct Ties {
    variables: BTreeSet<String>,
    /// The character set of the client's text; empty when not known.
    charset: &'static str,
    temporary: Vec<String>,
    prepared: Vec<(String, Vec<Effect>)>,
    locks: Vec<String>,
    tables_locked: bool,
    /// FLUSH TABLES WITH READ LOCK, which a transaction's beginning does not end.
    server_locked: bool,
    /// Those that are followed no further.
    lasting: Reasons,
}

impl Ties {
    /// Why the session can't go on on another server, as far as this is concerned.
    pub(crate) fn reasons(&self) -> Reasons {
        let mut reasons = self.lasting;
        reasons.set(
            Reasons::TEMPORARY_TABLES,
            !self.temporary.is_empty() || reasons.contains(Reasons::TEMPORARY_TABLES),
        );
        reasons.set(
            Reasons::PREPARED,
            !self.prepared.is_empty() || reasons.contains(Reasons::PREPARED),
        );
        reasons.set(
            Reasons::USER_LOCKS,
            !self.locks.is_empty() || reasons.contains(Reasons::USER_LOCKS),
        );
        reasons.set(
            Reasons::LOCKED_TABLES,
            self.has_locked_tables() || reasons.contains(Reasons::LOCKED_TABLES),
        );
        reasons
    }

    /// Variables of the session that were set.
    pub(crate) fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// The character set of the client's text, by MySQL's name; empty when not known.
    pub(crate) fn charset(&self) -> &'static str {
        self.charset
    }

    /// The client's text is in this character set.
    pub(crate) fn speaks(&mut self, charset: &'static str) {
        self.charset = charset;
    }

    /// True while it holds locks of tables.
    pub(crate) fn has_locked_tables(&self) -> bool {
        self.tables_locked || self.server_locked
    }

    /// A command with these effects has ended, or failed with this error: then it may have done some of them; the first one is all that it
    /// would have done if `alone`.
    pub(crate) fn apply(&mut self, effects: &[Effect], error: Option<u16>, alone: bool) {
        for effect in effects {
            if let Effect::Executes(name) = effect {
                let found = self.prepared.iter().find(|(kept, _)| kept == name);
                let prepared = found.map(|(_, effects)| effects.clone()).unwrap_or_default();
                for effect in &prepared {
                    self.apply_after(effect, error, alone);
                }
            } else {
                self.apply_after(effect, error, alone);
            }
        }
    }

    fn apply_after(&mut self, effect: &Effect, error: Option<u16>, alone: bool) {
        let failed = error.is_some();
        match effect {
            // It has let go of those it held before it looked for these.
            Effect::LocksTables if error == Some(NO_SUCH_TABLE) && alone => self.tables_locked = false,
            _ if failed && !effect.may_be_left_by_a_failure(alone) => {}
            Effect::Charset(_) if failed => self.charset = "",
            effect => self.apply_one(effect),
        }
    }

    fn apply_one(&mut self, effect: &Effect) {
        match effect {
            Effect::Sets(name) => {
                if self.variables.len() < MOST {
                    self.variables.insert(name.clone());
                } else if !self.variables.contains(name) {
                    self.lasting |= Reasons::UNSEEN;
                }
            }
            Effect::Charset(charset) => self.charset = charset,
            Effect::Temporary(Some(name)) if self.temporary.len() < MOST => {
                if !self.temporary.contains(name) {
                    self.temporary.push(name.clone());
                }
            }
            Effect::Temporary(_) => self.lasting |= Reasons::TEMPORARY_TABLES,
            Effect::DropsTable(name) => self.temporary.retain(|kept| Some(kept) != name.as_ref()),
            Effect::Prepares(name, effects) => {
                self.prepared.retain(|(kept, _)| kept != name);
                if self.prepared.len() < MOST {
                    self.prepared.push((name.clone(), effects.clone()));
                } else {
                    self.lasting |= Reasons::PREPARED | Reasons::UNSEEN;
                }
            }
            // No source lets what was prepared execute: it is not followed into, however often it names itself.
            Effect::Executes(_) => self.apply_one(&Effect::Ties(Reasons::UNSEEN)),
            Effect::Deallocates(name) => self.prepared.retain(|(kept, _)| kept != name),
            Effect::Locks(Some(name)) if self.locks.len() < MOST => self.locks.push(name.clone()),
            Effect::Locks(_) => self.lasting |= Reasons::USER_LOCKS,
            Effect::Unlocks(name) => {
                // As often as it was taken.
                if let Some(at) = self.locks.iter().position(|kept| kept == name) {
                    self.locks.swap_remove(at);
                }
            }
            Effect::UnlocksAll => {
                self.locks.clear();
                self.lasting.remove(Reasons::USER_LOCKS);
            }
            Effect::LocksTables => self.tables_locked = true,
            Effect::LocksServer => self.server_locked = true,
            Effect::UnlocksTables => (self.tables_locked, self.server_locked) = (false, false),
            Effect::Begins => self.tables_locked = false,
            Effect::Ties(reasons) => {
                self.lasting |= *reasons;
                if reasons.contains(Reasons::UNSEEN) {
                    self.charset = "";
                }
            }
        }
    }

    /// A transaction is open: what was said for the next one has been used. True where anything was.
    pub(crate) fn in_transaction(&mut self) -> bool {
        let used = self.lasting.contains(Reasons::NEXT_TRANSACTION);
        self.lasting.remove(Reasons::NEXT_TRANSACTION);
        used
    }
}

impl Effect {
    /// True where the character set of the client's text may be another one afterwards.
    pub(crate) fn may_change_charset(&self) -> bool {
        match self {
            Self::Charset(_) | Self::Executes(_) => true,
            Self::Ties(reasons) => reasons.contains(Reasons::UNSEEN),
            _ => false,
        }
    }

    /// True where the session's `sql_mode` may be another one afterwards.
    pub(crate) fn may_change_mode(&self) -> bool {
        match self {
            Self::Sets(name) => name == "sql_mode",
            Self::Executes(_) => true,
            Self::Ties(reasons) => reasons.contains(Reasons::UNSEEN),
            _ => false,
        }
    }

    /// True where it ties the session and an error does not mean that it did not happen.
    fn may_be_left_by_a_failure(&self, alone: bool) -> bool {
        match self {
            Self::DropsTable(_)
            | Self::Deallocates(_)
            | Self::Unlocks(_)
            | Self::UnlocksAll
            | Self::UnlocksTables
            | Self::Begins => false,
            // Done whole or not at all, if nothing else was.
            Self::Sets(_)
            | Self::Charset(_)
            | Self::Temporary(_)
            | Self::Prepares(..)
            | Self::LocksTables => !alone,
            // It may wait in the middle, and be killed there.
            Self::LocksServer => true,
            Self::Locks(_) | Self::Executes(_) | Self::Ties(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(texts: &[(&str, bool)]) -> Ties {
        let mut ties = Ties::default();
        for (sql, failed) in texts {
            let mode = Some(outrigger_protocol::sql::SqlMode::empty());
            let read = read::text(sql.as_bytes(), mode, "utf8mb4", Some(b"shop"));
            ties.apply(&read.effects, failed.then_some(1064), read.alone);
        }
        ties
    }

    fn reasons(texts: &[&str]) -> Reasons {
        let texts: Vec<_> = texts.iter().map(|sql| (*sql, false)).collect();
        after(&texts).reasons()
    }

    #[test]
    fn locks_that_are_not_got_end_those_before() {
        let read = read::text(
            b"LOCK TABLES a READ",
            Some(outrigger_protocol::sql::SqlMode::empty()),
            "utf8mb4",
            None,
        );
        for (error, left) in [(NO_SUCH_TABLE, false), (1064, true)] {
            let mut ties = Ties::default();
            ties.apply(&read.effects, None, read.alone);
            ties.apply(&read.effects, Some(error), read.alone);
            assert_eq!(ties.has_locked_tables(), left, "{error}");
        }
    }

    #[test]
    fn what_was_done_is_undone() {
        for (doing, undoing, reason) in [
            (
                "CREATE TEMPORARY TABLE t (a INT)",
                "DROP TABLE shop.t",
                Reasons::TEMPORARY_TABLES,
            ),
            (
                "PREPARE s FROM 'SELECT 1'",
                "DEALLOCATE PREPARE S",
                Reasons::PREPARED,
            ),
            (
                "SELECT GET_LOCK('A', 1)",
                "DO RELEASE_LOCK('a')",
                Reasons::USER_LOCKS,
            ),
            (
                "UPDATE t SET a = GET_LOCK(b, 1)",
                "SELECT RELEASE_ALL_LOCKS()",
                Reasons::USER_LOCKS,
            ),
            ("LOCK TABLES t WRITE", "UNLOCK TABLES", Reasons::LOCKED_TABLES),
            ("LOCK TABLES t WRITE", "START TRANSACTION", Reasons::LOCKED_TABLES),
            (
                "FLUSH TABLES WITH READ LOCK",
                "UNLOCK TABLES",
                Reasons::LOCKED_TABLES,
            ),
        ] {
            assert_eq!(reasons(&[doing]), reason, "{doing}");
            assert_eq!(reasons(&[doing, undoing]), Reasons::empty(), "{doing}; {undoing}");
            assert_eq!(
                after(&[(doing, false), (undoing, true)]).reasons(),
                reason,
                "{undoing} failed"
            );
        }
        for locking in [
            "FLUSH TABLES WITH READ LOCK",
            "FLUSH LOCAL TABLES WITH READ LOCK",
            "FLUSH NO_WRITE_TO_BINLOG TABLES WITH READ LOCK",
        ] {
            assert_eq!(reasons(&[locking, "BEGIN"]), Reasons::LOCKED_TABLES, "{locking}");
        }
        assert_eq!(
            reasons(&[
                "SELECT GET_LOCK('a', 1)",
                "SELECT GET_LOCK('a', 1)",
                "DO RELEASE_LOCK('a')"
            ]),
            Reasons::USER_LOCKS
        );
        assert_eq!(
            reasons(&["CREATE TEMPORARY TABLE t (a INT)", "DROP TABLE other.t"]),
            Reasons::TEMPORARY_TABLES
        );
        assert_eq!(
            reasons(&["PREPARE s FROM 'SET @a = 1'", "EXECUTE s", "DROP PREPARE s"]),
            Reasons::USER_VARIABLES
        );
    }

    #[test]
    fn failures_leave_what_they_may_have_left() {
        assert_eq!(
            after(&[("CREATE TEMPORARY TABLE t (a INT)", true)]).reasons(),
            Reasons::empty()
        );
        assert_eq!(
            after(&[("CREATE TEMPORARY TABLE t (a INT); nonsense", true)]).reasons(),
            Reasons::TEMPORARY_TABLES
        );
        assert_eq!(
            after(&[("SELECT GET_LOCK('a', 1)", true)]).reasons(),
            Reasons::USER_LOCKS
        );
        assert_eq!(after(&[("CALL p()", true)]).reasons(), Reasons::UNSEEN);
    }

    #[test]
    fn the_clients_character_set_is_followed() {
        let charset = |texts: &[(&str, bool)]| {
            let before = [&[("SET NAMES latin1", false)], texts].concat();
            after(&before).charset()
        };
        for (text, expected) in [
            ("SET NAMES gbk", "gbk"),
            ("SET NAMES 'SJIS' COLLATE sjis_bin, a = 1", "sjis"),
            ("SET a = 1, NAMES utf8", "utf8mb3"),
            ("SET CHARACTER SET big5", "big5"),
            ("SET CHAR SET 'cp932'", "cp932"),
            ("SET CHARSET gb18030", "gb18030"),
            ("set @@session.Character_Set_Client := gbk", "gbk"),
            ("SET character_set_client = 28", "gbk"),
            ("/*!40101 SET NAMES gbk */", "gbk"),
            ("PREPARE s FROM 'SET NAMES gbk'; EXECUTE s", "gbk"),
            ("SET NAMES gbk; SET NAMES big5", "big5"),
            // Not told.
            ("SET NAMES DEFAULT", ""),
            ("SET character_set_client = @a", ""),
            ("SET character_set_client = CONCAT('g', 'bk')", ""),
            ("CALL p()", ""),
            // Not set.
            ("SET GLOBAL character_set_client = gbk", "latin1"),
            ("SET @@persist.character_set_client = gbk", "latin1"),
            ("SET character_set_results = gbk", "latin1"),
            ("SET @names = 'gbk'", "latin1"),
            ("PREPARE s FROM 'SET NAMES gbk'", "latin1"),
        ] {
            assert_eq!(charset(&[(text, false)]), expected, "{text}");
        }
        assert_eq!(charset(&[("SET NAMES gbk", true)]), "latin1");
        assert_eq!(charset(&[("SET NAMES gbk; nonsense", true)]), "");
        assert_eq!(Ties::default().charset(), "");
    }

    #[test]
    fn what_executes_itself_comes_to_an_end() {
        let text = "PREPARE a FROM 'EXECUTE a; EXECUTE b'; PREPARE b FROM 'EXECUTE a; EXECUTE b'; EXECUTE a; EXECUTE b";
        for failed in [true, false] {
            let reasons = after(&[(text, failed)]).reasons();
            assert_eq!(reasons, Reasons::PREPARED | Reasons::UNSEEN);
        }
    }

    /// However long a text is, what is kept of it is small.
    #[test]
    fn what_a_text_does_is_bounded() {
        let many = |part: &str| vec![part; 5000].join(", ");
        for text in [
            format!("SET {}", many("@a = 1")),
            format!("SET {}", many("SESSION sort_buffer_size = 1")),
            format!("SELECT {}", many("GET_LOCK('a', 1)")),
            format!("SET {} = 1", "x".repeat(30_000)),
            format!("SELECT GET_LOCK('{}', 1)", "x".repeat(30_000)),
            format!("PREPARE {} FROM 'SELECT 1'", "x".repeat(30_000)),
            format!("PREPARE p FROM 'SET {}'", many("@a = 1")),
        ] {
            let mode = Some(outrigger_protocol::sql::SqlMode::empty());
            let read = read::text(text.as_bytes(), mode, "utf8mb4", None);
            assert!(format!("{:?}", read.effects).len() < 1000, "{}", &text[..40]);
            let mut ties = Ties::default();
            ties.apply(&read.effects, None, read.alone);
            assert_ne!(
                (ties.reasons(), ties.variables().len()),
                (Reasons::empty(), 0),
                "{}",
                &text[..40]
            );
        }
    }

    #[test]
    fn more_than_can_be_told_apart_stays() {
        let mut ties = Ties::default();
        for number in 0..=MOST {
            ties.apply(&[Effect::Locks(Some(number.to_string()))], None, true);
        }
        for number in 0..=MOST {
            ties.apply(&[Effect::Unlocks(number.to_string())], None, true);
        }
        assert_eq!(ties.reasons(), Reasons::USER_LOCKS);
        let mut ties = Ties::default();
        for number in 0..=MOST {
            ties.apply(&[Effect::Sets(number.to_string())], None, true);
        }
        assert_eq!((ties.variables().len(), ties.reasons()), (MOST, Reasons::UNSEEN));
    }

    #[test]
    fn the_next_transaction_uses_what_was_said_for_it() {
        let mut ties = after(&[
            ("SET TRANSACTION READ ONLY", false),
            ("SET autocommit = 1", false),
        ]);
        assert_eq!(ties.reasons(), Reasons::NEXT_TRANSACTION);
        assert!(ties.in_transaction() && !ties.in_transaction());
        assert_eq!(ties.reasons(), Reasons::empty());
        assert!(ties.variables().contains("autocommit"));
        assert_eq!(Reasons::all().names().count(), Reasons::all().iter().count());
    }
}
