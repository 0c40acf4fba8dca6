//! A TCP relay between the sidecar and the source that breaks links where it is told to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::plan::{Cut, Manner};

/// Listens on a port of its own as long as it lives.
pub(super) struct Relay {
    port: u16,
    armed: Arc<Armed>,
    listening: JoinHandle<()>,
}

/// The cuts that are still to come, in either direction.
#[derive(Default)]
struct Armed {
    waiting: Mutex<Vec<Cut>>,
    done: Mutex<u64>,
}

impl Armed {
    /// How many of `bytes` may pass, and how the link breaks after them, if it does.
    fn pass(&self, bytes: usize, upwards: bool) -> (usize, Option<Manner>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut first: Option<usize> = None;
        for (at, cut) in waiting
            .iter_mut()
            .enumerate()
            .filter(|(_, cut)| cut.upwards == upwards)
        {
            if cut.bytes <= arrived {
                first.get_or_insert(at);
            } else {
                cut.bytes -= arrived;
            }
        }
        let Some(at) = first else { return (bytes, None) };
        let cut = waiting.remove(at);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        (
            usize::try_from(cut.bytes).unwrap_or(bytes).min(bytes),
            Some(cut.manner),
        )
    }
}

impl Relay {
    /// Relays to the port of 127.0.0.1.
    pub(super) async fn start(source: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let armed = Arc::new(Armed::default());
        let shared = Arc::clone(&armed);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, source, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            port,
            armed,
            listening,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks a link as soon as the cut's bytes have passed.
    pub(super) fn arm(&self, cut: Cut) {
        self.armed
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(cut);
    }

    /// Breaks nothing any more.
    pub(super) fn disarm(&self) {
        self.armed
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// How many links were broken.
    pub(super) fn cuts(&self) -> u64 {
        *self.armed.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn relay(mut client: TcpStream, source: u16, armed: Arc<Armed>) {
    // Dropping the client's connection is all that a source that is away can show.
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", source)).await else {
        return;
    };
    let (Ok(()), Ok(())) = (client.set_nodelay(true), server.set_nodelay(true)) else {
        return;
    };
    match Box::pin(pass(&mut client, &mut server, &armed)).await {
        Some(Manner::Silence) => while matches!(client.read(&mut [0; 4096]).await, Ok(1..)) {},
        Some(Manner::Reset) => {
            for stream in [&client, &server] {
                // An end that is gone by itself needs no reset.
                let _ended = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).is_err();
            }
        }
        Some(Manner::Close) | None => {}
    }
}

/// Whether these bytes ask for the binlog: COM_BINLOG_DUMP or COM_BINLOG_DUMP_GTID in a packet of its own.
fn asks_for_binlog(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, 0, 0x12 | 0x1e, ..])
}

/// Passes bytes on until either end is gone (`None`) or a cut comes. Only a binlog's stream falls silent, other links close: a
/// query may take as long as it likes, so that nobody can say when to give it up.
async fn pass(client: &mut TcpStream, server: &mut TcpStream, armed: &Armed) -> Option<Manner> {
    let (mut up, mut down) = ([0; 16384], [0; 16384]);
    let mut streams = false;
    loop {
        // Reading may be cancelled: nothing was taken then.
        let (upwards, read) = tokio::select! {
            read = client.read(&mut up) => (true, read),
            read = server.read(&mut down) => (false, read),
        };
        let Ok(read @ 1..) = read else { return None };
        streams |= upwards && asks_for_binlog(&up[..read]);
        let (passing, manner) = armed.pass(read, upwards);
        let manner = manner.map(|manner| match manner {
            Manner::Silence if !streams => Manner::Close,
            other => other,
        });
        let sent = match upwards {
            true => server.write_all(&up[..passing]).await,
            false => client.write_all(&down[..passing]).await,
        };
        if sent.is_err() || manner.is_some() {
            return manner;
        }
    }
}

#[tokio::test]
async fn a_link_breaks_at_its_byte() {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let relay = Relay::start(server.local_addr().unwrap().port()).await.unwrap();
    for bytes in [0_u64, 1, 1000, 100_000] {
        relay.arm(Cut {
            bytes,
            upwards: false,
            manner: Manner::Close,
        });
        let mut client = TcpStream::connect(("127.0.0.1", relay.port())).await.unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        tokio::spawn(async move {
            // Ends with an error once the link is broken.
            while peer.write_all(&[7; 999]).await.is_ok() {}
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(u64::try_from(received.len()).unwrap(), bytes);
    }
    assert_eq!(relay.cuts(), 4);
}

#[tokio::test]
async fn a_silent_link_stays_open() {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let relay = Relay::start(server.local_addr().unwrap().port()).await.unwrap();
    relay.arm(Cut {
        bytes: 3,
        upwards: false,
        manner: Manner::Silence,
    });
    let mut client = TcpStream::connect(("127.0.0.1", relay.port())).await.unwrap();
    let (mut peer, _) = server.accept().await.unwrap();
    client.write_all(&[1, 0, 0, 0, 0x1e]).await.unwrap();
    peer.read_exact(&mut [0; 5]).await.unwrap();
    peer.write_all(b"hello").await.unwrap();
    let mut received = [0; 3];
    client.read_exact(&mut received).await.unwrap();
    client.write_all(b"are you there?").await.unwrap();
    // The client alone ends it; then the server sees the end too, and not one of the client's last bytes.
    drop(client);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
