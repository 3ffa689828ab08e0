//! The promises that every connector keeps, through a source that is a script.

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-source.sh");

fn setup() -> Option<Setup> {
    let config = |own: &str| json!({"command": ["sh", SOURCE], "config": own});
    let people = StoreId::new(Some("crm".to_owned()), "people");
    let case = Case::new(people, "email", "ada@example.com")
        .finds(1, 3000)
        .near(["Ada@example.com"])
        .number("id", 7);
    let setup = Setup::new(
        env!("CARGO_BIN_EXE_connector-airbyte"),
        config(r#"{"people": 3000, "token": "n0t-t0-be-seen"}"#),
    )
    .secret("n0t-t0-be-seen")
    .broken(config(r#"{"people": "many"}"#), "`people` must be of type integer")
    .broken(json!({"command": ["/no/such/source"], "config": "{}"}), "no such program")
    .broken(json!({"config": "{}"}), "`command`")
    .broken(json!({"command": ["sh", "-c", "exit 0"], "config": {}}), "printed no SPEC")
    .broken(json!({"command": ["sh", SOURCE], "config": "{"}), "`config` must be a JSON object")
    .case(case);
    Some(setup)
}

protocol::conformance!(setup);
