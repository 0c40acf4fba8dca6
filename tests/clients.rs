//! Clients as they are installed, directly and through the proxy: what they print must be the same. MySQL's own are everywhere where the
//! tests run; the others are left out where they are missing, and that is said.

#![expect(clippy::print_stdout, reason = "who runs it wants to know what was left out")]

use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_protocol::endpoint::TlsMode;
use outrigger_proxy::Config;

use crate::support::assert_same;
use crate::support::front::Front;
use crate::support::stage::{Stage, text};

/// A server, and the ways to it: its own port and the proxy's.
struct Ways {
    stage: Stage,
    front: Front,
}

impl Ways {
    async fn new() -> Self {
        let stage = Stage::new(
            &["--local-infile=ON", "--max-allowed-packet=64M"],
            "CREATE USER app@'%' IDENTIFIED BY 'app';\nGRANT ALL ON *.* TO app@'%';\nCREATE DATABASE play;\n\
             CREATE TABLE play.t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(50), b BLOB, j JSON);\n\
             INSERT INTO play.t (s, b, j) VALUES ('one', X'00FF27', '[1]'), ('zwei', NULL, NULL);\n\
             INSERT INTO play.t (s) SELECT CONCAT(a.s, b.s, c.s) FROM play.t a, play.t b, play.t c;\n\
             CREATE VIEW play.v AS SELECT COUNT(*) FROM play.t;\nCREATE PROCEDURE play.p() SELECT 1;\n\
             CREATE TRIGGER play.g BEFORE INSERT ON play.t FOR EACH ROW SET NEW.s = UPPER(NEW.s)",
        )
        .await;
        let upstream = stage.endpoint(false, TlsMode::Disabled);
        let front = stage.front(upstream, Config::default()).await;
        Self { stage, front }
    }

    fn ports(&self) -> [u16; 2] {
        [self.stage.server.port(), self.front.port]
    }

    /// Runs what `make` makes for either port and compares what it prints. None where it isn't installed: it can't be started, or
    /// exits with 3.
    fn same(&self, what: &str, make: impl Fn(u16) -> Command) -> Option<String> {
        let mut said = Vec::new();
        for port in self.ports() {
            let Ok(output) = make(port).output() else {
                println!("{what} is not installed: left out");
                return None;
            };
            if output.status.code() == Some(3) {
                println!("{what} is left out: {}", text(&output).trim());
                return None;
            }
            assert!(output.status.success(), "{what} on {port}: {}", text(&output));
            said.push(text(&output).replace(&port.to_string(), "PORT"));
        }
        assert_same(said[0].as_bytes(), said[1].as_bytes(), what);
        println!("{what}: the same");
        Some(said.swap_remove(0))
    }

    /// One of MySQL's own programs.
    fn own(&self, program: &str, port: u16, arguments: &[&str]) -> Command {
        let login = ["-uapp", "-papp", "--get-server-public-key"];
        self.stage.program(program, port, &login, arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqls_own_programs() {
    let ways = Ways::new().await;
    std::fs::write(
        ways.stage.folder.path().join("t.txt"),
        "100\thundred\t\\N\t\\N\n101\tand one\t\\N\t\\N\n",
    )
    .unwrap();
    let rows = ways.stage.folder.path().join("t.txt").display().to_string();
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
        ways.same(program, |port| ways.own(program, port, arguments))
            .unwrap();
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

/// Where the scripts of ours are.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A script of ours, run by an interpreter that the environment may name.
fn script(variable: &str, usual: &str, name: &str) -> (PathBuf, Command) {
    let program = std::env::var_os(variable).unwrap_or_else(|| usual.into());
    (scripts().join(name), Command::new(program))
}

/// Programs, and a line of shell that runs each: `$0` is the port, `$1` a folder that is not there yet.
const SHELL: [(&str, &str); 6] = [
    (
        "mariadb",
        "mariadb --no-defaults -h127.0.0.1 -P$0 -uapp -papp --skip-ssl -t play -f \
         -e 'SELECT * FROM t ORDER BY id; CALL p(); SELECT nothing; SELECT 2'; test $? = 1",
    ),
    (
        "mariadb-dump",
        "mariadb-dump --no-defaults -h127.0.0.1 -P$0 -uapp -papp --skip-ssl --skip-comments --routines --triggers --hex-blob \
         --single-transaction --databases play",
    ),
    (
        "mydumper",
        "mydumper -h 127.0.0.1 -P $0 -u app -p app -B play -o $1 2>/dev/null && cat $(ls $1/*.sql)",
    ),
    (
        "sysbench",
        "for step in prepare run cleanup; do sysbench oltp_read_write --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port=$0 \
         --mysql-user=app --mysql-password=app --mysql-db=play --tables=2 --table-size=500 --threads=1 --events=50 --time=0 $step \
         || exit 1; done | grep -E 'queries performed|read:|write:|other:|errors|rop'",
    ),
    (
        "go",
        "export GO111MODULE=off GOPATH=${GOPATH:-/usr/share/gocode}; test -d $GOPATH/src/github.com/go-sql-driver/mysql || \
         { echo no go-sql-driver in $GOPATH; exit 3; }; go run session.go $0",
    ),
    (
        "java",
        "driver=${JDBC_DRIVER:-/usr/share/java/mariadb-java-client.jar}; test -e $driver || { echo no $driver; exit 3; }; \
         java -cp $driver Session.java $0",
    ),
];

/// The others. `PYTHON` names an interpreter that has the packages, `NODE_PATH` the folder that has npm's, `JDBC_DRIVER` a jar.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs clients of others: run it by name"]
async fn clients_that_are_installed() {
    let ways = Ways::new().await;
    let mut same = Vec::new();
    for client in [
        "pymysql",
        "mysqlclient",
        "connector",
        "connector-pure",
        "sqlalchemy",
        "django",
    ] {
        same.extend(ways.same(client, |port| {
            let (path, mut command) = script("PYTHON", "python3", "session.py");
            command.arg(path).args([client, &port.to_string()]);
            command
        }));
    }
    same.extend(ways.same("mysql2", |port| {
        let (path, mut command) = script("NODE", "node", "session.js");
        command.arg(path).arg(port.to_string());
        command
    }));
    for (program, line) in SHELL {
        same.extend(ways.same(program, |port| {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("command -v {program} >/dev/null || exit 3; {line}"))
                .arg(port.to_string())
                .arg(ways.stage.folder.path().join(format!("dump-{port}")))
                .current_dir(scripts());
            command
        }));
    }
    assert!(!same.is_empty(), "no client at all is installed");
    ways.front.stop().await;
}

/// What SQLAlchemy's and Django's own tests come to, test by test. `SQLALCHEMY_SOURCE` and `DJANGO_SOURCE` name their unpacked sources.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the frameworks' sources, and minutes: run it by name"]
async fn tests_of_frameworks() {
    let ways = Ways::new().await;
    let mut same = 0;
    for framework in ["sqlalchemy", "django"] {
        let outcomes = ways.same(&format!("{framework}'s own tests"), |port| {
            let (path, mut command) = script("PYTHON", "python3", "suite.py");
            command.arg(path).args([framework, &port.to_string()]);
            command
        });
        if let Some(outcomes) = outcomes {
            println!("{}", outcomes.trim_end().lines().last().unwrap_or_default());
            same += 1;
        }
    }
    assert!(same > 0, "no framework's tests are there");
    ways.front.stop().await;
}
