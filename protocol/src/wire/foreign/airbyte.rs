//! An Airbyte source as a silo.
//!
//! What fails is told by any of its signs: an exit status other than 0, a TRACE ERROR, a stream
//! that is INCOMPLETE or that began and was never COMPLETE, and a run that prints nothing of the
//! stream at all. A source of the time before there were stream statuses is believed by its exit
//! status. A stream without an incremental mode prints no state: each read gives all of it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::mending::{Mending, noise};
use super::process::{Folder, Program, Run};
use super::relay::{Relay, Saved, Want};
use super::{Any, Foreign, Kept, schema};
use crate::fault::{Cause, Fault};
use crate::log;
use crate::output::Output;
use crate::silo::{
    Ability, Capabilities, From, Kind, Query, Read, Sample, Schema, Store, StoreId, Subject,
};

/// How long a source may take for what needs no system, and for a try to reach one.
const ANSWER: Duration = Duration::from_secs(120);

/// Any Airbyte source.
pub type Airbyte = Any<Source>;

/// A source with its configuration.
pub struct Source {
    program: Program,
    kept: Kept,
}

#[async_trait]
impl Foreign for Source {
    const NAME: &'static str = "Airbyte";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query];

    async fn form(program: &Program) -> Result<Value> {
        let spec: Specification = ask(program, None, "spec", "SPEC").await?;
        Ok(spec.form)
    }

    fn new(program: Program, kept: Kept) -> Source {
        Source { program, kept }
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let catalog: Catalog = self.ask("discover", "CATALOG").await?;
        let mut stores: Vec<Box<dyn Store + '_>> = Vec::new();
        let mut seen = HashSet::new();
        for entry in catalog.streams {
            let Ok(stream) = Stream::deserialize(&entry) else {
                log::warn(format_args!("{}: a stream has no name", self.program.name()));
                continue;
            };
            let id = StoreId::new(stream.namespace.clone(), stream.name.clone());
            match seen.insert(id.clone()) {
                true => stores.push(Box::new(Stored { source: self, id, entry, stream })),
                false => log::warn(format_args!("{id} is in the catalog twice: the first counts")),
            }
        }
        Ok(stores)
    }

    async fn validate(&self) -> Result<()> {
        let answer: Status = self.ask("check", "CONNECTION_STATUS").await?;
        match answer.status.as_str() {
            "SUCCEEDED" => Ok(()),
            _ => {
                let why = answer.message.unwrap_or_else(|| "it does not say why".to_owned());
                let name = self.program.name();
                Err(Fault::config(format!("{name} refuses its `config`: {why}")).into())
            }
        }
    }
}

impl Source {
    /// Runs a command that answers with one message, and returns its payload.
    async fn ask<T: DeserializeOwned>(&self, command: &str, kind: &str) -> Result<T> {
        ask(&self.program, Some(&self.kept), command, kind).await
    }
}

/// Runs a command that answers with one message, and returns its payload.
async fn ask<T: DeserializeOwned>(
    program: &Program,
    kept: Option<&Kept>,
    command: &str,
    kind: &str,
) -> Result<T> {
    let folder = Folder::new()?;
    let file = kept.map(|kept| folder.file("config.json", &kept.text())).transpose()?;
    let arguments = match &file {
        None => vec![command],
        Some(file) => vec![command, "--config", file],
    };
    let name = program.name();
    // A catalog of thousands of tables takes its time.
    let program = match command {
        "discover" => program.clone(),
        _ => program.within(ANSWER),
    };
    let mut run = program.start(folder, &arguments)?;
    let mut said = Said::default();
    let mut answer = None;
    while let Some(line) = run.line().await? {
        match serde_json::from_slice::<Line<'_>>(line) {
            Ok(message) if message.r#type == kind => {
                let payload = message.spec.or(message.catalog).or(message.status);
                answer = payload.map(|payload| payload.get().to_owned()).or(answer);
            }
            Ok(message) => said.take(&message, name, kept, None)?,
            Err(_) => noise(name, line),
        }
    }
    let end = run.end().await?;
    said.failure(name)?;
    if !end.succeeded() {
        return Err(said.explain(end.fault()));
    }
    let answer = answer.ok_or_else(|| end.silent(kind, command))?;
    let answer = serde_json::from_str(&answer);
    answer.map_err(|_| Fault::system(format!("{name} printed a {kind} that cannot be read")).into())
}

