//! Expressions that read a TIMESTAMP, in generated columns, functional indexes and CHECK constraints: what they make of it depends on the
//! time zone of the session that writes the row. Both sides write rows under one zone, UTC; where the source's sessions have another
//! one, the target would compute other values, or find duplicates where there are none.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_protocol::definition::{AnswerRow, Several};

use crate::error::{Error, Side};
use crate::link::Link;
use crate::literal::quote_name;
use crate::schema::ObjectKey;

/// ER_BAD_FIELD_ERROR and ER_UNKNOWN_TABLE: an older server has no such expressions.
const UNKNOWN: [u16; 2] = [1054, 1109];

/// The expressions that servers keep, and where: of tables `t`. The names of a table's constraints lead to their expressions, which is much
/// faster than the way that the server takes by itself.
const EXPRESSIONS: [(&str, &str); 3] = [
    (
        "t.generation_expression",
        "information_schema.columns t WHERE t.generation_expression <> ''",
    ),
    (
        "t.expression",
        "information_schema.statistics t WHERE t.expression IS NOT NULL",
    ),
    (
        "c.check_clause",
        "information_schema.table_constraints t STRAIGHT_JOIN information_schema.check_constraints c \
         ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name WHERE t.constraint_type = 'CHECK'",
    ),
];

/// The TIMESTAMP columns that expressions of their tables read.
async fn read_by_expressions(
    conn: &mut Link,
    side: Side,
    of: &str,
) -> Result<BTreeMap<ObjectKey, BTreeSet<String>>, Error> {
    let doing = "reading its tables' expressions";
    let query = format!(
        "SELECT CAST(t.table_schema AS CHAR), CAST(t.table_name AS CHAR), CAST(t.column_name AS CHAR) \
         FROM information_schema.columns t WHERE t.data_type = 'timestamp' AND {of}"
    );
    let rows: Vec<(String, String, String)> = conn
        .query(query)
        .await
        .map_err(|cause| Error::server(side, doing, cause))?;
    let mut columns: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    for (database, table, column) in rows {
        let key = ObjectKey::table(database, table);
        columns.entry(key).or_default().push(column);
    }
    let mut found: BTreeMap<ObjectKey, BTreeSet<String>> = BTreeMap::new();
    if columns.is_empty() {
        return Ok(found);
    }
    for (expression, place) in EXPRESSIONS {
        let query = format!(
            "SELECT CAST(t.table_schema AS CHAR), CAST(t.table_name AS CHAR), CAST({expression} AS CHAR) FROM {place} AND {of}"
        );
        let rows: Vec<(String, String, String)> = match conn.query(query).await {
            Ok(rows) => rows,
            Err(mysql_async::Error::Server(error)) if UNKNOWN.contains(&error.code) => continue,
            Err(cause) => return Err(Error::server(side, doing, cause)),
        };
        for (database, table, expression) in rows {
            let key = ObjectKey::table(database, table);
            let read =
                { columns.get(&key).into_iter().flatten() }.filter(|column| reads(&expression, column));
            let read: Vec<String> = read.cloned().collect();
            if !read.is_empty() {
                found.entry(key).or_default().extend(read);
            }
        }
    }
    Ok(found)
}

/// Whether an expression reads the column. Servers print names in backticks.
fn reads(expression: &str, column: &str) -> bool {
    expression
        .to_lowercase()
        .contains(&quote_name(column).to_lowercase())
}

/// True for a zone whose clocks show UTC.
pub(crate) fn is_utc(zone: &str) -> bool {
    ["+00:00", "-00:00", "UTC", "Etc/UTC"]
        .iter()
        .any(|utc| zone.eq_ignore_ascii_case(utc))
}

/// The zones of a server whose sessions don't say what theirs is.
#[derive(Debug, Clone)]
pub(crate) struct Zones {
    global: String,
    /// What it calls `SYSTEM`.
    system: String,
}

impl Zones {
    /// Those of the source.
    pub(crate) async fn of_source(conn: &mut Link) -> Result<Self, Error> {
        let zones: Option<(String, String)> = conn
            .query_first("SELECT @@global.time_zone, @@global.system_time_zone")
            .await
            .map_err(|cause| Error::server(Side::Source, "reading its time zone", cause))?;
        let (global, system) = zones.unwrap_or_default();
        Ok(Self { global, system })
    }

    /// That of sessions that set none.
    pub(crate) fn global(&self) -> &str {
        &self.global
    }

