//! A source with semi-synchronous replication: its commits wait for the log, and are shown to nobody before that.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use outrigger::demo::sidecar;
use outrigger_storage::{Offset, View};
use serde_json::Value;

use crate::source::{TABLE, configure, status_with, until};
use crate::support::{PATIENCE, Plan, Rig, run};

/// Has commits wait for an acknowledgement, however long it takes.
const ON: &str =
    "SET GLOBAL rpl_semi_sync_source_timeout = 3600000;\nSET GLOBAL rpl_semi_sync_source_enabled = ON";

async fn global_status(conn: &mut Conn, name: &str) -> u64 {
    let row: Option<(String, u64)> = conn
        .query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'"))
        .await
        .unwrap();
    row.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_until_the_log_is_synced() {
    let mut rig = Rig::new(&Plan {
        source: &["--plugin-load-add=semisync_source.so"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    configure(&rig, "[source]\n", "[source]\nsemi_sync = true\n");
    rig.start();
    status_with(&mut rig, "semi-synchronous", |status| {
        status["source"]["semi_sync"] == true
    })
    .await;
    let mut source = rig.source_conn().await;
    run(&mut source, ON).await;
    let before = global_status(&mut source, "Rpl_semi_sync_source_yes_tx").await;
    for _ in 0..20 {
        run(&mut source, "INSERT INTO app.t (v) VALUES (REPEAT('x', 1000))").await;
    }
    // An event of several packets, and one in a file of another checksum.
    run(
        &mut source,
        "INSERT INTO app.t (v) VALUES (REPEAT('y', 20000000));\nSET GLOBAL binlog_checksum = NONE;\n\
         INSERT INTO app.t (v) VALUES ('z')",
    )
    .await;
    let after = global_status(&mut source, "Rpl_semi_sync_source_yes_tx").await;
    assert!(after >= before + 22, "{before} {after}");
    assert_eq!(global_status(&mut source, "Rpl_semi_sync_source_no_tx").await, 0);

    // Nobody there: the commit waits, and goes on when somebody is.
    rig.sidecar.kill().unwrap();
    let mut waiting = rig.source_conn().await;
    let commit = tokio::spawn(async move {
        run(&mut waiting, "INSERT INTO app.t (v) VALUES ('waited')").await;
    });
    until("a commit waits", async || {
        (global_status(&mut source, "Rpl_semi_sync_source_wait_sessions").await == 1).then_some(())
    })
    .await;
    assert!(!commit.is_finished());
    rig.sidecar.start().unwrap();
    tokio::time::timeout(PATIENCE, commit).await.unwrap().unwrap();

    // What was acknowledged is in the log, whatever happens to both sides the moment after.
    run(&mut source, "INSERT INTO app.t (v) VALUES ('acknowledged')").await;
    rig.sidecar.kill().unwrap();
    rig.source.kill().unwrap();
    rig.sidecar.start().unwrap();
    let mut target = rig.target_conn().await;
    until("the acknowledged row is on the target", async || {
        let found: Option<u64> = target
            .query_first("SELECT COUNT(*) FROM app.t WHERE v = 'acknowledged'")
            .await
            .unwrap();
        found.filter(|count| *count == 1)
    })
    .await;
}

/// A statement that changes a table holds its metadata lock until it is acknowledged: nobody may look at the table first.
#[tokio::test(flavor = "multi_thread")]
async fn definition_statements_are_acknowledged_before_their_tables_are_looked_at() {
    let mut rig = Rig::new(&Plan {
        source: &["--plugin-load-add=semisync_source.so"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    // A look that waits does so for half of it, longer than the source waits for an acknowledgement.
    configure(
        &rig,
        "[source]\n",
        "[source]\nsemi_sync = true\nconnect_timeout = \"60s\"\n",
    );
    rig.start();
    let mut source = rig.source_conn().await;
    run(&mut source, "SET GLOBAL rpl_semi_sync_source_enabled = ON").await;
    for round in 0..5 {
        run(
            &mut source,
            &format!(
                "ALTER TABLE app.t ADD c{round} INT;\nCREATE TABLE app.n{round} (x{round} INT);\n\
                 INSERT INTO app.n{round} VALUES (1);\nALTER TABLE app.n{round} ADD y INT, ALGORITHM = COPY;\n\
                 RENAME TABLE app.n{round} TO app.m{round};\nINSERT INTO app.t (c{round}) VALUES ({round})"
            ),
        )
        .await;
    }
    assert_eq!(global_status(&mut source, "Rpl_semi_sync_source_no_tx").await, 0);
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    for (table, column) in [("t", "c4"), ("m4", "y")] {
        until("the last definition is known exactly", async || {
            let view = View::open(&rig.path("sidecar/log")).unwrap();
            let version = view.schema("app", table, Offset(u64::MAX)).unwrap()?;
            let last = version.exact()?.table.columns.last()?.name.clone();
            (last == column).then_some(())
        })
        .await;
    }
}

/// A crash may leave a transaction in the log of which the source was not told: it waits for that, and does not show the transaction
/// to anybody meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_before_a_crash_is_acknowledged_after_it() {
    let mut rig = Rig::new(&Plan {
        source: &["--plugin-load-add=semisync_source.so"],
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    configure(&rig, "[source]\n", "[source]\nsemi_sync = true\n");
    rig.start();
    rig.settle().await;
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.sidecar.start_with("log-sync=20*off->return").unwrap();
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    let mut source = rig.source_conn().await;
    run(&mut source, ON).await;
    let writing = tokio::spawn(async move {
        for _ in 0..30 {
            run(&mut source, "INSERT INTO app.t (v) VALUES ('x')").await;
        }
    });
    rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    assert!(!writing.is_finished());
    let mut source = rig.source_conn().await;
    let before = global_status(&mut source, "Rpl_semi_sync_source_yes_tx").await;
    rig.sidecar.start().unwrap();
    until("acknowledged", async || {
        (global_status(&mut source, "Rpl_semi_sync_source_yes_tx").await > before).then_some(())
    })
    .await;
    tokio::time::timeout(PATIENCE, writing).await.unwrap().unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

/// A transaction goes to replicas before anybody sees it: a task that begins meanwhile must not copy without it and replay what
/// follows it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_does_not_show_yet_is_not_missed() {
    let mut rig = Rig::new(&Plan {
        source: &["--plugin-load-add=semisync_source.so"],
        include: &["app_other"],
        log: "keep_all = true",
        ..Plan::default()
    })
    .await;
    rig.on_source(&format!(
        "CREATE DATABASE app_other;\n{TABLE};\nINSERT INTO app.t (v) VALUES ('before')"
    ))
    .await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(&mut source, ON).await;
    let last = |status: &Value| status["log"]["last"].as_u64();
    let before = last(&rig.sidecar.status().unwrap());
    // Nobody acknowledges it.
    let mut waiting = rig.source_conn().await;
    let commit = tokio::spawn(async move {
        run(&mut waiting, "INSERT INTO app.t (v) VALUES ('late')").await;
    });
    status_with(&mut rig, "captured", |status| last(status) > before).await;
    assert_eq!(rig.sidecar.stop(PATIENCE).unwrap(), Some(0));
    let second = format!(
        "\n[[task]]\nname = \"second\"\ninclude = [\"app\"]\n\n[task.target]\nhost = \"127.0.0.1\"\nport = {}\n\
         user = \"outrigger\"\npassword = \"target secret\"\n",
        rig.target.port()
    );
    configure(&rig, "\n[http]\n", &format!("{second}\n[http]\n"));
    rig.sidecar.start().unwrap();
    until("the second task waits, or has copied", async || {
        let waits = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE 'SELECT WAIT_FOR_EXECUTED_GTID_SET%, 10)'";
        let waits: Option<u64> = source.query_first(waits).await.unwrap();
        let states = rig
            .sidecar
            .status()
            .map_or(Vec::new(), |status| sidecar::task_states(&status));
        (waits > Some(0) || states == ["synchronizing"; 2]).then_some(())
    })
    .await;
    run(&mut source, "SET GLOBAL rpl_semi_sync_source_enabled = OFF").await;
    commit.await.unwrap();
    rig.sidecar.wait_until_synchronizing(PATIENCE).unwrap();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
