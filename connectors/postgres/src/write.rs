//! Takes records: makes schemas and tables, and brings rows in by COPY.
//!
//! Rows of one store and one set of properties go into one COPY. To append, straight into the
//! table; to upsert, into a temporary table first, of which the last row of each key replaces what
//! is there. A replaced table is emptied in the transaction that fills it, so that others see the
//! old rows until the end.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use protocol::fault::Fault;
use protocol::message::SchemaEntry;
use protocol::silo::{Kind, StoreId, Write, WriteMode, WriteOptions, Writing};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::record::Members;
use protocol::sql::types::Type;
use protocol::sql::write::{self, Making, Property, Wanted, found, on_conflict, refused};
use protocol::{Context, Result, async_trait};
use serde_json::value::RawValue;

use crate::Postgres;
use crate::catalog::{self, ColumnWay};
use crate::config::Settings;
use crate::fault::explain;
use crate::field::Field;
use crate::identify::POSTGRES;
use crate::session::Session;
use crate::types::Ask;

/// How much of a COPY is handed on at once.
const PIECE: usize = 64 * 1024;

/// The temporary table that an upsert goes through.
const INCOMING: &str = "manifold_incoming";

const MAKING: Making = Making {
    dialect: POSTGRES,
    same: |a, b| a == b,
    fits,
    declare: |property, _| declaration(&property.of),
    apart: "write them into groups of their own",
};

#[async_trait]
impl Write for Postgres {
    async fn begin(&self, how: &WriteOptions) -> Result<Box<dyn Writing + '_>> {
        Ok(Box::new(Run {
            settings: Arc::clone(&self.settings),
            how: how.clone(),
            databases: HashMap::new(),
            targets: HashMap::new(),
        }))
    }
}

/// A run of writing: on each database a connection of its own, in one transaction after the other.
struct Run {
    settings: Arc<Settings>,
    how: WriteOptions,
    databases: HashMap<String, Session>,
    targets: HashMap<StoreId, Target>,
}

/// A table that records go into.
struct Target {
    table: Table,
    ways: Vec<ColumnWay>,
    /// The key of the schema message, which an upsert goes by.
    key: Vec<String>,
}

/// Where a store is.
struct Where {
    database: String,
    /// Schema and name.
    path: [String; 2],
}

#[async_trait]
impl Writing for Run {
    async fn schema(&mut self, entry: &SchemaEntry) -> Result<()> {
        let wanted = Wanted::of(entry);
        let id = &wanted.id;
        match self.find(id).await? {
            None => self.create(&wanted).await?,
            Some((table, _)) => {
                for property in MAKING.missing(&wanted, &table)? {
                    self.add(id, property).await?;
                }
            }
        }
        self.target(id, wanted.key).await
    }

