//! One reply: which of the source's payloads belong to it, and which is its last.
//!
//! The forms are those of MySQL's protocol documentation ("Command Phase"); where it differs from the server, the server's
//! `sql/protocol_classic.cc` and the client's `sql-common/client.cc` were followed.

use outrigger_protocol::cursor::Cursor;
use outrigger_protocol::handshake::{Capabilities, StatusFlags};
use outrigger_protocol::packet::MAX_PAYLOAD;
use outrigger_protocol::reply::{EOF, ERR, EofPacket, LOCAL_INFILE, OK, OkPacket};

use super::{Lost, Packet};

/// How the session is, as far as replies tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    /// What the source said last.
    pub(super) flags: StatusFlags,
    /// An error came since. It carries no flags, and may have ended a transaction (a deadlock's), or left one open that was begun before it (in
    /// the same text, by the routine that failed, without autocommit by the statement itself).
    pub(super) in_doubt: bool,
}

impl Status {
    /// The source says this.
    pub(super) fn of(flags: StatusFlags) -> Self {
        Self {
            flags,
            in_doubt: false,
        }
    }
}

/// What is still to come of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// One payload, whatever it is.
    One,
    /// OK, EOF or an error.
    Outcome,
    /// An error, or something else for as long as the session lasts.
    Stream(Lost),
    /// A result's beginning: OK, an error, a number of columns, or, if `file`, a request for a local file.
    Result {
        /// A local file may be asked for.
        file: bool,
    },
    /// The client sends a file; an empty packet ends it.
    LocalFile,
    /// The answer to a prepare.
    Prepared,
    /// This many column definitions, then what `then` says.
    Definitions {
        /// How many are to come, at least 1.
        left: u64,
        /// What follows them.
        then: Then,
    },
    /// The EOF packet after column definitions.
    DefinitionsEnd {
        /// What follows it.
        then: Then,
    },
    /// Rows up to EOF, OK or an error.
    Rows {
        /// Another result may follow.
        more: bool,
    },
}

/// What follows column definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Rows.
    Rows,
    /// Definitions of this many result columns, after those of the parameters.
    Columns(u16),
    /// The EOF packet after definitions of result columns that are left out.
    ColumnsEnd,
    /// Nothing.
    End,
}

/// What a payload meant for the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// There is more to come.
    More,
    /// It was a row; there is more to come.
    Row,
    /// It was the last one.
    Done,
    /// Nobody knows what else comes, and why.
    Lost(Lost),
}

impl Reply {
    /// Takes the source's next payload.
    pub(super) fn take(
        &mut self,
        packet: Packet<'_>,
        capabilities: Capabilities,
        status: &mut Status,
    ) -> Taken {
        let Some(first) = packet.head.first().copied() else {
            return match *self {
                Self::One => Taken::Done,
                Self::Stream(why) => Taken::Lost(why),
                _ => Taken::Lost(Lost::Unknown),
            };
        };
        let next = match *self {
            Self::One => return Taken::Done,
            // An error ends every other reply, wherever it stands: no definition, row or count begins with its head.
            _ if first == ERR => {
                status.in_doubt = true;
                return Taken::Done;
            }
            Self::Stream(why) => return Taken::Lost(why),
            Self::Outcome => outcome(first, packet, capabilities).map(|new| Step::End(Some(new))),
            Self::Result { file } => begin_result(first, packet, capabilities, file),
            // The source need not wait for the file's end to say how it went.
            Self::LocalFile => begin_result(first, packet, capabilities, false),
            Self::Prepared => begin_prepared(first, packet, capabilities),
            Self::Definitions { left, then } => Some(if left > 1 {
                Step::Go(Self::Definitions { left: left - 1, then })
            } else if capabilities.contains(Capabilities::DEPRECATE_EOF) {
                after_definitions(then, StatusFlags::empty())
            } else {
                Step::Go(Self::DefinitionsEnd { then })
            }),
            Self::DefinitionsEnd { then } => EofPacket::is_eof(first, packet.size)
                .then(|| EofPacket::parse(packet.head).ok())
                .flatten()
                .map(|eof| {
                    *status = Status::of(eof.status);
                    after_definitions(then, eof.status)
                }),
            Self::Rows { more } => Some(row_or_end(first, packet, capabilities, more, status.flags)),
        };
        match next {
            Some(Step::Go(reply)) => {
                let row = matches!(self, Self::Rows { .. });
                *self = reply;
                if row { Taken::Row } else { Taken::More }
            }
            Some(Step::Next(new)) => {
                *status = Status::of(new);
                *self = Self::Result { file: true };
                Taken::More
            }
            Some(Step::End(new)) => {
                *status = new.map_or(*status, Status::of);
                Taken::Done
            }
            None => Taken::Lost(Lost::Unknown),
        }
    }
}

/// Where a reply goes from here.
enum Step {
    /// It goes on like this.
    Go(Reply),
    /// Another result follows; the session's new status.
    Next(StatusFlags),
    /// It is over; the session's new status if the payload told.
    End(Option<StatusFlags>),
}

