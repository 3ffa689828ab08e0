//! What SQLite brings to the erasure engine: its transactions and the places where its SQL differs.

use std::time::Duration;

use protocol::fault::Fault;
use protocol::output::Output;
use protocol::silo::Access;
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Table};
use protocol::sql::dialect::Dialect;
use protocol::sql::erase::engine::{
    Cell, Commit, Each, Engine, KeyPart, Mode, Residue, Session as EngineSession,
};
use protocol::sql::erase::fold::fold;
use protocol::sql::erase::{Databases, Settings};
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;
use protocol::{Context, Result, anyhow, async_trait};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, ErrorCode, ffi, params_from_iter};

use crate::values::{Bound, Objects, SQLITE, identifier};
use crate::{Sqlite, catalog, connection};

impl Databases for Sqlite {
    type Engine = Sqlite;

    fn databases(&self) -> Vec<&Sqlite> {
        vec![self]
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            policy: self.config.policy.as_deref(),
            evidence_key: self.config.evidence_key.as_ref(),
        }
    }
}

#[async_trait]
impl Engine for Sqlite {
    type Value = Bound;
    type Session = Session;

    fn dialect(&self) -> &Dialect {
        &SQLITE
    }

    async fn begin(&self, mode: Mode) -> Result<Session> {
        let explain = |error: rusqlite::Error| connection::explain(&self.config, error.into());
        let access = match mode {
            Mode::Look => Access::Read,
            Mode::Change => Access::Write,
        };
        let connection = connection::open(&self.config, access)?;
        let prepare = || -> rusqlite::Result<()> {
            // Millions of keys are on disk, not in memory.
            connection.pragma_update(None, "temp_store", 1)?;
            connection.pragma_update(Some("temp"), "cache_size", -4096)?;
            connection.create_scalar_function(
                "manifold_fold",
                1,
                FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC,
                |context| {
                    Ok(match context.get_raw(0) {
                        ValueRef::Text(text) => Some(fold(&String::from_utf8_lossy(text))),
                        _ => None,
                    })
                },
            )?;
            connection.execute_batch(match mode {
                // The read lock is taken by the first read: take it now.
                Mode::Look => "BEGIN; SELECT count(*) FROM sqlite_schema",
                Mode::Change => "BEGIN IMMEDIATE",
            })
        };
        prepare().map_err(explain)?;
        let path = self.config.path().display().to_string();
        Ok(Session { connection, path, busy: self.config.busy() })
    }

    async fn identity(&self) -> Result<String> {
        // A file has no name of its own but its place.
        let path = std::fs::canonicalize(self.config.path()).context("finding the file's place")?;
        Ok(format!("sqlite:{}", path.display()))
    }

    fn convert(&self, column: &Column, text: &str) -> Option<Bound> {
        identifier(column, text)
    }

    fn value(&self, cell: &Cell<'_>) -> Bound {
        match *cell {
            Cell::Null => Value::Null.into(),
            Cell::Integer(integer) => Value::Integer(integer).into(),
            Cell::Real(real) => Value::Real(real).into(),
            Cell::Text(text) => Value::Text(text.to_owned()).into(),
            Cell::Bytes(bytes) => Value::Blob(bytes.to_vec()).into(),
        }
    }

