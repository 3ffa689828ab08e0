//! SQLite, beside its own shell printing the same table as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Bench, Contest, Suite};
use crate::workspace;

pub(super) const SUITE: Suite =
    Suite { name: "sqlite", connector: "sqlite", programs: &["sqlite3"], services: &[], contests };

/// A table of nine mixed columns, filled by numbers that look random and are the same every time.
const USERS: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        uuid TEXT NOT NULL,
        name TEXT NOT NULL,
        email TEXT NOT NULL,
        created_at TEXT NOT NULL,
        balance REAL NOT NULL,
        is_active INTEGER NOT NULL,
        attributes TEXT NOT NULL,
        note TEXT
    );
    INSERT INTO users
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS),
        r(i, x) AS (SELECT i, i * 2654435761 % 4294967296 FROM n)
    SELECT i,
        printf('%08x-%04x-4%03x-8%03x-%012x', x, i & 65535, x & 4095, i & 4095, x * 40503),
        printf('User %d %s', i, substr('abcdefghijklmnopqrstuvwxyz', 1 + x % 20, 6)),
        printf('user%d@example.com', i),
        strftime('%Y-%m-%dT%H:%M:%SZ', 1600000000 + x % 100000000, 'unixepoch'),
        (x % 10000000) / 100.0,
        x & 1,
        printf('{\"plan\": \"%s\", \"visits\": %d}', iif(x & 2, 'free', 'paid'), x % 1000),
        iif(x & 4, NULL, printf('said \"%x\" on a day', x))
    FROM r;
";

fn contests(bench: &Bench<'_>) -> Result<Vec<Contest>> {
    let mut spec = Command::new(bench.binary);
    spec.arg("spec");
    Ok(vec![
        Contest { name: "spec", ours: spec, peer: None, rounds: 51, toll: None },
        read(bench, "read 1,000,000 rows", 1_000_000, 7)?,
        read(bench, "read 10,000,000 rows", 10_000_000, 3)?,
        delete(bench)?,
        plan(bench)?,
    ])
}

/// Reading the whole table.
fn read(bench: &Bench<'_>, name: &'static str, rows: u32, rounds: usize) -> Result<Contest> {
    let database = database(bench.folder, rows)?;
    let config = bench.folder.join(format!("{rows}.json"));
    fs::write(&config, json!({"path": database}).to_string())
        .with_context(|| format!("writing {}", config.display()))?;
    let mut ours = Command::new(bench.binary);
    ours.arg("read").arg("-c").arg(config);
    let mut shell = Command::new("sqlite3");
    shell.arg("-json").arg(database).arg("SELECT * FROM users");
    Ok(Contest { name, ours, peer: Some(("sqlite3 -json", shell)), rounds, toll: None })
}

/// One subject with a million children and a million grandchildren, among others.
const SUBJECT: &str = "
    CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, email TEXT);
    CREATE TABLE child (id INTEGER PRIMARY KEY, person_id INTEGER NOT NULL REFERENCES person, note TEXT);
    CREATE TABLE grandchild (id INTEGER PRIMARY KEY, child_id INTEGER NOT NULL REFERENCES child, note TEXT);
    CREATE INDEX child_person ON child (person_id);
    CREATE INDEX grandchild_child ON grandchild (child_id);
    INSERT INTO person VALUES (1, 'Ada', 'ada@example.com'), (2, 'Grace', 'grace@example.com');
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100000)
        INSERT INTO child SELECT i, 1 + (i % 11 = 0), printf('a note of child %d', i) FROM n;
    INSERT INTO grandchild SELECT id, id, printf('a note of grandchild %d', id) FROM child;
";

/// The same rows by hand, in the order that the references need. Like a dry run it is undone, so that
/// each round finds the same database.
const BY_HAND: &str = "
    PRAGMA foreign_keys = ON;
    BEGIN IMMEDIATE;
    DELETE FROM grandchild WHERE child_id IN (SELECT id FROM child WHERE person_id = 1);
    DELETE FROM child WHERE person_id = 1;
    DELETE FROM person WHERE id = 1;
    ROLLBACK;
";

fn delete(bench: &Bench<'_>) -> Result<Contest> {
    let database = made(bench.folder, "subject", SUBJECT)?;
    let mut ours = erasing(bench, "delete", &database, "person")?;
    ours.arg("--dry-run");
    let mut shell = Command::new("sqlite3");
    shell.arg(database).arg(BY_HAND);
    let peer = Some(("sqlite3 DELETE", shell));
    Ok(Contest { name: "delete 2,000,001 rows, dry run", ours, peer, rounds: 3, toll: None })
}

/// A plan over 300 tables with 600 foreign keys, all reached.
fn plan(bench: &Bench<'_>) -> Result<Contest> {
    let mut schema = "CREATE TABLE t0 (id INTEGER PRIMARY KEY, email TEXT);".to_owned();
    schema.push_str("INSERT INTO t0 VALUES (1, 'ada@example.com');");
    for i in 1..=300_u32 {
        let (one, other) = ((i - 1) / 2, (i - 1) / 3);
        schema.push_str(&format!(
            "CREATE TABLE t{i} (id INTEGER PRIMARY KEY, a INTEGER REFERENCES t{one}, \
             b INTEGER REFERENCES t{other});
             CREATE INDEX i{i}a ON t{i} (a); CREATE INDEX i{i}b ON t{i} (b);
             INSERT INTO t{i} VALUES (1, 1, 1), (2, 1, 1);"
        ));
    }
    let database = made(bench.folder, "tables", &schema)?;
    let ours = erasing(bench, "plan", &database, "t0")?;
    Ok(Contest { name: "plan over 300 tables, 600 keys", ours, peer: None, rounds: 11, toll: None })
}

/// A command about the subject of a database, by its id, following relations.
fn erasing(bench: &Bench<'_>, command: &str, database: &Path, store: &str) -> Result<Command> {
    let write = |end: &str, content: serde_json::Value| -> Result<PathBuf> {
        let path = database.with_extension(end);
        fs::write(&path, content.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    let config = write("config.json", json!({"path": database}))?;
    let identifier = json!({"schema_name": store, "identifier": "id", "identifier_query": "1"});
    let query = write("query.json", json!({"identifiers": [identifier]}))?;
    let mut ours = Command::new(bench.binary);
    ours.args([command, "--follow", "-c"]).arg(config).arg("-q").arg(query);
    Ok(ours)
}

/// The database with this many rows, made if it is not there.
pub(super) fn database(folder: &Path, rows: u32) -> Result<PathBuf> {
    made(folder, &rows.to_string(), &USERS.replace("ROWS", &rows.to_string()))
}

/// A database, made if it is not there.
fn made(folder: &Path, name: &str, sql: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.db"));
    if !path.exists() {
        let aside = folder.join("unfinished.db");
        if aside.exists() {
            fs::remove_file(&aside).with_context(|| format!("removing {}", aside.display()))?;
        }
        let mut shell = Command::new("sqlite3");
        shell
            .args(["-cmd", "PRAGMA journal_mode = OFF", "-cmd", "PRAGMA synchronous = OFF"])
            .arg(&aside);
        workspace::run(shell.arg(sql).stdout(std::process::Stdio::null()))?;
        fs::rename(&aside, &path).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(path)
}
