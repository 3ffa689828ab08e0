//! Chinook, a sample database, as the connector discovers, reads and searches it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use protocol::testing::chinook;
use protocol::testing::runs::Binary;
use serde_json::json;
use server::Server;

#[test]
fn every_table_is_discovered_and_read_and_each_state_gives_the_rest() {
    let Some(server) = Server::find() else {
        protocol::testing::skip(env!("CARGO_PKG_NAME"));
        return;
    };
    let Some(script) = chinook::file("Chinook_MySql.sql") else { return };
    let script = std::fs::read_to_string(script).unwrap();
    // It makes a database of its own and enters it.
    let (_, tables) = script.split_once("USE `Chinook`;").unwrap();
    let database = server.database("");
    database.load(tables);
    let connector = Binary(env!("CARGO_BIN_EXE_connector-mysql"));
    chinook::is_read(connector, &server.config(&database, json!({})));
}
