//! Types and values: what the catalog's names mean, what a value's text becomes in JSON, and what
//! an identifier's text becomes on the way in.

use std::borrow::Cow;

use connector_postgres::family::value;
use protocol::json::{Json, members};
use protocol::output::Output;
use protocol::sql::catalog::Column;
use protocol::sql::types::Type;
use protocol::{Context, Result, bail};
use tokio_postgres::SimpleQueryRow;

use crate::connection::field;
use crate::sql::{digits, is_single};

/// What a type of the catalog is to us, and whether it is one that is known.
pub(crate) fn of(declared: &str) -> (Type, bool) {
    let of = match declared.split('(').next().unwrap_or(declared).trim_end() {
        "smallint" | "integer" | "bigint" | "int2" | "int" | "int4" | "int8" | "tinyint" => {
            Type::Integer
        }
        "numeric" | "decimal" => Type::Decimal,
        "real" | "float4" | "double precision" | "float8" | "double" | "float" => Type::Number,
        "boolean" | "bool" => Type::Boolean,
        "character varying" | "character" | "varchar" | "char" | "bpchar" | "text" | "string"
        | "name" | "\"char\"" => Type::Text,
        "date" => Type::Date,
        "time without time zone" | "time" => Type::Time,
        "time with time zone" | "timetz" => Type::TimeTz,
        "timestamp without time zone" | "timestamp" => Type::Timestamp,
        "timestamp with time zone" | "timestamptz" => Type::Instant,
        "binary varying" | "varbyte" | "varbinary" | "binary" => Type::Bytes,
        "super" => Type::Json,
        "geometry"
        | "geography"
        | "hllsketch"
        | "interval year to month"
        | "interval day to second" => Type::Other,
        _ => return (Type::Other, false),
    };
    (of, true)
}

/// Writes rows as objects of some columns.
pub(crate) struct Objects<'t>(Vec<(Vec<u8>, &'t Column)>);

impl<'t> Objects<'t> {
    pub(crate) fn of(columns: &[&'t Column]) -> Objects<'t> {
        let keys = members(columns.iter().map(|column| column.name.as_str()));
        Objects(keys.zip(columns.iter().copied()).collect())
    }

    /// Pushes a row whose first fields are the columns.
    pub(crate) fn push(&self, row: &SimpleQueryRow, out: &mut Output) -> Result<()> {
        out.row(|json| {
            for (place, (before, column)) in self.0.iter().enumerate() {
                json.raw(before);
                match field(row, place)? {
                    None => json.null(),
                    Some(text) => write(column, text, json)?,
                }
            }
            json.raw(if self.0.is_empty() { b"{}" } else { b"}" });
            Ok(())
        })
    }
}

/// Writes a value that the server spelled.
fn write(column: &Column, text: &str, json: &mut Json<'_>) -> Result<()> {
    match column.of {
        Type::Integer => json.integer(text.parse::<i64>().with_context(|| strange(column))?),
        Type::Decimal if is_decimal(text) => json.decimal(text.as_bytes()),
        Type::Decimal => match text {
            "NaN" => json.non_finite(true, false),
            _ => bail!(strange(column)),
        },
        Type::Number => {
            let number: f64 = text.parse().with_context(|| strange(column))?;
            match is_single(column) {
                // It was asked for with the digits of a double.
                true => json.float32(number as f32),
                false => json.float(number),
            }
        }
        Type::Boolean => match text {
            "t" | "true" => json.boolean(true),
            "f" | "false" => json.boolean(false),
            _ => bail!(strange(column)),
        },
        Type::Bytes => json.base64(&bytes(text).with_context(|| strange(column))?),
        Type::TimeTz => json.text(&zoned(text)),
        Type::Timestamp => json.text(&text.replacen(' ', "T", 1)),
        Type::Instant => {
            let (moment, before) = match text.strip_suffix(" BC") {
                Some(moment) => (moment, " BC"),
                None => (text, ""),
            };
            // The session is in UTC.
            match moment.strip_suffix("+00") {
                Some(moment) => json.text(&format!("{}Z{before}", moment.replacen(' ', "T", 1))),
                None => json.text(&text.replacen(' ', "T", 1)),
            }
        }
        Type::Json => document(text, json),
        _ => json.text(text),
    }
    Ok(())
}

/// Names the column, and not what is in it.
fn strange(column: &Column) -> String {
    format!("a value of `{}` is not spelled as {} is", column.name, column.declared)
}

/// Whether a text is digits, with a sign and a point at most.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction)
}

/// The bytes that hexadecimal digits are.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x").unwrap_or(text).as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? * 16 + digit(low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect()).flatten()
}

/// A time whose offset has its minutes: `13:05:00+02` has none.
fn zoned(text: &str) -> Cow<'_, str> {
    match text.rfind(['+', '-']) {
        Some(place) if text.len() - place == 3 => format!("{text}:00").into(),
        _ => text.into(),
    }
}

/// A document on one line: within its strings there are no line breaks.
fn document(text: &str, json: &mut Json<'_>) {
    match text.contains(['\n', '\r']) {
        true => json.raw(text.replace(['\n', '\r'], " ").as_bytes()),
        false => json.raw(text.as_bytes()),
    }
}

/// Whether the server may take two values for equal that it spelled so: texts that differ by case or
/// by blanks at their ends, and zeros.
pub(crate) fn alike(column: &Column, one: &str, other: &str) -> bool {
    let plain = |text: &str| text.trim_end().to_lowercase();
    match column.of {
        Type::Text => plain(one) == plain(other),
        Type::Number => one.parse::<f64>().ok() == other.parse::<f64>().ok(),
        _ => one == other,
    }
}

