//! Room for records in tables: what a SCHEMA message asks of a table, what a table takes as it is,
//! and the statements that make the rest of it. A connector looks tables up, runs the statements, and
//! loads the records in its own way.

use anyhow::Result;
use serde_json::Value;

use super::catalog::{Column, Table};
use super::dialect::Dialect;
use super::types::Type;
use crate::fault::Fault;
use crate::message::SchemaEntry;
use crate::silo::{StoreId, UnknownColumns, WriteMode, WriteOptions};

/// How a database makes room for records. One constant a database.
#[derive(Clone, Copy)]
pub struct Making {
    /// How its statements are written.
    pub dialect: Dialect,
    /// Whether two names are those of one column.
    pub same: fn(a: &str, b: &str) -> bool,
    /// Whether values of a type can be stored in a column of another unchanged: [`fits`], or with
    /// exceptions.
    pub fits: fn(from: &Type, into: &Type) -> bool,
    /// What a new column is declared as that holds every value of a property unchanged; of the key
    /// where that is given, as one of so many columns.
    pub declare: fn(property: &Property<'_>, parts: Option<usize>) -> String,
    /// What a person can do about two stores that would go into one table.
    pub apart: &'static str,
}

/// What a SCHEMA message asks for.
pub struct Wanted<'e> {
    /// The store.
    pub id: StoreId,
    /// What its records have.
    pub properties: Vec<Property<'e>>,
    /// The properties that identify one; empty where none do.
    pub key: &'e [String],
}

/// A property of records that are written.
pub struct Property<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its values.
    pub of: Type,
    /// Its schema; null where none is told.
    pub schema: &'a Value,
}

impl<'a> Property<'a> {
    /// One that no schema tells of, and that seems to be of a type.
    pub fn untold(name: &'a str, of: Type) -> Property<'a> {
        Property { name, of, schema: &Value::Null }
    }
}

impl Wanted<'_> {
    /// What an entry of a SCHEMA message asks for.
    pub fn of(entry: &SchemaEntry) -> Wanted<'_> {
        let properties = entry.json_schema.get("properties").and_then(Value::as_object);
        let property = |(name, schema)| Property { name, of: Type::of_schema(schema), schema };
        Wanted {
            id: StoreId::new(entry.group.clone(), entry.name.clone()),
            properties: properties
                .into_iter()
                .flatten()
                .map(|(name, schema)| property((name.as_str(), schema)))
                .collect(),
            key: entry.details.as_ref().map_or(&[], |details| &details.key),
        }
    }
}

