-- A database with everything that a stranger's file may hold: odd names, odd tables, odd values.

CREATE TABLE people (
    id INTEGER PRIMARY KEY,
    email TEXT COLLATE NOCASE,
    age INT,
    height REAL,
    active BOOLEAN,
    born DATE,
    updated_at DATETIME NOT NULL,
    photo BLOB,
    anything,
    shout TEXT GENERATED ALWAYS AS (upper(email)) VIRTUAL
);
INSERT INTO people (id, email, age, height, active, born, updated_at, photo, anything) VALUES
    (1, 'ada@example.com', 36, 1.65, 1, '1815-12-10', '2024-01-01 10:00:00', x'00ff10', 1),
    (2, 'ADA@example.com', 9007199254740993, 9e999, 0, NULL, '2024-01-01 10:00:00', NULL, 'text'),
    (3, 'ada@example.com ', -9223372036854775808, -9e999, 0, '', '2024-01-02 10:00:00', x'', 1.5),
    (4, 'ad' || char(225) || '@example.com', NULL, 0.1, NULL, '2000-02-30', '2024-01-03 10:00:00', NULL, x'0102'),
    (5, NULL, 0, -0.0, 1, NULL, '2024-01-04 10:00:00', NULL, NULL),
    (6, 'line' || char(10) || 'break "quoted" \back\' || char(9), 6, 1e300, 0, NULL, '2024-01-05 10:00:00', NULL, '5');

CREATE TABLE strict_one (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL, data ANY) STRICT;
INSERT INTO strict_one VALUES (1, 'one', 1.0, 'x'), (2, 'two', 2.5, 2);

CREATE TABLE pairs (a TEXT, b INTEGER, note TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
INSERT INTO pairs VALUES ('x', 1, 'first'), ('x', 2, 'second'), ('y', 1, NULL);

-- A key that tells apart what its column takes for the same.
CREATE TABLE newsletter (
    email TEXT COLLATE NOCASE, list TEXT, PRIMARY KEY (email COLLATE BINARY, list)
) WITHOUT ROWID;
INSERT INTO newsletter VALUES
    ('ada@example.com', 'news'), ('ada@example.com', 'offers'), ('ADA@EXAMPLE.COM', 'news'),
    ('ada@example.com ', 'news'), ('grace@example.com', 'news');

-- Few rows, and far apart.
CREATE TABLE sparse (id INTEGER PRIMARY KEY);
INSERT INTO sparse VALUES (1), (2), (9007199254740993);

-- A primary key that SQLite lets be null.
CREATE TABLE loose (code TEXT PRIMARY KEY, note TEXT);
INSERT INTO loose VALUES ('a', '1'), (NULL, '2'), (NULL, '3'), ('b', '4');

CREATE TABLE keyless (note TEXT);
INSERT INTO keyless VALUES ('same'), ('same'), (NULL);

CREATE TABLE empty_one (id INTEGER PRIMARY KEY, note TEXT);

CREATE TABLE "Robert'); DROP TABLE people;--" (id INTEGER PRIMARY KEY, "select" TEXT, "with ""quotes""" TEXT, "ünï cödé" TEXT);
INSERT INTO "Robert'); DROP TABLE people;--" VALUES (1, 'a', 'b', 'c');

CREATE TABLE "two
lines" ("a
b" TEXT, "" TEXT);
INSERT INTO "two
lines" VALUES ('x', 'y');

CREATE TABLE rowids (rowid TEXT, _rowid_ TEXT, oid TEXT);
INSERT INTO rowids VALUES ('not', 'the', 'real ones');

CREATE TABLE events (id INTEGER PRIMARY KEY, person INTEGER NOT NULL, kind TEXT NOT NULL, at DATETIME);
INSERT INTO events
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
    -- Cursors tie, as those of real tables do.
    SELECT i, i % 7, 'kind ' || (i % 3), '2024-01-01 ' || printf('%02d:%02d:00', i / 600, i / 10 % 60) FROM n;
CREATE INDEX events_at ON events(at);

-- A view over records that no case deletes.
CREATE VIEW elders AS SELECT id, email FROM people WHERE age > 100;
CREATE VIRTUAL TABLE texts USING fts5(title, body);
INSERT INTO texts VALUES ('a title', 'a body');
