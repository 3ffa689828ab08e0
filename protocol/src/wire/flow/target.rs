//! What a materialization's bindings are, and the tables and rows that come of them.

use std::borrow::Cow;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Collection, Projection, schema, tuple};
use crate::fault::Fault;
use crate::json::{Json, Spelling};
use crate::message::{Details, SchemaEntry};
use crate::silo::{Kind, StoreId, WriteMode};
use crate::wire::names::Names;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Binding {
    #[serde(alias = "resource_config")]
    pub(super) resource_config: Resource,
    #[serde(default)]
    pub(super) collection: Option<Collection>,
    #[serde(default, alias = "collection_index")]
    pub(super) collection_index: usize,
    #[serde(default, alias = "field_selection")]
    pub(super) field_selection: Selection,
    #[serde(default, alias = "group_by")]
    pub(super) group_by: Vec<String>,
    #[serde(default)]
    pub(super) backfill: u32,
}

/// What a user says of a binding.
#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    table: String,
    #[serde(default)]
    schema: Option<String>,
    #[serde(default)]
    pub(super) delta_updates: bool,
}

/// The fields that become columns.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Selection {
    #[serde(default)]
    pub(super) keys: Vec<String>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    pub(super) document: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    #[serde(default)]
    pub(super) binding: usize,
    #[serde(borrow, default)]
    key: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default, alias = "key_packed")]
    key_packed: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    values: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default, alias = "values_packed")]
    values_packed: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    doc: Option<&'a RawValue>,
}

/// The form of a binding.
pub(super) fn resource_form() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Table",
        "type": "object",
        "required": ["table"],
        "properties": {
            "table": {
                "type": "string",
                "title": "Table",
                "description": "The table that the documents go into.",
                "order": 0,
                "x-collection-name": true,
            },
            "schema": {
                "type": "string",
                "title": "Schema",
                "description": "The schema that it is in. By default the connection's own.",
                "order": 1,
                "x-schema-name": true,
            },
            "delta_updates": {
                "type": "boolean",
                "title": "Delta Updates",
                "description": "Whether each document is a row of its own, instead of one row a key.",
                "default": false,
                "order": 2,
                "x-delta-updates": true,
            },
        },
    })
}

impl Resource {
    fn schema(&self) -> Option<&str> {
        self.schema.as_deref().filter(|schema| !schema.is_empty())
    }

    pub(super) fn path(&self) -> Vec<String> {
        self.schema().into_iter().chain([self.table.as_str()]).map(str::to_owned).collect()
    }
}

/// Which fields must become columns, and which may.
pub(super) fn constraints(collection: &Collection, binding: &Binding) -> Map<String, Value> {
    let delta = binding.resource_config.delta_updates;
    let is_key = |projection: &Projection| match binding.group_by.as_slice() {
        [] => projection.is_key || collection.key.contains(&projection.ptr),
        keys => keys.contains(&projection.field),
    };
    let constraint = |projection: &Projection| {
        let mut types = projection.inference.types.iter().filter(|name| *name != "null");
        let (first, more) = (types.next(), types.next());
        let scalar = first.is_some_and(|name| name != "object" && name != "array");
        match projection {
            all if all.ptr.is_empty() && !delta => {
                ("LOCATION_REQUIRED", "documents are merged with the one that is stored")
            }
            key if is_key(key) && !delta => ("LOCATION_REQUIRED", "rows are told apart by it"),
            key if is_key(key) => ("LOCATION_RECOMMENDED", "it is a part of the key"),
            never if !never.inference.types.is_empty() && first.is_none() => {
                ("FIELD_FORBIDDEN", "it is always null")
            }
            _ if scalar && more.is_none() => ("LOCATION_RECOMMENDED", "it has one type"),
            _ => ("FIELD_OPTIONAL", "it can be stored"),
        }
    };
    let of = |projection: &Projection| {
        let (word, reason) = constraint(projection);
        (projection.field.clone(), json!({"type": word, "reason": reason}))
    };
    collection.projections.iter().map(of).collect()
}

