//! Taking up the configuration file again while everything runs: what the proxy can take up it does, what nobody can is named.
//!
//! Files are read on a thread of its own, which is left behind where a file system does not answer; what was read is taken up in one
//! step, or not at all once the sidecar stops.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_protocol::endpoint::Secret;
use outrigger_proxy::{Prepared, Reloader as Proxy, guard};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{self, Config};

/// What became of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys whose new values hold now.
    pub taken_up: Vec<String>,
    /// Keys whose new values hold from the next start on.
    pub at_next_start: Vec<String>,
}

/// Files that are not read within this time are on a file system that does not answer.
const READING: Duration = Duration::from_secs(30);

/// The configuration in force, and who can be given another one.
pub(super) struct Reload {
    file: PathBuf,
    proxy: Option<Proxy>,
    policy: Arc<guard::Policy>,
    running: Mutex<Running>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Running {
    /// What was begun with, and what was taken up last.
    begun: Secret,
    current: Secret,
    passwords: Vec<(String, Secret)>,
    /// The longest that some connection may have to finish.
    drain: Duration,
    /// Nothing is taken up any more.
    stopping: bool,
}

/// A configuration that was read, and what its files hold for the proxy.
struct Read {
    config: Config,
    proxy: Option<Prepared>,
}

impl Reload {
    pub(super) fn new(
        file: PathBuf,
        config: &Config,
        policy: Arc<guard::Policy>,
        proxy: Option<Proxy>,
    ) -> Self {
        Self {
            file,
            proxy,
            policy,
            running: Mutex::new(Running {
                begun: config.text.clone(),
                current: config.text.clone(),
                passwords: passwords(config),
                drain: drain(config),
                stopping: false,
            }),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes nothing up any more, and says how long the proxy may take to drain.
    pub(super) fn stop(&self) -> Duration {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.stopping = true;
        running.drain
    }

    /// Reads the file and takes up what can be. What does not hold changes nothing, and the error says why.
    pub(super) async fn reload(self: Arc<Self>) -> Result<Reloaded, String> {
        let outcome = self.read_and_take_up().await;
        match &outcome {
            Ok(reloaded) => {
                let taken_up = reloaded.taken_up.join(", ");
                info!(
                    taken_up,
                    "the configuration was read again, and so were TLS files"
                );
                if !reloaded.at_next_start.is_empty() {
                    let keys = reloaded.at_next_start.join(", ");
                    warn!(
                        keys,
                        "these changes of the configuration hold from the next start on only"
                    );
                }
            }
            Err(why) => warn!(
                "the configuration was read again and does not hold, the one before stays in force: {why}"
            ),
        }
        outcome
    }

    async fn read_and_take_up(self: &Arc<Self>) -> Result<Reloaded, String> {
        let _turn = self
            .turn
            .try_lock()
            .map_err(|_busy| "it is being read already; try again when that is over")?;
        let reload = Arc::clone(self);
        let read = within(READING, move || reload.read()).await??;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.stopping {
            true => Err("the sidecar stops".to_owned()),
            false => Ok(self.take_up(read, &mut running)),
        }
    }

    /// Reads all files and opens sockets. Blocks for them.
    fn read(&self) -> Result<Read, String> {
        let config = Config::load(&self.file).map_err(|error| error.to_string())?;
        let wanted = self.proxy.as_ref().zip(config.proxy.clone());
        let prepared = wanted
            .map(|(proxy, settings)| Handle::current().block_on(proxy.prepare(settings)))
            .transpose();
        let proxy = prepared.map_err(|error| error.to_string())?;
        Ok(Read { config, proxy })
    }

    fn take_up(&self, read: Read, running: &mut Running) -> Reloaded {
        let Read { config, proxy } = read;
        let since_start = config::changes(running.begun.expose(), config.text.expose());
        let since_then = config::changes(running.current.expose(), config.text.expose());
        let mut at_next_start = since_start.at_start;
        // The same words in the file may stand for another password: a file's or a variable's.
        for (name, password) in passwords(&config) {
            let before = running.passwords.iter().find(|(other, _)| *other == name);
            if before.is_some_and(|(_, before)| *before != password) && !at_next_start.contains(&name) {
                at_next_start.push(name);
            }
        }
        running.drain = running.drain.max(drain(&config));
        if let Some(proxy) = proxy {
            proxy.take_up();
            self.policy.reload(&config.guard);
        }
        running.current = config.text;
        Reloaded {
            taken_up: since_then.live,
            at_next_start,
        }
    }
}

/// What `read` comes to on a thread of its own, which is left behind when it takes longer than `time`.
async fn within<T: Send + 'static>(
    time: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    match timeout(time, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(defect)) => Err(format!(
            "reading it ended in a defect ({defect}); please report it"
        )),
        Err(_elapsed) => Err(format!(
            "it, or a file that it names, could not be read within {} s: a file system does not answer",
            time.as_secs_f64()
        )),
    }
}

fn drain(config: &Config) -> Duration {
    config
        .proxy
        .as_ref()
        .map_or(Duration::ZERO, |proxy| proxy.drain_timeout)
}

/// Every password by its key's name.
fn passwords(config: &Config) -> Vec<(String, Secret)> {
    let source = (
        "source.password".to_owned(),
        config.capture.source.password.clone(),
    );
    let targets = config.tasks.iter().map(|task| {
        let name = format!("task.{}.target.password", task.name);
        (name, task.target.password.clone())
    });
    std::iter::once(source).chain(targets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_is_not_waited_for() {
        let (answer, asked) = std::sync::mpsc::channel::<()>();
        let why = within(Duration::from_millis(20), move || asked.recv())
            .await
            .unwrap_err();
        assert!(why.contains("could not be read within 0.02 s"), "{why}");
        drop(answer);
        assert_eq!(within(READING, || 7).await, Ok(7));
    }

    /// No task selects anything.
    struct Nothing;

    impl guard::Watched for Nothing {
        fn table(&self, _database: &str, _table: &str) -> bool {
            false
        }

        fn database(&self, _database: &str) -> bool {
            false
        }

        fn may_purge(&self, _before: Option<&str>) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn nothing_is_taken_up_once_the_sidecar_stops() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outrigger.toml");
        let text = "[source]\nhost = \"source\"\nuser = \"o\"\npassword = \"s\"\n\n[log]\npath = \"log\"\n\n\
                    [[task]]\nname = \"t\"\ninclude = [\"shop\"]\n\n[task.target]\nhost = \"target\"\nuser = \"o\"\npassword = \"t\"\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let policy = Arc::new(guard::Policy::new(&config.guard, Arc::new(Nothing)));
        let reload = Arc::new(Reload::new(file, &config, policy, None));
        Arc::clone(&reload).reload().await.unwrap();
        reload.stop();
        assert_eq!(reload.reload().await.unwrap_err(), "the sidecar stops");
    }
}
