//! A Singer tap as a silo.
//!
//! A tap has no check of its own, so that `validate` is a discovery; its form is asked for by
//! `--about`, which half of them have. A stream goes on from the tap's state where it has a
//! replication key or the user chose one; else each read gives all of it, and prints no state.
//! The catalog is passed as `--catalog`, and as `--properties` to a tap that prints nothing of the
//! stream or does not know that flag. Batches are read from their files. ACTIVATE_VERSION has no
//! counterpart here and is passed over; records that stand for deletions (`_sdc_deleted_at`) stay
//! records.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read as _};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::mending::{Mending, noise};
use super::process::{End, Folder, Program, Run};
use super::relay::{Relay, Saved, Want};
use super::{Any, Foreign, Kept, schema};
use crate::fault::Fault;
use crate::log;
use crate::output::Output;
use crate::silo::{
    Ability, Capabilities, From, Kind, Query, Read, Sample, Schema, Store, StoreId, Subject,
};
use crate::wire::singer::batch::Batch;

/// How long a tap may take to say what it is.
const ANSWER: Duration = Duration::from_secs(120);

/// Any Singer tap.
pub type Singer = Any<Tap>;

/// A tap with its configuration.
pub struct Tap {
    program: Program,
    kept: Kept,
}

#[async_trait]
impl Foreign for Tap {
    const NAME: &'static str = "Singer";
    const ABILITIES: &'static [Ability] = &[Ability::Read, Ability::Query];

    /// Half of all taps do not know how to print it.
    async fn form(program: &Program) -> Result<Value> {
        let program = program.within(ANSWER).quiet();
        let run = program.start(Folder::new()?, &["--about", "--format=json"])?;
        let (text, end) = everything(run).await?;
        if !end.succeeded() {
            return Ok(Value::Null);
        }
        #[derive(Deserialize)]
        struct About {
            settings: Value,
        }
        Ok(document::<About>(&text).map_or(Value::Null, |about| about.settings))
    }

    fn new(program: Program, kept: Kept) -> Tap {
        Tap { program, kept }
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let catalog = std::sync::Arc::new(self.catalog().await?);
        let mut stores: Vec<Box<dyn Store + '_>> = Vec::new();
        let mut seen = HashSet::new();
        for (place, entry) in catalog.iter().enumerate() {
            let Ok(stream) = Stream::deserialize(entry) else {
                log::warn(format_args!("{}: a stream has no name", self.program.name()));
                continue;
            };
            let Some(name) = stream.tap_stream_id.clone().or_else(|| stream.stream.clone()) else {
                log::warn(format_args!("{}: a stream has no name", self.program.name()));
                continue;
            };
            let id = StoreId::named(name);
            let catalog = std::sync::Arc::clone(&catalog);
            match seen.insert(id.clone()) {
                true => stores.push(Box::new(Stored { tap: self, id, catalog, place, stream })),
                false => log::warn(format_args!("{id} is in the catalog twice: the first counts")),
            }
        }
        Ok(stores)
    }

    async fn validate(&self) -> Result<()> {
        self.stores().await.map(drop)
    }
}

impl Tap {
    /// The tap's files, and the path of its configuration among them.
    fn folder(&self) -> Result<(Folder, String)> {
        let folder = Folder::new()?;
        let path = folder.file("config.json", &self.kept.text())?;
        Ok((folder, path))
    }

    async fn catalog(&self) -> Result<Vec<Value>> {
        #[derive(Deserialize)]
        struct Catalog {
            streams: Vec<Value>,
        }
        let (folder, config) = self.folder()?;
        let run = self.program.start(folder, &["--config", &config, "--discover"])?;
        let (text, end) = everything(run).await?;
        self.keep_config(&end)?;
        if !end.succeeded() {
            return Err(end.fault());
        }
        match document::<Catalog>(&text) {
            Some(catalog) => Ok(catalog.streams),
            None => Err(end.silent("catalog", "--discover")),
        }
    }

    /// Hands a configuration on that the tap has written anew: a token that its vendor replaced.
    fn keep_config(&self, end: &End) -> Result<()> {
        let Some(folder) = &end.folder else { return Ok(()) };
        let Ok(text) = std::fs::read_to_string(folder.path().join("config.json")) else {
            return Ok(());
        };
        self.kept.replace(text)
    }
}

