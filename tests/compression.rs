//! MySQL's own programs with compression: what they print through the proxy, which compresses for them, is what they print directly.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use outrigger_protocol::endpoint::TlsMode;
use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::reply::ErrPacket;
use outrigger_proxy::{Algorithm, Config};

use crate::support::front::Front;
use crate::support::packed::{self, Method};
use crate::support::raw::{Raw, USUAL};
use crate::support::stage::{Stage, text};
use crate::support::{assert_same, connect, run};

/// A server, and a proxy before it that compresses.
struct Packed {
    stage: Stage,
    front: Front,
}

impl Packed {
    async fn new(compression: &[Algorithm]) -> Self {
        let stage = Stage::new(
            &["--local-infile=ON", "--max-allowed-packet=64M"],
            "CREATE USER app@'%' IDENTIFIED BY 'app', open@'%' IDENTIFIED BY '';\nGRANT ALL ON *.* TO app@'%', open@'%';\n\
             CREATE DATABASE play;\nCREATE TABLE play.t (id INT AUTO_INCREMENT PRIMARY KEY, s LONGTEXT);\n\
             INSERT INTO play.t (s) VALUES (REPEAT('wide ', 10)), (REPEAT('x', 3000)), ('short'), (NULL), (HEX(RANDOM_BYTES(500)));\n\
             INSERT INTO play.t (s) SELECT a.s FROM play.t a, play.t b, play.t c, play.t d",
        )
        .await;
        let config = Config {
            compression: compression.to_vec(),
            tls: stage.tls(),
            ..Config::default()
        };
        let front = stage
            .front(stage.endpoint(false, TlsMode::Disabled), config)
            .await;
        Self { stage, front }
    }

    fn command(&self, program: &str, port: u16, arguments: &[&str]) -> Command {
        self.stage.program(program, port, &["-uapp", "-papp"], arguments)
    }

    fn mysql(&self, port: u16, arguments: &[&str]) -> Output {
        self.command("mysql", port, arguments).output().unwrap()
    }

    /// Runs a program both ways and compares what it prints.
    fn same(&self, program: &str, arguments: &[&str]) -> String {
        self.same_of(program, arguments, Path::new("/dev/null"))
    }

    /// The same, of a program that reads this file.
    fn same_of(&self, program: &str, arguments: &[&str], input: &Path) -> String {
        let said = [self.stage.server.port(), self.front.port].map(|port| {
            let input = File::open(input).unwrap();
            let mut command = self.command(program, port, arguments);
            let output = command.stdin(input).output().unwrap();
            let said = format!("{}{}", output.status, text(&output));
            // The server's number is its port.
            said.replace(&self.stage.server.port().to_string(), "PORT")
                .replace(&self.front.port.to_string(), "PORT")
        });
        assert_same(
            said[0].as_bytes(),
            said[1].as_bytes(),
            &format!("{program} {arguments:?}"),
        );
        let [_, through] = said;
        through
    }
}

const ALL: [Algorithm; 3] = [Algorithm::Zlib, Algorithm::Zstd, Algorithm::Uncompressed];

/// What the programs ask for, and over which link.
const WAYS: [&[&str]; 6] = [
    &[
        "--compression-algorithms=zlib",
        "--ssl-mode=DISABLED",
        "--get-server-public-key",
    ],
    &["--compression-algorithms=zlib", "--ssl-mode=REQUIRED"],
    &[
        "--compression-algorithms=zstd",
        "--ssl-mode=DISABLED",
        "--get-server-public-key",
    ],
    &[
        "--compression-algorithms=zstd",
        "--zstd-compression-level=22",
        "--ssl-mode=REQUIRED",
    ],
    &[
        "--compression-algorithms=zstd",
        "--zstd-compression-level=1",
        "--ssl-mode=REQUIRED",
    ],
    &[
        "--compression-algorithms=zlib,zstd,uncompressed",
        "--ssl-mode=REQUIRED",
    ],
];

/// Rows of all sizes, several results, errors, payloads over 16 MiB in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn the_mysql_command_sees_the_same() {
    let packed = Packed::new(&ALL).await;
    let script = packed.stage.folder.path().join("script.sql");
    let large = packed.stage.folder.path().join("large.sql");
    let text_of_17_mib = "large text ".repeat(17 * 95_326);
    std::fs::write(
        &large,
        format!("SELECT MD5('{text_of_17_mib}'), REPEAT('y', 17825792);\nSELECT 'the end'"),
    )
    .unwrap();
    std::fs::write(
        &script,
            "SELECT 1; SELECT * FROM t ORDER BY id;\nDELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT s FROM t; SELECT 3; END //\nDELIMITER ;\n\
             CALL p(); DROP PROCEDURE p; SELECT nothing; SELECT RANDOM_BYTES(10) IS NULL, SHA2(REPEAT('a', 100000), 256); SELECT 'the end'",
    )
    .unwrap();
    let scripts = WAYS.map(|way| (way, &script)).into_iter();
    for (way, script) in scripts.chain([(WAYS[0], &large), (WAYS[3], &large)]) {
        let arguments = [
            way,
            &["--max-allowed-packet=64M", "--binary-as-hex", "-f", "play"],
        ]
        .concat();
        let said = packed.same_of("mysql", &arguments, script);
        assert!(
            said.contains("the end"),
            "{}",
            &said[said.len().saturating_sub(500)..]
        );
        let output = packed.mysql(
            packed.front.port,
            &[way, &["--commands", "-e", "status"]].concat(),
        );
        assert!(text(&output).contains("Compressed"), "{}", text(&output));
    }
    packed.front.stop().await;
}

