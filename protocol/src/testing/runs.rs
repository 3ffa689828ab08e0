//! Runs of a connector's binary, for the tests of its own: as its users call it, with files behind
//! flags.

// A panic is how a test fails.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::silo::StoreId;
use crate::sql::sample::Random;

/// A connector's binary: `Binary(env!("CARGO_BIN_EXE_connector-NAME"))`.
#[derive(Debug, Clone, Copy)]
pub struct Binary(pub &'static str);

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    /// How it ended; -1 by a signal.
    pub status: i32,
    /// The messages on stdout.
    pub messages: Vec<Value>,
    /// The same, as they came.
    pub lines: String,
    /// What stderr said.
    pub said: String,
}

impl Binary {
    /// Starts it with a configuration, words, and files behind flags, which live as long as what is
    /// returned beside it.
    pub fn start(self, config: &Value, words: &[&str], files: &[(&str, &str)]) -> (Child, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut command = Command::new(self.0);
        command.args(words).arg("-c").arg(file("config.json", &config.to_string()));
        for (number, (flag, text)) in files.iter().enumerate() {
            command.arg(flag).arg(file(&format!("{number}.json"), text));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().unwrap(), folder)
    }

    /// Runs it to its end; `input` is what it reads.
    pub fn call(self, config: &Value, words: &[&str], files: &[(&str, &str)], input: &str) -> Run {
        let (mut child, _folder) = self.start(config, words, files);
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

    /// Runs it to its end with documents behind flags, and nothing to read.
    pub fn run(self, config: &Value, words: &[&str], documents: &[(&str, Value)]) -> Run {
        let texts: Vec<(&str, String)> =
            documents.iter().map(|(flag, document)| (*flag, document.to_string())).collect();
        let files: Vec<(&str, &str)> =
            texts.iter().map(|(flag, text)| (*flag, text.as_str())).collect();
        self.call(config, words, &files, "")
    }

    /// The rows of a store that a query finds by a value. No log line may show it.
    #[track_caller]
    pub fn find(self, config: &Value, store: &StoreId, column: &str, value: &str) -> Vec<Value> {
        let handles = json!({"handles": [handle(store, column, value)]});
        let run = self.run(config, &["request-results"], &[("-r", handles)]).done();
        assert!(value.len() < 6 || !run.said.contains(value), "{}", run.said);
        run.data()
    }

    /// Reads a store until it is killed at a random line, again and again, each time from the last
    /// STATE. Returns how often each `id` came in what the STATE lines cover, and how many runs it
    /// took.
    pub fn read_through_kills(
        self,
        config: &Value,
        words: &[&str],
        schemas: &str,
        lines: u64,
        random: &mut Random,
    ) -> (BTreeMap<i64, usize>, usize) {
        let words = [&["read", "--checkpoint", "500"], words].concat();
        let mut found = BTreeMap::new();
        let mut state: Option<String> = None;
        for run in 1.. {
            let mut files = vec![("-s", schemas)];
            files.extend(state.as_deref().map(|state| ("--state", state)));
            let (mut child, _folder) = self.start(config, &words, &files);
            let kill_at = random.below(lines);
            let mut uncovered = Vec::new();
            let mut next = None;
            let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
            for number in 0.. {
                if number == kill_at {
                    // SIGKILL; what the pipe holds was printed before.
                    child.kill().unwrap();
                }
                let Some(line) = lines.next() else { break };
                // A line that the kill cut is none.
                let Ok(message) = serde_json::from_slice::<Value>(&line.unwrap()) else { break };
                match message["type"].as_str() {
                    Some("RECORD") => {
                        uncovered.push(message["record"]["data"]["id"].as_i64().unwrap());
                    }
                    Some("STATE") => {
                        for id in uncovered.drain(..) {
                            *found.entry(id).or_default() += 1;
                        }
                        next = Some(format!("{message}\n"));
                    }
                    _ => {}
                }
            }
            state = next.or(state);
            if child.wait().unwrap().success() {
                return (found, run);
            }
        }
        unreachable!("the loop has no end of its own")
    }

    /// That each of a store's rows comes once however often the read is killed: by its key, and by
    /// a cursor `at` that many rows share. The rows' `id` is their key, and they are too wide for a
    /// pipe to hold many.
    pub fn survives_kills(self, config: &Value, words: &[&str], store: &StoreId, rows: u64) {
        let mut random = Random::new(std::process::id().into());
        for cursor in [None, Some("at")] {
            let schemas = chosen(store, cursor).to_string();
            let (found, runs) =
                self.read_through_kills(config, words, &schemas, rows / 2, &mut random);
            assert_eq!(found.len() as u64, rows, "{cursor:?}: rows were lost");
            assert!(found.values().all(|times| *times == 1), "{cursor:?}: a row came twice");
            assert!(runs > 1, "{cursor:?}: it was never killed");
        }
    }
}

impl Run {
    /// The same, if everything was done.
    #[track_caller]
    pub fn done(self) -> Run {
        assert_eq!(self.status, 0, "{}", self.said);
        self
    }

