//! Texts that mean different things in different character sets and modes, and where it is not known which holds.

use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::sql::SqlMode;

use super::{caught, in_database, judge, policy, rule_of, strict};
use crate::guard::Session;

#[test]
fn the_sessions_mode_decides_where_a_string_ends() {
    let sql = br"INSERT INTO t VALUES ('\'); SET sql_log_bin=0; -- ')";
    let judged = |mode| rule_of(&judge(&strict(), &mut Session::default(), sql, mode));
    assert_eq!(judged(SqlMode::empty()), "");
    assert_eq!(judged(SqlMode::NO_BACKSLASH_ESCAPES), "sql-log-bin");
    // ANSI_QUOTES is not told by replies: a string where a name belongs is taken for one.
    assert_eq!(caught("CREATE TABLE \"app\".\"_t_gho\" LIKE \"t\""), "gh-ost");
}

/// What comes after a statement that may set the mode is read in each that matters.
#[test]
fn a_mode_that_a_text_sets_holds_for_what_comes_after_it() {
    let judged = |sql: &str| {
        rule_of(&judge(
            &strict(),
            &mut in_database("app"),
            sql.as_bytes(),
            SqlMode::empty(),
        ))
    };
    let (backslash, name) = (
        r"SELECT '\'; SET sql_log_bin=0; -- '",
        r#"SELECT "\"; SET sql_log_bin=0; -- ""#,
    );
    for setting in [
        "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'",
        "SET a = 1, @@session.SQL_MODE := CONCAT(@@sql_mode, ',ANSI,NO_BACKSLASH_ESCAPES')",
        "PREPARE s FROM 'SET sql_mode=\"ANSI_QUOTES\"'; EXECUTE s",
        "EXECUTE s",
    ] {
        for hiding in [backslash, name] {
            assert_eq!(
                judged(&format!("{setting}; {hiding}")),
                "sql-log-bin",
                "{setting} {hiding}"
            );
            // What comes before it is not read so, and does not lead what comes after astray.
            assert_eq!(judged(&format!("{hiding}; {setting}")), "", "{setting} {hiding}");
            let between = format!(r"SELECT '\''; {setting}; {hiding}");
            assert_eq!(judged(&between), "sql-log-bin", "{between}");
        }
    }
    // A warning on the way does not end the search.
    let policy = policy(&[]);
    let warned = format!("CREATE TABLE a (id INT); SET sql_mode=''; {backslash}");
    let verdict = judge(
        &policy,
        &mut in_database("app"),
        warned.as_bytes(),
        SqlMode::empty(),
    );
    assert_eq!(rule_of(&verdict), "sql-log-bin");
    let harmless = r#"SET sql_mode=''; SELECT 'it\'s', "SET binlog_format = 1"; SET binlog_format = `ROW`"#;
    assert_eq!(judged(harmless), "");
}

/// A body to MySQL 9, names to those before.
#[test]
fn what_dollar_signs_quote_is_read_too() {
    for (sql, rule) in [
        ("SELECT $a$; SET sql_log_bin=0; SELECT $a$", "sql-log-bin"),
        (
            "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $js$ return '$js$; SET sql_log_bin=0; -- '",
            "sql-log-bin",
        ),
        (
            "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ let a = 'it'; return a.length; $$; SELECT f()",
            "",
        ),
        (
            "SELECT a->'$.b', '; SET sql_log_bin=0;', a->'$.c', '$$'; SELECT 2",
            "",
        ),
    ] {
        assert_eq!(caught(sql), rule, "{sql}");
    }
}

/// The last byte of a character may be a backslash to whoever reads bytes: then a string ends sooner, or later.
#[test]
fn strings_end_where_the_sessions_character_set_has_them_end() {
    let hidden = b"SELECT '\x95\x5c'; RESET MASTER; -- '";
    let shown = b"SELECT '\x95\x5c', '; RESET MASTER; -- '";
    // A quote is no character's second byte.
    let never = b"SELECT '\xbf'; RESET MASTER; -- '";
    let judged = |charset, sql: &[u8]| {
        let mut session = in_database("app");
        session.speaks(charset);
        rule_of(&judge(&strict(), &mut session, sql, SqlMode::empty()))
    };
    for charset in ["gbk", "sjis", "cp932", "gb18030"] {
        assert_eq!(judged(charset, hidden), "reset-binlogs", "{charset}");
        assert_eq!(judged(charset, shown), "", "{charset}");
    }
    for charset in ["utf8mb4", "latin1", "big5"] {
        assert_eq!(judged(charset, hidden), "", "{charset}");
        assert_eq!(judged(charset, shown), "reset-binlogs", "{charset}");
    }
    for charset in ["utf8mb4", "gbk", "sjis", "gb18030", "big5", "euckr", ""] {
        assert_eq!(judged(charset, never), "reset-binlogs", "{charset}");
    }
    // In doubt each way counts; also where a text changes it on the way.
    for sql in [&hidden[..], shown] {
        assert_eq!(judged("", sql), "reset-binlogs");
        for set in ["SET NAMES gbk; ", "SET a = 1, character_set_client = @b; "] {
            let sql = [set.as_bytes(), sql].concat();
            assert_eq!(judged("utf8mb4", &sql), "reset-binlogs", "{set}");
        }
    }
    let harmless = "SELECT 'größe', '日本' ; SELECT 'RESET MASTER'";
    assert_eq!(judged("", harmless.as_bytes()), "");
}

