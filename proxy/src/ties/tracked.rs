//! What the source itself says that a command has changed: the session state in an OK packet, where the client has asked for it.

use outrigger_protocol::cursor::{Cursor, Truncated};

/// Kinds of changes (`enum_session_state_type` in the server's `include/mysql_com.h`).
const SYSTEM_VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE_CHANGE: u8 = 2;

/// Changes of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// Variables that have other values now.
    pub(crate) variables: Vec<String>,
    /// Another default database.
    pub(crate) schema: bool,
    /// Something of the session's has changed.
    pub(crate) state: bool,
}

/// Reads an OK packet's session state.
pub(crate) fn read(bytes: &[u8]) -> Result<Tracked, Truncated> {
    let mut tracked = Tracked::default();
    let mut cursor = Cursor::new(bytes);
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let mut data = Cursor::new(cursor.lenenc_bytes()?);
        match kind {
            SYSTEM_VARIABLES => {
                while !data.is_empty() {
                    let name = String::from_utf8_lossy(data.lenenc_bytes()?).to_lowercase();
                    tracked.variables.push(name);
                    data.lenenc_bytes()?;
                }
            }
            SCHEMA => tracked.schema = true,
            STATE_CHANGE => tracked.state |= data.lenenc_bytes()? == b"1",
            _ => {}
        }
    }
    Ok(tracked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_as_servers_tell_them() {
        let told = b"\x00\x0f\x0aautocommit\x03OFF\x02\x02\x011\x01\x05\x04shop\x03\x02ab";
        let tracked = read(told).expect("read");
        assert_eq!(
            tracked,
            Tracked {
                variables: vec!["autocommit".to_owned()],
                schema: true,
                state: true,
            }
        );
        assert_eq!(read(b""), Ok(Tracked::default()));
        assert!(read(b"\x00\x0f\x0aauto").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            read(&bytes).ok();
        }
    }
}
