-- What a server computes of a row, and has cut: INSERT IGNORE stores the row all the same, and so does a session that is not strict.
CREATE TABLE stored_cut (id INT PRIMARY KEY, a INT, g TINYINT AS (a * 100) STORED);
CREATE TABLE virtual_cut (id INT PRIMARY KEY, name VARCHAR(50), short VARCHAR(5) AS (name) VIRTUAL, KEY (short));
CREATE TABLE unindexed_cut (id INT PRIMARY KEY, name VARCHAR(50), short VARCHAR(5) AS (name) VIRTUAL);
CREATE TABLE number_cut (id INT PRIMARY KEY, name VARCHAR(50), n INT AS (CAST(name AS UNSIGNED)) VIRTUAL, KEY (n));
CREATE TABLE index_cut (id INT PRIMARY KEY, j JSON, KEY ((CAST(j->>'$.n' AS UNSIGNED))));
CREATE TABLE keyless_cut (a INT, g TINYINT AS (a * 100) STORED);
CREATE TABLE unique_cut (id INT PRIMARY KEY, u INT UNIQUE, a INT, g TINYINT AS (a * 100) STORED);
INSERT INTO stored_cut (id, a) VALUES (1, 1); INSERT IGNORE INTO stored_cut (id, a) VALUES (2, 5), (3, 1), (4, 6);
INSERT IGNORE INTO virtual_cut (id, name) VALUES (1, 'much too long'), (2, 'fits');
INSERT IGNORE INTO unindexed_cut (id, name) VALUES (1, 'much too long'), (2, 'fits');
INSERT IGNORE INTO number_cut (id, name) VALUES (1, '12ab'), (2, '12');
SET sql_mode = ''; INSERT INTO index_cut VALUES (1, '{"n":"abc"}'), (2, '{"n":"7"}');
INSERT INTO keyless_cut (a) VALUES (1), (5), (5); INSERT INTO unique_cut (id, u, a) VALUES (1, 1, 5), (2, 2, 1);
