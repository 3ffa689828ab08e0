//! Takes records: makes tables from schemas, and inserts, upserts or replaces.

use std::collections::HashMap;

use protocol::fault::Fault;
use protocol::message::{Matching, SchemaEntry};
use protocol::silo::{Access, StoreId, Write, WriteMode, WriteOptions, Writing};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::record::Members;
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;
use protocol::sql::write::{Making, Property, Wanted, fits, found, refused};
use protocol::{Context, Result, async_trait, log};
use serde_json::value::RawValue;

use crate::catalog::{self, Databases};
use crate::dialect::{Bound, MYSQL, charset, positional};
use crate::driver::{Client, Prepared, Value};
use crate::fitting::{self, declaration};
use crate::{MySql, config};

const MAKING: Making = Making {
    dialect: MYSQL,
    // The server compares the names of columns without case.
    same: |a, b| a.to_lowercase() == b.to_lowercase(),
    fits,
    declare: |property, parts| declaration(&property.of, property.schema, parts),
    apart: "write them into databases of their own, or set `all_databases`",
};

#[async_trait]
impl Write for MySql {
    async fn begin(&self, how: &WriteOptions) -> Result<Box<dyn Writing + '_>> {
        let mut client = self.config.connect(Access::Write)?;
        client.run(BEGIN)?;
        Ok(Box::new(Run {
            silo: self,
            client,
            definer: None,
            how: how.clone(),
            targets: HashMap::new(),
        }))
    }
}

const BEGIN: &str = "START TRANSACTION";

/// How many values one statement has at most. The protocol counts to 65,535.
const VALUES: usize = 4096;

/// How many bytes one statement has, about. A server takes a megabyte at the very least.
const BYTES: usize = 512 * 1024;

/// A run of writing: one transaction after the other on a connection of its own.
struct Run<'s> {
    silo: &'s MySql,
    client: Client,
    /// Defines tables, which would commit the transaction of the one above.
    definer: Option<Client>,
    how: WriteOptions,
    targets: HashMap<StoreId, Target>,
}

/// A table that records go into.
struct Target {
    table: Table,
    /// The key of the schema message, which an upsert goes by.
    key: Vec<String>,
    /// The properties of the last record: the next one's are mostly the same.
    members: Vec<String>,
    /// The column of each property; `None` for one that the server computes.
    columns: Vec<Option<Column>>,
    /// The statements for them, by how many records each takes.
    inserts: HashMap<usize, Prepared>,
}

#[async_trait]
impl Writing for Run<'_> {
    async fn schema(&mut self, entry: &SchemaEntry) -> Result<()> {
        self.prepare(entry).map_err(|error| self.silo.config.explain(error))
    }

    async fn records(&mut self, store: &StoreId, records: &[&RawValue]) -> Result<()> {
        self.insert(store, records).map_err(|error| self.silo.config.explain(error))
    }

    async fn commit(&mut self) -> Result<bool> {
        if self.how.replaces() {
            // Until the end the old rows are what others see.
            return Ok(false);
        }
        self.execute("COMMIT")?;
        self.execute(BEGIN)?;
        Ok(true)
    }

    async fn finish(&mut self) -> Result<()> {
        self.execute("COMMIT")
    }
}

