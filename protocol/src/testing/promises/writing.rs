//! Promises about `write`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::silo::{Ability, StoreId};
use crate::testing::output::{Record, difference};
use crate::testing::program::{Call, Run, named};
use crate::testing::setup::Setup;
use crate::testing::view::{id, texts};

/// The stores of the cases, as `discover` prints them, under the groups of the empty silo.
fn entries(setup: &Setup) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    for case in &setup.cases {
        let mut entry = setup.entry(case);
        let store = regrouped(setup, &id(&entry));
        if let Some(group) = store.group {
            entry["group"] = json!(group);
        }
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

fn regrouped(setup: &Setup, store: &StoreId) -> StoreId {
    let empty = setup.empty.as_ref().expect("a connector that writes has an empty silo");
    let group = store.group.as_ref().map(|group| {
        let change = empty.groups.iter().find(|(from, _)| from == group);
        change.map_or(group, |(_, to)| to).clone()
    });
    StoreId::new(group, store.name.clone())
}

/// The records of the cases' stores, under the groups of the empty silo.
fn records(setup: &Setup) -> Vec<Record> {
    let everything = setup.everything();
    let mut stores: Vec<_> = setup.cases.iter().map(|case| &case.store).collect();
    stores.sort();
    stores.dedup();
    let records = stores.into_iter().filter_map(|store| everything.get(store)).flatten();
    records
        .map(|record| Record { store: regrouped(setup, &record.store), ..record.clone() })
        .collect()
}

fn record_line(record: &Record) -> String {
    let mut framed = named(&record.store);
    framed["record_type"] = json!("RECORD");
    let framed = framed.to_string();
    let open = framed.trim_end_matches('}');
    format!("{{\"type\":\"RECORD\",\"record\":{open},\"data\":{}}}}}\n", record.data)
}

fn schema_line(entries: &[Value]) -> String {
    format!("{}\n", json!({"type": "SCHEMA", "schema_msg": {"schemas": entries}}))
}

fn write<'a>(setup: &'a Setup, input: &str) -> Call<'a> {
    let empty = setup.empty.as_ref().expect("a connector that writes has an empty silo");
    setup.call_with("write", &empty.config).input(input)
}

fn written(setup: &Setup) -> Vec<Record> {
    let empty = setup.empty.as_ref().expect("a connector that writes has an empty silo");
    setup.call_with("read", &empty.config).run().done().records()
}

#[track_caller]
fn same(expected: &[Record], found: &[Record], what: &str) {
    if let Some(difference) = difference(expected, found) {
        panic!("{what}: {difference}");
    }
}

/// What a read of one silo gives can be written into another, and a read of that gives the same,
/// byte for byte. An upsert of the same once more changes nothing; neither does a replacement.
pub fn what_is_read_and_written_reads_the_same(setup: &mut Setup) {
    if !setup.can(Ability::Write) {
        return;
    }
    let entries = entries(setup);
    let records = records(setup);
    let mut input = schema_line(&entries);
    input.extend(records.iter().map(record_line));
    write(setup, &input).run().done().silent();
    same(&records, &written(setup), "after writing into an empty silo");
    write(setup, &input).arg("--mode=replace").run().done().silent();
    same(&records, &written(setup), "after replacing everything with the same");
    let keyed: Vec<&Value> =
        entries.iter().filter(|entry| !texts(&entry["key"]).is_empty()).collect();
    let mut input = String::new();
    for entry in keyed {
        input += &schema_line(std::slice::from_ref(entry));
        let of_store = records.iter().filter(|record| record.store == id(entry));
        input.extend(of_store.map(record_line));
    }
    write(setup, &input).arg("--mode=upsert").run().done().silent();
    same(&records, &written(setup), "after an upsert of the same");
}

/// STATE lines are echoed as they came, in order, once what stood before them is committed.
pub fn states_are_echoed_unchanged_and_in_order(setup: &mut Setup) {
    if !setup.can(Ability::Write) {
        return;
    }
    let entries = entries(setup);
    let records = records(setup);
    let mut input = schema_line(&entries);
    let mut states = Vec::new();
    for (place, record) in records.iter().take(100).enumerate() {
        input += &record_line(record);
        // Odd spacing and members of another connector must come back as they are.
        let state = format!(
            "{{\"type\": \"STATE\",\"state\":{{\"schema_name\":\"s{}\",\"cursor\":{{ \"at\":{place}.0}},\"x\":1}}}}",
            place % 3
        );
        input += &state;
        input.push('\n');
        states.push(state);
    }
    let echoed: Vec<String> =
        write(setup, &input).run().done().states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(echoed, states, "the states that were echoed");
    same(&records[..states.len()], &written(setup), "what the states cover");
}

