//! Disposable MySQL servers: the demo, the tests and the benchmarks run theirs here, each in a folder of the caller's on a
//! free port, ended with the process that started it, whatever ends that process.
//!
//! The server program is the machine's own `mysqld` (8.0 or later), or the one that `scripts/mysql install` unpacked.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::port;

/// How long a server may take to accept connections.
const START: Duration = Duration::from_secs(90);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(60);

/// Where MySQL's programs are on this machine.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The folder a distribution was unpacked into; `None` for the programs on PATH.
    root: Option<PathBuf>,
}

impl Installation {
    /// Finds MySQL 8.0 or later: `OUTRIGGER_MYSQL_ROOT`, the machine's own, then the unpacked one.
    pub fn find() -> Result<Self> {
        if let Some(root) = std::env::var_os("OUTRIGGER_MYSQL_ROOT") {
            return Ok(Self {
                root: Some(root.into()),
            });
        }
        let own = Command::new("mysqld").arg("--version").output();
        if let Ok(output) = own
            && is_mysql_8(&String::from_utf8_lossy(&output.stdout))
        {
            return Ok(Self { root: None });
        }
        let root = cache_folder()?.join("mysql");
        if !root.join(".complete").exists() {
            bail!("no MySQL server on this machine: run `make setup`, or put mysqld 8.0 or later on PATH");
        }
        Ok(Self { root: Some(root) })
    }

    /// A command for one of MySQL's programs (`mysql`, `mysqlbinlog`, `mysqld`), to be given its arguments.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let Some(root) = &self.root else {
            return Command::new(program);
        };
        let folder = if program == "mysqld" {
            "usr/sbin"
        } else {
            "usr/bin"
        };
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let private = root.join("usr/lib/mysql/private");
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(format!("{}:{}", libraries.display(), private.display()));
        command.arg(root.join(folder).join(program));
        command
    }

    /// `mysqld` with the options that every start needs.
    fn mysqld(&self, data: &Path) -> Vec<OsString> {
        let mut command = self.command("mysqld");
        command.arg("--no-defaults").arg(option("--datadir=", data));
        if let Some(root) = &self.root {
            command.arg(option("--lc-messages-dir=", root.join("usr/share/mysql")));
            command.arg(option("--plugin-dir=", root.join("usr/lib/mysql/plugin")));
            command.arg(option(
                "--character-sets-dir=",
                root.join("usr/share/mysql/charsets"),
            ));
        }
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        command.arg("--innodb-redo-log-capacity=64M");
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(OsStr::to_owned)
            .collect()
    }
}

/// A running server. Dropping it kills the process; its data stays until the caller removes the folder.
#[derive(Debug)]
pub struct Server {
    installation: Installation,
    folder: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Initialises a data directory under `folder` unless there is one, and starts a server on a free port with the given
    /// extra options; those without `--` are variables of its environment (`TZ=UTC-9`). Blocks until it accepts connections.
    pub fn start(installation: &Installation, folder: &Path, options: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let data = folder.join("data");
        if !data.exists() {
            let template = template(installation, options)?;
            copy_folder(&template, &data)?;
            fs::remove_file(data.join("auto.cnf")).context("a new data directory without auto.cnf")?;
        }
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self {
            installation: installation.clone(),
            folder: folder.to_owned(),
            port: port::free()?,
            options,
            child: None,
        };
        server.launch()?;
        Ok(server)
    }

    /// Starts the server again after [`Server::stop`] or [`Server::kill`], on the same port.
    pub fn launch(&mut self) -> Result<()> {
        let mut arguments = self.installation.mysqld(&self.folder.join("data"));
        arguments.push(option("--port=", self.port.to_string()));
        arguments.push(option("--socket=", self.socket()));
        arguments.push(option("--pid-file=", self.folder.join("pid")));
        arguments.push(option("--log-error=", self.folder.join("error.log")));
        arguments.push(option("--server-id=", u32::from(self.port).to_string()));
        let fixed = [
            "--bind-address=127.0.0.1",
            "--mysqlx=0",
            "--secure-file-priv=",
            "--local-infile=1",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--innodb-buffer-pool-size=256M",
            "--max-connections=1000",
        ];
        arguments.extend(fixed.iter().map(Into::into));
        arguments.extend(
            self.options
                .iter()
                .filter(|option| !is_variable(option))
                .map(Into::into),
        );
        // A socket left by a killed server would look like a server that does not answer.
        remove_if_there(&self.socket())?;
        self.child = Some(spawn(in_environment(arguments, &self.options), None)?);
        self.wait_until_up()
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let child = self
                .child
                .as_mut()
                .ok_or_else(|| anyhow!("the server was not started"))?;
            if let Some(status) = child.try_wait()? {
                bail!("mysqld ended with {status} while starting:\n{}", self.error_log());
            }
            let greeted = UnixStream::connect(self.socket()).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.read_exact(&mut [0; 5])
            });
            if greeted.is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "mysqld did not accept connections within {START:?}:\n{}",
            self.error_log()
        )
    }

    /// Ends the server as an administrator would, and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else {
            return Ok(());
        };
        signal(child, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                self.child = None;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill()
    }

    /// Ends the server with SIGKILL, as a crash of its host would, and waits for it.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Changes the options of the next [`Server::launch`].
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(ToString::to_string).collect();
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The unix socket's path. Socket paths are limited to 107 bytes, so it lives in the server's own short folder.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// The folder with the data directory and the logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last lines of the server's error log, for messages.
    #[must_use]
    pub fn error_log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("error.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended already; either way there is nobody left to tell.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The folder for what outlives a clone, as `scripts/env` has it.
fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("OUTRIGGER_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").ok_or_else(|| anyhow!("neither OUTRIGGER_CACHE nor HOME is set"))?;
    Ok(PathBuf::from(home).join(".cache/outrigger"))
}

