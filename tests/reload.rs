//! SIGHUP and `outrigger reload`: what a running sidecar takes up of a changed configuration, and who feels it.

use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use rustix::fs::{FileType, Mode, OFlags};

use crate::support::{PATIENCE, Plan, Rig};

fn options(rig: &Rig) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .prefer_socket(false)
}

async fn login(rig: &Rig) -> Result<Conn, String> {
    Conn::new(options(rig)).await.map_err(|error| error.to_string())
}

fn command(rig: &Rig) -> (bool, String) {
    let config = rig.sidecar.config();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["reload", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn wait_for_log(rig: &Rig, text: &str, times: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
        if log.matches(text).count() >= times {
            return;
        }
        assert!(Instant::now() < until, "{text}:\n{log}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_taken_up_is_and_nobody_is_dropped() {
    let mut rig = Rig::new(&Plan {
        proxy: "max_connections = 9",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let config = std::fs::read_to_string(rig.sidecar.config()).unwrap();
    let mut session = login(&rig).await.unwrap();
    session.query_drop("BEGIN").await.unwrap();
    session.query_drop("INSERT INTO app.t VALUES (1)").await.unwrap();

    // A list, a limit and a rule.
    let rules = "[proxy.guard]\nrules = { sql-log-bin = \"allow\" }\n\n[http]";
    let changed = config
        .replace(
            "max_connections = 9",
            "max_connections = 8\ndeny = [\"127.0.0.1\"]",
        )
        .replace("[http]", rules)
        .replace("path = \"log\"", "path = \"log\"\nquota = \"1 GiB\"");
    assert!(session.query_drop("SET sql_log_bin = 0").await.is_err());
    rig.sidecar.reload(&changed).unwrap();
    wait_for_log(&rig, "the configuration was read again, and so were TLS files", 1);
    wait_for_log(&rig, "log.quota", 1);
    assert!(login(&rig).await.unwrap_err().contains("1130"));
    session.query_drop("INSERT INTO app.t VALUES (2)").await.unwrap();
    session.query_drop("COMMIT").await.unwrap();
    // The rule holds for those who are there.
    session.query_drop("SET sql_log_bin = 0").await.unwrap();
    session.query_drop("SET sql_log_bin = 1").await.unwrap();

    // What does not hold changes nothing, and says why.
    rig.sidecar
        .reload(&changed.replace("max_connections = 8", "max_connections = 0"))
        .unwrap();
    wait_for_log(&rig, "does not hold, the one before stays in force", 1);
    let (succeeded, said) = command(&rig);
    assert!(
        !succeeded && said.contains("max_connections: must be 1 to 1000000"),
        "{said}"
    );
    assert!(login(&rig).await.unwrap_err().contains("1130"));

    // By command, with an answer: back to where it was, but for another source account.
    std::fs::write(
        rig.sidecar.config(),
        config.replace("source secret", "another secret"),
    )
    .unwrap();
    let (succeeded, said) = command(&rig);
    assert!(succeeded, "{said}");
    assert_eq!(
        said,
        "taken up       proxy.deny, proxy.guard.rules, proxy.max_connections\nat next start  source.password\n"
    );
    login(&rig).await.unwrap();

    // Wider addresses of the same port; who is there stays, and the status says where.
    let narrow = format!("127.0.0.1:{}", rig.proxy);
    let wide = config.replace(&narrow, &format!("0.0.0.0:{}", rig.proxy));
    assert_ne!(wide, config);
    std::fs::write(rig.sidecar.config(), &wide).unwrap();
    let (succeeded, said) = command(&rig);
    assert!(
        succeeded && said.contains("taken up       proxy.listen"),
        "{said}"
    );
    login(&rig).await.unwrap();
    session.query_drop("DO 1").await.unwrap();
    let status = rig.sidecar.status().unwrap();
    assert_eq!(status["proxy"]["listen"][0], format!("0.0.0.0:{}", rig.proxy));
    // One that is taken changes nothing.
    let taken = wide.replace(
        &format!("0.0.0.0:{}", rig.proxy),
        &format!("127.0.0.1:{}", rig.source.port()),
    );
    std::fs::write(rig.sidecar.config(), taken).unwrap();
    let (succeeded, said) = command(&rig);
    assert!(!succeeded && said.contains("can't listen at"), "{said}");
    login(&rig).await.unwrap();

    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(!log.contains("another secret") && rig.sidecar.running().unwrap());
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// Of either side: those before stay in use.
#[tokio::test(flavor = "multi_thread")]
async fn tls_files_that_do_not_serve_are_refused() {
    let mut rig = Rig::new(&Plan {
        proxy: "[proxy.tls]\nssl_mode = \"required\"\ncert = \"../source/data/server-cert.pem\"\nkey = \"../source/data/server-key.pem\"",
        ..Plan::default()
    })
    .await;
    let authority = rig.path("ca.pem");
    std::fs::copy(rig.source.folder().join("data/ca.pem"), &authority).unwrap();
    let config = std::fs::read_to_string(rig.sidecar.config()).unwrap().replace(
        "password = \"source",
        "tls = \"verify_ca\"\ntls_ca = \"../ca.pem\"\npassword = \"source",
    );
    std::fs::write(rig.sidecar.config(), &config).unwrap();
    rig.start();
    let enters = async || {
        let secure = SslOpts::default().with_danger_accept_invalid_certs(true);
        Conn::new(options(&rig).ssl_opts(Some(secure))).await.unwrap();
    };
    for (wrong, said) in [
        (
            config.replace("server-key.pem", "client-key.pem"),
            "cert and key don't serve",
        ),
        (config.replace("server-cert.pem", "none.pem"), "none.pem"),
    ] {
        std::fs::write(rig.sidecar.config(), wrong).unwrap();
        let (succeeded, says) = command(&rig);
        assert!(!succeeded && says.contains(said), "{says}");
        enters().await;
    }
    std::fs::write(rig.sidecar.config(), &config).unwrap();
    std::fs::write(&authority, "nonsense").unwrap();
    let (succeeded, says) = command(&rig);
    assert!(!succeeded && says.contains("ca.pem"), "{says}");
    enters().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_does_not_answer_holds_up_nobody() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let pipe = rig.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let files = format!("[proxy.tls]\nssl_mode = \"optional\"\ncert = {pipe:?}\nkey = {pipe:?}\n\n[http]");
    let config = std::fs::read_to_string(rig.sidecar.config()).unwrap();
    rig.sidecar.reload(&config.replace("[http]", &files)).unwrap();
    // Once somebody reads it there may be a writer, who says nothing.
    let until = Instant::now() + PATIENCE;
    let _writer = loop {
        match rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(writer) => break writer,
            Err(cause) => assert!(Instant::now() < until, "nobody reads it: {cause}"),
        }
    };
    let (succeeded, said) = command(&rig);
    assert!(!succeeded && said.contains("it is being read already"), "{said}");
    login(&rig).await.unwrap();
    assert_eq!(
        rig.sidecar.stop(PATIENCE).unwrap(),
        Some(0),
        "{}",
        rig.sidecar.log_end()
    );
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert!(
        !log.contains("could not be read within"),
        "it stops while the file is still being read:\n{log}"
    );
}
