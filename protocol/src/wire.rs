//! Other protocols that every connector's binary speaks, so that it plugs into the platform its
//! user already has.
//!
//! A wire is chosen by `--wire NAME` before the command, else by the name the binary is called by
//! (`source-x`, `destination-x`, `tap-x`, `target-x`, `capture-x`, `materialize-x`), else by
//! `MANIFOLD_WIRE`. Where it was not
//! asked for by `--wire`, a command that only the native protocol has is still the native one:
//! finding and erasing a person has no form in these protocols.
//!
//! | wire | store `shop/public`, `orders` is | a read goes on by |
//! | --- | --- | --- |
//! | Airbyte | stream `orders` in the namespace `public` | a state for each stream |
//! | Singer | stream `public-orders` | a bookmark for each stream |
//! | Flow | binding `public/orders` | a part of the state for each binding |
//!
//! The database is named as well where the silo reads several.
//!
//! What these protocols cannot say is the same for all: relations, requests about a person, and
//! numbers that are not finite, which become null and are counted in a log line. Each wire's file
//! says what else is mapped, and what is not. Records take the same way as natively, between the
//! bytes of another [`Frame`](crate::output::Frame), so a wire costs nothing per record.

mod airbyte;
mod flow;
pub mod foreign;
mod names;
mod singer;
mod streams;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::config;
use crate::fault::Fault;
use crate::silo::Silo;

/// The variable that names a wire.
pub(crate) const VARIABLE: &str = "MANIFOLD_WIRE";

/// What the help says of wires.
pub(crate) const HELP: &str = "\
Before the command, --wire NAME speaks another protocol, which has a --help of its own:
airbyte-source, airbyte-destination, singer-tap, singer-target, flow-capture, flow-materialize.
A link to this program named source-…, destination-…, tap-…, target-…, capture-… or materialize-…
does the same, and so does MANIFOLD_WIRE.";

/// One side of a foreign protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Airbyte's source.
    AirbyteSource,
    /// Airbyte's destination.
    AirbyteDestination,
    /// Singer's tap.
    SingerTap,
    /// Singer's target.
    SingerTarget,
    /// Flow's capture.
    FlowCapture,
    /// Flow's materialization.
    FlowMaterialize,
}

/// Each wire with its name, and the word that begins the name of a link and of an image.
const WIRES: [(Wire, &str, &str); 6] = [
    (Wire::AirbyteSource, "airbyte-source", "source"),
    (Wire::AirbyteDestination, "airbyte-destination", "destination"),
    (Wire::SingerTap, "singer-tap", "tap"),
    (Wire::SingerTarget, "singer-target", "target"),
    (Wire::FlowCapture, "flow-capture", "capture"),
    (Wire::FlowMaterialize, "flow-materialize", "materialize"),
];

impl Wire {
    fn named(name: &OsStr) -> Result<Option<Wire>> {
        if name == "native" || name.is_empty() {
            return Ok(None);
        }
        match WIRES.iter().find(|(_, long, short)| name == *long || name == *short) {
            Some((wire, ..)) => Ok(Some(*wire)),
            None => {
                let names = WIRES.map(|(_, name, _)| name).join(", ");
                bail!("there is no wire `{}`, but native, {names}", name.display())
            }
        }
    }

    /// The wire of a link's name.
    fn called(program: &OsStr) -> Option<Wire> {
        let name = Path::new(program).file_name()?.to_str()?;
        let (word, _) = name.split_once('-')?;
        WIRES.iter().find(|(.., short)| *short == word).map(|(wire, ..)| *wire)
    }

    /// Whether the wire has a command of this name.
    fn has(self, command: &str) -> bool {
        match self {
            Wire::AirbyteSource => ["spec", "check", "discover", "read"].contains(&command),
            Wire::AirbyteDestination => ["spec", "check", "write"].contains(&command),
            Wire::SingerTap | Wire::SingerTarget | Wire::FlowCapture | Wire::FlowMaterialize => {
                false
            }
        }
    }
}

/// The wire that a command line asks for, and the line without `--wire`.
pub(crate) fn choose(
    mut words: Vec<OsString>,
    variable: Option<OsString>,
    is_native: impl Fn(&str) -> bool,
) -> Result<(Option<Wire>, Vec<OsString>)> {
    if let Some(first) = words.get(1) {
        if first == "--wire" {
            let name = words.get(2).context("--wire lacks a name")?;
            let wire = Wire::named(name)?;
            words.drain(1..3);
            return Ok((wire, words));
        }
        if let Some(name) = first.to_str().and_then(|word| word.strip_prefix("--wire=")) {
            let wire = Wire::named(OsStr::new(name))?;
            words.remove(1);
            return Ok((wire, words));
        }
    }
    let called = words.first().and_then(|program| Wire::called(program));
    let wire = match (called, variable) {
        (Some(wire), _) => Some(wire),
        (None, Some(name)) => Wire::named(&name).context(VARIABLE)?,
        (None, None) => None,
    };
    let command = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    let wire = wire.filter(|wire| wire.has(command) || !is_native(command));
    Ok((wire, words))
}

