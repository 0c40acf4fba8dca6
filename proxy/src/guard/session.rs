//! What is known of a session, for judging its commands: the default database, the program's name, signs seen before.

use std::collections::VecDeque;

use outrigger_protocol::charset;
use outrigger_protocol::handshake::{Capabilities, ChangeUser, HandshakeResponse};
use outrigger_protocol::sql::lexable;

use super::Rule;

/// No name that MySQL takes has more bytes.
const LONGEST_NAME: usize = 64 * 4;

/// A session, as far as it is known.
#[derive(Debug, Default)]
pub struct Session {
    database: Database,
    program: Vec<u8>,
    /// The source's version as version comments have it, where it said one.
    version: Option<u32>,
    /// The character set of its text; empty when not known.
    charset: &'static str,
    /// What the command that is being judged would change.
    asked: Option<Switch>,
    /// Changes whose outcome is not known yet, by the turn of their replies.
    awaited: VecDeque<(u64, Switch)>,
    pub(super) hint: Option<Hint>,
    /// It was set up the way Percona Toolkit does.
    pub(super) percona: bool,
}

/// A default database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Database {
    /// Nothing is known.
    #[default]
    Unknown,
    /// There is none, or this one; not UTF-8 where it was named in another character set.
    Known(Option<Vec<u8>>),
}

impl Database {
    /// The one that a client names in its character set; none by no name.
    fn named(name: &[u8], charset: &str) -> Self {
        Self::Known((!name.is_empty()).then(|| lexable(name, charset).into_owned()))
    }
}

/// A sign of a tool that was seen and not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) rule: Rule,
    pub(super) name: String,
    /// The table of which the name speaks.
    pub(super) of: String,
}

/// Another default database, if the source agrees.
#[derive(Debug, Clone)]
struct Switch {
    to: Vec<u8>,
    /// An error means that nothing changed: the command was nothing but this.
    alone: bool,
}

impl Session {
    /// The session that this response to the greeting of a source of this version begins; what can't be read in it is not known.
    pub(crate) fn of(response: &[u8], version: Option<u32>) -> Self {
        let Ok(response) = HandshakeResponse::parse(response) else {
            return Self {
                version,
                ..Self::default()
            };
        };
        let program = response
            .attributes
            .iter()
            .find(|(name, _)| *name == b"program_name");
        let charset = charset_of(u16::from(response.collation));
        Self {
            database: Database::named(response.database.unwrap_or_default(), charset),
            program: program.map(|(_, value)| value.to_vec()).unwrap_or_default(),
            version,
            charset,
            ..Self::default()
        }
    }

    /// COM_CHANGE_USER: another account in another database. (If it fails, the source closes the connection.)
    pub(super) fn restarted(&mut self, payload: &[u8], capabilities: Capabilities) {
        let asked = ChangeUser::parse(payload, capabilities);
        let rest = asked.as_ref().ok().and_then(|asked| asked.rest.as_ref());
        let charset = rest.map_or("", |rest| charset_of(rest.collation));
        *self = Self {
            database: asked.map_or(Database::Unknown, |asked| {
                Database::named(asked.database, charset)
            }),
            program: std::mem::take(&mut self.program),
            version: self.version,
            charset,
            ..Self::default()
        };
    }

    /// The session's variables are as they were at its beginning.
    pub(super) fn reset(&mut self) {
        self.hint = None;
        self.percona = false;
    }

    /// The default database, as far as commands before are answered.
    pub(super) fn database(&self) -> Database {
        if self.awaited.is_empty() {
            self.database.clone()
        } else {
            Database::Unknown
        }
    }

    /// The default database; `None` also where it is not known.
    pub(crate) fn default_database(&self) -> Option<&[u8]> {
        match &self.database {
            Database::Known(Some(name)) if self.awaited.is_empty() => Some(name),
            _ => None,
        }
    }

    /// True when the client's program calls itself so, or something with that in it.
    pub(super) fn is_program(&self, name: &str) -> bool {
        !name.is_empty()
            && self
                .program
                .windows(name.len())
                .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The source's version, where it is known, as version comments have it: 90704.
    pub(super) fn version(&self) -> Option<u32> {
        self.version
    }

    /// The character set of the client's text, by MySQL's name; empty when not known.
    pub(crate) fn charset(&self) -> &'static str {
        self.charset
    }