/// Whoever waits for a state before sending more gets it: a state does not wait for the end.
pub fn a_state_is_echoed_before_the_end_of_the_input(setup: &mut Setup) {
    if !setup.can(Ability::Write) {
        return;
    }
    let entries = entries(setup);
    let records = records(setup);
    let first = records.first().expect("a case has a record");
    let mut input = schema_line(&entries) + &record_line(first);
    writeln!(input, "{}", json!({"type": "STATE", "state": {"schema_name": "s", "cursor": 1}}))
        .expect("a string takes everything");
    let (mut stdin, mut started) = write(setup, "").start_fed();
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("the connector reads");
    let echoed = started.read_line();
    assert!(echoed.contains("STATE"), "the state should be echoed: {echoed}");
    // Committed: a reader sees it, and a kill does not undo it.
    started.kill();
    started.killed();
    same(&records[..1], &written(setup), "what the state covers, after a kill");
}

/// A line that cannot be taken is named by its number, with the reason and without its content;
/// what no state covers is not promised.
pub fn a_line_that_cannot_be_taken_is_named(setup: &mut Setup) {
    if !setup.can(Ability::Write) {
        return;
    }
    let entries = entries(setup);
    let records = records(setup);
    let first = record_line(records.first().expect("a case has a record"));
    let schema = schema_line(&entries);
    let unknown = record_line(&Record {
        store: StoreId::new(regrouped(setup, &setup.first().store).group, "no_such_store_to_write"),
        data: "{\"a\":1}".to_owned(),
    });
    let named_by_line = |bad: &str| {
        let run = write(setup, &format!("{schema}\n{first}{bad}\n{first}")).run();
        assert!(matches!(run.status, 1 | 2), "{run}: {bad}");
        assert!(run.states().is_empty(), "{run}: no state was sent");
        run.complains_of("line 4");
    };
    for bad in [
        "hello",
        "{\"type\":\"RECORD\"",
        "{\"type\":\"RECORD\"}",
        "{\"type\":\"RECORD\",\"record\":{\"data\":{}}}",
        "{\"type\":\"SCHEMA\",\"schema_msg\":{\"schemas\":{}}}",
        "{\"type\":\"SPEC\",\"spec\":{}}",
        "[]",
    ] {
        named_by_line(bad);
    }
    let run: Run = write(setup, &format!("{schema}{first}{unknown}")).run();
    assert_ne!(run.status, 0, "{run}: a record of a store that is not there was taken");
    run.complains_of("no_such_store_to_write");
}

/// A record with a property that the store has no column for adds it, unless that is refused, and
/// then the property is named.
pub fn an_unknown_property_adds_a_column_or_is_refused_by_name(setup: &mut Setup) {
    if !setup.can(Ability::Write) {
        return;
    }
    let mut entries = entries(setup);
    entries.truncate(1);
    let store = id(&entries[0]);
    let record = records(setup).into_iter().find(|one| one.store == store).expect("a record");
    write(setup, &(schema_line(&entries) + &record_line(&record))).run().done();
    let mut wider = entries.clone();
    wider[0]["json_schema"]["properties"]["added_later"] = json!({"type": "string"});
    let mut value = record.value();
    value["added_later"] = json!("new");
    for name in texts(&entries[0]["key"]) {
        // Another record, not the same one again.
        value[&name] = match &value[&name] {
            Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1_000_000),
            _ => json!("added later"),
        };
    }
    let added = Record { store, data: value.to_string() };
    let input = schema_line(&wider) + &record_line(&added);
    let run = write(setup, &input).arg("--columns=fail").run();
    assert!(matches!(run.status, 1 | 2), "{run}: a column was added that was not to be");
    run.complains_of("added_later");
    assert_eq!(written(setup).len(), 1, "a refused write wrote");
    write(setup, &input).run().done();
    let found = written(setup);
    assert_eq!(found.len(), 2, "the record with the new property is there");
    let new = found.iter().find(|one| one.value()["added_later"] == "new");
    assert!(new.is_some(), "the new property is there");
    let old = found.iter().find(|one| one.value()["added_later"].is_null());
    assert!(old.is_some(), "the record from before has it as null");
}
