//! What a form and a schema must look like for the hosts that read them, and whether a record is
//! what its schema says.

use serde_json::{Map, Value};

/// The types of JSON Schema.
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "object", "array"];

/// What a number that is not finite is spelled as, where the schema of a number says so.
const NON_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// What is wrong with a form, property by property.
pub(super) fn form(form: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if form["$schema"] != "http://json-schema.org/draft-07/schema#" {
        wrong.push("`$schema` must name draft-07".to_owned());
    }
    if form["type"] != "object" {
        wrong.push("the form must be an object".to_owned());
    }
    schema("the form", form, &mut wrong);
    fields("", form, &mut wrong);
    wrong
}

fn fields(inside: &str, form: &Value, wrong: &mut Vec<String>) {
    let Some(properties) = form["properties"].as_object() else {
        wrong.push(format!("{inside}`properties` is missing"));
        return;
    };
    for name in form["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !properties.contains_key(name) {
            wrong.push(format!("{inside}`{name}` is required and cannot be filled in"));
        }
    }
    let mut orders = Vec::new();
    for (name, field) in properties {
        let name = format!("{inside}`{name}`");
        for text in ["title", "description"] {
            if field[text].as_str().is_none_or(|text| text.trim().is_empty()) {
                wrong.push(format!("{name} has no {text}"));
            }
        }
        match field["order"].as_i64() {
            None => wrong.push(format!("{name} has no order")),
            Some(order) if orders.contains(&order) => {
                wrong.push(format!("{name} has the order of another field"));
            }
            Some(order) => orders.push(order),
        }
        match field["type"].as_str() {
            Some("string" | "integer" | "number" | "boolean") => {}
            // What hosts can draw of a list is a list of texts.
            Some("array") if field["items"]["type"] == "string" => {}
            Some("array") => wrong.push(format!("{name} must be a list of texts")),
            Some("object") => fields(&format!("{name}: "), field, wrong),
            _ => wrong.push(format!("{name} has no plain type")),
        }
        if !matches!(field.get("secret"), None | Some(Value::Bool(true))) {
            wrong.push(format!("{name}: `secret` is true or absent"));
        }
        if field.get("secret").is_some() && field["type"] != "string" {
            wrong.push(format!("{name} is secret and no string"));
        }
        if field["type"] == "boolean" && field.get("default").is_none() {
            wrong.push(format!("{name} is a boolean without a default"));
        }
    }
}

/// The names and values of the fields that a form marks as secret.
pub(super) fn secrets(form: &Value, config: &Value) -> Vec<String> {
    let mut secrets = Vec::new();
    for (name, field) in form["properties"].as_object().into_iter().flatten() {
        if field["secret"] == true {
            secrets.extend(config[name].as_str().map(str::to_owned));
        } else {
            secrets.extend(self::secrets(field, &config[name]));
        }
    }
    secrets
}

/// What of a record's schema a Monoid host cannot read: its scan would fail as a whole.
pub(super) fn record_schema(json_schema: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if json_schema["type"] != "object" {
        wrong.push("the schema must be of type object".to_owned());
    }
    if !json_schema["properties"].is_object() {
        wrong.push("the schema has no properties".to_owned());
    }
    schema("the schema", json_schema, &mut wrong);
    wrong
}

/// The rules that hold for a schema and every schema within it.
fn schema(place: &str, value: &Value, wrong: &mut Vec<String>) {
    let Some(members) = value.as_object() else {
        wrong.push(format!("{place} must be an object"));
        return;
    };
    for (name, value) in members {
        let here = format!("{place}, `{name}`");
        match name.as_str() {
            "default" | "const" | "enum" | "examples" => {}
            "$ref" | "definitions" | "$defs" => wrong.push(format!("{here}: no references")),
            _ if value.is_null() => wrong.push(format!("{here} is null")),
            "type" if !value.as_str().is_some_and(|kind| TYPES.contains(&kind)) => {
                wrong.push(format!("{here} must be one plain type"));
            }
            "exclusiveMinimum" | "exclusiveMaximum" => {
                wrong.push(format!("{here} cannot be read by a Monoid host"));
            }
            "properties" | "patternProperties" => match value.as_object() {
                None => wrong.push(format!("{here} must be an object")),
                Some(properties) => {
                    for (name, value) in properties {
                        schema(&format!("{place}, property `{name}`"), value, wrong);
                    }
                }
            },
            "items"
            | "additionalProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames" => schema(&here, value, wrong),
            "anyOf" | "oneOf" | "allOf" => match value.as_array() {
                None => wrong.push(format!("{here} must be a list")),
                Some(choices) => choices.iter().for_each(|one| schema(&here, one, wrong)),
            },
            _ => {}
        }
    }
}

