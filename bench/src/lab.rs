//! Where measuring happens: a temporary folder with servers, sidecars and configurations in it, and the ways to reach them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use outrigger::demo::port;
use outrigger::demo::server::{Installation, Server};
use outrigger::demo::sidecar::{self, Sidecar};
use tempfile::TempDir;

/// The account that everybody uses; it has no password, on servers that listen on 127.0.0.1 only.
pub(crate) const ACCOUNT: &str = "bench";
/// How long one thing may take that should take seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Enough memory and redo log for the tables used here; everything else is mysqld's default, durability too.
const SERVER_OPTIONS: [&str; 3] = [
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
    "--skip-replica-start",
];

/// A temporary folder and a MySQL installation. The folder goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: TempDir,
    /// Where mysqldump, mysqlbinlog and the like are.
    pub(crate) installation: Installation,
}

impl Lab {
    /// A new folder.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("outrigger-bench-").tempdir()?,
            installation: Installation::find()?,
        })
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new, empty server.
    pub(crate) fn server(&self, name: &str) -> Result<Server> {
        self.server_with(name, &[])
    }

    /// The same with more options.
    pub(crate) fn server_with(&self, name: &str, more: &[&str]) -> Result<Server> {
        let options = [&SERVER_OPTIONS[..], more].concat();
        Server::start(&self.installation, &self.path(name), &options)
    }

    /// A sidecar that is not started yet: the release build beside this program.
    pub(crate) fn sidecar(
        &self,
        name: &str,
        source: &Server,
        target: &Server,
        more: &str,
    ) -> Result<Sidecar> {
        self.sidecar_at(name, source, target.port(), more)
    }

    /// The same with a target on a port.
    pub(crate) fn sidecar_at(&self, name: &str, source: &Server, target: u16, more: &str) -> Result<Sidecar> {
        self.make(name, &format!("port = {}", source.port()), target, more)
    }

    /// One that reaches the source over its unix socket.
    pub(crate) fn sidecar_over_socket(
        &self,
        name: &str,
        source: &Server,
        target: &Server,
        more: &str,
    ) -> Result<Sidecar> {
        // A second replica on this host needs a number of its own.
        let address = format!("socket = \"{}\"\nserver_id = 4711", source.socket().display());
        self.make(name, &address, target.port(), more)
    }

    fn make(&self, name: &str, source: &str, target: u16, more: &str) -> Result<Sidecar> {
        let program = std::env::current_exe()?.with_file_name("outrigger");
        if !program.exists() {
            bail!(
                "no {}: build it with cargo build --release --workspace",
                program.display()
            );
        }
        let http = format!("127.0.0.1:{}", port::free()?);
        let config = format!(
            "[source]\n{source}\nuser = \"{ACCOUNT}\"\npassword = \"\"\n\n[log]\npath = \"log\"\n\n\
             [http]\nlisten = \"{http}\"\n\n{more}\n\
             [[task]]\nname = \"bench\"\ninclude = [\"{}\"]\n\n\
             [task.target]\nport = {target}\nuser = \"{ACCOUNT}\"\npassword = \"\"\n",
            crate::tables::DATABASE,
        );
        Sidecar::new(&program, &self.path(name), &config, &http)
    }

    /// Writes back what earlier rounds left in the page cache, so that it does not slow the next contestant.
    pub(crate) fn settle() -> Result<()> {
        let status = Command::new("sync").status().context("running sync")?;
        if !status.success() {
            bail!("sync ended with {status}");
        }
        Ok(())
    }
}

/// An administrator's connection, over the unix socket.
pub(crate) async fn root(server: &Server) -> Result<Conn> {
    let opts = OptsBuilder::default()
        .socket(server.socket().to_str())
        .user(Some("root"));
    Conn::new(opts).await.context("connecting to a server as root")
}

/// The account's way in, over TCP.
pub(crate) fn opts(server: &Server) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(ACCOUNT))
        .prefer_socket(false)
        .into()
}

/// The account's connection, over TCP.
pub(crate) async fn connect(server: &Server) -> Result<Conn> {
    Conn::new(opts(server)).await.context("connecting to a server")
}

/// Makes the account.
pub(crate) async fn account(server: &Server) -> Result<()> {
    let mut conn = root(server).await?;
    for statement in [
        format!("CREATE USER {ACCOUNT}@'%' IDENTIFIED BY ''"),
        format!("GRANT ALL ON *.* TO {ACCOUNT}@'%'"),
    ] {
        conn.query_drop(statement).await?;
    }
    Ok(())
}

/// While a source is only being filled nobody waits for its disk.
pub(crate) async fn durable(conn: &mut Conn, durable: bool) -> Result<()> {
    let (sync, flush) = if durable { (1, 1) } else { (0, 2) };
    let sql = format!("SET GLOBAL sync_binlog = {sync}, GLOBAL innodb_flush_log_at_trx_commit = {flush}");
    Ok(conn.query_drop(sql).await?)
}

/// The options by which MySQL's own programs reach a server as everybody else does: TCP, no TLS.
pub(crate) fn client_options(server: &Server) -> Vec<OsString> {
    client_options_at(server.port())
}

/// The same on the way to it that begins at a port.
pub(crate) fn client_options_at(port: u16) -> Vec<OsString> {
    [
        "--no-defaults".to_owned(),
        "--host=127.0.0.1".to_owned(),
        format!("--port={port}"),
        format!("--user={ACCOUNT}"),
        "--ssl-mode=DISABLED".to_owned(),
    ]
    .into_iter()
    .map(OsString::from)
    .collect()
}

/// Where a program is, if it is on PATH or where administrators' programs are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Waits until a sidecar's only task has copied everything.
pub(crate) async fn wait_until_copied(sidecar: &mut Sidecar) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if !sidecar.running()? {
            bail!("the sidecar ended; its log ends:\n{}", sidecar.log_end());
        }
        // No answer means that it is still starting.
        let states = sidecar
            .status()
            .map(|status| sidecar::task_states(&status))
            .unwrap_or_default();
        match states.first().map(String::as_str) {
            Some("catching_up" | "synchronizing") => return Ok(()),
            Some("stopped") => bail!("the task stopped; the log ends:\n{}", sidecar.log_end()),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    bail!(
        "the copy takes more than {PATIENCE:?}; the log ends:\n{}",
        sidecar.log_end()
    )
}

/// A figure about a copy that is not one is worth nothing: compares every row.
pub(crate) async fn must_be_equal(source: &Server, target: &Server) -> Result<()> {
    let (mut source, mut target) = (root(source).await?, root(target).await?);
    let tables =
        outrigger::demo::compare::databases(&mut source, &mut target, &[crate::tables::DATABASE]).await?;
    let different: Vec<_> = tables
        .iter()
        .filter(|table| !table.equal())
        .map(|table| table.table.as_str())
        .collect();
    if tables.is_empty() || !different.is_empty() {
        bail!(
            "source and target differ in {} of {} tables: {}",
            different.len(),
            tables.len(),
            different.join(", ")
        );
    }
    Ok(())
}

/// Removes a folder that may not be there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells on stderr what is going on.
pub(crate) fn say(text: &str) -> Result<()> {
    Ok(writeln!(io::stderr().lock(), "# {text}")?)
}
