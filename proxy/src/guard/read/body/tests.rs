//! Behind every definition stands a statement that is refused, and the statements in it that would be are let pass.

use proptest::prelude::*;

use crate::guard::tests::caught;

/// Definitions that MySQL 9.7.4 takes, and then executes the statement behind them (in a database with the table `t`, of the columns `a` and `end`,
/// and its trigger `other_g`).
const DEFINITIONS: &[&str] = &[
    "PROCEDURE p() SELECT REPEAT('a', 3)",
    "PROCEDURE p() SELECT CASE WHEN 1 THEN 2 END",
    "PROCEDURE p() SELECT CASE WHEN 1 THEN CASE 2 WHEN 3 THEN 4 END ELSE 5 END, 6 AS end",
    "PROCEDURE p() SELECT 1 AS begin",
    "PROCEDURE p() SELECT IF(1, 2, 3), REPEAT ('x', 2), @begin, @end, @case",
    "PROCEDURE p() SELECT end, t.end, CASE end WHEN 1 THEN end ELSE t.end END FROM t",
    "PROCEDURE p() SET sql_log_bin = 0",
    "PROCEDURE p() BEGIN END",
    "PROCEDURE p() BEGIN SELECT 1 AS begin; SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN DECLARE end INT; SELECT end; SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN SELECT 1 FROM (SELECT 1 AS end) x; SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN SELECT CASE WHEN 1 THEN CASE WHEN 2 THEN 3 END END; SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN BEGIN SET sql_log_bin = 0; END; SET sql_log_bin = 0; END",
    "PROCEDURE p() l: BEGIN SET sql_log_bin = 0; LEAVE l; END l",
    "PROCEDURE p() data: BEGIN SET sql_log_bin = 0; END data",
    "PROCEDURE p() `a b`: BEGIN SET sql_log_bin = 0; END `a b`",
    "PROCEDURE p() IF 1 THEN SET sql_log_bin = 0; END IF",
    "PROCEDURE p() IF CASE WHEN 1 THEN 2 END THEN SET sql_log_bin = 0; ELSEIF IF(1, 2, 3) THEN SET @a = 1; ELSE SET sql_log_bin = 0; END IF",
    "PROCEDURE p() CASE 1 WHEN 1 THEN SET sql_log_bin = 0; WHEN 2 THEN SET @a = 1; ELSE SET sql_log_bin = 0; END CASE",
    "PROCEDURE p() CASE WHEN CASE 1 WHEN 2 THEN 3 END THEN BEGIN END; SET sql_log_bin = 0; END CASE",
    "PROCEDURE p() WHILE 0 DO SET sql_log_bin = 0; END WHILE",
    "PROCEDURE p(do INT) WHILE do > 1 DO SET do = do - 1; SET sql_log_bin = 0; END WHILE",
    "PROCEDURE p() l: LOOP SET sql_log_bin = 0; LEAVE l; END LOOP l",
    "PROCEDURE p() REPEAT SET sql_log_bin = 0; UNTIL 1 END REPEAT",
    "PROCEDURE p(end INT) REPEAT SET sql_log_bin = 0; UNTIL end > CASE end WHEN 1 THEN 2 END END REPEAT",
    "PROCEDURE p() DO CASE WHEN 1 THEN 2 END",
    "PROCEDURE p(INOUT end INT, `begin` VARCHAR(10)) COMMENT 'BEGIN' LANGUAGE SQL NOT DETERMINISTIC READS SQL DATA SQL SECURITY INVOKER BEGIN SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN DECLARE a, b INT DEFAULT IF(1, 2, 3); DECLARE x CONDITION FOR SQLSTATE '42000'; DECLARE c CURSOR FOR SELECT 1; \
     DECLARE EXIT HANDLER FOR x, NOT FOUND, SQLSTATE VALUE '42001', 1234, SQLEXCEPTION BEGIN SET sql_log_bin = 0; END; \
     DECLARE CONTINUE HANDLER FOR SQLWARNING IF 1 THEN SET @a = 1; END IF; SET sql_log_bin = 0; END",
    "PROCEDURE p() BEGIN DROP TABLE IF EXISTS x; CREATE TEMPORARY TABLE IF NOT EXISTS x (a INT); SET sql_log_bin = 0; END",
    "FUNCTION f(x INT) RETURNS INT NO SQL RETURN CASE WHEN x THEN 2 ELSE 3 END",
    "FUNCTION f() RETURNS VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DETERMINISTIC RETURN REPEAT('a', 2)",
    "FUNCTION f() RETURNS CHAR CHARSET latin1 NO SQL BEGIN IF 1 THEN SET sql_log_bin = 0; END IF; RETURN 'a'; END",
    "FUNCTION f() RETURNS CHAR(3) CHAR SET utf8mb4 NO SQL BEGIN SET sql_log_bin = 0; RETURN 'a'; END",
    "FUNCTION f() RETURNS SET('begin', 'if') NO SQL BEGIN SET sql_log_bin = 0; RETURN 'if'; END",
    "FUNCTION f() RETURNS DOUBLE PRECISION UNSIGNED NO SQL RETURN IF(1, 2, 3)",
    "TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = CASE WHEN NEW.end IS NULL THEN 1 ELSE NEW.end END",
    "TRIGGER g BEFORE INSERT ON t FOR EACH ROW IF NEW.a IS NULL THEN SET NEW.a = 1; END IF",
    "TRIGGER g AFTER INSERT ON t FOR EACH ROW FOLLOWS other_g BEGIN SET @a = 1; END",
    "EVENT e ON SCHEDULE EVERY 1 YEAR DO DELETE FROM t WHERE a = REPEAT('a', 3)",
    "EVENT e ON SCHEDULE EVERY IF(1, 2, 3) YEAR STARTS CASE WHEN 1 THEN NOW() END + INTERVAL 1 DAY ON COMPLETION PRESERVE DISABLE COMMENT 'DO' DO SET sql_log_bin = 0",
    "EVENT e ON SCHEDULE EVERY 1 YEAR DO BEGIN SET sql_log_bin = 0; END",
    "EVENT IF NOT EXISTS `do` ON SCHEDULE EVERY 1 YEAR DO CASE WHEN 1 THEN SET sql_log_bin = 0; END CASE",
];

