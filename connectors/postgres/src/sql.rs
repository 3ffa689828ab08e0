//! The text of statements: names are quoted, and values travel beside it.

use protocol::sql::catalog::Column;

use crate::catalog::{ColumnWay, Part, Relation};
use crate::identify::{POSTGRES, spelled};
use crate::types::Ask;

/// A column, asked for so that its decoder can read what comes. The table goes by the name `t`.
pub(crate) fn expression(column: &Column, way: &ColumnWay) -> String {
    let name = format!("t.{}", POSTGRES.name(&column.name));
    match way.resolved.ask {
        Ask::Plain => name,
        Ask::Text => spelled(&name),
        Ask::Numeric => format!("{name}::pg_catalog.numeric"),
        Ask::Numerics => format!("{name}::pg_catalog.numeric[]"),
    }
}

/// What stands after FROM: a table without those that inherit from it, a partitioned table or view
/// with all they have. It goes by the name `t`.
pub(crate) fn source(path: &[String], relation: &Relation) -> String {
    format!("{}{} t", if relation.only { "ONLY " } else { "" }, POSTGRES.path(path))
}

/// What stands after FROM for a part.
pub(crate) fn part(part: &Part) -> String {
    format!("ONLY {}.{} t", POSTGRES.name(&part.schema), POSTGRES.name(&part.name))
}

/// Expressions between commas; a row without columns is still a row.
pub(crate) fn list(expressions: &[String]) -> String {
    expressions.join(", ")
}
