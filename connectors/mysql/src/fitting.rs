//! Whether a column can hold a value unchanged, and as what: the server would round, cut off and
//! guess without a word.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::sql::catalog::Column;
use protocol::sql::types::Type;
use serde_json::value::RawValue;

use crate::catalog::members;
use crate::driver::Value;
use crate::moment;

/// The declared type of a new column that holds every value of a type unchanged; one of `parts`
/// columns of the key, which must fit into an index.
pub(crate) fn declaration(of: &Type, schema: &serde_json::Value, parts: Option<usize>) -> String {
    let unsigned = schema.get("minimum").and_then(|least| least.as_i64()) == Some(0);
    // Bytes that an index takes, in characters of four.
    let longest = parts.map(|parts| 700 / parts.max(1));
    let declared = match (of, longest) {
        (Type::Boolean, _) => "BIT(1)".to_owned(),
        (Type::Integer, _) if unsigned => "BIGINT UNSIGNED".to_owned(),
        (Type::Integer, _) => "BIGINT".to_owned(),
        (Type::Number, _) => "DOUBLE".to_owned(),
        (Type::Date, _) => "DATE".to_owned(),
        (Type::Timestamp, _) => "DATETIME(6)".to_owned(),
        (Type::Instant, _) => "TIMESTAMP(6)".to_owned(),
        (Type::Time, _) => "TIME(6)".to_owned(),
        (Type::Json | Type::Any | Type::Array(_), None) => "JSON".to_owned(),
        (Type::Bytes, Some(longest)) => format!("VARBINARY({longest})"),
        (Type::Bytes, None) => "LONGBLOB".to_owned(),
        // A decimal's scale is not known, and each one that is fixed would change some.
        (_, Some(longest)) => format!("VARCHAR({longest})"),
        (_, None) => "LONGTEXT".to_owned(),
    };
    match parts {
        Some(_) => format!("{declared} NOT NULL"),
        // A timestamp is otherwise not null, and set by the server.
        None => format!("{declared} NULL DEFAULT NULL"),
    }
}

/// The value that a member of a record is stored as, or why its column cannot hold it unchanged.
pub(crate) fn value(column: &Column, json: &RawValue) -> Result<Value, String> {
    let text = json.get();
    if text == "null" {
        return Ok(Value::Null);
    }
    if matches!(column.of, Type::Json | Type::Any) {
        return Ok(Value::Text(text.as_bytes().to_vec()));
    }
    match text.as_bytes().first() {
        Some(b't' | b'f') => boolean(column, text == "true"),
        Some(b'"') => {
            let string: String = serde_json::from_str(text)
                .map_err(|_| "is a string with half a character in it".to_owned())?;
            spelled(column, string)
        }
        Some(b'{' | b'[') => Err(against(column, "is a list or an object")),
        _ => number(column, text),
    }
}

fn against(column: &Column, what: &str) -> String {
    format!("{what}, and the column is {}, which cannot hold it unchanged", column.declared)
}

fn boolean(column: &Column, value: bool) -> Result<Value, String> {
    match column.of {
        Type::Boolean | Type::Integer => Ok(Value::Unsigned(value.into())),
        _ => Err(against(column, "is true or false")),
    }
}

fn number(column: &Column, text: &str) -> Result<Value, String> {
    let refuse = |what: &str| Err(against(column, what));
    match column.of {
        Type::Integer => match (text.parse(), text.parse()) {
            // The server takes years of two digits for others.
            (Ok(1..=99), _) if column.declared.starts_with("year") => refuse("is a year below 100"),
            (Ok(integer), _) => Ok(Value::Integer(integer)),
            (Err(_), Ok(unsigned)) => Ok(Value::Unsigned(unsigned)),
            (Err(_), Err(_)) => refuse("is no integer of 64 bits"),
        },
        Type::Number => {
            let double: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
            let whole: Result<i64, _> = text.parse();
            let exact = match whole {
                Ok(integer) => integer.unsigned_abs() <= 1 << 53,
                Err(_) => double.is_finite(),
            };
            let single = column.declared.starts_with("float");
            // `0.1` is itself in single precision: what counts is how it is spelled again.
            let exact = exact && !(single && (double as f32).to_string() != double.to_string());
            match exact && scale(column).is_none_or(|scale| fraction(text) <= scale) {
                true => Ok(Value::Double(double)),
                false => refuse("is a number that it would round"),
            }
        }
        Type::Decimal => decimal(column, text),
        _ => refuse("is a number"),
    }
}

fn decimal(column: &Column, text: &str) -> Result<Value, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    match plain && fraction(text) <= scale(column).unwrap_or(0) {
        true => Ok(Value::Text(text.as_bytes().to_vec())),
        false => Err(against(column, "is a number that it would round")),
    }
}

/// How many digits after the point count.
fn fraction(text: &str) -> usize {
    let digits = text.split_once('.').map_or("", |(_, fraction)| fraction);
    digits.trim_end_matches('0').len()
}

/// The 2 of `decimal(10,2)` and the 3 of `datetime(3)`.
fn scale(column: &Column) -> Option<usize> {
    let inside = column.declared.split_once('(')?.1.split_once(')')?.0;
    inside.rsplit(',').next()?.parse().ok()
}

