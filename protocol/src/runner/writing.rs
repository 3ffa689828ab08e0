//! `write`: schemas, records and states from standard input into the silo, whichever protocol's.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::End;
use super::input::Unreadable;
use crate::config::complaint;
use crate::fault::Fault;
use crate::log;
use crate::message::{SchemaEntry, Schemas};
use crate::output::Sink;
use crate::silo::{Silo, StoreId, WriteOptions, Writing};

/// How much of the input is taken at once: as many lines as are there, up to about this.
const BLOCK: usize = 1024 * 1024;

/// States that follow each other faster than this share a commit.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// What a line of the input is.
pub(crate) enum Item<'a> {
    /// A record of a store.
    Record { group: Option<Cow<'a, str>>, name: Cow<'a, str>, data: &'a RawValue },
    /// Files of a store's records, one a line.
    Files { store: StoreId, paths: Vec<PathBuf>, gzip: bool },
    /// What the records of stores look like.
    Schemas(Vec<SchemaEntry>),
    /// A state, as the lines that say it is committed.
    State(Cow<'a, [u8]>),
    /// Nothing that concerns the silo.
    Nothing,
}

/// Reads the lines of a protocol.
pub(crate) trait Intake: Send {
    /// What a line is, or why it cannot be taken.
    fn item<'a>(&mut self, line: &'a [u8]) -> Result<Item<'a>, String>;
}

/// A line as JSON, or a complaint without what is in it.
pub(crate) fn parsed<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        match error.inner().is_data() {
            true => complaint(&error),
            false => "it is not a JSON message".to_owned(),
        }
    })
}

/// The native protocol's lines.
struct Native;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
    #[serde(default)]
    schema_msg: Option<Schemas<SchemaEntry>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    schema_name: Cow<'a, str>,
    #[serde(borrow, default)]
    schema_group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Intake for Native {
    fn item<'a>(&mut self, line: &'a [u8]) -> Result<Item<'a>, String> {
        let message: Line<'a> = parsed(line)?;
        match (&*message.r#type, message.record, message.schema_msg) {
            ("RECORD", Some(Record { schema_name: name, schema_group: group, data }), _) => {
                let group = group.filter(|group| !group.is_empty());
                Ok(Item::Record { group, name, data })
            }
            ("SCHEMA", _, Some(message)) => Ok(Item::Schemas(message.schemas)),
            ("STATE", ..) => Ok(Item::State([line, b"\n"].concat().into())),
            ("PROGRESS" | "LOG", ..) => Ok(Item::Nothing),
            ("RECORD" | "SCHEMA", ..) => Err("the message lacks its payload".to_owned()),
            _ => Err("only SCHEMA, RECORD and STATE messages can be taken".to_owned()),
        }
    }
}

pub(super) async fn write<S: Silo>(
    silo: &S,
    how: &WriteOptions,
    input: impl Read,
    sink: &Sink,
) -> Result<End> {
    take_all(silo, how, &[], &mut Native, input, sink).await?;
    Ok(End::Done)
}

/// Takes an input to its end: `schemas`, then its lines. Returns how many records there were.
pub(crate) async fn take_all<S: Silo>(
    silo: &S,
    how: &WriteOptions,
    schemas: &[SchemaEntry],
    intake: &mut dyn Intake,
    input: impl Read,
    sink: &Sink,
) -> Result<u64> {
    let writer = silo.writer().ok_or_else(|| {
        Fault::config("this connector cannot write; the abilities in its spec say what it can")
    })?;
    let mut writing = writer.begin(how).await?;
    for entry in schemas {
        writing.schema(entry).await?;
    }
    let mut reader = BufReader::with_capacity(256 * 1024, input);
    let mut taken = Taken {
        pending: Vec::new(),
        last_commit: Instant::now(),
        committed: false,
        lines: 0,
        records: 0,
    };
    let mut block = Vec::new();
    loop {
        fill(&mut reader, &mut block)?;
        if block.is_empty() {
            break;
        }
        taken.take(&block, intake, &mut *writing).await?;
        // Whoever waits for a state before it sends more must not wait for a full block.
        let idle = !reader.buffer().contains(&b'\n');
        if !taken.pending.is_empty()
            && (idle || taken.last_commit.elapsed() > COMMIT_EVERY)
            && writing.commit().await?
        {
            taken.echo(sink)?;
        }
    }
    writing.finish().await?;
    taken.echo(sink)?;
    log::info(format_args!("{} records written", taken.records));
    Ok(taken.records)
}

