//! Which table a rows event is about, how its rows are decoded and how they are written: kept until the next definition
//! statement.
//!
//! Rows are written with the target's own definition: DDL is a barrier applied in order, so what the target has is the
//! definition as of the event (A4). Where what is known of the source's contradicts it, the task stops.

mod written;

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_protocol::binlog::TableMap;
use outrigger_protocol::binlog::rows::RowPlan;
use outrigger_storage::{Definition, Log, Offset, Schema};

use self::written::{Known, Written};
use super::cascade::Cascades;
use super::conflict::Identity;
use super::layout::Layout;
use crate::config::Selection;
use crate::error::{Error, Place};
use crate::literal::quote_name;
use crate::snapshot::SkipUntil;
use crate::statement::{Image, Table};
use crate::target::Target;

/// What to do with rows of a table.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// The table is not selected.
    Skip,
    /// Decode and write them, from after `skip_until` on.
    Use(Arc<Planned>),
}

/// A selected table.
#[derive(Debug)]
pub(super) struct Planned {
    /// How its rows are written.
    pub(super) table: Arc<Table>,
    /// The same with other keys, for rows of which the source logged another key only.
    found_otherwise: Vec<Arc<Table>>,
    /// What changes of its rows do to other tables.
    pub(super) cascades: Arc<Cascades>,
    /// TIMESTAMP columns that its expressions read, for messages.
    pub(super) zoned: Option<Arc<str>>,
    /// Which unique values its rows have.
    pub(super) identity: Identity,
    /// How its rows are decoded.
    pub(super) plan: RowPlan,
    /// It was copied at one place: replay of it is exact from there on.
    pub(super) exact: bool,
}

impl Planned {
    /// The table by whose key a row is found that was `before`; `None` when it can't be found.
    pub(super) fn finding(&self, before: &Image<'_>) -> Option<&Arc<Table>> {
        std::iter::once(&self.table)
            .chain(&self.found_otherwise)
            .find(|table| table.is_found_by(before))
    }
}

#[derive(Debug)]
struct Mapped {
    map: TableMap,
    /// Up to here the table's rows are in the copy.
    skip_until: Offset,
    /// They are as the source's were there.
    exact: bool,
    route: Option<Route>,
}

/// The tables that events have named.
#[derive(Debug, Default)]
pub(super) struct Tables {
    mapped: HashMap<u64, Mapped>,
    written: Known,
}

/// Where rows are read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) log: &'a Log,
    /// The transaction that holds them; their effect may belong to a later one's place.
    pub(super) offset: Offset,
    /// The source takes `T` and `t` for one table.
    pub(super) folds_names: bool,
}

/// So many table maps are kept from one transaction to the next: numbers grow with every definition change and server restart.
const MAX_MAPS: usize = 4096;

impl Tables {
    /// Takes a table map; its rows events follow.
    pub(super) fn map(&mut self, map: TableMap, skip: &SkipUntil) {
        if self
            .mapped
            .get(&map.table_id)
            .is_some_and(|known| known.map == map)
        {
            return;
        }
        let skip_until = skip.table(&map.database, &map.table);
        let exact = skip.is_exact(&map.database, &map.table);
        self.mapped.insert(
            map.table_id,
            Mapped {
                map,
                skip_until,
                exact,
                route: None,
            },
        );
    }

    /// A transaction begins: no table map before it counts for its rows.
    pub(super) fn begin(&mut self) {
        if self.mapped.len() >= MAX_MAPS {
            self.mapped.clear();
        }
    }

    /// Forgets all definitions: a definition statement was applied.
    pub(super) fn forget(&mut self) {
        self.mapped.clear();
        self.written.forget();
    }

    /// What to do with rows of the table that `table_id` stands for, at `place`.
    pub(super) async fn route(
        &mut self,
        table_id: u64,
        selection: &Selection,
        target: &mut Target,
        origin: Origin<'_>,
        place: &Place,
    ) -> Result<Route, Error> {
        let Some(mapped) = self.mapped.get_mut(&table_id) else {
            let what =
                format!("a rows event refers to table number {table_id}, which no table map before it names");
            return Err(Error::Transaction {
                place: place.clone(),
                what,
            });
        };
        if place.offset <= mapped.skip_until.0 {
            return Ok(Route::Skip);
        }
        if let Some(route) = &mapped.route {
            return Ok(route.clone());
        }
        let route = if selection.table(&mapped.map.database, &mapped.map.table) {
            let (database, table) = (&mapped.map.database, &mapped.map.table);
            let written = self.written.get(database, table, selection, target).await?;
            let written = written.ok_or_else(|| Error::Definition {
                table: format!("{}.{}", quote_name(database), quote_name(table)),
                place: place.clone(),
                what: "the target has no such table".to_owned(),
            })?;
            let exact = origin.definition(&mapped.map)?;
            let layout = Layout::new(&mapped.map, exact.as_ref().map(|definition| &definition.table));
            Route::Use(Arc::new(Planned {
                exact: mapped.exact,
                ..plan(&mapped.map, &layout, written, place)?
            }))
        } else {
            Route::Skip
        };
        mapped.route = Some(route.clone());
        Ok(route)
    }
}

impl Origin<'_> {
    /// The log's definition of the table as of the rows, where it is proven.
    fn definition(self, map: &TableMap) -> Result<Option<Arc<Definition>>, Error> {
        let (database, table) = (&map.database, &map.table);
        // The log has names of such a source in lower case, and perhaps older ones in another.
        let spelled_otherwise = |name: &String| *name != name.to_lowercase();
        if self.folds_names && (spelled_otherwise(database) || spelled_otherwise(table)) {
            return Ok(None);
        }
        let version = self.log.schema(database, table, self.offset)?;
        Ok(version.and_then(|version| match version.schema {
            Schema::Exact(definition) => Some(definition),
            Schema::Absent | Schema::Late(_) => None,
        }))
    }
}

/// Checks that source and target speak of the same columns, and plans the decoding.
fn plan(map: &TableMap, layout: &Layout<'_>, written: Written, place: &Place) -> Result<Planned, Error> {
    let Written {
        table,
        cascades,
        zoned,
    } = written;
    if let Some(what) = layout.contradiction(&table.def) {
        return Err(Error::Definition {
            table: table.quoted.clone(),
            place: place.clone(),
            what,
        });
    }
    let plan = RowPlan::new(map, &layout.hints(&table.def)).map_err(|cause| Error::Event {
        place: place.clone(),
        cause,
    })?;
    Ok(Planned {
        identity: Identity::new(&table.def),
        found_otherwise: table.found_otherwise().into_iter().map(Arc::new).collect(),
        table,
        cascades,
        zoned,
        plan,
        exact: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(table_id: u64) -> TableMap {
        TableMap {
            table_id,
            flags: 0,
            database: "app".to_owned(),
            table: format!("t{table_id}"),
            columns: Vec::new(),
            primary_key: None,
        }
    }

    /// A statement may name more tables than are kept: none is forgotten before its rows, which come after all of the maps.
    #[test]
    fn table_maps_are_forgotten_between_transactions_only() {
        let mut tables = Tables::default();
        let count = u64::try_from(MAX_MAPS).expect("small") + 100;
        tables.begin();
        for number in 0..count {
            tables.map(map(number), &SkipUntil::default());
        }
        assert!((0..count).all(|number| tables.mapped.contains_key(&number)));
        tables.begin();
        assert!(tables.mapped.is_empty(), "they grow with every definition change");
    }
}
