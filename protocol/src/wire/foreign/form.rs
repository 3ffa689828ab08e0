//! What a program says of its configuration: whether one fits, and what in it is secret.

use serde_json::Value;

use crate::config;

/// Words in the name of a field that holds a secret, where its form does not say so.
const SECRET: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "auth_key",
    "credential",
    "service_account",
    "connection_string",
    "sqlalchemy_url",
    "jwt",
    "cookie",
];

/// Strikes the secrets of a configuration out of every log line: what the form marks as such, and
/// what is called like one.
pub(super) fn hide(form: &Value, config: &Value) {
    let mut names = Vec::new();
    marked(form, &mut names);
    strike(config, &names, false);
}

/// Whether a form says of a field that it holds a secret.
pub(super) fn is_marked(field: &Value) -> bool {
    let is = |mark: &str| field.get(mark) == Some(&Value::Bool(true));
    is("airbyte_secret") || is("secret") || is("writeOnly")
}

/// Whether a form marks a field that is anywhere in it.
pub(super) fn marks_any(form: &Value) -> bool {
    let mut names = Vec::new();
    marked(form, &mut names);
    !names.is_empty()
}

/// Whether a field is called like one that holds a secret.
pub(super) fn is_like_a_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SECRET.iter().any(|word| name.contains(word))
}

/// The names of the fields that a form marks, wherever they are.
fn marked(schema: &Value, names: &mut Vec<String>) {
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if is_marked(field) {
            names.push(name.clone());
        }
    }
    match schema {
        Value::Object(members) => members.values().for_each(|one| marked(one, names)),
        Value::Array(items) => items.iter().for_each(|one| marked(one, names)),
        _ => {}
    }
}

fn strike(value: &Value, names: &[String], secret: bool) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                // A group of fields that is called like a secret holds others too.
                let like = is_like_a_secret(name) && !value.is_object();
                strike(value, names, secret || names.contains(name) || like);
            }
        }
        Value::Array(items) => items.iter().for_each(|one| strike(one, names, secret)),
        Value::String(_) if secret => config::hide(value),
        _ => {}
    }
}

/// What does not fit a form, by the names of fields and never by their values.
pub(super) fn misfit(form: &Value, config: &Value) -> Option<String> {
    misfits(form, config, "")
}

fn misfits(schema: &Value, value: &Value, place: &str) -> Option<String> {
    let here = || if place.is_empty() { "it".to_owned() } else { format!("`{place}`") };
    if let Some(expected) = types(schema)
        && !expected.iter().any(|kind| is(kind, value))
    {
        return Some(format!("{} must be of type {}", here(), expected.join(" or ")));
    }
    let allowed = |member: &str| schema.get(member);
    if allowed("const").is_some_and(|only| only != value) {
        return Some(format!("{} is not the one value it may have", here()));
    }
    if let Some(choices) = allowed("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        return Some(format!("{} is none of the values it may have", here()));
    }
    if let Value::Object(members) = value {
        let inside = |name: &str| match place {
            "" => name.to_owned(),
            _ => format!("{place}.{name}"),
        };
        for name in allowed("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !members.contains_key(name) {
                return Some(format!("`{}` is missing", inside(name)));
            }
        }
        for (name, schema) in allowed("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let misfit = members.get(name).and_then(|value| misfits(schema, value, &inside(name)));
            if misfit.is_some() {
                return misfit;
            }
        }
    }
    if let (Value::Array(items), Some(each)) =
        (value, allowed("items").filter(|one| one.is_object()))
    {
        let misfit = items.iter().find_map(|item| misfits(each, item, place));
        if misfit.is_some() {
            return misfit;
        }
    }
    for choices in ["oneOf", "anyOf"] {
        let Some(choices) = allowed(choices).and_then(Value::as_array) else { continue };
        let misfits: Vec<String> =
            choices.iter().map_while(|choice| misfits(choice, value, place)).collect();
        if !choices.is_empty() && misfits.len() == choices.len() {
            // The choice whose constant fits is the one that was meant.
            let meant = choices.iter().position(|choice| has_constant(choice, value));
            return Some(match meant {
                Some(meant) => misfits[meant].clone(),
                None => format!("{} is none of the choices there are", here()),
            });
        }
    }
    None
}

/// Whether a constant that tells a choice from others is what the value has there.
fn has_constant(choice: &Value, value: &Value) -> bool {
    let mut properties = choice["properties"].as_object().into_iter().flatten();
    properties.any(|(name, schema)| {
        schema.get("const").is_some_and(|constant| value.get(name) == Some(constant))
    })
}

fn types(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_named_and_not_quoted() {
        let form = json!({"type": "object", "required": ["host", "login"], "properties": {
            "host": {"type": "string"},
            "port": {"type": ["null", "integer"]},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "login": {"type": "object", "oneOf": [
                {"properties": {"kind": {"const": "key"}, "key": {"type": "string"}}, "required": ["kind", "key"]},
                {"properties": {"kind": {"const": "none"}}, "required": ["kind"]},
            ]},
        }});
        let with = |name: &str, value: Value| {
            let mut config = json!({"host": "h", "login": {"kind": "none"}});
            config[name] = value;
            misfit(&form, &config)
        };
        for (name, value) in [
            ("host", json!("x")),
            ("port", json!(null)),
            ("port", json!(5432.0)),
            ("other", json!({"a": 1})),
            ("tags", json!(["a"])),
            ("login", json!({"kind": "key", "key": "k"})),
        ] {
            assert_eq!(with(name, value), None);
        }
        for (name, value, says) in [
            ("host", json!(["hunter2"]), "`host` must be of type string"),
            ("port", json!("hunter2"), "`port` must be of type null or integer"),
            ("mode", json!("hunter2"), "`mode` is none of the values it may have"),
            ("tags", json!(["a", 1]), "`tags` must be of type string"),
            ("login", json!({"kind": "key"}), "`login.key` is missing"),
            ("login", json!({"kind": "hunter2"}), "`login` is none of the choices there are"),
        ] {
            assert_eq!(with(name, value).as_deref(), Some(says));
        }
        assert_eq!(misfit(&form, &json!({"host": "h"})).as_deref(), Some("`login` is missing"));
        assert_eq!(misfit(&form, &json!([])).as_deref(), Some("it must be of type object"));
    }

    #[test]
    fn what_is_marked_or_called_a_secret_is_struck_out() {
        let form = json!({"properties": {"login": {"oneOf": [
            {"properties": {"key": {"type": "string", "airbyte_secret": true}}}]}}});
        let config = json!({"login": {"key": "kaihXXXX1"}, "db_password": "kaihXXXX2",
            "credentials": {"host": "kaih.example", "tokens": ["kaihXXXX3"]}});
        hide(&form, &config);
        let line = log::scrub("kaihXXXX1 kaihXXXX2 kaihXXXX3 kaih.example");
        assert_eq!(line, "*** *** *** kaih.example");
    }
}
