//! Reads the catalog: tables, views, columns, keys and references, of one database or all.

use std::collections::{BTreeSet, HashMap};

use protocol::silo::{Kind, StoreId};
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Table};
use protocol::sql::types::Type;
use protocol::{Result, log, select};

use crate::config::Config;
use crate::dialect::{declared, names_geometry};
use crate::driver::{Client, Refusal, Row, Value};

/// Which databases of the server.
#[derive(Clone, Copy)]
pub(crate) enum Databases<'a> {
    /// The one of this name.
    One(&'a str),
    /// All but the server's own.
    All,
    /// One, and of it a single table.
    Table(&'a str, &'a str),
}

impl Databases<'_> {
    /// Those that a configuration asks for.
    pub(crate) fn of(config: &Config) -> Databases<'_> {
        match config.all_databases {
            true => Databases::All,
            false => Databases::One(&config.database),
        }
    }

    /// The condition on the columns with the names of database and table. They are compared without
    /// case here; which it is, is seen by [`Databases::have`].
    fn condition(&self, database: &str, table: &str) -> (String, Vec<Value>) {
        let own = "'information_schema', 'mysql', 'performance_schema', 'sys'";
        let value = |name: &str| Value::Text(name.into());
        match self {
            Databases::One(one) => (format!("{database} = ?"), vec![value(one)]),
            Databases::All => (format!("{database} NOT IN ({own})"), Vec::new()),
            Databases::Table(one, name) => {
                (format!("{database} = ? AND {table} = ?"), vec![value(one), value(name)])
            }
        }
    }

    fn have(&self, database: &str, table: &str) -> bool {
        match self {
            Databases::One(one) => database == *one,
            Databases::All => true,
            Databases::Table(one, name) => database == *one && table == *name,
        }
    }
}

/// The chosen tables and views. A table goes by its name or by `database.table`.
pub(crate) fn read(
    client: &mut Client,
    databases: Databases<'_>,
    chosen: &[String],
) -> Result<Catalog> {
    let mut tables = Tables { databases, found: Vec::new(), places: HashMap::new() };
    tables.list(client, |database, name| {
        databases.have(database, name) && select::table(chosen, database, name)
    })?;
    tables.columns(client)?;
    tables.indexes(client)?;
    tables.references(client)?;
    tables.triggers(client)?;
    tables.checks(client)?;
    let mut catalog = Catalog { tables: tables.found };
    catalog.tables.retain(|table| {
        let described = !table.columns.is_empty();
        if !described {
            // A view over a table that is gone, or one that its definer may not read.
            log::error(format_args!("{}: has no columns that this user can see", table.id));
        }
        described
    });
    Ok(catalog)
}

/// The tables whose changes no transaction undoes.
pub(crate) fn lasting(client: &mut Client, databases: Databases<'_>) -> Result<BTreeSet<StoreId>> {
    let (condition, values) = databases.condition("TABLE_SCHEMA", "TABLE_NAME");
    let statement = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
         WHERE {condition} AND TABLE_TYPE NOT LIKE '%VIEW' AND ENGINE <> 'InnoDB'"
    );
    let mut found = BTreeSet::new();
    client.rows(&statement, &values, |row| {
        let (database, name) = (text(row)?, text(row)?);
        found.insert(StoreId::new(Some(database), name));
        Ok(())
    })?;
    Ok(found)
}

/// The tables as they are filled in, and the place of each.
struct Tables<'a> {
    databases: Databases<'a>,
    found: Vec<Table>,
    places: HashMap<(String, String), usize>,
}

