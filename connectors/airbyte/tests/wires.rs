//! Wires compose: what one of ours says outward, our own inward side reads back without loss.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use serde_json::{Value, json};

const CONNECTOR: &str = env!("CARGO_BIN_EXE_connector-airbyte");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-source.sh");

fn source() -> Value {
    json!({"command": ["sh", SOURCE], "config": "{\"people\": 120}"})
}

/// The connector as an Airbyte source, wrapped by the connector.
fn wrapped() -> Value {
    json!({"command": [CONNECTOR, "--wire", "airbyte-source"], "config": source()})
}

fn lines(words: &[&str], config: &Value, state: Option<&str>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("config"), config.to_string()).unwrap();
    let flag = if words[0] == "--wire" { "--config" } else { "-c" };
    let mut command = Command::new(CONNECTOR);
    command.args(words).arg(flag).arg(path("config"));
    if let Some(state) = state {
        std::fs::write(path("state"), state).unwrap();
        command.arg("--state").arg(path("state"));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn of(kind: &str, lines: &[String]) -> Vec<String> {
    let start = format!("{{\"type\":\"{kind}\"");
    let mut found: Vec<String> =
        lines.iter().filter(|line| line.starts_with(&start)).cloned().collect();
    found.sort();
    found
}

#[test]
fn what_goes_out_comes_back_in_byte_for_byte() {
    let (plain, round) = (lines(&["read"], &source(), None), lines(&["read"], &wrapped(), None));
    let records = of("RECORD", &plain);
    assert_eq!(records.len(), 123);
    assert_eq!(of("RECORD", &round), records);
    // And on from its state there is nothing but the store that has no state.
    let states = of("STATE", &round).join("\n");
    let rest = of("RECORD", &lines(&["read"], &wrapped(), Some(&states)));
    assert!(rest.len() == 3 && rest.iter().all(|line| line.contains("\"notes\"")), "{rest:?}");
    let stores = |config: &Value| -> Vec<Value> {
        let message: Value = serde_json::from_str(&lines(&["discover"], config, None)[0]).unwrap();
        let schemas = message["schema_msg"]["schemas"].as_array().unwrap().clone();
        schemas
            .into_iter()
            .map(|one| json!([one["name"], one["group"], one["key"], one["json_schema"]]))
            .collect()
    };
    assert_eq!(stores(&wrapped()), stores(&source()));
}

#[test]
fn a_source_is_a_tap_too() {
    let said = lines(&["--wire", "singer-tap"], &source(), None);
    let records: Vec<&String> =
        said.iter().filter(|line| line.contains("\"type\":\"RECORD\"")).collect();
    assert_eq!(records.len(), 123);
    let data = r#"{"id":7,"email":"ada@example.com","score":7.50,"note":"a \"note\" for 7"}"#;
    assert!(records.iter().any(|line| line.contains(data)));
    assert!(said.last().is_some_and(|line| line.contains("\"STATE\"")));
}
