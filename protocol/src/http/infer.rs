//! A schema made from a sample, where a vendor publishes none.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The JSON Schema of records like these: each property with one plain `type`, or none where the
/// sample has several or only null.
pub fn infer<'r>(records: impl IntoIterator<Item = &'r RawValue>) -> Value {
    let mut properties: Map<String, Value> = Map::new();
    for record in records {
        let Ok(Value::Object(members)) = serde_json::from_str(record.get()) else { continue };
        for (name, value) in members {
            let known = properties.entry(name).or_insert(Value::Null);
            let Some(kind) = kind(&value) else { continue };
            let together = match known.as_str() {
                None => kind,
                Some(known) if known == kind => continue,
                Some("integer" | "number") if matches!(kind, "integer" | "number") => "number",
                Some(_) => "any",
            };
            *known = together.into();
        }
    }
    for (_, property) in &mut properties {
        *property = match property.as_str() {
            None | Some("any") => json!({}),
            Some(kind) => json!({ "type": kind }),
        };
    }
    json!({ "type": "object", "properties": properties })
}

fn kind(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_has_the_one_type_that_all_its_values_have() {
        let records = [
            r#"{"a":1,"b":"x","c":null,"d":1,"e":[],"g":true}"#,
            r#"{"a":1.5,"b":null,"d":"x","f":{},"g":false}"#,
            r#"{"d":2}"#,
        ];
        let records: Vec<_> =
            records.iter().map(|text| serde_json::from_str::<&RawValue>(text).unwrap()).collect();
        assert_eq!(
            infer(records)["properties"],
            json!({
                "a": {"type": "number"}, "b": {"type": "string"}, "c": {}, "d": {},
                "e": {"type": "array"}, "g": {"type": "boolean"}, "f": {"type": "object"}
            })
        );
    }
}
