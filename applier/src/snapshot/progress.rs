//! The copy's own tables in the metadata database: what was visited, at which offset, how far its rows are.
//!
//! `copy_progress` has one row per visited object, `copy_part` one per key range of a table that is copied in chunks. A
//! chunk's rows and its `copy_part` row commit in one transaction (A1, W3).

use std::collections::BTreeMap;

use outrigger_storage::Offset;

use crate::checkpoint::Metadata;
use crate::error::{Error, Side};
use crate::literal::quote_text;
use crate::schema::{ObjectKey, Space};
use crate::snapshot::SkipUntil;
use crate::snapshot::chunk::Chunk;
use crate::snapshot::key::Range;
use crate::target::Target;

/// `CREATE TABLE` statements for the copy's tables in the metadata database, `{}` standing for its quoted name.
pub(crate) const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS {}.copy_progress (\
       task VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'the task', \
       kind ENUM('database','table','procedure','function') NOT NULL COMMENT 'table: also a view', \
       database_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, \
       object_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'empty for a database', \
       state ENUM('seen','copying','done','absent') NOT NULL COMMENT 'seen: to be created and copied', \
       seen BIGINT UNSIGNED NOT NULL COMMENT 'definition changes up to this offset are in what was read', \
       kept BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'it was on the target before and was kept', \
       skip_until BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'row events up to this offset are in the copy', \
       whole BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'copied at one place: it is as the source was at skip_until', \
       PRIMARY KEY (task, kind, database_name, object_name)\
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4",
    "CREATE TABLE IF NOT EXISTS {}.copy_part (\
       task VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, \
       database_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, \
       table_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, \
       part INT UNSIGNED NOT NULL COMMENT 'key range', \
       low VARCHAR(40) NULL COMMENT 'lowest value of the key''s first column', \
       high VARCHAR(40) NULL COMMENT 'highest value of the key''s first column', \
       last_key LONGTEXT NULL COMMENT 'JSON array of SQL literals: the key of the last row copied', \
       row_count BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'rows copied', \
       byte_count BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'bytes sent', \
       done BOOLEAN NOT NULL DEFAULT FALSE, \
       PRIMARY KEY (task, database_name, table_name, part)\
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4",
];

/// What `copy_progress` says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectState {
    pub(crate) state: State,
    /// Definition changes up to this offset are in what was read.
    pub(crate) seen: Offset,
    /// It was on the target before, and was kept as it was.
    pub(crate) kept: bool,
    /// Its rows were or are being copied at one place: what the target holds is ours.
    pub(crate) whole: bool,
}

/// How far an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// To be created and copied; what stands on the target under its name, if anything, is ours.
    Seen,
    /// Its rows are being copied.
    Copying,
    /// Nothing left to do.
    Done,
    /// The source has none.
    Absent,
}

/// A key range of a table, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) range: Range,
    pub(crate) last_key: Option<Vec<String>>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) done: bool,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Copying => "copying",
            Self::Done => "done",
            Self::Absent => "absent",
        }
    }
}

fn space_word(space: Space) -> &'static str {
    match space {
        Space::Database => "database",
        Space::Table => "table",
        Space::Procedure => "procedure",
        Space::Function => "function",
    }
}

fn object_where(metadata: &Metadata, key: &ObjectKey) -> String {
    format!(
        "task = {} AND kind = '{}' AND database_name = {} AND object_name = {}",
        metadata.task(),
        space_word(key.space),
        quote_text(&key.database),
        quote_text(&key.name)
    )
}

fn part_where(metadata: &Metadata, key: &ObjectKey) -> String {
    format!(
        "task = {} AND database_name = {} AND table_name = {}",
        metadata.task(),
        quote_text(&key.database),
        quote_text(&key.name)
    )
}

fn fail(doing: &'static str) -> impl Fn(mysql_async::Error) -> Error {
    move |cause| Error::server(Side::Target, doing, cause)
}

