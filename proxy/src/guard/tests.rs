//! What each rule catches and what near misses it lets pass, a statement a line; then what must hold for any text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::{Capabilities, HandshakeResponse};
use outrigger_protocol::sql::SqlMode;
use proptest::prelude::*;

use super::*;

mod doubt;

/// `app` is selected, of `part` the table `chosen`; capture has read up to the file 7.
struct Selected;

impl Watched for Selected {
    fn table(&self, database: &str, table: &str) -> bool {
        database == "app" || (database == "part" && table == "chosen")
    }

    fn database(&self, database: &str) -> bool {
        database == "app" || database == "part"
    }

    fn may_purge(&self, before: Option<&str>) -> bool {
        before.is_some_and(|file| file <= "binlog.000007")
    }
}

fn policy(rules: &[(&str, Action)]) -> Policy {
    let rules = rules.iter().map(|(name, action)| ((*name).to_owned(), *action));
    let config = Config {
        rules: rules.collect(),
    };
    Policy::new(&config, Arc::new(Selected))
}

/// Every rule refuses, so that each test sees what was caught.
fn strict() -> Policy {
    policy(&RULES.map(|description| (description.name, Action::Reject)))
}

fn in_database(name: &str) -> Session {
    let mut session = Session::default();
    session.asks_for(name.as_bytes(), true);
    session.sent(1);
    session.answered(1, false);
    session
}

fn command(payload: &[u8], sql_mode: SqlMode) -> Command<'_> {
    Command {
        kind: payload.first().copied().and_then(CommandByte::from_byte),
        payload,
        size: payload.len(),
        more: false,
        capabilities: Capabilities::PROTOCOL_41,
        sql_mode: Some(sql_mode),
    }
}

fn judge(policy: &Policy, session: &mut Session, sql: &[u8], mode: SqlMode) -> Verdict {
    policy.judge(&command(&[b"\x03", sql].concat(), mode), session)
}

/// The name of the rule that refuses.
fn rule_of(verdict: &Verdict) -> &'static str {
    let Verdict::Refuse(error) = verdict else {
        assert_eq!(*verdict, Verdict::Pass);
        return "";
    };
    assert_eq!((error.code, error.sqlstate), (1235, Some(*b"42000")));
    let text = error.text();
    assert!(text.len() <= 500, "{text}");
    let found = RULES
        .iter()
        .find(|description| text.contains(&format!("rule {}: ", description.name)))
        .unwrap();
    assert!(text.contains(found.instead), "{text}");
    found.name
}

pub(super) fn caught(sql: &str) -> &'static str {
    rule_of(&judge(
        &strict(),
        &mut in_database("app"),
        sql.as_bytes(),
        SqlMode::empty(),
    ))
}

