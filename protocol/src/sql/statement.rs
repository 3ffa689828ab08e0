//! Statements: text with placeholders, and the values that stand in them.

use super::catalog::{Column, Table};
use super::dialect::Dialect;
use crate::fault::Fault;
use crate::log;
use crate::silo::Subject;
use anyhow::Result;

/// A statement and its parameters' values, which never stand in the text.
#[derive(Clone)]
pub struct Statement<V> {
    /// The SQL.
    pub text: String,
    /// The value of each placeholder, in the driver's own type.
    pub values: Vec<V>,
}

impl<V> Statement<V> {
    /// A statement without parameters.
    pub fn plain(text: impl Into<String>) -> Statement<V> {
        Statement { text: text.into(), values: Vec::new() }
    }

    /// Adds a value, and returns its placeholder.
    pub fn bind(&mut self, dialect: &Dialect, value: V) -> String {
        self.values.push(value);
        (dialect.placeholder)(self.values.len())
    }
}

/// The columns of `table` that were asked for, in the table's order; all where nothing was.
/// A property that is not there any more is said and left out.
pub fn columns<'t>(table: &'t Table, properties: Option<&[String]>) -> Result<Vec<&'t Column>> {
    let Some(wanted) = properties else { return Ok(table.columns.iter().collect()) };
    for missing in wanted.iter().filter(|name| table.column(name).is_none()) {
        log::warn(format_args!("{}: there is no column `{missing}` any more", table.id));
    }
    let columns: Vec<_> = table.columns.iter().filter(|c| wanted.contains(&c.name)).collect();
    if columns.is_empty() && !wanted.is_empty() {
        return Err(Fault::config("none of the properties asked for is a column").into());
    }
    Ok(columns)
}

/// `text` with the condition that a row is one of the subject's, as [`matches()`] makes it. `None` where
/// no row can be.
pub fn about<V>(
    dialect: &Dialect,
    table: &Table,
    subject: &Subject,
    text: impl FnOnce(&str) -> String,
    convert: impl Fn(&Column, &str) -> Option<V>,
) -> Result<Option<Statement<V>>> {
    let mut statement = Statement::plain("");
    let condition = matches(dialect, table, subject, &mut statement, convert)?;
    Ok(condition.map(|condition| Statement { text: text(&condition), ..statement }))
}

/// The condition that a row is one of the subject's: a union over its identifiers. `None` where no
/// row can be, because no value can be of its column's type.
///
/// `convert` makes the driver's value of a column from text; it is `None` for a text that no value
/// of the column's type is spelled like.
pub fn matches<V>(
    dialect: &Dialect,
    table: &Table,
    subject: &Subject,
    statement: &mut Statement<V>,
    convert: impl Fn(&Column, &str) -> Option<V>,
) -> Result<Option<String>> {
    let mut conditions = Vec::new();
    for known in &subject.identifiers {
        let column = table.column(&known.property).ok_or_else(|| {
            Fault::config(format!("there is no column `{}` in {}", known.property, table.id))
        })?;
        let Some(value) = convert(column, &known.value) else {
            log::info(format_args!(
                "{}: the identifier cannot be a value of `{}` ({}) and matches nothing",
                table.id, column.name, column.declared
            ));
            continue;
        };
        let parameter = statement.bind(dialect, value);
        let name = dialect.name(&column.name);
        conditions.push((dialect.equals)(column, &name, &parameter, known.matching));
    }
    Ok((!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR "))))
}
