//! The configuration: its form made from a Rust struct, its secrets, and how it is read.

use std::fmt;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Fault;
use crate::log;

/// A value that must not be shown: `Debug` does not print it, and the form marks it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "secret": true })
    }
}

/// Hands on a member of the configuration that has another value from now on.
type Change = Box<dyn Fn(&str, &Secret) -> Result<(), anyhow::Error> + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// Says, once, what becomes of members that change.
pub(crate) fn on_change(
    change: impl Fn(&str, &Secret) -> Result<(), anyhow::Error> + Send + Sync + 'static,
) {
    CHANGE.get_or_init(|| Box::new(change));
}

/// What hands a new value of the secret `field` to whoever keeps the configuration. The run goes
/// on with it only once that is done.
pub fn rotated(field: &str) -> impl Fn(&Secret) -> Result<(), anyhow::Error> + Send + Sync {
    move |secret| {
        log::hide(secret.reveal());
        CHANGE.get().map_or(Ok(()), |change| change(field, secret))
    }
}

/// The form of a configuration: JSON Schema draft-07 without references, each property with one
/// plain `type` and its place in the struct as `order`, unless the field sets one.
pub fn form<T: JsonSchema>() -> Value {
    let mut form = plain::<T>();
    number(&mut form);
    form
}

/// The JSON Schema of a record that is written by serializing a `T`.
pub fn schema<T: JsonSchema>() -> Value {
    let mut schema = plain::<T>();
    if let Some(members) = schema.as_object_mut() {
        for noise in ["$schema", "title", "description"] {
            members.shift_remove(noise);
        }
    }
    schema
}

fn plain<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    settings.transforms.push(Box::new(RecursiveTransform(one_type)));
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// An optional field is one that may be absent, not one of two types: hosts that draw the form
/// or scan the records want one plain `type`.
fn one_type(schema: &mut Schema) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".into(), only);
        }
    }
    if members.get("default") == Some(&Value::Null) {
        members.shift_remove("default");
    }
    let Some(Value::Array(choices)) = members.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
    if let [Value::Object(only)] = choices.as_mut_slice() {
        let only = std::mem::take(only);
        members.shift_remove("anyOf");
        for (name, value) in only {
            members.entry(name).or_insert(value);
        }
    }
}

fn number(form: &mut Value) {
    let Some(properties) = form.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (place, (_, property)) in properties.iter_mut().enumerate() {
        if let Some(members) = property.as_object_mut() {
            members.entry("order").or_insert(place.into());
        }
        number(property);
    }
}

/// Reads a configuration as it really arrives: null, and `""` in a field that may be absent,
/// count as absent; whole numbers may be written `5432.0` or `"5432"`. What is secret in it is
/// struck out of every log line from now on.
pub fn read<T: JsonSchema + DeserializeOwned>(mut config: Value) -> Result<T, Fault> {
    if !config.is_object() {
        return Err(Fault::config("the configuration must be a JSON object"));
    }
    clean(&mut config, &form::<T>());
    serde_path_to_error::deserialize(config)
        .map_err(|error| Fault::config(format!("the configuration: {}", complaint(&error))))
}

