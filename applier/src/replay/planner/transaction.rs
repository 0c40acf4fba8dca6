//! One source transaction: its events in order, as changes of the group that is being planned.

use std::borrow::Cow;
use std::sync::Arc;

use outrigger_protocol::binlog::rows::Images;
use outrigger_protocol::binlog::{Body, Event, QueryEvent, RowsEvent, RowsKind, Unfolder, XaPrepare};
use outrigger_protocol::position::FilePosition;
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::ddl::{self, Kind};
use outrigger_protocol::value::Value;
use outrigger_storage::{Begin, Offset, Record};

use super::xa::Xa;
use super::{Halt, Planner};
use crate::checkpoint::PreparedXa;
use crate::config::OnDivergence;
use crate::error::{Error, Place};
use crate::foreign;
use crate::replay::tables::{Origin, Planned, Route};
use crate::schema::ObjectKey;
use crate::statement::{Change, Effect, Image, Mode, Table};
use crate::xa;

/// The transaction whose records are being read.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) place: Place,
    begin: Begin,
    /// The log's transaction that holds its rows.
    rows_at: Offset,
    /// Finds its events.
    unfolder: Unfolder,
    /// True once it changed rows of a selected table.
    pub(super) changed: bool,
    /// The time zone of its session, as far as it is told.
    pub(super) zone: Option<String>,
    xa: Option<Xa>,
}

impl Transaction {
    pub(super) fn new(offset: Offset, begin: Begin) -> Self {
        Self {
            place: Place::new(offset, Some(begin.start.clone())),
            unfolder: Unfolder::new(begin.checksum),
            begin,
            rows_at: offset,
            changed: false,
            zone: None,
            xa: None,
        }
    }
}

impl Planner {
    /// All events of one record of the current transaction.
    pub(super) async fn events(&mut self, record: &Record) -> Result<(), Halt> {
        let Some(transaction) = &mut self.current else {
            let what = "its first part is missing in the change log".to_owned();
            return Err(Error::Transaction {
                place: Place::default(),
                what,
            }
            .into());
        };
        let place = transaction.place.clone();
        let mut unfolder = std::mem::take(&mut transaction.unfolder);
        self.decode(&mut unfolder, record, &place).await?;
        if let Some(transaction) = &mut self.current {
            transaction.unfolder = unfolder;
        }
        Ok(())
    }

    /// Decodes a record's events; `place` is where their effect belongs.
    async fn decode(&mut self, unfolder: &mut Unfolder, record: &Record, place: &Place) -> Result<(), Halt> {
        let broken = |cause| {
            Halt::from(Error::Event {
                place: place.clone(),
                cause,
            })
        };
        let mut bytes: &[u8] = &record.events;
        while let Some(found) = unfolder.next(&mut bytes).map_err(broken)? {
            self.event(found.parse().map_err(broken)?, place).await?;
        }
        if record.end.is_some() {
            unfolder.finish().map_err(broken)?;
        }
        Ok(())
    }

    async fn event(&mut self, event: Event<'_>, place: &Place) -> Result<(), Halt> {
        match event.body {
            Body::Query(query) => Box::pin(self.query(&query, event.header.timestamp, place)).await,
            Body::XaPrepare(prepare) => {
                self.xa_prepare(prepare);
                Ok(())
            }
            // The rows of an XA transaction are read again when it ends.
            _ if self
                .current
                .as_ref()
                .is_some_and(|t| t.xa.as_ref().is_some_and(Xa::is_scanning)) =>
            {
                Ok(())
            }
            Body::TableMap(map) => {
                self.tables.map(map, &self.copied.skip_until);
                Ok(())
            }
            Body::Rows(rows) => self.rows(&rows, place).await,
            Body::LoadData => Err(refuse(
                place,
                "LOAD DATA in statement format, whose rows are in no row event: set binlog_format = ROW on the source, also in \
                 sessions that change it, and copy the tables anew",
            )),
            Body::TransactionPayload(_) => Err(refuse(place, "a compressed transaction within another one")),
            Body::Incident(_) => Err(refuse(
                place,
                "the source reports a gap in its binary log (INCIDENT): copy the selected databases anew",
            )),
            // What frames a transaction, explains the next rows, or serves statements that are refused themselves.
            Body::FormatDescription(_)
            | Body::Rotate(_)
            | Body::Gtid(_)
            | Body::PreviousGtids(_)
            | Body::Xid(_)
            | Body::RowsQuery(_)
            | Body::Heartbeat(_)
            | Body::Stop
            | Body::IntVar(_)
            | Body::Rand(_)
            | Body::UserVar(_)
            | Body::Ignorable => Ok(()),
        }
    }

