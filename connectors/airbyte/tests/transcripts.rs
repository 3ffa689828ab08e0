//! Runs of sources of every age, written down and played back: nothing of them is lost.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// Plays a transcript: its catalog where that is asked for, and all of the rest in a read.
const PLAYER: &str = r#"case $1 in
spec) echo '{"type":"SPEC","spec":{"connectionSpecification":{}}}' ;;
discover) grep CATALOG "$0" ;;
read) grep -v CATALOG "$0" ;;
esac"#;

#[derive(Deserialize)]
struct Line<'a> {
    r#type: String,
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
}

/// A record, as a source or as we print it.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(alias = "schema_name")]
    stream: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The records of a stream, as they are written.
fn records<'a>(text: &'a str, stream: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line<'_>>(line).ok());
    let records = lines.filter(|line| line.r#type == "RECORD").filter_map(|line| line.record);
    records.filter(|record| record.stream == stream).map(|record| record.data.get()).collect()
}

fn run(words: &[&str], transcript: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let command =
        json!({"command": ["sh", "-c", PLAYER, format!("{FOLDER}/{transcript}")], "config": {}});
    std::fs::write(&config, command.to_string()).unwrap();
    let mut connector = Command::new(env!("CARGO_BIN_EXE_connector-airbyte"));
    let output = connector.args(words).arg("-c").arg(config).output().unwrap();
    assert!(output.status.success(), "{transcript}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn every_record_is_handed_on_byte_for_byte_and_what_is_left_out_is_null() {
    for (transcript, streams) in [
        ("concurrent.jsonl", &["books", "readers"][..]),
        ("old.jsonl", &["books"]),
        ("odd.jsonl", &["Ünïcode 名前", "empty"]),
    ] {
        let printed = std::fs::read_to_string(format!("{FOLDER}/{transcript}")).unwrap();
        let discovered: Value =
            serde_json::from_slice(&run(&["discover"], transcript).stdout).unwrap();
        let stores = discovered["schema_msg"]["schemas"].as_array().unwrap();
        let names: Vec<&str> = stores.iter().map(|store| store["name"].as_str().unwrap()).collect();
        assert_eq!(names, streams, "{transcript}");
        let output = run(&["read"], transcript);
        let read = String::from_utf8(output.stdout).unwrap();
        for (stream, store) in streams.iter().zip(stores) {
            let (ours, theirs) = (records(&read, stream), records(&printed, stream));
            assert_eq!(ours.len(), theirs.len(), "{transcript}: {stream}");
            let properties = store["json_schema"]["properties"].as_object().unwrap();
            for (our, their) in ours.into_iter().zip(theirs) {
                let start = their.strip_suffix('}').unwrap();
                assert!(our.starts_with(start), "{transcript}: {our} of {their}");
                let names: serde_json::Map<String, Value> =
                    serde_json::from_str(&our.replace("1e400", "0")).unwrap();
                assert!(properties.keys().all(|name| names.contains_key(name)), "{our}");
            }
        }
    }
}

#[test]
fn a_state_is_kept_as_it_was_written() {
    let read = String::from_utf8(run(&["read"], "concurrent.jsonl").stdout).unwrap();
    let states: Vec<Value> = read
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "STATE")
        .map(|line| line["state"].clone())
        .collect();
    let last = states.iter().rfind(|state| state["schema_name"] == "books").unwrap();
    let kept = last["cursor"]["state"].as_str().unwrap();
    let printed = std::fs::read_to_string(format!("{FOLDER}/concurrent.jsonl")).unwrap();
    assert!(printed.contains(&format!("\"state\":{kept}}}")), "{kept}");
    assert!(kept.contains("\"exact\":1.50"), "{kept}");
    assert!(states.iter().all(|state| state["schema_name"] == "books"), "readers have none");
}
