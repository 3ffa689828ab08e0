//! The promises that every connector keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use protocol::silo::StoreId;
use protocol::testing::Setup;
use rusqlite::Connection;
use serde_json::json;

fn setup() -> Option<Setup> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    Connection::open(&path).unwrap().execute_batch(include_str!("shop.sql")).unwrap();
    let copy = folder.path().join("copy.db");
    Connection::open(&copy).unwrap().execute_batch("VACUUM").unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(
        &text,
        "this is no database, and it is longer than a header of one is ".repeat(20),
    )
    .unwrap();

    let file = path.clone();
    let run = move |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-sqlite"), json!({ "path": path }))
        .broken(json!({"path": folder.path().join("missing.db")}), "no such file")
        .broken(json!({"path": folder.path()}), "folder")
        .broken(json!({ "path": text }), "no SQLite database")
        .read_only(json!({"path": path, "read_only": true}))
        .empty(json!({ "path": copy }))
        .shop(6, |name| StoreId::named(name), run)
        .keep(folder);
    Some(setup)
}

protocol::conformance!(setup);
