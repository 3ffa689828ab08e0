//! Everything that is said to a Redshift server: each statement with the page of Amazon's
//! documentation that it goes by.
//!
//! Redshift took PostgreSQL 8.0 for its beginning and left much of it out. What is not said here, on
//! purpose: COPY (to S3 alone), SAVEPOINT, TABLESAMPLE, `ctid`, comparisons of rows, and texts
//! between quotes, in which a backslash means something.

use std::time::Duration;

use protocol::message::Matching;
use protocol::sql::catalog::{Column, Table};
use protocol::sql::dialect::{ANSI, Dialect, column_by_column};
use protocol::sql::types::Type;

/// What a connection begins with, so that every value is spelled one way.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/cm_chap_ConfigurationRef.html>
pub(crate) fn prepare(statement_timeout: Duration) -> String {
    format!(
        "SET search_path TO pg_catalog; SET datestyle TO 'ISO, YMD'; SET timezone TO 'UTC'; \
         SET extra_float_digits TO 2; SET statement_timeout TO {}",
        statement_timeout.as_millis()
    )
}

/// Without this even quoted names are put in lower case.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_enable_case_sensitive_identifier.html>
pub(crate) const KEEP_CASE: &str = "SET enable_case_sensitive_identifier TO true";

/// All that follows sees one state of the database. Whatever level is named here, it is
/// SERIALIZABLE.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_BEGIN.html>
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The databases that can be connected to; those of datashares are read where they come from.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_REDSHIFT_DATABASES.html>
pub(crate) const DATABASES: &str = "\
    SELECT database_name FROM svv_redshift_databases \
    WHERE database_type = 'local' ORDER BY database_name";

/// Tables and views, external ones and late-binding views too.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_TABLES.html>
pub(crate) const TABLES: &str = "\
    SELECT table_schema, table_name, table_type, remarks FROM svv_tables \
    WHERE table_catalog = current_database() ORDER BY table_schema, table_name";

/// <https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_COLUMNS.html>
pub(crate) const COLUMNS: &str = "\
    SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default, \
    character_maximum_length, numeric_precision, numeric_scale, remarks FROM svv_columns \
    WHERE table_catalog = current_database() ORDER BY table_schema, table_name, ordinal_position";

/// The tables and views of the database's own that the user may not read: the views above list them
/// all the same.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_HAS_TABLE_PRIVILEGE.html>
pub(crate) const UNREADABLE: &str = "\
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'v', 'm') AND NOT (has_schema_privilege(n.oid, 'USAGE') \
    AND has_table_privilege(c.oid, 'SELECT'))";

/// Keys, which are declared and not enforced; columns by their numbers, `{1,2}`.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/t_Defining_constraints.html>
pub(crate) const CONSTRAINTS: &str = "\
    SELECT n.nspname, c.relname, k.conname, k.contype, k.conkey, fn.nspname, fc.relname, k.confkey \
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_class fc ON fc.oid = k.confrelid \
    LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace \
    WHERE k.contype IN ('p', 'u', 'f') ORDER BY n.nspname, c.relname, k.conname";

/// The numbers of the columns of tables that have keys or are referred to.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/c_join_PG.html>
pub(crate) const NUMBERS: &str = "\
    SELECT n.nspname, c.relname, a.attnum, a.attname \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attnum > 0 AND NOT a.attisdropped \
    AND (c.oid IN (SELECT conrelid FROM pg_constraint) \
    OR c.oid IN (SELECT confrelid FROM pg_constraint))";

/// About how many rows there are, for those who may see it: superusers, unless it was granted.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_TABLE_INFO.html>
pub(crate) const ROWS: &str = "SELECT \"schema\", \"table\", tbl_rows FROM svv_table_info";

/// Redshift's dialect. A parameter stands in a variable of the session, which [`bind`] sets.
///
/// Values come as text only where a statement has no parameters of the protocol, and Redshift's
/// binary form of values is not PostgreSQL's.
pub(crate) const REDSHIFT: Dialect = Dialect {
    placeholder: |n| format!("current_setting('manifold.value_{n}')"),
    equals,
    typed,
    after: column_by_column,
    ..ANSI
};

/// Sets variables to as many parameters.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_SET_CONFIG.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_CURRENT_SETTING.html>
pub(crate) fn bind(parameters: usize) -> String {
    let all: Vec<String> = (1..=parameters)
        .map(|n| format!("set_config('manifold.value_{n}', ${n}, false)"))
        .collect();
    format!("SELECT {}", all.join(", "))
}

