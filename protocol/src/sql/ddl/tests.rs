//! Statements and what is read from them: `cases` holds one a line, then what can't be said in a line, then properties.

use proptest::prelude::*;

use super::{Kind, Object, Role, classify, trim_start_transaction};
use crate::sql::SqlMode;

mod cases;

/// `Kind: objects ~ reads`, with `>` before a new name and `=` before an exchanged table.
fn summary(sql: &str, mode: SqlMode) -> String {
    let statement = classify(sql.as_bytes(), mode);
    let object = |object: &Object| {
        let mark = match object.role {
            Role::Subject | Role::Read => "",
            Role::NewName => ">",
            Role::Exchanged => "=",
        };
        let schema = object
            .schema
            .as_ref()
            .map(|schema| format!("{schema}."))
            .unwrap_or_default();
        format!(" {mark}{schema}{}", object.name)
    };
    let mut text = match statement.kind {
        Kind::Ddl(verb, kind) => format!("{verb:?}{kind:?}"),
        kind => format!("{kind:?}"),
    };
    text.extend(statement.objects.iter().map(object));
    if !statement.reads.is_empty() {
        text.push_str(" ~");
        text.extend(statement.reads.iter().map(object));
    }
    if statement.makes_rows {
        text.push_str(" +rows");
    }
    if statement.definer.is_some() {
        text.push_str(" @");
    }
    text
}

#[test]
fn statements_are_read() {
    for (sql, expected) in cases::CASES {
        assert_eq!(summary(sql, SqlMode::empty()), *expected, "{sql}");
        // Comments and spaces anywhere before the verb change nothing.
        assert_eq!(
            summary(&format!(" /* x */ # y\n-- z\n{sql}"), SqlMode::empty()),
            *expected,
            "{sql}"
        );
    }
    assert!(cases::CASES.len() > 200, "{}", cases::CASES.len());
}

#[test]
fn sql_mode_decides_what_a_double_quote_is() {
    let sql = r#"DROP TABLE "a b"."c""d""#;
    assert_eq!(summary(sql, SqlMode::ANSI_QUOTES), r#"DropTable a b.c"d"#);
    assert_eq!(summary(sql, SqlMode::empty()), "Unknown");
    // One string of a backslash and another, or one string and a reference.
    let sql = r"CREATE TABLE t (a INT COMMENT '\', b INT COMMENT ' REFERENCES x ( \')";
    assert_eq!(summary(sql, SqlMode::NO_BACKSLASH_ESCAPES), "CreateTable t");
    assert_eq!(summary(sql, SqlMode::empty()), "Unknown t ~ x");
}

#[test]
fn a_name_that_is_not_utf8_is_not_known() {
    let statement = classify(b"DROP TABLE good, `b\xe9`", SqlMode::empty());
    assert_eq!(statement.kind, Kind::Unknown);
    assert!(statement.reason.unwrap().contains("UTF-8"));
    assert_eq!(
        classify(b"ALTER TABLE t COMMENT '\xe9'", SqlMode::empty())
            .objects
            .len(),
        1
    );
}

#[test]
fn spans_point_at_names_and_definers() {
    let sql = "CREATE OR REPLACE DEFINER = `u s`@'%' SQL SECURITY INVOKER VIEW `a` . b AS SELECT 1";
    let statement = classify(sql.as_bytes(), SqlMode::empty());
    assert_eq!(&sql[statement.definer.unwrap()], "DEFINER = `u s`@'%'");
    assert_eq!(&sql[statement.objects[0].span.clone()], "`a` . b");
    for account in [
        "root@localhost",
        "root@10.0.0.1",
        "CURRENT_USER",
        "CURRENT_USER()",
        "'u'",
        "`u`@`h`",
    ] {
        let sql = format!("CREATE DEFINER={account} PROCEDURE p() SELECT 1");
        let statement = classify(sql.as_bytes(), SqlMode::empty());
        assert_eq!(&sql[statement.definer.unwrap()], format!("DEFINER={account}"));
        assert_eq!(statement.objects[0].name, "p");
    }
}

#[test]
fn row_format_create_select_loses_its_tail() {
    let trim = |sql: &str| {
        trim_start_transaction(sql.as_bytes(), SqlMode::empty()).map(|text| String::from_utf8(text).unwrap())
    };
    // As MySQL 9.7 writes them.
    assert_eq!(
        trim("CREATE TABLE `b` (\n  `id` int NOT NULL\n) START TRANSACTION").unwrap(),
        "CREATE TABLE `b` (\n  `id` int NOT NULL\n)"
    );
    assert_eq!(
        trim(
            "CREATE TABLE `b2` (\n  `id` int NOT NULL\n) START TRANSACTION ENGINE=InnoDB COMMENT='START TRANSACTION'\n\
             /*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 2 */"
        )
        .unwrap(),
        "CREATE TABLE `b2` (\n  `id` int NOT NULL\n) ENGINE=InnoDB COMMENT='START TRANSACTION'\n\
         /*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 2 */"
    );
    assert_eq!(trim("CREATE TABLE t (a INT) COMMENT='START TRANSACTION'"), None);
    assert_eq!(trim("START TRANSACTION"), None);
}

/// Words and signs of definition statements, in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop::sample::select(
        "CREATE ALTER DROP RENAME TRUNCATE WITH XA SET TABLE TABLES VIEW INDEX DATABASE PROCEDURE FUNCTION TRIGGER EVENT TEMPORARY \
         OR REPLACE IF NOT EXISTS DEFINER = @ CURRENT_USER LIKE SELECT REFERENCES RENAME TO EXCHANGE PARTITION ON USING , . ( ) ; \
         `a` b 'c' 1e3 /* */ /*!50100 START TRANSACTION ` ' \" \\ é DO ALGORITHM SQL SECURITY UNIQUE COLUMN"
            .split_ascii_whitespace()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(fragment, 0..25).prop_map(|parts| parts.join(" ").into_bytes())
}

fn check(sql: &[u8], mode: SqlMode) {
    let statement = classify(sql, mode);
    assert_eq!(statement.kind == Kind::Unknown, statement.reason.is_some());
    for object in statement.objects.iter().chain(&statement.reads) {
        assert!(sql.get(object.span.clone()).is_some());
    }
    assert!(statement.definer.is_none_or(|span| sql.get(span).is_some()));
    if let Some(trimmed) = trim_start_transaction(sql, mode) {
        assert!(trimmed.len() < sql.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_classified(sql in prop::collection::vec(any::<u8>(), 0..200), bits: u64) {
        check(&sql, SqlMode::from_bits_retain(bits));
    }

    #[test]
    fn any_words_are_classified(sql in fragments(), bits: u64) {
        check(&sql, SqlMode::from_bits_retain(bits));
    }

    #[test]
    fn any_name_is_read(schema in "[^\0]{1,12}", name in "[^\0]{1,12}") {
        let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
        let sql = format!("RENAME TABLE {}.{} TO x.y", quote(&schema), quote(&name));
        let statement = classify(sql.as_bytes(), SqlMode::empty());
        prop_assert_eq!(statement.objects.len(), 2);
        prop_assert_eq!(statement.objects[0].schema.as_deref(), Some(schema.as_str()));
        prop_assert_eq!(&statement.objects[0].name, &name);
    }

    #[test]
    fn cases_cut_anywhere_are_classified(case in 0..cases::CASES.len(), cut in 0_usize..200) {
        let sql = cases::CASES[case].0.as_bytes();
        check(&sql[..cut.min(sql.len())], SqlMode::empty());
    }
}
