//! What a connector implements: a silo, its stores, and what can be done with them.
//!
//! `Silo` and `Store` are required; every further ability is a trait of its own, and a capability
//! *is* the reference to its implementation, so it cannot be claimed and missing.

use std::collections::{HashMap, HashSet};
use std::fmt;

use anyhow::Result;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::message::{self, DataType, Matching, RequestType};
use crate::output::{Output, Outputs};

/// A store's name within its silo. An absent group and `""` are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreId {
    /// The group, such as `shop/public` for a schema of a database.
    #[serde(rename = "schema_group", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The name, such as that of a table.
    #[serde(rename = "schema_name")]
    pub name: String,
}

impl StoreId {
    /// A store's name in a group.
    pub fn new(group: Option<String>, name: impl Into<String>) -> StoreId {
        StoreId { group: group.filter(|group| !group.is_empty()), name: name.into() }
    }

    /// A store's name without a group.
    pub fn named(name: impl Into<String>) -> StoreId {
        StoreId { group: None, name: name.into() }
    }
}

/// `group/name`, for people, on one line whatever the names hold.
impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.iter().flat_map(|group| group.chars().chain(['/']));
        for c in group.chain(self.name.chars()) {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// Something a store or silo can do beyond being discovered and scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ability {
    /// Read everything, or what came since a cursor.
    Read,
    /// Find the records of a subject.
    Query,
    /// Erase them, and look again.
    Delete,
    /// Follow relations, plan, and erase all or nothing.
    Plan,
    /// Take records.
    Write,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ability::Read => "read",
            Ability::Query => "query",
            Ability::Delete => "delete",
            Ability::Plan => "plan",
            Ability::Write => "write",
        })
    }
}

/// What kind of thing a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A table.
    Table,
    /// A table whose rows stand in its partitions.
    PartitionedTable,
    /// A view.
    View,
    /// A view whose rows are stored.
    MaterializedView,
    /// A table that stands on another server.
    ForeignTable,
    /// A kind of object of an API.
    Object,
}

/// What a run may do to the system it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and write: `delete` and `write`.
    Write,
}

