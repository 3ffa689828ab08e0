//! Schemas in the words that all targets know.

use serde_json::{Map, Value, json};

use crate::wire;

/// Every type a value can have.
const ANY: [&str; 7] = ["string", "number", "integer", "array", "object", "boolean", "null"];

/// The schema of a stream's records: the chosen properties of a store's.
pub(super) fn stream(native: &Value, key: &[String], chosen: impl Fn(&str) -> bool) -> Value {
    let mut properties = Map::new();
    for (name, schema) in native.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        if chosen(name) {
            properties.insert(name.clone(), property(schema, !key.contains(name)));
        }
    }
    let required: Vec<&String> = key.iter().filter(|name| properties.contains_key(*name)).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The schema of one property.
fn property(native: &Value, nullable: bool) -> Value {
    let text = |member: &str| native.get(member).and_then(Value::as_str);
    let format = text("format");
    let of = |name: &str| if nullable { json!(["null", name]) } else { json!([name]) };
    let mut schema = match (wire::one_type(native), format) {
        (Some("string"), Some("decimal")) => json!({"type": of("number")}),
        (Some("string"), Some("timestamp")) => {
            json!({"type": of("string"), "format": "date-time"})
        }
        (Some("string"), Some(format @ ("date" | "date-time" | "uuid"))) => {
            json!({"type": of("string"), "format": format})
        }
        (Some("string"), _) if text("contentEncoding") == Some("base64") => {
            json!({"type": of("string"), "contentEncoding": "base64"})
        }
        (Some("array"), _) => {
            let items = native.get("items").map_or(json!({"type": ANY}), |of| property(of, true));
            json!({"type": of("array"), "items": items})
        }
        (Some("object"), _) => match native.get("properties").and_then(Value::as_object) {
            Some(members) => {
                let members = members.iter().map(|(name, of)| (name.clone(), property(of, true)));
                json!({"type": of("object"), "properties": members.collect::<Map<_, _>>()})
            }
            None => json!({"type": of("object")}),
        },
        (Some(name), _) => json!({"type": of(name)}),
        (None, _) => json!({"type": ANY}),
    };
    if let Some(description) = text("description") {
        schema["description"] = description.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_numbers_without_bounds_and_only_keys_are_never_null() {
        let native = json!({"type": "object", "properties": {
            "id": {"type": "integer"},
            "price": {"type": "string", "format": "decimal"},
            "at": {"type": "string", "format": "timestamp"},
            "daily": {"type": "string", "format": "time"},
            "any": {},
            "list": {"type": "array", "items": {"type": "number", "nonFinite": ["NaN"]}},
        }});
        let key = ["id".to_owned()];
        assert_eq!(
            stream(&native, &key, |name| name != "daily"),
            json!({"type": "object", "required": ["id"], "properties": {
                "id": {"type": ["integer"]},
                "price": {"type": ["null", "number"]},
                "at": {"type": ["null", "string"], "format": "date-time"},
                "any": {"type": ANY},
                "list": {"type": ["null", "array"], "items": {"type": ["null", "number"]}},
            }})
        );
        let without = stream(&native, &key, |name| name == "daily");
        assert_eq!(without["properties"]["daily"], json!({"type": ["null", "string"]}));
        assert!(without.get("required").is_none(), "what is not chosen is not required");
    }
}
