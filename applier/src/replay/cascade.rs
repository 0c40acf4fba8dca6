//! Foreign keys that change rows of other tables: where the source's storage engine did so, its binary log does not say it.
//!
//! MySQL 9.6 and later carry cascades out in the SQL layer and log them, unless `innodb_native_foreign_keys` is ON. Older
//! servers leave them to InnoDB, which logs nothing: a replica cascades by itself. Every rows event says by its flags which it
//! was. Replay writes with foreign key checks off, which is right for the first kind. A row whose change has a cascade of the second
//! kind is written alone, with checks on: the target's own foreign keys do what the source's did.

use outrigger_protocol::binlog::{RowsEvent, RowsKind};
use outrigger_protocol::definition::{AnswerRow, Several};

use crate::config::Selection;
use crate::definition::TableDef;
use crate::foreign::{self, ForeignKey};
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
    /// What tells the foreign keys that name tables as their parent.
    pub(super) fn question(parents: Several<'_>) -> String {
        format!(
            "SELECT {}, r.delete_rule IN ('CASCADE', 'SET NULL'), r.update_rule IN ('CASCADE', 'SET NULL'), \
             CAST(k.referenced_column_name AS CHAR) \
             FROM information_schema.referential_constraints r JOIN information_schema.key_column_usage k \
             ON k.constraint_schema = r.constraint_schema AND k.constraint_name = r.constraint_name AND k.table_name = r.table_name \
             WHERE {}",
            parents.number("r.referenced_table_name"),
            parents.condition("r.unique_constraint_schema", "r.referenced_table_name")
        )
    }

    /// From the table's part of the answer, and its own foreign keys.
    pub(super) fn new(
        def: &TableDef,
        children: &[AnswerRow],
        own: &[ForeignKey],
        selection: &Selection,
    ) -> Self {
        let yes = |value: Option<&Option<String>>| value.is_some_and(|value| value.as_deref() == Some("1"));
        let place = |row: &AnswerRow| {
            let name = row.get(2)?.as_deref()?;
            def.columns
                .iter()
                .position(|column| column.name.eq_ignore_ascii_case(name))
        };
        Self {
            on_delete: children.iter().any(|row| yes(row.first())),
            on_update: children
                .iter()
                .filter(|row| yes(row.get(1)))
                .filter_map(place)
                .collect(),
            unable: false,
            astray: foreign::astray(own, selection).map(|key| key.parent.clone()),
        }
    }

    /// Whether children change with rows of this table.
    pub(super) fn act(&self) -> bool {
        self.on_delete || !self.on_update.is_empty()
    }

    /// The target does not do to the children what InnoDB does.
    pub(super) fn not_by_innodb(&mut self) {
        self.unable = self.act();
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
