//! Schemas in Flow's words: of documents, and of the columns that fields go into.

use serde_json::{Map, Value, json};

use super::{Inference, pointer};
use crate::silo::Schema;

/// What Flow puts into every document.
pub(super) const META: &str = "_meta";

/// Where a document without a key has its number.
pub(super) const ROW: &str = "/_meta/row_id";

/// The key of a stream's documents, as pointers: that of its records where each part is of a type
/// that Flow takes for keys, else their number.
pub(super) fn key(schema: &Schema) -> Vec<String> {
    let fits = |name: &String| {
        let types = &schema.json_schema["properties"][name]["type"];
        ["string", "integer", "boolean"].iter().any(|fit| types == fit)
    };
    match schema.key.iter().all(fits) && !schema.key.is_empty() {
        true => schema.key.iter().map(|name| pointer(name)).collect(),
        false => vec![ROW.to_owned()],
    }
}

/// The schema of a stream's documents.
pub(super) fn document(schema: &Schema) -> Value {
    let key = key(schema);
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    let native = schema.json_schema.get("properties").and_then(Value::as_object);
    for (name, of) in native.into_iter().flatten() {
        let keyed = key.contains(&pointer(name));
        if keyed {
            required.push(name);
        }
        properties.insert(name.clone(), property(of, keyed));
    }
    if key == [ROW] {
        required.push(META);
        let row = json!({"type": "integer", "description": "The place of the record in a read."});
        let meta = json!({"type": "object", "properties": {"row_id": row}, "required": ["row_id"]});
        properties.insert(META.to_owned(), meta);
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// The schema of a property, which may be null where it is not in the key.
fn property(native: &Value, keyed: bool) -> Value {
    let text = |member: &str| native.get(member).and_then(Value::as_str);
    let of = |name: &str| if keyed { json!(name) } else { json!([name, "null"]) };
    let formatted = |format: &str| json!({"type": of("string"), "format": format});
    let mut schema = match (text("type"), text("format")) {
        (Some("string"), _) if keyed => json!({"type": "string"}),
        (Some("string"), Some("decimal")) => formatted("number"),
        (Some("string"), Some(format @ ("date" | "date-time" | "uuid"))) => formatted(format),
        (Some("string"), _) if text("contentEncoding") == Some("base64") => {
            json!({"type": of("string"), "contentEncoding": "base64"})
        }
        (Some("number"), _) if native.get("nonFinite").is_some() => {
            json!({"type": ["number", "string", "null"], "format": "number"})
        }
        (Some("array"), _) => match native.get("items") {
            Some(items) => json!({"type": of("array"), "items": property(items, false)}),
            None => json!({"type": of("array")}),
        },
        (Some("object"), _) => match native.get("properties").and_then(Value::as_object) {
            Some(members) => {
                let members = members.iter().map(|(name, of)| (name.clone(), property(of, false)));
                json!({"type": of("object"), "properties": members.collect::<Map<_, _>>()})
            }
            None => json!({"type": of("object")}),
        },
        (Some(name), _) => json!({"type": of(name)}),
        (None, _) => json!({}),
    };
    if let Some(description) = text("description") {
        schema["description"] = description.into();
    }
    schema
}

/// The native schema of a column for a field's values. What may be of several types is kept as it
/// is, and so is a number in a string, which need not be finite.
pub(super) fn column(of: &Inference) -> Value {
    let mut types = of.types.iter().map(String::as_str).filter(|name| *name != "null");
    let only = types.next().filter(|_| types.next().is_none());
    let text = of.string.clone().unwrap_or_default();
    let mut schema = match (only, text.format.as_str()) {
        (Some("string"), format @ ("date" | "date-time" | "uuid")) => {
            json!({"type": "string", "format": format})
        }
        (Some("string"), _) if text.content_encoding == "base64" => {
            json!({"type": "string", "contentEncoding": "base64"})
        }
        // Elements may be of any types.
        (Some("array" | "object"), _) | (None, _) => json!({}),
        (Some(name), _) => json!({"type": name}),
    };
    if !of.description.is_empty() {
        schema["description"] = of.description.as_str().into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(properties: Value, key: &[&str]) -> Schema {
        let mut schema = Schema::of::<()>().key(key);
        schema.json_schema = json!({"type": "object", "properties": properties});
        schema
    }

    #[test]
    fn a_key_is_required_and_never_null() {
        let schema = native(
            json!({"a/b": {"type": "string", "format": "uuid"}, "n": {"type": "integer"},
                "price": {"type": "string", "format": "decimal"},
                "ratio": {"type": "number", "nonFinite": ["NaN"]}, "any": {}}),
            &["a/b", "n"],
        );
        assert_eq!(key(&schema), ["/a~1b", "/n"]);
        assert_eq!(
            document(&schema),
            json!({"type": "object", "required": ["a/b", "n"], "properties": {
                "a/b": {"type": "string"},
                "n": {"type": "integer"},
                "price": {"type": ["string", "null"], "format": "number"},
                "ratio": {"type": ["number", "string", "null"], "format": "number"},
                "any": {},
            }})
        );
    }

    #[test]
    fn what_cannot_be_a_key_is_numbered() {
        for schema in [
            native(json!({"x": {"type": "integer"}}), &[]),
            native(json!({"x": {"type": "number"}}), &["x"]),
            native(json!({"x": {}}), &["x"]),
        ] {
            assert_eq!(key(&schema), [ROW]);
            let document = document(&schema);
            assert_eq!(document["required"], json!(["_meta"]));
            assert_eq!(document["properties"]["_meta"]["required"], json!(["row_id"]));
        }
    }

    #[test]
    fn a_field_of_several_types_goes_into_a_column_of_any() {
        let of = |value: Value| column(&serde_json::from_value(value).unwrap());
        assert_eq!(of(json!({"types": ["integer", "null"]})), json!({"type": "integer"}));
        assert_eq!(of(json!({"types": ["integer", "string"]})), json!({}));
        assert_eq!(of(json!({"types": ["object"]})), json!({}));
        assert_eq!(
            of(json!({"types": ["string"], "string": {"format": "date-time"}})),
            json!({"type": "string", "format": "date-time"})
        );
        assert_eq!(
            of(json!({"types": ["string"], "string": {"format": "number"}})),
            json!({"type": "string"})
        );
    }
}
