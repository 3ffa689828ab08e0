//! PostgreSQL's types: what each is to us, and how its values are asked for and decoded.

use std::collections::HashMap;

use protocol::sql::types::Type;
use tokio_postgres::types::{Kind, Type as Wire};

use crate::catalog::TypeRow;
use crate::decode::Decoder;

/// How the values of a column are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// As they are.
    Plain,
    /// Through the type's own output function, which the type's owner cannot replace by a cast.
    Text,
    /// As `numeric`, because the binary form leaves out what the number means.
    Numeric,
    /// As an array of it.
    Numerics,
}

/// What a column's type comes to.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The type as the protocol knows it.
    pub(crate) of: Type,
    /// How its values are asked for.
    pub(crate) ask: Ask,
    /// How what comes is read.
    pub(crate) decoder: Decoder,
    /// The type below all domains.
    pub(crate) base: u32,
    /// What a domain says of lengths and digits; negative where nothing is said.
    pub(crate) modifier: i64,
    /// How values compare.
    pub(crate) compare: Compare,
    /// The labels of an enumeration.
    pub(crate) labels: Vec<String>,
    /// Whether it is a type this connector knows nothing of.
    pub(crate) foreign: bool,
}

/// How values of a type are put in order and compared with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compare {
    /// By the operators of this built-in type.
    Builtin(&'static str),
    /// Text, by the column's collation.
    Text,
    /// Text padded with blanks, which do not count.
    Padded,
    /// By the operators of the extension `citext`.
    Citext,
    /// By the text of the value.
    Spelled,
}

/// The types of one database.
pub(crate) struct Types(HashMap<u32, TypeRow>);

impl Types {
    pub(crate) fn new(rows: impl IntoIterator<Item = TypeRow>) -> Types {
        Types(rows.into_iter().map(|row| (row.oid, row)).collect())
    }

    /// What a type comes to, for a column declared with so many dimensions.
    pub(crate) fn resolve(&self, oid: u32, dimensions: u32) -> Resolved {
        let Some(row) = self.0.get(&oid) else { return spelled(oid, false) };
        if row.kind == "d" {
            let below = self.resolve(row.base, row.dimensions.max(dimensions));
            let modifier = if row.modifier < 0 { below.modifier } else { row.modifier };
            return Resolved { modifier, ..below };
        }
        if row.kind == "e" {
            return Resolved {
                of: Type::Text,
                ask: Ask::Plain,
                decoder: Decoder::Text,
                base: oid,
                modifier: -1,
                compare: Compare::Spelled,
                labels: row.labels.clone().unwrap_or_default(),
                foreign: false,
            };
        }
        if row.extension.as_deref() == Some("citext") && row.name == "citext" {
            return Resolved {
                compare: Compare::Citext,
                ..builtin(oid, Type::Text, Decoder::Text, Compare::Text)
            };
        }
        if row.element != 0 {
            return self.array(row, dimensions);
        }
        scalar(oid).unwrap_or_else(|| spelled(oid, row.kind == "b" && row.schema != "pg_catalog"))
    }

    fn array(&self, row: &TypeRow, dimensions: u32) -> Resolved {
        let element = self.resolve(row.element, 0);
        let (ask, decoder, of) = match element.ask {
            Ask::Plain => (Ask::Plain, Decoder::Array(Box::new(element.decoder)), element.of),
            Ask::Numeric => (Ask::Numerics, Decoder::Array(Box::new(element.decoder)), element.of),
            Ask::Text | Ask::Numerics => {
                let delimiter = row.delimiter.bytes().next().unwrap_or(b',');
                (Ask::Text, Decoder::Literal(delimiter), element.of)
            }
        };
        let nested = (1..dimensions.max(1)).fold(of, |of, _| Type::Array(Box::new(of)));
        Resolved {
            of: Type::Array(Box::new(nested)),
            ask,
            decoder,
            base: row.oid,
            modifier: element.modifier,
            compare: Compare::Spelled,
            labels: Vec::new(),
            foreign: element.foreign,
        }
    }
}

