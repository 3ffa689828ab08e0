//! Takes records: makes tables from schemas, and inserts, upserts or replaces.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::message::SchemaEntry;
use protocol::silo::{Access, StoreId, Write, WriteMode, WriteOptions, Writing};
use protocol::sql::catalog::Table;
use protocol::sql::record::Members;
use protocol::sql::types::Type;
use protocol::sql::write::{Making, Property, Wanted, fits, found, on_conflict, refused};
use protocol::{Context, Result, async_trait};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde_json::value::RawValue;

use crate::values::SQLITE;
use crate::{Sqlite, catalog, connection};

const MAKING: Making = Making {
    dialect: SQLITE,
    same: str::eq_ignore_ascii_case,
    fits,
    declare: |property, parts| {
        let keyed = if parts.is_some() { " NOT NULL" } else { "" };
        declaration(&property.of).to_owned() + keyed
    },
    // There are no groups.
    apart: "write them into files of their own",
};

#[async_trait]
impl Write for Sqlite {
    async fn begin(&self, how: &WriteOptions) -> Result<Box<dyn Writing + '_>> {
        let connection = connection::open(&self.config, Access::Write)?;
        let explain = |error: rusqlite::Error| connection::explain(&self.config, error.into());
        connection.execute_batch("BEGIN IMMEDIATE").map_err(explain)?;
        Ok(Box::new(Run { silo: self, connection, how: how.clone(), targets: HashMap::new() }))
    }
}

/// A run of writing: one transaction after the other on a connection of its own.
struct Run<'s> {
    silo: &'s Sqlite,
    connection: Connection,
    how: WriteOptions,
    targets: HashMap<StoreId, Target>,
}

/// A table that records go into.
struct Target {
    table: Table,
    /// The key of the schema message, which an upsert goes by.
    key: Vec<String>,
    /// The properties of the last record and the statement for them: the next one's are mostly
    /// the same.
    columns: Vec<String>,
    insert: String,
}

#[async_trait]
impl Writing for Run<'_> {
    async fn schema(&mut self, entry: &SchemaEntry) -> Result<()> {
        self.prepare(entry).map_err(|error| connection::explain(&self.silo.config, error))
    }

    async fn records(&mut self, store: &StoreId, records: &[&RawValue]) -> Result<()> {
        self.insert(store, records).map_err(|error| connection::explain(&self.silo.config, error))
    }

    async fn commit(&mut self) -> Result<bool> {
        if self.how.replaces() {
            // Until the end the old rows are what others see.
            return Ok(false);
        }
        self.execute("COMMIT")?;
        self.execute("BEGIN IMMEDIATE")?;
        Ok(true)
    }

    async fn finish(&mut self) -> Result<()> {
        self.execute("COMMIT")
    }
}

impl Run<'_> {
    fn execute(&self, text: &str) -> Result<()> {
        self.connection
            .execute_batch(text)
            .map_err(|error| connection::explain(&self.silo.config, error.into()))
    }

    /// Makes the table of a schema where it is missing, or holds the schema to the one there is.
    fn prepare(&mut self, entry: &SchemaEntry) -> Result<()> {
        let wanted = Wanted::of(entry);
        let id = &wanted.id;
        match self.find(id)? {
            None => {
                let text = MAKING.create(&wanted, &path(id))?;
                let made = self.connection.execute_batch(&text);
                made.with_context(|| format!("making the table {id}"))?;
            }
            Some(table) => {
                for property in MAKING.missing(&wanted, &table)? {
                    self.add(id, property)?;
                }
            }
        }
        self.target(id, wanted.key)
    }

    /// The table of a store as it is now, whatever the configuration chose.
    fn find(&self, id: &StoreId) -> Result<Option<Table>> {
        let tables = catalog::read(&self.connection, &[])?.tables;
        let mut tables = tables.into_iter();
        let found = tables.find(|table| table.id.name.eq_ignore_ascii_case(&id.name));
        if let Some(table) = &found {
            MAKING.alone(id, table, self.targets.iter().map(|(id, to)| (id, &to.table)))?;
        }
        Ok(found)
    }

    fn add(&self, id: &StoreId, property: &Property<'_>) -> Result<()> {
        let text = MAKING.add(&self.how, id, &path(id), property)?;
        let added = self.connection.execute_batch(&text);
        added.with_context(|| format!("adding `{}` to {id}", property.name))
    }

    /// Takes the table up as the target of a store's records.
    fn target(&mut self, id: &StoreId, key: &[String]) -> Result<()> {
        let table = found(id, self.find(id)?)?;
        let key = MAKING.key(&self.how, id, &table, key)?;
        if self.how.empties(id) && !self.targets.contains_key(id) {
            let text = format!("DELETE FROM {}", SQLITE.path(&table.path));
            self.connection.execute_batch(&text).with_context(|| format!("emptying {id}"))?;
        }
        let target = Target { table, key, columns: Vec::new(), insert: String::new() };
        self.targets.insert(id.clone(), target);
        Ok(())
    }

    fn insert(&mut self, id: &StoreId, records: &[&RawValue]) -> Result<()> {
        if !self.targets.contains_key(id) {
            self.target(id, &[])?;
        }
        for record in records {
            let members = Members::of(id, record)?;
            self.widen(id, &members)?;
            let target = self.targets.get_mut(id).context("the target was made above")?;
            if target.insert.is_empty() || !target.columns.iter().eq(members.names()) {
                target.choose(&members, self.how.mode_of(id));
            }
            let values = members
                .0
                .iter()
                .map(|(name, value)| target.value(id, name, value))
                .collect::<Result<Vec<Value>>>()?;
            let mut insert = self.connection.prepare_cached(&target.insert)?;
            insert.execute(params_from_iter(values)).with_context(|| format!("writing to {id}"))?;
        }
        Ok(())
    }

    /// Adds the columns that a record has and the table has not.
    fn widen(&mut self, id: &StoreId, members: &Members<'_>) -> Result<()> {
        let target = &self.targets[id];
        if target.columns.iter().eq(members.names()) {
            return Ok(());
        }
        let missing = members.names().filter(|name| MAKING.column(&target.table, name).is_none());
        let missing: Vec<&str> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        for name in missing {
            // A single record tells too little of a type to hold the next ones to it.
            self.add(id, &Property::untold(name, Type::Any))?;
        }
        let key = target.key.clone();
        self.target(id, &key)
    }
}

