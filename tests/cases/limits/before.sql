-- Each type at its limits, as a plain column and, where it can be one, as a key.
SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = 'SYSTEM';
CREATE TABLE every (
  id BIGINT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, su SMALLINT UNSIGNED, mi MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED,
  f FLOAT, f24 FLOAT(24), f53 FLOAT(53), fm FLOAT(10, 2), d DOUBLE, dm DOUBLE(30, 10), de DECIMAL(65, 30), d0 DECIMAL(65, 0), bi BIT(64), y YEAR,
  da DATE, t TIME, t6 TIME(6), dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
  c CHAR(10), v VARCHAR(100), bn BINARY(6), vb VARBINARY(100), tt TINYTEXT, te TEXT, mt MEDIUMTEXT, lt LONGTEXT, tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB,
  e ENUM('', 'a', 'it''s', 'x,y', '"q"', 'é漢', '\\'), s SET('', 'a', 'it''s', '"q"', 'é漢', '\\'), j JSON, ve VECTOR(4),
  g GEOMETRY, po POINT, ls LINESTRING, pl POLYGON, mp MULTIPOINT, ml MULTILINESTRING, mpl MULTIPOLYGON, gc GEOMETRYCOLLECTION, p4 POINT SRID 4326, g0 GEOMETRY SRID 0);