    async fn rows(&mut self, rows: &RowsEvent<'_>, place: &Place) -> Result<(), Halt> {
        let selection = &self.context.config.selection;
        let origin = Origin {
            log: &self.log,
            offset: self.current.as_ref().map_or(Offset(place.offset), |t| t.rows_at),
            folds_names: self.folds_names,
        };
        let route = self
            .tables
            .route(rows.table_id, selection, &mut self.target, origin, place)
            .await?;
        let Route::Use(planned) = route else { return Ok(()) };
        if let Some(transaction) = &mut self.current {
            transaction.changed = true;
        }
        self.prove_zone(&planned, place).await?;
        if let Some(parent) = planned.cascades.astray(rows) {
            let child = ObjectKey::table(&planned.table.def.database, &planned.table.def.table);
            return Err(refuse(place, &foreign::why_astray(&child, parent)));
        }
        let mode = if place.offset <= self.copied.exact_after.0 && !planned.exact {
            Mode::Idempotent
        } else {
            Mode::Exact
        };
        let limit = self.max_bytes();
        let mut images = planned.plan.rows(rows);
        loop {
            let read = images.read().map_err(|cause| Error::Event {
                place: place.clone(),
                cause,
            })?;
            let Some(Images { before, after }) = read else {
                break;
            };
            let cascades = planned.cascades.unlogged(rows, before, after);
            if cascades {
                followed(&planned, mode, place)?;
            }
            let change = match (rows.kind, before, after) {
                (RowsKind::Insert, _, Some(after)) => Change::Insert(after),
                (RowsKind::Update, Some(before), Some(after)) => Change::Update(before, after),
                (RowsKind::Delete, Some(before), _) => Change::Delete(before),
                _ => return Err(refuse(place, "a rows event without the images that its kind has")),
            };
            let whole = planned.table.is_whole(&change);
            let table = match whole {
                true => &planned.table,
                false => self.partial(&planned, &change, mode, place)?,
            };
            if self.group.len() + change.size() > limit && self.group.has_rows() {
                self.spill().await?;
            }
            self.touch(&planned, change, whole, mode);
            if cascades {
                // Which rows of which tables follow can't be told.
                self.group.footprint.everything();
            }
            self.write(table, change, whole, mode, cascades, place);
        }
        Ok(())
    }