    /// What a session's zone is; `None`: it is as the server's.
    pub(crate) fn resolve<'a>(&'a self, session: Option<&'a str>) -> &'a str {
        match session.unwrap_or(&self.global) {
            system if system.eq_ignore_ascii_case("SYSTEM") => &self.system,
            zone => zone,
        }
    }
}

/// Refuses to copy tables whose rows the target would compute otherwise.
///
/// # Errors
/// When one of them is wanted; the sentence names them all.
pub(crate) async fn refuse_on_source(
    conn: &mut Link,
    wanted: impl Fn(&ObjectKey) -> bool,
) -> Result<(), Error> {
    let zones = Zones::of_source(conn).await?;
    let zone = zones.resolve(None);
    if is_utc(zone) {
        return Ok(());
    }
    const SYSTEM: &str = "t.table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')";
    let found = read_by_expressions(conn, Side::Source, SYSTEM).await?;
    let names: Vec<String> = found
        .iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, columns)| format!("{} ({})", key.quoted(), listed(columns)))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Unsuitable {
        side: Side::Source,
        what: format!(
            "expressions of selected tables read TIMESTAMP columns: {}. In the source's time zone, {zone}, they have other values than in \
             UTC, in which rows are written to the target. {REMEDY}",
            names.join(", ")
        ),
    })
}

/// What helps.
const REMEDY: &str = "Have the expressions read DATETIME columns, have the source's sessions use time_zone = '+00:00', or leave the table out \
                      (`exclude`)";

/// The TIMESTAMP columns that expressions of each of these tables on the target read, for messages; `None`: none does. `stamps` are those
/// that they have.
pub(crate) async fn read_on_target(
    conn: &mut Link,
    tables: Several<'_>,
    stamps: &[&[&str]],
) -> Result<Vec<Option<String>>, Error> {
    let (number, these) = (
        tables.number("t.table_name"),
        tables.condition("t.table_schema", "t.table_name"),
    );
    let questions = EXPRESSIONS.map(|(expression, place)| {
        format!("SELECT {number}, CAST({expression} AS CHAR) FROM {place} AND {these}")
    });
    let is_unknown = |error: &mysql_async::Error| matches!(error, mysql_async::Error::Server(error) if UNKNOWN.contains(&error.code));
    let fail = |cause| Error::server(Side::Target, "reading its tables' expressions", cause);
    let answers = match conn.ask(&questions).await {
        Ok(answers) => answers.concat(),
        Err(error) if is_unknown(&error) => {
            let mut answers = Vec::new();
            for question in questions {
                match conn.ask(&[question]).await {
                    Ok(answer) => answers.extend(answer.concat()),
                    Err(error) if is_unknown(&error) => {}
                    Err(cause) => return Err(fail(cause)),
                }
            }
            answers
        }
        Err(cause) => return Err(fail(cause)),
    };
    let expressions = tables.sort(answers);
    let read = |(expressions, stamps): (&Vec<AnswerRow>, &&[&str])| {
        let read: BTreeSet<String> = { stamps.iter() }
            .filter(|stamp| {
                let mut texts = expressions.iter().flatten().flatten();
                texts.any(|expression| reads(expression, stamp))
            })
            .map(ToString::to_string)
            .collect();
        (!read.is_empty()).then(|| listed(&read))
    };
    Ok(expressions.iter().zip(stamps).map(read).collect())
}

/// Why rows that were written under a zone can't be written to such a table.
pub(crate) fn why_not(columns: &str, zone: &str) -> String {
    format!(
        "the source wrote rows in time zone {zone}, and expressions of this table read a TIMESTAMP ({columns}): rows are written to the \
         target in UTC, where they have other values. {REMEDY}"
    )
}

fn listed(columns: &BTreeSet<String>) -> String {
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_zone() {
        for (expression, depends) in [
            ("cast(`ts` as date)", true),
            ("hour(`TS`)", true),
            ("cast(`tsx` as date)", false),
            ("concat(`name`,'ts')", false),
        ] {
            assert_eq!(reads(expression, "ts"), depends, "{expression}");
        }
        assert!(reads("year(`a``b`)", "a`b"));
        let zones = Zones {
            global: "SYSTEM".to_owned(),
            system: "CET".to_owned(),
        };
        assert_eq!(
            (zones.resolve(None), zones.resolve(Some("+01:00"))),
            ("CET", "+01:00")
        );
        assert!(is_utc("utc") && is_utc("+00:00"));
        assert!(!is_utc("SYSTEM") && !is_utc("+09:00") && !is_utc("GMT"));
    }
}
