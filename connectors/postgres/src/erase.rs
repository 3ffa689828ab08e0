//! What PostgreSQL brings to the erasure engine: its transactions and the places where its SQL
//! differs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use protocol::fault::Fault;
use protocol::json::{Json, Spelling};
use protocol::output::Output;
use protocol::silo::StoreId;
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Table};
use protocol::sql::dialect::Dialect;
use protocol::sql::erase::engine::{
    Cell, Commit, Each, Engine, KeyPart, Mode, Residue, Session as EngineSession,
};
use protocol::sql::erase::{Databases, Settings as ErasureSettings};
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;
use protocol::{Context, Result, async_trait, log};
use tokio::time::sleep;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind as WireKind, Type as Wire};
use tokio_postgres::{Error, Row, SimpleQueryMessage};

use crate::Postgres;
use crate::catalog::{self, CITEXT, Relation};
use crate::config::Settings;
use crate::copy::Objects;
use crate::fault::explain;
use crate::identify::{POSTGRES, Parameter, convert, hex, spelled};
use crate::query::Raw;
use crate::session;
use crate::sql;
use crate::types::decoder;

impl Databases for Postgres {
    type Engine = Erased;

    fn databases(&self) -> Vec<&Erased> {
        self.erased.iter().collect()
    }

    fn database(&self, store: &StoreId) -> usize {
        let group = store.group.as_deref().unwrap_or_default();
        let within = |erased: &Erased| {
            group.strip_prefix(&erased.name).is_some_and(|rest| rest.starts_with('/'))
        };
        // A name may begin with another, and may hold a slash.
        let found = self.erased.iter().enumerate().filter(|(_, erased)| within(erased));
        found.max_by_key(|(_, erased)| erased.name.len()).map_or(usize::MAX, |(place, _)| place)
    }

    fn settings(&self) -> ErasureSettings<'_> {
        ErasureSettings {
            policy: self.settings.policy.as_deref(),
            evidence_key: self.settings.evidence_key.as_ref(),
        }
    }
}

/// A database to erase from.
pub struct Erased {
    settings: Arc<Settings>,
    name: String,
    /// Whether texts can be taken apart and put in lower case by Unicode's rules there.
    unicode: AtomicBool,
}