    fn row_id(&self, table: &Table) -> Option<Vec<KeyPart>> {
        // A column of that name hides it.
        let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| {
            !table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name))
        })?;
        Some(vec![KeyPart {
            column: None,
            sql: free.to_owned(),
            indexed: None,
            declared: "INT NOT NULL".to_owned(),
        }])
    }

    fn key_part(&self, column: &Column) -> KeyPart {
        let name = SQLITE.name(&column.name);
        let (sql, indexed) = match column.collation {
            Some(_) => (format!("{name} COLLATE BINARY"), Some(name)),
            None => (name, None),
        };
        let declared = format!("{} NOT NULL", affinity(&column.declared));
        KeyPart { column: Some(column.name.clone()), sql, indexed, declared }
    }

    fn temporary(&self, name: &str, columns: &str, key: &str) -> String {
        format!("CREATE TEMPORARY TABLE {name} ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID")
    }

    fn insert_new(&self, into: &str, columns: &str, select: &str) -> String {
        format!("INSERT OR IGNORE INTO {into} ({columns}) {select}")
    }

    fn join(&self) -> &'static str {
        // Which SQLite never reorders.
        "CROSS JOIN"
    }

    fn refers(&self, parent: &Column, parent_sql: &str, child: &Column, child_sql: &str) -> String {
        let same = affinity(&parent.declared) == affinity(&child.declared)
            && parent.collation == child.collation;
        // The left side's collation decides. A plus takes the child's own type and collation away,
        // as a foreign key does, and with them the use of its index.
        let plus = if same { "" } else { "+" };
        format!("{parent_sql} = {plus}{child_sql}")
    }

    fn before(&self, _: &Column, sql: &str, parameter: &str) -> String {
        const DAY: &str = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*";
        format!(
            "(typeof({sql}) = 'text' AND {sql} GLOB '{DAY}' \
             AND substr({sql}, 1, 10) < {parameter} COLLATE BINARY)"
        )
    }

    fn date(&self, text: &str) -> Bound {
        self.text(text)
    }

    fn near(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        // A column of any declared type may hold text, but only these usually do.
        matches!(column.of, Type::Text | Type::Any)
            .then(|| format!("manifold_fold({sql}) = {parameter}"))
    }

    fn contains(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        (!matches!(column.of, Type::Integer | Type::Number | Type::Boolean | Type::Bytes))
            .then(|| format!("instr(lower({sql}), {parameter}) > 0"))
    }

    fn text(&self, text: &str) -> Bound {
        Value::Text(text.to_owned()).into()
    }

    fn defer(&self, key: &ForeignKey) -> Option<String> {
        // RESTRICT acts at once all the same.
        (key.on_delete != OnChange::Restrict).then(|| "PRAGMA defer_foreign_keys = ON".to_owned())
    }

    fn alike(&self, name: &str, table: &Table) -> Option<String> {
        let column = |column: &Column| {
            let collation = column.collation.as_ref().map(|name| format!(" COLLATE {name}"));
            let computed = match column.generated {
                // Without what it is computed by no constraint over it can be tried.
                true => format!(" AS {}", column.expression.as_ref()?),
                false => String::new(),
            };
            Some(format!(
                "{} {}{}{computed}{}",
                SQLITE.name(&column.name),
                affinity(&column.declared),
                collation.unwrap_or_default(),
                if column.nullable { "" } else { " NOT NULL" }
            ))
        };
        let mut parts: Vec<String> = table.columns.iter().map(column).collect::<Option<_>>()?;
        parts.extend(table.checks.iter().map(|check| format!("CHECK {check}")));
        Some(format!("CREATE TEMPORARY TABLE {name} ({})", parts.join(", ")))
    }

    fn checks_at_end(&self, key: &ForeignKey) -> bool {
        key.on_delete == OnChange::Refuse
    }

    async fn residue(&self, _: &[&Table]) -> Result<Vec<Residue>> {
        let connection = connection::open(&self.config, Access::Read)?;
        let mut found = Vec::new();
        for (pragma, what) in [
            ("secure_delete", "secure_delete"),
            ("journal_mode", "journal mode"),
            ("freelist_count", "free pages"),
        ] {
            let value = connection
                .query_row(&format!("PRAGMA {pragma}"), [], |row| {
                    Ok(match row.get_ref(0)? {
                        ValueRef::Integer(integer) => integer.to_string(),
                        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        _ => "unknown".to_owned(),
                    })
                })
                .unwrap_or_else(|_| "unknown".to_owned());
            found.push(Residue { what: what.to_owned(), found: value });
        }
        Ok(found)
    }
}

/// The affinity that SQLite gives a column of a declared type, by its own rules, as a type name.
fn affinity(declared: &str) -> &'static str {
    let declared = declared.to_ascii_uppercase();
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if says(&["INT"]) {
        "INT"
    } else if says(&["CHAR", "CLOB", "TEXT"]) {
        "TEXT"
    } else if declared.is_empty() || declared == "ANY" || says(&["BLOB"]) {
        "BLOB"
    } else if says(&["REAL", "FLOA", "DOUB"]) {
        "REAL"
    } else {
        "NUMERIC"
    }
}

