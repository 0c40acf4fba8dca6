//! What the proxy's guard refuses: online-DDL tools before they make anything, and what would break capture.

use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::support::{PATIENCE, Plan, Rig};

/// What gh-ost sends, from its first commented statement on; before it only settings and questions that others send too.
const GH_OST: &[&str] = &[
    "show /* gh-ost */ grants for current_user()",
    "select /* gh-ost */ get_lock('gh-ost::app.t', 0)",
    "drop /* gh-ost */ table if exists `app`.`_t_gho`",
    "create /* gh-ost */ table `app`.`_t_ghc` (id bigint auto_increment primary key, value varchar(4096)) comment='gh-ost changelog'",
    "create /* gh-ost */ table `app`.`_t_gho` like `app`.`t`",
    "alter /* gh-ost */ table `app`.`_t_gho` ADD COLUMN x INT",
    "rename /* gh-ost */ table `app`.`t` to `app`.`_t_del`, `app`.`_t_gho` to `app`.`t`",
];

/// What pt-online-schema-change sends before it makes its first table.
const PT_OSC_BEFORE: &[&str] = &[
    "SET SESSION innodb_lock_wait_timeout=1",
    "SET SESSION lock_wait_timeout=60",
    "SET @@SQL_QUOTE_SHOW_CREATE = 1/*!40101, @@SQL_MODE='NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'*/",
    "SHOW CREATE TABLE `app`.`t`",
];

const PT_OSC: &[&str] = &[
    "CREATE TABLE `app`.`_t_new` (\n  `id` int NOT NULL,\n  `v` int DEFAULT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB",
    "CREATE TRIGGER `pt_osc_app_t_del` AFTER DELETE ON `app`.`t` FOR EACH ROW DELETE IGNORE FROM `app`.`_t_new` WHERE `app`.`_t_new`.`id` <=> OLD.`id`",
    "INSERT LOW_PRIORITY IGNORE INTO `app`.`_t_new` (`id`, `v`) SELECT `id`, `v` FROM `app`.`t` LOCK IN SHARE MODE /*pt-online-schema-change 4711 copy table*/",
];

const TABLE: &str = "CREATE TABLE app.t (id INT PRIMARY KEY, v INT);\nINSERT INTO app.t VALUES (1, 1)";

async fn through(rig: &Rig, database: &str) -> Conn {
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(rig.proxy)
        .user(Some("app"))
        .pass(Some("app"))
        .db_name(Some(database))
        .prefer_socket(false);
    Conn::new(opts).await.unwrap()
}

/// The statement is refused by the rule, and the session goes on.
async fn refused(conn: &mut Conn, rule: &str, sql: &str) {
    let error = conn.query_drop(sql).await.unwrap_err();
    assert_refusal(&error, rule, sql);
    assert_eq!(conn.query_first::<u8, _>("SELECT 7").await.unwrap(), Some(7));
}

fn assert_refusal(error: &mysql_async::Error, rule: &str, sql: &str) {
    let mysql_async::Error::Server(error) = error else {
        panic!("{sql}: {error}");
    };
    assert_eq!(
        (error.code, error.state.as_str()),
        (1235, "42000"),
        "{sql}: {error}"
    );
    assert!(
        error.message.contains(&format!("rule {rule}: ")),
        "{sql}: {error}"
    );
}

async fn tables(rig: &Rig, database: &str) -> Vec<String> {
    let sql = format!(
        "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables WHERE table_schema = '{database}' ORDER BY 1"
    );
    rig.source_conn().await.query(sql).await.unwrap()
}