/// Statements in the database `app`, and the rule that catches each.
const CASES: &[(&str, &str)] = &[
    ("gh-ost", "show /* gh-ost */ grants for current_user()"),
    ("gh-ost", "select /* gh-ost */ get_lock('gh-ost::app.t', 0)"),
    ("gh-ost", "drop /* gh-ost */ table if exists `app`.`_t_gho`"),
    ("gh-ost", "create table app._t_gho like t"),
    (
        "pt-osc",
        "CREATE TABLE `app`.`_t_new` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB",
    ),
    (
        "pt-osc",
        "INSERT LOW_PRIORITY IGNORE INTO `app`.`_t_new` (id) SELECT id FROM `app`.`t` LOCK IN SHARE MODE /*pt-online-schema-change 4 copy table*/",
    ),
    (
        "pt-osc",
        "CREATE TRIGGER `pt_osc_app_t_del` AFTER DELETE ON `app`.`t` FOR EACH ROW DELETE IGNORE FROM `app`.`_t_new` WHERE 1",
    ),
    ("spirit", "CREATE TABLE `app`.`_t_new` LIKE `app`.`t`"),
    (
        "lhm",
        "CREATE TABLE `lhmn_t` (\n  `id` int NOT NULL,\n  PRIMARY KEY (`id`)\n)",
    ),
    (
        "lhm",
        "create trigger `lhmt_ins_t` after insert on `t` for each row replace into lhmn_t values (1)",
    ),
    ("lhm", "DROP TRIGGER x /* large hadron migration (4.2) */"),
    (
        "facebook-osc",
        "CREATE TABLE `__osc_new_t` (\n  `id` int PRIMARY KEY\n)",
    ),
    (
        "facebook-osc",
        "CREATE TABLE __osc_chg_t (_osc_ID_ INT AUTO_INCREMENT, PRIMARY KEY (_osc_ID_))",
    ),
    (
        "facebook-osc",
        "CREATE TRIGGER `__osc_upd_t` AFTER UPDATE ON `t` FOR EACH ROW SET @a = 1",
    ),
    (
        "vitess",
        "create table `_vt_vrp_6ace8bcef73211ea87e9f875a4d24e90_20200915120410_` (id int primary key)",
    ),
    ("vitess", "create table _vt_hold like t"),
    ("dms", "CREATE TABLE tp_12_ogt_t LIKE t"),
    ("shadow-name", "CREATE TABLE _t_new (id INT PRIMARY KEY)"),
    (
        "shadow-name",
        "CREATE TABLE `_t_new` (\n  `id` int PRIMARY KEY\n)",
    ),
    ("shadow-name", "CREATE TABLE _t_gho LIKE other"),
    (
        "shadow-name",
        "CREATE TRIGGER lhmt_ins_t AFTER INSERT ON other FOR EACH ROW SET @a = 1",
    ),
    ("", "CREATE TABLE t_new LIKE t"),
    ("", "CREATE TABLE other._t_gho LIKE other.t"),
    ("", "CREATE TEMPORARY TABLE _t_new LIKE t"),
    ("", "SELECT '/* gh-ost */'"),
    ("", "SELECT 1 /* like gh-ost, but not */ # gh-ost"),
    ("", "SELECT get_lock('gh-ost::app.t', 0)"),
    ("sql-log-bin", "SET sql_log_bin=0"),
    ("sql-log-bin", "SET @@SESSION.sql_log_bin = 0"),
    ("sql-log-bin", "SET SESSION sql_log_bin = OFF"),
    ("sql-log-bin", "SET @@`sql_log_bin` := 'off'"),
    ("sql-log-bin", "SET x=1, LOCAL sql_log_bin=FALSE"),
    ("sql-log-bin", "SET sql_log_bin = 1 - 1"),
    ("sql-log-bin", "SET sql_log_bin = @before"),
    ("sql-log-bin", "SET @a = (SELECT 1, 2), sql_log_bin = 0"),
    ("sql-log-bin", "/*!50000 SET sql_log_bin=0 */"),
    ("sql-log-bin", "SELECT 1; SELECT ';'; set sql_log_bin=0;"),
    ("sql-log-bin", "PREPARE s FROM 'SET sql_log_bin=\\'OFF\\''"),
    (
        "sql-log-bin",
        "CREATE PROCEDURE p() BEGIN IF 1 THEN SET @a=1; END IF; END; SET sql_log_bin=0",
    ),
    ("", "SET sql_log_bin=1"),
    ("", "SET SESSION sql_log_bin = ON, @@sql_log_bin = DEFAULT"),
    ("", "SET @a = 'SET sql_log_bin=0'"),
    ("", "SET @sql_log_bin = 0"),
    ("", "SET @a = 'x', @b = \"; SET sql_log_bin=0\""),
    ("", "SELECT @@sql_log_bin = 0"),
    ("", "SET @fmt = CONCAT_WS(',', @@version, @@binlog_format)"),
    (
        "",
        "SET @fmt = (SELECT CONCAT(1, @@gtid_mode)), @b = ((2), @@gtid_purged)",
    ),
    ("", "/*!100100 SET sql_log_bin=0 */"),
    ("", "CREATE PROCEDURE p() SET sql_log_bin=0"),
    (
        "",
        "CREATE DEFINER=`a`@`b` PROCEDURE p() BEGIN CASE 1 WHEN 1 THEN SET sql_log_bin=0; END CASE; SET sql_log_bin=0; END",
    ),
    (
        "",
        "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW IF NEW.a THEN SET NEW.a=1; SET sql_log_bin=0; END IF",
    ),
    ("", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET sql_log_bin=0"),
    ("binlog-format", "SET GLOBAL binlog_format = 'STATEMENT'"),
    ("binlog-format", "SET PERSIST binlog_format = mixed"),
    ("binlog-format", "SET SESSION binlog_format=1"),
    ("", "SET binlog_format = ROW"),
    ("", "SET @@session.binlog_format = 'row'"),
    ("binlog-row-image", "SET PERSIST_ONLY binlog_row_image = NOBLOB"),
    ("", "SET SESSION binlog_row_image = 'full'"),
    ("binlog-row-metadata", "SET GLOBAL binlog_row_metadata = MINIMAL"),
    ("binlog-row-metadata", "SET GLOBAL binlog_row_metadata = DEFAULT"),
    ("", "SET GLOBAL binlog_row_metadata = FULL"),
    (
        "binlog-row-value-options",
        "SET binlog_row_value_options = PARTIAL_JSON",
    ),
    ("", "SET binlog_row_value_options = ''"),
    ("gtid-mode", "SET GLOBAL gtid_mode = ON_PERMISSIVE"),
    ("", "SET GLOBAL gtid_mode = ON"),
    (
        "gtid-purged",
        "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '6ace8bce-f732-11ea-87e9-f875a4d24e90:1-5'",
    ),
    ("", "SET gtid_next = AUTOMATIC"),
    ("reset-binlogs", "RESET MASTER"),
    ("reset-binlogs", "RESET BINARY LOGS AND GTIDS TO 5"),
    ("reset-binlogs", "RESET REPLICA, MASTER"),
    ("", "RESET REPLICA ALL"),
    ("", "RESET PERSIST binlog_format"),
    ("purge-binlogs", "PURGE BINARY LOGS TO 'binlog.000008'"),
    ("purge-binlogs", "PURGE MASTER LOGS BEFORE NOW()"),
    ("", "PURGE BINARY LOGS TO 'binlog.000007'"),
    ("disable-binlog", "ALTER INSTANCE DISABLE INNODB BINLOG"),
    ("", "ALTER INSTANCE ROTATE BINLOG MASTER KEY"),
    ("", "ALTER INSTANCE DISABLE INNODB REDO_LOG"),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY) ENGINE = MEMORY",
    ),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY) COMMENT='x' engine 'federated'",
    ),
    (
        "unreplicated-engine",
        "ALTER TABLE app.a ADD b INT, ENGINE=blackhole",
    ),
    ("unreplicated-engine", "ALTER TABLE a ENGINE = MyISAM"),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY) ENGINE=`ARCHIVE` COMMENT 'x'",
    ),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY, b INT NOT NULL) engine csv",
    ),
    (
        "",
        "CREATE TABLE a (engine INT PRIMARY KEY COMMENT 'ENGINE=MEMORY') ENGINE=InnoDB",
    ),
    // What is called engine is none, and hides none.
    (
        "unreplicated-engine",
        "ALTER TABLE a ENGINE=MyISAM, DROP COLUMN engine",
    ),
    (
        "unreplicated-engine",
        "ALTER TABLE a ENGINE=MyISAM, ADD KEY (b), ALTER engine SET DEFAULT 'x'",
    ),
    (
        "unreplicated-engine",
        "ALTER TABLE a ENGINE=MyISAM, RENAME COLUMN engine TO b",
    ),
    (
        "unreplicated-engine",
        "ALTER TABLE a COMMENT 'x' ENGINE MyISAM, ORDER BY b, engine DESC",
    ),
    (
        "unreplicated-engine",
        "ALTER TABLE a ADD b INT, ADD (engine INT), TABLESPACE engine ENGINE=MyISAM",
    ),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY, engine INT) ENGINE=MyISAM AS SELECT 1 AS id, engine FROM b",
    ),
    (
        "unreplicated-engine",
        "CREATE TABLE a ENGINE=MyISAM (SELECT engine FROM b)",
    ),
    (
        "unreplicated-engine",
        "CREATE TABLE a (id INT PRIMARY KEY) TABLESPACE engine ENGINE=MyISAM",
    ),
    (
        "",
        "ALTER TABLE a DROP COLUMN memory, CHANGE engine memory VARCHAR(10)",
    ),
    (
        "",
        "ALTER TABLE a RENAME COLUMN engine TO memory, ADD engine memory",
    ),
    (
        "",
        "ALTER TABLE a MODIFY COLUMN engine csv, DROP engine, ALTER COLUMN engine DROP DEFAULT",
    ),
    (
        "",
        "CREATE TABLE a (id INT PRIMARY KEY) SELECT engine memory, 1 AS id FROM b",
    ),
    (
        "",
        "CREATE TABLE a (id INT PRIMARY KEY) WITH c AS (SELECT 1) SELECT 2 AS id, engine csv FROM c",
    ),
    ("", "CREATE TABLE other.a (id INT) ENGINE=MEMORY"),
    ("", "CREATE TABLE part.a (id INT) ENGINE=MEMORY"),
    ("", "CREATE TEMPORARY TABLE a (id INT) ENGINE=MEMORY"),
    ("table-without-key", "CREATE TABLE a (id INT)"),
    (
        "table-without-key",
        "CREATE TABLE IF NOT EXISTS part.chosen (id INT, KEY (id), INDEX i (id))",
    ),
    (
        "table-without-key",
        "CREATE TABLE a (id INT, CONSTRAINT c FOREIGN KEY (id) REFERENCES b (id))",
    ),
    ("table-without-key", "CREATE TABLE a AS SELECT 1 AS id"),
    ("table-without-key", "ALTER TABLE a DROP PRIMARY KEY"),
    ("", "CREATE TABLE a (id INT KEY)"),
    ("", "CREATE TABLE a (id SERIAL)"),
    ("", "CREATE TABLE a (id INT, UNIQUE KEY u (id))"),
    (
        "",
        "CREATE TABLE a (id INT NOT NULL, PRIMARY KEY (id)) PARTITION BY KEY (id)",
    ),
    ("", "CREATE TABLE a LIKE b"),
    ("", "CREATE TABLE a (LIKE b)"),
    ("", "ALTER TABLE a DROP PRIMARY KEY, ADD PRIMARY KEY (b)"),
    ("", "ALTER TABLE other.a DROP PRIMARY KEY"),
    ("prepared-variable", "PREPARE s FROM @sql"),
    ("", "PREPARE s FROM 'SELECT ''SET sql_log_bin=0'''"),
    ("table-without-key", "USE app; CREATE TABLE a (id INT)"),
    ("", "USE `other`; CREATE TABLE a (id INT)"),
    ("", "CREATE VIEW _t_new AS SELECT 1"),
    ("", "CREATE INDEX i ON t (a)"),
    ("", ""),
    ("", ";;"),
    (
        "",
        "INSERT INTO t VALUES ('; SET sql_log_bin=0; -- /* gh-ost */')",
    ),
];

