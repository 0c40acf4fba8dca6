//! Many connections: idle ones, and ones that come and go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::points::Client;

/// How many come at the same time.
const DOORS: usize = 4;

/// Connections that are logged in and do nothing.
pub(super) fn gather(port: u16, connections: usize) -> Result<Vec<Client>> {
    let crowd = (0..connections)
        .map(|_| Client::connect(port))
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
