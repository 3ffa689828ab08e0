//! Schemas of foreign streams in our words: one plain type, or none where any value may stand.

use serde_json::{Map, Value, json};

/// The member of a store's schema that says that a query reads the whole store.
const QUERY: (&str, &str) = ("query", "full-read");

/// How deep references and members are followed. What is deeper may be anything.
const DEPTH: usize = 16;

/// The schema of a stream's records. `keeps` chooses the properties.
pub(super) fn of_records(foreign: &Value, keeps: impl Fn(&str) -> bool) -> Value {
    let whole = resolved(foreign, foreign);
    let mut properties = Map::new();
    for (name, schema) in whole["properties"].as_object().into_iter().flatten() {
        if keeps(name) {
            properties.insert(name.clone(), property(foreign, schema, 0));
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    schema[QUERY.0] = QUERY.1.into();
    schema
}

/// The schema of a value.
fn property(root: &Value, foreign: &Value, depth: usize) -> Value {
    let mut native = Map::new();
    let schema = resolved(root, foreign);
    let schema = one_of(root, schema);
    let text = |member: &str| schema.get(member).and_then(Value::as_str);
    if let Some(kind) = one_type(schema).filter(|_| depth < DEPTH) {
        let whole = text("airbyte_type") == Some("integer") && kind == "number";
        native.insert("type".to_owned(), if whole { "integer" } else { kind }.into());
        match kind {
            "string" => {
                let format = match (text("format"), text("airbyte_type")) {
                    (Some("date-time"), Some("timestamp_without_timezone")) => Some("timestamp"),
                    (format, _) => format,
                };
                native.extend(format.map(|format| ("format".to_owned(), format.into())));
                if text("contentEncoding") == Some("base64") {
                    native.insert("contentEncoding".to_owned(), "base64".into());
                }
            }
            "number" if !whole => {
                // Python has such numbers, and prints them.
                native.insert("nonFinite".to_owned(), json!(["NaN", "Infinity", "-Infinity"]));
            }
            "array" => {
                if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
                    native.insert("items".to_owned(), property(root, items, depth + 1));
                }
            }
            "object" => {
                if let Some(members) = schema.get("properties").and_then(Value::as_object) {
                    let each = members
                        .iter()
                        .map(|(name, of)| (name.clone(), property(root, of, depth + 1)));
                    native.insert("properties".to_owned(), Value::Object(each.collect()));
                }
            }
            _ => {}
        }
    }
    for member in ["title", "description"] {
        native.extend(text(member).map(|text| (member.to_owned(), text.into())));
    }
    Value::Object(native)
}

/// The schema that a reference within the same document leads to.
pub(super) fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..DEPTH {
        let Some(place) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Some(found) = place.strip_prefix('#').and_then(|place| root.pointer(place)) else {
            break;
        };
        schema = found;
    }
    schema
}

/// The one choice of a schema that is not null, or the first of several of one type.
pub(super) fn one_of<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    for choices in ["anyOf", "oneOf", "allOf"] {
        let Some(choices) = schema.get(choices).and_then(Value::as_array) else { continue };
        let mut choices = choices
            .iter()
            .map(|choice| resolved(root, choice))
            .filter(|choice| choice.get("type") != Some(&Value::from("null")));
        let first = choices.next().unwrap_or(NOTHING);
        return if choices.next().is_none() { first } else { NOTHING };
    }
    schema
}

/// The one type that a schema has, of those there are.
pub(super) fn one_type(schema: &Value) -> Option<&str> {
    let known =
        |name: &&str| ["string", "integer", "number", "boolean", "object", "array"].contains(name);
    crate::wire::one_type(schema).filter(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(foreign: Value) -> Value {
        let root = json!({"properties": {"p": foreign}, "definitions": {
            "d": {"type": ["null", "integer"]}, "loop": {"type": "array", "items": {"$ref": "#/definitions/loop"}}}});
        of_records(&root, |_| true)["properties"]["p"].clone()
    }

    #[test]
    fn every_property_has_one_plain_type_or_none() {
        let number = json!({"type": "number", "nonFinite": ["NaN", "Infinity", "-Infinity"]});
        for (foreign, expected) in [
            (json!({"type": ["null", "string"]}), json!({"type": "string"})),
            (json!({"type": ["string", "integer", "null"]}), json!({})),
            (json!({}), json!({})),
            (json!({"type": "null"}), json!({})),
            (json!(true), json!({})),
            (json!({"type": "number", "airbyte_type": "integer"}), json!({"type": "integer"})),
            (json!({"type": ["null", "number"], "exclusiveMaximum": true}), number.clone()),
            (
                json!({"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"}),
                json!({"type": "string", "format": "timestamp"}),
            ),
            (json!({"anyOf": [{"type": "null"}, {"type": "number"}]}), number),
            (
                json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]}),
                json!({}),
            ),
            (json!({"$ref": "#/definitions/d"}), json!({"type": "integer"})),
            (json!({"$ref": "other.json"}), json!({})),
            (json!({"type": "array", "items": [{"type": "string"}]}), json!({"type": "array"})),
            (
                json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": ["string", "null"], "description": "A."}}}),
                json!({"type": "object", "properties": {"a": {"type": "string", "description": "A."}}}),
            ),
        ] {
            assert_eq!(native(foreign.clone()), expected, "{foreign}");
        }
        assert!(native(json!({"$ref": "#/definitions/loop"})).to_string().len() < 2000);
    }
}