/// How a record differs from its schema, in names and types only.
pub(super) fn record(json_schema: &Value, record: &Value) -> Option<String> {
    let Some(members) = record.as_object() else { return Some("it is no object".to_owned()) };
    let none = Map::new();
    let properties = json_schema["properties"].as_object().unwrap_or(&none);
    if let Some(name) = properties.keys().find(|name| !members.contains_key(*name)) {
        return Some(format!("`{name}` is missing"));
    }
    members.iter().find_map(|(name, value)| match properties.get(name) {
        None => Some(format!("`{name}` is not in the schema")),
        Some(_) if value.is_null() => None,
        Some(schema) if conforms(schema, value) => None,
        Some(schema) => Some(format!("`{name}` is {}, not {schema}", kind(value))),
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Whether a value within a record is what its schema says. Null stands for absent anywhere.
fn conforms(schema: &Value, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choices].as_array() {
            return choices.iter().any(|choice| conforms(choice, value));
        }
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed.contains(value);
    }
    match (schema["type"].as_str(), value) {
        (None, _) => true,
        (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer"), Value::Number(number)) => !number.is_f64(),
        (Some("number"), Value::Number(_)) => true,
        // A number's schema says by this member that it may be spelled as text.
        (Some("number"), Value::String(text)) => {
            let told = schema["nonFinite"].as_array().is_some_and(|told| told.contains(value));
            told && NON_FINITE.contains(&text.as_str())
        }
        (Some("array"), Value::Array(items)) => {
            schema.get("items").is_none_or(|each| items.iter().all(|item| conforms(each, item)))
        }
        (Some("object"), Value::Object(members)) => members.iter().all(|(name, value)| {
            let schema = schema["properties"].get(name).or(schema.get("additionalProperties"));
            schema.is_none_or(|schema| conforms(schema, value))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_hosts_cannot_read_is_told() {
        for (property, word) in [
            (json!({"type": ["string", "null"]}), "one plain type"),
            (json!({"type": "null"}), "one plain type"),
            (json!({"type": "integer", "exclusiveMinimum": 0}), "exclusiveMinimum"),
            (json!({"type": "array", "items": true}), "must be an object"),
            (json!({"type": "object", "additionalProperties": false}), "must be an object"),
            (json!({"$ref": "#/definitions/x"}), "no references"),
            (json!({"type": "string", "format": null}), "is null"),
            (json!(null), "must be an object"),
        ] {
            let wrong = record_schema(&json!({"type": "object", "properties": {"p": property}}));
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(word) && wrong[0].contains("`p`"), "{wrong:?}");
        }
        assert_eq!(record_schema(&json!({})).len(), 2);
    }

    #[test]
    fn a_field_that_a_person_could_not_fill_in_is_told() {
        let good = json!({"type": "string", "title": "A", "description": "B.", "order": 0});
        let form = |change: Value| {
            let mut field = good.clone();
            for (name, value) in change.as_object().unwrap() {
                field[name] = value.clone();
            }
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"p": field}})
        };
        assert!(super::form(&form(json!({}))).is_empty());
        for (change, word) in [
            (json!({"title": ""}), "no title"),
            (json!({"description": null}), "is null"),
            (json!({"order": "0"}), "no order"),
            (json!({"type": ["string", "null"]}), "no plain type"),
            (json!({"type": "integer", "secret": true}), "secret and no string"),
            (json!({"type": "boolean"}), "without a default"),
            (json!({"type": "array", "items": {"type": "integer"}}), "list of texts"),
        ] {
            let wrong = super::form(&form(change));
            assert!(wrong.iter().any(|wrong| wrong.contains(word)), "{word}: {wrong:?}");
        }
    }

    #[test]
    fn a_record_that_is_not_what_its_schema_says_is_told() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "f": {"type": "number", "nonFinite": ["NaN"]}, "any": {},
            "list": {"type": "array", "items": {"type": "string"}}}});
        let with = |name: &str, value: Value| {
            let mut record = json!({"n": 1, "f": 1.5, "any": [1], "list": ["a", null]});
            record[name] = value;
            super::record(&schema, &record)
        };
        assert_eq!(with("n", json!(null)), None);
        assert_eq!(with("f", json!("NaN")), None);
        for (name, value) in [
            ("n", json!("1")),
            ("n", json!(1.0)),
            ("f", json!("Infinity")),
            ("f", json!("1")),
            ("list", json!([1])),
            ("list", json!("a")),
            ("other", json!(1)),
        ] {
            assert!(with(name, value).unwrap().contains(name));
        }
        assert!(super::record(&schema, &json!({"n": 1})).unwrap().contains("missing"));
    }
}
