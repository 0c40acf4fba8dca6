//! Questions to a source before it is captured: can it be, and where would a new log begin?

use outrigger_protocol::endpoint::Endpoint;
use outrigger_protocol::position::SourcePosition;
use serde::Serialize;

use crate::Error;

/// What a source is, as far as capturing it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceInfo {
    /// The version as the server prints it (`8.0.36-0ubuntu0.22.04.1`).
    pub version: String,
    /// The server's own UUID.
    pub server_uuid: String,
    /// The server's number among its replicas.
    pub server_id: u32,
    /// True when `gtid_mode` is `ON`: positions are GTID sets.
    pub gtids: bool,
    /// `gtid_mode` as the server prints it.
    pub gtid_mode: String,
    /// True when events carry a CRC32.
    pub checksum: bool,
    /// `binlog_row_metadata`: `MINIMAL`, `FULL`; empty on servers without it.
    pub row_metadata: String,
    /// Databases that `binlog-do-db` and `binlog-ignore-db` name; such filters keep changes out of the binlog.
    pub binlog_filters: Vec<String>,
}

/// Asks a source everything that capturing it depends on.
///
/// # Errors
/// The first thing that stands in the way; each variant's sentence says what to do.
pub async fn check(endpoint: &Endpoint) -> Result<SourceInfo, Error> {
    crate::check::ask(endpoint).await
}

/// Where a new log begins: a place that everything a later query can see comes before, or is captured.
///
/// With GTIDs that is `gtid_executed`; without, the beginning of the current binlog file, because a file is only begun
/// once every transaction in the ones before has been committed in the engine.
///
/// # Errors
/// As for [`check`].
pub async fn start_position(endpoint: &Endpoint) -> Result<SourcePosition, Error> {
    crate::check::start(endpoint).await
}
