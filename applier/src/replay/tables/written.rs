//! What the target says of tables: asked about many at once, since it may be far away.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outrigger_protocol::definition::{AnswerRow, Several};

use crate::config::Selection;
use crate::definition::{self, ColumnKind, TableDef};
use crate::error::{Error, Side};
use crate::foreign;
use crate::link::Link;
use crate::replay::cascade::Cascades;
use crate::schema::{engine, zone};
use crate::statement::Table;
use crate::target::Target;

/// What the target says of a table.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) table: Arc<Table>,
    pub(super) cascades: Arc<Cascades>,
    /// TIMESTAMP columns that its expressions read, for messages.
    pub(super) zoned: Option<Arc<str>>,
}

/// Tables that were asked about, until the next definition statement.
#[derive(Debug, Default)]
pub(super) struct Known {
    tables: HashMap<Name, Written>,
    /// Those known before it: they are asked about along with the first that is written to again.
    before: HashSet<Name>,
}

/// A database and a table.
type Name = (String, String);

/// The target is asked about so many tables at once, at most.
const AT_ONCE: usize = 64;
/// So many that were known before are remembered.
const BEFORE: usize = 4096;

impl Known {
    /// Forgets all: a definition statement was applied.
    pub(super) fn forget(&mut self) {
        if self.before.len() >= BEFORE {
            self.before.clear();
        }
        self.before.extend(self.tables.drain().map(|(name, _)| name));
    }

    /// A table; `None` when the target has none of that name.
    ///
    /// # Errors
    /// When it can't be written to, or the target can't be asked.
    pub(super) async fn get(
        &mut self,
        database: &str,
        table: &str,
        selection: &Selection,
        target: &mut Target,
    ) -> Result<Option<Written>, Error> {
        let name = (database.to_owned(), table.to_owned());
        if let Some(known) = self.tables.get(&name) {
            return Ok(Some(known.clone()));
        }
        self.before.remove(&name);
        let others: Vec<Name> = { self.before.iter() }
            .filter(|other| other.0 == database)
            .take(AT_ONCE - 1)
            .cloned()
            .collect();
        // Where the target folds names, others may be this table's, too: it stands first.
        let names: Vec<&str> = { std::iter::once(table) }
            .chain(others.iter().map(|(_, table)| table.as_str()))
            .collect();
        let asked = Several {
            database,
            names: &names,
        };
        let mut answers = load(target, asked, selection).await?.into_iter();
        let wanted = answers.next().unwrap_or(Ok(None))?;
        self.tables.extend(wanted.clone().map(|written| (name, written)));
        for (other, answer) in others.into_iter().zip(answers) {
            self.before.remove(&other);
            // What is wrong with it is said when it is written to.
            if let Ok(Some(written)) = answer {
                self.tables.insert(other, written);
            }
        }
        Ok(wanted)
    }
}

/// A table, `None` where there is none, or why it can't be written to.
type Answer = Result<Option<Written>, Error>;

/// Reads all that is to be known of the tables, each answer in its place.
///
/// # Errors
/// When the target can't be asked.
async fn load(target: &mut Target, tables: Several<'_>, selection: &Selection) -> Result<Vec<Answer>, Error> {
    let conn = target.conn();
    let [columns, keys] = TableDef::questions(tables);
    let questions = [
        engine::question(tables),
        columns,
        keys,
        Cascades::question(tables),
        foreign::question(tables),
    ];
    let mut answers = ask(conn, "reading its tables' definitions", &questions, tables)
        .await?
        .into_iter();
    let mut next = || answers.next().unwrap_or_default().into_iter();
    let (engines, columns, keys, children, parents) = (next(), next(), next(), next(), next());
    let defs: Vec<Result<Option<TableDef>, Error>> = { tables.names.iter().zip(engines) }
        .zip(columns.zip(keys))
        .map(|((name, engine), (columns, keys))| {
            engine::refuse(&engine)?;
            definition::read(Side::Target, tables.database, name, &columns, &keys)
        })
        .collect();
    let zoned = zoned(conn, tables, &defs).await?;
    let mut by_innodb = None;
    let mut written = Vec::new();
    for ((def, zoned), (children, parents)) in defs.into_iter().zip(zoned).zip(children.zip(parents)) {
        let Ok(Some(def)) = def else {
            written.push(def.map(|_none| None));
            continue;
        };
        let mut cascades = Cascades::new(&def, &children, &foreign::read(&parents), selection);
        if cascades.act() && by_innodb.is_none() {
            by_innodb = Some(foreign::left_to_innodb(conn, Side::Target).await?);
        }
        if by_innodb == Some(false) {
            cascades.not_by_innodb();
        }
        written.push(Ok(Some(Written {
            table: Arc::new(Table::new(def)),
            cascades: Arc::new(cascades),
            zoned: zoned.map(Arc::from),
        })));
    }
    Ok(written)
}

/// What the expressions of those that have a TIMESTAMP read of it.
async fn zoned(
    conn: &mut Link,
    tables: Several<'_>,
    defs: &[Result<Option<TableDef>, Error>],
) -> Result<Vec<Option<String>>, Error> {
    let stamps: Vec<Vec<&str>> = defs
        .iter()
        .map(|def| {
            let columns = def.iter().flatten().flat_map(|def| &def.columns);
            columns
                .filter(|column| column.kind == ColumnKind::Timestamp)
                .map(|column| column.name.as_str())
                .collect()
        })
        .collect();
    let (names, stamped): (Vec<&str>, Vec<&[&str]>) = { tables.names.iter().zip(&stamps) }
        .filter(|(_, stamps)| !stamps.is_empty())
        .map(|(name, stamps)| (*name, stamps.as_slice()))
        .unzip();
    if names.is_empty() {
        return Ok(vec![None; stamps.len()]);
    }
    let some = Several {
        database: tables.database,
        names: &names,
    };
    let mut found = zone::read_on_target(conn, some, &stamped).await?.into_iter();
    Ok(stamps
        .iter()
        .map(|stamps| (!stamps.is_empty()).then(|| found.next().flatten()).flatten())
        .collect())
}

/// Each question's rows, table by table.
async fn ask(
    conn: &mut Link,
    doing: &str,
    questions: &[String],
    tables: Several<'_>,
) -> Result<Vec<Vec<Vec<AnswerRow>>>, Error> {
    let answers = conn
        .ask(questions)
        .await
        .map_err(|cause| Error::server(Side::Target, doing, cause))?;
    Ok(answers.into_iter().map(|rows| tables.sort(rows)).collect())
}
