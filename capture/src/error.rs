//! What can go wrong between a source and the log; every sentence says which side, what happened and what to do.

use std::io;
use std::time::Duration;

use outrigger_protocol::endpoint::Address;
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::FilePosition;

/// Error numbers of servers that may say something else a moment later: too many connections, server shutdown, query interrupted, lock
/// wait timeout, deadlock, out of resources, host blocked until somebody lets it in, aborted connections, killed session, offline mode,
/// broken packets, idle for too long, a table's file not there yet after a crash in the middle of a definition statement.
const PASSING: [u16; 20] = [
    1040, 1041, 1053, 1129, 1135, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1317, 1812,
    1927, 3032, 4031,
];

/// A capture's errors. [`Error::is_transient`] says whether trying again can help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("source {address}: can't connect ({source}); is the server running, and does it listen there?")]
    Connect {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// A connection broke.
    #[error("source {address}: the connection broke while {doing} ({source})")]
    Broken {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// How it broke.
        source: io::Error,
    },
    /// No answer within the deadline.
    #[error("source {address}: no answer within {after:?} while {doing}")]
    Silent {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The server sent what this side can't read.
    #[error("source {address}: sent something that isn't understood while {doing}: {what}")]
    Protocol {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// What was found.
        what: String,
    },
    /// The link can't be protected as it was asked for.
    #[error("source {address}: TLS: {what}")]
    Tls {
        /// Where.
        address: Address,
        /// What stands in the way, and what to do.
        what: String,
    },
    /// User name or password are wrong, or the account may not come from this host.
    #[error(
        "source {address}: account '{user}' was refused (error {code}: {message}); check the user name and password, and that \
         the account may connect from this host (CREATE USER '{user}'@'HOST' IDENTIFIED BY '…')"
    )]
    Denied {
        /// Where.
        address: Address,
        /// The account's name.
        user: String,
        /// The server's error number.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The account authenticates in a way that isn't supported.
    #[error(
        "source {address}: account '{user}' authenticates with {plugin}, which isn't supported; use an account with \
         caching_sha2_password or mysql_native_password (ALTER USER '{user}'@'HOST' IDENTIFIED WITH \
         caching_sha2_password BY '…')"
    )]
    Plugin {
        /// Where.
        address: Address,
        /// The account's name.
        user: String,
        /// The plugin that the server asked for.
        plugin: String,
    },
    /// The account lacks a privilege.
    #[error(
        "source {address}: account {account} lacks the {privilege} privilege; run on the source: GRANT {privilege} ON *.* TO {account}"
    )]
    Privilege {
        /// Where.
        address: Address,
        /// The account as `CURRENT_USER()` writes it, quoted.
        account: String,
        /// The privilege's name in a GRANT statement.
        privilege: &'static str,
    },
    /// Any other error of the server.
    #[error("source {address}: error {code} ({state}) while {doing}: {message}{}", hint(*code))]
    Server {
        /// Where.
        address: Address,
        /// What was being done.
        doing: &'static str,
        /// The server's error number.
        code: u16,
        /// The SQLSTATE.
        state: String,
        /// The server's words.
        message: String,
    },
    /// The server is not MySQL 5.7 or later.
    #[error(
        "source {address}: {version} is not supported; MySQL 5.7 to 9.7 and its builds (Percona Server, RDS, …) are"
    )]
    Version {
        /// Where.
        address: Address,
        /// The version that the server announces.
        version: String,
    },
    /// No binary log.
    #[error(
        "source {address}: binary logging is off (log_bin = OFF), so changes can't be captured; start the server \
         with log_bin and server_id set in its configuration ([mysqld] log-bin=binlog, server-id=1)"
    )]
    BinlogOff {
        /// Where.
        address: Address,
    },
    /// A global variable has a value under which changes can't be captured.
    #[error(
        "source {address}: {variable} is {found}, capturing needs {wanted}: {why}; run on the source: \
         SET PERSIST {variable} = {fix}, set it in the server's configuration too if it has no SET PERSIST (5.7: SET \
         GLOBAL), and let sessions that were open before reconnect"
    )]
    Variable {
        /// Where.
        address: Address,
        /// The system variable.
        variable: &'static str,
        /// Its value.
        found: String,
        /// The value that capturing needs.
        wanted: &'static str,
        /// Why.
        why: &'static str,
        /// What stands after `=` in the SET statement.
        fix: &'static str,
    },
    /// XA transactions stay prepared where a new log is to begin.
    #[error(
        "source {address}: {count} XA transactions are prepared and did not end within {patience:?}; what they changed before the log \
         begins would be in no log. End them on the source (XA RECOVER lists them; XA COMMIT or XA ROLLBACK), or wait longer \
         ([source] prepared_wait)"
    )]
    Prepared {
        /// Where.
        address: Address,
        /// How many.
        count: usize,
        /// How long they were waited for.
        patience: Duration,
    },
    /// The source has purged binlogs that the log still needs (C5).
    #[error(
        "source {address}: has purged what the log still needs: {missing}. The log can't be continued without a gap: \
         restore those binlog files on the source, or start over with a new log and copy the selected tables again; \
         keep binlogs longer on the source (binlog_expire_logs_seconds)"
    )]
    Purged {
        /// Where.
        address: Address,
        /// The GTIDs or the files that are gone, in words.
        missing: String,
    },
    /// The log holds what the source never executed: it lost transactions, or is another server.
    #[error(
        "source {address}: does not have what the log already holds ({extra}): it is another server, was reset or restored, or lost \
         transactions in a crash. Point the source at the server whose history this log continues, or start over with \
         a new log and copy the selected tables again"
    )]
    History {
        /// Where.
        address: Address,
        /// What the log has beyond the source, in words.
        extra: String,
    },
    /// A connection led to another server than the one whose binlog is read.
    #[error(
        "source {address}: leads to server {found} now, the binlog is read from {wanted}; an address behind which servers take turns          must lead all of Outrigger's connections to the same one"
    )]
    OtherServer {
        /// Where.
        address: Address,
        /// The `server_uuid` found there.
        found: String,
        /// The one whose binlog is read.
        wanted: String,
    },
    /// The server refused to send its binlog.
    #[error("source {address}: refuses to send its binlog from {position} (error {code}: {message})")]
    Dump {
        /// Where.
        address: Address,
        /// From where it was asked to.
        position: String,
        /// The server's error number, usually 1236.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// An event is damaged or unknown (C1).
    #[error(
        "source {address}: the event that begins at {position} can't be trusted: {source} (nothing from there on was taken over)"
    )]
    Event {
        /// Where.
        address: Address,
        /// Where the event begins.
        position: FilePosition,
        /// What is wrong with it.
        source: outrigger_protocol::binlog::Error,
    },
    /// Events came in an order that no server writes.
    #[error("source {address}: the binlog is out of order at {position}: {what}")]
    Order {
        /// Where.
        address: Address,
        /// The file and the offset where the event ends.
        position: FilePosition,
        /// What was found.
        what: String,
    },
    /// The source wrote an INCIDENT event: changes are missing from its binlog.
    #[error(
        "source {address}: reports at {position} that its binlog lacks changes ({message}); what it lacks can't be captured: start over with \
         a new log and copy the selected tables again"
    )]
    Incident {
        /// Where.
        address: Address,
        /// The file and the offset where the event ends.
        position: FilePosition,
        /// The source's words.
        message: String,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] outrigger_storage::Error),
    /// The log is new and nobody said where it starts.
    #[error("log: has no start position yet; set one (start_position) before capturing into it")]
    NoStart,
    /// The source stayed out of reach for the whole retry window.
    #[error("gave up after {window:?} of trying; last: {last}")]
    GaveUp {
        /// The retry window.
        window: Duration,
        /// The newest attempt's error.
        last: Box<Error>,
    },
}

