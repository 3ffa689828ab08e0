//! A read that is killed at any moment goes on from the last STATE it printed, and loses nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use protocol::silo::StoreId;
use protocol::testing::runs::Binary;
use serde_json::json;
use server::Server;

const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-mysql"));

const ROWS: u64 = 20_000;

#[test]
fn each_row_comes_once_however_often_the_read_is_killed() {
    let Some(server) = Server::find() else {
        protocol::testing::skip(env!("CARGO_PKG_NAME"));
        return;
    };
    let database = server.database(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME NOT NULL, note TEXT, KEY (at));
         INSERT INTO t SELECT seq, TIMESTAMPADD(HOUR, seq % 100, '2024-01-01'), REPEAT('x', 500)
         FROM seq_1_to_{ROWS}"
    ));
    let store = StoreId::new(Some(database.name.clone()), "t");
    CONNECTOR.survives_kills(&server.config(&database, json!({})), &[], &store, ROWS);
}
