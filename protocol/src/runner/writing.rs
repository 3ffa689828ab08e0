//! `write`: SCHEMA, RECORD and STATE messages from standard input into the silo.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
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

impl Record<'_> {
    fn is_of(&self, store: &StoreId) -> bool {
        let group = self.schema_group.as_deref().filter(|group| !group.is_empty());
        self.schema_name == store.name && group == store.group.as_deref()
    }

    fn store(&self) -> StoreId {
        let group = self.schema_group.as_ref().map(|group| group.clone().into_owned());
        StoreId::new(group, self.schema_name.clone().into_owned())
    }
}

pub(super) async fn write<S: Silo>(
    silo: &S,
    how: &WriteOptions,
    input: impl Read,
    sink: &Sink,
) -> Result<End> {
    let writer = silo.writer().ok_or_else(|| {
        Fault::config("this connector cannot write; the abilities in its spec say what it can")
    })?;
    let mut writing = writer.begin(how).await?;
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
        taken.take(&block, &mut *writing).await?;
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
    Ok(End::Done)
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
    /// STATE lines that no commit covers yet, as they came.
    pending: Vec<u8>,
    last_commit: Instant,
    /// Whether anything was committed, after which a bad line is no longer "nothing was done".
    committed: bool,
    lines: u64,
    records: u64,
}

impl Taken {
    async fn take(&mut self, block: &[u8], writing: &mut dyn Writing) -> Result<()> {
        let mut run: Option<(StoreId, Vec<&RawValue>)> = None;
        for line in block.split_inclusive(|&byte| byte == b'\n') {
            self.lines += 1;
            let line_number = self.lines;
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let mut deserializer = serde_json::Deserializer::from_slice(line);
            let parsed: Line<'_> =
                serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
                    let why = if error.inner().is_data() {
                        complaint(&error)
                    } else {
                        "it is not a JSON message".to_owned()
                    };
                    self.refusal(line_number, &why)
                })?;
            if let ("RECORD", Some(record)) = (&*parsed.r#type, &parsed.record) {
                self.records += 1;
                match &mut run {
                    Some((store, records)) if record.is_of(store) => records.push(record.data),
                    _ => {
                        hand_over(&mut run, writing).await?;
                        run = Some((record.store(), vec![record.data]));
                    }
                }
                continue;
            }
            hand_over(&mut run, writing).await?;
            match (&*parsed.r#type, parsed.schema_msg) {
                ("SCHEMA", Some(message)) => {
                    for entry in &message.schemas {
                        writing.schema(entry).await?;
                    }
                }
                ("STATE", _) => {
                    self.pending.extend_from_slice(line);
                    self.pending.push(b'\n');
                }
                ("PROGRESS" | "LOG", _) => {}
                ("RECORD" | "SCHEMA", _) => {
                    return Err(self.refusal(line_number, "the message lacks its payload"));
                }
                _ => {
                    let why = "only SCHEMA, RECORD and STATE messages can be taken";
                    return Err(self.refusal(line_number, why));
                }
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
