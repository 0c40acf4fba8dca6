//! TLS to both servers, in MySQL's modes; who the server is, and who we are.

use std::path::Path;

use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::support::{PATIENCE, Rig, run};

const TABLE: &str = "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)";

/// Changes the configuration file.
fn configure(rig: &Rig, from: &str, to: &str) {
    let file = rig.path("sidecar/outrigger.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

/// Starts the sidecar, expects it to give up, and returns what it said since the last time.
fn refused(rig: &mut Rig) -> String {
    let before = said(rig).len();
    rig.sidecar.start().unwrap();
    assert_ne!(rig.sidecar.wait_for_exit(PATIENCE).unwrap(), Some(0));
    said(rig).split_off(before)
}

/// Everything that the sidecar said so far.
fn said(rig: &Rig) -> String {
    std::fs::read_to_string(rig.sidecar.log()).unwrap_or_default()
}

/// A rig whose servers' accounts want TLS or more, and whose target has an authority of its own.
async fn with_accounts_that_require(what: &str) -> Rig {
    let mut rig = Rig::with(TABLE).await;
    // The servers' data folders are copies, certificates included; the target makes some of its own.
    rig.target.stop().unwrap();
    for file in std::fs::read_dir(rig.path("target/data")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            std::fs::remove_file(path).unwrap();
        }
    }
    rig.target.launch().unwrap();
    let require = format!("ALTER USER outrigger@'%' REQUIRE {what}");
    rig.on_source(&format!("{require};\nINSERT INTO app.t (v) VALUES ('copied')"))
        .await;
    run(&mut rig.target_conn().await, &require).await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_every_mode() {
    let mut rig = with_accounts_that_require("SSL").await;
    assert!(refused(&mut rig).contains("was refused"));
    configure(&rig, "password = \"", "tls = \"required\"\npassword = \"");
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('captured')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let links: Vec<String> = rig
        .source_conn()
        .await
        .query("SELECT connection_type FROM performance_schema.threads WHERE processlist_command LIKE 'Binlog Dump%'")
        .await
        .unwrap();
    assert_eq!(links, ["SSL/TLS"]);
    rig.sidecar.stop(PATIENCE).unwrap();

    // The source's own authority vouches for the server, but not for the name 127.0.0.1.
    let (ours, theirs) = (rig.path("source/data/ca.pem"), rig.path("target/data/ca.pem"));
    let verified = |mode: &str, ca: &std::path::Path| {
        format!(
            "tls = \"{mode}\"\ntls_ca = \"{}\"\npassword = \"source",
            ca.display()
        )
    };
    let plain = "tls = \"required\"\npassword = \"source";
    configure(&rig, plain, &verified("verify_identity", &ours));
    assert!(refused(&mut rig).contains("for another name"));
    configure(
        &rig,
        &verified("verify_identity", &ours),
        &verified("verify_ca", &theirs),
    );
    assert!(refused(&mut rig).contains("not signed by an authority"));
    configure(
        &rig,
        &verified("verify_ca", &theirs),
        &verified("verify_ca", &ours),
    );
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('verified')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// What the task says while its target can't be reached.
async fn task_says(rig: &mut Rig, what: &str) {
    rig.sidecar.start().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let status = rig.sidecar.status().unwrap_or(Value::Null);
        let task = &status["tasks"][0];
        let why = task["why"].as_str().unwrap_or_default();
        if why.starts_with("target: ") && why.contains(what) {
            break;
        }
        assert!(std::time::Instant::now() < until, "never {what:?}: {status:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rig.sidecar.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_certificate_is_judged_by_the_same_modes() {
    let mut rig = with_accounts_that_require("SSL").await;
    let (other, its) = (rig.path("source/data/ca.pem"), rig.path("target/data/ca.pem"));
    let password = "password = \"target";
    let verified =
        |mode: &str, ca: &Path| format!("tls = \"{mode}\"\ntls_ca = \"{}\"\n{password}", ca.display());
    configure(
        &rig,
        "password = \"source",
        "tls = \"required\"\npassword = \"source",
    );
    configure(&rig, password, &verified("verify_identity", &its));
    task_says(&mut rig, "not valid for name").await;
    configure(
        &rig,
        &verified("verify_identity", &its),
        &verified("verify_ca", &other),
    );
    task_says(&mut rig, "invalid peer certificate").await;
    configure(&rig, &verified("verify_ca", &other), &verified("verify_ca", &its));
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('verified')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    let plain: Option<u64> = rig
        .target_conn()
        .await
        .query_first(
            "SELECT COUNT(*) FROM performance_schema.threads WHERE processlist_user = 'outrigger' AND connection_type <> 'SSL/TLS'",
        )
        .await
        .unwrap();
    assert_eq!(plain, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_require_a_certificate() {
    let mut rig = with_accounts_that_require("X509").await;
    let shown = |side: &str, of: &str| {
        let data = rig.path(of).join("data");
        format!(
            "tls = \"required\"\ntls_cert = \"{0}/client-cert.pem\"\ntls_key = \"{0}/client-key.pem\"\npassword = \"{side}",
            data.display()
        )
    };
    let bare = |side: &str| format!("tls = \"required\"\npassword = \"{side}");
    for side in ["source", "target"] {
        configure(&rig, &format!("password = \"{side}"), &bare(side));
    }
    let with_source = shown("source", "source");
    let (with_target, with_wrong) = (shown("target", "target"), shown("target", "source"));
    assert!(refused(&mut rig).contains("was refused"));
    configure(&rig, &bare("source"), &with_source);
    task_says(&mut rig, "Access denied").await;
    // Signed by an authority that this server does not know.
    configure(&rig, &bare("target"), &with_wrong);
    task_says(&mut rig, "connecting").await;
    configure(&rig, &with_wrong, &with_target);
    rig.start();
    rig.on_source("INSERT INTO app.t (v) VALUES ('known')").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