impl Access {
    /// Refuses to write where the configuration says `read_only`.
    pub fn unless(self, read_only: bool) -> Result<()> {
        match self {
            Access::Write if read_only => Err(Fault::config(
                "the configuration says `read_only`, so nothing is deleted or written",
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// A system that holds data: the one thing a connector binary serves.
#[async_trait]
pub trait Silo: Sized + Send + Sync + 'static {
    /// What a person fills in to connect. Doc comments become the form's texts.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// The connector's name, for people: `PostgreSQL`.
    const NAME: &'static str;

    /// Everything its stores can ever do. The conformance suite holds it to what they offer.
    const ABILITIES: &'static [Ability];

    /// Connects, and fails with a [`crate::fault::Fault`] that says what to correct.
    async fn connect(config: Self::Config, access: Access) -> Result<Self>;

    /// Everything in the silo that can be read on its own: tables, or the objects of an API.
    /// A store that cannot be reached is said in a log line and left out.
    async fn stores(&self) -> Result<Vec<Box<dyn Store + '_>>>;

    /// Checks more than that connecting works, such as a scope that a token must have.
    async fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Erases across stores at once, where the silo can.
    fn eraser(&self) -> Option<&dyn Erase> {
        None
    }

    /// Checks a file of evidence that an erasure wrote, with the configuration's key and without
    /// connecting.
    fn evidence(_config: &Self::Config, _file: &std::path::Path) -> Result<message::Evidence> {
        Err(crate::fault::Fault::config("this connector writes no evidence").into())
    }

    /// Takes records, where the silo can.
    fn writer(&self) -> Option<&dyn Write> {
        None
    }
}

/// One table, or one kind of object.
#[async_trait]
pub trait Store: Send + Sync {
    /// Its name. Stable: users' selections, states and requests go by it.
    fn id(&self) -> StoreId;

    /// What its records look like.
    async fn schema(&self) -> Result<Schema>;

    /// Pushes a sample of about `sample.limit` records.
    async fn scan(&self, sample: &Sample, out: &mut Output) -> Result<()>;

    /// What else this store can do, with the implementation of each.
    fn capabilities(&self) -> Capabilities<'_> {
        Capabilities::default()
    }
}

/// What a store's records look like, and how they can be told apart and read on.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The JSON Schema of a record: an object with `properties`, each with one plain `type`, or
    /// none where any value may stand.
    pub json_schema: Value,
    /// What kind of store it is.
    pub kind: Kind,
    /// The properties that identify a record; empty where none do.
    pub key: Vec<String>,
    /// The properties an incremental read can go by, the likeliest first.
    pub cursors: Vec<String>,
    /// The stores this one points at.
    pub relations: Vec<message::Relation>,
}

impl Schema {
    /// The schema of records that are written by serializing a `T`.
    pub fn of<T: JsonSchema>() -> Schema {
        Schema {
            json_schema: crate::config::schema::<T>(),
            kind: Kind::Object,
            key: Vec::new(),
            cursors: Vec::new(),
            relations: Vec::new(),
        }
    }

    /// The same with a key.
    pub fn key(mut self, properties: &[&str]) -> Schema {
        self.key = properties.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The same with cursors.
    pub fn cursors(mut self, properties: &[&str]) -> Schema {
        self.cursors = properties.iter().map(|&name| name.to_owned()).collect();
        self
    }
}

/// How much of a store to look at.
#[derive(Debug, Clone)]
pub struct Sample {
    /// About how many records.
    pub limit: usize,
    /// The same seed gives the same records of an unchanged store.
    pub seed: u64,
    /// The properties wanted; `None` for all.
    pub properties: Option<Vec<String>>,
}

/// What a store can do beyond `Store`, with the implementation of each.
#[derive(Default, Clone, Copy)]
pub struct Capabilities<'a> {
    /// Reads all, or what came since a cursor.
    pub read: Option<&'a dyn Read>,
    /// Finds a subject's records.
    pub query: Option<Querying<'a>>,
    /// Erases a subject's records.
    pub delete: Option<Deleting<'a>>,
}

/// How a store finds a subject's records.
#[derive(Clone, Copy)]
pub enum Querying<'a> {
    /// At once.
    Now(&'a dyn Query),
    /// By a job of the vendor's, asked again later.
    Job(&'a dyn Jobs),
}

/// How a store erases a subject's records.
#[derive(Clone, Copy)]
pub enum Deleting<'a> {
    /// At once.
    Now(&'a dyn Delete),
    /// By a job of the vendor's, looked at afresh once the vendor says it is done.
    Job(&'a dyn Jobs, &'a dyn Verify),
    /// With the other stores of the silo, by its [`Silo::eraser`].
    Silo(&'a dyn Erase),
}

impl<'a> Capabilities<'a> {
    /// Reads.
    pub fn read(self, store: &'a dyn Read) -> Self {
        Capabilities { read: Some(store), ..self }
    }

    /// Queries at once.
    pub fn query(self, store: &'a dyn Query) -> Self {
        Capabilities { query: Some(Querying::Now(store)), ..self }
    }

    /// Queries by a vendor's job.
    pub fn query_by_job(self, store: &'a dyn Jobs) -> Self {
        Capabilities { query: Some(Querying::Job(store)), ..self }
    }

    /// Deletes at once.
    pub fn delete(self, store: &'a dyn Delete) -> Self {
        Capabilities { delete: Some(Deleting::Now(store)), ..self }
    }

    /// Deletes by a vendor's job. One that cannot look again is no way to delete.
    pub fn delete_by_job<T: Jobs + Verify>(self, store: &'a T) -> Self {
        Capabilities { delete: Some(Deleting::Job(store, store)), ..self }
    }

    /// Deletes together with the other stores of the silo.
    pub fn erase(self, silo: &'a dyn Erase) -> Self {
        Capabilities { delete: Some(Deleting::Silo(silo)), ..self }
    }

    /// The names of what is there.
    pub fn abilities(&self) -> Vec<Ability> {
        let mut abilities = Vec::new();
        abilities.extend(self.read.map(|_| Ability::Read));
        abilities.extend(self.query.map(|_| Ability::Query));
        match self.delete {
            None => {}
            Some(Deleting::Silo(_)) => abilities.extend([Ability::Delete, Ability::Plan]),
            Some(_) => abilities.push(Ability::Delete),
        }
        abilities
    }
}

/// Reads a store: all of it, or what came since a cursor.
#[async_trait]
pub trait Read: Send + Sync {
    /// Pushes records, with a checkpoint wherever [`Output::due`] says so and at the end.
    ///
    /// A read from any checkpoint gives every record that came after it: exactly once where the
    /// store did not change, at least once for records that did, and none is ever lost.
    async fn read(&self, from: &From<'_>, out: &mut Output) -> Result<()>;
}

/// Where and how a read begins.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// The property to go by, as the user chose it; `None` for the store's own way.
    pub cursor: Option<&'a str>,
    /// The properties wanted; `None` for all.
    pub properties: Option<&'a [String]>,
    /// The last checkpoint of an earlier read; `None` for everything.
    pub since: Option<&'a Cursor>,
    /// How many connections this store may use at once.
    pub parallel: usize,
}

/// Where a read got to. Only the connector that wrote it reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Value);

impl Cursor {
    /// A cursor that holds `value`.
    pub fn new(value: &impl Serialize) -> Result<Cursor> {
        Ok(Cursor(serde_json::to_value(value)?))
    }

    /// What it holds. A cursor of another connector or version is a fault, not a guess.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            crate::fault::Fault::config(format!(
                "the state's cursor was not written by this connector or version ({})",
                crate::config::complaint(&error)
            ))
            .into()
        })
    }
}