#[test]
fn what_stands_behind_a_definition_is_judged_and_what_stands_in_it_is_not() {
    for definition in DEFINITIONS {
        for text in [
            format!("CREATE {definition}"),
            format!("CREATE DEFINER=`a`@`b` {definition};"),
            format!("CREATE {definition} ; SELECT 1"),
        ] {
            assert_eq!(caught(&text), "", "{text}");
        }
        for text in [
            format!("CREATE {definition}; RESET MASTER"),
            format!("SELECT 1; CREATE {definition} ;SELECT 2; CREATE {definition};;RESET MASTER; SELECT 3"),
        ] {
            assert_eq!(caught(&text), "reset-binlogs", "{text}");
        }
    }
    for (sql, rule) in [
        ("ALTER EVENT e COMMENT 'x'; RESET MASTER", "reset-binlogs"),
        ("ALTER EVENT e RENAME TO app.begin; RESET MASTER", "reset-binlogs"),
        (
            "ALTER EVENT e DO BEGIN SET sql_log_bin = 0; END; RESET MASTER",
            "reset-binlogs",
        ),
        ("ALTER EVENT e DO BEGIN SET sql_log_bin = 0; END; SELECT 1", ""),
        (
            "CREATE FUNCTION f RETURNS STRING SONAME 'x'; RESET MASTER",
            "reset-binlogs",
        ),
        (
            "CREATE AGGREGATE FUNCTION IF NOT EXISTS f RETURNS REAL SONAME 'x'; RESET MASTER",
            "reset-binlogs",
        ),
        ("CREATE PROCEDURE p; RESET MASTER", "reset-binlogs"),
    ] {
        assert_eq!(caught(sql), rule, "{sql}");
    }
}

/// What is no body to us may be one to the source: nothing hides there.
#[test]
fn behind_a_body_that_does_not_fit_all_is_judged() {
    for body in [
        "BEGIN SELECT 1; END IF; END",
        "BEGIN IF 1 THEN SELECT 1",
        "IF 1 THEN SELECT 1; END LOOP",
        "BEGIN SELECT CASE 1 WHEN 2 THEN end",
        "BEGIN BEGIN ATOMIC SELECT 1; END",
        "FOR x IN (SELECT 1) DO BEGIN",
        "BEGIN (",
    ] {
        let text = format!("CREATE PROCEDURE p() {body}; RESET MASTER");
        assert_eq!(caught(&text), "reset-binlogs", "{text}");
    }
}

