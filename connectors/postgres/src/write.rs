//! Takes records: makes schemas and tables, and brings rows in by COPY.
//!
//! Rows of one store and one set of properties go into one COPY. To append, straight into the
//! table; to upsert, into a temporary table first, of which the last row of each key replaces what
//! is there. A replaced table is emptied in the transaction that fills it, so that others see the
//! old rows until the end.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use protocol::fault::Fault;
use protocol::message::SchemaEntry;
use protocol::silo::{Kind, StoreId, UnknownColumns, Write, WriteMode, WriteOptions, Writing};
use protocol::sql::catalog::{Column, Table};
use protocol::sql::types::Type;
use protocol::{Context, Result, async_trait};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Postgres;
use crate::catalog::{self, ColumnWay};
use crate::config::Settings;
use crate::decode::Decoder;
use crate::fault::explain;
use crate::identify::POSTGRES;
use crate::moment;
use crate::session::Session;
use crate::types::Ask;

/// How much of a COPY is handed on at once.
const PIECE: usize = 64 * 1024;

/// The temporary table that an upsert goes through.
const INCOMING: &str = "manifold_incoming";

#[async_trait]
impl Write for Postgres {
    async fn begin(&self, how: &WriteOptions) -> Result<Box<dyn Writing + '_>> {
        Ok(Box::new(Run {
            settings: Arc::clone(&self.settings),
            how: *how,
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
    schema: String,
}

#[async_trait]
impl Writing for Run {
    async fn schema(&mut self, entry: &SchemaEntry) -> Result<()> {
        let id = StoreId::new(entry.group.clone(), entry.name.clone());
        let key = entry.details.as_ref().map_or_else(Vec::new, |details| details.key.clone());
        let properties = entry.json_schema.get("properties").and_then(|p| p.as_object());
        let wanted: Vec<(&str, Type)> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), Type::of_schema(schema)))
            .collect();
        match self.find(&id).await? {
            None => self.create(&id, &wanted, &key).await?,
            Some((table, _)) => {
                for (name, of) in wanted {
                    match table.column(name) {
                        None => self.add(&id, name, &of).await?,
                        Some(column) if fits(&of, column) => {}
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
        self.target(&id, key).await
    }

    async fn records(&mut self, store: &StoreId, records: &[&RawValue]) -> Result<()> {
        if !self.targets.contains_key(store) {
            self.target(store, Vec::new()).await?;
        }
        let mut parsed = Vec::with_capacity(records.len());
        for record in records {
            parsed.push(
                Members::of(record).map_err(|_| {
                    Fault::config(format!("{store}: a record is not a JSON object"))
                })?,
            );
        }
        // A row names the columns it has: what it leaves out keeps its default.
        let mut rest = parsed.as_slice();
        while let Some(first) = rest.first() {
            let same = |members: &&Members<'_>| {
                members.0.len() == first.0.len()
                    && members.0.iter().zip(&first.0).all(|((a, _), (b, _))| a == b)
            };
            let count = rest.iter().take_while(same).count();
            let (run, more) = rest.split_at(count);
            self.widen(store, first).await?;
            self.bring(store, run).await?;
            rest = more;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<bool> {
        if self.how.mode == WriteMode::Replace {
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
                .map_err(|error| explain(&self.settings, error))?;
        }
        Ok(())
    }

    /// The database and schema that a group names: `shop/public`. Records from elsewhere have
    /// another group, or none.
    fn place(&self, id: &StoreId) -> Result<Where> {
        let place = |database: &str, schema: &str| Where {
            database: database.to_owned(),
            schema: schema.to_owned(),
        };
        match id.group.as_deref() {
            None => Ok(place(self.settings.database(), "public")),
            Some(group) => match group.rsplit_once('/') {
                Some((database, schema)) if !database.is_empty() && !schema.is_empty() => {
                    Ok(place(database, schema))
                }
                _ => Ok(place(self.settings.database(), group)),
            },
        }
    }

    async fn session(&mut self, id: &StoreId) -> Result<(&Session, Where)> {
        let place = self.place(id)?;
        if !self.databases.contains_key(&place.database) {
            let session = Session::open(&self.settings, &place.database).await?;
            session
                .client
                .batch_execute("BEGIN")
                .await
                .map_err(|error| explain(&self.settings, error))?;
            self.databases.insert(place.database.clone(), session);
        }
        Ok((&self.databases[&place.database], place))
    }

    async fn execute(&mut self, id: &StoreId, text: &str, what: &str) -> Result<()> {
        let settings = Arc::clone(&self.settings);
        let (session, _) = self.session(id).await?;
        let done = session.client.batch_execute(text).await;
        done.map_err(|error| explain(&settings, error)).with_context(|| format!("{what} {id}"))
    }

    /// A table as it is now, whatever the configuration chose.
    async fn find(&mut self, id: &StoreId) -> Result<Option<(Table, Vec<ColumnWay>)>> {
        let settings = Arc::clone(&self.settings);
        let (session, place) = self.session(id).await?;
        let database = catalog::read(&settings, &place.database, session).await?;
        let found = database
            .catalog
            .tables
            .into_iter()
            .zip(database.relations)
            .find(|(table, _)| table.path == [place.schema.as_str(), id.name.as_str()]);
        Ok(found.map(|(table, relation)| (table, relation.columns)))
    }

    async fn create(
        &mut self,
        id: &StoreId,
        wanted: &[(&str, Type)],
        key: &[String],
    ) -> Result<()> {
        if wanted.is_empty() {
            return Err(Fault::config(format!("{id}: its schema has no properties")).into());
        }
        if let Some(missing) = key.iter().find(|part| wanted.iter().all(|(name, _)| name != part)) {
            let why = format!("{id}: `{missing}` is in the key but not in the properties");
            return Err(Fault::config(why).into());
        }
        let place = self.place(id)?;
        let mut parts: Vec<String> = wanted
            .iter()
            .map(|(name, of)| format!("{} {}", POSTGRES.name(name), declaration(of)))
            .collect();
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", POSTGRES.names(key.iter().map(String::as_str))));
        }
        let schema = POSTGRES.name(&place.schema);
        // To make a schema takes a right that nobody needs who writes into one that is there.
        let (session, _) = self.session(id).await?;
        let there = session
            .client
            .query("SELECT FROM pg_namespace WHERE nspname = $1", &[&place.schema])
            .await;
        if there.map_err(|error| explain(&self.settings, error))?.is_empty() {
            self.execute(id, &format!("CREATE SCHEMA {schema}"), "making the schema of").await?;
        }
        let text =
            format!("CREATE TABLE {schema}.{} ({})", POSTGRES.name(&id.name), parts.join(", "));
        self.execute(id, &text, "making the table").await
    }

    async fn add(&mut self, id: &StoreId, name: &str, of: &Type) -> Result<()> {
        if self.how.columns == UnknownColumns::Fail {
            return Err(Fault::config(format!(
                "{id}: there is no column `{name}`, and --columns fail adds none"
            ))
            .into());
        }
        let place = self.place(id)?;
        let text = format!(
            "ALTER TABLE {}.{} ADD COLUMN {} {}",
            POSTGRES.name(&place.schema),
            POSTGRES.name(&id.name),
            POSTGRES.name(name),
            declaration(of)
        );
        self.execute(id, &text, &format!("adding `{name}` to")).await
    }

    /// Takes the table up as the target of a store's records.
    async fn target(&mut self, id: &StoreId, key: Vec<String>) -> Result<()> {
        let (table, ways) = self.find(id).await?.ok_or_else(|| {
            Fault::config(format!(
                "{id}: there is no such table, and no SCHEMA message came before its records"
            ))
        })?;
        if !matches!(table.kind, Kind::Table | Kind::PartitionedTable | Kind::ForeignTable) {
            return Err(
                Fault::config(format!("{id}: is a view, and records go into tables")).into()
            );
        }
        let key = if key.is_empty() { table.key.clone() } else { key };
        if self.how.mode == WriteMode::Upsert {
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
        if self.how.mode == WriteMode::Replace && !self.targets.contains_key(id) {
            // Not TRUNCATE, which others see before the commit, as an empty table.
            let text = format!("DELETE FROM {}", POSTGRES.path(&table.path));
            self.execute(id, &text, "emptying").await?;
        }
        self.targets.insert(id.clone(), Target { table, ways, key });
        Ok(())
    }

    /// Adds the columns that records have and the table has not.
    async fn widen(&mut self, id: &StoreId, members: &Members<'_>) -> Result<()> {
        let target = &self.targets[id];
        let missing = members.0.iter().filter(|(name, _)| target.table.column(name).is_none());
        let missing: Vec<(String, Type)> =
            missing.map(|(name, value)| (name.clone().into_owned(), guess(value))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for (name, of) in &missing {
            self.add(id, name, of).await?;
        }
        let key = target_key(&self.targets[id]);
        self.target(id, key).await
    }

    /// Brings in records that have the same properties.
    async fn bring(&mut self, id: &StoreId, records: &[Members<'_>]) -> Result<()> {
        let Some(first) = records.first() else { return Ok(()) };
        let target = &self.targets[id];
        let columns: Vec<(&Column, &ColumnWay)> = first
            .0
            .iter()
            .map(|(name, _)| target.column(name).with_context(|| format!("`{name}` was added")))
            .collect::<Result<_>>()?;
        if let Some((column, _)) = columns.iter().find(|(column, _)| column.generated) {
            return Err(Fault::config(format!(
                "{id}: `{}` is computed by the database and cannot be written; leave it out",
                column.name
            ))
            .into());
        }
        let place = self.place(id)?;
        let client = &self.databases[&place.database].client;
        let settings = &*self.settings;
        let failed = |error| explain(settings, error);
        let path = POSTGRES.path(&target.table.path);
        let names = POSTGRES.names(first.0.iter().map(|(name, _)| &**name));
        // Money is read by the server's own customs, and a decimal is not.
        let staged = self.how.mode == WriteMode::Upsert
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
        let rooms: Vec<Room> = columns.iter().map(|(column, _)| Room::of(column)).collect();
        let sink = client.copy_in::<_, Bytes>(&text).await.map_err(failed)?;
        let mut sink = pin!(sink);
        let mut buffer = BytesMut::with_capacity(PIECE + 4096);
        for members in records {
            for (number, ((_, json), (column, way))) in members.0.iter().zip(&columns).enumerate() {
                if number > 0 {
                    buffer.put_u8(b'\t');
                }
                field(id, column, way, &rooms[number], json, &mut buffer)?;
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
            let text = merge(target, &path, &columns, self.how.mode);
            client.batch_execute(&text).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn target_key(target: &Target) -> Vec<String> {
    target.key.clone()
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
    let key: Vec<String> = target.key.iter().map(|part| POSTGRES.name(part)).collect();
    let below: Vec<String> = key.iter().map(|part| format!("i.{part}")).collect();
    let changed: Vec<String> = columns
        .iter()
        .filter(|(column, _)| !target.key.contains(&column.name))
        .map(|(column, _)| format!("{0} = excluded.{0}", name(column)))
        .collect();
    let then = match changed.as_slice() {
        [] => "NOTHING".to_owned(),
        changed => format!("UPDATE SET {}", changed.join(", ")),
    };
    format!(
        "{insert} SELECT {values} FROM (SELECT DISTINCT ON ({}) * FROM pg_temp.{INCOMING} i \
         ORDER BY {}, manifold_place DESC) i ON CONFLICT ({}) DO {then}",
        below.join(", "),
        below.join(", "),
        key.join(", ")
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

/// Writes one field of a row of COPY's text form.
fn field(
    id: &StoreId,
    column: &Column,
    way: &ColumnWay,
    room: &Room,
    json: &RawValue,
    out: &mut BytesMut,
) -> Result<()> {
    let text = json.get();
    let of = &way.resolved.of;
    let refuse = |why: &str| Fault::config(format!("{id}: a value of `{}` {why}", column.name));
    let first = text.as_bytes().first().copied().unwrap_or(b'n');
    match (first, of) {
        (b'n', _) => out.put_slice(b"\\N"),
        (_, Type::Json) => escape(text, out),
        (b'"', _) => {
            let string: String = serde_json::from_str(text)?;
            if string.contains('\0') {
                return Err(refuse("holds U+0000, which PostgreSQL has no place for").into());
            }
            match of {
                Type::Bytes => {
                    let bytes = BASE64
                        .decode(&string)
                        .map_err(|_| refuse("is not base64, and the column holds bytes"))?;
                    out.put_slice(b"\\\\x");
                    for byte in bytes {
                        out.put_slice(format!("{byte:02x}").as_bytes());
                    }
                }
                Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant
                    if !moment::is(of, &string) =>
                {
                    // The server would take more, and drop what the type has no place for.
                    let why = format!("is no value of {} as records spell one", column.declared);
                    return Err(refuse(&why).into());
                }
                _ => {
                    room.check(&string).map_err(|why| refuse(&why))?;
                    escape(&string, out);
                }
            }
        }
        (b'[', Type::Array(element)) => {
            let value: serde_json::Value = serde_json::from_str(text)?;
            let mut literal = String::new();
            let between = match way.resolved.decoder {
                Decoder::Literal(delimiter) => char::from(delimiter),
                _ => ',',
            };
            array(&value, element, between, &mut literal).map_err(refuse)?;
            if matches!(column.declared.as_str(), "int2vector" | "oidvector") {
                // These are lists of numbers between blanks.
                literal = literal.trim_matches(['{', '}']).replace(',', " ");
            }
            escape(&literal, out);
        }
        (b'{' | b'[', Type::Text | Type::Any) => escape(text, out),
        (b'{' | b'[', _) => {
            return Err(refuse("is a list or an object, which the column cannot hold").into());
        }
        (b't' | b'f', Type::Boolean) => out.put_slice(text.as_bytes()),
        (b't' | b'f', Type::Text) => {
            return Err(refuse("is true or false, and the column holds text").into());
        }
        (_, Type::Boolean) => {
            return Err(refuse("is a number, and the column is boolean").into());
        }
        (_, Type::Text | Type::Uuid | Type::Date | Type::Timestamp | Type::Instant) => {
            return Err(
                refuse(&format!("is a number, and the column is {}", column.declared)).into()
            );
        }
        _ => {
            room.check(text).map_err(|why| refuse(&why))?;
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// What a column has room for. The server would cut blanks and round digits off without a word.
struct Room {
    characters: Option<usize>,
    digits: Option<usize>,
}

impl Room {
    fn of(column: &Column) -> Room {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let inside = column.declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let digits = inside.and_then(|(inside, _)| match column.of {
            Type::Decimal => number(inside.split_once(',').map_or("0", |(_, scale)| scale)),
            Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant => number(inside),
            _ => None,
        });
        let characters = match column.of {
            Type::Text => column.length.and_then(|length| usize::try_from(length).ok()),
            _ => None,
        };
        Room { characters, digits }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        if let Some(room) = self.characters
            && text.len() > room
            && text.chars().count() > room
        {
            return Err(format!("is longer than the {room} characters there is room for"));
        }
        if let Some(room) = self.digits
            && let Some((_, rest)) = text.split_once('.')
        {
            let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(rest);
            if digits.trim_end_matches('0').len() > room {
                return Err(format!("has more than {room} digits after the point"));
            }
        }
        Ok(())
    }
}

/// A list as the server reads an array.
fn array(
    value: &serde_json::Value,
    element: &Type,
    between: char,
    out: &mut String,
) -> Result<(), &'static str> {
    use serde_json::Value;
    let Value::Array(items) = value else { return Err("is not a list") };
    out.push('{');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(between);
        }
        let inner = match element {
            Type::Array(inner) => inner,
            other => other,
        };
        match (item, inner) {
            (Value::Null, _) => out.push_str("NULL"),
            (Value::Array(_), of) if !matches!(of, Type::Json) => array(item, inner, between, out)?,
            (Value::String(text), Type::Bytes) => {
                let bytes = BASE64.decode(text).map_err(|_| "is not base64 in its list")?;
                quote(&crate::identify::hex(&bytes), out);
            }
            (Value::String(text), of) if !matches!(of, Type::Json) => {
                if text.contains('\0') {
                    return Err("holds U+0000, which PostgreSQL has no place for");
                }
                quote(text, out);
            }
            (Value::Number(_) | Value::Bool(_), _) => out.push_str(&item.to_string()),
            (item, _) => quote(&item.to_string(), out),
        }
    }
    out.push('}');
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// A text with what means something to COPY escaped.
fn escape(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 8);
    let mut rest = text.as_bytes();
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    while let Some(place) = rest.iter().position(special) {
        out.put_slice(&rest[..place]);
        out.put_slice(match rest[place] {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\t",
        });
        rest = &rest[place + 1..];
    }
    out.put_slice(rest);
}

/// Whether values of the type `from` can be stored in a column unchanged.
fn fits(from: &Type, into: &Column) -> bool {
    match (from, &into.of) {
        (from, of) if from == of => true,
        (_, Type::Any) | (Type::Any, _) => true,
        // As the server spells them; whether it can read one shows with the value.
        (Type::Text | Type::Other, Type::Other | Type::TimeTz | Type::Time) => true,
        (Type::Time, Type::TimeTz) => true,
        (Type::Integer, Type::Number | Type::Decimal) => {
            !matches!(into.declared.as_str(), "real" | "double precision")
        }
        (Type::Boolean | Type::Integer | Type::Number | Type::Bytes, Type::Text) => false,
        (_, Type::Text | Type::Json) => true,
        (Type::Array(from), Type::Array(of)) => {
            fits(from, &Column::new(&into.name, &into.declared, (**of).clone()))
        }
        _ => false,
    }
}

fn word(of: &Type) -> &'static str {
    match of {
        Type::Boolean => "true or false",
        Type::Integer => "whole numbers",
        Type::Number => "numbers",
        Type::Decimal => "exact decimals",
        Type::Bytes => "bytes",
        Type::Date => "dates",
        Type::Time | Type::TimeTz => "times of day",
        Type::Timestamp | Type::Instant => "points in time",
        Type::Uuid => "UUIDs",
        Type::Json => "documents",
        Type::Array(_) => "lists",
        _ => "text",
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

/// The members of a record, in order, not looked into.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of(record: &'a RawValue) -> serde_json::Result<Members<'a>> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut seen = HashSet::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    // Of two members of one name the last counts, as everywhere in JSON.
                    if seen.insert(name.clone()) {
                        members.push((name, value));
                    } else if let Some(earlier) = members.iter_mut().find(|(n, _)| *n == name) {
                        earlier.1 = value;
                    }
                }
                Ok(Members(members))
            }
        }
        serde_json::Deserializer::from_str(record.get()).deserialize_map(Collect)
    }
}

/// A member's name, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