impl Erased {
    pub(crate) fn new(settings: Arc<Settings>, name: String) -> Erased {
        Erased { settings, name, unicode: AtomicBool::new(false) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait]
impl Engine for Erased {
    type Value = Parameter;
    type Session = Session;

    fn dialect(&self) -> &Dialect {
        &POSTGRES
    }

    async fn begin(&self, _: Mode) -> Result<Session> {
        let session = session::Session::open(&self.settings.server, &self.name).await?;
        let explain = |error| explain(&self.settings.server, error);
        // Also to look: a transaction that only reads can make no temporary tables.
        session
            .client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL row_security = off")
            .await
            .map_err(explain)?;
        let text = "SELECT getdatabaseencoding() = 'UTF8' AND EXISTS (\
                    SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu')";
        let row = session.client.query_one(text, &[]).await.map_err(explain)?;
        self.unicode.store(row.try_get(0)?, Ordering::Relaxed);
        Ok(Session {
            settings: Arc::clone(&self.settings),
            name: self.name.clone(),
            session,
            relations: Vec::new(),
        })
    }

    async fn identity(&self) -> Result<String> {
        let session = session::Session::open(&self.settings.server, &self.name).await?;
        let text = "SELECT oid FROM pg_database WHERE datname = current_database()";
        let row = session.client.query_one(text, &[]).await;
        let oid: u32 = row.map_err(|error| explain(&self.settings.server, error))?.try_get(0)?;
        // Not every role and service says which server it is.
        let text = "SELECT system_identifier FROM pg_control_system()";
        let server = match session.client.query_one(text, &[]).await {
            Ok(row) => row.try_get::<_, i64>(0)?.to_string(),
            Err(_) => format!("{}:{}", self.settings.server.host(), self.settings.server.port()),
        };
        Ok(format!("postgres:{server}/{oid}/{}", self.name))
    }

    fn convert(&self, column: &Column, text: &str) -> Option<Parameter> {
        convert(column, text)
    }

    fn value(&self, cell: &Cell<'_>) -> Parameter {
        match *cell {
            Cell::Null => Parameter(None),
            Cell::Integer(integer) => Parameter::of(integer.to_string()),
            Cell::Real(real) => Parameter::of(real.to_string()),
            Cell::Text(text) => Parameter::of(text),
            Cell::Bytes(bytes) => Parameter::of(hex(bytes)),
        }
    }

    fn row_id(&self, table: &Table) -> Option<Vec<KeyPart>> {
        let part = |sql: &str, of: &str| KeyPart {
            column: None,
            sql: sql.to_owned(),
            indexed: None,
            declared: format!("{of} NOT NULL"),
        };
        Some(match table.kind {
            protocol::silo::Kind::PartitionedTable => {
                vec![part("tableoid", "oid"), part("ctid", "tid")]
            }
            _ => vec![part("ctid", "tid")],
        })
    }

    fn key_part(&self, column: &Column) -> KeyPart {
        let name = POSTGRES.name(&column.name);
        let (sql, indexed, declared) = if column.declared == CITEXT {
            let text = format!("{name}::pg_catalog.text COLLATE \"C\"");
            (text, None, "text COLLATE \"C\"".to_owned())
        } else if let (Type::Text, Some(collation)) = (&column.of, &column.collation) {
            // No two keys are equal by it.
            (name, None, format!("{} COLLATE {}", column.declared, collate(collation)))
        } else {
            (name, None, column.declared.clone())
        };
        let declared = format!("{declared} NOT NULL");
        KeyPart { column: Some(column.name.clone()), sql, indexed, declared }
    }

    fn temporary(&self, name: &str, columns: &str, key: &str) -> String {
        format!("CREATE TEMPORARY TABLE {name} ({columns}, PRIMARY KEY ({key}))")
    }

    fn filled(&self, temporary: &str) -> Option<String> {
        Some(format!("ANALYZE {temporary}"))
    }

    fn insert_new(&self, into: &str, columns: &str, select: &str) -> String {
        format!("INSERT INTO {into} ({columns}) {select} ON CONFLICT DO NOTHING")
    }

    fn refers(&self, parent: &Column, parent_sql: &str, child: &Column, child_sql: &str) -> String {
        if parent.declared == CITEXT || child.declared == CITEXT {
            return format!(
                "lower({child_sql}::pg_catalog.text) = lower({parent_sql}::pg_catalog.text)"
            );
        }
        if parent.of != Type::Text || parent.collation == child.collation {
            return format!("{child_sql} = {parent_sql}");
        }
        // Two collations that differ compare under neither; the parent's decides.
        let collation = match &parent.collation {
            // Equal is the same under all of these.
            None => "\"C\"".to_owned(),
            Some(collation) => collate(collation),
        };
        format!("{child_sql} COLLATE {collation} = {parent_sql} COLLATE {collation}")
    }

    fn before(&self, column: &Column, sql: &str, parameter: &str) -> String {
        match column.of {
            Type::Date => format!("(isfinite({sql}) AND {sql} < {parameter}::pg_catalog.date)"),
            Type::Timestamp => {
                format!("(isfinite({sql}) AND {sql} < {parameter}::pg_catalog.timestamp)")
            }
            Type::Instant => {
                format!("(isfinite({sql}) AND {sql} < {parameter}::pg_catalog.timestamptz)")
            }
            Type::Text => format!(
                "({sql}::pg_catalog.text COLLATE \"C\" ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' AND \
                 left({sql}::pg_catalog.text, 10) COLLATE \"C\" < {parameter}::pg_catalog.text)"
            ),
            // What is no date is not before anything.
            _ => format!("{parameter}::pg_catalog.text IS NULL"),
        }
    }

    fn date(&self, text: &str) -> Parameter {
        Parameter::of(text)
    }

    fn near(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        if column.of != Type::Text {
            return None;
        }
        let folded = match self.unicode.load(Ordering::Relaxed) {
            // The marks of the scripts that have cases.
            true => format!(
                "lower(regexp_replace(normalize({sql}::pg_catalog.text COLLATE \"und-x-icu\", NFKD), \
                 '[\\s\\u0300-\\u036f\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe20-\\ufe2f]', \
                 '', 'g'))"
            ),
            false => format!(
                "lower(regexp_replace({sql}::pg_catalog.text COLLATE \"C\", '\\s', '', 'g'))"
            ),
        };
        Some(format!("{folded} COLLATE \"C\" = {parameter}"))
    }

    fn contains(&self, column: &Column, sql: &str, parameter: &str) -> Option<String> {
        match column.of {
            Type::Text | Type::Json | Type::Any | Type::Other | Type::Array(_) => {
                let collation = match self.unicode.load(Ordering::Relaxed) {
                    true => "und-x-icu",
                    false => "C",
                };
                Some(format!(
                    "position({parameter}::pg_catalog.text IN lower(({}) COLLATE \"{collation}\")) > 0",
                    spelled(sql)
                ))
            }
            _ => None,
        }
    }

    fn text(&self, text: &str) -> Parameter {
        Parameter::of(text)
    }

    fn defer(&self, key: &ForeignKey) -> Option<String> {
        // RESTRICT acts at once all the same.
        let can = key.deferrable && key.on_delete != OnChange::Restrict;
        can.then(|| "SET CONSTRAINTS ALL DEFERRED".to_owned())
    }

    fn check_now(&self) -> Option<String> {
        Some("SET CONSTRAINTS ALL IMMEDIATE".to_owned())
    }

    fn checks_at_end(&self, key: &ForeignKey) -> bool {
        key.on_delete == OnChange::Refuse
    }

    fn together(&self, first: &[String], last: &str) -> Option<String> {
        let first = first.iter().enumerate().map(|(i, change)| format!("change_{i} AS ({change})"));
        let first: Vec<String> = first.collect();
        Some(format!("WITH {} {last}", first.join(", ")))
    }

    fn alike(&self, name: &str, table: &Table) -> Option<String> {
        let path = POSTGRES.path(&table.path);
        Some(format!(
            "CREATE TEMPORARY TABLE {name} (LIKE {path} INCLUDING CONSTRAINTS INCLUDING GENERATED)"
        ))
    }

    async fn residue(&self, stores: &[&Table]) -> Result<Vec<Residue>> {
        let session = session::Session::open(&self.settings.server, &self.name).await?;
        let names: Vec<String> = stores.iter().map(|table| POSTGRES.path(&table.path)).collect();
        let mut found = Vec::new();
        for (what, text) in [
            ("WAL archiving", "SELECT current_setting('archive_mode')"),
            (
                "replication slots",
                "SELECT count(*)::text || ' that hold the log' FROM pg_replication_slots",
            ),
            ("replicas", "SELECT count(*)::text || ' connected' FROM pg_stat_replication"),
            (
                "dead rows",
                // The server counts them some time after the commit.
                "SELECT coalesce(sum(n_dead_tup), 0)::text || ' or more until VACUUM' \
                 FROM pg_stat_all_tables WHERE relid IN (SELECT id FROM written)",
            ),
            (
                "values in statistics",
                "SELECT count(*)::text || ' columns, until ANALYZE' FROM pg_stats s \
                 JOIN pg_namespace n ON n.nspname = s.schemaname \
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename \
                 WHERE c.oid IN (SELECT id FROM written) \
                 AND (s.most_common_vals IS NOT NULL OR s.histogram_bounds IS NOT NULL)",
            ),
            ("materialized views", "SELECT count(*)::text || ' in the database' FROM pg_matviews"),
        ] {
            // The tables that were written to, with their partitions.
            let text = format!(
                "WITH written AS (\
                 SELECT to_regclass(n)::oid AS id FROM unnest($1::text[]) n UNION \
                 SELECT t.relid::oid FROM unnest($1::text[]) n, pg_partition_tree(to_regclass(n)) t\
                 ) {text}"
            );
            let value = match session.client.query_one(&text, &[&names]).await {
                Ok(row) => row.try_get(0)?,
                Err(error) => {
                    log::debug(format_args!("{what}: {error}"));
                    "unknown".to_owned()
                }
            };
            found.push(Residue { what: what.to_owned(), found: value });
        }
        Ok(found)
    }
}

/// The name of a collation, as the catalog has it: bare where it is the system's.
fn collate(collation: &str) -> String {
    match collation.starts_with('"') {
        true => collation.to_owned(),
        false => POSTGRES.name(collation),
    }
}

/// A transaction on a connection of its own.
pub struct Session {
    settings: Arc<Settings>,
    name: String,
    session: session::Session,
    /// The tables as they were when the catalog was read, for how their values are read.
    relations: Vec<(StoreId, Relation)>,
}

#[async_trait]
impl EngineSession for Session {
    type Value = Parameter;

    async fn catalog(&mut self) -> Result<Catalog> {
        let database = catalog::read(&self.settings, &self.name, &self.session).await?;
        let ids = database.catalog.tables.iter().map(|table| table.id.clone());
        self.relations = ids.zip(database.relations).collect();
        Ok(database.catalog)
    }

    async fn run(&mut self, statement: &Statement<Parameter>) -> Result<u64> {
        let client = &self.session.client;
        let changed = match statement.values.is_empty() {
            // One round trip, where a statement that is prepared takes two.
            true => client.simple_query(&statement.text).await.map(|messages| {
                let changed = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::CommandComplete(changed) => Some(*changed),
                    _ => None,
                });
                changed.sum()
            }),
            false => client.execute_raw(&statement.text, &statement.values).await,
        };
        changed.map_err(|error| self.explain(error))
    }

