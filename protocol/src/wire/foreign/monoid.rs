//! A Monoid connector as a silo, whose deletions are not believed but looked at.
//!
//! Its requests are jobs here: `query` and `delete` start one, `request-status` asks after it, and
//! `request-results` fetches what it found. A deletion that the connector calls complete is
//! complete only once a query of the same identifiers finds nothing. Such a connector cannot read a
//! whole store: it has samples and requests alone.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::mending::{Mending, noise};
use super::process::{End, Folder, Program, Run};
use super::record::Shape;
use super::{Any, Foreign, Kept, schema};
use crate::fault::Fault;
use crate::json::Spelling;
use crate::log;
use crate::message::{DataType, Identifier, RequestType};
use crate::output::Output;
use crate::silo::{
    Ability, Capabilities, Handle, JobStatus, Jobs, Kind, Remaining, Sample, Schema, Store,
    StoreId, Subject, Verify,
};

/// How long a connector may take for what needs no system, and for a try to reach one.
const ANSWER: Duration = Duration::from_secs(120);

/// The folder among a run's files that the connector puts its own into.
const FILES: &str = "files";

/// Any Monoid connector.
pub type Monoid = Any<Connector>;

/// A connector with its configuration.
pub struct Connector {
    program: Program,
    kept: Kept,
}

#[async_trait]
impl Foreign for Connector {
    const NAME: &'static str = "Monoid";
    const ABILITIES: &'static [Ability] = &[Ability::Query, Ability::Delete];

    async fn form(program: &Program) -> Result<Value> {
        let mut spec = ask(program, None, "spec", "SPEC", "spec", &[]).await?;
        match spec.payloads.pop() {
            Some(mut spec) => Ok(spec["spec"].take()),
            None => Err(spec.end.silent("SPEC", "spec")),
        }
    }

    /// The configuration is refused where it does not fit, before the connector sees it: some print
    /// it with its secrets.
    fn new(program: Program, kept: Kept) -> Connector {
        Connector { program, kept }
    }

    /// The answer counts, whatever the exit status: so their host takes it.
    async fn validate(&self) -> Result<()> {
        let mut answers = self.ask("validate", "VALIDATE", "validate_msg", &[]).await?;
        let Some(answer) = answers.payloads.pop() else {
            return Err(answers.end.silent("VALIDATE", "validate"));
        };
        if answer["status"] == "SUCCESS" {
            return Ok(());
        }
        let why = answer["message"].as_str().unwrap_or("it does not say why");
        let name = self.program.name();
        Err(Fault::config(format!("{name} refuses its `config`: {why}")).into())
    }

    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>> {
        let mut answers = self.ask("schema", "SCHEMA", "schema_msg", &[]).await?;
        let Some(mut answer) = answers.payloads.pop() else {
            return Err(answers.end.silent("SCHEMA", "schema"));
        };
        let entries = match answer["schemas"].take() {
            Value::Array(entries) => entries,
            _ => Vec::new(),
        };
        let mut stores: Vec<Box<dyn Store + '_>> = Vec::new();
        for entry in entries {
            let Some(name) = entry["name"].as_str() else {
                log::warn(format_args!("{}: a store has no name", self.program.name()));
                continue;
            };
            let id = StoreId::new(entry["group"].as_str().map(str::to_owned), name);
            stores.push(Box::new(Stored { connector: self, id, entry }));
        }
        Ok(stores)
    }
}

/// The messages of a run, one type of them.
struct Answers {
    payloads: Vec<Value>,
    end: End,
}

impl Connector {
    /// Runs a command and collects its messages of one type.
    async fn ask(
        &self,
        command: &str,
        kind: &str,
        payload: &str,
        inputs: &[(&str, &Value)],
    ) -> Result<Answers> {
        ask(&self.program, Some(&self.kept), command, kind, payload, inputs).await
    }
}