/// All visited objects.
pub(crate) async fn load(
    target: &mut Target,
    metadata: &Metadata,
) -> Result<BTreeMap<ObjectKey, ObjectState>, Error> {
    let query = format!(
        "SELECT CAST(kind AS CHAR), database_name, object_name, CAST(state AS CHAR), seen, kept, whole FROM {}.copy_progress WHERE task = {}",
        metadata.database(),
        metadata.task()
    );
    let rows: Vec<(String, String, String, String, u64, bool, bool)> = target
        .conn()
        .query(query)
        .await
        .map_err(fail("reading the copy's progress"))?;
    let mut objects = BTreeMap::new();
    for (kind, database, name, state, seen, kept, whole) in rows {
        let space = match kind.as_str() {
            "database" => Space::Database,
            "table" => Space::Table,
            "procedure" => Space::Procedure,
            _ => Space::Function,
        };
        let state = match state.as_str() {
            "copying" => State::Copying,
            "done" => State::Done,
            "absent" => State::Absent,
            _ => State::Seen,
        };
        objects.insert(
            ObjectKey {
                space,
                database,
                name,
            },
            ObjectState {
                state,
                seen: Offset(seen),
                kept,
                whole,
            },
        );
    }
    Ok(objects)
}

/// Notes that these objects' definitions were read: what stands on the target under their names is ours from now on.
pub(crate) async fn save(
    target: &mut Target,
    metadata: &Metadata,
    objects: &[(ObjectKey, ObjectState)],
) -> Result<(), Error> {
    for some in objects.chunks(500) {
        let values: Vec<String> = some
            .iter()
            .map(|(key, object)| {
                format!(
                    "({}, '{}', {}, {}, '{}', {}, {}, {})",
                    metadata.task(),
                    space_word(key.space),
                    quote_text(&key.database),
                    quote_text(&key.name),
                    object.state.word(),
                    object.seen.0,
                    u8::from(object.kept),
                    u8::from(object.whole)
                )
            })
            .collect();
        let sql = format!(
            "REPLACE INTO {}.copy_progress (task, kind, database_name, object_name, state, seen, kept, whole) VALUES {}",
            metadata.database(),
            values.join(", ")
        );
        target.execute(&sql, "noting the copy's objects").await?;
    }
    Ok(())
}

/// Moves one object to another state.
pub(crate) async fn set_state(
    target: &mut Target,
    metadata: &Metadata,
    key: &ObjectKey,
    state: State,
    skip_until: Offset,
) -> Result<(), Error> {
    let sql = format!(
        "UPDATE {}.copy_progress SET state = '{}', skip_until = GREATEST(skip_until, {}) WHERE {}",
        metadata.database(),
        state.word(),
        skip_until.0,
        object_where(metadata, key)
    );
    match target.execute(&sql, "noting the copy's progress").await? {
        1 => Ok(()),
        rows => Err(Error::Copy {
            what: format!(
                "{rows} rows of {}.copy_progress stand for {}: something else writes to them",
                metadata.database(),
                key.quoted()
            ),
        }),
    }
}

/// Notes a table's parts and that its rows are being copied, in one transaction; `whole`: at one place.
pub(crate) async fn create_parts(
    target: &mut Target,
    metadata: &Metadata,
    key: &ObjectKey,
    ranges: &[Range],
    whole: bool,
) -> Result<(), Error> {
    let database = metadata.database();
    let bound = |value: Option<i128>| value.map_or("NULL".to_owned(), |v| format!("'{v}'"));
    let values: Vec<String> = ranges
        .iter()
        .enumerate()
        .map(|(number, range)| {
            format!(
                "({}, {}, {}, {number}, {}, {})",
                metadata.task(),
                quote_text(&key.database),
                quote_text(&key.name),
                bound(range.from),
                bound(range.through)
            )
        })
        .collect();
    let sql = format!(
        "BEGIN; DELETE FROM {database}.copy_part WHERE {}; \
         INSERT INTO {database}.copy_part (task, database_name, table_name, part, low, high) VALUES {}; \
         UPDATE {database}.copy_progress SET state = 'copying', whole = {} WHERE {}; COMMIT",
        part_where(metadata, key),
        values.join(", "),
        u8::from(whole),
        object_where(metadata, key)
    );
    target
        .conn()
        .query_drop(sql)
        .await
        .map_err(fail("noting a table's parts"))
}

