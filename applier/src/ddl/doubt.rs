//! Statements that would do something else on the target than on the source, without a sign: what is looked at on the target
//! before they run.

use crate::link::Link;
use crate::literal::{quote_name, quote_text};

use super::columns::{Columns, Numbers};
use super::read::{Change, Named};

/// "No such table", "unknown column": the statement itself will say so.
const MISSING: [u16; 2] = [1146, 1054];

/// What is known of a statement before it runs.
pub(super) enum Doubt {
    /// It does what it did on the source.
    None,
    /// What it makes was made by hand.
    Done,
    /// It would do something else; the sentence says what, and what to do.
    Refused(String),
}

/// Looks at what the statement depends on beside its text.
pub(super) async fn doubt(conn: &mut Link, change: &Change) -> Result<Doubt, mysql_async::Error> {
    let Some(table) = change.objects.first() else {
        return Ok(Doubt::None);
    };
    if let Some(template) = &change.template {
        return Ok(match is_there(conn, table).await? {
            true => Doubt::Done,
            false => Doubt::Refused(format!(
                "`{}` makes {table} like {template}, which does not belong to the task, so what that was like is not known here: create {table} \
                 on the target as it was made on the source (SHOW CREATE TABLE tells, if it was not changed since), then start the task again",
                change.head()
            )),
        });
    }
    let columns = Columns::of(change);
    if let Some(function) = columns.asks
        && are_several(conn, table, &Numbers::All, 1).await?
    {
        return Ok(Doubt::Refused(format!(
            "`{}` fills a column of {table} with what {function}() says, which is something else on the target: copy the table anew",
            change.head()
        )));
    }
    let Some(numbers) = columns.numbers else {
        return Ok(Doubt::None);
    };
    if is_ordered(conn, table).await? || !are_several(conn, table, &numbers, 2).await? {
        return Ok(Doubt::None);
    }
    Ok(Doubt::Refused(format!(
        "`{}` numbers its rows in the order in which they are stored, which for {table} may be another one on the target, since it has \
         neither a primary key nor a unique key of columns that are NOT NULL: copy the table anew",
        change.head()
    )))
}

async fn is_there(conn: &mut Link, table: &Named) -> Result<bool, mysql_async::Error> {
    let query = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        quote_text(&table.database),
        quote_text(&table.name)
    );
    Ok(conn.query_first::<u8>(query).await?.is_some())
}

/// Whether the rows' order is the same wherever they are stored: InnoDB keeps them by the primary key, or else by the first unique
/// key of whole, stored columns that are NOT NULL.
async fn is_ordered(conn: &mut Link, table: &Named) -> Result<bool, mysql_async::Error> {
    let query = format!(
        "SELECT 1 FROM information_schema.statistics AS s LEFT JOIN information_schema.columns AS c \
         USING (table_schema, table_name, column_name) WHERE s.table_schema = {} AND s.table_name = {} \
         GROUP BY s.index_name HAVING MAX(s.non_unique) = 0 AND SUM(s.nullable = 'YES' OR s.sub_part IS NOT NULL \
         OR c.extra IS NULL OR c.extra LIKE '%VIRTUAL GENERATED%') = 0 LIMIT 1",
        quote_text(&table.database),
        quote_text(&table.name)
    );
    Ok(conn.query_first::<u8>(query).await?.is_some())
}

/// Whether at least so many rows get a number.
async fn are_several(
    conn: &mut Link,
    table: &Named,
    numbers: &Numbers,
    wanted: u8,
) -> Result<bool, mysql_async::Error> {
    let which = match numbers {
        Numbers::All => "TRUE".to_owned(),
        Numbers::Missing(column) => format!("COALESCE({}, 0) = 0", quote_name(column)),
    };
    let query =
        format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {which} LIMIT {wanted}) AS numbered");
    match conn.query_first::<u8>(query).await {
        Ok(count) => Ok(count >= Some(wanted)),
        Err(mysql_async::Error::Server(error)) if MISSING.contains(&error.code) => Ok(false),
        Err(cause) => Err(cause),
    }
}
