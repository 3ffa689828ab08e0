//! Values on their way out, as identifiers, and in states.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::json::{self, Json};
use protocol::output::Output;
use protocol::silo::StoreId;
use protocol::sql::catalog::Column;
use protocol::sql::order::strange;
use protocol::sql::types::Type;
use protocol::{Result, log};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::dialect::{Bound, is_geometry};
use crate::driver::{Cell, Moment, Row, Span, Value};
use crate::{geometry, moment};

/// Writes rows as objects of some columns.
pub(crate) struct Objects<'c>(Vec<Writer<'c>>);

impl<'c> Objects<'c> {
    pub(crate) fn of(columns: &[&'c Column]) -> Objects<'c> {
        let keys = json::members(columns.iter().map(|column| column.name.as_str()));
        Objects(keys.zip(columns).map(|(key, column)| Writer::new(column, key)).collect())
    }

    /// Pushes a row's next cells, one for each column, and hands each to `seen`.
    #[inline]
    pub(crate) fn push(
        &mut self,
        row: &mut Row<'_>,
        out: &mut Output,
        mut seen: impl FnMut(usize, Cell<'_>),
    ) -> Result<()> {
        out.row(|json| {
            for (i, writer) in self.0.iter_mut().enumerate() {
                let cell = row.next()?;
                writer.write(cell, json);
                seen(i, cell);
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

/// How the bytes of a cell are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Text,
    Decimal,
    Bytes,
    Flag,
    Bits,
    Document,
    Geometry,
}

/// Writes the values of one column, and counts those that cannot be read as what they are.
struct Writer<'c> {
    column: &'c Column,
    key: Vec<u8>,
    meaning: Meaning,
    broken: u64,
}

impl<'c> Writer<'c> {
    fn new(column: &'c Column, key: Vec<u8>) -> Writer<'c> {
        let meaning = match &column.of {
            Type::Decimal => Meaning::Decimal,
            Type::Bytes => Meaning::Bytes,
            Type::Boolean => Meaning::Flag,
            Type::Integer => Meaning::Bits,
            Type::Json => Meaning::Document,
            _ if is_geometry(column) => Meaning::Geometry,
            _ => Meaning::Text,
        };
        Writer { column, key, meaning, broken: 0 }
    }

    /// `"name":value`, with what stands before it in the object.
    #[inline]
    fn write(&mut self, cell: Cell<'_>, json: &mut Json<'_>) {
        json.raw(&self.key);
        match cell {
            Cell::Null => json.null(),
            Cell::Integer(integer) => json.integer(integer),
            Cell::Unsigned(integer) => json.integer(integer),
            Cell::Single(float) => json.float32(float),
            Cell::Double(double) => json.float(double),
            Cell::Moment(moment) => match self.column.of {
                Type::Date => json.plain(moment::date(&moment).bytes()),
                Type::Instant => json.plain(moment::timestamp(&moment, true).bytes()),
                _ => json.plain(moment::timestamp(&moment, false).bytes()),
            },
            Cell::Span(span) => json.plain(moment::time(&span).bytes()),
            Cell::Bytes(bytes) => self.bytes(bytes, json),
        }
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8], json: &mut Json<'_>) {
        match self.meaning {
            Meaning::Text => match std::str::from_utf8(bytes) {
                Ok(text) => json.text(text),
                Err(_) => {
                    self.broken += 1;
                    json.text(&String::from_utf8_lossy(bytes));
                }
            },
            Meaning::Decimal => json.decimal(number(bytes)),
            Meaning::Bytes => json.base64(bytes),
            Meaning::Flag => json.boolean(bits(bytes) != 0),
            Meaning::Bits => json.integer(bits(bytes)),
            Meaning::Document => self.document(bytes, json),
            Meaning::Geometry => match geometry::text(bytes) {
                Some(text) => json.text(&text),
                None => {
                    self.broken += 1;
                    json.base64(bytes);
                }
            },
        }
    }

    /// MariaDB keeps a document as text, which need not be one where the check was off.
    fn document(&mut self, bytes: &[u8], json: &mut Json<'_>) {
        if serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
            self.broken += 1;
            json.text(&String::from_utf8_lossy(bytes));
        } else if bytes.iter().any(|&byte| matches!(byte, b'\n' | b'\r')) {
            // A line break stands between tokens only: inside a string it cannot.
            let line: Vec<u8> =
                bytes.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }).collect();
            json.raw(&line);
        } else {
            json.raw(bytes);
        }
    }

    fn report(&self, table: &StoreId) {
        if self.broken > 0 {
            let what = match self.meaning {
                Meaning::Document => "no JSON documents and are read as text",
                Meaning::Geometry => "no geometries that are known here and are read as base64",
                _ => "not valid UTF-8; what cannot be read in them is U+FFFD",
            };
            let Column { name, .. } = self.column;
            log::warn(format_args!("{table}: {} values of `{name}` are {what}", self.broken));
        }
    }
}

/// A decimal without the zeros that ZEROFILL puts before it, which JSON's numbers do not have.
fn number(digits: &[u8]) -> &[u8] {
    let mut digits = digits;
    while let [b'0', rest @ ..] = digits
        && rest.first().is_some_and(u8::is_ascii_digit)
    {
        digits = rest;
    }
    digits
}

/// The number that a BIT's bytes are.
fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Keeps a cell in `kept`, whose room is used again.
#[inline]
pub(crate) fn keep(kept: &mut Value, column: &Column, cell: Cell<'_>) {
    match (kept, cell) {
        (Value::Text(kept), Cell::Bytes(bytes)) if column.of != Type::Bytes => {
            kept.clear();
            kept.extend_from_slice(bytes);
        }
        (kept, cell) => {
            *kept = match cell {
                Cell::Null => Value::Null,
                Cell::Integer(integer) => Value::Integer(integer),
                Cell::Unsigned(integer) => Value::Unsigned(integer),
                Cell::Single(float) => Value::Double(float.into()),
                Cell::Double(double) => Value::Double(double),
                Cell::Moment(moment) => Value::Moment(moment),
                Cell::Span(span) => Value::Span(span),
                Cell::Bytes(bytes) => match column.of {
                    Type::Bytes => Value::Bytes(bytes.to_vec()),
                    Type::Boolean | Type::Integer => Value::Unsigned(bits(bytes)),
                    _ => Value::Text(bytes.to_vec()),
                },
            }
        }
    }
}

/// A value of a column as a parameter.
pub(crate) fn bound(column: &Column, value: Value) -> Bound {
    match (&column.of, value) {
        (Type::Decimal, Value::Text(digits)) => {
            Bound::decimal(&String::from_utf8_lossy(&digits)).unwrap_or(Bound::Value(Value::Null))
        }
        (_, value) => Bound::Value(value),
    }
}

/// The value of a column that an identifier is spelled like; `None` where no value is.
pub(crate) fn identifier(column: &Column, text: &str) -> Option<Bound> {
    let value = match &column.of {
        Type::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Value::Unsigned(1),
            "false" | "0" => Value::Unsigned(0),
            _ => return None,
        },
        Type::Integer => match text.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Unsigned(text.parse().ok()?),
        },
        // A FLOAT's value is what its digits are in single precision.
        Type::Number if column.declared.starts_with("float") => {
            Value::Double(text.parse().ok().filter(|float: &f32| float.is_finite())?.into())
        }
        Type::Number => Value::Double(text.parse().ok().filter(|double: &f64| double.is_finite())?),
        Type::Decimal => return Bound::decimal(text),
        Type::Bytes => Value::Bytes(BASE64.decode(text).ok()?),
        Type::Date => Value::Moment(moment::parse_date(text)?),
        Type::Timestamp => Value::Moment(moment::parse_timestamp(text)?),
        Type::Instant => Value::Moment(moment::parse_instant(text)?),
        Type::Time => Value::Span(moment::parse_time(text)?),
        Type::Uuid if !is_uuid(text) => return None,
        _ => Value::Text(text.as_bytes().to_vec()),
    };
    Some(Bound::Value(value))
}

fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match hyphens.contains(&place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

/// A value in a state, so that it reads back as the very same.
pub(crate) fn to_state(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(integer) => (*integer).into(),
        Value::Unsigned(integer) => (*integer).into(),
        Value::Double(double) => (*double).into(),
        Value::Moment(m) => {
            json!({"moment": [m.year, m.month, m.day, m.hour, m.minute, m.second, m.micros]})
        }
        Value::Span(s) => {
            json!({"span": [u8::from(s.negative), s.hours, s.minutes, s.seconds, s.micros]})
        }
        Value::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({"text": BASE64.encode(bytes)}),
        },
        Value::Bytes(bytes) => json!({"bytes": BASE64.encode(bytes)}),
    }
}