/// The value of a column that an identifier's text is spelled like, as a parameter; `None` where no
/// value can be.
pub(crate) fn identifier(column: &Column, text: &str) -> Option<String> {
    // No date is without an end here, and none is later than a time stamp can be.
    let dated = matches!(column.of, Type::Date | Type::Timestamp | Type::Instant);
    let late = column.of == Type::Date && {
        let stamp = Column::new("", "", Type::Timestamp);
        value(&stamp, text).is_none()
    };
    if (dated && text.ends_with("infinity")) || late {
        return None;
    }
    let value = value(column, text)?;
    match column.of {
        Type::Decimal => decimal(column, &value).then_some(value),
        Type::Bytes => value.strip_prefix("\\x").map(str::to_owned),
        Type::Timestamp | Type::Instant => Some(value.replacen('T', " ", 1).replace('Z', "+00")),
        _ => Some(value),
    }
}

/// Whether a column has room for all digits of a decimal. The server would round what it has none
/// for.
fn decimal(column: &Column, text: &str) -> bool {
    let Some((all, scale)) = digits(column) else { return false };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !is_decimal(unsigned) {
        return false;
    }
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let room = |digits: &str, room: u32| digits.len() <= usize::try_from(room).unwrap_or(0);
    room(whole.trim_start_matches('0'), all.saturating_sub(scale))
        && room(fraction.trim_end_matches('0'), scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::json::Spelling;

    fn written(declared: &str, text: &str) -> String {
        let (of, known) = of(declared);
        assert!(known, "{declared}");
        let mut out = Vec::new();
        let mut json = Json::new(&mut out, Spelling::NATIVE);
        write(&Column::new("c", declared, of), text, &mut json).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_spelled_as_the_protocol_spells_them() {
        for (declared, text, json) in [
            ("bigint", "-9223372036854775808", "-9223372036854775808"),
            (
                "numeric(38,2)",
                "123456789012345678901234567890.10",
                "\"123456789012345678901234567890.10\"",
            ),
            ("real", "0.10000000149011612", "0.1"),
            ("double precision", "0.10000000000000001", "0.1"),
            ("double precision", "-Infinity", "\"-Infinity\""),
            ("boolean", "t", "true"),
            ("character(3)", "a  ", "\"a  \""),
            ("date", "2024-02-29", "\"2024-02-29\""),
            ("time without time zone", "13:05:00.25", "\"13:05:00.25\""),
            ("time with time zone", "13:05:00.25-01", "\"13:05:00.25-01:00\""),
            ("time with time zone", "13:05:00+05:30", "\"13:05:00+05:30\""),
            ("timestamp without time zone", "2024-02-29 13:05:00", "\"2024-02-29T13:05:00\""),
            (
                "timestamp with time zone",
                "2024-02-29 13:05:00.25+00",
                "\"2024-02-29T13:05:00.25Z\"",
            ),
            (
                "timestamp with time zone",
                "0044-03-15 00:00:00+00 BC",
                "\"0044-03-15T00:00:00Z BC\"",
            ),
            ("super", "{\"a\":\n[1,2.50]}", "{\"a\": [1,2.50]}"),
            ("binary varying(10)", "00fF10", "\"AP8Q\""),
            ("hllsketch", "{\"logm\":15}", "\"{\\\"logm\\\":15}\""),
        ] {
            assert_eq!(written(declared, text), json, "{declared}");
        }
    }

    #[test]
    fn a_type_that_is_not_known_is_read_as_text_and_known_to_be_so() {
        assert_eq!(of("struct<a:int>"), (Type::Other, false));
        assert_eq!(of("varchar(20)"), (Type::Text, true));
    }

    #[test]
    fn what_the_server_may_take_for_equal_is_one_place_in_an_order() {
        let column = |declared: &str| Column::new("c", declared, of(declared).0);
        let text = column("character varying(60)");
        assert!(alike(&text, "Ada ", "aDA") && !alike(&text, "ada", "adb"));
        assert!(alike(&column("real"), "-0", "0") && !alike(&column("real"), "0", "1"));
        assert!(alike(&column("bigint"), "7", "7") && !alike(&column("bigint"), "7", "8"));
    }

    #[test]
    fn an_identifier_that_the_server_would_round_or_refuse_matches_nothing() {
        let column = |declared: &str| Column::new("c", declared, of(declared).0);
        for (declared, text) in [
            ("numeric(12,2)", "1.005"),
            ("numeric(12,2)", "12345678901"),
            ("numeric(12,2)", "1e3"),
            ("numeric(12,2)", "NaN"),
            ("integer", "1.0"),
            ("date", "infinity"),
            ("date", "300000-01-01"),
            ("boolean", "yes"),
            ("binary varying(10)", "zz"),
        ] {
            assert_eq!(identifier(&column(declared), text), None, "{declared} {text}");
        }
        for (declared, text, sent) in [
            ("numeric(12,2)", "-0.500", "-0.500"),
            ("timestamp with time zone", "2024-02-29T13:05:00Z", "2024-02-29 13:05:00+00"),
            ("binary varying(10)", "AP8Q", "00ff10"),
            ("character varying(60)", "it's \\ a", "it's \\ a"),
        ] {
            assert_eq!(identifier(&column(declared), text).as_deref(), Some(sent), "{declared}");
        }
    }
}
