//! Chinook, a sample database, as the connector discovers, reads and searches it.

use protocol::testing::chinook;
use protocol::testing::runs::Binary;
use serde_json::json;

#[test]
fn every_table_is_discovered_and_read_and_each_state_gives_the_rest() {
    let Some(path) = chinook::file("Chinook_Sqlite.sqlite") else { return };
    let connector = Binary(env!("CARGO_BIN_EXE_connector-sqlite"));
    chinook::is_read(connector, &json!({ "path": path }));
}