/// Runs a command with its inputs, each a flag and what stands in its file.
fn start(
    program: &Program,
    kept: Option<&Kept>,
    command: &str,
    inputs: &[(&str, &Value)],
) -> Result<Run> {
    let folder = Folder::new()?;
    let files = folder.path().join(FILES);
    std::fs::create_dir(&files).context("making a folder for the connector's files")?;
    let mut words = vec![command.to_owned()];
    if let Some(kept) = kept {
        words.extend(["-c".to_owned(), folder.file("config.json", &kept.text())?]);
    }
    for (flag, content) in inputs {
        let name = format!("{}.json", flag.trim_start_matches('-'));
        words.extend([(*flag).to_owned(), folder.file(&name, &content.to_string())?]);
    }
    // The kit takes no `-p` where it has no use for one.
    if !["spec", "validate", "schema"].contains(&command) {
        let persist = json!({ "temp_store": files });
        words.extend(["-p".to_owned(), folder.file("p.json", &persist.to_string())?]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match command {
        "spec" | "validate" => program.within(ANSWER).start(folder, &words),
        _ => program.start(folder, &words),
    }
}

/// Runs a command and collects its messages of one type.
async fn ask(
    program: &Program,
    kept: Option<&Kept>,
    command: &str,
    kind: &str,
    payload: &str,
    inputs: &[(&str, &Value)],
) -> Result<Answers> {
    let mut run = start(program, kept, command, inputs)?;
    let mut payloads = Vec::new();
    while let Some(line) = run.line().await? {
        match serde_json::from_slice::<Value>(line) {
            Ok(mut message) if message["type"] == kind && message[payload].is_object() => {
                payloads.push(message[payload].take());
            }
            Ok(message) if message["log"]["message"].is_string() => {
                hand_on(program, &message["log"]);
            }
            _ => noise(program.name(), line),
        }
    }
    Ok(Answers { payloads, end: run.end().await? })
}

/// Hands on a line of the connector's log.
fn hand_on(program: &Program, log: &Value) {
    let text = log["message"].as_str().unwrap_or_default();
    log::info(format_args!("{}: {text}", program.name()));
}

/// A store of a connector.
struct Stored<'s> {
    connector: &'s Connector,
    id: StoreId,
    /// As `schema` has it.
    entry: Value,
}

#[async_trait]
impl Store for Stored<'_> {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    async fn schema(&self) -> Result<Schema> {
        let mut json_schema = schema::of_records(&self.entry["json_schema"], |_| true);
        // Its requests are its own.
        json_schema.as_object_mut().map(|members| members.shift_remove("query"));
        Ok(Schema {
            json_schema,
            kind: Kind::Object,
            key: Vec::new(),
            cursors: Vec::new(),
            relations: Vec::new(),
        })
    }

    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()> {
        if sample.limit == 0 {
            return Ok(());
        }
        let schemas = json!({ "schemas": [self.entry] });
        let mut shape = Shape::new(self.properties());
        let mut left = sample.limit;
        let file = self
            .records("scan", &[("-s", &schemas)], out.spelling(), |record| {
                shape.look(record)?;
                out.push_raw_with(record, shape.lacking())?;
                left -= 1;
                Ok(left > 0)
            })
            .await?;
        match file {
            None => Ok(()),
            Some(_) => Err(Fault::system("a scan gave a file").into()),
        }
    }

    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default().query_by_job(self).delete_by_job(self)
    }
}

/// A request of the connector's, as it travels in our handle.
#[derive(Serialize, Deserialize)]
struct Job {
    /// One entry an identifier, as the connector printed them.
    monoid: Vec<Asked>,
}

/// The answer to one identifier.
#[derive(Clone, Serialize, Deserialize)]
struct Asked {
    status: Value,
    handle: Value,
}

/// An archive that a run gave in place of records.
struct Archive {
    /// Below the connector's folder.
    path: PathBuf,
    /// The run's files.
    folder: Folder,
}

