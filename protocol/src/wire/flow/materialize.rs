//! The materialization: tables of collections, one transaction of Flow's after the other.
//!
//! A binding's documents are kept by their key, with the whole document in a column beside the
//! chosen fields, from which it is loaded to be merged with the next; or, with `delta_updates`, each
//! is a row of its own. Flow's checkpoint is written in the transaction of the rows that it covers,
//! into the table `manifold_flow_checkpoints`, and handed back when the materialization is opened:
//! what was committed is never applied twice. A document that was deleted at its source stays as the
//! document that says so. Raising a binding's backfill counter empties its table. Materializations
//! cannot be split over several shards.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::target::{Binding, Document, Target, constraints, elements, entry, resource_form};
use super::{Bound, Collection, DOCUMENTATION, PROTOCOL, Requests, lookup, payload, say};
use crate::fault::Fault;
use crate::message::SchemaEntry;
use crate::output::Sink;
use crate::runner::writing;
use crate::silo::{Ability, Access, Silo, Store, StoreId, Write, WriteMode, WriteOptions, Writing};
use crate::wire;

/// The table of checkpoints.
const CHECKPOINTS: &str = "manifold_flow_checkpoints";

/// How many documents are looked for at once.
const LOADS: usize = 200;

/// How many bytes of documents are handed to the writer at once.
const BATCH: usize = 1024 * 1024;

/// Serves one process.
pub(in crate::wire) fn serve<S: Silo>(words: &[OsString]) -> ExitCode {
    super::serve(words, |sink| async move { answer::<S>(&sink).await })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    validate: Option<&'a RawValue>,
    #[serde(borrow, default)]
    apply: Option<&'a RawValue>,
    #[serde(borrow, default)]
    open: Option<&'a RawValue>,
    #[serde(borrow, default)]
    load: Option<Load<'a>>,
    #[serde(borrow, default)]
    flush: Option<&'a RawValue>,
    #[serde(borrow, default)]
    store: Option<Document<'a>>,
    #[serde(borrow, default, alias = "start_commit")]
    start_commit: Option<&'a RawValue>,
    #[serde(borrow, default)]
    acknowledge: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Apply {
    materialization: Materialization,
    #[serde(default, alias = "last_materialization")]
    last_materialization: Option<Materialization>,
}

#[derive(Deserialize)]
struct Open {
    materialization: Materialization,
    #[serde(default)]
    range: Option<super::Range>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Materialization {
    #[serde(default)]
    name: String,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    bindings: Vec<Binding>,
    #[serde(default, alias = "linked_collections")]
    linked_collections: Vec<Collection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Load<'a> {
    #[serde(default)]
    binding: usize,
    #[serde(borrow, default)]
    key: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default, alias = "key_packed")]
    key_packed: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartCommit<'a> {
    #[serde(borrow, default, alias = "runtime_checkpoint")]
    runtime_checkpoint: Option<&'a RawValue>,
}

async fn answer<S: Silo>(sink: &Arc<Sink>) -> Result<()> {
    let mut requests = Requests::open();
    while let Some(line) = requests.next()? {
        let request = match writing::parsed::<Request<'_>>(line) {
            Ok(request) => request,
            Err(why) => return Err(requests.refusal(&why)),
        };
        if let Some(raw) = request.open {
            let opened = payload::<Open>(raw)?;
            return materialize::<S>(opened, requests, sink).await;
        }
        match unary::<S>(&request).await? {
            Some(response) => say(sink, &response)?,
            None => {
                let why = "a materialization answers spec, validate, apply and open";
                return Err(requests.refusal(why));
            }
        }
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
        }})));
    }
    if let Some(raw) = request.validate {
        return Ok(Some(validate::<S>(payload(raw)?).await?));
    }
    if let Some(raw) = request.apply {
        let done = apply::<S>(payload(raw)?).await?;
        return Ok(Some(json!({"applied": {"actionDescription": done}})));
    }
    Ok(None)
}

async fn validate<S: Silo>(request: Bound<Binding>) -> Result<Value> {
    if ![Ability::Write, Ability::Query].iter().all(|ability| S::ABILITIES.contains(ability)) {
        let why = "this connector cannot write, or cannot find what it wrote: it captures only";
        return Err(Fault::config(why).into());
    }
    let silo = S::connect(wire::configuration::<S>(request.config)?, Access::Write).await?;
    silo.validate().await?;
    let mut problems = Vec::new();
    let mut bindings = Vec::new();
    let mut seen = HashSet::new();
    for binding in &request.bindings {
        let path = binding.resource_config.path();
        if !seen.insert(path.clone()) {
            problems.push(format!("{}: two bindings go into it", path.join("/")));
        }
        let linked = &request.linked_collections;
        let collection = super::collection(&binding.collection, binding.collection_index, linked)?;
        let mut validated = json!({
            "constraints": constraints(&collection, binding),
            "resourcePath": path,
        });
        if binding.resource_config.delta_updates {
            validated["deltaUpdates"] = Value::Bool(true);
        }
        bindings.push(validated);
    }
    super::all_well(problems)?;
    Ok(json!({"validated": {"bindings": bindings}}))
}