/// A transaction on a connection of its own.
pub struct Session {
    connection: Connection,
    path: String,
    busy: Duration,
}

impl Session {
    /// What a failure means, without the texts of constraints and triggers, which may hold values.
    fn explain(&self, error: Error) -> anyhow::Error {
        let Error::SqliteFailure(failure, _) = &error else { return error.into() };
        let path = &self.path;
        let fault = match (failure.code, failure.extended_code) {
            (_, ffi::SQLITE_CONSTRAINT_TRIGGER) => {
                Fault::config("a trigger refuses the change".to_owned())
            }
            (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => Fault::config(
                "the database refuses the change, because rows that stay refer to what goes",
            ),
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Fault::transient(format!(
                "{path} is locked by another program, also after {} seconds (`busy_timeout`)",
                self.busy.as_secs()
            )),
            (ErrorCode::DiskFull, _) => Fault::transient(format!("the disk of {path} is full")),
            _ => return error.into(),
        };
        fault.into()
    }

    fn look(&self, statement: &Statement<Bound>, each: Each<'_>) -> Result<()> {
        let mut prepared =
            self.connection.prepare(&statement.text).map_err(|error| self.explain(error))?;
        let columns = prepared.column_count();
        let mut rows = prepared
            .query(params_from_iter(&statement.values))
            .map_err(|error| self.explain(error))?;
        while let Some(row) = rows.next().map_err(|error| self.explain(error))? {
            let mut cells = Vec::with_capacity(columns);
            for i in 0..columns {
                cells.push(match row.get_ref(i)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(integer) => Cell::Integer(integer),
                    ValueRef::Real(real) => Cell::Real(real),
                    ValueRef::Text(text) => match std::str::from_utf8(text) {
                        Ok(text) => Cell::Text(text),
                        Err(_) => Cell::Bytes(text),
                    },
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes),
                });
            }
            each(&cells)?;
        }
        Ok(())
    }
}

#[async_trait]
impl EngineSession for Session {
    type Value = Bound;

    async fn catalog(&mut self) -> Result<Catalog> {
        catalog::read(&self.connection, &[])
    }

    async fn run(&mut self, statement: &Statement<Bound>) -> Result<u64> {
        let run = || -> rusqlite::Result<u64> {
            let mut prepared = self.connection.prepare(&statement.text)?;
            // Some pragmas answer.
            if prepared.column_count() > 0 {
                prepared.query(params_from_iter(&statement.values))?.next()?;
                return Ok(0);
            }
            let changed = prepared.execute(params_from_iter(&statement.values))?;
            Ok(u64::try_from(changed).unwrap_or(u64::MAX))
        };
        run().map_err(|error| self.explain(error))
    }

    async fn rows(&mut self, statement: &Statement<Bound>, each: Each<'_>) -> Result<()> {
        self.look(statement, each)
    }

    async fn push(
        &mut self,
        table: &Table,
        columns: &[&Column],
        statement: &Statement<Bound>,
        out: &mut Output,
    ) -> Result<()> {
        let mut objects = Objects::of(columns);
        let mut prepared = self.connection.prepare(&statement.text)?;
        let mut rows = prepared.query(params_from_iter(&statement.values))?;
        while let Some(row) = rows.next()? {
            objects.push(row, 0, out)?;
        }
        objects.report(&table.id);
        Ok(())
    }

    async fn commit(&mut self) -> Result<Commit> {
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => Ok(Commit::Done),
            Err(error) => {
                let error = self.explain(error);
                // A commit that fails leaves the transaction open, but for some failures of disks.
                if !self.connection.is_autocommit() {
                    self.connection.execute_batch("ROLLBACK").map_err(|e| self.explain(e))?;
                }
                Err(error)
            }
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        self.connection.execute_batch("ROLLBACK").map_err(|error| self.explain(error))
    }
}
