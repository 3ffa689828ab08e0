//! Runs of taps of either dialect, written down and played back: nothing of them is lost.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// Plays a transcript: its catalog where that is asked for, and all of the rest in a run.
const PLAYER: &str = r#"case $* in
*--about*) exit 2 ;;
*--discover*) head -n 1 "$0" ;;
*) tail -n +2 "$0" ;;
esac"#;

#[derive(Deserialize)]
struct Theirs<'a> {
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Ours<'a> {
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

fn run(words: &[&str], transcript: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let command =
        json!({"command": ["sh", "-c", PLAYER, format!("{FOLDER}/{transcript}")], "config": {}});
    std::fs::write(&config, command.to_string()).unwrap();
    let mut connector = Command::new(env!("CARGO_BIN_EXE_connector-singer"));
    let output = connector.args(words).arg("-c").arg(config).output().unwrap();
    assert!(output.status.success(), "{transcript}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn records_are_handed_on_byte_for_byte_and_the_last_state_as_it_was_written() {
    for transcript in ["kit.jsonl", "legacy.jsonl"] {
        let printed = std::fs::read_to_string(format!("{FOLDER}/{transcript}")).unwrap();
        let read = run(&["read"], transcript);
        let theirs =
            printed.lines().filter_map(|line| serde_json::from_str::<Theirs<'_>>(line).ok());
        let theirs: Vec<&str> = theirs.filter_map(|line| line.record).map(RawValue::get).collect();
        let ours = read.lines().filter_map(|line| serde_json::from_str::<Ours<'_>>(line).ok());
        let ours: Vec<&str> =
            ours.filter_map(|line| line.record).map(|record| record.data.get()).collect();
        assert_eq!(ours.len(), theirs.len(), "{transcript}");
        for (our, their) in ours.into_iter().zip(theirs) {
            assert!(our.starts_with(their.strip_suffix('}').unwrap()), "{our} of {their}");
        }
        let discovered: Value = serde_json::from_str(&run(&["discover"], transcript)).unwrap();
        let store = &discovered["schema_msg"]["schemas"][0];
        assert_eq!((&store["name"], &store["key"]), (&json!("shop-books"), &json!(["id"])));
        assert!(store["json_schema"]["properties"].get("place").is_none(), "it is not supported");
        // What is read without a replication key prints no state of its own.
        let last = read.lines().rfind(|line| line.contains("\"STATE\""));
        let kept = last.map(|line| {
            let state: Value = serde_json::from_str(line).unwrap();
            state["state"]["cursor"]["state"].as_str().unwrap().to_owned()
        });
        match kept {
            Some(kept) => assert!(printed.contains(&format!("\"value\":{kept}}}"))),
            None => assert_eq!(transcript, "legacy.jsonl"),
        }
    }
}