/// Makes the tables; what was done, for people.
async fn apply<S: Silo>(request: Apply) -> Result<String> {
    let Apply { materialization, last_materialization: last } = request;
    let silo = S::connect(wire::configuration::<S>(materialization.config)?, Access::Write).await?;
    let ids: Vec<StoreId> = silo.stores().await?.iter().map(|store| store.id()).collect();
    let linked = &materialization.linked_collections;
    let earlier = |binding: &Binding| {
        let path = binding.resource_config.path();
        let bindings = last.iter().flat_map(|last| &last.bindings);
        bindings.filter(move |b| b.resource_config.path() == path).map(|b| b.backfill).next()
    };
    // That of the table of checkpoints.
    let mut how = WriteOptions::of(WriteMode::Upsert);
    let mut entries = vec![checkpoints(&ids)];
    let mut emptied = Vec::new();
    for binding in &materialization.bindings {
        let target = Target::of(binding, linked, &ids)?;
        if earlier(binding).is_some_and(|backfill| backfill < binding.backfill) {
            how.emptied.insert(target.id.clone());
            emptied.push(target.id.to_string());
        }
        how.modes.insert(target.id.clone(), target.mode);
        entries.push(target.entry);
    }
    let mut run = writer(&silo)?.begin(&how).await?;
    for entry in &entries {
        run.schema(entry).await?;
    }
    run.finish().await?;
    let names = entries.iter().map(|entry| StoreId::new(entry.group.clone(), &*entry.name));
    let names: Vec<String> = names.map(|id| id.to_string()).collect();
    let mut done = format!("made or checked {}", names.join(", "));
    if !emptied.is_empty() {
        done.push_str(&format!("; emptied {}", emptied.join(", ")));
    }
    Ok(done)
}

fn writer<S: Silo>(silo: &S) -> Result<&dyn Write> {
    silo.writer().ok_or_else(|| Fault::config("this connector cannot write").into())
}

/// The table of checkpoints, where it is or will be.
fn checkpoints(ids: &[StoreId]) -> SchemaEntry {
    let id = ids.iter().find(|id| id.name == CHECKPOINTS).cloned();
    let properties =
        json!({"materialization": {"type": "string"}, "checkpoint": {"type": "string"}});
    let key = vec!["materialization".to_owned()];
    entry(&id.unwrap_or_else(|| StoreId::named(CHECKPOINTS)), properties, key)
}

/// An opened materialization.
struct Run<'s, S> {
    silo: &'s S,
    name: String,
    stores: Vec<Box<dyn Store + 's>>,
    targets: Vec<Target>,
    checkpoints: SchemaEntry,
    how: WriteOptions,
    /// The transaction under way, and the bindings whose schema it was told.
    writing: Option<(Box<dyn Writing + 's>, HashSet<usize>)>,
    /// Rows of one binding that wait, and how many bytes they are.
    rows: Vec<Box<RawValue>>,
    rows_of: usize,
    bytes: usize,
    /// The keys that wait to be looked for, by binding.
    loads: HashMap<usize, Vec<Vec<String>>>,
}

async fn materialize<S: Silo>(open: Open, mut requests: Requests, sink: &Sink) -> Result<()> {
    let Open { materialization, range } = open;
    if range.is_some_and(|range| !range.is_whole()) {
        let why = "this materialization cannot be split: give it one shard";
        return Err(Fault::config(why).into());
    }
    let silo = S::connect(wire::configuration::<S>(materialization.config)?, Access::Write).await?;
    let stores = silo.stores().await?;
    let ids: Vec<StoreId> = stores.iter().map(|store| store.id()).collect();
    let mut targets = Vec::new();
    let mut how = WriteOptions::of(WriteMode::Upsert);
    for binding in &materialization.bindings {
        let target = Target::of(binding, &materialization.linked_collections, &ids)?;
        how.modes.insert(target.id.clone(), target.mode);
        targets.push(target);
    }
    let mut run = Run {
        silo: &silo,
        name: materialization.name,
        stores,
        targets,
        checkpoints: checkpoints(&ids),
        how,
        writing: None,
        rows: Vec::new(),
        rows_of: 0,
        bytes: 0,
        loads: HashMap::new(),
    };
    let mut opened = json!({});
    if let Some(checkpoint) = run.checkpoint().await? {
        opened["runtimeCheckpoint"] = checkpoint;
    }
    say(sink, &json!({"opened": opened}))?;
    while let Some(line) = requests.next()? {
        let request = match writing::parsed::<Request<'_>>(line) {
            Ok(request) => request,
            Err(why) => return Err(requests.refusal(&why)),
        };
        let refused = match request {
            Request { load: Some(load), .. } => run.load(&load, sink).await?,
            Request { store: Some(document), .. } => run.store(&document).await?,
            Request { flush: Some(_), .. } => {
                run.look(sink).await?;
                say(sink, &json!({"flushed": {}})).map(Ok)?
            }
            Request { start_commit: Some(raw), .. } => {
                let StartCommit { runtime_checkpoint } = payload(raw)?;
                run.commit(runtime_checkpoint).await?;
                say(sink, &json!({"startedCommit": {}})).map(Ok)?
            }
            Request { acknowledge: Some(_), .. } => {
                say(sink, &json!({"acknowledged": {}})).map(Ok)?
            }
            _ => Err("only load, flush, store, startCommit and acknowledge follow open".to_owned()),
        };
        if let Err(why) = refused {
            return Err(requests.refusal(&why));
        }
    }
    Ok(())
}

