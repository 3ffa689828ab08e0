//! The catalog: what a tap discovers, and what a user chose of it.

use std::collections::HashMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::schema;
use crate::config::complaint;
use crate::fault::Fault;
use crate::log;
use crate::silo::Schema;

/// The entry of a stream, as `--discover` prints it.
pub(super) fn entry(name: &str, table: &str, namespace: Option<&str>, schema: &Schema) -> Value {
    let json_schema = schema::stream(&schema.json_schema, &schema.key, |_| true);
    let mut stream = json!({
        "inclusion": "available",
        "selected-by-default": true,
        "table-key-properties": schema.key,
        "valid-replication-keys": schema.cursors,
    });
    if let Some(namespace) = namespace {
        stream["schema-name"] = namespace.into();
    }
    let mut metadata = vec![json!({"breadcrumb": [], "metadata": stream})];
    for property in json_schema["properties"].as_object().into_iter().flat_map(|all| all.keys()) {
        let automatic = schema.key.contains(property);
        metadata.push(json!({
            "breadcrumb": ["properties", property],
            "metadata": {
                "inclusion": if automatic { "automatic" } else { "available" },
                "selected-by-default": true,
            },
        }));
    }
    json!({
        "tap_stream_id": name,
        "stream": name,
        "table_name": table,
        "schema": json_schema,
        "key_properties": schema.key,
        "metadata": metadata,
    })
}

/// A catalog as it comes back.
#[derive(Debug, Deserialize)]
pub(super) struct Catalog {
    pub(super) streams: Vec<Entry>,
}

/// A stream of it.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    tap_stream_id: Option<String>,
    stream: Option<String>,
    #[serde(default)]
    metadata: Option<Vec<Metadata>>,
    #[serde(default)]
    selected: Option<bool>,
    #[serde(default)]
    replication_method: Option<String>,
    #[serde(default)]
    replication_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    breadcrumb: Vec<String>,
    #[serde(default)]
    metadata: Value,
}

/// How a stream is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Full,
    Incremental(Option<String>),
}

/// Reads a catalog.
pub(super) fn read(value: Value) -> Result<Catalog> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| Fault::config(format!("the catalog: {}", complaint(&error))).into())
}

impl Entry {
    /// The stream's name.
    pub(super) fn name(&self) -> Result<&str> {
        let names = [&self.tap_stream_id, &self.stream];
        let name = names.into_iter().flatten().find(|name| !name.is_empty());
        let missing = || Fault::config("the catalog has a stream without a `tap_stream_id`").into();
        name.map(String::as_str).ok_or_else(missing)
    }

    fn metadata(&self, breadcrumb: &[&str]) -> Option<&Value> {
        let mut all = self.metadata.iter().flatten();
        all.find(|entry| entry.breadcrumb == breadcrumb).map(|entry| &entry.metadata)
    }

    /// A choice at the stream, where `""` and null stand for none.
    fn choice(&self, member: &str, field: &Option<String>) -> Option<String> {
        let noted = self.metadata(&[]).and_then(|metadata| metadata[member].as_str());
        let chosen = [field.as_deref(), noted].into_iter().flatten().find(|text| !text.is_empty());
        chosen.map(str::to_owned)
    }

    /// Whether the stream is to be read.
    pub(super) fn is_selected(&self) -> bool {
        let root = self.metadata(&[]);
        let said = |member: &str| root.and_then(|metadata| metadata[member].as_bool());
        if root.is_some_and(|metadata| metadata["inclusion"] == "unsupported") {
            return false;
        }
        let bare = self.metadata.as_ref().is_none_or(Vec::is_empty);
        said("selected").or(self.selected).or(said("selected-by-default")).unwrap_or(bare)
    }

    /// Whether a property is to be read.
    pub(super) fn has(&self, property: &str) -> bool {
        let Some(metadata) = self.metadata(&["properties", property]) else { return true };
        match metadata["inclusion"].as_str() {
            Some("unsupported") => false,
            Some("automatic") => true,
            _ => {
                let said = |member: &str| metadata[member].as_bool();
                said("selected").or(said("selected-by-default")).unwrap_or(true)
            }
        }
    }

