//! One result of many rows of a MiB each, read as fast as it comes and thrown away.

use std::io::{BufReader, Read};
use std::time::Instant;

use anyhow::{Result, bail};
use outrigger_protocol::packet::{HEADER_SIZE, MAX_PAYLOAD, PacketHeader};

use super::points::Client;

/// MB (10^6 bytes) per second of a result of so many MiB.
pub(super) fn fetch(port: u16, mib: usize) -> Result<f64> {
    let mut client = Client::connect(port)?;
    client.send(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {mib}) \
         SELECT /*+ SET_VAR(cte_max_recursion_depth = 100000) */ REPEAT('x', 1048576) FROM n"
    ))?;
    let began = Instant::now();
    let mut reader = BufReader::with_capacity(256 * 1024, client.stream());
    let mut bytes = 0_usize;
    for packet in 0.. {
        let mut header = [0; HEADER_SIZE];
        reader.read_exact(&mut header)?;
        let size = PacketHeader::parse(header).size();
        let mut head = [0; 1];
        reader.read_exact(&mut head[..size.min(1)])?;
        let rest = u64::try_from(size.saturating_sub(1))?;
        if std::io::copy(&mut reader.by_ref().take(rest), &mut std::io::sink())? < rest {
            bail!("the server closed the connection");
        }
        bytes += size;
        match head {
            [0xff] => bail!("the server says no"),
            [0xfe] if packet > 1 && size < MAX_PAYLOAD => break,
            _ => {}
        }
    }
    if bytes < mib << 20 {
        bail!("{bytes} bytes are no {mib} MiB");
    }
    Ok(bytes as f64 / 1e6 / began.elapsed().as_secs_f64())
}
