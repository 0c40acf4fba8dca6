//! The first packets of a session: the server's greeting, the client's response, the request for TLS.
//!
//! Layouts: `HandshakeV10`, `HandshakeResponse41`, `SSLRequest` of MySQL's protocol documentation. A relay does not encode
//! anew what it passes on: it looks at [`Greeting`] and [`HandshakeResponse`] and edits the capability bits in place with
//! [`edit_greeting`].

mod change_user;
mod flags;

pub use change_user::{ChangeUser, Rest};
pub use flags::{Capabilities, StatusFlags};

use crate::cursor::{Cursor, Truncated, put_lenenc, put_lenenc_bytes};

/// Why bytes are no handshake packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The packet ended too soon.
    #[error("the handshake packet ends too soon: {0}")]
    Truncated(#[from] Truncated),
    /// A greeting of another protocol version than 10, the only one in use since MySQL 3.21.
    #[error("the server greets with protocol version {0}, expected 10: is this a MySQL server?")]
    Version(u8),
    /// A response of the protocol before MySQL 4.1.
    #[error("the client speaks the protocol of MySQL before 4.1, which is not supported")]
    TooOld,
}

/// What a server sends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its version, like `9.7.4`.
    pub server_version: Vec<u8>,
    /// The session's number on the server (`CONNECTION_ID()`).
    pub connection_id: u32,
    /// What it offers.
    pub capabilities: Capabilities,
    /// The default collation's number, its low byte.
    pub collation: u8,
    /// Status of the fresh session.
    pub status: StatusFlags,
    /// The nonce, 20 bytes for all usual plugins, without the terminating zero.
    pub auth_data: Vec<u8>,
    /// The plugin that the nonce is for; empty when the server knows no plugins.
    pub auth_plugin: Vec<u8>,
}

/// Bytes of the nonce that stand before the capabilities.
const AUTH_DATA_HEAD: usize = 8;

impl Greeting {
    /// Reads a greeting's payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(payload);
        match cursor.u8()? {
            10 => {}
            other => return Err(Error::Version(other)),
        }
        let server_version = cursor.null_terminated()?.to_vec();
        let connection_id = cursor.u32()?;
        let mut auth_data = cursor.bytes(AUTH_DATA_HEAD)?.to_vec();
        cursor.skip(1)?;
        let low = u32::from(cursor.u16()?);
        let collation = cursor.u8()?;
        let status = StatusFlags::from_bits_retain(cursor.u16()?);
        let high = u32::from(cursor.u16()?);
        let capabilities = Capabilities::from_bits_retain(high << 16 | low);
        let auth_size = usize::from(cursor.u8()?);
        cursor.skip(10)?;
        let mut auth_plugin = Vec::new();
        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let tail = cursor.bytes(
                auth_size
                    .saturating_sub(AUTH_DATA_HEAD)
                    .max(13)
                    .min(cursor.remaining()),
            )?;
            auth_data.extend_from_slice(tail.strip_suffix(&[0]).unwrap_or(tail));
        }
        if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            // Some servers of 5.5 leave the zero out.
            let name = cursor.rest();
            auth_plugin = name.split(|byte| *byte == 0).next().unwrap_or(name).to_vec();
        }
        Ok(Self {
            server_version,
            connection_id,
            capabilities,
            collation,
            status,
            auth_data,
            auth_plugin,
        })
    }

    /// The server's version as its version comments have it: 90704 for `9.7.4-2`. `None` where it is written in another way.
    pub fn version(&self) -> Option<u32> {
        let text = std::str::from_utf8(&self.server_version).ok()?;
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let mut parts = text.get(..end.unwrap_or(text.len()))?.split('.');
        let mut part = || parts.next()?.parse().ok().filter(|part: &u32| *part < 100);
        Some(part()? * 10_000 + part()? * 100 + part()?)
    }

    /// The greeting's payload.
    pub fn encode(&self) -> Vec<u8> {
        let capabilities = self.capabilities.bits().to_le_bytes();
        let mut nonce = self.auth_data.clone();
        nonce.resize(nonce.len().max(AUTH_DATA_HEAD), 0);
        nonce.push(0);
        let mut out = vec![10];
        put_terminated(&mut out, &self.server_version);
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&nonce[..AUTH_DATA_HEAD]);
        out.push(0);
        out.extend_from_slice(&capabilities[..2]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.bits().to_le_bytes());
        out.extend_from_slice(&capabilities[2..]);
        let named = self.capabilities.contains(Capabilities::PLUGIN_AUTH);
        out.push(if named {
            u8::try_from(nonce.len()).unwrap_or(u8::MAX)
        } else {
            0
        });
        out.extend_from_slice(&[0; 10]);
        if self.capabilities.contains(Capabilities::SECURE_CONNECTION) {
            out.extend_from_slice(&nonce[AUTH_DATA_HEAD..]);
            out.resize(
                out.len() + 13_usize.saturating_sub(nonce.len() - AUTH_DATA_HEAD),
                0,
            );
        }
        if named {
            put_terminated(&mut out, &self.auth_plugin);
        }
        out
    }
}

