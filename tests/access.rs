//! Who may connect to the proxy: what a client that may not is told, and that others don't feel it.

use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use tokio::io::AsyncWriteExt;

use crate::support::{PATIENCE, Plan, Rig};

/// What the `mysql` command says when it connects from this address.
fn from(rig: &Rig, address: &str, user: &str) -> String {
    let port = rig.proxy.to_string();
    let output = rig
        .mysql(&[
            "-h127.0.0.1",
            "-P",
            &port,
            "--bind-address",
            address,
            "-u",
            user,
            "-papp",
            "--get-server-public-key",
        ])
        .args(["-N", "-e", "SELECT 'let in'"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A load balancer before the proxy that names 203.0.113.7 as its client; its port.
async fn balancer(proxy: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", proxy))
                    .await
                    .unwrap();
                let header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 3307\r\n";
                server.write_all(header).await.unwrap();
                // Ends when either side does.
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    port
}

async fn session(rig: &Rig) -> Conn {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .prefer_socket(false);
    Conn::new(opts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_limits_refuse_with_mysqls_errors() {
    let mut rig = Rig::new(&Plan {
        proxy: "allow = [\"127.0.0.0/29\"]\ndeny = [\"127.0.0.2\"]\nmax_connections_per_user = 2\nmax_connections_per_address = 4",
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE USER other@'%' IDENTIFIED BY 'app'").await;
    rig.start();
    for (address, admitted) in [
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("127.0.0.7", true),
        ("127.0.0.8", false),
    ] {
        let said = from(&rig, address, "app");
        if admitted {
            assert!(said.contains("let in"), "{address}: {said}");
        } else {
            let expected = format!(
                "ERROR 1130 (HY000): Host '{address}' is not allowed to connect to this MySQL server"
            );
            assert!(said.contains(&expected), "{said}");
        }
    }
    let mut first = session(&rig).await;
    let second = session(&rig).await;
    let said = from(&rig, "127.0.0.3", "app");
    assert!(
        said.contains("ERROR 1203 (42000)") && said.contains("User app already has more"),
        "{said}"
    );
    assert!(from(&rig, "127.0.0.3", "other").contains("let in"));
    // A wrong password is the source's business, whatever the limit.
    let denied = rig
        .mysql(&[
            "-h127.0.0.1",
            "-P",
            &rig.proxy.to_string(),
            "-uapp",
            "-pwrong",
            "--get-server-public-key",
        ])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&denied.stderr).contains("ERROR 1045"),
        "{denied:?}"
    );
    // Nobody was harmed, and nothing is left of those who were refused.
    assert_eq!(first.query_first::<u8, _>("SELECT 1").await.unwrap(), Some(1));
    second.disconnect().await.unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while !from(&rig, "127.0.0.1", "app").contains("let in") {
        assert!(
            std::time::Instant::now() < until,
            "the place was never free again"
        );
    }
    let metrics = rig.sidecar.get("/metrics").unwrap();
    let count = |reason: &str| {
        let name = format!("outrigger_proxy_connections_refused_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.parse::<u32>().ok())
            .unwrap_or_default()
    };
    assert_eq!(count("address"), 2, "{metrics}");
    assert!(count("max_connections_per_user") >= 1, "{metrics}");
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    assert_eq!(
        log.matches("is not allowed to connect").count(),
        1,
        "one line for both:\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancers_client_is_who_connects() {
    let mut rig = Rig::new(&Plan {
        proxy: "allow = [\"203.0.113.0/24\"]\nproxy_protocol = [\"127.0.0.1\"]",
        ..Plan::default()
    })
    .await;
    rig.start();
    let port = balancer(rig.proxy).await.to_string();
    let output = rig
        .mysql(&[
            "-h127.0.0.1",
            "-P",
            &port,
            "-uapp",
            "-papp",
            "--get-server-public-key",
            "-N",
            "-e",
        ])
        .arg("SELECT 'let in'; SELECT SLEEP(600)")
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut client = output.unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let sessions = rig.sidecar.get("/api/v1/sessions").unwrap();
        if sessions.contains("203.0.113.7:4000") && sessions.contains("app") {
            break;
        }
        assert!(std::time::Instant::now() < until, "{sessions}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    client.kill().unwrap();
    client.wait().unwrap();
    // Who is not on the list is still refused, and whoever is trusted must say for whom it comes.
    assert!(from(&rig, "127.0.0.2", "app").contains("ERROR 1130"));
    let said = from(&rig, "127.0.0.1", "app");
    assert!(said.contains("PROXY protocol header"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_accounts_that_let_nobody_in_through_the_proxy() {
    let rig = Rig::new(&Plan::default()).await;
    rig.on_source(
        "CREATE USER app@'10.0.%' IDENTIFIED BY 'x';\nCREATE USER batch@'10.0.0.0/255.255.0.0' IDENTIFIED BY 'x';\n\
         CREATE USER near@'127.0.0.1' IDENTIFIED BY 'x';\nCREATE USER host@localhost IDENTIFIED BY 'x';\n\
         CREATE USER locked@'10.0.0.1' IDENTIFIED BY 'x' ACCOUNT LOCK",
    )
    .await;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["check", "--config"])
        .arg(rig.sidecar.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said
        .lines()
        .find(|line| line.starts_with("warn  accounts of the source"))
        .unwrap();
    assert!(
        line.ends_with("don't let them in: app@10.0.% (it is then app@%), batch@10.0.0.0/255.255.0.0"),
        "{said}"
    );
}
