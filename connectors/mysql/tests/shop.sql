-- A database with everything that a stranger's server may hold: odd names, odd tables, odd values.

SET NAMES utf8mb4;
SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00';

CREATE TABLE people (
    id INT AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
    age BIGINT,
    big BIGINT UNSIGNED,
    height DOUBLE,
    single FLOAT,
    balance DECIMAL(30,4),
    active BIT(1),
    born DATE,
    updated_at DATETIME(6) NOT NULL,
    photo BLOB,
    attributes JSON,
    shout VARCHAR(120) GENERATED ALWAYS AS (UPPER(email)) VIRTUAL,
    KEY (email)
) COMMENT 'who we know' DEFAULT CHARSET utf8mb4;
INSERT INTO people (id, email, age, big, height, single, balance, active, born, updated_at, photo, attributes) VALUES
    (0, 'zero@example.com', 1, 1, 1, 1, 1, 1, '0000-00-00', '0000-00-00', '', '{"a": [1, 2.50, null]}'),
    (1, 'ada@example.com', 36, 18446744073709551615, 1.65, 0.1, 12345678901234567890.1200, 1, '1815-12-10', '2024-01-01 10:00:00.25', x'00ff10', '"text"'),
    (2, 'ADA@example.com', 9007199254740993, 9007199254740993, 1.7976931348623157e308, 16777217, -0.0001, 0, NULL, '2024-01-01 10:00:00', NULL, NULL),
    (3, 'ada@example.com ', -9223372036854775808, 0, -5e-324, -0.3, 0, 0, '2024-02-29', '2024-01-02 10:00:00', x'', '[]'),
    (4, 'adá@example.com', NULL, NULL, 0.1, NULL, NULL, NULL, '2000-02-30', '2024-01-03 10:00:00', NULL, NULL),
    (5, NULL, 0, 0, -0.0, 0, 99999999999999999999999999.9999, 1, NULL, '2024-01-04 10:00:00', NULL, NULL),
    (6, 'line\nbreak "quoted" \\back\\\t😀', 6, 6, 1e300, 1e30, 1.5, 0, NULL, '2024-01-05 10:00:00', NULL, NULL);

CREATE TABLE pairs (a VARCHAR(20), b INT UNSIGNED, note TEXT, PRIMARY KEY (a, b)) DEFAULT CHARSET utf8mb4;
INSERT INTO pairs VALUES ('x', 1, 'first'), ('x', 2, 'second'), ('Y', 1, NULL), ('z', 4294967295, 'last');

-- A key of another character set, in which a value is as long as its blanks.
CREATE TABLE newsletter (
    email VARCHAR(60) CHARACTER SET latin1 COLLATE latin1_general_cs, list VARCHAR(20) CHARACTER SET latin1,
    PRIMARY KEY (email, list)
) DEFAULT CHARSET latin1;
INSERT INTO newsletter VALUES
    ('ada@example.com', 'news'), ('ada@example.com', 'offers'), ('ADA@EXAMPLE.COM', 'news'),
    ('jürgen@example.com', 'news'), ('grace@example.com', 'news');

-- A key that is sorted by place and compared by text.
CREATE TABLE sizes (size ENUM('small', 'medium', 'large'), colours SET('red', 'green'), PRIMARY KEY (size)) DEFAULT CHARSET utf8mb4;
INSERT INTO sizes VALUES ('large', 'red,green'), ('small', ''), ('medium', NULL);

CREATE TABLE amounts (amount DECIMAL(20,10) PRIMARY KEY);
INSERT INTO amounts VALUES (0.0000000001), (9007199254.7409930001), (9007199254.7409930002), (-1);

-- Few rows, and far apart.
CREATE TABLE sparse (id BIGINT UNSIGNED PRIMARY KEY);
INSERT INTO sparse VALUES (0), (2), (18446744073709551615);

CREATE TABLE keyless (note TEXT);
INSERT INTO keyless VALUES ('same'), ('same'), (NULL);

CREATE TABLE empty_one (id INT PRIMARY KEY, note TEXT);

CREATE TABLE `Robert'); DROP TABLE people;--` (id INT PRIMARY KEY, `select` TEXT, `with ``ticks``` TEXT, `a?1b` TEXT, `ünï cödé` TEXT);
INSERT INTO `Robert'); DROP TABLE people;--` VALUES (1, 'a', 'b', 'c', 'd');

CREATE TABLE events (id INT PRIMARY KEY, person INT NOT NULL, kind VARCHAR(20) NOT NULL, at DATETIME, KEY events_at (at)) DEFAULT CHARSET utf8mb4;
-- Cursors tie, as those of real tables do.
INSERT INTO events
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000),
        m(j) AS (SELECT 0 UNION ALL SELECT 1000 UNION ALL SELECT 2000 UNION ALL SELECT 3000)
    SELECT i + j, (i + j) % 7, CONCAT('kind ', (i + j) % 3), '2024-01-01' + INTERVAL (i + j) DIV 10 MINUTE FROM n, m;

CREATE VIEW paired AS SELECT a, b FROM pairs WHERE b > 0;