/// A file that is asked for late in a reply: the client numbers what it sends by compressed packets, the source counts its own.
#[tokio::test(flavor = "multi_thread")]
async fn local_files_are_numbered_for_the_source() {
    let packed = Packed::new(&ALL).await;
    let file = packed.stage.folder.path().join("rows");
    std::fs::write(&file, "100\tone of the rows\n".repeat(100_000)).unwrap();
    let script = packed.stage.folder.path().join("script.sql");
    std::fs::write(
        &script,
        format!(
            "CREATE TEMPORARY TABLE f (a INT, b TEXT);\nDELIMITER //\nSELECT * FROM t; LOAD DATA LOCAL INFILE '{0}' INTO TABLE f; \
             SELECT 'between'; LOAD DATA LOCAL INFILE '{0}' INTO TABLE f //\n\
             LOAD DATA LOCAL INFILE '{0}' INTO TABLE f //\nSELECT COUNT(*), MIN(b), MAX(b) FROM f //",
            file.display()
        ),
    )
    .unwrap();
    for way in WAYS {
        let arguments = [way, &["--local-infile=1", "--binary-as-hex", "-f", "play"]].concat();
        let said = packed.same_of("mysql", &arguments, &script);
        assert!(
            said.contains("300000"),
            "{}",
            &said[said.len().saturating_sub(500)..]
        );
    }
    packed.front.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_and_the_binlog_come_compressed() {
    let packed = Packed::new(&ALL).await;
    for way in WAYS {
        let dump = [
            way,
            &["--skip-comments", "--hex-blob", "--single-transaction", "play"],
        ]
        .concat();
        assert!(packed.same("mysqldump", &dump).contains("INSERT INTO"));
        let binlog = [
            way,
            &[
                "--read-from-remote-server",
                "--to-last-log",
                "-v",
                "binlog.000001",
            ],
        ]
        .concat();
        assert!(
            packed
                .same("mysqlbinlog", &binlog)
                .contains("### INSERT INTO `play`.`t`")
        );
    }
    packed.front.stop().await;
}

/// What is not offered, not valid, or has to be: the server's answers.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_agreed_on_follows_the_servers_rules() {
    let only = Packed::new(&[Algorithm::Zstd]).await;
    // Administrators are refused, too: the session that changes it is there already.
    let mut admin = connect(&only.stage.server).await;
    run(&mut admin, "SET GLOBAL protocol_compression_algorithms = 'zstd'").await;
    let ask = |port| {
        ["zlib", "uncompressed", "zstd", "zlib,zstd", "zstd,uncompressed"].map(|algorithms| {
            let wish = format!("--compression-algorithms={algorithms}");
            let output = only.mysql(port, &[&wish, "--ssl-mode=REQUIRED", "-e", "SELECT 'in'"]);
            (wish, text(&output))
        })
    };
    let direct = ask(only.stage.server.port());
    // The proxy's own link to it is never compressed.
    run(
        &mut admin,
        "SET GLOBAL protocol_compression_algorithms = 'zlib,zstd,uncompressed'",
    )
    .await;
    assert_eq!(direct, ask(only.front.port));
    assert!(
        direct[1].1.contains("ERROR 3922") && direct[2].1.contains("in"),
        "{direct:?}"
    );
    // The client's library checks the level itself; other clients do not.
    for port in [only.stage.server.port(), only.front.port] {
        let zstd = USUAL | Capabilities::ZSTD_COMPRESSION;
        let refused = Raw::login_at(23, port, ("open", "play"), zstd, None).await;
        let cause = refused.map(drop).expect_err("refused").to_string();
        assert!(
            cause.contains("#HY000Invalid zstd compression level for algorithm 'zstd'"),
            "{cause}"
        );
    }
    only.front.stop().await;
    let off = Packed::new(&[Algorithm::Uncompressed]).await;
    let output = off.mysql(
        off.front.port,
        &[WAYS[5], &["--commands", "-e", "status"]].concat(),
    );
    assert!(
        output.status.success() && !text(&output).contains("Compressed"),
        "{}",
        text(&output)
    );
    off.front.stop().await;
}

/// Garbage ends the session with the server's error, in a compressed packet that the client takes for a reply, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decompressed_is_told() {
    let packed = Packed::new(&ALL).await;
    for method in [Method::Zlib, Method::Zstd] {
        let flag = match method {
            Method::Zlib => Capabilities::COMPRESS,
            Method::Zstd => Capabilities::ZSTD_COMPRESSION,
        };
        let query = [
            &[61, 0, 0, 0, 3][..],
            b"SELECT 'something', 'something', 'something', 'something', 'x'",
        ]
        .concat();
        let good = method.compress(&query);
        for (bytes, code) in [
            (packed::packet(0, query.len() - 1, &good), 1157),
            (packed::packet(0, query.len(), &good[..good.len() - 2]), 1157),
            (packed::packet(0, 0xff_ffff, &[0x78; 600]), 1157),
            (packed::packet(9, query.len(), &good), 1156),
        ] {
            let mut raw = Raw::login_at(3, packed.front.port, ("open", "play"), USUAL | flag, None)
                .await
                .unwrap();
            raw.write(&bytes).await.unwrap();
            let heard = raw.drain(Vec::new()).await.unwrap();
            assert_eq!(
                (heard[3], &heard[4..7], heard[10]),
                (1, &b"\0\0\0"[..], 1),
                "{heard:?}"
            );
            assert_eq!(ErrPacket::parse(&heard[11..]).unwrap().code, code, "{heard:?}");
        }
    }
    let counted = packed.front.counted();
    for line in [
        "outrigger_proxy_errors_total{code=\"1156\",from=\"proxy\"} 2",
        "outrigger_proxy_errors_total{code=\"1157\",from=\"proxy\"} 6",
    ] {
        assert!(counted.contains(line), "{counted}");
    }
    packed.front.stop().await;
}
