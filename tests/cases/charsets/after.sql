SET NAMES utf8mb4; SET sql_mode = '';
CALL each_charset(FALSE);
UPDATE collated SET b = 'A' WHERE b = 'a'; UPDATE collated SET b = 'Á' WHERE b = 'a'; UPDATE collated SET a = 'ガ' WHERE k = 'á'; UPDATE collated SET c = 'a  ' WHERE c = 'a '; UPDATE collated SET d = 'ae' WHERE d = 'ä'; UPDATE collated SET d = 'ss' WHERE d = 'ß'; UPDATE collated SET e = 'É' WHERE e = 'e'; UPDATE collated SET f = 'a  ' WHERE f = 'a ' COLLATE utf8mb4_0900_bin;
UPDATE collated SET k = 'B' WHERE k = 'A'; UPDATE collated SET k = 'A' WHERE k = 'a'; UPDATE collated SET k = k; DELETE FROM collated WHERE k = 'á ';
