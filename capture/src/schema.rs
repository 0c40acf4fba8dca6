//! Table definitions by offset (A4): which version of each table the log gets, and what makes it exact.
//!
//! A definition statement's text alone doesn't tell what a table looks like afterwards, and by the time the statement comes
//! down the stream the source may be further. So the table is looked at on a second connection, before the statement's last
//! piece is appended, and what was read is proven afterwards by the stream itself:
//!
//! 1. A look asks for the end of the source's binlog (`after`), then takes each table's metadata lock for a moment (`SHOW CREATE
//!    TABLE` does) and reads its definition, then asks for the binlog's end again (`until`).
//! 2. A definition statement stands in the binlog before anyone can see what it did, and holds the metadata lock from before it
//!    is written there until its result is visible. So what was read contains every statement on the table up to `after`, and
//!    none behind `until`.
//! 3. Once the stream has passed `until`, and no statement on the table stood between `after` and `until`, what was read is what
//!    the last statement before `after` made: the version of that statement is *exact*, and is stored again as such.
//!    If one stood there, what was read may contain it, or half of it: the older version stays *late* for good, and the newer
//!    statement is looked after anew.
//!
//! The same look serves every statement up to its `after`: of ten statements that are caught up with after an outage, nine are
//! late and the last is exact. What needs no look is exact whatever happened since: a dropped table is absent, a renamed one
//! takes its definition along. Tables that are there when the log begins, or first seen at a later connect, are looked at
//! before the stream starts; their version holds from the last transaction before that. What was read and not proven yet is
//! kept in the log, with its places, and proven after a restart if the server is the same one.
//!
//! What can't be read (no privilege, a lock that is held for long) is late, and looked at again every minute. When the
//! connection breaks, the attempt ends like any outage, and the statement comes again; capture goes on without the
//! definition when that happens three times in a row, because a stream that waits loses its binlogs in the end.
//!
//! Where the source's commits wait for what is durable (semi-synchronous replication), the statement holds the metadata lock until it
//! is acknowledged. There it is appended as late, and the looks go on beside the stream: what was read is taken for a statement's
//! version if no other statement on the table has come since it was asked for, and proven as above.
//!
//! Servers write definition statements uncompressed: there is nothing to look for in a transaction's payload.

mod beside;
mod looker;
mod recorder;
mod statement;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use outrigger_protocol::position::FilePosition;
use outrigger_protocol::sql::quote_name;
use outrigger_storage::{Definition, Offset, Reading, Schema, SchemaVersion};

pub(crate) use self::looker::Looker;
pub(crate) use self::recorder::{Names, Recorder};
use self::statement::{Change, changes};

/// Database and table.
pub(crate) type Name = (String, String);

/// What the log knows of a table, from the offset of its newest version on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Exact(Arc<Definition>),
    Absent,
    /// Not proven.
    Open,
}

/// The tables' newest versions, and those among them that are not proven. Pure: asks nobody, stores nothing.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Every table that has a version, and the newest one's offset; those that are gone until the source's were listed.
    tables: BTreeMap<Name, Offset>,
    /// Those among them that are gone.
    absent: BTreeSet<Name>,
    /// Read and not proven yet.
    waiting: HashMap<Name, Arc<Reading>>,
    /// The first place at which one of them is proven.
    next: Option<FilePosition>,
    /// Not read.
    unread: BTreeSet<Name>,
    /// The source's tables were listed: of those that are gone from then on nothing is kept but what the log has.
    listed: bool,
}

/// What becomes of a table by one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Absent,
    Known(Arc<Definition>),
    Look,
}

/// What a transaction with definition statements asks for, and what is known of it without asking.
#[derive(Debug)]
pub(crate) struct Turn {
    offset: Offset,
    /// Versions that are stored with the transaction.
    versions: Vec<SchemaVersion>,
    /// Tables to look at first.
    pub(crate) look: Vec<Name>,
}

impl History {
    /// The newest versions of a log. `server`: the `server_uuid` of the source that will be read.
    pub(crate) fn load(versions: impl IntoIterator<Item = SchemaVersion>, server: &str) -> Self {
        let mut history = Self::default();
        for version in versions {
            // One table's versions come in the order of their offsets: the last one stays.
            let name = (version.database, version.table);
            history.waiting.remove(&name);
            history.unread.remove(&name);
            history.absent.remove(&name);
            match version.schema {
                Schema::Late(Some(reading)) if reading.server == server => {
                    history.waiting.insert(name.clone(), reading);
                }
                Schema::Late(Some(reading)) if reading.server.is_empty() => {
                    history.tables.remove(&name);
                    continue;
                }
                Schema::Late(_) => {
                    history.unread.insert(name.clone());
                }
                Schema::Absent => {
                    history.absent.insert(name.clone());
                }
                Schema::Exact(_) => {}
            }
            history.tables.insert(name, version.offset);
        }
        history.find_next();
        history
    }