/// SPEC.
#[derive(Deserialize)]
struct Specification {
    #[serde(rename = "connectionSpecification")]
    form: Value,
}

/// CONNECTION_STATUS.
#[derive(Deserialize)]
struct Status {
    status: String,
    message: Option<String>,
}

/// CATALOG.
#[derive(Deserialize)]
struct Catalog {
    streams: Vec<Value>,
}

/// What we go by of a stream.
#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    json_schema: Value,
    #[serde(default)]
    supported_sync_modes: Option<Vec<String>>,
    #[serde(default)]
    source_defined_cursor: Option<bool>,
    #[serde(default)]
    default_cursor_field: Option<Vec<String>>,
    #[serde(default)]
    source_defined_primary_key: Option<Vec<Vec<String>>>,
}

impl Stream {
    fn supports(&self, mode: &str) -> bool {
        self.supported_sync_modes.iter().flatten().any(|one| one == mode)
    }

    /// The key, where it is of properties and not of members within them.
    fn key(&self) -> Vec<String> {
        let paths = self.source_defined_primary_key.iter().flatten();
        let names: Option<Vec<String>> = paths
            .map(|path| match path.as_slice() {
                [name] => Some(name.clone()),
                _ => None,
            })
            .collect();
        names.unwrap_or_default()
    }

    /// The properties that the source goes by if it is not told otherwise.
    fn cursors(&self) -> Vec<String> {
        match self.default_cursor_field.as_deref() {
            Some([name]) if self.supports("incremental") => vec![name.clone()],
            _ => Vec::new(),
        }
    }
}

/// A stream of a source.
struct Stored<'s> {
    source: &'s Source,
    id: StoreId,
    /// As the catalog has it.
    entry: Value,
    stream: Stream,
}

#[async_trait]
impl Store for Stored<'_> {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema {
            json_schema: schema::of_records(&self.stream.json_schema, |_| true),
            kind: Kind::Object,
            key: self.stream.key(),
            cursors: self.stream.cursors(),
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        if sample.limit == 0 {
            return Ok(());
        }
        let relay = Relay::new(out, self.properties(), Want::First(sample.limit));
        self.run(relay, self.full(), None, None).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self).query(self)
    }
}

#[async_trait]
impl Read for Stored<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let saved = Saved::read(from.since)?;
        let mode = if self.stream.supports("incremental") { "incremental" } else { "full_refresh" };
        let saved = saved.filter(|_| mode == "incremental");
        let cursor = from.cursor.or_else(|| saved.as_ref()?.cursor.as_deref());
        let relay = Relay::new(out, self.properties(), Want::All).on_from(cursor, saved.as_ref());
        self.run(relay, mode, cursor, saved.as_ref()).await
    }
}

#[async_trait]
impl Query for Stored<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        let relay = Relay::new(out, self.properties(), Want::Of(subject));
        self.run(relay, self.full(), None, None).await
    }

    fn reads_everything(&self) -> bool {
        true
    }
}