/// All that a run prints, line by line, and how it ended.
async fn everything(mut run: Run) -> Result<(Vec<u8>, End)> {
    let mut text = Vec::new();
    while let Some(line) = run.line().await? {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    Ok((text, run.end().await?))
}

/// The JSON document in what a program printed, which may follow lines that are none.
fn document<T: for<'a> Deserialize<'a>>(text: &[u8]) -> Option<T> {
    let mut start = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if line.trim_ascii_start().starts_with(b"{") {
            let mut values = serde_json::Deserializer::from_slice(&text[start..]).into_iter::<T>();
            if let Some(Ok(value)) = values.next() {
                return Some(value);
            }
        }
        start += line.len();
    }
    None
}

/// What we go by of a stream.
#[derive(Deserialize)]
struct Stream {
    tap_stream_id: Option<String>,
    stream: Option<String>,
    stream_alias: Option<String>,
    #[serde(default)]
    schema: Value,
    #[serde(default)]
    key_properties: Option<Vec<String>>,
    #[serde(default)]
    replication_key: Option<String>,
    #[serde(default)]
    replication_method: Option<String>,
    #[serde(default)]
    metadata: Option<Vec<Metadata>>,
}

/// What is said of a stream or property.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    breadcrumb: Vec<String>,
    #[serde(default)]
    metadata: Value,
}

impl Stream {
    /// A member of what is said of the stream.
    fn root(&self, name: &str) -> Option<&Value> {
        let entries = self.metadata.iter().flatten();
        let root = entries.into_iter().find(|entry| entry.breadcrumb.is_empty())?;
        root.metadata.get(name).filter(|value| !value.is_null())
    }

    fn names(&self, member: &str) -> Option<Vec<String>> {
        let names = self.root(member)?.as_array()?;
        Some(names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    fn key(&self) -> Vec<String> {
        let own = || self.key_properties.clone().filter(|key| !key.is_empty());
        let of = |member: &str| self.names(member).filter(|key| !key.is_empty());
        own()
            .or_else(|| of("table-key-properties"))
            .or_else(|| of("view-key-properties"))
            .unwrap_or_default()
    }

    /// The properties to go by, the tap's own first.
    fn cursors(&self) -> Vec<String> {
        let own = self.replication_key.iter().cloned();
        let said = self.root("replication-key").and_then(Value::as_str).map(str::to_owned);
        let valid = self.names("valid-replication-keys").unwrap_or_default();
        let mut cursors: Vec<String> = Vec::new();
        for name in own.chain(said).chain(valid) {
            if !name.is_empty() && !cursors.contains(&name) && self.has(&name) {
                cursors.push(name);
            }
        }
        cursors
    }

    /// How the stream is read without a replication key of the user's: "" stands for nothing.
    fn method(&self) -> Option<&str> {
        let forced = self.root("forced-replication-method").and_then(Value::as_str);
        let said = self.root("replication-method").and_then(Value::as_str);
        let named = |method: &Option<&str>| method.is_some_and(|method| !method.is_empty());
        let own = self.replication_method.as_deref();
        [own, forced, said].into_iter().find(named).flatten()
    }

    fn has(&self, property: &str) -> bool {
        self.schema["properties"].get(property).is_some_and(|_| self.supports(property))
    }

    /// Whether the tap can read a property at all.
    fn supports(&self, property: &str) -> bool {
        let of = |entry: &&Metadata| matches!(entry.breadcrumb.as_slice(), [word, name] if word == "properties" && name == property);
        let said = self.metadata.iter().flatten().find(of);
        said.is_none_or(|entry| entry.metadata["inclusion"] != "unsupported")
    }
}

/// A stream of a tap.
struct Stored<'s> {
    tap: &'s Tap,
    id: StoreId,
    /// All streams, as the tap printed them.
    catalog: std::sync::Arc<Vec<Value>>,
    /// Which of them this is.
    place: usize,
    stream: Stream,
}

#[async_trait]
impl Store for Stored<'_> {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        Ok(Schema {
            json_schema: self.json_schema(),
            kind: match self.stream.root("is-view") {
                Some(Value::Bool(true)) => Kind::View,
                _ => Kind::Object,
            },
            key: self.stream.key(),
            cursors: self.stream.cursors(),
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        if sample.limit == 0 {
            return Ok(());
        }
        self.run(out, Want::First(sample.limit), None, None).await
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().read(self).query(self)
    }
}

#[async_trait]
impl Read for Stored<'_> {
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()> {
        let saved = Saved::read(from.since)?;
        let kept = saved.as_ref().and_then(|saved| saved.cursor.clone());
        let cursor = from.cursor.map(str::to_owned).or(kept);
        let cursor = cursor.or_else(|| self.stream.cursors().into_iter().next());
        self.run(out, Want::All, cursor.as_deref(), saved.as_ref()).await
    }
}

#[async_trait]
impl Query for Stored<'_> {
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()> {
        self.run(out, Want::Of(subject), None, None).await
    }

    fn reads_everything(&self) -> bool {
        true
    }
}

