//! The objects of the source that belong to a task: which there are, and what each one's definition is.
//!
//! Databases, tables, views, procedures and functions. Triggers and events are left out: on the target they would act a
//! second time on what the source's own have done.

pub(crate) mod create;
pub(crate) mod engine;
pub(crate) mod visible;
pub(crate) mod zone;

use mysql_async::Row;
use outrigger_protocol::endpoint::Endpoint;

use crate::config::{Config, Selection};
use crate::definition::{self, TableDef};
use crate::error::{Error, Side};
use crate::link::{self, Link};
use crate::literal::{quote_name, quote_text};
use crate::schema::visible::Sight;

/// What an object is, as far as names can collide: a table and a view share their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Space {
    Database,
    Table,
    Procedure,
    Function,
}

/// An object of the source. Orders databases first, then tables, then routines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) space: Space,
    pub(crate) database: String,
    /// Empty for a database.
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn database(name: impl Into<String>) -> Self {
        Self {
            space: Space::Database,
            database: name.into(),
            name: String::new(),
        }
    }

    pub(crate) fn table(database: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            space: Space::Table,
            database: database.into(),
            name: name.into(),
        }
    }

    /// The name in backticks, with its database.
    pub(crate) fn quoted(&self) -> String {
        match self.space {
            Space::Database => quote_name(&self.database),
            _ => format!("{}.{}", quote_name(&self.database), quote_name(&self.name)),
        }
    }

    /// True when the object belongs to the task. Routines do where their whole database does.
    pub(crate) fn is_selected(&self, selection: &Selection) -> bool {
        match self.space {
            Space::Database => selection.database(&self.database),
            Space::Table => selection.table(&self.database, &self.name),
            Space::Procedure | Space::Function => selection.whole_database(&self.database),
        }
    }
}

/// An object's definition on the source.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// There is none of that name.
    Absent,
    Database {
        create: String,
    },
    Table {
        create: Vec<u8>,
        definition: TableDef,
        rows_estimated: u64,
        row_bytes: u64,
    },
    View {
        create: Vec<u8>,
        made_under: MadeUnder,
    },
    Routine {
        create: Vec<u8>,
        sql_mode: String,
        made_under: MadeUnder,
    },
}

/// The session that made a view or a routine: in its character set the text is kept, and given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MadeUnder {
    /// `character_set_client`.
    pub(crate) charset: String,
    /// `collation_connection`.
    pub(crate) collation: String,
}

/// A session on the source that reads definitions, and rows in the bytes that the source stores.
pub(crate) struct Source {
    conn: Link,
    /// The account as GRANT names it.
    account: String,
    /// The collation of utf8mb4 that its definitions mean where they name none: servers before 8.0 name no `utf8mb4_general_ci`.
    utf8mb4: String,
}

/// Whether a server takes names that differ by case alone for one.
pub(crate) async fn folds_names(conn: &mut Link, side: Side) -> Result<bool, Error> {
    let setting: Option<u8> = conn
        .query_first("SELECT @@lower_case_table_names")
        .await
        .map_err(|cause| Error::server(side, "reading its settings", cause))?;
    Ok(setting.unwrap_or_default() != 0)
}

/// The patterns of `include` that name nothing on the source now; those with a wildcard only where nothing is selected at all.
///
/// # Errors
/// When the source can't be asked.
pub async fn absent(config: &Config) -> Result<Vec<String>, Error> {
    let mut source = Source::connect(config).await?;
    let mut config = config.clone();
    if folds_names(source.conn(), Side::Source).await? {
        config.selection = config.selection.folded();
    }
    let listed = source.list(&config).await?;
    Ok(visible::absent(&config.selection, &listed))
}

/// UTC, plain quoting, dates as they are stored, lists of any length, no limit on how long a statement may run or the reader may pause.
/// Strings are not converted: in a definition each literal is in its own character set, and conversion leaves question marks of it.
const SESSION: &str = "SET NAMES utf8mb4, character_set_results = NULL, time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', \
     sql_quote_show_create = 1, autocommit = 1, \
     transaction_isolation = 'REPEATABLE-READ', max_execution_time = 0, lock_wait_timeout = 60, \
     wait_timeout = 2147483, net_write_timeout = 3600, net_read_timeout = 3600, group_concat_max_len = 4294967295";

/// Shows keys that the server made by itself: they are in its row events.
const INVISIBLE_KEYS: &str = "SET show_gipk_in_create_table_and_information_schema = ON";

/// The privileges that a piece of work on the source takes.
#[derive(Debug, Clone)]
pub(crate) struct Denial {
    account: String,
    privileges: &'static str,
    on: String,
}

