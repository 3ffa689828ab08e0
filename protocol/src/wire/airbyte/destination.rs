//! Airbyte's destination: `spec`, `check` and `write`.
//!
//! How records are taken is one choice for a run: `append`, `append_dedup` (by the stream's key) or
//! `overwrite`, of which the last shows its records when the run has succeeded. A catalog that mixes
//! them is refused. States are printed as they came, once what was before them is committed.
//! Generations are not kept apart in what is written: only `overwrite` drops older records.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Configured, Descriptor, DestinationSyncMode, schema};
use crate::fault::Fault;
use crate::message::{Details, SchemaEntry};
use crate::output::{Sink, line};
use crate::runner::configuration;
use crate::runner::writing::{self, Intake, Item, parsed};
use crate::silo::{Access, Kind, Silo, StoreId, UnknownColumns, WriteMode, WriteOptions};
use crate::wire;
use crate::wire::names::Names;

#[derive(Debug, Parser)]
#[command(version, about = "An Airbyte destination", disable_help_subcommand = true)]
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
    /// Take messages from standard input
    Write(Write),
}

#[derive(Debug, Args)]
struct Common {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: String,
}

#[derive(Debug, Args)]
struct Write {
    #[command(flatten)]
    common: Common,
    /// The configured catalog
    #[arg(long, value_name = "FILE")]
    catalog: String,
}

/// Runs one command.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    let arguments: Arguments = match super::parse(words) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let sink = match super::start(arguments.debug) {
        Ok(sink) => sink,
        Err(code) => return code,
    };
    let result = wire::run(command::<S>(arguments.command, &sink));
    super::end(&sink, result)
}

async fn command<S: Silo>(command: Command, sink: &Arc<Sink>) -> Result<ExitCode> {
    match command {
        Command::Spec => {
            let spec = json!({
                "connectionSpecification": schema::specification(wire::form::<S>()),
                "supportsIncremental": true,
                "supported_destination_sync_modes": ["append", "append_dedup", "overwrite"],
                "protocol_version": "0.2.0",
            });
            sink.write(&line(&json!({"type": "SPEC", "spec": spec}))?)?;
        }
        Command::Check(common) => {
            let config = configuration::read(&common.config, false)?;
            super::hand_on_changes(&config, sink);
            let checked = super::check::<S>(config, Access::Write).await;
            sink.write(&line(&super::connection_status(checked))?)?;
        }
        Command::Write(arguments) => {
            let catalog = super::catalog(&arguments.catalog)?;
            let how = WriteOptions { mode: mode(&catalog)?, columns: UnknownColumns::Add };
            let config = configuration::read(&arguments.common.config, false)?;
            super::hand_on_changes(&config, sink);
            let silo = S::connect(wire::configuration::<S>(config)?, Access::Write).await?;
            let targets = targets(&silo, &catalog).await?;
            let schemas: Vec<SchemaEntry> = catalog
                .streams
                .iter()
                .zip(&targets)
                .map(|(stream, id)| entry(stream, id))
                .collect();
            let names = catalog.streams.iter().map(|stream| stream.stream.descriptor.cleaned());
            let mut lines = Lines { targets: names.zip(targets).collect() };
            let stdin = std::io::stdin().lock();
            writing::take_all(&silo, &how, &schemas, &mut lines, stdin, sink).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The one mode of all streams.
fn mode(catalog: &Configured) -> Result<WriteMode> {
    let mut modes = Vec::new();
    for stream in &catalog.streams {
        let mode = match stream.destination_sync_mode {
            None | Some(DestinationSyncMode::Append) => WriteMode::Append,
            Some(DestinationSyncMode::AppendDedup) => WriteMode::Upsert,
            Some(DestinationSyncMode::Overwrite | DestinationSyncMode::OverwriteDedup) => {
                WriteMode::Replace
            }
            Some(DestinationSyncMode::Update | DestinationSyncMode::SoftDelete) => {
                let name = &stream.stream.descriptor.name;
                return Err(Fault::config(format!(
                    "stream {name}: choose append, append_dedup or overwrite"
                ))
                .into());
            }
        };
        modes.push(mode);
    }
    match modes.as_slice() {
        [] => Ok(WriteMode::Append),
        [first, rest @ ..] if rest.iter().all(|mode| mode == first) => Ok(*first),
        _ => Err(Fault::config(
            "the streams of one connection must all be appended, all be appended and deduplicated, \
             or all be overwritten: make a connection for each",
        )
        .into()),
    }
}

/// Where each stream goes: the store it is called like, or one of its name and namespace.
async fn targets<S: Silo>(silo: &S, catalog: &Configured) -> Result<Vec<StoreId>> {
    let ids: Vec<StoreId> = silo.stores().await?.iter().map(|store| store.id()).collect();
    let names = Names::of(&ids);
    let target = |wanted: &Descriptor| {
        let known = ids.iter().find(|id| {
            id.name == wanted.name && names.namespace(id) == wanted.namespace.as_deref()
        });
        let new = || StoreId::new(wanted.namespace.clone(), wanted.name.clone());
        known.cloned().unwrap_or_else(new)
    };
    Ok(catalog.streams.iter().map(|stream| target(&stream.stream.descriptor.cleaned())).collect())
}

/// What the records of a stream look like, as a writer wants it.
fn entry(stream: &super::ConfiguredStream, id: &StoreId) -> SchemaEntry {
    let key = stream.primary_key.iter().flatten().filter_map(|path| path.first().cloned());
    SchemaEntry {
        name: id.name.clone(),
        group: id.group.clone(),
        json_schema: schema::native(&stream.stream.json_schema),
        details: Some(Details {
            kind: Kind::Table,
            key: key.collect(),
            cursors: Vec::new(),
            relations: Vec::new(),
            capabilities: Vec::new(),
        }),
    }
}

/// The lines of standard input.
struct Lines {
    targets: HashMap<Descriptor, StoreId>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    stream: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Intake for Lines {
    fn item<'a>(&mut self, line: &'a [u8]) -> Result<Item<'a>, String> {
        let message: Message<'a> = parsed(line)?;
        match (&*message.r#type, message.record) {
            ("RECORD", Some(Record { stream, namespace, data })) => {
                let descriptor = Descriptor { name: stream, namespace }.cleaned();
                let Some(StoreId { group, name }) = self.targets.get(&descriptor).cloned() else {
                    let name = descriptor.name;
                    return Err(format!("the stream {name} is not in the configured catalog"));
                };
                Ok(Item::Record { group: group.map(Cow::Owned), name: Cow::Owned(name), data })
            }
            ("RECORD", None) => Err("the message lacks its payload".to_owned()),
            ("STATE", _) => Ok(Item::State([line, b"\n"].concat().into())),
            _ => Ok(Item::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(modes: &[&str]) -> Result<WriteMode, String> {
        let streams = modes.iter().map(|mode| {
            json!({"stream": {"name": "s"}, "sync_mode": "full_refresh", "destination_sync_mode": mode})
        });
        let catalog = json!({"streams": streams.collect::<Vec<serde_json::Value>>()});
        mode(&serde_json::from_value(catalog).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_run_has_one_mode() {
        assert_eq!(of(&[]), Ok(WriteMode::Append));
        assert_eq!(of(&["append_dedup", "append_dedup"]), Ok(WriteMode::Upsert));
        assert_eq!(of(&["overwrite"]), Ok(WriteMode::Replace));
        assert!(of(&["append", "overwrite"]).unwrap_err().contains("make a connection for each"));
        assert!(of(&["soft_delete"]).unwrap_err().starts_with("stream s: "));
    }
}
