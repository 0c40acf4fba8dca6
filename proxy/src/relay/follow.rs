//! Following what a relay's two sides send: each command is judged at its head, each reply counted at its end, and what may go is let go.

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::packet::{HEADER_SIZE, put};
use outrigger_protocol::reply::{ErrPacket, OkPacket};
use outrigger_protocol::sql::SqlMode;

use super::{Custody, Relay};
use crate::account::{self, Changes, Standing};
use crate::framing::{Event, Follower};
use crate::guard::{Command, Verdict};
use crate::metrics::Origin;
use crate::phase::{FromClient, FromServer, Packet};
use crate::pipe::CAPACITY;
use crate::ties::tracked;

impl Relay {
    /// Follows what the client sent, and lets go what may go.
    pub(super) fn follow_client(&mut self) {
        loop {
            if self.phase.is_lost() && self.custody != Custody::Dropping {
                self.up.release(usize::MAX);
                self.ahead = 0;
                return;
            }
            if self.custody == Custody::Leading {
                return;
            }
            if let Custody::Awaiting(kind) = self.custody
                && (!self.decide(kind) || self.custody == Custody::Leading)
            {
                return;
            }
            let (passed, event) = self.up_follower.step(&self.up.held()[self.ahead..]);
            self.ahead += passed;
            match event {
                None => {
                    self.settle();
                    return;
                }
                Some(Event::Begin) => {
                    if self.client.is_compressed() {
                        self.renumber();
                    }
                    self.last_seq = self.up_follower.seq();
                    self.custody = match self.phase.client_payload(packet(&self.up_follower)) {
                        FromClient::Command(kind) => {
                            self.account.begun();
                            Custody::Awaiting(kind)
                        }
                        FromClient::Answer | FromClient::Unknown => Custody::Passing,
                    };
                }
                Some(Event::End) => {
                    if self.phase.awaits_file() {
                        // The next part of the file goes on from here.
                        self.last_seq = self.up_follower.seq();
                    }
                    self.settle();
                    self.custody = Custody::Undecided;
                    if let Some(error) = self.refusal.take() {
                        let number = self.up_follower.seq().wrapping_add(1);
                        self.phase.refused(error, number);
                    }
                }
            }
        }
    }

    /// Gives the payload that begins the number that the source expects. Inside of compressed packets a server does not look at it, and
    /// MySQL's clients go by the number of the compressed packet.
    fn renumber(&mut self) {
        let due = match self.phase.awaits_file() {
            true => self.last_seq.wrapping_add(1),
            false => 0,
        };
        // All before it was released or dropped: its header is the first of what is held.
        if let Some(number) = self.up.held_mut().get_mut(HEADER_SIZE - 1) {
            *number = due;
            self.up_follower.renumbered(due);
        }
    }

    /// Deals with the bytes that the follower has passed as their payload's verdict says.
    fn settle(&mut self) {
        match self.custody {
            Custody::Undecided | Custody::Awaiting(_) | Custody::Leading => return,
            Custody::Passing => self.up.release(self.ahead),
            Custody::Dropping => self.up.discard(self.ahead),
        }
        self.ahead = 0;
    }

    /// Has the command at the head of what is held judged. False while that must wait.
    fn decide(&mut self, kind: Option<CommandByte>) -> bool {
        let leads = kind == Some(CommandByte::ChangeUser);
        if self.phase.is_full() || leads && !self.phase.owes_nothing() {
            return false;
        }
        // What the source answers next is for the proxy. Who leaves may leave.
        if self.phase.has_asked() && kind != Some(CommandByte::Quit) {
            return false;
        }
        // What fits is read whole: what it does to the session's state may stand anywhere in it.
        let is_text = matches!(kind, Some(CommandByte::Query | CommandByte::StmtPrepare));
        let missing = self.up_follower.size() > self.up.held().len() - HEADER_SIZE;
        if is_text && missing && self.up_follower.size() + HEADER_SIZE <= CAPACITY && !self.client_closed {
            return false;
        }
        if kind != Some(CommandByte::Quit) && !self.account.may_begin() {
            return false;
        }
        // All before this command was released or dropped: its header is the first of what is held.
        let held = &self.up.held()[HEADER_SIZE..];
        let payload = &held[..held.len().min(self.up_follower.size())];
        let more =
            payload.len() < self.up_follower.size() && !self.up.is_full_of_held() && !self.client_closed;
        let command = Command {
            kind,
            payload,
            size: self.up_follower.size(),
            more,
            capabilities: self.phase.capabilities(),
            sql_mode: self.account.knows_mode().then(|| match self.phase.escapes() {
                true => SqlMode::empty(),
                false => SqlMode::NO_BACKSLASH_ESCAPES,
            }),
        };
        self.session.speaks(self.account.charset());
        let verdict = match is_malformed(&command) {
            // As the source would: it answers these, and only then.
            true => Verdict::Refuse(ErrPacket::new(1835, "HY000", "Malformed communication packet.")),
            false => self.guard.judge(&command, &mut self.session),
        };
        match verdict {
            Verdict::More if more => {
                self.account.rest();
                return false;
            }
            Verdict::Pass | Verdict::More if leads => {
                self.account.passed(&command, &self.session, true);
                self.custody = Custody::Leading;
            }
            Verdict::Pass | Verdict::More => {
                let owed = self.phase.passed(kind);
                self.account.passed(&command, &self.session, owed);
                self.session.sent(self.phase.asked());
                self.custody = Custody::Passing;
            }
            Verdict::Refuse(error) => {
                self.refusal = Some(error);
                self.account.refused(kind);
                self.session.refused();
                self.custody = Custody::Dropping;
            }
        }
        self.settle();
        true
    }

