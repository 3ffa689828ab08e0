//! The target: takes SCHEMA, RECORD and STATE messages, and prints each state once it is committed.
//!
//! A stream goes to the store that a tap of ours would call so, else to a new one of its name.
//! The setting `load_method` is how records are taken: `append-only`, which is the default, `upsert`
//! by their streams' keys, or `overwrite`, which shows them when the run has succeeded. Message types
//! count in upper and lower case. ACTIVATE_VERSION removes nothing: `overwrite` does what it is for.
//! BATCH is taken in both forms there are, with files of JSON lines, plain or compressed by gzip.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::batch::Batch;
use crate::fault::Fault;
use crate::log;
use crate::message::{Details, SchemaEntry};
use crate::output::Sink;
use crate::runner::terminal::{self, Terminal};
use crate::runner::writing::{self, Intake, Item, parsed};
use crate::runtime;
use crate::silo::{Access, Kind, Silo, StoreId, WriteMode, WriteOptions};
use crate::wire;
use crate::wire::names::Names;

const CAPABILITIES: [&str; 3] = ["about", "structured-logging", "validate-records"];

/// The setting, beside the connector's own, that chooses how records are taken.
const METHOD: &str = "load_method";

#[derive(Debug, Parser)]
#[command(version, about = "A Singer target")]
struct Arguments {
    /// The configuration; later files win, and ENV reads variables
    #[arg(short, long, value_name = "FILE|ENV")]
    config: Vec<String>,
    /// Print the settings and what the target can do
    #[arg(long)]
    about: bool,
    /// How --about is printed
    #[arg(long, value_name = "json|text", default_value = "text")]
    format: String,
}

/// Runs the target.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    let plugin = super::plugin::<S>(words, "target-");
    super::start_log(&plugin);
    let arguments: Arguments = match wire::parse(words) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let sink = match Terminal::look().sink() {
        Ok(sink) => Arc::new(sink),
        Err(error) => return super::end(Err(error)),
    };
    // What is committed was said when it was: there is no last line.
    terminal::end_on_signals(Arc::clone(&sink));
    super::end(runtime::block_on(task::<S>(&arguments, &plugin, &sink)))
}

async fn task<S: Silo>(arguments: &Arguments, plugin: &str, sink: &Sink) -> Result<ExitCode> {
    if arguments.about {
        return super::print_about::<S>(plugin, &CAPABILITIES, &arguments.format, sink);
    }
    if arguments.config.is_empty() {
        log::error("--config is missing (--help lists what there is)");
        return Ok(ExitCode::from(2));
    }
    let config = super::configuration::<S>(plugin, &arguments.config)?;
    let mode = match config[METHOD].as_str() {
        None => None,
        Some("append-only") => Some(WriteMode::Append),
        Some("upsert") => Some(WriteMode::Upsert),
        Some("overwrite") => Some(WriteMode::Replace),
        Some(_) => {
            let why = "`load_method` must be append-only, upsert or overwrite";
            return Err(Fault::config(why).into());
        }
    };
    super::hand_on_changes(&arguments.config);
    let silo = S::connect(wire::configuration::<S>(config)?, Access::Write).await?;
    let ids: Vec<StoreId> = silo.stores().await?.iter().map(|store| store.id()).collect();
    let names = Names::of(&ids);
    let known = ids.into_iter().map(|id| (names.joined(&id, "-"), id)).collect();
    let mut lines = Lines { known, streams: HashMap::new() };
    let how = WriteOptions::of(mode.unwrap_or(WriteMode::Append));
    let stdin = std::io::stdin().lock();
    writing::take_all(&silo, &how, &[], &mut lines, stdin, sink).await?;
    Ok(ExitCode::SUCCESS)
}

/// The lines of standard input.
struct Lines {
    /// The stores there are, by the streams' names that a tap would give them.
    known: HashMap<String, StoreId>,
    /// The streams that had a SCHEMA.
    streams: HashMap<String, StoreId>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(default)]
    schema: Option<Value>,
    #[serde(default)]
    key_properties: Option<Vec<String>>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(flatten)]
    batch: Batch,
}

impl Lines {
    /// The store of a stream whose records begin.
    fn store(&self, stream: &str) -> Result<StoreId, String> {
        let store = self.streams.get(stream).cloned();
        store.ok_or_else(|| format!("a record of the stream {stream} came before its SCHEMA"))
    }
}

impl Intake for Lines {
    fn item<'a>(&mut self, line: &'a [u8]) -> Result<Item<'a>, String> {
        let message: Message<'a> = parsed(line)?;
        let lacks = |what: &str| format!("the message lacks its `{what}`");
        match message.r#type.to_ascii_uppercase().as_str() {
            "RECORD" => {
                let stream = message.stream.ok_or_else(|| lacks("stream"))?;
                let data = message.record.ok_or_else(|| lacks("record"))?;
                let StoreId { group, name } = self.store(&stream)?;
                Ok(Item::Record { group: group.map(Cow::Owned), name: Cow::Owned(name), data })
            }
            "SCHEMA" => {
                let stream = message.stream.ok_or_else(|| lacks("stream"))?;
                let json_schema = message.schema.ok_or_else(|| lacks("schema"))?;
                let new = || StoreId::named(&*stream);
                let id = self.known.get(&stream).cloned().unwrap_or_else(new);
                self.streams.insert(stream, id.clone());
                let details = Details {
                    kind: Kind::Table,
                    key: message.key_properties.unwrap_or_default(),
                    cursors: Vec::new(),
                    relations: Vec::new(),
                    capabilities: Vec::new(),
                };
                let StoreId { group, name } = id;
                let entry = SchemaEntry { name, group, json_schema, details: Some(details) };
                Ok(Item::Schemas(vec![entry]))
            }
            "STATE" => {
                let value = message.value.ok_or_else(|| lacks("value"))?;
                Ok(Item::State([value.get().as_bytes(), b"\n"].concat().into()))
            }
            "BATCH" => {
                let stream = message.stream.ok_or_else(|| lacks("stream"))?;
                let (paths, gzip) = message.batch.files()?;
                Ok(Item::Files { store: self.store(&stream)?, paths, gzip })
            }
            "ACTIVATE_VERSION" => Ok(Item::Nothing),
            _ => Err("only SCHEMA, RECORD, BATCH and STATE messages can be taken".to_owned()),
        }
    }
}
