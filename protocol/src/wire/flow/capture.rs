//! The capture: discovers, and reads its bindings one after the other.
//!
//! A binding is read on from its part of the state, which is kept by its state key: raising its
//! backfill counter reads it anew, and no other. Each document comes before the checkpoint that
//! covers it, and the process ends when everything is read; Flow starts it again after the
//! capture's interval.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::schema::{self, META, ROW};
use super::{
    Bound, Collection, DOCUMENTATION, PROTOCOL, Requests, all_well, payload, pointer, say,
};
use crate::fault::{self, Fault};
use crate::json::Spelling;
use crate::log;
use crate::message::{ChosenStore, Progress};
use crate::output::{Form, Frame, Numbered, Outputs, ReaderGone, Shape, Sink, line};
use crate::runner::{reading, writing};
use crate::silo::{Access, Cursor, Silo, StoreId};
use crate::wire;
use crate::wire::streams::{Found, Streams};

/// After how many documents of a binding a checkpoint is written.
const CHECKPOINT: u64 = 10_000;

/// How many connections one binding may use.
const PARALLEL: usize = 2;

/// Serves one process.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    super::serve(words, |sink| async move { answer::<S>(&sink).await })
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    discover: Option<&'a RawValue>,
    #[serde(borrow, default)]
    validate: Option<&'a RawValue>,
    #[serde(borrow, default)]
    apply: Option<&'a RawValue>,
    #[serde(borrow, default)]
    open: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Discover {
    config: Value,
}

#[derive(Deserialize)]
struct Open {
    capture: Bound<Binding>,
    #[serde(default)]
    range: Option<super::Range>,
    #[serde(default)]
    state: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(alias = "resource_config")]
    resource_config: Resource,
    #[serde(default)]
    collection: Option<Collection>,
    #[serde(default, alias = "collection_index")]
    collection_index: usize,
    #[serde(default)]
    backfill: u32,
    #[serde(default, alias = "state_key")]
    state_key: Option<String>,
}

/// What a user says of a binding.
#[derive(Debug, Deserialize)]
struct Resource {
    stream: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    mode: Option<Mode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Incremental,
    FullRefresh,
}

/// The form of a binding.
fn resource_form() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Store",
        "type": "object",
        "required": ["stream"],
        "properties": {
            "stream": {
                "type": "string",
                "title": "Stream",
                "description": "The table or kind of object to capture.",
                "order": 0,
                "x-collection-name": true,
            },
            "namespace": {
                "type": "string",
                "title": "Namespace",
                "description": "The schema that it is in.",
                "order": 1,
                "x-schema-name": true,
            },
            "mode": {
                "type": "string",
                "title": "Mode",
                "description": "Whether each run reads what came since the last one, or everything.",
                "enum": ["incremental", "full_refresh"],
                "default": "incremental",
                "order": 2,
            },
            "cursor": {
                "type": "string",
                "title": "Cursor",
                "description": "The property to read on by. By default the likeliest one.",
                "order": 3,
            },
        },
    })
}

impl Resource {
    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    /// What the form's pointers give.
    fn path(&self) -> Vec<String> {
        self.namespace().into_iter().chain([self.stream.as_str()]).map(str::to_owned).collect()
    }
}

async fn answer<S: Silo>(sink: &Arc<Sink>) -> Result<()> {
    let mut requests = Requests::open();
    while let Some(line) = requests.next()? {
        let parsed = writing::parsed::<Request<'_>>(line);
        let opened = match parsed {
            Ok(Request { open: Some(raw), .. }) => payload::<Open>(raw)?,
            Ok(request) => {
                match unary::<S>(&request).await? {
                    Some(response) => say(sink, &response)?,
                    None => {
                        let why = "a capture answers spec, discover, validate, apply and open";
                        return Err(requests.refusal(why));
                    }
                }
                continue;
            }
            Err(why) => return Err(requests.refusal(&why)),
        };
        // No acknowledgements are asked for; whatever comes all the same must not fill the pipe.
        drop(requests);
        std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        return capture::<S>(opened, sink).await;
    }
    Ok(())
}

