//! Online-DDL tools as they are installed, through the proxy: refused before anything is written. One that is missing is left out, and
//! that is said.

#![expect(clippy::print_stdout, reason = "who runs it wants to know what was left out")]

use std::process::Command;

use mysql_async::prelude::Queryable;

use crate::support::Rig;

const TABLE: &str = "CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT);\nINSERT INTO app.t (v) VALUES (1), (2), (3)";

/// What was ever written on the source.
async fn written(rig: &Rig) -> Option<String> {
    let sql = "SELECT @@gtid_executed";
    rig.source_conn().await.query_first(sql).await.unwrap()
}

/// Runs a tool that is to add a column to `app.t`. It must show the rule's sentence, and nothing may have been written.
async fn refused(rig: &Rig, rule: &str, command: &mut Command) {
    let before = written(rig).await;
    let Ok(output) = command.output() else {
        println!("{} is not installed: left out", command.get_program().display());
        return;
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(!output.status.success(), "{out}{err}");
    let sentence = format!("Refused by Outrigger's proxy, rule {rule}: ");
    assert!(out.contains(&sentence) || err.contains(&sentence), "{out}{err}");
    assert_eq!(written(rig).await, before, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_refused_before_they_write() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    let port = rig.proxy;
    for name in ["%T_new", "fresh"] {
        let mut command = Command::new("pt-online-schema-change");
        command
            .args(["--execute", "--recursion-method=none", "--no-version-check"])
            .args(["--alter", "ADD COLUMN x INT", "--new-table-name", name])
            .arg(format!("h=127.0.0.1,P={port},u=app,p=app,D=app,t=t"));
        refused(&rig, "pt-osc", &mut command).await;
    }
    let mut command = Command::new("gh-ost");
    command
        .args(["--execute", "--allow-on-master", "--host=127.0.0.1"])
        .args(["--user=app", "--password=app", "--database=app", "--table=t"])
        .args(["--alter=ADD COLUMN x INT", &format!("--port={port}")]);
    refused(&rig, "gh-ost", &mut command).await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
