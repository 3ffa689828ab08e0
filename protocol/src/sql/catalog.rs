//! The shape of a database: tables, columns, keys and what refers to what. Plain data that a
//! connector fills from its catalog queries.

use serde_json::{Map, Value, json};

use super::types::Type;
use crate::message::{Reference, Relation};
use crate::silo::{self, Kind, StoreId};

/// The tables of one database, in a stable order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Tables and views.
    pub tables: Vec<Table>,
}

impl Catalog {
    /// The table of a store.
    pub fn table(&self, id: &StoreId) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == *id)
    }

    /// The references that point at a table, each with the table that has it.
    pub fn referrers(&self, id: &StoreId) -> impl Iterator<Item = (&Table, &ForeignKey)> {
        self.tables.iter().flat_map(move |table| {
            let keys = table.references.iter().filter(move |key| key.table == *id);
            keys.map(move |key| (table, key))
        })
    }
}

/// One table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The store it is.
    pub id: StoreId,
    /// Its name in the database, from the outside in: `["public", "orders"]`.
    pub path: Vec<String>,
    /// What kind of table.
    pub kind: Kind,
    /// What its owner says of it.
    pub comment: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The primary key's columns, in its order; empty where there is none.
    pub key: Vec<String>,
    /// Further sets of columns whose values are unique among the rows.
    pub uniques: Vec<Vec<String>>,
    /// The leading columns of each index, keys and uniques included.
    pub indexes: Vec<Vec<String>>,
    /// What it refers to.
    pub references: Vec<ForeignKey>,
    /// The expressions of its CHECK constraints.
    pub checks: Vec<String>,
    /// The names of triggers and rules that run when its rows change.
    pub triggers: Vec<String>,
    /// The names of what in the database holds copies of its rows until somebody refreshes or purges
    /// it: materialized views, histories.
    pub copies: Vec<String>,
    /// What the user may not do with all its rows.
    pub denied: Vec<Right>,
    /// Whether the user sees all tables that refer to it.
    pub referrers: Referrers,
    /// About how many rows, where the database keeps count.
    pub rows: Option<u64>,
}

/// Whether a user sees all tables that refer to another, for it could change or delete rows of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referrers {
    /// It does.
    Seen,
    /// It does not see some, or has no sight of where they would be: why.
    Hidden(String),
    /// It sees all that is likely, and cannot know of more: why.
    Unknown(String),
}

/// What erasing from a table needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see its rows.
    See,
    /// To delete them.
    Delete,
    /// To change them.
    Update,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as the database says it: `character varying(60)`.
    pub declared: String,
    /// Its type as we read it.
    pub of: Type,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether the database computes it, so that it cannot be written.
    pub generated: bool,
    /// The expression that gives it a value: where none is given, or always where it is generated;
    /// as the database spells it, where it does.
    pub expression: Option<String>,
    /// The most characters or bytes a value may have, where that is declared.
    pub length: Option<u64>,
    /// Its collation, where it is not the database's.
    pub collation: Option<String>,
    /// The only values it may have, where they are enumerated.
    pub values: Vec<String>,
    /// What its owner says of it.
    pub comment: Option<String>,
}

impl Column {
    /// A nullable column of which only name and type are known.
    pub fn new(name: impl Into<String>, declared: impl Into<String>, of: Type) -> Column {
        Column {
            name: name.into(),
            declared: declared.into(),
            of,
            nullable: true,
            generated: false,
            expression: None,
            length: None,
            collation: None,
            values: Vec::new(),
            comment: None,
        }
    }
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table they refer to.
    pub table: StoreId,
    /// The columns they refer to, in the same order.
    pub references: Vec<String>,
    /// What the database does to the row when the one above it goes.
    pub on_delete: OnChange,
    /// What it does when the key above it changes.
    pub on_update: OnChange,
    /// Whether the check can wait for the commit.
    pub deferrable: bool,
}

/// What a database does to a referring row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnChange {
    /// Refuses the change, at the end of the statement or later (NO ACTION).
    Refuse,
    /// Refuses the change at once, also where the check could wait (RESTRICT).
    Restrict,
    /// Changes the referring row likewise.
    Cascade,
    /// Sets the reference to null.
    SetNull,
    /// Sets the reference to its default.
    SetDefault,
}

impl Table {
    /// A table of which nothing but its place is known.
    pub fn new(id: StoreId, path: Vec<String>, kind: Kind) -> Table {
        Table {
            id,
            path,
            kind,
            comment: None,
            columns: Vec::new(),
            key: Vec::new(),
            uniques: Vec::new(),
            indexes: Vec::new(),
            references: Vec::new(),
            checks: Vec::new(),
            triggers: Vec::new(),
            copies: Vec::new(),
            denied: Vec::new(),
            referrers: Referrers::Seen,
            rows: None,
        }
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The sets of columns whose values are unique among the rows: the key, and others.
    pub fn enforced(&self) -> impl Iterator<Item = &[String]> {
        let key = Some(self.key.as_slice()).filter(|key| !key.is_empty());
        key.into_iter().chain(self.uniques.iter().map(Vec::as_slice))
    }

    /// Whether the user has a right to all its rows.
    pub fn may(&self, right: Right) -> bool {
        !self.denied.contains(&right)
    }

    /// What `discover` says of the table.
    pub fn schema(&self) -> silo::Schema {
        let mut properties = Map::new();
        for column in &self.columns {
            let mut schema = column.of.json_schema();
            if let (Some(members), Some(comment)) = (schema.as_object_mut(), &column.comment) {
                members.insert("description".to_owned(), comment.as_str().into());
            }
            properties.insert(column.name.clone(), schema);
        }
        let mut json_schema = json!({"type": "object", "properties": Value::Object(properties)});
        if let (Some(members), Some(comment)) = (json_schema.as_object_mut(), &self.comment) {
            members.insert("description".to_owned(), comment.as_str().into());
        }
        silo::Schema {
            json_schema,
            kind: self.kind,
            key: self.key.clone(),
            cursors: self.cursors(),
            relations: self.references.iter().map(ForeignKey::relation).collect(),
        }
    }

    /// The columns an incremental read can go by: those that say when a row changed, then those
    /// that say when it was made, then a key that counts up.
    fn cursors(&self) -> Vec<String> {
        const CHANGED: [&str; 4] = ["updat", "modif", "chang", "edit"];
        const MADE: [&str; 5] = ["creat", "insert", "add", "regist", "occur"];
        let mut found: Vec<(usize, &str)> = Vec::new();
        for column in &self.columns {
            let name = column.name.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
            let declared = column.declared.to_lowercase();
            let timed = matches!(column.of, Type::Instant | Type::Timestamp | Type::Date)
                || (column.of == Type::Text
                    && ["date", "time"].iter().any(|t| declared.contains(t)));
            let rank = match (timed, column.of == Type::Integer) {
                (true, _) if says(&CHANGED) => 0,
                (true, _) if says(&MADE) => 1,
                (true, _) => continue,
                (_, true) if self.key == [column.name.as_str()] => 2,
                _ => continue,
            };
            found.push((rank, &column.name));
        }
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

impl ForeignKey {
    /// The relation as messages say it.
    pub fn relation(&self) -> Relation {
        let StoreId { group, name } = self.table.clone();
        Relation {
            child: None,
            columns: self.columns.clone(),
            references: Reference {
                schema_name: name,
                schema_group: group,
                columns: self.references.clone(),
            },
            rule: None,
            reason: None,
            score: None,
        }
    }
}
