CREATE TABLE docs (id INT AUTO_INCREMENT PRIMARY KEY, j JSON);
INSERT INTO docs (j) VALUES
  ('null'), ('true'), ('false'), ('0'), ('-1'), ('32767'), ('32768'), ('-32769'), ('65536'), ('2147483648'), ('9223372036854775807'), ('18446744073709551615'), ('-9223372036854775808'),
  ('0.1'), ('1.0'), ('-0.0'), ('1e308'), ('5e-324'), ('1e20'), ('123456789.123456789'), ('""'), ('"é🙂"'), ('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001"'), ('[]'), ('{}'), ('[1, "a", null, true, {"b": [1.5]}]'),
  ('{"a": 1, "ü": {"deep": [[[[]]]]}, "": "empty key", "long key long key long key long key": 1}'), (NULL);
INSERT INTO docs (j) SELECT CONCAT('"', REPEAT('long ', 30000), '"');
INSERT INTO docs (j) SELECT JSON_ARRAYAGG(JSON_OBJECT('k', j, 'n', id)) FROM docs WHERE id < 20;
INSERT INTO docs (j) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT JSON_OBJECTAGG(CONCAT('key', n), REPEAT('x', 200)) FROM s;
