//! A sidecar of this very program, run as a process of its own so that it can be killed.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::server;

/// `outrigger run`, its configuration and its HTTP address.
#[derive(Debug)]
pub struct Sidecar {
    program: PathBuf,
    folder: PathBuf,
    http: String,
    /// Crash points for the next start, in a build that has them.
    failpoints: String,
    child: Option<Child>,
    /// The most memory any of its processes held, in KiB.
    peak_kib: u64,
}

impl Sidecar {
    /// A sidecar for the configuration text, kept in `folder`; not started yet. `http` is its listen address.
    pub fn new(program: &Path, folder: &Path, config: &str, http: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("outrigger.toml"), config)?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            http: http.to_owned(),
            failpoints: String::new(),
            child: None,
            peak_kib: 0,
        })
    }

    /// Starts the process with the given crash points (empty for none).
    pub fn start_with(&mut self, failpoints: &str) -> Result<()> {
        self.start_under(&[], failpoints)
    }

    /// Starts the process by another command, like `prlimit` with its options, that ends in running it.
    pub fn start_under(&mut self, command: &[&str], failpoints: &str) -> Result<()> {
        failpoints.clone_into(&mut self.failpoints);
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut arguments: Vec<OsString> = command.iter().map(OsString::from).collect();
        arguments.push("env".into());
        arguments.push(format!("FAILPOINTS={failpoints}").into());
        arguments.push(self.program.clone().into());
        arguments.extend(["run", "--config"].map(OsString::from));
        arguments.push(self.folder.join("outrigger.toml").into());
        self.child = Some(server::spawn(arguments, Some(log))?);
        Ok(())
    }

    /// Starts the process.
    pub fn start(&mut self) -> Result<()> {
        self.start_with("")
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.note_memory();
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends it with SIGTERM and returns its exit code once it has drained.
    pub fn stop(&mut self, deadline: Duration) -> Result<Option<i32>> {
        self.note_memory();
        if let Some(child) = self.child.as_ref() {
            server::signal(child, rustix::process::Signal::TERM)?;
        }
        self.wait_for_exit(deadline)
    }

    /// Has it read its configuration, which is now this text, again.
    pub fn reload(&self, config: &str) -> Result<()> {
        fs::write(self.config(), config)?;
        match self.child.as_ref() {
            Some(child) => server::signal(child, rustix::process::Signal::HUP),
            None => bail!("the sidecar was not started"),
        }
    }

    /// Waits until the process ends by itself and returns its exit code; `None` when a signal ended it.
    pub fn wait_for_exit(&mut self, deadline: Duration) -> Result<Option<i32>> {
        let Some(child) = self.child.as_mut() else {
            bail!("the sidecar was not started")
        };
        let until = Instant::now() + deadline;
        while Instant::now() < until {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status.code());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "the sidecar has not ended within {deadline:?}; its log ends:\n{}",
            self.log_end()
        )
    }

    /// True while the process runs.
    pub fn running(&mut self) -> Result<bool> {
        Ok(match self.child.as_mut() {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        })
    }

    /// `GET /api/v1/status`; an error while the process is not up.
    pub fn status(&mut self) -> Result<Value> {
        self.note_memory();
        Ok(serde_json::from_str(&self.get("/api/v1/status")?)?)
    }

    /// What it serves at a path; an error for any status but 200.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut response = ureq::get(format!("http://{}{path}", self.http)).call()?;
        Ok(response.body_mut().read_to_string()?)
    }

    /// Waits until every task is `synchronizing`.
    pub fn wait_until_synchronizing(&mut self, deadline: Duration) -> Result<Value> {
        let until = Instant::now() + deadline;
        let mut last = anyhow!("no answer yet");
        while Instant::now() < until {
            if !self.running()? {
                bail!("the sidecar ended; its log ends:\n{}", self.log_end());
            }
            match self.status() {
                Ok(status) => {
                    let states = task_states(&status);
                    if let Some(stopped) = states.iter().find(|state| *state == "stopped") {
                        bail!(
                            "a task is {stopped}:\n{status:#}\nthe log ends:\n{}",
                            self.log_end()
                        );
                    }
                    if !states.is_empty() && states.iter().all(|state| state == "synchronizing") {
                        return Ok(status);
                    }
                    last = anyhow!("{status:#}");
                }
                Err(error) => last = error,
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(last).with_context(|| {
            format!(
                "not synchronizing within {deadline:?}; the log ends:\n{}",
                self.log_end()
            )
        })
    }

    /// The most resident memory seen, in KiB, over all its processes.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.peak_kib
    }

    /// Where its log lines go.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("sidecar.log")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("outrigger.toml")
    }

    /// The last log lines.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn note_memory(&mut self) {
        let Some(pid) = self.pid() else { return };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0);
        self.peak_kib = self.peak_kib.max(kib);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended already; either way there is nobody left to tell.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The state of each task in a status document.
#[must_use]
pub fn task_states(status: &Value) -> Vec<String> {
    let tasks = status["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    tasks
        .iter()
        .filter_map(|task| task["state"].as_str().map(str::to_owned))
        .collect()
}