/// The response to a request that has one.
async fn unary<S: Silo>(request: &Request<'_>) -> Result<Option<Value>> {
    if request.spec.is_some() {
        return Ok(Some(json!({"spec": {
            "protocol": PROTOCOL,
            "configSchema": wire::form::<S>(),
            "resourceConfigSchema": resource_form(),
            "documentationUrl": DOCUMENTATION,
            "resourcePathPointers": ["/namespace", "/stream"],
        }})));
    }
    if let Some(raw) = request.discover {
        let Discover { config } = payload(raw)?;
        let silo = S::connect(wire::configuration::<S>(config)?, Access::Read).await?;
        let streams = Streams::of(&silo).await?;
        return Ok(Some(json!({"discovered": {"bindings": discovered(&streams)}})));
    }
    if let Some(raw) = request.validate {
        let Bound::<Binding> { config, bindings, linked_collections } = payload(raw)?;
        let silo = S::connect(wire::configuration::<S>(config)?, Access::Read).await?;
        silo.validate().await?;
        let streams = Streams::of(&silo).await?;
        tasks(&streams, &bindings, &linked_collections, None)?;
        let paths = bindings.iter().map(|binding| {
            let path = binding.resource_config.path();
            json!({"resourcePath": path})
        });
        return Ok(Some(json!({"validated": {"bindings": paths.collect::<Vec<_>>()}})));
    }
    // Nothing has to be made in what is read.
    Ok(request.apply.map(|_| json!({"applied": {}})))
}

/// A binding for each stream.
fn discovered(streams: &Streams<'_>) -> Vec<Value> {
    let mut bindings = Vec::new();
    for Found { id, schema, .. } in streams.found.iter().filter(|found| found.reads()) {
        if has_meta(&schema.json_schema) {
            log::error(format_args!("{id}: {NO_META}"));
            continue;
        }
        let mut resource = json!({"stream": id.name});
        if let Some(namespace) = streams.names.namespace(id) {
            resource["namespace"] = namespace.into();
        }
        if let Some(cursor) = schema.cursors.first() {
            resource["cursor"] = cursor.as_str().into();
        }
        bindings.push(json!({
            "recommendedName": streams.names.joined(id, "/"),
            "resourceConfig": resource,
            "documentSchema": schema::document(schema),
            "key": schema::key(schema),
        }));
    }
    bindings
}

const NO_META: &str = "it has a property `_meta`, where Flow keeps its own, and cannot be captured";

fn has_meta(schema: &Value) -> bool {
    schema["properties"].get(META).is_some()
}

/// One binding of a run.
struct Task<'s> {
    found: &'s Found,
    choice: ChosenStore,
    since: Option<Cursor>,
    lines: Binder,
}

/// What to read of each binding, and from where; everything that is wrong with them is one error.
fn tasks<'s>(
    streams: &'s Streams<'_>,
    bindings: &[Binding],
    linked: &[Collection],
    state: Option<&Value>,
) -> Result<Vec<Task<'s>>> {
    let mut tasks = Vec::new();
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (place, binding) in bindings.iter().enumerate() {
        let task = task(streams, place, binding, linked, state).and_then(|task| {
            match seen.insert(task.found.id.clone()) {
                true => Ok(task),
                false => Err(Fault::config("two bindings capture it").into()),
            }
        });
        match task {
            Ok(task) => tasks.push(task),
            Err(error) => {
                let name = binding.resource_config.path().join("/");
                problems.push(format!("{name}: {}", fault::line(&error)));
            }
        }
    }
    all_well(problems).map(|()| tasks)
}

