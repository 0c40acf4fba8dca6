//! What transactions of a log say: from records to what a [`Sink`] prints.
//!
//! A transaction may be larger than memory: everything is passed on as it is decoded, a row at a time. Row values and the
//! texts of statements that may hold them are passed on only when rows are asked for.

mod column;
mod json;
mod text;
mod value;

use std::collections::HashMap;

use outrigger_applier::Selection;
use outrigger_protocol::binlog::rows::{RowChange, RowPlan};
use outrigger_protocol::binlog::{
    Body, Event, QueryEvent, RowsEvent, RowsKind, TableMap, Unfolder, XaPrepare,
};
use outrigger_protocol::position::FilePosition;
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::ddl::{self, Kind, ObjectKind};
use outrigger_storage::{Begin, Offset, Record};

pub use self::column::{Bytes, Column, Definitions};
pub use self::json::Json;
pub use self::text::Text;
use super::range::Range;

/// Why showing ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An event can't be decoded.
    #[error("transaction {offset} can't be read: {cause}")]
    Event {
        /// Its offset in the log.
        offset: Offset,
        /// What is wrong.
        cause: outrigger_protocol::binlog::Error,
    },
    /// A rows event without its table map.
    #[error(
        "transaction {offset} can't be read: rows refer to table number {table_id}, which it does not name"
    )]
    Table {
        /// Its offset in the log.
        offset: Offset,
        /// The number.
        table_id: u64,
    },
    /// A table's definition can't be read.
    #[error(transparent)]
    Log(#[from] outrigger_storage::Error),
    /// What is shown can't be written.
    #[error("the answer can't be written: {0}")]
    Output(#[from] std::io::Error),
}

/// Where a transaction comes from.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its offset in the log.
    pub offset: Offset,
    /// What is known at its beginning.
    pub begin: Begin,
}

/// What is known of a transaction at its end.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The place after it in the source's binlog.
    pub end: FilePosition,
    /// Bytes of its events as stored.
    pub bytes: u64,
    /// Records that hold it.
    pub pieces: u32,
    /// Whether the source compressed it.
    pub compressed: bool,
}

/// Changes of one table by one kind of statement, up to where another one begins.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// What happened.
    pub kind: RowsKind,
    /// The table's database.
    pub database: &'a str,
    /// The table.
    pub table: &'a str,
    /// Its columns.
    pub columns: &'a [Column],
    /// The statement that caused them, where the source logs it and rows are asked for.
    pub cause: Option<&'a str>,
}

/// Prints what it is given, in order.
pub trait Sink {
    /// A transaction.
    fn begin(&mut self, head: &Head) -> std::io::Result<()>;
    /// A statement in it, by its database (or none) and text.
    fn statement(&mut self, database: &str, text: &str) -> std::io::Result<()>;
    /// How an XA transaction ends in it: the action and the transaction's name.
    fn xa(&mut self, action: &str, xid: &str) -> std::io::Result<()>;
    /// Rows that follow.
    fn rows(&mut self, rows: &Rows<'_>) -> std::io::Result<()>;
    /// One of them, when rows are asked for.
    fn row(&mut self, columns: &[Column], change: &RowChange<'_>) -> std::io::Result<()>;
    /// The end of these rows, and how many they were.
    fn rows_end(&mut self, count: u64) -> std::io::Result<()>;
    /// The transaction's end.
    fn end(&mut self, tail: &Tail) -> std::io::Result<()>;
    /// Everything is shown: hands on what is held back.
    fn flush(&mut self) -> std::io::Result<()>;
}

/// What to show.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Which transactions.
    pub range: Range,
    /// Which tables; `None`: all, and what concerns none.
    pub tables: Option<Selection>,
    /// Rows too, and statements that may hold values.
    pub rows: bool,
}

/// Takes records in order.
#[derive(Debug)]
pub struct Show<S> {
    sink: S,
    wanted: Wanted,
    open: Option<Transaction>,
}

/// The transaction whose records are coming.
#[derive(Debug)]
struct Transaction {
    head: Head,
    shown: bool,
    tables: HashMap<u64, Table>,
    /// What rows are being shown: table, kind, how many so far.
    run: Option<(u64, RowsKind, u64)>,
    cause: Option<String>,
    /// Finds its events.
    unfolder: Unfolder,
    bytes: u64,
    pieces: u32,
    compressed: bool,
}

/// A table that rows refer to.
#[derive(Debug)]
struct Table {
    database: String,
    name: String,
    columns: Vec<Column>,
    plan: RowPlan,
    wanted: bool,
}

impl<S: Sink> Show<S> {
    /// Shows what is `wanted` on `sink`.
    pub fn new(sink: S, wanted: Wanted) -> Self {
        Self {
            sink,
            wanted,
            open: None,
        }
    }