    /// Follows what the source sent, and lets all of it go, up to where an error of ours is due.
    pub(super) fn follow_upstream(&mut self) {
        loop {
            if self.phase.is_lost() {
                return self.down.release(usize::MAX);
            }
            if self.phase.has_asked() {
                if !self.follow_answer() {
                    return;
                }
                continue;
            }
            if self.phase.owes_error() {
                // It goes out when all before it has, in packets numbered as a reply's.
                if self.own.is_empty()
                    && self.down.sendable().is_empty()
                    && let Some((error, number)) = self.phase.take_error()
                {
                    self.account_for(Origin::Proxy, Some(error.code));
                    put(&mut self.own, &error.encode(), number);
                }
                return;
            }
            if !self.own.is_empty() {
                return;
            }
            let (passed, event) = self.down_follower.step(self.down.held());
            self.down.release(passed);
            self.account.relayed(passed);
            match event {
                None => return,
                Some(Event::Begin) => self.last_seq = self.down_follower.seq(),
                Some(Event::End) => {
                    match self.phase.server_payload(packet(&self.down_follower)) {
                        FromServer::Part | FromServer::Unknown | FromServer::Status => {}
                        FromServer::Row => self.account.row(),
                        FromServer::End(error) => self.account_for(Origin::Source, error),
                        FromServer::Farewell(code) => self.says_farewell(code),
                    }
                    if self.session.is_waiting() {
                        let (turn, failed) = self.phase.answered();
                        self.session.answered(turn, failed);
                        self.account.uses(self.session.default_database());
                    }
                }
            }
        }
    }

    /// Follows what the source answers the proxy, of which the client sees nothing. False while more must come.
    fn follow_answer(&mut self) -> bool {
        let (passed, event) = self.down_follower.step(&self.down.held()[self.behind..]);
        self.behind += passed;
        match event {
            None if self.down.is_full_of_held() => {
                self.down.discard(self.behind);
                self.behind = 0;
                false
            }
            None => false,
            Some(Event::Begin) => true,
            Some(Event::End) => {
                let taken = std::mem::take(&mut self.behind);
                match self.phase.server_payload(packet(&self.down_follower)) {
                    FromServer::Status => {
                        let changes = match self.phase.tells_changes() {
                            false => Changes::Nothing,
                            true => {
                                let whole = taken == HEADER_SIZE + self.down_follower.size();
                                self.changes(whole.then(|| &self.down.held()[HEADER_SIZE..taken]))
                            }
                        };
                        self.down.discard(taken);
                        self.account.told(self.standing(), &changes);
                    }
                    FromServer::Farewell(code) => {
                        self.down.release(taken);
                        self.says_farewell(code);
                    }
                    // Nothing that a server says there: it is for the client to make sense of.
                    _ => self.down.release(taken),
                }
                true
            }
        }
    }

    fn says_farewell(&mut self, code: u16) {
        self.client.answers_next();
        self.account.farewell(code);
    }

    /// What an OK packet says of the session's state; `payload` is absent where it is not here any more.
    fn changes(&self, payload: Option<&[u8]>) -> Changes {
        let ok = payload.and_then(|payload| OkPacket::parse(payload, self.phase.capabilities()).ok());
        match ok.map(|ok| tracked::read(ok.session_state)) {
            Some(Ok(tracked)) => Changes::Told(tracked),
            Some(Err(_)) | None => Changes::Untold,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            in_transaction: self.phase.is_in_transaction(),
            in_doubt: self.phase.is_in_doubt(),
        }
    }

    /// Notes that a reply has ended.
    pub(super) fn account_for(&mut self, origin: Origin, error: Option<u16>) {
        let told = error.is_none() && origin == Origin::Source && self.phase.tells_changes();
        let changes = match told {
            false => Changes::Nothing,
            true => self.changes(self.down.just_released(self.down_follower.size())),
        };
        self.account.answered(&account::End {
            origin,
            error,
            standing: self.standing(),
            prepared: self.phase.take_prepared(),
            changes,
        });
    }
}

/// True for commands that nobody answers unless they are cut short.
fn is_malformed(command: &Command<'_>) -> bool {
    match command.kind {
        Some(CommandByte::StmtClose) => command.size < 5,
        Some(CommandByte::StmtSendLongData) => command.size < 7,
        _ => false,
    }
}

fn packet(follower: &Follower) -> Packet<'_> {
    Packet {
        head: follower.head(),
        size: follower.size(),
        seq: follower.seq(),
    }
}
