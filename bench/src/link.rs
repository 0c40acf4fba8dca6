//! A link that is long or narrow: a relay that delays every byte, both ways, or lets no more than so many pass towards the client.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// The same where the link is narrow: its share of a second is what the rate is exact to.
const NARROW_CHUNK: usize = 32 << 10;
/// Timers count whole milliseconds: a narrow link may catch up with this much.
const LATE: Duration = Duration::from_millis(5);
/// Chunks on their way in one direction at most: more than any window would let through.
const IN_FLIGHT: usize = 4096;

/// Relays connections to a port for as long as it lives.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) port: u16,
    _work: JoinSet<()>,
}

impl Relay {
    /// Delays by `round_trip`, half of it each way.
    pub(crate) async fn start(to: u16, round_trip: Duration) -> Result<Self> {
        Self::start_with(to, round_trip / 2, None).await
    }

    /// Lets so many bytes pass in a second towards the client.
    pub(crate) async fn narrow(to: u16, bytes_per_second: u32) -> Result<Self> {
        Self::start_with(to, Duration::ZERO, Some(bytes_per_second)).await
    }

    async fn start_with(to: u16, delay: Duration, rate: Option<u32>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let mut work = JoinSet::new();
        work.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, to, delay, rate));
            }
        });
        Ok(Self { port, _work: work })
    }
}

/// Both directions, until either ends.
async fn relay(client: TcpStream, to: u16, delay: Duration, rate: Option<u32>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else {
        return;
    };
    if client
        .set_nodelay(true)
        .and_then(|()| server.set_nodelay(true))
        .is_err()
    {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pass(client_read, server_write, delay, None) => {}
        () = pass(server_read, client_write, delay, rate) => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
    rate: Option<u32>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let reading = async move {
        let mut buffer = vec![0; rate.map_or(CHUNK, |_| NARROW_CHUNK)];
        let mut free = Instant::now();
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let chunk = buffer.get(..count).unwrap_or_default().to_vec();
            if let Some(rate) = rate {
                // What comes meanwhile waits where it is.
                let busy = Duration::from_secs_f64(chunk.len() as f64 / f64::from(rate));
                free = free.max(Instant::now() - LATE) + busy;
                tokio::time::sleep_until(free.into()).await;
            }
            if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(at.into()).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
