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

#[test]
fn a_token_that_the_vendor_replaced_reaches_the_platform() {
    let own = r#"{"people": 2, "trap": "rotates", "token": "0ld-token-value"}"#;
    let config = json!({"command": ["sh", SOURCE], "config": own});
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let people = json!({"name": "people", "namespace": "crm", "json_schema": {}});
    let catalog = json!({"streams": [{"stream": people, "sync_mode": "full_refresh",
        "destination_sync_mode": "append"}]});
    std::fs::write(path("config"), config.to_string()).unwrap();
    std::fs::write(path("catalog"), catalog.to_string()).unwrap();
    // Airbyte merges what a CONTROL message has into the configuration that it keeps.
    let mut airbyte = Command::new(CONNECTOR);
    airbyte.args(["--wire", "airbyte-source", "read"]).arg("--config").arg(path("config"));
    let output = airbyte.arg("--catalog").arg(path("catalog")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).unwrap();
    let controls: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "CONTROL")
        .collect();
    assert_eq!(controls.len(), 1, "{text}");
    let control = &controls[0]["control"];
    assert_eq!(control["type"], "CONNECTOR_CONFIG");
    assert!(control["emitted_at"].is_u64());
    let changed = &control["connectorConfig"]["config"];
    assert_eq!(changed["command"], config["command"], "the rest of the configuration is there");
    let own: Value = serde_json::from_str(changed["config"].as_str().unwrap()).unwrap();
    assert_eq!(own, json!({"people": 2, "token": "n3w-token-value"}));
    let logs = text.lines().filter(|line| !line.contains("\"CONTROL\""));
    assert!(logs.into_iter().all(|line| !line.contains("n3w-token-value")), "no log shows it");

    // Singer's way is to write the file anew.
    let mut singer = Command::new(CONNECTOR);
    singer.args(["--wire", "singer-tap", "--config"]).arg(path("config"));
    let output = singer.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = std::fs::read_to_string(path("config")).unwrap();
    assert!(kept.contains("n3w-token-value"), "{kept}");
    assert!(!String::from_utf8(output.stderr).unwrap().contains("n3w-token-value"));
}
