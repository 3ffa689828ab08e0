"""A small shop in a silo, and its rows as the silo's own driver has them."""

import base64
import datetime
import decimal
import json
import sqlite3
import urllib.parse
import uuid


class Sqlite:
    """A database file."""

    kinds = {
        "id": "integer", "name": "text", "total": "number", "paid": "boolean", "raw": "bytes",
        "updated_at": "text",
    }
    make = """
        CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, total REAL, paid BOOLEAN,
            raw BLOB, updated_at DATETIME NOT NULL);
        INSERT INTO orders
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
        SELECT i, CASE i % 3 WHEN 0 THEN NULL ELSE 'Zoë "' || i || '"' END, i / 8.0, i % 2,
            CASE i % 5 WHEN 0 THEN NULL ELSE x'00ff' END, printf('2026-01-%02d 10:00:00', 1 + i % 28)
        FROM n;
        CREATE TABLE visits (page TEXT, seen INTEGER);
        INSERT INTO visits VALUES ('/', 1), ('/about', NULL), ('/', 1);
    """
    later = """
        UPDATE orders SET name = 'changed', updated_at = '2027-01-01 00:00:00' WHERE id = 7;
        INSERT INTO orders VALUES (30000, 'new', 1.5, 1, NULL, '2027-01-02 00:00:00');
    """

    def __init__(self, config):
        self.path = config["path"]

    def create(self):
        # A target writes into a file that is there.
        with sqlite3.connect(self.path) as connection:
            connection.execute("VACUUM")

    def run(self, sql):
        with sqlite3.connect(self.path) as connection:
            connection.executescript(sql)

    def rows(self, table, columns):
        with sqlite3.connect(self.path) as connection:
            return connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()


class Postgres:
    """A database of a server."""

    kinds = {
        "id": "integer", "name": "text", "total": "number", "price": "decimal",
        "paid": "boolean", "raw": "bytes", "day": "date", "doc": "json", "uid": "text",
        "updated_at": "instant",
    }
    make = """
        CREATE TABLE orders (id bigint PRIMARY KEY, name text, total double precision,
            price numeric(20, 6), paid boolean, raw bytea, day date, doc jsonb, uid uuid,
            updated_at timestamptz NOT NULL);
        INSERT INTO orders
        SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'Zoë "' || i || '"' END, i / 8.0,
            i * 1000000.000001, i % 2 = 0, CASE WHEN i % 5 = 0 THEN NULL ELSE '\\x00ff'::bytea END,
            date '2024-02-28' + i % 9, jsonb_build_object('n', i, 'list', array[1.5, null]),
            ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid,
            timestamptz '2026-01-01 10:00:00.25+02' + (i % 28) * interval '1 day'
        FROM generate_series(1, 25000) i;
        CREATE TABLE visits (page text, seen integer);
        INSERT INTO visits VALUES ('/', 1), ('/about', NULL), ('/', 1);
    """
    later = """
        UPDATE orders SET name = 'changed', updated_at = '2027-01-01' WHERE id = 7;
        INSERT INTO orders (id, name, updated_at) VALUES (30000, 'new', '2027-01-02');
    """

    def __init__(self, config):
        self.url = config["url"]

    def connect(self, url=None):
        try:
            import psycopg as driver
        except ImportError:
            import psycopg2 as driver
        return driver.connect(url or self.url)

    def create(self):
        server, name = self.url.rsplit("/", 1)
        connection = self.connect(server + "/postgres")
        connection.autocommit = True
        connection.cursor().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()

    def run(self, sql):
        connection = self.connect()
        connection.cursor().execute(sql)
        connection.commit()
        connection.close()

    def rows(self, table, columns):
        connection = self.connect()
        cursor = connection.cursor()
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
        rows = cursor.fetchall()
        connection.close()
        return rows


def of(name, config, fresh=True):
    """The silo of a connector, made anew."""
    silo = {"sqlite": Sqlite, "postgres": Postgres}[name](config)
    if fresh:
        silo.create()
    return silo


def settings(maker, config):
    """A configuration as one maker's taps and targets want it."""
    if maker == "ours":
        return config
    url = urllib.parse.urlsplit(config["url"])
    parts = {
        "host": url.hostname, "port": url.port, "user": url.username, "password": url.password,
        "database": url.path[1:],
    }
    if maker == "meltanolabs":
        return parts | {"default_target_schema": "public"}
    return parts | {
        "dbname": parts["database"], "default_target_schema": "public",
        "filter_dbs": parts["database"], "filter_schemas": "public",
    }


def plain(kind, value):
    """A value as text in which equal values are equal, wherever they come from."""
    if value is None:
        return None
    if kind == "boolean":
        return str(value in (True, 1, "1", "true"))
    if kind == "integer":
        return str(int(value))
    if kind == "number":
        return repr(float(value))
    if kind == "decimal":
        return str(decimal.Decimal(str(value)).normalize())
    if kind == "bytes":
        if isinstance(value, str):
            value = base64.b64decode(value, validate=True)
        return bytes(value).hex()
    if kind == "json":
        return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True, default=float)
    if kind == "date":
        return str(value)[:10]
    if kind == "instant":
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    return str(value)


def table(kinds, rows):
    """Rows in one order, for comparison."""
    kinds = list(kinds.values())
    plain_rows = [tuple(plain(kind, value) for kind, value in zip(kinds, row)) for row in rows]
    return sorted(plain_rows, key=repr)


def same(what, ours, theirs):
    """Fails where two tables differ, naming the first rows that do."""
    if ours == theirs:
        return
    missing = sorted(set(theirs) - set(ours), key=repr)[:3]
    more = sorted(set(ours) - set(theirs), key=repr)[:3]
    raise SystemExit(
        f"{what}: {len(ours)} rows beside {len(theirs)}; lacking {missing}, too many {more}"
    )
