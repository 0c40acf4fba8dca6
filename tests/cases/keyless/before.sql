-- Rows without a key that the server's `=` takes for equal and that are not the same.
CREATE TABLE documents (n INT, j JSON);
INSERT INTO documents VALUES (1, '1'), (1, '1.0'), (1, '[1]'), (1, '[1.0]'), (1, '{"a": "é"}'), (1, NULL);
CREATE TABLE zeros (n INT, f FLOAT, d DOUBLE);
INSERT INTO zeros VALUES (1, 0, 0), (1, -0.0e0, 0), (1, 0, -0.0e0), (1, -0.0e0, -0.0e0);
CREATE TABLE spellings (v VARCHAR(10), c CHAR(10));
INSERT INTO spellings VALUES ('a', 'a'), ('A', 'a'), ('á', 'a'), ('A', 'á');
