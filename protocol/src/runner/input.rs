//! Reads the input files: each is a path, or `-` for standard input.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::complaint;
use crate::fault::Fault;
use crate::log;
use crate::message::{
    ChosenStore, HandleFile, Identifier, POLICY_MEMBERS, PersistFile, QueryFile, RequestHandle,
    Schemas, State,
};
use crate::silo::{Cursor, StoreId};

/// The longest identifier that is looked for. Nothing that identifies a person is longer, and a
/// longer one would travel in every handle.
const LONGEST_IDENTIFIER: usize = 64 * 1024;

/// An input that cannot be read or understood: nothing was done, and the status is 2.
#[derive(Debug)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl std::convert::From<Fault> for Unreadable {
    fn from(fault: Fault) -> Unreadable {
        Unreadable(fault.message)
    }
}

fn named(path: &str) -> &str {
    if path == "-" { "standard input" } else { path }
}

pub(super) fn unreadable(path: &str, why: impl fmt::Display) -> Unreadable {
    Unreadable(format!("{}: {why}", named(path)))
}

/// The reason an operating system gives, in words, without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

fn open(path: &str) -> Result<Box<dyn Read>, Unreadable> {
    if path == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, reason(&error)))?;
    Ok(Box::new(file))
}

/// The whole text, which may be empty.
pub(crate) fn plain_text(path: &str) -> Result<String, Unreadable> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text).map_err(|error| unreadable(path, reason(&error)))?;
    Ok(text)
}

pub(super) fn text(path: &str) -> Result<String, Unreadable> {
    let text = plain_text(path)?;
    if text.trim().is_empty() {
        return Err(unreadable(path, "it is empty, and should hold a JSON object"));
    }
    Ok(text)
}

pub(super) fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value: T = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.inner();
        if inner.is_data() {
            unreadable(path, complaint(&error))
        } else {
            // serde_json's words for broken JSON name a place and a token class, never content.
            unreadable(path, format_args!("it is not JSON: {inner}"))
        }
    })?;
    deserializer
        .end()
        .map_err(|error| unreadable(path, format_args!("it is not JSON: {error}")))?;
    Ok(value)
}

/// A JSON value.
pub(crate) fn json(path: &str) -> Result<Value, Unreadable> {
    parse(path, &text(path)?)
}

/// The stores of a `-s` file.
pub(super) fn schemas(path: &str) -> Result<Vec<ChosenStore>, Unreadable> {
    // What `schema` printed is accepted as it is: the message around the list too.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Message { schema_msg: Schemas<ChosenStore> },
        Bare(Schemas<ChosenStore>),
    }
    let text = text(path)?;
    let Schemas { schemas } = match serde_json::from_str(&text) {
        Ok(Either::Message { schema_msg } | Either::Bare(schema_msg)) => schema_msg,
        // Once more for a complaint that names the place.
        Err(_) => parse(path, &text)?,
    };
    let mut seen = HashSet::new();
    match schemas.iter().map(ChosenStore::id).find(|id| !seen.insert(id.clone())) {
        // Its records would come twice.
        Some(twice) => Err(unreadable(path, format_args!("{twice} is named twice"))),
        None => Ok(schemas),
    }
}

/// The folder that a `-p` file names.
pub(super) fn files(path: Option<&str>) -> Result<Option<PathBuf>, Unreadable> {
    let Some(path) = path else { return Ok(None) };
    let folder = parse::<PersistFile>(path, &text(path)?)?.temp_store;
    Ok(Some(folder))
}

/// The handles of a `-r` file.
pub(super) fn handles(path: &str) -> Result<Vec<RequestHandle>, Unreadable> {
    Ok(parse::<HandleFile>(path, &text(path)?)?.handles)
}

/// A request as it was given.
pub(super) struct Request {
    /// Each identifier, with the bytes it had in the file.
    pub(super) identifiers: Vec<(Identifier, Box<RawValue>)>,
    /// Whether to follow relations.
    pub(super) follow: bool,
    /// The members of a policy.
    pub(super) policy: Map<String, Value>,
}

/// The request of a `-q` file, with the policy of a `--policy` file where one is named.
pub(super) fn request(
    path: &str,
    policy: &Option<String>,
    follow: bool,
) -> Result<Request, Unreadable> {
    let file: QueryFile = parse(path, &text(path)?)?;
    let mut identifiers = Vec::with_capacity(file.identifiers.len());
    for (place, raw) in file.identifiers.into_iter().enumerate() {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        let identifier: Identifier =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
                unreadable(path, format_args!("identifiers[{place}]: {}", complaint(&error)))
            })?;
        if identifier.identifier_query.len() > LONGEST_IDENTIFIER {
            return Err(unreadable(
                path,
                format_args!(
                    "identifiers[{place}]: the value for `{}` of {} is longer than {LONGEST_IDENTIFIER} bytes",
                    identifier.identifier,
                    identifier.id()
                ),
            ));
        }
        log::hide_word(&identifier.identifier_query);
        identifiers.push((identifier, on_one_line(raw)));
    }
    let mut members = file.policy;
    if let Some(path) = policy {
        members.extend(self::policy(path)?);
    }
    Ok(Request { identifiers, follow: follow || file.follow.unwrap_or(false), policy: members })
}

/// The same JSON without line breaks, which may stand between tokens of a file written for people
/// and must not in a message.
fn on_one_line(raw: Box<RawValue>) -> Box<RawValue> {
    if !raw.get().contains(['\n', '\r']) {
        return raw;
    }
    let line = raw.get().replace(['\n', '\r'], " ");
    RawValue::from_string(line).expect("blanks for line breaks leave JSON what it is")
}

