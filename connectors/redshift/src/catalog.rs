//! The catalog of one database: its tables and views, and what is declared of them.

use std::collections::{HashMap, HashSet};

use protocol::message::Relation;
use protocol::silo::{Kind, StoreId};
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Table};
use protocol::sql::erase::policy::Policy;
use protocol::sql::erase::suggest;
use protocol::sql::statement::Statement;
use protocol::{Context, Result, log};

use crate::config::Config;
use crate::connection::{Connection, field};
use crate::{sql, values};

/// A row of the catalog.
type Fields = Vec<Option<String>>;

/// A schema and a name in it.
type Path = (String, String);

/// What a database holds.
pub(crate) struct Found {
    /// The tables that were chosen and can be read.
    pub(crate) catalog: Catalog,
    /// What each refers to, and seems to.
    pub(crate) relations: Vec<Vec<Relation>>,
}

/// Reads the catalog of a database.
pub(crate) async fn read(
    config: &Config,
    database: &str,
    connection: &Connection,
) -> Result<Found> {
    let mut tables = tables(config, database, connection).await?;
    columns(&mut tables, connection).await?;
    constraints(&mut tables, connection).await?;
    match rows(connection, sql::ROWS).await {
        Ok(counts) => {
            for count in counts {
                let rows = text(&count, 2).parse::<f64>().ok().filter(|rows| *rows >= 0.0);
                if let Some(table) = tables.get_mut(&count) {
                    table.rows = rows.map(|rows| rows as u64);
                }
            }
        }
        Err(error) => log::debug(format_args!("{database}: rows are not counted: {error:#}")),
    }
    let catalog = Catalog { tables: tables.tables };
    let relations = suggest::relations(&catalog, &Policy::default())?;
    Ok(Found { catalog, relations })
}

/// The tables, and where each is among them.
struct Tables {
    tables: Vec<Table>,
    places: HashMap<Path, usize>,
}

impl Tables {
    /// The table that the first two fields of a row name.
    fn get_mut(&mut self, row: &Fields) -> Option<&mut Table> {
        let place = self.places.get(&path(row, 0))?;
        self.tables.get_mut(*place)
    }
}

async fn tables(config: &Config, database: &str, connection: &Connection) -> Result<Tables> {
    let unreadable = rows(connection, sql::UNREADABLE).await?;
    let unreadable: HashSet<Path> = unreadable.iter().map(|row| path(row, 0)).collect();
    let mut found = Tables { tables: Vec::new(), places: HashMap::new() };
    let mut hidden = Vec::new();
    for row in rows(connection, sql::TABLES).await? {
        let (schema, name) = path(&row, 0);
        // What a materialized view is kept in has its rows once more.
        let own = schema.starts_with("pg_") || schema == "information_schema";
        if own || name.starts_with("mv_tbl__") || !config.wants(&schema, &name) {
            continue;
        }
        if unreadable.contains(&(schema.clone(), name.clone())) {
            hidden.push(format!("{schema}.{name}"));
            continue;
        }
        let kind = match text(&row, 2).to_uppercase().as_str() {
            "BASE TABLE" | "TABLE" => Kind::Table,
            "VIEW" => Kind::View,
            _ => Kind::ForeignTable,
        };
        found.places.insert((schema.clone(), name.clone()), found.tables.len());
        let id = StoreId::new(Some(format!("{database}/{schema}")), name.clone());
        let table = Table::new(id, vec![schema, name], kind);
        found.tables.push(Table { comment: some(&row, 3), ..table });
    }
    if !hidden.is_empty() {
        log::warn(format_args!(
            "{database}: the user may not read these, and they are left out (GRANT SELECT, and \
             USAGE on their schemas): {}",
            hidden.join(", ")
        ));
    }
    Ok(found)
}

