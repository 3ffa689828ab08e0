//! A Flow runtime as strict as the protocol allows: every message is looked at for members that are
//! not the protocol's, and every response must stand where the grammar has it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Map, Value, json};

use crate::program::{Bench, started};

/// The members of each response; every other one would be refused.
const MEMBERS: [(&str, &[&str]); 13] = [
    (
        "spec",
        &[
            "protocol",
            "configSchema",
            "resourceConfigSchema",
            "documentationUrl",
            "oauth2",
            "resourcePathPointers",
        ],
    ),
    ("discovered", &["bindings"]),
    ("validated", &["bindings"]),
    ("applied", &["actionDescription", "state"]),
    ("opened", &["explicitAcknowledgements", "runtimeCheckpoint", "disableLoadOptimization"]),
    ("captured", &["binding", "doc"]),
    ("sourcedSchema", &["binding", "documentSchema"]),
    ("checkpoint", &["state"]),
    ("loaded", &["binding", "doc"]),
    ("flushed", &["state"]),
    ("startedCommit", &["state"]),
    ("acknowledged", &["state"]),
    ("state", &["updated", "mergePatch"]),
];

/// The members of what stands in lists of a response.
const BINDING: [&str; 10] = [
    "recommendedName",
    "resourceConfig",
    "documentSchema",
    "key",
    "disable",
    "resourcePath",
    "constraints",
    "deltaUpdates",
    "serPolicy",
    "caseInsensitiveFields",
];

/// A process of the connector.
pub(crate) struct Runtime {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// How a process ended.
pub(crate) struct Exit {
    pub(crate) status: Option<i32>,
    /// The messages of its log, read as Flow reads them.
    pub(crate) log: Vec<Value>,
}

impl Exit {
    /// What a runtime shows of a failure: the last line of the log.
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.status, Some(1));
        let last = self.log.last().expect("a failure says why");
        assert_eq!(last["level"], "error");
        last["message"].as_str().unwrap()
    }
}

impl Runtime {
    /// Starts the connector, and asks it for its spec as a runtime of today does.
    pub(crate) fn start(bench: &Bench) -> Runtime {
        let mut runtime = Runtime::bare(bench);
        let spec = runtime.ask(&json!({"spec": {"connectorType": "LOCAL", "config": {}}}), "spec");
        assert_eq!(spec["protocol"], 3032023);
        runtime
    }

    /// Starts the connector.
    pub(crate) fn bare(bench: &Bench) -> Runtime {
        let mut child = started(&mut bench.command(""));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Runtime { child, stdin, stdout }
    }

    pub(crate) fn send(&mut self, request: &Value) {
        self.send_text(&request.to_string());
    }

    pub(crate) fn send_text(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Ends what the connector reads.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next response, by its name and payload; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        assert!(line.ends_with('\n'), "a partial message");
        let Value::Object(message) = serde_json::from_str(&line).unwrap() else {
            panic!("no object: {line}")
        };
        assert_eq!(message.len(), 1, "one variant a message: {line}");
        let (name, payload) = message.into_iter().next().unwrap();
        look_at(&name, &payload);
        Some((name, payload))
    }

    /// Sends a request, and takes its one response.
    pub(crate) fn ask(&mut self, request: &Value, response: &str) -> Value {
        self.send(request);
        match self.next() {
            Some((name, payload)) => {
                assert_eq!(name, response);
                payload
            }
            None => panic!("{response} did not come: {:?}", self.stop().log),
        }
    }

    /// Closes stdin, and waits for the end, before which nothing more may come.
    pub(crate) fn end(mut self) -> Exit {
        self.close();
        assert!(self.next().is_none(), "a second response");
        self.stop()
    }

    /// Waits for the end.
    pub(crate) fn stop(&mut self) -> Exit {
        self.close();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        let log = said.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("a log line is JSON");
            let level = line["level"].as_str().unwrap();
            assert!(["debug", "info", "warn", "error"].contains(&level));
            assert!(line["ts"].as_str().unwrap().ends_with('Z') && line["message"].is_string());
            line
        });
        Exit { log: log.collect(), status: self.child.wait().unwrap().code() }
    }
}