/// Values, some of which look like the end of something.
fn value() -> impl Strategy<Value = String> {
    let simple = prop::sample::select(vec![
        "1",
        "'; END; '",
        "end",
        "t.end",
        "@case",
        "NEW. end",
        "`begin`",
        "begin",
        "f(end)",
        "(1)",
    ])
    .prop_map(str::to_owned);
    simple.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("CASE WHEN {a} THEN {b} END")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("CASE {a} WHEN {b} THEN {c} ELSE {a} END")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("IF({a}, {b}, 1)")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("REPEAT({a}, 2) AND {b}")),
            inner.prop_map(|a| format!("NOT ({a} > end)")),
        ]
    })
}

/// A statement as it may stand in a body.
fn statement() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        Just("SET sql_log_bin = 0".to_owned()),
        Just("BEGIN END".to_owned()),
        Just("SELECT 1 AS begin FROM t".to_owned()),
        value().prop_map(|value| format!("SET a = {value}")),
        value().prop_map(|value| format!("SELECT {value} AS end")),
        value().prop_map(|value| format!("DECLARE a INT DEFAULT {value}")),
    ];
    simple.prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4).prop_map(|list| list.join("; ") + ";");
        prop_oneof![
            list.clone().prop_map(|list| format!("BEGIN {list} END")),
            list.clone().prop_map(|list| format!("x: BEGIN {list} END x")),
            (value(), list.clone()).prop_map(|(value, list)| format!("IF {value} THEN {list} END IF")),
            (value(), list.clone(), list.clone()).prop_map(|(value, a, b)| format!(
                "IF {value} THEN {a} ELSEIF ({value}) THEN {b} ELSE {a} END IF"
            )),
            (value(), list.clone(), list.clone()).prop_map(|(value, a, b)| format!(
                "CASE {value} WHEN {value} THEN {a} WHEN 2 THEN {b} END CASE"
            )),
            (value(), list.clone())
                .prop_map(|(value, a)| format!("CASE WHEN {value} THEN {a} ELSE {a} END CASE")),
            list.clone().prop_map(|list| format!("x: LOOP {list} END LOOP x")),
            (value(), list.clone()).prop_map(|(value, list)| format!("WHILE {value} DO {list} END WHILE")),
            (value(), list).prop_map(|(value, list)| format!("REPEAT {list} UNTIL {value} END REPEAT")),
            inner.prop_map(|inner| format!("DECLARE EXIT HANDLER FOR NOT FOUND, 1 {inner}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_body_ends_where_it_ends(body in statement(), upper: bool, head in prop::sample::select(vec![
        "PROCEDURE p()", "FUNCTION f() RETURNS INT", "TRIGGER g BEFORE INSERT ON t FOR EACH ROW", "EVENT e ON SCHEDULE EVERY 1 DAY DO",
    ])) {
        let body = if upper { body.to_uppercase() } else { body };
        let definition = format!("CREATE {head} {body}");
        prop_assert_eq!(caught(&definition), "", "{}", definition);
        let text = format!("{definition}; RESET MASTER");
        prop_assert_eq!(caught(&text), "reset-binlogs", "{}", text);
    }

    #[test]
    fn any_words_hide_nothing_but_in_a_body(words in prop::collection::vec(prop::sample::select(vec![
        "BEGIN", "END", "IF", "THEN", "ELSE", "CASE", "WHEN", "LOOP", "REPEAT", "UNTIL", "WHILE", "DO", "x", ":", "(", ")", ".", "1", "DECLARE",
        "EXIT", "HANDLER", "FOR", "SQLSTATE", "'a'", ",", "SET", "@",
    ]), 0..30)) {
        // Without a semicolon there is no statement behind the first that a body could hold.
        let text = format!("CREATE PROCEDURE p() {}; RESET MASTER", words.join(" "));
        prop_assert_eq!(caught(&text), "reset-binlogs", "{}", text);
    }
}
