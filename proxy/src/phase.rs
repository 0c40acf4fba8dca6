//! Where a session is: which commands wait for replies, whether a transaction is open, whether it may be closed now.
//!
//! A pure machine, told of each payload in both directions by its head. It never decides what is relayed. What it does
//! not understand makes it let go for good ([`Phase::is_lost`]): the bytes go on, the session just can't be closed early.
//!
//! An error leaves it in doubt whether a transaction is open. The next reply that tells ends that; who must know before asks the source
//! ([`Phase::ask`]) while it is between commands.

mod reply;

use std::collections::VecDeque;

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::{Capabilities, StatusFlags};
use outrigger_protocol::reply::{ERR, ErrPacket, OK};

use self::reply::{Reply, Status, Taken, ok_status};

/// How many commands may wait for replies. A client that sends more ahead is read again when a reply has ended.
const OUTSTANDING: usize = 1024;

/// A payload as the machine sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// Its first bytes: all of it, or at least [`crate::framing::HEAD`].
    pub(crate) head: &'a [u8],
    /// The size of its first packet.
    pub(crate) size: usize,
    /// The sequence number of its last packet so far.
    pub(crate) seq: u8,
}

/// What a client's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromClient {
    /// A command; `None` for a byte that MySQL has no command for, and for no byte at all.
    Command(Option<CommandByte>),
    /// Part of an exchange that the server began: a local file.
    Answer,
    /// Nothing is known any more.
    Unknown,
}

/// What a payload of the source's was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromServer {
    /// A part of a reply, not its last.
    Part,
    /// The same, a row.
    Row,
    /// The last of a reply; the error's number if it is one.
    End(Option<u16>),
    /// An error that answers nothing: the source's farewell.
    Farewell(u16),
    /// The answer to [`Phase::ask`], which is not the client's.
    Status,
    /// Nothing is known any more.
    Unknown,
}

#[derive(Debug)]
enum Outstanding {
    /// The source owes a reply, of which this much is still to come.
    Reply(Reply),
    /// The proxy owes an error, under this number, for a command that the source never saw.
    Refused(ErrPacket<'static>, u8),
}

/// Why the machine let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// A replica reads the binlog: it reconnects where it stopped, so closing it hurts nobody.
    Replication,
    /// Something that the machine does not follow.
    Unknown,
}

/// Where a session is.
#[derive(Debug)]
pub(crate) struct Phase {
    capabilities: Capabilities,
    outstanding: VecDeque<Outstanding>,
    /// Replies that have ended, and whether the last of them was an error.
    answered: (u64, bool),
    /// The number of the statement that the last reply to a prepare is about.
    prepared: Option<u32>,
    status: Status,
    /// The source was asked for its status and has not answered. Nothing else is outstanding then.
    asked: bool,
    quitting: bool,
    lost: Option<Lost>,
}

impl Phase {
    /// A session that has authenticated and is in this status. `capabilities` are those on which both sides agree.
    pub(crate) fn new(capabilities: Capabilities, status: StatusFlags) -> Self {
        Self {
            capabilities,
            outstanding: VecDeque::new(),
            answered: (0, false),
            prepared: None,
            status: Status::of(status),
            asked: false,
            quitting: false,
            lost: None,
        }
    }

    /// The turn of the last command that is owed a reply.
    pub(crate) fn asked(&self) -> u64 {
        let (answered, _) = self.answered;
        answered.saturating_add(u64::try_from(self.outstanding.len()).unwrap_or(u64::MAX))
    }

    /// The turn of the last reply that has ended, and whether it was an error.
    pub(crate) fn answered(&self) -> (u64, bool) {
        self.answered
    }

    /// True where a backslash in a string is an escape, as of the last reply.
    pub(crate) fn escapes(&self) -> bool {
        !self.status.flags.contains(StatusFlags::NO_BACKSLASH_ESCAPES)
    }

    /// What client and source agreed on.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// True when the machine has let go: payloads need not be shown to it any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// True when a replica reads the binlog.
    pub(crate) fn is_replicating(&self) -> bool {
        self.lost == Some(Lost::Replication)
    }

    /// True when another command must wait until a reply has ended.
    pub(crate) fn is_full(&self) -> bool {
        self.outstanding.len() >= OUTSTANDING
    }

    /// True when nothing that the source does for the client would be cut off by closing, as far as whole commands are
    /// concerned.
    pub(crate) fn is_quiet(&self) -> bool {
        match self.lost {
            Some(Lost::Replication) => true,
            Some(Lost::Unknown) => false,
            None => {
                let between = self.outstanding.is_empty() && !self.asked && !self.quitting;
                between && !self.status.in_doubt && !self.is_in_transaction()
            }
        }
    }

