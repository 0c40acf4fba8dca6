//! Transactions that change rows: of every kind of statement, sizes, savepoints, XA.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::tables::{DOCUMENTS, KEYED, PARENTS, UNIQUES};
use super::{Shape, Step, Work, spread};

/// One writer's transactions.
#[derive(Debug)]
pub(super) struct Changes {
    dice: StdRng,
    writer: u64,
    seed: u64,
    shape: Shape,
    count: u64,
}

/// How a writer's session differs from the default one.
pub(super) fn session(dice: &mut StdRng, gtids: bool) -> Vec<String> {
    let mut session = Vec::new();
    let mut sometimes = |percent: u32, statements: &[&str]| {
        if dice.random_range(0..100) < percent {
            let chosen = statements[dice.random_range(0..statements.len())];
            session.push(format!("SET SESSION {chosen}"));
        }
    };
    sometimes(30, &["binlog_transaction_compression = ON"]);
    sometimes(20, &["binlog_rows_query_log_events = ON"]);
    sometimes(50, &["time_zone = '+05:45'", "time_zone = '-11:00'"]);
    sometimes(
        40,
        &[
            "sql_mode = ''",
            "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
            "sql_mode = 'TRADITIONAL'",
        ],
    );
    sometimes(
        40,
        &[
            "transaction_isolation = 'READ-COMMITTED'",
            "transaction_isolation = 'SERIALIZABLE'",
        ],
    );
    sometimes(20, &["collation_connection = 'latin1_swedish_ci'"]);
    if gtids {
        sometimes(25, &["gtid_next = 'AUTOMATIC:soak'"]);
    }
    session
}

impl Changes {
    pub(super) fn new(dice: StdRng, writer: u64, seed: u64, shape: Shape) -> Self {
        Self {
            dice,
            writer,
            seed,
            shape,
            count: 0,
        }
    }

    pub(super) fn next_work(&mut self) -> Work {
        self.count += 1;
        let most = u32::try_from(self.shape.pause.as_millis()).unwrap_or(u32::MAX);
        let pause = Duration::from_millis(spread(&mut self.dice, most).into());
        match self.dice.random_range(0..100) {
            0..45 => self.transaction(pause),
            45..65 => Work::of(vec![self.statement()], pause),
            65..77 => self.savepoints(pause),
            77..88 if self.shape.xa => self.xa(pause),
            88..92 => self.without_checks(pause),
            92..96 if self.shape.gtids => self.foreign_gtid(pause),
            96..98 => Work::of(vec![self.large()], pause),
            _ => self.rolled_back(pause),
        }
    }

    fn transaction(&mut self, pause: Duration) -> Work {
        let mut statements = vec!["START TRANSACTION".to_owned()];
        for _ in 0..=spread(&mut self.dice, 12) {
            statements.push(self.statement());
        }
        statements.push("COMMIT".to_owned());
        Work::of(statements, pause)
    }

    fn rolled_back(&mut self, pause: Duration) -> Work {
        Work::of(
            vec![
                "START TRANSACTION".to_owned(),
                self.statement(),
                self.statement(),
                "ROLLBACK".to_owned(),
            ],
            pause,
        )
    }

    fn savepoints(&mut self, pause: Duration) -> Work {
        let mut statements = vec!["START TRANSACTION".to_owned()];
        for _ in 0..self.dice.random_range(1..5) {
            statements.push(self.statement());
            let name = ["one", "`two words`"][self.dice.random_range(0..2)];
            statements.push(format!("SAVEPOINT {name}"));
            statements.push(self.statement());
            match self.dice.random_range(0..3) {
                0 => statements.push(format!("ROLLBACK TO SAVEPOINT {name}")),
                1 => statements.push(format!("RELEASE SAVEPOINT {name}")),
                _ => {}
            }
        }
        statements.push("COMMIT".to_owned());
        Work::of(statements, pause)
    }

