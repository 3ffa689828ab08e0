//! From what is known of a subject to a condition: text becomes a value of the column's type, or
//! matches nothing, and never something else.
//!
//! Text is equal by code points, whatever the collation, except where the type itself says
//! otherwise: `citext` does not look at case, `char(n)` not at blanks at the end.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use protocol::message::Matching;
use protocol::sql::catalog::Column;
use protocol::sql::dialect::{ANSI, Dialect};
use protocol::sql::types::Type;
use tokio_postgres::types::{Format, IsNull, ToSql, Type as Wire, to_sql_checked};

use crate::catalog::CITEXT;
use crate::moment;

/// PostgreSQL's dialect.
pub(crate) const POSTGRES: Dialect = Dialect { placeholder: |n| format!("${n}"), equals, ..ANSI };

/// The value of a parameter, as text that the server reads as a value of the type that the
/// parameter has where it stands; `None` is null.
#[derive(Debug, Clone)]
pub struct Parameter(pub(crate) Option<String>);

impl Parameter {
    pub(crate) fn of(text: impl Into<String>) -> Parameter {
        Parameter(Some(text.into()))
    }
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        _: &Wire,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
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

/// How the values of a column are compared with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// By the type's own equality, which is that of code points for text.
    Own,
    /// By the type's own equality under a collation that may take different texts for equal.
    Loose,
    /// As whole numbers of whatever size.
    Whole,
    /// As exact decimals.
    Exact,
    /// As text without its case.
    Caseless,
    /// By the text of the value, because the type has no equality or one that is not of values: a
    /// month equals thirty days there.
    Spelled,
}

fn comparison(column: &Column) -> Comparison {
    match &column.of {
        Type::Text if column.declared == CITEXT => Comparison::Caseless,
        Type::Text if column.collation.is_some() => Comparison::Loose,
        Type::Integer => match column.declared.as_str() {
            "oid" | "xid" | "cid" | "xid8" => Comparison::Spelled,
            _ => Comparison::Whole,
        },
        Type::Decimal if column.declared == "money" => Comparison::Exact,
        Type::Boolean
        | Type::Number
        | Type::Decimal
        | Type::Text
        | Type::Bytes
        | Type::Date
        | Type::Time
        | Type::TimeTz
        | Type::Timestamp
        | Type::Instant
        | Type::Uuid => Comparison::Own,
        Type::Other if is_address(column) => Comparison::Own,
        Type::Json | Type::Array(_) | Type::Any | Type::Other => Comparison::Spelled,
    }
}

fn is_address(column: &Column) -> bool {
    matches!(column.declared.as_str(), "inet" | "cidr" | "macaddr" | "macaddr8")
}

fn equals(column: &Column, name: &str, parameter: &str, matching: Matching) -> String {
    match comparison(column) {
        Comparison::Loose if matching == Matching::Exact => {
            // The first finds by an index, the second is exact.
            format!("({name} = {parameter} AND {name} COLLATE \"C\" = {parameter})")
        }
        Comparison::Own | Comparison::Loose => format!("{name} = {parameter}"),
        Comparison::Whole => format!("{name} = {parameter}::pg_catalog.int8"),
        Comparison::Exact => format!("{name}::pg_catalog.numeric = {parameter}"),
        Comparison::Caseless => {
            format!("lower({name}::pg_catalog.text) = lower({parameter}::pg_catalog.text)")
        }
        Comparison::Spelled => format!("({}) COLLATE \"C\" = {parameter}", spelled(name)),
    }
}

/// The text of a value. A cast to text could be one that the type's owner made, and is not how the
/// server spells every type; `format` has the type's own output function.
pub(crate) fn spelled(name: &str) -> String {
    format!("CASE WHEN num_nulls({name}) = 0 THEN format('%s', {name}) END")
}

/// The value of a column that a text is spelled like, or `None`. What the server would bend into a
/// value, such as blanks, `today`, or a time for a date, is none.
pub(crate) fn convert(column: &Column, text: &str) -> Option<Parameter> {
    // The server has no such character.
    if text.contains('\0') {
        return None;
    }
    let given = || Parameter::of(text);
    match (&column.of, comparison(column)) {
        (Type::Text, _) if !column.values.is_empty() => {
            column.values.iter().any(|label| label == text).then(given)
        }
        (Type::Text, _) | (_, Comparison::Spelled) => Some(given()),
        (Type::Boolean, _) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(Parameter::of("true")),
            "false" | "f" | "0" => Some(Parameter::of("false")),
            _ => None,
        },
        (Type::Integer, _) => text.parse::<i64>().ok().map(|_| given()),
        (Type::Number, _) => float(column, text).then(given),
        (Type::Decimal, _) => decimal(text).then(given),
        (Type::Bytes, _) => BASE64.decode(text).ok().map(|bytes| Parameter::of(hex(&bytes))),
        (Type::Uuid, _) => uuid(text).then(given),
        (Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::Instant, _) => {
            moment::is(&column.of, text).then(given)
        }
        _ => address(text).then(given),
    }
}

