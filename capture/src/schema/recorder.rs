//! Takes part in the stream: notes what statements do to tables, looks at those tables, and stores their versions.

use std::time::{Duration, Instant};

use outrigger_protocol::binlog::{Body, ChecksumAlg, Event};
use outrigger_protocol::position::{FilePosition, SourcePosition};
use outrigger_storage::{Appender, Log, Offset, Piece, SchemaVersion};

use super::beside::{Answer, Beside};
use super::{Change, History, Looker, Name, changes};
use crate::Error;

/// How often tables are looked at again that could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Tables that are looked at between two questions for the binlog's end.
const CHUNK: usize = 200;

/// Whose names and places the stream's are.
#[derive(Debug)]
pub(crate) struct Names {
    /// The source's `server_uuid`.
    pub(crate) server: String,
    /// Whether the source takes `T` and `t` for one table.
    pub(crate) folded: bool,
}

/// One stream's part in keeping definitions.
pub(crate) struct Recorder<'a> {
    looker: &'a mut Looker,
    /// Looks that the stream does not wait for, where the source's commits wait for the stream.
    beside: Option<Beside>,
    history: History,
    /// What the transaction that is being read does to tables.
    changes: Vec<Change>,
    folds_names: bool,
    /// Where the stream began. Until the source shows all of it, tables are not looked at outside of their statements.
    begin: Option<SourcePosition>,
    /// When tables are looked at next that could not be read.
    next_look: Instant,
}

impl<'a> Recorder<'a> {
    /// Takes up what the log knows, and looks at tables of which it knows nothing yet. The stream goes on from `position`;
    /// `awaited`: the source's commits wait for what is durable.
    pub(crate) async fn open(
        looker: &'a mut Looker,
        log: &Log,
        appender: &mut Appender,
        position: &SourcePosition,
        names: Names,
        awaited: bool,
    ) -> Result<Self, Error> {
        looker.connected(&names.server);
        let (log, server) = (log.clone(), names.server);
        let load = move || -> Result<History, outrigger_storage::Error> {
            let mut failed = None;
            let versions = log.schemas()?.map_while(|version| match version {
                Ok(version) => Some(version),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            let history = History::load(versions, &server);
            failed.map_or(Ok(history), Err)
        };
        let mut history = tokio::task::spawn_blocking(load)
            .await
            .unwrap_or(Err(outrigger_storage::Error::Closed))?;
        let from = last(appender);
        let unfollowed = history.unfollow(|name| looker.wants(name), from);
        appender.put_schemas(unfollowed).await?;
        let mut recorder = Self {
            looker,
            beside: awaited.then(Beside::default),
            history,
            changes: Vec::new(),
            folds_names: names.folded,
            begin: Some(position.clone()),
            next_look: Instant::now(),
        };
        if !awaited {
            recorder.look_at_unread(appender).await?;
        }
        Ok(recorder)
    }

    /// One that knows of no table, for streams that define none.
    #[cfg(test)]
    pub(crate) fn idle(looker: &'a mut Looker) -> Self {
        Self {
            looker,
            beside: None,
            history: History::load([], ""),
            changes: Vec::new(),
            folds_names: false,
            begin: None,
            next_look: Instant::now(),
        }
    }

    /// A statement in the stream; the binlog has been read up to `place`, which is before it.
    pub(crate) async fn statement(
        &mut self,
        bytes: &[u8],
        checksum: ChecksumAlg,
        place: &FilePosition,
        appender: &mut Appender,
    ) -> Result<(), Error> {
        let Ok(Event {
            body: Body::Query(query),
            ..
        }) = Event::parse(bytes, checksum)
        else {
            return Ok(());
        };
        let wanted = changes(&query, self.folds_names)
            .into_iter()
            .filter_map(|change| wanted(change, |name| self.looker.wants(name)));
        self.changes.extend(wanted);
        if !self.changes.is_empty() {
            // What was proven before it is not spoiled by it.
            self.passed(place, appender).await?;
        }
        Ok(())
    }

    /// Whether the transaction that is being read does something to tables.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// A transaction's last piece, before it is appended, when everything before it is: takes along what the transaction does to
    /// tables.
    pub(crate) async fn whole(
        &mut self,
        piece: &mut Piece,
        place: &FilePosition,
        log: &Log,
        appender: &Appender,
    ) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.changes);
        let Some(end) = &mut piece.end else {
            return Ok(());
        };
        let offset = appender.next();
        let known = |(database, table): &Name| log.schema(database, table, offset).ok().flatten();
        let turn = self.history.turn(&changes, offset, place, known);
        let mut found = Vec::new();
        if let Some(beside) = &mut self.beside {
            beside.add(turn.look.iter().cloned());
            found.extend(turn.look.iter().map(|name| (name.clone(), None)));
        } else {
            for chunk in turn.look.chunks(CHUNK) {
                found.extend(self.looker.look(chunk).await?);
            }
        }
        end.schemas = self.history.finish(turn, found, place);
        Ok(())
    }