#[async_trait]
impl Jobs for Stored<'_> {
    async fn start(&self, request: RequestType, subject: &Subject) -> Result<Handle> {
        Handle::new(&Job { monoid: self.request(request, subject).await? })
    }

    async fn status(&self, _: RequestType, handle: &Handle) -> Result<JobStatus> {
        let job: Job = handle.parse()?;
        self.standing(&job.monoid).await
    }

    async fn results(&self, handle: &Handle, out: &mut Output) -> Result<()> {
        let job: Job = handle.parse()?;
        self.fetch(&job.monoid, out).await
    }

    async fn adopt(&self, subject: &Subject) -> Result<Handle> {
        self.start(RequestType::Query, subject).await
    }
}

#[async_trait]
impl Verify for Stored<'_> {
    async fn remaining(&self, subject: &Subject) -> Result<Remaining> {
        let asked = self.request(RequestType::Query, subject).await?;
        match self.standing(&asked).await? {
            JobStatus::Complete(DataType::Records | DataType::None) => {}
            JobStatus::Complete(DataType::File) => {
                let why = "the connector answers with files, in which records cannot be counted";
                return Ok(Remaining::Unknown(why.to_owned()));
            }
            JobStatus::Running => {
                let why = "the connector answers a query later, so that it cannot be looked at now";
                return Ok(Remaining::Unknown(why.to_owned()));
            }
            JobStatus::Failed(why) => return Ok(Remaining::Unknown(why)),
        }
        let mut records = 0;
        let spelling = Spelling::NATIVE;
        let counted = self.found(&asked, spelling, |_| {
            records += 1;
            Ok(true)
        });
        match counted.await? {
            None => Ok(Remaining::Records(records)),
            Some(_) => Ok(Remaining::Unknown("the connector answers with files".to_owned())),
        }
    }
}

