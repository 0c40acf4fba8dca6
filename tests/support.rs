//! What the tests share: a source and a target of their own, a sidecar between them, ways to look.

pub(crate) mod front;
pub(crate) mod packed;
pub(crate) mod raw;
pub(crate) mod stage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use outrigger::demo::compare::{self, Comparison};
use outrigger::demo::port;
use outrigger::demo::server::{Installation, Server};
use outrigger::demo::sidecar::Sidecar;
use tempfile::TempDir;

/// How long anything may take that normally takes seconds; these machines can be slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the source's account needs.
pub(crate) const SOURCE_GRANTS: &str =
    "REPLICATION SLAVE, REPLICATION CLIENT, SELECT, SHOW VIEW, LOCK TABLES";

/// Two servers and a sidecar that is not started yet.
pub(crate) struct Rig {
    pub(crate) sidecar: Sidecar,
    pub(crate) source: Server,
    pub(crate) target: Server,
    pub(crate) proxy: u16,
    pub(crate) installation: Installation,
    pub(crate) folder: TempDir,
}

/// What differs from a plain rig.
pub(crate) struct Plan<'a> {
    /// `include` of the task.
    pub(crate) include: &'a [&'a str],
    /// Options of the source server.
    pub(crate) source: &'a [&'a str],
    /// Options of the target server.
    pub(crate) target: &'a [&'a str],
    /// The source may log parts of rows.
    pub(crate) partial_row_images: bool,
    /// More lines for the `[[task]]` section.
    pub(crate) task: &'a str,
    /// More lines for the `[log]` section.
    pub(crate) log: &'a str,
    /// More lines for the `[proxy]` section.
    pub(crate) proxy: &'a str,
    /// The source is reached over its unix socket, by capture and by the proxy.
    pub(crate) over_socket: bool,
    /// The password written into the configuration for the source.
    pub(crate) source_password: &'a str,
    /// What the source's account may do.
    pub(crate) source_grants: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            include: &["app"],
            source: &[],
            target: &[],
            partial_row_images: false,
            task: "",
            log: "",
            proxy: "",
            over_socket: false,
            source_password: "source secret",
            source_grants: SOURCE_GRANTS,
        }
    }
}

impl Rig {
    /// Servers with accounts of least privilege, and a configuration.
    pub(crate) async fn new(plan: &Plan<'_>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-test-")
            .tempdir()
            .unwrap();
        let installation = Installation::find().unwrap();
        let source = Server::start(&installation, &folder.path().join("source"), plan.source).unwrap();
        let target = Server::start(&installation, &folder.path().join("target"), plan.target).unwrap();
        let (proxy, http) = (
            port::free().unwrap(),
            format!("127.0.0.1:{}", port::free().unwrap()),
        );
        accounts(&source, &target, plan.source_grants).await;
        let include: Vec<String> = plan.include.iter().map(|name| format!("{name:?}")).collect();
        let address = match plan.over_socket {
            true => format!("socket = \"{}\"", source.socket().display()),
            false => format!("host = \"127.0.0.1\"\nport = {}", source.port()),
        };
        let config = format!(
            "[source]\n{}\nuser = \"outrigger\"\npassword = \"{}\"\nallow_partial_row_images = {}\n\n\
             [log]\npath = \"log\"\n{}\n\n[proxy]\nlisten = [\"127.0.0.1:{proxy}\", \"{}\"]\n{}\n\n[http]\nlisten = \"{http}\"\n\n\
             [[task]]\nname = \"test\"\ninclude = [{}]\n{}\n\n\
             [task.target]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"outrigger\"\npassword = \"target secret\"\n",
            address,
            plan.source_password,
            plan.partial_row_images,
            plan.log,
            folder.path().join("proxy.sock").display(),
            plan.proxy,
            include.join(", "),
            plan.task,
            target.port(),
        );
        let program = Path::new(env!("CARGO_BIN_EXE_outrigger"));
        let sidecar = Sidecar::new(program, &folder.path().join("sidecar"), &config, &http).unwrap();
        Self {
            sidecar,
            source,
            target,
            proxy,
            installation,
            folder,
        }
    }

    /// A rig whose source already holds what the SQL makes.
    pub(crate) async fn with(sql: &str) -> Self {
        let rig = Self::new(&Plan::default()).await;
        rig.on_source(sql).await;
        rig
    }

    /// Runs `;`-separated statements on the source.
    pub(crate) async fn on_source(&self, sql: &str) {
        run(&mut self.source_conn().await, sql).await;
    }

    /// An administrator's connection to the source.
    pub(crate) async fn source_conn(&self) -> Conn {
        connect(&self.source).await
    }

    /// An administrator's connection to the target.
    pub(crate) async fn target_conn(&self) -> Conn {
        connect(&self.target).await
    }

    /// Starts the sidecar and waits until it follows.
    pub(crate) fn start(&mut self) {
        self.sidecar.start().unwrap();
        self.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    }

