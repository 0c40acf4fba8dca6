-- Each character set that the server has, as plain columns and as key: every single byte, and pairs of bytes, that are a
-- character there. The tables are made by a procedure, because the list is the server's.
SET NAMES utf8mb4; SET sql_mode = '';
CREATE TABLE digits (d INT PRIMARY KEY); INSERT INTO digits WITH RECURSIVE n (v) AS (SELECT 0 UNION ALL SELECT v + 1 FROM n WHERE v < 255) SELECT v FROM n;
DELIMITER //
CREATE PROCEDURE each_charset(IN before_copy BOOL)
BEGIN
  DECLARE done BOOL DEFAULT FALSE; DECLARE cs VARCHAR(64); DECLARE longest INT;
  DECLARE sets CURSOR FOR SELECT character_set_name, maxlen FROM information_schema.character_sets WHERE character_set_name <> 'binary';
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = TRUE;
  OPEN sets;
  walk: LOOP
    FETCH sets INTO cs, longest; IF done THEN LEAVE walk; END IF;
    IF before_copy THEN
      SET @make = CONCAT('CREATE TABLE t_', cs, ' (id INT AUTO_INCREMENT PRIMARY KEY, c CHAR(20), v VARCHAR(60), t TEXT, e ENUM(''a'', ''b c''), s SET(''x'', ''y'')) CHARACTER SET ', cs); PREPARE it FROM @make; EXECUTE it;
      SET @make = CONCAT('CREATE TABLE k_', cs, ' (k VARCHAR(20) NOT NULL, n INT, p VARCHAR(40), PRIMARY KEY (k), KEY (p(3))) CHARACTER SET ', cs); PREPARE it FROM @make; EXECUTE it;
      SET @make = CONCAT('CREATE TABLE n_', cs, ' (v VARCHAR(60), c CHAR(5)) CHARACTER SET ', cs); PREPARE it FROM @make; EXECUTE it;
    END IF;
    SET @offset = IF(before_copy, 0, 1);
    -- Bytes of one and of two that are a character of this set survive the way to utf8mb4 and back.
    SET @one = CONCAT('INSERT INTO t_', cs, ' (c, v, t, e, s) SELECT x, CONCAT(x, ''  ''), CONCAT(''<'', x, ''>''), 1 + d % 2, d % 4 FROM (SELECT d, CONVERT(CHAR(d USING latin1) USING ', cs, ') x FROM digits) z WHERE d % 2 = ', @offset, ' AND (x <> ''?'' OR d = 63)'); PREPARE it FROM @one; EXECUTE it;
    SET @raw = CONCAT('INSERT IGNORE INTO t_', cs, ' (v) SELECT x FROM (SELECT CONVERT(CHAR(a.d, b.d) USING ', cs, ') x FROM digits a, digits b WHERE a.d % 16 = ', @offset, ' AND b.d % 16 = ', @offset, ') z WHERE x IS NOT NULL AND CONVERT(CONVERT(x USING utf8mb4) USING ', cs, ') = x'); 
    IF longest <= 2 THEN PREPARE it FROM @raw; EXECUTE it; END IF;
    SET @text = CONCAT('INSERT INTO t_', cs, ' (v, t) SELECT CONVERT(''漢字表能功許蓋한국어ПриветשלוםไทยÄß🙂'' USING ', cs, '), CONVERT(REPEAT(''ソ①\\\\''''é'', 500) USING ', cs, ')'); PREPARE it FROM @text; EXECUTE it;
    SET @keys = CONCAT('INSERT IGNORE INTO k_', cs, ' SELECT LEFT(v, 20), id, t FROM t_', cs, ' WHERE id % 3 = ', @offset); PREPARE it FROM @keys; EXECUTE it;
    SET @plain = CONCAT('INSERT INTO n_', cs, ' VALUES (''Ab'', ''x''), (''aB'', ''x''), (''Ab'', ''x''), (''ab '', ''X''), (''\\\\'''''', ''"''), (NULL, NULL)'); PREPARE it FROM @plain; EXECUTE it;
    IF NOT before_copy THEN
      -- Case, accents, trailing spaces, nothing.
      SET @up = CONCAT('UPDATE IGNORE t_', cs, ' SET v = UPPER(v), c = LOWER(c), t = CONCAT(t, '' '') WHERE id % 2 = 0'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('UPDATE IGNORE k_', cs, ' SET k = CONCAT(k, ''   ''), n = n + 1 WHERE n % 5 = 1'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('UPDATE IGNORE k_', cs, ' SET k = UPPER(k), p = k WHERE n % 5 > 1'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('DELETE FROM k_', cs, ' WHERE n % 7 = 0'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('DELETE FROM t_', cs, ' WHERE id % 7 = 0'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('UPDATE n_', cs, ' SET c = ''y'' WHERE BINARY CONVERT(v USING utf8mb4) = BINARY ''aB'' LIMIT 1'); PREPARE it FROM @up; EXECUTE it;
      SET @up = CONCAT('DELETE FROM n_', cs, ' WHERE BINARY CONVERT(v USING utf8mb4) = BINARY ''Ab'' LIMIT 3'); PREPARE it FROM @up; EXECUTE it;
    END IF;
  END LOOP;
  CLOSE sets;
END//
DELIMITER ;
CALL each_charset(TRUE);
-- A collation of each kind as a key: padded and not, by case, accent, kana, and of another language's order.
CREATE TABLE collated (k VARCHAR(20) COLLATE utf8mb4_0900_as_cs PRIMARY KEY, a VARCHAR(20) COLLATE utf8mb4_ja_0900_as_cs_ks UNIQUE, b VARCHAR(20) COLLATE utf8mb4_general_ci UNIQUE, c VARCHAR(20) COLLATE utf8mb4_0900_bin UNIQUE, d VARCHAR(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_german2_ci UNIQUE, e VARCHAR(20) COLLATE utf8mb4_unicode_520_ci UNIQUE, f VARCHAR(20) COLLATE utf8mb4_bin);
INSERT INTO collated VALUES ('a', 'か', 'a', 'a', 'ß', '🙂', 'a'), ('A', 'カ', 'b', 'A', 'sz', '🙃', 'A'), ('á', 'が', 'c', 'a ', 'ä', 'e', 'a '), ('á ', NULL, NULL, '', NULL, NULL, NULL);
