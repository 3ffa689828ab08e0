//! Airbyte's source: `spec`, `check`, `discover` and `read`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use serde_json::{Map, Value, json};

use super::state::{self, StreamState};
use super::{Common, Configured, ConfiguredStream, Descriptor, SyncMode, schema};
use crate::fault::Fault;
use crate::json::{Decimals, Json, NonFinite, Spelling};
use crate::log;
use crate::message::{ChosenStore, Progress};
use crate::output::{Form, Frame, Outputs, ReaderGone, Shape, Sink, line};
use crate::runner::{input, reading};
use crate::silo::{Access, Cursor, Silo, Store, StoreId};
use crate::wire::names::Names;
use crate::wire::streams::{Found, Streams};
use crate::wire::{self, now};

/// After how many records of a stream a STATE is printed.
const CHECKPOINT: u64 = 10_000;

/// How many streams, and parts of one stream, are read side by side.
const PARALLEL: usize = 2;

#[derive(Debug, Parser)]
#[command(version, about = "An Airbyte source", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Log what is being tried
    #[arg(long, global = true)]
    debug: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what a configuration looks like
    Spec,
    /// Check that a configuration works
    Check(Common),
    /// Print the catalog
    Discover(Common),
    /// Print the records of the streams in a configured catalog
    Read(Read),
}

#[derive(Debug, Args)]
struct Read {
    #[command(flatten)]
    common: Common,
    /// The configured catalog
    #[arg(long, value_name = "FILE")]
    catalog: String,
    /// The states of an earlier run
    #[arg(long, value_name = "FILE")]
    state: Option<String>,
}

/// Runs one command.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    super::serve(
        words,
        |arguments: &Arguments| arguments.debug,
        |arguments, sink| async move { command::<S>(arguments.command, &sink).await },
    )
}

