//! The types of columns, their JSON Schema, and how a value of each is spelled in JSON.
//!
//! | type | JSON Schema | spelling |
//! | --- | --- | --- |
//! | Boolean | boolean | `true` |
//! | Integer | integer | all digits, at any size |
//! | Number | number | shortest form that reads back; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | Decimal | string, `format: decimal` | all digits, trailing zeros too |
//! | Text | string | as it is |
//! | Bytes | string, `contentEncoding: base64` | base64 with padding |
//! | Date | string, `format: date` | `2024-02-29` |
//! | Time | string, `format: time` | `13:05:00.25` |
//! | TimeTz | string, `format: time`, `zone: true` | `13:05:00.25+02:00` |
//! | Timestamp | string, `format: timestamp` | `2024-02-29T13:05:00.25`, no zone |
//! | Instant | string, `format: date-time` | RFC 3339 in UTC: `2024-02-29T11:05:00.25Z` |
//! | Uuid | string, `format: uuid` | lower case with hyphens |
//! | Json | any | the document |
//! | Array | array | elements in their own spelling, null for null |
//! | Any | any | whatever the value is |
//! | Other | string | the database's own text |

use serde_json::{Value, json};

/// The type of a column. Closed: what is not here is `Other`, is read as text, and is said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Boolean,
    /// A whole number of any size.
    Integer,
    /// A binary floating-point number.
    Number,
    /// An exact decimal.
    Decimal,
    /// Characters.
    Text,
    /// Bytes.
    Bytes,
    /// A calendar date.
    Date,
    /// A time of day.
    Time,
    /// A time of day with an offset.
    TimeTz,
    /// A date and time without a zone.
    Timestamp,
    /// A point in time.
    Instant,
    /// A UUID.
    Uuid,
    /// A JSON document.
    Json,
    /// A list of values of one type.
    Array(Box<Type>),
    /// A column that holds values of any type.
    Any,
    /// Any other type, read as text.
    Other,
}

impl Type {
    /// The JSON Schema of a value: one plain `type`, or none where any value may stand.
    pub fn json_schema(&self) -> Value {
        match self {
            Type::Boolean => json!({"type": "boolean"}),
            Type::Integer => json!({"type": "integer"}),
            // A host that knows one type a property is told the usual one; the exceptions stand
            // beside it.
            Type::Number => {
                json!({"type": "number", "nonFinite": ["NaN", "Infinity", "-Infinity"]})
            }
            Type::Decimal => json!({"type": "string", "format": "decimal"}),
            Type::Text | Type::Other => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Type::Date => json!({"type": "string", "format": "date"}),
            Type::Time => json!({"type": "string", "format": "time"}),
            Type::TimeTz => json!({"type": "string", "format": "time", "zone": true}),
            Type::Timestamp => json!({"type": "string", "format": "timestamp"}),
            Type::Instant => json!({"type": "string", "format": "date-time"}),
            Type::Uuid => json!({"type": "string", "format": "uuid"}),
            Type::Json | Type::Any => json!({}),
            Type::Array(element) => json!({"type": "array", "items": element.json_schema()}),
        }
    }

    /// The type whose schema `schema` is, the way back from [`Type::json_schema`], and a sensible
    /// one for schemas of other origin.
    pub fn of_schema(schema: &Value) -> Type {
        let text = |member: &str| schema.get(member).and_then(Value::as_str);
        let name = match schema.get("type") {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(Value::Array(names)) => {
                let mut names = names.iter().filter_map(Value::as_str).filter(|n| *n != "null");
                names.next().filter(|_| names.next().is_none())
            }
            _ => None,
        };
        match (name, text("format")) {
            (Some("boolean"), _) => Type::Boolean,
            (Some("integer"), _) => Type::Integer,
            (Some("number"), _) => Type::Number,
            (Some("string"), _) if text("contentEncoding") == Some("base64") => Type::Bytes,
            (Some("string"), Some("decimal")) => Type::Decimal,
            (Some("string"), Some("date")) => Type::Date,
            (Some("string"), Some("time")) => match schema.get("zone") {
                Some(Value::Bool(true)) => Type::TimeTz,
                _ => Type::Time,
            },
            (Some("string"), Some("timestamp")) => Type::Timestamp,
            (Some("string"), Some("date-time")) => Type::Instant,
            (Some("string"), Some("uuid")) => Type::Uuid,
            (Some("string"), _) => Type::Text,
            (Some("array"), _) => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                Type::Array(Box::new(Type::of_schema(items)))
            }
            (Some("object"), _) => Type::Json,
            _ => Type::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_survives_its_schema() {
        for of in [
            Type::Boolean,
            Type::Integer,
            Type::Number,
            Type::Decimal,
            Type::Text,
            Type::Bytes,
            Type::Date,
            Type::Time,
            Type::TimeTz,
            Type::Timestamp,
            Type::Instant,
            Type::Uuid,
            Type::Array(Box::new(Type::Decimal)),
            Type::Any,
        ] {
            assert_eq!(Type::of_schema(&of.json_schema()), of);
        }
        assert_eq!(Type::of_schema(&json!({"type": ["null", "integer"]})), Type::Integer);
        assert_eq!(Type::of_schema(&json!({"type": ["string", "integer"]})), Type::Any);
        assert_eq!(Type::of_schema(&json!({"type": "object"})), Type::Json);
    }
}
