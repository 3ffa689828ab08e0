//! PostgreSQL, beside psql copying the same table in binary form: the fewest bytes that a client can move.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::server::Server;
use super::{Bench, Contest, Suite};
use crate::workspace;

pub(super) const SUITE: Suite = Suite {
    name: "postgres",
    connector: "postgres",
    programs: &["psql"],
    services: &["postgres"],
    contests,
};

/// A table of nine mixed columns, filled by numbers that look random and are the same every time.
pub(super) const USERS: &str = "
    CREATE TABLE users (
        id bigint PRIMARY KEY,
        uid uuid NOT NULL,
        name text NOT NULL,
        email text NOT NULL,
        created_at timestamptz NOT NULL,
        balance numeric(14,2) NOT NULL,
        active boolean NOT NULL,
        attributes jsonb NOT NULL,
        notes text
    );
    INSERT INTO users
    SELECT i, md5(i::text)::uuid,
        'Üser ' || i || ' ' || substr('abcdefghijklmnopqrstuvwxyz', 1 + x % 20, 6),
        'user' || i || '@example.com',
        '2020-09-13Z'::timestamptz + x * interval '12.345678 ms',
        x / 100.0 - 10000000,
        x % 5 > 0,
        jsonb_build_object(
            'plan', (ARRAY['free', 'team', 'enterprise'])[1 + x % 3], 'visits', x % 1000, 'score', x % 777 / 10.0,
            'tags', to_jsonb((ARRAY['north', 'south', 'east', 'west'])[1 : 1 + x % 4]),
            'address', jsonb_build_object('city', 'Zürich', 'zip', x % 100000), 'verified', x % 2 = 0, 'via', NULL),
        CASE WHEN x % 3 > 0 THEN repeat('a word ' || x % 1000 || ' ', 1 + x % 8) || E'\\n\"said\"' END
    FROM (SELECT i, (i::bigint * 2654435761 % 2147483647)::int AS x FROM generate_series(1, 1000000) i) r;
";

/// Rows of a mebibyte, which do not compress.
const WIDE: &str = "
    CREATE TABLE wide (id int PRIMARY KEY, content text);
    ALTER TABLE wide ALTER content SET STORAGE EXTERNAL;
    INSERT INTO wide SELECT i, repeat(md5(i::text), 32768) FROM generate_series(1, 200) i;
";

/// A thousand tables of ten columns, each with a key and a foreign key.
const TABLES: &str = "
    DO $$ BEGIN
        CREATE TABLE t0 (id int PRIMARY KEY);
        FOR i IN 1..999 LOOP
            EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, above int REFERENCES t%s, a text, b text,
                c timestamptz, d numeric, e jsonb, f date, g boolean, h text[])', i, i / 2);
        END LOOP;
    END $$;
";

/// One subject with a million children and a million grandchildren, among others.
const SUBJECT: &str = "
    CREATE TABLE person (id int PRIMARY KEY, name text, email text);
    CREATE TABLE child (id int PRIMARY KEY, person_id int NOT NULL REFERENCES person, note text);
    CREATE TABLE grandchild (id int PRIMARY KEY, child_id int NOT NULL REFERENCES child, note text);
    CREATE INDEX ON child (person_id);
    CREATE INDEX ON grandchild (child_id);
    INSERT INTO person VALUES (1, 'Ada', 'ada@example.com'), (2, 'Grace', 'grace@example.com');
    INSERT INTO child SELECT i, 1 + (i % 11 = 0)::int, 'a note of child ' || i FROM generate_series(1, 1100000) i;
    INSERT INTO grandchild SELECT id, id, 'a note of grandchild ' || id FROM child;
";

/// The same rows by hand, in the order that the references need. Like a dry run it is undone, so that
/// each round finds the same database.
const BY_HAND: &str = "
    BEGIN ISOLATION LEVEL REPEATABLE READ;
    DELETE FROM grandchild WHERE child_id IN (SELECT id FROM child WHERE person_id = 1);
    DELETE FROM child WHERE person_id = 1;
    DELETE FROM person WHERE id = 1;
    ROLLBACK;
";

/// Three hundred tables with two foreign keys each, all reached from one row.
const REACHED: &str = "
    CREATE TABLE person (id int PRIMARY KEY, email text);
    INSERT INTO person VALUES (1, 'ada@example.com');
    CREATE TABLE t0 (id int PRIMARY KEY, a int REFERENCES person);
    INSERT INTO t0 VALUES (1, 1);
    DO $$ BEGIN
        FOR i IN 1..299 LOOP
            EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a int REFERENCES t%s, b int REFERENCES t%s)',
                i, (i - 1) / 2, (i - 1) / 3);
            EXECUTE format('CREATE INDEX ON t%s (a); CREATE INDEX ON t%s (b)', i, i);
            EXECUTE format('INSERT INTO t%s VALUES (1, 1, 1), (2, 1, 1)', i);
        END LOOP;
    END $$;