#[test]
fn rules_catch_what_they_are_for_and_nothing_near() {
    for (rule, sql) in CASES {
        assert_eq!(caught(sql), *rule, "{sql}");
    }
    for description in &RULES {
        let seen = CASES.iter().any(|(rule, _)| *rule == description.name);
        assert!(seen || description.name == "binlog-dump", "{}", description.name);
    }
}

#[test]
fn the_page_for_users_has_every_rule() {
    let page = include_str!("../../../docs/guard.md");
    for description in &RULES {
        let row = format!(
            "| `{}` | {} | {} | {} |",
            description.name,
            description.catches,
            description.action.name(),
            description.instead
        );
        assert!(page.lines().any(|line| line == row), "docs/guard.md lacks\n{row}");
    }
}

#[test]
fn what_is_prepared_is_judged_like_what_is_run() {
    let verdict = strict().judge(
        &command(b"\x16SET SESSION sql_log_bin = 0", SqlMode::empty()),
        &mut Session::default(),
    );
    assert_eq!(rule_of(&verdict), "sql-log-bin");
}

#[test]
fn commands_are_judged_too() {
    for (payload, rule) in [
        (&b"\x12\0\0\0\0"[..], "binlog-dump"),
        (b"\x1e\0\0", "binlog-dump"),
        (b"\x07\x80", "reset-binlogs"),
        (b"\x07\x02", ""),
        (b"\x15\0\0", ""),
        (b"\x0e", ""),
        (b"", ""),
    ] {
        let verdict = strict().judge(&command(payload, SqlMode::empty()), &mut Session::default());
        assert_eq!(rule_of(&verdict), rule, "{payload:?}");
    }
}