    async fn records(&mut self, store: &StoreId, records: &[&RawValue]) -> Result<()> {
        if !self.targets.contains_key(store) {
            self.target(store, &[]).await?;
        }
        let parsed = records.iter().map(|record| Members::of(store, record));
        let parsed = parsed.collect::<Result<Vec<_>>>()?;
        // A row names the columns it has: what it leaves out keeps its default.
        let mut rest = parsed.as_slice();
        while let Some(first) = rest.first() {
            let same = |members: &&Members<'_>| members.names().eq(first.names());
            let count = rest.iter().take_while(same).count();
            let (run, more) = rest.split_at(count);
            self.widen(store, first).await?;
            self.bring(store, run).await?;
            rest = more;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<bool> {
        if self.how.replaces() {
            // Until the end the old rows are what others see.
            return Ok(false);
        }
        self.each("COMMIT; BEGIN").await?;
        Ok(true)
    }

    async fn finish(&mut self) -> Result<()> {
        self.each("COMMIT").await
    }
}

impl Run {
    async fn each(&self, text: &str) -> Result<()> {
        for session in self.databases.values() {
            session
                .client
                .batch_execute(text)
                .await
                .map_err(|error| explain(&self.settings.server, error))?;
        }
        Ok(())
    }

    /// The database and schema that a group names: `shop/public`. Records from elsewhere have
    /// another group, or none.
    fn place(&self, id: &StoreId) -> Where {
        let default = self.settings.server.database();
        let (database, schema) = match id.group.as_deref() {
            None => (default, "public"),
            Some(group) => match group.rsplit_once('/') {
                Some((database, schema)) if !database.is_empty() && !schema.is_empty() => {
                    (database, schema)
                }
                _ => (default, group),
            },
        };
        Where { database: database.to_owned(), path: [schema.to_owned(), id.name.clone()] }
    }

    async fn session(&mut self, id: &StoreId) -> Result<(&Session, Where)> {
        let place = self.place(id);
        if !self.databases.contains_key(&place.database) {
            let session = Session::open(&self.settings.server, &place.database).await?;
            session
                .client
                .batch_execute("BEGIN")
                .await
                .map_err(|error| explain(&self.settings.server, error))?;
            self.databases.insert(place.database.clone(), session);
        }
        Ok((&self.databases[&place.database], place))
    }

    async fn execute(&mut self, id: &StoreId, text: &str, what: &str) -> Result<()> {
        let settings = Arc::clone(&self.settings);
        let (session, _) = self.session(id).await?;
        let done = session.client.batch_execute(text).await;
        done.map_err(|error| explain(&settings.server, error))
            .with_context(|| format!("{what} {id}"))
    }

    /// A table as it is now, whatever the configuration chose.
    async fn find(&mut self, id: &StoreId) -> Result<Option<(Table, Vec<ColumnWay>)>> {
        let settings = Arc::clone(&self.settings);
        let (session, place) = self.session(id).await?;
        let database = catalog::read(&settings, &place.database, session).await?;
        let tables = database.catalog.tables.into_iter().zip(database.relations);
        let found = { tables }.find(|(table, _)| table.path == place.path);
        if let Some((table, _)) = &found {
            let here = |other: &StoreId| self.place(other).database == place.database;
            let others = self.targets.iter().filter(|(other, _)| here(other));
            MAKING.alone(id, table, others.map(|(id, to)| (id, &to.table)))?;
        }
        Ok(found.map(|(table, relation)| (table, relation.columns)))
    }

    async fn create(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let id = &wanted.id;
        let (session, Where { path, .. }) = self.session(id).await?;
        let text = MAKING.create(wanted, &path)?;
        // To make a schema takes a right that nobody needs who writes into one that is there.
        let there =
            session.client.query("SELECT FROM pg_namespace WHERE nspname = $1", &[&path[0]]).await;
        if there.map_err(|error| explain(&self.settings.server, error))?.is_empty() {
            let schema = format!("CREATE SCHEMA {}", POSTGRES.name(&path[0]));
            self.execute(id, &schema, "making the schema of").await?;
        }
        self.execute(id, &text, "making the table").await
    }

    async fn add(&mut self, id: &StoreId, property: &Property<'_>) -> Result<()> {
        let text = MAKING.add(&self.how, id, &self.place(id).path, property)?;
        self.execute(id, &text, &format!("adding `{}` to", property.name)).await
    }

    /// Takes the table up as the target of a store's records.
    async fn target(&mut self, id: &StoreId, key: &[String]) -> Result<()> {
        let (table, ways) = found(id, self.find(id).await?)?;
        if !matches!(table.kind, Kind::Table | Kind::PartitionedTable | Kind::ForeignTable) {
            return Err(
                Fault::config(format!("{id}: is a view, and records go into tables")).into()
            );
        }
        let key = MAKING.key(&self.how, id, &table, key)?;
        if self.how.empties(id) && !self.targets.contains_key(id) {
            // Not TRUNCATE, which others see before the commit, as an empty table.
            let text = format!("DELETE FROM {}", POSTGRES.path(&table.path));
            self.execute(id, &text, "emptying").await?;
        }
        self.targets.insert(id.clone(), Target { table, ways, key });
        Ok(())
    }

    /// Adds the columns that records have and the table has not.
    async fn widen(&mut self, id: &StoreId, members: &Members<'_>) -> Result<()> {
        let table = &self.targets[id].table;
        let missing = members.0.iter().filter(|(name, _)| MAKING.column(table, name).is_none());
        let missing: Vec<Property<'_>> =
            missing.map(|(name, value)| Property::untold(name, guess(value))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for property in &missing {
            self.add(id, property).await?;
        }
        let key = self.targets[id].key.clone();
        self.target(id, &key).await
    }

    /// Brings in records that have the same properties.
    async fn bring(&mut self, id: &StoreId, records: &[Members<'_>]) -> Result<()> {
        let Some(first) = records.first() else { return Ok(()) };
        let target = &self.targets[id];
        let columns: Vec<(&Column, &ColumnWay)> = first
            .names()
            .map(|name| target.column(name).with_context(|| format!("`{name}` was added")))
            .collect::<Result<_>>()?;
        if let Some((column, _)) = columns.iter().find(|(column, _)| column.generated) {
            return Err(Fault::config(format!(
                "{id}: `{}` is computed by the database and cannot be written; leave it out",
                column.name
            ))
            .into());
        }
        let place = self.place(id);
        let client = &self.databases[&place.database].client;
        let settings = &*self.settings;
        let failed = |error| explain(&settings.server, error);
        let path = POSTGRES.path(&target.table.path);
        let names = POSTGRES.names(first.names());
        // Money is read by the server's own customs, and a decimal is not.
        let staged = self.how.mode_of(id) == WriteMode::Upsert
            || columns.iter().any(|(_, way)| way.resolved.ask == Ask::Numeric);
        let into = match staged {
            false => path.clone(),
            true => {
                let declared = columns.iter().map(|(column, way)| {
                    let of = match way.resolved.ask {
                        Ask::Numeric => "numeric".to_owned(),
                        _ => declared(column, way),
                    };
                    format!("{} {of}", POSTGRES.name(&column.name))
                });
                let declared: Vec<String> = declared.collect();
                let text = format!(
                    "DROP TABLE IF EXISTS pg_temp.{INCOMING}; CREATE TEMPORARY TABLE {INCOMING} \
                     (manifold_place bigint GENERATED ALWAYS AS IDENTITY{}{}) ON COMMIT DROP",
                    if declared.is_empty() { "" } else { ", " },
                    declared.join(", ")
                );
                client.batch_execute(&text).await.map_err(failed)?;
                format!("pg_temp.{INCOMING}")
            }
        };
        let text = format!("COPY {into} ({names}) FROM STDIN");
        if columns.is_empty() {
            // COPY needs a column.
            for _ in records {
                let text = format!("INSERT INTO {path} DEFAULT VALUES");
                client.batch_execute(&text).await.map_err(failed)?;
            }
            return Ok(());
        }
        let fields: Vec<Field<'_>> =
            columns.iter().map(|(column, way)| Field::of(column, way)).collect();
        let sink = client.copy_in::<_, Bytes>(&text).await.map_err(failed)?;
        let mut sink = pin!(sink);
        let mut buffer = BytesMut::with_capacity(PIECE + 4096);
        let mut scratch = String::new();
        for members in records {
            for (number, ((name, value), field)) in members.0.iter().zip(&fields).enumerate() {
                if number > 0 {
                    buffer.put_u8(b'\t');
                }
                let done = field.write(value, &mut scratch, &mut buffer);
                done.map_err(|why| refused(id, name, why))?;
            }
            buffer.put_u8(b'\n');
            if buffer.len() >= PIECE {
                sink.send(buffer.split().freeze()).await.map_err(failed)?;
            }
        }
        if !buffer.is_empty() {
            sink.send(buffer.freeze()).await.map_err(failed)?;
        }
        sink.as_mut().finish().await.map_err(failed)?;
        if staged {
            let text = merge(target, &path, &columns, self.how.mode_of(id));
            client.batch_execute(&text).await.map_err(failed)?;
        }
        Ok(())
    }
}

impl Target {
    fn column(&self, name: &str) -> Option<(&Column, &ColumnWay)> {
        self.table.columns.iter().zip(&self.ways).find(|(column, _)| column.name == name)
    }
}

/// From the temporary table into the table: the last row of each key, in the place of the one that
/// is there.
fn merge(
    target: &Target,
    path: &str,
    columns: &[(&Column, &ColumnWay)],
    mode: WriteMode,
) -> String {
    let name = |column: &Column| POSTGRES.name(&column.name);
    let names: Vec<String> = columns.iter().map(|(column, _)| name(column)).collect();
    let values: Vec<String> = columns
        .iter()
        .map(|(column, way)| match way.resolved.ask {
            Ask::Numeric => format!("i.{}::pg_catalog.money", name(column)),
            _ => format!("i.{}", name(column)),
        })
        .collect();
    let (names, values) = (names.join(", "), values.join(", "));
    // Identities that records bring are kept.
    let insert = format!("INSERT INTO {path} ({names}) OVERRIDING SYSTEM VALUE");
    if mode != WriteMode::Upsert {
        return format!(
            "{insert} SELECT {values} FROM pg_temp.{INCOMING} i ORDER BY manifold_place"
        );
    }
    let below = target.key.iter().map(|part| format!("i.{}", POSTGRES.name(part)));
    let below: Vec<String> = below.collect();
    let then = on_conflict(&POSTGRES, &target.key, columns.iter().map(|(c, _)| c.name.as_str()));
    format!(
        "{insert} SELECT {values} FROM (SELECT DISTINCT ON ({}) * FROM pg_temp.{INCOMING} i \
         ORDER BY {}, manifold_place DESC) i{then}",
        below.join(", "),
        below.join(", "),
    )
}

/// The type of a column of the temporary table: that of the column it goes into.
fn declared(column: &Column, way: &ColumnWay) -> String {
    match way.resolved.of {
        // Every other type is declared with its schema where it is not built in.
        Type::Text if column.declared == catalog::CITEXT => "text".to_owned(),
        _ => column.declared.clone(),
    }
}

/// Whether values of the type `from` can be stored in a column of the type `into` unchanged.
fn fits(from: &Type, into: &Type) -> bool {
    match (from, into) {
        // PostgreSQL takes neither for the other.
        (Type::Boolean, Type::Integer) => false,
        // As the server spells them; whether it can read one shows with the value.
        (Type::Text | Type::Other, Type::TimeTz | Type::Time) => true,
        (Type::Time, Type::TimeTz) => true,
        (Type::Array(from), Type::Array(into)) => fits(from, into),
        (from, into) => write::fits(from, into),
    }
}

/// The type of a new column: one that changes no value.
fn declaration(of: &Type) -> String {
    match of {
        Type::Boolean => "boolean",
        Type::Integer => "bigint",
        Type::Number => "double precision",
        Type::Decimal => "numeric",
        Type::Bytes => "bytea",
        Type::Date => "date",
        Type::Time => "time",
        Type::TimeTz => "timetz",
        Type::Timestamp => "timestamp",
        Type::Instant => "timestamptz",
        Type::Uuid => "uuid",
        // Not jsonb, which puts members in another order and drops doubles.
        Type::Json | Type::Any => "json",
        Type::Array(element) => return format!("{}[]", declaration(element)),
        Type::Text | Type::Other => "text",
    }
    .to_owned()
}

/// The type of a column for a value of which no schema tells.
fn guess(value: &RawValue) -> Type {
    match value.get().as_bytes().first() {
        Some(b'"') => Type::Text,
        Some(b't' | b'f') => Type::Boolean,
        Some(b'{' | b'[' | b'n') | None => Type::Json,
        Some(_) => Type::Decimal,
    }
}
