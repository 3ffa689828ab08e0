//! What taps do that they should not, each done by a script on demand, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const TAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-tap.sh");
const PEOPLE: &str = r#"{"schemas":[{"name":"crm-people"}]}"#;
const TOKEN: &str = "t0ken-value";

/// What a run printed, message by message, and what it said.
struct Run {
    status: i32,
    messages: Vec<Value>,
    said: String,
    text: String,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = String::from_utf8(output.stdout).unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            messages: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            said: String::from_utf8(output.stderr).unwrap(),
            text,
        }
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|message| message["type"] == kind).collect()
    }

    fn records(&self) -> Vec<&Value> {
        self.all("RECORD").into_iter().map(|message| &message["record"]["data"]).collect()
    }

    /// The tap's own last state.
    fn state(&self) -> Option<String> {
        let state = self.all("STATE").pop()?;
        Some(state["state"]["cursor"]["state"].as_str().unwrap().to_owned())
    }
}

struct Tap {
    folder: tempfile::TempDir,
    config: Value,
}

impl Tap {
    fn with(trap: &str) -> Tap {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("batch");
        let own = json!({"people": 120, "trap": trap, "token": TOKEN, "file": file});
        let config = json!({"command": ["sh", TAP], "config": own, "patience": 4});
        Tap { folder, config }
    }

    fn run(&self, words: &[&str]) -> Run {
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("config"), self.config.to_string()).unwrap();
        std::fs::write(path("stores"), PEOPLE).unwrap();
        std::fs::create_dir_all(path("private")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-singer"));
        command.args(words).arg("-c").arg(path("config")).env("TMPDIR", path("private"));
        command.env("A_TOKEN", "SECRET");
        if ["read", "scan"].contains(&words[0]) {
            command.arg("-s").arg(path("stores"));
        }
        let run = Run::of(command.output().unwrap());
        assert_eq!(std::fs::read_dir(path("private")).unwrap().count(), 0, "files are left");
        assert!(!run.said.contains(TOKEN) && !run.text.contains(TOKEN), "the token is shown");
        run
    }
}

fn read(trap: &str) -> Run {
    Tap::with(trap).run(&["read", "--checkpoint=1"])
}

#[test]
fn what_taps_may_do_is_taken() {
    for (trap, ids) in [
        ("no-state", vec![1]),
        ("no-schema", vec![1]),
        ("lower-case", vec![1]),
        ("noise", vec![1]),
        ("crlf", vec![1]),
        ("unknown", vec![1]),
        ("versions", vec![1]),
        ("no-end-of-line", vec![1]),
        ("schema-changes", vec![1, 2, 3]),
        ("deletes", vec![1, 1]),
        ("batch", vec![1, 2]),
        ("batch-plain", vec![1]),
        ("flood", vec![1]),
    ] {
        let run = read(trap);
        let found: Vec<u64> =
            run.records().iter().map(|record| record["id"].as_u64().unwrap()).collect();
        assert_eq!((run.status, found), (0, ids), "{trap}: {}", run.said.len());
        assert_eq!(run.state().is_some(), trap != "no-state", "{trap}: {}", run.text);
    }
    let run = read("schema-changes");
    assert!(
        run.text.contains(r#"{"id":2,"email":null,"score":null,"note":null,"w":null}"#),
        "{}",
        run.text
    );
    let run = read("deletes");
    assert_eq!(run.records()[1]["_sdc_deleted_at"], "2026-01-01T00:00:00Z");
}

#[test]
fn records_and_states_keep_every_digit() {
    let run = read("digits");
    assert!(run.text.contains(r#"{"id":18446744073709551615,"score":1E-20,"#), "{}", run.text);
    assert!(run.text.contains(r#""score":1.50,"#));
    assert_eq!(
        read("states").state().unwrap(),
        r#"{"opaque":[1,{"x":"y"}],"big":12345678901234567890.10}"#
    );
    let run = read("long");
    assert_eq!(run.records()[0]["note"].as_str().unwrap().len(), 49 << 19);
    let run = read("not-finite");
    assert!(run.text.contains(r#""score":"Infinity""#) && run.text.contains(r#""score":"NaN""#));
    assert!(run.said.contains("2 lines were no JSON"), "{}", run.said);
    let run = read("latin");
    assert!(run.said.contains("U+FFFD"), "{}", run.said);
}

#[test]
fn a_failure_fails_the_store_and_no_state_stands_that_came_last_before_it() {
    for (trap, says, records) in [
        ("fails-after-state", "exit status 1: ValueError: boom", 2),
        ("dies", "signal 9", 2),
        ("garbled", "cut or garbled", 1),
        ("says-nothing", "printed nothing of this stream", 0),
        ("strangers", "printed nothing of this stream, but records of `others`", 0),
        ("hangs", "said nothing for 4 seconds", 2),
        ("hangs-deaf", "said nothing for 4 seconds", 2),
        ("batch-parquet", "parquet", 0),
        ("batch-zstd", "compressed by zstd", 0),
        ("batch-elsewhere", "not on this machine", 0),
    ] {
        let run = read(trap);
        assert_eq!((run.status, run.records().len()), (3, records), "{trap}: {}", run.said);
        assert!(run.said.contains(says), "{trap}: {}", run.said);
        let covered =
            run.state().is_some_and(|state| state.contains("\"replication_key_value\":1}"));
        assert_eq!(covered, records == 2, "{trap}: {}", run.text);
    }
}

#[test]
fn a_catalog_is_passed_by_the_flag_that_a_tap_heeds() {
    for trap in ["wants-properties", "heeds-properties"] {
        let run = read(trap);
        assert_eq!((run.status, run.records().len()), (0, 120), "{trap}: {}", run.said);
    }
}

#[test]
fn a_scan_stops_a_tap_and_does_not_take_its_last_words_for_a_state() {
    let begun = Instant::now();
    for (trap, limit) in [("ends-with-state", "--limit=5"), ("hangs-deaf", "--limit=2")] {
        let run = Tap::with(trap).run(&["scan", limit]);
        assert_eq!(run.status, 0, "{trap}: {}", run.said);
        assert!(run.all("STATE").is_empty());
        assert!(!run.records().is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_configuration_that_the_tap_writes_anew_reaches_its_keeper() {
    let run = read("rotates");
    let config = run.all("CONFIG")[0]["config"]["config"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["token"], "n3w-token-value");
    assert!(!run.said.contains("n3w-token-value"), "{}", run.said);
    let run = read("leaks");
    assert!(run.said.contains("INFO using ***"), "{}", run.said);
    let run = read("environment");
    assert!(!run.text.contains("A_TOKEN"), "{}", run.text);
}

#[test]
fn a_discovery_is_found_among_noise_or_fails_in_the_taps_words() {
    let run = Tap::with("discover-noise").run(&["discover"]);
    let schemas = run.messages[0]["schema_msg"]["schemas"].as_array().unwrap();
    assert_eq!((schemas.len(), &schemas[0]["key"]), (2, &json!(["id"])), "{}", run.said);
    let properties = &schemas[0]["json_schema"]["properties"];
    assert_eq!(properties["email"]["type"], "string", "by a reference");
    assert!(properties.get("picture").is_none(), "the tap cannot read it");
    for (trap, says) in [
        ("discover-fails", "exit status 1: CRITICAL the token has expired"),
        ("discover-nothing", "printed no catalog"),
    ] {
        let run = Tap::with(trap).run(&["validate"]);
        let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{trap}: {message}");
    }
}
