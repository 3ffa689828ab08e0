//! The tap: discovers, and reads the streams of a catalog.

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};

use super::catalog::{self, Catalog, Entry, Method};
use super::{SPELLING, schema};
use crate::fault::{self, Fault};
use crate::json::{Json, Spelling};
use crate::log;
use crate::message::{ChosenStore, Progress};
use crate::output::{Form, Frame, Outputs, ReaderGone, Shape, Sink, line};
use crate::runner::terminal::{self, Terminal};
use crate::runner::{input, reading};
use crate::runtime;
use crate::silo::{Access, Cursor, Silo, StoreId};
use crate::wire;
use crate::wire::streams::{Found, Streams};
use crate::wire::{now, timestamp};

/// After how many records of a stream a STATE is printed.
const CHECKPOINT: u64 = 10_000;

/// How many connections one stream may use. Streams come one after the other, as targets like it.
const PARALLEL: usize = 2;

const CAPABILITIES: [&str; 8] = [
    "catalog",
    "properties",
    "state",
    "discover",
    "about",
    "test",
    "activate-version",
    "structured-logging",
];

/// The setting, beside the connector's own, that gives full reads a version.
const VERSIONS: &str = "emit_activate_version_messages";

/// The member of a bookmark that holds our cursor.
const PRIVATE: &str = "manifold";

#[derive(Debug, Parser)]
#[command(version, about = "A Singer tap")]
struct Arguments {
    /// The configuration; later files win, and ENV reads variables
    #[arg(short, long, value_name = "FILE|ENV")]
    config: Vec<String>,
    /// The STATE of an earlier run
    #[arg(short, long, value_name = "FILE")]
    state: Option<String>,
    /// The streams to read; all without this
    #[arg(long, value_name = "FILE")]
    catalog: Option<String>,
    /// The same, as older runners say it
    #[arg(short, long, value_name = "FILE")]
    properties: Option<String>,
    /// Print the catalog
    #[arg(short, long)]
    discover: bool,
    /// Print the settings and what the tap can do
    #[arg(long)]
    about: bool,
    /// How --about is printed
    #[arg(long, value_name = "json|text", default_value = "text")]
    format: String,
    /// Check that the configuration works
    #[arg(long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "all")]
    test: Option<String>,
}

/// Runs the tap.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    let plugin = super::plugin::<S>(words, "tap-");
    super::start_log(&plugin);
    let arguments: Arguments = match wire::parse(words) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let state: Arc<OnceLock<Arc<Lines>>> = Arc::default();
    let sink = match Terminal::look().sink() {
        Ok(sink) => Arc::new(sink),
        Err(error) => return super::end(Err(error)),
    };
    let last = Arc::clone(&state);
    terminal::end_on_signals_with(Arc::clone(&sink), move |signal| {
        let line = last.get().and_then(|lines| lines.state_line().ok());
        (line.unwrap_or_default(), 128 + signal)
    });
    super::end(runtime::block_on(task::<S>(&arguments, &plugin, &sink, &state)))
}

