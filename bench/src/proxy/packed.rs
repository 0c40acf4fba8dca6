//! A result over a narrow link, compressed or not: the `mysql` command takes it, so that both ends are as they are.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab::{self, Lab};
use crate::link::Relay;

/// 20 Mbit in a second.
const RATE: u32 = 20_000_000 / 8;

/// What a client may ask for.
pub(super) const ALGORITHMS: [&str; 3] = ["uncompressed", "zlib", "zstd"];

/// Rows of about 130 bytes, of the kind that applications have.
fn statement(mib: usize) -> String {
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
         SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000000) */ i, CRC32(i) AS account, \
         CONCAT('customer-', CRC32(i) MOD 50000) AS name, CONCAT('user', CRC32(i * 7), '@example.org') AS email, \
         ELT(1 + CRC32(i * 3) MOD 4, 'new', 'paid', 'shipped', 'returned') AS state, \
         TIMESTAMP'2026-01-01 00:00:00' + INTERVAL i * 13 SECOND AS created, ROUND(CRC32(i * 11) / 1e6, 2) AS price, \
         'Deliver to the front desk' AS remark FROM n",
        mib * 8_600
    )
}

/// How long such a result takes.
pub(super) async fn fetch(lab: &Lab, port: u16, algorithm: &str, mib: usize) -> Result<Duration> {
    let link = Relay::narrow(port, RATE).await?;
    let mut command = lab.installation.command("mysql");
    command
        .args(lab::client_options_at(link.port))
        .arg(format!("--compression-algorithms={algorithm}"))
        .args(["--quick", "--skip-column-names", "-e", &statement(mib)])
        .stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().context("starting mysql")?;
    let mut out = child.stdout.take().context("mysql has no output")?;
    let bytes = std::io::copy(&mut out, &mut std::io::sink())?;
    let elapsed = began.elapsed();
    if !child.wait()?.success() || bytes < u64::try_from(mib << 19)? {
        bail!("mysql got {bytes} bytes of {mib} MiB");
    }
    Ok(elapsed)
}
