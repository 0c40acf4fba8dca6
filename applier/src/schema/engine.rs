//! Storage engines without transactions (MyISAM, MEMORY, ARCHIVE, …). On a source no snapshot holds them still while they are copied;
//! on a target what a crash or a conflict undoes stays. Neither side is used with them.

use crate::error::{Error, Side};
use crate::link::Link;
use crate::literal::quote_text;
use crate::schema::ObjectKey;

/// The tables whose engine has no transactions, with its name.
async fn without_transactions(
    conn: &mut Link,
    side: Side,
    of: &str,
) -> Result<Vec<(ObjectKey, String)>, Error> {
    let query = format!(
        "SELECT CAST(t.table_schema AS CHAR), CAST(t.table_name AS CHAR), CAST(t.engine AS CHAR) \
         FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine \
         WHERE t.table_type = 'BASE TABLE' AND COALESCE(e.transactions, 'NO') <> 'YES' AND {of} ORDER BY 1, 2"
    );
    let rows: Vec<(String, String, String)> = conn
        .query(query)
        .await
        .map_err(|cause| Error::server(side, "reading its tables' storage engines", cause))?;
    let found = rows.into_iter();
    Ok(found
        .map(|(database, table, engine)| (ObjectKey::table(database, table), engine))
        .collect())
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
    let found = without_transactions(conn, Side::Source, SYSTEM).await?;
    let names: Vec<String> = found
        .iter()
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

/// Refuses to write to such a table.
///
/// # Errors
/// When it is one.
pub(crate) async fn refuse_on_target(conn: &mut Link, database: &str, table: &str) -> Result<(), Error> {
    let this = format!(
        "t.table_schema = {} AND t.table_name = {}",
        quote_text(database),
        quote_text(table)
    );
    match without_transactions(conn, Side::Target, &this).await?.first() {
        None => Ok(()),
        Some((key, engine)) => Err(Error::Unsuitable {
            side: Side::Target,
            what: format!(
                "{name} is of the storage engine {engine}, which has no transactions: what a crash undoes would stay there, and be done \
                 twice. Run ALTER TABLE {name} ENGINE = InnoDB on the target, then start again; better on the source, too",
                name = key.quoted()
            ),
        }),
    }
}