/// Texts are compared without blanks at their ends, and by some collations without their case; what
/// is exact is a hash of them.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_COLLATE.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_MD5.html>
fn equals(column: &Column, name: &str, parameter: &str, matching: Matching) -> String {
    match (&column.of, matching) {
        // The blanks at the end of a CHAR fill it up, and are nobody's.
        (Type::Text, Matching::Exact) if is_padded(column) => {
            format!(
                "({name} = rtrim({parameter}) AND md5(rtrim({name})) = md5(rtrim({parameter})))"
            )
        }
        (Type::Text, Matching::Exact) => {
            format!("({name} = {parameter} AND md5({name}) = md5({parameter}))")
        }
        (Type::Boolean, _) => format!("{name} = ({parameter} = 'true')"),
        _ => format!("{name} = {}", typed(column, parameter)),
    }
}

/// A parameter as a value of a column's type. A NUMERIC without its digits is one of 18, and none
/// after the point.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_Numeric_types201.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_FROM_HEX.html>
fn typed(column: &Column, parameter: &str) -> String {
    let of = match &column.of {
        Type::Integer => "bigint",
        Type::Number if is_single(column) => "real",
        Type::Number => "double precision",
        Type::Decimal => {
            let scale = digits(column).map_or(0, |(_, scale)| scale);
            return format!("{parameter}::numeric(38,{scale})");
        }
        Type::Date => "date",
        Type::Time => "time",
        Type::TimeTz => "timetz",
        Type::Timestamp => "timestamp",
        Type::Instant => "timestamptz",
        Type::Bytes => return format!("from_hex({parameter})"),
        _ => return parameter.to_owned(),
    };
    format!("{parameter}::{of}")
}

/// Whether rows can be found by the values of a column, and put in their order.
pub(crate) fn compares(column: &Column) -> bool {
    match column.of {
        Type::Decimal => digits(column).is_some(),
        Type::Json | Type::Other | Type::Any | Type::Array(_) | Type::Uuid => false,
        _ => true,
    }
}

/// Whether a column holds floats of single precision.
pub(crate) fn is_single(column: &Column) -> bool {
    column.declared == "real"
}

fn is_padded(column: &Column) -> bool {
    column.declared.starts_with("character(") || column.declared == "bpchar"
}

/// The 12 and 2 of `numeric(12,2)`.
pub(crate) fn digits(column: &Column) -> Option<(u32, u32)> {
    let (_, digits) = column.declared.strip_suffix(')')?.split_once('(')?;
    let (all, scale) = digits.split_once(',')?;
    Some((all.parse().ok()?, scale.parse().ok()?))
}

/// What is asked for to read a column. `extra_float_digits` shows too few of a REAL.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_extra_float_digits.html>
fn asked(column: &Column) -> String {
    let name = REDSHIFT.name(&column.name);
    if is_single(column) { format!("{name}::double precision") } else { name }
}

/// `SELECT columns FROM table`.
pub(crate) fn select(table: &Table, columns: &[&Column]) -> String {
    let mut names: Vec<String> = columns.iter().map(|column| asked(column)).collect();
    if names.is_empty() {
        // A record without properties still counts its rows.
        names.push("1".to_owned());
    }
    format!("SELECT {} FROM {}", names.join(", "), REDSHIFT.path(&table.path))
}

/// How many rows of a table a condition lets through.
pub(crate) fn count(table: &Table, condition: &str) -> String {
    format!("SELECT count(*) FROM {} WHERE {condition}", REDSHIFT.path(&table.path))
}

/// <https://docs.aws.amazon.com/redshift/latest/dg/r_DELETE.html>
pub(crate) fn delete(table: &Table, condition: &str) -> String {
    format!("DELETE FROM {} WHERE {condition}", REDSHIFT.path(&table.path))
}

/// ` ORDER BY` a hash of the seed and the key, or of all columns where there is none: a sample that
/// the seed repeats.
pub(crate) fn shuffled(table: &Table, seed: u64) -> String {
    let keyed = |column: &&Column| table.key.is_empty() || table.key.contains(&column.name);
    // A text may hold 65,535 bytes, so each value is a hash of its own.
    let hashes: Vec<String> = table.columns.iter().filter(keyed).filter_map(hashed).collect();
    if hashes.is_empty() {
        return String::new();
    }
    format!(" ORDER BY md5('{seed}' || {})", hashes.join(" || "))
}

