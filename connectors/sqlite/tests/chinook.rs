//! Chinook, a sample database, where `MANIFOLD_SAMPLE_DBS` names a folder that holds it.
//!
//! The project does not ship it: `chinook/Chinook_Sqlite.sqlite` below that folder is the file of
//! the Chinook project's releases. Without the variable these tests look at nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Chinook {
    file: PathBuf,
    folder: TempDir,
}

/// The database, where there is one. Not a skip to be counted: what the project promises is shown
/// by its own databases, and this is one more, of a stranger's making.
fn chinook() -> Option<Chinook> {
    let samples = std::env::var_os("MANIFOLD_SAMPLE_DBS")?;
    let file = PathBuf::from(samples).join("chinook/Chinook_Sqlite.sqlite");
    Some(Chinook { file, folder: tempfile::tempdir().unwrap() })
}

impl Chinook {
    fn input(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, command: &str, more: &[(&str, &str)]) -> Vec<Value> {
        let config = self.input("config.json", &json!({ "path": self.file }).to_string());
        let mut call = Command::new(env!("CARGO_BIN_EXE_connector-sqlite"));
        call.arg(command).arg("-c").arg(config);
        for (flag, content) in more {
            match flag.strip_prefix("=") {
                Some(flag) => call.arg(flag).arg(content),
                None => call.arg(flag).arg(self.input(&format!("{}.json", &flag[1..]), content)),
            };
        }
        let output = call.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn database(&self) -> Connection {
        Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }
}

fn of<'a>(messages: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    messages.iter().filter(move |message| message["type"] == kind)
}

/// How many records of each store.
fn counts(messages: &[Value]) -> HashMap<String, i64> {
    let mut counts = HashMap::new();
    for record in of(messages, "RECORD") {
        let store = record["record"]["schema_name"].as_str().unwrap().to_owned();
        *counts.entry(store).or_default() += 1;
    }
    counts
}

#[test]
fn discover_lists_every_table_and_every_column() {
    let Some(chinook) = chinook() else { return };
    let messages = chinook.run("discover", &[]);
    let stores = messages[0]["schema_msg"]["schemas"].as_array().unwrap();
    let database = chinook.database();
    let columns = "SELECT count(*) FROM sqlite_schema t, pragma_table_info(t.name)
                   WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'";
    let columns: usize =
        database.query_row(columns, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    let listed = stores.iter().map(|s| s["json_schema"]["properties"].as_object().unwrap().len());
    assert_eq!(stores.len(), 11);
    assert_eq!(listed.sum::<usize>(), columns);
}

#[test]
fn read_gives_every_row_and_each_state_exactly_the_rest() {
    let Some(chinook) = chinook() else { return };
    let messages = chinook.run("read", &[("=--checkpoint", "700")]);
    let counts = counts(&messages);
    let database = chinook.database();
    for (store, count) in &counts {
        let rows = format!("SELECT count(*) FROM \"{store}\"");
        let rows: i64 = database.query_row(&rows, [], |row| row.get(0)).unwrap();
        assert_eq!(*count, rows, "{store}");
    }
    assert_eq!(counts.len(), 11);

    let mut states = 0;
    for (place, message) in messages.iter().enumerate() {
        if message["type"] != "STATE" {
            continue;
        }
        states += 1;
        let store = &message["state"]["schema_name"];
        let chosen = json!({"schemas": [{ "name": store }]}).to_string();
        let rest = chinook.run("read", &[("-s", &chosen), ("--state", &message.to_string())]);
        let expected = of(&messages[place..], "RECORD")
            .filter(|record| record["record"]["schema_name"] == *store);
        assert!(of(&rest, "RECORD").eq(expected), "the rest of {store} after {message}");
    }
    assert!(states > 20, "{states} states");
}

#[test]
fn query_finds_the_customer_by_mail_address() {
    let Some(chinook) = chinook() else { return };
    let identifier = json!({
        "schema_name": "Customer", "identifier": "Email", "identifier_query": "luisg@embraer.com.br",
    });
    let asked = chinook.run("query", &[("-q", &json!({"identifiers": [identifier]}).to_string())]);
    let handles: Vec<&Value> = asked.iter().map(|result| &result["request"]["handle"]).collect();
    let results =
        chinook.run("request-results", &[("-r", &json!({ "handles": handles }).to_string())]);
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["record"]["data"]["CustomerId"], 1);
}