    /// How the stream is to be read.
    pub(super) fn method(&self) -> Result<Method> {
        let key = self.choice("replication-key", &self.replication_key);
        let method = self
            .choice("replication-method", &self.replication_method)
            .or_else(|| self.choice("forced-replication-method", &None));
        match method.as_deref() {
            Some("INCREMENTAL") => Ok(Method::Incremental(key)),
            None if key.is_some() => Ok(Method::Incremental(key)),
            Some("FULL_TABLE") | None => Ok(Method::Full),
            Some(other) => Err(Fault::config(format!(
                "the replication method {other} is none that this tap has: choose FULL_TABLE or \
                 INCREMENTAL"
            ))
            .into()),
        }
    }

    /// Says where a choice inside of a property is not heeded.
    pub(super) fn warn_of_nested(&self) {
        let nested = self.metadata.iter().flatten().filter(|entry| {
            entry.breadcrumb.len() > 2 && entry.metadata["selected"] == Value::Bool(false)
        });
        if nested.count() > 0 {
            log::warn(format_args!(
                "{}: properties inside of objects cannot be left out; the whole object is read",
                self.name().unwrap_or_default()
            ));
        }
    }
}

/// The bookmarks of a state, and all else in it.
pub(super) fn state(mut value: Value) -> Result<(Value, HashMap<String, Value>)> {
    // What `meltano state get` prints.
    if let Some(inner) = value.get_mut("singer_state") {
        value = inner.take();
    }
    if value.is_null() {
        value = json!({});
    }
    let bookmarks = match value.get("bookmarks") {
        None | Some(Value::Null) => HashMap::new(),
        Some(Value::Object(members)) => members.clone().into_iter().collect(),
        Some(_) => return Err(Fault::config("the state's `bookmarks` must be an object").into()),
    };
    match value.is_object() {
        true => Ok((value, bookmarks)),
        false => Err(Fault::config("the state must be a JSON object").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_of(value: Value) -> Entry {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn streams_and_properties_are_chosen_as_the_metadata_say() {
        let of = |root: Value| {
            entry_of(json!({"tap_stream_id": "s", "metadata": [
                {"breadcrumb": [], "metadata": root},
                {"breadcrumb": ["properties", "a"], "metadata": {"inclusion": "automatic", "selected": false}},
                {"breadcrumb": ["properties", "b"], "metadata": {"inclusion": "unsupported", "selected": true}},
                {"breadcrumb": ["properties", "c"], "metadata": {"selected": false, "selected-by-default": true}},
                {"breadcrumb": ["properties", "d"], "metadata": {"selected-by-default": false}},
            ]}))
        };
        assert!(of(json!({"selected": true})).is_selected());
        assert!(of(json!({"selected-by-default": true})).is_selected());
        assert!(!of(json!({"selected": false, "selected-by-default": true})).is_selected());
        assert!(!of(json!({})).is_selected());
        assert!(entry_of(json!({"stream": "s"})).is_selected(), "nothing is said at all");
        assert!(entry_of(json!({"stream": "s", "selected": true, "metadata": [{}]})).is_selected());
        let entry = of(json!({}));
        let chosen = ["a", "b", "c", "d", "e"].map(|name| entry.has(name));
        assert_eq!(chosen, [true, false, false, false, true]);
    }

    #[test]
    fn a_method_is_taken_from_the_field_or_the_metadata_and_empty_is_unset() {
        let of = |value: Value| entry_of(value).method().map_err(|error| error.to_string());
        let incremental = |key: &str| Ok(Method::Incremental(Some(key.to_owned())));
        let root = |metadata: Value| {
            json!({"stream": "s", "replication_method": "", "replication_key": null,
            "metadata": [{"breadcrumb": [], "metadata": metadata}]})
        };
        assert_eq!(of(json!({"stream": "s"})), Ok(Method::Full));
        assert_eq!(
            of(root(json!({"replication-method": "", "replication-key": "a"}))),
            incremental("a")
        );
        assert_eq!(
            of(json!({"stream": "s", "replication_method": "INCREMENTAL", "replication_key": "b"})),
            incremental("b")
        );
        assert_eq!(
            of(root(json!({"replication-method": "FULL_TABLE", "replication-key": "a"}))),
            Ok(Method::Full)
        );
        assert!(
            of(root(json!({"replication-method": "LOG_BASED"}))).unwrap_err().contains("LOG_BASED")
        );
    }
}
