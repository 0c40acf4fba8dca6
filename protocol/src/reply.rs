//! What a server answers with, apart from rows: OK, EOF and error packets.

use std::borrow::Cow;

use crate::cursor::{Cursor, Truncated, put_lenenc, put_lenenc_bytes};
use crate::handshake::{Capabilities, StatusFlags};

/// Head of an OK packet.
pub const OK: u8 = 0x00;
/// Head of an EOF packet, and of the OK packet that ends rows where EOF packets are deprecated.
pub const EOF: u8 = 0xfe;
/// Head of an error packet.
pub const ERR: u8 = 0xff;
/// Head of a request for a local file.
pub const LOCAL_INFILE: u8 = 0xfb;

/// A command succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OkPacket<'a> {
    /// Rows changed, or found where the client asked for that.
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value that was generated.
    pub last_insert_id: u64,
    /// The session's status.
    pub status: StatusFlags,
    /// How many warnings there are.
    pub warnings: u16,
    /// A sentence for people; may be empty.
    pub info: &'a [u8],
    /// Changes of session state, as they came.
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// Reads a payload that begins with [`OK`], or with [`EOF`] at the end of rows.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(payload);
        let mut ok = Self::parse_head(&mut cursor)?;
        if capabilities.contains(Capabilities::SESSION_TRACK) {
            if !cursor.is_empty() {
                ok.info = cursor.lenenc_bytes()?;
            }
            if ok.status.contains(StatusFlags::SESSION_STATE_CHANGED) {
                ok.session_state = cursor.lenenc_bytes()?;
            }
        } else {
            ok.info = cursor.rest();
        }
        Ok(ok)
    }

    /// Reads the counts and the status only; the payload may be cut after 23 bytes, whatever its length.
    pub fn parse_head(cursor: &mut Cursor<'a>) -> Result<Self, Truncated> {
        cursor.skip(1)?;
        Ok(Self {
            affected_rows: cursor.lenenc()?,
            last_insert_id: cursor.lenenc()?,
            status: StatusFlags::from_bits_retain(cursor.u16()?),
            warnings: cursor.u16()?,
            info: &[],
            session_state: &[],
        })
    }

    /// The payload.
    pub fn encode(&self, capabilities: Capabilities) -> Vec<u8> {
        let mut out = vec![OK];
        put_lenenc(&mut out, self.affected_rows);
        put_lenenc(&mut out, self.last_insert_id);
        out.extend_from_slice(&self.status.bits().to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if capabilities.contains(Capabilities::SESSION_TRACK) {
            put_lenenc_bytes(&mut out, self.info);
            if self.status.contains(StatusFlags::SESSION_STATE_CHANGED) {
                put_lenenc_bytes(&mut out, self.session_state);
            }
        } else {
            out.extend_from_slice(self.info);
        }
        out
    }
}

/// Column definitions or rows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EofPacket {
    /// How many warnings there are.
    pub warnings: u16,
    /// The session's status.
    pub status: StatusFlags,
}

impl EofPacket {
    /// True when a payload of this head and size is an EOF packet and no row: a row that begins with 0xfe is longer.
    pub fn is_eof(head: u8, size: usize) -> bool {
        head == EOF && size < 9
    }

    /// Reads a payload that begins with [`EOF`].
    pub fn parse(payload: &[u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(payload);
        cursor.skip(1)?;
        Ok(Self {
            warnings: cursor.u16()?,
            status: StatusFlags::from_bits_retain(cursor.u16()?),
        })
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![EOF];
        out.extend_from_slice(&self.warnings.to_le_bytes());
        out.extend_from_slice(&self.status.bits().to_le_bytes());
        out
    }
}

/// A command failed, or the connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrPacket<'a> {
    /// MySQL's error number.
    pub code: u16,
    /// Five characters of SQLSTATE; `None` where the server did not know yet that the client understands it.
    pub sqlstate: Option<[u8; 5]>,
    /// A sentence, in the session's character set.
    pub message: Cow<'a, [u8]>,
}

impl<'a> ErrPacket<'a> {
    /// An error of our own; `sqlstate` is cut or filled up with `0` to five characters.
    pub fn new(code: u16, sqlstate: &str, message: impl Into<Cow<'a, str>>) -> Self {
        let mut state = *b"00000";
        for (slot, byte) in state.iter_mut().zip(sqlstate.bytes()) {
            *slot = byte;
        }
        let message = match message.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self {
            code,
            sqlstate: Some(state),
            message,
        }
    }

    /// Reads a payload that begins with [`ERR`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(payload);
        cursor.skip(1)?;
        let code = cursor.u16()?;
        let sqlstate = match cursor.peek() {
            [b'#', state @ ..] => state.first_chunk().copied(),
            _ => None,
        };
        if sqlstate.is_some() {
            cursor.skip(6)?;
        }
        Ok(Self {
            code,
            sqlstate,
            message: Cow::Borrowed(cursor.rest()),
        })
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ERR];
        out.extend_from_slice(&self.code.to_le_bytes());
        if let Some(state) = self.sqlstate {
            out.push(b'#');
            out.extend_from_slice(&state);
        }
        out.extend_from_slice(&self.message);
        out
    }

    /// The sentence as text, foreign bytes replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.message)
    }
}

impl std::fmt::Display for ErrPacket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.sqlstate {
            Some(state) => write!(
                f,
                "{} ({}): {}",
                self.code,
                String::from_utf8_lossy(state),
                self.text()
            ),
            None => write!(f, "{}: {}", self.code, self.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_as_servers_send_it() {
        let error = ErrPacket::new(1040, "08004", "Too many connections");
        assert_eq!(error.encode(), b"\xff\x10\x04#08004Too many connections");
        assert_eq!(error.to_string(), "1040 (08004): Too many connections");
        let early = ErrPacket::parse(b"\xff\x6a\x04Host blocked").expect("an error");
        assert_eq!((early.code, early.sqlstate), (1130, None));
    }

    proptest! {
        #[test]
        fn ok_round_trips(affected_rows: u64, last_insert_id: u64, status: u16, warnings: u16, info: Vec<u8>, state: Vec<u8>, track: bool) {
            let capabilities = if track { Capabilities::SESSION_TRACK } else { Capabilities::empty() };
            let status = StatusFlags::from_bits_retain(status);
            let session_state = if track && status.contains(StatusFlags::SESSION_STATE_CHANGED) { state.as_slice() } else { &[] };
            let ok = OkPacket { affected_rows, last_insert_id, status, warnings, info: &info, session_state };
            let payload = ok.encode(capabilities);
            prop_assert_eq!(OkPacket::parse(&payload, capabilities), Ok(ok));
            let head = OkPacket::parse_head(&mut Cursor::new(&payload[..payload.len().min(23)])).map(|ok| ok.status);
            prop_assert_eq!(head, Ok(status));
        }

        #[test]
        fn eof_and_err_round_trip(warnings: u16, status: u16, code: u16, state in "[0-9A-Z]{5}", message in ".{0,60}") {
            let eof = EofPacket { warnings, status: StatusFlags::from_bits_retain(status) };
            prop_assert_eq!(EofPacket::parse(&eof.encode()), Ok(eof));
            let error = ErrPacket::new(code, &state, message);
            let payload = error.encode();
            prop_assert_eq!(ErrPacket::parse(&payload), Ok(error.clone()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, bits: u32) {
            let capabilities = Capabilities::from_bits_retain(bits);
            let _ = (OkPacket::parse(&bytes, capabilities).is_ok(), EofPacket::parse(&bytes).is_ok(), ErrPacket::parse(&bytes).is_ok());
        }
    }
}
