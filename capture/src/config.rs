//! What a capture needs to know, with defaults.

use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::endpoint::Endpoint;

use crate::Selection;

/// How to capture one source.
#[derive(Debug, Clone)]
pub struct Config {
    /// The source and the account used on it; it needs `REPLICATION SLAVE` and `REPLICATION CLIENT`.
    pub source: Endpoint,
    /// The number under which the source knows this replica; must differ from every server in the topology. Absent: one
    /// is derived from the host name and the log's id.
    pub server_id: Option<u32>,
    /// How often an idle source sends a heartbeat. Default 5 s, 100 ms to 1 h. A link that stays silent for three of
    /// them is given up and made anew.
    pub heartbeat: Duration,
    /// How long connecting, and every single answer of the source but the stream itself, may take. Default 10 s.
    pub connect_timeout: Duration,
    /// Whether to acknowledge durable transactions, so that a source with semi-synchronous replication makes commits wait for
    /// the log. Default false.
    pub semi_sync: bool,
    /// How long a new log waits for XA transactions that are prepared on the source to end, before it begins. Default 10
    /// minutes.
    pub prepared_wait: Duration,
    /// Whether the source may log a part of each row only (`binlog_row_image` other than `FULL`). Default false: such a source is
    /// refused.
    pub allow_partial_row_images: bool,
    /// How long a source may stay out of reach before the capture gives up. Default 720 minutes.
    pub retry_window: Duration,
    /// What is wanted: statements that touch nothing of it are left out of the log. Absent: everything is kept.
    pub selection: Option<Arc<dyn Selection>>,
}

impl Config {
    /// The defaults for `source`.
    #[must_use]
    pub fn new(source: Endpoint) -> Self {
        Self {
            source,
            server_id: None,
            heartbeat: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            semi_sync: false,
            prepared_wait: Duration::from_secs(10 * 60),
            allow_partial_row_images: false,
            retry_window: Duration::from_secs(720 * 60),
            selection: None,
        }
    }
}