fn clean(config: &mut Value, form: &Value) {
    let (Value::Object(members), Some(properties)) =
        (config, form.get("properties").and_then(Value::as_object))
    else {
        return;
    };
    let required = |name: &str| {
        let names = form.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    members
        .retain(|name, value| !value.is_null() && (required(name) || value.as_str() != Some("")));
    for (name, property) in properties {
        let Some(value) = members.get_mut(name) else { continue };
        if property.get("secret") == Some(&Value::Bool(true)) {
            hide(value);
        }
        match property.get("type").and_then(Value::as_str) {
            Some("integer" | "number") => whole(value),
            Some("object") => clean(value, property),
            _ => {}
        }
    }
}

/// Strikes a secret out of every log line from now on.
pub(crate) fn hide(value: &Value) {
    if let Some(secret) = value.as_str() {
        log::hide(secret);
        // As it stands in a URL and in a JSON string.
        let json = Value::from(secret).to_string();
        log::hide(json.trim_matches('"'));
    }
}

/// Turns `5432.0` and `"5432"` into `5432`.
fn whole(value: &mut Value) {
    let number = match &*value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // Doubles are exact up to 2^53.
    if let Some(number) = number.filter(|n| n.fract() == 0.0 && n.abs() <= 9e15)
        && !value.is_i64()
        && !value.is_u64()
    {
        *value = Value::from(number as i64);
    }
}

/// What is wrong with an input, without what was in it: the path, and what was expected there.
pub fn complaint<E: fmt::Display>(error: &serde_path_to_error::Error<E>) -> String {
    let text = error.inner().to_string();
    let path = error.path().to_string();
    let place = if path == "." { String::new() } else { format!("`{path}` ") };
    // serde's text for a wrong value quotes it; only what was expected may be shown.
    if text.starts_with("missing field") {
        let name = text.split('`').nth(1).unwrap_or_default();
        let inside = if path == "." { String::new() } else { format!(" in `{path}`") };
        format!("`{name}` is missing{inside}")
    } else if text.starts_with("must ") {
        let end = text.find(" at line ").unwrap_or(text.len());
        format!("{place}{}", text.get(..end).unwrap_or(&text))
    } else if let Some((_, expected)) = text.rsplit_once("expected ") {
        let end = expected.find(" at line ").unwrap_or(expected.len());
        let expected = match expected.get(..end).unwrap_or(expected) {
            "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => {
                "a whole number in its range"
            }
            "f32" | "f64" => "a number",
            "a sequence" => "a list",
            "a map" => "an object",
            "path string" => "a string",
            other => other,
        };
        format!("{place}must be {expected}")
    } else {
        format!("{place}is not valid")
    }
}

impl Serialize for Secret {
    /// A secret never leaves by way of serde.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Config {
        /// # Host Name
        ///
        /// The server you want to reach.
        host: String,
        /// # Port
        ///
        /// The server's port.
        #[serde(default = "port")]
        port: u16,
        /// # Password
        ///
        /// Your password.
        #[serde(default)]
        password: Option<Secret>,
        /// # Tables
        ///
        /// The tables you want.
        #[serde(default)]
        #[schemars(extend("order" = 9))]
        tables: Vec<String>,
    }

    fn port() -> u16 {
        5432
    }

    fn read_config(config: Value) -> Result<Config, String> {
        read::<Config>(config).map_err(|fault| fault.message)
    }

    #[test]
    fn a_form_says_title_description_order_default_and_secret() {
        let form = form::<Config>();
        assert_eq!(form["$schema"], "http://json-schema.org/draft-07/schema#");
        let host = &form["properties"]["host"];
        assert_eq!(host["title"], "Host Name");
        assert_eq!(host["description"], "The server you want to reach.");
        assert_eq!(form["properties"]["port"]["default"], 5432);
        let password = &form["properties"]["password"];
        assert_eq!(password["type"], "string", "an optional field has one plain type");
        assert_eq!(password["secret"], true);
        assert!(password.get("default").is_none());
        let order = |name: &str| form["properties"][name]["order"].clone();
        assert_eq!([order("host"), order("password"), order("tables")], [0, 2, 9]);
        assert_eq!(form["required"], json!(["host"]));
        assert!(!form.to_string().contains("$ref"));
    }

    #[test]
    fn what_a_form_leaves_empty_counts_as_absent() {
        let config =
            read_config(json!({"host": "h", "port": null, "password": "", "tables": null, "x": 1}))
                .unwrap();
        assert_eq!((config.host.as_str(), config.port), ("h", 5432));
        assert!(config.password.is_none());
        assert!(config.tables.is_empty());
    }

    #[test]
    fn whole_numbers_are_taken_as_hosts_write_them() {
        for port in [json!(5433), json!(5433.0), json!("5433")] {
            assert_eq!(read_config(json!({"host": "h", "port": port})).unwrap().port, 5433);
        }
    }

    #[test]
    fn a_complaint_names_the_field_and_never_its_value() {
        let missing = read_config(json!({"port": 1})).unwrap_err();
        assert_eq!(missing, "the configuration: `host` is missing");
        let wrong = read_config(json!({"host": "h", "password": {"hunter2": 1}})).unwrap_err();
        assert!(wrong.contains("`password`") && !wrong.contains("hunter2"), "{wrong}");
        let wrong = read_config(json!({"host": "h", "port": "hunter2"})).unwrap_err();
        assert!(
            wrong.contains("`port` must be a whole number") && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }

    #[test]
    fn secrets_of_a_configuration_are_struck_out_of_log_lines() {
        read_config(json!({"host": "h", "password": "correct horse \"battery\""})).unwrap();
        let line = log::scrub("login with correct horse \"battery\" failed");
        assert_eq!(line, "login with *** failed");
    }
}
