//! The nineteen bytes before every event, and the names of event types.

use std::fmt;

use super::Error;

/// Bytes of a common header.
pub const HEADER_LEN: usize = 19;

/// Bytes of the CRC32 that ends an event when checksums are on.
pub const CHECKSUM_LEN: usize = 4;

/// Bytes before the first event of a binlog file (`\xfebin`).
pub const FILE_MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// The event is the format description of a file that is still being written (or was not closed).
pub const FLAG_BINLOG_IN_USE: u16 = 0x0001;
/// The statement is tied to its thread (it touches temporary tables).
pub const FLAG_THREAD_SPECIFIC: u16 = 0x0004;
/// The statement runs without a preceding USE of its schema.
pub const FLAG_SUPPRESS_USE: u16 = 0x0008;
/// The event was not written by the server whose log it stands in: made up for a dump (a first ROTATE, for example).
pub const FLAG_ARTIFICIAL: u16 = 0x0020;
/// The event comes from a replica's relay log.
pub const FLAG_RELAY_LOG: u16 = 0x0040;
/// A reader that doesn't know this event type may ignore it.
pub const FLAG_IGNORABLE: u16 = 0x0080;
/// The event must not be filtered.
pub const FLAG_NO_FILTER: u16 = 0x0100;
/// XA and multi-threaded replicas: the event must be applied alone.
pub const FLAG_MTS_ISOLATE: u16 = 0x0200;

/// The common header of an event, all integers little-endian on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since the epoch, when the statement began; 0 in artificial events.
    pub timestamp: u32,
    /// What the body holds.
    pub kind: EventKind,
    /// The server that first wrote the event.
    pub server_id: u32,
    /// Bytes of the whole event: header, body, checksum.
    pub size: u32,
    /// Where the next event starts in the file, modulo 2^32; 0 in artificial events and inside transaction payloads.
    pub log_pos: u32,
    /// `FLAG_…` bits.
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header only: cheap, for callers that need no more than the type or the size.
    ///
    /// # Errors
    /// When there are fewer than [`HEADER_LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(Error::Truncated { what: "event header" });
        };
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Ok(Self {
            timestamp: u32_at(0),
            kind: EventKind(head[4]),
            server_id: u32_at(5),
            size: u32_at(9),
            log_pos: u32_at(13),
            flags: u16::from_le_bytes([head[17], head[18]]),
        })
    }

    /// The header as it stands before an event.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut head = [0; HEADER_LEN];
        head[0..4].copy_from_slice(&self.timestamp.to_le_bytes());
        head[4] = self.kind.0;
        head[5..9].copy_from_slice(&self.server_id.to_le_bytes());
        head[9..13].copy_from_slice(&self.size.to_le_bytes());
        head[13..17].copy_from_slice(&self.log_pos.to_le_bytes());
        head[17..19].copy_from_slice(&self.flags.to_le_bytes());
        head
    }

    /// Whether the event was made up by the sender of a dump and stands in no file.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// Whether a reader that doesn't know the type may pass over it.
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}

/// An event's type as its number; the constants are the types this crate knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKind(pub u8);

macro_rules! event_kinds {
    ($($number:literal $name:ident $text:literal;)*) => {
        impl EventKind {
            $(#[doc = concat!("`", $text, "`, number ", stringify!($number), ".")] pub const $name: Self = Self($number);)*

            /// The server's name for this type; `None` for a number that no known server writes.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

impl EventKind {
    /// True for the events that carry rows, in every version of them.
    pub fn is_rows(self) -> bool {
        matches!(
            self,
            Self::WRITE_ROWS_V1
                | Self::UPDATE_ROWS_V1
                | Self::DELETE_ROWS_V1
                | Self::WRITE_ROWS
                | Self::UPDATE_ROWS
                | Self::DELETE_ROWS
                | Self::PARTIAL_UPDATE_ROWS
        )
    }
}

event_kinds! {
    0 UNKNOWN "UNKNOWN";
    1 START_V3 "START_EVENT_V3";
    2 QUERY "QUERY";
    3 STOP "STOP";
    4 ROTATE "ROTATE";
    5 INTVAR "INTVAR";
    6 LOAD "LOAD";
    7 SLAVE "SLAVE";
    8 CREATE_FILE "CREATE_FILE";
    9 APPEND_BLOCK "APPEND_BLOCK";
    10 EXEC_LOAD "EXEC_LOAD";
    11 DELETE_FILE "DELETE_FILE";
    12 NEW_LOAD "NEW_LOAD";
    13 RAND "RAND";
    14 USER_VAR "USER_VAR";
    15 FORMAT_DESCRIPTION "FORMAT_DESCRIPTION";
    16 XID "XID";
    17 BEGIN_LOAD_QUERY "BEGIN_LOAD_QUERY";
    18 EXECUTE_LOAD_QUERY "EXECUTE_LOAD_QUERY";
    19 TABLE_MAP "TABLE_MAP";
    20 WRITE_ROWS_V0 "PRE_GA_WRITE_ROWS";
    21 UPDATE_ROWS_V0 "PRE_GA_UPDATE_ROWS";
    22 DELETE_ROWS_V0 "PRE_GA_DELETE_ROWS";
    23 WRITE_ROWS_V1 "WRITE_ROWS_V1";
    24 UPDATE_ROWS_V1 "UPDATE_ROWS_V1";
    25 DELETE_ROWS_V1 "DELETE_ROWS_V1";
    26 INCIDENT "INCIDENT";
    27 HEARTBEAT "HEARTBEAT";
    28 IGNORABLE "IGNORABLE";
    29 ROWS_QUERY "ROWS_QUERY";
    30 WRITE_ROWS "WRITE_ROWS";
    31 UPDATE_ROWS "UPDATE_ROWS";
    32 DELETE_ROWS "DELETE_ROWS";
    33 GTID "GTID";
    34 ANONYMOUS_GTID "ANONYMOUS_GTID";
    35 PREVIOUS_GTIDS "PREVIOUS_GTIDS";
    36 TRANSACTION_CONTEXT "TRANSACTION_CONTEXT";
    37 VIEW_CHANGE "VIEW_CHANGE";
    38 XA_PREPARE "XA_PREPARE";
    39 PARTIAL_UPDATE_ROWS "PARTIAL_UPDATE_ROWS";
    40 TRANSACTION_PAYLOAD "TRANSACTION_PAYLOAD";
    41 HEARTBEAT_V2 "HEARTBEAT_V2";
    42 GTID_TAGGED "GTID_TAGGED";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
