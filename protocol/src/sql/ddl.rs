//! What a statement is, read from its head: its kind, the objects it changes, where its definer stands.
//!
//! The first keyword decides for nearly all statements and nothing is allocated then; only definition statements are
//! read further, as far as their objects' names go. What isn't known is [`Kind::Unknown`], never a guess: the caller stops.

use std::ops::Range;

use super::SqlMode;

/// What is known about a statement from its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it does.
    pub kind: Kind,
    /// Every object whose existence, name or definition it changes, in the order in which the text names them. For
    /// `CREATE INDEX` and `DROP INDEX` that is the table. Filled for [`Kind::Ddl`], for [`Kind::Temporary`] and, as far as
    /// read, for [`Kind::Unknown`]; empty otherwise.
    pub objects: Vec<Object>,
    /// Tables that it names without changing them: `LIKE t`, `REFERENCES t`, a trigger's `ON t`.
    pub reads: Vec<Object>,
    /// Bytes of `DEFINER = user@host`, from the keyword to the account's last byte.
    pub definer: Option<Range<usize>>,
    /// `CREATE TABLE … SELECT` (or `TABLE`, `VALUES`, `WITH`): it also makes rows. In row format the binlog never
    /// holds such text; where it stands the rows are in no row event.
    pub makes_rows: bool,
    /// Bytes of ` START TRANSACTION` behind the columns of `CREATE TABLE` (the space before it included), which row format
    /// logs for `CREATE TABLE … SELECT`: the rows follow in the same transaction.
    pub start_transaction: Option<Range<usize>>,
    /// For [`Kind::Unknown`]: why, the second half of a sentence.
    pub reason: Option<&'static str>,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing but spaces and comments.
    Empty,
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK` of the whole transaction.
    Rollback,
    /// `SAVEPOINT x`.
    Savepoint,
    /// `ROLLBACK TO x`.
    RollbackToSavepoint,
    /// `RELEASE SAVEPOINT x`.
    ReleaseSavepoint,
    /// `XA START`, `XA BEGIN`.
    XaStart,
    /// `XA END`.
    XaEnd,
    /// `XA PREPARE`.
    XaPrepare,
    /// `XA COMMIT`.
    XaCommit,
    /// `XA ROLLBACK`.
    XaRollback,
    /// `XA RECOVER`.
    XaRecover,
    /// A change of definitions inside databases.
    Ddl(Verb, ObjectKind),
    /// `CREATE`, `DROP` or `ALTER` of a `TEMPORARY` table: seen by one session only.
    Temporary,
    /// Changes rows by statement: `INSERT`, `UPDATE`, `DELETE`, `REPLACE`, `LOAD DATA`, `CALL`, …
    Dml,
    /// Reads: `SELECT`, `SHOW`, `EXPLAIN`, … (a function that it calls may write).
    Query,
    /// Changes the session: `SET`, `USE`, `PREPARE`, `LOCK TABLES`, …
    Session,
    /// Concerns the server or accounts, not rows or definitions inside a database: `GRANT`, `FLUSH`, `ANALYZE`,
    /// `CREATE USER`, `CREATE TABLESPACE`, …
    Admin,
    /// Not known: whoever needs certainty stops.
    Unknown,
}

/// The verb of a definition statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `CREATE`, with or without `OR REPLACE`.
    Create,
    /// `ALTER`.
    Alter,
    /// `DROP`.
    Drop,
    /// `RENAME`.
    Rename,
    /// `TRUNCATE`.
    Truncate,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A database (schema); its name stands in [`Object::name`].
    Database,
    /// A base table.
    Table,
    /// Only in [`Kind::Ddl`]: `CREATE INDEX`, `DROP INDEX`. The object is then the table.
    Index,
    /// A view.
    View,
    /// A stored procedure.
    Procedure,
    /// A stored function.
    Function,
    /// A trigger.
    Trigger,
    /// A scheduled event.
    Event,
    /// A library of JavaScript code (MySQL 9.2).
    Library,
}

/// A name that a statement gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The database that the text names; `None`: the session's default database. Always `None` for a database itself.
    pub schema: Option<String>,
    /// Its name, unquoted.
    pub name: String,
    /// What becomes of it.
    pub role: Role,
    /// Where the name stands in the statement, database and quotes included.
    pub span: Range<usize>,
}

/// What a statement does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is created, altered, dropped, truncated, or renamed away.
    Subject,
    /// It is the new name of the [`Role::Subject`] before it.
    NewName,
    /// Its partition is exchanged: `ALTER TABLE … EXCHANGE PARTITION p WITH TABLE this`.
    Exchanged,
    /// It is only read.
    Read,
}

/// What `statement` is, read under `mode`. Only the first statement of several is looked at.
///
/// Names are taken as UTF-8; a statement in another character set is to be converted before, and one whose names
/// aren't UTF-8 is [`Kind::Unknown`].
pub fn classify(statement: &[u8], mode: SqlMode) -> Statement {
    read::statement(statement, mode)
}

/// `CREATE TABLE … START TRANSACTION …`, which row format logs for `CREATE TABLE … SELECT` (its rows follow in the same
/// transaction): the statement without these two words, which only a replication applier may use. `None` if it has none.
pub fn trim_start_transaction(statement: &[u8], mode: SqlMode) -> Option<Vec<u8>> {
    let words = classify(statement, mode).start_transaction?;
    let (head, tail) = (statement.get(..words.start)?, statement.get(words.end..)?);
    Some([head, tail].concat())
}

mod named;
mod read;

pub use named::{Named, lexable_text, read_query, sql_mode};

#[cfg(test)]
mod tests;