impl Tables<'_> {
    fn at(&mut self, row: &mut Row<'_>) -> Result<Option<&mut Table>> {
        let place = (text(row)?, text(row)?);
        Ok(self.places.get(&place).map(|&place| &mut self.found[place]))
    }

    fn list(&mut self, client: &mut Client, wanted: impl Fn(&str, &str) -> bool) -> Result<()> {
        let (condition, values) = self.databases.condition("TABLE_SCHEMA", "TABLE_NAME");
        let statement = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_COMMENT, TABLE_ROWS,
                    CREATE_OPTIONS
             FROM information_schema.TABLES WHERE {condition} ORDER BY 1, 2"
        );
        client.rows(&statement, &values, |row| {
            let (database, name, kind) = (text(row)?, text(row)?, text(row)?);
            let (comment, rows, options) = (row.text()?, row.count()?, text(row)?);
            if !wanted(&database, &name) || kind == "SEQUENCE" {
                return Ok(());
            }
            let view = kind.contains("VIEW");
            let mut comment = comment.filter(|comment| !comment.is_empty() && !view);
            let mut copies = Vec::new();
            if kind == "SYSTEM VERSIONED" {
                copies.push("its own history".to_owned());
                let versioned = "keeps the old versions of its rows (system-versioned)";
                comment = Some(match comment {
                    Some(comment) => format!("{comment} ({versioned})"),
                    None => versioned.to_owned(),
                });
            }
            self.places.insert((database.clone(), name.clone()), self.found.len());
            let kind = match view {
                true => Kind::View,
                false if options.contains("partitioned") => Kind::PartitionedTable,
                false => Kind::Table,
            };
            let id = StoreId::new(Some(database.clone()), name.clone());
            let table = Table::new(id, vec![database, name], kind);
            self.found.push(Table { comment, copies, rows, ..table });
            Ok(())
        })?;
        Ok(())
    }

    fn columns(&mut self, client: &mut Client) -> Result<()> {
        let (condition, values) = self.databases.condition("TABLE_SCHEMA", "TABLE_NAME");
        let statement = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,
                    COLUMN_DEFAULT, EXTRA, CHARACTER_MAXIMUM_LENGTH, CHARACTER_SET_NAME,
                    COLLATION_NAME, COLUMN_COMMENT
             FROM information_schema.COLUMNS WHERE {condition}
             ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
        );
        client.rows(&statement, &values, |row| {
            let Some(table) = self.at(row)? else { return Ok(()) };
            let (name, kind, full) = (text(row)?, text(row)?, text(row)?);
            let (nullable, default, extra) = (text(row)? == "YES", row.text()?, text(row)?);
            let (length, charset, collation) = (row.count()?, row.text()?, row.text()?);
            let comment = row.text()?.filter(|comment| !comment.is_empty());
            let of = type_of(&kind, &full);
            // Their values are text to us, and meant to be.
            let known = names_geometry(&kind) || ["inet4", "inet6"].contains(&kind.as_str());
            if of == Type::Other && !known {
                log::info(format_args!(
                    "{}: `{name}` is of a type that is not known here ({full}) and read as text",
                    table.id
                ));
            }
            let values = match kind.as_str() {
                "enum" => members(&full),
                _ => Vec::new(),
            };
            let extra = extra.to_ascii_uppercase();
            table.columns.push(Column {
                nullable,
                // A default that is an expression is not a column that is one.
                generated: extra.replace("DEFAULT_GENERATED", "").contains("GENERATED"),
                expression: default,
                length,
                values,
                comment,
                ..Column::new(
                    name,
                    match (charset, collation) {
                        (Some(charset), Some(collation)) => declared(&full, &charset, &collation),
                        _ => full,
                    },
                    of,
                )
            });
            Ok(())
        })?;
        Ok(())
    }

    fn indexes(&mut self, client: &mut Client) -> Result<()> {
        let (condition, values) = self.databases.condition("TABLE_SCHEMA", "TABLE_NAME");
        let statement = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART
             FROM information_schema.STATISTICS WHERE {condition}
             ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        );
        let mut found: Vec<Index> = Vec::new();
        let places = &self.places;
        client.rows(&statement, &values, |row| {
            let Some(&table) = places.get(&(text(row)?, text(row)?)) else { return Ok(()) };
            let (name, unique) = (text(row)?, row.count()? == Some(0));
            let (column, part) = (row.text()?, row.count()?);
            if found.last().is_none_or(|last| last.table != table || last.name != name) {
                let whole = true;
                found.push(Index { table, name, unique, whole, columns: Vec::new() });
            }
            let Some(index) = found.last_mut() else { return Ok(()) };
            match column {
                // After an expression or a prefix nothing is indexed as it is.
                Some(column) if index.whole => index.columns.push(column),
                _ => index.whole = false,
            }
            // What is unique by its beginning is unique, but only its beginning is enforced.
            if part.is_some() && index.name != PRIMARY {
                index.whole = false;
            }
            Ok(())
        })?;
        for Index { table, name, unique, whole, columns } in found {
            let table = &mut self.found[table];
            if name == PRIMARY {
                table.key = columns.clone();
                table.indexes.insert(0, columns);
                continue;
            }
            if unique && whole {
                table.uniques.push(columns.clone());
            }
            if !columns.is_empty() {
                table.indexes.push(columns);
            }
        }
        Ok(())
    }

    fn references(&mut self, client: &mut Client) -> Result<()> {
        let (condition, values) = self.databases.condition("k.CONSTRAINT_SCHEMA", "k.TABLE_NAME");
        let statement = format!(
            "SELECT k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME,
                    k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME,
                    r.DELETE_RULE, r.UPDATE_RULE
             FROM information_schema.KEY_COLUMN_USAGE AS k
             JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r
               ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA
              AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
             WHERE {condition} AND k.REFERENCED_TABLE_NAME IS NOT NULL
             ORDER BY k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
        );
        client.rows(&statement, &values, |row| {
            let Some(table) = self.at(row)? else { return Ok(()) };
            let (name, column) = (text(row)?, text(row)?);
            let (database, to, column_there) = (text(row)?, text(row)?, text(row)?);
            let (on_delete, on_update) = (text(row)?, text(row)?);
            match table.references.last_mut() {
                Some(last) if last.name.as_deref() == Some(&name) => {
                    last.columns.push(column);
                    last.references.push(column_there);
                }
                _ => table.references.push(ForeignKey {
                    name: Some(name),
                    columns: vec![column],
                    table: StoreId::new(Some(database), to),
                    references: vec![column_there],
                    on_delete: on_change(&on_delete),
                    on_update: on_change(&on_update),
                    deferrable: false,
                }),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn triggers(&mut self, client: &mut Client) -> Result<()> {
        let (condition, values) =
            self.databases.condition("EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE");
        let statement = format!(
            "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME
             FROM information_schema.TRIGGERS WHERE {condition} ORDER BY 1, 2, 3"
        );
        client.rows(&statement, &values, |row| {
            let Some(table) = self.at(row)? else { return Ok(()) };
            table.triggers.push(text(row)?);
            Ok(())
        })?;
        Ok(())
    }

    fn checks(&mut self, client: &mut Client) -> Result<()> {
        let (condition, values) = self.databases.condition("c.CONSTRAINT_SCHEMA", "t.TABLE_NAME");
        let statement = format!(
            "SELECT c.CONSTRAINT_SCHEMA, t.TABLE_NAME, c.CHECK_CLAUSE
             FROM information_schema.CHECK_CONSTRAINTS AS c
             JOIN information_schema.TABLE_CONSTRAINTS AS t
               ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA
              AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME AND t.CONSTRAINT_TYPE = 'CHECK'
             WHERE {condition} ORDER BY 1, 2, c.CONSTRAINT_NAME"
        );
        // In MariaDB constraints of several tables can have one name, and the table stands here.
        let mariadb = statement.replace("t.TABLE_NAME", "c.TABLE_NAME").replace(
            "t.CONSTRAINT_NAME = c.CONSTRAINT_NAME",
            "t.CONSTRAINT_NAME = c.CONSTRAINT_NAME AND t.TABLE_NAME = c.TABLE_NAME",
        );
        let mut each = |row: &mut Row<'_>| {
            let Some(table) = self.at(row)? else { return Ok(()) };
            let clause = text(row)?;
            // MariaDB's JSON is a text with this check.
            for column in &mut table.columns {
                let name = column.name.replace('`', "``");
                if clause == format!("json_valid(`{name}`)") {
                    column.of = Type::Json;
                }
            }
            table.checks.push(clause);
            Ok(())
        };
        for text in [mariadb, statement] {
            match client.rows(&text, &values, &mut each) {
                Ok(_) => return Ok(()),
                // MySQL has no such column, and servers without checks have no such table.
                Err(error) if is_unknown(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

const PRIMARY: &str = "PRIMARY";

/// An index as it is put together.
struct Index {
    table: usize,
    name: String,
    unique: bool,
    /// Whether it is one of whole columns.
    whole: bool,
    columns: Vec<String>,
}

fn text(row: &mut Row<'_>) -> Result<String> {
    Ok(row.text()?.unwrap_or_default())
}

fn is_unknown(error: &protocol::anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| matches!(refusal.code, 1054 | 1109))
}

fn on_change(rule: &str) -> OnChange {
    match rule {
        "CASCADE" => OnChange::Cascade,
        "SET NULL" => OnChange::SetNull,
        "SET DEFAULT" => OnChange::SetDefault,
        _ => OnChange::Refuse,
    }
}

/// The type of a column, by its short and its full name.
fn type_of(kind: &str, full: &str) -> Type {
    match kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Type::Integer,
        "bit" if full == "bit(1)" => Type::Boolean,
        "bit" => Type::Integer,
        "float" | "double" => Type::Number,
        "decimal" => Type::Decimal,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            Type::Text
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            Type::Bytes
        }
        "date" => Type::Date,
        "time" => Type::Time,
        "datetime" => Type::Timestamp,
        "timestamp" => Type::Instant,
        "json" => Type::Json,
        "uuid" => Type::Uuid,
        _ => Type::Other,
    }
}

/// The members of `enum('a','it''s')` and `set('a')`.
pub(crate) fn members(full: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = full.split_once('(').map_or("", |(_, rest)| rest).chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {}
            ')' => break,
            _ => continue,
        }
        let mut member = String::new();
        while let Some(c) = rest.next() {
            match c {
                '\'' if rest.peek() == Some(&'\'') => {
                    rest.next();
                    member.push('\'');
                }
                '\'' => break,
                c => member.push(c),
            }
        }
        found.push(member);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_an_enum_are_those_it_was_declared_with() {
        let declared = declared("enum('a','it''s','x,y)','')", "utf8mb4", "utf8mb4_bin");
        assert_eq!(members(&declared), ["a", "it's", "x,y)", ""]);
    }

    #[test]
    fn a_bit_is_a_flag_and_more_bits_are_a_number() {
        assert_eq!(type_of("bit", "bit(1)"), Type::Boolean);
        assert_eq!(type_of("bit", "bit(12)"), Type::Integer);
        assert_eq!(type_of("tinyint", "tinyint(1)"), Type::Integer);
        assert_eq!(type_of("xmltype", "xmltype"), Type::Other);
    }
}