/// A table's parts.
pub(crate) async fn load_parts(
    target: &mut Target,
    metadata: &Metadata,
    key: &ObjectKey,
) -> Result<Vec<Part>, Error> {
    type Columns = (
        u32,
        Option<String>,
        Option<String>,
        Option<String>,
        u64,
        u64,
        bool,
    );
    let query = format!(
        "SELECT part, low, high, last_key, row_count, byte_count, done FROM {}.copy_part WHERE {} ORDER BY part",
        metadata.database(),
        part_where(metadata, key)
    );
    let rows: Vec<Columns> = target
        .conn()
        .query(query)
        .await
        .map_err(fail("reading a table's parts"))?;
    let unreadable = || Error::Copy {
        what: format!(
            "the progress of {} can't be read: drop the table and its row in copy_progress on the target",
            key.quoted()
        ),
    };
    rows.into_iter()
        .map(|(number, low, high, last_key, rows, bytes, done)| {
            let bound = |text: Option<String>| text.map(|t| t.parse::<i128>()).transpose().ok();
            let (Some(from), Some(through)) = (bound(low), bound(high)) else {
                return Err(unreadable());
            };
            let last_key = last_key.map(|text| serde_json::from_str(&text)).transpose();
            let last_key = last_key.map_err(|_cause| unreadable())?;
            Ok(Part {
                number,
                range: Range { from, through },
                last_key,
                rows,
                bytes,
                done,
            })
        })
        .collect()
}

/// The statement that moves a part on, to be run in the transaction of the chunk's rows. It finds one row.
pub(crate) fn advance_part(metadata: &Metadata, key: &ObjectKey, part: u32, chunk: &Chunk) -> String {
    let last_key = match &chunk.last_key {
        Some(last) => format!(
            "last_key = {}, ",
            quote_text(&serde_json::to_string(last).unwrap_or_default())
        ),
        None => String::new(),
    };
    format!(
        "UPDATE {}.copy_part SET {last_key}row_count = row_count + {}, byte_count = byte_count + {}, done = {} \
         WHERE {} AND part = {part}",
        metadata.database(),
        chunk.rows,
        chunk.bytes,
        u8::from(chunk.end),
        part_where(metadata, key)
    )
}

/// Raises `skip_until` of tables and dropped databases to where the last definition change before the copy's end stands.
pub(crate) async fn save_skips(
    target: &mut Target,
    metadata: &Metadata,
    skips: &SkipUntil,
) -> Result<(), Error> {
    let tables = skips
        .tables
        .iter()
        .map(|((database, table), offset)| (ObjectKey::table(database, table), offset));
    let databases = skips
        .databases
        .iter()
        .map(|(database, offset)| (ObjectKey::database(database), offset));
    for (key, offset) in tables.chain(databases) {
        let sql = format!(
            "UPDATE {}.copy_progress SET skip_until = GREATEST(skip_until, {}) WHERE {}",
            metadata.database(),
            offset.0,
            object_where(metadata, &key)
        );
        target.execute(&sql, "noting what the copy contains").await?;
    }
    Ok(())
}

/// Up to which offset each table's row events are in the finished copy.
pub(crate) async fn load_skips(target: &mut Target, metadata: &Metadata) -> Result<SkipUntil, Error> {
    let query = format!(
        "SELECT CAST(kind AS CHAR), database_name, object_name, skip_until, whole FROM {}.copy_progress \
         WHERE task = {} AND (skip_until > 0 OR whole) AND kind IN ('table', 'database')",
        metadata.database(),
        metadata.task()
    );
    let rows: Vec<(String, String, String, u64, bool)> = target
        .conn()
        .query(query)
        .await
        .map_err(fail("reading what the copy contains"))?;
    let mut skips = SkipUntil::default();
    for (kind, database, name, offset, whole) in rows {
        if kind == "table" {
            if whole {
                skips.exact.insert((database.clone(), name.clone()));
            }
            skips.tables.insert((database, name), Offset(offset));
        } else {
            skips.databases.insert(database, Offset(offset));
        }
    }
    Ok(skips)
}