    /// The next record; false when nothing later is wanted. `definitions` name what table maps leave out.
    ///
    /// # Errors
    /// When it can't be decoded, or the sink can't write.
    pub fn record(&mut self, record: &Record, definitions: &impl Definitions) -> Result<bool, Error> {
        if let Some(begin) = &record.begin {
            if self.wanted.range.is_over(record.offset) {
                return Ok(false);
            }
            self.open = self
                .wanted
                .range
                .holds(record.offset, begin)
                .then(|| Transaction::new(record.offset, begin.clone()));
            if self.wanted.tables.is_none() {
                self.head()?;
            }
        }
        let Some(open) = &mut self.open else {
            return Ok(true);
        };
        let offset = open.head.offset;
        open.bytes += record.events.len() as u64;
        open.pieces += 1;
        let broken = |cause| Error::Event { offset, cause };
        let mut unfolder = std::mem::take(&mut open.unfolder);
        let mut bytes: &[u8] = &record.events;
        while let Some(found) = unfolder.next(&mut bytes).map_err(broken)? {
            if let Some(open) = &mut self.open {
                open.compressed |= found.compressed;
            }
            self.event(&found.parse().map_err(broken)?, definitions)?;
        }
        if let Some(end) = &record.end {
            unfolder.finish().map_err(broken)?;
            self.end(end)?;
        } else if let Some(open) = &mut self.open {
            open.unfolder = unfolder;
        }
        Ok(true)
    }

    /// The sink, after the last record.
    pub fn into_sink(self) -> S {
        self.sink
    }

    fn event(&mut self, event: &Event<'_>, definitions: &impl Definitions) -> Result<(), Error> {
        match &event.body {
            Body::Query(query) => self.statement(query),
            Body::TableMap(map) => self.table(map, definitions),
            Body::Rows(rows) => self.rows(rows),
            Body::RowsQuery(text) if self.wanted.rows => {
                if let Some(open) = &mut self.open {
                    open.cause = Some(String::from_utf8_lossy(text).into_owned());
                }
                Ok(())
            }
            Body::XaPrepare(prepare) => self.xa(prepare),
            _ => Ok(()),
        }
    }

    /// Shows the transaction's head before the first thing in it that is shown.
    fn head(&mut self) -> Result<(), Error> {
        if let Some(open) = &mut self.open
            && !open.shown
        {
            open.shown = true;
            self.sink.begin(&open.head)?;
        }
        Ok(())
    }

    fn run_ends(&mut self) -> Result<(), Error> {
        if let Some(open) = &mut self.open
            && let Some((_, _, count)) = open.run.take()
        {
            self.sink.rows_end(count)?;
        }
        Ok(())
    }

    fn statement(&mut self, query: &QueryEvent<'_>) -> Result<(), Error> {
        if query.statement == b"BEGIN" || query.statement == b"COMMIT" {
            return Ok(());
        }
        let mode = SqlMode::from_bits_retain(query.session.sql_mode.unwrap_or(0));
        let statement = ddl::classify(query.statement, mode);
        let database = String::from_utf8_lossy(query.schema);
        if let Some(tables) = &self.wanted.tables
            && !names(&statement, &database, tables)
        {
            return Ok(());
        }
        self.run_ends()?;
        self.head()?;
        let text = String::from_utf8_lossy(query.statement);
        match statement.kind {
            // These may hold rows' values, or secrets.
            Kind::Dml | Kind::Query | Kind::Session | Kind::Admin | Kind::Unknown if !self.wanted.rows => {
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                self.sink
                    .statement(&database, &format!("{} …", words.join(" ")))?;
            }
            _ => self.sink.statement(&database, &text)?,
        }
        Ok(())
    }

