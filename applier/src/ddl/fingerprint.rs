//! What a statement is about to change, as one value that differs once it has been changed (A6).
//!
//! Existence and `SHOW CREATE` of each object tell almost every statement's effect; what leaves no trace there (`TRUNCATE`,
//! `ENGINE = InnoDB`, …) gives the same when it runs twice. Three kinds neither leave one nor bear running twice: exchanging a
//! partition with a table, renaming tables in a circle, and giving a column the name that another one has had. For the second
//! the tables' times of creation (kept by a rename) count too, and where those can't tell, as for the others, `CHECKSUM TABLE`: if even the
//! rows are the same, swapping them once more is no change.
//!
//! A table's counter does not count: rows that are rolled back move it, and so does a crash of the server. A statement that sets it
//! may run twice.

use std::collections::BTreeSet;

use mysql_async::{Row, Value};
use outrigger_protocol::sql::ddl::{ObjectKind, Role};
use sha2::{Digest, Sha256};

use crate::link::Link;
use crate::literal::{quote_name, quote_text};

use super::columns::Columns;
use super::read::{Change, Named};

/// Errors that say that an object isn't there, or (1356) that a view's tables are not.
const ABSENT: [u16; 5] = [1049, 1146, 1305, 1356, 3676];

/// The fingerprint of the objects of `change` as they are on the target, in hexadecimal.
pub(super) async fn fingerprint(conn: &mut Link, change: &Change) -> Result<String, mysql_async::Error> {
    let mut hash = Sha256::new();
    for named in &change.objects {
        let definition = definition(conn, named).await?;
        add(&mut hash, named.to_string().as_bytes());
        add(&mut hash, &definition);
    }
    let circle = circle(&change.objects);
    let mut same_time = false;
    let mut times = BTreeSet::new();
    for named in &circle {
        let time = created(conn, named).await?;
        add(&mut hash, &time);
        same_time |= !times.insert(time);
    }
    let exchanged = change
        .objects
        .iter()
        .filter(|named| named.role == Role::Exchanged);
    let circle = circle.into_iter().filter(|_| same_time);
    let altered = change
        .objects
        .first()
        .filter(|_| Columns::of(change).passes_names_on());
    for named in exchanged.chain(circle).chain(altered) {
        let checksum: Option<Row> = conn.query_first(format!("CHECKSUM TABLE {named}")).await?;
        add(&mut hash, &text(checksum));
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Each part with its length, so that parts can't run into each other.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update(part.len().to_string());
    hash.update(b":");
    hash.update(part);
}

/// `SHOW CREATE`, or the number of the error that says why there is none.
async fn definition(conn: &mut Link, named: &Named) -> Result<Vec<u8>, mysql_async::Error> {
    let word = match named.kind {
        ObjectKind::Database => "DATABASE",
        ObjectKind::Procedure => "PROCEDURE",
        ObjectKind::Function => "FUNCTION",
        ObjectKind::Library => "LIBRARY",
        ObjectKind::Trigger => "TRIGGER",
        ObjectKind::Event => "EVENT",
        ObjectKind::Table | ObjectKind::View | ObjectKind::Index => "TABLE",
    };
    match conn
        .query_first::<Row>(format!("SHOW CREATE {word} {named}"))
        .await
    {
        Ok(row) if word == "TABLE" => Ok(without_counter(&text(row))),
        Ok(row) => Ok(text(row)),
        Err(mysql_async::Error::Server(error)) if ABSENT.contains(&error.code) => {
            Ok(error.code.to_string().into_bytes())
        }
        Err(cause) => Err(cause),
    }
}

/// A definition without ` AUTO_INCREMENT=N`, wherever that stands: a comment that tells itself apart by such a number alone is
/// set twice, which changes nothing.
fn without_counter(definition: &[u8]) -> Vec<u8> {
    const COUNTER: &[u8] = b" AUTO_INCREMENT=";
    let mut out = Vec::with_capacity(definition.len());
    let mut rest = definition;
    while let Some((first, behind)) = rest.split_first() {
        if let Some(value) = rest.strip_prefix(COUNTER) {
            let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest = &value[digits..];
        } else {
            out.push(*first);
            rest = behind;
        }
    }
    out
}

async fn created(conn: &mut Link, named: &Named) -> Result<Vec<u8>, mysql_async::Error> {
    let query = format!(
        "SELECT create_time FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        quote_text(&named.database),
        quote_text(&named.name)
    );
    Ok(text(conn.query_first(query).await?))
}

/// A row's values, one after the other.
fn text(row: Option<Row>) -> Vec<u8> {
    let mut out = Vec::new();
    for value in row.into_iter().flat_map(Row::unwrap_raw).flatten() {
        match value {
            Value::Bytes(bytes) => out.extend_from_slice(&bytes),
            other => out.extend_from_slice(other.as_sql(true).as_bytes()),
        }
        out.push(0);
    }
    out
}

/// The tables that are renamed such that every name is taken again afterwards; empty if any name is lost or gained.
fn circle(objects: &[Named]) -> Vec<&Named> {
    let is_rename = |named: &&Named| named.kind == ObjectKind::Table;
    let key = |named: &Named| quote_name(&named.database) + &quote_name(&named.name);
    let mut before: BTreeSet<String> = BTreeSet::new();
    let mut now: BTreeSet<String> = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for named in objects.iter().filter(is_rename) {
        let name = key(named);
        let first = seen.insert(name.clone());
        match named.role {
            Role::Subject => {
                if first {
                    before.insert(name.clone());
                }
                now.remove(&name);
            }
            Role::NewName => {
                now.insert(name);
            }
            Role::Exchanged | Role::Read => {}
        }
    }
    if before != now {
        return Vec::new();
    }
    let mut taken = BTreeSet::new();
    objects
        .iter()
        .filter(|named| before.contains(&key(named)) && taken.insert(key(named)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::event;
    use super::*;

    fn circle_of(sql: &str) -> String {
        let change = Change::read(&event("s", sql.as_bytes()), 0, false);
        circle(&change.objects)
            .iter()
            .map(|named| named.name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_counter_is_no_part_of_a_definition() {
        let with = |counter: &str| {
            let text = format!(
                "CREATE TABLE `t` (\n  `id` int AUTO_INCREMENT\n) ENGINE=InnoDB{counter} COMMENT='é'"
            );
            without_counter(text.as_bytes())
        };
        assert_eq!(with(" AUTO_INCREMENT=4"), with(""));
        assert_eq!(
            with(" AUTO_INCREMENT=4"),
            with(" AUTO_INCREMENT=18446744073709551615")
        );
        assert!(with("").ends_with("ENGINE=InnoDB COMMENT='é'".as_bytes()));
        assert_eq!(without_counter(b" AUTO_INCREMENT="), b"");
    }

    #[test]
    fn only_swaps_are_circles() {
        assert_eq!(circle_of("RENAME TABLE a TO t, b TO a, t TO b"), "a b");
        assert_eq!(circle_of("RENAME TABLE t TO _t_del, _t_gho TO t"), "");
        assert_eq!(circle_of("RENAME TABLE a TO b"), "");
        assert_eq!(circle_of("ALTER TABLE a RENAME TO b"), "");
        assert_eq!(circle_of("ALTER TABLE a ADD b INT"), "");
        assert_eq!(circle_of("DROP TABLE a, b"), "");
    }
}
