CREATE TABLE g2 LIKE g; INSERT INTO g2 (a, id, j, hidden, e) SELECT a, id, j, hidden, e FROM g;
UPDATE g SET a = a + 1, hidden = 9; UPDATE g SET id = 10 WHERE id = 1; DELETE FROM g WHERE id = 2;
INSERT INTO only_generated_first (id) VALUES (5); UPDATE only_generated_first SET id = 6 WHERE id = 5; DELETE FROM only_generated_first WHERE v = 2;
CREATE TABLE nokey (a INT, s INT AS (a + 1) STORED, v INT AS (a + 2) VIRTUAL);
INSERT INTO nokey (a) VALUES (1), (1), (2), (NULL); DELETE FROM nokey WHERE a = 1 LIMIT 1; UPDATE nokey SET a = 9 WHERE a IS NULL;
INSERT INTO four_bytes (id) VALUES (2); UPDATE four_bytes SET a = 'z' WHERE id = 1;
INSERT INTO other_sets (id) VALUES (2); UPDATE other_sets SET l = 'z', j = 'z' WHERE id = 1;
INSERT INTO parts VALUES ('é'); UPDATE parts SET a = 'x' WHERE a = '😀';
