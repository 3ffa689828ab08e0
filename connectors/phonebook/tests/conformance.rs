//! The promises that are kept where the program is not installed.

use protocol::testing::Setup;
use serde_json::json;

fn setup() -> Option<Setup> {
    Some(Setup::new(env!("CARGO_BIN_EXE_connector-phonebook"), json!({})))
}

protocol::conformance!(setup, of the form);
