//! SQLite's values on their way out, as identifiers, and in states.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::json::{self, Json};
use protocol::message::Matching;
use protocol::output::Output;
use protocol::silo::StoreId;
use protocol::sql::catalog::Column;
use protocol::sql::dialect::{ANSI, Dialect};
use protocol::sql::order::strange;
use protocol::sql::types::Type;
use protocol::{Result, log};
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use serde_json::json;

use crate::catalog::has_text_affinity;

/// SQLite's dialect.
pub(crate) const SQLITE: Dialect = Dialect { placeholder: |n| format!("?{n}"), equals, ..ANSI };

/// The indexed comparison, which goes by the column's collation, and an exact one beside it.
///
/// A number and a text are never equal here, though SQLite would turn the one into the other where
/// the column is declared so: `' 5 '` must not find 5.
fn equals(column: &Column, name: &str, parameter: &str, matching: Matching) -> String {
    match (matching, &column.of) {
        (Matching::Collation, _) => format!("{name} = {parameter}"),
        // Such a column holds numbers and texts that are spelled alike.
        (Matching::Exact, Type::Any) => by_text(name, parameter),
        (Matching::Exact, Type::Text) if !has_text_affinity(&column.declared) => {
            by_text(name, parameter)
        }
        (Matching::Exact, _) => format!(
            "({name} = {parameter} AND {name} = {parameter} COLLATE BINARY \
             AND (typeof({name}) = 'text') = (typeof({parameter}) = 'text'))"
        ),
    }
}

fn by_text(name: &str, parameter: &str) -> String {
    format!("CAST({name} AS TEXT) = {parameter} COLLATE BINARY")
}

/// The value of a column that an identifier is spelled like: as text where it is no value of the
/// declared type, because a column of any type may hold text.
pub(crate) fn identifier(column: &Column, text: &str) -> Option<Bound> {
    let value = match column.of {
        Type::Integer => text.parse().ok().map(Value::Integer),
        Type::Number => text.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Real),
        Type::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(Value::Integer(1)),
            "false" | "0" => Some(Value::Integer(0)),
            _ => None,
        },
        Type::Bytes => BASE64.decode(text).ok().map(Value::Blob),
        _ => None,
    };
    let value = value.unwrap_or_else(|| {
        if !matches!(column.of, Type::Text | Type::Any) {
            log::info(format_args!(
                "the identifier is no value of `{}` ({}): only text in that column can match it",
                column.name, column.declared
            ));
        }
        Value::Text(text.to_owned())
    });
    Some(value.into())
}

/// Writes rows as objects of some columns.
pub(crate) struct Objects<'c>(Vec<Writer<'c>>);

