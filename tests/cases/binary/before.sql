CREATE TABLE blobs (id INT AUTO_INCREMENT PRIMARY KEY, b BINARY(10), b1 BINARY(1), vb VARBINARY(300), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, g GEOMETRY, p POINT SRID 4326, v VECTOR(3));
INSERT INTO blobs (b, b1, vb, tb, bl, mb, lb, g, p, v) VALUES
  ('', '', '', '', '', '', '', NULL, NULL, NULL),
  (x'00', x'00', x'00', x'00', x'00', x'00', x'00', ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(10 20)', 4326), STRING_TO_VECTOR('[1, -2.5, 3e10]')),
  (x'61000000', x'ff', x'0102030400', x'2720', UNHEX(REPEAT('27', 1000)), UNHEX(REPEAT('5c', 70000)), UNHEX(REPEAT('00ff0a0d1a', 300000)), ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))', 3857), NULL, STRING_TO_VECTOR('[0, 0, 0]')),
  (x'ffffffffffffffffffff', x'27', x'f09f9982', NULL, NULL, NULL, NULL, ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 5 5))'), NULL, NULL);
CREATE TABLE binkeys (k BINARY(8) PRIMARY KEY, v INT);
INSERT INTO binkeys VALUES ('a', 1), (x'6100', 2) ON DUPLICATE KEY UPDATE v = v + 10;
INSERT INTO binkeys VALUES ('ab', 3), ('', 4), (x'ff', 5);
CREATE TABLE vbkeys (k VARBINARY(16) PRIMARY KEY, v INT);
INSERT INTO vbkeys VALUES ('a', 1), (x'6100', 2), ('', 3), (x'275c00', 4);
