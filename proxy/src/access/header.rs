//! The header by which a load balancer says for whom it connects: the PROXY protocol, versions 1 and 2.
//!
//! Pure: bytes in, and either what they say, or how many more there must be at least. As nothing beyond the header may be read, the
//! reader asks for no more than is said to be missing.
//!
//! Source of the format: HAProxy's `doc/proxy-protocol.txt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What begins version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// What begins version 1.
const WORD: &[u8] = b"PROXY ";
/// The shortest header of version 1: `PROXY UNKNOWN` and the line's end.
const SHORTEST: usize = 15;
/// The longest line of version 1.
const LONGEST_LINE: usize = 107;
/// The longest header of either version. The protocol allows 64 KiB of remarks in version 2; real ones have a few hundred bytes.
pub(crate) const LONGEST: usize = 4096;

/// A header as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// At least this many bytes are missing.
    Missing(usize),
    /// The connection is made for this client.
    For(SocketAddr),
    /// The balancer connects for itself, or for somebody without an IP address.
    Own,
}

/// These bytes are no header, whatever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the header that `bytes` begin, which were read as [`Header::Missing`] asked.
pub(crate) fn read(bytes: &[u8]) -> Result<Header, Malformed> {
    if bytes.is_empty() {
        return Ok(Header::Missing(SHORTEST));
    }
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        version_2(bytes)
    } else if begins(WORD) {
        version_1(bytes)
    } else {
        Err(Malformed)
    }
}

fn version_1(bytes: &[u8]) -> Result<Header, Malformed> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            _ if bytes.contains(&b'\n') => Err(Malformed),
            length if length < SHORTEST => Ok(Header::Missing(SHORTEST - length)),
            length if length >= LONGEST_LINE => Err(Malformed),
            _ if bytes.ends_with(b"\r") => Ok(Header::Missing(1)),
            length => Ok(Header::Missing(2.min(LONGEST_LINE - length))),
        };
    };
    let line = std::str::from_utf8(line).map_err(|_not_text| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next().ok_or(Malformed);
    match next()? {
        // What follows is for nobody.
        "UNKNOWN" => return Ok(Header::Own),
        "TCP4" => {
            let (client, server): (Ipv4Addr, Ipv4Addr) = (parse(next()?)?, parse(next()?)?);
            let (port, _) = (port(next()?)?, (server, port(next()?)?));
            Ok(for_client(client.into(), port))
        }
        "TCP6" => {
            let (client, server): (Ipv6Addr, Ipv6Addr) = (parse(next()?)?, parse(next()?)?);
            let (port, _) = (port(next()?)?, (server, port(next()?)?));
            Ok(for_client(client.into(), port))
        }
        _ => Err(Malformed),
    }
    .and_then(|header| match words.next() {
        Some(_more) => Err(Malformed),
        None => Ok(header),
    })
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_unfit| Malformed)
}

/// A port number, without a sign and without zeros in front.
fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match plain {
        true => parse(text),
        false => Err(Malformed),
    }
}

fn version_2(bytes: &[u8]) -> Result<Header, Malformed> {
    // The address comes before everything else that may be in it, so a header is refused as soon as it can be.
    if let Some(version) = bytes.get(12)
        && version >> 4 != 2
    {
        return Err(Malformed);
    }
    let Some((head, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Header::Missing(FIXED - bytes.len()));
    };
    let size = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let (local, family) = match (head[12] & 0xf, head[13]) {
        (0, _) => (true, 0),
        (1, family) => (false, family),
        _ => return Err(Malformed),
    };
    // What comes before the ports: both addresses.
    let addresses = match family {
        // Nothing is said, or a unix socket's path.
        0x00 | 0x31 => 0,
        0x11 => 2 * 4,
        0x21 => 2 * 16,
        _ => return Err(Malformed),
    };
    if FIXED + size > LONGEST || addresses > 0 && size < addresses + 4 {
        return Err(Malformed);
    }
    if rest.len() < size {
        return Ok(Header::Missing(size - rest.len()));
    }
    let port = || match rest.get(addresses..addresses + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Malformed),
    };
    match (local, family, rest) {
        (false, 0x11, [a, b, c, d, ..]) => Ok(for_client(Ipv4Addr::new(*a, *b, *c, *d).into(), port()?)),
        (false, 0x21, rest) => {
            let (client, _) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
            Ok(for_client(Ipv6Addr::from(*client).into(), port()?))
        }
        _ => Ok(Header::Own),
    }
}

