//! Chinook, a sample database, where `MANIFOLD_SAMPLE_DBS` names a folder that holds it.
//!
//! The project does not ship it: below that folder, in `chinook`, are the files of the Chinook
//! project's releases. Without the variable these tests look at nothing. That is not a skip to be
//! counted: what the project promises is shown by its own databases, and this is one more, of a
//! stranger's making.

// A panic is how a test fails.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::runs::{Binary, Run, chosen};
use crate::silo::StoreId;

/// Its tables, each with how many columns, references and rows it has.
const TABLES: [(&str, usize, usize, usize); 11] = [
    ("album", 3, 1, 347),
    ("artist", 2, 0, 275),
    ("customer", 13, 1, 59),
    ("employee", 15, 1, 8),
    ("genre", 2, 0, 25),
    ("invoice", 9, 1, 412),
    ("invoiceline", 5, 2, 2240),
    ("mediatype", 2, 0, 5),
    ("playlist", 2, 0, 18),
    ("playlisttrack", 2, 2, 8715),
    ("track", 9, 3, 3503),
];

/// A file of it, where it is there.
pub fn file(name: &str) -> Option<PathBuf> {
    let samples = std::env::var_os("MANIFOLD_SAMPLE_DBS")?;
    Some(PathBuf::from(samples).join("chinook").join(name))
}

/// A name without what tells the scripts' spellings of it apart: `InvoiceLine` or `invoice_line`.
fn plain(name: &Value) -> String {
    name.as_str().unwrap().replace('_', "").to_lowercase()
}

/// How many records of each table.
fn counts(run: &Run) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in run.messages.iter().filter(|message| message["type"] == "RECORD") {
        *counts.entry(plain(&message["record"]["schema_name"])).or_default() += 1;
    }
    counts
}

/// That every table is discovered with its columns, key and references and read in full, that each
/// state gives exactly the rest, and that a customer is found.
pub fn is_read(binary: Binary, config: &Value) {
    let entries = binary.run(config, &["discover"], &[]).done().entries();
    let length = |value: &Value| value.as_array().map_or(0, Vec::len);
    // What is not declared and looks like a reference has a score.
    let declared = |entry: &Value| {
        let relations = entry["relations"].as_array().unwrap().iter();
        relations.filter(|relation| relation["score"].is_null()).count()
    };
    let discovered: BTreeMap<String, (usize, usize)> = entries
        .iter()
        .map(|entry| {
            assert!(length(&entry["key"]) > 0, "{entry}");
            let columns = entry["json_schema"]["properties"].as_object().unwrap().len();
            (plain(&entry["name"]), (columns, declared(entry)))
        })
        .collect();
    let expected =
        TABLES.map(|(name, columns, references, _)| (name.to_owned(), (columns, references)));
    assert_eq!(discovered, BTreeMap::from(expected));

    let run = binary.run(config, &["read", "--checkpoint", "700"], &[]).done();
    let expected = TABLES.map(|(name, _, _, rows)| (name.to_owned(), rows));
    assert_eq!(counts(&run), BTreeMap::from(expected));

    let mut states = 0;
    for (place, message) in run.messages.iter().enumerate() {
        if message["type"] != "STATE" {
            continue;
        }
        states += 1;
        let state = &message["state"];
        let group = state["schema_group"].as_str().map(str::to_owned);
        let store = StoreId::new(group, state["schema_name"].as_str().unwrap());
        let documents = [("-s", chosen(&store, None)), ("--state", message.clone())];
        let rest = binary.run(config, &["read"], &documents).done();
        let of = |message: &&Value| message["record"]["schema_name"] == store.name;
        let expected = run.messages[place..].iter().filter(of);
        assert!(
            rest.messages.iter().filter(of).eq(expected),
            "the rest of {store} after {message}"
        );
    }
    assert!(states >= 20, "{states} states");

    let customer = entries.iter().find(|entry| plain(&entry["name"]) == "customer").unwrap();
    let group = customer["group"].as_str().map(str::to_owned);
    let store = StoreId::new(group, customer["name"].as_str().unwrap());
    let columns = customer["json_schema"]["properties"].as_object().unwrap();
    let email = columns.keys().find(|name| name.eq_ignore_ascii_case("email")).unwrap();
    let found = binary.find(config, &store, email, "luisg@embraer.com.br");
    assert_eq!(found.len(), 1);
    assert!(found[0].as_object().unwrap().values().any(|value| *value == json!("Gonçalves")));
}