    async fn run_all(&mut self, statements: &[String]) -> Result<Vec<u64>> {
        let mut changed = Vec::new();
        for some in statements.chunks(100) {
            let said = self.session.client.simple_query(&some.join(";\n")).await;
            let said = said.map_err(|error| self.explain(error))?;
            changed.extend(said.iter().filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(changed) => Some(*changed),
                _ => None,
            }));
        }
        Ok(changed)
    }

    async fn rows(&mut self, statement: &Statement<Parameter>, each: Each<'_>) -> Result<()> {
        let explain = |error| explain(&self.settings.server, error);
        let client = &self.session.client;
        let rows = match statement.values.is_empty() {
            // One round trip here as well.
            true => {
                let none: [(Parameter, Wire); 0] = [];
                client.query_typed_raw(&statement.text, none).await
            }
            false => client.query_raw(&statement.text, &statement.values).await,
        };
        let mut rows = pin!(rows.map_err(explain)?);
        while let Some(row) = rows.try_next().await.map_err(explain)? {
            let values = (0..row.len()).map(|place| value(&row, place));
            let values: Vec<Value> = values.collect::<Result<_>>()?;
            let cells: Vec<Cell<'_>> = values.iter().map(Value::cell).collect();
            each(&cells)?;
        }
        Ok(())
    }

    async fn push(
        &mut self,
        table: &Table,
        columns: &[&Column],
        statement: &Statement<Parameter>,
        out: &mut Output,
    ) -> Result<()> {
        let known = self.relations.iter().find(|(id, _)| *id == table.id);
        let (_, relation) = known.context("the catalog was read in this transaction")?;
        let mut ways = Vec::new();
        for column in columns {
            let place = table.columns.iter().position(|other| other.name == column.name);
            let way = place.and_then(|place| relation.columns.get(place));
            ways.push((*column, way.context("a column is of the table")?));
        }
        // What it selects are columns as they are; here they are asked for so that they can be read.
        let names: Vec<String> =
            ways.iter().map(|(column, way)| sql::expression(column, way)).collect();
        let text = format!("SELECT {} FROM ({}) t", sql::list(&names), statement.text);
        let objects = Objects::of(ways.iter().map(|(column, way)| (column.name.as_str(), *way)));
        let explain = |error| explain(&self.settings.server, error);
        let rows = self.session.client.query_raw(&text, &statement.values).await;
        let mut rows = pin!(rows.map_err(explain)?);
        while let Some(row) = rows.try_next().await.map_err(explain)? {
            objects.push_row(|place| Raw::of(&row, place), out)?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<Commit> {
        let explain = |error| explain(&self.settings.server, error);
        let client = &self.session.client;
        // Of a transaction that changes nothing the server keeps no account.
        let text = "SELECT pg_current_xact_id_if_assigned()::text";
        let number: Option<String> =
            client.query_one(text, &[]).await.and_then(|row| row.try_get(0)).map_err(explain)?;
        // A transaction that failed would be rolled back by COMMIT, and COMMIT would succeed.
        match client.batch_execute("SELECT 1; COMMIT").await {
            Ok(()) => Ok(Commit::Done),
            Err(error) if error.as_db_error().is_none() => {
                log::warn(format_args!("the connection broke at the commit: {error}"));
                match number {
                    Some(number) => self.settle(&number).await,
                    None => Ok(Commit::Unknown),
                }
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    async fn rollback(&mut self) -> Result<()> {
        let done = self.session.client.batch_execute("ROLLBACK").await;
        done.map_err(|error| explain(&self.settings.server, error))
    }
}

impl Session {
    /// What a failed change means.
    fn explain(&self, error: Error) -> protocol::anyhow::Error {
        match error.code() {
            // The plan saw no such row.
            Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                let table = error.as_db_error().and_then(|db| db.table()).unwrap_or("a table");
                Fault::transient(format!(
                    "rows of {table} refer to what goes, and were added meanwhile, or by a trigger"
                ))
                .into()
            }
            _ => explain(&self.settings.server, error),
        }
    }

    /// Asks on a new connection what became of a transaction.
    async fn settle(&self, number: &str) -> Result<Commit> {
        let deadline = Instant::now() + self.settings.server.lock_timeout;
        while Instant::now() < deadline {
            let Ok(session) = session::Session::open(&self.settings.server, &self.name).await
            else {
                break;
            };
            let text = "SELECT pg_xact_status($1::text::xid8)";
            let status = session.client.query_one(text, &[&number]).await;
            match status.and_then(|row| row.try_get::<_, Option<String>>(0)) {
                Ok(Some(status)) if status == "committed" => return Ok(Commit::Lost),
                Ok(Some(status)) if status == "aborted" => {
                    return Err(Fault::transient(
                        "the connection broke at the commit, and nothing was erased",
                    )
                    .into());
                }
                // The server has not noticed yet that its client is gone.
                Ok(Some(_)) => sleep(Duration::from_millis(100)).await,
                _ => break,
            }
        }
        Ok(Commit::Unknown)
    }
}

/// A value of a small result.
enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn cell(&self) -> Cell<'_> {
        match self {
            Value::Null => Cell::Null,
            Value::Integer(integer) => Cell::Integer(*integer),
            Value::Real(real) => Cell::Real(*real),
            Value::Text(text) => Cell::Text(text),
            Value::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}

fn value(row: &Row, place: usize) -> Result<Value> {
    let Some(raw) = Raw::of(row, place)? else { return Ok(Value::Null) };
    let mut of = row.columns()[place].type_();
    while let WireKind::Domain(base) = of.kind() {
        of = base;
    }
    if *of == Wire::BYTEA {
        return Ok(Value::Bytes(raw.to_vec()));
    }
    if *of == Wire::TID {
        let place = crate::state::Place::decode(raw).context("a place of a row is cut")?;
        return Ok(Value::Text(format!("({},{})", place.block, place.row)));
    }
    // The bytes of a value are as good as its text to tell it from others.
    let Some(decoder) = decoder(of) else {
        return Ok(match std::str::from_utf8(raw) {
            Ok(text) if of.name() == CITEXT => Value::Text(text.to_owned()),
            _ => Value::Bytes(raw.to_vec()),
        });
    };
    let mut json = Vec::new();
    decoder.write(raw, &mut Json::new(&mut json, Spelling::NATIVE))?;
    Ok(match serde_json::from_slice(&json)? {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(real)) => Value::Real(real),
            (None, None) => Value::Text(number.to_string()),
        },
        serde_json::Value::Bool(value) => Value::Text(value.to_string()),
        // A document: as it is spelled.
        _ => Value::Text(String::from_utf8_lossy(&json).into_owned()),
    })
}
