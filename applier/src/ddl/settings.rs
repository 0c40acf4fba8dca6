//! The session settings of an event as SQL (A5).

use std::fmt::Write as _;

use outrigger_protocol::binlog::SessionVars;

use crate::literal::quote_text;

/// Bits of `sql_mode` that servers of 8.0 and later still take. The others (`NO_AUTO_CREATE_USER` of 5.7, `ORACLE`, …)
/// change nothing about the statements that are applied here, and are refused as values.
const SQL_MODES: u64 = 0x1_ef_fc_00_ff;

/// What a session of 5.7 takes `CHARACTER SET utf8mb4` to mean: `utf8mb4_general_ci`.
const UTF8MB4_GENERAL_CI: u16 = 45;

/// One `SET` statement for everything that the event carries and a definition statement can depend on; to be sent after
/// `USE`, in a new session. A table for which the source's text names no engine has the one that is copied and replayed.
pub(super) fn set_statement(settings: &SessionVars, timestamp: u32) -> String {
    let mut sql = format!(
        "SET sql_mode = {}, default_storage_engine = InnoDB",
        settings.sql_mode.unwrap_or(0) & SQL_MODES
    );
    // Writing into a String can't fail.
    let mut add = |name: &str, value: String| {
        write!(sql, ", {name} = {value}").ok();
    };
    let bit = |value: bool| u8::from(value).to_string();
    add(
        "foreign_key_checks",
        bit(settings.foreign_key_checks.unwrap_or(true)),
    );
    add("unique_checks", bit(settings.unique_checks.unwrap_or(true)));
    add("sql_auto_is_null", bit(settings.auto_is_null.unwrap_or(false)));
    let (increment, offset) = settings.auto_increment.unwrap_or((1, 1));
    add("auto_increment_increment", increment.max(1).to_string());
    add("auto_increment_offset", offset.max(1).to_string());
    if let Some((client, connection, server)) = settings.charsets {
        add("character_set_client", client.to_string());
        add("collation_connection", connection.to_string());
        add("collation_server", server.to_string());
    }
    if let Some(collation) = settings.charset_database {
        add("collation_database", collation.to_string());
    }
    add(
        "default_collation_for_utf8mb4",
        settings
            .default_collation_for_utf8mb4
            .unwrap_or(UTF8MB4_GENERAL_CI)
            .to_string(),
    );
    if let Some(explicit) = settings.explicit_defaults_for_timestamp {
        add("explicit_defaults_for_timestamp", bit(explicit));
    }
    add("lc_time_names", settings.lc_time_names.unwrap_or(0).to_string());
    // Not carried: the statement did not depend on it.
    add(
        "time_zone",
        quote_text(settings.time_zone.as_deref().unwrap_or("+00:00")),
    );
    add(
        "timestamp",
        format!("{timestamp}.{:06}", settings.microseconds.unwrap_or(0)),
    );
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_carried_is_set() {
        let settings = SessionVars {
            foreign_key_checks: Some(false),
            unique_checks: Some(false),
            auto_is_null: Some(true),
            sql_mode: Some(1_168_113_696 | 0x1000_0000),
            auto_increment: Some((2, 1)),
            charsets: Some((8, 47, 255)),
            time_zone: Some("Europe/Zurich".to_owned()),
            charset_database: Some(8),
            lc_time_names: Some(4),
            microseconds: Some(5),
            explicit_defaults_for_timestamp: Some(false),
            default_collation_for_utf8mb4: Some(255),
            ..SessionVars::default()
        };
        assert_eq!(
            set_statement(&settings, 1_700_000_000),
            "SET sql_mode = 1168113696, default_storage_engine = InnoDB, foreign_key_checks = 0, unique_checks = 0, sql_auto_is_null = 1, \
             auto_increment_increment = 2, auto_increment_offset = 1, character_set_client = 8, collation_connection = 47, \
             collation_server = 255, collation_database = 8, default_collation_for_utf8mb4 = 255, \
             explicit_defaults_for_timestamp = 0, lc_time_names = 4, time_zone = 'Europe/Zurich', \
             timestamp = 1700000000.000005"
        );
    }

    #[test]
    fn an_old_source_means_general_ci() {
        let sql = set_statement(&SessionVars::default(), 7);
        assert!(sql.contains("default_collation_for_utf8mb4 = 45"), "{sql}");
        assert!(
            sql.ends_with("time_zone = '+00:00', timestamp = 7.000000"),
            "{sql}"
        );
    }
}