/// The way back from [`to_state`].
pub(crate) fn from_state(value: &serde_json::Value) -> Result<Value> {
    use serde_json::Value as State;
    let bytes = |member: &str| BASE64.decode(value.get(member)?.as_str()?).ok();
    let numbers = |member: &str| -> Option<Vec<u32>> {
        let list = value.get(member)?.as_array()?;
        list.iter().map(|number| u32::try_from(number.as_u64()?).ok()).collect()
    };
    let small = |number: u32| u8::try_from(number).ok();
    let moment = |parts: Vec<u32>| {
        let [year, month, day, hour, minute, second, micros] = parts.try_into().ok()?;
        Some(Moment {
            year: u16::try_from(year).ok()?,
            month: small(month)?,
            day: small(day)?,
            hour: small(hour)?,
            minute: small(minute)?,
            second: small(second)?,
            micros,
        })
    };
    let span = |parts: Vec<u32>| {
        let [negative, hours, minutes, seconds, micros] = parts.try_into().ok()?;
        let (minutes, seconds) = (small(minutes)?, small(seconds)?);
        Some(Span { negative: negative == 1, hours, minutes, seconds, micros })
    };
    let found = match value {
        State::Null => Some(Value::Null),
        State::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Some(Value::Integer(integer)),
            (None, Some(integer)) => Some(Value::Unsigned(integer)),
            (None, None) => number.as_f64().map(Value::Double),
        },
        State::String(text) => Some(Value::Text(text.clone().into_bytes())),
        State::Object(_) => None
            .or_else(|| bytes("text").map(Value::Text))
            .or_else(|| bytes("bytes").map(Value::Bytes))
            .or_else(|| numbers("moment").and_then(moment).map(Value::Moment))
            .or_else(|| numbers("span").and_then(span).map(Value::Span)),
        State::Bool(_) | State::Array(_) => None,
    };
    found.ok_or_else(|| strange().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_state_reads_back_as_the_very_same() {
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Unsigned(u64::MAX),
            Value::Double(0.1),
            Value::Text("a\"\n".into()),
            Value::Text(vec![b'a', 255]),
            Value::Bytes(vec![0, 255]),
            Value::Moment(moment::parse_timestamp("2024-02-29T13:05:00.25").unwrap()),
            Value::Span(moment::parse_time("-838:59:59").unwrap()),
        ];
        for value in values {
            // As a file has it.
            let text = to_state(&value).to_string();
            assert_eq!(from_state(&serde_json::from_str(&text).unwrap()).unwrap(), value);
        }
        for odd in [json!([1]), json!({"moment": [1]}), json!({"span": [0, 0, 300, 0, 0]})] {
            assert!(from_state(&odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_text_that_no_value_is_spelled_like_is_no_identifier() {
        let column = |declared: &str, of| Column::new("c", declared, of);
        let odd = [
            (column("int(11)", Type::Integer), "ada@example.com"),
            (column("int(11)", Type::Integer), "12abc"),
            (column("int(11)", Type::Integer), " 5"),
            (column("decimal(10,2)", Type::Decimal), "1e3"),
            (column("decimal(10,2)", Type::Decimal), "."),
            (column("double", Type::Number), "inf"),
            (column("date", Type::Date), "2024-13-01"),
            (column("uuid", Type::Uuid), "12345678-1234-1234-1234-12345678901é"),
            (column("blob", Type::Bytes), "&"),
        ];
        for (column, text) in odd {
            assert!(identifier(&column, text).is_none(), "{text} for {}", column.declared);
        }
        let unsigned =
            identifier(&column("bigint(20) unsigned", Type::Integer), "18446744073709551615");
        assert!(unsigned == Some(Bound::Value(Value::Unsigned(u64::MAX))));
    }

    #[test]
    fn zeros_that_fill_up_a_number_are_left_out() {
        assert_eq!(number(b"00012.50"), b"12.50");
        assert_eq!(number(b"0.50"), b"0.50");
        assert_eq!(number(b"000"), b"0");
        assert_eq!(bits(&[1, 0]), 256);
    }
}
