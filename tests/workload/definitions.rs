//! Definition statements while rows change, and the server's own settings for its binlog.
//!
//! A model of what exists keeps the statements meaningful; where one fails on the server (a lock wait, a restart), the next
//! ones about the same thing may fail too, which does no harm.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Work, spread};

/// Tables that get and lose columns while others write to them.
const TABLES: [&str; 6] = [
    "app.keyed",
    "app.uniques",
    "app.keyless",
    "app.shape",
    "app.children",
    "app_two.documents",
];

const TYPES: [&str; 8] = [
    "INT NOT NULL DEFAULT 7",
    "VARCHAR(20) DEFAULT 'é'",
    "DECIMAL(20,5)",
    "TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3)",
    "BIGINT UNSIGNED DEFAULT 18446744073709551615",
    "CHAR(5) CHARACTER SET latin1 NOT NULL DEFAULT 'ü'",
    "DATETIME DEFAULT '2020-02-02 02:02:02'",
    "ENUM('p', 'q') NOT NULL DEFAULT 'q'",
];

#[derive(Debug)]
pub(super) struct Definitions {
    dice: StdRng,
    count: u32,
    /// Columns added so far: table and name.
    columns: Vec<(&'static str, String)>,
    /// Indexes added so far.
    indexes: Vec<(&'static str, String)>,
    /// Tables and databases created so far.
    tables: Vec<String>,
    databases: Vec<String>,
    /// `app.composite` bears another name for the moment.
    renamed: bool,
}

impl Definitions {
    pub(super) fn new(dice: StdRng) -> Self {
        Self {
            dice,
            count: 0,
            columns: Vec::new(),
            indexes: Vec::new(),
            tables: Vec::new(),
            databases: Vec::new(),
            renamed: false,
        }
    }

    pub(super) fn next_work(&mut self) -> Work {
        self.count += 1;
        let statements = match self.dice.random_range(0..26) {
            0..4 => self.add_column(),
            4..6 => self.drop_column(),
            6 => self.rename_column(),
            7 => self.modify_column(),
            8 => self.indexes(),
            9..11 => self.rename_table(),
            11 => vec![
                "RENAME TABLE app.swap_a TO app.swap_t, app.swap_b TO app.swap_a, app.swap_t TO app.swap_b"
                    .to_owned(),
            ],
            12..14 => self.create_table(),
            14 => self.drop_table(),
            15..17 => self.another_shape(),
            17 => self.truncate(),
            18 => self.views(),
            19..21 => self.databases(),
            21 => self.partitions(),
            22 => temporary(),
            _ => self.server(),
        };
        // A copy ends only once a round of it met no definition: leave it the time.
        let pause = Duration::from_millis(100 + u64::from(spread(&mut self.dice, 1500)));
        Work::of(statements, pause)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.dice.random_range(0..from.len())]
    }

    fn taken<T>(&mut self, from: impl Fn(&mut Self) -> &mut Vec<T>) -> Option<T> {
        let length = from(self).len();
        (length > 0).then(|| {
            let at = self.dice.random_range(0..length);
            from(self).swap_remove(at)
        })
    }

    fn add_column(&mut self) -> Vec<String> {
        let (table, kind, column) = (self.pick(&TABLES), self.pick(&TYPES), format!("x{}", self.count));
        let place = self.pick(&["", " FIRST", ", ALGORITHM=INPLACE"]);
        self.columns.push((table, column.clone()));
        let mut statements = vec![format!("ALTER TABLE {table} ADD COLUMN {column} {kind}{place}")];
        if table == "app.shape" && kind.starts_with("INT") {
            statements.push(format!("UPDATE {table} SET {column} = id * 3 WHERE id % 2"));
        }
        statements
    }

    fn drop_column(&mut self) -> Vec<String> {
        match self.taken(|own| &mut own.columns) {
            Some((table, column)) => vec![format!("ALTER TABLE {table} DROP COLUMN {column}")],
            None => self.add_column(),
        }
    }

    fn rename_column(&mut self) -> Vec<String> {
        let Some((table, column)) = self.taken(|own| &mut own.columns) else {
            return self.add_column();
        };
        let name = format!("r{}", self.count);
        let sql = format!("ALTER TABLE {table} RENAME COLUMN {column} TO {name}");
        self.columns.push((table, name));
        vec![sql]
    }

    fn modify_column(&mut self) -> Vec<String> {
        let sql = self.pick(&[
            "ALTER TABLE app.keyed MODIFY s VARCHAR(80)",
            "ALTER TABLE app.keyed MODIFY s VARCHAR(70) CHARACTER SET utf8mb3",
            "ALTER TABLE app.keyed MODIFY s TEXT",
            "ALTER TABLE app.keyed MODIFY v BIGINT FIRST",
            "ALTER TABLE app.keyed MODIFY v INT AFTER id",
            "ALTER TABLE app.keyless MODIFY v SMALLINT UNSIGNED",
            "ALTER TABLE app.composite MODIFY n DECIMAL(25,2)",
            "ALTER TABLE app.parents COMMENT 'it''s a comment'",
            "ALTER TABLE app.children ENGINE = InnoDB",
            "OPTIMIZE TABLE app.uniques",
        ]);
        vec![sql.to_owned()]
    }

    fn indexes(&mut self) -> Vec<String> {
        if self.dice.random()
            && let Some((table, name)) = self.taken(|own| &mut own.indexes)
        {
            return vec![format!("DROP INDEX {name} ON {table}")];
        }
        let name = format!("i{}", self.count);
        let (table, column) = self.pick(&[
            ("app.keyed", "s(10)"),
            ("app.children", "v"),
            ("app.keyless", "v"),
            ("app_two.blobs", "tm"),
        ]);
        self.indexes.push((table, name.clone()));
        vec![format!("CREATE INDEX {name} ON {table} ({column})")]
    }

    fn rename_table(&mut self) -> Vec<String> {
        self.renamed = !self.renamed;
        let sql = match self.renamed {
            true => "RENAME TABLE app.composite TO app_two.`another ``name`",
            false => "ALTER TABLE app_two.`another ``name` RENAME TO app.composite",
        };
        vec![sql.to_owned()]
    }

    fn create_table(&mut self) -> Vec<String> {
        let table = format!("app.t{}", self.count);
        self.tables.push(table.clone());
        let create = match self.dice.random_range(0..4) {
            0 => format!("CREATE TABLE {table} LIKE app.keyed"),
            1 => {
                return vec![format!(
                    "CREATE TABLE {table} AS SELECT id, v, s FROM app.keyed WHERE id < 40"
                )];
            }
            2 => format!("CREATE TABLE {table} (v INT, s VARCHAR(60))"),
            _ => format!(
                "CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(60) CHARACTER SET utf16, w INT AS (v + 1))"
            ),
        };
        vec![
            create,
            "START TRANSACTION".to_owned(),
            format!("INSERT INTO {table} (v, s) VALUES (1, 'a'), (2, 'ä'), (1, 'a')"),
            format!("DELETE FROM {table} WHERE v = 1 LIMIT 1"),
            "COMMIT".to_owned(),
        ]
    }

    fn drop_table(&mut self) -> Vec<String> {
        match self.taken(|own| &mut own.tables) {
            Some(table) => vec![format!("DROP TABLE IF EXISTS {table}, app.never_there")],
            None => self.create_table(),
        }
    }

    /// The table that others write to goes and comes back with other columns.
    fn another_shape(&mut self) -> Vec<String> {
        self.columns.retain(|(table, _)| *table != "app.shape");
        let columns = self.pick(&[
            "id INT PRIMARY KEY",
            "a VARCHAR(10) DEFAULT 'a', id INT PRIMARY KEY, b INT AS (id * 2) STORED",
            "id BIGINT, c JSON, KEY (id)",
            "id MEDIUMINT UNSIGNED, d DATE DEFAULT '2001-01-01', UNIQUE KEY (id)",
        ]);
        vec![
            "DROP TABLE app.shape".to_owned(),
            format!("CREATE TABLE app.shape ({columns})"),
            "INSERT INTO app.shape (id) VALUES (1), (2), (3), (50)".to_owned(),
        ]
    }

    fn truncate(&mut self) -> Vec<String> {
        let table = self.pick(&[
            "app.keyless",
            "app.children",
            "app.audit",
            "app.swap_a",
            "app_two.blobs",
        ]);
        vec![
            format!("TRUNCATE TABLE {table}"),
            "INSERT INTO app.keyless VALUES (1, 'same', NULL), (1, 'same', NULL), (2, 'same', '{}')"
                .to_owned(),
        ]
    }

    fn views(&mut self) -> Vec<String> {
        let number = self.count % 3;
        match self.dice.random_range(0..3) {
            0 => vec![format!("DROP VIEW IF EXISTS app.view{number}")],
            _ => vec![format!(
                "CREATE OR REPLACE VIEW app.view{number} AS SELECT id, v + {} AS v FROM app.keyed",
                self.count
            )],
        }
    }

    fn databases(&mut self) -> Vec<String> {
        if self.dice.random()
            && let Some(database) = self.taken(|own| &mut own.databases)
        {
            return vec![format!("DROP DATABASE {database}")];
        }
        let database = format!("app_{}", self.count);
        self.databases.push(database.clone());
        vec![
            format!("CREATE DATABASE {database}"),
            format!("CREATE TABLE {database}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {database}.t VALUES (1), (2)"),
            format!("ALTER TABLE {database}.t ADD v INT DEFAULT 3, ADD KEY (v)"),
            format!("INSERT INTO {database}.t VALUES (3, 4)"),
        ]
    }

    fn partitions(&mut self) -> Vec<String> {
        let sql = self.pick(&[
            "ALTER TABLE app_two.parts TRUNCATE PARTITION p1",
            "ALTER TABLE app_two.parts REORGANIZE PARTITION p2 INTO (PARTITION p2 VALUES LESS THAN (25), PARTITION p3 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE app_two.parts REORGANIZE PARTITION p2, p3 INTO (PARTITION p2 VALUES LESS THAN MAXVALUE)",
            "ALTER TABLE app_two.parts REBUILD PARTITION p0",
        ]);
        vec![sql.to_owned()]
    }

    /// What an administrator changes while the binlog is being read: files that end, and how their events are written.
    fn server(&mut self) -> Vec<String> {
        let sql = self.pick(&[
            "FLUSH BINARY LOGS",
            "FLUSH BINARY LOGS",
            "SET GLOBAL max_binlog_size = 65536",
            "SET GLOBAL max_binlog_size = 1073741824",
            "SET GLOBAL binlog_row_metadata = FULL",
            "SET GLOBAL binlog_row_metadata = MINIMAL",
            "SET GLOBAL binlog_checksum = NONE",
            "SET GLOBAL binlog_checksum = CRC32",
            "SET GLOBAL binlog_checksum = CRC32",
        ]);
        vec![sql.to_owned()]
    }
}

/// What exists in one session only, and what depends on it.
fn temporary() -> Vec<String> {
    [
        "CREATE TEMPORARY TABLE app.scratch (id INT PRIMARY KEY, v INT)",
        "INSERT INTO app.scratch VALUES (1, 1), (2, 2), (3, 3)",
        "INSERT INTO app.keyless SELECT v, 'from scratch', NULL FROM app.scratch",
        "DROP TEMPORARY TABLE app.scratch",
    ]
    .map(str::to_owned)
    .to_vec()
}
