//! The first two packets of a session: the source's greeting, in which the proxy's own TLS stands for the source's and capabilities that
//! the relay can't follow are masked, and the client's response, in which they must be absent.

use outrigger_protocol::handshake::{
    self, Capabilities, HandshakeResponse, edit_greeting, response_capabilities,
};
use outrigger_protocol::reply::{ERR, ErrPacket};

use crate::bridge::Payload;

/// What would hide the session's packets from the relay.
const UNWANTED: Capabilities = Capabilities::COMPRESS.union(Capabilities::ZSTD_COMPRESSION);

/// Bytes of a response before the user's name: a request for TLS.
const TLS_REQUEST: usize = 32;

/// Where the flag for TLS stands in a response.
const TLS_BYTE: usize = 1;
const TLS_BIT: u8 = Capabilities::SSL.bits().to_le_bytes()[TLS_BYTE];

/// True when the source refuses the connection instead of greeting.
pub(crate) fn is_refusal(greeting: &[u8]) -> bool {
    greeting.first() == Some(&ERR)
}

/// Edits a greeting in place so that it offers what the proxy can do; `tls` is whether TLS is among that.
pub(crate) fn offer(greeting: &mut [u8], tls: bool) -> Result<(), handshake::Error> {
    edit_greeting(greeting, |mut offered| {
        offered.remove(UNWANTED);
        offered.set(Capabilities::SSL, tls);
        offered
    })
    .map(drop)
}

/// What the client asks for, or the error it gets if that is something that it was not offered, or nothing that can be understood: the
/// source would say the same. `over_tls`: it came over TLS.
pub(crate) fn check(response: &[u8], over_tls: bool) -> Result<Capabilities, ErrPacket<'static>> {
    let wanted = response_capabilities(response).ok_or_else(|| bad_handshake(""))?;
    let refusal = if !wanted.contains(Capabilities::PROTOCOL_41) {
        ": this client speaks the protocol of MySQL before 4.1; use a newer one"
    } else if wanted.contains(Capabilities::SSL) && !over_tls {
        ": this client asks for TLS, which the proxy does not offer; connect with ssl-mode=DISABLED or PREFERRED"
    } else if wanted.intersects(UNWANTED) {
        ": this client asks for compression, which the proxy does not offer; connect without it"
    } else if HandshakeResponse::parse(response).is_err() {
        ""
    } else {
        return Ok(wanted);
    };
    Err(bad_handshake(refusal))
}

fn bad_handshake(why: &str) -> ErrPacket<'static> {
    ErrPacket::new(1043, "08S01", format!("Bad handshake{why}"))
}

/// The account's name that the source reads in a response: without the quotes that may be around it, and no longer than names are.
pub(crate) fn user(response: &HandshakeResponse<'_>) -> Vec<u8> {
    let given = response.user;
    let bare = given.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
    clip(bare.unwrap_or(given))
}

/// Likewise in COM_CHANGE_USER, where quotes belong to the name.
pub(crate) fn other_user(command: &[u8]) -> Vec<u8> {
    let given = command
        .get(1..)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .next();
    clip(given.unwrap_or_default())
}

/// A name that is no UTF-8 is left as it is.
fn clip(name: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 32;
    match std::str::from_utf8(name) {
        Ok(text) => text.chars().take(LONGEST).collect::<String>().into_bytes(),
        Err(_) => name.to_vec(),
    }
}

/// Makes the response fit the link to the source, and returns the request for TLS that goes before it if that is to have TLS. The
/// source keeps the capabilities of the request, so they are the response's to the bit.
pub(crate) fn fit(response: &mut Payload, tls: bool) -> Option<Vec<u8>> {
    let flags = response.get_mut(TLS_BYTE)?;
    if !tls {
        *flags &= !TLS_BIT;
        return None;
    }
    *flags |= TLS_BIT;
    response.get(..TLS_REQUEST).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn response(wanted: Capabilities) -> Payload {
        Zeroizing::new([wanted.bits().to_le_bytes().as_slice(), &[0; 28], b"app\0\0"].concat())
    }

    #[test]
    fn unoffered_wishes_are_refused_with_advice() {
        let plain = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        assert_eq!(check(&response(plain), false), Ok(plain));
        for (wish, word) in [
            (Capabilities::SSL, "TLS"),
            (Capabilities::COMPRESS, "compression"),
            (Capabilities::ZSTD_COMPRESSION, "compression"),
        ] {
            let error = check(&response(plain | wish), false).expect_err("refused");
            assert!(error.code == 1043 && error.text().contains(word), "{error}");
        }
        assert!(check(&response(Capabilities::LONG_PASSWORD), false).is_err());
        let secured = plain | Capabilities::SSL;
        assert_eq!(check(&response(secured), true), Ok(secured));
    }

    #[test]
    fn what_is_no_response_is_refused_as_by_a_server() {
        let whole = response(Capabilities::PROTOCOL_41);
        for size in 0..whole.len() {
            let error = check(&whole[..size], false).expect_err("refused");
            assert_eq!((error.code, error.sqlstate), (1043, Some(*b"08S01")), "{size}");
        }
        assert_eq!(
            check(&whole[..20], false).expect_err("refused").text(),
            "Bad handshake"
        );
    }

    #[test]
    fn users_are_known_by_the_names_that_the_source_knows() {
        let named = |name: &str| {
            let bytes = [
                &Capabilities::PROTOCOL_41.bits().to_le_bytes()[..],
                &[0; 28],
                name.as_bytes(),
                b"\0\0",
            ]
            .concat();
            let name = user(&HandshakeResponse::parse(&bytes).expect("a response"));
            String::from_utf8(name).expect("text")
        };
        for (given, name) in [
            ("app", "app"),
            ("'app'", "app"),
            ("''app''", "'app'"),
            ("'app", "'app"),
            ("\"app\"", "\"app\""),
            ("''", ""),
            ("'", "'"),
        ] {
            assert_eq!(named(given), name, "{given}");
        }
        assert_eq!(named(&"é".repeat(40)), "é".repeat(32));
        assert_eq!(named("App"), "App", "accounts are told apart by case");
        for (command, name) in [
            (&b"\x11'app'\0\0\0"[..], &b"'app'"[..]),
            (b"\x11app", b"app"),
            (b"\x11\xff\0", b"\xff"),
            (b"", b""),
        ] {
            assert_eq!(other_user(command), name);
        }
    }

    #[test]
    fn a_response_fits_the_sources_link_whatever_the_clients() {
        let plain = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        let secured = plain | Capabilities::SSL;
        for wanted in [plain, secured] {
            let mut fitted = response(wanted);
            assert_eq!(fit(&mut fitted, false), None);
            assert_eq!(fitted, response(plain));
            let mut fitted = response(wanted);
            assert_eq!(fit(&mut fitted, true).as_deref(), Some(&response(secured)[..32]));
            assert_eq!(fitted, response(secured));
        }
        assert_eq!(fit(&mut Payload::default(), true), None);
    }
}
