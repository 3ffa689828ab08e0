//! All promises, with the program at hand: the script that lies beside this connector.

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

fn setup() -> Option<Setup> {
    let path = std::env::var("PATH").unwrap_or_default();
    let people = StoreId::named("people");
    let case = Case::new(people, "email", "ada@example.com").finds(1, 3000).number("id", 7);
    let config = json!({"people": 3000, "token": "n0t-t0-be-seen", "areas": {"codes": ["0201"]}});
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-phonebook"), config)
        .environment("PATH", &format!("{}:{path}", env!("CARGO_MANIFEST_DIR")))
        .broken(json!({"people": 3, "token": "x", "areas": {}}), "`areas` is none of the choices")
        .broken(json!({"people": "many", "token": "x"}), "`people` must be of type integer")
        .case(case);
    Some(setup)
}

protocol::conformance!(setup);
