//! The running parts of a sidecar: each a task of the runtime with one owner that joins it and notes how it ended.

use std::collections::HashMap;
use std::fmt;

use tokio::task::{Id, JoinError, JoinSet};
use tracing::{error, info};

use crate::status::Ending;

/// A part's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Capture,
    /// Everything that needs the log.
    Pipeline,
    Proxy,
    Http,
    Trimming,
    Watching,
    Task(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline => f.write_str("log"),
            Self::Capture => f.write_str("capture"),
            Self::Proxy => f.write_str("proxy"),
            Self::Http => f.write_str("http"),
            Self::Trimming => f.write_str("trimming of the log"),
            Self::Watching => f.write_str("sampling of the status"),
            Self::Task(name) => write!(f, "task {name}"),
        }
    }
}

/// All parts that have not ended.
#[derive(Default)]
pub(super) struct Parts {
    running: JoinSet<Result<(), String>>,
    known: HashMap<Id, (Part, Ending)>,
}

impl Parts {
    /// Starts a part. When it ends, for whatever reason, `ending` says so.
    pub(super) fn spawn<E: fmt::Display>(
        &mut self,
        part: Part,
        ending: Ending,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self
            .running
            .spawn(async move { work.await.map_err(|error| error.to_string()) });
        self.known.insert(handle.id(), (part, ending));
    }

    /// Waits for the next part to end; for ever when none is left. May be cancelled: an end is then told next time.
    pub(super) async fn next(&mut self) {
        match self.running.join_next_with_id().await {
            Some(ended) => self.note(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until every part but HTTP has ended.
    pub(super) async fn all_but_http(&mut self) {
        while self.known.values().any(|(part, _)| *part != Part::Http) {
            self.next().await;
        }
    }

    /// Waits until every part has ended.
    pub(super) async fn all(&mut self) {
        while !self.known.is_empty() {
            self.next().await;
        }
    }

    /// The names of the parts that have not ended, HTTP aside.
    pub(super) fn names(&self) -> String {
        let mut names: Vec<_> = self
            .known
            .values()
            .filter(|(part, _)| *part != Part::Http)
            .map(|(part, _)| part.to_string())
            .collect();
        names.sort();
        names.join(", ")
    }

    /// Ends what has not ended.
    pub(super) fn abort(&mut self) {
        self.running.abort_all();
    }

    fn note(&mut self, ended: Result<(Id, Result<(), String>), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => (
                error.id(),
                Err(format!(
                    "a defect ended it ({error}); please report it, and start again"
                )),
            ),
        };
        let Some((part, ending)) = self.known.remove(&id) else {
            return;
        };
        match &outcome {
            Ok(()) => info!(%part, "ended"),
            Err(why) => error!(%part, "stopped: {why}"),
        }
        ending.set(outcome.err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_noted_with_its_reason_and_stops_nobody_else() {
        let mut parts = Parts::default();
        let (failed, done, panicked) = (Ending::default(), Ending::default(), Ending::default());
        parts.spawn(Part::Capture, failed.clone(), async { Err("purged") });
        parts.spawn(Part::Task("a".to_owned()), done.clone(), async {
            Ok::<_, String>(())
        });
        parts.spawn(Part::Proxy, panicked.clone(), async {
            if true { panic!("oops") } else { Ok::<_, String>(()) }
        });
        parts.spawn(
            Part::Http,
            Ending::default(),
            std::future::pending::<Result<(), String>>(),
        );
        parts.all_but_http().await;
        assert_eq!(failed.get(), Some(Some("purged".to_owned())));
        assert_eq!(done.get(), Some(None));
        assert!(panicked.get().unwrap().unwrap().contains("please report it"));
        assert_eq!(parts.names(), "");
        parts.abort();
        parts.all().await;
    }
}
