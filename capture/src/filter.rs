//! What of the source's history nobody wants: rows of tables that are not selected, definitions of such objects.
//!
//! A statement is all or nothing: from its first table map to the rows event that ends it, so that what stays in the log is
//! what a server could have written (children that a foreign key changes stand in their parent's statement). It is left
//! out when none of its tables is selected. Whatever can't be told apart is kept. Pure: the caller holds the bytes, this
//! machine says what becomes of them. Transactions that lose everything still count: their GTIDs are part of the position.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use outrigger_protocol::binlog::{
    Body, ChecksumAlg, Event, EventHeader, EventKind, HEADER_LEN, QueryEvent, RowsEvent, Unpacker,
};
use outrigger_protocol::sql::ddl::{Kind, Object, ObjectKind, classify, lexable_text, sql_mode};

/// What is wanted of the source. In doubt (names in another case) an implementation says yes.
pub trait Selection: fmt::Debug + Send + Sync {
    /// True when somebody may want the table's rows.
    fn table(&self, database: &str, table: &str) -> bool;

    /// True when somebody may want something in the database.
    fn database(&self, database: &str) -> bool;
}

/// What becomes of an event, and of those held before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, and so do those that were held.
    Keep,
    /// It stays if the transaction does; by itself it is no reason to keep one.
    Frame,
    /// Not known yet: hold it.
    Hold,
    /// It goes, and so do those that were held.
    Drop,
}

/// Where in a row statement the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statement {
    /// Outside, or at its head, and no table of it is selected so far.
    Unwanted,
    /// One of its tables is selected.
    Wanted,
}

/// Tables whose answer is remembered at most.
const MAX_TABLES: usize = 65_536;

/// Bytes of a rows event before its flags: the table's number.
const TABLE_ID_LEN: usize = 6;

/// Bytes of a table map before the database's name: the table's number and flags.
const TABLE_MAP_HEAD_LEN: usize = TABLE_ID_LEN + 2;

/// The machine.
#[derive(Debug)]
pub(crate) struct Filter {
    selection: Arc<dyn Selection>,
    statement: Statement,
    /// Answers by the names as table maps write them.
    tables: HashMap<Box<[u8]>, bool>,
    /// The compressed transaction that is being judged.
    payload: Option<Payload>,
}

/// A compressed transaction in which nothing wanted was found so far.
#[derive(Debug)]
struct Payload {
    unpacker: Unpacker,
    /// Bytes before the event's checksum that have not come yet.
    left: usize,
}

/// Of a compressed transaction that is here as a whole, so much is decompressed before it is looked at.
const PAYLOAD_BYTES: usize = 64 * 1024;

impl Filter {
    /// A filter that lets `selection` through.
    pub(crate) fn new(selection: Arc<dyn Selection>) -> Self {
        Self {
            selection,
            statement: Statement::Unwanted,
            tables: HashMap::new(),
            payload: None,
        }
    }

    /// A transaction begins or ends.
    pub(crate) fn restart(&mut self) {
        self.statement = Statement::Unwanted;
    }

    /// Judges an event inside a transaction that is no statement in text.
    pub(crate) fn inner(&mut self, kind: EventKind, bytes: &[u8]) -> Fate {
        match kind {
            EventKind::ROWS_QUERY if self.statement == Statement::Unwanted => Fate::Hold,
            EventKind::ROWS_QUERY => Fate::Keep,
            EventKind::TABLE_MAP => {
                if self.statement == Statement::Wanted {
                    return Fate::Keep;
                }
                if self.wants_table_of(bytes) {
                    self.statement = Statement::Wanted;
                    return Fate::Keep;
                }
                Fate::Hold
            }
            kind if kind.is_rows() => {
                let wanted = self.statement == Statement::Wanted;
                if ends_statement(bytes) {
                    self.statement = Statement::Unwanted;
                }
                if wanted { Fate::Keep } else { Fate::Drop }
            }
            // What a statement in statement format needs: its tables are not known.
            EventKind::INTVAR | EventKind::RAND | EventKind::USER_VAR => Fate::Keep,
            _ => Fate::Frame,
        }
    }

    /// Judges a statement in text that neither begins nor ends a transaction, or is one by itself.
    pub(crate) fn statement(&mut self, bytes: &[u8], checksum: ChecksumAlg) -> Fate {
        self.statement = Statement::Unwanted;
        match Event::parse(bytes, checksum) {
            Ok(Event {
                body: Body::Query(query),
                ..
            }) => self.query(&query),
            _ => Fate::Keep,
        }
    }

    fn query(&self, query: &QueryEvent<'_>) -> Fate {
        let text = lexable_text(query.statement, &query.session);
        let statement = classify(&text, sql_mode(&query.session));
        match statement.kind {
            Kind::Savepoint | Kind::RollbackToSavepoint | Kind::ReleaseSavepoint => Fate::Frame,
            Kind::Ddl(..) => {
                let Ok(default) = std::str::from_utf8(query.schema) else {
                    return Fate::Keep;
                };
                let wanted = statement.objects.is_empty()
                    || statement
                        .objects
                        .iter()
                        .any(|object| self.wants_object(object, default));
                if wanted { Fate::Keep } else { Fate::Drop }
            }
            _ => Fate::Keep,
        }
    }

