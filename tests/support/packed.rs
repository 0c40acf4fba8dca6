//! The client's end of the compressed protocol, made here so that it is not the proxy's: packet by packet, whole.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::packet::{HEADER_SIZE, PacketHeader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::raw::Bytes;

/// How a session is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Zlib,
    Zstd,
}

impl Method {
    /// As servers choose.
    pub(crate) fn agreed(capabilities: Capabilities) -> Option<Self> {
        match capabilities {
            both if both.contains(Capabilities::COMPRESS) => Some(Self::Zlib),
            one if one.contains(Capabilities::ZSTD_COMPRESSION) => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) fn compress(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::bulk::compress(plain, 3).unwrap(),
        }
    }

    fn decompress(self, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        match self {
            Self::Zlib => ZlibDecoder::new(bytes).read_to_end(&mut plain).map(drop).unwrap(),
            Self::Zstd => plain = zstd::bulk::decompress(bytes, size).unwrap(),
        }
        assert_eq!(plain.len(), size);
        plain
    }
}

/// A compressed packet that says of itself what it likes.
pub(crate) fn packet(seq: u8, says: usize, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = payload.len().to_le_bytes();
    let [d, e, f, ..] = says.to_le_bytes();
    [&[a, b, c, seq, d, e, f], payload].concat()
}

/// What is below `stream`, as if it were not compressed.
pub(crate) fn unpacked(stream: Box<dyn Bytes>, method: Method) -> Box<dyn Bytes> {
    let (near, far) = tokio::io::duplex(1 << 18);
    let (reader, writer) = tokio::io::split(stream);
    let (plain_reader, plain_writer) = tokio::io::split(far);
    let due = Arc::new(AtomicU8::new(0));
    tokio::spawn(unpack(reader, plain_writer, method, Arc::clone(&due)));
    tokio::spawn(pack(plain_reader, writer, method, due));
    Box::new(near)
}

async fn unpack(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    method: Method,
    due: Arc<AtomicU8>,
) -> std::io::Result<()> {
    let mut header = [0; 7];
    while reader.read_exact(&mut header).await.is_ok() {
        let [a, b, c, seq, d, e, f] = header;
        let [size, says] = [[a, b, c, 0], [d, e, f, 0]].map(|length| u32::from_le_bytes(length) as usize);
        let mut payload = vec![0; size];
        reader.read_exact(&mut payload).await?;
        due.store(seq.wrapping_add(1), Ordering::Relaxed);
        if says > 0 {
            payload = method.decompress(&payload, says);
        }
        writer.write_all(&payload).await?;
    }
    writer.shutdown().await
}

async fn pack(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    method: Method,
    due: Arc<AtomicU8>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; 100_000];
    // Where the next packet's header is in what is to come, and whether it goes on with a payload.
    let (mut next, mut continued) = (0, false);
    let (mut filled, mut following) = (0, 0);
    loop {
        let mut ended = false;
        while filled < HEADER_SIZE && !ended {
            let count = reader.read(&mut chunk[filled..]).await?;
            filled += count;
            ended = count == 0;
        }
        if filled == 0 {
            return writer.shutdown().await;
        }
        let plain = &chunk[..filled];
        let (goes_on, begins) = (next > 0 || continued, plain.get(3) == Some(&0));
        while let Some(header) = plain
            .get(next..)
            .and_then(|rest| rest.first_chunk::<HEADER_SIZE>())
        {
            let header = PacketHeader::parse(*header);
            continued = header.is_continued();
            next += HEADER_SIZE + header.size();
        }
        // A header that is cut waits for its rest.
        let plain = match ended {
            true => plain,
            false => &plain[..filled.min(next)],
        };
        next -= plain.len().min(next);
        let seq = match (goes_on, begins) {
            (true, _) => following,
            (false, true) => 0,
            (false, false) => due.load(Ordering::Relaxed),
        };
        following = seq.wrapping_add(1);
        let packed = method.compress(plain);
        writer
            .write_all(&match packed.len() < plain.len() {
                true => packet(seq, plain.len(), &packed),
                false => packet(seq, 0, plain),
            })
            .await?;
        writer.flush().await?;
        due.store(following, Ordering::Relaxed);
        let sent = plain.len();
        chunk.copy_within(sent..filled, 0);
        filled -= sent;
    }
}
