//! The place where a command is judged before the source sees it.
//!
//! Every command passes through [`Guard::judge`] once, on the bytes that lie in the relay's buffer. What a guard lets pass goes on as it
//! came (P1); what it refuses never reaches the source, and the client gets the guard's error in its turn (P2).
//!
//! [`Policy`] is the guard that knows what would break the sync: `rules` says what is looked for and what to do instead, `attributes`
//! and `read` find it in a command, `tools` knows how online-DDL tools name things, [`Session`] keeps what is known of a session.

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::reply::ErrPacket;
use outrigger_protocol::sql::SqlMode;

mod attributes;
mod config;
mod policy;
pub(crate) mod read;
mod rules;
mod session;
mod tools;

pub use config::{Action, Config};
pub use policy::{Hits, Policy, Watched};
pub use rules::{Description, RULES, Rule};
pub use session::Session;

/// A command on its way to the source.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// What it is; `None` for a byte that MySQL has no command for.
    pub kind: Option<CommandByte>,
    /// Its payload, command byte included, as far as it has come: all of it when `more` is false and it fits the relay's
    /// buffer.
    pub payload: &'a [u8],
    /// How large its first packet's payload is.
    pub size: usize,
    /// True if asking for [`Verdict::More`] would bring more of the payload.
    pub more: bool,
    /// What client and source agreed on: it decides the payload's form.
    pub capabilities: Capabilities,
    /// The session's `sql_mode`, as far as the source's replies tell: [`SqlMode::NO_BACKSLASH_ESCAPES`] or nothing. `None` where it hangs on one
    /// that is still to come.
    pub sql_mode: Option<SqlMode>,
}

impl Command<'_> {
    /// The text that it has the source execute or prepare, as far as it has come; `None` where it has none, or its beginning has not come.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self.kind {
            Some(CommandByte::Query) => attributes::statement(self.payload, self.capabilities).ok(),
            Some(CommandByte::StmtPrepare) => self.payload.get(1..),
            _ => None,
        }
    }

    /// The number of the prepared statement that it is about.
    pub(crate) fn statement(&self) -> Option<u32> {
        let number = self.payload.get(1..)?.first_chunk()?;
        Some(u32::from_le_bytes(*number))
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the source.
    Pass,
    /// More of it is needed to tell. Counts as [`Verdict::Pass`] where [`Command::more`] is false.
    More,
    /// It does not go to the source; the client gets this error, and the session goes on.
    Refuse(ErrPacket<'static>),
}

/// Judges commands. Called on the relaying task: it must not block.
pub trait Guard: Send + Sync {
    /// Says what becomes of a command, and notes in the session what later commands are judged by.
    fn judge(&self, command: &Command<'_>, session: &mut Session) -> Verdict;
}

/// The guard that lets everything pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassAll;

impl Guard for PassAll {
    fn judge(&self, _command: &Command<'_>, _session: &mut Session) -> Verdict {
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests;