    /// True when a transaction is open, as of the last reply that told.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.status
            .flags
            .intersects(StatusFlags::IN_TRANS | StatusFlags::IN_TRANS_READONLY)
    }

    /// True when nothing has told since an error whether a transaction is open.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.status.in_doubt
    }

    /// True when the source would answer a question for its status now, and there is something to ask.
    pub(crate) fn may_ask(&self) -> bool {
        self.status.in_doubt
            && self.outstanding.is_empty()
            && !self.asked
            && !self.quitting
            && self.lost.is_none()
    }

    /// The source is asked for its status, with a command whose reply is a lone OK packet. Until that is there only COM_QUIT may go.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// True until the source has answered that.
    pub(crate) fn has_asked(&self) -> bool {
        self.asked
    }

    /// True when the last reply's end says how the session's state has changed.
    pub(crate) fn tells_changes(&self) -> bool {
        self.capabilities.contains(Capabilities::SESSION_TRACK)
            && self.status.flags.contains(StatusFlags::SESSION_STATE_CHANGED)
    }

    /// The number of the statement that was prepared since this was asked last.
    pub(crate) fn take_prepared(&mut self) -> Option<u32> {
        self.prepared.take()
    }

    /// True when no command waits for a reply.
    pub(crate) fn owes_nothing(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// True when the client reads its packets as replies: an error of our own would be understood.
    pub(crate) fn may_speak(&self) -> bool {
        self.lost.is_none()
    }

    /// True when the client's next payload is part of a local file.
    pub(crate) fn awaits_file(&self) -> bool {
        matches!(
            self.outstanding.front(),
            Some(Outstanding::Reply(Reply::LocalFile))
        )
    }

    /// A client's payload began.
    pub(crate) fn client_payload(&mut self, packet: Packet<'_>) -> FromClient {
        if self.lost.is_some() {
            return FromClient::Unknown;
        }
        if let Some(Outstanding::Reply(reply @ Reply::LocalFile)) = self.outstanding.front_mut() {
            if packet.size == 0 {
                *reply = Reply::Result { file: false };
            }
            return FromClient::Answer;
        }
        if packet.seq != 0 {
            // The server answers with an error and closes.
            self.lost = Some(Lost::Unknown);
            return FromClient::Unknown;
        }
        let byte = packet.head.first();
        FromClient::Command(byte.and_then(|byte| CommandByte::from_byte(*byte)))
    }

    /// The session began anew, in this status, or failed to.
    pub(crate) fn restarted(&mut self, status: Option<StatusFlags>) {
        match status {
            Some(flags) => self.status = Status::of(flags),
            None => self.status.in_doubt = true,
        }
    }

    /// The command that just began goes to the source. COM_CHANGE_USER never does as it is: it is an authentication. True when the source
    /// owes a reply to it.
    pub(crate) fn passed(&mut self, command: Option<CommandByte>) -> bool {
        let reply = match command {
            Some(CommandByte::Quit) => {
                self.quitting = true;
                return false;
            }
            Some(CommandByte::StmtSendLongData | CommandByte::StmtClose) => return false,
            Some(CommandByte::Query) => Reply::Result { file: true },
            Some(CommandByte::StmtExecute | CommandByte::ProcessInfo) => Reply::Result { file: false },
            Some(CommandByte::FieldList | CommandByte::StmtFetch) => Reply::Rows { more: false },
            Some(CommandByte::StmtPrepare) => Reply::Prepared,
            Some(CommandByte::Statistics) => Reply::One,
            Some(CommandByte::BinlogDump | CommandByte::BinlogDumpGtid) => Reply::Stream(Lost::Replication),
            Some(CommandByte::Clone | CommandByte::SubscribeGroupReplication) => Reply::Stream(Lost::Unknown),
            Some(CommandByte::ChangeUser) => {
                self.lose(Lost::Unknown);
                return false;
            }
            // What the server does not know it answers with an error.
            Some(_) | None => Reply::Outcome,
        };
        self.outstanding.push_back(Outstanding::Reply(reply));
        true
    }

    /// The command that just ended does not go to the source: the client is owed this error, under this number, after the replies before it.
    pub(crate) fn refused(&mut self, error: ErrPacket<'static>, number: u8) {
        self.outstanding.push_back(Outstanding::Refused(error, number));
    }

    /// True when the next thing the client must hear is an error of ours.
    pub(crate) fn owes_error(&self) -> bool {
        matches!(self.outstanding.front(), Some(Outstanding::Refused(..)))
    }

    /// Takes the error that the client must hear next, and its number.
    pub(crate) fn take_error(&mut self) -> Option<(ErrPacket<'static>, u8)> {
        match self.outstanding.pop_front() {
            Some(Outstanding::Refused(error, number)) => {
                self.answered = (self.answered.0 + 1, true);
                Some((error, number))
            }
            Some(other) => {
                self.outstanding.push_front(other);
                None
            }
            None => None,
        }
    }

    /// A payload of the source's ended.
    pub(crate) fn server_payload(&mut self, packet: Packet<'_>) -> FromServer {
        if self.lost.is_some() {
            return FromServer::Unknown;
        }
        let Some(Outstanding::Reply(reply)) = self.outstanding.front_mut() else {
            // No client asked. An error is the source's farewell (a KILL, a time limit); the end of the connection follows.
            if let Some(code) = error_code(packet.head) {
                return FromServer::Farewell(code);
            }
            if std::mem::take(&mut self.asked)
                && packet.head.first() == Some(&OK)
                && let Some(flags) = ok_status(packet.head)
            {
                self.status = Status::of(flags);
                return FromServer::Status;
            }
            self.lose(Lost::Unknown);
            return FromServer::Unknown;
        };
        if let (Reply::Prepared, [OK, a, b, c, d, ..]) = (&*reply, packet.head) {
            self.prepared = Some(u32::from_le_bytes([*a, *b, *c, *d]));
        }
        match reply.take(packet, self.capabilities, &mut self.status) {
            Taken::More => FromServer::Part,
            Taken::Row => FromServer::Row,
            Taken::Done => {
                let error = error_code(packet.head);
                self.outstanding.pop_front();
                self.answered = (self.answered.0 + 1, error.is_some());
                FromServer::End(error)
            }
            Taken::Lost(why) => {
                self.lose(why);
                FromServer::Unknown
            }
        }
    }

    fn lose(&mut self, why: Lost) {
        self.lost = Some(why);
    }
}

/// The number of the error that a payload is, if it is one; 0 if it is cut off before that.
pub(crate) fn error_code(head: &[u8]) -> Option<u16> {
    match head {
        [ERR, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        [ERR, ..] => Some(0),
        _ => None,
    }
}

#[cfg(test)]
#[path = "phase/tests.rs"]
mod tests;
