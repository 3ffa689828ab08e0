//! Reading a table in an order that can be taken up again: the cursor column, then the key.
//!
//! | the user's choice | the table has | order | state |
//! | --- | --- | --- | --- |
//! | a cursor | a key | cursor, key | yes |
//! | a cursor | no key | cursor, inclusive | yes; rows equal to the last come again |
//! | none | a key | key: rows are taken as only ever added | yes |
//! | none | no key | none | none: every read is a full one |
//!
//! Rows whose cursor or key is null come last and in every run, because nothing says when they
//! changed. They are a statement of their own, so that the others can come by an index.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::{Column, Table};
use super::dialect::Dialect;
use super::statement::Statement;
use crate::fault::Fault;
use crate::log;
use crate::silo::{Cursor, From};

/// The content of a state: the columns the read was ordered by, and their values in the last row.
/// The driver chooses how a value is spelled, so that it reads back as the very same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The columns, in order.
    pub by: Vec<String>,
    /// Their values in the last row that was read.
    pub after: Vec<Value>,
}

/// The order of one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The columns, in order; empty where the table cannot be read in an order.
    pub by: Vec<String>,
    /// The same: the key must be compared as its index does, or rows that only the index tells
    /// apart are passed over.
    columns: Vec<Column>,
    /// Those of them that may be null.
    nullable: Vec<String>,
    /// Whether the columns tell rows apart. Where they do not, a read on begins with the last
    /// row's equals once more.
    unique: bool,
}

impl Order {
    /// The order in which to read `table`.
    pub fn of(table: &Table, from: &From<'_>) -> Result<Order> {
        let mut by = Vec::new();
        if let Some(cursor) = from.cursor {
            table.column(cursor).ok_or_else(|| {
                Fault::config(format!(
                    "the cursor `{cursor}` is no column; discover lists the columns"
                ))
            })?;
            by.push(cursor.to_owned());
        }
        by.extend(table.key.iter().filter(|name| Some(name.as_str()) != from.cursor).cloned());
        let columns: Vec<Column> =
            by.iter().filter_map(|name| table.column(name).cloned()).collect();
        let nullable = columns.iter().filter(|column| column.nullable);
        let nullable = nullable.map(|column| column.name.clone()).collect();
        let unique = !table.key.is_empty() || table.uniques.contains(&by);
        if by.is_empty() && from.since.is_some() {
            log::info(format_args!("{}: has neither key nor cursor and is read in full", table.id));
        }
        Ok(Order { by, columns, nullable, unique })
    }

    /// Whether a read in this order can be taken up again.
    pub fn resumes(&self) -> bool {
        !self.by.is_empty()
    }

    /// Where an earlier read got to, if it went in this order.
    pub fn position(&self, since: Option<&Cursor>) -> Result<Option<Position>> {
        let Some(cursor) = since else { return Ok(None) };
        let position: Position = cursor.parse()?;
        if position.by != self.by || position.after.len() != self.by.len() {
            return Err(Fault::config(format!(
                "the state was written by a read in the order of {}, and this one goes by {}: \
                 choose the same cursor, or read without the state",
                position.by.join(", "),
                if self.by.is_empty() { "no order".to_owned() } else { self.by.join(", ") }
            ))
            .into());
        }
        Ok(Some(position))
    }

    /// Where a read got to whose last row has these values.
    pub fn cursor(&self, after: Vec<Value>) -> Result<Cursor> {
        Cursor::new(&Position { by: self.by.clone(), after })
    }

    /// ` WHERE … ORDER BY …` of the rows that have a place in the order: all of them, or those
    /// after `values`.
    pub fn clause<V>(
        &self,
        dialect: &Dialect,
        values: Option<Vec<V>>,
        statement: &mut Statement<V>,
    ) -> String {
        if self.by.is_empty() {
            return String::new();
        }
        let ordered: Vec<String> = self
            .columns
            .iter()
            .map(|column| (dialect.ordered)(column, &dialect.name(&column.name)))
            .collect();
        let mut conditions: Vec<String> = Vec::new();
        if let Some(values) = values {
            let parameters: Vec<String> = values
                .into_iter()
                .zip(&self.columns)
                .map(|(value, column)| (dialect.typed)(column, &statement.bind(dialect, value)))
                .collect();
            let than = if self.unique { ">" } else { ">=" };
            conditions.push((dialect.after)(&ordered, than, &parameters));
        }
        conditions
            .extend(self.nullable.iter().map(|name| format!("{} IS NOT NULL", dialect.name(name))));
        let mut clause = String::new();
        if !conditions.is_empty() {
            clause = format!(" WHERE {}", conditions.join(" AND "));
        }
        clause.push_str(" ORDER BY ");
        clause.push_str(&ordered.join(", "));
        clause
    }