    /// Prepared, then ended by the same connection or by another one, or in one phase.
    fn xa(&mut self, pause: Duration) -> Work {
        let name = format!("'{}-{}-{}', 'b', 7", self.seed, self.writer, self.count);
        let sql = |text: String| Step::Sql(text);
        let mut steps = vec![sql(format!("XA START {name}"))];
        for _ in 0..self.dice.random_range(0..4) {
            steps.push(sql(self.statement()));
        }
        steps.push(sql(format!("XA END {name}")));
        if self.dice.random_range(0..4) == 0 {
            steps.push(sql(format!("XA COMMIT {name} ONE PHASE")));
            return Work { steps, pause };
        }
        steps.push(sql(format!("XA PREPARE {name}")));
        if self.dice.random() {
            steps.push(Step::Reconnect);
        }
        // What others commit meanwhile lies between a transaction's rows and its end.
        if self.dice.random() {
            steps.push(sql("DO SLEEP(0.02)".to_owned()));
        }
        let end = if self.dice.random_range(0..3) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        steps.push(sql(format!("XA {end} {name}")));
        Work { steps, pause }
    }

    fn without_checks(&mut self, pause: Duration) -> Work {
        let parent = self.below(PARENTS * 2);
        let change = match self.dice.random_range(0..3) {
            0 => format!("DELETE FROM app.parents WHERE id = {parent}"),
            1 => format!(
                "INSERT INTO app.children (parent, v) VALUES ({}, 1)",
                parent + 10_000
            ),
            _ => format!("UPDATE app.parents SET id = id + 1000 WHERE id = {parent}"),
        };
        Work::of(
            vec![
                "SET SESSION foreign_key_checks = 0, unique_checks = 0".to_owned(),
                change,
                "SET SESSION foreign_key_checks = 1, unique_checks = 1".to_owned(),
            ],
            pause,
        )
    }

    /// A transaction under a GTID as a replica would write it, sometimes one that changes nothing.
    fn foreign_gtid(&mut self, pause: Duration) -> Work {
        let server = self.dice.random_range(1..4);
        let uuid = format!(
            "{:08x}-0000-4000-8000-00000000000{server}",
            self.seed & 0xffff_ffff
        );
        let number = self.writer * 1_000_000 + self.count * 2;
        let tag = ["", ":of_old"][self.dice.random_range(0..2)];
        let mut statements = vec![
            format!("SET SESSION gtid_next = '{uuid}{tag}:{number}'"),
            "START TRANSACTION".to_owned(),
        ];
        if self.dice.random_range(0..3) > 0 {
            statements.push(self.statement());
        }
        statements.push("COMMIT".to_owned());
        statements.push("SET SESSION gtid_next = 'AUTOMATIC'".to_owned());
        Work::of(statements, pause)
    }

    /// One statement of up to a few megabytes: in one row or in many.
    fn large(&mut self) -> String {
        let bytes = spread(&mut self.dice, self.shape.large).max(100_000);
        if self.dice.random() {
            format!(
                "INSERT INTO app_two.blobs (b) VALUES (REPEAT(RANDOM_BYTES(500), {}))",
                bytes / 500
            )
        } else {
            format!(
                "INSERT INTO app.keyed (v, s) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) \
                 SELECT /*+ SET_VAR(cte_max_recursion_depth = 1000000) */ 7, LEFT(SHA2(n, 512), 60) FROM s",
                bytes / 80
            )
        }
    }

    fn below(&mut self, most: u32) -> u32 {
        self.dice.random_range(1..=most)
    }

    fn statement(&mut self) -> String {
        match self.dice.random_range(0..20) {
            0..5 => self.keyed(),
            5..7 => self.composite(),
            7..10 => self.uniques(),
            10..12 => self.keyless(),
            12..15 => self.families(),
            15 => self.documents(),
            16 => self.blobs(),
            17 => self.several_tables(),
            18 => self.shape(),
            _ => self.parts(),
        }
    }

