//! The copy's own tables in the metadata database: what was visited, at which offset, how far its rows are.
//!
//! `copy_progress` has one row per visited object, `copy_part` one per key range of a table that is copied in chunks. A
//! chunk's rows and its `copy_part` row commit in one transaction (A1, W3).

/// `CREATE TABLE` statements for the copy's tables in the metadata database, `{}` standing for its quoted name.
pub(crate) const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS {}.copy_progress (\
       task VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'the task', \
       kind ENUM('database','table','procedure','function') NOT NULL COMMENT 'table: also a view', \
       database_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL, \
       object_name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL COMMENT 'empty for a database', \
       state ENUM('seen','copying','done','absent') NOT NULL COMMENT 'seen: to be created and copied', \
       seen BIGINT UNSIGNED NOT NULL COMMENT 'definition changes up to this offset are in what was read', \
       skip_until BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'row events up to this offset are in the copy', \
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
