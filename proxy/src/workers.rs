//! The threads on which sessions run, each with a runtime of its own. A session stays where it began, beside its sockets: no byte of it
//! wakes a second thread, as it does where runtimes share their work.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// As many threads as there are processors. They end when this is dropped, and with them what still runs there.
pub(crate) struct Workers {
    handles: Vec<Handle>,
    _stop: DropGuard,
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
            Ok(handle)
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            handles: (0..processors).map(start).collect::<io::Result<_>>()?,
            _stop: stop.drop_guard(),
        })
    }

    /// Runs a session where the fewest are.
    pub(crate) fn spawn(
        &self,
        sessions: &mut JoinSet<()>,
        session: impl Future<Output = ()> + Send + 'static,
    ) {
        let fewest = { &self.handles }
            .iter()
            .min_by_key(|handle| handle.metrics().num_alive_tasks());
        match fewest {
            Some(handle) => sessions.spawn_on(session, handle),
            None => sessions.spawn(session),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Barrier, mpsc};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn every_thread_has_as_many_sessions_as_the_others_and_ends_with_them() {
        let workers = Workers::start().unwrap();
        let threads = workers.handles.len();
        let (sender, mut names) = mpsc::channel(3 * threads);
        let barrier = Arc::new(Barrier::new(3 * threads));
        let mut sessions = JoinSet::new();
        for _ in 0..3 * threads {
            let (sender, barrier) = (sender.clone(), Arc::clone(&barrier));
            workers.spawn(&mut sessions, async move {
                let name = thread::current().name().map(str::to_owned);
                sender.try_send(name).unwrap();
                // Nobody leaves before all are there.
                barrier.wait().await;
            });
        }
        while let Some(ended) = sessions.join_next().await {
            ended.unwrap();
        }
        let mut found = HashMap::new();
        while let Ok(name) = names.try_recv() {
            *found.entry(name.unwrap()).or_insert(0) += 1;
        }
        let wanted = (0..threads)
            .map(|number| (format!("proxy-{number}"), 3))
            .collect();
        assert_eq!(found, wanted);

        // A session that would never end does when the threads do.
        workers.spawn(&mut sessions, std::future::pending());
        drop(workers);
        let ended = timeout(Duration::from_secs(60), sessions.join_next())
            .await
            .unwrap();
        assert!(ended.unwrap().unwrap_err().is_cancelled());
    }
}