/// Reads a command line; what is wrong with it goes to stderr, and the status is 2.
fn parse<T: clap::Parser>(words: &[OsString]) -> Result<T, ExitCode> {
    T::try_parse_from(words).map_err(|error| {
        // A closed pipe ends the help quietly.
        drop(error.print());
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}

/// The one type of a schema, null left aside.
fn one_type(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => {
            let mut names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.next().filter(|_| names.next().is_none())
        }
        _ => None,
    }
}

/// Serves one run of a wire.
pub(crate) fn serve<S: Silo>(wire: Wire, words: Vec<OsString>) -> ExitCode {
    match wire {
        Wire::AirbyteSource => airbyte::source::serve::<S>(&words),
        Wire::AirbyteDestination => airbyte::destination::serve::<S>(&words),
        Wire::SingerTarget => singer::target::serve::<S>(&words),
        Wire::SingerTap => singer::tap::serve::<S>(&words),
        Wire::FlowCapture => flow::capture::serve::<S>(&words),
        Wire::FlowMaterialize => flow::materialize::serve::<S>(&words),
    }
}

/// A configuration as a platform gives it: what these platforms call a source is one database, so
/// reading all of a server's has to be asked for.
fn configuration<S: Silo>(mut config: Value) -> Result<S::Config, Fault> {
    let form = config::form::<S::Config>();
    if let (Some(members), true) =
        (config.as_object_mut(), form["properties"][SCAN_ALL].is_object())
    {
        let value = members.entry(SCAN_ALL).or_insert(Value::Bool(false));
        if value.is_null() {
            *value = Value::Bool(false);
        }
    }
    config::read(config)
}

/// The form that goes with [`configuration`].
fn form<S: Silo>() -> Value {
    let mut form = config::form::<S::Config>();
    if form["properties"][SCAN_ALL].is_object() {
        form["properties"][SCAN_ALL]["default"] = Value::Bool(false);
    }
    form
}

/// Whether all databases of a server are read, where a connector can.
const SCAN_ALL: &str = "scan_all";

/// The time as RFC 3339 in UTC, to the millisecond.
fn timestamp() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 1970-01-01 to a date, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        era * 400 + year + carry,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(line: &str, variable: Option<&str>) -> Result<(Option<Wire>, String), String> {
        let words = line.split(' ').map(OsString::from).collect();
        let native = |word: &str| ["spec", "read", "query", "write"].contains(&word);
        let (wire, words) = choose(words, variable.map(OsString::from), native)
            .map_err(|error| format!("{error:#}"))?;
        Ok((wire, words[1..].join(OsStr::new(" ")).into_string().unwrap()))
    }

    #[test]
    fn a_wire_is_chosen_by_flag_then_name_then_variable() {
        use Wire::{AirbyteDestination, AirbyteSource, SingerTap, SingerTarget};
        for (line, variable, wire) in [
            ("connector-x spec", None, None),
            ("connector-x --wire airbyte-source spec", None, Some(AirbyteSource)),
            ("source-x --wire=native spec", Some("source"), None),
            ("/usr/bin/source-x spec", None, Some(AirbyteSource)),
            ("connector-x spec", Some("source"), Some(AirbyteSource)),
            ("connector-x spec", Some("destination"), Some(AirbyteDestination)),
            ("connector-x spec", Some(""), None),
        ] {
            let expected = (wire, "spec".to_owned());
            assert_eq!(chosen(line, variable), Ok(expected), "{line} {variable:?}");
        }
        // Singer programs have flags and no commands.
        let flag = "--discover".to_owned();
        assert_eq!(chosen("tap-x --discover", None), Ok((Some(SingerTap), flag.clone())));
        let target = chosen("connector-x --discover", Some("singer-target"));
        assert_eq!(target, Ok((Some(SingerTarget), flag)));
        assert!(chosen("x --wire airship spec", None).unwrap_err().contains("`airship`"));
        assert!(chosen("x spec", Some("airship")).unwrap_err().contains("MANIFOLD_WIRE"));
    }

    #[test]
    fn commands_that_only_the_native_protocol_has_stay_available() {
        assert_eq!(chosen("source-x query -q q", None), Ok((None, "query -q q".to_owned())));
        assert_eq!(chosen("source-x write", None), Ok((None, "write".to_owned())));
        let (wire, _) = chosen("source-x nonsense", None).unwrap();
        assert_eq!(wire, Some(Wire::AirbyteSource), "its own usage text says what there is");
    }
}
