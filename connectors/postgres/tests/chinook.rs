//! Chinook, a sample database, where `MANIFOLD_SAMPLE_DBS` names a folder that holds it.
//!
//! The project does not ship it: `chinook/Chinook_PostgreSql.sql` below that folder is the script of
//! the Chinook project's releases. Without the variable these tests look at nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::path::PathBuf;

use common::{Database, Server, call};
use serde_json::{Value, json};

/// The database, where there is one. Not a skip to be counted: what the project promises is shown
/// by its own databases, and this is one more, of a stranger's making.
fn chinook(server: &Server) -> Option<Database> {
    let samples = PathBuf::from(std::env::var_os("MANIFOLD_SAMPLE_DBS")?);
    let script = std::fs::read_to_string(samples.join("chinook/Chinook_PostgreSql.sql")).unwrap();
    // It makes a database of its own and has psql go there.
    let (_, tables) = script.split_once("\\c chinook;").unwrap();
    Some(server.database("chinook", tables))
}

fn count(database: &Database, table: &str) -> usize {
    let found = database.query(&format!("SELECT count(*) FROM \"{table}\""));
    found[0].as_ref().unwrap().parse().unwrap()
}

#[test]
fn every_table_is_discovered_and_read_and_each_state_gives_the_rest() {
    let Some(server) = Server::find() else { return };
    let Some(database) = chinook(&server) else { return };
    let discovered = call(&database.form(), &["discover"], &[], "").done();
    let entries = discovered.entries();
    assert_eq!(entries.len(), 11);
    let relations = |entry: &Value| entry["relations"].as_array().map_or(0, Vec::len);
    assert_eq!(entries.iter().map(relations).sum::<usize>(), 11);
    assert!(entries.iter().all(|entry| entry["key"].as_array().is_some_and(|key| !key.is_empty())));

    let run = call(&database.form(), &["read", "--checkpoint", "700"], &[], "").done();
    for entry in &entries {
        let name = entry["name"].as_str().unwrap();
        assert_eq!(run.records(name).len(), count(&database, name), "{name}");
    }
    let mut states = 0;
    for (place, message) in run.messages.iter().enumerate() {
        if message["type"] != "STATE" {
            continue;
        }
        states += 1;
        let name = message["state"]["schema_name"].as_str().unwrap();
        let schemas = common::chosen(&database.group(), name, None);
        let files = [("-s", schemas.as_str()), ("--state", &format!("{message}\n"))];
        let rest = call(&database.form(), &["read"], &files, "").done();
        let of = |m: &&Value| m["record"]["schema_name"] == name;
        let expected: Vec<&Value> = run.messages[place..].iter().filter(of).collect();
        let found: Vec<&Value> = rest.messages.iter().filter(of).collect();
        assert_eq!(found, expected, "the rest of {name}");
    }
    assert!(states >= 20, "{states} states");
}

#[test]
fn a_customer_is_found_and_erased_with_all_invoices_and_nobody_else() {
    let Some(server) = Server::find() else { return };
    let Some(database) = chinook(&server) else { return };
    let identifier = json!({"schema_name": "customer", "schema_group": database.group(),
        "identifier": "email", "identifier_query": "luisg@embraer.com.br"});
    let query = json!({"identifiers": [identifier]}).to_string();
    let asked = call(&database.form(), &["query"], &[("-q", &query)], "").done();
    let handles = json!({"handles": [asked.messages[0]["request"]["handle"]]}).to_string();
    let found = call(&database.form(), &["request-results"], &[("-r", &handles)], "").done();
    let customers = found.records("customer");
    assert_eq!(customers.len(), 1);
    let id = customers[0]["customer_id"].as_i64().unwrap();

    let of = |table: &str, condition: &str| {
        let found = database.query(&format!("SELECT count(*) FROM {table} WHERE {condition}"));
        found[0].as_ref().unwrap().parse::<usize>().unwrap()
    };
    let own = format!("customer_id = {id}");
    let lines = format!("invoice_id IN (SELECT invoice_id FROM invoice WHERE {own})");
    let gone = [
        ("customer", 1),
        ("invoice", of("invoice", &own)),
        ("invoice_line", of("invoice_line", &lines)),
    ];
    let before: Vec<usize> = gone.iter().map(|(table, _)| count(&database, table)).collect();
    assert!(gone.iter().all(|(_, rows)| *rows > 0));
    let run = call(&database.form(), &["delete", "--follow"], &[("-q", &query)], "").done();
    for ((table, rows), before) in gone.iter().zip(before) {
        assert_eq!(count(&database, table), before - rows, "{table}: {}", run.said);
    }
    assert_eq!(count(&database, "employee"), 8);
    call(&database.form(), &["verify", "--follow"], &[("-q", &query)], "").done();
}
