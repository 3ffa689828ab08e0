CREATE TABLE people (
    id integer PRIMARY KEY,
    email varchar(120) NOT NULL,
    name varchar(60),
    born date,
    code char(8),
    notes super
);
COMMENT ON COLUMN people.born IS 'in any calendar';
INSERT INTO people VALUES
    (1, 'grace@example.com', 'Grace', '1906-12-09', 'a', '{"a": [1, 2.50]}'),
    (2, 'ADA@example.com', 'Another', NULL, 'A', 'null'),
    (3, 'ada@example.com ', NULL, NULL, NULL, NULL),
    (4, 'ada@example.com', 'Ada', '1815-12-10', 'a b', '"text"'),
    (5, 'ádà@example.com', 'Ádà', NULL, NULL, '[]'),
    (6, 'o''neil\@example.com', 'O''Neil "Shaq"', NULL, NULL, '{}');

CREATE TABLE events (
    id bigint PRIMARY KEY,
    person integer NOT NULL,
    kind varchar(20) NOT NULL,
    at timestamptz,
    amount numeric(12, 2)
);
INSERT INTO events
SELECT n, n % 6 + 1, 'kind ' || n % 3, '2024-01-01'::timestamptz + n / 2 * interval '1 second', n / 100.0
FROM generate_series(1, 4000) n;

CREATE TABLE newsletter (email varchar(120), since timestamp DEFAULT '2024-01-01');
INSERT INTO newsletter VALUES
    ('ada@example.com'), ('ada@example.com'), ('grace@example.com'), (NULL), ('ADA@example.com');

CREATE TABLE "Odd ""name"" of a table" ("a b" integer PRIMARY KEY, "select" varchar(9), "Größe" real);
INSERT INTO "Odd ""name"" of a table" VALUES (1, 'x', 'NaN'), (2, 'y', 0.1);

CREATE VIEW admirals AS SELECT id, name FROM people WHERE born > '1900-01-01';