/// The text of the value that `convert` makes of a text, as the server reads it.
pub fn value(column: &Column, text: &str) -> Option<String> {
    convert(column, text).and_then(|parameter| parameter.0)
}

/// Bytes as the server reads them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\x{digits}")
}

/// Whether a text is a float that the column's type has room for.
fn float(column: &Column, text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    if !digits(text) {
        return false;
    }
    let written = text.split(['e', 'E']).next().unwrap_or(text);
    let zero = !written.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    // The server refuses what would become infinite, or nothing.
    let fits = |finite: bool, nothing: bool| finite && (zero || !nothing);
    if column.declared == "real" {
        text.parse::<f32>().is_ok_and(|n| fits(n.is_finite(), n == 0.0))
    } else {
        text.parse::<f64>().is_ok_and(|n| fits(n.is_finite(), n == 0.0))
    }
}

/// Whether a text is an exact decimal of a size that any column could hold.
fn decimal(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let exponent = text.split_once(['e', 'E']).map_or("0", |(_, exponent)| exponent);
    digits(text)
        && text.len() <= 16_384
        && exponent.parse::<i32>().is_ok_and(|exponent| (-10_000..=10_000).contains(&exponent))
}

/// Whether a text is a number as JSON and SQL have it: digits, a point, an exponent.
fn digits(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    all(whole)
        && all(fraction)
        && whole.len() + fraction.len() > 0
        && all(exponent)
        && !exponent.is_empty()
}

/// Whether a text is a UUID, with all its hyphens or none.
fn uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hyphens = [8, 13, 18, 23];
    match bytes.len() {
        32 => bytes.iter().all(u8::is_ascii_hexdigit),
        36 => bytes.iter().enumerate().all(|(place, byte)| match hyphens.contains(&place) {
            true => *byte == b'-',
            false => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    }
}

/// Whether a text is an address of a network or of a device.
fn address(text: &str) -> bool {
    let pairs: Vec<&str> = text.split(':').collect();
    let device = matches!(pairs.len(), 6 | 8)
        && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
    let (host, prefix) = text.split_once('/').unwrap_or((text, "0"));
    let network = host.parse::<IpAddr>().is_ok_and(|address| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most)
    });
    device || network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(declared: &str, of: Type, text: &str) -> bool {
        convert(&Column::new("c", declared, of), text).is_some()
    }

    #[test]
    fn text_that_the_server_would_bend_into_a_value_is_none() {
        for (declared, of, texts) in [
            ("integer", Type::Integer, &[" 5", "5 ", "5.0", "0x5", "1_0", "", "5\0"][..]),
            ("boolean", Type::Boolean, &["yes", "on", " true", "2"]),
            ("numeric", Type::Decimal, &["1 ", "one", "", ".", "nan", "1e", "1e99999", "--1"]),
            ("real", Type::Number, &["1e300", "1e-300", "1x", "inf"]),
            (
                "uuid",
                Type::Uuid,
                &[
                    "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
                    "a0eebc99",
                    "a0eebc999c0b-4ef8-bb6d-6bb9bd380a11-",
                ],
            ),
            ("inet", Type::Other, &["10.0.0.1/33", "10.0.0", "somewhere", " 10.0.0.1"]),
            ("bytea", Type::Bytes, &["\\x00", "AAE"]),
            ("text", Type::Text, &["a\0"]),
        ] {
            for text in texts {
                assert!(!taken(declared, of.clone(), text), "{declared}: {text:?}");
            }
        }
    }

    #[test]
    fn values_as_records_spell_them_are_taken() {
        for (declared, of, text) in [
            ("bigint", Type::Integer, "-9223372036854775808"),
            ("boolean", Type::Boolean, "True"),
            ("numeric", Type::Decimal, "-0.00123"),
            ("numeric", Type::Decimal, "NaN"),
            ("double precision", Type::Number, "1e-7"),
            ("double precision", Type::Number, "0e-999"),
            ("uuid", Type::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
            ("inet", Type::Other, "10.0.0.0/8"),
            ("inet", Type::Other, "::1"),
            ("macaddr", Type::Other, "08:00:2b:01:02:ff"),
            ("int4range", Type::Other, "[1,5)"),
            ("bytea", Type::Bytes, "AAEC"),
        ] {
            assert!(taken(declared, of, text), "{declared}: {text:?}");
        }
    }

    #[test]
    fn of_an_enumeration_only_its_labels_are_values() {
        let mood =
            Column { values: vec!["sad".to_owned()], ..Column::new("c", "mood", Type::Text) };
        assert!(convert(&mood, "sad").is_some());
        assert!(convert(&mood, "glad").is_none());
    }

    #[test]
    fn a_collation_of_its_own_does_not_decide_what_is_equal() {
        let column =
            Column { collation: Some("loose".to_owned()), ..Column::new("c", "text", Type::Text) };
        let exact = equals(&column, "c", "$1", Matching::Exact);
        assert!(exact.contains("COLLATE \"C\" = $1"), "{exact}");
        assert_eq!(equals(&column, "c", "$1", Matching::Collation), "c = $1");
    }
}