fn task<'s>(
    streams: &'s Streams<'_>,
    place: usize,
    binding: &Binding,
    linked: &[Collection],
    state: Option<&Value>,
) -> Result<Task<'s>> {
    let resource = &binding.resource_config;
    let found = streams
        .named(resource.namespace(), &resource.stream)
        .filter(|found| found.reads())
        .ok_or_else(|| Fault::config("there is no such store; discover lists what there is"))?;
    let known = &found.schema.json_schema["properties"];
    if has_meta(&found.schema.json_schema) {
        return Err(Fault::config(NO_META).into());
    }
    let collection = super::collection(&binding.collection, binding.collection_index, linked)?;
    let key = if collection.key.is_empty() { schema::key(&found.schema) } else { collection.key };
    let names = known.as_object().into_iter().flatten().map(|(name, _)| pointer(name));
    let names: HashSet<String> = names.chain([ROW.to_owned()]).collect();
    if let Some(missing) = key.iter().find(|pointer| !names.contains(*pointer)) {
        let why = format!("its collection {} has the key {missing}", collection.name);
        return Err(Fault::config(format!("{why}, which the store does not have")).into());
    }
    let cursor = resource.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    if let Some(cursor) = cursor.filter(|cursor| known.get(cursor).is_none()) {
        return Err(Fault::config(format!("there is no `{cursor}` to read it by")).into());
    }
    let whole = resource.mode == Some(Mode::FullRefresh) || !found.resumes();
    let state_key = match &binding.state_key {
        Some(key) if !key.is_empty() => key.clone(),
        _ => super::state_key(&resource.path(), binding.backfill),
    };
    let earlier = state.map_or(Ok(None), |state| Bookmark::find(state, &state_key))?;
    // Where everything is wanted, only a read that was cut off is taken up.
    let earlier = earlier.filter(|earlier| !whole || earlier.unfinished).unwrap_or_default();
    let rows = Arc::new(AtomicU64::new(earlier.rows));
    let lines = Binder {
        place,
        state_key,
        rows: (key == [ROW]).then_some(rows),
        whole,
        said: Mutex::new(Said { bookmark: earlier.clone(), records: 0 }),
    };
    let cursor = if whole { None } else { cursor.map(str::to_owned) };
    let cursor = cursor.or_else(|| found.schema.cursors.first().cloned().filter(|_| !whole));
    let StoreId { group, name } = found.id.clone();
    let choice = ChosenStore { name, group, json_schema: None, cursor };
    let since = earlier.cursor.into_iter().next().map(Cursor);
    Ok(Task { found, choice, since, lines })
}

async fn capture<S: Silo>(open: Open, sink: &Arc<Sink>) -> Result<()> {
    let Open { capture, range, state } = open;
    if range.is_some_and(|range| !range.is_whole()) {
        let why = "this capture cannot be split: give it one shard";
        return Err(Fault::config(why).into());
    }
    let silo = S::connect(wire::configuration::<S>(capture.config)?, Access::Read).await?;
    let streams = Streams::of(&silo).await?;
    let state = state.unwrap_or_default();
    let tasks = tasks(&streams, &capture.bindings, &capture.linked_collections, Some(&state))?;
    say(sink, &json!({"opened": {}}))?;
    let mut binders = HashMap::new();
    let mut reads = Vec::new();
    for Task { found, choice, since, lines } in tasks {
        binders.insert(found.id.clone(), lines);
        reads.push((found, choice, since));
    }
    let form = Arc::new(Lines { binders });
    let shape = Shape { checkpoint: Some(CHECKPOINT), ..Shape::default() };
    let outputs = Outputs::formed(Arc::clone(sink), shape, Arc::clone(&form) as Arc<dyn Form>);
    let mut failed = Vec::new();
    for (found, choice, since) in reads {
        let binder = form.binders.get(&found.id).context("a binding without its lines")?;
        let read =
            reading::read_one(&streams.stores, &choice, since.as_ref(), PARALLEL, &outputs).await;
        match read {
            Ok(records) => sink.write_made(|| binder.last(records))?,
            Err(error) if error.chain().any(|part| part.is::<ReaderGone>()) => return Err(error),
            Err(error) => {
                reading::say(&found.id, error)?;
                failed.push(found.id.to_string());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Fault::system(format!("not read to the end: {}", failed.join(", "))).into()),
    }
}

/// A binding's part of the state. All members are written every time, and the cursor in a list,
/// because a merge patch replaces lists and scalars and would mix the members of two cursors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Bookmark {
    /// At most one: none where the next read begins at the beginning.
    cursor: Vec<Value>,
    /// How many documents were numbered.
    #[serde(default)]
    rows: u64,
    /// Whether a read of everything is under way, which another may take up.
    #[serde(default)]
    unfinished: bool,
}

