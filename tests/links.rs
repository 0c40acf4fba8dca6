//! Logging in through the proxy over every pair of links, by real clients on a real server: plugins, passwords, certificates.

mod left;
mod played;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, OptsBuilder, SslOpts};
use outrigger::demo::server::{Installation, Server};
use outrigger_protocol::endpoint::{Address, Endpoint, Identity, Secret, TlsMode};
use outrigger_proxy::{Config, Proxy, SslMode, TlsConfig};
use tempfile::TempDir;

use crate::support::front::Front;
use crate::support::{PATIENCE, Plan, Rig, connect, run};

/// How somebody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Plain,
    Tls,
    Socket,
}

const LINKS: [Link; 3] = [Link::Plain, Link::Tls, Link::Socket];

/// As long as the servers' RSA keys hide.
const LONG: &str = "long secret long secret long secret long secret long secret long secret long secret long secret long secret long secret \
                    long secret long secret long secret long secret long secret long secret long sec";

/// A server with accounts of every plugin that it has, before which proxies are put.
struct Source {
    server: Server,
    installation: Installation,
    folder: TempDir,
}

impl Source {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-test-")
            .tempdir()
            .unwrap();
        let installation = Installation::find().unwrap();
        let server = Server::start(&installation, &folder.path().join("source"), options).unwrap();
        let source = Self {
            server,
            installation,
            folder,
        };
        let accounts = format!(
            "CREATE USER sha2@'%' IDENTIFIED WITH caching_sha2_password BY 'sha2 secret';\n\
             CREATE USER other@'%' IDENTIFIED WITH caching_sha2_password BY 'other secret';\n\
             CREATE USER lengthy@'%' IDENTIFIED WITH caching_sha2_password BY '{LONG}';\n\
             CREATE USER nopass@'%' IDENTIFIED WITH caching_sha2_password BY ''"
        );
        run(&mut connect(&source.server).await, &accounts).await;
        source
    }

    /// True where the server has the plugin, and then an account of it.
    async fn has_sha256(&self) -> bool {
        let sql = "CREATE USER IF NOT EXISTS sha256@'%' IDENTIFIED WITH sha256_password BY 'sha256 secret'";
        connect(&self.server).await.query_drop(sql).await.is_ok()
    }

    async fn forget_passwords(&self) {
        run(&mut connect(&self.server).await, "FLUSH PRIVILEGES").await;
    }

    /// A server with certificates of its own.
    fn another(&self) -> Server {
        let mut other = Server::start(&self.installation, &self.folder.path().join("other"), &[]).unwrap();
        // Its data folder is a copy, certificates included; without them it makes some.
        other.stop().unwrap();
        for file in std::fs::read_dir(other.folder().join("data")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                std::fs::remove_file(path).unwrap();
            }
        }
        other.launch().unwrap();
        other
    }

    fn pem(&self, name: &str) -> PathBuf {
        self.server.folder().join("data").join(name)
    }

    /// How a proxy reaches it.
    fn endpoint(&self, link: Link) -> Endpoint {
        Endpoint {
            address: match link {
                Link::Socket => Address::Socket(self.server.socket()),
                Link::Plain | Link::Tls => Address::Tcp {
                    host: "127.0.0.1".to_owned(),
                    port: self.server.port(),
                },
            },
            user: "nobody".to_owned(),
            password: Secret::new("nothing"),
            tls: match link {
                Link::Tls => TlsMode::VerifyCa,
                Link::Plain | Link::Socket => TlsMode::Disabled,
            },
            tls_ca: Some(self.pem("ca.pem")),
            tls_identity: None,
        }
    }

    /// The proxy's TLS, with the certificate that the server made for itself.
    fn tls(&self, ssl_mode: SslMode) -> TlsConfig {
        TlsConfig {
            ssl_mode,
            cert: Some(self.pem("server-cert.pem")),
            key: Some(self.pem("server-key.pem")),
            client_ca: None,
        }
    }

    async fn proxy(&self, name: &str, upstream: Endpoint, tls: TlsConfig) -> Running {
        let config = Config {
            tls,
            ..Config::default()
        };
        Running(Front::start(self.folder.path().join(name), upstream, config).await)
    }

    /// What the `mysql` command says when it logs in over `link`.
    fn login(
        &self,
        (port, socket): (u16, &Path),
        link: Link,
        (user, password): (&str, &str),
        more: &[&str],
    ) -> String {
        let mut command = self.installation.command("mysql");
        command
            .arg("--no-defaults")
            .arg(format!("-u{user}"))
            .arg(format!("-p{password}"));
        match link {
            Link::Plain => command.args(["--ssl-mode=DISABLED", "--get-server-public-key"]),
            Link::Tls => command.arg("--ssl-mode=REQUIRED"),
            Link::Socket => command.arg("-S").arg(socket),
        };
        if link != Link::Socket {
            command.args(["-h127.0.0.1", "-P", &port.to_string()]);
        }
        let sql = "SELECT 'in as', CURRENT_USER(); SHOW STATUS LIKE 'Ssl_cipher'";
        text(&command.args(more).args(["-N", "-e", sql]).output().unwrap())
    }

    /// The same without a proxy.
    fn direct(&self, link: Link, account: (&str, &str)) -> String {
        self.login((self.server.port(), &self.server.socket()), link, account, &[])
    }
}