/// What is a letter in one character set is a space in another.
#[test]
fn spaces_are_those_of_the_sessions_character_set() {
    let judged = |charset, sql: &[u8]| {
        let mut session = in_database("app");
        session.speaks(charset);
        rule_of(&judge(&strict(), &mut session, sql, SqlMode::empty()))
    };
    let (early, late) = (b"SET\xa0sql_log_bin=0", b"SET\xffsql_log_bin=0");
    for (charset, by_early, by_late) in [
        ("latin1", "sql-log-bin", ""),
        ("greek", "sql-log-bin", ""),
        ("cp852", "", "sql-log-bin"),
        ("cp1251", "", ""),
        ("", "sql-log-bin", "sql-log-bin"),
    ] {
        assert_eq!(
            (judged(charset, early), judged(charset, late)),
            (by_early, by_late),
            "{charset}"
        );
    }
    let among = b"SELECT 'caf\xe9'; \xa0PREPARE s FROM 'SET\xa0sql_log_bin\xa0=\xa00'";
    assert_eq!(judged("latin1", among), "sql-log-bin");
    // A comment begins behind a space of any kind; a name keeps it.
    assert_eq!(
        judged("latin1", b"SELECT 1 --\xa0'\n; SET sql_log_bin=0; -- '"),
        "sql-log-bin"
    );
    assert_eq!(
        judged("latin1", b"CREATE TABLE `t\xa0gho` (id INT PRIMARY KEY)"),
        ""
    );
    assert_eq!(judged("utf8mb4", early), "");
    assert_eq!(judged("", "SELECT 'à la carte', 'ÿ'; SELECT 2".as_bytes()), "");
}

/// Names of variables and engines are compared without accents, case and spaces at their end.
#[test]
fn accents_are_no_disguise() {
    for (sql, rule) in [
        ("SET sql_lög_bin=0", "sql-log-bin"),
        ("SET @@session.`SQL_LOG_BÍN`=0", "sql-log-bin"),
        ("SET ſql_log_bın=0", "sql-log-bin"),
        ("SET `sql_log_bin `=0", "sql-log-bin"),
        ("SET GLOBAL binlög_row_image=MINIMAL", "binlog-row-image"),
        ("SET sql_log_bin='ÖFF'", "sql-log-bin"),
        (
            "SET sql_möde='NO_BACKSLASH_ESCAPES'; SELECT '\\'; SET sql_log_bin=0; -- '",
            "sql-log-bin",
        ),
        ("SET sql_lög=0, sql_log_binö=0, gtid_purgéd_x=1", ""),
        (
            "CREATE TABLE a (id INT PRIMARY KEY) ENGINE=MyÍSAM",
            "unreplicated-engine",
        ),
        ("ALTER TABLE a ENGINE 'hÉap '", "unreplicated-engine"),
        ("ALTER TABLE a ENGINE=`ÏnnoDB`", ""),
        // As it is read without escapes, or with them.
        ("ALTER TABLE a ENGINE='My\\ISAM'", "unreplicated-engine"),
    ] {
        assert_eq!(caught(sql), rule, "{sql}");
    }
    let judged = |charset, sql: &[u8]| {
        let mut session = in_database("app");
        session.speaks(charset);
        rule_of(&judge(&strict(), &mut session, sql, SqlMode::empty()))
    };
    assert_eq!(judged("latin1", b"SET sql_l\xf6g_bin=0"), "sql-log-bin");
    assert_eq!(
        judged("latin1", b"ALTER TABLE a ENGINE='MyIS\xc1M'"),
        "unreplicated-engine"
    );
    // One letter of two bytes.
    assert_eq!(judged("gbk", b"SET sql_log_b\xa8\xaan=0"), "sql-log-bin");
}

#[test]
fn version_comments_are_read_as_the_source_reads_them() {
    let judged = |version, sql: &str| {
        let mut session = Session::of(b"", version);
        rule_of(&judge(&strict(), &mut session, sql.as_bytes(), SqlMode::empty()))
    };
    for (version, sql, rule) in [
        (Some(90_704), "/*!90704 SET sql_log_bin=0 */", "sql-log-bin"),
        (Some(90_704), "/*!90705 SET sql_log_bin=0 */", ""),
        (
            Some(90_704),
            "/*!90800 ' */ SET sql_log_bin=0 -- '",
            "sql-log-bin",
        ),
        (
            Some(80_036),
            "/*!80037 ' */ SET sql_log_bin=0 -- '",
            "sql-log-bin",
        ),
        (Some(80_036), "/*!80036 SET x = ' */ SET sql_log_bin=0 -- '", ""),
        (Some(90_704), "/*!090704 SET sql_log_bin=0 */", "sql-log-bin"),
        (
            Some(90_704),
            "/*!100000 ' */ SET sql_log_bin=0 -- '",
            "sql-log-bin",
        ),
        (Some(100_000), "/*!100000 SET sql_log_bin=0 */", "sql-log-bin"),
        (None, "/*!90704 SET sql_log_bin=0 */", "sql-log-bin"),
    ] {
        assert_eq!(judged(version, sql), rule, "{version:?} {sql}");
    }
    // Another account does not make it another source.
    let mut session = Session::of(b"", Some(90_704));
    session.restarted(b"\x11app\0\0\0", Capabilities::SECURE_CONNECTION);
    let hidden = b"/*!90800 ' */ SET sql_log_bin=0 -- '";
    assert_eq!(
        rule_of(&judge(&strict(), &mut session, hidden, SqlMode::empty())),
        "sql-log-bin"
    );
}
