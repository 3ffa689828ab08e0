//! The promises that every connector keeps.

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
use serde_json::json;

fn setup() -> Option<Setup> {
    let mut names = vec!["Ada Lovelace".to_owned(), "ada lovelace".to_owned()];
    names.extend((0..5000).map(|n| format!("Guest {n}")));
    let config = json!({ "names": names, "api_key": "not-to-be-seen" });
    let case = Case::new(StoreId::named("greetings"), "name", "Ada Lovelace").finds(1, names.len());
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-hello"), config)
        .broken(json!({ "names": "Ada" }), "`names`")
        .case(case);
    Some(setup)
}

protocol::conformance!(setup);
