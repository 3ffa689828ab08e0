//! The promises that every connector keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use protocol::silo::StoreId;
use protocol::testing::{Case, Setup};
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

    let people = Case::new(StoreId::named("people"), "email", "ada@example.com")
        .finds(1, 6)
        .near(["ADA@example.com", "ada@example.com ", "ad\u{e1}@example.com"])
        .number("id", 4);
    let events = Case::new(StoreId::named("events"), "kind", "kind 1")
        .finds(1334, 4000)
        .number("person", 3)
        .cursor("at")
        .grows(growth(&path));
    let newsletter =
        Case::new(StoreId::named("newsletter"), "email", "ada@example.com").finds(2, 5);
    let setup = Setup::new(env!("CARGO_BIN_EXE_connector-sqlite"), json!({ "path": path }))
        .broken(json!({"path": folder.path().join("missing.db")}), "no such file")
        .broken(json!({"path": folder.path()}), "folder")
        .broken(json!({ "path": text }), "no SQLite database")
        .read_only(json!({"path": path, "read_only": true}))
        .empty(json!({ "path": copy }))
        .case(people)
        .case(events)
        .case(newsletter)
        .keep(folder);
    Some(setup)
}

fn growth(path: &Path) -> impl FnMut() -> usize + 'static {
    let path = path.to_owned();
    let mut next = 4000;
    move || {
        let database = Connection::open(&path).unwrap();
        for _ in 0..3 {
            next += 1;
            let insert = "INSERT INTO events VALUES (?1, 1, 'kind 9', '2025-01-01 00:00:00')";
            database.execute(insert, [next]).unwrap();
        }
        3
    }
}

protocol::conformance!(setup);
