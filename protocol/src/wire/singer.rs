//! Singer, as its targets and Meltano read it: what a tap and a target print.
//!
//! | ours | Singer's |
//! | --- | --- |
//! | `spec`, its form | `--about --format=json`: `settings` |
//! | `discover` | the catalog, with metadata for every property |
//! | a store `shop/public`, `orders` | the stream `public-orders` |
//! | RECORD | RECORD; exact decimals are numbers with all their digits |
//! | STATE | STATE with all bookmarks; our cursor is `manifold` in its stream's |
//! | CONFIG | the `--config` file, written anew |
//! | LOG | text on stderr, or JSON where Meltano asks for it |
//!
//! A stream is read in full unless a catalog asks for INCREMENTAL, by a replication key or, without
//! one, by the stream's own key. Bookmarks of streams that are not read are handed on as they are,
//! and the last line is always a STATE. With the setting `emit_activate_version_messages` the records
//! of a stream that is read in full bear a version, which ACTIVATE_VERSION names when all of them have
//! come, and before them in a first run. A tap writes no BATCH; a target takes them. LOG_BASED is
//! refused, and a choice of properties inside of objects is said not to be heeded.
//!
//! Decimals are never written as strings, because targets that check records refuse them, and a
//! schema never has bounds or `multipleOf`, because targets that compute with doubles fail on them.

pub(in crate::wire) mod batch;
mod catalog;
mod schema;
pub(super) mod tap;
pub(super) mod target;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::now;
use crate::config::{self, Secret};
use crate::fault::{self, Fault};
use crate::json::{Decimals, NonFinite, Spelling};
use crate::log::{self, Level};
use crate::output::{ReaderGone, Sink, line};
use crate::runner::configuration;
use crate::silo::Silo;
use crate::sops;

const SPELLING: Spelling = Spelling { decimals: Decimals::Number, non_finite: NonFinite::Null };

/// The name of the plugin: that of the link it is called by, else one made of the connector's.
fn plugin<S: Silo>(words: &[OsString], side: &str) -> String {
    let called = words.first().and_then(|word| Path::new(word).file_name()).and_then(OsStr::to_str);
    match called.filter(|name| name.starts_with(side)) {
        Some(name) => name.to_owned(),
        None => {
            let word =
                |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
            format!("{side}{}", S::NAME.chars().map(word).collect::<String>())
        }
    }
}

/// `--about`.
fn about<S: Silo>(plugin: &str, capabilities: &[&str]) -> Value {
    let mut settings = super::form::<S>();
    if let Some(members) = settings.as_object_mut() {
        for noise in ["title", "description"] {
            members.shift_remove(noise);
        }
    }
    write_only(&mut settings);
    json!({
        "name": plugin,
        "description": format!("The Manifold connector for {}", S::NAME),
        "version": env!("CARGO_PKG_VERSION"),
        "sdk_version": env!("CARGO_PKG_VERSION"),
        "capabilities": capabilities,
        "settings": settings,
    })
}

/// Prints what `--about` asks for.
fn print_about<S: Silo>(
    plugin: &str,
    capabilities: &[&str],
    format: &str,
    sink: &Sink,
) -> Result<ExitCode> {
    let about = about::<S>(plugin, capabilities);
    let text = match format {
        "json" => line(&about)?,
        _ => format!("{about:#}\n").into_bytes(),
    };
    sink.write(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Marks secrets as the SDK does.
fn write_only(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("secret") == Some(&Value::Bool(true)) {
                members.insert("writeOnly".to_owned(), Value::Bool(true));
            }
            members.values_mut().for_each(write_only);
        }
        Value::Array(values) => values.iter_mut().for_each(write_only),
        _ => {}
    }
}

/// The configuration of several `--config`: files, of which later ones win, or `ENV`.
fn configuration<S: Silo>(plugin: &str, sources: &[String]) -> Result<Value> {
    let mut config = Map::new();
    for source in sources {
        let members = match source.as_str() {
            "ENV" => environment::<S>(plugin),
            path => configuration::read(path, false)?,
        };
        let Value::Object(members) = members else {
            return Err(Fault::config("the configuration must be a JSON object").into());
        };
        config.extend(members);
    }
    Ok(Value::Object(config))
}

/// Settings from variables such as `TAP_SQLITE_PATH`.
fn environment<S: Silo>(plugin: &str) -> Value {
    let form = super::form::<S>();
    let mut config = Map::new();
    for (name, property) in form["properties"].as_object().into_iter().flatten() {
        let variable = format!("{plugin}_{name}").replace('-', "_").to_uppercase();
        let Ok(text) = std::env::var(variable) else { continue };
        let value = match property["type"].as_str() {
            Some("string") => Value::String(text),
            _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        config.insert(name.clone(), value);
    }
    Value::Object(config)
}

/// Writes a secret that the vendor replaced into the configuration's file, unless that is sealed:
/// only whoever sealed it can do so again.
fn hand_on_changes(sources: &[String]) {
    let file = sources.iter().rev().find(|source| *source != "ENV").cloned();
    config::on_change(move |field, secret: &Secret| {
        let config = file.as_deref().map(configuration::document).transpose()?;
        let (Some(path), Some(mut config)) = (&file, config.filter(|it| !sops::is_sealed(it)))
        else {
            log::warn(format_args!(
                "the vendor has replaced `{field}`, and there is no plain --config file to keep it \
                 in: authorize the connector again before its next run"
            ));
            return Ok(());
        };
        config[field] = secret.reveal().into();
        // A new file in the old one's place, so that nobody ever reads half of it.
        let aside = format!("{path}.new");
        std::fs::copy(path, &aside)
            .and_then(|_| std::fs::write(&aside, config.to_string()))
            .and_then(|()| std::fs::rename(&aside, path))
            .with_context(|| format!("writing the new `{field}` into {path}"))
    });
}

/// Sends log lines to stderr: as text, or as the JSON that Meltano asks for.
fn start_log(plugin: &str) {
    let asked = ["SINGER_SDK_LOG_CONFIG", "LOGGING_CONF_FILE"].iter().any(|name| {
        let file = std::env::var_os(name).and_then(|path| std::fs::read_to_string(path).ok());
        file.is_some_and(|text| text.to_lowercase().contains("structured"))
    });
    let plugin = plugin.to_owned();
    let print = move |level: Level, message: &str| {
        let word = match level {
            Level::Error => "ERROR",
            Level::Warn => "WARNING",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
        };
        let line = match asked {
            false => format!("{word} {message}"),
            true => json!({
                "level": word.to_lowercase(),
                "pid": std::process::id(),
                "logger_name": plugin,
                "ts": now() as f64 / 1000.0,
                "thread_name": "main",
                "app_name": plugin,
                "stream_name": null,
                "message": message,
                "extra": {},
            })
            .to_string(),
        };
        log::to_stderr(line.as_bytes());
    };
    log::start_with(Box::new(print), false);
}

/// The exit status of a run that ended so.
fn end(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.chain().any(|part| part.is::<ReaderGone>()) => ExitCode::from(141),
        Err(error) => {
            log::error(fault::line(&error));
            ExitCode::FAILURE
        }
    }
}