    /// ` WHERE …` of the rows that have no place in the order, because a value is null. They are
    /// read after the others, in every run. `None` where there can be none.
    pub fn remainder(&self, dialect: &Dialect) -> Option<String> {
        let nulls = self.nullable.iter().map(|name| format!("{} IS NULL", dialect.name(name)));
        let nulls = nulls.collect::<Vec<_>>().join(" OR ");
        (!nulls.is_empty()).then(|| format!(" WHERE {nulls}"))
    }
}

/// That a state holds a value that no read has put there.
pub fn strange() -> Fault {
    Fault::config("the state holds a value that this connector does not write")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silo::{Kind, StoreId};
    use crate::sql::catalog::Column;
    use crate::sql::dialect::ANSI;
    use crate::sql::types::Type;

    fn table(key: &[&str]) -> Table {
        Table {
            columns: vec![
                Column { nullable: false, ..Column::new("id", "", Type::Integer) },
                Column::new("at", "", Type::Integer),
            ],
            key: key.iter().map(|&name| name.to_owned()).collect(),
            ..Table::new(StoreId::named("t"), vec!["t".to_owned()], Kind::Table)
        }
    }

    fn clause(table: &Table, cursor: Option<&str>, after: Option<Vec<i64>>) -> String {
        let from = From { cursor, properties: None, since: None, parallel: 1 };
        let order = Order::of(table, &from).unwrap();
        order.clause(&ANSI, after, &mut Statement::plain(""))
    }

    #[test]
    fn a_read_goes_on_after_the_last_row_in_the_order_it_went() {
        let keyed = table(&["id"]);
        assert_eq!(clause(&keyed, None, None), " ORDER BY \"id\"");
        assert_eq!(clause(&keyed, None, Some(vec![7])), " WHERE \"id\" > ? ORDER BY \"id\"");
        assert_eq!(
            clause(&keyed, Some("at"), Some(vec![7, 8])),
            " WHERE (\"at\", \"id\") > (?, ?) AND \"at\" IS NOT NULL ORDER BY \"at\", \"id\""
        );
    }

    #[test]
    fn a_key_is_compared_and_ordered_as_its_index_does() {
        let mut keyed = table(&["id"]);
        keyed.columns[0].collation = Some("BINARY".to_owned());
        assert_eq!(
            clause(&keyed, None, Some(vec![7])),
            " WHERE \"id\" COLLATE \"BINARY\" > ? ORDER BY \"id\" COLLATE \"BINARY\""
        );
    }

    #[test]
    fn rows_without_a_place_in_the_order_are_read_on_their_own() {
        let order = |table: &Table, cursor| {
            Order::of(table, &From { cursor, properties: None, since: None, parallel: 1 }).unwrap()
        };
        let keyed = table(&["id"]);
        assert_eq!(order(&keyed, None).remainder(&ANSI), None);
        let remainder = order(&keyed, Some("at")).remainder(&ANSI);
        assert_eq!(remainder.as_deref(), Some(" WHERE \"at\" IS NULL"));
    }

    #[test]
    fn without_a_key_rows_equal_to_the_last_come_again_and_without_an_order_there_is_none() {
        let keyless = table(&[]);
        assert!(clause(&keyless, Some("at"), Some(vec![7])).contains("\"at\" >= ?"));
        assert_eq!(clause(&keyless, None, None), "");
    }

    #[test]
    fn a_state_of_another_order_is_refused_and_not_guessed_at() {
        let keyed = table(&["id"]);
        let since = Cursor(serde_json::json!({"by": ["at", "id"], "after": [1, 2]}));
        let from = From { cursor: None, properties: None, since: Some(&since), parallel: 1 };
        let order = Order::of(&keyed, &from).unwrap();
        assert!(order.position(from.since).unwrap_err().to_string().contains("at, id"));
    }
}