    /// The table by whose key the row of a change is found of which the source logged a part only.
    fn partial<'p>(
        &self,
        planned: &'p Planned,
        change: &Change<'_, '_>,
        mode: Mode,
        place: &Place,
    ) -> Result<&'p Arc<Table>, Error> {
        let refuse = |what: String| Error::Definition {
            table: planned.table.quoted.clone(),
            place: place.clone(),
            what,
        };
        const FULL: &str = "SET PERSIST binlog_row_image = 'FULL' on the source";
        if !self.context.config.allow_partial_row_images {
            return Err(refuse(format!(
                "the source logged a part of the row only: {FULL}, or set allow_partial_row_images = true in [source] and copy the \
                 table anew"
            )));
        }
        if mode == Mode::Idempotent {
            let what = "the source logged a part of the row only, and the table was copied in chunks, which can't be put right by parts \
                        of rows: with allow_partial_row_images = true in [source], copy the table anew";
            return Err(refuse(what.to_owned()));
        }
        let found = match change {
            Change::Insert(_) => Some(&planned.table),
            Change::Update(before, _) | Change::Delete(before) => planned.finding(before),
        };
        found.ok_or_else(|| {
            refuse(format!(
                "the source logged a part of the row only, and not the key by which it is found on the target ({}): give the table \
                 the same primary key on both sides, or {FULL}",
                planned.table.key_names()
            ))
        })
    }

    /// Notes what a change touches.
    fn touch(&mut self, planned: &Planned, change: Change<'_, '_>, whole: bool, mode: Mode) {
        let footprint = &mut self.group.footprint;
        if mode == Mode::Idempotent || self.group.careful {
            // What is written over may be newer than the event, or not the source's: which rows are in the way can't be told from it.
            footprint.everything();
        }
        match change {
            _ if !whole => planned.identity.add_partial(footprint, &change),
            Change::Insert(row) | Change::Delete(row) => planned.identity.add(footprint, row),
            Change::Update(before, after) => {
                planned.identity.add(footprint, before);
                planned.identity.add(footprint, after);
            }
        }
    }

    /// Adds a change to the group.
    fn write(
        &mut self,
        table: &Arc<Table>,
        change: Change<'_, '_>,
        whole: bool,
        mode: Mode,
        cascades: bool,
        place: &Place,
    ) {
        let group = &mut self.group;
        if group.careful {
            // What should have followed a row that is not there can't be told.
            let effect = match (cascades, self.context.config.on_divergence) {
                (true, _) => Effect::Followed,
                (false, OnDivergence::Overwrite) => Effect::Repairable,
                (false, _) => Effect::Plain,
            };
            group.singles.push(table, change, mode, place, effect);
        } else if cascades {
            group.statements.change_cascading(table, change);
        } else if !whole {
            group.statements.change_partial(table, change);
        } else {
            group.statements.change(table, change, mode);
        }
    }

    async fn query(&mut self, query: &QueryEvent<'_>, timestamp: u32, place: &Place) -> Result<(), Halt> {
        if let (Some(transaction), Some(zone)) = (&mut self.current, &query.session.time_zone) {
            transaction.zone = Some(zone.clone());
        }
        if query.statement == b"BEGIN" || query.statement == b"COMMIT" {
            return Ok(());
        }
        let mode = SqlMode::from_bits_retain(query.session.sql_mode.unwrap_or(0));
        let kind = ddl::classify(query.statement, mode).kind;
        let scanning = self.current.as_ref().is_some_and(|t| t.xa.is_some());
        match kind {
            Kind::Begin
            | Kind::Commit
            | Kind::Savepoint
            | Kind::ReleaseSavepoint
            | Kind::XaEnd
            | Kind::XaPrepare => Ok(()),
            Kind::XaStart => {
                // While a prepared transaction's rows are read again, `current` is the one that ends it.
                if let Some(transaction) = self
                    .current
                    .as_mut()
                    .filter(|t| t.place == *place && t.xa.is_none())
                {
                    transaction.xa = Some(Xa::Scanning);
                }
                Ok(())
            }
            Kind::XaCommit | Kind::XaRollback => {
                let xid = xa::xid(query.statement)
                    .ok_or_else(|| refuse(place, "an XA statement whose transaction id can't be read"))?;
                if let Some(transaction) = &mut self.current {
                    transaction.xa = Some(Xa::Ends {
                        xid,
                        commit: kind == Kind::XaCommit,
                    });
                }
                Ok(())
            }
            Kind::Rollback | Kind::RollbackToSavepoint if scanning => Ok(()),
            Kind::Rollback | Kind::RollbackToSavepoint => {
                if self.current.as_ref().is_some_and(|t| t.changed) {
                    return Err(refuse(
                        place,
                        "it is rolled back after it changed tables of an engine without transactions: convert those to InnoDB and \
                         copy the tables anew",
                    ));
                }
                Ok(())
            }
            _ => self.definition(query, timestamp, place).await,
        }
    }

    /// The transaction's last record was planned: the group holds it as a whole now.
    pub(super) async fn end(&mut self, offset: Offset, file: FilePosition) -> Result<(), Halt> {
        let Some(transaction) = self.current.take() else {
            return Ok(());
        };
        self.position.file = file;
        if let (Some(gtids), Some(gtid)) = (&mut self.position.gtids, &transaction.begin.gtid) {
            gtids.insert(gtid.clone());
        }
        let place = transaction.place.clone();
        match transaction.xa {
            None | Some(Xa::Scanning) => {}
            Some(Xa::Prepared { xid }) => {
                self.prepared.retain(|xa| xa.xid != xid);
                self.prepared.push(PreparedXa { xid, offset });
                self.group.xa_changed = true;
            }
            Some(Xa::OnePhase) => self.reread(offset, transaction.begin.clone(), &place).await?,
            Some(Xa::Ends { xid, commit }) => {
                let known = self
                    .prepared
                    .iter()
                    .position(|xa| xa.xid == xid)
                    .map(|at| self.prepared.remove(at));
                match known {
                    Some(xa) if commit => self.reread(xa.offset, transaction.begin.clone(), &place).await?,
                    Some(_) => {}
                    None if commit => {
                        return Err(refuse(
                            &place,
                            "it commits an XA transaction whose rows are unknown: when the task began, the change log did not have \
                             them any more, or never had: copy the selected databases anew",
                        ));
                    }
                    None => {}
                }
                self.group.xa_changed = true;
            }
        }
        self.group.transactions += 1;
        self.group.last = offset;
        self.group.commit_micros = transaction.begin.commit_micros;
        Ok(())
    }

    fn xa_prepare(&mut self, prepare: XaPrepare<'_>) {
        let Some(transaction) = &mut self.current else {
            return;
        };
        if matches!(transaction.xa, Some(Xa::Scanning) | None) {
            let xid = xa::spell(prepare.gtrid, prepare.bqual, prepare.format_id);
            transaction.xa = Some(if prepare.one_phase {
                Xa::OnePhase
            } else {
                Xa::Prepared { xid }
            });
        }
    }

    /// Plans the rows of the XA transaction at `offset`, as part of the transaction at `place` that commits it.
    async fn reread(&mut self, offset: Offset, ends: Begin, place: &Place) -> Result<(), Halt> {
        let mut reader = self.log.early_reader(Offset(offset.0.saturating_sub(1)))?;
        let mut unfolder = Unfolder::default();
        // Rows are read now, not scanned; what ends the transaction is known already.
        self.current = Some(Transaction {
            rows_at: offset,
            xa: Some(Xa::OnePhase),
            ..Transaction::new(Offset(place.offset), ends)
        });
        loop {
            let record = reader.next().await?;
            if record.offset != offset {
                return Err(refuse(
                    place,
                    "the rows of the XA transaction that it commits are not in the change log any more",
                ));
            }
            if let Some(begin) = &record.begin {
                unfolder = Unfolder::new(begin.checksum);
            }
            Box::pin(self.decode(&mut unfolder, &record, place)).await?;
            if record.end.is_some() {
                self.current = None;
                return Ok(());
            }
        }
    }
}