impl Stored<'_> {
    fn json_schema(&self) -> Value {
        schema::of_records(&self.stream.schema, |name| self.stream.supports(name))
    }

    fn properties(&self) -> Vec<String> {
        crate::message::properties(Some(&self.json_schema())).unwrap_or_default()
    }

    /// The catalog with this stream alone selected, in the words of old taps and new ones.
    fn selected(&self, cursor: Option<&str>) -> (Value, bool) {
        let log_based = self.stream.method() == Some("LOG_BASED");
        let method = match cursor {
            _ if log_based => "LOG_BASED",
            Some(_) => "INCREMENTAL",
            None => "FULL_TABLE",
        };
        let mut streams = Vec::clone(&self.catalog);
        for (place, stream) in streams.iter_mut().enumerate() {
            let chosen = place == self.place;
            let Some(members) = stream.as_object_mut() else { continue };
            members.insert("selected".to_owned(), chosen.into());
            if chosen {
                members.insert("replication_method".to_owned(), method.into());
                members.insert("replication_key".to_owned(), json!(cursor));
            }
            let metadata = members.entry("metadata").or_insert_with(|| json!([]));
            if !metadata.is_array() {
                *metadata = json!([]);
            }
            let Some(entries) = metadata.as_array_mut() else { continue };
            if !entries.iter().any(|entry| entry["breadcrumb"] == json!([])) {
                entries.push(json!({"breadcrumb": [], "metadata": {}}));
            }
            for entry in entries.iter_mut() {
                let root = entry["breadcrumb"] == json!([]);
                if !entry["metadata"].is_object() {
                    entry["metadata"] = json!({});
                }
                let said = &mut entry["metadata"];
                if root || (chosen && said["inclusion"] != "unsupported") {
                    said["selected"] = chosen.into();
                }
                if root && chosen {
                    said["replication-method"] = method.into();
                    match cursor {
                        Some(name) => said["replication-key"] = name.into(),
                        None => drop(said.as_object_mut().map(|one| one.remove("replication-key"))),
                    }
                }
            }
        }
        (json!({ "streams": streams }), method != "FULL_TABLE")
    }

    /// Reads the stream, by either of the flags that a catalog is passed with.
    async fn run(
        &self,
        out: &mut Output,
        want: Want<'_>,
        cursor: Option<&str>,
        saved: Option<&Saved>,
    ) -> Result<()> {
        let first = self.run_with("--catalog", out, want, cursor, saved).await;
        let Err(Ended { error, silent: true }) = first else {
            return first.map_err(|ended| ended.error);
        };
        log::debug(format_args!("{}: trying --properties in place of --catalog", self.id));
        match self.run_with("--properties", out, want, cursor, saved).await {
            // A tap that does not know this flag has failed for the first reason.
            Err(Ended { silent: true, .. }) => Err(error),
            second => second.map_err(|ended| ended.error),
        }
    }

    async fn run_with(
        &self,
        flag: &str,
        out: &mut Output,
        want: Want<'_>,
        cursor: Option<&str>,
        saved: Option<&Saved>,
    ) -> Result<(), Ended> {
        let (catalog, states) = self.selected(cursor);
        let (folder, config) = self.tap.folder()?;
        let catalog = folder.file("catalog.json", &catalog.to_string())?;
        let mut arguments = vec!["--config", &config, flag, &catalog];
        let saved = saved.filter(|_| states);
        let state = saved.map(|saved| folder.file("state.json", &saved.state)).transpose()?;
        if let Some(state) = &state {
            arguments.extend(["--state", state]);
        }
        let program = &self.tap.program;
        let mut run = program.start(folder, &arguments)?;
        let mut relay = Relay::new(out, self.properties(), want).on_from(cursor, saved);
        if !states {
            relay.distrust();
        }
        let mut heard = Heard::default();
        let mut mending = Mending::of(program.name(), relay.out().spelling());
        if !self.relay(&mut run, &mut relay, &mut heard, &mut mending).await? {
            run.stop().await;
            relay.done()?;
            return Ok(());
        }
        let end = run.end().await?;
        self.tap.keep_config(&end)?;
        if end.succeeded() && heard.stream {
            mending.end(&self.id)?;
            relay.done()?;
            return Ok(());
        }
        relay.tell();
        let error = match end.succeeded() {
            false => end.fault(),
            true => {
                let others = heard.strangers.iter().next();
                let others = others.map(|name| format!(", but records of `{name}`"));
                let others = others.unwrap_or_default();
                let name = program.name();
                Fault::system(format!("{name} printed nothing of this stream{others}")).into()
            }
        };
        // What failed for another reason than the flag would fail again.
        let flag = end.is_usage() || end.words().is_some_and(|words| words.contains("--"));
        let silent = !heard.stream && heard.strangers.is_empty() && (end.succeeded() || flag);
        Err(Ended { error, silent })
    }

    /// Hands on what a run prints; whether it was read to its end.
    async fn relay(
        &self,
        run: &mut Run,
        relay: &mut Relay<'_>,
        heard: &mut Heard,
        mending: &mut Mending<'_>,
    ) -> Result<bool> {
        let program = self.tap.program.name();
        while let Some(line) = run.line().await? {
            let mut text = String::new();
            let Some(message) = mending.read::<Line<'_>>(line, &mut text) else {
                if mending.is_garbled() {
                    relay.distrust();
                }
                continue;
            };
            let is = |kind: &str| message.r#type.eq_ignore_ascii_case(kind);
            let ours = |heard: &mut Heard| match &message.stream {
                Some(stream) if !self.is_called(stream) => {
                    if heard.strangers.len() < 10 {
                        heard.strangers.insert(stream.clone().into_owned());
                    }
                    false
                }
                _ => {
                    heard.stream = true;
                    true
                }
            };
            if is("RECORD") {
                let record = message.record.ok_or_else(|| {
                    Fault::system(format!("{program} printed a RECORD without its record"))
                })?;
                if ours(heard) && !relay.record(record)? {
                    return Ok(false);
                }
            } else if is("STATE") {
                if let Some(state) = message.value {
                    relay.state(state.get());
                }
            } else if is("SCHEMA") {
                if ours(heard) {
                    self.learn(message.schema, relay);
                }
            } else if is("BATCH") {
                if ours(heard)
                    && !batch(line, relay).with_context(|| format!("a batch of {program}"))?
                {
                    return Ok(false);
                }
            } else if !is("ACTIVATE_VERSION") {
                noise(program, line);
            }
        }
        Ok(true)
    }

    fn is_called(&self, name: &str) -> bool {
        let Stream { tap_stream_id, stream, stream_alias, .. } = &self.stream;
        [tap_stream_id, stream, stream_alias].into_iter().flatten().any(|own| own == name)
    }

    /// Takes up the properties of a schema that the tap prints along with its records.
    fn learn(&self, schema: Option<&RawValue>, relay: &mut Relay<'_>) {
        let schema = schema.and_then(|schema| serde_json::from_str(schema.get()).ok());
        let schema: Value = schema.unwrap_or_default();
        let properties = crate::message::properties(Some(&schema)).unwrap_or_default();
        relay.extend(properties.into_iter().filter(|name| self.stream.supports(name)));
    }
}