impl Making {
    /// The column that a property goes into.
    pub fn column<'t>(&self, table: &'t Table, name: &str) -> Option<&'t Column> {
        table.columns.iter().find(|column| (self.same)(&column.name, name))
    }

    /// The statement that makes the table of a schema.
    pub fn create(&self, wanted: &Wanted<'_>, path: &[String]) -> Result<String> {
        let Wanted { id, properties, key } = wanted;
        if properties.is_empty() {
            return Err(Fault::config(format!("{id}: its schema has no properties")).into());
        }
        if let Some(missing) = key.iter().find(|part| properties.iter().all(|p| p.name != **part)) {
            let why = format!("{id}: `{missing}` is in the key but not in the properties");
            return Err(Fault::config(why).into());
        }
        let mut parts: Vec<String> = properties
            .iter()
            .map(|property| {
                let keyed = key.iter().any(|part| part == property.name).then_some(key.len());
                self.declared(property, keyed)
            })
            .collect();
        if !key.is_empty() {
            let names = self.dialect.names(key.iter().map(String::as_str));
            parts.push(format!("PRIMARY KEY ({names})"));
        }
        Ok(format!("CREATE TABLE {} ({})", self.dialect.path(path), parts.join(", ")))
    }

    /// The properties of a schema that a table has no column for. That a column cannot hold one
    /// unchanged is an error.
    pub fn missing<'w, 'e>(
        &self,
        wanted: &'w Wanted<'e>,
        table: &Table,
    ) -> Result<Vec<&'w Property<'e>>> {
        let mut missing = Vec::new();
        for property in &wanted.properties {
            match self.column(table, property.name) {
                None => missing.push(property),
                Some(column) if (self.fits)(&property.of, &column.of) => {}
                Some(column) => {
                    return Err(Fault::config(format!(
                        "{}: `{}` comes as {}, and the column is {}, which cannot hold it unchanged",
                        wanted.id,
                        property.name,
                        word(&property.of),
                        column.declared
                    ))
                    .into());
                }
            }
        }
        Ok(missing)
    }

    /// The statement that adds a column, unless the run is to add none.
    pub fn add(
        &self,
        how: &WriteOptions,
        id: &StoreId,
        path: &[String],
        property: &Property<'_>,
    ) -> Result<String> {
        if how.columns == UnknownColumns::Fail {
            return Err(Fault::config(format!(
                "{id}: there is no column `{}`, and --columns fail adds none",
                property.name
            ))
            .into());
        }
        let column = self.declared(property, None);
        Ok(format!("ALTER TABLE {} ADD COLUMN {column}", self.dialect.path(path)))
    }

    fn declared(&self, property: &Property<'_>, parts: Option<usize>) -> String {
        let declaration = (self.declare)(property, parts);
        format!("{} {declaration}", self.dialect.name(property.name)).trim_end().to_owned()
    }

    /// The table that a store's records go into: one that was found, and that no other store of the
    /// run has.
    pub fn alone<'t>(
        &self,
        id: &StoreId,
        table: &Table,
        mut others: impl Iterator<Item = (&'t StoreId, &'t Table)>,
    ) -> Result<()> {
        match others.find(|(other, taken)| *other != id && taken.path == table.path) {
            None => Ok(()),
            Some((other, _)) => Err(Fault::config(format!(
                "{id} and {other} would go into one table; {}",
                self.apart
            ))
            .into()),
        }
    }

    /// The key that a store's records go by, as the table spells it: the one that was told, or else
    /// its own. An upsert needs one that the table enforces.
    pub fn key(
        &self,
        how: &WriteOptions,
        id: &StoreId,
        table: &Table,
        told: &[String],
    ) -> Result<Vec<String>> {
        if told.is_empty() && how.mode_of(id) != WriteMode::Upsert {
            return Ok(table.key.clone());
        }
        let told = if told.is_empty() { &table.key } else { told };
        let spelled = |name: &String| self.column(table, name).map_or(name, |c| &c.name).clone();
        let key: Vec<String> = told.iter().map(spelled).collect();
        let enforced = |names: &[String]| {
            names.len() == key.len() && names.iter().all(|name| key.contains(name))
        };
        if how.mode_of(id) == WriteMode::Upsert && !table.enforced().any(enforced) {
            return Err(Fault::config(format!(
                "{id}: an upsert needs a key that the table enforces; its SCHEMA message says {}",
                if key.is_empty() { "none".to_owned() } else { key.join(", ") }
            ))
            .into());
        }
        Ok(key)
    }
}

/// What was found of the table of a store whose records come.
pub fn found<T>(id: &StoreId, table: Option<T>) -> Result<T> {
    table.ok_or_else(|| {
        Fault::config(format!(
            "{id}: there is no such table, and no SCHEMA message came before its records"
        ))
        .into()
    })
}

/// Why a record cannot be stored: what is the matter with the value of one property.
pub fn refused(id: &StoreId, name: &str, why: impl std::fmt::Display) -> anyhow::Error {
    Fault::config(format!("{id}: a value of `{name}` {why}")).into()
}

/// ` ON CONFLICT …`: a row whose key is there takes the values of the columns that are written.
pub fn on_conflict<'c>(
    dialect: &Dialect,
    key: &[String],
    written: impl IntoIterator<Item = &'c str>,
) -> String {
    let changed: Vec<String> = written
        .into_iter()
        .filter(|name| !key.iter().any(|part| part == name))
        .map(|name| format!("{0} = excluded.{0}", dialect.name(name)))
        .collect();
    let then = match changed.as_slice() {
        [] => "NOTHING".to_owned(),
        changed => format!("UPDATE SET {}", changed.join(", ")),
    };
    format!(" ON CONFLICT ({}) DO {then}", dialect.names(key.iter().map(String::as_str)))
}

/// Whether values of the type `from` can be stored in a column of the type `into` unchanged.
pub fn fits(from: &Type, into: &Type) -> bool {
    match (from, into) {
        (from, into) if from == into => true,
        (_, Type::Any | Type::Json) | (Type::Any, _) => true,
        (Type::Integer, Type::Number | Type::Decimal) => true,
        (Type::Boolean, Type::Integer) => true,
        // The database refuses a text that is none of its values.
        (Type::Text | Type::Other, Type::Uuid | Type::Other) => true,
        // Everything else that is spelled as a string, and documents.
        (Type::Boolean | Type::Integer | Type::Number | Type::Bytes, Type::Text) => false,
        (_, Type::Text) => true,
        _ => false,
    }
}