    fn keyed(&mut self) -> String {
        let (id, few) = (self.below(KEYED * 2), 1 + spread(&mut self.dice, 40));
        match self.dice.random_range(0..7) {
            0 => {
                let rows: Vec<String> = (0..few)
                    .map(|n| format!("({}, 'w{} é '' {n}', {n}.5, NOW(6))", self.below(50), self.writer))
                    .collect();
                let rows = rows.join(", ");
                format!("INSERT INTO app.keyed (v, s, d, t) VALUES {rows}")
            }
            1 | 2 => format!(
                "UPDATE app.keyed SET v = v + 1, s = CONCAT('u', LEFT(s, 50)), t = NOW(6) WHERE id BETWEEN {id} AND {}",
                id + few
            ),
            3 => format!(
                "UPDATE app.keyed SET id = id + 1000000 WHERE id BETWEEN {id} AND {}",
                id + few / 8
            ),
            4 => format!("DELETE FROM app.keyed WHERE id BETWEEN {id} AND {}", id + few),
            5 => format!(
                "INSERT INTO app.keyed (v, s, d, t) SELECT v, s, d, t FROM app.keyed WHERE id BETWEEN {id} AND {}",
                id + few
            ),
            _ => format!(
                "REPLACE INTO app.keyed (id, v, s) VALUES ({id}, {few}, 'replaced'), ({}, NULL, NULL)",
                id + 1
            ),
        }
    }

    fn composite(&mut self) -> String {
        let (a, b) = (self.below(50), self.below(400));
        match self.dice.random_range(0..4) {
            0 => format!(
                "INSERT INTO app.composite VALUES ({a}, 'b{b}', 1), ({b}, 'B{a}', 2) ON DUPLICATE KEY UPDATE n = n + 1"
            ),
            1 => format!(
                "UPDATE app.composite SET b = CONCAT('b', n), n = n + {b} WHERE a = {a} ORDER BY b LIMIT 5"
            ),
            2 => format!("UPDATE app.composite SET n = n * 2 % 1000003 WHERE a = {a}"),
            _ => format!("DELETE FROM app.composite WHERE a = {a} ORDER BY b DESC LIMIT 2"),
        }
    }

    fn uniques(&mut self) -> String {
        let (id, code) = (self.below(UNIQUES * 2), self.below(UNIQUES * 4));
        match self.dice.random_range(0..7) {
            0 => format!(
                "REPLACE INTO app.uniques (email, code, x, y) VALUES ('m{id}@x', {code}, {}, {id})",
                code % 20
            ),
            1 => format!(
                "INSERT IGNORE INTO app.uniques (email, code, x, y) VALUES ('n{code}@x', {code}, 1, {id}), (NULL, {id}, 2, {code})"
            ),
            2 => format!(
                "UPDATE app.uniques SET code = code + 1 WHERE code >= {code} ORDER BY code DESC LIMIT 20"
            ),
            3 => format!("UPDATE app.uniques SET email = NULL WHERE id = {id}"),
            4 => format!(
                "UPDATE app.uniques SET email = CONCAT('swap', code), y = NULL WHERE id BETWEEN {id} AND {}",
                id + 4
            ),
            5 => format!(
                "DELETE FROM app.uniques WHERE code BETWEEN {code} AND {}",
                code + 9
            ),
            _ => format!(
                "INSERT INTO app.uniques (email, code) VALUES ('o{id}@x', {code}) ON DUPLICATE KEY UPDATE x = {id}, y = {code}"
            ),
        }
    }

    fn keyless(&mut self) -> String {
        let v = self.below(7);
        match self.dice.random_range(0..4) {
            0 => format!(
                "INSERT INTO app.keyless VALUES ({v}, 'same', NULL), ({v}, 'same', NULL), ({v}, NULL, JSON_ARRAY({v}, 1.5e0, 'x'))"
            ),
            1 => format!("DELETE FROM app.keyless WHERE v = {v} LIMIT 2"),
            2 => format!("UPDATE app.keyless SET v = v + 1 WHERE v = {v} LIMIT 3"),
            _ => format!("UPDATE app.keyless SET j = JSON_OBJECT('n', v), s = 'other' WHERE v = {v} LIMIT 1"),
        }
    }

    fn families(&mut self) -> String {
        let (parent, other) = (self.below(PARENTS * 2), self.below(PARENTS));
        match self.dice.random_range(0..8) {
            0 => format!("INSERT INTO app.parents VALUES ({parent}, 'new')"),
            1 => format!(
                "INSERT INTO app.children (parent, other, v) VALUES ({parent}, {other}, 1), ({other}, NULL, 2)"
            ),
            2 => format!("DELETE FROM app.parents WHERE id = {parent}"),
            3 => format!("UPDATE app.parents SET id = {} WHERE id = {parent}", parent + 500),
            4 => format!("DELETE FROM app.children WHERE parent = {parent}"),
            5 => {
                format!("UPDATE app.children SET parent = {other}, v = v + 1 WHERE parent = {parent} LIMIT 3")
            }
            6 => format!("INSERT INTO app.tree VALUES ({parent}, {})", parent / 2),
            _ => format!("DELETE FROM app.tree WHERE id = {parent}"),
        }
    }

