//! Why a task failed: which side, what happened, what to do. And whether trying again can help.

use std::fmt;

use outrigger_protocol::position::FilePosition;
use outrigger_storage::Offset;

use crate::status::DivergenceKind;

/// The server an error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server that is copied and followed.
    Source,
    /// The server that is written to.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a task stopped, or why it is trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server refused, or the link to it broke. Whether a retry helps depends on the cause.
    #[error("{side}: {doing}: {}", describe(cause))]
    Server {
        /// The server that answered, or didn't.
        side: Side,
        /// What was being done, as a gerund (`reading the definition of …`).
        doing: String,
        /// The driver's error.
        cause: Box<mysql_async::Error>,
    },

    /// No connection within the configured time.
    #[error(
        "{side}: no answer from {address} within {seconds} s: check the address, the firewall and that the server runs"
    )]
    ConnectTimeout {
        /// The server that did not answer.
        side: Side,
        /// Its address.
        address: String,
        /// The configured limit.
        seconds: u64,
    },

    /// A row that a server sent does not have the columns that were asked for: their table has changed.
    #[error("{side}: {doing}: column {column} has a value of an unexpected shape")]
    Shape {
        /// The server that sent it.
        side: Side,
        /// What was being done, as a gerund.
        doing: String,
        /// The column, quoted.
        column: String,
    },

    /// The server can't be used as it is set up; `what` says what is wrong and what to do.
    #[error("{side}: {what}")]
    Unsuitable {
        /// The server in question.
        side: Side,
        /// What is wrong, and what to do.
        what: String,
    },

    /// The change log failed.
    #[error(transparent)]
    Log(#[from] outrigger_storage::Error),

    /// An event in the log can't be decoded. Nothing of its transaction was applied.
    #[error("source event at {place}: {cause}: the task stops rather than skip a change")]
    Event {
        /// Where it stands.
        place: Place,
        /// What the decoder says.
        cause: outrigger_protocol::binlog::Error,
    },

    /// A transaction in the log can't be applied as it is; `what` names it and says what to do.
    #[error("source transaction at {place}: {what}")]
    Transaction {
        /// Where it stands.
        place: Place,
        /// What is wrong, and what to do.
        what: String,
    },

    /// The target's table is not the source's as of this event (A4).
    #[error(
        "table {table} differs between source and target at {place}: {what}: make them equal, or drop it on the target and copy again"
    )]
    Definition {
        /// The table, quoted.
        table: String,
        /// Where the event stands.
        place: Place,
        /// How they differ.
        what: String,
    },

    /// A row of the target is not what it was on the source before a change (A8). The group was rolled back.
    #[error(
        "divergence in {table} at {place}: {what}: something else wrote to the target; make the rows equal or copy the table \
         again, or choose with on_divergence = \"overwrite\" or \"ignore\" what becomes of such rows"
    )]
    Divergence {
        /// The table, quoted.
        table: String,
        /// The transaction whose change it is.
        place: Place,
        /// What was expected and what was found, with the row's key and no other value.
        what: String,
        /// Whether it is missing or too many.
        kind: DivergenceKind,
    },

    /// Some row that a group changes is not as expected. The group was rolled back; which row it is, is found by applying the
    /// group again row by row.
    #[error("{table}, in a group that begins at {place}: {what}")]
    Mismatch {
        /// The table, quoted.
        table: String,
        /// Where the group begins.
        place: Place,
        /// The last transaction in what was sent.
        through: Offset,
        /// What was expected and what was found.
        what: String,
    },

    /// The checkpoint on the target was made from another log.
    #[error(
        "target: the checkpoint of task {task} belongs to change log {theirs}, not to {ours}: start with that log, or drop \
         the selected databases and the task's rows in {metadata}.checkpoint and {metadata}.copy_progress to copy anew"
    )]
    LogReplaced {
        /// The task.
        task: String,
        /// The checkpoint's log.
        theirs: String,
        /// The log that was opened.
        ours: String,
        /// The metadata database.
        metadata: String,
    },

    /// The task selects more than what was copied.
    #[error(
        "task {task} selects more than before, and what was added has no copy: it had {before}, now it has {now}. Give what was \
         added to a task of its own, or take it out again; or drop the selected databases and the task's rows in \
         {metadata}.checkpoint and {metadata}.copy_progress on the target to copy everything anew"
    )]
    Widened {
        /// The task.
        task: String,
        /// What it selected when it last ran.
        before: String,
        /// What it selects.
        now: String,
        /// The metadata database.
        metadata: String,
    },

    /// The log left out what the task selects.
    #[error(
        "log: has not kept all that task {task} selects: after offset {after} {until} it kept only {kept}, because no task of this \
         process selected more then, so changes are missing. Drop the selected databases and the task's rows in \
         {metadata}.checkpoint and {metadata}.copy_progress on the target to copy anew ([log] keep_all = true keeps everything \
         from now on)"
    )]
    NotKept {
        /// The task.
        task: String,
        /// Up to here nothing is missing.
        after: Offset,
        /// Until where, in words.
        until: String,
        /// What was kept there.
        kept: String,
        /// The metadata database.
        metadata: String,
    },

    /// Another process took the task over (its checkpoint row has a newer epoch).
    #[error(
        "target: task {task} was taken over by another process (epoch {theirs}, ours {ours}): run only one"
    )]
    Fenced {
        /// The task.
        task: String,
        /// The epoch in the checkpoint row, 0 when the row is gone.
        theirs: u64,
        /// The epoch that this process took.
        ours: u64,
    },

    /// A group found the checkpoint elsewhere than behind the one before it. That one's commit has failed, as its own error says, or the
    /// server has lost it.
    #[error(
        "target: a group was rolled back because the one before it is not there: its commit failed, or the server has lost commits that it had \
         acknowledged (innodb_flush_log_at_trx_commit and sync_binlog other than 1, or a failover)"
    )]
    Unfollowed,

    /// A connection of a task leads to another server than those before it.
    #[error(
        "target: {address} led to the server {before} (server_uuid) and leads to {now}: as after a failover the task begins again with connections to \
         one of them. An address that shares connections out between servers does not serve"
    )]
    Elsewhere {
        /// The target's address.
        address: String,
        /// The server of the first connection.
        before: String,
        /// The server of this one.
        now: String,
    },

    /// The copy can't be done; `what` says why and what to do.
    #[error("copy: {what}")]
    Copy {
        /// What is wrong, and what to do.
        what: String,
    },

    /// The retry window passed without success; the last failure is inside.
    #[error("gave up after {minutes} minutes of retries: {cause}")]
    RetryWindow {
        /// The configured window.
        minutes: u64,
        /// The last failure.
        cause: Box<Error>,
    },
}

