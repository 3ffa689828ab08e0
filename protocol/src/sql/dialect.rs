//! A SQL dialect as plain data: how names are quoted, where parameters stand, how values compare.

use super::catalog::{Column, Table};
use crate::message::Matching;

/// How a database wants its statements written. One constant a database, made from another by
/// struct update.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// The characters around a name; the closing one is doubled inside.
    pub quote: (char, char),
    /// The n-th parameter, counted from 1.
    pub placeholder: fn(usize) -> String,
    /// The condition that a column equals a parameter, both given as SQL.
    pub equals: fn(column: &Column, name: &str, parameter: &str, matching: Matching) -> String,
    /// What rows are ordered by that come in the order of a column, in an order that comparisons
    /// with a parameter go by too, and best one that an index has.
    pub ordered: fn(column: &Column, name: &str) -> String,
    /// A parameter as what it is compared with by order: a value of the column.
    pub typed: fn(column: &Column, parameter: &str) -> String,
    /// The condition that a row comes after (`>`), or not before (`>=`), the one in which what it
    /// is ordered by has the parameters' values.
    pub after: fn(ordered: &[String], than: &str, parameters: &[String]) -> String,
}

/// Standard SQL.
pub const ANSI: Dialect = Dialect {
    quote: ('"', '"'),
    placeholder: |_| "?".to_owned(),
    equals: |_, name, parameter, _| format!("{name} = {parameter}"),
    ordered: |column, name| match &column.collation {
        Some(collation) => format!("{name} COLLATE {}", ANSI.name(collation)),
        None => name.to_owned(),
    },
    typed: |_, parameter| parameter.to_owned(),
    after: |ordered, than, parameters| match (ordered, parameters) {
        ([one], [parameter]) => format!("{one} {than} {parameter}"),
        _ => format!("({}) {than} ({})", ordered.join(", "), parameters.join(", ")),
    },
};

/// [`Dialect::after`] column by column, for databases that do not compare rows, or find no index for
/// that.
pub fn column_by_column(ordered: &[String], than: &str, parameters: &[String]) -> String {
    let (Some((first, more)), Some((value, values))) =
        (ordered.split_first(), parameters.split_first())
    else {
        return "TRUE".to_owned();
    };
    if more.is_empty() {
        return format!("{first} {than} {value}");
    }
    let rest = column_by_column(more, than, values);
    format!("({first} >= {value} AND ({first} > {value} OR ({rest})))")
}

impl Dialect {
    /// A name, quoted.
    pub fn name(&self, name: &str) -> String {
        let (open, close) = self.quote;
        let mut quoted = String::with_capacity(name.len() + 2);
        quoted.push(open);
        for c in name.chars() {
            quoted.push(c);
            if c == close {
                quoted.push(close);
            }
        }
        quoted.push(close);
        quoted
    }

    /// A table's full name, quoted.
    pub fn path(&self, path: &[String]) -> String {
        path.iter().map(|part| self.name(part)).collect::<Vec<_>>().join(".")
    }

    /// `SELECT columns, further columns FROM table`.
    pub fn select(&self, table: &Table, columns: &[&Column], further: &[String]) -> String {
        let names = columns.iter().map(|column| column.name.as_str());
        let names = self.names(names.chain(further.iter().map(String::as_str)));
        // A record without properties still counts its rows.
        let names = if names.is_empty() { "NULL".to_owned() } else { names };
        format!("SELECT {names} FROM {}", self.path(&table.path))
    }

    /// Names, quoted, between commas.
    pub fn names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> String {
        names.into_iter().map(|name| self.name(name)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(ANSI.name("Robert'); DROP TABLE"), "\"Robert'); DROP TABLE\"");
        assert_eq!(ANSI.name("a\"b"), "\"a\"\"b\"");
        let brackets = Dialect { quote: ('[', ']'), ..ANSI };
        assert_eq!(brackets.name("a]b[c"), "[a]]b[c]");
    }

    #[test]
    fn rows_after_another_are_found_by_their_first_column() {
        let names = ["a".to_owned(), "b".to_owned()];
        let values = ["?1".to_owned(), "?2".to_owned()];
        let after = column_by_column(&names, ">", &values);
        assert_eq!(after, "(a >= ?1 AND (a > ?1 OR (b > ?2)))");
    }

    #[test]
    fn a_path_is_quoted_part_by_part() {
        let path = ["my.schema".to_owned(), "order".to_owned()];
        assert_eq!(ANSI.path(&path), "\"my.schema\".\"order\"");
    }
}
