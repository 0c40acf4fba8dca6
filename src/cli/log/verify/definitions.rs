//! The table definitions that a log holds, checked: each one whole, of the table that it is stored for, in order, and of an offset
//! that the log has reached. What their statements say is not looked at.

use outrigger_protocol::definition::TableDef;
use outrigger_storage::{Error, Info, Offset, Schema, SchemaVersion, View};

use super::Answer;

/// Checks every definition that the view shows.
pub(super) fn check(view: &View, info: &Info, answer: &mut Answer) -> anyhow::Result<()> {
    let mut check = Check::new(info.last);
    for version in view.schemas()? {
        match version {
            Ok(version) => {
                answer.definitions += 1;
                if let Err(what) = check.version(&version) {
                    let SchemaVersion {
                        database,
                        table,
                        offset,
                        ..
                    } = &version;
                    answer.damage(format!(
                        "the definition of {database}.{table} as of offset {offset}: {what}"
                    ));
                }
            }
            Err(Error::Corrupt { what, .. }) => answer.damage(what),
            Err(Error::Engine { source, .. }) => {
                answer.damage(format!("{source}; the definitions behind it were not checked"));
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

/// What the versions so far say about the next one. Pure.
struct Check {
    last: Offset,
    before: Option<(String, String, Offset)>,
}

impl Check {
    /// Of a log whose last whole transaction is `last`.
    fn new(last: Offset) -> Self {
        Self { last, before: None }
    }

    fn version(&mut self, version: &SchemaVersion) -> Result<(), String> {
        let place = (version.database.clone(), version.table.clone(), version.offset);
        let in_order = self.before.as_ref().is_none_or(|before| *before < place);
        self.before = Some(place);
        if !in_order {
            return Err("it stands before an earlier one".to_owned());
        }
        if version.offset > self.last {
            return Err(format!("the log ends at offset {}", self.last));
        }
        let found = match &version.schema {
            Schema::Exact(definition) => Some(definition),
            Schema::Late(Some(reading)) => reading.found.as_ref(),
            Schema::Absent | Schema::Late(None) => None,
        };
        match found.map(|definition| &definition.table) {
            Some(TableDef { database, table, .. })
                if !same(database, &version.database) || !same(table, &version.table) =>
            {
                Err(format!("it is the one of {database}.{table}"))
            }
            Some(definition) if definition.columns.is_empty() => Err("it has no column".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Servers that ignore the case of names may tell one in either.
fn same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::MultiProgress;
    use outrigger_storage::{Config, Definition, Log};
    use tempfile::tempdir;

    use super::*;

    fn version(table: &str, of: &str, offset: u64, create: String) -> SchemaVersion {
        let text = |text: &str| Some(text.to_owned());
        let column = vec![
            text("id"),
            text("int"),
            text("int"),
            None,
            None,
            None,
            text("YES"),
            text(""),
            text("0"),
        ];
        let definition = TableDef::from_answers("d", of, &[column], &[]).unwrap().unwrap();
        SchemaVersion {
            database: "d".to_owned(),
            table: table.to_owned(),
            offset: Offset(offset),
            schema: Schema::Exact(Arc::new(Definition {
                table: definition,
                create,
            })),
        }
    }

    fn told(check: &mut Check, version: &SchemaVersion) -> String {
        check.version(version).err().unwrap_or_default()
    }

    #[test]
    fn each_is_of_its_table_in_order_and_within_the_log() {
        let mut check = Check::new(Offset(9));
        let mut tell = |table, of, offset| told(&mut check, &version(table, of, offset, String::new()));
        assert_eq!(tell("a", "a", 0), "");
        assert_eq!(tell("a", "A", 9), "");
        assert_eq!(tell("b", "b", 0), "");
        assert_eq!(tell("b", "b", 10), "the log ends at offset 9");
        assert_eq!(tell("c", "b", 1), "it is the one of d.b");
        assert_eq!(tell("c", "c", 1), "it stands before an earlier one");
        assert_eq!(tell("a", "a", 5), "it stands before an earlier one");
    }

    #[tokio::test]
    async fn a_flipped_byte_is_found() {
        let dir = tempdir().unwrap();
        let log = Log::open(Config::new(dir.path())).unwrap();
        let mut appender = log.appender().unwrap();
        let versions = (0..50).map(|n| {
            version(
                &format!("t{n:02}"),
                &format!("t{n:02}"),
                0,
                format!("statement {n:02}"),
            )
        });
        appender.put_schemas(versions.collect()).await.unwrap();
        appender.sync().await.unwrap();
        drop(appender);
        log.close().unwrap();
        // Opening it once more moves what is in the write-ahead log into tables.
        Log::open(Config::new(dir.path())).unwrap().close().unwrap();
        let verified =
            || super::super::check(&mut View::open(dir.path()).unwrap(), &MultiProgress::new()).unwrap();
        let answer = verified();
        assert_eq!((answer.definitions, answer.damages.as_slice()), (50, &[][..]));

        let files = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut flipped = 0;
        for file in files.filter(|path| path.extension().is_some_and(|kind| kind == "sst")) {
            let mut bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(9).position(|part| part == b"statement");
            if let Some(at) = found {
                bytes[at] ^= 1;
                std::fs::write(&file, bytes).unwrap();
                flipped += 1;
            }
        }
        assert_eq!(flipped, 1, "where definitions are");
        let answer = verified();
        assert_eq!(answer.damaged, 1, "{:?}", answer.damages);
        assert!(answer.damages[0].contains("definitions"), "{:?}", answer.damages);
        assert!(answer.definitions < 50);
    }
}