/// A BOOLEAN cannot be cast to text, and of the types that do not compare it is not sure.
///
/// <https://docs.aws.amazon.com/redshift/latest/dg/c_Supported_data_types.html>
fn hashed(column: &Column) -> Option<String> {
    let name = REDSHIFT.name(&column.name);
    let text = match column.of {
        Type::Boolean => format!("CASE WHEN {name} THEN 't' WHEN NOT {name} THEN 'f' END"),
        Type::Bytes => format!("to_hex({name})"),
        _ if compares(column) => format!("{name}::varchar"),
        _ => return None,
    };
    Some(format!("md5(coalesce({text}, ''))"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values;
    use protocol::silo::{From, Kind, Known, StoreId, Subject};
    use protocol::sql::order::Order;
    use protocol::sql::statement::{Statement, matches};

    /// A table with a column of each type, the first two of which are its key.
    fn table() -> Table {
        let types = [
            "bigint",
            "character varying(60)",
            "character(3)",
            "numeric(12,2)",
            "real",
            "double precision",
            "boolean",
            "date",
            "time without time zone",
            "time with time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "binary varying(10)",
            "super",
            "geometry",
        ];
        let column = |declared: &&str| {
            let name = declared.split('(').next().unwrap_or_default();
            Column {
                nullable: *declared == "date",
                ..Column::new(name, *declared, values::of(declared).0)
            }
        };
        Table {
            columns: types.iter().map(column).collect(),
            key: vec!["bigint".to_owned(), "character varying".to_owned()],
            ..Table::new(
                StoreId::named("t"),
                vec!["my \"schema\"".to_owned(), "t".to_owned()],
                Kind::Table,
            )
        }
    }

    fn about(table: &Table, column: &Column, matching: Matching) -> Statement<String> {
        let known = Known { property: column.name.clone(), value: "1".to_owned(), matching };
        let subject = Subject { identifiers: vec![known], properties: None };
        let mut statement = Statement::plain("");
        let convert = |_: &Column, text: &str| Some(text.to_owned());
        let condition = matches(&REDSHIFT, table, &subject, &mut statement, convert).unwrap();
        Statement { text: condition.unwrap(), ..statement }
    }

    /// Every statement there is, one a line.
    fn statements() -> String {
        let table = table();
        let columns: Vec<&Column> = table.columns.iter().collect();
        let mut all =
            vec![prepare(Duration::from_secs(30)), KEEP_CASE.to_owned(), BEGIN.to_owned()];
        let catalog = [DATABASES, TABLES, COLUMNS, UNREADABLE, CONSTRAINTS, NUMBERS, ROWS];
        all.extend(catalog.map(str::to_owned));
        all.push(bind(2));
        let select = select(&table, &columns);
        all.push(select.clone());
        all.push(format!("{select}{} LIMIT 5", shuffled(&table, 7)));
        all.push(format!(
            "{select}{} LIMIT 5",
            shuffled(&Table { key: Vec::new(), ..table.clone() }, 7)
        ));
        for column in columns.iter().filter(|column| compares(column)) {
            all.push(count(&table, &about(&table, column, Matching::Exact).text));
        }
        let text = &table.columns[1];
        all.push(count(&table, &about(&table, text, Matching::Collation).text));
        all.push(delete(&table, &about(&table, text, Matching::Exact).text));
        for cursor in [None, Some("date"), Some("timestamp with time zone")] {
            let from = From { cursor, properties: None, since: None, parallel: 1 };
            let order = Order::of(&table, &from).unwrap();
            let values = vec![String::new(); order.by.len()];
            let clause = order.clause(&REDSHIFT, Some(values), &mut Statement::plain(""));
            all.push(format!("SELECT 1 FROM t{clause}"));
            all.extend(order.remainder(&REDSHIFT).map(|rest| format!("SELECT 1 FROM t{rest}")));
        }
        all.iter().map(|statement| format!("{statement};\n")).collect()
    }

    #[test]
    fn the_statements_are_the_golden_ones() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statements.sql");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, statements()).unwrap();
        }
        assert_eq!(statements(), std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn no_value_stands_in_a_statement() {
        let table = table();
        for column in table.columns.iter().filter(|column| compares(column)) {
            let statement = about(&table, column, Matching::Exact);
            assert_eq!(statement.values, ["1"]);
            assert!(!statement.text.contains("'1'"), "{}", statement.text);
        }
    }
}
