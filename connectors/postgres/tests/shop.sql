CREATE TABLE people (
    id integer PRIMARY KEY,
    email text NOT NULL,
    name varchar(60),
    born date,
    tags text[],
    grid text[][],
    notes jsonb
);
INSERT INTO people VALUES
    (1, 'grace@example.com', 'Grace', '1906-12-09', '{navy,"a, b"}', NULL, '{"a": [1, 2.50]}'),
    (2, 'ADA@example.com', 'Another', NULL, '{}', '{}', 'null'),
    (3, 'ada@example.com ', NULL, NULL, NULL, NULL, NULL),
    (4, 'ada@example.com', 'Ada', '1815-12-10', '[0:1]={a,NULL}', '{{a,b},{c,NULL}}', '"text"'),
    (5, 'ádà@example.com', 'Ádà', NULL, NULL, NULL, '[]'),
    (6, 'o''neil\@example.com', 'O''Neil "Shaq"', 'infinity', NULL, NULL, '{}');

CREATE TABLE events (
    id bigint PRIMARY KEY,
    person integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    at timestamptz,
    amount numeric(12, 2)
);
INSERT INTO events
SELECT n, n % 6 + 1, 'kind ' || n % 3, '2024-01-01'::timestamptz + n / 2 * interval '1 second', n / 100.0
FROM generate_series(1, 4000) n;

CREATE TABLE newsletter (email text, since timestamp DEFAULT '2024-01-01');
INSERT INTO newsletter VALUES
    ('ada@example.com'), ('ada@example.com'), ('grace@example.com'), (NULL), ('ADA@example.com');

CREATE TABLE "Odd ""name"" of a table" ("a b" integer PRIMARY KEY, "select" text, "Größe" real);
INSERT INTO "Odd ""name"" of a table" VALUES (1, 'x', 'NaN'), (2, 'y', 0.1);

CREATE TABLE logs (id bigint, day date NOT NULL, text text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE logs_old PARTITION OF logs FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE logs_new PARTITION OF logs FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
INSERT INTO logs SELECT n, '2023-12-01'::date + n % 60, 'line ' || n FROM generate_series(1, 300) n;

CREATE VIEW admirals AS SELECT id, name FROM people WHERE tags && '{navy}';
