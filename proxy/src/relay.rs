//! Moving bytes between a client and the source, in one task and without copying them.
//!
//! What was read is [followed](self::follow) by its packets' headers, judged at the head of each command, and written from the same buffer.

mod follow;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::StatusFlags;
use outrigger_protocol::reply::ErrPacket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use crate::account::Account;
use crate::framing::Follower;
use crate::guard::{Guard, Session};
use crate::metrics::Origin;
use crate::phase::Phase;
use crate::pipe::Pipe;
use crate::stream::Stream;
use crate::wire::Wire;

/// Why bytes stopped flowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client left; what it had sent was handed to the source, and it was handed the replies.
    Client,
    /// The source closed the connection; what it had sent was handed to the client.
    Upstream,
    /// The session may be closed without breaking anything, as was asked.
    Quiet,
    /// No end: the client's next command waits because transactions are held. To be called again at any time, at the latest when they are not
    /// held any more.
    Held,
    /// No end: since an error it is in doubt whether a transaction is open (true), or is not any more. To be called again at any time; in doubt,
    /// at the latest when transactions are held.
    Doubt(bool),
    /// The client asks for another account; flow goes on after [`Relay::lend`] and [`Relay::resume`].
    ChangeUser,
}

/// What becomes of the client's payload that is passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Custody {
    /// Between payloads, or in the head of one.
    Undecided,
    /// A command's head is known, its verdict is not.
    Awaiting(Option<CommandByte>),
    /// It goes to the source.
    Passing,
    /// It was refused.
    Dropping,
    /// A COM_CHANGE_USER that may go: an authentication, which is not relayed but led.
    Leading,
}

/// A client, the source, and what is between them.
pub(crate) struct Relay {
    client: Stream,
    upstream: Stream,
    phase: Phase,
    guard: Arc<dyn Guard>,
    /// What the guard knows of the session.
    session: Session,
    account: Account,
    /// Towards the source.
    up: Pipe,
    up_follower: Follower,
    custody: Custody,
    /// What the client gets for the command that is being dropped, once all of it has come: only then it listens, and expects the number after
    /// that of the command's last packet.
    refusal: Option<ErrPacket<'static>>,
    /// Held bytes that the follower has passed.
    ahead: usize,
    client_closed: bool,
    upstream_deaf: bool,
    /// Bytes were written that the connection to the source may hold back.
    up_unflushed: bool,
    /// The rest of a question of ours to the source, which goes before what is in the pipe.
    question: &'static [u8],
    /// Somebody wants to know whether a transaction is open.
    wanted: bool,
    /// The source was told that nothing more comes.
    up_ended: bool,
    /// Towards the client.
    down: Pipe,
    down_follower: Follower,
    /// Held bytes that the follower has passed, of an answer to us.
    behind: usize,
    upstream_closed: bool,
    down_unflushed: bool,
    /// An error of ours that the client must get before what is still held, and how much of it went out.
    own: Vec<u8>,
    own_sent: usize,
    /// Sequence number of the packet that was seen last, in either direction.
    last_seq: u8,
    /// The phase's letting go was counted.
    unfollowed: bool,
    /// [`End::Held`] was told.
    told_held: bool,
    /// What [`End::Doubt`] told last.
    told_doubt: bool,
}

/// COM_PING. Its OK packet has the session's status, and of what the session could ask for it changes nothing but `ROW_COUNT()`: warnings,
/// `FOUND_ROWS()`, `LAST_INSERT_ID()` and what was sent for a prepared statement stay. What a client tracks of its session by OK packets, and
/// the error has changed (a GTID of what a statement committed before it failed, say), is told here and lost to it.
const QUESTION: &[u8] = &[1, 0, 0, 0, CommandByte::Ping.byte()];

impl Relay {
    /// A relay between two ends that are through with authentication.
    pub(crate) fn new(
        client: Stream,
        upstream: Stream,
        phase: Phase,
        (guard, session): (Arc<dyn Guard>, Session),
        mut account: Account,
    ) -> Self {
        account.uses(session.default_database());
        account.speaks(session.charset());
        Self {
            client,
            upstream,
            phase,
            guard,
            session,
            account,
            up: Pipe::with(b""),
            up_follower: Follower::new(),
            custody: Custody::Undecided,
            refusal: None,
            ahead: 0,
            client_closed: false,
            upstream_deaf: false,
            up_unflushed: false,
            question: &[],
            wanted: false,
            up_ended: false,
            down: Pipe::with(b""),
            down_follower: Follower::new(),
            behind: 0,
            upstream_closed: false,
            down_unflushed: false,
            own: Vec::new(),
            own_sent: 0,
            last_seq: 0,
            unfollowed: false,
            told_held: false,
            told_doubt: false,
        }
    }

