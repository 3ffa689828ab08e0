//! What the files of strangers hold and how they are found: locks, journals, damage, odd values.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;

use protocol::silo::StoreId;
use protocol::testing::runs::{Binary, Run, chosen, handle, spread};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const CONNECTOR: Binary = Binary(env!("CARGO_BIN_EXE_connector-sqlite"));

/// A database in a folder of its own.
struct Shop {
    folder: TempDir,
    path: PathBuf,
}

impl Shop {
    fn of(schema: &str) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        Connection::open(&path).unwrap().execute_batch(schema).unwrap();
        Shop { folder, path }
    }

    fn run(&self, command: &str, more: &[(&str, Value)]) -> Run {
        let config = json!({"path": self.path, "busy_timeout": 0});
        CONNECTOR.run(&config, &[command], more)
    }

    fn records(&self, store: &str) -> Vec<Value> {
        self.run("read", &[("-s", chosen(&StoreId::named(store), None))]).data()
    }
}

#[test]
fn values_of_another_type_than_their_column_keep_their_own_and_are_counted() {
    let shop = Shop::of(
        "CREATE TABLE mixed (number INTEGER, flag BOOLEAN, word TEXT);
         INSERT INTO mixed VALUES ('twelve', 'yes', 'a'), (12, 1, 'b'), (1.5, 2, x'beef')",
    );
    let read = shop.run("read", &[]);
    assert_eq!(
        read.data(),
        [
            json!({"number": "twelve", "flag": "yes", "word": "a"}),
            json!({"number": 12, "flag": true, "word": "b"}),
            json!({"number": 1.5, "flag": 2, "word": "vu8="}),
        ]
    );
    assert!(read.said.contains("2 values of `number`"), "{}", read.said);
    assert!(read.said.contains("1 values of `word`"), "{}", read.said);
}

#[test]
fn rows_without_a_cursor_come_in_every_read_and_the_others_once() {
    let shop = Shop::of(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME);
         INSERT INTO t VALUES (1, '2024-01-02'), (2, NULL), (3, '2024-01-01'), (4, '2024-01-01')",
    );
    let chosen = json!({"schemas": [{"name": "t", "cursor": "at"}]});
    let first = shop.run("read", &[("-s", chosen.clone())]);
    let ids = |run: &Run| run.data().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), [3, 4, 1, 2], "by cursor, then key, nulls last");
    let state = first.messages.iter().rfind(|message| message["type"] == "STATE").unwrap();
    let again = shop.run("read", &[("-s", chosen), ("--state", state.clone())]);
    assert_eq!(ids(&again), [2]);
}

#[test]
fn a_primary_key_that_is_null_in_some_row_is_not_taken_for_a_key() {
    let shop = Shop::of(
        "CREATE TABLE t (code TEXT PRIMARY KEY); INSERT INTO t VALUES ('a'), (NULL), (NULL)",
    );
    let discover = shop.run("discover", &[]);
    assert_eq!(discover.messages[0]["schema_msg"]["schemas"][0]["key"], json!([]));
    assert_eq!(shop.records("t").len(), 3);
}

#[test]
fn text_that_is_not_utf8_is_read_with_replacements_and_said() {
    let shop =
        Shop::of("CREATE TABLE t (word TEXT); INSERT INTO t VALUES (CAST(x'61ff62' AS TEXT))");
    let read = shop.run("read", &[]);
    assert_eq!(read.data(), [json!({"word": "a\u{fffd}b"})]);
    assert!(read.said.contains("not valid UTF-8"), "{}", read.said);
}

#[test]
fn a_number_and_a_text_are_not_equal() {
    let shop = Shop::of(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, any_one, at DATETIME);
         INSERT INTO t VALUES (5, 5, 5, 5), (6, 6, '5', '5'), (7, 7, 5.5, 'x')",
    );
    let found = |column: &str, value: &str| {
        let handles = json!({"handles": [handle(&StoreId::named("t"), column, value)]});
        let run = shop.run("request-results", &[("-r", handles)]);
        run.data().iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("n", "5"), [5]);
    for odd in [" 5 ", "5.0", "0x5", "5e0", "5 OR 1=1"] {
        assert!(found("n", odd).is_empty(), "{odd}");
    }
    // Where a column holds both, both are spelled `5`.
    assert_eq!(found("any_one", "5"), [5, 6]);
    assert_eq!(found("any_one", "5.5"), [7]);
    assert_eq!(found("at", "5"), [5, 6]);
}