";

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let server = Server::of(bench, "MANIFOLD_TEST_POSTGRES")?;
    for (database, fill) in [
        ("users", USERS),
        ("wide", WIDE),
        ("tables", TABLES),
        ("subject", SUBJECT),
        ("reached", REACHED),
    ] {
        make(&server, database, fill)?;
    }
    let config = |database: &str| {
        json!({
            "hostname": server.host, "port": server.port, "database": database, "scan_all": false,
            "username": server.user, "password": server.password, "ssl": false,
        })
    };
    let ours = |words: &[&str], database: &str, chosen: Option<Value>| -> Result<Command> {
        let mut command = Command::new(bench.binary);
        command.args(words).arg("-c").arg(write(bench, database, &config(database))?);
        if let Some(chosen) = chosen {
            let name =
                format!("{database}-{}", if chosen["cursor"].is_null() { "all" } else { "key" });
            command.arg("-s").arg(write(bench, &name, &json!({"schemas": [chosen]}))?);
        }
        Ok(command)
    };
    let entry =
        |cursor: Option<&str>| json!({"name": "users", "group": "users/public", "cursor": cursor});
    let copy = |database: &str| {
        let mut psql = psql(&server, database);
        psql.args(["-c", &format!("COPY {database} TO STDOUT (FORMAT binary)")]);
        Some(("psql, COPY binary", psql))
    };
    // A command about one person, following relations.
    let erasing = |words: &[&str], database: &str| -> Result<Command> {
        let mut command = ours(words, database, None)?;
        let identifier = json!({"schema_name": "person", "schema_group": format!("{database}/public"),
                                "identifier": "id", "identifier_query": "1"});
        let query = json!({"identifiers": [identifier]});
        command.arg("-q").arg(write(bench, &format!("{database}-query"), &query)?);
        Ok(command)
    };
    let mut by_hand = psql(&server, "subject");
    by_hand.args(["-c", BY_HAND]);
    let mut spec = Command::new(bench.binary);
    spec.arg("spec");
    let (one, two) = (["read", "--parallel", "1"], ["read", "--parallel", "2"]);
    Ok(vec![
        Contest { name: "spec", ours: spec, peer: None, rounds: 51, toll: None },
        Contest {
            name: "read 1,000,000 rows, one connection",
            ours: ours(&one, "users", Some(entry(None)))?,
            peer: copy("users"),
            rounds: 7,
            toll: None,
        },
        Contest {
            name: "read 1,000,000 rows, two connections",
            ours: ours(&two, "users", Some(entry(None)))?,
            peer: copy("users"),
            rounds: 7,
            toll: None,
        },
        Contest {
            name: "read 1,000,000 rows in order",
            ours: ours(&one, "users", Some(entry(Some("id"))))?,
            peer: copy("users"),
            rounds: 7,
            toll: None,
        },
        Contest {
            name: "read 200 rows of 1 MiB",
            ours: ours(&one, "wide", None)?,
            peer: copy("wide"),
            rounds: 5,
            toll: None,
        },
        Contest {
            name: "discover 1,000 tables",
            ours: ours(&["discover"], "tables", None)?,
            peer: None,
            rounds: 11,
            toll: None,
        },
        Contest {
            name: "delete 2,000,001 rows, dry run",
            ours: erasing(&["delete", "--follow", "--dry-run"], "subject")?,
            peer: Some(("psql, DELETE", by_hand)),
            rounds: 3,
            toll: None,
        },
        Contest {
            name: "plan over 301 tables, 599 keys",
            ours: erasing(&["plan", "--follow"], "reached")?,
            peer: None,
            rounds: 11,
            toll: None,
        },
    ])
}

fn write(bench: &Bench<'_>, name: &str, content: &Value) -> Result<PathBuf> {
    let path = bench.folder.join(format!("{name}.json"));
    fs::write(&path, content.to_string()).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// A client of a database, without encryption, as ours is. What is secret stands in its environment.
fn psql(server: &Server, database: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "-d", database]);
    psql.env("PGHOST", &server.host).env("PGPORT", server.port.to_string());
    psql.env("PGUSER", &server.user).env("PGPASSWORD", &server.password);
    psql.env("PGSSLMODE", "disable").env("PGOPTIONS", "-c client_min_messages=warning");
    psql
}

/// Makes a database anew.
pub(super) fn make(server: &Server, database: &str, fill: &str) -> Result<()> {
    let drop = format!("DROP DATABASE IF EXISTS {database}");
    let create = format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'");
    for (database, statements) in [
        ("postgres", [&*drop, &create].as_slice()),
        (database, &[fill, "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"]),
    ] {
        let mut client = psql(server, database);
        for statement in statements {
            client.args(["-c", statement]);
        }
        workspace::run(client.stdout(Stdio::null()))?;
    }
    Ok(())
}
