//! Chinook, a sample database, as the connector discovers, reads and searches it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::{CONNECTOR, Server};
use protocol::testing::chinook;

#[test]
fn every_table_is_discovered_and_read_and_each_state_gives_the_rest() {
    let Some(server) = Server::find() else { return };
    let Some(script) = chinook::file("Chinook_PostgreSql.sql") else { return };
    let script = std::fs::read_to_string(script).unwrap();
    // It makes a database of its own and has psql go there.
    let (_, tables) = script.split_once("\\c chinook;").unwrap();
    let database = server.database("chinook", tables);
    chinook::is_read(CONNECTOR, &database.form());
}