#[test]
fn the_default_database_decides_about_plain_names() {
    let create = b"CREATE TABLE a (id INT)";
    let judged = |session: &mut Session| rule_of(&judge(&strict(), session, create, SqlMode::empty()));
    assert_eq!(judged(&mut in_database("app")), "table-without-key");
    assert_eq!(judged(&mut in_database("other")), "");
    // What is not known may be selected.
    assert_eq!(judged(&mut Session::default()), "table-without-key");
    let gh_ost = |session: &mut Session| {
        rule_of(&judge(
            &strict(),
            session,
            b"show /* gh-ost */ grants",
            SqlMode::empty(),
        ))
    };
    assert_eq!(gh_ost(&mut in_database("other")), "");
    assert_eq!(gh_ost(&mut in_database("part")), "gh-ost");
    // COM_INIT_DB and USE, as their replies tell.
    let (policy, mut session) = (strict(), in_database("app"));
    policy.judge(&command(b"\x02other", SqlMode::empty()), &mut session);
    session.sent(5);
    session.answered(5, false);
    assert_eq!(judged(&mut session), "");
    judge(&policy, &mut session, b"use `app`", SqlMode::empty());
    session.sent(6);
    session.answered(6, true);
    assert_eq!(judged(&mut session), "");
    judge(&policy, &mut session, b"/* x */ use `app` -- y", SqlMode::empty());
    session.sent(7);
    session.answered(7, false);
    assert_eq!(judged(&mut session), "table-without-key");
}