/// Changes the capabilities that a greeting offers, in place, to what `edit` makes of them, and returns them.
///
/// Where the greeting is MariaDB's (it does not set [`Capabilities::LONG_PASSWORD`]), its own further capabilities, in the last
/// four reserved bytes, are cleared too: they change the form of replies.
pub fn edit_greeting(
    payload: &mut [u8],
    edit: impl FnOnce(Capabilities) -> Capabilities,
) -> Result<Capabilities, Error> {
    let greeting = Greeting::parse(payload)?;
    let left = edit(greeting.capabilities);
    let bits = left.bits().to_le_bytes();
    // Version byte, server version and its zero, connection id, nonce's head, filler.
    let low = 1 + greeting.server_version.len() + 1 + 4 + AUTH_DATA_HEAD + 1;
    // Collation and status stand between the halves.
    let high = low + 2 + 1 + 2;
    // The nonce's length and six reserved bytes stand before MariaDB's.
    let extended = high + 2 + 1 + 6;
    for (at, byte) in [
        (low, bits[0]),
        (low + 1, bits[1]),
        (high, bits[2]),
        (high + 1, bits[3]),
    ] {
        if let Some(slot) = payload.get_mut(at) {
            *slot = byte;
        }
    }
    if !greeting.capabilities.contains(Capabilities::LONG_PASSWORD)
        && let Some(slots) = payload.get_mut(extended..extended + 4)
    {
        slots.fill(0);
    }
    Ok(left)
}

/// What a client answers to a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    /// What it wants of what was offered.
    pub capabilities: Capabilities,
    /// The largest payload it takes.
    pub max_packet_size: u32,
    /// The session's collation number, its low byte.
    pub collation: u8,
    /// The account's name.
    pub user: &'a [u8],
    /// The scrambled password, as the plugin says.
    pub auth_response: &'a [u8],
    /// The database to start in.
    pub database: Option<&'a [u8]>,
    /// The plugin that made `auth_response`.
    pub auth_plugin: Option<&'a [u8]>,
    /// Attributes of the client, names and values.
    pub attributes: Vec<(&'a [u8], &'a [u8])>,
    /// The level of zstd compression, if that was agreed on.
    pub zstd_level: Option<u8>,
}

/// Bytes before the user's name; a request for TLS is these bytes alone.
const RESPONSE_HEAD: usize = 32;

/// The capabilities at the head of a response or a request for TLS, when at least that much has come.
pub fn response_capabilities(payload: &[u8]) -> Option<Capabilities> {
    Cursor::new(payload)
        .u32()
        .ok()
        .map(Capabilities::from_bits_retain)
}

/// True when a client's first packet only asks for TLS.
pub fn is_tls_request(payload: &[u8]) -> bool {
    payload.len() == RESPONSE_HEAD
        && response_capabilities(payload).is_some_and(|wanted| wanted.contains(Capabilities::SSL))
}

impl<'a> HandshakeResponse<'a> {
    /// The request for TLS that goes before this response: its head. The server keeps the capabilities that it reads here, so
    /// they are the response's to the bit.
    pub fn tls_request(&self) -> Vec<u8> {
        let response = Self {
            capabilities: self.capabilities | Capabilities::SSL,
            ..self.clone()
        };
        let mut head = response.encode();
        head.truncate(RESPONSE_HEAD);
        head
    }

