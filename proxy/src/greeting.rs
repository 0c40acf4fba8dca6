//! The first two packets of a session: the source's greeting, in which capabilities that the relay can't follow are masked, and the client's
//! response, in which they must be absent. All that follows of the handshake is relayed unread.

use std::io;

use outrigger_protocol::handshake::{Capabilities, mask_greeting, response_capabilities};
use outrigger_protocol::packet::{HEADER_SIZE, PacketHeader, join};
use outrigger_protocol::reply::{ERR, ErrPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::Stream;

/// What would hide the session's packets from the relay.
const UNWANTED: Capabilities = Capabilities::SSL
    .union(Capabilities::COMPRESS)
    .union(Capabilities::ZSTD_COMPRESSION);

/// No greeting and no response is longer.
const LIMIT: usize = 64 * 1024;

/// Reads the source's first packet, whole, header included.
pub(crate) async fn receive_greeting(upstream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    loop {
        if let Some(first) = join(&bytes, LIMIT).map_err(io::Error::other)? {
            let size = first.consumed;
            bytes.truncate(size);
            return Ok(bytes);
        }
        if upstream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// True when the source refuses the connection instead of greeting.
pub(crate) fn is_refusal(greeting: &[u8]) -> bool {
    greeting.get(HEADER_SIZE) == Some(&ERR)
}

/// Masks a greeting packet in place and returns the capabilities that it still offers.
pub(crate) fn mask(greeting: &mut [u8]) -> Result<Capabilities, outrigger_protocol::handshake::Error> {
    match greeting.get_mut(HEADER_SIZE..) {
        Some(payload) => mask_greeting(payload, UNWANTED),
        None => mask_greeting(&mut [], UNWANTED),
    }
}

/// Reads the client's first bytes: its response's header and capabilities at least. `None` when it left before.
pub(crate) async fn receive_response(client: &mut Stream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        if let Some((header, payload)) = bytes.split_first_chunk::<HEADER_SIZE>()
            && payload.len() >= PacketHeader::parse(*header).size().min(size_of::<Capabilities>())
        {
            return Ok(Some(bytes));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// What the client asks for, or the error it gets if that is something that it was not offered.
pub(crate) fn check(response: &[u8]) -> Result<Capabilities, ErrPacket<'static>> {
    let Some(wanted) = response.get(HEADER_SIZE..).and_then(response_capabilities) else {
        return Ok(Capabilities::empty());
    };
    let refusal = if !wanted.contains(Capabilities::PROTOCOL_41) {
        "this client speaks the protocol of MySQL before 4.1; use a newer one"
    } else if wanted.contains(Capabilities::SSL) {
        "this client asks for TLS, which the proxy does not offer; connect with ssl-mode=DISABLED or PREFERRED"
    } else if wanted.intersects(UNWANTED) {
        "this client asks for compression, which the proxy does not offer; connect without it"
    } else {
        return Ok(wanted);
    };
    Err(ErrPacket::new(1043, "08S01", format!("Bad handshake: {refusal}")))
}

/// Writes all of `bytes`.
pub(crate) async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::packet::put;

    use super::*;

    fn response(wanted: Capabilities) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            &[wanted.bits().to_le_bytes().as_slice(), &[0; 28]].concat(),
            1,
        );
        bytes
    }

    #[test]
    fn unoffered_wishes_are_refused_with_advice() {
        let plain = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        assert_eq!(check(&response(plain)), Ok(plain));
        for (wish, word) in [
            (Capabilities::SSL, "TLS"),
            (Capabilities::COMPRESS, "compression"),
            (Capabilities::ZSTD_COMPRESSION, "compression"),
        ] {
            let error = check(&response(plain | wish)).expect_err("refused");
            assert!(error.code == 1043 && error.text().contains(word), "{error}");
        }
        assert!(check(&response(Capabilities::LONG_PASSWORD)).is_err());
    }
}