impl Stored<'_> {
    fn properties(&self) -> Vec<String> {
        crate::message::properties(self.entry.get("json_schema")).unwrap_or_default()
    }

    /// Makes a request of the connector; one answer an identifier.
    async fn request(&self, request: RequestType, subject: &Subject) -> Result<Vec<Asked>> {
        let command = match request {
            RequestType::Query => "query",
            RequestType::Delete => "delete",
        };
        let identifiers = subject.identifiers.iter().map(|known| Identifier {
            schema_name: self.id.name.clone(),
            schema_group: self.id.group.clone(),
            identifier: known.property.clone(),
            identifier_query: known.value.clone(),
            json_schema: self.entry.get("json_schema").cloned(),
            matching: crate::message::Matching::Exact,
        });
        let query = json!({ "identifiers": identifiers.collect::<Vec<_>>() });
        let answers =
            self.connector.ask(command, "REQUEST_RESULT", "request", &[("-q", &query)]).await?;
        if !answers.end.succeeded() {
            return Err(answers.end.fault());
        }
        let mut asked = Vec::new();
        for mut answer in answers.payloads {
            if answer["status"]["request_status"] == "FAILED" {
                let name = self.connector.program.name();
                let what = format!("{name} says that its `{command}` has failed");
                return Err(Fault::system(what).into());
            }
            asked.push(Asked { status: answer["status"].take(), handle: answer["handle"].take() });
        }
        let (given, wanted) = (asked.len(), subject.identifiers.len());
        match given == wanted {
            true => Ok(asked),
            false => {
                let name = self.connector.program.name();
                let what = format!("{name} answered {given} of {wanted} identifiers");
                Err(Fault::system(what).into())
            }
        }
    }

    /// How a request stands: as its slowest part.
    async fn standing(&self, asked: &[Asked]) -> Result<JobStatus> {
        let handles: Vec<&Value> = asked.iter().map(|one| &one.handle).collect();
        let requests = json!({ "handles": handles });
        let answers = self
            .connector
            .ask("request-status", "REQUEST_STATUS", "request_status", &[("-r", &requests)])
            .await?;
        if answers.payloads.len() != asked.len() {
            return Err(answers.end.silent("REQUEST_STATUS", "request-status"));
        }
        let has = |standing: &str| {
            answers.payloads.iter().any(|answer| answer["request_status"] == standing)
        };
        let name = self.connector.program.name();
        if has("FAILED") {
            return Ok(JobStatus::Failed(format!("{name} says that the request has failed")));
        }
        if answers.payloads.iter().any(|answer| answer["request_status"] != "COMPLETE") {
            return Ok(JobStatus::Running);
        }
        let given = |kind: &str| answers.payloads.iter().any(|answer| answer["data_type"] == kind);
        Ok(JobStatus::Complete(match (given("FILE"), given("RECORDS")) {
            (true, _) => DataType::File,
            (_, true) => DataType::Records,
            _ => DataType::None,
        }))
    }

    /// Pushes what a request found, each record once.
    async fn fetch(&self, asked: &[Asked], out: &mut Output) -> Result<()> {
        let mut shape = Shape::new(self.properties());
        // Two identifiers may find the same record.
        let mut seen = (asked.len() > 1).then(HashSet::new);
        let archive = self.found(asked, out.spelling(), |record| {
            if seen.as_mut().is_none_or(|seen| seen.insert(record.get().to_owned())) {
                shape.look(record)?;
                out.push_raw_with(record, shape.lacking())?;
            }
            Ok(true)
        });
        let Some(Archive { path, folder }) = archive.await? else { return Ok(()) };
        let name = path.file_name().context("the connector's file has no name")?;
        let to = out.files()?.join(name);
        let from = folder.path().join(FILES).join(&path);
        std::fs::copy(&from, &to).context("taking over the connector's file")?;
        out.file(Path::new(name))
    }

    /// Takes each record that a request found; an archive where it found one of those.
    async fn found(
        &self,
        asked: &[Asked],
        spelling: Spelling,
        take: impl FnMut(&RawValue) -> Result<bool> + Send,
    ) -> Result<Option<Archive>> {
        let handles: Vec<&Value> = asked.iter().map(|one| &one.handle).collect();
        let requests = json!({ "handles": handles });
        self.records("request-results", &[("-r", &requests)], spelling, take).await
    }

    /// Runs a command that prints records, and gives each to `take` until it wants no more.
    async fn records(
        &self,
        command: &str,
        inputs: &[(&str, &Value)],
        spelling: Spelling,
        mut take: impl FnMut(&RawValue) -> Result<bool> + Send,
    ) -> Result<Option<Archive>> {
        let program = self.connector.program.name();
        let mut run = start(&self.connector.program, Some(&self.connector.kept), command, inputs)?;
        let mut mending = Mending::of(program, spelling);
        let mut path = None;
        let mut strangers = 0;
        while let Some(line) = run.line().await? {
            let mut text = String::new();
            let Some(message) = mending.read::<Line<'_>>(line, &mut text) else { continue };
            if let Some(log) = message.log {
                hand_on(&self.connector.program, &serde_json::from_str(log.get())?);
            }
            let Some(record) = message.record else { continue };
            let group = record.schema_group.as_deref().filter(|group| !group.is_empty());
            if record.schema_name != self.id.name || group != self.id.group.as_deref() {
                strangers += 1;
            } else if let Some(file) = record.file {
                path = Some(PathBuf::from(&*file));
            } else if let Some(data) = record.data
                && !take(data)?
            {
                run.stop().await;
                return Ok(None);
            }
        }
        let end = run.end().await?;
        if !end.succeeded() {
            return Err(end.fault());
        }
        mending.end(&self.id)?;
        if strangers > 0 {
            log::warn(format_args!("{}: {strangers} records were of other stores", self.id));
        }
        let Some(path) = path else { return Ok(None) };
        // The path is the connector's word, and must lead to a file of its own.
        if path.components().any(|part| !matches!(part, Component::Normal(_))) {
            let what = format!("{program} names a file outside of its folder");
            return Err(Fault::system(what).into());
        }
        let folder = end.folder.context("a run has its files until it ends")?;
        Ok(Some(Archive { path, folder }))
    }
}

/// A message, as far as it is looked into.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    schema_name: Cow<'a, str>,
    #[serde(borrow, default)]
    schema_group: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<Cow<'a, str>>,
}
