//! Foreign keys that change rows of other tables: where the source's storage engine did so, its binary log does not say it.
//!
//! MySQL 9.6 and later carry cascades out in the SQL layer and log them, unless `innodb_native_foreign_keys` is ON. Older
//! servers leave them to InnoDB, which logs nothing: a replica cascades by itself. Every rows event says by its flags which it
//! was. Replay writes with foreign key checks off, which is right for the first kind. A row whose change has a cascade of the second
//! kind is written alone, with checks on: the target's own foreign keys do what the source's did.

use outrigger_protocol::binlog::{RowsEvent, RowsKind};

use crate::config::Selection;
use crate::definition::TableDef;
use crate::error::{Error, Side};
use crate::foreign;
use crate::link::Link;
use crate::literal::quote_text;
use crate::schema::ObjectKey;
use crate::statement::{Image, changed};

/// What a table's foreign key children do when its rows change.
#[derive(Debug, Default)]
pub(super) struct Cascades {
    /// Children are deleted or lose their parent when a row is deleted.
    on_delete: bool,
    /// Places of the columns that children follow.
    on_update: Vec<usize>,
    /// The target does not do to the children what InnoDB does.
    unable: bool,
    /// A table that its own rows follow, and that is not selected: nobody hears of its changes.
    astray: Option<ObjectKey>,
}

impl Cascades {
    /// Reads the foreign keys that name the table as their parent, and its own.
    pub(super) async fn load(conn: &mut Link, def: &TableDef, selection: &Selection) -> Result<Self, Error> {
        let (database, table) = (quote_text(&def.database), quote_text(&def.table));
        let query = format!(
            "SELECT r.delete_rule IN ('CASCADE', 'SET NULL'), r.update_rule IN ('CASCADE', 'SET NULL'), \
             CAST(k.referenced_column_name AS CHAR) \
             FROM information_schema.referential_constraints r JOIN information_schema.key_column_usage k \
             ON k.constraint_schema = r.constraint_schema AND k.constraint_name = r.constraint_name AND k.table_name = r.table_name \
             WHERE r.unique_constraint_schema = {database} AND r.referenced_table_name = {table}"
        );
        let rows: Vec<(bool, bool, String)> = conn
            .query(query)
            .await
            .map_err(|cause| Error::server(Side::Target, "reading foreign keys", cause))?;
        let place = |name: &str| {
            def.columns
                .iter()
                .position(|column| column.name.eq_ignore_ascii_case(name))
        };
        let on_delete = rows.iter().any(|row| row.0);
        let acts = on_delete || rows.iter().any(|row| row.1);
        let own = foreign::load_of(conn, Side::Target, &def.database, &def.table).await?;
        Ok(Self {
            unable: acts && !foreign::left_to_innodb(conn, Side::Target).await?,
            astray: foreign::astray(&own, selection).map(|key| key.parent.clone()),
            on_delete,
            on_update: rows
                .iter()
                .filter(|row| row.1)
                .filter_map(|row| place(&row.2))
                .collect(),
        })
    }

    /// Whether the target can be trusted with the children; otherwise why not, and what to do.
    pub(super) fn possible(&self) -> Result<(), &'static str> {
        if self.unable {
            return Err(foreign::UNABLE_TARGET);
        }
        Ok(())
    }

    /// The table that rows of this one follow without a word in the log.
    pub(super) fn astray(&self, rows: &RowsEvent<'_>) -> Option<&ObjectKey> {
        let logged = rows.flags & RowsEvent::USE_SQL_FOREIGN_KEY != 0;
        self.astray.as_ref().filter(|_| !logged)
    }

    /// True when the event is of a source that keeps its cascades to itself, and this row's change has some.
    pub(super) fn unlogged(
        &self,
        rows: &RowsEvent<'_>,
        before: Option<&Image<'_>>,
        after: Option<&Image<'_>>,
    ) -> bool {
        if rows.flags & (RowsEvent::NO_FOREIGN_KEY_CHECKS | RowsEvent::USE_SQL_FOREIGN_KEY) != 0 {
            return false;
        }
        match (rows.kind, before, after) {
            (RowsKind::Delete, ..) => self.on_delete,
            (RowsKind::Update, Some(before), Some(after)) => self
                .on_update
                .iter()
                .any(|column| changed(before, after, *column)),
            _ => false,
        }
    }
}
