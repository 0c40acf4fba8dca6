//! Taking up the configuration file again while everything runs: what the proxy can take up it does, what nobody can is named.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_protocol::endpoint::Secret;
use outrigger_proxy::{Reloader as Proxy, guard};
use serde::{Deserialize, Serialize};
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

/// The configuration in force, and who can be given another one.
pub(super) struct Reload {
    file: PathBuf,
    proxy: Option<Proxy>,
    policy: Arc<guard::Policy>,
    running: Mutex<Running>,
}

struct Running {
    /// What was begun with, and what was taken up last.
    begun: Secret,
    current: Secret,
    passwords: Vec<(String, Secret)>,
    /// The longest that some connection may have to finish.
    drain: Duration,
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
            }),
        }
    }

    /// How long the proxy may take to drain.
    pub(super) fn drain(&self) -> Duration {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).drain
    }

    /// Reads the file and takes up what can be. What does not hold changes nothing, and the error says why. Blocks for files.
    pub(super) fn reload(&self) -> Result<Reloaded, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.take_up(&mut running);
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

    fn take_up(&self, running: &mut Running) -> Result<Reloaded, String> {
        let config = Config::load(&self.file).map_err(|error| error.to_string())?;
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
        if let Some((proxy, settings)) = self.proxy.as_ref().zip(config.proxy) {
            proxy.reload(settings).map_err(|error| error.to_string())?;
            self.policy.reload(&config.guard);
        }
        running.current = config.text;
        Ok(Reloaded {
            taken_up: since_then.live,
            at_next_start,
        })
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