impl Denial {
    /// Wraps an error; where a privilege is missing it becomes the sentence that names the GRANT.
    pub(crate) fn wrap(&self, doing: &str, cause: mysql_async::Error) -> Error {
        let denied = matches!(&cause, mysql_async::Error::Server(e) if matches!(e.code, 1044 | 1142 | 1143 | 1227 | 1370));
        if !denied {
            return Error::server(Side::Source, doing, cause);
        }
        let Self {
            account,
            privileges,
            on,
        } = self;
        let what = format!("{doing}: the account lacks a privilege: GRANT {privileges} ON {on} TO {account}");
        Error::Unsuitable {
            side: Side::Source,
            what,
        }
    }
}

impl Source {
    /// Connects and sets the session up.
    pub(crate) async fn connect(config: &Config) -> Result<Self, Error> {
        Self::open(&config.source, config.connect_timeout).await
    }

    async fn open(endpoint: &Endpoint, timeout: std::time::Duration) -> Result<Self, Error> {
        let mut conn = link::connect(endpoint, Side::Source, timeout).await?;
        let fail = |cause| Error::server(Side::Source, "setting the session up", cause);
        conn.query_drop(SESSION).await.map_err(fail)?;
        // Servers before 8.0.30 don't know it, nor such keys.
        match conn.query_drop(INVISIBLE_KEYS).await {
            Ok(()) | Err(mysql_async::Error::Server(_)) => {}
            Err(cause) => return Err(fail(cause)),
        }
        let (account, utf8mb4): (String, Option<String>) = conn
            .query_first(
                "SELECT CURRENT_USER(), (SELECT collation_name FROM information_schema.collations \
                 WHERE character_set_name = 'utf8mb4' AND is_default = 'Yes')",
            )
            .await
            .map_err(fail)?
            .unwrap_or_default();
        let account = match account.rsplit_once('@') {
            Some((user, host)) => format!("{}@{}", quote_text(user), quote_text(host)),
            None => quote_text(&account),
        };
        Ok(Self {
            conn,
            account,
            utf8mb4: utf8mb4.unwrap_or_else(|| "utf8mb4_0900_ai_ci".to_owned()),
        })
    }

    /// The connection itself.
    pub(crate) fn conn(&mut self) -> &mut Link {
        &mut self.conn
    }

    /// What to say when the server denies something for want of these privileges.
    pub(crate) fn denial(&self, privileges: &'static str, on: &str) -> Denial {
        Denial {
            account: self.account.clone(),
            privileges,
            on: on.to_owned(),
        }
    }

    /// Wraps an error; where a privilege is missing it becomes the sentence that names the GRANT.
    pub(crate) fn fail(
        &self,
        doing: &str,
        privileges: &'static str,
        on: &str,
        cause: mysql_async::Error,
    ) -> Error {
        self.denial(privileges, on).wrap(doing, cause)
    }

    /// All objects that belong to the task. What is being created or dropped at this moment may be missing or stand there
    /// in vain: the log tells.
    pub(crate) async fn list(&mut self, config: &Config) -> Result<Vec<ObjectKey>, Error> {
        let selection = &config.selection;
        let doing = "listing databases and tables";
        let fail = |cause| Error::server(Side::Source, doing, cause);
        let names: Vec<String> = self
            .conn
            .query("SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata")
            .await
            .map_err(fail)?;
        let databases: Vec<String> = names
            .into_iter()
            .filter(|name| selection.database(name) && *name != config.metadata_database)
            .collect();
        if databases.is_empty() {
            return Ok(Vec::new());
        }
        let within = databases
            .iter()
            .map(|d| quote_text(d))
            .collect::<Vec<_>>()
            .join(", ");
        let mut objects: Vec<ObjectKey> = databases.into_iter().map(ObjectKey::database).collect();
        let tables: Vec<(String, String)> = self
            .conn
            .query(format!(
                "SELECT CAST(table_schema AS CHAR), CAST(table_name AS CHAR) FROM information_schema.tables \
                 WHERE table_schema IN ({within}) AND table_type IN ('BASE TABLE', 'VIEW')"
            ))
            .await
            .map_err(fail)?;
        objects.extend(
            tables
                .into_iter()
                .map(|(database, name)| ObjectKey::table(database, name)),
        );
        let routines: Vec<(String, String, String)> = self
            .conn
            .query(format!(
                "SELECT CAST(routine_schema AS CHAR), CAST(routine_name AS CHAR), CAST(routine_type AS CHAR) \
                 FROM information_schema.routines WHERE routine_schema IN ({within})"
            ))
            .await
            .map_err(fail)?;
        objects.extend(routines.into_iter().filter_map(|(database, name, kind)| {
            let space = match kind.as_str() {
                "PROCEDURE" => Space::Procedure,
                "FUNCTION" => Space::Function,
                _ => return None,
            };
            // Names of routines never differ by case alone, and statements may spell them in any.
            Some(ObjectKey {
                space,
                database,
                name: name.to_lowercase(),
            })
        }));
        objects.retain(|object| object.is_selected(selection));
        objects.sort();
        Ok(objects)
    }

