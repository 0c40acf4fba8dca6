//! Looking at tables on the source, on a connection beside the stream.

use std::sync::Arc;
use std::time::Duration;

use outrigger_protocol::definition::{AnswerRow, Several, TableDef};
use outrigger_protocol::endpoint::Endpoint;
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::FilePosition;
use outrigger_protocol::sql::quote_name;
use outrigger_storage::{Definition, Reading};
use tracing::warn;

use super::Name;
use crate::connection::{Connection, Row};
use crate::{Error, Selection};

const DOING: &str = "reading a table's definition";

/// Databases of the server's own.
const SYSTEM: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// How often in a row a look may fail before capture goes on without it.
const ATTEMPTS: u32 = 3;

/// How many seconds the second connection may wait for its next look: as long as the server allows.
const IDLE: u32 = 31_536_000;

/// A look's answer for one table.
pub(super) type Found = (Name, Option<Arc<Reading>>);

/// The second connection, made when it is needed.
#[derive(Debug)]
pub(crate) struct Looker {
    endpoint: Endpoint,
    patience: Duration,
    selection: Option<Arc<dyn Selection>>,
    connection: Option<Connection>,
    /// `server_uuid` of the source.
    server: String,
    /// Looks that failed since the last one that didn't.
    failures: u32,
}

impl Looker {
    /// Looks at `endpoint`, waiting for each answer at most `patience`.
    pub(crate) fn new(endpoint: Endpoint, patience: Duration, selection: Option<Arc<dyn Selection>>) -> Self {
        Self {
            endpoint,
            patience,
            selection,
            connection: None,
            server: String::new(),
            failures: 0,
        }
    }

    /// The stream is connected anew, to the server of that UUID.
    pub(crate) fn connected(&mut self, server: &str) {
        self.connection = None;
        server.clone_into(&mut self.server);
    }

    /// One that looks at the same server, for the time being in place of this one, which gives its connection away.
    pub(super) fn lend(&mut self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            patience: self.patience,
            selection: self.selection.clone(),
            connection: self.connection.take(),
            server: self.server.clone(),
            failures: self.failures,
        }
    }

    /// True for tables whose definitions are kept.
    pub(crate) fn wants(&self, (database, table): &Name) -> bool {
        let wanted = self
            .selection
            .as_ref()
            .is_none_or(|selection| selection.table(database, table));
        wanted && !SYSTEM.contains(&database.to_ascii_lowercase().as_str())
    }

    /// The tables that are wanted, provided that the source shows everything that `position` contains: a replica may still be
    /// at work on a statement that the log has from another server. `None` if it doesn't soon, or if it can't be asked.
    pub(crate) async fn list(&mut self, position: Option<&GtidSet>) -> Result<Option<Vec<Name>>, Error> {
        let outcome = self.ask_for_list(position).await;
        let listed = self.judge(outcome)?.flatten();
        Ok(listed.map(|names| names.into_iter().filter(|name| self.wants(name)).collect()))
    }

    /// Looks at tables: what was read of each, `None` where that was not possible.
    ///
    /// # Errors
    /// What ends an attempt; after three of them in a row nothing is read instead.
    pub(crate) async fn look(&mut self, names: &[Name]) -> Result<Vec<Found>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = self.read(names).await;
        Ok(self
            .judge(outcome)?
            .unwrap_or_else(|| names.iter().map(|name| (name.clone(), None)).collect()))
    }

    /// Whether an error ends the attempt.
    fn judge<T>(&mut self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        // A connection on which something failed is not used again.
        self.connection = self.connection.take().filter(|_| outcome.is_ok());
        match outcome {
            Ok(found) => {
                self.failures = 0;
                Ok(Some(found))
            }
            Err(error) => {
                self.failures += 1;
                if error.is_transient() && self.failures < ATTEMPTS {
                    return Err(error);
                }
                warn!(%error, "table definitions can't be read now; capture goes on, rows are shown without column names meanwhile");
                Ok(None)
            }
        }
    }

    async fn connection(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            let mut connection = Connection::open(&self.endpoint, self.patience).await?;
            let found = connection.scalar("SELECT @@server_uuid", DOING).await?;
            if found != self.server {
                return Err(Error::OtherServer {
                    address: connection.address().clone(),
                    found,
                    wanted: self.server.clone(),
                });
            }
            let wait = (self.patience.as_secs() / 2).clamp(1, 30);
            connection
                .query(
                    &format!(
                        "SET NAMES utf8mb4, SESSION sql_mode = '', SESSION sql_quote_show_create = 1, SESSION lock_wait_timeout = {wait}, \
                         SESSION wait_timeout = {IDLE}"
                    ),
                    DOING,
                )
                .await?;
            if connection.version().at_least(8, 0, 30) {
                // Invisible keys that the server made by itself are in its rows events.
                connection
                    .query(
                        "SET SESSION show_gipk_in_create_table_and_information_schema = ON",
                        DOING,
                    )
                    .await?;
            }
            return Ok(self.connection.insert(connection));
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            // Just made sure of.
            None => Err(Error::NoStart),
        }
    }

    async fn ask_for_list(&mut self, position: Option<&GtidSet>) -> Result<Option<Vec<Name>>, Error> {
        let wait = (self.patience.as_secs() / 2).clamp(1, 5);
        let connection = self.connection().await?;
        if let Some(gtids) = position {
            let question = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', {wait})");
            if connection.scalar(&question, DOING).await? != "0" {
                return Ok(None);
            }
        }
        let rows = connection
            .query(
                "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR) FROM information_schema.tables \
                 WHERE table_type = 'BASE TABLE' ORDER BY table_schema, table_name",
                "listing its tables",
            )
            .await?;
        let names = rows.iter().map(|row| (row.text(0), row.text(1)));
        Ok(Some(names.collect()))
    }

    async fn read(&mut self, names: &[Name]) -> Result<Vec<Found>, Error> {
        let server = self.server.clone();
        let connection = self.connection().await?;
        let after = binlog_end(connection).await?;
        let mut tables = Vec::with_capacity(names.len());
        for name in names {
            tables.push((name.clone(), table(connection, name).await?));
        }
        let until = binlog_end(connection).await?;
        let reading = |found: Option<Arc<Definition>>| {
            Arc::new(Reading {
                found,
                after: after.clone(),
                until: until.clone(),
                server: server.clone(),
            })
        };
        Ok(tables
            .into_iter()
            .map(|(name, look)| {
                let found = match look {
                    Look::Found(definition) => Some(reading(Some(definition))),
                    Look::Absent => Some(reading(None)),
                    Look::Hidden(why) => {
                        warn!(
                            table = %format!("{}.{}", name.0, name.1), why,
                            "a table's definition can't be read now; its rows are shown without column names meanwhile"
                        );
                        None
                    }
                };
                (name, found)
            })
            .collect())
    }
}