/// Looks at a payload for members that are not the protocol's.
fn look_at(name: &str, payload: &Value) {
    let (_, known) = MEMBERS.iter().find(|(known, _)| *known == name).expect(name);
    let members = payload.as_object().expect("a payload is an object");
    for (member, value) in members {
        assert!(known.contains(&member.as_str()), "{name} has no {member}");
        match member.as_str() {
            "state" => look_at("state", value),
            "bindings" => {
                for binding in value.as_array().unwrap() {
                    let members = binding.as_object().unwrap();
                    assert!(members.keys().all(|name| BINDING.contains(&name.as_str())));
                }
            }
            "doc" => assert!(value.is_object(), "a document is an object"),
            _ => {}
        }
    }
    let required: &[&str] = match name {
        "checkpoint" => &["state"],
        "state" => &["updated"],
        "captured" | "loaded" => &["doc"],
        _ => &[],
    };
    assert!(required.iter().all(|name| members.contains_key(*name)), "{name}: {payload}");
}

/// What one run of a capture gave.
pub(crate) struct Captured {
    /// Every document, by its binding.
    pub(crate) documents: Vec<(u64, Value)>,
    /// The state after each checkpoint, with how many documents it covers.
    pub(crate) states: Vec<(usize, Value)>,
}

/// Runs a capture to its end, and holds it to `opened ( (captured | sourcedSchema)* checkpoint )*`.
pub(crate) fn capture(bench: &Bench, open: &Value, state: &Value) -> (Captured, Exit) {
    let mut runtime = Runtime::start(bench);
    let mut open = open.clone();
    let bindings = open["open"]["capture"]["bindings"].as_array().unwrap().len() as u64;
    if *state != json!({}) {
        open["open"]["state"] = state.clone();
    }
    runtime.send(&open);
    let mut state = state.clone();
    let mut captured = Captured { documents: Vec::new(), states: Vec::new() };
    let mut opened = false;
    let mut open_ended = false;
    while let Some((name, payload)) = runtime.next() {
        match name.as_str() {
            "opened" => {
                assert!(!opened, "opened once");
                opened = true;
            }
            "captured" => {
                assert!(opened, "captured before opened");
                let binding = payload["binding"].as_u64().unwrap_or(0);
                assert!(binding < bindings, "a binding out of range");
                captured.documents.push((binding, payload["doc"].clone()));
                open_ended = true;
            }
            "checkpoint" => {
                assert!(opened, "a checkpoint before opened");
                fold(&mut state, &payload["state"]);
                captured.states.push((captured.documents.len(), state.clone()));
                open_ended = false;
            }
            other => panic!("{other} has no place here"),
        }
    }
    let exit = runtime.stop();
    assert!(exit.status != Some(0) || !open_ended, "the end within a checkpoint");
    (captured, exit)
}

/// Folds an update into a state.
fn fold(state: &mut Value, update: &Value) {
    match update["mergePatch"] == true {
        true => merge(state, &update["updated"]),
        false => *state = update["updated"].clone(),
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in patch {
        match value.is_null() {
            true => {
                target.as_object_mut().unwrap().remove(name);
            }
            false => merge(&mut target[name], value),
        }
    }
}

/// Holds a document to a schema, as far as schemas of captures go: types, and what is required.
pub(crate) fn conforms(schema: &Value, document: &Value) {
    let known = match &schema["type"] {
        Value::Null => return,
        Value::String(name) => BTreeSet::from([name.as_str()]),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        other => panic!("no type: {other}"),
    };
    let types: &[&str] = match document {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if number.is_f64() => &["number"],
        Value::Number(_) => &["integer", "number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    assert!(types.iter().any(|name| known.contains(name)), "{document} is no {schema}");
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(document.get(name.as_str().unwrap()).is_some(), "{name} is missing: {document}");
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = document.get(name) {
            conforms(schema, value);
        }
    }
}
