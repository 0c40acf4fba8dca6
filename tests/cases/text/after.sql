CREATE TABLE charsets2 LIKE charsets; INSERT INTO charsets2 SELECT * FROM charsets;
CREATE TABLE sizes2 LIKE sizes; INSERT INTO sizes2 SELECT * FROM sizes;
CREATE TABLE sets2 LIKE sets; SET sql_mode = ''; INSERT INTO sets2 SELECT * FROM sets;
UPDATE charsets SET l1 = CONCAT(l1, 'ÿ'), u4 = CONCAT('🙂', u4), sj = CONCAT(sj, 'ソ'), u16 = CONCAT(u16, 'z');
UPDATE sets SET e = 'ü', s = 'y' WHERE id <= 2;
UPDATE sets SET e = 'nonsense' WHERE id = 3;
UPDATE sizes SET lt = CONCAT(lt, lt), c = 'short ';
DELETE FROM charsets WHERE id = 1;
CREATE TABLE nokey (l VARCHAR(20) CHARACTER SET latin1, u VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, s VARCHAR(20) CHARACTER SET sjis, e ENUM('a', 'b'), t TEXT, c CHAR(10));
INSERT INTO nokey VALUES ('é', 'Ab', 'ソ', 'a', 'text', 'pad'), ('e', 'aB', 'ソ', 'b', 'TEXT', 'PAD '), ('é', 'Ab', 'ソ', 'a', 'text', 'pad'), (NULL, NULL, NULL, NULL, NULL, NULL);
DELETE FROM nokey WHERE l = 'é' LIMIT 1;
UPDATE nokey SET u = 'AB' WHERE e = 'b';
-- Members beyond the characters of three bytes, which the server's own definitions show as question marks.
CREATE TABLE emoji (id INT PRIMARY KEY, e ENUM('a', '🙂', 'b😀c', 'é漢', '💥?'), s SET('🙃', 'x') NOT NULL, k ENUM('😀', 'y') NOT NULL, UNIQUE KEY (k, id)) CHARACTER SET utf8mb4;
INSERT INTO emoji VALUES (1, '🙂', '🙃', '😀'), (2, 'b😀c', '🙃,x', 'y'), (3, 'é漢', '', '😀'), (4, '💥?', 'x', 'y'); UPDATE emoji SET e = '💥?' WHERE e = 'b😀c'; UPDATE emoji SET k = 'y' WHERE id = 1; DELETE FROM emoji WHERE e = 'é漢'; CREATE TABLE emoji_bare AS SELECT * FROM emoji; UPDATE emoji_bare SET s = '🙃' WHERE k = 'y'; DELETE FROM emoji_bare WHERE e = '🙂';