    /// That it failed, and said so in one line with `word` in it.
    #[track_caller]
    pub fn fails_saying(&self, word: &str) {
        assert!(matches!(self.status, 1 | 3), "{:?}: {}", self.status, self.said);
        assert!(self.said.contains(word), "{word} is not in {}", self.said);
        assert_eq!(self.said.lines().count(), 1, "{}", self.said);
    }

    /// The data of all records.
    pub fn data(&self) -> Vec<Value> {
        let records = self.messages.iter().filter(|message| message["type"] == "RECORD");
        records.map(|message| message["record"]["data"].clone()).collect()
    }

    /// The data of the records of a store.
    pub fn records(&self, store: &str) -> Vec<Value> {
        self.messages
            .iter()
            .filter(|message| message["record"]["schema_name"] == store)
            .map(|message| message["record"]["data"].clone())
            .collect()
    }

    /// The STATE lines, as they came.
    pub fn states(&self) -> String {
        let states = self.messages.iter().filter(|message| message["type"] == "STATE");
        states.map(|message| format!("{message}\n")).collect()
    }

    /// The entries that `discover` printed.
    pub fn entries(&self) -> Vec<Value> {
        let schema = self.messages.iter().find(|message| message["type"] == "SCHEMA");
        schema.unwrap()["schema_msg"]["schemas"].as_array().unwrap().clone()
    }

    /// The entry of a store.
    #[track_caller]
    pub fn entry(&self, name: &str) -> Value {
        self.entries().into_iter().find(|entry| entry["name"] == name).unwrap()
    }
}

/// The document of `-s` that chooses a store.
pub fn chosen(store: &StoreId, cursor: Option<&str>) -> Value {
    let mut entry = json!({"name": store.name, "group": store.group});
    if let Some(cursor) = cursor {
        entry["cursor"] = json!(cursor);
    }
    json!({ "schemas": [entry] })
}

/// The document of `-q` that asks for one value.
pub fn asked(store: &StoreId, column: &str, value: &str) -> Value {
    json!({"identifiers": [{
        "schema_name": store.name, "schema_group": store.group,
        "identifier": column, "identifier_query": value, "json_schema": {},
    }]})
}

/// The handle of a query for one value.
pub fn handle(store: &StoreId, column: &str, value: &str) -> Value {
    json!({
        "schema_name": store.name, "schema_group": store.group, "request_type": "QUERY",
        "data": {"query": asked(store, column, value)["identifiers"][0]},
    })
}

/// That a sample of a hundred is spread over a table whose `id`s count from 1.
#[track_caller]
pub fn spread(sample: &[Value], rows: i64) {
    let ids: Vec<i64> = sample.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), 100, "the limit without --limit");
    for quarter in 0..4 {
        let range = quarter * rows / 4 + 1..=(quarter + 1) * rows / 4;
        let share = ids.iter().filter(|id| range.contains(id)).count();
        assert!((10..=40).contains(&share), "{share} of 100 in {range:?}");
    }
}
