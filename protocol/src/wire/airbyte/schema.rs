//! Schemas and forms in Airbyte's words.

use serde_json::{Map, Value, json};

use crate::wire;

/// A form as SPEC has it: `airbyte_secret` marks secrets, which are strings, and further members
/// are allowed.
pub(super) fn specification(mut form: Value) -> Value {
    secrets(&mut form);
    form["additionalProperties"] = Value::Bool(true);
    form
}

fn secrets(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            // An object of that name is a field, and only a boolean is the mark.
            if let Some(Value::Bool(secret)) = members.get("secret") {
                let string = members.get("type") == Some(&json!("string"));
                let marked = *secret && string;
                members.shift_remove("secret");
                if marked {
                    members.insert("airbyte_secret".to_owned(), Value::Bool(true));
                }
            }
            members.values_mut().for_each(secrets);
        }
        Value::Array(values) => values.iter_mut().for_each(secrets),
        _ => {}
    }
}

/// The schema of a stream's records.
pub(super) fn stream(native: &Value) -> Value {
    let mut properties = Map::new();
    for (name, schema) in native.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        properties.insert(name.clone(), property(schema));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    })
}

/// The schema of one property, which may always be null.
fn property(native: &Value) -> Value {
    let text = |member: &str| native.get(member).and_then(Value::as_str);
    let mut schema = match (wire::one_type(native), text("format")) {
        (Some("boolean"), _) => json!({"type": ["null", "boolean"]}),
        (Some("integer"), _) => json!({"type": ["null", "integer"]}),
        (Some("number"), _) => json!({"type": ["null", "number"]}),
        (Some("string"), Some("date")) => json!({"type": ["null", "string"], "format": "date"}),
        (Some("string"), Some("timestamp")) => json!({
            "type": ["null", "string"],
            "format": "date-time",
            "airbyte_type": "timestamp_without_timezone",
        }),
        (Some("string"), Some("date-time")) => json!({
            "type": ["null", "string"],
            "format": "date-time",
            "airbyte_type": "timestamp_with_timezone",
        }),
        (Some("string"), _) if text("contentEncoding") == Some("base64") => {
            json!({"type": ["null", "string"], "contentEncoding": "base64"})
        }
        (Some("string"), _) => json!({"type": ["null", "string"]}),
        (Some("array"), _) => match native.get("items") {
            Some(items) => json!({"type": ["null", "array"], "items": property(items)}),
            None => json!({"type": ["null", "array"]}),
        },
        (Some("object"), _) => match native.get("properties").and_then(Value::as_object) {
            Some(members) => {
                let members: Map<String, Value> =
                    members.iter().map(|(name, of)| (name.clone(), property(of))).collect();
                json!({"type": ["null", "object"], "properties": members})
            }
            None => json!({"type": ["null", "object"]}),
        },
        _ => json!({"type": ["null", "boolean", "number", "string", "object", "array"]}),
    };
    if let Some(description) = text("description") {
        schema["description"] = description.into();
    }
    schema
}

/// The schema of a stream in our words, for whoever makes a table of it.
pub(super) fn native(schema: &Value) -> Value {
    let mut schema = schema.clone();
    for (_, property) in
        schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        if property["airbyte_type"] == "timestamp_without_timezone" {
            property["format"] = "timestamp".into();
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secret_strings_are_marked() {
        let form = specification(json!({"type": "object", "properties": {
            "token": {"type": "string", "secret": true},
            "login": {"type": "object", "properties": {"key": {"type": "string", "secret": true}}},
            "hosts": {"type": "array", "secret": true, "items": {"type": "string"}},
            "secret": {"type": "boolean"},
        }}));
        let properties = &form["properties"];
        assert_eq!(properties["token"], json!({"type": "string", "airbyte_secret": true}));
        assert_eq!(properties["login"]["properties"]["key"]["airbyte_secret"], true);
        assert!(properties["hosts"].get("airbyte_secret").is_none());
        assert_eq!(properties["secret"], json!({"type": "boolean"}), "a field of that name");
        assert_eq!(form["additionalProperties"], true);
    }

    #[test]
    fn every_type_has_a_well_known_one_that_may_be_null() {
        for (native, expected) in [
            (json!({"type": "integer"}), json!({"type": ["null", "integer"]})),
            (json!({"type": "number", "nonFinite": ["NaN"]}), json!({"type": ["null", "number"]})),
            (json!({"type": "string", "format": "decimal"}), json!({"type": ["null", "string"]})),
            (json!({"type": "string", "format": "time"}), json!({"type": ["null", "string"]})),
            (json!({"type": "string", "format": "uuid"}), json!({"type": ["null", "string"]})),
            (
                json!({"type": "string", "format": "timestamp", "description": "When."}),
                json!({"type": ["null", "string"], "format": "date-time",
                    "airbyte_type": "timestamp_without_timezone", "description": "When."}),
            ),
            (
                json!({"type": "array", "items": {"type": "string", "format": "date"}}),
                json!({"type": ["null", "array"],
                    "items": {"type": ["null", "string"], "format": "date"}}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
                json!({"type": ["null", "object"],
                    "properties": {"a": {"type": ["null", "string"]}}}),
            ),
            (
                json!({}),
                json!({"type": ["null", "boolean", "number", "string", "object", "array"]}),
            ),
        ] {
            assert_eq!(property(&native), expected);
        }
    }
}
