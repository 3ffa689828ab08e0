//! The SQL of MySQL and MariaDB.

use protocol::message::Matching;
use protocol::sql::catalog::Column;
use protocol::sql::dialect::{ANSI, Dialect, column_by_column};
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;

use crate::driver::Value;

/// The dialect. Its placeholders have numbers, which [`positional`] takes away again, because a
/// condition names a parameter more than once.
pub(crate) const MYSQL: Dialect = Dialect {
    quote: ('`', '`'),
    placeholder: |n| format!("?{n}"),
    equals,
    ordered,
    // A comparison of rows finds no index.
    after: column_by_column,
    ..ANSI
};

/// The indexed comparison, which goes by the column's collation, and an exact one beside it.
fn equals(column: &Column, name: &str, parameter: &str, matching: Matching) -> String {
    if is_geometry(column) {
        return format!("ST_AsText({name}) = {parameter}");
    }
    match &column.of {
        Type::Text => {
            let alike = match charset(column) {
                // Another character set would make the two incomparable, or the index useless.
                Some((charset, collation)) if charset != "utf8mb4" => {
                    format!("{name} = CONVERT({parameter} USING {charset}) COLLATE {collation}")
                }
                _ => format!("{name} = {parameter}"),
            };
            match matching {
                Matching::Collation => alike,
                Matching::Exact => {
                    format!("({alike} AND {} = CAST({parameter} AS BINARY))", exact(column, name))
                }
            }
        }
        // What has no order of its own is compared as the text that it is read as.
        Type::Json | Type::Other | Type::Any | Type::Array(_) => {
            format!("{} = CAST({parameter} AS BINARY)", exact(column, name))
        }
        _ => format!("{name} = {parameter}"),
    }
}

/// The bytes of a text in UTF-8, which no collation takes for those of another.
fn exact(column: &Column, name: &str) -> String {
    match charset(column) {
        Some(("utf8mb4", _)) => format!("CAST({name} AS BINARY)"),
        _ => format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)"),
    }
}

/// An ENUM or SET is sorted by the place of its values and compared by their text.
fn ordered(column: &Column, name: &str) -> String {
    match column.declared.starts_with("enum(") || column.declared.starts_with("set(") {
        true => format!("CONCAT({name})"),
        false => name.to_owned(),
    }
}

/// What stands between a column's type and its character set in what is declared.
const CHARSET: &str = " CHARACTER SET ";
const COLLATE: &str = " COLLATE ";

/// A column's type with its character set and collation, as its table declares them.
pub(crate) fn declared(of: &str, charset: &str, collation: &str) -> String {
    format!("{of}{CHARSET}{charset}{COLLATE}{collation}")
}

/// The character set and the collation of a column that has them.
pub(crate) fn charset(column: &Column) -> Option<(&str, &str)> {
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let (_, rest) = column.declared.rsplit_once(CHARSET)?;
    let (charset, collation) = rest.split_once(COLLATE)?;
    (plain(charset) && plain(collation)).then_some((charset, collation))
}

/// Whether the values of a column are geometries.
pub(crate) fn is_geometry(column: &Column) -> bool {
    column.of == Type::Other && names_geometry(&column.declared)
}

/// Whether a type is one of geometries.
pub(crate) fn names_geometry(of: &str) -> bool {
    const TYPES: [&str; 10] = [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
        "curve",
    ];
    TYPES.contains(&of)
}

/// A parameter: a value, and what must be said of it beside.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    Value(Value),
    /// The digits of an exact decimal, which a server would compare as a double, and how many
    /// there are in all and after the point.
    Decimal {
        digits: String,
        all: usize,
        after: usize,
    },
}

impl Bound {
    /// A decimal that `text` spells; `None` where no column holds it exactly.
    pub(crate) fn decimal(text: &str) -> Option<Bound> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (before, after) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if before.is_empty() || !digits(before) || !digits(after) {
            return None;
        }
        let before = before.trim_start_matches('0').len();
        let after = after.trim_end_matches('0').len();
        let all = (before + after).max(1);
        (all <= 65 && after <= 30).then(|| Bound::Decimal { digits: text.to_owned(), all, after })
    }
}

/// The statement as it is sent: placeholders without numbers, and a value for each.
pub(crate) fn positional(statement: &Statement<Bound>) -> (String, Vec<Value>) {
    let mut text = String::with_capacity(statement.text.len());
    let mut values = Vec::with_capacity(statement.values.len());
    let mut quote = None;
    let mut rest = statement.text.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            // A quote that is doubled ends its quotes and opens them again.
            (Some(open), _) if open == c => quote = None,
            (None, '`' | '\'' | '"') => quote = Some(c),
            (None, '?') => {
                let mut number = 0;
                while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                    number = number * 10 + digit as usize;
                    rest.next();
                }
                if let Some(bound) = number.checked_sub(1).and_then(|n| statement.values.get(n)) {
                    text.push_str(&place(bound));
                    values.push(value(bound));
                    continue;
                }
            }
            _ => {}
        }
        text.push(c);
    }
    (text, values)
}

fn place(bound: &Bound) -> String {
    match bound {
        Bound::Value(_) => "?".to_owned(),
        Bound::Decimal { all, after, .. } => format!("CAST(? AS DECIMAL({all},{after}))"),
    }
}

fn value(bound: &Bound) -> Value {
    match bound {
        Bound::Value(value) => value.clone(),
        Bound::Decimal { digits, .. } => Value::Text(digits.clone().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_wherever_its_number_does_and_never_in_quotes() {
        let mut statement = Statement::plain("SELECT `a?1``b`, '?1' WHERE x = ?2 OR (?1 < y AND ");
        statement.values =
            vec![Bound::Value(Value::Integer(7)), Bound::decimal("-001.50").unwrap()];
        statement.text.push_str("z = ?1)");
        let (text, values) = positional(&statement);
        assert_eq!(
            text,
            "SELECT `a?1``b`, '?1' WHERE x = CAST(? AS DECIMAL(2,1)) OR (? < y AND z = ?)"
        );
        let seven = Value::Integer(7);
        assert_eq!(values, [Value::Text("-001.50".into()), seven.clone(), seven]);
    }

    #[test]
    fn a_text_is_compared_in_its_columns_character_set_and_by_its_bytes() {
        let latin = declared("varchar(60)", "latin1", "latin1_swedish_ci");
        let column = Column::new("c", latin, Type::Text);
        assert_eq!(charset(&column), Some(("latin1", "latin1_swedish_ci")));
        assert_eq!(
            equals(&column, "`c`", "?1", Matching::Exact),
            "(`c` = CONVERT(?1 USING latin1) COLLATE latin1_swedish_ci \
             AND CAST(CONVERT(`c` USING utf8mb4) AS BINARY) = CAST(?1 AS BINARY))"
        );
        let sly = Column::new("c", declared("char(1)", "x; DROP", "y"), Type::Text);
        assert_eq!(charset(&sly), None);
    }
}