fn end_of_result(status: StatusFlags, more: bool) -> Step {
    if more && status.contains(StatusFlags::MORE_RESULTS_EXISTS) {
        Step::Next(status)
    } else {
        Step::End(Some(status))
    }
}

pub(super) fn ok_status(head: &[u8]) -> Option<StatusFlags> {
    OkPacket::parse_head(&mut Cursor::new(head))
        .ok()
        .map(|ok| ok.status)
}

/// The status in a packet that begins with 0xfe: an OK packet where EOF packets are deprecated, else an EOF packet.
fn eof_status(packet: Packet<'_>, capabilities: Capabilities) -> Option<StatusFlags> {
    if capabilities.contains(Capabilities::DEPRECATE_EOF) {
        ok_status(packet.head)
    } else {
        EofPacket::parse(packet.head).ok().map(|eof| eof.status)
    }
}

fn outcome(first: u8, packet: Packet<'_>, capabilities: Capabilities) -> Option<StatusFlags> {
    match first {
        OK => ok_status(packet.head),
        EOF => eof_status(packet, capabilities),
        _ => None,
    }
}

fn begin_result(first: u8, packet: Packet<'_>, capabilities: Capabilities, file: bool) -> Option<Step> {
    match first {
        OK => ok_status(packet.head).map(|status| end_of_result(status, true)),
        LOCAL_INFILE => file.then_some(Step::Go(Reply::LocalFile)),
        _ => {
            let mut cursor = Cursor::new(packet.head);
            let left = cursor.lenenc().ok()?;
            let defined =
                !capabilities.contains(Capabilities::OPTIONAL_RESULTSET_METADATA) || cursor.u8().ok()? != 0;
            let then = Then::Rows;
            Some(Step::Go(
                match (defined, capabilities.contains(Capabilities::DEPRECATE_EOF)) {
                    (true, _) => Reply::Definitions { left, then },
                    (false, true) => Reply::Rows { more: true },
                    // The EOF packet after the definitions comes without them.
                    (false, false) => Reply::DefinitionsEnd { then },
                },
            ))
        }
    }
}

fn begin_prepared(first: u8, packet: Packet<'_>, capabilities: Capabilities) -> Option<Step> {
    let mut cursor = Cursor::new(packet.head);
    // Head, statement number, columns, parameters, filler, warnings.
    cursor.skip(5).ok().filter(|()| first == OK)?;
    let columns = cursor.u16().ok()?;
    let parameters = cursor.u16().ok()?;
    cursor.skip(3).ok()?;
    if capabilities.contains(Capabilities::OPTIONAL_RESULTSET_METADATA) && cursor.u8().ok()? == 0 {
        let then = match (columns, parameters) {
            _ if capabilities.contains(Capabilities::DEPRECATE_EOF) => return Some(Step::End(None)),
            (0, 0) => return Some(Step::End(None)),
            (0, _) | (_, 0) => Then::End,
            _ => Then::ColumnsEnd,
        };
        return Some(Step::Go(Reply::DefinitionsEnd { then }));
    }
    Some(match parameters {
        0 => after_definitions(Then::Columns(columns), StatusFlags::empty()),
        left => Step::Go(Reply::Definitions {
            left: u64::from(left),
            then: Then::Columns(columns),
        }),
    })
}

fn after_definitions(then: Then, status: StatusFlags) -> Step {
    match then {
        // With a cursor the rows come when they are fetched.
        Then::Rows if status.contains(StatusFlags::CURSOR_EXISTS) => Step::End(None),
        Then::Rows => Step::Go(Reply::Rows { more: true }),
        Then::Columns(0) | Then::End => Step::End(None),
        Then::ColumnsEnd => Step::Go(Reply::DefinitionsEnd { then: Then::End }),
        Then::Columns(left) => Step::Go(Reply::Definitions {
            left: u64::from(left),
            then: Then::End,
        }),
    }
}

/// `told` is the status that stood before the rows.
fn row_or_end(
    first: u8,
    packet: Packet<'_>,
    capabilities: Capabilities,
    more: bool,
    told: StatusFlags,
) -> Step {
    let deprecated = capabilities.contains(Capabilities::DEPRECATE_EOF);
    // A row may begin with 0xfe too, the head of a length of eight bytes: such a row fills its first packet.
    let ends = if deprecated {
        first == EOF && packet.size < MAX_PAYLOAD
    } else {
        EofPacket::is_eof(first, packet.size)
    };
    match ends.then(|| eof_status(packet, capabilities)).flatten() {
        // The EOF packet behind OUT parameters does not say that an OK packet follows; the one before them does.
        Some(status) if more && !deprecated && told.contains(StatusFlags::PS_OUT_PARAMS) => {
            Step::Next(status)
        }
        Some(status) => end_of_result(status, more),
        None => Step::Go(Reply::Rows { more }),
    }
}