async fn command<S: Silo>(command: Command, sink: &Arc<Sink>) -> Result<ExitCode> {
    match command {
        Command::Spec => {
            let spec = json!({
                "connectionSpecification": schema::specification(wire::form::<S>()),
                "supportsIncremental": true,
                "protocol_version": "0.2.0",
            });
            sink.write(&line(&json!({"type": "SPEC", "spec": spec}))?)?;
        }
        Command::Check(common) => common.check::<S>(Access::Read, sink).await?,
        Command::Discover(common) => {
            let silo = open::<S>(&common, sink).await?;
            let Streams { names, found, .. } = Streams::of(&silo).await?;
            let streams: Vec<Value> = found.iter().map(|found| entry(&names, found)).collect();
            let catalog = json!({"type": "CATALOG", "catalog": {"streams": streams}});
            sink.write(&line(&catalog)?)?;
        }
        Command::Read(arguments) => {
            let catalog = super::catalog(&arguments.catalog)?;
            let states = match &arguments.state {
                Some(path) => state::parse(&input::plain_text(path)?)?,
                None => HashMap::new(),
            };
            let silo = open::<S>(&arguments.common, sink).await?;
            return read(&silo, catalog, &states, sink).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open<S: Silo>(common: &Common, sink: &Arc<Sink>) -> Result<S> {
    S::connect(wire::configuration::<S>(common.read(sink)?)?, Access::Read).await
}

/// A stream as the catalog has it: with a name of its own, whether or not the reader heeds
/// namespaces.
fn descriptor(names: &Names, id: &StoreId) -> Descriptor {
    Descriptor { name: names.apart(id), namespace: names.namespace(id).map(str::to_owned) }
}

/// The stream that a catalog means: by the name we gave it; by its store's own, which it had while
/// no other store was called the same; or by name alone, where the namespace is lost.
fn find<'f>(streams: &'f Streams<'_>, wanted: &Descriptor) -> Option<&'f Found> {
    let ours = |found: &&Found| descriptor(&streams.names, &found.id);
    let given = streams.found.iter().find(|found| ours(found) == *wanted);
    given.or_else(|| streams.named(wanted.namespace.as_deref(), &wanted.name)).or_else(|| {
        let mut named = streams.found.iter().filter(|found| ours(found).name == wanted.name);
        named.next().filter(|_| wanted.namespace.is_none() && named.next().is_none())
    })
}

/// The entry of the catalog.
fn entry(names: &Names, found: &Found) -> Value {
    let mut entry = json!(descriptor(names, &found.id));
    entry["json_schema"] = schema::stream(&found.schema.json_schema);
    entry["supported_sync_modes"] = match found.resumes() {
        true => json!(["full_refresh", "incremental"]),
        false => json!(["full_refresh"]),
    };
    let key: Vec<[&String; 1]> = found.schema.key.iter().map(|name| [name]).collect();
    if !key.is_empty() {
        entry["source_defined_primary_key"] = json!(key);
    }
    if found.resumes() {
        // A default cursor beside a key makes clients replace what they have.
        entry["source_defined_cursor"] = (!key.is_empty()).into();
        match (key.is_empty(), found.schema.cursors.first()) {
            (true, Some(cursor)) => entry["default_cursor_field"] = json!([cursor]),
            _ => entry["is_resumable"] = Value::Bool(true),
        }
    }
    entry
}

/// The property to go by: that of the state, so that a read goes on as it began; for a stream
/// without a key the user's; else the likeliest.
/// A read of everything goes the store's own way.
fn cursor(found: &Found, wanted: &ConfiguredStream, state: Option<&StreamState>) -> Option<String> {
    if wanted.sync_mode == SyncMode::FullRefresh {
        return None;
    }
    let first = |names: &Option<Vec<String>>| names.iter().flatten().next().cloned();
    let chosen = first(&wanted.cursor_field).filter(|_| found.schema.key.is_empty());
    if let Some(state) = state.filter(|state| state.cursor.is_some() && chosen.is_none()) {
        return first(&state.cursor_field);
    }
    chosen.or_else(|| found.schema.cursors.first().cloned())
}

/// One stream of a run.
struct Task<'s> {
    found: &'s Found,
    wanted: &'s ConfiguredStream,
    choice: ChosenStore,
    since: Option<Cursor>,
}

async fn read<S: Silo>(
    silo: &S,
    catalog: Configured,
    states: &HashMap<Descriptor, Value>,
    sink: &Arc<Sink>,
) -> Result<ExitCode> {
    let streams = Streams::of(silo).await?;
    let mut tasks = Vec::new();
    let mut lines = HashMap::new();
    let mut failed = false;
    let mut seen = HashSet::new();
    for wanted in &catalog.streams {
        let descriptor = wanted.stream.descriptor.cleaned();
        let prepared =
            prepare(&streams, wanted, states.get(&descriptor)).and_then(|task| {
                match seen.insert(task.found.id.clone()) {
                    true => Ok(task),
                    false => Err(Fault::config("the catalog has this stream twice").into()),
                }
            });
        match prepared {
            Ok(task) => {
                let line = StreamLines::of(descriptor, &task);
                lines.insert(task.found.id.clone(), line);
                tasks.push(task);
            }
            Err(error) => {
                failed = true;
                refuse(sink, &descriptor, error)?;
            }
        }
    }
    let form = Arc::new(Lines { streams: lines });
    let shape = Shape { checkpoint: Some(CHECKPOINT), ..Shape::default() };
    let outputs = Outputs::formed(Arc::clone(sink), shape, Arc::clone(&form) as Arc<dyn Form>);
    let stores = &streams.stores;
    let reads = futures::stream::iter(tasks).map(|task| {
        let (form, outputs) = (&form, &outputs);
        async move { read_one(stores, task, form, outputs, sink).await }
    });
    let mut reads = reads.buffer_unordered(PARALLEL);
    while let Some(done) = reads.next().await {
        failed |= !done?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What to read of a stream, and from where.
fn prepare<'s>(
    streams: &'s Streams<'_>,
    wanted: &'s ConfiguredStream,
    state: Option<&Value>,
) -> Result<Task<'s>> {
    let found = find(streams, &wanted.stream.descriptor.cleaned())
        .ok_or_else(|| Fault::config("there is no such stream; discover lists what there is"))?;
    let state = state.map(StreamState::read).transpose()?.flatten();
    let state = match wanted.sync_mode {
        SyncMode::Incremental => state,
        // Everything is wanted; only a read that was cut off is taken up.
        SyncMode::FullRefresh => state.filter(|state| state.unfinished),
    };
    if wanted.sync_mode == SyncMode::Incremental && !found.resumes() {
        log::warn(format_args!(
            "{}: has neither a key nor a cursor and is read in full, though an incremental read \
             was asked for",
            found.id
        ));
    }
    let cursor = cursor(found, wanted, state.as_ref());
    let known = found.schema.json_schema.get("properties").and_then(Value::as_object);
    let chosen = wanted.stream.json_schema.get("properties").and_then(Value::as_object);
    let mut properties = chosen.filter(|chosen| !chosen.is_empty()).cloned();
    if let (Some(properties), Some(known)) = (&mut properties, known) {
        let gone: Vec<String> =
            properties.keys().filter(|name| !known.contains_key(*name)).cloned().collect();
        if !gone.is_empty() {
            log::warn(format_args!("{}: is no longer there: {}", found.id, gone.join(", ")));
            gone.iter().for_each(|name| drop(properties.shift_remove(name)));
        }
    }
    let json_schema =
        properties.map(|properties: Map<String, Value>| json!({"properties": properties}));
    let StoreId { group, name } = found.id.clone();
    let since = state.as_ref().and_then(StreamState::since);
    Ok(Task { found, wanted, choice: ChosenStore { name, group, json_schema, cursor }, since })
}

/// Reads one stream; whether it was read to its end.
async fn read_one(
    stores: &[Box<dyn Store + '_>],
    task: Task<'_>,
    form: &Lines,
    outputs: &Outputs,
    sink: &Sink,
) -> Result<bool> {
    let id = &task.found.id;
    let stream = form.streams.get(id).context("a stream without its lines")?;
    sink.write(&status(&stream.descriptor, "STARTED")?)?;
    sink.write(&status(&stream.descriptor, "RUNNING")?)?;
    let since = task.since.as_ref();
    match reading::read_one(stores, &task.choice, since, PARALLEL, outputs).await {
        Ok(records) => {
            sink.write_made(|| stream.last_state(records))?;
            sink.write(&status(&stream.descriptor, "COMPLETE")?)?;
            Ok(true)
        }
        Err(error) => {
            refuse(sink, &stream.descriptor, error)?;
            Ok(false)
        }
    }
}

/// Says that a stream was not read, or not to its end.
fn refuse(sink: &Sink, stream: &Descriptor, error: anyhow::Error) -> Result<()> {
    if error.chain().any(|part| part.is::<ReaderGone>()) {
        return Err(error);
    }
    let error = error.context(format!("stream {}", stream.name));
    sink.write(&line(&super::trace_error(&error, Some(stream)))?)?;
    sink.write(&status(stream, "INCOMPLETE")?)
}

fn status(stream: &Descriptor, status: &str) -> Result<Vec<u8>> {
    let status = json!({"stream_descriptor": stream, "status": status});
    let trace = json!({"type": "STREAM_STATUS", "emitted_at": now(), "stream_status": status});
    line(&json!({"type": "TRACE", "trace": trace}))
}

/// The lines of a run.
struct Lines {
    streams: HashMap<StoreId, StreamLines>,
}

/// Those of one stream.
struct StreamLines {
    descriptor: Descriptor,
    /// Everything before a record.
    before: Vec<u8>,
    cursor_field: Option<Vec<String>>,
    /// Where an incremental read goes on.
    since: Option<Value>,
    /// Whether everything is read, so that a state before the end is one of a read under way.
    whole: bool,
    said: Mutex<Said>,
}

/// What the states of a stream have said.
#[derive(Default)]
struct Said {
    state: Option<StreamState>,
    records: u64,
}

impl StreamLines {
    fn of(descriptor: Descriptor, task: &Task<'_>) -> StreamLines {
        let mut before = br#"{"type":"RECORD","record":{"stream":"#.to_vec();
        let mut json = Json::new(&mut before, SPELLING);
        json.text(&descriptor.name);
        if let Some(namespace) = &descriptor.namespace {
            json.raw(br#","namespace":"#);
            json.text(namespace);
        }
        json.raw(br#","data":"#);
        let cursor = task.choice.cursor.clone();
        let whole = task.wanted.sync_mode == SyncMode::FullRefresh;
        let since = task.since.as_ref().filter(|_| !whole);
        StreamLines {
            descriptor,
            before,
            cursor_field: cursor.filter(|_| task.found.resumes()).map(|name| vec![name]),
            since: since.map(|cursor| cursor.0.clone()),
            whole,
            said: Mutex::default(),
        }
    }

    /// The state that covers `records` more records, unless it would say nothing new.
    fn state(&self, cursor: Option<Value>, unfinished: bool, records: u64) -> Result<Vec<u8>> {
        let cursor_field = self.cursor_field.clone().filter(|_| cursor.is_some());
        let state = StreamState { cursor, cursor_field, unfinished };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if records == 0 && said.state.as_ref() == Some(&state) {
            return Ok(Vec::new());
        }
        said.records += records;
        let message = line(&json!({"type": "STATE", "state": {
            "type": "STREAM",
            "stream": {"stream_descriptor": self.descriptor, "stream_state": state},
            "sourceStats": {"recordCount": records as f64},
        }}));
        said.state = Some(state);
        message
    }

    /// The state at the end of a read of `records` records. After a read of everything it holds
    /// no cursor, because an incremental read may go another way.
    fn last_state(&self, records: u64) -> Result<Vec<u8>> {
        let (cursor, said) = {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let state = said.state.as_ref().filter(|_| !self.whole);
            (state.and_then(|state| state.cursor.clone()), said.records)
        };
        let cursor = cursor.or_else(|| self.since.clone());
        self.state(cursor, false, records.saturating_sub(said))
    }
}

const SPELLING: Spelling = Spelling { decimals: Decimals::Text, non_finite: NonFinite::Null };

impl Form for Lines {
    fn frame(&self, store: &StoreId) -> Frame {
        let before = self.streams.get(store).map(|stream| stream.before.clone());
        Frame {
            before: before.unwrap_or_default(),
            after: format!(",\"emitted_at\":{}}}}}\n", now()).into_bytes(),
            numbered: None,
        }
    }

    fn spelling(&self) -> Spelling {
        SPELLING
    }

    fn end_of_altered(&self, nulled: &[String]) -> Option<Vec<u8>> {
        let change = |field: &String| json!({"field": field, "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"});
        let changes: Vec<Value> = nulled.iter().map(change).collect();
        let changes = Value::from(changes);
        let end = format!(",\"emitted_at\":{},\"meta\":{{\"changes\":{changes}}}}}}}\n", now());
        Some(end.into_bytes())
    }

    fn state(&self, store: &StoreId, cursor: &Cursor, records: u64) -> Result<Vec<u8>> {
        let stream = self.streams.get(store).context("a state of a store that is not read")?;
        stream.state(Some(cursor.0.clone()), stream.whole, records)
    }

    fn progress(&self, progress: &Progress) -> Result<Vec<u8>> {
        let store = StoreId::new(progress.schema_group.clone(), progress.schema_name.clone());
        let (Some(total), Some(stream)) = (progress.total, self.streams.get(&store)) else {
            return Ok(Vec::new());
        };
        let mut estimate = json!(stream.descriptor);
        estimate["type"] = "STREAM".into();
        estimate["row_estimate"] = total.into();
        let trace = json!({"type": "ESTIMATE", "emitted_at": now(), "estimate": estimate});
        line(&json!({"type": "TRACE", "trace": trace}))
    }
}

impl Descriptor {
    /// The same, with an empty namespace taken for none.
    pub(super) fn cleaned(&self) -> Descriptor {
        let namespace = self.namespace.clone().filter(|namespace| !namespace.is_empty());
        Descriptor { name: self.name.clone(), namespace }
    }
}