    /// A transaction that is not kept, or that the log has already.
    pub(crate) fn forget(&mut self) {
        self.changes.clear();
    }

    /// The binlog has been read up to `place`, and what was wanted of it is appended.
    pub(crate) async fn passed(
        &mut self,
        place: &FilePosition,
        appender: &mut Appender,
    ) -> Result<(), Error> {
        let proven: Vec<SchemaVersion> = self.history.passed(place);
        if !proven.is_empty() {
            appender.put_schemas(proven).await?;
        }
        if self.changes.is_empty() {
            let unread = self.begin.is_some() || self.history.has_unread();
            let due = unread && self.next_look <= Instant::now();
            if self.beside.is_some() {
                self.look_beside(due);
            } else if due {
                self.look_at_unread(appender).await?;
            }
        }
        Ok(())
    }

    /// Whether a look goes on beside the stream.
    pub(crate) fn is_looking(&self) -> bool {
        self.beside.as_ref().is_some_and(Beside::is_busy)
    }

    /// Waits for what a look beside the stream says, for ever if there is none. Dropping this loses nothing.
    pub(crate) async fn answer(&mut self) -> Answer {
        match &mut self.beside {
            Some(beside) if self.changes.is_empty() => {
                let (looker, answer) = beside.answer(&self.history).await;
                *self.looker = looker;
                answer
            }
            _ => std::future::pending().await,
        }
    }

    /// A look beside the stream has come to its end; the binlog has been read up to `place`.
    pub(crate) async fn answered(
        &mut self,
        answer: Answer,
        place: &FilePosition,
        appender: &mut Appender,
    ) -> Result<(), Error> {
        match answer {
            Answer::Listed(None) => {}
            Answer::Listed(Some(listed)) => {
                self.begin = None;
                let unread = self.history.listed(listed, last(appender));
                self.beside
                    .iter_mut()
                    .for_each(|beside| beside.add(unread.clone()));
            }
            Answer::Found(found) => {
                let versions = self.history.read(found);
                appender.put_schemas(versions).await?;
            }
        }
        self.passed(place, appender).await
    }

    /// Begins the next look beside the stream, if none goes on; `due`: at what could not be read, too.
    fn look_beside(&mut self, due: bool) {
        let Some(beside) = self.beside.as_mut().filter(|beside| !beside.is_busy()) else {
            return;
        };
        if due {
            self.next_look = Instant::now() + RETRY_INTERVAL;
            match &self.begin {
                Some(position) => return beside.list(self.looker.lend(), position.gtids.clone()),
                None => beside.add(self.history.unread()),
            }
        }
        beside.look(self.looker, &self.history, CHUNK);
    }

    async fn look_at_unread(&mut self, appender: &mut Appender) -> Result<(), Error> {
        self.next_look = Instant::now() + RETRY_INTERVAL;
        let unread = match &self.begin {
            None => self.history.unread(),
            Some(position) => {
                let Some(listed) = self.looker.list(position.gtids.as_ref()).await? else {
                    return Ok(());
                };
                self.begin = None;
                self.history.listed(listed, last(appender))
            }
        };
        for chunk in unread.chunks(CHUNK) {
            let found = self.looker.look(chunk).await?;
            let versions = self.history.read(found);
            appender.put_schemas(versions).await?;
        }
        self.next_look = Instant::now() + RETRY_INTERVAL;
        Ok(())
    }
}

/// The newest transaction's offset.
fn last(appender: &Appender) -> Offset {
    Offset(appender.next().0.saturating_sub(1))
}

/// A change as far as it concerns wanted tables.
fn wanted(change: Change, wants: impl Fn(&Name) -> bool) -> Option<Change> {
    match change {
        Change::Moved { from, to } => match (wants(&from), wants(&to)) {
            (true, true) => Some(Change::Moved { from, to }),
            (true, false) => Some(Change::Gone(from)),
            (false, true) => Some(Change::Changed(to)),
            (false, false) => None,
        },
        Change::Gone(name) => wants(&name).then_some(Change::Gone(name)),
        Change::Changed(name) => wants(&name).then_some(Change::Changed(name)),
        Change::DatabaseGone(_) | Change::Anything => Some(change),
    }
}