impl Bookmark {
    /// The bookmark of a binding, if the state has one.
    fn find(state: &Value, key: &str) -> Result<Option<Bookmark>> {
        match &state["bindingStateV1"][key] {
            Value::Null => Ok(None),
            Value::Object(members) if members.is_empty() => Ok(None),
            ours => serde_json::from_value(ours.clone()).map(Some).map_err(|_| {
                let why = "its state was not written by this connector or version: raise the \
                           binding's backfill counter to read it anew";
                Fault::config(why).into()
            }),
        }
    }
}

/// The lines of a run.
struct Lines {
    binders: HashMap<StoreId, Binder>,
}

/// Those of one binding.
struct Binder {
    place: usize,
    state_key: String,
    /// How many documents were numbered, where they have no key.
    rows: Option<Arc<AtomicU64>>,
    /// Whether everything is read, so that a place before the end is one of a read under way.
    whole: bool,
    said: Mutex<Said>,
}

struct Said {
    bookmark: Bookmark,
    /// How many documents checkpoints have covered.
    records: u64,
}

impl Binder {
    /// The checkpoint that covers `records` more documents, unless it would say nothing new.
    fn checkpoint(&self, cursor: Option<Value>, unfinished: bool, records: u64) -> Result<Vec<u8>> {
        let rows = self.rows.as_ref().map_or(0, |rows| rows.load(Ordering::Relaxed));
        let rows = if self.whole && !unfinished { 0 } else { rows };
        let bookmark = Bookmark { cursor: cursor.into_iter().collect(), rows, unfinished };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if records == 0 && said.bookmark == bookmark {
            return Ok(Vec::new());
        }
        let mut patch = json!({});
        patch[&self.state_key] = json!(bookmark);
        *said = Said { bookmark, records: said.records + records };
        let state = json!({"updated": {"bindingStateV1": patch}, "mergePatch": true});
        line(&json!({"checkpoint": {"state": state}}))
    }

    /// The last checkpoint of a read of `records` documents. After a read of everything it holds
    /// no cursor, because the next one begins at the beginning.
    fn last(&self, records: u64) -> Result<Vec<u8>> {
        let (cursor, covered) = {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let cursor = said.bookmark.cursor.first().filter(|_| !self.whole);
            (cursor.cloned(), said.records)
        };
        self.checkpoint(cursor, false, records.saturating_sub(covered))
    }
}

impl Form for Lines {
    fn frame(&self, store: &StoreId) -> Frame {
        let binder = self.binders.get(store);
        let place = binder.map_or(0, |binder| binder.place);
        Frame {
            before: format!("{{\"captured\":{{\"binding\":{place},\"doc\":").into_bytes(),
            after: b"}}\n".to_vec(),
            numbered: binder.and_then(|binder| binder.rows.as_ref()).map(|rows| Numbered {
                before: br#""_meta":{"row_id":"#,
                after: b"}}",
                last: Arc::clone(rows),
            }),
        }
    }

    fn spelling(&self) -> Spelling {
        Spelling::NATIVE
    }

    fn state(&self, store: &StoreId, cursor: &Cursor, records: u64) -> Result<Vec<u8>> {
        let binder = self.binders.get(store).context("a state of a store that is not read")?;
        binder.checkpoint(Some(cursor.0.clone()), binder.whole, records)
    }

    fn progress(&self, _: &Progress) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
