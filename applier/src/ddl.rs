//! Definition statements of the source, applied to the target once and in order (A6).
//!
//! [`read`] says what a query event does and to which objects, [`judge`] whether it belongs to the task, [`Session`]
//! applies it: under its event's session settings (A5), its text unchanged but for the two words that row format puts into
//! `CREATE TABLE … SELECT` and for a definer that the applying account may not set. Triggers and events are not created on
//! the target while a task runs: they would do again what the binlog holds already (S5).
//!
//! **Once, across a crash.** A definition statement commits by itself, so the checkpoint can't commit with it. Before it
//! runs, [`Session::prepare`] takes a fingerprint of what it is about to change; the caller stores that with the
//! checkpoint. After a crash the fingerprint has changed (it was applied) or not (it runs now; where a statement leaves no
//! trace in the fingerprint, running it twice gives the same). A statement that outlives our process on the target holds
//! a lock there, for which the next [`Session::open`] waits.
//!
//! The caller's order: commit everything before; [`judge`]; [`Session::open`]; [`Session::prepare`]; commit
//! [`Prepared::Run`]'s text as `ddl_pending`; [`Session::run`]; forget what is known about [`Change::objects`]; apply the
//! rows behind it, if any (`CREATE TABLE … SELECT`), with the checkpoint, which clears `ddl_pending`.

mod columns;
mod doubt;
mod execute;
mod fingerprint;
mod judge;
mod read;
mod settings;
mod zone;

pub(crate) use execute::{Prepared, Session};
pub(crate) use judge::{Rules, Verdict, judge};
pub(crate) use read::{Change, Named};
pub use zone::check_system_zone;
pub(crate) use zone::{Clock, is_system};