/// What is not UTF-8 may name anything; only names that are known can be known not to be selected.
#[test]
fn a_name_in_another_character_set_may_be_a_selected_one() {
    let judged = |session: &mut Session, sql: &[u8]| {
        session.speaks("latin1");
        rule_of(&judge(&strict(), session, sql, SqlMode::empty()))
    };
    let (like, gh_ost) = (&b"CREATE TABLE _t_gho LIKE t"[..], &b"SELECT /* gh-ost */ 1"[..]);
    let by_handshake = |charset, name: &[u8]| {
        let response = HandshakeResponse {
            capabilities: Capabilities::PROTOCOL_41,
            max_packet_size: 1,
            collation: charset,
            user: b"app",
            auth_response: b"",
            database: Some(name),
            auth_plugin: None,
            attributes: Vec::new(),
            zstd_level: None,
        };
        Session::of(&response.encode(), None)
    };
    // The second is UTF-8 by chance.
    for name in [&b"b\xfccher"[..], b"b\xc3\xbccher"] {
        assert_eq!(judged(&mut by_handshake(8, name), like), "gh-ost");
        assert_eq!(judged(&mut by_handshake(8, name), gh_ost), "gh-ost");
        let (policy, mut session) = (strict(), in_database("other"));
        session.speaks("latin1");
        policy.judge(
            &command(&[b"\x02", name].concat(), SqlMode::empty()),
            &mut session,
        );
        session.sent(2);
        session.answered(2, false);
        assert_eq!(judged(&mut session, like), "gh-ost");
        let used = [b"USE ", name, b"; ", like].concat();
        assert_eq!(judged(&mut in_database("other"), &used), "gh-ost");
        let qualified = [b"CREATE TABLE `", name, b"`._t_gho LIKE t"].concat();
        assert_eq!(judged(&mut in_database("other"), &qualified), "gh-ost");
        // Of a database that is known, the table may be any.
        let table = |database: &str| {
            let sql = [format!("CREATE TABLE {database}.").as_bytes(), name, b" (id INT)"].concat();
            judged(&mut in_database("other"), &sql)
        };
        assert_eq!(table("part"), "table-without-key");
        assert_eq!(table("other"), "");
    }
    let other = by_handshake(45, "bücher".as_bytes());
    assert_eq!(
        rule_of(&judge(&strict(), &mut { other }, like, SqlMode::empty())),
        ""
    );
}

#[test]
fn two_signs_may_stand_in_two_statements() {
    let (policy, mut session) = (policy(&[]), in_database("app"));
    let mut judged = |sql: &[u8]| rule_of(&judge(&policy, &mut session, sql, SqlMode::empty()));
    assert_eq!(judged(b"CREATE TABLE tp_7_ogt_t (id INT PRIMARY KEY)"), "");
    assert_eq!(judged(b"CREATE TABLE tp_7_ogt_t (id INT PRIMARY KEY)"), "");
    assert_eq!(judged(b"CREATE TABLE tp_7_ogl_t (id INT PRIMARY KEY)"), "dms");
    let percona = b"SET @@SQL_QUOTE_SHOW_CREATE = 1/*!40101, @@SQL_MODE='NO_AUTO_VALUE_ON_ZERO'*/";
    assert_eq!(judged(b"CREATE TABLE _t_new (id INT PRIMARY KEY)"), "");
    assert_eq!(judged(percona), "");
    assert_eq!(judged(b"CREATE TABLE _t_new (id INT PRIMARY KEY)"), "pt-osc");
    let hits = policy.hits();
    let of = |rule| {
        hits.iter()
            .find(|hits| hits.rule == rule)
            .map(|hits| (hits.refused, hits.warned))
    };
    assert_eq!(of(Rule::Dms), Some((1, 0)));
    assert_eq!(of(Rule::ShadowName), Some((0, 3)));
    assert_eq!(of(Rule::SqlLogBin), None);
}

