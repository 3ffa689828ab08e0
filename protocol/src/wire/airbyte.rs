//! Airbyte, version 0.2 of its protocol: what a source and a destination print.
//!
//! | ours | Airbyte's |
//! | --- | --- |
//! | `spec`, its form | SPEC; `secret` is `airbyte_secret` |
//! | `validate` | `check`: CONNECTION_STATUS, and exit status 0 either way |
//! | `discover` | CATALOG; a store's group is the namespace |
//! | RECORD | RECORD, with the time in whole milliseconds |
//! | STATE | STATE of one stream; our cursor is `cursor` in its `stream_state` |
//! | PROGRESS with a total | TRACE ESTIMATE |
//! | CONFIG | CONTROL with the whole configuration |
//! | LOG on stderr | LOG on stdout |
//! | a failure | TRACE ERROR with its kind, and exit status 1 |
//!
//! A stream with a key has a cursor that the source defines; one without a key but with something
//! to go by has a default cursor. Never both: clients take that for permission to replace what
//! they have by what is new. A stream with neither is read in full, also where an incremental read
//! is asked for, which is said.
//!
//! Files among the records, global states, and data sent past stdout have no place here. Times of
//! day are plain strings, because a type for them loses fractions and offsets in destinations.

pub(super) mod destination;
mod schema;
pub(super) mod source;
mod state;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Error, Result};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::now;
use crate::config::{self, Secret, complaint};
use crate::fault::{self, Cause, Fault};
use crate::log::{self, Level};
use crate::output::{ReaderGone, Sink, line};
use crate::runner::terminal::{self, Terminal};
use crate::runner::{configuration, input};
use crate::runtime;
use crate::silo::{Access, Silo};

/// How long `check` waits for an answer: the platform gives up soon after.
const CHECK: std::time::Duration = std::time::Duration::from_secs(25);

/// Which stream a message is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Descriptor {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

/// A catalog as a user configured it.
#[derive(Debug, Deserialize)]
struct Configured {
    streams: Vec<ConfiguredStream>,
}

/// A stream of it.
#[derive(Debug, Deserialize)]
struct ConfiguredStream {
    stream: Stream,
    sync_mode: SyncMode,
    #[serde(default)]
    destination_sync_mode: Option<DestinationSyncMode>,
    /// Which of several full sets of records this run brings, where the platform counts them.
    #[serde(default)]
    generation_id: Option<i64>,
    /// The oldest set that is to be kept.
    #[serde(default)]
    minimum_generation_id: Option<i64>,
    #[serde(default)]
    cursor_field: Option<Vec<String>>,
    #[serde(default)]
    primary_key: Option<Vec<Vec<String>>>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    json_schema: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SyncMode {
    FullRefresh,
    Incremental,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DestinationSyncMode {
    Append,
    Overwrite,
    AppendDedup,
    OverwriteDedup,
    Update,
    SoftDelete,
}

/// Reads a configured catalog.
fn catalog(path: &str) -> Result<Configured> {
    let value = input::json(path)?;
    serde_path_to_error::deserialize(value)
        .map_err(|error| Fault::config(format!("the catalog: {}", complaint(&error))).into())
}

/// A configuration, which all commands but one take.
#[derive(Debug, Args)]
struct Common {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: String,
}

impl Common {
    /// Reads it, and sees to it that the platform hears of a secret that changes.
    fn read(&self, sink: &Arc<Sink>) -> Result<Value> {
        let config = configuration::read(&self.config, false)?;
        hand_on_changes(&config, sink);
        Ok(config)
    }

    /// CONNECTION_STATUS.
    async fn check<S: Silo>(&self, access: Access, sink: &Arc<Sink>) -> Result<()> {
        let checked = check::<S>(self.read(sink)?, access).await;
        sink.write(&line(&connection_status(checked))?)
    }
}

/// Runs a command line of either side. `debug` says whether everything is logged.
fn serve<A: Parser, F: Future<Output = Result<ExitCode>>>(
    words: &[OsString],
    debug: impl FnOnce(&A) -> bool,
    command: impl FnOnce(A, Arc<Sink>) -> F,
) -> ExitCode {
    let arguments: A = match super::parse(words) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match start(debug(&arguments)) {
        Ok(sink) => end(&sink, runtime::block_on(command(arguments, Arc::clone(&sink)))),
        Err(code) => code,
    }
}

/// Opens stdout, and sends log lines and signals the ways this protocol wants.
fn start(debug: bool) -> Result<Arc<Sink>, ExitCode> {
    let sink = Terminal::look().sink().map(Arc::new).map_err(|error| {
        log::error(fault::line(&error));
        ExitCode::FAILURE
    })?;
    let out = Arc::clone(&sink);
    let print = move |level: Level, message: &str| {
        if let Ok(line) = line(&json!({"type": "LOG", "log": {"level": level, "message": message}}))
        {
            // Where nobody reads stdout the run learns it from its own messages.
            drop(out.write(&line));
        }
    };
    log::start_with(Box::new(print), debug);
    terminal::end_on_signals(Arc::clone(&sink));
    Ok(sink)
}

/// The exit status of a run that ended so.
fn end(sink: &Sink, result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.chain().any(|part| part.is::<ReaderGone>()) => ExitCode::from(141),
        Err(error) => {
            // Nobody is left to tell where this fails.
            drop(sink.write_made(|| line(&trace_error(&error, None))));
            ExitCode::FAILURE
        }
    }
}

/// TRACE ERROR.
fn trace_error(error: &Error, stream: Option<&Descriptor>) -> Value {
    let failure = match cause(error) {
        Cause::Config => "config_error",
        Cause::Transient => "transient_error",
        Cause::System => "system_error",
    };
    let message = log::scrub(&fault::line(error));
    let mut members = json!({"message": message, "failure_type": failure});
    if let Some(stream) = stream {
        members["stream_descriptor"] = json!(stream);
    }
    json!({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": now(), "error": members}})
}

/// Whose move it is; an input that cannot be read is the user's.
fn cause(error: &Error) -> Cause {
    match error.is::<input::Unreadable>() {
        true => Cause::Config,
        false => Fault::cause_of(error),
    }
}

/// Hands a secret that the vendor replaced to the platform, which keeps the whole configuration.
fn hand_on_changes(config: &Value, sink: &Arc<Sink>) {
    let config = std::sync::Mutex::new(config.clone());
    let sink = Arc::clone(sink);
    config::on_change(move |field, secret: &Secret| {
        let mut config = config.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        config[field] = secret.reveal().into();
        let control = json!({
            "type": "CONNECTOR_CONFIG",
            "emitted_at": now(),
            "connectorConfig": {"config": *config},
        });
        sink.write(&line(&json!({"type": "CONTROL", "control": control}))?)
    });
}

/// Whether a configuration works.
async fn check<S: Silo>(config: Value, access: Access) -> Result<()> {
    let checked = async {
        let silo = S::connect(super::configuration::<S>(config)?, access).await?;
        silo.validate().await
    };
    tokio::time::timeout(CHECK, checked).await.unwrap_or_else(|_| {
        let seconds = CHECK.as_secs();
        Err(Fault::transient(format!("there was no answer within {seconds} seconds")).into())
    })
}

/// CONNECTION_STATUS.
fn connection_status(result: Result<()>) -> Value {
    let status = match result {
        Ok(()) => json!({"status": "SUCCEEDED"}),
        Err(error) => json!({"status": "FAILED", "message": log::scrub(&fault::line(&error))}),
    };
    json!({"type": "CONNECTION_STATUS", "connectionStatus": status})
}
