//! The structs that the file's sections are read into, where no crate's own struct serves, and their bounds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_protocol::endpoint::{Address, TlsMode};
use serde::Deserialize;

use super::password::Password;

/// A server and an account, as `[source]` and `[task.target]` give them.
#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub socket: Option<PathBuf>,
    pub user: String,
    pub password: Password,
    #[serde(default)]
    pub tls: TlsMode,
    pub tls_ca: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
}

/// What is wrong with a section: the key it is about, and the sentence.
pub(super) type Problem = (&'static str, String);

impl Server {
    /// Where the server listens. A relative path begins in `folder`.
    pub(super) fn address(&self, folder: &Path) -> Result<Address, Problem> {
        match (&self.socket, &self.host, self.port) {
            (Some(_), Some(_), _) => Err(("host", "give either `host` and `port`, or `socket`".to_owned())),
            (Some(_), _, Some(_)) => Err(("port", "give either `host` and `port`, or `socket`".to_owned())),
            (Some(socket), None, None) => Ok(Address::Socket(folder.join(socket))),
            (None, _, Some(0)) => Err(("port", "a port is 1 to 65535".to_owned())),
            (None, host, port) => Ok(Address::Tcp {
                host: host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
                port: port.unwrap_or(3306),
            }),
        }
    }

    /// Refuses what this version cannot do.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.user.is_empty() {
            return Err(("user", "name the account to use".to_owned()));
        }
        let verifies = matches!(self.tls, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
        let free = matches!(self.tls, TlsMode::Disabled | TlsMode::Preferred);
        if self.socket.is_some() && !free {
            return Err((
                "tls",
                "a unix socket is within this machine, where nobody listens; leave `tls` out".to_owned(),
            ));
        }
        if verifies && self.tls_ca.is_none() {
            return Err((
                "tls",
                "name the authority that signed the server's certificate with `tls_ca`".to_owned(),
            ));
        }
        if !verifies && self.tls_ca.is_some() {
            return Err((
                "tls_ca",
                "nothing is verified by it unless `tls` is \"verify_ca\" or \"verify_identity\"".to_owned(),
            ));
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => Err((
                "tls_cert",
                "name the certificate's private key with `tls_key`".to_owned(),
            )),
            (None, Some(_)) => Err(("tls_key", "name the key's certificate with `tls_cert`".to_owned())),
            (Some(_), Some(_)) if self.tls == TlsMode::Disabled => Err((
                "tls_cert",
                "it is shown over TLS only, and `tls` is \"disabled\"".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// The rest of `[source]`: how it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Reading {
    pub server_id: Option<u32>,
    #[serde(default, with = "humantime_serde")]
    pub heartbeat: Option<Duration>,
    #[serde(default)]
    pub semi_sync: bool,
    #[serde(default, with = "humantime_serde")]
    pub prepared_wait: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub connect_timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub retry_window: Option<Duration>,
}

/// What `[source]` says to tasks, or to capture and tasks alike.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Shared {
    #[serde(default)]
    pub allow_partial_row_images: bool,
    pub system_time_zone: Option<String>,
}

/// The rest of `[log]`: what goes in.
#[derive(Debug, Deserialize)]
pub(super) struct Keeping {
    #[serde(default)]
    pub keep_all: bool,
}

/// The rest of `[[task]]`, beside its selection and its inner sections.
#[derive(Debug, Deserialize)]
pub(super) struct TaskSettings {
    pub name: String,
    #[serde(default)]
    pub on_existing_tables: outrigger_applier::OnExistingTables,
    #[serde(default)]
    pub on_divergence: outrigger_applier::OnDivergence,
    pub metadata_database: Option<String>,
    #[serde(default, with = "humantime_serde")]
    pub connect_timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub retry_window: Option<Duration>,
}

/// `[http]`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct HttpConfig {
    /// Where status, health and metrics are served.
    #[serde(default = "default_http")]
    pub listen: SocketAddr,
}

fn default_http() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8306))
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: default_http(),
        }
    }
}

/// Refuses a duration outside its bounds.
pub(super) fn within(
    key: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), Problem> {
    if value < least || value > most {
        let (least, most) = (
            humantime::format_duration(least),
            humantime::format_duration(most),
        );
        return Err((key, format!("`{key}` must lie between {least} and {most}")));
    }
    Ok(())
}

/// Refuses a duration that is neither 0 nor within its bounds.
pub(super) fn or_none(
    key: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), Problem> {
    match value.is_zero() {
        true => Ok(()),
        false => within(key, value, least, most),
    }
}

/// Refuses a number outside its bounds.
pub(super) fn between(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), Problem> {
    if value < least || value > most {
        return Err((key, format!("`{key}` must lie between {least} and {most}")));
    }
    Ok(())
}

/// Refuses a size outside its bounds.
pub(super) fn sized(
    key: &'static str,
    value: ByteSize,
    least: ByteSize,
    most: ByteSize,
) -> Result<(), Problem> {
    if value < least || value > most {
        return Err((key, format!("`{key}` must lie between {least} and {most}")));
    }
    Ok(())
}
