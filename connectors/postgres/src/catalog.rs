//! The catalog of one database: what its tables and views are, and how their values are read.

use std::collections::HashMap;

use protocol::silo::{Kind, StoreId};
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Right, Table};
use protocol::sql::erase::suggest::Relations;
use protocol::{Context, Deserialize, Result, bail};
use serde::de::DeserializeOwned;
use tokio_postgres::SimpleQueryMessage;

use crate::config::Settings;
use crate::fault::explain;
use crate::session::Session;
use crate::types::{Compare, Resolved, Types};

const QUERY: &str = include_str!("catalog.sql");

/// The declared type of columns of the extension `citext`. Every other type that is not built in is
/// declared with its schema, so that nobody's type can pass for it.
pub(crate) const CITEXT: &str = "citext";

/// What a database holds.
pub(crate) struct Database {
    pub(crate) name: String,
    /// The tables and views, in the same order as `relations`.
    pub(crate) catalog: Catalog,
    /// What this connector needs to know of each beside that.
    pub(crate) relations: Vec<Relation>,
    /// What each refers to, and what that means for erasure, once it was asked for.
    pub(crate) references: Relations,
}

/// What is special to PostgreSQL about a table or view.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    /// How each column is read, in the table's order.
    pub(crate) columns: Vec<ColumnWay>,
    /// The tables that hold the rows: itself, or the leaves of a partitioned table.
    pub(crate) parts: Vec<Part>,
    /// Whether rows may be hidden from the role.
    pub(crate) row_security: bool,
    /// Whether the role may read the schema's objects, and all of the table.
    pub(crate) readable: bool,
    /// Whether the user chose it.
    pub(crate) chosen: bool,
    /// Whether it is a table with rows of its own, which can be read without those of tables that
    /// inherit from it.
    pub(crate) only: bool,
}

/// How a column is read.
#[derive(Debug, Clone)]
pub(crate) struct ColumnWay {
    pub(crate) resolved: Resolved,
    /// Whether the role may read it.
    pub(crate) readable: bool,
}

/// A table that holds rows.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Part {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// What its rows are stored under; another after they were rewritten.
    pub(crate) node: Option<u32>,
    pub(crate) pages: i64,
    pub(crate) rows: f64,
    /// Whether its rows have places and transactions, as in PostgreSQL's own heap.
    pub(crate) plain: bool,
    pub(crate) select: bool,
}

/// A row of the types' query.
#[derive(Debug, Deserialize)]
pub(crate) struct TypeRow {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) base: u32,
    pub(crate) modifier: i64,
    pub(crate) dimensions: u32,
    pub(crate) element: u32,
    pub(crate) delimiter: String,
    pub(crate) extension: Option<String>,
    pub(crate) labels: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RelationRow {
    oid: u32,
    schema: String,
    name: String,
    kind: String,
    rows: f64,
    comment: Option<String>,
    heap: bool,
    row_security: bool,
    usage: bool,
    select: bool,
    /// Whether every column can be selected, by the table's grant or its own.
    see: bool,
    delete: bool,
    update: bool,
    columns: Option<Vec<ColumnRow>>,
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ColumnRow {
    name: String,
    r#type: u32,
    modifier: i64,
    declared: String,
    not_null: bool,
    generated: String,
    expression: Option<String>,
    dimensions: u32,
    comment: Option<String>,
    collation: Option<String>,
    select: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConstraintRow {
    name: String,
    kind: String,
    table: u32,
    columns: Option<Vec<String>>,
    target: u32,
    references: Option<Vec<String>>,
    on_delete: String,
    on_update: String,
    deferrable: bool,
    partition: bool,
    check: Option<String>,
}

#[derive(Deserialize)]
struct IndexRow {
    table: u32,
    unique: bool,
    partial: bool,
    columns: Vec<Option<String>>,
}

/// What belongs to a table and has a name.
#[derive(Deserialize)]
struct NamedRow {
    table: u32,
    name: String,
}

/// Reads the catalog of a database.
pub(crate) async fn read(settings: &Settings, name: &str, session: &Session) -> Result<Database> {
    let messages = session
        .client
        .simple_query(QUERY)
        .await
        .map_err(|error| explain(&settings.server, error))
        .with_context(|| format!("reading the catalog of {name}"))?;
    let mut results =
        messages.split_inclusive(|m| matches!(m, SimpleQueryMessage::CommandComplete(_)));
    let mut result = || results.next().unwrap_or_default();
    let relations: Vec<RelationRow> = rows(result())?;
    let types = Types::new(rows(result())?);
    let constraints: Vec<ConstraintRow> = rows(result())?;
    let indexes: Vec<IndexRow> = rows(result())?;
    let triggers: Vec<NamedRow> = rows(result())?;
    let copies: Vec<NamedRow> = rows(result())?;
    let ids: HashMap<u32, StoreId> =
        relations.iter().map(|row| (row.oid, store(name, &row.schema, &row.name))).collect();
    let mut places = HashMap::new();
    let mut database = Database {
        name: name.to_owned(),
        catalog: Catalog::default(),
        relations: Vec::new(),
        references: Relations::default(),
    };
    for row in relations {
        places.insert(row.oid, database.relations.len());
        let (table, relation) = relation(settings, &types, &ids, row)?;
        database.catalog.tables.push(table);
        database.relations.push(relation);
    }
    for row in constraints {
        if let Some(&place) = places.get(&row.table) {
            constrain(&mut database.catalog.tables[place], &ids, row);
        }
    }
    for row in indexes {
        let Some(&place) = places.get(&row.table) else { continue };
        let table = &mut database.catalog.tables[place];
        // An expression has no name: the index leads by the columns before it.
        let named: Vec<String> = row.columns.iter().map_while(Clone::clone).collect();
        if row.partial || named.is_empty() {
            continue;
        }
        let whole = named.len() == row.columns.len();
        if row.unique && whole && named != table.key {
            table.uniques.push(named.clone());
        }
        table.indexes.push(named);
    }
    for row in triggers {
        if let Some(&place) = places.get(&row.table) {
            database.catalog.tables[place].triggers.push(row.name);
        }
    }
    for row in copies {
        if let Some(&place) = places.get(&row.table) {
            database.catalog.tables[place].copies.push(row.name);
        }
    }
    Ok(database)
}

/// The store of a table. Monoid calls the group of the schema `public` of a database so.
pub(crate) fn store(database: &str, schema: &str, table: &str) -> StoreId {
    StoreId::new(Some(format!("{database}/{schema}")), table)
}

fn rows<T: DeserializeOwned>(messages: &[SimpleQueryMessage]) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let json = row.get(0).context("a row of the catalog is empty")?;
            found.push(serde_json::from_str(json).context("reading a row of the catalog")?);
        }
    }
    Ok(found)
}

