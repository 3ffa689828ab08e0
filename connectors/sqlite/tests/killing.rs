//! A read that is killed at any moment goes on from the last STATE it printed, and loses nothing.

use protocol::silo::StoreId;
use protocol::testing::runs::Binary;
use rusqlite::Connection;
use serde_json::json;

const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-sqlite"));

const ROWS: u64 = 20_000;

#[test]
fn each_row_comes_once_however_often_the_read_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.db");
    let made = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME NOT NULL, note TEXT);
         INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i, datetime('2024-01-01', (i % 100) || ' hours'), hex(zeroblob(250)) FROM n;
         CREATE INDEX t_at ON t (at);"
    );
    Connection::open(&path).unwrap().execute_batch(&made).unwrap();
    CONNECTOR.survives_kills(&json!({ "path": path }), &[], &StoreId::named("t"), ROWS);
}
