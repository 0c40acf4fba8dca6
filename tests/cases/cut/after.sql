SET sql_mode = '';
INSERT INTO stored_cut (id, a) VALUES (5, 7), (6, 1), (7, 8); UPDATE stored_cut SET a = a + 1; DELETE FROM stored_cut WHERE id = 3; UPDATE stored_cut SET id = 20 WHERE id = 2;
INSERT INTO virtual_cut (id, name) VALUES (3, 'another too long'); UPDATE virtual_cut SET name = CONCAT(name, ' and more'); DELETE FROM virtual_cut WHERE id = 1;
INSERT INTO unindexed_cut (id, name) VALUES (3, 'another too long'); UPDATE unindexed_cut SET name = CONCAT(name, ' and more'); DELETE FROM unindexed_cut WHERE id = 1;
INSERT INTO number_cut (id, name) VALUES (3, '3x'); UPDATE number_cut SET name = CONCAT(name, 'y'); DELETE FROM number_cut WHERE id = 1;
INSERT INTO index_cut VALUES (3, '{"n":"x"}'); UPDATE index_cut SET j = '{"n":"y"}' WHERE id = 2; DELETE FROM index_cut WHERE id = 1;
INSERT INTO keyless_cut (a) VALUES (6), (1); UPDATE keyless_cut SET a = 9 WHERE a = 5 LIMIT 1; DELETE FROM keyless_cut WHERE a = 6;
INSERT INTO unique_cut (id, u, a) VALUES (3, 3, 9); UPDATE unique_cut SET a = a + 1; UPDATE unique_cut SET u = u + 10 ORDER BY u DESC; DELETE FROM unique_cut WHERE id = 2;