/// What is known of a person in one store. Several identifiers are a union.
#[derive(Clone)]
pub struct Subject {
    /// At least one.
    pub identifiers: Vec<Known>,
    /// The properties wanted; `None` for all.
    pub properties: Option<Vec<String>>,
}

impl Subject {
    /// Whether an identifier says that `property` is `value`, for stores that filter themselves.
    pub fn has(&self, property: &str, value: &str) -> bool {
        self.identifiers.iter().any(|known| known.property == property && known.value == value)
    }
}

/// Names properties, never values.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.identifiers.iter().map(|known| known.property.as_str());
        f.debug_set().entries(names).finish()
    }
}

/// The value of one property. No `Debug`: it must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    /// The property.
    pub property: String,
    /// Its value as text. One that cannot be of the property's type matches nothing.
    pub value: String,
    /// How values are compared.
    pub matching: Matching,
}

/// Finds what a store holds about a subject, at once.
#[async_trait]
pub trait Query: Send + Sync {
    /// Pushes each of the subject's records once.
    async fn query(&self, subject: &Subject, out: &mut Output) -> Result<()>;

    /// Whether it reads the whole store to find them. Results say so.
    fn reads_everything(&self) -> bool {
        false
    }
}

/// Looks afresh for what should be gone.
#[async_trait]
pub trait Verify: Send + Sync {
    /// What is still there, through a new connection or past any cache.
    async fn remaining(&self, subject: &Subject) -> Result<Remaining>;
}

/// What a fresh look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remaining {
    /// So many records.
    Records(u64),
    /// It cannot be known, and why.
    Unknown(String),
}

/// Removes what a store holds about a subject, at once.
#[async_trait]
pub trait Delete: Verify {
    /// Returns how many records were removed. Removing nothing is no failure.
    async fn delete(&self, subject: &Subject) -> Result<u64>;
}

/// Asks the vendor to do it, and comes back later, in another process.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Starts the job. The handle is all that a later process has.
    async fn start(&self, request: RequestType, subject: &Subject) -> Result<Handle>;

    /// How the job stands.
    async fn status(&self, request: RequestType, handle: &Handle) -> Result<JobStatus>;

    /// Pushes what a finished query found.
    async fn results(&self, handle: &Handle, out: &mut Output) -> Result<()>;

    /// The job of a query whose handle names none: one that another connector for the same system
    /// began, in whose place this one is.
    async fn adopt(&self, _subject: &Subject) -> Result<Handle> {
        Err(crate::fault::Fault::config("the handle names no job: ask with query again").into())
    }
}

/// What finds a vendor's job again. Only the connector that wrote it reads it.
#[derive(Debug, Clone)]
pub struct Handle(pub Value);

impl Handle {
    /// A handle that holds `value`.
    pub fn new(value: &impl Serialize) -> Result<Handle> {
        Ok(Handle(serde_json::to_value(value)?))
    }

    /// What it holds.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            crate::fault::Fault::config(format!(
                "the handle was not written by this connector or version ({})",
                crate::config::complaint(&error)
            ))
            .into()
        })
    }
}

/// How a vendor's job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// The vendor is at work.
    Running,
    /// The vendor says it is done, and what there is to fetch.
    Complete(DataType),
    /// The vendor says it failed, and why.
    Failed(String),
}

/// Erases across the stores of a silo: one transaction a database.
#[async_trait]
pub trait Erase: Send + Sync {
    /// What an erasure would do.
    async fn plan(&self, request: &Erasure) -> Result<message::Plan>;

    /// Does it. One outcome for each store named or reached, the named ones first.
    async fn erase(&self, request: &Erasure) -> Result<Vec<Outcome>>;