impl Error {
    /// True when the same may work a moment later, with nothing changed but the weather: the source is down, restarts,
    /// is overloaded, or the network is; or the log can't be read, as long as it takes what is written.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Silent { .. } | Self::OtherServer { .. } => {
                true
            }
            Self::Server { code, .. } => PASSING.contains(code),
            Self::Log(error) => error.is_of_the_disk(),
            _ => false,
        }
    }
}

/// What to do about an error of which the server's words don't say it.
fn hint(code: u16) -> &'static str {
    match code {
        1129 => {
            "; let this host in again on the source: TRUNCATE TABLE performance_schema.host_cache (before 8.0: FLUSH HOSTS)"
        }
        _ => "",
    }
}

/// GTIDs in a sentence: the whole set while it is short, else its beginning.
pub(crate) fn gtids_in_words(gtids: &GtidSet) -> String {
    const LIMIT: usize = 1000;
    let text = gtids.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((cut, _)) => format!(
            "the transactions {}… ({} characters in all)",
            &text[..cut],
            text.len()
        ),
        None => format!("the transactions {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::server_error;

    fn address() -> Address {
        Address::Tcp {
            host: "db".to_owned(),
            port: 3306,
        }
    }

    fn server(code: u16) -> Error {
        let mut packet = vec![0xff];
        packet.extend_from_slice(&code.to_le_bytes());
        packet.extend_from_slice(b"#HY000its words");
        server_error(&address(), "logging in", &packet)
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        // Too many connections, blocked for failed ones, a connection that aborted.
        for code in [1040, 1129, 1152, 1159, 1184, 1205] {
            assert!(server(code).is_transient(), "{code}");
        }
        // A syntax error, no such table, access denied.
        for code in [1064, 1146, 1045] {
            assert!(!server(code).is_transient(), "{code}");
        }
    }

    #[test]
    fn a_blocked_host_is_told_how_to_get_in() {
        let text = server(1129).to_string();
        assert!(
            text.contains("its words") && text.contains("TRUNCATE TABLE performance_schema.host_cache"),
            "{text}"
        );
        assert!(!server(1040).to_string().contains("host_cache"));
    }
}
