//! Clients as they are installed, directly and through the proxy: what they print must be the same. MySQL's own are everywhere where the
//! tests run; the others are left out where they are missing, and that is said.

#![expect(clippy::print_stdout, reason = "who runs it wants to know what was left out")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use outrigger::demo::server::{Installation, Server};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_proxy::Config;
use tempfile::TempDir;

use crate::support::front::Front;
use crate::support::{assert_same, connect, run};

/// A server, and the ways to it: its own port and the proxy's.
struct Ways {
    folder: TempDir,
    installation: Installation,
    server: Server,
    front: Front,
}

impl Ways {
    async fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-test-")
            .tempdir()
            .unwrap();
        let installation = Installation::find().unwrap();
        let options = ["--local-infile=ON", "--max-allowed-packet=64M"];
        let server = Server::start(&installation, &folder.path().join("source"), &options).unwrap();
        let setup = "CREATE USER app@'%' IDENTIFIED BY 'app';\nGRANT ALL ON *.* TO app@'%';\nCREATE DATABASE play;\n\
                     CREATE TABLE play.t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(50), b BLOB, j JSON);\n\
                     INSERT INTO play.t (s, b, j) VALUES ('one', X'00FF27', '[1]'), ('zwei', NULL, NULL);\n\
                     INSERT INTO play.t (s) SELECT CONCAT(a.s, b.s, c.s) FROM play.t a, play.t b, play.t c;\n\
                     CREATE VIEW play.v AS SELECT COUNT(*) FROM play.t;\nCREATE PROCEDURE play.p() SELECT 1;\n\
                     CREATE TRIGGER play.g BEFORE INSERT ON play.t FOR EACH ROW SET NEW.s = UPPER(NEW.s)";
        run(&mut connect(&server).await, setup).await;
        let upstream = Endpoint {
            address: Address::Tcp {
                host: "127.0.0.1".to_owned(),
                port: server.port(),
            },
            user: String::new(),
            password: Secret::default(),
            tls: TlsMode::Disabled,
            tls_ca: None,
            tls_identity: None,
        };
        let front = Front::start(folder.path().join("proxy.sock"), upstream, Config::default()).await;
        Self {
            folder,
            installation,
            server,
            front,
        }
    }

    fn ports(&self) -> [u16; 2] {
        [self.server.port(), self.front.port]
    }

    /// Runs what `make` makes for either port and compares what it prints. False where it isn't installed: it can't be started, or
    /// exits with 3.
    fn same(&self, what: &str, make: impl Fn(u16) -> Command) -> bool {
        let mut said = Vec::new();
        for port in self.ports() {
            let Ok(output) = make(port).output() else {
                println!("{what} is not installed: left out");
                return false;
            };
            if output.status.code() == Some(3) {
                println!("{what} is left out: {}", text(&output).trim());
                return false;
            }
            assert!(output.status.success(), "{what} on {port}: {}", text(&output));
            said.push(text(&output).replace(&port.to_string(), "PORT"));
        }
        assert_same(said[0].as_bytes(), said[1].as_bytes(), what);
        println!("{what}: the same");
        true
    }

    /// One of MySQL's own programs.
    fn own(&self, program: &str, port: u16, arguments: &[&str]) -> Command {
        let mut command = self.installation.command(program);
        command
            .args([
                "--no-defaults",
                "-h127.0.0.1",
                "-uapp",
                "-papp",
                "--get-server-public-key",
            ])
            .arg(format!("-P{port}"))
            .args(arguments);
        command
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}{err}")
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqls_own_programs() {
    let ways = Ways::new().await;
    std::fs::write(
        ways.folder.path().join("t.txt"),
        "100\thundred\t\\N\t\\N\n101\tand one\t\\N\t\\N\n",
    )
    .unwrap();
    let rows = ways.folder.path().join("t.txt").display().to_string();
    let cases: [(&str, &[&str]); 7] = [
        (
            "mysqldump",
            &[
                "--skip-comments",
                "--routines",
                "--triggers",
                "--hex-blob",
                "--databases",
                "play",
            ],
        ),
        (
            "mysqldump",
            &[
                "--skip-comments",
                "--single-transaction",
                "--quick",
                "--no-tablespaces",
                "play",
            ],
        ),
        ("mysqlimport", &["--local", "--replace", "play", &rows]),
        ("mysqlshow", &["--count", "play"]),
        ("mysqlcheck", &["--databases", "play"]),
        ("mysqladmin", &["ping"]),
        (
            "mysql",
            &[
                "-t",
                "-e",
                "SELECT * FROM play.t ORDER BY id; CALL play.p(); SELECT * FROM play.v",
            ],
        ),
    ];
    for (program, arguments) in cases {
        assert!(ways.same(program, |port| ways.own(program, port, arguments)));
    }
    for port in ways.ports() {
        let arguments = [
            "--auto-generate-sql",
            "--auto-generate-sql-load-type=mixed",
            "--concurrency=8",
            "--number-of-queries=400",
        ];
        let output = ways.own("mysqlslap", port, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    ways.front.stop().await;
}

/// A script of ours, run by an interpreter that the environment may name.
fn script(variable: &str, usual: &str, name: &str) -> (PathBuf, Command) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    let program = std::env::var_os(variable).unwrap_or_else(|| usual.into());
    (path, Command::new(program))
}

/// The others. `PYTHON` names an interpreter that has the packages, `NODE_PATH` the folder that has npm's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs clients of others: run it by name"]
async fn clients_that_are_installed() {
    let ways = Ways::new().await;
    let mut same = 0;
    for client in [
        "pymysql",
        "mysqlclient",
        "connector",
        "connector-pure",
        "sqlalchemy",
        "django",
    ] {
        same += usize::from(ways.same(client, |port| {
            let (path, mut command) = script("PYTHON", "python3", "session.py");
            command.arg(path).args([client, &port.to_string()]);
            command
        }));
    }
    same += usize::from(ways.same("mysql2", |port| {
        let (path, mut command) = script("NODE", "node", "session.js");
        command.arg(path).arg(port.to_string());
        command
    }));
    same += usize::from(ways.same("mariadb", |port| {
        let mut command = Command::new("mariadb");
        command
            .args([
                "--no-defaults",
                "-h127.0.0.1",
                "-uapp",
                "-papp",
                "--skip-ssl",
                "-t",
                "play",
            ])
            .arg(format!("-P{port}"))
            .args([
                "-e",
                "SELECT * FROM t ORDER BY id; CALL p(); SELECT nothing; SELECT 2",
                "-f",
            ]);
        command
    }));
    same += usize::from(ways.same("mydumper", |port| {
        let folder = ways.folder.path().join(format!("dump-{port}"));
        let mut command = Command::new("sh");
        command
            .args(["-c", "command -v mydumper >/dev/null || exit 3; mydumper -h 127.0.0.1 -P $0 -u app -p app -B play -o $1 2>/dev/null && cat $(ls $1/*.sql)"])
            .arg(port.to_string())
            .arg(folder);
        command
    }));
    same += usize::from(ways.same("sysbench", |port| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "command -v sysbench >/dev/null || exit 3; for step in prepare run cleanup; do sysbench oltp_read_write --db-driver=mysql \
                    --mysql-host=127.0.0.1 --mysql-port=$0 --mysql-user=app --mysql-password=app --mysql-db=play --tables=2 --table-size=500 \
                    --threads=1 --events=50 --time=0 $step || exit 1; done | grep -E 'queries performed|read:|write:|other:|errors|rop'"])
            .arg(port.to_string());
        command
    }));
    assert!(same > 0, "no client at all is installed");
    ways.front.stop().await;
}