async fn columns(tables: &mut Tables, connection: &Connection) -> Result<()> {
    let mut unknown: Vec<String> = Vec::new();
    for row in rows(connection, sql::COLUMNS).await? {
        let Some(table) = tables.get_mut(&row) else { continue };
        let name = text(&row, 2);
        let declared = declared(&row);
        let (of, known) = values::of(&declared);
        if !known {
            unknown.push(format!("{}.{name} ({declared})", table.id));
        }
        table.columns.push(Column {
            nullable: !text(&row, 4).eq_ignore_ascii_case("no"),
            length: text(&row, 6).parse().ok(),
            comment: some(&row, 9),
            ..Column::new(name, declared, of)
        });
    }
    if !unknown.is_empty() {
        log::info(format_args!(
            "read as text, being of types that are not known: {}",
            unknown.join(", ")
        ));
    }
    Ok(())
}

/// A column's type with what it has room for: `numeric(12,2)`, `character varying(60)`.
fn declared(row: &Fields) -> String {
    let of = text(row, 3).to_lowercase();
    if of.contains('(') {
        return of;
    }
    match (of.as_str(), some(row, 6), some(row, 7), some(row, 8)) {
        ("numeric" | "decimal", _, Some(all), Some(scale)) => format!("{of}({all},{scale})"),
        (of, Some(length), ..) => format!("{of}({length})"),
        _ => of,
    }
}

/// Keys are taken for what was meant by them: nobody enforces them.
async fn constraints(tables: &mut Tables, connection: &Connection) -> Result<()> {
    let mut names: HashMap<(Path, String), String> = HashMap::new();
    for row in rows(connection, sql::NUMBERS).await? {
        names.insert((path(&row, 0), text(&row, 2).to_owned()), text(&row, 3).to_owned());
    }
    let named = |table: &Path, numbers: &str| -> Option<Vec<String>> {
        let numbers = numbers.trim_matches(['{', '}']).split(',');
        numbers.map(|number| names.get(&(table.clone(), number.to_owned())).cloned()).collect()
    };
    for row in rows(connection, sql::CONSTRAINTS).await? {
        let own = named(&path(&row, 0), text(&row, 4));
        let target = path(&row, 5);
        let other = tables.places.get(&target).map(|&place| tables.tables[place].id.clone());
        let (Some(table), Some(columns)) = (tables.get_mut(&row), own) else { continue };
        match (text(&row, 3), other, named(&target, text(&row, 7))) {
            ("p", ..) => table.key = columns,
            ("u", ..) => table.uniques.push(columns),
            ("f", Some(other), Some(references)) => table.references.push(ForeignKey {
                name: some(&row, 2),
                columns,
                table: other,
                references,
                on_delete: OnChange::Refuse,
                on_update: OnChange::Refuse,
                deferrable: false,
            }),
            _ => {}
        }
    }
    Ok(())
}

/// The names of the databases that are wanted.
pub(crate) async fn databases(config: &Config, connection: &Connection) -> Result<Vec<String>> {
    let found = rows(connection, sql::DATABASES).await.context("listing the databases")?;
    let names = found.iter().map(|row| text(row, 0).to_owned());
    Ok(names.filter(|name| config.wants_database(name)).collect())
}

async fn rows(connection: &Connection, text: &str) -> Result<Vec<Fields>> {
    let mut found = Vec::new();
    let statement = Statement::plain(text);
    let each = connection.rows(&statement, |row| {
        let fields = (0..row.len()).map(|place| Ok(field(row, place)?.map(str::to_owned)));
        found.push(fields.collect::<Result<Fields>>()?);
        Ok(())
    });
    each.await?;
    Ok(found)
}

fn text(row: &Fields, place: usize) -> &str {
    row.get(place).and_then(Option::as_deref).unwrap_or_default()
}

fn some(row: &Fields, place: usize) -> Option<String> {
    Some(text(row, place)).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn path(row: &Fields, place: usize) -> Path {
    (text(row, place).to_owned(), text(row, place + 1).to_owned())
}