impl<'c> Objects<'c> {
    pub(crate) fn of(columns: &[&'c Column]) -> Objects<'c> {
        let keys = json::members(columns.iter().map(|column| column.name.as_str()));
        let writer = |(key, column): (_, &&'c Column)| Writer { column, key, odd: 0, broken: 0 };
        Objects(keys.zip(columns).map(writer).collect())
    }

    /// Pushes a row whose columns begin at the place `first`.
    #[inline]
    pub(crate) fn push(
        &mut self,
        row: &rusqlite::Row<'_>,
        first: usize,
        out: &mut Output,
    ) -> Result<()> {
        out.row(|json| {
            for (i, writer) in self.0.iter_mut().enumerate() {
                writer.write(row.get_ref(first + i)?, json);
            }
            json.raw(if self.0.is_empty() { b"{}" } else { b"}" });
            Ok(())
        })
    }

    /// Says what was odd, once.
    pub(crate) fn report(&self, table: &StoreId) {
        self.0.iter().for_each(|writer| writer.report(table));
    }
}

/// Writes the values of one column, and counts those that are not of its type.
struct Writer<'c> {
    column: &'c Column,
    key: Vec<u8>,
    odd: u64,
    broken: u64,
}

impl Writer<'_> {
    /// `"name":value`, with what stands before it in the object.
    #[inline]
    fn write(&mut self, value: ValueRef<'_>, json: &mut Json<'_>) {
        json.raw(&self.key);
        match value {
            ValueRef::Null => json.null(),
            ValueRef::Integer(integer) => match (&self.column.of, integer) {
                (Type::Boolean, 0 | 1) => json.boolean(integer == 1),
                (of, _) => {
                    self.odd += u64::from(!matches!(of, Type::Integer | Type::Number | Type::Any));
                    json.integer(integer);
                }
            },
            ValueRef::Real(real) => {
                self.odd += u64::from(!matches!(self.column.of, Type::Number | Type::Any));
                json.float(real);
            }
            ValueRef::Text(bytes) => {
                self.odd += u64::from(!matches!(self.column.of, Type::Text | Type::Any));
                match std::str::from_utf8(bytes) {
                    Ok(text) => json.text(text),
                    Err(_) => {
                        self.broken += 1;
                        json.text(&String::from_utf8_lossy(bytes));
                    }
                }
            }
            ValueRef::Blob(bytes) => {
                self.odd += u64::from(!matches!(self.column.of, Type::Bytes | Type::Any));
                json.base64(bytes);
            }
        }
    }

    fn report(&self, table: &StoreId) {
        let Column { name, declared, .. } = self.column;
        if self.odd > 0 {
            log::info(format_args!(
                "{table}: {} values of `{name}` are not of its declared type {declared} and keep \
                 their own",
                self.odd
            ));
        }
        if self.broken > 0 {
            log::warn(format_args!(
                "{table}: {} values of `{name}` are not valid UTF-8; what cannot be read in them \
                 is U+FFFD",
                self.broken
            ));
        }
    }
}

/// A value in a state, so that it reads back as the very same.
pub(crate) fn to_state(value: &Bound) -> serde_json::Value {
    match value {
        Bound::Value(Value::Null) => serde_json::Value::Null,
        Bound::Value(Value::Integer(integer)) => (*integer).into(),
        Bound::Value(Value::Real(real)) if real.is_finite() => (*real).into(),
        Bound::Value(Value::Real(real)) => json!({"infinite": *real > 0.0}),
        Bound::Value(Value::Text(text)) => text.as_str().into(),
        Bound::Value(Value::Blob(bytes)) => json!({"blob": BASE64.encode(bytes)}),
        Bound::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({"text": BASE64.encode(bytes)}),
        },
    }
}

/// A parameter's value: what rusqlite knows, or text that is not UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    Value(Value),
    Text(Vec<u8>),
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Bound::Value(value) => value.to_sql(),
            Bound::Text(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes))),
        }
    }
}

impl From<Value> for Bound {
    fn from(value: Value) -> Bound {
        Bound::Value(value)
    }
}

impl From<ValueRef<'_>> for Bound {
    fn from(value: ValueRef<'_>) -> Bound {
        match value {
            ValueRef::Null => Bound::Value(Value::Null),
            ValueRef::Integer(integer) => Bound::Value(Value::Integer(integer)),
            ValueRef::Real(real) => Bound::Value(Value::Real(real)),
            ValueRef::Text(bytes) => Bound::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Bound::Value(Value::Blob(bytes.to_vec())),
        }
    }
}

/// The way back from [`to_state`].
pub(crate) fn from_state(value: &serde_json::Value) -> Result<Bound> {
    use serde_json::Value as State;
    let bytes = |member: &str| {
        let text = value.get(member).and_then(State::as_str)?;
        BASE64.decode(text).ok()
    };
    let found = match value {
        State::Null => Some(Value::Null),
        State::Number(number) => match number.as_i64() {
            Some(integer) => Some(Value::Integer(integer)),
            None => number.as_f64().map(Value::Real),
        },
        State::String(text) => Some(Value::Text(text.clone())),
        State::Object(members) => match members.get("infinite").and_then(State::as_bool) {
            Some(true) => Some(Value::Real(f64::INFINITY)),
            Some(false) => Some(Value::Real(f64::NEG_INFINITY)),
            None => match bytes("text") {
                Some(text) => return Ok(Bound::Text(text)),
                None => bytes("blob").map(Value::Blob),
            },
        },
        State::Bool(_) | State::Array(_) => None,
    };
    found.map(Bound::Value).ok_or_else(|| strange().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_state_reads_back_as_the_very_same() {
        let values = [
            Bound::Value(Value::Null),
            Bound::Value(Value::Integer(i64::MAX)),
            Bound::Value(Value::Real(5.0)),
            Bound::Value(Value::Real(f64::NEG_INFINITY)),
            Bound::Value(Value::Text("a\"\n".to_owned())),
            Bound::Value(Value::Blob(vec![0, 255])),
            Bound::Text(vec![b'a', 255]),
        ];
        for value in values {
            // As a file has it.
            let text = to_state(&value).to_string();
            assert_eq!(from_state(&serde_json::from_str(&text).unwrap()).unwrap(), value);
        }
        assert!(from_state(&json!([1])).is_err());
    }
}