    /// Commits a mark on the source and waits for it on the target: everything before it is applied then.
    pub(crate) async fn settle(&mut self) {
        let mut source = self.source_conn().await;
        let mut target = self.target_conn().await;
        run(
            &mut source,
            "CREATE TABLE IF NOT EXISTS app.settle (id BIGINT AUTO_INCREMENT PRIMARY KEY)",
        )
        .await;
        source
            .query_drop("INSERT INTO app.settle () VALUES ()")
            .await
            .unwrap();
        let mark = source.last_insert_id().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let sql = format!("SELECT id FROM app.settle WHERE id = {mark}");
            if let Ok(Some(_)) = target.query_first::<u64, _>(sql).await {
                return;
            }
            let status = self.sidecar.status().map(|status| format!("{status:#}"));
            let log = self.sidecar.log_end();
            assert!(self.sidecar.running().unwrap(), "the sidecar ended:\n{log}");
            let stopped = status.as_ref().is_ok_and(|text| text.contains("\"stopped\""));
            assert!(
                !stopped && Instant::now() < until,
                "not applied: {status:?}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every table of the database, compared; fails with what differs.
    pub(crate) async fn assert_equal(&self, databases: &[&str]) {
        let different = self.differences(databases).await;
        assert!(
            different.is_empty(),
            "source and target differ: {different:#?}\n{}",
            self.sidecar.log_end()
        );
    }

    /// The tables that differ.
    pub(crate) async fn differences(&self, databases: &[&str]) -> Vec<Comparison> {
        let (mut source, mut target) = (self.source_conn().await, self.target_conn().await);
        let compared = compare::databases(&mut source, &mut target, databases)
            .await
            .unwrap();
        assert!(!compared.is_empty(), "nothing to compare in {databases:?}");
        compared
            .into_iter()
            .filter(|comparison| !comparison.equal())
            .collect()
    }

    /// The `mysql` command with a way in.
    pub(crate) fn mysql(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.installation.command("mysql");
        command.arg("--no-defaults").args(arguments);
        command
    }

    /// A path for the test's own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs `;`-separated statements (a `;` at a line's end).
pub(crate) async fn run(conn: &mut Conn, sql: &str) {
    for statement in sql
        .split(";\n")
        .map(|text| text.trim().trim_end_matches(';'))
        .filter(|text| !text.is_empty())
    {
        conn.query_drop(statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

pub(crate) async fn connect(server: &Server) -> Conn {
    let opts: Opts = OptsBuilder::default()
        .socket(server.socket().to_str())
        .user(Some("root"))
        .into();
    Conn::new(opts).await.unwrap()
}

/// A random test's seed: a new one, or the one that is asked for. The test prints it, so that it can be.
pub(crate) fn seed() -> u64 {
    std::env::var("OUTRIGGER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random::<u64>)
}

/// Every table's and view's definition by its bytes, without what may differ: counters and definers.
pub(crate) async fn definitions(conn: &mut Conn, database: &str) -> mysql_async::Result<Vec<String>> {
    let sql = format!(
        "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables WHERE table_schema = '{database}' ORDER BY 1"
    );
    let tables: Vec<String> = conn.query(sql).await?;
    conn.query_drop("SET character_set_results = NULL").await?;
    let mut definitions = Vec::new();
    for table in tables {
        let sql = format!("SHOW CREATE TABLE {database}.`{}`", table.replace('`', "``"));
        let row: Option<mysql_async::Row> = conn.query_first(sql).await?;
        let text: Vec<u8> = row.and_then(|row| row.get(1)).unwrap_or_default();
        let text = text.escape_ascii().to_string();
        let words = text
            .split(' ')
            .filter(|word| !word.starts_with("AUTO_INCREMENT=") && !word.starts_with("DEFINER="));
        definitions.push(format!(
            "{database}.{table}: {}",
            words.collect::<Vec<_>>().join(" ")
        ));
    }
    conn.query_drop("SET character_set_results = utf8mb4").await?;
    Ok(definitions)
}

/// Accounts of least privilege on both sides; passwords `source secret` and `target secret`.
pub(crate) async fn accounts(source: &Server, target: &Server, source_grants: &str) {
    let mut conn = connect(source).await;
    let all = format!("GRANT {source_grants} ON *.* TO outrigger@'%'");
    run(
        &mut conn,
        "CREATE USER outrigger@'%' IDENTIFIED BY 'source secret'",
    )
    .await;
    run(&mut conn, &all).await;
    run(
        &mut conn,
        "CREATE USER app@'%' IDENTIFIED BY 'app';\nGRANT ALL ON *.* TO app@'%';\nCREATE DATABASE app",
    )
    .await;
    let mut conn = connect(target).await;
    // No more than A7 allows: all on the selected databases, all on the metadata database.
    run(
        &mut conn,
        "CREATE USER outrigger@'%' IDENTIFIED BY 'target secret';\nGRANT ALL ON `app%`.* TO outrigger@'%';\n\
         GRANT ALL ON `case%`.* TO outrigger@'%';\nGRANT ALL ON outrigger.* TO outrigger@'%'",
    )
    .await;
}

/// Fails where what came directly and what came through the proxy part.
pub(crate) fn assert_same(direct: &[u8], proxied: &[u8], what: &str) {
    if direct == proxied {
        return;
    }
    let until = direct.len().min(proxied.len());
    let at = (0..until).find(|at| direct[*at] != proxied[*at]).unwrap_or(until);
    let near = |bytes: &[u8]| {
        bytes[at.saturating_sub(60)..bytes.len().min(at + 60)]
            .escape_ascii()
            .to_string()
    };
    panic!(
        "{what}: {} bytes directly, {} through the proxy, differing at {at}:\n{}\n{}",
        direct.len(),
        proxied.len(),
        near(direct),
        near(proxied)
    );
}
