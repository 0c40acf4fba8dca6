//! A client that asks for single rows and does next to nothing else, so that what is measured is the way and not the client:
//! blocking sockets, one thread per connection, text protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use outrigger_protocol::handshake::{Capabilities, HandshakeResponse};
use outrigger_protocol::packet;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lab;
use crate::tables::{DATABASE, TABLES};

/// The command of a query in text.
const COM_QUERY: u8 = 3;
/// The command of a client that leaves.
const COM_QUIT: u8 = 1;
/// As MySQL's own programs have it where nothing is said.
const ZSTD_LEVEL: u8 = 3;
/// Replies are a few hundred bytes.
const LIMIT: usize = 1 << 16;
/// An answer takes milliseconds at worst.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long each query took, and how long all of them together.
pub(super) struct Answers {
    /// One for each query.
    pub(super) latencies: Vec<Duration>,
    /// From the first query to the last answer.
    pub(super) elapsed: Duration,
}

/// Asks over the given number of connections for the given time.
pub(super) fn ask(port: u16, connections: usize, time: Duration, rows: u32) -> Result<Answers> {
    let mut clients = (0..connections)
        .map(|_| Client::connect(port))
        .collect::<Result<Vec<_>>>()?;
    let start = Barrier::new(connections + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .zip(1..)
            .map(|(client, seed)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    client.ask(time, rows, seed)
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(
                thread
                    .join()
                    .map_err(|_panic| anyhow!("a client has a defect"))??,
            );
        }
        Ok(Answers {
            latencies,
            elapsed: began.elapsed(),
        })
    })
}

/// One connection, logged in.
pub(super) struct Client {
    stream: TcpStream,
    /// What was read and not understood yet.
    bytes: Vec<u8>,
    /// The command that is being sent.
    out: Vec<u8>,
}

impl Client {
    pub(super) fn connect(port: u16) -> Result<Self> {
        Self::connect_with(port, Capabilities::empty())
    }

    /// Logs in, and speaks with this compression from there on: only [`Self::ask_packed`] can be asked then.
    pub(super) fn connect_with(port: u16, compression: Capabilities) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            bytes: Vec::with_capacity(LIMIT),
            out: Vec::new(),
        };
        client.packets(|_greeting| true)?;
        let response = HandshakeResponse {
            capabilities: Capabilities::LONG_PASSWORD
                | Capabilities::LONG_FLAG
                | Capabilities::TRANSACTIONS
                | Capabilities::DEPRECATE_EOF
                | compression,
            max_packet_size: 1 << 24,
            collation: 45,
            user: lab::ACCOUNT.as_bytes(),
            auth_response: b"",
            database: Some(DATABASE.as_bytes()),
            auth_plugin: Some(b"caching_sha2_password"),
            attributes: Vec::new(),
            zstd_level: compression
                .contains(Capabilities::ZSTD_COMPRESSION)
                .then_some(ZSTD_LEVEL),
        };
        packet::put(&mut client.out, &response.encode(), 1);
        client.stream.write_all(&client.out)?;
        // An account without a password is let in at once.
        client
            .packets(|payload| payload.first() == Some(&0))
            .context("logging in")?;
        Ok(client)
    }

    /// Sends a query; its result is the caller's to read.
    pub(super) fn send(&mut self, sql: &str) -> Result<()> {
        self.out.clear();
        packet::put(&mut self.out, &[&[COM_QUERY], sql.as_bytes()].concat(), 0);
        Ok(self.stream.write_all(&self.out)?)
    }

    /// Asks for a row in a session that is compressed, and waits for the beginning of the answer. What is as short is not compressed.
    pub(super) fn ask_packed(&mut self) -> Result<()> {
        let sql = b"SELECT c FROM sbtest1 WHERE id = 1";
        let mut plain = Vec::new();
        packet::put(&mut plain, &[&[COM_QUERY], &sql[..]].concat(), 0);
        let size = u8::try_from(plain.len())?;
        let packed = [&[size, 0, 0, 0, 0, 0, 0], &plain[..]].concat();
        self.stream.write_all(&packed)?;
        let mut header = [0; 7];
        self.stream.read_exact(&mut header)?;
        let [a, b, c, ..] = header;
        let mut answer = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, 0]))?];
        self.stream.read_exact(&mut answer)?;
        match answer.len() >= 50 {
            true => Ok(()),
            false => bail!("a query in a compressed session was answered with {answer:?}"),
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says goodbye and waits until the other side has closed.
    pub(super) fn quit(mut self) -> Result<()> {
        self.out.clear();
        packet::put(&mut self.out, &[COM_QUIT], 0);
        self.stream.write_all(&self.out)?;
        while self.stream.read(&mut [0; 64])? > 0 {}
        Ok(())
    }

    fn ask(&mut self, time: Duration, rows: u32, seed: u64) -> Result<Vec<Duration>> {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut latencies = Vec::with_capacity(1 << 17);
        let mut now = Instant::now();
        let until = now + time;
        while now < until {
            let (table, id) = (dice.random_range(1..=TABLES), dice.random_range(1..=rows));
            let mut command = vec![COM_QUERY];
            write!(command, "SELECT c FROM sbtest{table} WHERE id = {id}")?;
            self.out.clear();
            packet::put(&mut self.out, &command, 0);
            self.stream.write_all(&self.out)?;
            // The number of columns, one definition, one row, and what ends the reply.
            let mut packets = 0;
            self.packets(|payload| {
                packets += 1;
                packets > 2 && payload.first() == Some(&0xfe)
            })?;
            if packets != 4 {
                bail!("a query that finds one row had a reply of {packets} packets");
            }
            let answered = Instant::now();
            latencies.push(answered - now);
            now = answered;
        }
        Ok(latencies)
    }

    /// Reads packets until one is the last, as the caller says, and no byte after it.
    fn packets(&mut self, mut last: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            let mut done = 0;
            while let Some(joined) = packet::join(&self.bytes[done..], LIMIT)? {
                done += joined.consumed;
                if joined.payload.first() == Some(&0xff) {
                    bail!(
                        "the server says: {}",
                        String::from_utf8_lossy(joined.payload.get(3..).unwrap_or_default())
                    );
                }
                if last(&joined.payload) {
                    self.bytes.drain(..done);
                    return Ok(());
                }
            }
            self.bytes.drain(..done);
            let size = self.stream.read(&mut chunk)?;
            if size == 0 {
                bail!("the server closed the connection");
            }
            self.bytes.extend_from_slice(&chunk[..size]);
        }
    }
}