fn is_mysql_8(version: &str) -> bool {
    let major = version
        .split("Ver ")
        .nth(1)
        .and_then(|rest| rest.split('.').next())
        .and_then(|digits| digits.parse::<u32>().ok());
    !version.contains("MariaDB") && major.is_some_and(|major| major >= 8)
}

/// True for what belongs to a server's environment, not to its command line.
fn is_variable(option: &str) -> bool {
    !option.starts_with("--")
}

fn in_environment(arguments: Vec<OsString>, options: &[String]) -> Vec<OsString> {
    let variables = options.iter().filter(|option| is_variable(option));
    let env = std::iter::once("env".into()).chain(variables.map(Into::into));
    env.chain(arguments).collect()
}

fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut text = OsString::from(name);
    text.push(value);
    text
}

/// An option that holds from a data directory's beginning on.
const FROM_THE_BEGINNING: &str = "--lower-case-table-names=";

/// A data directory initialised once per machine and version (five seconds) and copied for each server (a fraction of one).
fn template(installation: &Installation, options: &[&str]) -> Result<PathBuf> {
    let output = installation
        .command("mysqld")
        .arg("--version")
        .output()
        .context("running mysqld --version")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split("Ver ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let version = version.ok_or_else(|| anyhow!("mysqld --version printed {text:?}"))?;
    let cache = cache_folder()?;
    let folds = options
        .iter()
        .find(|option| option.starts_with(FROM_THE_BEGINNING));
    let folder = cache.join(format!("data-{version}{}", folds.unwrap_or(&"")));
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    let fresh = tempfile::Builder::new().prefix("data-new-").tempdir_in(&cache)?;
    // mysqld insists on an empty directory, and holds its files to the directory's owner.
    let mut arguments = installation.mysqld(fresh.path());
    arguments.push("--initialize-insecure".into());
    arguments.extend(folds.map(OsString::from));
    let (program, rest) = arguments.split_first().ok_or_else(|| anyhow!("no program"))?;
    let output = Command::new(program)
        .args(rest)
        .output()
        .context("starting mysqld --initialize-insecure")?;
    if !output.status.success() {
        bail!(
            "mysqld --initialize-insecure failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // Another process may have been quicker; its folder is as good as ours.
    if let Err(error) = fs::rename(fresh.path(), &folder)
        && !folder.exists()
    {
        return Err(error).context("keeping a new MySQL data directory");
    }
    Ok(folder)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) -> Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow!("process id {} is not one", child.id()))?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// Starts a process that the kernel kills when this one ends, however it ends.
///
/// `setpriv --pdeathsig` asks for that, and the kernel ties it to the starting *thread*: so one thread, which lives as long
/// as the process, starts them all.
/// What it prints, on either stream, is appended to `log`, or thrown away.
pub fn spawn(arguments: Vec<OsString>, log: Option<fs::File>) -> Result<Child> {
    type Order = (
        Vec<OsString>,
        Stdio,
        Stdio,
        mpsc::SyncSender<std::io::Result<Child>>,
    );
    static SPAWNER: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::sync_channel::<Order>(1);
        thread::spawn(move || {
            for (arguments, out, err, reply) in orders {
                let child = Command::new("setpriv")
                    .args(["--pdeathsig", "KILL"])
                    .args(arguments)
                    .stdin(Stdio::null())
                    .stdout(out)
                    .stderr(err)
                    .spawn();
                // Whoever asked waits on the other end until it has the answer.
                drop(reply.send(child));
            }
        });
        sender
    });
    let (out, err) = match log {
        Some(file) => (Stdio::from(file.try_clone()?), Stdio::from(file)),
        None => (Stdio::null(), Stdio::null()),
    };
    let (reply, answer) = mpsc::sync_channel(1);
    spawner
        .send((arguments, out, err, reply))
        .map_err(|_gone| anyhow!("the thread that starts servers has ended"))?;
    answer
        .recv()?
        .context("starting a server through setpriv (Debian package util-linux)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert!(is_mysql_8("mysqld  Ver 9.7.0 for Linux on x86_64 (Debian)"));
        assert!(is_mysql_8("/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64"));
        assert!(!is_mysql_8("mysqld  Ver 5.7.44 for Linux on x86_64"));
        assert!(!is_mysql_8(
            "mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu"
        ));
        assert!(!is_mysql_8(""));
    }
}