impl Run<'_> {
    fn execute(&mut self, text: &str) -> Result<()> {
        let done = self.client.run(text);
        done.map(|_| ()).map_err(|error| self.silo.config.explain(error))
    }

    /// Defines a table, on a connection of its own.
    fn define(&mut self, text: &str) -> Result<()> {
        if self.definer.is_none() {
            self.definer = Some(self.silo.config.connect(Access::Write)?);
        }
        let definer = self.definer.as_mut().context("it was made above")?;
        definer.run(text).map(|_| ())
    }

    /// Where a store's table is, or would be: in the database of its group where all databases are
    /// wanted, else in the one of the configuration.
    fn place(&self, id: &StoreId) -> Result<[String; 2]> {
        let config::Config { database, all_databases, .. } = &*self.silo.config;
        let group = id.group.as_ref().filter(|_| *all_databases);
        let database = group.unwrap_or(database);
        if database.is_empty() {
            return Err(Fault::config(format!("{id}: neither it nor `database` says where")).into());
        }
        Ok([database.clone(), id.name.clone()])
    }

    /// Makes the table of a schema where it is missing, or holds the schema to the one there is.
    fn prepare(&mut self, entry: &SchemaEntry) -> Result<()> {
        let wanted = Wanted::of(entry);
        let id = &wanted.id;
        match self.find(id)? {
            None => {
                let table = MAKING.create(&wanted, &self.place(id)?)?;
                let collation = self.exact()?;
                let text = format!("{table} CHARACTER SET utf8mb4 COLLATE {collation}");
                self.define(&text).with_context(|| format!("making the table {id}"))?;
            }
            Some(table) => {
                for property in MAKING.missing(&wanted, &table)? {
                    self.add(id, property)?;
                }
            }
        }
        self.target(id, wanted.key)
    }

    /// A table as it is now, whatever the configuration chose.
    fn find(&mut self, id: &StoreId) -> Result<Option<Table>> {
        let [database, name] = &self.place(id)?;
        let found = catalog::read(&mut self.client, Databases::Table(database, name), &[])?;
        let found = found.tables.into_iter().next();
        if let Some(table) = &found {
            MAKING.alone(id, table, self.targets.iter().map(|(id, to)| (id, &to.table)))?;
        }
        Ok(found)
    }

    /// The collation in which only the same is equal, which the connection has.
    fn exact(&mut self) -> Result<String> {
        let mut found = None;
        self.client.rows("SELECT @@collation_connection", &[], |row| {
            found = row.text()?;
            Ok(())
        })?;
        found.ok_or_else(|| Fault::system("the connection has no collation").into())
    }

    fn add(&mut self, id: &StoreId, property: &Property<'_>) -> Result<()> {
        let text = MAKING.add(&self.how, id, &self.place(id)?, property)?;
        let name = property.name;
        if !self.how.replaces() {
            // A table that this transaction has written to cannot be altered beside it.
            self.execute("COMMIT")?;
            self.execute(BEGIN)?;
        } else if self.targets.contains_key(id) {
            return Err(Fault::config(format!(
                "{id}: `{name}` comes after tables were emptied, and adding a column would make that \
                 final: name it in the first SCHEMA message"
            ))
            .into());
        }
        self.define(&text).with_context(|| format!("adding `{name}` to {id}"))?;
        if let Some(target) = self.targets.get_mut(id) {
            target.forget(&mut self.client)?;
        }
        Ok(())
    }

    /// Takes the table up as the target of a store's records.
    fn target(&mut self, id: &StoreId, key: &[String]) -> Result<()> {
        let table = found(id, self.find(id)?)?;
        let key = MAKING.key(&self.how, id, &table, key)?;
        if self.how.empties(id) && !self.targets.contains_key(id) {
            let text = format!("DELETE FROM {}", MYSQL.path(&table.path));
            self.client.run(&text).with_context(|| format!("emptying {id}"))?;
        }
        if let Some(target) = self.targets.get_mut(id) {
            target.forget(&mut self.client)?;
        }
        let target = Target {
            table,
            key,
            members: Vec::new(),
            columns: Vec::new(),
            inserts: HashMap::new(),
        };
        self.targets.insert(id.clone(), target);
        Ok(())
    }

    fn insert(&mut self, id: &StoreId, records: &[&RawValue]) -> Result<()> {
        if !self.targets.contains_key(id) {
            self.target(id, &[])?;
        }
        // The values of records that have the same properties and wait for their statement.
        let mut batch = Batch::default();
        for record in records {
            let members = Members::of(id, record)?;
            let target = self.targets.get(id).context("the target was made above")?;
            if target.members.is_empty() || !target.members.iter().eq(members.names()) {
                self.flush(id, &mut batch)?;
                self.widen(id, &members)?;
            }
            let target = self.targets.get(id).context("the target was made above")?;
            for (column, (name, json)) in target.columns.iter().zip(&members.0) {
                let Some(column) = column else { continue };
                let bound = fitting::value(column, json);
                batch.values.push(bound.map_err(|why| refused(id, name, why))?);
            }
            batch.records += 1;
            batch.bytes += record.get().len();
            if batch.values.len() >= VALUES || batch.bytes >= BYTES || batch.records >= VALUES {
                self.flush(id, &mut batch)?;
            }
        }
        self.flush(id, &mut batch)
    }

    /// Makes the target ready for records with other properties, and adds columns for those that
    /// the table has not.
    fn widen(&mut self, id: &StoreId, members: &Members<'_>) -> Result<()> {
        let target = self.targets.get(id).context("the target was made before")?;
        let missing = members.names().filter(|name| MAKING.column(&target.table, name).is_none());
        let missing: Vec<&str> = missing.collect();
        if !missing.is_empty() {
            for name in missing {
                // A single record tells too little of a type to hold the next ones to it.
                self.add(id, &Property::untold(name, Type::Any))?;
            }
            let target = self.targets.get(id).context("the target was made before")?;
            let key = target.key.clone();
            self.target(id, &key)?;
        }
        let target = self.targets.get_mut(id).context("the target was made before")?;
        target.forget(&mut self.client)?;
        target.members = members.names().map(str::to_owned).collect();
        for name in members.names() {
            let column = MAKING.column(&target.table, name).cloned();
            if let Some(column) = column.as_ref().filter(|column| column.generated) {
                log::info(format_args!("{id}: `{}` is computed and not written", column.name));
            }
            target.columns.push(column.filter(|column| !column.generated));
        }
        Ok(())
    }

    /// Writes the records that wait.
    fn flush(&mut self, id: &StoreId, batch: &mut Batch) -> Result<()> {
        if batch.records == 0 {
            return Ok(());
        }
        let Batch { records, values, .. } = std::mem::take(batch);
        let target = self.targets.get_mut(id).context("the target was made before")?;
        let client = &mut self.client;
        let written = if self.how.mode_of(id) == WriteMode::Upsert && !target.settles_by_key() {
            target.upsert_each(client, &values)
        } else {
            target.insert(client, records, &values, self.how.mode_of(id))
        };
        written.with_context(|| format!("writing to {id}"))
    }
}