/// How a run of a tap failed.
struct Ended {
    error: anyhow::Error,
    /// Whether it did so without a word about the stream, so that another flag may help.
    silent: bool,
}

impl std::convert::From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Ended {
        Ended { error, silent: false }
    }
}

/// What a run spoke of.
#[derive(Default)]
struct Heard {
    stream: bool,
    strangers: HashSet<String>,
}

/// A message, as far as it is looked into.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// Relays the records in the files of a batch; whether more are wanted.
fn batch(line: &[u8], relay: &mut Relay<'_>) -> Result<bool> {
    let batch: Batch = serde_json::from_slice(line)?;
    let (paths, gzip) = batch.files().map_err(Fault::config)?;
    for path in paths {
        let file = std::fs::File::open(&path);
        let file = file.with_context(|| format!("reading {}", path.display()))?;
        let file: Box<dyn std::io::Read> = match gzip {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.by_ref().read_until(b'\n', &mut line)? > 0 {
            if !line.trim_ascii().is_empty() {
                let record = serde_json::from_slice(&line);
                let record: &RawValue =
                    record.with_context(|| format!("a record of {}", path.display()))?;
                if !relay.record(record)? {
                    return Ok(false);
                }
            }
            line.clear();
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_found_behind_lines_that_are_none() {
        for text in [
            "{\"streams\": [1]}",
            "INFO discovering\n{\"level\": \"INFO\"}\n{\n \"streams\": [\n  1\n ]\n}\n",
            "{\"streams\": [1]}\ndone\n",
        ] {
            let found: Option<Value> = document(text.as_bytes());
            assert!(found.is_some(), "{text}");
        }
        #[derive(Deserialize)]
        struct Catalog {
            streams: Vec<Value>,
        }
        let text = b"{\"level\": \"INFO\"}\n{\"streams\":\n[1]}";
        assert_eq!(document::<Catalog>(text).unwrap().streams.len(), 1);
        assert!(document::<Catalog>(b"nothing\n{}").is_none());
    }
}