    /// The client's text is in this character set.
    pub(crate) fn speaks(&mut self, charset: &'static str) {
        self.charset = charset;
    }

    /// The command that is being judged makes this the default database, and does nothing else if `alone`.
    pub(super) fn asks_for(&mut self, database: &[u8], alone: bool) {
        self.asked = Some(Switch {
            to: lexable(database, self.charset).into_owned(),
            alone,
        });
    }

    /// The command that was judged went to the source; its reply is that of this turn.
    pub(crate) fn sent(&mut self, turn: u64) {
        if let Some(switch) = self.asked.take() {
            self.awaited.push_back((turn, switch));
        }
    }

    /// The command that was judged does not go to the source.
    pub(crate) fn refused(&mut self) {
        self.asked = None;
    }

    /// True while an answer is of interest.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// All replies up to this turn have ended, the last one with an error if `failed`.
    pub(crate) fn answered(&mut self, turn: u64, failed: bool) {
        while let Some((due, _)) = self.awaited.front()
            && *due <= turn
        {
            let failed = failed && *due == turn;
            let Some((_, switch)) = self.awaited.pop_front() else {
                return;
            };
            self.database = match (failed, switch.alone) {
                (false, _) if switch.to.len() <= LONGEST_NAME => Database::Known(Some(switch.to)),
                (true, true) => continue,
                _ => Database::Unknown,
            };
        }
    }
}

/// The character set in which a client with this collation speaks; a source takes its own where that can't be. Then it is not known.
fn charset_of(collation: u16) -> &'static str {
    let named = charset::charset_of(collation).and_then(|(name, _)| charset::of_client(name));
    named.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &[u8]) -> Database {
        Database::Known(Some(name.to_vec()))
    }

    #[test]
    fn the_handshake_says_where_it_begins() {
        let response = HandshakeResponse {
            capabilities: Capabilities::PROTOCOL_41,
            max_packet_size: 1,
            collation: 28,
            user: b"app",
            auth_response: b"",
            database: Some(b"shop"),
            auth_plugin: Some(b"caching_sha2_password"),
            attributes: vec![(b"program_name", b"/usr/bin/pt-online-schema-change")],
            zstd_level: None,
        };
        let session = Session::of(&response.encode(), None);
        assert_eq!(session.database(), known(b"shop"));
        assert!(session.is_program("pt-online-schema-change") && !session.is_program("gh-ost"));
        assert_eq!(session.charset(), "gbk");
        let none = HandshakeResponse {
            database: None,
            attributes: Vec::new(),
            ..response
        };
        assert_eq!(
            Session::of(&none.encode(), None).database(),
            Database::Known(None)
        );
        assert_eq!(Session::of(b"", None).database(), Database::Unknown);
    }

    #[test]
    fn a_switch_counts_once_it_is_answered() {
        let mut session = Session::of(b"", None);
        session.asks_for(b"shop", true);
        session.sent(4);
        assert_eq!(session.database(), Database::Unknown);
        session.answered(3, true);
        assert!(session.is_waiting());
        session.answered(4, false);
        assert_eq!(session.database(), known(b"shop"));
        session.asks_for(b"other", true);
        session.sent(5);
        session.answered(5, true);
        assert_eq!(session.database(), known(b"shop"));
        session.asks_for(b"other", false);
        session.sent(6);
        session.answered(6, true);
        assert_eq!(session.database(), Database::Unknown);
    }

    #[test]
    fn another_account_is_another_database() {
        let mut session = Session::default();
        session.restarted(b"\x11app\0\x02xyshop\0\x1c\0", Capabilities::SECURE_CONNECTION);
        assert_eq!((session.database(), session.charset()), (known(b"shop"), "gbk"));
        session.restarted(b"\x11app\0xy\0\0", Capabilities::empty());
        assert_eq!(
            (session.database(), session.charset()),
            (Database::Known(None), "")
        );
        session.restarted(b"\x11app", Capabilities::empty());
        assert_eq!(session.database(), Database::Unknown);
    }
}
