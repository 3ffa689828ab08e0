//! What the tests share: a database of their own, and runs of the connector.

// Each test file uses some of it.
#![expect(dead_code, reason = "every test file compiles all of it, and uses some")]

mod server;

use std::process::Child;

use protocol::silo::StoreId;
use protocol::testing::runs::{self, Binary};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use server::Server;

pub(crate) type Run = runs::Run;
pub(crate) type Database = server::Database;

pub(crate) const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-postgres"));

/// Starts the connector with a configuration, words, and files behind flags.
pub(crate) fn start(config: &Value, words: &[&str], files: &[(&str, &str)]) -> (Child, TempDir) {
    CONNECTOR.start(config, words, files)
}

/// Runs the connector to its end; `input` is what it reads.
pub(crate) fn call(config: &Value, words: &[&str], files: &[(&str, &str)], input: &str) -> Run {
    CONNECTOR.call(config, words, files, input)
}

/// The document of `-s` that chooses a store.
pub(crate) fn chosen(group: &str, name: &str, cursor: Option<&str>) -> String {
    runs::chosen(&StoreId::new(Some(group.to_owned()), name), cursor).to_string()
}