impl Target {
    /// Makes the statement for records with these members.
    fn choose(&mut self, members: &Members<'_>, mode: WriteMode) {
        self.columns = members.names().map(str::to_owned).collect();
        let path = SQLITE.path(&self.table.path);
        let names = SQLITE.names(self.columns.iter().map(String::as_str));
        let places: Vec<String> =
            (1..=self.columns.len()).map(|n| (SQLITE.placeholder)(n)).collect();
        self.insert = if self.columns.is_empty() {
            format!("INSERT INTO {path} DEFAULT VALUES")
        } else {
            format!("INSERT INTO {path} ({names}) VALUES ({})", places.join(", "))
        };
        if mode == WriteMode::Upsert {
            let written = self.columns.iter().map(String::as_str);
            self.insert.push_str(&on_conflict(&SQLITE, &self.key, written));
        }
    }

    /// The value that a member is stored as, or why its column cannot hold it unchanged.
    fn value(&self, id: &StoreId, name: &str, json: &RawValue) -> Result<Value> {
        let of = MAKING.column(&self.table, name).map_or(&Type::Any, |column| &column.of);
        let refuse = |why: &str| refused(id, name, why);
        let text = json.get();
        let value = match text.as_bytes().first() {
            Some(b'n') => Value::Null,
            Some(b't' | b'f') => match of {
                Type::Text => {
                    return Err(refuse("is true or false, and the column holds text"));
                }
                _ => Value::Integer(i64::from(text.starts_with('t'))),
            },
            Some(b'"') => {
                let string: String = serde_json::from_str(text)?;
                match (of, string.as_str()) {
                    (Type::Bytes, encoded) => BASE64
                        .decode(encoded)
                        .map(Value::Blob)
                        .map_err(|_| refuse("is not base64, and the column holds bytes"))?,
                    (Type::Number, "Infinity") => Value::Real(f64::INFINITY),
                    (Type::Number, "-Infinity") => Value::Real(f64::NEG_INFINITY),
                    _ => Value::Text(string),
                }
            }
            Some(b'{' | b'[') => match of {
                Type::Text | Type::Any => Value::Text(text.to_owned()),
                _ => {
                    return Err(refuse("is a list or an object, which the column cannot hold"));
                }
            },
            _ => match (text.parse::<i64>(), text.contains(['.', 'e', 'E'])) {
                (Ok(integer), _) if *of == Type::Number && integer.unsigned_abs() > EXACT => {
                    return Err(refuse("is an integer that a floating-point column would round"));
                }
                (Ok(integer), _) => Value::Integer(integer),
                (Err(_), true) => Value::Real(text.parse().context("reading a number")?),
                (Err(_), false) => match of {
                    Type::Text | Type::Any => Value::Text(text.to_owned()),
                    _ => return Err(refuse("is an integer beyond 64 bits")),
                },
            },
        };
        Ok(value)
    }
}

/// Where a store's table is made.
fn path(id: &StoreId) -> [String; 2] {
    ["main".to_owned(), id.name.clone()]
}

/// Up to here every integer is a double.
const EXACT: u64 = 1 << 53;

/// The declared type of a new column: one whose affinity changes no value.
fn declaration(of: &Type) -> &'static str {
    match of {
        Type::Boolean => "BOOLEAN",
        Type::Integer => "INTEGER",
        Type::Number => "REAL",
        Type::Bytes => "BLOB",
        Type::Any => "",
        _ => "TEXT",
    }
}
