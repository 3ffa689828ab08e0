//! From what is known of a subject to a condition: text becomes a value of the column's type, or
//! matches nothing, and never something else.
//!
//! Text is equal by code points, whatever the collation, except where the type itself says
//! otherwise: `citext` does not look at case, `char(n)` not at blanks at the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use protocol::fault::Fault;
use protocol::message::Matching;
use protocol::silo::{Known, Subject};
use protocol::sql::statement::Statement;
use protocol::sql::types::Type;
use protocol::{Result, log};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type as Wire, to_sql_checked};

use crate::catalog::ColumnWay;
use crate::config::Settings;
use crate::fault::explain;
use crate::sql::{POSTGRES, spelled};
use crate::table::Rows;
use crate::types::{Ask, Compare};

/// The value of a parameter, as text that the server reads as its type.
#[derive(Debug, Clone)]
pub(crate) struct Parameter(pub(crate) String);

impl ToSql for Parameter {
    fn to_sql(
        &self,
        _: &Wire,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Wire) -> bool {
        true
    }

    fn encode_format(&self, _: &Wire) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The condition that a row is one of the subject's; `None` where none can be.
pub(crate) async fn condition(
    settings: &Settings,
    client: &Client,
    rows: &Rows<'_>,
    subject: &Subject,
    statement: &mut Statement<Parameter>,
) -> Result<Option<String>> {
    let mut conditions = Vec::new();
    for known in &subject.identifiers {
        let (Some(column), Some(way)) =
            (rows.table.column(&known.property), rows.way(&known.property))
        else {
            return Err(Fault::config(format!("there is no column `{}`", known.property)).into());
        };
        if !way.readable {
            return Err(Fault::config(format!(
                "the role may not read the column `{}`",
                column.name
            ))
            .into());
        }
        let found = match comparison(&column.name, way, known) {
            Some(found) if possible(settings, client, &found).await? => found,
            _ => {
                log::info(format_args!(
                    "{}: the identifier cannot be a value of `{}` ({}) and matches nothing",
                    rows.table.id, column.name, column.declared
                ));
                continue;
            }
        };
        let parameter = statement.bind(&POSTGRES, Parameter(found.value));
        conditions.push((found.condition)(&format!("{parameter}::{}", found.of)));
    }
    Ok((!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR "))))
}

/// How a column is compared with one value.
struct Comparison {
    /// The value's type.
    of: String,
    value: String,
    /// The condition, given the parameter.
    condition: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Whether the server may still refuse the value.
    doubtful: bool,
}

/// The comparison, or `None` where the text is no value of the column's type.
fn comparison(name: &str, way: &ColumnWay, known: &Known) -> Option<Comparison> {
    let name = format!("t.{}", POSTGRES.name(name));
    let text = known.value.as_str();
    // The server has no such character.
    if text.contains('\0') {
        return None;
    }
    let exact = known.matching == Matching::Exact;
    let plain = |of: &str,
                 value: String,
                 doubtful: bool,
                 condition: Box<dyn Fn(&str) -> String + Send + Sync>| {
        Some(Comparison { of: of.to_owned(), value, condition, doubtful })
    };
    // Where the server's encoding lacks a character, it refuses it.
    let odd = !text.is_ascii();
    let by_text = move |name: String| -> Box<dyn Fn(&str) -> String + Send + Sync> {
        Box::new(move |value| format!("({}) COLLATE \"C\" = {value}", spelled(&name)))
    };
    if way.resolved.ask == Ask::Numeric {
        let equal = move |value: &str| format!("{name}::pg_catalog.numeric = {value}");
        return number(text)
            .then(|| plain("pg_catalog.numeric", text.to_owned(), true, Box::new(equal)))?;
    }
    match &way.resolved.compare {
        Compare::Text => {
            let loose = way.loose && exact;
            let equal = move |value: &str| match loose {
                true => format!("({name} = {value} AND {name} COLLATE \"C\" = {value})"),
                false => format!("{name} = {value}"),
            };
            plain("pg_catalog.text", text.to_owned(), odd, Box::new(equal))
        }
        Compare::Padded => {
            let loose = way.loose && exact;
            let equal = move |value: &str| match loose {
                true => format!("({name} = {value} AND {name} COLLATE \"C\" = {value})"),
                false => format!("{name} = {value}"),
            };
            plain("pg_catalog.bpchar", text.to_owned(), odd, Box::new(equal))
        }
        Compare::Citext(schema) => {
            let schema = POSTGRES.name(schema);
            let of = format!("{schema}.citext");
            let equal = move |value: &str| format!("{name} OPERATOR({schema}.=) {value}");
            plain(&of, text.to_owned(), odd, Box::new(equal))
        }
        // One month equals thirty days there.
        Compare::Builtin("interval") | Compare::Spelled => {
            plain("pg_catalog.text", text.to_owned(), odd, by_text(name))
        }
        Compare::Builtin("name") => plain(
            "pg_catalog.text",
            text.to_owned(),
            odd,
            Box::new(move |value| format!("{name} = {value}")),
        ),
        Compare::Builtin(of) => {
            let (value, doubtful) = value(of, &way.resolved.of, text)?;
            let of = format!("pg_catalog.{of}");
            plain(&of, value, doubtful, Box::new(move |value| format!("{name} = {value}")))
        }
    }
}

/// The text as the server reads it as a value of a built-in type, and whether it may yet refuse it.
fn value(name: &str, of: &Type, text: &str) -> Option<(String, bool)> {
    let sure = |ok: bool| ok.then(|| (text.to_owned(), false));
    let doubtful = |ok: bool| ok.then(|| (text.to_owned(), true));
    match name {
        "bool" => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(("true".to_owned(), false)),
            "false" | "f" | "0" => Some(("false".to_owned(), false)),
            _ => None,
        },
        "int2" => sure(text.parse::<i16>().is_ok()),
        "int4" => sure(text.parse::<i32>().is_ok()),
        "int8" => sure(text.parse::<i64>().is_ok()),
        "oid" => sure(text.parse::<u32>().is_ok()),
        "xid8" => sure(text.parse::<u64>().is_ok()),
        "float4" | "float8" => doubtful(number(text)),
        "numeric" => doubtful(number(text)),
        "bytea" => {
            let bytes = BASE64.decode(text).ok()?;
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some((format!("\\x{digits}"), false))
        }
        "uuid" => {
            let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
            sure(
                digits == 32
                    && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
                    && (text.len() == 32
                        || (text.len() == 36
                            && [8, 13, 18, 23]
                                .iter()
                                .all(|&place| text.as_bytes()[place] == b'-'))),
            )
        }
        _ => doubtful(match of {
            Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant => {
                moment(of, text)
            }
            _ => text.trim() == text && !text.is_empty(),
        }),
    }
}

/// Whether a text is a number: digits, a point, an exponent, or one of the words for what is none.
fn number(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// Whether a text is a date or time of just that type. The server would take words such as
/// `today`, and would drop what a type has no place for.
fn moment(of: &Type, text: &str) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        return !matches!(of, Type::Time | Type::TimeTz);
    }
    let fraction = text
        .split_once('.')
        .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    if !text.starts_with(|c: char| c.is_ascii_digit()) || fraction > 6 {
        return false;
    }
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) if clock != "BC" => (Some(date), Some(clock)),
        Some((date, _)) => (Some(date), None),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let zoned = clock.is_some_and(|clock| clock.contains(['Z', '+', '-']));
    match of {
        Type::Date => clock.is_none(),
        Type::Time => date.is_none() && !zoned,
        Type::TimeTz => date.is_none() && zoned,
        Type::Timestamp => date.is_some() && !zoned,
        _ => date.is_some(),
    }
}

