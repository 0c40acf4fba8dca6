//! Looks that go on beside the stream, where the source's commits wait for what is durable: a definition statement holds its
//! table's metadata lock until it is acknowledged, so whoever looks at the table before that waits for himself.
//!
//! One look at a time, driven by whoever waits for its answer; nobody has to.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::time::Duration;

use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::Offset;

use super::looker::Found;
use super::{History, Looker, Name};

/// How long after a look that failed it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a look says.
pub(crate) enum Answer {
    /// The tables that are wanted; `None` if that can't be told now.
    Listed(Option<Vec<Name>>),
    /// What was read of tables of which nothing new came meanwhile.
    Found(Vec<Found>),
}

/// A look on its way, and the looker that is free again after it.
type Going = Pin<Box<dyn Future<Output = (Looker, Answer)> + Send>>;

/// The look that goes on, and those to come.
#[derive(Default)]
pub(super) struct Beside {
    going: Option<Going>,
    /// Tables that are being looked at, and their newest versions.
    asked: HashMap<Name, Offset>,
    /// Tables to be looked at next.
    due: BTreeSet<Name>,
}

impl Beside {
    /// Has tables looked at as soon as may be.
    pub(super) fn add(&mut self, names: impl IntoIterator<Item = Name>) {
        self.due.extend(names);
    }

    /// Whether a look goes on.
    pub(super) fn is_busy(&self) -> bool {
        self.going.is_some()
    }

    /// Has the tables listed, once the source shows everything that `position` contains.
    pub(super) fn list(&mut self, mut looker: Looker, position: Option<GtidSet>) {
        self.going = Some(Box::pin(async move {
            let listed = loop {
                match looker.list(position.as_ref()).await {
                    Ok(listed) => break listed,
                    Err(error) => rest(&error).await,
                }
            };
            (looker, Answer::Listed(listed))
        }));
    }

    /// Has up to `most` tables looked at that are due.
    pub(super) fn look(&mut self, looker: &mut Looker, history: &History, most: usize) {
        self.asked.clear();
        while self.asked.len() < most
            && let Some(name) = self.due.pop_first()
        {
            if let Some(offset) = history.unread_since(&name) {
                self.asked.insert(name, offset);
            }
        }
        if self.asked.is_empty() {
            return;
        }
        let names: Vec<Name> = self.asked.keys().cloned().collect();
        let mut looker = looker.lend();
        self.going = Some(Box::pin(async move {
            let found = loop {
                match looker.look(&names).await {
                    Ok(found) => break found,
                    Err(error) => rest(&error).await,
                }
            };
            (looker, Answer::Found(found))
        }));
    }

    /// Waits for what the look says, for ever if there is none. Dropping this loses nothing.
    pub(super) async fn answer(&mut self, history: &History) -> (Looker, Answer) {
        let Some(going) = &mut self.going else {
            return std::future::pending().await;
        };
        let (looker, mut answer) = going.await;
        self.going = None;
        if let Answer::Found(found) = &mut answer {
            // A statement that came meanwhile may be in what was read, or not: its table is due again.
            found.retain(|(name, _)| history.unread_since(name) == self.asked.get(name).copied());
        }
        (looker, answer)
    }
}

/// The looker says by itself when to try no more.
async fn rest(error: &crate::Error) {
    tracing::debug!(%error, "table definitions are looked at once more");
    tokio::time::sleep(PAUSE).await;
}
