//! SQLite, beside its own shell printing the same table as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Bench, Contest, Suite};
use crate::workspace;

pub(super) const SUITE: Suite =
    Suite { connector: "sqlite", programs: &["sqlite3"], services: &[], contests };

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
        Contest { name: "spec", ours: spec, peer: None, rounds: 51 },
        read(bench, "read 1,000,000 rows", 1_000_000, 7)?,
        read(bench, "read 10,000,000 rows", 10_000_000, 3)?,
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
    Ok(Contest { name, ours, peer: Some(("sqlite3 -json", shell)), rounds })
}

/// The database with this many rows, made if it is not there.
fn database(folder: &Path, rows: u32) -> Result<PathBuf> {
    let path = folder.join(format!("{rows}.db"));
    if !path.exists() {
        let aside = folder.join("unfinished.db");
        if aside.exists() {
            fs::remove_file(&aside).with_context(|| format!("removing {}", aside.display()))?;
        }
        let mut shell = Command::new("sqlite3");
        shell
            .args(["-cmd", "PRAGMA journal_mode = OFF", "-cmd", "PRAGMA synchronous = OFF"])
            .arg(&aside);
        workspace::run(
            shell.arg(USERS.replace("ROWS", &rows.to_string())).stdout(std::process::Stdio::null()),
        )?;
        fs::rename(&aside, &path).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(path)
}