/// Whether the server takes the text for a value of the type.
async fn possible(settings: &Settings, client: &Client, found: &Comparison) -> Result<bool> {
    if !found.doubtful {
        return Ok(true);
    }
    let text = format!("SELECT $1::{} IS NULL", found.of);
    let asked = client.query(&text, &[&Parameter(found.value.clone())]).await;
    let Err(error) = asked else { return Ok(true) };
    let refused = error.code().is_some_and(|code| {
        code.code().starts_with("22") || *code == SqlState::UNTRANSLATABLE_CHARACTER
    });
    if !refused {
        return Err(explain(settings, error));
    }
    client.batch_execute("ROLLBACK TO clean").await.map_err(|error| explain(settings, error))?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_the_server_would_bend_into_a_value_is_none() {
        for (name, of, texts) in [
            ("int4", Type::Integer, &[" 5", "5 ", "5.0", "0x5", "1_0", "99999999999", ""][..]),
            ("bool", Type::Boolean, &["yes", "on", " true", "2"]),
            ("numeric", Type::Decimal, &["1 ", "one", "", "nan "]),
            (
                "uuid",
                Type::Uuid,
                &[
                    "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
                    "a0eebc99",
                    "a0eebc999c0b-4ef8-bb6d-6bb9bd380a11-",
                ],
            ),
            ("date", Type::Date, &["today", "2024-01-01 10:00", "now", " 2024-01-01"]),
            ("time", Type::Time, &["2024-01-01 10:00", "10:00+05", "allballs"]),
            (
                "timestamp",
                Type::Timestamp,
                &["2024-01-01T00:00:00Z", "2024-01-01 00:00:00+05", "2024-01-01T00:00:00.1234567"],
            ),
            ("timestamptz", Type::Instant, &["tomorrow", "10:00"]),
        ] {
            for text in texts {
                assert!(value(name, &of, text).is_none(), "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn values_as_records_spell_them_are_taken() {
        for (name, of, text) in [
            ("int8", Type::Integer, "-9223372036854775808"),
            ("bool", Type::Boolean, "True"),
            ("numeric", Type::Decimal, "-0.00123"),
            ("float8", Type::Number, "1e-7"),
            ("uuid", Type::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
            ("date", Type::Date, "0044-03-15 BC"),
            ("time", Type::Time, "24:00:00"),
            ("timetz", Type::TimeTz, "13:05:00.25+02:00"),
            ("timestamp", Type::Timestamp, "2024-02-29T13:05:00.25"),
            ("timestamptz", Type::Instant, "2024-02-29T13:05:00.25Z"),
            ("timestamptz", Type::Instant, "-infinity"),
            ("bytea", Type::Bytes, "AAEC"),
        ] {
            assert!(value(name, &of, text).is_some(), "{name}: {text:?}");
        }
    }
}