impl<S: Silo> Run<'_, S> {
    /// The checkpoint of the last transaction that was committed.
    async fn checkpoint(&self) -> Result<Option<Value>> {
        let name = Value::from(self.name.as_str()).to_string();
        let id = StoreId::new(self.checkpoints.group.clone(), &*self.checkpoints.name);
        let key = ["materialization".to_owned()];
        let found = lookup::find(&self.stores, &id, &key, "checkpoint", &[vec![name]]).await?;
        let found = found.first().map(|text| serde_json::from_str(text.get()));
        found.transpose().context("reading Flow's checkpoint")
    }

    /// Notes a key to look for; the reason where it cannot be.
    async fn load(&mut self, load: &Load<'_>, sink: &Sink) -> Result<Result<(), String>> {
        if self.targets.get(load.binding).is_none() {
            return Ok(Err(format!("there is no binding {}", load.binding)));
        }
        let key = match elements(load.key.as_deref(), load.key_packed.as_deref()) {
            Ok(key) => key.into_iter().map(Cow::into_owned).collect(),
            Err(why) => return Ok(Err(why)),
        };
        let keys = self.loads.entry(load.binding).or_default();
        keys.push(key);
        if keys.len() >= LOADS {
            self.look(sink).await?;
        }
        Ok(Ok(()))
    }

    /// Prints the documents of the keys that wait, as far as there are any.
    async fn look(&mut self, sink: &Sink) -> Result<()> {
        for (binding, keys) in std::mem::take(&mut self.loads) {
            let target = &self.targets[binding];
            let fields = &target.fields;
            let mut lines = Vec::new();
            let (names, column) = (&fields.keys, &fields.document);
            for document in lookup::find(&self.stores, &target.id, names, column, &keys).await? {
                lines.extend_from_slice(
                    format!("{{\"loaded\":{{\"binding\":{binding},\"doc\":").as_bytes(),
                );
                lines.extend_from_slice(document.get().as_bytes());
                lines.extend_from_slice(b"}}\n");
            }
            sink.write(&lines)?;
        }
        Ok(())
    }

    /// Takes up a document; the reason where it cannot be.
    async fn store(&mut self, document: &Document<'_>) -> Result<Result<(), String>> {
        let Some(target) = self.targets.get(document.binding) else {
            return Ok(Err(format!("there is no binding {}", document.binding)));
        };
        let row = match target.row(document) {
            Ok(row) => row,
            Err(why) => return Ok(Err(why)),
        };
        if document.binding != self.rows_of || self.bytes >= BATCH {
            self.hand_over().await?;
            self.rows_of = document.binding;
        }
        self.bytes += row.get().len();
        self.rows.push(row);
        Ok(Ok(()))
    }

    async fn hand_over(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let (writing, told) = match &mut self.writing {
            Some(under_way) => under_way,
            None => {
                let begun = writer(self.silo)?.begin(&self.how).await?;
                self.writing.insert((begun, HashSet::new()))
            }
        };
        let target = &self.targets[self.rows_of];
        if told.insert(self.rows_of) {
            writing.schema(&target.entry).await?;
        }
        let rows: Vec<&RawValue> = rows.iter().map(|row| &**row).collect();
        writing
            .records(&target.id, &rows)
            .await
            .with_context(|| format!("writing to {}", target.id))
    }

    /// Commits the transaction with Flow's checkpoint.
    async fn commit(&mut self, checkpoint: Option<&RawValue>) -> Result<()> {
        self.hand_over().await?;
        let under_way = self.writing.take();
        let mut writing = match (under_way, checkpoint) {
            (Some((writing, _)), _) => writing,
            (None, Some(_)) => writer(self.silo)?.begin(&self.how).await?,
            (None, None) => return Ok(()),
        };
        if let Some(checkpoint) = checkpoint {
            let row = json!({"materialization": self.name, "checkpoint": checkpoint.get()});
            let row = serde_json::value::to_raw_value(&row)?;
            let id = StoreId::new(self.checkpoints.group.clone(), &*self.checkpoints.name);
            writing.schema(&self.checkpoints).await?;
            writing.records(&id, &[&row]).await.context("writing Flow's checkpoint")?;
        }
        writing.finish().await
    }
}