/// A place in the source's history, for messages: our offset, and the source's own position where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The transaction in the change log.
    pub offset: u64,
    /// Where the transaction begins (or, failing that, ends) in the source's binary log.
    pub file: Option<FilePosition>,
}

impl Place {
    /// The place of the transaction at `offset`.
    pub fn new(offset: Offset, file: Option<FilePosition>) -> Self {
        Self {
            offset: offset.0,
            file,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file} (offset {})", self.offset),
            None => write!(f, "offset {}", self.offset),
        }
    }
}

impl Error {
    /// Wraps a driver's error: `doing` completes "source: …:".
    pub fn server(side: Side, doing: impl Into<String>, cause: mysql_async::Error) -> Self {
        Self::Server {
            side,
            doing: doing.into(),
            cause: Box::new(cause),
        }
    }

    /// The server at fault, where one is.
    pub fn side(&self) -> Option<Side> {
        match self {
            Self::Server { side, .. }
            | Self::ConnectTimeout { side, .. }
            | Self::Shape { side, .. }
            | Self::Unsuitable { side, .. } => Some(*side),
            Self::RetryWindow { cause, .. } => cause.side(),
            Self::LogReplaced { .. }
            | Self::Fenced { .. }
            | Self::Divergence { .. }
            | Self::Unfollowed
            | Self::Elsewhere { .. }
            | Self::Mismatch { .. } => Some(Side::Target),
            _ => None,
        }
    }

