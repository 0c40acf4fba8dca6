//! Asking a server for a table's definition.
//!
//! The copy asks the source, replay the target, whose definition is the one as of the replayed offset because DDL is applied
//! in order (A4).

use outrigger_protocol::definition::{AnswerRow, Several};
pub(crate) use outrigger_protocol::definition::{ColumnDef, ColumnKind, TableDef};

use crate::error::{Error, Side};
use crate::link::Link;
use crate::literal::quote_name;

/// Reads a table's definition; `None` when there is no such base table.
pub(crate) async fn load(
    conn: &mut Link,
    side: Side,
    database: &str,
    table: &str,
) -> Result<Option<TableDef>, Error> {
    let this = Several {
        database,
        names: &[table],
    };
    let answers = conn
        .ask(&TableDef::questions(this))
        .await
        .map_err(|cause| Error::server(side, doing(database, table), cause))?;
    let mut answers = answers.into_iter().map(|rows| this.sort(rows).concat());
    let mut next = || answers.next().unwrap_or_default();
    read(side, database, table, &next(), &next())
}

/// The definition in the answers to its questions.
pub(crate) fn read(
    side: Side,
    database: &str,
    table: &str,
    columns: &[AnswerRow],
    keys: &[AnswerRow],
) -> Result<Option<TableDef>, Error> {
    TableDef::from_answers(database, table, columns, keys).map_err(|what| Error::Unsuitable {
        side,
        what: format!("{}: {what}", doing(database, table)),
    })
}

fn doing(database: &str, table: &str) -> String {
    format!(
        "reading the definition of {}.{}",
        quote_name(database),
        quote_name(table)
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plain nullable column for tests.
    pub(crate) fn plain(name: &str, kind: ColumnKind) -> ColumnDef {
        let charset = matches!(kind, ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text)
            .then(|| "utf8mb4".to_owned());
        ColumnDef {
            name: name.into(),
            kind,
            declared: String::new(),
            unsigned: false,
            collation: charset.clone(),
            charset,
            nullable: true,
            generated: false,
            on_update: false,
            auto_increment: false,
            has_default: false,
            invisible: false,
        }
    }
}