    fn xa(&mut self, prepare: &XaPrepare<'_>) -> Result<(), Error> {
        if self.open.as_ref().is_some_and(|open| !open.shown) {
            return Ok(());
        }
        self.run_ends()?;
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let xid = format!(
            "X'{}',X'{}',{}",
            hex(prepare.gtrid),
            hex(prepare.bqual),
            prepare.format_id
        );
        let action = if prepare.one_phase {
            "commit one phase"
        } else {
            "prepare"
        };
        Ok(self.sink.xa(action, &xid)?)
    }

    fn table(&mut self, map: &TableMap, definitions: &impl Definitions) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let wanted = self
            .wanted
            .tables
            .as_ref()
            .is_none_or(|tables| tables.table(&map.database, &map.table));
        let offset = open.head.offset;
        let definition = if wanted {
            definitions.definition(&map.database, &map.table, offset)?
        } else {
            None
        };
        let (columns, hints) = column::columns(map, definition.as_ref());
        let plan = RowPlan::new(map, &hints).map_err(|cause| Error::Event { offset, cause })?;
        open.tables.insert(
            map.table_id,
            Table {
                database: map.database.clone(),
                name: map.table.clone(),
                columns,
                plan,
                wanted,
            },
        );
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<(), Error> {
        let run = match &self.open {
            None => return Ok(()),
            Some(open) => match open.tables.get(&rows.table_id) {
                Some(table) if table.wanted => open.run,
                Some(_) => return Ok(()),
                None => {
                    return Err(Error::Table {
                        offset: open.head.offset,
                        table_id: rows.table_id,
                    });
                }
            },
        };
        let goes_on = run.is_some_and(|(table, kind, _)| table == rows.table_id && kind == rows.kind);
        if !goes_on {
            self.run_ends()?;
            self.head()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(table) = open.tables.get(&rows.table_id) else {
            return Ok(());
        };
        let cause = open.cause.take();
        if !goes_on {
            self.sink.rows(&Rows {
                kind: rows.kind,
                database: &table.database,
                table: &table.name,
                columns: &table.columns,
                cause: cause.as_deref(),
            })?;
        }
        let offset = open.head.offset;
        let mut count = 0;
        for change in table.plan.rows(rows) {
            let change = change.map_err(|cause| Error::Event { offset, cause })?;
            if self.wanted.rows {
                self.sink.row(&table.columns, &change)?;
            }
            count += 1;
        }
        let before = run.filter(|_| goes_on).map_or(0, |(_, _, before)| before);
        open.run = Some((rows.table_id, rows.kind, before + count));
        Ok(())
    }

    fn end(&mut self, end: &FilePosition) -> Result<(), Error> {
        self.run_ends()?;
        if let Some(open) = self.open.take()
            && open.shown
        {
            self.sink.end(&Tail {
                end: end.clone(),
                bytes: open.bytes,
                pieces: open.pieces,
                compressed: open.compressed,
            })?;
        }
        Ok(())
    }
}

impl Transaction {
    fn new(offset: Offset, begin: Begin) -> Self {
        Self {
            unfolder: Unfolder::new(begin.checksum),
            head: Head { offset, begin },
            shown: false,
            tables: HashMap::new(),
            run: None,
            cause: None,
            bytes: 0,
            pieces: 0,
            compressed: false,
        }
    }
}

/// Whether a statement names something selected.
fn names(statement: &ddl::Statement, database: &str, tables: &Selection) -> bool {
    statement.objects.iter().any(|object| match object.kind {
        ObjectKind::Database => tables.database(&object.name),
        _ => tables.table(object.schema.as_deref().unwrap_or(database), &object.name),
    })
}