    /// What is still there, read afresh.
    async fn verify(&self, request: &Erasure) -> Result<message::Verify>;

    /// The stores that hold records of the subject's closure, the named ones first.
    async fn reach(&self, request: &Erasure) -> Result<Vec<StoreId>>;

    /// Pushes the closure's records of `stores`, each store's into an output of its own.
    async fn collect(&self, request: &Erasure, stores: &[StoreId], outputs: &Outputs)
    -> Result<()>;
}

/// What to erase, and how.
#[derive(Debug, Clone, Default)]
pub struct Erasure {
    /// What is known of the subject, store by store, in the order given.
    pub subjects: Vec<(StoreId, Subject)>,
    /// Whether to follow relations to everything that belongs to the subject.
    pub follow: bool,
    /// The members of a policy: persons, relations, strategies, retain and what else there is.
    pub policy: serde_json::Map<String, Value>,
    /// The hash of the plan that was approved.
    pub approved: Option<String>,
    /// Whether to do everything but the commit.
    pub dry_run: bool,
    /// Where to append evidence.
    pub evidence: Option<std::path::PathBuf>,
    /// Whether to look for the subject's values in all text afterwards.
    pub search_values: bool,
}

/// What became of one store in an erasure.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The store.
    pub store: StoreId,
    /// How many records went.
    pub deleted: u64,
    /// How many are there that should not be.
    pub remaining: u64,
    /// Why that cannot be known.
    pub unverifiable: Option<String>,
    /// What was left undone, and why.
    pub skipped: Vec<String>,
    /// Why nothing was done.
    pub error: Option<String>,
    /// Further facts for the result's `data`.
    pub more: serde_json::Map<String, Value>,
}

impl Outcome {
    /// The outcome of a store of which nothing is known yet.
    pub fn of(store: StoreId) -> Outcome {
        Outcome {
            store,
            deleted: 0,
            remaining: 0,
            unverifiable: None,
            skipped: Vec::new(),
            error: None,
            more: serde_json::Map::new(),
        }
    }
}

/// Takes records into a silo.
#[async_trait]
pub trait Write: Send + Sync {
    /// Begins a run of writing.
    async fn begin(&self, how: &WriteOptions) -> Result<Box<dyn Writing + '_>>;
}

/// How records are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// What happens to records that are there already.
    pub mode: WriteMode,
    /// The stores that have a mode of their own.
    pub modes: HashMap<StoreId, WriteMode>,
    /// The stores whose old records are gone when the run has succeeded, whatever their mode.
    pub emptied: HashSet<StoreId>,
    /// What happens to properties that the store has no place for.
    pub columns: UnknownColumns,
}

impl WriteOptions {
    /// The same mode for all stores, and columns as they come.
    pub fn of(mode: WriteMode) -> WriteOptions {
        let columns = UnknownColumns::Add;
        WriteOptions { mode, modes: HashMap::new(), emptied: HashSet::new(), columns }
    }

    /// What happens to the records that a store has already.
    pub fn mode_of(&self, store: &StoreId) -> WriteMode {
        self.modes.get(store).copied().unwrap_or(self.mode)
    }

    /// Whether a store's old records are gone when the run has succeeded.
    pub fn empties(&self, store: &StoreId) -> bool {
        self.mode_of(store) == WriteMode::Replace || self.emptied.contains(store)
    }

    /// Whether any store's old records must be seen until the run has succeeded.
    pub fn replaces(&self) -> bool {
        let mut modes = self.modes.values().chain([&self.mode]);
        !self.emptied.is_empty() || modes.any(|mode| *mode == WriteMode::Replace)
    }
}

/// What happens to records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WriteMode {
    /// They stay, and every record is added.
    Append,
    /// A record replaces the one with its key.
    Upsert,
    /// They are gone when the run has succeeded.
    Replace,
}

/// What happens to properties that the store has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownColumns {
    /// A column is added.
    Add,
    /// The run fails and names it.
    Fail,
}

/// A run of writing.
#[async_trait]
pub trait Writing: Send {
    /// Says what the records of a store look like; makes the store where it is missing.
    async fn schema(&mut self, entry: &message::SchemaEntry) -> Result<()>;

    /// Takes records of one store, in order. Nothing is promised until a commit.
    async fn records(&mut self, store: &StoreId, records: &[&RawValue]) -> Result<()>;

    /// Commits what was taken, if the mode allows it before the end; whether it did.
    async fn commit(&mut self) -> Result<bool>;

    /// Commits everything.
    async fn finish(&mut self) -> Result<()>;
}