fn for_client(address: IpAddr, port: u16) -> Header {
    Header::For(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of a stream, read as it is asked for, and how much of it was read.
    fn drive(stream: &[u8]) -> (Option<Result<Header, Malformed>>, usize) {
        let mut read_so_far = 0;
        loop {
            match read(&stream[..read_so_far]) {
                Ok(Header::Missing(missing)) => {
                    assert!(missing > 0);
                    if read_so_far == stream.len() {
                        return (None, read_so_far);
                    }
                    read_so_far = stream.len().min(read_so_far + missing);
                }
                end => return (Some(end), read_so_far),
            }
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(body.len()).expect("short").to_be_bytes();
        [SIGNATURE.as_slice(), &[0x20 | command, family], &size, body].concat()
    }

    fn v2_for(client: SocketAddr, more: &[u8]) -> Vec<u8> {
        let (family, addresses) = match client.ip() {
            IpAddr::V4(ip) => (0x11, [ip.octets(), [9; 4]].concat()),
            IpAddr::V6(ip) => (0x21, [ip.octets(), [9; 16]].concat()),
        };
        v2(
            1,
            family,
            &[&addresses, client.port().to_be_bytes().as_slice(), &[0, 1], more].concat(),
        )
    }

    fn v1_for(client: SocketAddr) -> Vec<u8> {
        let (ip, port) = (client.ip(), client.port());
        match ip {
            IpAddr::V4(_) => format!("PROXY TCP4 {ip} 192.0.2.9 {port} 3306\r\n"),
            IpAddr::V6(_) => format!("PROXY TCP6 {ip} 2001:db8::9 {port} 3306\r\n"),
        }
        .into_bytes()
    }

    #[test]
    fn examples() {
        let client = |text: &str| Header::For(text.parse().expect("an address"));
        for (bytes, expected) in [
            (
                &b"PROXY TCP4 198.51.100.7 192.0.2.1 56324 3307\r\n"[..],
                client("198.51.100.7:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
                client("[2001:db8::7]:1"),
            ),
            (b"PROXY TCP6 ::ffff:10.0.0.1 ::1 1 1\r\n", client("10.0.0.1:1")),
            (b"PROXY UNKNOWN\r\n", Header::Own),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Header::Own),
            (&v2(0, 0, b""), Header::Own),
            (&v2(0, 0x11, &[0; 12]), Header::Own),
            (&v2(1, 0, b"remarks"), Header::Own),
            (&v2(1, 0x31, &[0; 216]), Header::Own),
        ] {
            assert_eq!(
                drive(bytes),
                (Some(Ok(expected)), bytes.len()),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn garbage_is_refused_at_once() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        for bytes in [
            &b"X"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\x11",
            b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\nSELECT",
            &long,
            // Another version, another command, datagrams, too short for its addresses, too long.
            &[SIGNATURE.as_slice(), &[0x31, 0x11, 0, 12], &[0; 12]].concat(),
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x12, &[0; 12]),
            &v2(1, 0x11, &[0; 11]),
            &v2(1, 0x21, &[0; 35]),
            &v2(1, 0, &[0; LONGEST]),
        ] {
            let (end, used) = drive(bytes);
            assert_eq!(end, Some(Err(Malformed)), "{}", bytes.escape_ascii());
            assert!(used <= LONGEST_LINE, "{used}");
        }
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        let ip = prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
        ];
        (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_not_a_byte_beyond(
            client in address(), rest: Vec<u8>, more in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>(),
        ) {
            for header in [v1_for(client), v2_for(client, &more)] {
                let expected = Header::For(SocketAddr::new(client.ip().to_canonical(), client.port()));
                prop_assert_eq!(drive(&[header.clone(), rest.clone()].concat()), (Some(Ok(expected)), header.len()));
                // A part of it is waited on, wherever it ends.
                prop_assert_eq!(drive(&header[..cut.index(header.len())]).0, None);
                let part = read(&header[..cut.index(header.len())]);
                prop_assert!(matches!(part, Ok(Header::Missing(missing)) if missing <= header.len() - cut.index(header.len())));
            }
        }

        #[test]
        fn arbitrary_bytes_end_within_the_bound(
            begin in prop::sample::select(vec![b"".to_vec(), WORD.to_vec(), b"PROXY TCP4 ".to_vec(), SIGNATURE.to_vec()]), bytes: Vec<u8>,
        ) {
            let stream = [begin, bytes, vec![b'1'; LONGEST + 1]].concat();
            let (end, used) = drive(&stream);
            prop_assert!(end.is_some() && used <= LONGEST, "{end:?} {used}");
        }
    }
}