pub(super) fn entry(id: &StoreId, properties: Value, key: Vec<String>) -> SchemaEntry {
    SchemaEntry {
        name: id.name.clone(),
        group: id.group.clone(),
        json_schema: json!({"type": "object", "properties": properties}),
        details: Some(Details {
            kind: Kind::Table,
            key,
            cursors: Vec::new(),
            relations: Vec::new(),
            capabilities: Vec::new(),
        }),
    }
}

/// Where the documents of a binding go.
pub(super) struct Target {
    pub(super) id: StoreId,
    pub(super) mode: WriteMode,
    pub(super) entry: SchemaEntry,
    pub(super) fields: Selection,
}

impl Target {
    pub(super) fn of(binding: &Binding, linked: &[Collection], ids: &[StoreId]) -> Result<Target> {
        let resource = &binding.resource_config;
        let id = Names::of(ids).target(ids, resource.schema(), &resource.table);
        let collection = super::collection(&binding.collection, binding.collection_index, linked)?;
        let fields = binding.field_selection.clone();
        let mut properties = Map::new();
        for name in fields.keys.iter().chain(&fields.values) {
            let projection = collection.projections.iter().find(|p| p.field == *name);
            let projection = projection.with_context(|| {
                Fault::config(format!("{id}: the collection {} has no {name}", collection.name))
            })?;
            let mut schema = schema::column(&projection.inference);
            // As it came, or what is stored would not be found by it.
            if fields.keys.contains(name)
                && let Some(members) = schema.as_object_mut()
            {
                members.shift_remove("format");
            }
            properties.insert(name.clone(), schema);
        }
        if !fields.document.is_empty() {
            properties.insert(fields.document.clone(), json!({}));
        }
        let (mode, key) = match resource.delta_updates {
            true => (WriteMode::Append, Vec::new()),
            false => (WriteMode::Upsert, fields.keys.clone()),
        };
        let entry = entry(&id, Value::Object(properties), key);
        Ok(Target { id, mode, entry, fields })
    }

    /// The row of a document.
    pub(super) fn row(&self, document: &Document<'_>) -> Result<Box<RawValue>, String> {
        let keys = elements(document.key.as_deref(), document.key_packed.as_deref())?;
        let values = elements(document.values.as_deref(), document.values_packed.as_deref())?;
        if keys.len() != self.fields.keys.len() || values.len() != self.fields.values.len() {
            return Err("a document has other fields than its binding".to_owned());
        }
        let mut row = Vec::new();
        let names = self.fields.keys.iter().chain(&self.fields.values);
        for (name, value) in names.zip(keys.iter().chain(&values)) {
            member(&mut row, name, value);
        }
        if !self.fields.document.is_empty() {
            let document = document.doc.ok_or("a document is missing")?;
            member(&mut row, &self.fields.document, document.get());
        }
        row.push(if row.is_empty() { b'{' } else { b' ' });
        row.push(b'}');
        let row = String::from_utf8(row).map_err(|_| "a document is not UTF-8")?;
        RawValue::from_string(row).map_err(|_| "a document is not JSON".to_owned())
    }
}

fn member(row: &mut Vec<u8>, name: &str, value: &str) {
    row.push(if row.is_empty() { b'{' } else { b',' });
    Json::new(row, Spelling::NATIVE).text(name);
    row.push(b':');
    row.extend_from_slice(value.as_bytes());
}

/// The elements of a key or of values: as JSON, or packed.
pub(super) fn elements<'a>(
    plain: Option<&[&'a RawValue]>,
    packed: Option<&str>,
) -> Result<Vec<Cow<'a, str>>, String> {
    match (plain, packed) {
        (Some(plain), _) => Ok(plain.iter().map(|value| Cow::Borrowed(value.get())).collect()),
        (None, Some(packed)) => {
            let bytes = BASE64.decode(packed).ok();
            let elements = bytes.and_then(|bytes| tuple::unpack(&bytes));
            let elements = elements.ok_or("a packed key or value cannot be read")?;
            Ok(elements.into_iter().map(Cow::Owned).collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}