    fn documents(&mut self) -> String {
        let id = self.below(DOCUMENTS * 2);
        match self.dice.random_range(0..6) {
            0 => format!(
                "INSERT INTO app_two.documents (j) VALUES (JSON_OBJECT('n', {id}, 'c', 'new', 'deep', JSON_OBJECT('list', JSON_ARRAY(1, 2.5e0, 'ü'))))"
            ),
            1 => format!(
                "UPDATE app_two.documents SET j = JSON_SET(j, '$.n', {id}, '$.deep.x', REPEAT('y', {id})) WHERE id = {id}"
            ),
            2 => format!(
                "UPDATE app_two.documents SET j = JSON_REMOVE(j, '$.list[0]', '$.c') WHERE id BETWEEN {id} AND {}",
                id + 3
            ),
            3 => format!(
                "UPDATE app_two.documents SET j = JSON_ARRAY_APPEND(j, '$.list', {id}) WHERE id = {id}"
            ),
            4 => format!("UPDATE app_two.documents SET j = NULL WHERE id = {id}"),
            _ => format!("DELETE FROM app_two.documents WHERE id = {id}"),
        }
    }

    fn blobs(&mut self) -> String {
        let (id, size) = (self.below(120), spread(&mut self.dice, 60_000));
        match self.dice.random_range(0..4) {
            0 => format!(
                "INSERT INTO app_two.blobs (b, t, e, s, bits, y, tm, dt, f) VALUES (REPEAT(RANDOM_BYTES(50), {}), REPEAT('漢', {}), \
                 'ü', 'x,z', {size}, 2155, '-838:59:58.999', '9999-12-31 23:59:59.99', 1e300)",
                size / 50,
                size / 3
            ),
            1 => format!(
                "UPDATE app_two.blobs SET b = CONCAT(COALESCE(b, ''), RANDOM_BYTES(20)), f = f / 3 WHERE id BETWEEN {id} AND {}",
                id + 5
            ),
            2 => format!(
                "UPDATE app_two.blobs SET t = NULL, e = NULL, y = 0, tm = '-00:00:00.500' WHERE id = {id}"
            ),
            _ => format!("DELETE FROM app_two.blobs WHERE id = {id}"),
        }
    }

    fn several_tables(&mut self) -> String {
        let (id, a) = (self.below(KEYED), self.below(40));
        match self.dice.random_range(0..3) {
            0 => format!(
                "UPDATE app.keyed k JOIN app.composite c ON k.v = c.a SET k.d = k.d + 1, c.n = c.n + 1 WHERE k.id BETWEEN {id} AND {}",
                id + 10
            ),
            1 => format!(
                "DELETE app.keyed, app_two.blobs FROM app.keyed JOIN app_two.blobs ON app.keyed.id % 100 = app_two.blobs.id WHERE app.keyed.id = {id}"
            ),
            _ => {
                format!(
                    "DELETE app.children FROM app.children JOIN app.parents ON app.children.parent = app.parents.id WHERE app.parents.id = {a}"
                )
            }
        }
    }

    fn shape(&mut self) -> String {
        let id = self.below(100);
        match self.dice.random_range(0..3) {
            0 => format!("INSERT INTO app.shape (id) VALUES ({id})"),
            1 => format!("UPDATE app.shape SET id = id + 1000 WHERE id = {id}"),
            _ => format!("DELETE FROM app.shape WHERE id = {id}"),
        }
    }

    fn parts(&mut self) -> String {
        let (id, v) = (self.below(300), self.below(30));
        match self.dice.random_range(0..3) {
            0 => format!("INSERT INTO app_two.parts VALUES ({id}, {v})"),
            1 => format!("UPDATE app_two.parts SET v = (v + 10) % 30 WHERE id = {id}"),
            _ => format!("DELETE FROM app_two.parts WHERE id = {id}"),
        }
    }
}
