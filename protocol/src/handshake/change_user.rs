//! COM_CHANGE_USER: the account, and what else a session begins with, as a command.

use super::{Capabilities, put_terminated};
use crate::command::CommandByte;
use crate::cursor::{Cursor, Truncated};

/// The command's payload, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeUser<'a> {
    /// The account's name.
    pub user: &'a [u8],
    /// The scrambled password, as the plugin says; at most 255 bytes.
    pub auth_response: &'a [u8],
    /// The database to go on in; empty for none.
    pub database: &'a [u8],
    /// The session's collation number, and what follows it; absent from commands of old clients.
    pub rest: Option<Rest<'a>>,
}

/// What newer clients send after the database's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest<'a> {
    /// The session's collation number.
    pub collation: u16,
    /// The plugin that made the response, where plugins were agreed on.
    pub auth_plugin: Option<&'a [u8]>,
    /// The client's attributes, as they came.
    pub attributes: &'a [u8],
}

impl<'a> ChangeUser<'a> {
    /// Reads a payload that begins with the command's byte.
    pub fn parse(payload: &'a [u8], capabilities: Capabilities) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(payload);
        cursor.skip(1)?;
        let user = cursor.null_terminated()?;
        let auth_response = if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let size = usize::from(cursor.u8()?);
            cursor.bytes(size)?
        } else {
            cursor.null_terminated()?
        };
        let database = cursor.null_terminated()?;
        // A server reads no number from a single byte, and takes a name to the end where it is not ended.
        let rest = match cursor.u16() {
            Ok(collation) => Some(Rest {
                collation,
                auth_plugin: (capabilities.contains(Capabilities::PLUGIN_AUTH) && !cursor.is_empty())
                    .then(|| cursor.null_terminated().unwrap_or_else(|_| cursor.rest())),
                attributes: cursor.rest(),
            }),
            Err(Truncated { .. }) => None,
        };
        Ok(Self {
            user,
            auth_response,
            database,
            rest,
        })
    }

    /// The command's payload. A response of more than 255 bytes is cut.
    pub fn encode(&self, capabilities: Capabilities) -> Vec<u8> {
        let mut out = vec![CommandByte::ChangeUser.byte()];
        put_terminated(&mut out, self.user);
        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let size = u8::try_from(self.auth_response.len()).unwrap_or(u8::MAX);
            out.push(size);
            out.extend_from_slice(&self.auth_response[..usize::from(size)]);
        } else {
            put_terminated(&mut out, self.auth_response);
        }
        put_terminated(&mut out, self.database);
        if let Some(rest) = &self.rest {
            out.extend_from_slice(&rest.collation.to_le_bytes());
            if let Some(plugin) = rest.auth_plugin {
                put_terminated(&mut out, plugin);
            }
            out.extend_from_slice(rest.attributes);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGREED: Capabilities = Capabilities::SECURE_CONNECTION.union(Capabilities::PLUGIN_AUTH);

    #[test]
    fn commands_of_old_clients_end_early() {
        let command = ChangeUser::parse(b"\x11app\0\x02xyshop\0", AGREED).expect("a command");
        assert_eq!(
            (command.user, command.auth_response),
            (b"app".as_slice(), b"xy".as_slice())
        );
        assert_eq!((command.database, command.rest), (b"shop".as_slice(), None));
        let bare = ChangeUser::parse(b"\x11app\0xy\0shop\0", Capabilities::empty()).expect("a command");
        assert_eq!(bare, command);
        assert_eq!(bare.encode(Capabilities::empty()), b"\x11app\0xy\0shop\0");
        assert_eq!(ChangeUser::parse(b"\x11app\0\x02xyshop\0\0", AGREED), Ok(command));
        let unended = ChangeUser::parse(b"\x11app\0\x02xyshop\0\x2d\0none", AGREED).expect("a command");
        assert_eq!(unended.rest.and_then(|rest| rest.auth_plugin), Some(&b"none"[..]));
    }

    proptest! {
        #[test]
        fn commands_round_trip(
            user in "[a-z]{0,9}", auth in prop::collection::vec(any::<u8>(), 0..256), database in "[a-z]{0,9}",
            rest in prop::option::of((any::<u16>(), "[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..40))),
        ) {
            let command = ChangeUser {
                user: user.as_bytes(), auth_response: &auth, database: database.as_bytes(),
                rest: rest.as_ref().map(|(collation, plugin, attributes)| Rest {
                    collation: *collation, auth_plugin: Some(plugin.as_bytes()), attributes,
                }),
            };
            let payload = command.encode(AGREED);
            prop_assert_eq!(ChangeUser::parse(&payload, AGREED), Ok(command));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, bits: u32) {
            std::hint::black_box(ChangeUser::parse(&bytes, Capabilities::from_bits_retain(bits)).is_ok());
        }
    }
}
