//! Questions to a source before it is captured: can it be, and can it be captured from where the log ends?

use std::time::Duration;

use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::{FilePosition, SourcePosition};

use crate::connection::Connection;
use crate::error::gtids_in_words;
use crate::version::Version;
use crate::{Config, Error};

/// What a source is, as far as capturing it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// `binlog_row_image`: `FULL`, `MINIMAL`, `NOBLOB`; sessions may have set another.
    pub row_image: String,
    /// `binlog_row_metadata`: `MINIMAL`, `FULL`; empty on servers without it.
    pub row_metadata: String,
    /// True when a commit is on the source's disk, in its binlog and its engine, before anyone sees it (`sync_binlog = 1` and
    /// `innodb_flush_log_at_trx_commit = 1`).
    pub durable: bool,
    /// Databases that `binlog-do-db` and `binlog-ignore-db` name; such filters keep changes out of the binlog.
    pub binlog_filters: Vec<String>,
}

/// Bytes before a binlog file's first event where `binlog_encryption` is on.
const ENCRYPTION_HEADER: u64 = 512;

/// How long each answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a source everything that capturing it depends on.
///
/// # Errors
/// The first thing that stands in the way; each variant's sentence says what to do.
pub async fn check(config: &Config) -> Result<SourceInfo, Error> {
    let mut connection = Connection::open(&config.source, PATIENCE).await?;
    let info = inspect(&mut connection, config).await?;
    connection.close().await;
    Ok(info)
}

/// Everything [`check`] promises, over a connection that the caller goes on using.
pub(crate) async fn inspect(connection: &mut Connection, config: &Config) -> Result<SourceInfo, Error> {
    let address = connection.address().clone();
    if !connection.version().is_supported() {
        return Err(Error::Version {
            address,
            version: connection.version().text().to_owned(),
        });
    }
    let variables = Variables::read(connection).await?;
    if !variables.is_on("log_bin") {
        return Err(Error::BinlogOff { address });
    }
    let server_id: u32 = variables.get("server_id").parse().unwrap_or(0);
    for rule in RULES {
        let found = variables.get(rule.variable);
        // A variable that this version doesn't have can't be set wrong.
        let allowed = rule.variable == ROW_IMAGE && config.allow_partial_row_images;
        if !found.is_empty() && !(rule.holds)(found) && !allowed {
            return Err(Error::Variable {
                address,
                variable: rule.variable,
                found: found.to_owned(),
                wanted: rule.wanted,
                why: rule.why,
                fix: rule.fix,
            });
        }
    }
    let binlog_filters = privileged(connection).await?;
    Ok(SourceInfo {
        version: connection.version().text().to_owned(),
        server_uuid: variables.get("server_uuid").to_owned(),
        server_id,
        gtids: variables.is_on("gtid_mode"),
        gtid_mode: variables.get("gtid_mode").to_owned(),
        checksum: variables.get("binlog_checksum").eq_ignore_ascii_case("CRC32"),
        row_image: variables.get(ROW_IMAGE).to_owned(),
        row_metadata: variables.get("binlog_row_metadata").to_owned(),
        durable: ["sync_binlog", "innodb_flush_log_at_trx_commit"]
            .iter()
            .all(|name| variables.get(name) == "1"),
        binlog_filters,
    })
}

/// A global variable and the values under which everything can be captured.
struct Rule {
    variable: &'static str,
    holds: fn(&str) -> bool,
    wanted: &'static str,
    why: &'static str,
    fix: &'static str,
}

const ROW_IMAGE: &str = "binlog_row_image";

const RULES: &[Rule] = &[
    Rule {
        variable: "server_id",
        holds: |value| value != "0",
        wanted: "a number above 0",
        why: "a server without one serves no replica",
        fix: "1",
    },
    Rule {
        variable: "binlog_format",
        holds: |value| value.eq_ignore_ascii_case("ROW"),
        wanted: "ROW",
        why: "statements can't be replayed exactly, rows can",
        fix: "'ROW'",
    },
    Rule {
        variable: ROW_IMAGE,
        holds: |value| value.eq_ignore_ascii_case("FULL"),
        wanted: "FULL, unless allow_partial_row_images = true stands in [source]",
        why: "what is left out of a row can't be checked on the target, and its tables can't be copied in chunks",
        fix: "'FULL'",
    },
    Rule {
        variable: "binlog_row_value_options",
        holds: |value| !value.to_ascii_uppercase().contains("PARTIAL_JSON"),
        wanted: "''",
        why: "partial JSON updates leave out the rest of the document",
        fix: "''",
    },
];

/// The global variables that matter here. A version that lacks one answers without it.
struct Variables(Vec<(String, String)>);