/// Reads whole lines: one at least, then what is there already, up to a block.
fn fill(reader: &mut BufReader<impl Read>, block: &mut Vec<u8>) -> Result<()> {
    block.clear();
    loop {
        reader.read_until(b'\n', block).context("reading standard input")?;
        if block.len() >= BLOCK || !reader.buffer().contains(&b'\n') {
            return Ok(());
        }
    }
}

struct Taken {
    /// Lines that say that states are committed, which no commit covers yet.
    pending: Vec<u8>,
    last_commit: Instant,
    /// Whether anything was committed, after which a bad line is no longer "nothing was done".
    committed: bool,
    lines: u64,
    records: u64,
}

impl Taken {
    async fn take(
        &mut self,
        block: &[u8],
        intake: &mut dyn Intake,
        writing: &mut dyn Writing,
    ) -> Result<()> {
        let mut run: Option<(StoreId, Vec<&RawValue>)> = None;
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            self.lines += 1;
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let item = intake.item(line).map_err(|why| self.refusal(self.lines, &why))?;
            if let Item::Record { group, name, data } = item {
                self.records += 1;
                match &mut run {
                    Some((store, records))
                        if store.name == name && store.group.as_deref() == group.as_deref() =>
                    {
                        records.push(data);
                    }
                    _ => {
                        hand_over(&mut run, writing).await?;
                        let store = StoreId::new(group.map(Cow::into_owned), name.into_owned());
                        run = Some((store, vec![data]));
                    }
                }
                continue;
            }
            hand_over(&mut run, writing).await?;
            match item {
                Item::Schemas(entries) => {
                    for entry in &entries {
                        writing.schema(entry).await?;
                    }
                }
                Item::Files { store, paths, gzip } => {
                    for path in paths {
                        self.records += take_file(&store, &path, gzip, writing).await?;
                    }
                }
                Item::State(lines) => self.pending.extend_from_slice(&lines),
                Item::Record { .. } | Item::Nothing => {}
            }
        }
        hand_over(&mut run, writing).await
    }

    fn refusal(&self, line: u64, why: &str) -> anyhow::Error {
        let fault = Fault::config(format!("standard input, line {line}: {why}"));
        if self.committed { fault.into() } else { Unreadable::from(fault).into() }
    }

    /// Says which states a commit has covered.
    fn echo(&mut self, sink: &Sink) -> Result<()> {
        self.committed = true;
        self.last_commit = Instant::now();
        if !self.pending.is_empty() {
            sink.write(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

/// Takes the records of a file; how many there were.
async fn take_file(
    store: &StoreId,
    path: &Path,
    gzip: bool,
    writing: &mut dyn Writing,
) -> Result<u64> {
    let unreadable =
        || Fault::config(format!("{store}: the batch {} cannot be read", path.display()));
    let file = File::open(path).with_context(unreadable)?;
    let content: Box<dyn Read + Send> = match gzip {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut reader = BufReader::with_capacity(256 * 1024, content);
    let mut block = Vec::new();
    let mut taken = 0;
    loop {
        fill(&mut reader, &mut block).with_context(unreadable)?;
        if block.is_empty() {
            return Ok(taken);
        }
        let lines = block.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let records: Result<Vec<&RawValue>, String> = lines.map(parsed).collect();
        let records = records.map_err(|why| {
            Fault::config(format!("{store}: the batch {}: {why}", path.display()))
        })?;
        writing.records(store, &records).await.with_context(|| format!("writing to {store}"))?;
        taken += records.len() as u64;
    }
}

async fn hand_over(
    run: &mut Option<(StoreId, Vec<&RawValue>)>,
    writing: &mut dyn Writing,
) -> Result<()> {
    match run.take() {
        Some((store, records)) => {
            writing.records(&store, &records).await.with_context(|| format!("writing to {store}"))
        }
        None => Ok(()),
    }
}
