//! A database file, an eraser of it, and short forms of what plans say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connector_sqlite::Sqlite;
use protocol::message::{Action, Matching, Plan, Verify};
use protocol::silo::{Access, Erasure, Known, Outcome, Silo, StoreId, Subject};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Database {
    _folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) key: Option<String>,
}

impl Database {
    pub(crate) fn new(sql: &str) -> Database {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let database = Database { _folder: folder, path, key: None };
        database.run(sql);
        database
    }

    pub(crate) fn copy_of(file: &Path) -> Database {
        let database = Database::new("");
        std::fs::copy(file, &database.path).unwrap();
        let mut permissions = std::fs::metadata(&database.path).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a copy in a folder of its own")]
        permissions.set_readonly(false);
        std::fs::set_permissions(&database.path, permissions).unwrap();
        database
    }

    pub(crate) fn open(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    pub(crate) fn run(&self, sql: &str) {
        self.open()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; {sql}"))
            .unwrap();
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Every row of every table, in order.
    pub(crate) fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let connection = self.open();
        let mut tables = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .unwrap();
        let names: Vec<String> =
            tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        names
            .into_iter()
            .map(|name| {
                let mut all = connection
                    .prepare(&format!("SELECT * FROM \"{}\"", name.replace('"', "\"\"")))
                    .unwrap();
                let width = all.column_count();
                let rows = all.query_map([], |row| {
                    let cells: Vec<Sql> = (0..width).map(|i| row.get(i).unwrap()).collect();
                    Ok(format!("{cells:?}"))
                });
                let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
                rows.sort();
                (name, rows)
            })
            .collect()
    }

    fn silo(&self, access: Access) -> Sqlite {
        let mut config = json!({"path": self.path, "busy_timeout": 1});
        if let Some(key) = &self.key {
            config["evidence_key"] = json!(key);
        }
        block(Sqlite::connect(serde_json::from_value(config).unwrap(), access)).unwrap()
    }

    pub(crate) fn plan(&self, request: &Erasure) -> protocol::Result<Plan> {
        block(self.silo(Access::Read).eraser().unwrap().plan(request))
    }

    pub(crate) fn erase(&self, request: &Erasure) -> protocol::Result<Vec<Outcome>> {
        block(self.silo(Access::Write).eraser().unwrap().erase(request))
    }

    pub(crate) fn verify(&self, request: &Erasure) -> protocol::Result<Verify> {
        block(self.silo(Access::Read).eraser().unwrap().verify(request))
    }

    pub(crate) fn reach(&self, request: &Erasure) -> Vec<String> {
        let found = block(self.silo(Access::Read).eraser().unwrap().reach(request)).unwrap();
        found.into_iter().map(|id| id.name).collect()
    }
}

pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// The request about one identifier, following relations.
pub(crate) fn follow(store: &str, column: &str, value: &str, policy: &Value) -> Erasure {
    let known =
        Known { property: column.to_owned(), value: value.to_owned(), matching: Matching::Exact };
    Erasure {
        subjects: vec![(
            StoreId::named(store),
            Subject { identifiers: vec![known], properties: None },
        )],
        follow: true,
        policy: policy.as_object().unwrap().clone(),
        ..Erasure::default()
    }
}

/// `delete Invoice 7`, one a step; a step with a relation that matters names its columns.
pub(crate) fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| {
            let word = serde_json::to_value(step.action).unwrap();
            let columns = match step.action {
                Action::Delete | Action::Keep | Action::Left => String::new(),
                _ => format!("({})", step.columns.join(",")),
            };
            format!("{} {}{columns} {}", word.as_str().unwrap(), step.schema_name, step.rows)
        })
        .collect()
}

/// How many rows of each store were deleted, by an outcome.
pub(crate) fn deleted(outcomes: &[Outcome]) -> BTreeMap<String, u64> {
    outcomes
        .iter()
        .map(|outcome| {
            assert_eq!(outcome.error, None);
            assert_eq!(outcome.remaining, 0, "{}", outcome.store);
            assert_eq!(outcome.unverifiable, None);
            (outcome.store.name.clone(), outcome.deleted)
        })
        .collect()
}
