//! The metadata database's tables, and the way from those of an older version to these.
//!
//! One number says which tables and columns are there. An older layout is brought up step by step, under a lock of the server's:
//! several tasks may begin on one target at once. Each step looks first whether it was made, so that one that was cut short is made
//! again. A newer layout is left alone.

use mysql_async::prelude::FromRow;

use super::{Metadata, notes};
use crate::error::{Error, Side};
use crate::link::Link;
use crate::literal::quote_text;
use crate::snapshot::progress;
use crate::target::Target;

/// The layout that this version writes. 1 is all that came before layouts had numbers.
const LAYOUT: u32 = 3;

/// How long another task may take to bring the layout up, in seconds.
const PATIENCE: u32 = 300;

const DOING: &str = "setting up the metadata database";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS {}.checkpoint (\
       task VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'the task', \
       log_id CHAR(36) CHARACTER SET ascii NOT NULL COMMENT 'the change log that log_offset belongs to', \
       log_offset BIGINT UNSIGNED NOT NULL COMMENT 'everything up to here is applied', \
       gtids LONGTEXT CHARACTER SET ascii NULL COMMENT 'the same place on the source, NULL without GTIDs', \
       file VARCHAR(512) NOT NULL COMMENT 'the same place by binlog file', \
       file_offset BIGINT UNSIGNED NOT NULL COMMENT 'and byte offset', \
       exact_after BIGINT UNSIGNED NULL COMMENT 'replay is idempotent up to here; NULL until the copy is done', \
       ddl_pending LONGTEXT NULL COMMENT 'a definition statement about to be run', \
       xa_prepared JSON NOT NULL COMMENT 'prepared XA transactions', \
       folds_names BOOLEAN NOT NULL COMMENT 'the source takes T and t for one table', \
       selection LONGTEXT NOT NULL COMMENT 'what the task selected when it last ran', \
       epoch BIGINT UNSIGNED NOT NULL COMMENT 'who may write: the process that raised it last', \
       changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), \
       PRIMARY KEY (task)\
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4";

const NUMBER: &str = "CREATE TABLE IF NOT EXISTS {}.layout (\
       one TINYINT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'there is one row', \
       version INT UNSIGNED NOT NULL COMMENT 'which tables and columns this database has', \
       PRIMARY KEY (one)\
     ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4";

/// A column that a layout added.
struct Added {
    /// The first layout with it.
    layout: u32,
    table: &'static str,
    column: &'static str,
    /// What stands behind its name.
    definition: &'static str,
}

const ADDED: [Added; 1] = [Added {
    layout: 2,
    table: "copy_progress",
    column: "whole",
    definition: "BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'copied at one place: it is as the source was at skip_until' AFTER skip_until",
}];

impl Metadata {
    /// Creates the database and its tables where they are missing, and brings those of an older version up.
    ///
    /// # Errors
    /// When the target refuses, or a newer version was here.
    pub(crate) async fn prepare(&self, target: &mut Target) -> Result<(), Error> {
        let name = quote_text(&self.name_of_database());
        let there = format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = {name}");
        if ask::<u8>(target.conn(), &there).await?.is_none() {
            let create = format!(
                "CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4",
                self.database
            );
            target.execute(&create, DOING).await?;
        }
        if self.layout(target.conn()).await? == Some(LAYOUT) {
            return Ok(());
        }
        // A lock's name has 64 characters at most.
        let lock = format!("CONCAT('outrigger ', LEFT(SHA2({name}, 256), 40))");
        let held: Option<Option<u8>> =
            ask(target.conn(), &format!("SELECT GET_LOCK({lock}, {PATIENCE})")).await?;
        if held.flatten() != Some(1) {
            return Err(Error::Unsuitable {
                side: Side::Target,
                what: format!(
                    "another session sets {} up and does not come to its end",
                    self.database
                ),
            });
        }
        self.bring_up(target, &name).await?;
        // Where the above fails the session ends, and the lock with it.
        target.execute(&format!("DO RELEASE_LOCK({lock})"), DOING).await?;
        Ok(())
    }

    async fn bring_up(&self, target: &mut Target, name: &str) -> Result<(), Error> {
        // Whoever held the lock before may have been newer.
        let found = self.layout(target.conn()).await?.unwrap_or(1);
        for table in [TABLE, NUMBER, notes::TABLE]
            .iter()
            .chain(progress::TABLES.iter())
        {
            target
                .execute(&table.replace("{}", &self.database), DOING)
                .await?;
        }
        for added in ADDED.iter().filter(|added| added.layout > found) {
            let Added {
                table,
                column,
                definition,
                ..
            } = added;
            let there = format!(
                "SELECT 1 FROM information_schema.columns WHERE table_schema = {name} AND table_name = '{table}' AND column_name = '{column}'"
            );
            if ask::<u8>(target.conn(), &there).await?.is_none() {
                let add = format!(
                    "ALTER TABLE {}.{table} ADD COLUMN {column} {definition}",
                    self.database
                );
                target.execute(&add, DOING).await?;
            }
        }
        let note = format!(
            "REPLACE INTO {}.layout (one, version) VALUES (1, {LAYOUT})",
            self.database
        );
        target.execute(&note, DOING).await?;
        Ok(())
    }

    /// The layout's number; `None` where none is noted.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] when this version does not know it.
    pub(super) async fn layout(&self, conn: &mut Link) -> Result<Option<u32>, Error> {
        let query = format!("SELECT version FROM {}.layout", self.database);
        match conn.query_first(query).await {
            Ok(Some(newer)) if newer > LAYOUT => Err(Error::Unsuitable {
                side: Side::Target,
                what: format!(
                    "a newer version of Outrigger has written to the metadata database {} (layout {newer}, this version knows up to \
                     {LAYOUT}): run that version, or name another metadata_database and copy anew",
                    self.database
                ),
            }),
            Ok(found) => Ok(found),
            // No such database, no such table.
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1049 | 1146) => Ok(None),
            Err(cause) => Err(Error::server(Side::Target, DOING, cause)),
        }
    }

    /// The database's name, unquoted.
    fn name_of_database(&self) -> String {
        self.database[1..self.database.len() - 1].replace("``", "`")
    }
}

async fn ask<T: FromRow + Send + 'static>(conn: &mut Link, query: &str) -> Result<Option<T>, Error> {
    conn.query_first(query)
        .await
        .map_err(|cause| Error::server(Side::Target, DOING, cause))
}