    /// Reads a response's payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(payload);
        let capabilities = Capabilities::from_bits_retain(cursor.u32()?);
        let has = |flag| capabilities.contains(flag);
        if !has(Capabilities::PROTOCOL_41) {
            return Err(Error::TooOld);
        }
        let max_packet_size = cursor.u32()?;
        let collation = cursor.u8()?;
        cursor.skip(23)?;
        let user = cursor.null_terminated()?;
        let auth_response = if has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            cursor.lenenc_bytes()?
        } else if has(Capabilities::SECURE_CONNECTION) {
            let size = usize::from(cursor.u8()?);
            cursor.bytes(size)?
        } else {
            cursor.null_terminated()?
        };
        let database = has(Capabilities::CONNECT_WITH_DB)
            .then(|| cursor.null_terminated())
            .transpose()?;
        // A server takes one that does not end for none.
        let auth_plugin =
            has(Capabilities::PLUGIN_AUTH).then(|| cursor.null_terminated().unwrap_or_default());
        let mut attributes = Vec::new();
        if has(Capabilities::CONNECT_ATTRS) && !cursor.is_empty() {
            let mut pairs = Cursor::new(cursor.lenenc_bytes()?);
            // Nor does one look into these: what can't be read of them is left out.
            while let (Ok(name), Ok(value)) = (pairs.lenenc_bytes(), pairs.lenenc_bytes()) {
                attributes.push((name, value));
            }
        }
        let zstd_level = has(Capabilities::ZSTD_COMPRESSION)
            .then(|| cursor.u8())
            .transpose()?;
        Ok(Self {
            capabilities,
            max_packet_size,
            collation,
            user,
            auth_response,
            database,
            auth_plugin,
            attributes,
            zstd_level,
        })
    }

    /// The response's payload. The capabilities that say which parts are present are set to match the parts.
    pub fn encode(&self) -> Vec<u8> {
        let mut capabilities = self.capabilities
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA;
        capabilities.set(Capabilities::CONNECT_WITH_DB, self.database.is_some());
        capabilities.set(Capabilities::PLUGIN_AUTH, self.auth_plugin.is_some());
        capabilities.set(Capabilities::CONNECT_ATTRS, !self.attributes.is_empty());
        capabilities.set(Capabilities::ZSTD_COMPRESSION, self.zstd_level.is_some());
        let mut out = capabilities.bits().to_le_bytes().to_vec();
        out.extend_from_slice(&self.max_packet_size.to_le_bytes());
        out.push(self.collation);
        out.resize(RESPONSE_HEAD, 0);
        put_terminated(&mut out, self.user);
        put_lenenc_bytes(&mut out, self.auth_response);
        for text in [self.database, self.auth_plugin].into_iter().flatten() {
            put_terminated(&mut out, text);
        }
        if !self.attributes.is_empty() {
            let mut pairs = Vec::new();
            for (name, value) in &self.attributes {
                put_lenenc_bytes(&mut pairs, name);
                put_lenenc_bytes(&mut pairs, value);
            }
            put_lenenc(&mut out, u64::try_from(pairs.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(&pairs);
        }
        out.extend(self.zstd_level);
        out
    }
}

/// Appends `text` up to its first zero, and a zero.
fn put_terminated(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take_while(|byte| **byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=255u8, 0..40)
    }

    #[test]
    fn a_real_greeting() {
        // MySQL 9.7.4's, its nonce replaced.
        let mut payload = b"\x0a9.7.4-2\0\x09\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
        payload.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0");
        let greeting = Greeting::parse(&payload).expect("a greeting");
        assert_eq!(greeting.server_version, b"9.7.4-2");
        assert_eq!(greeting.auth_data, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.auth_plugin, b"caching_sha2_password");
        assert!(
            greeting
                .capabilities
                .contains(Capabilities::SSL | Capabilities::ZSTD_COMPRESSION)
        );
        assert_eq!(greeting.encode(), payload);
        for (text, version) in [
            ("9.7.4-2", Some(90_704)),
            ("8.0.36", Some(80_036)),
            ("10.1.0-cloud", Some(100_100)),
            ("8.0.mysql_aurora.3", None),
            ("8.0", None),
            ("8.0.4294967297", None),
            ("", None),
        ] {
            let server_version = text.as_bytes().to_vec();
            let greeting = Greeting {
                server_version,
                ..greeting.clone()
            };
            assert_eq!(greeting.version(), version, "{text}");
        }
        let unwanted = Capabilities::SSL | Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
        let left = edit_greeting(&mut payload, |offered| offered - unwanted).expect("a greeting");
        assert_eq!(left, greeting.capabilities - unwanted);
        assert_eq!(Greeting::parse(&payload).expect("still one").capabilities, left);
    }

    /// What servers let pass is no reason not to know who it is.
    #[test]
    fn responses_that_servers_take_are_read() {
        let response = HandshakeResponse {
            capabilities: Capabilities::empty(),
            max_packet_size: 1,
            collation: 45,
            user: b"app",
            auth_response: b"xy",
            database: None,
            auth_plugin: Some(b"p"),
            attributes: vec![(b"a", b"b")],
            zstd_level: None,
        };
        let encoded = response.encode();
        let parsed = |payload: &[u8]| {
            let parsed = HandshakeResponse::parse(payload)?;
            Ok((
                parsed.auth_plugin.unwrap_or_default().to_vec(),
                parsed.attributes.len(),
            ))
        };
        assert_eq!(parsed(&encoded), Ok((b"p".to_vec(), 1)));
        let mut odd = encoded.clone();
        *odd.last_mut().expect("bytes") = 9;
        let at = odd.len() - 2;
        odd[at] = 200;
        assert_eq!(parsed(&odd), Ok((b"p".to_vec(), 0)), "pairs that do not fit");
        let bare = HandshakeResponse {
            attributes: Vec::new(),
            ..response.clone()
        };
        let unended = bare.encode();
        assert_eq!(parsed(&unended[..unended.len() - 1]), Ok((Vec::new(), 0)));
        assert!(
            parsed(&encoded[..encoded.len() - 1]).is_err(),
            "fewer bytes of attributes than there are said to be"
        );
        assert_eq!(
            parsed(&encoded[..31]),
            Err(Error::Truncated(Truncated {
                needed: 23,
                available: 22
            }))
        );
    }

    proptest! {
        #[test]
        fn greetings_round_trip(
            server_version in text(), connection_id: u32, bits: u32, collation: u8, status: u16,
            auth_data in prop::collection::vec(1..=255u8, 20), auth_plugin in text(),
        ) {
            let capabilities = Capabilities::from_bits_retain(bits) | Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH;
            let greeting = Greeting {
                server_version, connection_id, capabilities, collation, status: StatusFlags::from_bits_retain(status), auth_data, auth_plugin,
            };
            prop_assert_eq!(Greeting::parse(&greeting.encode()), Ok(greeting));
        }

        #[test]
        fn editing_touches_only_capabilities(bits: u32, wanted: u32, version in text()) {
            let capabilities = Capabilities::from_bits_retain(bits) | Capabilities::LONG_PASSWORD;
            let wanted = Capabilities::from_bits_retain(wanted);
            let greeting = Greeting {
                server_version: version, connection_id: 7, capabilities, collation: 255, status: StatusFlags::AUTOCOMMIT,
                auth_data: vec![9; 20], auth_plugin: b"p".to_vec(),
            };
            let mut payload = greeting.encode();
            edit_greeting(&mut payload, |_offered| wanted).expect("a greeting");
            let mut restored = payload.clone();
            let differing = payload.iter().zip(greeting.encode()).filter(|(a, b)| **a != *b).count();
            prop_assert!(differing <= 4);
            let low = 1 + greeting.server_version.len() + 1 + 13;
            restored[low..low + 2].copy_from_slice(&capabilities.bits().to_le_bytes()[..2]);
            restored[low + 5..low + 7].copy_from_slice(&capabilities.bits().to_le_bytes()[2..]);
            prop_assert_eq!(restored, greeting.encode());
        }

        #[test]
        fn responses_round_trip(
            user in text(), auth_response: Vec<u8>, database in prop::option::of(text()), plugin in prop::option::of(text()),
            attributes in prop::collection::vec((text(), text()), 0..4), max_packet_size: u32, collation: u8,
        ) {
            let response = HandshakeResponse {
                capabilities: Capabilities::DEPRECATE_EOF, max_packet_size, collation, user: &user, auth_response: &auth_response,
                database: database.as_deref(), auth_plugin: plugin.as_deref(),
                attributes: attributes.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect(), zstd_level: None,
            };
            let encoded = response.encode();
            let parsed = HandshakeResponse::parse(&encoded).expect("a response");
            prop_assert_eq!(HandshakeResponse { capabilities: response.capabilities, ..parsed.clone() }, response);
            prop_assert_eq!(parsed.encode(), encoded);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = (Greeting::parse(&bytes).is_ok(), HandshakeResponse::parse(&bytes).is_ok(), is_tls_request(&bytes));
            std::hint::black_box(edit_greeting(&mut bytes, |offered| !offered).is_ok());
            bytes.insert(0, 10);
            std::hint::black_box(edit_greeting(&mut bytes, |offered| !offered).is_ok());
        }
    }
}