impl Variables {
    async fn read(connection: &mut Connection) -> Result<Self, Error> {
        const SQL: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'server_id', 'server_uuid', 'gtid_mode', \
                           'binlog_format', 'binlog_row_image', 'binlog_row_value_options', 'binlog_checksum', \
                           'binlog_row_metadata', 'sync_binlog', 'innodb_flush_log_at_trx_commit')";
        let rows = connection.query(SQL, "reading its variables").await?;
        Ok(Self(
            rows.into_iter().map(|row| (row.text(0), row.text(1))).collect(),
        ))
    }

    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), "ON" | "1")
    }
}

/// Runs one statement that needs each privilege, and names all that are missing in one error. Returns the databases of the binlog's filters.
async fn privileged(connection: &mut Connection) -> Result<Vec<String>, Error> {
    let version = connection.version();
    let status = status_statement(version);
    let replicas = if version.at_least(8, 0, 22) {
        "SHOW REPLICAS"
    } else {
        "SHOW SLAVE HOSTS"
    };
    let status = connection.query(status, "asking for its binlog's status").await;
    let replicas = connection.query(replicas, "asking for its replicas").await;
    let missing = match (is_denied(&status), is_denied(&replicas)) {
        (true, true) => Some("REPLICATION SLAVE, REPLICATION CLIENT"),
        (true, false) => Some("REPLICATION CLIENT"),
        (false, true) => Some("REPLICATION SLAVE"),
        (false, false) => None,
    };
    if let Some(privilege) = missing {
        let account = connection.account().await?;
        return Err(Error::Privilege {
            address: connection.address().clone(),
            account,
            privilege,
        });
    }
    replicas?;
    let Some(row) = status?.into_iter().next() else {
        return Err(Error::BinlogOff {
            address: connection.address().clone(),
        });
    };
    let filters = [2, 3].into_iter().flat_map(|column| {
        row.text(column)
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    Ok(filters.collect())
}

pub(crate) fn status_statement(version: &Version) -> &'static str {
    match version.at_least(8, 2, 0) {
        true => "SHOW BINARY LOG STATUS",
        false => "SHOW MASTER STATUS",
    }
}

/// ER_SPECIFIC_ACCESS_DENIED_ERROR and ER_ACCESS_DENIED_ERROR of a statement.
fn is_denied<T>(outcome: &Result<T, Error>) -> bool {
    matches!(
        outcome,
        Err(Error::Server {
            code: 1227 | 1045,
            ..
        })
    )
}

/// Proves that the source can send everything after `position` and nothing that is missing is passed over (C5). `same`: the file in
/// `position` is this server's. True if its binlog is the one that was read, so that what follows stands in the same files.
pub(crate) async fn prove_continuity(
    connection: &mut Connection,
    info: &SourceInfo,
    position: &SourcePosition,
    same: bool,
) -> Result<bool, Error> {
    match &position.gtids {
        Some(ours) if info.gtids => {
            // Owned before executed: what moves from one to the other in between is seen in the second.
            let mut theirs = owned(connection).await?;
            theirs.union(&gtid_variable(connection, "gtid_executed").await?);
            let purged = gtid_variable(connection, "gtid_purged").await?;
            let address = || connection.address().clone();
            let extra = ours.subtract(&theirs);
            if !extra.is_empty() {
                return Err(Error::History {
                    address: address(),
                    extra: gtids_in_words(&extra),
                });
            }
            let missing = purged.subtract(ours);
            if !missing.is_empty() {
                return Err(Error::Purged {
                    address: address(),
                    missing: gtids_in_words(&missing),
                });
            }
            // Where all of it was purged the files are others: the binlog was reset, and told what it had.
            let followed = same && !ours.subtract(&purged).is_empty();
            if followed {
                prove_end(connection, &position.file).await?;
            }
            Ok(followed)
        }
        _ => prove_file(connection, &position.file).await.map(|()| true),
    }
}

/// With GTIDs: a server that lost the end of its binlog (a crash without `sync_binlog = 1`, a restored snapshot), or all of it
/// (`RESET BINARY LOGS AND GTIDS`), gives the lost GTIDs to others. Once it has, its set tells nothing any more, but the file does that
/// was longer when we read it, or that it never wrote. One that it began anew is noticed when it is read.
async fn prove_end(connection: &mut Connection, ours: &FilePosition) -> Result<(), Error> {
    let files = binlog_files(connection).await?;
    match judge_file(&files, ours) {
        FileVerdict::History(extra) => Err(Error::History {
            address: connection.address().clone(),
            extra,
        }),
        // What stood in it and is missing would have been found missing.
        FileVerdict::Purged(_) | FileVerdict::There => Ok(()),
    }
}

async fn binlog_files(connection: &mut Connection) -> Result<Vec<FilePosition>, Error> {
    let rows = connection
        .query("SHOW BINARY LOGS", "listing its binlog files")
        .await?;
    let files = rows.iter().map(|row| {
        let size: u64 = row.text(1).parse().unwrap_or(0);
        // Places do not count the header of an encrypted file, sizes do.
        let header = match row.text(2).eq_ignore_ascii_case("yes") {
            true => ENCRYPTION_HEADER,
            false => 0,
        };
        FilePosition::new(row.text(0), size.saturating_sub(header))
    });
    Ok(files.collect())
}

/// Without GTIDs: our file must be there, and at least as long as we have read it.
async fn prove_file(connection: &mut Connection, ours: &FilePosition) -> Result<(), Error> {
    let files = binlog_files(connection).await?;
    match judge_file(&files, ours) {
        FileVerdict::There => Ok(()),
        FileVerdict::Purged(missing) => Err(Error::Purged {
            address: connection.address().clone(),
            missing,
        }),
        FileVerdict::History(extra) => Err(Error::History {
            address: connection.address().clone(),
            extra,
        }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum FileVerdict {
    There,
    Purged(String),
    History(String),
}

/// `files`: the source's binlog files in order, each with its length.
fn judge_file(files: &[FilePosition], ours: &FilePosition) -> FileVerdict {
    if let Some(file) = files.iter().find(|file| file.file == ours.file) {
        return match file.offset >= ours.offset {
            true => FileVerdict::There,
            false => FileVerdict::History(format!("{ours}, where that file ends at {}", file.offset)),
        };
    }
    match files.first() {
        Some(first) if ours < first => FileVerdict::Purged(format!(
            "binlog files from {} on, up to the one before {}",
            ours.file, first.file
        )),
        _ => FileVerdict::History(format!("{ours}, a file that it never wrote")),
    }
}

/// A global variable that holds a GTID set.
async fn gtid_variable(connection: &mut Connection, name: &str) -> Result<GtidSet, Error> {
    let text = connection
        .scalar(&format!("SELECT @@global.{name}"), "reading its GTIDs")
        .await?;
    parse_gtids(connection, &text)
}

/// GTIDs of transactions that are being committed: `uuid:number#session`, already in the binlog or not.
async fn owned(connection: &mut Connection) -> Result<GtidSet, Error> {
    let text = connection
        .scalar("SELECT @@global.gtid_owned", "reading its GTIDs")
        .await?;
    parse_gtids(connection, &without_owners(&text))
}

pub(crate) fn parse_gtids(connection: &Connection, text: &str) -> Result<GtidSet, Error> {
    text.parse().map_err(|error| Error::Protocol {
        address: connection.address().clone(),
        doing: "reading its GTIDs",
        what: format!("{error} in '{text}'"),
    })
}

/// `gtid_owned` as a GTID set. The server writes `uuid:number#session` with more of `:number#session`, and nothing at all
/// between one UUID's last session and the next UUID: where a UUID follows, its eight digits before the first hyphen tell
/// where the session's number ends.
fn without_owners(text: &str) -> String {
    const UUID_LEN: usize = 36;
    let mut parts = text.split('#');
    let mut set = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (head, rest) = part
            .split_once(':')
            .map_or((part, None), |(head, rest)| (head, Some(rest)));
        let uuid = head.len().checked_sub(UUID_LEN).and_then(|at| head.get(at..));
        if let Some(uuid) = uuid.filter(|_| head.contains('-')) {
            set.push(',');
            set.push_str(uuid);
        }
        if let Some(rest) = rest {
            set.push(':');
            set.push_str(rest);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_cut_out() {
        let (a, b) = (
            "34d3726c-e696-11f1-9c08-02fc00000001",
            "44d3726c-e696-11f1-9c08-02fc00000001",
        );
        // As 9.7.4 writes it.
        assert_eq!(
            without_owners(&format!("{a}:7#12:5#11{a}:soak:5#13{b}:9#14")),
            format!("{a}:7:5,{a}:soak:5,{b}:9")
        );
        assert_eq!(without_owners(&format!("{a}:7#12")), format!("{a}:7"));
        assert_eq!(
            without_owners(&format!("{a}:7#12,\n{b}:9#14")),
            format!("{a}:7,{b}:9")
        );
        assert_eq!(without_owners(""), "");
    }

    #[test]
    fn a_file_is_there_purged_or_was_never_written() {
        let files = [
            FilePosition::new("binlog.000007", 900),
            FilePosition::new("binlog.000008", 200),
        ];
        let judge = |name, offset| judge_file(&files, &FilePosition::new(name, offset));
        assert_eq!(judge("binlog.000007", 900), FileVerdict::There);
        assert_eq!(judge("binlog.000008", 4), FileVerdict::There);
        assert!(
            matches!(judge("binlog.000008", 201), FileVerdict::History(_)),
            "it lost its end"
        );
        assert!(
            matches!(judge("binlog.000006", 4), FileVerdict::Purged(what) if what.contains("binlog.000006"))
        );
        assert!(
            matches!(judge("binlog.000009", 4), FileVerdict::History(_)),
            "it was reset"
        );
        assert!(matches!(judge_file(&[], &files[0]), FileVerdict::History(_)));
    }
}
