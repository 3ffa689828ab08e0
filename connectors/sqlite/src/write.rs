//! Takes records: makes tables from schemas, and inserts, upserts or replaces.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::fault::Fault;
use protocol::message::SchemaEntry;
use protocol::silo::{Access, StoreId, UnknownColumns, Write, WriteMode, WriteOptions, Writing};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::record::{Members, fits, word};
use protocol::sql::types::Type;
use protocol::{Context, Result, async_trait};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde_json::value::RawValue;

use crate::values::SQLITE;
use crate::{Sqlite, catalog, connection};

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
        let id = StoreId::new(entry.group.clone(), entry.name.clone());
        self.alone(&id)?;
        let key = entry.details.as_ref().map_or_else(Vec::new, |details| details.key.clone());
        let properties = entry.json_schema.get("properties").and_then(|p| p.as_object());
        let wanted: Vec<(&str, Type)> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), Type::of_schema(schema)))
            .collect();
        match self.find(&id.name)? {
            None => self.create(&id, &wanted, &key)?,
            Some(table) => {
                for (name, of) in wanted {
                    match table.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)) {
                        None => self.add(&id, name, &of)?,
                        Some(column) if fits(&of, &column.of) => {}
                        Some(column) => {
                            return Err(Fault::config(format!(
                                "{id}: `{name}` comes as {}, and the column is {}, which cannot \
                                 hold it unchanged",
                                word(&of),
                                column.declared
                            ))
                            .into());
                        }
                    }
                }
            }
        }
        self.target(&id, key)
    }

    /// SQLite has no groups: two stores of one name would share a table.
    fn alone(&self, id: &StoreId) -> Result<()> {
        let other = self
            .targets
            .keys()
            .find(|other| other.name.eq_ignore_ascii_case(&id.name) && *other != id);
        match other {
            Some(other) => Err(Fault::config(format!(
                "{id} and {other} would go into one table; write them into files of their own"
            ))
            .into()),
            None => Ok(()),
        }
    }

    /// A table as it is now, whatever the configuration chose.
    fn find(&self, name: &str) -> Result<Option<Table>> {
        let tables = catalog::read(&self.connection, &[])?.tables;
        Ok(tables.into_iter().find(|table| table.id.name.eq_ignore_ascii_case(name)))
    }

    fn create(&self, id: &StoreId, wanted: &[(&str, Type)], key: &[String]) -> Result<()> {
        let mut parts: Vec<String> = wanted
            .iter()
            .map(|(name, of)| {
                let keyed = if key.iter().any(|part| part == name) { " NOT NULL" } else { "" };
                format!("{} {}{keyed}", SQLITE.name(name), declaration(of))
            })
            .collect();
        if parts.is_empty() {
            return Err(Fault::config(format!("{id}: its schema has no properties")).into());
        }
        if !key.is_empty() {
            if let Some(missing) = key.iter().find(|part| wanted.iter().all(|(n, _)| n != part)) {
                let why = format!("{id}: `{missing}` is in the key but not in the properties");
                return Err(Fault::config(why).into());
            }
            parts.push(format!("PRIMARY KEY ({})", SQLITE.names(key.iter().map(String::as_str))));
        }
        let text = format!("CREATE TABLE main.{} ({})", SQLITE.name(&id.name), parts.join(", "));
        self.connection.execute_batch(&text).with_context(|| format!("making the table {id}"))
    }

    fn add(&self, id: &StoreId, name: &str, of: &Type) -> Result<()> {
        if self.how.columns == UnknownColumns::Fail {
            return Err(Fault::config(format!(
                "{id}: there is no column `{name}`, and --columns fail adds none"
            ))
            .into());
        }
        let table = SQLITE.name(&id.name);
        let column = SQLITE.name(name);
        let text = format!("ALTER TABLE main.{table} ADD COLUMN {column} {}", declaration(of));
        self.connection.execute_batch(&text).with_context(|| format!("adding `{name}` to {id}"))
    }

    /// Takes the table up as the target of a store's records.
    fn target(&mut self, id: &StoreId, key: Vec<String>) -> Result<()> {
        let table = self.find(&id.name)?.ok_or_else(|| {
            Fault::config(format!(
                "{id}: there is no such table, and no SCHEMA message came before its records"
            ))
        })?;
        let key = if key.is_empty() { table.key.clone() } else { key };
        if self.how.mode_of(id) == WriteMode::Upsert {
            let same = |names: &[String]| {
                names.len() == key.len() && names.iter().all(|name| key.contains(name))
            };
            if key.is_empty() || !(same(&table.key) || table.uniques.iter().any(|u| same(u))) {
                return Err(Fault::config(format!(
                    "{id}: an upsert needs a key that the table enforces; its SCHEMA message says {}",
                    if key.is_empty() { "none".to_owned() } else { key.join(", ") }
                ))
                .into());
            }
        }
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
            self.alone(id)?;
            self.target(id, Vec::new())?;
        }
        for record in records {
            let members = Members::of(record)
                .map_err(|_| Fault::config(format!("{id}: a record is not a JSON object")))?;
            self.widen(id, &members)?;
            let target = self.targets.get_mut(id).context("the target was made above")?;
            let names = members.0.iter().map(|(name, _)| name);
            if target.insert.is_empty() || !target.columns.iter().eq(names) {
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
        if target.columns.iter().eq(members.0.iter().map(|(name, _)| name)) {
            return Ok(());
        }
        let missing: Vec<&str> = members
            .0
            .iter()
            .map(|(name, _)| &**name)
            .filter(|name| target.column(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        for name in missing {
            // A single record tells too little of a type to hold the next ones to it.
            self.add(id, name, &Type::Any)?;
        }
        let key = target.key.clone();
        self.target(id, key)
    }
}

impl Target {
    fn column(&self, name: &str) -> Option<&Column> {
        self.table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Makes the statement for records with these members.
    fn choose(&mut self, members: &Members<'_>, mode: WriteMode) {
        self.columns = members.0.iter().map(|(name, _)| name.clone().into_owned()).collect();
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
            let changed: Vec<String> = self
                .columns
                .iter()
                .filter(|name| !self.key.contains(name))
                .map(|name| format!("{0} = excluded.{0}", SQLITE.name(name)))
                .collect();
            let then = match changed.as_slice() {
                [] => "NOTHING".to_owned(),
                changed => format!("UPDATE SET {}", changed.join(", ")),
            };
            let key = SQLITE.names(self.key.iter().map(String::as_str));
            self.insert.push_str(&format!(" ON CONFLICT ({key}) DO {then}"));
        }
    }

    /// The value that a member is stored as, or why its column cannot hold it unchanged.
    fn value(&self, id: &StoreId, name: &str, json: &RawValue) -> Result<Value> {
        let of = self.column(name).map_or(&Type::Any, |column| &column.of);
        let refuse = |why: &str| Fault::config(format!("{id}: a value of `{name}` {why}"));
        let text = json.get();
        let value = match text.as_bytes().first() {
            Some(b'n') => Value::Null,
            Some(b't' | b'f') => match of {
                Type::Text => {
                    return Err(refuse("is true or false, and the column holds text").into());
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
                    return Err(
                        refuse("is a list or an object, which the column cannot hold").into()
                    );
                }
            },
            _ => match (text.parse::<i64>(), text.contains(['.', 'e', 'E'])) {
                (Ok(integer), _) if *of == Type::Number && integer.unsigned_abs() > EXACT => {
                    return Err(
                        refuse("is an integer that a floating-point column would round").into()
                    );
                }
                (Ok(integer), _) => Value::Integer(integer),
                (Err(_), true) => Value::Real(text.parse().context("reading a number")?),
                (Err(_), false) => match of {
                    Type::Text | Type::Any => Value::Text(text.to_owned()),
                    _ => return Err(refuse("is an integer beyond 64 bits").into()),
                },
            },
        };
        Ok(value)
    }
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