#[test]
fn what_is_in_the_write_ahead_log_only_is_read() {
    let shop = Shop::of("PRAGMA journal_mode = wal; CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    let writer = Connection::open(&shop.path).unwrap();
    writer.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(shop.records("t").len(), 2);
    // And as a writer that was killed leaves it: log and all, but nobody there.
    let copy = shop.folder.path().join("copy.db");
    fs::copy(&shop.path, &copy).unwrap();
    fs::copy(shop.path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    let read = CONNECTOR.run(&json!({ "path": copy }), &["read"], &[]);
    assert_eq!(read.data().len(), 2, "{}", read.said);
}

#[test]
fn a_file_left_in_the_middle_of_a_change_is_refused_in_one_line() {
    let shop = Shop::of("CREATE TABLE t (n); INSERT INTO t VALUES (zeroblob(100000))");
    let writer = Connection::open(&shop.path).unwrap();
    // A small cache makes the change reach the file before its commit.
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE t SET n = zeroblob(90000)").unwrap();
    let copy = shop.folder.path().join("copy.db");
    fs::copy(&shop.path, &copy).unwrap();
    fs::copy(shop.path.with_extension("db-journal"), copy.with_extension("db-journal")).unwrap();
    CONNECTOR
        .run(&json!({ "path": copy }), &["read"], &[])
        .fails_saying("left in the middle of a change");
}

#[test]
fn a_lock_that_stays_is_said_with_the_setting_that_waits_longer() {
    let shop = Shop::of("CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    let writer = Connection::open(&shop.path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    shop.run("read", &[]).fails_saying("busy_timeout");
}

#[test]
fn a_damaged_file_is_said_to_be() {
    let shop = Shop::of("CREATE TABLE t (n); INSERT INTO t VALUES (randomblob(100000))");
    let mut bytes = fs::read(&shop.path).unwrap();
    bytes[4096..8192].fill(0xee);
    fs::write(&shop.path, bytes).unwrap();
    shop.run("read", &[]).fails_saying("damaged");
}

#[test]
fn a_table_that_is_gone_is_named_and_the_others_are_read() {
    let shop = Shop::of("CREATE TABLE a (n); CREATE TABLE b (n); INSERT INTO b VALUES (1)");
    let discovered = shop.run("discover", &[]).messages[0]["schema_msg"].clone();
    Connection::open(&shop.path).unwrap().execute_batch("DROP TABLE a").unwrap();
    let read = shop.run("read", &[("-s", discovered)]);
    assert_eq!(read.status, 3);
    assert_eq!(read.data().len(), 1);
    assert!(read.said.contains("a: there is no such store"), "{}", read.said);
}

#[test]
fn a_view_that_is_broken_is_named_and_the_others_are_there() {
    let shop = Shop::of(
        "CREATE TABLE t (n); CREATE TABLE gone (n); CREATE VIEW v AS SELECT n FROM gone;
         DROP TABLE gone",
    );
    let discover = shop.run("discover", &[]);
    let stores = discover.messages[0]["schema_msg"]["schemas"].as_array().unwrap();
    assert_eq!(stores.len(), 1);
    assert!(discover.said.contains("v: "), "{}", discover.said);
}

#[test]
fn only_chosen_tables_are_stores() {
    let shop = Shop::of("CREATE TABLE orders (n); CREATE TABLE tmp_1 (n); CREATE TABLE tmp_2 (n)");
    let config = json!({"path": shop.path, "tables": ["*", "!tmp_*"]});
    let discover = CONNECTOR.run(&config, &["discover"], &[]);
    let stores = discover.messages[0]["schema_msg"]["schemas"].as_array().unwrap();
    assert_eq!(stores.len(), 1);
}

#[test]
fn a_sample_of_a_large_table_is_spread_over_all_of_it() {
    let shop = Shop::of(
        "CREATE TABLE t (id INTEGER PRIMARY KEY);
         INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         SELECT i FROM n",
    );
    let chosen = json!({"schemas": [{"name": "t"}]});
    let scan = shop.run("scan", &[("-s", chosen)]);
    spread(&scan.data(), 20000);
}