/// A value that is spelled as a string.
fn spelled(column: &Column, string: String) -> Result<Value, String> {
    let refuse = |what: &str| Err(against(column, what));
    let fits = |micros: u32| {
        let kept = scale(column).unwrap_or(0).min(6) as u32;
        micros.is_multiple_of(10u32.pow(6 - kept))
    };
    let value = match column.of {
        Type::Date => moment::parse_date(&string).map(Value::Moment),
        Type::Timestamp | Type::Instant => {
            let parsed = match column.of {
                Type::Instant => moment::parse_instant(&string),
                _ => moment::parse_timestamp(&string),
            };
            match parsed {
                Some(moment) if !fits(moment.micros) => return refuse("is a time it would round"),
                parsed => parsed.map(Value::Moment),
            }
        }
        Type::Time => match moment::parse_time(&string) {
            Some(span) if !fits(span.micros) => return refuse("is a time that it would round"),
            Some(span) if span.hours > 838 => return refuse("is a time beyond 838 hours"),
            parsed => parsed.map(Value::Span),
        },
        Type::Bytes => {
            let bytes = BASE64.decode(&string).ok();
            let padded = column.declared.starts_with("binary(");
            match bytes {
                Some(bytes) if padded && Some(bytes.len() as u64) != column.length => {
                    return refuse("is of another length");
                }
                bytes => bytes.map(Value::Bytes),
            }
        }
        Type::Decimal => return decimal(column, &string),
        Type::Boolean | Type::Integer | Type::Number => None,
        _ => return textual(column, string),
    };
    value.ok_or_else(|| against(column, "is text of another form"))
}

fn textual(column: &Column, string: String) -> Result<Value, String> {
    let refuse = |what: &str| Err(against(column, what));
    let Column { declared, length, .. } = column;
    if declared.starts_with("enum(") && !column.values.contains(&string) {
        return refuse("is none of its members");
    }
    if declared.starts_with("set(") && !string.is_empty() {
        let known = members(declared);
        if string.split(',').any(|one| !known.iter().any(|member| member == one)) {
            return refuse("has none of its members");
        }
    }
    let sized = declared.starts_with("char(") || declared.starts_with("varchar(");
    let longest = length.filter(|_| sized).unwrap_or(u64::MAX);
    // What is too long by its blanks alone would be cut off.
    if string.chars().count() as u64 > longest {
        return refuse("is longer");
    }
    if declared.starts_with("char(") && string.ends_with(' ') {
        return refuse("ends in a blank");
    }
    Ok(Value::Text(string.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(declared: &str, of: Type, json: &str) -> Result<Value, String> {
        let length = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let column = Column {
            length: length.and_then(|(length, _)| length.parse().ok()),
            values: if declared.starts_with("enum") { members(declared) } else { Vec::new() },
            ..Column::new("c", declared, of)
        };
        value(&column, &RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn what_the_server_would_change_is_refused() {
        let odd = [
            ("decimal(5,2)", Type::Decimal, "\"1.239\""),
            ("decimal(5,2)", Type::Decimal, "\"1e1\""),
            ("float", Type::Number, "16777217.0"),
            ("double", Type::Number, "9007199254740993"),
            ("double(10,2)", Type::Number, "1.234"),
            ("int(11)", Type::Integer, "1.5"),
            ("int(11)", Type::Integer, "\"12\""),
            ("year(4)", Type::Integer, "70"),
            ("datetime", Type::Timestamp, "\"2024-01-01T00:00:00.5\""),
            ("time(2)", Type::Time, "\"00:00:00.125\""),
            ("time", Type::Time, "\"839:00:00\""),
            ("varchar(2)", Type::Text, "\"a  \""),
            ("char(5)", Type::Text, "\"a \""),
            ("binary(4)", Type::Bytes, "\"YQ==\""),
            ("enum('a','b')", Type::Text, "\"2\""),
            ("enum('a','b')", Type::Text, "\"A\""),
            ("set('a','b')", Type::Text, "\"3\""),
            ("text", Type::Text, "true"),
            ("text", Type::Text, "5"),
            ("date", Type::Date, "\"tomorrow\""),
        ];
        for (declared, of, json) in odd {
            assert!(stored(declared, of, json).is_err(), "{json} in {declared}");
        }
    }

    #[test]
    fn what_fits_is_stored_as_it_is() {
        assert_eq!(
            stored("decimal(5,2)", Type::Decimal, "\"1.5000\""),
            Ok(Value::Text("1.5000".into()))
        );
        assert_eq!(stored("float", Type::Number, "0.1"), Ok(Value::Double(0.1)));
        assert_eq!(
            stored("bigint", Type::Integer, "18446744073709551615"),
            Ok(Value::Unsigned(u64::MAX))
        );
        assert_eq!(stored("set('a','b')", Type::Text, "\"a,b\""), Ok(Value::Text("a,b".into())));
        assert_eq!(stored("json", Type::Json, "\"a\""), Ok(Value::Text("\"a\"".into())));
        assert_eq!(stored("char(5)", Type::Text, "null"), Ok(Value::Null));
    }
}
