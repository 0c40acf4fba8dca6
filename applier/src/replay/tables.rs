//! Which table a rows event is about, how its rows are decoded and how they are written: kept until the next definition
//! statement.
//!
//! Rows are decoded with the target's own definition: DDL is a barrier applied in order, so what the target has is the
//! definition as of the event (A4). Where the event's table map contradicts it, the task stops.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_protocol::binlog::rows::{ColumnHint, RowPlan};
use outrigger_protocol::binlog::{ColumnType, TableMap};
use outrigger_storage::Offset;

use super::cascade::Cascades;
use crate::config::Selection;
use crate::definition::{self, ColumnDef, ColumnKind, TableDef};
use crate::error::{Error, Place, Side};
use crate::literal::quote_name;
use crate::snapshot::SkipUntil;
use crate::statement::Table;
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
    /// What changes of its rows do to other tables.
    pub(super) cascades: Arc<Cascades>,
    /// How its rows are decoded.
    pub(super) plan: RowPlan,
}

#[derive(Debug)]
struct Mapped {
    map: TableMap,
    /// Up to here the table's rows are in the copy.
    skip_until: Offset,
    route: Option<Route>,
}

/// The tables that events have named.
#[derive(Debug, Default)]
pub(super) struct Tables {
    mapped: HashMap<u64, Mapped>,
    written: HashMap<(String, String), (Arc<Table>, Arc<Cascades>)>,
}

/// Table maps kept at most: numbers grow with every definition change and server restart.
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
        if self.mapped.len() >= MAX_MAPS {
            self.mapped.clear();
        }
        let skip_until = skip.table(&map.database, &map.table);
        self.mapped.insert(
            map.table_id,
            Mapped {
                map,
                skip_until,
                route: None,
            },
        );
    }

    /// Forgets all definitions: a definition statement was applied.
    pub(super) fn forget(&mut self) {
        self.mapped.clear();
        self.written.clear();
    }

    /// What to do with rows of the table that `table_id` stands for, at `place`.
    pub(super) async fn route(
        &mut self,
        table_id: u64,
        selection: &Selection,
        target: &mut Target,
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
            let name = (mapped.map.database.clone(), mapped.map.table.clone());
            let (table, cascades) = match self.written.get(&name) {
                Some(known) => known.clone(),
                None => {
                    let def = load(target, &name, place).await?;
                    let cascades = Arc::new(Cascades::load(target.conn(), &def).await?);
                    let known = (Arc::new(Table::new(def)), cascades);
                    self.written.insert(name, known.clone());
                    known
                }
            };
            Route::Use(Arc::new(plan(&mapped.map, table, cascades, place)?))
        } else {
            Route::Skip
        };
        mapped.route = Some(route.clone());
        Ok(route)
    }
}

async fn load(
    target: &mut Target,
    (database, table): &(String, String),
    place: &Place,
) -> Result<TableDef, Error> {
    definition::load(target.conn(), Side::Target, database, table)
        .await?
        .ok_or_else(|| Error::Definition {
            table: format!("{}.{}", quote_name(database), quote_name(table)),
            place: place.clone(),
            what: "the target has no such table".to_owned(),
        })
}

/// Checks that the event and the definition speak of the same columns, and plans the decoding.
fn plan(map: &TableMap, table: Arc<Table>, cascades: Arc<Cascades>, place: &Place) -> Result<Planned, Error> {
    let columns = &table.def.columns;
    let differ = |what: String| Error::Definition {
        table: table.quoted.clone(),
        place: place.clone(),
        what,
    };
    if map.columns.len() != columns.len() {
        return Err(differ(format!(
            "the event has {} columns, the target {}",
            map.columns.len(),
            columns.len()
        )));
    }
    for (n, (theirs, ours)) in map.columns.iter().zip(columns).enumerate() {
        if !fits(theirs.kind, ours) {
            let (name, declared) = (&ours.name, &ours.declared);
            let what = format!(
                "column {} ({name}) is {declared} on the target, but {:?} in the event",
                n + 1,
                theirs.kind
            );
            return Err(differ(what));
        }
        if theirs
            .unsigned
            .is_some_and(|unsigned| unsigned != ours.unsigned && ours.kind != ColumnKind::Year)
        {
            let what = format!(
                "column {} ({}) is {} on the target, but differs in sign in the event",
                n + 1,
                ours.name,
                ours.declared
            );
            return Err(differ(what));
        }
    }
    let hint = |column: &ColumnDef| ColumnHint {
        unsigned: column.unsigned,
        binary: matches!(column.kind, ColumnKind::Binary { .. }),
    };
    let hints: Vec<ColumnHint> = columns.iter().map(hint).collect();
    let plan = RowPlan::new(map, &hints).map_err(|cause| Error::Event {
        place: place.clone(),
        cause,
    })?;
    Ok(Planned {
        table,
        cascades,
        plan,
    })
}

/// Whether rows of an event's column type can stand in a column. Numbers are MySQL's `enum_field_types`.
fn fits(theirs: ColumnType, ours: &ColumnDef) -> bool {
    let types: &[u8] = match ours.kind {
        ColumnKind::TinyInt => &[1],
        ColumnKind::SmallInt => &[2],
        ColumnKind::MediumInt => &[9],
        ColumnKind::Int => &[3],
        ColumnKind::BigInt => &[8],
        ColumnKind::Decimal => &[246],
        ColumnKind::Float => &[4],
        ColumnKind::Double => &[5],
        ColumnKind::Bit => &[16],
        ColumnKind::Year => &[13],
        ColumnKind::Date => &[10, 14],
        ColumnKind::Time => &[11, 19],
        ColumnKind::DateTime => &[12, 18],
        ColumnKind::Timestamp => &[7, 17],
        ColumnKind::Char | ColumnKind::Binary { .. } => &[254],
        ColumnKind::VarChar | ColumnKind::VarBinary => &[15, 253],
        ColumnKind::Text | ColumnKind::Blob => &[249, 250, 251, 252],
        ColumnKind::Enum => &[247],
        ColumnKind::Set => &[248],
        ColumnKind::Json => &[245],
        ColumnKind::Geometry => &[255],
        ColumnKind::Vector => &[242],
    };
    types.contains(&theirs.0)
}
