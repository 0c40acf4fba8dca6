CREATE TABLE g (
  a INT, s INT AS (a * 2) STORED, v VARCHAR(30) AS (CONCAT('<', a, '>')) VIRTUAL, id INT PRIMARY KEY, j JSON, jv INT AS (j->'$.n') VIRTUAL, hidden INT DEFAULT 7 INVISIBLE,
  e VARCHAR(40) DEFAULT (CONCAT('d', 'ef')), KEY (v), KEY (jv), KEY ((a + id)), UNIQUE KEY (s, id)
);
INSERT INTO g (a, id, j, hidden) VALUES (1, 1, '{"n": 5}', 1), (NULL, 2, NULL, 2), (3, 3, '{}', 3);
CREATE TABLE only_generated_first (v INT AS (id + 1) STORED, id INT PRIMARY KEY);
INSERT INTO only_generated_first (id) VALUES (1), (2);
