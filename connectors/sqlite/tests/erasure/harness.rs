//! A database file for the shared erasure tests.

use std::path::{Path, PathBuf};

use connector_sqlite::Sqlite;
use protocol::testing::erasure::{self, Can};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Database {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Database {
    fn empty() -> Database {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Database { _folder: folder, path }
    }

    pub(crate) fn copy_of(file: &Path) -> Database {
        let database = Database::empty();
        // Not its permissions: it may be read-only.
        std::fs::write(&database.path, std::fs::read(file).unwrap()).unwrap();
        database
    }
}

impl erasure::Database for Database {
    type Silo = Sqlite;

    fn can() -> Can {
        Can {
            find_keyless: true,
            defer: true,
            set_default: true,
            change_together: false,
            leave_unindexed: true,
            partition: false,
            denies: &[],
        }
    }

    fn collations() -> (&'static str, &'static str) {
        (" COLLATE NOCASE", "")
    }

    fn caseless() -> bool {
        true
    }

    fn new(sql: &str) -> Database {
        let database = Database::empty();
        database.run(&with_references_inside(sql));
        database
    }

    fn chinook(folder: &Path) -> Database {
        Database::copy_of(&folder.join("Chinook_Sqlite.sqlite"))
    }

    fn run(&self, sql: &str) {
        let unguarded = "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF;";
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch(&format!("{unguarded} {sql}")).unwrap();
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let connection = Connection::open(&self.path).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells = (0..width).map(|place| match row.get_ref(place).unwrap() {
                ValueRef::Null => "-".to_owned(),
                ValueRef::Integer(integer) => integer.to_string(),
                ValueRef::Real(real) => real.to_string(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                ValueRef::Blob(bytes) => format!("{bytes:?}"),
            });
            Ok(cells.collect())
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn tables(&self) -> Vec<String> {
        let names = self.rows("SELECT name FROM sqlite_schema WHERE type = 'table'");
        names.into_iter().flatten().collect()
    }

    fn form(&self) -> Value {
        json!({"path": self.path, "busy_timeout": 1, "evidence_key": "a key of some length"})
    }

    fn keeps(table: &str, id: i64) -> String {
        format!(
            "CREATE TRIGGER keeps BEFORE DELETE ON {table} WHEN old.id = {id} \
             BEGIN SELECT RAISE(IGNORE); END"
        )
    }

    fn keeps_no_more(_: &str) -> String {
        "DROP TRIGGER keeps".to_owned()
    }

    fn copies(table: &str, into: &str) -> String {
        format!(
            "CREATE TRIGGER copies AFTER DELETE ON {table} \
             BEGIN INSERT INTO {into} VALUES (old.id); END"
        )
    }
}

/// `sql` with each reference that is added to a table put inside its parentheses, for SQLite adds
/// none later. Every second table that may be is one without row ids.
fn with_references_inside(sql: &str) -> String {
    let (added, rest): (Vec<&str>, Vec<&str>) =
        sql.lines().partition(|line| line.starts_with("ALTER TABLE "));
    let mut text = rest.join("\n");
    for line in added {
        let (name, reference) = line["ALTER TABLE ".len()..].split_once(" ADD ").unwrap();
        let table = text.find(&format!("CREATE TABLE {name} (")).unwrap();
        let end = table + text[table..].find(");").unwrap();
        text.insert_str(end, &format!(", {}", reference.trim_end_matches(';')));
    }
    let mut tables = 0;
    let lines = text.lines().map(|line| {
        tables += usize::from(line.starts_with("CREATE TABLE"));
        match line.contains(", PRIMARY KEY (") && tables.is_multiple_of(2) {
            true => line.replace(");", ") WITHOUT ROWID;"),
            false => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
