//! How passwords are proved: the scrambles of `mysql_native_password` and `caching_sha2_password`, and the packets in which
//! plugins talk.
//!
//! RSA (the full path of `caching_sha2_password` over an unsafe link) is left to who connects; [`xor_password`] makes what is to
//! be encrypted, [`unxor_password`] undoes it.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::cursor::{Cursor, Truncated};

/// The plugin of MySQL before 8.0.
pub const NATIVE_PASSWORD: &str = "mysql_native_password";
/// The plugin of MySQL since 8.0.
pub const CACHING_SHA2_PASSWORD: &str = "caching_sha2_password";
/// Deprecated since 8.0: the password itself is always wanted, over TLS as it is, else by RSA.
pub const SHA256_PASSWORD: &str = "sha256_password";
/// The plugin that sends the password as it is.
pub const CLEAR_PASSWORD: &str = "mysql_clear_password";

/// Head of a request to go on with another plugin.
pub const AUTH_SWITCH: u8 = 0xfe;
/// Head of a plugin's further data.
pub const AUTH_MORE_DATA: u8 = 0x01;
/// Head of a request for the next factor.
pub const AUTH_NEXT_FACTOR: u8 = 0x02;

/// In [`AUTH_MORE_DATA`]: the server had the password cached and it was right; OK follows.
pub const SHA2_FAST_AUTH_SUCCESS: u8 = 0x03;
/// In [`AUTH_MORE_DATA`]: the password itself is wanted, in clear over a safe link, else by RSA.
pub const SHA2_FULL_AUTHENTICATION: u8 = 0x04;
/// What a client sends to be given the server's RSA key.
pub const SHA2_REQUEST_PUBLIC_KEY: u8 = 0x02;
/// The same for [`SHA256_PASSWORD`].
pub const SHA256_REQUEST_PUBLIC_KEY: u8 = 0x01;

/// `SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password)))`; nothing for an empty password.
pub fn native_password(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password);
    let mask = Sha1::new()
        .chain_update(nonce)
        .chain_update(Sha1::digest(once))
        .finalize();
    xor(&once, &mask)
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce)`; nothing for an empty password.
pub fn caching_sha2_password(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password);
    let mask = Sha256::new()
        .chain_update(Sha256::digest(Sha256::digest(once)))
        .chain_update(nonce)
        .finalize();
    xor(&once, &mask)
}

/// The password and a zero, XORed with the repeated nonce: what the full path encrypts with the server's RSA key (OAEP, SHA-1).
pub fn xor_password(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if nonce.is_empty() {
        return [password, &[0]].concat();
    }
    password
        .iter()
        .chain(&[0])
        .zip(nonce.iter().cycle())
        .map(|(left, right)| left ^ right)
        .collect()
}

/// Undoes [`xor_password`] in place; the zero stays.
pub fn unxor_password(hidden: &mut [u8], nonce: &[u8]) {
    for (byte, mask) in hidden.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

/// A server's packet during authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthPacket<'a> {
    /// Go on with another plugin.
    Switch(AuthSwitchRequest<'a>),
    /// The present plugin's data, its head byte removed.
    MoreData(&'a [u8]),
    /// The next factor is wanted.
    NextFactor(AuthSwitchRequest<'a>),
    /// Authenticated; see [`crate::reply::OkPacket`].
    Ok,
    /// Refused; see [`crate::reply::ErrPacket`].
    Err,
}

/// The plugin to go on with and its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSwitchRequest<'a> {
    /// The plugin's name.
    pub plugin: &'a [u8],
    /// Its nonce, without the terminating zero.
    pub data: &'a [u8],
}

impl<'a> AuthPacket<'a> {
    /// Reads a server's packet after the handshake response. `None` for a head that no server sends there.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, Truncated> {
        let mut cursor = Cursor::new(payload);
        Ok(Some(match cursor.u8()? {
            0x00 => Self::Ok,
            0xff => Self::Err,
            AUTH_MORE_DATA => Self::MoreData(cursor.rest()),
            // A lone byte is the request of servers before 5.5 for the password hash of 3.23.
            AUTH_SWITCH if cursor.is_empty() => Self::Switch(AuthSwitchRequest {
                plugin: b"mysql_old_password",
                data: b"",
            }),
            AUTH_SWITCH => Self::Switch(AuthSwitchRequest::parse(cursor)?),
            AUTH_NEXT_FACTOR => Self::NextFactor(AuthSwitchRequest::parse(cursor)?),
            _ => return Ok(None),
        }))
    }
}

impl<'a> AuthSwitchRequest<'a> {
    fn parse(mut cursor: Cursor<'a>) -> Result<Self, Truncated> {
        let plugin = cursor.null_terminated()?;
        let data = cursor.rest();
        Ok(Self {
            plugin,
            data: data.strip_suffix(&[0]).unwrap_or(data),
        })
    }

    /// The request's payload.
    pub fn encode(&self) -> Vec<u8> {
        [&[AUTH_SWITCH], self.plugin, &[0], self.data, &[0]].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scrambles_are_what_servers_check() {
        let nonce: Vec<u8> = (1..=20).collect();
        // A server holds SHA1(SHA1(password)): it takes the mask away and hashes.
        let answer = native_password(b"secret", &nonce);
        let stored = Sha1::digest(Sha1::digest(b"secret"));
        let mask = Sha1::new().chain_update(&nonce).chain_update(stored).finalize();
        assert_eq!(Sha1::digest(xor(&answer, &mask)), stored);
        let answer = caching_sha2_password(b"secret", &nonce);
        let stored = Sha256::digest(Sha256::digest(b"secret"));
        let mask = Sha256::new()
            .chain_update(Sha256::digest(stored))
            .chain_update(&nonce)
            .finalize();
        assert_eq!(
            Sha256::digest(xor(&answer, &mask))[..],
            Sha256::digest(xor(&Sha256::digest(b"secret"), &[0; 32]))[..]
        );
        assert!(native_password(b"", &nonce).is_empty() && caching_sha2_password(b"", &nonce).is_empty());
    }

    #[test]
    fn xored_passwords_come_back() {
        assert_eq!(xor_password(b"abc", &[1, 2]), [b'a' ^ 1, b'b' ^ 2, b'c' ^ 1, 2]);
        assert_eq!(xor_password(b"abc", b""), b"abc\0");
        for nonce in [b"12".as_slice(), b""] {
            let mut hidden = xor_password(b"abc", nonce);
            unxor_password(&mut hidden, nonce);
            assert_eq!(hidden, b"abc\0");
        }
    }

    proptest! {
        #[test]
        fn switches_round_trip(plugin in "[a-z_]{0,30}", data: Vec<u8>) {
            let request = AuthSwitchRequest { plugin: plugin.as_bytes(), data: &data };
            let payload = request.encode();
            prop_assert_eq!(AuthPacket::parse(&payload), Ok(Some(AuthPacket::Switch(request))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, nonce: Vec<u8>) {
            std::hint::black_box(AuthPacket::parse(&bytes).is_ok());
            let _ = (native_password(&bytes, &nonce), caching_sha2_password(&bytes, &nonce), xor_password(&bytes, &nonce));
        }
    }
}
