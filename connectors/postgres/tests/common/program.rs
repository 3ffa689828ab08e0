//! Runs of the connector.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    /// The messages on stdout.
    pub(crate) messages: Vec<Value>,
    /// The same, as they came.
    pub(crate) lines: String,
    /// What stderr said.
    pub(crate) said: String,
}

impl Run {
    /// The same, if everything was done.
    #[track_caller]
    pub(crate) fn done(self) -> Run {
        assert_eq!(self.status, 0, "{}", self.said);
        self
    }

    /// The data of the records of a store.
    pub(crate) fn records(&self, store: &str) -> Vec<Value> {
        self.messages
            .iter()
            .filter(|message| message["record"]["schema_name"] == store)
            .map(|message| message["record"]["data"].clone())
            .collect()
    }

    /// The STATE lines, as they came.
    pub(crate) fn states(&self) -> String {
        let states = self.messages.iter().filter(|message| message["type"] == "STATE");
        states.map(|message| format!("{message}\n")).collect()
    }

    /// The entries that `discover` printed.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let schema = self.messages.iter().find(|message| message["type"] == "SCHEMA");
        schema.unwrap()["schema_msg"]["schemas"].as_array().unwrap().clone()
    }
}

/// Starts the connector with a configuration, words, and files behind flags; `input` is what it
/// reads.
pub(crate) fn start(config: &Value, words: &[&str], files: &[(&str, &str)]) -> (Child, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-postgres"));
    command.args(words).arg("-c").arg(file("config.json", &config.to_string()));
    for (number, (flag, text)) in files.iter().enumerate() {
        command.arg(flag).arg(file(&format!("{number}.json"), text));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (command.spawn().unwrap(), folder)
}

/// Runs the connector to its end.
pub(crate) fn call(config: &Value, words: &[&str], files: &[(&str, &str)], input: &str) -> Run {
    let (mut child, _folder) = start(config, words, files);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let status = child.wait().unwrap();
    writer.join().unwrap();
    Run {
        status: status.code().unwrap_or(-1),
        messages: out.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        lines: out,
        said: reader.join().unwrap(),
    }
}

/// An entry of `-s` for a store.
pub(crate) fn chosen(group: &str, name: &str, cursor: Option<&str>) -> String {
    let mut entry = json!({"name": name, "group": group});
    if let Some(cursor) = cursor {
        entry["cursor"] = json!(cursor);
    }
    json!({ "schemas": [entry] }).to_string()
}
