//! The first two packets of a session: the source's greeting, in which the proxy's own TLS and compression stand for the source's, and the
//! client's response, out of which is taken what is between client and proxy alone.

use outrigger_protocol::handshake::{
    self, Capabilities, HandshakeResponse, edit_greeting, response_capabilities,
};
use outrigger_protocol::reply::{ERR, ErrPacket};

use crate::bridge::Payload;
use crate::compression::{Algorithm, Method};

/// What asks for compression. The source is never asked.
const COMPRESSION: Capabilities = Capabilities::COMPRESS.union(Capabilities::ZSTD_COMPRESSION);

/// Bytes of a response before the user's name: a request for TLS.
const TLS_REQUEST: usize = 32;

/// Where the flag for TLS stands in a response.
const TLS_BYTE: usize = 1;
const TLS_BIT: u8 = Capabilities::SSL.bits().to_le_bytes()[TLS_BYTE];

/// True when the source refuses the connection instead of greeting.
pub(crate) fn is_refusal(greeting: &[u8]) -> bool {
    greeting.first() == Some(&ERR)
}

/// The capabilities with which `compression` is offered.
fn offers(compression: &[Algorithm]) -> Capabilities {
    let mut offers = Capabilities::empty();
    offers.set(Capabilities::COMPRESS, compression.contains(&Algorithm::Zlib));
    offers.set(
        Capabilities::ZSTD_COMPRESSION,
        compression.contains(&Algorithm::Zstd),
    );
    offers
}

/// Edits a greeting in place so that it offers what the proxy can do; `tls` is whether TLS is among that.
pub(crate) fn offer(
    greeting: &mut [u8],
    tls: bool,
    compression: &[Algorithm],
) -> Result<(), handshake::Error> {
    edit_greeting(greeting, |mut offered| {
        offered.remove(COMPRESSION);
        offered.insert(offers(compression));
        offered.set(Capabilities::SSL, tls);
        offered
    })
    .map(drop)
}

/// The error that the client gets if it asks for something that it was not offered, or for nothing that can be understood: the source would
/// say the same. `over_tls`: it came over TLS.
pub(crate) fn check(
    response: &[u8],
    over_tls: bool,
    compression: &[Algorithm],
) -> Result<(), ErrPacket<'static>> {
    let wanted = response_capabilities(response).ok_or_else(|| bad_handshake(""))?;
    let refusal = if !wanted.contains(Capabilities::PROTOCOL_41) {
        ": this client speaks the protocol of MySQL before 4.1; use a newer one"
    } else if wanted.contains(Capabilities::SSL) && !over_tls {
        ": this client asks for TLS, which the proxy does not offer; connect with ssl-mode=DISABLED or PREFERRED"
    } else if wanted.intersects(COMPRESSION - offers(compression)) {
        ": this client asks for compression that the proxy does not offer here; connect without it, or see `compression` in [proxy]"
    } else if HandshakeResponse::parse(response).is_err() {
        ""
    } else {
        return Ok(());
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

/// Takes the request for compression, of which [`check`] has nothing to say, out of a response, and returns how the session will be compressed:
/// by the server's rules, which prefer zlib where a client takes both. An error where it is not as it must be.
pub(crate) fn take_compression(
    response: &mut Payload,
    compression: &[Algorithm],
) -> Result<Option<Method>, ErrPacket<'static>> {
    let wanted = response_capabilities(response).unwrap_or(Capabilities::empty());
    if !wanted.intersects(COMPRESSION) {
        return match compression.contains(&Algorithm::Uncompressed) {
            true => Ok(None),
            false => Err(ErrPacket::new(
                3922,
                "HY000",
                "Invalid compression algorithm 'uncompressed'.",
            )),
        };
    }
    let Ok(parsed) = HandshakeResponse::parse(response) else {
        return Err(bad_handshake(""));
    };
    let level = parsed.zstd_level;
    let method = match level {
        _ if wanted.contains(Capabilities::COMPRESS) => Method::Zlib,
        Some(level @ 1..=22) => Method::Zstd(level),
        _ => {
            return Err(ErrPacket::new(
                3923,
                "HY000",
                "Invalid zstd compression level for algorithm 'zstd'.",
            ));
        }
    };
    if level.is_some() {
        // It is the response's last.
        response.pop();
    }
    for (byte, bits) in response
        .iter_mut()
        .zip((wanted - COMPRESSION).bits().to_le_bytes())
    {
        *byte = bits;
    }
    Ok(Some(method))
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

    const OFF: [Algorithm; 1] = [Algorithm::Uncompressed];

    fn response(wanted: Capabilities) -> Payload {
        Zeroizing::new([wanted.bits().to_le_bytes().as_slice(), &[0; 28], b"app\0\0"].concat())
    }

    #[test]
    fn unoffered_wishes_are_refused_with_advice() {
        let plain = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        let check = |wanted, over_tls| check(&response(wanted), over_tls, &OFF);
        assert_eq!(check(plain, false), Ok(()));
        for (wish, word) in [
            (Capabilities::SSL, "TLS"),
            (Capabilities::COMPRESS, "compression"),
            (Capabilities::ZSTD_COMPRESSION, "compression"),
        ] {
            let error = check(plain | wish, false).expect_err("refused");
            assert!(error.code == 1043 && error.text().contains(word), "{error}");
        }
        assert!(check(Capabilities::LONG_PASSWORD, false).is_err());
        let secured = plain | Capabilities::SSL;
        assert_eq!(check(secured, true), Ok(()));
    }

    #[test]
    fn compression_is_agreed_on_by_the_servers_rules_and_kept_from_the_source() {
        use Algorithm::{Uncompressed, Zlib, Zstd};
        let (compress, zstd) = (Capabilities::COMPRESS, Capabilities::ZSTD_COMPRESSION);
        let plain = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
        let bare = response(plain);
        let all = [Zlib, Zstd, Uncompressed];
        for (wanted, level, offered, agreed) in [
            (plain, None, &all[..], Ok(None)),
            (plain | compress, None, &all, Ok(Some(Method::Zlib))),
            (plain | zstd, Some(1), &all, Ok(Some(Method::Zstd(1)))),
            (plain | zstd, Some(22), &all, Ok(Some(Method::Zstd(22)))),
            // The server does not even read the level.
            (plain | zstd | compress, Some(0), &all, Ok(Some(Method::Zlib))),
            (plain | zstd, Some(0), &all, Err(3923)),
            (plain | zstd, Some(23), &all, Err(3923)),
            (plain | zstd, None, &all, Err(1043)),
            (plain, None, &[Zstd], Err(3922)),
            (plain | zstd, Some(3), &[Zstd], Ok(Some(Method::Zstd(3)))),
        ] {
            let mut response = response(wanted);
            response.extend(level);
            let checked = check(&response, false, offered);
            let found = checked.and_then(|()| take_compression(&mut response, offered));
            let found = found.map_err(|error| error.code);
            assert_eq!(found, agreed, "{wanted:?} {level:?}");
            if found.is_ok() {
                assert_eq!(response, bare);
            }
        }
        assert!(check(&response(plain | zstd), false, &[Zlib, Uncompressed]).is_err());
    }

    #[test]
    fn what_is_no_response_is_refused_as_by_a_server() {
        let whole = response(Capabilities::PROTOCOL_41);
        for size in 0..whole.len() {
            let error = check(&whole[..size], false, &OFF).expect_err("refused");
            assert_eq!((error.code, error.sqlstate), (1043, Some(*b"08S01")), "{size}");
        }
        assert_eq!(
            check(&whole[..20], false, &OFF).expect_err("refused").text(),
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
