CREATE TABLE docs2 LIKE docs; INSERT INTO docs2 SELECT * FROM docs;
UPDATE docs SET j = JSON_SET(j, '$.a', 2.5) WHERE id = 27;
UPDATE docs SET j = JSON_ARRAY(j, 'more');
DELETE FROM docs WHERE id < 5;
CREATE TABLE nokey (j JSON, n INT);
INSERT INTO nokey VALUES ('{"a": 1.0, "b": [1, 2]}', 1), ('{"a": 1.0, "b": [1, 2]}', 1), (NULL, 2), ('"é"', 3);
DELETE FROM nokey WHERE n = 1 LIMIT 1;
UPDATE nokey SET n = 5 WHERE n IN (2, 3);
