//! The promises that every connector keeps, through a tap that is a script.

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

const TAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-tap.sh");

fn setup() -> Option<Setup> {
    let config = |own: &str| json!({"command": ["sh", TAP], "config": own});
    let case = Case::new(StoreId::named("crm-people"), "email", "ada@example.com")
        .finds(1, 3000)
        .near(["Ada@example.com"])
        .number("id", 7)
        .cursor("id");
    let setup = Setup::new(
        env!("CARGO_BIN_EXE_connector-singer"),
        config(r#"{"people": 3000, "token": "n0t-t0-be-seen"}"#),
    )
    .secret("n0t-t0-be-seen")
    .broken(config(r#"{"people": "many"}"#), "`people` must be of type integer")
    .broken(json!({"command": ["/no/such/tap"], "config": "{}"}), "no such program")
    .broken(json!({"config": "{}"}), "`command`")
    .broken(json!({"command": ["sh", TAP], "config": "{"}), "`config` must be a JSON object")
    .case(case);
    Some(setup)
}

protocol::conformance!(setup);
