//! Many connections: idle ones, and ones that come and go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use outrigger_protocol::handshake::Capabilities;

use super::points::Client;

/// How many come at the same time.
const DOORS: usize = 4;

/// What a crowd's sessions may be compressed with, and how its figure is named.
pub(super) const CROWDS: [(&str, Capabilities); 3] = [
    ("idle", Capabilities::empty()),
    ("idle_zlib", Capabilities::COMPRESS),
    ("idle_zstd", Capabilities::ZSTD_COMPRESSION),
];

/// Connections that are logged in and do nothing; compressed ones have had an answer before.
pub(super) fn gather(port: u16, connections: usize, compression: Capabilities) -> Result<Vec<Client>> {
    let crowd = (0..connections)
        .map(|_| {
            let mut client = Client::connect_with(port, compression)?;
            if !compression.is_empty() {
                client.ask_packed()?;
            }
            Ok(client)
        })
        .collect::<Result<Vec<_>>>()?;
    // What logging in has taken and given back is not counted.
    thread::sleep(Duration::from_secs(1));
    Ok(crowd)
}

/// Connections per second: each logs in, says goodbye and is closed. Any that fails ends the benchmark.
pub(super) fn come_and_go(port: u16, time: Duration) -> Result<f64> {
    let began = Instant::now();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let doors: Vec<_> = (0..DOORS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while began.elapsed() < time {
                        Client::connect(port)?.quit()?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        for door in doors {
            door.join().map_err(|_panic| anyhow!("a client has a defect"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}