struct Running(Front);

impl Running {
    fn at(&self) -> (u16, &Path) {
        (self.0.port, &self.0.socket)
    }

    /// How the driver connects over `link`.
    fn options(&self, link: Link, user: &str, password: &str) -> OptsBuilder {
        let opts = OptsBuilder::default()
            .user(Some(user))
            .pass(Some(password))
            .prefer_socket(false)
            .max_allowed_packet(Some(1 << 24))
            .wait_timeout(Some(60));
        let opts = match link {
            Link::Socket => opts.socket(self.0.socket.to_str()),
            Link::Plain | Link::Tls => opts.ip_or_hostname("127.0.0.1").tcp_port(self.0.port),
        };
        match link {
            Link::Tls => opts.ssl_opts(Some(SslOpts::default().with_danger_accept_invalid_certs(true))),
            Link::Plain | Link::Socket => opts,
        }
    }

    /// A connection of the driver's over `link`.
    async fn driver(&self, link: Link, user: &str, password: &str) -> mysql_async::Result<Conn> {
        Conn::new(self.options(link, user, password)).await
    }

    /// Waits until the certificate was loaded again with this outcome as often.
    async fn counts(&self, outcome: &str, times: u8) {
        let line = format!("outrigger_proxy_certificate_reloads_total{{outcome=\"{outcome}\"}} {times}");
        let until = Instant::now() + PATIENCE;
        while !self.0.counted().contains(&line) {
            assert!(Instant::now() < until, "never {line}: {}", self.0.counted());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.0.stop().await;
    }
}

fn text(output: &Output) -> String {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let warning = "[Warning] Using a password on the command line interface can be insecure.";
    said.lines()
        .filter(|line| !line.contains(warning))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_links_takes_every_plugin() {
    let source = Source::start().await;
    let mut accounts = vec![("sha2", "sha2 secret"), ("lengthy", LONG), ("nopass", "")];
    if source.has_sha256().await {
        accounts.push(("sha256", "sha256 secret"));
    }
    for upstream in LINKS {
        let proxy = source
            .proxy(
                "proxy.sock",
                source.endpoint(upstream),
                source.tls(SslMode::Optional),
            )
            .await;
        for client in LINKS {
            for (user, password) in &accounts {
                source.forget_passwords().await;
                // The full path, and where the plugin has one the fast path.
                for round in ["full", "fast"] {
                    let said = source.login(proxy.at(), client, (user, password), &[]);
                    let what = format!("{user} over {client:?} and {upstream:?}, {round}: {said}");
                    assert!(said.contains(&format!("in as\t{user}@%")), "{what}");
                    assert_eq!(said.contains("TLS_"), upstream == Link::Tls, "{what}");
                }
                for forget in [false, true] {
                    if forget {
                        source.forget_passwords().await;
                    }
                    let wrong = (*user, "a wrong one");
                    let said = source.login(proxy.at(), client, wrong, &[]);
                    assert!(
                        said.contains("ERROR 1045"),
                        "{user} over {client:?} and {upstream:?}: {said}"
                    );
                    assert_eq!(said, source.direct(upstream, wrong), "the server's own words");
                }
            }
            let nobody = source.login(proxy.at(), client, ("nobody", "x"), &[]);
            assert_eq!(nobody, source.direct(upstream, ("nobody", "x")));
        }
        proxy.stop().await;
    }
}

/// A server that greets with `sha256_password`: clients send the password, or their request for a key, in their first packet.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_first_packet_arrives_too() {
    let source = Source::with(&["--authentication-policy=sha256_password"]).await;
    if !source.has_sha256().await {
        return;
    }
    let accounts = [
        ("sha256", "sha256 secret"),
        ("sha2", "sha2 secret"),
        ("nopass", ""),
    ];
    for upstream in LINKS {
        let proxy = source
            .proxy(
                "proxy.sock",
                source.endpoint(upstream),
                source.tls(SslMode::Optional),
            )
            .await;
        for client in LINKS {
            for account in accounts {
                source.forget_passwords().await;
                let more = ["--default-auth=sha256_password"];
                let said = source.login(proxy.at(), client, account, &more);
                let what = format!("{account:?} over {client:?} and {upstream:?}: {said}");
                assert!(said.contains(&format!("in as\t{}@%", account.0)), "{what}");
                let wrong = source.login(proxy.at(), client, (account.0, "a wrong one"), &more);
                assert!(wrong.contains("ERROR 1045"), "{what}, then {wrong}");
            }
        }
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_in_the_middle_of_a_session() {
    let source = Source::start().await;
    for upstream in LINKS {
        let proxy = source
            .proxy(
                "proxy.sock",
                source.endpoint(upstream),
                source.tls(SslMode::Optional),
            )
            .await;
        for client in LINKS {
            let what = format!("{client:?} and {upstream:?}");
            source.forget_passwords().await;
            let mut conn = proxy.driver(client, "sha2", "sha2 secret").await.expect(&what);
            // Twice in full, then fast, by the nonces of one session.
            for (user, password) in [
                ("other", "other secret"),
                ("lengthy", LONG),
                ("other", "other secret"),
            ] {
                let opts = ChangeUserOpts::new()
                    .with_user(Some(user.to_owned()))
                    .with_pass(Some(password.to_owned()));
                conn.change_user(opts).await.expect(&what);
                let who: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
                assert_eq!(who, Some(format!("{user}@%")), "{what}");
            }
            let opts = ChangeUserOpts::new()
                .with_user(Some("sha2".to_owned()))
                .with_pass(Some("a wrong one".to_owned()));
            let refused = conn.change_user(opts).await.expect_err(&what).to_string();
            assert!(
                refused.contains("Access denied for user 'sha2'"),
                "{what}: {refused}"
            );
        }
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_too_long_for_the_sources_key_is_said_to_be() {
    let source = Source::start().await;
    let long = "x".repeat(240);
    let create = format!("CREATE USER longer@'%' IDENTIFIED WITH caching_sha2_password BY '{long}'");
    run(&mut connect(&source.server).await, &create).await;
    let safe = source
        .proxy(
            "safe.sock",
            source.endpoint(Link::Tls),
            source.tls(SslMode::Optional),
        )
        .await;
    let plain = source
        .proxy(
            "plain.sock",
            source.endpoint(Link::Plain),
            source.tls(SslMode::Optional),
        )
        .await;
    for client in [Link::Tls, Link::Socket] {
        source.forget_passwords().await;
        let said = source.login(plain.at(), client, ("longer", &long), &[]);
        assert!(said.contains("2061") && said.contains("too long"), "{said}");
        assert!(!said.contains(&long));
        let said = source.login(safe.at(), client, ("longer", &long), &[]);
        assert!(said.contains("in as\tlonger@%"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn required_means_tls_or_the_socket() {
    let source = Source::start().await;
    let proxy = source
        .proxy(
            "proxy.sock",
            source.endpoint(Link::Plain),
            source.tls(SslMode::Required),
        )
        .await;
    let account = ("sha2", "sha2 secret");
    let said = source.login(proxy.at(), Link::Plain, account, &[]);
    run(
        &mut connect(&source.server).await,
        "SET GLOBAL require_secure_transport = ON",
    )
    .await;
    let direct = source.direct(Link::Plain, account);
    run(
        &mut connect(&source.server).await,
        "SET GLOBAL require_secure_transport = OFF",
    )
    .await;
    assert!(said.contains("ERROR 3159 (HY000)"), "{said}");
    assert_eq!(said, direct, "MySQL's own words");
    for link in [Link::Tls, Link::Socket] {
        let said = source.login(proxy.at(), link, account, &[]);
        assert!(said.contains("in as\tsha2@%"), "{link:?}: {said}");
    }
    // Where TLS is off, a client that insists on it is told by its own library.
    let off = source
        .proxy("off.sock", source.endpoint(Link::Plain), TlsConfig::default())
        .await;
    let said = source.login(off.at(), Link::Tls, account, &[]);
    assert!(said.contains("SSL connection error"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_show_a_certificate_are_vouched_for() {
    let source = Source::start().await;
    let other = source.another();
    run(
        &mut connect(&source.server).await,
        "ALTER USER sha2@'%' REQUIRE X509",
    )
    .await;
    let identity = Identity {
        certificate: source.pem("client-cert.pem"),
        key: source.pem("client-key.pem"),
    };
    let upstream = Endpoint {
        tls_identity: Some(identity),
        ..source.endpoint(Link::Tls)
    };
    let tls = TlsConfig {
        client_ca: Some(source.pem("ca.pem")),
        ..source.tls(SslMode::Optional)
    };
    let proxy = source.proxy("proxy.sock", upstream, tls).await;
    let shown = |data: &Path| {
        ["cert", "key"].map(|part| {
            format!(
                "--ssl-{part}={}",
                data.join(format!("client-{part}.pem")).display()
            )
        })
    };
    let login = |user: &str, password: &str, data: Option<&Path>| {
        let more = data.map(&shown).unwrap_or_default();
        let more: Vec<&str> = more
            .iter()
            .map(String::as_str)
            .filter(|option| !option.is_empty())
            .collect();
        source.login(proxy.at(), Link::Tls, (user, password), &more)
    };
    let (ours, foreign) = (source.server.folder().join("data"), other.folder().join("data"));
    let said = login("sha2", "sha2 secret", Some(&ours));
    assert!(said.contains("in as\tsha2@%"), "{said}");
    // Without one, the proxy does not show its own either.
    let said = login("sha2", "sha2 secret", None);
    assert!(said.contains("ERROR 1045"), "{said}");
    let said = login("other", "other secret", None);
    assert!(said.contains("in as\tother@%"), "{said}");
    let said = login("other", "other secret", Some(&foreign));
    assert!(!said.contains("in as") && said.contains("ERROR"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_the_right_one_is_named() {
    let source = Source::start().await;
    let account = ("sha2", "sha2 secret");
    let wrong_name = Endpoint {
        tls: TlsMode::VerifyIdentity,
        ..source.endpoint(Link::Tls)
    };
    let proxy = source
        .proxy("proxy.sock", wrong_name, source.tls(SslMode::Optional))
        .await;
    for client in LINKS {
        let said = source.login(proxy.at(), client, account, &[]);
        assert!(
            said.contains("ERROR 2026") && said.contains("for another name"),
            "{client:?}: {said}"
        );
    }
    let without = Endpoint {
        tls_ca: Some(source.pem("nothing.pem")),
        ..source.endpoint(Link::Tls)
    };
    let error = Proxy::bind(Config::default(), without)
        .await
        .map(|_bound| ())
        .unwrap_err();
    assert!(error.to_string().contains("nothing.pem can't be read"), "{error}");
    let disagree = TlsConfig {
        key: Some(source.pem("client-key.pem")),
        ..source.tls(SslMode::Optional)
    };
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tls: disagree,
        ..Config::default()
    };
    let error = Proxy::bind(config, source.endpoint(Link::Plain))
        .await
        .map(|_bound| ())
        .unwrap_err();
    assert!(error.to_string().contains("cert and key don't serve"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let source = Source::start().await;
    let other = source.another();
    let (ours, theirs) = (source.server.folder().join("data"), other.folder().join("data"));
    let path = |name: &str| source.folder.path().join(name);
    let put = |from: &Path, name: &str| {
        std::fs::copy(from.join(format!("server-{name}")), path(name)).unwrap();
    };
    put(&ours, "cert.pem");
    put(&ours, "key.pem");
    let tls = TlsConfig {
        cert: Some(path("cert.pem")),
        key: Some(path("key.pem")),
        ..source.tls(SslMode::Required)
    };
    let proxy = source
        .proxy("proxy.sock", source.endpoint(Link::Socket), tls)
        .await;
    // Whether the proxy's certificate is of this authority.
    let shows = |authority: &Path| {
        let ca = format!("--ssl-ca={}", authority.join("ca.pem").display());
        let options = ["--ssl-mode=VERIFY_CA", &ca];
        let said = source.login(proxy.at(), Link::Tls, ("sha2", "sha2 secret"), &options);
        // Both authorities have one name: a signature that does not fit has many words.
        let refused = said.contains("ERROR 2026");
        assert!(refused || said.contains("in as\tsha2@%"), "{said}");
        !refused
    };
    let mut session = proxy.driver(Link::Tls, "sha2", "sha2 secret").await.unwrap();
    assert!(shows(&ours) && !shows(&theirs));
    // A key without its certificate, and no certificate at all, are noticed and not taken.
    put(&theirs, "key.pem");
    proxy.counts("failed", 1).await;
    std::fs::write(path("cert.pem"), "nonsense").unwrap();
    proxy.counts("failed", 2).await;
    assert!(shows(&ours) && !shows(&theirs));
    put(&theirs, "cert.pem");
    proxy.counts("loaded", 1).await;
    assert!(shows(&theirs) && !shows(&ours));
    session.ping().await.unwrap();
}

/// What the sidecar makes of the same in its configuration file.
#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_takes_its_settings_for_both_links() {
    let mut rig = Rig::new(&Plan {
        proxy: "[proxy.tls]\nssl_mode = \"optional\"\ncert = \"../source/data/server-cert.pem\"\nkey = \"../source/data/server-key.pem\"",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY);\nALTER USER app@'%' REQUIRE SSL")
        .await;
    let file = rig.path("sidecar/outrigger.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let tls = config.replace("password = \"source", "tls = \"required\"\npassword = \"source");
    std::fs::write(&file, tls).unwrap();
    rig.start();
    let (port, socket) = (rig.proxy.to_string(), rig.path("proxy.sock"));
    let tcp = ["-h127.0.0.1", "-P", &port];
    let links = [
        [&tcp[..], &["--ssl-mode=REQUIRED"]].concat(),
        [&tcp[..], &["--ssl-mode=DISABLED", "--get-server-public-key"]].concat(),
        vec!["-S", socket.to_str().unwrap()],
    ];
    for link in links {
        rig.on_source("FLUSH PRIVILEGES").await;
        let mut command = rig.mysql(&link);
        command.args(["-uapp", "-papp", "-N", "-e", "SHOW STATUS LIKE 'Ssl_version'"]);
        let said = text(&command.output().unwrap());
        assert!(said.contains("TLSv1"), "{link:?}: {said}");
    }
    // Asked beforehand, a key of another certificate is noticed.
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"));
        text(&command.arg("check").arg("--config").arg(&file).output().unwrap())
    };
    let said = check();
    assert!(said.contains("ok    proxy: its certificate serves"), "{said}");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("server-key.pem", "client-key.pem")).unwrap();
    let said = check();
    assert!(
        said.contains("FAIL  proxy: proxy.tls: cert and key don't serve"),
        "{said}"
    );
}