/// What the status and the metrics count: refused and warned of.
fn counted(rig: &mut Rig, rule: &str) -> (u64, u64) {
    let status = rig.sidecar.status().unwrap();
    let parts = status["proxy"]["guard"].as_array().unwrap();
    let part = parts.iter().find(|part| part["rule"] == rule);
    let number = |key: &str| part.map_or(0, |part| part[key].as_u64().unwrap());
    let counts = (number("refused"), number("warned"));
    let metrics = rig.sidecar.get("/metrics").unwrap();
    for (action, count) in [("reject", counts.0), ("warn", counts.1)] {
        let line = format!("outrigger_proxy_guard_total{{rule=\"{rule}\",action=\"{action}\"}} {count}\n");
        assert!(metrics.contains(&line), "no {line:?} in:\n{metrics}");
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn online_ddl_tools_are_refused_before_anything_exists() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    let mut conn = through(&rig, "app").await;
    for sql in [
        "SET NAMES utf8mb4",
        "SET autocommit = true",
        "select @@global.version, @@global.port",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    for sql in GH_OST {
        refused(&mut conn, "gh-ost", sql).await;
    }
    let mut conn = through(&rig, "app").await;
    for sql in PT_OSC_BEFORE {
        conn.query_drop(*sql).await.unwrap();
    }
    for sql in PT_OSC {
        refused(&mut conn, "pt-osc", sql).await;
    }
    assert_eq!(tables(&rig, "app").await, ["t"]);
    let triggers = "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'app'";
    let triggers: Option<u64> = rig.source_conn().await.query_first(triggers).await.unwrap();
    assert_eq!(triggers, Some(0));
    assert_eq!(
        counted(&mut rig, "gh-ost"),
        (u64::try_from(GH_OST.len()).unwrap(), 0)
    );
    assert_eq!(counted(&mut rig, "pt-osc"), (3, 0));
    let log = std::fs::read_to_string(rig.sidecar.log()).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("the guard refused a statement"));
    assert!(line.is_some_and(|line| line.contains("gh-ost")), "{log}");
    assert!(!log.contains("changelog") && !log.contains("4711"), "{log}");
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_the_binlog_is_sent_elsewhere() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    let output = rig
        .installation
        .command("mysqlbinlog")
        .args([
            "--no-defaults",
            "-h127.0.0.1",
            "-uapp",
            "-papp",
            "--read-from-remote-server",
        ])
        .args([
            "-P",
            &rig.proxy.to_string(),
            "--get-server-public-key",
            "binlog.000001",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("rule binlog-dump"),
        "{said}"
    );
    assert_eq!(counted(&mut rig, "binlog-dump"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_capture_is_refused() {
    let mut rig = Rig::with(TABLE).await;
    rig.start();
    let mut conn = through(&rig, "app").await;
    for (rule, sql) in [
        ("sql-log-bin", "SET sql_log_bin = 0"),
        (
            "sql-log-bin",
            "/*!40101 SET @a = 1, @@SESSION.sql_log_bin = OFF */",
        ),
        ("sql-log-bin", "SELECT 1; SET sql_log_bin = 0; SELECT 2"),
        ("sql-log-bin", "PREPARE s FROM 'SET sql_log_bin = 0'"),
        ("binlog-format", "SET PERSIST binlog_format = 'MIXED'"),
        ("binlog-row-image", "SET binlog_row_image = minimal"),
        ("binlog-row-metadata", "SET GLOBAL binlog_row_metadata = MINIMAL"),
        ("gtid-mode", "SET GLOBAL gtid_mode = ON_PERMISSIVE"),
        ("reset-binlogs", "RESET BINARY LOGS AND GTIDS"),
        (
            "unreplicated-engine",
            "CREATE TABLE m (id INT PRIMARY KEY) ENGINE = MEMORY",
        ),
    ] {
        refused(&mut conn, rule, sql).await;
    }
    let error = conn.prep("SET sql_log_bin = 0").await.unwrap_err();
    assert_refusal(&error, "sql-log-bin", "prepared");
    let kept: Option<(u8, String)> = conn
        .query_first("SELECT @@sql_log_bin, @@binlog_row_image")
        .await
        .unwrap();
    assert_eq!(kept, Some((1, "FULL".to_owned())));
    // A literal is no statement, and a table without a key is only warned of.
    conn.query_drop("SET @a = '; SET sql_log_bin = 0'").await.unwrap();
    conn.query_drop("CREATE TABLE keyless (v INT)").await.unwrap();
    assert_eq!(counted(&mut rig, "table-without-key"), (0, 1));
    assert_eq!(counted(&mut rig, "sql-log-bin"), (5, 0));

    // Files that capture needs stay; those it is through with may go.
    refused(&mut conn, "purge-binlogs", "PURGE BINARY LOGS TO 'binlog.999999'").await;
    rig.on_source("FLUSH BINARY LOGS").await;
    rig.settle().await;
    let until = Instant::now() + PATIENCE;
    let sql = "PURGE BINARY LOGS TO 'binlog.000002'";
    // The log says where it resumes once it has synced.
    while let Err(error) = conn.query_drop(sql).await {
        assert_refusal(&error, "purge-binlogs", sql);
        assert!(Instant::now() < until, "{error}");
    }
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_databases_are_left_alone() {
    let mut rig = Rig::with(TABLE).await;
    rig.on_source("CREATE DATABASE other;\nCREATE TABLE other.t (id INT PRIMARY KEY)")
        .await;
    rig.start();
    let mut conn = through(&rig, "other").await;
    conn.query_drop("show /* gh-ost */ grants for current_user()")
        .await
        .unwrap();
    conn.query_drop("create /* gh-ost */ table other._t_gho like other.t")
        .await
        .unwrap();
    conn.query_drop("CREATE TABLE m (id INT) ENGINE = MEMORY")
        .await
        .unwrap();
    // The default database is followed: a USE that fails changes nothing, one that succeeds does.
    conn.query_drop("USE nowhere").await.unwrap_err();
    conn.query_drop("CREATE TABLE `_t_new` LIKE t").await.unwrap();
    conn.query_drop("USE app").await.unwrap();
    refused(&mut conn, "spirit", "CREATE TABLE `_t_new` LIKE t").await;
    conn.query_drop("USE other").await.unwrap();
    conn.query_drop("DROP TABLE `_t_new`").await.unwrap();
    conn.query_drop("CREATE TABLE `_t_new` LIKE t").await.unwrap();
    assert_eq!(tables(&rig, "other").await, ["_t_gho", "_t_new", "m", "t"]);
    assert_eq!(tables(&rig, "app").await, ["t"]);
    assert_eq!(counted(&mut rig, "gh-ost"), (0, 0));
    assert_eq!(counted(&mut rig, "spirit"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_configured_by_rule() {
    let mut rig = Rig::new(&Plan {
        proxy: "[proxy.guard]\nrules = { gh-ost = \"allow\", spirit = \"warn\", shadow-name = \"reject\" }",
        ..Plan::default()
    })
    .await;
    rig.on_source(TABLE).await;
    rig.start();
    let mut conn = through(&rig, "app").await;
    conn.query_drop("show /* gh-ost */ grants for current_user()")
        .await
        .unwrap();
    conn.query_drop("CREATE TABLE _t_new LIKE t").await.unwrap();
    refused(
        &mut conn,
        "shadow-name",
        "CREATE TABLE _t_old (id INT PRIMARY KEY)",
    )
    .await;
    assert_eq!(counted(&mut rig, "gh-ost"), (0, 0));
    assert_eq!(counted(&mut rig, "spirit"), (0, 1));
    assert_eq!(counted(&mut rig, "shadow-name"), (1, 0));
    rig.settle().await;
    rig.assert_equal(&["app"]).await;
}
