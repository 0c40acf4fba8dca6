//! Asking a server for a table's definition.
//!
//! The copy asks the source, replay the target, whose definition is the one as of the replayed offset because DDL is applied
//! in order (A4).

use mysql_async::Row;
use outrigger_protocol::definition::AnswerRow;
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
    let doing = || {
        format!(
            "reading the definition of {}.{}",
            quote_name(database),
            quote_name(table)
        )
    };
    let mut answers = Vec::new();
    for question in TableDef::questions(database, table) {
        let rows: Vec<Row> = conn
            .query(question)
            .await
            .map_err(|cause| Error::server(side, doing(), cause))?;
        answers.push(rows.into_iter().map(texts).collect::<Vec<_>>());
    }
    let answer = |n: usize| answers.get(n).map_or(&[][..], Vec::as_slice);
    TableDef::from_answers(database, table, answer(0), answer(1)).map_err(|what| Error::Unsuitable {
        side,
        what: format!("{}: {what}", doing()),
    })
}

/// A row of a text result.
fn texts(row: Row) -> AnswerRow {
    let text = |value| {
        mysql_async::from_value_opt::<Option<String>>(value)
            .ok()
            .flatten()
    };
    row.unwrap().into_iter().map(text).collect()
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
