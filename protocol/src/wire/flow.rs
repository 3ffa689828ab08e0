//! Estuary Flow: what a capture and a materialization answer to the requests on their stdin.
//!
//! | ours | Flow's |
//! | --- | --- |
//! | `spec`, its form | `spec` with a form of the configuration and one of a binding |
//! | `validate` | `validate`, with everything that is wrong in one line |
//! | `discover` | `discover`: a binding for each store, called `schema/table` |
//! | RECORD | `captured` |
//! | STATE | `checkpoint` with a merge patch of `bindingStateV1` |
//! | `write` | the transactions of a materialization |
//! | LOG | a line on stderr that Flow reads as one of its own |
//! | a failure | the last line of stderr, and exit status 1 |
//!
//! One process answers any number of requests, because a runtime asks for `spec` before whatever
//! it wants. Only members of the protocol are written, since older runtimes refuse others; of what
//! comes, unknown members are ignored and absent ones have their default. Messages are JSON: a
//! runtime that speaks protobuf is told to choose that codec.
//!
//! Decimals, and numbers that are not finite, are strings of `format: number`, as Flow has them. A
//! document without a key of its own is numbered in `_meta/row_id`. Captures cannot be split over
//! several shards, and a store with a property called `_meta`, which is Flow's, cannot be captured.
//! A secret that a vendor replaces cannot be handed on, because Flow keeps configurations
//! encrypted; that is said.
//!
//! Flow's own programs have not been run with this: the tests hold it to the protocol's grammar.

pub(super) mod capture;
mod lookup;
pub(super) mod materialize;
mod schema;
mod target;
mod tuple;

use std::ffi::OsString;
use std::future::Future;
use std::io::{BufRead, BufReader, StdinLock};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::timestamp;
use crate::config::complaint;
use crate::fault::{self, Fault};
use crate::log::{self, Level};
use crate::output::{ReaderGone, Sink, line};
use crate::runner::terminal::{self, Terminal};
use crate::runtime;

/// The protocol's number, which an image must say.
const PROTOCOL: u32 = 3_032_023;

/// Where a person reads about us.
const DOCUMENTATION: &str = env!("CARGO_PKG_REPOSITORY");

#[derive(Debug, Parser)]
#[command(version, about = "A Flow connector: answers the requests on standard input")]
struct Arguments {}

/// A configuration, and what of it goes where: what is validated, and what a capture is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "B: Deserialize<'de>"))]
struct Bound<B> {
    config: Value,
    #[serde(default = "Vec::new")]
    bindings: Vec<B>,
    #[serde(default, alias = "linked_collections")]
    linked_collections: Vec<Collection>,
}

/// Runs one process of a connector.
fn serve<F>(words: &[OsString], task: impl FnOnce(Arc<Sink>) -> F) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    if let Err(code) = super::parse::<Arguments>(words) {
        return code;
    }
    start_log();
    crate::config::on_change(|field, _| {
        log::warn(format_args!(
            "the vendor has replaced `{field}`, and Flow has no way to keep the new one: authorize \
             the connector again before its next run"
        ));
        Ok(())
    });
    let sink = match Terminal::look().sink() {
        Ok(sink) => Arc::new(sink),
        Err(error) => return end(Err(error)),
    };
    terminal::end_on_signals_with(Arc::clone(&sink), |_| (Vec::new(), 0));
    end(runtime::block_on(task(sink)))
}

fn end(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.chain().any(|part| part.is::<ReaderGone>()) => ExitCode::from(141),
        Err(error) => {
            log::error(fault::line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Sends log lines to stderr in Flow's form, from the level of `LOG_LEVEL` on.
fn start_log() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default().to_lowercase();
    let quiet = match level.as_str() {
        "error" => 1,
        "warn" => 2,
        _ => 3,
    };
    let print = move |level: Level, message: &str| {
        let (rank, word) = match level {
            Level::Error => (1, "error"),
            Level::Warn => (2, "warn"),
            Level::Info => (3, "info"),
            Level::Debug => (3, "debug"),
        };
        if rank <= quiet {
            let line = json!({"ts": timestamp(), "level": word, "message": message});
            log::to_stderr(line.to_string().as_bytes());
        }
    };
    log::start_with(Box::new(print), matches!(level.as_str(), "debug" | "trace"));
}

/// The lines of standard input.
struct Requests {
    reader: BufReader<StdinLock<'static>>,
    line: Vec<u8>,
    number: u64,
}

impl Requests {
    fn open() -> Requests {
        let reader = BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
        Requests { reader, line: Vec::new(), number: 0 }
    }

    /// The next line that is not blank.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = self.reader.read_until(b'\n', &mut self.line);
            if read.context("reading standard input")? == 0 {
                return Ok(None);
            }
            // A frame of protobuf begins with its length in four bytes, the last of which is 0.
            if self.number == 1 && self.line.iter().take(4).any(|&byte| byte == 0) {
                let why = "the runtime speaks protobuf: choose the JSON codec, which an image does \
                           by the label FLOW_RUNTIME_CODEC=json";
                return Err(Fault::config(why).into());
            }
            match self.line.trim_ascii_start().first() {
                None => {}
                Some(b'{') => return Ok(Some(&self.line)),
                Some(_) => return Err(self.refusal("it is not a JSON message")),
            }
        }
    }

    /// What is wrong with the line that came last.
    fn refusal(&self, why: &str) -> anyhow::Error {
        Fault::config(format!("standard input, line {}: {why}", self.number)).into()
    }
}

