//! What the source itself says that a command has changed: the session state in an OK packet, where the client has asked for it.

use outrigger_protocol::charset;
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
    /// The character set of the client's text, where it is told; empty for one without a known name.
    pub(crate) charset: Option<&'static str>,
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
                    let value = data.lenenc_bytes()?;
                    if name == "character_set_client" {
                        let known = std::str::from_utf8(value).ok().and_then(charset::of_client);
                        tracked.charset = Some(known.unwrap_or_default());
                    }
                    tracked.variables.push(name);
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
                charset: None,
                schema: true,
                state: true,
            }
        );
        let charset = |told: &[u8]| read(told).expect("read").charset;
        assert_eq!(charset(b"\x00\x19\x14character_set_client\x03gbk"), Some("gbk"));
        assert_eq!(charset(b"\x00\x19\x14character_set_client\x03new"), Some(""));
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