/// An application's own tables may be named as a tool would, too.
#[test]
fn signs_for_different_tables_are_not_two() {
    for pair in [
        ["_a_new", "_b_new"],
        ["_a_del", "_b_del"],
        ["tp_7_ogt_a", "tp_7_ogl_b"],
        ["_vt_a", "_vt_b"],
    ] {
        let (policy, mut session) = (policy(&[]), in_database("app"));
        for name in pair {
            let sql = format!("CREATE TABLE {name} (id INT PRIMARY KEY)");
            let verdict = judge(&policy, &mut session, sql.as_bytes(), SqlMode::empty());
            assert_eq!(rule_of(&verdict), "", "{name}");
        }
        assert_eq!(policy.hits().len(), 1, "{pair:?}");
    }
}

/// Counts what is said in the log.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_command_counts_once_by_rule_and_a_flood_is_not_told_line_by_line() {
    let (policy, lines) = (policy(&[]), Lines::default());
    let text: String = (0..100)
        .map(|n| format!("CREATE TABLE a{n} (id INT); CREATE TABLE _b{n}_new (id INT);"))
        .collect();
    let judged = |sql: &str| {
        rule_of(&judge(
            &policy,
            &mut in_database("app"),
            sql.as_bytes(),
            SqlMode::empty(),
        ))
    };
    tracing::subscriber::with_default(lines.clone(), || {
        assert_eq!(judged(&text), "");
        let told = |hits: &Hits| (hits.rule, hits.warned);
        let hits: Vec<_> = policy.hits().iter().map(told).collect();
        assert_eq!(hits, [(Rule::ShadowName, 1), (Rule::TableWithoutKey, 1)]);
        assert_eq!(lines.0.load(Ordering::Relaxed), 2);
        // However much is warned of before it.
        for _ in 0..50 {
            assert_eq!(judged(&format!("{text} RESET MASTER")), "reset-binlogs");
        }
    });
    assert_eq!(lines.0.load(Ordering::Relaxed), 3);
    let refused = policy.hits().iter().map(|hits| hits.refused).sum::<u64>();
    assert_eq!(refused, 50);
}

#[test]
fn a_tool_that_says_who_it_is_may_name_its_table_anyhow() {
    let response = HandshakeResponse {
        capabilities: Capabilities::PROTOCOL_41,
        max_packet_size: 1,
        collation: 45,
        user: b"app",
        auth_response: b"",
        database: Some(b"app"),
        auth_plugin: None,
        attributes: vec![(b"program_name", b"pt-online-schema-change")],
        zstd_level: None,
    };
    let (policy, mut session) = (policy(&[]), Session::of(&response.encode(), None));
    let mut judged = |sql: &[u8]| rule_of(&judge(&policy, &mut session, sql, SqlMode::empty()));
    assert_eq!(
        judged(b"CREATE TABLE `app`.`fresh` (`id` int, PRIMARY KEY (`id`))"),
        "pt-osc"
    );
    assert_eq!(judged(b"CREATE TABLE fresh LIKE t"), "pt-osc");
    assert_eq!(
        judged(b"CREATE TABLE part._chosen_new (id INT PRIMARY KEY)"),
        "pt-osc"
    );
    for elsewhere in ["other.fresh", "other._t_new", "part.fresh"] {
        assert_eq!(
            judged(format!("CREATE TABLE {elsewhere} (id INT PRIMARY KEY)").as_bytes()),
            ""
        );
    }
}