    /// Moves bytes until something ends it. Cancellation-safe: all state is in `self`. With `closing`, a quiet session ends.
    pub(crate) async fn flow(&mut self, closing: bool) -> End {
        std::future::poll_fn(|cx| self.poll_flow(cx, closing)).await
    }

    /// Both ends as packets, after [`End::ChangeUser`]: the command is the client's first.
    pub(crate) fn lend(&mut self) -> (Wire<&mut Stream>, Wire<&mut Stream>) {
        let ahead = self.up.take_held();
        (self.ahead, self.up_follower, self.custody) = (0, Follower::new(), Custody::Undecided);
        (
            Wire::commanded(&mut self.client, ahead),
            Wire::new(&mut self.upstream),
        )
    }

    /// Goes on after [`lend`](Self::lend): with what was read ahead of the client, and the session's status if it has a new one.
    pub(crate) fn resume(&mut self, ahead: &[u8], status: Option<StatusFlags>) {
        self.up = Pipe::with(ahead);
        self.phase.restarted(status);
        if status.is_some() {
            self.account.uses(self.session.default_database());
        }
        self.account_for(Origin::Source, None);
    }

    /// The connections, and the sequence number with which an error of ours would now be understood; `None` in the middle of a packet or
    /// where the client doesn't expect replies.
    pub(crate) fn into_parts(mut self) -> (Stream, Stream, Option<u8>) {
        let between =
            self.own.is_empty() && self.down.sendable().is_empty() && self.down_follower.at_boundary();
        let seq = match (between && self.phase.may_speak(), self.phase.owes_nothing()) {
            (false, _) => None,
            // The client takes it for the reply to its next command.
            (true, true) => {
                self.client.answers_next();
                Some(1)
            }
            (true, false) => Some(self.last_seq.wrapping_add(1)),
        };
        (self.client, self.upstream, seq)
    }

    /// True when the session is between commands and outside a transaction, with nothing under way. A command that is held back has not
    /// begun: the source has seen nothing of it.
    pub(crate) fn is_quiet(&self) -> bool {
        let asked = match self.account.is_held() {
            true => !self.up.sendable().is_empty(),
            false => !self.up.is_empty() || !self.up_follower.at_boundary(),
        };
        let settled = !asked && self.down.is_empty() && self.own.is_empty() && !self.is_unflushed();
        self.phase.is_quiet() && (!self.phase.may_speak() || settled)
    }

    /// Has [`End::Held`] told again, if it still holds.
    pub(crate) fn tell_held(&mut self) {
        self.told_held = false;
    }

    /// Has [`End::Doubt`] told again, if it still holds.
    pub(crate) fn tell_doubt(&mut self) {
        self.told_doubt = false;
    }

    /// Has the source asked as soon as may be whether a transaction is open, unless that is known. False if that is so.
    pub(crate) fn ask(&mut self) -> bool {
        self.wanted = self.phase.is_in_doubt();
        self.wanted
    }

    fn is_unflushed(&self) -> bool {
        self.up_unflushed || self.down_unflushed
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>, closing: bool) -> Poll<End> {
        loop {
            let mut moved = self.pull_client(cx);
            self.follow_client();
            moved |= self.push_upstream(cx);
            moved |= self.pull_upstream(cx);
            self.follow_upstream();
            match self.push_client(cx) {
                Ok(pushed) => moved |= pushed,
                // Nobody hears the source any more.
                Err(_gone) => return Poll::Ready(End::Client),
            }
            if moved {
                continue;
            }
            if self.custody == Custody::Leading && self.may_lead() {
                return Poll::Ready(End::ChangeUser);
            }
            if !self.unfollowed && self.phase.is_lost() {
                self.unfollowed = true;
                self.account.lost(self.phase.is_replicating());
                debug!("the session's packets can't be followed any more; bytes go on");
            }
            if self.upstream_closed
                && self.down.sendable().is_empty()
                && self.own.is_empty()
                && !self.down_unflushed
            {
                return Poll::Ready(End::Upstream);
            }
            // Commands that wait for their turn are still owed to the source, and replies to the client: it may have closed one direction only.
            if self.client_closed && self.is_delivered() && !self.end_upstream(cx) {
                return Poll::Ready(End::Client);
            }
            let doubt = self.may_ask();
            if doubt && (closing || self.wanted || self.account.must_know()) {
                self.wanted = false;
                self.question = QUESTION;
                self.phase.ask();
                continue;
            }
            if closing && self.is_quiet() {
                return Poll::Ready(End::Quiet);
            }
            let told = std::mem::replace(&mut self.told_held, self.account.is_held());
            if self.told_held && !told {
                return Poll::Ready(End::Held);
            }
            let told = std::mem::replace(&mut self.told_doubt, doubt);
            return match told == doubt {
                true => Poll::Pending,
                false => Poll::Ready(End::Doubt(doubt)),
            };
        }
    }

