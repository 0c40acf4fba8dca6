//! Ports for servers that may be stopped and started again.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result};

/// Up to where Linux begins to give ports to connections that go out (`ip_local_port_range`): one of those would take a port
/// while its server is not up yet, or away for a moment.
const FIRST: u16 = 10_000;
const COUNT: u16 = 32_768 - FIRST;

/// A port that nobody listens on. No two callers in one process are given the same.
pub fn free() -> Result<u16> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random()));
    (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .with_context(|| format!("none of {COUNT} ports from {FIRST} on is free"))
}