impl Stored<'_> {
    fn properties(&self) -> Vec<String> {
        let schema = schema::of_records(&self.stream.json_schema, |_| true);
        crate::message::properties(Some(&schema)).unwrap_or_default()
    }

    /// The mode in which everything is read.
    fn full(&self) -> &'static str {
        let only_incremental =
            self.stream.supports("incremental") && !self.stream.supports("full_refresh");
        if only_incremental { "incremental" } else { "full_refresh" }
    }

    /// The catalog with this stream alone.
    fn catalog(&self, mode: &str, cursor: Option<&str>) -> Value {
        let mut stream = json!({
            "stream": self.entry,
            "sync_mode": mode,
            "destination_sync_mode": "append",
            "generation_id": 1,
            "minimum_generation_id": 0,
            "sync_id": 1,
        });
        let chosen = cursor.filter(|_| self.stream.source_defined_cursor != Some(true));
        match (chosen, &self.stream.default_cursor_field) {
            (Some(name), _) => stream["cursor_field"] = json!([name]),
            (None, Some(path)) => stream["cursor_field"] = json!(path),
            (None, None) => {}
        }
        if let Some(key) = &self.stream.source_defined_primary_key {
            stream["primary_key"] = json!(key);
        }
        json!({ "streams": [stream] })
    }

    /// Reads the stream into `relay`.
    async fn run(
        &self,
        mut relay: Relay<'_>,
        mode: &str,
        cursor: Option<&str>,
        saved: Option<&Saved>,
    ) -> Result<()> {
        let folder = Folder::new()?;
        let config = folder.file("config.json", &self.source.kept.text())?;
        let catalog = folder.file("catalog.json", &self.catalog(mode, cursor).to_string())?;
        let state = saved.map_or("[]".to_owned(), |saved| format!("[{}]", saved.state));
        let state = folder.file("state.json", &state)?;
        let arguments = ["read", "--config", &config, "--catalog", &catalog, "--state", &state];
        let program = &self.source.program;
        let mut run = program.start(folder, &arguments)?;
        let mut said = Said::default();
        let mut mending = Mending::of(program.name(), relay.out().spelling());
        let whole =
            self.relay(&mut run, &mut relay, &mut said, &mut mending, mode == "incremental");
        if !whole.await? {
            run.stop().await;
            return relay.done();
        }
        let end = run.end().await?;
        let failed = said.failure(program.name()).and_then(|()| match end.succeeded() {
            true => {
                mending.end(&self.id)?;
                said.complete(&relay, program.name())
            }
            false => Err(said.explain(end.fault())),
        });
        if said.strangers > 0 {
            let count = said.strangers;
            log::warn(format_args!("{}: {count} records were of other streams", self.id));
        }
        match failed {
            Ok(()) => relay.done(),
            Err(error) => {
                relay.tell();
                Err(error)
            }
        }
    }

    /// Hands on what a run prints; whether it was read to its end.
    async fn relay(
        &self,
        run: &mut Run,
        relay: &mut Relay<'_>,
        said: &mut Said,
        mending: &mut Mending<'_>,
        states: bool,
    ) -> Result<bool> {
        let program = self.source.program.name();
        while let Some(line) = run.line().await? {
            let mut text = String::new();
            let Some(message) = mending.read::<Line<'_>>(line, &mut text) else {
                if mending.is_garbled() {
                    relay.distrust();
                }
                continue;
            };
            match (&*message.r#type, &message.record, message.state) {
                ("RECORD", Some(record), _) => {
                    if !self.is_meant(&record.stream, record.namespace.as_deref()) {
                        said.strangers += 1;
                    } else if !relay.record(record.data)? {
                        return Ok(false);
                    }
                }
                ("STATE", _, Some(state)) if states => {
                    if self.is_of(state) {
                        relay.state(state.get());
                    }
                }
                _ => {
                    said.take(&message, program, Some(&self.source.kept), Some(self))?;
                    if let Some(rows) = said.estimate.take() {
                        relay.out().total(rows);
                    }
                    if said.error.is_some() || said.incomplete {
                        relay.distrust();
                    }
                }
            }
        }
        Ok(true)
    }

    fn is_meant(&self, name: &str, namespace: Option<&str>) -> bool {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        // Where a message has no namespace it can only be the one stream that was asked for.
        name == self.id.name && (namespace.is_none() || namespace == self.id.group.as_deref())
    }

    /// Whether a state is this stream's. One that is not of a stream is of all, which here is one.
    fn is_of(&self, state: &RawValue) -> bool {
        let Ok(state) = serde_json::from_str::<Value>(state.get()) else { return false };
        let descriptor = &state["stream"]["stream_descriptor"];
        match descriptor["name"].as_str() {
            Some(name) => self.is_meant(name, descriptor["namespace"].as_str()),
            None => true,
        }
    }
}

/// A message, as far as it is looked into.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    trace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    control: Option<&'a RawValue>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    catalog: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "connectionStatus")]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What a run said beside its records and states.
#[derive(Default)]
struct Said {
    /// The first error, and whose move it is.
    error: Option<(String, Cause)>,
    /// The last error among its log lines.
    fatal: Option<String>,
    began: bool,
    complete: bool,
    incomplete: bool,
    estimate: Option<u64>,
    strangers: u64,
}