/// A type in a word or two, for a person whose records do not fit.
fn word(of: &Type) -> &'static str {
    match of {
        Type::Boolean => "true or false",
        Type::Integer => "whole numbers",
        Type::Number => "numbers",
        Type::Decimal => "exact decimals",
        Type::Bytes => "bytes",
        Type::Json | Type::Array(_) => "documents",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silo::Kind;
    use crate::sql::dialect::ANSI;
    use serde_json::json;

    const MAKING: Making = Making {
        dialect: ANSI,
        same: str::eq_ignore_ascii_case,
        fits,
        declare: |property, parts| match (&property.of, parts) {
            (Type::Integer, None) => "BIGINT".to_owned(),
            (Type::Integer, Some(_)) => "BIGINT NOT NULL".to_owned(),
            _ => String::new(),
        },
        apart: "write them apart",
    };

    fn entry(key: &[&str]) -> SchemaEntry {
        let properties = json!({"id": {"type": "integer"}, "na\"me": {}});
        serde_json::from_value(json!({
            "name": "t", "json_schema": {"properties": properties}, "kind": "table", "key": key,
        }))
        .unwrap()
    }

    fn table() -> Table {
        Table {
            columns: vec![Column::new("ID", "text", Type::Text)],
            key: vec!["ID".to_owned()],
            ..Table::new(StoreId::named("t"), vec!["t".to_owned()], Kind::Table)
        }
    }

    fn error<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_table_is_made_of_a_schema_that_has_its_key() {
        let path = ["s".to_owned(), "t".to_owned()];
        let create = |key: &[&str]| MAKING.create(&Wanted::of(&entry(key)), &path);
        let text =
            "CREATE TABLE \"s\".\"t\" (\"id\" BIGINT NOT NULL, \"na\"\"me\", PRIMARY KEY (\"id\"))";
        assert_eq!(create(&["id"]).unwrap(), text);
        assert!(error(create(&["other"])).contains("`other` is in the key"));
        let empty = SchemaEntry { json_schema: json!({}), ..entry(&[]) };
        let refused = MAKING.create(&Wanted::of(&empty), &path);
        assert!(error(refused).contains("no properties"));
    }

    #[test]
    fn what_a_column_cannot_hold_unchanged_is_named() {
        let (entry, mut table) = (entry(&[]), table());
        let wanted = Wanted::of(&entry);
        let refused = error(MAKING.missing(&wanted, &table));
        assert_eq!(
            refused,
            "t: `id` comes as whole numbers, and the column is text, which cannot hold it unchanged"
        );
        table.columns[0].of = Type::Decimal;
        let missing = MAKING.missing(&wanted, &table).unwrap();
        assert_eq!(missing.iter().map(|p| p.name).collect::<Vec<_>>(), ["na\"me"]);
        let mut how = WriteOptions::of(WriteMode::Append);
        let add = |how: &_| MAKING.add(how, &wanted.id, &table.path, missing[0]);
        assert_eq!(add(&how).unwrap(), "ALTER TABLE \"t\" ADD COLUMN \"na\"\"me\"");
        how.columns = UnknownColumns::Fail;
        assert!(error(add(&how)).contains("--columns fail"));
    }

    #[test]
    fn an_upsert_goes_by_a_key_that_the_table_enforces_in_its_own_spelling() {
        let (how, id) = (WriteOptions::of(WriteMode::Upsert), StoreId::named("t"));
        let key = |table: &Table, told: &[&str]| {
            let told: Vec<String> = told.iter().map(|&part| part.to_owned()).collect();
            MAKING.key(&how, &id, table, &told)
        };
        assert_eq!(key(&table(), &["id"]).unwrap(), ["ID"]);
        assert_eq!(key(&table(), &[]).unwrap(), ["ID"]);
        assert!(error(key(&table(), &["name"])).ends_with("says name"));
        let keyless = Table { key: Vec::new(), ..table() };
        assert!(error(key(&keyless, &[])).ends_with("says none"));
        let unique = Table { uniques: vec![vec!["ID".to_owned()]], ..keyless };
        assert_eq!(key(&unique, &["id"]).unwrap(), ["ID"]);
        assert_eq!(on_conflict(&ANSI, &["a".to_owned()], ["a"]), " ON CONFLICT (\"a\") DO NOTHING");
    }

    #[test]
    fn two_stores_do_not_share_a_table() {
        let (one, other, table) = (StoreId::named("t"), StoreId::named("T"), table());
        assert!(MAKING.alone(&one, &table, [(&one, &table)].into_iter()).is_ok());
        let refused = error(MAKING.alone(&one, &table, [(&other, &table)].into_iter()));
        assert_eq!(refused, "t and T would go into one table; write them apart");
    }
}
