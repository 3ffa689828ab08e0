//! A program's form as hosts can draw it: fields of one plain type, each with a title and a text.
//!
//! What has no such form, as a choice of several objects, is a field for its JSON.

use serde_json::{Map, Value, json};

use super::form::{is_like_a_secret, is_marked, marks_any};
use super::schema::{one_of, one_type, resolved};

/// How deep groups of fields are drawn. What is deeper is a field for JSON.
const DEPTH: usize = 4;

/// Members of a field that say the same in every form.
const KEPT: [&str; 8] =
    ["default", "examples", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"];

/// The form that hosts draw in place of a program's.
pub(super) fn form(foreign: &Value) -> Value {
    group(foreign, resolved(foreign, foreign), 0)
}

/// Takes what was filled into a form that was drawn for what the program wants: a text where the
/// program wants another type is its JSON.
pub(super) fn filled_in(foreign: &Value, config: &mut Value) {
    taken(foreign, resolved(foreign, foreign), config);
}

fn group(root: &Value, schema: &Value, depth: usize) -> Value {
    let none = Map::new();
    let all = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut fields: Vec<(&String, &Value)> = all.iter().collect();
    fields.sort_by_key(|(_, field)| field["order"].as_i64().unwrap_or(i64::MAX));
    let properties: Map<String, Value> = fields
        .into_iter()
        .map(|(name, foreign)| (name.clone(), field(root, name, foreign, depth)))
        .collect();
    let mut group = json!({"type": "object", "properties": properties});
    let required = schema["required"].as_array().into_iter().flatten();
    let required: Vec<&Value> =
        required.filter(|name| name.as_str().is_some_and(|name| all.contains_key(name))).collect();
    if !required.is_empty() {
        group["required"] = json!(required);
    }
    group
}

fn field(root: &Value, name: &str, foreign: &Value, depth: usize) -> Value {
    let outer = resolved(root, foreign);
    let schema = one_of(root, outer);
    let secret = is_marked(outer)
        || is_marked(schema)
        || is_like_a_secret(name) && outer.get("enum").is_none();
    let items = |kind: &str| schema["items"]["type"] == kind;
    let mut drawn = match one_type(schema) {
        Some(kind @ ("integer" | "number" | "boolean")) if !secret => json!({ "type": kind }),
        Some("string") => json!({"type": "string"}),
        Some("array") if items("string") && !secret => {
            json!({"type": "array", "items": {"type": "string"}})
        }
        Some("object") if depth < DEPTH && schema["properties"].is_object() => {
            group(root, schema, depth + 1)
        }
        _ => Value::Null,
    };
    let text = |member: &str| outer.get(member).or(schema.get(member)).and_then(Value::as_str);
    let title = text("title").map_or_else(|| words(name), str::to_owned);
    let description = text("description").filter(|text| !text.trim().is_empty());
    let mut description = description.unwrap_or(&title).trim().to_owned();
    let json = drawn.is_null();
    if json {
        drawn = json!({"type": "string"});
        description += if description.ends_with('.') { " As JSON." } else { ", as JSON." };
    } else if drawn["type"] != "object" {
        for member in KEPT {
            match outer.get(member).or(schema.get(member)) {
                None | Some(Value::Null) => {}
                Some(value) => drawn[member] = value.clone(),
            }
        }
    }
    drawn["title"] = title.into();
    drawn["description"] = description.into();
    if drawn["type"] == "string" && (secret || json && marks_any(outer)) {
        drawn["secret"] = true.into();
        // A secret has no value that everybody knows.
        drawn.as_object_mut().map(|members| members.shift_remove("default"));
    }
    if drawn["type"] == "boolean" && drawn.get("default").is_none() {
        drawn["default"] = false.into();
    }
    drawn
}

/// A field's name as words.
fn words(name: &str) -> String {
    let words = name.replace(['_', '-'], " ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn taken(root: &Value, schema: &Value, config: &mut Value) {
    let Some(members) = config.as_object_mut() else { return };
    for (name, foreign) in schema["properties"].as_object().into_iter().flatten() {
        let Some(value) = members.get_mut(name) else { continue };
        let schema = one_of(root, resolved(root, foreign));
        let kind = one_type(schema);
        if kind == Some("string") {
            continue;
        }
        if let Some(text) = value.as_str()
            && let Ok(meant) = serde_json::from_str::<Value>(text)
            // A text may be what is wanted where the type is open.
            && (kind.is_some() || meant.is_object() || meant.is_array())
        {
            *value = meant;
        }
        taken(root, schema, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_can_be_drawn_and_keeps_what_it_says() {
        let foreign = json!({"required": ["host", "gone"], "properties": {
            "extra": {"type": ["null", "array"], "items": {"type": "object"}, "description": "More."},
            "start_date": {"type": ["string", "null"], "order": 1, "examples": ["2020"], "default": null},
            "host": {"type": "string", "title": "Host", "description": "Where.", "order": 0, "airbyte_hidden": false},
            "api_key": {"type": "string", "default": "x"},
            "pin": {"type": "integer", "airbyte_secret": true},
            "fast": {"type": "boolean"},
            "names": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "ssl": {"$ref": "#/definitions/ssl"},
            "login": {"title": "Log in", "oneOf": [{"properties": {"key": {"airbyte_secret": true}}}, {}]},
        }, "definitions": {"ssl": {"type": "object", "properties": {"mode": {"enum": ["a"], "type": "string"}}}}});
        let form = form(&foreign);
        assert_eq!(form["required"], json!(["host"]));
        let fields = &form["properties"];
        let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
        assert_eq!(names[..2], ["host", "start_date"], "in the program's order");
        let expected = [
            ("host", json!({"type": "string", "title": "Host", "description": "Where."})),
            (
                "start_date",
                json!({"type": "string", "examples": ["2020"], "title": "Start date", "description": "Start date"}),
            ),
            (
                "api_key",
                json!({"type": "string", "title": "Api key", "description": "Api key", "secret": true}),
            ),
            (
                "pin",
                json!({"type": "string", "title": "Pin", "description": "Pin, as JSON.", "secret": true}),
            ),
            (
                "fast",
                json!({"type": "boolean", "title": "Fast", "description": "Fast", "default": false}),
            ),
            (
                "names",
                json!({"type": "array", "items": {"type": "string"}, "title": "Names", "description": "Names"}),
            ),
            ("extra", json!({"type": "string", "title": "Extra", "description": "More. As JSON."})),
            (
                "login",
                json!({"type": "string", "title": "Log in", "description": "Log in, as JSON.", "secret": true}),
            ),
        ];
        for (name, expected) in expected {
            assert_eq!(fields[name], expected, "{name}");
        }
        assert_eq!(fields["ssl"]["properties"]["mode"]["enum"], json!(["a"]));
    }

    #[test]
    fn a_text_is_json_only_where_the_program_wants_no_text() {
        let foreign = json!({"properties": {
            "name": {"type": "string"}, "pin": {"type": ["null", "integer"]},
            "open": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "ssl": {"type": "object", "properties": {"tags": {"type": "array"}}}}});
        let mut config = json!({"name": "{}", "pin": "7", "open": "7", "ssl": {"tags": "[1]"}});
        filled_in(&foreign, &mut config);
        assert_eq!(config, json!({"name": "{}", "pin": 7, "open": "7", "ssl": {"tags": [1]}}));
        let mut config = json!({"open": "{\"a\": 1}", "ssl": "{\"tags\": [2]}", "pin": "many"});
        filled_in(&foreign, &mut config);
        assert_eq!(config, json!({"open": {"a": 1}, "ssl": {"tags": [2]}, "pin": "many"}));
    }
}