/// What a look at one table finds.
enum Look {
    Found(Arc<Definition>),
    /// There is no such base table.
    Absent,
    /// It can't be told; why.
    Hidden(String),
}

/// Where the source's binlog ends now.
async fn binlog_end(connection: &mut Connection) -> Result<FilePosition, Error> {
    let question = if connection.version().at_least(8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let rows = connection.query(question, DOING).await?;
    let place = rows
        .first()
        .and_then(|row| Some(FilePosition::new(row.text(0), row.text(1).parse().ok()?)));
    place.ok_or_else(|| Error::Protocol {
        address: connection.address().clone(),
        doing: DOING,
        what: "no place where its binlog ends".to_owned(),
    })
}

async fn table(connection: &mut Connection, (database, table): &Name) -> Result<Look, Error> {
    let question = format!("SHOW CREATE TABLE {}.{}", quote_name(database), quote_name(table));
    let create = match connection.query(&question, DOING).await {
        Ok(rows) => rows.first().map(|row| row.text(1)).unwrap_or_default(),
        // No such database, no such table.
        Err(Error::Server {
            code: 1049 | 1146, ..
        }) => return Ok(Look::Absent),
        // Lock wait timeout: somebody holds the table for long.
        Err(error @ Error::Server { code: 1205, .. }) => return Ok(Look::Hidden(error.to_string())),
        Err(error @ Error::Server { .. }) if !error.is_transient() => {
            return Ok(Look::Hidden(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    if !create.starts_with("CREATE TABLE ") {
        // A view.
        return Ok(Look::Absent);
    }
    let this = Several {
        database,
        names: &[table],
    };
    let mut answers = Vec::new();
    for question in TableDef::questions(this) {
        let rows = connection.query(&question, DOING).await?;
        let rows = rows.iter().map(Row::texts).collect::<Vec<AnswerRow>>();
        answers.push(this.sort(rows).concat());
    }
    let answer = |n: usize| answers.get(n).map_or(&[][..], Vec::as_slice);
    Ok(
        match TableDef::from_answers(database, table, answer(0), answer(1)) {
            // The server leaves out columns that the account has no right to.
            Ok(Some(def)) if def.columns.len() == declared_columns(&create) => {
                Look::Found(Arc::new(Definition { table: def, create }))
            }
            Ok(_) => Look::Hidden("the account sees only some of its columns: grant SELECT on it".to_owned()),
            Err(what) => Look::Hidden(what),
        },
    )
}

/// How many columns SHOW CREATE TABLE shows: each stands on a line of its own, and no other line begins with a name.
fn declared_columns(create: &str) -> usize {
    create.lines().filter(|line| line.starts_with("  `")).count()
}