fn builtin(base: u32, of: Type, decoder: Decoder, compare: Compare) -> Resolved {
    Resolved {
        of,
        ask: Ask::Plain,
        decoder,
        base,
        modifier: -1,
        compare,
        labels: Vec::new(),
        foreign: false,
    }
}

/// A type whose values are read as the server spells them.
fn spelled(base: u32, foreign: bool) -> Resolved {
    Resolved {
        ask: Ask::Text,
        foreign,
        ..builtin(base, Type::Other, Decoder::Text, Compare::Spelled)
    }
}

/// The built-in types that have a decoder of their own.
fn scalar(oid: u32) -> Option<Resolved> {
    use Compare::{Builtin, Padded, Spelled, Text};
    let (of, decoder, compare) = match oid {
        16 => (Type::Boolean, Decoder::Boolean, Builtin("bool")),
        17 => (Type::Bytes, Decoder::Bytes, Builtin("bytea")),
        19 => (Type::Text, Decoder::Text, Builtin("name")),
        20 => (Type::Integer, Decoder::Int8, Builtin("int8")),
        21 => (Type::Integer, Decoder::Int2, Builtin("int2")),
        23 => (Type::Integer, Decoder::Int4, Builtin("int4")),
        25 | 1043 => (Type::Text, Decoder::Text, Text),
        1042 => (Type::Text, Decoder::Text, Padded),
        26 => (Type::Integer, Decoder::Oid, Builtin("oid")),
        28 | 29 => (Type::Integer, Decoder::Oid, Spelled),
        5069 => (Type::Integer, Decoder::Xid8, Builtin("xid8")),
        114 => (Type::Json, Decoder::Json, Spelled),
        3802 => (Type::Json, Decoder::Jsonb, Spelled),
        700 => (Type::Number, Decoder::Float4, Builtin("float4")),
        701 => (Type::Number, Decoder::Float8, Builtin("float8")),
        790 => {
            return Some(Resolved {
                ask: Ask::Numeric,
                ..builtin(oid, Type::Decimal, Decoder::Numeric, Spelled)
            });
        }
        1700 => (Type::Decimal, Decoder::Numeric, Builtin("numeric")),
        1082 => (Type::Date, Decoder::Date, Builtin("date")),
        1083 => (Type::Time, Decoder::Time, Builtin("time")),
        1266 => (Type::TimeTz, Decoder::TimeTz, Builtin("timetz")),
        1114 => (Type::Timestamp, Decoder::Timestamp, Builtin("timestamp")),
        1184 => (Type::Instant, Decoder::Instant, Builtin("timestamptz")),
        1186 => (Type::Other, Decoder::Interval, Builtin("interval")),
        2950 => (Type::Uuid, Decoder::Uuid, Builtin("uuid")),
        650 => (Type::Other, Decoder::Inet, Builtin("inet")),
        869 => (Type::Other, Decoder::Inet, Builtin("inet")),
        829 => (Type::Other, Decoder::Mac, Builtin("macaddr")),
        774 => (Type::Other, Decoder::Mac, Builtin("macaddr8")),
        1560 | 1562 => (Type::Other, Decoder::Bits, Spelled),
        _ => return None,
    };
    Some(builtin(oid, of, decoder, compare))
}

/// How values of a built-in type are read that are not asked for in any special way; `None` where
/// there is no decoder.
pub(crate) fn decoder(of: &Wire) -> Option<Decoder> {
    match of.kind() {
        Kind::Simple => {
            let known = scalar(of.oid()).filter(|resolved| resolved.ask == Ask::Plain);
            known.map(|resolved| resolved.decoder)
        }
        Kind::Array(element) => decoder(element).map(|element| Decoder::Array(Box::new(element))),
        Kind::Enum(_) => Some(Decoder::Text),
        Kind::Domain(base) => decoder(base),
        _ => None,
    }
}