fn refuse(place: &Place, what: &str) -> Halt {
    Error::Transaction {
        place: place.clone(),
        what: what.to_owned(),
    }
    .into()
}

/// A parent row was changed on a source that does not log what follows from it: whether the target can follow.
fn followed(planned: &Planned, mode: Mode, place: &Place) -> Result<(), Halt> {
    if mode == Mode::Idempotent {
        let what = format!(
            "rows of other tables follow {} by ON DELETE or ON UPDATE, this source does not write that to its binary log (only MySQL \
             9.6 and later with innodb_native_foreign_keys = OFF do), and the tables were not copied at one place: nothing was \
             applied of it. Copy these tables anew",
            planned.table.quoted
        );
        return Err(refuse(place, &what));
    }
    planned.cascades.possible().map_err(|why| {
        let what = format!("rows of other tables follow {}: {why}", planned.table.quoted);
        refuse(place, &what)
    })
}

impl Change<'_, '_> {
    /// About how many bytes the statement gets, at most twice as many.
    fn size(&self) -> usize {
        let image = |image: &Image<'_>| -> usize { image.iter().flatten().map(bytes).sum() };
        match self {
            Change::Insert(row) | Change::Delete(row) => image(row),
            Change::Update(before, after) => image(before) + image(after),
        }
    }
}

fn bytes(value: &Value<'_>) -> usize {
    let length = |bytes: &Cow<'_, [u8]>| bytes.len() + bytes.len() / 8 + 16;
    match value {
        Value::Bytes(v) | Value::Json(v) | Value::Decimal(v) => length(v),
        Value::TypedJson(document) => crate::literal::typed_json_size(document),
        _ => 24,
    }
}
