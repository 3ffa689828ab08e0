//! The promises that every connector keeps, through a Monoid connector that is a script.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

const CONNECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-connector.sh");
const PEOPLE: usize = 800;

fn setup() -> Option<Setup> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people");
    let mut records = String::new();
    for id in 1..=PEOPLE {
        let email = match id {
            7 => "ada@example.com".to_owned(),
            8 => "Ada@example.com".to_owned(),
            _ => format!("person{id}@example.com"),
        };
        writeln!(records, "{{\"id\":{id},\"email\":\"{email}\",\"note\":\"x\"}}").unwrap();
    }
    std::fs::write(&file, records).unwrap();
    let config = |own: &str| json!({"command": ["sh", CONNECTOR], "config": own});
    let own = json!({"file": file, "token": "n0t-t0-be-seen"}).to_string();
    let people = StoreId::new(Some("crm".to_owned()), "people");
    let case = Case::new(people, "email", "ada@example.com")
        .finds(1, PEOPLE)
        .near(["Ada@example.com"])
        .number("id", 7);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-monoid"), config(&own))
        .secret("n0t-t0-be-seen")
        .broken(config(r#"{"file": 1}"#), "`file` must be of type string")
        .broken(json!({"command": ["/no/such/program"], "config": "{}"}), "no such program")
        .broken(json!({"config": "{}"}), "`command`")
        .broken(
            json!({"command": ["sh", CONNECTOR], "config": "{"}),
            "`config` must be a JSON object",
        )
        .case(case)
        .keep(folder);
    Some(setup)
}

protocol::conformance!(setup);