/// The payload of a request.
fn payload<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| Fault::config(format!("the request: {}", complaint(&error))).into())
}

/// Writes one message.
fn say(sink: &Sink, message: &Value) -> Result<()> {
    sink.write(&line(message)?)
}

/// The part of the keys that is a shard's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    #[serde(default, alias = "key_begin")]
    key_begin: u32,
    #[serde(default, alias = "key_end")]
    key_end: u32,
}

impl Range {
    fn is_whole(&self) -> bool {
        self.key_begin == 0 && self.key_end == u32::MAX
    }
}

/// A collection, as far as a connector looks at it.
#[derive(Debug, Clone, Default, Deserialize)]
struct Collection {
    #[serde(default)]
    name: String,
    #[serde(default)]
    key: Vec<String>,
    #[serde(default)]
    projections: Vec<Projection>,
}

/// A field of a collection.
#[derive(Debug, Clone, Deserialize)]
struct Projection {
    #[serde(default)]
    ptr: String,
    field: String,
    #[serde(default, alias = "is_primary_key", rename = "isPrimaryKey")]
    is_key: bool,
    #[serde(default)]
    inference: Inference,
}

/// What is known of a field's values.
#[derive(Debug, Clone, Default, Deserialize)]
struct Inference {
    #[serde(default)]
    types: Vec<String>,
    #[serde(default, alias = "string_")]
    string: Option<Text>,
    #[serde(default)]
    description: String,
}

/// What is known of a field's strings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    #[serde(default)]
    format: String,
    #[serde(default, alias = "content_encoding")]
    content_encoding: String,
}

/// The collection of a binding: its own, or one of a list that the message brings.
fn collection(own: &Option<Collection>, index: usize, linked: &[Collection]) -> Result<Collection> {
    match linked {
        [] => Ok(own.clone().unwrap_or_default()),
        linked => linked.get(index).cloned().ok_or_else(|| {
            Fault::config("the request: a binding names a collection that is not in it").into()
        }),
    }
}

/// The key of a binding's part of the state: its path, joined and escaped, and its version.
fn state_key(path: &[String], backfill: u32) -> String {
    let mut key = String::new();
    for c in path.join("/").chars() {
        if c.is_alphanumeric() || "-_+.=".contains(c) {
            key.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                key.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if backfill > 0 {
        key.push_str(&format!(".v{backfill}"));
    }
    key
}

/// A member's name as a part of a JSON pointer.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Says that everything in a list is wrong, if anything is.
fn all_well(problems: Vec<String>) -> Result<()> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Fault::config(problems.join("; ")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_key_is_the_escaped_path_and_its_version() {
        for (path, backfill, expected) in [
            (&["users"][..], 0, "users"),
            (&["public", "events"], 1, "public%2Fevents.v1"),
            (&["some path", "100%"], 0, "some%20path%2F100%25"),
            (&["Ünïcode", "☃", "a-b_c.d=e+f"], 2, "Ünïcode%2F%E2%98%83%2Fa-b_c.d=e+f.v2"),
        ] {
            let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
            assert_eq!(state_key(&path, backfill), expected);
        }
    }

    #[test]
    fn a_binding_has_its_own_collection_or_one_of_the_messages() {
        let of = |key: &str| Collection { key: vec![key.to_owned()], ..Collection::default() };
        assert_eq!(collection(&Some(of("/a")), 0, &[]).unwrap().key, ["/a"]);
        let linked = [of("/b"), of("/c")];
        assert_eq!(collection(&Some(of("/a")), 0, &linked).unwrap().key, ["/b"]);
        assert_eq!(collection(&None, 1, &linked).unwrap().key, ["/c"]);
        assert!(collection(&None, 2, &linked).is_err());
    }
}