async fn task<S: Silo>(
    arguments: &Arguments,
    plugin: &str,
    sink: &Arc<Sink>,
    state: &OnceLock<Arc<Lines>>,
) -> Result<ExitCode> {
    if arguments.about {
        return super::print_about::<S>(plugin, &CAPABILITIES, &arguments.format, sink);
    }
    if arguments.config.is_empty() {
        log::error("--config is missing (--help lists what there is)");
        return Ok(ExitCode::from(2));
    }
    let config = super::configuration::<S>(plugin, &arguments.config)?;
    let chosen = match arguments.catalog.as_ref().or(arguments.properties.as_ref()) {
        Some(path) if !arguments.discover => Some(catalog::read(input::json(path)?)?),
        _ => None,
    };
    let earlier = match &arguments.state {
        Some(path) if !arguments.discover => match input::plain_text(path)? {
            text if text.trim().is_empty() => json!({}),
            _ => input::json(path)?,
        },
        _ => json!({}),
    };
    super::hand_on_changes(&arguments.config);
    let versions = config[VERSIONS] == Value::Bool(true);
    let silo = S::connect(wire::configuration::<S>(config)?, Access::Read).await?;
    if arguments.test.is_some() && !arguments.discover {
        silo.validate().await?;
        log::info("the configuration works");
        return Ok(ExitCode::SUCCESS);
    }
    let streams = Streams::of(&silo).await?;
    if arguments.discover {
        let text = format!("{:#}\n", json!({"streams": entries(&streams)}));
        sink.write(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = match chosen {
        Some(chosen) => chosen,
        None => catalog::read(json!({"streams": entries(&streams)}))?,
    };
    sync(&streams, &chosen, earlier, versions, sink, state).await
}

/// The catalog's entries of all streams.
fn entries(streams: &Streams<'_>) -> Vec<Value> {
    let entry = |Found { id, schema, .. }: &Found| {
        let name = streams.names.joined(id, "-");
        catalog::entry(&name, &id.name, streams.names.namespace(id), schema)
    };
    streams.found.iter().map(entry).collect()
}

/// One stream of a run.
struct Task<'s> {
    name: String,
    id: &'s StoreId,
    choice: ChosenStore,
    since: Option<Cursor>,
    /// The SCHEMA line, and what else comes before the records.
    schema: Vec<u8>,
}

async fn sync(
    streams: &Streams<'_>,
    chosen: &Catalog,
    earlier: Value,
    versions: bool,
    sink: &Arc<Sink>,
    state: &OnceLock<Arc<Lines>>,
) -> Result<ExitCode> {
    let (whole, bookmarks) = catalog::state(earlier)?;
    let mut tasks: Vec<Task<'_>> = Vec::new();
    let mut lines = HashMap::new();
    let mut failed = false;
    for entry in &chosen.streams {
        let name = entry.name()?;
        if !entry.is_selected() {
            continue;
        }
        match prepare(streams, entry, name, bookmarks.get(name), versions) {
            Ok((task, _)) if lines.contains_key(task.id) => {
                failed = true;
                log::error(format_args!("{name}: the catalog has this stream twice"));
            }
            Ok((task, line)) => {
                lines.insert(task.id.clone(), line);
                tasks.push(task);
            }
            Err(error) => {
                failed = true;
                log::error(format_args!("{name}: {}", fault::line(&error)));
            }
        }
    }
    if tasks.is_empty() && !failed {
        log::warn("the catalog selects no stream");
    }
    let form = Arc::new(Lines { streams: lines, state: Mutex::new(whole) });
    state.get_or_init(|| Arc::clone(&form));
    let shape = Shape { checkpoint: Some(CHECKPOINT), ..Shape::default() };
    let outputs = Outputs::formed(Arc::clone(sink), shape, Arc::clone(&form) as Arc<dyn Form>);
    for task in tasks {
        sink.write(&task.schema)?;
        let since = task.since.as_ref();
        match reading::read_one(&streams.stores, &task.choice, since, PARALLEL, &outputs).await {
            Ok(records) => {
                let tags = json!({"stream": task.name});
                let metric = json!({"type": "counter", "metric": "record_count", "value": records, "tags": tags});
                log::info(format_args!("METRIC: {metric}"));
                sink.write_made(|| form.finished(task.id))?;
            }
            Err(error) if error.chain().any(|part| part.is::<ReaderGone>()) => return Err(error),
            Err(error) => {
                failed = true;
                log::error(format_args!("{}: {}", task.name, fault::line(&error)));
            }
        }
    }
    // What was read before a failure stays read.
    sink.write_made(|| form.state_line())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What to read of a stream, from where, and how its lines look.
fn prepare<'s>(
    streams: &'s Streams<'_>,
    entry: &Entry,
    name: &str,
    bookmark: Option<&Value>,
    versions: bool,
) -> Result<(Task<'s>, StreamLines)> {
    let Found { id, schema, .. } = streams
        .found
        .iter()
        .find(|found| streams.names.joined(&found.id, "-") == name)
        .ok_or_else(|| Fault::config("there is no such stream; --discover lists what there is"))?;
    let method = entry.method()?;
    let (cursor, since) = match &method {
        Method::Full => (None, None),
        Method::Incremental(key) => {
            if key.is_none() && schema.key.is_empty() {
                log::warn(format_args!(
                    "{name}: has neither a replication key nor a key and is read in full, though \
                     INCREMENTAL was asked for"
                ));
            }
            (key.clone(), bookmark.map(since).transpose()?.flatten())
        }
    };
    entry.warn_of_nested();
    let is_key = |property: &str| schema.key.iter().any(|key| key == property);
    let has = |property: &str| {
        is_key(property) || cursor.as_deref() == Some(property) || entry.has(property)
    };
    let native = &schema.json_schema;
    let all = native["properties"].as_object().into_iter().flatten();
    let wanted: serde_json::Map<String, Value> =
        all.filter(|(name, _)| has(name)).map(|(name, of)| (name.clone(), of.clone())).collect();
    let mut message = json!({
        "type": "SCHEMA",
        "stream": name,
        "schema": schema::stream(native, &schema.key, has),
        "key_properties": schema.key,
    });
    if let Some(cursor) = &cursor {
        message["bookmark_properties"] = json!([cursor]);
    }
    let mut before = br#"{"type":"RECORD","stream":"#.to_vec();
    let mut json = Json::new(&mut before, SPELLING);
    json.text(name);
    json.raw(br#","record":"#);
    let last = bookmark.and_then(|bookmark| bookmark["version"].as_u64());
    // Never the same twice, whatever the clock does.
    let next = || now().max(last.map_or(0, |last| last + 1));
    let version = (versions && method == Method::Full).then(next);
    let lines =
        StreamLines { name: name.to_owned(), before, method, cursor: cursor.clone(), version };
    let mut schema = line(&message)?;
    if last.is_none() {
        schema.extend(lines.activation()?);
    }
    let StoreId { group, name: table } = id.clone();
    let json_schema = Some(json!({"properties": wanted}));
    let choice = ChosenStore { name: table, group, json_schema, cursor };
    Ok((Task { name: name.to_owned(), id, choice, since, schema }, lines))
}

/// Our cursor in a bookmark. Without one there is nothing to go on from, unless it is another
/// tap's.
fn since(bookmark: &Value) -> Result<Option<Cursor>> {
    match bookmark.get(PRIVATE) {
        Some(cursor) => Ok(Some(Cursor(cursor.clone()))),
        None if bookmark.get("replication_key_value").is_none_or(Value::is_null) => Ok(None),
        None => Err(Fault::config(
            "the bookmark was written by another tap: read without the state, once",
        )
        .into()),
    }
}

/// The lines of a run, and its state.
struct Lines {
    streams: HashMap<StoreId, StreamLines>,
    /// The whole state, bookmarks of other streams and members of others' making included.
    state: Mutex<Value>,
}

/// Those of one stream.
struct StreamLines {
    name: String,
    /// Everything before a record.
    before: Vec<u8>,
    method: Method,
    cursor: Option<String>,
    /// The version of the records of a full read, where one is asked for.
    version: Option<u64>,
}

impl StreamLines {
    /// ACTIVATE_VERSION, for a stream with a version.
    fn activation(&self) -> Result<Vec<u8>> {
        let message = |version| {
            line(&json!({"type": "ACTIVATE_VERSION", "stream": self.name, "version": version}))
        };
        self.version.map_or(Ok(Vec::new()), message)
    }
}

impl Lines {
    fn state_line(&self) -> Result<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state["bookmarks"].is_object() {
            state["bookmarks"] = json!({});
        }
        line(&json!({"type": "STATE", "value": *state}))
    }

    fn note(&self, stream: &str, bookmark: Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state["bookmarks"][stream] = bookmark;
    }

    /// The lines that say that a stream was read to its end; one that is read in full has no place
    /// to go on.
    fn finished(&self, store: &StoreId) -> Result<Vec<u8>> {
        let mut lines = Vec::new();
        if let Some(stream) = self.streams.get(store).filter(|s| s.method == Method::Full) {
            lines = stream.activation()?;
            self.note(&stream.name, stream.version.map_or(json!({}), |of| json!({"version": of})));
        }
        lines.extend(self.state_line()?);
        Ok(lines)
    }
}

impl Form for Lines {
    fn frame(&self, store: &StoreId) -> Frame {
        let stream = self.streams.get(store);
        let version = stream.and_then(|stream| stream.version);
        let version = version.map_or(String::new(), |version| format!(",\"version\":{version}"));
        Frame {
            before: stream.map(|stream| stream.before.clone()).unwrap_or_default(),
            after: format!("{version},\"time_extracted\":\"{}\"}}\n", timestamp()).into_bytes(),
            numbered: None,
        }
    }

    fn spelling(&self) -> Spelling {
        SPELLING
    }

    fn state(&self, store: &StoreId, cursor: &Cursor, _: u64) -> Result<Vec<u8>> {
        let stream = self.streams.get(store).context("a state of a store that is not read")?;
        if stream.method == Method::Full {
            return Ok(Vec::new());
        }
        let mut bookmark = json!({});
        if let Some(name) = &stream.cursor {
            bookmark["replication_key"] = name.as_str().into();
            // Beside our cursor, for people and programs that look for it.
            let places = cursor.0["by"].as_array();
            let place = places.and_then(|by| by.iter().position(|by| by == name.as_str()));
            if let Some(value) = place.and_then(|place| cursor.0["after"].get(place)) {
                bookmark["replication_key_value"] = value.clone();
            }
        }
        bookmark[PRIVATE] = cursor.0.clone();
        self.note(&stream.name, bookmark);
        self.state_line()
    }

    fn progress(&self, _: &Progress) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}