#[test]
fn actions_can_be_overridden() {
    let policy = policy(&[
        ("sql-log-bin", Action::Warn),
        ("table-without-key", Action::Reject),
        ("gtid-mode", Action::Allow),
    ]);
    let judged = |sql: &[u8]| rule_of(&judge(&policy, &mut in_database("app"), sql, SqlMode::empty()));
    assert_eq!(judged(b"SET sql_log_bin=0"), "");
    assert_eq!(
        judged(b"SET sql_log_bin=0; CREATE TABLE a (id INT)"),
        "table-without-key"
    );
    assert_eq!(judged(b"SET GLOBAL gtid_mode = OFF"), "");
    assert_eq!(judged(b"SET binlog_format = MIXED"), "binlog-format");
    let hits = policy.hits();
    assert_eq!(hits.len(), 3);
    assert_eq!(
        (hits[0].rule, hits[0].refused, hits[0].warned),
        (Rule::SqlLogBin, 0, 2)
    );
}

#[test]
fn bulk_is_not_held_back() {
    let large = [b"\x03INSERT INTO t VALUES (".as_slice(), &[b'1'; 9000]].concat();
    let judged = |payload: &[u8], size| {
        let command = Command {
            size,
            more: true,
            ..command(payload, SqlMode::empty())
        };
        strict().judge(&command, &mut Session::default())
    };
    assert_eq!(judged(&large, 1 << 20), Verdict::Pass);
    assert_eq!(judged(&large[..200], 1 << 20), Verdict::More);
    assert_eq!(judged(&large, 20_000), Verdict::More);
    assert_eq!(judged(b"\x03CREATE TABLE a (", 1 << 20), Verdict::More);
    // What is cut is not said to lack a key.
    let cut = Command {
        size: 1 << 20,
        ..command(b"\x03CREATE TABLE a (id INT", SqlMode::empty())
    };
    assert_eq!(strict().judge(&cut, &mut in_database("app")), Verdict::Pass);
}

/// What may stand between two tokens without meaning.
fn filling() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        " ",
        "\n",
        "\t ",
        " /* a ; b */ ",
        " # it's\n",
        " -- \"x\n",
        "/**/ ",
        " /*+ x */ ",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_judged(sql in prop::collection::vec(any::<u8>(), 0..300), kind in 0..40u8, bits: u32, mode: u64, more: bool, size: usize) {
        let payload = [&[kind], sql.as_slice()].concat();
        let command = Command {
            capabilities: Capabilities::from_bits_retain(bits), more, size, ..command(&payload, SqlMode::from_bits_retain(mode))
        };
        strict().judge(&command, &mut Session::default());
    }

    #[test]
    fn cases_cut_and_joined_are_judged(first in 0..CASES.len(), second in 0..CASES.len(), cut in 0..200_usize) {
        let joined = format!("{} {}", CASES[first].1, CASES[second].1);
        let bytes = &joined.as_bytes()[..joined.len().saturating_sub(cut)];
        judge(&strict(), &mut Session::default(), bytes, SqlMode::empty());
    }

    /// Case, spaces and comments change nothing about settings and names.
    #[test]
    fn a_disguise_changes_nothing(case in 0..CASES.len(), fillings in prop::collection::vec(filling(), 40), upper: bool) {
        let (rule, sql) = CASES[case];
        // Where comments, strings or the form of the text are the sign, words can't be replaced blindly.
        prop_assume!(!sql.contains(['\'', '"', '\n', '#']) && !sql.contains("/*"));
        let mut disguised = fillings[0].clone();
        for (word, filling) in sql.split(' ').zip(fillings.iter().skip(1).cycle()) {
            disguised.push_str(&if upper { word.to_uppercase() } else { word.to_owned() });
            disguised.push_str(filling);
        }
        // Names of databases are compared as written.
        let disguised = disguised.replace("APP", "app").replace("PART.", "part.").replace("CHOSEN", "chosen").replace("OTHER", "other");
        prop_assert_eq!(caught(&disguised), rule, "{}", disguised);
    }

    /// Whatever a literal holds.
    #[test]
    fn literals_never_trip(case in 0..CASES.len(), noise in "[ -~]{0,40}", quote in prop::sample::select(vec!['\'', '"'])) {
        let inner = format!("{noise}{}{noise}", CASES[case].1).replace('\\', "\\\\").replace(quote, &format!("{quote}{quote}"));
        for sql in [
            format!("INSERT INTO t VALUES ({quote}{inner}{quote}, 1)"),
            format!("SET @a = {quote}{inner}{quote}, @b = 2"),
            format!("SELECT {quote}{inner}{quote}; SELECT 2"),
        ] {
            prop_assert_eq!(caught(&sql), "", "{}", sql);
        }
    }
}