    /// Reads one object's definition. Waits for a change of it that is under way (its metadata lock).
    pub(crate) async fn read(&mut self, key: &ObjectKey) -> Result<Found, Error> {
        let (word, privilege) = match key.space {
            Space::Database => ("DATABASE IF NOT EXISTS", "SELECT"),
            Space::Table => ("TABLE", "SELECT, SHOW VIEW"),
            Space::Procedure => ("PROCEDURE", "SHOW_ROUTINE"),
            Space::Function => ("FUNCTION", "SHOW_ROUTINE"),
        };
        let doing = format!("reading the definition of {}", key.quoted());
        let on = match key.space {
            Space::Procedure | Space::Function => "*.*".to_owned(),
            _ => format!("{}.*", quote_name(&key.database)),
        };
        let row: Option<Row> = match self
            .conn
            .query_first(format!("SHOW CREATE {word} {}", key.quoted()))
            .await
        {
            Ok(row) => row,
            Err(mysql_async::Error::Server(e)) if matches!(e.code, 1049 | 1051 | 1146 | 1305) => {
                return Ok(Found::Absent);
            }
            Err(cause) => return Err(self.fail(&doing, privilege, &on, cause)),
        };
        let Some(row) = row else { return Ok(Found::Absent) };
        let bytes = |name: &str| -> Option<Vec<u8>> {
            let at = row
                .columns_ref()
                .iter()
                .position(|c| c.name_str().eq_ignore_ascii_case(name))?;
            row.get_opt::<Option<Vec<u8>>, _>(at)?.ok()?
        };
        let text = |name: &str| String::from_utf8(bytes(name)?).ok();
        let made_under = || MadeUnder {
            charset: text("character_set_client").unwrap_or_default(),
            collation: text("collation_connection").unwrap_or_default(),
        };
        let missing = || Error::Unsuitable {
            side: Side::Source,
            what: format!(
                "{doing}: it is hidden from the account: GRANT {privilege} ON {on} TO {}",
                self.account
            ),
        };
        match key.space {
            Space::Database => Ok(Found::Database {
                create: text("Create Database").ok_or_else(missing)?,
            }),
            Space::Procedure | Space::Function => {
                let title = if key.space == Space::Procedure {
                    "Create Procedure"
                } else {
                    "Create Function"
                };
                Ok(Found::Routine {
                    create: bytes(title).ok_or_else(missing)?,
                    sql_mode: text("sql_mode").unwrap_or_default(),
                    made_under: made_under(),
                })
            }
            Space::Table => match bytes("Create View") {
                Some(create) => Ok(Found::View {
                    create,
                    made_under: made_under(),
                }),
                None => {
                    let create = bytes("Create Table").ok_or_else(missing)?;
                    self.table(key, create).await
                }
            },
        }
    }

    async fn table(&mut self, key: &ObjectKey, create: Vec<u8>) -> Result<Found, Error> {
        let Some(definition) =
            definition::load(&mut self.conn, Side::Source, &key.database, &key.name).await?
        else {
            return Ok(Found::Absent);
        };
        let size: Option<(Option<u64>, Option<u64>)> = self
            .conn
            .query_first(format!(
                "SELECT table_rows, avg_row_length FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
                quote_text(&key.database),
                quote_text(&key.name)
            ))
            .await
            .map_err(|cause| Error::server(Side::Source, format!("reading the size of {}", key.quoted()), cause))?;
        let (rows, bytes) = size.unwrap_or_default();
        Ok(Found::Table {
            create,
            definition,
            rows_estimated: rows.unwrap_or(0),
            row_bytes: bytes.unwrap_or(0),
        })
    }

    /// What the account may see.
    pub(crate) async fn sight(&mut self) -> Result<Sight, Error> {
        let grants: Vec<String> = self
            .conn
            .query("SHOW GRANTS")
            .await
            .map_err(|cause| Error::server(Side::Source, "reading the account's privileges", cause))?;
        Ok(Sight::of(&grants))
    }

    /// The collation of utf8mb4 that its definitions mean where they name none.
    pub(crate) fn utf8mb4(&self) -> &str {
        &self.utf8mb4
    }

    /// The account as GRANT names it.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }
}
