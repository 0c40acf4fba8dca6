CREATE TABLE g (
  a INT, s INT AS (a * 2) STORED, v VARCHAR(30) AS (CONCAT('<', a, '>')) VIRTUAL, id INT PRIMARY KEY, j JSON, jv INT AS (j->'$.n') VIRTUAL, hidden INT DEFAULT 7 INVISIBLE,
  e VARCHAR(40) DEFAULT (CONCAT('d', 'ef')), KEY (v), KEY (jv), KEY ((a + id)), UNIQUE KEY (s, id)
);
INSERT INTO g (a, id, j, hidden) VALUES (1, 1, '{"n": 5}', 1), (NULL, 2, NULL, 2), (3, 3, '{}', 3);
CREATE TABLE only_generated_first (v INT AS (id + 1) STORED, id INT PRIMARY KEY);
INSERT INTO only_generated_first (id) VALUES (1), (2);
CREATE TABLE four_bytes (
  id INT PRIMARY KEY, a VARCHAR(20) DEFAULT '😀é' COMMENT 'é', s VARCHAR(20) AS (CONCAT(a, '🙂é')) STORED, v VARCHAR(20) AS (CONCAT('🙃', a)) VIRTUAL,
  e VARCHAR(20) DEFAULT (CONCAT('🎈', 'x')), CHECK (a <> '🎉'), KEY ((CONCAT(a, '🐙')))
);
INSERT INTO four_bytes (id) VALUES (1);
CREATE TABLE other_sets (
  id INT PRIMARY KEY, l VARCHAR(20) DEFAULT 'ö', s VARCHAR(20) AS (CONCAT(l, 'é')) STORED, j VARCHAR(20) CHARACTER SET sjis DEFAULT '表',
  js VARCHAR(20) CHARACTER SET sjis AS (CONCAT(j, '表''\\')) STORED
) DEFAULT CHARSET latin1 COMMENT 'é';
INSERT INTO other_sets (id) VALUES (1);
CREATE TABLE parts (a VARCHAR(20)) PARTITION BY LIST COLUMNS (a) (PARTITION p0 VALUES IN ('😀', 'é') COMMENT 'é', PARTITION p1 VALUES IN ('x'));
INSERT INTO parts VALUES ('😀'), ('x');
