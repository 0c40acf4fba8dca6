//! The threads on which sessions run, each with a runtime of its own. A session stays where it began, beside its sockets: no byte of it
//! wakes a second thread, as it does where runtimes share their work. Clients are accepted on these threads, too, and whoever can be led by the
//! thread that accepted it is.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::info;

/// As many threads as there are processors. They end when this is dropped, and with them what still runs there.
pub(crate) struct Workers {
    all: Arc<[Worker]>,
    _stop: DropGuard,
}

struct Worker {
    runtime: Handle,
    sessions: TaskTracker,
}

impl Workers {
    pub(crate) fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, stopped) = (runtime.handle().clone(), stop.clone().cancelled_owned());
            thread::Builder::new()
                .name(format!("proxy-{number}"))
                .spawn(move || runtime.block_on(stopped))?;
            Ok(Worker {
                runtime: handle,
                sessions: TaskTracker::new(),
            })
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            all: (0..processors).map(start).collect::<io::Result<_>>()?,
            _stop: stop.drop_guard(),
        })
    }

    /// The threads as seen from the one of that number; there may be fewer.
    pub(crate) fn from(&self, number: usize) -> Team {
        Team {
            home: number % self.all.len(),
            all: Arc::clone(&self.all),
        }
    }

    /// Waits until all sessions are over; no more may begin.
    pub(crate) async fn drain(&self) {
        let sessions: usize = { &self.all }.iter().map(|worker| worker.sessions.len()).sum();
        info!(sessions, "the proxy drains");
        for worker in self.all.iter() {
            worker.sessions.close();
            worker.sessions.wait().await;
        }
    }
}

/// All threads, as seen from one of them. It does not keep them.
#[derive(Clone)]
pub(crate) struct Team {
    all: Arc<[Worker]>,
    home: usize,
}

impl Team {
    /// Runs what accepts clients, at home.
    pub(crate) fn accept<F>(&self, accepting: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.all[self.home].runtime.spawn(accepting)
    }

    /// The thread with the fewest sessions, home if that is one of those.
    pub(crate) fn fewest(&self) -> Place<'_> {
        let (before, from_home) = self.all.split_at(self.home);
        let home = &self.all[self.home];
        let worker = { from_home.iter().chain(before) }
            .min_by_key(|worker| worker.sessions.len())
            .unwrap_or(home);
        Place {
            worker,
            is_home: std::ptr::eq(worker, home),
        }
    }
}

/// One of the threads.
pub(crate) struct Place<'t> {
    worker: &'t Worker,
    is_home: bool,
}

impl Place<'_> {
    /// The runtime to which sockets must be brought from home; absent where they are there.
    pub(crate) fn elsewhere(&self) -> Option<&Handle> {
        (!self.is_home).then_some(&self.worker.runtime)
    }

    /// Runs a session there.
    pub(crate) fn lead(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.worker.sessions.spawn_on(session, &self.worker.runtime);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tokio::sync::{Barrier, mpsc};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn every_thread_has_as_many_sessions_as_the_others_and_ends_with_them() {
        let workers = Workers::start().unwrap();
        let threads = workers.all.len();
        let (sender, mut names) = mpsc::channel(3 * threads);
        let barrier = Arc::new(Barrier::new(3 * threads));
        let name = || thread::current().name().map(str::to_owned).unwrap();
        for _ in 0..3 * threads {
            let (sender, barrier) = (sender.clone(), Arc::clone(&barrier));
            workers.from(1).fewest().lead(async move {
                sender.try_send(name()).unwrap();
                // Nobody leaves before all are there.
                barrier.wait().await;
            });
        }
        let mut found = HashMap::new();
        for _ in 0..3 * threads {
            *found.entry(names.recv().await.unwrap()).or_insert(0) += 1;
        }
        let wanted = (0..threads)
            .map(|number| (format!("proxy-{number}"), 3))
            .collect();
        assert_eq!(found, wanted);
        timeout(Duration::from_secs(60), workers.drain()).await.unwrap();

        // Where all have as many, a session stays where its client was accepted.
        for number in 0..2 * threads {
            let team = workers.from(number);
            let (accepting, accepted) = (team.clone(), sender.clone());
            team.accept(async move {
                accepted.try_send(name()).unwrap();
                let place = accepting.fewest();
                assert!(place.elsewhere().is_none());
                place.lead(async move { accepted.try_send(name()).unwrap() });
            });
            let (accepted, led) = (names.recv().await, names.recv().await);
            assert_eq!(accepted, led);
            assert_eq!(led, Some(format!("proxy-{}", number % threads)));
            timeout(Duration::from_secs(60), workers.drain()).await.unwrap();
        }

        // A session that would never end does when the threads do.
        let (kept, dropped) = tokio::sync::oneshot::channel::<()>();
        workers.from(0).fewest().lead(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        drop(workers);
        let ended = timeout(Duration::from_secs(60), dropped).await.unwrap();
        assert!(ended.is_err());
    }
}
