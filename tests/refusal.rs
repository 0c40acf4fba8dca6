//! What cannot work is refused with a sentence that names the side, the cause and the remedy.

use std::process::Command;

use mysql_async::prelude::Queryable;

use crate::eventual::until;
use crate::support::{PATIENCE, Plan, Rig, run};

/// Starts the sidecar, expects it to give up, and returns everything it said.
async fn refused(rig: &mut Rig) -> String {
    rig.sidecar.start().unwrap();
    let code = rig.sidecar.wait_for_exit(PATIENCE).unwrap();
    assert_ne!(code, Some(0), "{}", rig.sidecar.log_end());
    rig.sidecar.log_end()
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no word of {word:?} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_password() {
    let mut rig = Rig::new(&Plan {
        source_password: "wrong secret",
        ..Plan::default()
    })
    .await;
    let text = refused(&mut rig).await;
    assert_says(&text, &["source", "outrigger", "password"]);
    assert!(!text.contains("wrong secret"), "a secret was printed: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privilege() {
    let mut rig = Rig::new(&Plan {
        source_grants: "SELECT",
        ..Plan::default()
    })
    .await;
    let text = refused(&mut rig).await;
    assert_says(&text, &["source", "GRANT", "REPLICATION"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_log_off() {
    let options = [
        "--skip-log-bin",
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
    ];
    let mut rig = Rig::new(&Plan {
        source: &options,
        ..Plan::default()
    })
    .await;
    assert_says(&refused(&mut rig).await, &["source", "log_bin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_format() {
    let mut rig = Rig::new(&Plan {
        source: &["--binlog-format=STATEMENT"],
        ..Plan::default()
    })
    .await;
    assert_says(&refused(&mut rig).await, &["source", "binlog_format", "ROW"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_row_image() {
    let mut rig = Rig::new(&Plan {
        source: &["--binlog-row-image=MINIMAL"],
        ..Plan::default()
    })
    .await;
    assert_says(&refused(&mut rig).await, &["source", "binlog_row_image", "FULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_tables() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY);\nINSERT INTO app.t VALUES (1)").await;
    let mut target = rig.target_conn().await;
    run(
        &mut target,
        "CREATE DATABASE app;\nCREATE TABLE app.t (id INT PRIMARY KEY)",
    )
    .await;
    rig.sidecar.start().unwrap();
    let error = rig
        .sidecar
        .wait_until_synchronizing(PATIENCE)
        .unwrap_err()
        .to_string();
    assert_says(&error, &["app", "`t`", "on_existing_tables"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_in_statement_format_stops_the_task() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.start();
    let mut source = rig.source_conn().await;
    run(
        &mut source,
        "SET SESSION binlog_format = 'STATEMENT';\nUSE app;\nINSERT INTO t VALUES (1)",
    )
    .await;
    let session = format!("session {} ", source.id());
    let error = stopped(&mut rig).await;
    assert_says(
        &error,
        &[&session, "`app`.`t`", "binlog.00000", "binlog_format = ROW"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_on_the_target_is_not_passed_over() {
    let mut rig =
        Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY, v INT);\nINSERT INTO app.t VALUES (1, 1), (2, 2)")
            .await;
    rig.start();
    rig.settle().await;
    run(&mut rig.target_conn().await, "DELETE FROM app.t WHERE id = 2").await;
    rig.on_source("UPDATE app.t SET v = 3 WHERE id = 2").await;
    let error = stopped(&mut rig).await;
    assert_says(&error, &["target", "app", "`t`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_logs_parts_of_rows_stops_the_task() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT PRIMARY KEY, v INT, w INT, g INT AS (v + w) STORED);\nINSERT INTO app.t (id, v, w) VALUES (1, 2, 3)",
    )
    .await;
    rig.start();
    rig.on_source("SET SESSION binlog_row_image = 'MINIMAL';\nUPDATE app.t SET v = 9")
        .await;
    assert_says(
        &stopped(&mut rig).await,
        &["`app`.`t`", "a part of the row", "binlog_row_image = 'FULL'"],
    );
    let row: Option<(u32, u32)> = rig
        .target_conn()
        .await
        .query_first("SELECT v, w FROM app.t")
        .await
        .unwrap();
    assert_eq!(row, Some((2, 3)));
}

#[test]
fn configuration_errors_name_line_column_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outrigger.toml");
    std::fs::write(&file, "[source]\nhots = \"db\"\nuser = \"u\"\npassword = \"p\"\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["config", "check"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_says(&text, &["outrigger.toml", "2", "hots", "host"]);
}

#[test]
fn the_example_is_a_valid_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outrigger.toml");
    let program = env!("CARGO_BIN_EXE_outrigger");
    let example = Command::new(program)
        .args(["config", "example"])
        .output()
        .unwrap();
    assert!(example.status.success());
    let text = String::from_utf8(example.stdout).unwrap();
    std::fs::write(folder.path().join("password"), "secret\n").unwrap();
    let password = format!("{{ file = \"{}\" }}", folder.path().join("password").display());
    let text = text.replace("{ file = \"/etc/outrigger/source.password\" }", &password);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(program)
        .args(["config", "check"])
        .arg(&file)
        .env("OUTRIGGER_TARGET_PASSWORD", "hidden")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("hidden"), "a secret was printed: {said}");
}

const NATIVE: &[&str] = &["--innodb-native-foreign-keys=ON"];

/// A parent and a child that follows it.
const FAMILY: &str = "CREATE TABLE app.parent (id INT PRIMARY KEY, v INT);
CREATE TABLE app.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO app.parent VALUES (1, 1), (2, 2);
INSERT INTO app.child VALUES (1, 1), (2, 2)";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_can_not_do_what_unlogged_foreign_keys_do() {
    let mut rig = Rig::new(&Plan {
        source: NATIVE,
        ..Plan::default()
    })
    .await;
    rig.on_source(FAMILY).await;
    rig.sidecar.start().unwrap();
    let words = ["target", "innodb_native_foreign_keys = ON"];
    assert_says(&stopped(&mut rig).await, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn unlogged_foreign_keys_that_come_later_are_not_passed_over() {
    let mut rig = Rig::new(&Plan {
        source: NATIVE,
        ..Plan::default()
    })
    .await;
    rig.start();
    // What has no effect on children is applied.
    rig.on_source(&format!(
        "{FAMILY};\nUPDATE app.parent SET v = 5;\nINSERT INTO app.parent VALUES (3, 3)"
    ))
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig.on_source("DELETE FROM app.parent WHERE id = 1").await;
    let words = ["app", "parent", "target", "innodb_native_foreign_keys = ON"];
    assert_says(&stopped(&mut rig).await, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_a_table_that_is_not_selected() {
    let plan = Plan {
        source: NATIVE,
        target: NATIVE,
        task: "exclude = [\"app.parent\"]",
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(FAMILY).await;
    rig.sidecar.start().unwrap();
    let words = ["`app`.`child` follow `app`.`parent`", "include the parent", "9.6"];
    assert_says(&stopped(&mut rig).await, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_comes_later_of_a_table_that_is_not_selected() {
    let plan = Plan {
        source: NATIVE,
        target: NATIVE,
        task: "exclude = [\"app.parent\"]",
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.start();
    rig.on_source(&format!("SET SESSION foreign_key_checks = 0;\n{FAMILY}"))
        .await;
    let words = ["`app`.`child` follow `app`.`parent`", "include the parent", "9.6"];
    assert_says(&stopped(&mut rig).await, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_table_without_an_unlogged_foreign_key() {
    let plan = Plan {
        source: NATIVE,
        target: NATIVE,
        task: "on_existing_tables = \"keep\"",
        ..Plan::default()
    };
    let mut rig = Rig::new(&plan).await;
    rig.on_source(FAMILY).await;
    let mut target = rig.target_conn().await;
    run(
        &mut target,
        "CREATE DATABASE app;\nCREATE TABLE app.child (id INT PRIMARY KEY, p INT, KEY p (p))",
    )
    .await;
    rig.sidecar.start().unwrap();
    assert_says(
        &stopped(&mut rig).await,
        &["`app`.`child`", "a foreign key of the source's is missing"],
    );
    // With the foreign key it takes the rows.
    rig.sidecar.stop(PATIENCE).unwrap();
    run(
        &mut target,
        "SET SESSION foreign_key_checks = 0;\nALTER TABLE app.child ADD FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE",
    )
    .await;
    rig.start();
    rig.on_source("DELETE FROM app.parent WHERE id = 1").await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_the_source() {
    let mut rig = Rig::with("CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    rig.on_source("CREATE USER outrigger2@'%' IDENTIFIED BY 'x'")
        .await;
    let config = rig.path("sidecar/outrigger.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (target, source) = (rig.target.port().to_string(), rig.source.port().to_string());
    let text = text.replace(&format!("port = {target}"), &format!("port = {source}"));
    std::fs::write(&config, text.replace("target secret", "source secret")).unwrap();
    rig.on_source("GRANT ALL ON *.* TO outrigger@'%'").await;
    rig.sidecar.start().unwrap();
    assert_says(&stopped(&mut rig).await, &["target", "same server"]);
}

/// A statement in whose way something stands on the target is run once that is gone, although its tables look other than before.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_statement_that_was_refused_is_run_once_it_can() {
    let mut rig = Rig::with(
        "CREATE TABLE app.t (id INT PRIMARY KEY); CREATE TABLE app.t_new (id INT PRIMARY KEY, v INT)",
    )
    .await;
    rig.start();
    rig.settle().await;
    let mut target = rig.target_conn().await;
    run(&mut target, "CREATE TABLE app.t_old (id INT PRIMARY KEY)").await;
    rig.on_source("RENAME TABLE app.t TO app.t_old, app.t_new TO app.t")
        .await;
    rig.on_source("INSERT INTO app.t VALUES (1, 1)").await;
    let why = stopped(&mut rig).await;
    assert!(
        why.contains("t_old") && why.contains("start the task again"),
        "{why}"
    );
    run(&mut target, "DROP TABLE app.t_old").await;
    rig.sidecar.kill().unwrap();
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_engines_without_transactions() {
    let mut rig = Rig::new(&Plan::default()).await;
    rig.on_source(
        "CREATE TABLE app.old (id INT PRIMARY KEY) ENGINE = MyISAM;
         CREATE TABLE app.t (id INT PRIMARY KEY);
         INSERT INTO app.old VALUES (1)",
    )
    .await;
    rig.sidecar.start().unwrap();
    assert_says(
        &stopped(&mut rig).await,
        &["source", "`app`.`old` (MyISAM)", "ENGINE = InnoDB", "exclude"],
    );
    rig.sidecar.stop(PATIENCE).unwrap();
    rig.on_source("ALTER TABLE app.old ENGINE = InnoDB").await;
    rig.start();
    // One that comes later takes no row before it is converted.
    rig.on_source(
        "CREATE TABLE app.later (id INT PRIMARY KEY, v INT) ENGINE = MyISAM;\nINSERT INTO app.later VALUES (1, 1)",
    )
    .await;
    assert_says(
        &stopped(&mut rig).await,
        &["target", "MyISAM", "ALTER TABLE `app`.`later` ENGINE = InnoDB"],
    );
    rig.sidecar.stop(PATIENCE).unwrap();
    run(
        &mut rig.target_conn().await,
        "ALTER TABLE app.later ENGINE = InnoDB",
    )
    .await;
    rig.start();
    rig.on_source("UPDATE app.later SET v = 2;\nINSERT INTO app.old VALUES (2)")
        .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    // One that becomes so is in nobody's way before its rows come, though the target is asked about both tables at once.
    let mut target = rig.target_conn().await;
    run(&mut target, "ALTER TABLE app.old ENGINE = MyISAM").await;
    rig.on_source("CREATE TABLE app.another (id INT PRIMARY KEY);\nUPDATE app.later SET v = 3")
        .await;
    until(&mut target, "SELECT v FROM app.later", 3).await;
    rig.on_source("INSERT INTO app.old VALUES (3)").await;
    assert_says(
        &stopped(&mut rig).await,
        &["target", "MyISAM", "ALTER TABLE `app`.`old` ENGINE = InnoDB"],
    );
    rig.sidecar.stop(PATIENCE).unwrap();
    run(&mut target, "ALTER TABLE app.old ENGINE = InnoDB").await;
    rig.start();
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_adds_primary_keys() {
    let mut rig = Rig::new(&Plan {
        target: &["--sql-generate-invisible-primary-key=ON"],
        ..Plan::default()
    })
    .await;
    rig.on_source("CREATE TABLE app.t (v INT)").await;
    rig.sidecar.start().unwrap();
    assert_says(
        &stopped(&mut rig).await,
        &["target", "sql_generate_invisible_primary_key"],
    );
}

/// Waits until the task has stopped and returns the status document's text.
async fn stopped(rig: &mut Rig) -> String {
    let until = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < until {
        if let Ok(status) = rig.sidecar.status()
            && status["tasks"][0]["state"] == "stopped"
        {
            return status.to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the task did not stop:\n{}", rig.sidecar.log_end());
}

const VISITS: &str = "CREATE TABLE app.visits (id INT PRIMARY KEY, who INT, ts TIMESTAMP NOT NULL, \
     d DATE AS (DATE(ts)) STORED, UNIQUE KEY (who, d));
CREATE TABLE app.once (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL, UNIQUE KEY ((CAST(ts AS DATE))));
CREATE TABLE app.plain (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL, at DATETIME, d DATE AS (DATE(at)) STORED);
INSERT INTO app.plain (id, ts, at) VALUES (1, '2024-05-04 20:00:00', '2024-05-04 20:00:00');
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_expressions_depend_on_the_time_zone_are_not_computed_anew_in_another_one() {
    let mut rig = Rig::new(&Plan {
        source: &["--default-time-zone=+09:00"],
        ..Plan::default()
    })
    .await;
    rig.on_source(VISITS).await;
    rig.sidecar.start().unwrap();
    let said = stopped(&mut rig).await;
    assert_says(
        &said,
        &[
            "`app`.`once` (ts), `app`.`visits` (ts)",
            "+09:00",
            "DATETIME",
            "exclude",
        ],
    );
    assert!(!said.contains("`app`.`plain`"), "{said}");

    // One session of many has another zone.
    let mut rig = Rig::with(VISITS).await;
    rig.on_source("INSERT INTO app.visits (id, who, ts) VALUES (1, 7, '2024-05-04 20:00:00')")
        .await;
    rig.start();
    rig.on_source("INSERT INTO app.visits (id, who, ts) VALUES (2, 7, '2024-05-05 20:00:00');\nINSERT INTO app.once VALUES (1, '2024-05-05 20:00:00')")
        .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig.on_source(
        "SET time_zone = '+09:00';\nINSERT INTO app.plain (id, ts, at) VALUES (2, '2024-05-04 20:00:00', '2024-05-04 20:00:00')",
    )
    .await;
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
    rig.on_source("SET time_zone = '+09:00';\nINSERT INTO app.visits (id, who, ts) VALUES (3, 8, '2024-05-04 20:00:00')")
        .await;
    let said = stopped(&mut rig).await;
    assert_says(&said, &["`app`.`visits`", "(ts)", "+09:00", "UTC"]);
    let there: Option<u8> = rig
        .target_conn()
        .await
        .query_first("SELECT COUNT(*) FROM app.visits WHERE id = 3")
        .await
        .unwrap();
    assert_eq!(there, Some(0));
}