impl Said {
    /// Takes a message that is neither record nor state.
    fn take(
        &mut self,
        message: &Line<'_>,
        program: &str,
        kept: Option<&Kept>,
        of: Option<&Stored<'_>>,
    ) -> Result<()> {
        let payload = |raw: Option<&RawValue>| {
            raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()).unwrap_or_default()
        };
        match &*message.r#type {
            "LOG" => self.log(&payload(message.log), program),
            "TRACE" => self.trace(&payload(message.trace), of),
            "CONTROL" => {
                let config = &payload(message.control)["connectorConfig"]["config"];
                if let (Some(kept), true) = (kept, config.is_object()) {
                    kept.replace(config.to_string())?;
                }
            }
            "RECORD" | "STATE" | "SPEC" | "CATALOG" | "CONNECTION_STATUS" => {}
            other => log::debug(format_args!("{program} printed a message of type {other}")),
        }
        Ok(())
    }

    fn log(&mut self, payload: &Value, program: &str) {
        let text = payload["message"].as_str().unwrap_or_default().trim();
        match payload["level"].as_str() {
            Some("FATAL" | "ERROR") => {
                self.fatal = Some(first_line(text));
                log::error(format_args!("{program}: {text}"));
            }
            Some("WARN") => log::warn(format_args!("{program}: {text}")),
            Some("DEBUG" | "TRACE") => log::debug(format_args!("{program}: {text}")),
            _ => log::info(format_args!("{program}: {text}")),
        }
    }

    fn trace(&mut self, payload: &Value, of: Option<&Stored<'_>>) {
        let is_ours = |descriptor: &Value| {
            let name = descriptor["name"].as_str().unwrap_or_default();
            of.is_none_or(|store| store.is_meant(name, descriptor["namespace"].as_str()))
        };
        match payload["type"].as_str() {
            Some("ERROR") => {
                let error = &payload["error"];
                let message = error["message"].as_str().unwrap_or("it does not say why");
                let cause = match error["failure_type"].as_str() {
                    Some("config_error") => Cause::Config,
                    Some("transient_error") => Cause::Transient,
                    _ => Cause::System,
                };
                self.error.get_or_insert((first_line(message), cause));
            }
            Some("STREAM_STATUS") => {
                let status = &payload["stream_status"];
                if is_ours(&status["stream_descriptor"]) {
                    self.began = true;
                    self.complete |= status["status"] == "COMPLETE";
                    self.incomplete |= status["status"] == "INCOMPLETE";
                }
            }
            Some("ESTIMATE") => {
                let estimate = &payload["estimate"];
                if estimate["type"] == "STREAM" && is_ours(estimate) {
                    self.estimate = estimate["row_estimate"].as_u64();
                }
            }
            _ => {}
        }
    }

    /// The error that the program told of, if any.
    fn failure(&self, program: &str) -> Result<()> {
        match &self.error {
            Some((message, cause)) => {
                Err(Fault { cause: *cause, message: format!("{program}: {message}") }.into())
            }
            None => Ok(()),
        }
    }

    /// A failure, with what the program logged of it.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.fatal {
            Some(fatal) => error.context(Fault::system(fatal.clone())),
            None => error,
        }
    }

    /// Whether a run that ended well was one of this stream to its end.
    fn complete(&self, relay: &Relay<'_>, program: &str) -> Result<()> {
        let why = match (self.incomplete, self.complete, self.began) {
            (true, ..) => "said that the stream is INCOMPLETE",
            (_, true, _) => return Ok(()),
            (_, _, true) => "ended without saying that the stream is COMPLETE",
            _ if relay.heard() => return Ok(()),
            _ => "printed nothing of this stream",
        };
        let error = anyhow::Error::from(Fault::system(format!("{program} {why}")));
        Err(self.explain(error))
    }
}

/// What fits one line: programs put whole stack traces into a message.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().chars().take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_with_nulls_blanks_and_members_of_other_versions() {
        for line in [
            r#"{"type":"RECORD","record":{"stream":"a","data":{"n":1.50},"emitted_at":1}}"#,
            r#"{"type": "RECORD", "log": null, "record": {"stream": "a", "namespace": null, "meta": {}, "data": {"n":1.50}}, "x": [1]}"#,
        ] {
            let line: Line<'_> = serde_json::from_str(line).unwrap();
            let record = line.record.unwrap();
            assert_eq!((&*record.stream, record.data.get()), ("a", r#"{"n":1.50}"#));
        }
        assert!(serde_json::from_str::<Line<'_>>(r#"{"progress": 1}"#).is_err());
    }
}
