//! Wires compose: what one of ours says outward, our own inward side reads back without loss.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use serde_json::{Value, json};

const CONNECTOR: &str = env!("CARGO_BIN_EXE_connector-singer");
const TAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-tap.sh");

fn tap() -> Value {
    json!({"command": ["sh", TAP], "config": "{\"people\": 120}"})
}

/// The connector as a Singer tap, wrapped by the connector.
fn wrapped() -> Value {
    json!({"command": [CONNECTOR, "--wire", "singer-tap"], "config": tap()})
}

fn lines(words: &[&str], config: &Value, more: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("config"), config.to_string()).unwrap();
    let flag = if words[0] == "--wire" { "--config" } else { "-c" };
    let mut command = Command::new(CONNECTOR);
    command.args(words).arg(flag).arg(path("config"));
    for (flag, content) in more {
        let name = flag.trim_start_matches('-');
        std::fs::write(path(name), content).unwrap();
        command.arg(flag).arg(path(name));
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
    let (plain, round) = (lines(&["read"], &tap(), &[]), lines(&["read"], &wrapped(), &[]));
    let records = of("RECORD", &plain);
    assert_eq!(records.len(), 123);
    assert_eq!(of("RECORD", &round), records);
    let states = of("STATE", &round).join("\n");
    let rest = of("RECORD", &lines(&["read"], &wrapped(), &[("--state", &states)]));
    assert!(rest.len() == 3 && rest.iter().all(|line| line.contains("\"notes\"")), "{rest:?}");
}

#[test]
fn a_tap_is_an_airbyte_source_too() {
    let wire = ["--wire", "airbyte-source"];
    let catalog = lines(&[wire[0], wire[1], "discover"], &tap(), &[]);
    let catalog = catalog.iter().find(|line| line.contains("\"CATALOG\"")).unwrap();
    let catalog: Value = serde_json::from_str(catalog).unwrap();
    let streams = catalog["catalog"]["streams"].as_array().unwrap().iter();
    let streams: Vec<Value> = streams
        .map(|one| json!({"stream": one, "sync_mode": "incremental", "destination_sync_mode": "append"}))
        .collect();
    let catalog = json!({ "streams": streams }).to_string();
    let said = lines(&[wire[0], wire[1], "read"], &tap(), &[("--catalog", &catalog)]);
    let records: Vec<&String> =
        said.iter().filter(|line| line.contains("\"type\":\"RECORD\"")).collect();
    assert_eq!(records.len(), 123);
    let data = r#"{"id":7,"email":"ada@example.com","score":7.50,"note":"a \"note\" for 7"}"#;
    assert!(records.iter().any(|line| line.contains(data)));
}