    /// Leaves out the tables whose statements are not followed, from `from` on; the versions to store. Whatever happens to them from
    /// then on, nothing is known of them until they are followed and read again.
    pub(crate) fn unfollow(&mut self, follows: impl Fn(&Name) -> bool, from: Offset) -> Vec<SchemaVersion> {
        let mut versions = Vec::new();
        self.tables.retain(|name, _| {
            if follows(name) {
                return true;
            }
            self.absent.remove(name);
            self.waiting.remove(name);
            self.unread.remove(name);
            let unfollowed = Schema::Late(Some(Arc::new(nobodys())));
            versions.push(version(name.clone(), from, unfollowed));
            false
        });
        self.find_next();
        versions
    }

    /// The source's tables were listed for the first time. Those of which the log knows nothing are known from `from` on; they, and
    /// those that were not read.
    pub(crate) fn listed(&mut self, listed: Vec<Name>, from: Offset) -> Vec<Name> {
        for name in listed {
            if !self.tables.contains_key(&name) {
                self.tables.insert(name.clone(), from);
                self.unread.insert(name);
            }
        }
        self.listed = true;
        for name in std::mem::take(&mut self.absent) {
            self.gone(name);
        }
        self.unread()
    }

    /// The log has the version that says so. A list may be older than that, and must not bring the table back.
    fn gone(&mut self, name: Name) {
        if self.listed {
            self.tables.remove(&name);
        } else {
            self.absent.insert(name);
        }
    }

    /// Tables that were not read.
    pub(crate) fn unread(&self) -> Vec<Name> {
        self.unread.iter().cloned().collect()
    }

    /// The offset of a table's newest version, if that was not read.
    fn unread_since(&self, name: &Name) -> Option<Offset> {
        let offset = self.tables.get(name).copied();
        offset.filter(|_| self.unread.contains(name))
    }

    /// Whether a look could find anything.
    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Tables that were looked at, outside of any transaction; the versions to store.
    pub(crate) fn read(&mut self, found: Vec<(Name, Option<Arc<Reading>>)>) -> Vec<SchemaVersion> {
        let mut versions = Vec::new();
        for (name, reading) in found {
            let Some(offset) = self.tables.get(&name).copied() else {
                continue;
            };
            if reading.is_some() {
                self.unread.remove(&name);
            }
            if let Some(reading) = &reading {
                self.waiting.insert(name.clone(), Arc::clone(reading));
            }
            versions.push(version(name, offset, Schema::Late(reading)));
        }
        self.find_next();
        versions
    }

    /// The stream has passed `place`; versions that are proven by that, to be stored again.
    pub(crate) fn passed(&mut self, place: &FilePosition) -> Vec<SchemaVersion> {
        if self.next.as_ref().is_none_or(|next| place < next) {
            return Vec::new();
        }
        let (mut versions, mut gone) = (Vec::new(), Vec::new());
        let tables = &self.tables;
        self.waiting.retain(|name, reading| {
            let proven = reading.until <= *place;
            if let (true, Some(offset)) = (proven, tables.get(name)) {
                if reading.found.is_none() {
                    gone.push(name.clone());
                }
                versions.push(version(name.clone(), *offset, proof(reading)));
            }
            !proven
        });
        gone.into_iter().for_each(|name| self.gone(name));
        self.find_next();
        versions
    }

    /// What a transaction does to tables. It ends at `place` and gets `offset`; `known` finds a table's newest version in the log.
    pub(crate) fn turn(
        &mut self,
        changes: &[Change],
        offset: Offset,
        place: &FilePosition,
        known: impl Fn(&Name) -> Option<SchemaVersion>,
    ) -> Turn {
        let mut outcomes = BTreeMap::new();
        for change in changes {
            self.apply(change, &mut outcomes, &known);
        }
        let mut turn = Turn {
            offset,
            versions: Vec::new(),
            look: Vec::new(),
        };
        for (name, outcome) in outcomes {
            let reading = self.waiting.remove(&name);
            if let (Some(before), true) = (
                self.tables.get(&name),
                reading.is_some() || self.unread.contains(&name),
            ) {
                // Nobody will ever know what it was.
                turn.versions
                    .push(version(name.clone(), *before, Schema::Late(None)));
            }
            self.unread.remove(&name);
            self.absent.remove(&name);
            self.tables.insert(name.clone(), offset);
            match outcome {
                Outcome::Absent => {
                    self.gone(name.clone());
                    turn.versions.push(version(name, offset, Schema::Absent));
                }
                Outcome::Known(definition) => {
                    turn.versions
                        .push(version(name, offset, Schema::Exact(definition)));
                }
                Outcome::Look => match reading.filter(|reading| *place <= reading.after) {
                    // An earlier look saw this statement already.
                    Some(reading) => {
                        self.waiting.insert(name.clone(), Arc::clone(&reading));
                        turn.versions
                            .push(version(name, offset, Schema::Late(Some(reading))));
                    }
                    None => turn.look.push(name),
                },
            }
        }
        self.find_next();
        turn
    }

