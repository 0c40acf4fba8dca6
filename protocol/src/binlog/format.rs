//! Events about the log itself: format description, rotation, heartbeat, incident.

use super::ChecksumAlg;

/// FORMAT_DESCRIPTION: how the events of this file are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// 4 since MySQL 5.0.
    pub binlog_version: u16,
    /// The server's version text (`9.7.0`).
    pub server_version: String,
    /// When the file was created (seconds since the epoch); 0 unless the server had just started.
    pub created: u32,
    /// How the events after this one are protected.
    pub checksum: ChecksumAlg,
}

/// ROTATE: where the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotate {
    /// The next file's base name.
    pub file: String,
    /// Where reading goes on in it.
    pub position: u64,
}

/// HEARTBEAT and HEARTBEAT_V2: the dump is alive and stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The file that the dump reads.
    pub file: String,
    /// Where it stands; 64-bit in version 2, version 1 carries 32 bits in the header's `log_pos`.
    pub position: u64,
}

/// INCIDENT: the source lost events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident<'a> {
    /// 1: events were lost.
    pub number: u16,
    /// The source's own words.
    pub message: &'a [u8],
}