fn relation(
    settings: &Settings,
    types: &Types,
    ids: &HashMap<u32, StoreId>,
    row: RelationRow,
) -> Result<(Table, Relation)> {
    let kind = match row.kind.as_str() {
        "r" => Kind::Table,
        "p" => Kind::PartitionedTable,
        "v" => Kind::View,
        "m" => Kind::MaterializedView,
        "f" => Kind::ForeignTable,
        other => bail!("a relation is of the kind {other}, which is not known"),
    };
    let mut columns = Vec::new();
    let mut ways = Vec::new();
    let denied = denied(&row);
    for column in row.columns.unwrap_or_default() {
        let mut resolved = types.resolve(column.r#type, column.dimensions);
        if column.modifier >= 0 {
            resolved.modifier = column.modifier;
        }
        let declared = match resolved.compare {
            Compare::Citext => CITEXT.to_owned(),
            _ => column.declared,
        };
        columns.push(Column {
            nullable: !column.not_null,
            generated: !column.generated.is_empty(),
            expression: column.expression,
            length: length(resolved.base, resolved.modifier),
            collation: column.collation,
            values: resolved.labels.clone(),
            comment: column.comment,
            ..Column::new(&column.name, declared, resolved.of.clone())
        });
        ways.push(ColumnWay { resolved, readable: row.usage && column.select });
    }
    let known = row.rows >= 0.0 && matches!(row.kind.as_str(), "r" | "m");
    let path = vec![row.schema.clone(), row.name.clone()];
    let table = Table {
        comment: row.comment,
        columns,
        denied,
        rows: known.then_some(row.rows as u64),
        ..Table::new(ids[&row.oid].clone(), path, kind)
    };
    let relation = Relation {
        oid: row.oid,
        columns: ways,
        parts: row.parts.unwrap_or_default(),
        row_security: row.row_security,
        readable: row.usage && row.select,
        chosen: settings.wants(&row.schema, &row.name),
        only: row.kind == "r" && row.heap,
    };
    Ok((table, relation))
}

/// What the user may not do. Row-level security hides rows.
fn denied(row: &RelationRow) -> Vec<Right> {
    let rights = [
        (Right::See, row.usage && row.see && !row.row_security),
        (Right::Delete, row.usage && row.delete),
        (Right::Update, row.usage && row.update),
    ];
    rights.into_iter().filter(|(_, granted)| !granted).map(|(right, _)| right).collect()
}

fn constrain(table: &mut Table, ids: &HashMap<u32, StoreId>, row: ConstraintRow) {
    match (row.kind.as_str(), row.columns, row.references) {
        ("p", Some(columns), _) => table.key = columns,
        ("c", ..) => table.checks.extend(row.check),
        ("f", Some(columns), Some(references)) => {
            let Some(target) = ids.get(&row.target) else { return };
            let (mut on_delete, mut on_update) =
                (on_change(&row.on_delete), on_change(&row.on_update));
            if row.partition {
                // What the database changes by itself, it changes in this partition only.
                if on_delete == OnChange::SetDefault {
                    on_delete = OnChange::SetNull;
                }
                if on_update != OnChange::Restrict {
                    on_update = OnChange::Refuse;
                }
            }
            let key = ForeignKey {
                name: Some(row.name),
                columns,
                table: target.clone(),
                references,
                on_delete,
                on_update,
                deferrable: row.deferrable,
            };
            // Several partitions may say the same of the whole table.
            let same = |other: &ForeignKey| {
                (&other.columns, &other.table, &other.references, other.on_delete)
                    == (&key.columns, &key.table, &key.references, key.on_delete)
            };
            if !table.references.iter().any(same) {
                table.references.push(key);
            }
        }
        _ => {}
    }
}

fn on_change(letter: &str) -> OnChange {
    match letter {
        "c" => OnChange::Cascade,
        "n" => OnChange::SetNull,
        "d" => OnChange::SetDefault,
        "r" => OnChange::Restrict,
        _ => OnChange::Refuse,
    }
}

/// The `60` of `varchar(60)`.
fn length(base: u32, modifier: i64) -> Option<u64> {
    match base {
        1042 | 1043 => u64::try_from(modifier - 4).ok(),
        1560 | 1562 => u64::try_from(modifier).ok(),
        _ => None,
    }
}