    fn wants_object(&self, object: &Object, default: &str) -> bool {
        let database = match object.kind {
            ObjectKind::Database if !object.name.is_empty() => object.name.as_str(),
            _ => object.schema.as_deref().unwrap_or(default),
        };
        let selection = &self.selection;
        // A table that is not selected may still be half of a change that nobody could apply; who reads the log says so.
        match object.kind {
            _ if database.is_empty() => true,
            ObjectKind::Table | ObjectKind::Index | ObjectKind::View => {
                selection.table(database, &object.name)
            }
            _ => selection.database(database),
        }
    }

    /// Judges a compressed transaction: it is one event, so it stays or goes as a whole. Decompresses as far as the first
    /// event that somebody wants, in bounded memory (C3).
    pub(crate) fn payload(&mut self, bytes: &[u8], checksum: ChecksumAlg) -> Fate {
        self.begin_payload(bytes.len().saturating_sub(checksum.len()));
        let parts = bytes.get(HEADER_LEN..).unwrap_or_default().chunks(PAYLOAD_BYTES);
        for part in parts {
            if let Some(fate) = self.payload_part(part) {
                return fate;
            }
        }
        self.end_payload()
    }

    /// A compressed transaction comes in parts; it has `size` bytes before its checksum.
    pub(crate) fn begin_payload(&mut self, size: usize) {
        self.restart();
        self.payload = Some(Payload {
            unpacker: Unpacker::new(),
            left: size.saturating_sub(HEADER_LEN),
        });
    }

    /// The bytes of it that come next, behind the header; `None` while nothing in it is wanted.
    pub(crate) fn payload_part(&mut self, bytes: &[u8]) -> Option<Fate> {
        let Some(mut payload) = self.payload.take() else {
            return Some(Fate::Keep);
        };
        let part = &bytes[..bytes.len().min(payload.left)];
        payload.left -= part.len();
        payload.unpacker.push(part);
        if self.wants_some_of(&mut payload.unpacker) {
            self.restart();
            return Some(Fate::Keep);
        }
        self.payload = Some(payload);
        None
    }

    /// All of it has come, and nothing in it is wanted.
    pub(crate) fn end_payload(&mut self) -> Fate {
        self.restart();
        match self.payload.take() {
            Some(payload) if payload.unpacker.finish().is_ok() => Fate::Drop,
            _ => Fate::Keep,
        }
    }

    /// Whether somebody may want one of the events that come out now. What can't be read is wanted: whoever reads the log says so.
    fn wants_some_of(&mut self, unpacker: &mut Unpacker) -> bool {
        loop {
            let event = match unpacker.read() {
                Ok(Some(event)) => event,
                Ok(None) => return false,
                Err(_) => return true,
            };
            let fate = match EventHeader::parse(event).map(|header| header.kind) {
                Ok(EventKind::QUERY) => self.framed(event),
                Ok(kind) => self.inner(kind, event),
                Err(_) => Fate::Keep,
            };
            if fate == Fate::Keep {
                return true;
            }
        }
    }

    /// A statement of a compressed transaction: BEGIN, COMMIT and XA's own are in the same place as all others.
    fn framed(&mut self, bytes: &[u8]) -> Fate {
        match Event::parse(bytes, ChecksumAlg::Off) {
            Ok(Event {
                body: Body::Query(query),
                ..
            }) if query.statement == b"BEGIN" || query.statement == b"COMMIT" => Fate::Frame,
            _ => self.statement(bytes, ChecksumAlg::Off),
        }
    }

    fn wants_table_of(&mut self, bytes: &[u8]) -> bool {
        let Some((names, database, table)) = names(bytes) else {
            return true;
        };
        if let Some(known) = self.tables.get(names) {
            return *known;
        }
        let wanted = self.selection.table(database, table);
        if self.tables.len() >= MAX_TABLES {
            self.tables.clear();
        }
        self.tables.insert(names.into(), wanted);
        wanted
    }
}

/// A table map's names: as written, and each by itself. `None` if they are not text.
fn names(bytes: &[u8]) -> Option<(&[u8], &str, &str)> {
    let rest = bytes.get(HEADER_LEN + TABLE_MAP_HEAD_LEN..)?;
    // Names have at most 64 characters of three bytes: their lengths are one byte.
    let name = |at: usize| -> Option<(&str, usize)> {
        let length = usize::from(*rest.get(at)?);
        let text = rest.get(at + 1..at + 1 + length)?;
        Some((std::str::from_utf8(text).ok()?, at + length + 2))
    };
    let (database, next) = name(0)?;
    let (table, end) = name(next)?;
    Some((rest.get(..end)?, database, table))
}

/// True for the last rows event of a statement; one that is cut off ends it, too.
fn ends_statement(bytes: &[u8]) -> bool {
    let at = HEADER_LEN + TABLE_ID_LEN;
    match bytes.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]) & RowsEvent::STATEMENT_END != 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
