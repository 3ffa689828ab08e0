//! Airbyte's destination: `spec`, `check` and `write`.
//!
//! How records are taken is a choice for each stream: `append`, `append_dedup` (by the stream's key)
//! or `overwrite`. States are printed as they came, once what was before them is committed. Where
//! the platform wants no older generation (its minimum is the one it sends, or the stream is
//! overwritten) the older records go when the run has succeeded, and until then nothing is committed.
//! No columns are added for generations and syncs.

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

use super::{Common, Configured, ConfiguredStream, Descriptor, DestinationSyncMode, schema};
use crate::fault::Fault;
use crate::message::{Details, SchemaEntry};
use crate::output::{Sink, line};
use crate::runner::writing::{self, Intake, Item, parsed};
use crate::silo::{Access, Kind, Silo, StoreId, WriteMode, WriteOptions};
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
struct Write {
    #[command(flatten)]
    common: Common,
    /// The configured catalog
    #[arg(long, value_name = "FILE")]
    catalog: String,
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
                "supported_destination_sync_modes": ["append", "append_dedup", "overwrite"],
                "protocol_version": "0.2.0",
            });
            sink.write(&line(&json!({"type": "SPEC", "spec": spec}))?)?;
        }
        Command::Check(common) => common.check::<S>(Access::Write, sink).await?,
        Command::Write(arguments) => {
            let catalog = super::catalog(&arguments.catalog)?;
            let config = arguments.common.read(sink)?;
            let silo = S::connect(wire::configuration::<S>(config)?, Access::Write).await?;
            let targets = targets(&silo, &catalog).await?;
            let mut how = WriteOptions::of(WriteMode::Append);
            for (stream, id) in catalog.streams.iter().zip(&targets) {
                how.modes.insert(id.clone(), mode(stream)?);
                if stream.drops_older() {
                    how.emptied.insert(id.clone());
                }
            }
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

/// How the records of a stream are taken.
fn mode(stream: &ConfiguredStream) -> Result<WriteMode> {
    use DestinationSyncMode::{Append, AppendDedup, Overwrite, OverwriteDedup, SoftDelete, Update};
    match stream.destination_sync_mode {
        None | Some(Append) => Ok(WriteMode::Append),
        Some(AppendDedup | OverwriteDedup) => Ok(WriteMode::Upsert),
        Some(Overwrite) => Ok(WriteMode::Replace),
        Some(Update | SoftDelete) => {
            let name = &stream.stream.descriptor.name;
            let why = format!("stream {name}: choose append, append_dedup or overwrite");
            Err(Fault::config(why).into())
        }
    }
}

impl ConfiguredStream {
    /// Whether what was written before is gone when the run has succeeded: where everything is
    /// overwritten, and where the platform wants no older generation than the one it sends.
    fn drops_older(&self) -> bool {
        let refreshed = self.minimum_generation_id.filter(|oldest| *oldest > 0);
        self.destination_sync_mode == Some(DestinationSyncMode::OverwriteDedup)
            || (refreshed.is_some() && refreshed == self.generation_id)
    }
}

/// Where each stream goes: the store it is called like, or one of its name and namespace.
async fn targets<S: Silo>(silo: &S, catalog: &Configured) -> Result<Vec<StoreId>> {
    let ids: Vec<StoreId> = silo.stores().await?.iter().map(|store| store.id()).collect();
    let names = Names::of(&ids);
    let target = |Descriptor { name, namespace }: Descriptor| {
        names.target(&ids, namespace.as_deref(), &name)
    };
    Ok(catalog.streams.iter().map(|stream| target(stream.stream.descriptor.cleaned())).collect())
}

/// What the records of a stream look like, as a writer wants it.
fn entry(stream: &ConfiguredStream, id: &StoreId) -> SchemaEntry {
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

    fn stream(value: serde_json::Value) -> ConfiguredStream {
        let mut stream = json!({"stream": {"name": "s"}, "sync_mode": "full_refresh"});
        stream.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(stream).unwrap()
    }

    #[test]
    fn older_generations_go_where_the_platform_wants_none() {
        let of = |mode: &str, generation: i64, minimum: i64| {
            let stream = stream(json!({"destination_sync_mode": mode, "generation_id": generation,
                "minimum_generation_id": minimum, "sync_id": 7}));
            (mode_of(&stream), stream.drops_older())
        };
        fn mode_of(stream: &ConfiguredStream) -> WriteMode {
            mode(stream).unwrap()
        }
        assert_eq!(of("append_dedup", 3, 0), (WriteMode::Upsert, false), "a sync like the last");
        assert_eq!(of("append_dedup", 4, 4), (WriteMode::Upsert, true), "a refresh");
        assert_eq!(of("append", 4, 4), (WriteMode::Append, true));
        assert_eq!(of("append", 0, 0), (WriteMode::Append, false));
        assert_eq!(of("overwrite_dedup", 0, 0), (WriteMode::Upsert, true));
        let null = stream(json!({"generation_id": null, "minimum_generation_id": null}));
        assert_eq!((mode_of(&null), null.drops_older()), (WriteMode::Append, false));
        let refused = mode(&stream(json!({"destination_sync_mode": "soft_delete"})));
        assert!(refused.unwrap_err().to_string().starts_with("stream s: "));
    }
}