/// Records that wait for their statement.
#[derive(Default)]
struct Batch {
    records: usize,
    values: Vec<Value>,
    bytes: usize,
}

impl Target {
    /// Gives up the statements for the last record's properties.
    fn forget(&mut self, client: &mut Client) -> Result<()> {
        self.members.clear();
        self.columns.clear();
        self.inserts.drain().try_for_each(|(_, prepared)| client.close(prepared))
    }

    /// The columns that are written, in the order of the values.
    fn written(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().flatten()
    }

    /// Inserts records, by as few statements as there are powers of two in their number, because
    /// statements of these sizes come again.
    fn insert(
        &mut self,
        client: &mut Client,
        records: usize,
        values: &[Value],
        mode: WriteMode,
    ) -> Result<()> {
        let each = self.written().count();
        let (mut left, mut rest) = (records, values);
        while left > 0 {
            let take = 1 << left.ilog2();
            let prepared = match self.inserts.get(&take) {
                Some(prepared) => *prepared,
                None => {
                    let prepared = client.prepare(&self.statement(take, mode))?;
                    self.inserts.insert(take, prepared);
                    prepared
                }
            };
            let (now, later) = rest.split_at(take * each);
            client.execute(prepared, now)?;
            (left, rest) = (left - take, later);
        }
        Ok(())
    }

    fn statement(&self, records: usize, mode: WriteMode) -> String {
        let names = MYSQL.names(self.written().map(|column| column.name.as_str()));
        let places = vec!["?"; self.written().count()].join(", ");
        let rows = vec![format!("({places})"); records].join(", ");
        let mut text =
            format!("INSERT INTO {} ({names}) VALUES {rows}", MYSQL.path(&self.table.path));
        if mode == WriteMode::Upsert {
            let changed: Vec<String> = self
                .written()
                .filter(|column| !self.is_key(column))
                .map(|column| MYSQL.name(&column.name))
                .map(|name| format!("{name} = VALUES({name})"))
                .collect();
            text.push_str(" ON DUPLICATE KEY UPDATE ");
            match (changed.as_slice(), self.key.first()) {
                ([], Some(part)) => {
                    let part = MYSQL.name(part);
                    text.push_str(&format!("{part} = {part}"));
                }
                (changed, _) => text.push_str(&changed.join(", ")),
            }
        }
        text
    }

    fn is_key(&self, column: &Column) -> bool {
        self.key.contains(&column.name)
    }

    /// Whether `ON DUPLICATE KEY` means the key and nothing else: another unique column, or a
    /// collation that takes two keys for one, would make it change a stranger's row.
    fn settles_by_key(&self) -> bool {
        let exact = |column: &Column| match charset(column) {
            Some((_, collation)) => {
                collation.ends_with("_nopad_bin") || collation.ends_with("_0900_bin")
            }
            None => true,
        };
        let is_the_key = |names: &[String]| {
            names.len() == self.key.len() && names.iter().all(|name| self.key.contains(name))
        };
        self.table.enforced().all(is_the_key)
            && self.table.columns.iter().filter(|column| self.is_key(column)).all(exact)
    }

    /// Changes the row of each record's key, or adds it: slower, and never another one.
    fn upsert_each(&mut self, client: &mut Client, values: &[Value]) -> Result<()> {
        let columns: Vec<Column> = self.written().cloned().collect();
        let path = MYSQL.path(&self.table.path);
        for record in values.chunks(columns.len().max(1)) {
            let mut update: Statement<Bound> = Statement::plain(format!("UPDATE {path} SET "));
            let (mut changes, mut conditions) = (Vec::new(), Vec::new());
            for (column, value) in columns.iter().zip(record) {
                let name = MYSQL.name(&column.name);
                let parameter = update.bind(&MYSQL, Bound::Value(value.clone()));
                match self.is_key(column) {
                    true => {
                        conditions.push((MYSQL.equals)(column, &name, &parameter, Matching::Exact))
                    }
                    false => changes.push(format!("{name} = {parameter}")),
                }
            }
            if conditions.len() < self.key.len() {
                return Err(Fault::config("a record lacks a part of its key").into());
            }
            if changes.is_empty() {
                let part = MYSQL.name(&self.key[0]);
                changes.push(format!("{part} = {part}"));
            }
            update.text.push_str(&changes.join(", "));
            update.text.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
            let (text, bound) = positional(&update);
            // The rows that were found, changed or not.
            if client.rows(&text, &bound, |_| Ok(()))? == 0 {
                self.insert(client, 1, record, WriteMode::Append)?;
            }
        }
        Ok(())
    }
}
