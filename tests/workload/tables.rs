//! The tables and their first rows.

use rand::Rng;
use rand::rngs::StdRng;

const TABLES: &str = "
CREATE DATABASE app DEFAULT CHARACTER SET utf8mb4;
CREATE DATABASE app_two DEFAULT CHARACTER SET latin1;
CREATE TABLE app.keyed (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(60), d DECIMAL(12,3), t TIMESTAMP(6) NULL, KEY (v));
CREATE TABLE app.composite (a SMALLINT, b VARCHAR(40) COLLATE utf8mb4_0900_ai_ci, n BIGINT UNSIGNED, PRIMARY KEY (a, b));
CREATE TABLE app.uniques (id BIGINT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(40) NULL UNIQUE, code INT NOT NULL UNIQUE, x INT, y INT, UNIQUE (x, y));
CREATE TABLE app.keyless (v INT, s VARCHAR(30), j JSON);
CREATE TABLE app.parents (id INT PRIMARY KEY, name VARCHAR(30));
CREATE TABLE app.children (id INT AUTO_INCREMENT PRIMARY KEY, parent INT, other INT, v INT, FOREIGN KEY (parent) REFERENCES app.parents (id) ON DELETE CASCADE ON UPDATE CASCADE, FOREIGN KEY (other) REFERENCES app.parents (id) ON DELETE SET NULL);
CREATE TABLE app.tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES app.tree (id) ON DELETE CASCADE);
CREATE TABLE app_two.documents (id INT AUTO_INCREMENT PRIMARY KEY, j JSON, n INT AS (j->'$.n') STORED, c VARCHAR(20) AS (j->>'$.c') VIRTUAL, KEY (n), KEY (c));
CREATE TABLE app_two.blobs (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB, t MEDIUMTEXT CHARACTER SET utf8mb4, e ENUM('a', 'b', 'ü'), s SET('x', 'y', 'z'), bits BIT(17), y YEAR, tm TIME(3), dt DATETIME(2), f DOUBLE);
CREATE TABLE app_two.parts (id INT, v INT, PRIMARY KEY (id, v)) PARTITION BY RANGE (v) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN MAXVALUE);
CREATE TABLE app.shape (id INT PRIMARY KEY);
CREATE TABLE app.swap_a (id INT PRIMARY KEY, v VARCHAR(10));
CREATE TABLE app.swap_b (id INT PRIMARY KEY, v VARCHAR(10), w INT);
CREATE TABLE app.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, was INT, is_now INT);
CREATE TRIGGER app.noted AFTER UPDATE ON app.uniques FOR EACH ROW INSERT INTO app.audit (was, is_now) VALUES (OLD.code, NEW.code)";

/// How many rows each table has before anybody writes; changes aim at about twice as many keys.
pub(super) const KEYED: u32 = 2000;
pub(super) const PARENTS: u32 = 150;
pub(super) const UNIQUES: u32 = 300;
pub(super) const DOCUMENTS: u32 = 100;

pub(super) fn setup(dice: &mut StdRng) -> Vec<String> {
    let salt: u32 = dice.random();
    let numbers = |count: u32| {
        format!("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT")
    };
    let mut statements: Vec<String> = TABLES
        .split(";\n")
        .map(|statement| statement.trim().to_owned())
        .collect();
    statements.push("SET SESSION cte_max_recursion_depth = 1000000".to_owned());
    statements.extend([
        format!("INSERT INTO app.keyed (v, s, d, t) {} n % 50, LEFT(SHA2(n + {salt}, 256), 30), n / 7, NOW(6) FROM s", numbers(KEYED)),
        format!("INSERT INTO app.composite {} n % 40, CONCAT('b', n), n FROM s", numbers(400)),
        format!("INSERT INTO app.uniques (email, code, x, y) {} IF(n % 3, CONCAT('m', n, '@x'), NULL), n * 3, n % 20, IF(n % 4, n, NULL) FROM s", numbers(UNIQUES)),
        format!("INSERT INTO app.keyless {} n % 7, 'same', IF(n % 5, NULL, JSON_OBJECT('n', n % 3)) FROM s", numbers(300)),
        format!("INSERT INTO app.parents {} n, CONCAT('parent ', n) FROM s", numbers(PARENTS)),
        format!("INSERT INTO app.children (parent, other, v) {0} 1 + n % {PARENTS}, 1 + n * 7 % {PARENTS}, n FROM s", numbers(500)),
        format!("INSERT INTO app.tree {} n, NULLIF(n DIV 2, 0) FROM s", numbers(60)),
        format!("INSERT INTO app_two.documents (j) {} JSON_OBJECT('n', n, 'c', CONCAT('c', n), 'list', JSON_ARRAY(n, 'é', NULL), 'd', CAST(n / 8 AS DOUBLE)) FROM s", numbers(DOCUMENTS)),
        format!("INSERT INTO app_two.blobs (b, t, e, s, bits, y, tm, dt, f) {} RANDOM_BYTES(1 + n * 8), REPEAT('ß', n), 1 + n % 3, n % 8, n * 999, 1901 + n, SEC_TO_TIME(n * 7777), NOW(2), n / 3 FROM s", numbers(60)),
        format!("INSERT INTO app_two.parts {} n, n % 30 FROM s", numbers(200)),
        format!("INSERT INTO app.shape {} n FROM s", numbers(50)),
        format!("INSERT INTO app.swap_a {} n, CONCAT('a', n) FROM s", numbers(20)),
        format!("INSERT INTO app.swap_b {} n, CONCAT('b', n), n FROM s", numbers(30)),
    ]);
    statements
}
