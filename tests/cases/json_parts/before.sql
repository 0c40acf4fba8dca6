-- Documents with parts of types that JSON's text does not have, from columns of every type and from casts.
SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+02:00';
CREATE TABLE typed (d DATE, t TIME(3), dt DATETIME(2), ts TIMESTAMP(6) NULL, y YEAR, b4 BINARY(4), vb VARBINARY(70), bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, b1 BIT(1), b10 BIT(10), b64 BIT(64), de DECIMAL(65,30), e ENUM('a', 'b'), s SET('x', 'y'), g GEOMETRY, f FLOAT);
INSERT INTO typed VALUES
  ('2020-01-01', '-10:00:00.5', '2020-01-01 00:00:01', '2020-01-01 00:00:02.123456', 2020, 'ab', x'00ff275c22', x'c3a9', 'ij', 'kl', b'1', b'1000000101', x'ffffffffffffffff', 1.5, 'b', 'x,y', ST_GeomFromText('POINT(1 2)', 4326), 0.1),
  ('0000-00-00', '-838:59:59', '2024-02-30 23:59:59.99', '2038-01-19 03:14:07.999999', 0, '', '', '', '', '', b'0', b'0', b'0', -99999999999999999999999999999999999.999999999999999999999999999999, 'a', '', ST_GeomFromText('POINT(0 0)'), -0.0),
  ('9999-12-31', '00:00:00.001', '9999-12-31 23:59:59.99', '1970-01-01 02:00:01', 2155, x'ffffffff', REPEAT(x'0a', 70), REPEAT(x'ff', 3000), REPEAT(x'00', 70000), REPEAT(x'27', 200), b'1', b'1', b'1', 0.000000000000000000000000000001, 'a', 'x', NULL, 1e-45);
CREATE TABLE parts (id INT AUTO_INCREMENT PRIMARY KEY, j JSON);
INSERT INTO parts (j) SELECT JSON_ARRAY(d, t, dt, ts) FROM typed;
INSERT INTO parts (j) SELECT JSON_ARRAY(y, b4, vb, bl, b1, b10, b64) FROM typed;
INSERT INTO parts (j) SELECT JSON_ARRAY(mb, lb) FROM typed;
INSERT INTO parts (j) SELECT JSON_OBJECT('de', de, 'e', e, 's', s, 'g', g, 'f', f) FROM typed;
INSERT INTO parts (j) SELECT JSON_OBJECT('de', de, 'in', JSON_ARRAY(d, JSON_OBJECT('x', 1, 'aa', JSON_ARRAY(vb, 'text', dt)), 6), 'z', JSON_ARRAY(JSON_ARRAY(t)), '', 'empty', 'it''s "\\', JSON_OBJECT('ü🙂', d, 'y', JSON_ARRAY(de))) FROM typed;
INSERT INTO parts (j) SELECT CAST(d AS JSON) FROM typed; INSERT INTO parts (j) SELECT CAST(t AS JSON) FROM typed; INSERT INTO parts (j) SELECT CAST(vb AS JSON) FROM typed; INSERT INTO parts (j) SELECT CAST(b10 AS JSON) FROM typed; INSERT INTO parts (j) SELECT CAST(de AS JSON) FROM typed; INSERT INTO parts (j) SELECT CAST(ts AS JSON) FROM typed;
INSERT INTO parts (j) VALUES
  (JSON_ARRAY(CAST(5 AS DECIMAL(10, 0)), CAST(5 AS DECIMAL(10, 2)), 5, 5e0, 5.0, '5', 1.5, 1.5e0, 1.10, 1.1e0, -0.0e0, CAST(0 AS DECIMAL(5, 1)), 0.0, 1e20, 100000000000000000000, 1e15, 1e14, 0.1, 0.1e0, 12345678901234567890, 18446744073709551615, -9223372036854775808)),
  (JSON_ARRAY('2020-01-01', CAST('2020-01-01' AS DATE), '10:00:00.000000', CAST('10:00:00' AS TIME), 'base64:type15:YQ==', CAST('a' AS BINARY), CAST('2020-01-01' AS DATETIME), '2020-01-01 00:00:00.000000')),
  (JSON_OBJECT('a', true, 'b', NULL, 'c', JSON_ARRAY(), 'd', JSON_OBJECT(), 'e', 1.0, 'f', JSON_OBJECT('g', CAST('' AS BINARY)))),
  (CAST(CONCAT(REPEAT('[', 99), '1.0', REPEAT(']', 99)) AS JSON)), (NULL);
INSERT INTO parts (j) WITH RECURSIVE n (v, j) AS (SELECT 1, JSON_ARRAY(CAST('2020-01-01' AS DATE)) UNION ALL SELECT v + 1, JSON_ARRAY(v, j, 1.50) FROM n WHERE v < 40) SELECT j FROM n WHERE v = 40;
INSERT INTO parts (j) WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 900) SELECT JSON_ARRAYAGG(JSON_OBJECT('n', v, 'price', v / 3, 'on', '2020-01-01' + INTERVAL v DAY, 'at', CAST('2020-01-01' AS DATETIME) + INTERVAL v HOUR, 'text', CONCAT('"[{', v))) FROM n;
CREATE TABLE docs (k INT PRIMARY KEY, n INT, v INT, doc JSON NOT NULL DEFAULT (JSON_ARRAY(CAST('2001-01-01' AS DATE))), price DECIMAL(10, 2) AS (doc->>'$.price') STORED, extra JSON);
INSERT INTO docs (k, doc) VALUES (1, JSON_OBJECT('price', 1.50, 'until', CAST('2020-01-01' AS DATE))), (2, '{"price": 1.5}'); INSERT INTO docs (k) VALUES (3);
-- Rows without a key that differ by the type of a part alone; the generated column tells which is which.
CREATE TABLE twins (n INT, j JSON, kind VARCHAR(100) AS (CONCAT_WS(' ', JSON_TYPE(j), JSON_TYPE(j -> '$[0]'), JSON_TYPE(j -> '$.a'))) STORED);
INSERT INTO twins (n, j) VALUES (1, JSON_ARRAY(1.5e0)), (1, JSON_ARRAY(1.5)), (1, '[5]'), (1, JSON_ARRAY(CAST(5 AS UNSIGNED))), (1, JSON_ARRAY(CAST(5 AS DECIMAL(3, 0)))), (1, '{"a": 7}'), (1, JSON_OBJECT('a', CAST(7 AS UNSIGNED))), (1, JSON_OBJECT('a', CAST(7 AS DECIMAL(3, 0)))), (1, '9'), (1, CAST(CAST(9 AS UNSIGNED) AS JSON)), (1, '["2020-01-01"]'), (1, JSON_ARRAY(CAST('2020-01-01' AS DATE)));