INSERT INTO every VALUES
  (0, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808, 18446744073709551615,
   1e-45, 3.4028235e38, 5e-324, 99999999.99, 1.7976931348623157e308, 12345678901234567890.0123456789, -99999999999999999999999999999999999.999999999999999999999999999999, 99999999999999999999999999999999999999999999999999999999999999999, x'ffffffffffffffff', 0,
   '0000-00-00', '-838:59:59', '-838:59:58.999999', '0000-00-00 00:00:00', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07', '2038-01-19 03:14:07.999999',
   '🙂é', 'trail  ', x'000000', x'610000', 'é漢', 'é漢', 'é漢', 'é漢', x'00', x'00', x'00', x'00', 'é漢', 'a,it''s,é漢', '{"a": -0.0}', x'0000008001000000ffff7f7f000080bf',
   ST_GeomFromText('GEOMETRYCOLLECTION EMPTY'), ST_GeomFromText('POINT(-0.0 1e308)'), ST_GeomFromText('LINESTRING(0 0, 1e-300 5e-324)', 4326), ST_GeomFromText('POLYGON((0 0, 10 0, 10 10, 0 10, 0 0), (1 1, 2 1, 2 2, 1 1))', 4326), ST_GeomFromText('MULTIPOINT(0 0, 1 1)'), ST_GeomFromText('MULTILINESTRING((0 0, 1 1), (2 2, 3 3))', 3857), ST_GeomFromText('MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))'), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), GEOMETRYCOLLECTION(LINESTRING(0 0, 5 5)))', 4326), ST_GeomFromText('POINT(-90 180)', 4326), ST_GeomFromText('MULTIPOINT(1 2)')),
  (-9223372036854775808, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0,
   -0.0e0, -1.17549435e-38, -0.0e0, -99999999.99, 2.2250738585072014e-308, -0.0e0, 0.000000000000000000000000000001, -1, 0, 1901,
   '2024-02-30', '838:59:59', '00:00:00.000001', '2024-00-00 00:00:00', '0000-00-00 00:00:00.000001', '0000-00-00 00:00:00', '1970-01-01 00:00:01.000001',
   '', '', '', '', '', '', '', '', '', '', '', '', '', '', 'null', STRING_TO_VECTOR('[1]'),
   ST_GeomFromText('LINESTRING(1 2, 3 4)', 4326), ST_GeomFromText('POINT(1 2)', 4326), NULL, NULL, ST_GeomFromText('MULTIPOINT(0 0, 1 1)', 4326), ST_GeomFromText('MULTILINESTRING((0 0, 1 1))', 4326), ST_GeomFromText('MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 4326), ST_GeomFromText('GEOMETRYCOLLECTION EMPTY', 4326), ST_GeomFromText('POINT(90 -179.99999)', 4326), ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))')),
  (9223372036854775807, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT IGNORE INTO every (id, e, s) VALUES (5, 'nonsense', 'nonsense,a'), (6, '', ''), (7, 1, 63);
-- Times on both sides of the hour that is not there and in the one that is there twice.
SET time_zone = '+00:00'; INSERT INTO every (id, ts, ts6) VALUES (11, '2025-03-30 00:59:59', '2025-03-30 01:00:00'), (12, '2025-10-26 00:30:00', '2025-10-26 01:30:00.5'), (13, '2025-03-09 06:59:59', '2025-11-02 05:30:00.000001'), (14, '2025-11-02 06:30:00', '2025-03-09 07:00:00');
-- BIT of each width, a SET of 64 members: the tables are made from numbers.
SET SESSION group_concat_max_len = 100000; SET SESSION cte_max_recursion_depth = 10000;
CREATE TABLE numbers (n INT PRIMARY KEY); INSERT INTO numbers WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3000) SELECT n FROM r;
SELECT CONCAT('CREATE TABLE bit_widths (id INT PRIMARY KEY, ', GROUP_CONCAT(CONCAT('b', n, ' BIT(', n, ')') ORDER BY n), ')') INTO @make FROM numbers WHERE n <= 64; PREPARE it FROM @make; EXECUTE it;
SELECT CONCAT('INSERT INTO bit_widths SELECT n, ', GROUP_CONCAT(CONCAT('(18446744073709551615 >> ', 64 - n, ') ^ (n * 7919 % ', n, ')') ORDER BY n), ' FROM numbers WHERE n <= 100') INTO @fill FROM numbers WHERE n <= 64; PREPARE it FROM @fill; EXECUTE it;
SELECT CONCAT('CREATE TABLE set64 (s SET(', GROUP_CONCAT(CONCAT('''m', n, '''') ORDER BY n), ') PRIMARY KEY, v INT)') INTO @make FROM numbers WHERE n <= 64; PREPARE it FROM @make; EXECUTE it;
INSERT INTO set64 VALUES (0, 1), (1, 2), (9223372036854775808, 3), (18446744073709551615, 4), (6148914691236517205, 5);
-- Keys of one column of each type.
SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE k_float (k FLOAT PRIMARY KEY, v INT); INSERT INTO k_float VALUES (0.1, 1), (-0.0e0, 2), (1e-45, 3), (3.4028235e38, 4), (16777217, 5), (-1.5, 6);
CREATE TABLE k_double (k DOUBLE PRIMARY KEY, v INT); INSERT INTO k_double VALUES (0.1, 1), (-0.0e0, 2), (5e-324, 3), (1.7976931348623157e308, 4), (0.30000000000000004, 5), (0.3, 6);
CREATE TABLE k_floatm (k FLOAT(7, 3) PRIMARY KEY, v INT); INSERT INTO k_floatm VALUES (0.1, 1), (9999.999, 2), (-1.005, 3);
CREATE TABLE k_decimal (k DECIMAL(65, 30) PRIMARY KEY, v INT); INSERT INTO k_decimal VALUES (99999999999999999999999999999999999.999999999999999999999999999999, 1), (-0.000000000000000000000000000001, 2), (0, 3);
CREATE TABLE k_date (k DATE PRIMARY KEY, v INT); INSERT INTO k_date VALUES ('0000-00-00', 1), ('2024-02-30', 2), ('2024-00-00', 3), ('9999-12-31', 4);
CREATE TABLE k_time6 (k TIME(6) PRIMARY KEY, v INT); INSERT INTO k_time6 VALUES ('-838:59:58.999999', 1), ('-00:00:00.000001', 2), ('00:00:00', 3), ('838:59:59', 4);
CREATE TABLE k_dt6 (k DATETIME(6) PRIMARY KEY, v INT); INSERT INTO k_dt6 VALUES ('0000-00-00', 1), ('2024-02-30 00:00:00.000001', 2), ('9999-12-31 23:59:59.999999', 3), ('2024-01-01', 4);
CREATE TABLE k_ts3 (k TIMESTAMP(3) PRIMARY KEY, v INT); INSERT INTO k_ts3 VALUES ('0000-00-00 00:00:00', 1), ('2025-10-26 00:30:00', 2), ('2025-10-26 01:30:00', 3), ('2038-01-19 03:14:07.999', 4);
CREATE TABLE k_year (k YEAR PRIMARY KEY, v INT); INSERT INTO k_year VALUES (0, 1), (1901, 2), (2155, 3);
CREATE TABLE k_bit (k BIT(64) PRIMARY KEY, v INT); INSERT INTO k_bit VALUES (0, 1), (x'ffffffffffffffff', 2), (x'8000000000000000', 3);
CREATE TABLE k_enum (k ENUM('b', 'a', 'it''s', 'é漢', '\\', '') PRIMARY KEY, v INT); INSERT INTO k_enum VALUES ('b', 1), ('a', 2), ('it''s', 3), ('é漢', 4), ('\\', 5), (6, 6);
SET sql_mode = ''; INSERT IGNORE INTO k_enum VALUES ('nonsense', 7); SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE k_enum_first (k ENUM('z', 'm', 'a'), b BINARY(4), v INT, w INT, PRIMARY KEY (k, b, v)); INSERT INTO k_enum_first VALUES ('z', 'a', 1, 1), ('z', x'6100', 2, 2), ('a', x'61', 1, 3), ('m', x'00', -1, 4), ('m', '', 0, 5);
CREATE TABLE k_vb_prefix (k VARBINARY(100), v INT, PRIMARY KEY (k(4))); INSERT INTO k_vb_prefix VALUES (x'61', 1), (x'6100', 2), ('', 3), (x'00000000ff', 4), (x'ffffffff27', 5);
CREATE TABLE k_blob_prefix (k BLOB NOT NULL, t TEXT NOT NULL, v INT, PRIMARY KEY (k(3), t(2))); INSERT INTO k_blob_prefix VALUES (x'61', 'ab tail', 1), (x'6100', 'AC', 2), ('', '', 3), (x'616100ff', 'éx', 4), (x'616100', 'f', 5);
CREATE TABLE k_all (ti TINYINT, iu INT UNSIGNED, de DECIMAL(10, 5), d DOUBLE, f FLOAT, da DATE, t TIME(2), dt DATETIME(3), ts TIMESTAMP(1), y YEAR, c CHAR(5), v VARCHAR(8), bn BINARY(4), vb VARBINARY(5), e ENUM('b', 'a'), s SET('x', 'y'), w INT, PRIMARY KEY (ti, iu, de, d, f, da, t, dt, ts, y, c, v, bn, vb, e, s));
INSERT INTO k_all VALUES (-1, 4294967295, 1.5, 0.1, 0.1, '0000-00-00', '-00:00:00.5', '2024-01-01 00:00:00.5', '2025-10-26 00:30:00', 0, 'a', 'b ', 'a', x'6100', 'b', 'x,y', 1), (-1, 4294967295, 1.5, 0.1, 0.1, '0000-00-00', '-00:00:00.5', '2024-01-01 00:00:00.5', '2025-10-26 00:30:00', 0, 'a', 'b', 'a', x'61', 'a', '', 2), (0, 0, 0, 0, 0, '2024-01-01', '00:00:00', '2024-01-01', '2025-01-01', 2000, '', '', '', '', 'a', 'y', 3);
CREATE TABLE k_nullable (id INT, u INT, w VARCHAR(10), v INT, UNIQUE KEY (u, w)); INSERT INTO k_nullable VALUES (1, NULL, NULL, 1), (1, NULL, NULL, 1), (2, 1, NULL, 2), (2, 1, NULL, 2), (3, 1, 'a', 3), (4, NULL, 'a', 4);
CREATE TABLE k_functional (a INT, b VARCHAR(20), v INT, UNIQUE KEY ((a * 2), (UPPER(b))), KEY ((CAST(b AS CHAR(10)) COLLATE utf8mb4_bin) DESC), d DATETIME(6) DEFAULT (NOW(6)), KEY (a DESC, v)); INSERT INTO k_functional (a, b, v) VALUES (1, 'a', 1), (2, 'a', 2), (NULL, 'a', 3), (NULL, 'a', 3);
CREATE TABLE k_generated (a INT, b VARCHAR(20), h VARBINARY(16) AS (CONCAT(CAST(b AS BINARY), x'00')) STORED, u VARCHAR(40) AS (CONCAT(LOWER(b), a)) VIRTUAL INVISIBLE UNIQUE, x INT DEFAULT (a + 1) INVISIBLE, PRIMARY KEY (h)); INSERT INTO k_generated (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'X ');
CREATE TABLE k_multi (id INT PRIMARY KEY, j JSON, KEY zips ((CAST(j -> '$.z' AS UNSIGNED ARRAY)))); INSERT INTO k_multi VALUES (1, '{"z": [1, 2, 3]}'), (2, '{"z": []}'), (3, NULL);
SET sql_generate_invisible_primary_key = ON; CREATE TABLE k_gipk (a INT, f FLOAT); SET sql_generate_invisible_primary_key = OFF; INSERT INTO k_gipk VALUES (1, 0.1), (1, 0.1), (NULL, -0.0e0);
CREATE TABLE k_auto (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT); INSERT INTO k_auto VALUES (-2147483648, 1), (-1, 2), (0, 3), (2147483646, 4);
CREATE TABLE bare LIKE every; ALTER TABLE bare DROP PRIMARY KEY; INSERT INTO bare SELECT * FROM every; INSERT INTO bare SELECT * FROM every;
CREATE TABLE many (n INT PRIMARY KEY, v VARCHAR(20), d DOUBLE, UNIQUE KEY (v)); INSERT INTO many SELECT n, CONCAT('Row ', n), n / 3 FROM numbers;
CREATE TABLE many_bare (n INT, v VARCHAR(20)); INSERT INTO many_bare SELECT n % 700, 'same' FROM numbers WHERE n <= 1400;