/// The members of a policy file, JSON or YAML, which is JSON's superset. One that is not known is
/// refused: a rule of retention with a slip in its name must not be left out.
fn policy(path: &str) -> Result<Map<String, Value>, Unreadable> {
    let members: Value = serde_saphyr::from_str(&text(path)?).map_err(|error| {
        let line = error.location().map(|at| format!(", line {}", at.line())).unwrap_or_default();
        unreadable(path, format_args!("it is neither JSON nor YAML{line}"))
    })?;
    let Value::Object(members) = members else {
        return Err(unreadable(path, "a policy must be an object"));
    };
    match members.keys().find(|name| !POLICY_MEMBERS.contains(&name.as_str())) {
        Some(name) => Err(unreadable(
            path,
            format_args!("a policy has no member `{name}`, but {}", POLICY_MEMBERS.join(", ")),
        )),
        None => Ok(members),
    }
}

/// The last cursor of each store among the STATE lines of a `--state` file.
///
/// What else a run prints is skipped, so the whole output of a run will do, and so will one whose
/// last line was cut by a kill.
pub(super) fn states(path: &str) -> Result<HashMap<StoreId, Cursor>, Unreadable> {
    #[derive(Deserialize)]
    struct Line {
        r#type: String,
        #[serde(default)]
        state: Option<Box<RawValue>>,
    }
    let mut reader = BufReader::new(open(path)?);
    let mut states = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(path, reason(&error)))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed: Line = match serde_json::from_slice(&line) {
            Ok(parsed) => parsed,
            Err(_) if line.starts_with(b"{") && !line.ends_with(b"\n") => {
                log::warn(format_args!("{}: the last line is cut and is left out", named(path)));
                break;
            }
            Err(_) => {
                let why = format!("line {number} is no message; expected STATE lines of a read");
                return Err(unreadable(path, why));
            }
        };
        if parsed.r#type != "STATE" {
            continue;
        }
        let raw = parsed.state.as_deref().map_or("null", RawValue::get);
        let state: State = parse(path, raw)
            .map_err(|_| unreadable(path, format_args!("line {number} is no STATE of ours")))?;
        let store = StoreId::new(state.schema_group, state.schema_name);
        states.insert(store, Cursor(state.cursor));
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> (tempfile::NamedTempFile, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    #[test]
    fn an_input_that_cannot_be_used_is_named_with_the_place_and_never_its_values() {
        for (content, expected) in [
            (&b""[..], "it is empty"),
            (b"{\"identifiers\": [}", "it is not JSON"),
            (b"\xff\xfe", "it is not UTF-8 text"),
            (b"{}", "`identifiers` is missing"),
            (b"{\"identifiers\": {}}", "`identifiers` must be a list"),
            (
                b"{\"identifiers\": [{\"schema_name\": \"t\", \"identifier\": \"email\", \"identifier_query\": {\"ada@example.com\": 1}}]}",
                "identifiers[0]: `identifier_query` must be a string",
            ),
            (
                b"{\"identifiers\": [{\"schema_name\": \"t\", \"identifier_query\": \"ada@example.com\"}]}",
                "identifiers[0]: `identifier` is missing",
            ),
        ] {
            let (_file, path) = file(content);
            let message = request(&path, &None, false).err().unwrap().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.starts_with(&path), "{message}");
            assert!(!message.contains("ada@"), "{message}");
        }
        assert!(json("/no/such/file").unwrap_err().to_string().contains("there is no such file"));
        assert!(json("/").unwrap_err().to_string().contains("folder"));
    }

    #[test]
    fn what_a_person_wrote_on_many_lines_goes_into_handles_on_one() {
        let (_file, path) = file(
            b"{\"identifiers\": [{\r\n \"schema_name\": \"t\",\n \"identifier\": \"email\",\n \"identifier_query\": \"a\\nb\"\n}]}",
        );
        let request = request(&path, &None, false).unwrap();
        let (identifier, raw) = &request.identifiers[0];
        assert_eq!(identifier.identifier_query, "a\nb");
        assert!(!raw.get().contains(['\n', '\r']));
        let again: Identifier = serde_json::from_str(raw.get()).unwrap();
        assert_eq!(again.identifier_query, "a\nb");
    }

    #[test]
    fn an_identifier_of_ten_megabytes_is_refused_by_name() {
        let value = "x".repeat(10_000_000);
        let (_file, path) = file(
            format!(r#"{{"identifiers":[{{"schema_name":"t","identifier":"email","identifier_query":"{value}"}}]}}"#).as_bytes(),
        );
        let message = request(&path, &None, false).err().unwrap().to_string();
        assert!(message.contains("`email` of t") && message.len() < 200);
    }

    #[test]
    fn the_last_state_of_each_store_counts_and_a_cut_last_line_is_left_out() {
        let (_file, path) = file(
            br#"{"type":"RECORD","record":{"schema_name":"a","data":{}}}
{"type":"STATE","state":{"schema_name":"a","cursor":{"n":1}}}
{"type":"STATE","state":{"schema_name":"a","schema_group":"","cursor":{"n":2}}}

{"type":"STATE","state":{"schema_name":"b","cursor":{"n":3}}}
{"type":"STATE","state":{"schema_na"#,
        );
        let states = states(&path).unwrap();
        assert_eq!(states[&StoreId::named("a")].0, serde_json::json!({"n": 2}));
        assert_eq!(states[&StoreId::named("b")].0, serde_json::json!({"n": 3}));
    }
}