    /// The server's error number, where a server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { cause, .. } => match cause.as_ref() {
                mysql_async::Error::Server(error) => Some(error.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// True when the same work may succeed later: the link broke, the server restarts, is full or busy.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::ConnectTimeout { .. } | Self::Unfollowed | Self::Elsewhere { .. } => true,
            Self::Server { cause, .. } => match cause.as_ref() {
                mysql_async::Error::Io(_) => true,
                mysql_async::Error::Driver(driver) => matches!(
                    driver,
                    mysql_async::DriverError::ConnectionClosed | mysql_async::DriverError::PacketOutOfOrder
                ),
                mysql_async::Error::Server(error) => is_passing(error.code),
                _ => false,
            },
            _ => false,
        }
    }

    /// True for a deadlock or a lock wait that ran out: the whole group is worth another try at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self.code(), Some(1205 | 1213))
    }
}

/// Server errors that pass by themselves: too many connections, shutting down, killed, locked, read-only while a failover
/// runs, rolled back at the commit by it, a full disk that is freed, a table's file not there yet after a crash in the middle of a definition statement.
fn is_passing(code: u16) -> bool {
    matches!(
        code,
        1021 | 1026 | 1040 | 1053 | 1077 | 1079 | 1080 | 1114 | 1129 | 1152 | 1158
            ..=1161
                | 1184
                | 1203
                | 1205
                | 1213
                | 1226
                | 1290
                | 1317
                | 1812
                | 1836
                | 1927
                | 2006
                | 2013
                | 3024
                | 3032
                | 3100
                | 3101
                | 3169
                | 3675
                | 4031
    )
}

/// A driver's error with the hint that its code deserves, and without row values (W1).
fn describe(cause: &mysql_async::Error) -> String {
    let error = match cause {
        mysql_async::Error::Server(error) => error,
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => {
            return match error.kind() {
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => {
                    format!("{error}: is the server running, and does it listen there?")
                }
                _ => error.to_string(),
            };
        }
        other => return other.to_string(),
    };
    let hint = match error.code {
        1044 | 1142 | 1227 | 1370 => {
            ": grant the missing privilege to the account (see the manual's page on privileges)"
        }
        1045 | 1698 => ": check user and password in the configuration, and the account's host part",
        1049 => ": create the database, or correct its name",
        1130 => ": the account's host part does not allow this machine",
        1290 | 1836 => ": the server is read-only",
        1026 | 1114 | 3675 => ": is its disk full?",
        1418 | 1419 => ": set log_bin_trust_function_creators=ON on the target, or grant SUPER",
        _ => "",
    };
    // These carry a column's value in the message.
    let message = match error.code {
        1062 => "a duplicate key",
        1048 | 1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 3140 | 3141 | 3156 => {
            "a value that the column refuses"
        }
        _ => error.message.as_str(),
    };
    format!("ERROR {} ({}): {message}{hint}", error.code, error.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str) -> Error {
        let error = mysql_async::ServerError {
            code,
            message: message.into(),
            state: "HY000".into(),
        };
        Error::server(
            Side::Target,
            "applying a group",
            mysql_async::Error::Server(error),
        )
    }

    #[test]
    fn a_deadlock_is_retried_and_a_missing_privilege_is_not() {
        assert!(answer(1213, "Deadlock found").is_retryable());
        assert!(answer(1213, "Deadlock found").is_conflict());
        assert!(!answer(1142, "INSERT command denied").is_retryable());
        assert!(answer(1114, "The table 't' is full").is_retryable());
        assert!(
            answer(1142, "INSERT command denied")
                .to_string()
                .contains("grant the missing privilege")
        );
    }

    #[test]
    fn a_duplicate_keys_value_is_not_shown() {
        let text = answer(1062, "Duplicate entry 'secret@example.org' for key 't.email'").to_string();
        assert!(!text.contains("secret"), "{text}");
    }
}
