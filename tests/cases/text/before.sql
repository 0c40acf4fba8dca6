CREATE TABLE charsets (
  id INT AUTO_INCREMENT PRIMARY KEY, u4 VARCHAR(100) CHARACTER SET utf8mb4, u3 VARCHAR(100) CHARACTER SET utf8mb3, l1 VARCHAR(100) CHARACTER SET latin1,
  l2 CHAR(50) CHARACTER SET latin2, asc1 CHAR(20) CHARACTER SET ascii, u16 VARCHAR(50) CHARACTER SET utf16, u32 VARCHAR(50) CHARACTER SET utf32,
  ucs VARCHAR(50) CHARACTER SET ucs2, u16le VARCHAR(50) CHARACTER SET utf16le, sj VARCHAR(50) CHARACTER SET sjis, cp9 VARCHAR(50) CHARACTER SET cp932,
  gb VARCHAR(50) CHARACTER SET gbk, gb18 VARCHAR(50) CHARACTER SET gb18030, b5 VARCHAR(50) CHARACTER SET big5, eu VARCHAR(50) CHARACTER SET euckr,
  ej VARCHAR(50) CHARACTER SET eucjpms, k8 VARCHAR(50) CHARACTER SET koi8r, w51 VARCHAR(50) CHARACTER SET cp1251, he VARCHAR(50) CHARACTER SET hebrew, ti VARCHAR(50) CHARACTER SET tis620
);
INSERT INTO charsets (u4, u3, l1, l2, asc1, u16, u32, ucs, u16le, sj, cp9, gb, gb18, b5, eu, ej, k8, w51, he, ti) VALUES
  ('a🙂é', 'aé漢', 'é€ÿ', 'łąž', 'plain', 'a🙂', 'a🙂é', 'é漢', '🙂x', 'ソ表能', 'ソ①', '漢字誠', '漢字🙂', '功許蓋', '한국어', '日本', 'Привет', 'Привет', 'שלום', 'ไทย'),
  ('', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', ''),
  ('\'"\\\0\n\r\Z%_', '\\', '\\\'', '\\', '\\\'', '\\\'', '\\', '\\', '\\', '\\\'', '\\', '\\', '\\', '\\', '\\', '\\', '\\', '\\', '\\', '\\'),
  ('trail  ', 'trail  ', 'trail  ', 'trail  ', 'trail  ', 'x  ', 'x  ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x ', 'x '),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE sizes (id INT AUTO_INCREMENT PRIMARY KEY, c CHAR(255), v VARCHAR(16000), tt TINYTEXT, t TEXT, mt MEDIUMTEXT, lt LONGTEXT CHARACTER SET latin1);
INSERT INTO sizes (c, v, tt, t, mt, lt) VALUES (REPEAT('é', 255), REPEAT('ü', 16000), REPEAT('a', 255), REPEAT('b', 65535), REPEAT('漢', 100000), REPEAT('ß', 1000000)), ('', '', '', '', '', '');
CREATE TABLE sets (id INT AUTO_INCREMENT PRIMARY KEY, e ENUM('a', 'b''c', 'ü', '') CHARACTER SET latin1, s SET('x', 'y', 'zürich') CHARACTER SET utf8mb4, e2 ENUM('x') NOT NULL);
INSERT INTO sets (e, s, e2) VALUES ('a', 'x', 'x'), ('b''c', 'x,y', 'x'), ('ü', 'zürich,x', 'x'), ('', '', 'x'), (NULL, NULL, 'x');
SET sql_mode = '';
INSERT INTO sets (e, s, e2) VALUES ('nonsense', 'x', 'wrong');