    /// The versions to store with a transaction that ends at `place`, now that its tables were looked at.
    pub(crate) fn finish(
        &mut self,
        mut turn: Turn,
        found: Vec<(Name, Option<Arc<Reading>>)>,
        place: &FilePosition,
    ) -> Vec<SchemaVersion> {
        for (name, reading) in found {
            let schema = match reading {
                Some(reading) if reading.until <= *place => {
                    if reading.found.is_none() {
                        self.gone(name.clone());
                    }
                    proof(&reading)
                }
                Some(reading) => {
                    self.waiting.insert(name.clone(), Arc::clone(&reading));
                    Schema::Late(Some(reading))
                }
                None => {
                    self.unread.insert(name.clone());
                    Schema::Late(None)
                }
            };
            turn.versions.push(version(name, turn.offset, schema));
        }
        self.find_next();
        turn.versions
    }

    fn apply(
        &self,
        change: &Change,
        outcomes: &mut BTreeMap<Name, Outcome>,
        known: &impl Fn(&Name) -> Option<SchemaVersion>,
    ) {
        match change {
            Change::Gone(name) => {
                outcomes.insert(name.clone(), Outcome::Absent);
            }
            Change::Changed(name) => {
                outcomes.insert(name.clone(), Outcome::Look);
            }
            Change::Moved { from, to } => {
                let before = match outcomes.get(from) {
                    Some(Outcome::Known(definition)) => Known::Exact(Arc::clone(definition)),
                    Some(Outcome::Absent) => Known::Absent,
                    Some(Outcome::Look) => Known::Open,
                    None => self.known(from, known),
                };
                let moved = match before {
                    Known::Exact(definition) => renamed(&definition, to),
                    // A view, perhaps.
                    Known::Absent | Known::Open => None,
                };
                outcomes.insert(to.clone(), moved.map_or(Outcome::Look, Outcome::Known));
                outcomes.insert(from.clone(), Outcome::Absent);
            }
            Change::DatabaseGone(database) => {
                let of_it: Vec<Name> = self
                    .present()
                    .chain(outcomes.keys())
                    .filter(|name| name.0 == *database)
                    .cloned()
                    .collect();
                outcomes.extend(of_it.into_iter().map(|name| (name, Outcome::Absent)));
            }
            Change::Anything => {
                let all = self.present().cloned();
                outcomes.extend(all.map(|name| (name, Outcome::Look)));
            }
        }
    }

    /// Tables that are not gone.
    fn present(&self) -> impl Iterator<Item = &Name> {
        self.tables.keys().filter(|name| !self.absent.contains(*name))
    }

    fn known(&self, name: &Name, known: &impl Fn(&Name) -> Option<SchemaVersion>) -> Known {
        if self.waiting.contains_key(name) || self.unread.contains(name) {
            return Known::Open;
        }
        match known(name).map(|version| version.schema) {
            Some(Schema::Exact(definition)) => Known::Exact(definition),
            Some(Schema::Absent) => Known::Absent,
            Some(Schema::Late(_)) | None => Known::Open,
        }
    }

    fn find_next(&mut self) {
        self.next = self.waiting.values().map(|reading| &reading.until).min().cloned();
    }
}

/// The definition under a new name; `None` where the name stands in other places, too.
fn renamed(definition: &Definition, to: &Name) -> Option<Arc<Definition>> {
    let mut table = definition.table.clone();
    let head = format!("CREATE TABLE {} (", quote_name(&table.table));
    let rest = definition.create.strip_prefix(&head)?;
    // A foreign key names tables, perhaps this one, and by databases as seen from its own.
    if rest.contains("FOREIGN KEY") {
        return None;
    }
    let create = format!("CREATE TABLE {} ({rest}", quote_name(&to.1));
    (table.database, table.table) = to.clone();
    Some(Arc::new(Definition { table, create }))
}

/// What stands for a table whose statements nobody follows: the reading of no server, which proves nothing.
fn nobodys() -> Reading {
    let nowhere = FilePosition::new("", 0);
    Reading {
        found: None,
        after: nowhere.clone(),
        until: nowhere,
        server: String::new(),
    }
}

fn proof(reading: &Reading) -> Schema {
    match &reading.found {
        Some(definition) => Schema::Exact(Arc::clone(definition)),
        None => Schema::Absent,
    }
}

fn version((database, table): Name, offset: Offset, schema: Schema) -> SchemaVersion {
    SchemaVersion {
        database,
        table,
        offset,
        schema,
    }
}

#[cfg(test)]
mod tests;