    fn pull_client(&mut self, cx: &mut Context<'_>) -> bool {
        if self.client_closed {
            return false;
        }
        match pull(&mut self.client, &mut self.up, cx) {
            None => false,
            Some(0) => {
                self.client_closed = true;
                true
            }
            Some(count) => {
                self.account.read_from_client(count);
                true
            }
        }
    }

    fn pull_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        if self.upstream_closed {
            return false;
        }
        match pull(&mut self.upstream, &mut self.down, cx) {
            None => false,
            Some(0) => {
                self.upstream_closed = true;
                true
            }
            Some(count) => {
                self.account.read_from_upstream(count);
                true
            }
        }
    }

    fn push_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            let (bytes, ours) = match self.question {
                [] => (self.up.sendable(), false),
                question => (question, true),
            };
            if bytes.is_empty() {
                break;
            }
            if self.upstream_deaf {
                self.question = &[];
                self.up.sent(usize::MAX);
                return true;
            }
            match Pin::new(&mut self.upstream).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    match ours {
                        true => self.question = &self.question[count..],
                        false => self.up.sent(count),
                    }
                    self.up_unflushed = self.upstream.holds_back();
                    moved = true;
                }
                // It may still have last words for the client: they are read until it closes that direction too.
                Poll::Ready(_) => self.upstream_deaf = true,
                Poll::Pending => break,
            }
        }
        if self.up_unflushed {
            match Pin::new(&mut self.upstream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.up_unflushed = false,
                Poll::Ready(Err(_gone)) => (self.upstream_deaf, self.up_unflushed) = (true, false),
                Poll::Pending => {}
            }
        }
        moved
    }

    fn push_client(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        loop {
            let (bytes, own) = match self.down.sendable() {
                [] => (&self.own[self.own_sent..], true),
                bytes => (bytes, false),
            };
            if bytes.is_empty() {
                break;
            }
            match Pin::new(&mut self.client).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) if own => {
                    self.own_sent += count;
                    if self.own_sent == self.own.len() {
                        self.own.clear();
                        self.own_sent = 0;
                    }
                }
                Poll::Ready(Ok(count)) => self.down.sent(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
            self.down_unflushed = self.client.holds_back();
            moved = true;
        }
        if self.down_unflushed && Pin::new(&mut self.client).poll_flush(cx)?.is_ready() {
            self.down_unflushed = false;
        }
        Ok(moved)
    }

    /// True when it is in doubt whether a transaction is open, and the source would answer that now: nothing of the client's is under way.
    fn may_ask(&self) -> bool {
        let between = matches!(self.custody, Custody::Undecided | Custody::Awaiting(_));
        let reachable = !self.upstream_closed && !self.upstream_deaf && !self.up_ended;
        self.phase.may_ask() && between && reachable && self.up.sendable().is_empty()
    }

    /// True when the source has all that the client sent.
    fn is_delivered(&self) -> bool {
        // A command that is here waits for its verdict, or to be led, unless nothing is judged any more.
        let waits = matches!(self.custody, Custody::Awaiting(_) | Custody::Leading) && !self.phase.is_lost();
        self.up.sendable().is_empty() && !self.up_unflushed && !waits
    }

    /// Lets the source know that the client says nothing more, as the client did. False where nothing that it still says would be heard.
    fn end_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        let owed = !self.phase.owes_nothing()
            || !self.down.is_empty()
            || !self.own.is_empty()
            || self.down_unflushed;
        if !owed || self.phase.is_lost() || self.upstream_deaf {
            return false;
        }
        if !self.up_ended && Pin::new(&mut self.upstream).poll_shutdown(cx).is_ready() {
            self.up_ended = true;
        }
        true
    }

    /// True when nothing else is under way that a led authentication would get mixed up with.
    fn may_lead(&self) -> bool {
        let down = self.down.is_empty() && self.down_follower.at_boundary() && self.own.is_empty();
        down && self.up.sendable().is_empty() && !self.is_unflushed() && !self.phase.is_lost()
    }
}

/// Reads once into the pipe. `None` when nothing came or there is no room; 0 when the peer closed or broke the connection.
fn pull(stream: &mut Stream, pipe: &mut Pipe, cx: &mut Context<'_>) -> Option<usize> {
    let room = pipe.room();
    if room.is_empty() {
        return None;
    }
    let mut buffer = ReadBuf::new(room);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Ready(Ok(())) => {
            let count = buffer.filled().len();
            pipe.received(count);
            Some(count)
        }
        Poll::Ready(Err(_broken)) => Some(0),
        Poll::Pending => {
            pipe.rest();
            None
        }
    }
}

#[cfg(test)]
#[path = "relay/tests.rs"]
mod tests;
