//! Storage engines without transactions (MyISAM, MEMORY, ARCHIVE, …). On a source no snapshot holds them still while they are copied;
//! on a target what a crash or a conflict undoes stays. Neither side is used with them.

use outrigger_protocol::definition::{AnswerRow, Several};

use crate::error::{Error, Side};
use crate::link::Link;
use crate::schema::ObjectKey;

/// Tables whose engine has no transactions: their database, their name, the engine.
fn without_transactions(number: &str, of: &str) -> String {
    format!(
        "SELECT {number}, CAST(t.table_schema AS CHAR), CAST(t.table_name AS CHAR), CAST(t.engine AS CHAR) \
         FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine \
         WHERE t.table_type = 'BASE TABLE' AND COALESCE(e.transactions, 'NO') <> 'YES' AND {of} ORDER BY 2, 3"
    )
}

/// Refuses to copy such tables.
///
/// # Errors
/// When one of them is wanted; the sentence names them all.
pub(crate) async fn refuse_on_source(
    conn: &mut Link,
    wanted: impl Fn(&ObjectKey) -> bool,
) -> Result<(), Error> {
    const SYSTEM: &str = "t.table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')";
    let found: Vec<(u8, String, String, String)> = conn
        .query(without_transactions("1", SYSTEM))
        .await
        .map_err(|cause| Error::server(Side::Source, "reading its tables' storage engines", cause))?;
    let names: Vec<String> = found
        .into_iter()
        .map(|(_, database, table, engine)| (ObjectKey::table(database, table), engine))
        .filter(|(key, _)| wanted(key))
        .map(|(key, engine)| format!("{} ({engine})", key.quoted()))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = format!(
        "tables of storage engines without transactions are selected: {}. Such an engine shows no snapshot to copy from: convert them \
         (ALTER TABLE … ENGINE = InnoDB), or leave them out (`exclude`)",
        names.join(", ")
    );
    Err(Error::Unsuitable {
        side: Side::Source,
        what,
    })
}

/// What tells whether tables can be written to.
pub(crate) fn question(tables: Several<'_>) -> String {
    without_transactions(
        &tables.number("t.table_name"),
        &tables.condition("t.table_schema", "t.table_name"),
    )
}

/// Refuses to write to such a table.
///
/// # Errors
/// When the [`question`]'s answer for it says that it is one.
pub(crate) fn refuse(answer: &[AnswerRow]) -> Result<(), Error> {
    let Some([Some(database), Some(table), Some(engine)]) = answer.first().map(Vec::as_slice) else {
        return Ok(());
    };
    Err(Error::Unsuitable {
        side: Side::Target,
        what: format!(
            "{name} is of the storage engine {engine}, which has no transactions: what a crash undoes would stay there, and be done \
             twice. Run ALTER TABLE {name} ENGINE = InnoDB on the target, then start again; better on the source, too",
            name = ObjectKey::table(database.as_str(), table.as_str()).quoted()
        ),
    })
}

/// Asks whether a table can be written to, and refuses to.
pub(crate) async fn refuse_on_target(conn: &mut Link, database: &str, table: &str) -> Result<(), Error> {
    let this = Several {
        database,
        names: &[table],
    };
    let answers = conn
        .ask(&[question(this)])
        .await
        .map_err(|cause| Error::server(Side::Target, "reading its tables' storage engines", cause))?;
    refuse(&this.sort(answers.concat()).concat())
}
