//! `schema`, `discover`, `scan` and `read`.

use std::collections::HashMap;

use anyhow::Result;
use futures::StreamExt;
use serde_json::Value;

use super::End;
use super::arguments::{ReadArguments, Scan};
use super::terminal::LONGEST_LINE;
use crate::fault::{self, Fault};
use crate::log;
use crate::message::{ChosenStore, Details, Message, SchemaEntry, Schemas, properties};
use crate::output::{Outputs, ReaderGone, Sink};
use crate::silo::{Cursor, From, Sample, Silo, Store, StoreId};

/// Says that something with a store failed, unless it is only that nobody reads any more.
pub(crate) fn say(store: &StoreId, error: anyhow::Error) -> Result<()> {
    if error.chain().any(|part| part.is::<ReaderGone>()) {
        return Err(error);
    }
    log::error(format_args!("{store}: {}", fault::line(&error)));
    Ok(())
}

pub(super) fn find<'s, 'a>(
    stores: &'s [Box<dyn Store + 'a>],
    id: &StoreId,
) -> Option<&'s (dyn Store + 'a)> {
    stores.iter().find(|store| store.id() == *id).map(|store| &**store)
}

/// What to say of a store that is not there.
pub(super) fn unknown() -> anyhow::Error {
    Fault::config("there is no such store; discover lists what there is").into()
}

/// Checks that a store has the properties it is asked for.
pub(super) async fn has<'a>(
    store: &dyn Store,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<()> {
    let mut names = names.into_iter().peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    let schema = store.schema().await?;
    let Some(known) = schema.json_schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    match names.find(|name| !known.contains_key(*name)) {
        Some(missing) => Err(Fault::config(format!(
            "there is no `{missing}` in this store; discover lists what there is"
        ))
        .into()),
        None => Ok(()),
    }
}

pub(super) async fn discover<S: Silo>(silo: &S, sink: &Sink, detailed: bool) -> Result<End> {
    let mut entries = Vec::new();
    let mut missed = false;
    for store in silo.stores().await? {
        let id = store.id();
        let schema = match store.schema().await {
            Ok(schema) => schema,
            Err(error) => {
                say(&id, error)?;
                missed = true;
                continue;
            }
        };
        let details = detailed.then(|| Details {
            kind: schema.kind,
            key: schema.key,
            cursors: schema.cursors,
            relations: schema.relations,
            capabilities: store.capabilities().abilities(),
        });
        let StoreId { group, name } = id;
        entries.push(SchemaEntry { name, group, json_schema: schema.json_schema, details });
    }
    let schema_msg = Schemas { schemas: entries };
    let mut line = serde_json::to_vec(&Message::Schema { schema_msg })?;
    if !detailed && line.len() > LONGEST_LINE {
        log::warn(format_args!(
            "this SCHEMA line has {} bytes and a Monoid host reads at most {LONGEST_LINE}: it will \
             find no stores; choose fewer stores in the configuration",
            line.len()
        ));
    }
    line.push(b'\n');
    sink.write(&line)?;
    Ok(End::missed(missed))
}

pub(super) async fn scan<S: Silo>(
    silo: &S,
    chosen: &[ChosenStore],
    arguments: &Scan,
    outputs: &Outputs,
) -> Result<End> {
    let stores = silo.stores().await?;
    let mut missed = false;
    for choice in chosen {
        let id = choice.id();
        let sample = Sample {
            limit: arguments.limit,
            seed: arguments.seed,
            properties: properties(choice.json_schema.as_ref()),
        };
        let scanned = async {
            let store = find(&stores, &id).ok_or_else(unknown)?;
            has(store, sample.properties.iter().flatten()).await?;
            let mut out = outputs.store(id.clone());
            out.choose(sample.properties.as_deref());
            store.scan(&sample, &mut out).await?;
            out.finish()
        };
        if let Err(error) = scanned.await {
            say(&id, error)?;
            missed = true;
        }
    }
    Ok(End::missed(missed))
}

pub(super) async fn read<S: Silo>(
    silo: &S,
    chosen: Option<Vec<ChosenStore>>,
    states: &HashMap<StoreId, Cursor>,
    arguments: &ReadArguments,
    outputs: &Outputs,
) -> Result<End> {
    let stores = silo.stores().await?;
    let chosen = chosen.unwrap_or_else(|| {
        let every = stores.iter().map(|store| {
            let StoreId { group, name } = store.id();
            ChosenStore { name, group, json_schema: None, cursor: None }
        });
        every.collect()
    });
    let reads = futures::stream::iter(chosen).map(|choice| {
        let stores = &stores;
        async move {
            let id = choice.id();
            let read = read_one(stores, &choice, states.get(&id), arguments.parallel, outputs);
            match read.await {
                Ok(_) => Ok(false),
                Err(error) => say(&id, error).map(|()| true),
            }
        }
    });
    let mut reads = reads.buffer_unordered(arguments.parallel);
    let mut missed = false;
    while let Some(failed) = reads.next().await {
        missed |= failed?;
    }
    Ok(End::missed(missed))
}

/// Reads one store, all of it or from a cursor, and returns how many records there were.
pub(crate) async fn read_one(
    stores: &[Box<dyn Store + '_>],
    choice: &ChosenStore,
    since: Option<&Cursor>,
    parallel: usize,
    outputs: &Outputs,
) -> Result<u64> {
    let id = choice.id();
    let store = find(stores, &id).ok_or_else(unknown)?;
    let reader = store
        .capabilities()
        .read
        .ok_or_else(|| Fault::config("this store cannot be read; discover lists what can"))?;
    let properties = properties(choice.json_schema.as_ref());
    has(store, properties.iter().flatten()).await?;
    let from = From {
        cursor: choice.cursor.as_deref(),
        properties: properties.as_deref(),
        since,
        parallel,
    };
    let mut out = outputs.store(id.clone());
    out.choose(properties.as_deref());
    let read = reader.read(&from, &mut out).await;
    // What was read before a failure is good: its states say how far it reaches.
    let records = out.finish()?;
    read?;
    log::info(format_args!("{id}: {records} records"));
    Ok(records)
}
