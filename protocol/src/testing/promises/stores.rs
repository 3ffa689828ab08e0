//! Promises about `schema`, `discover`, `scan` and what a record looks like.

use serde_json::{Value, json};

use crate::silo::Ability;
use crate::testing::output::{Record, sorted};
use crate::testing::program::named;
use crate::testing::rules;
use crate::testing::setup::Setup;
use crate::testing::view::{
    NO_PROPERTY, abilities, entries, id, injections, nowhere, only, properties, texts,
};

/// `schema` prints Monoid's members only, in a line without blanks, and by Monoid's rules.
pub fn schema_prints_what_a_monoid_host_reads(setup: &mut Setup) {
    let mut started = setup.call("schema").start_stopped();
    let bytes = started.rest();
    let run = started.end(bytes.clone()).done();
    for entry in entries(&run) {
        let store = id(&entry);
        for member in entry.as_object().expect("an entry is an object").keys() {
            let known = ["name", "group", "json_schema"].contains(&member.as_str());
            assert!(known, "{store}: Monoid has no `{member}`");
        }
        let wrong = rules::record_schema(&entry["json_schema"]);
        assert!(wrong.is_empty(), "{store}: {}", wrong.join("; "));
    }
    let message: Value = serde_json::from_slice(&bytes).expect("one line");
    assert_eq!(bytes.len(), message.to_string().len() + 1, "the line is not compact");
}

/// `discover` prints the stores of `schema`, each with what else is known of it.
pub fn discover_prints_the_stores_of_schema_with_their_details(setup: &mut Setup) {
    let plain = entries(&setup.call("schema").run().done());
    let mut detailed = setup.entries();
    for entry in &detailed {
        let store = id(entry);
        assert!(entry["kind"].is_string(), "{store} has no `kind`");
        for list in ["key", "cursors", "relations", "capabilities"] {
            assert!(entry[list].is_array(), "{store} has no `{list}`");
        }
        let properties = properties(entry);
        let mut named = texts(&entry["key"]);
        named.extend(texts(&entry["cursors"]));
        for relation in entry["relations"].as_array().expect("it was looked at above") {
            named.extend(texts(&relation["columns"]));
        }
        for name in named {
            assert!(properties.contains_key(&name), "{store} has no property `{name}`");
        }
        for ability in abilities(entry) {
            serde_json::from_value::<Ability>(json!(ability)).expect("an ability of the protocol");
        }
    }
    for entry in &mut detailed {
        let members = entry.as_object_mut().expect("an entry is an object");
        members.retain(|name, _| ["name", "group", "json_schema"].contains(&name.as_str()));
    }
    assert_eq!(plain, detailed, "`schema` and `discover` tell of different stores");
    let mut ids: Vec<_> = plain.iter().map(id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), plain.len(), "a store is listed twice");
    for case in &setup.cases {
        assert!(ids.contains(&case.store), "the store {} of a case is not listed", case.store);
    }
}

/// A scan gives at most as many records of a store as it was asked for, all where there are no
/// more, and some where there are any.
pub fn a_scan_gives_as_many_records_as_it_may(setup: &mut Setup) {
    let everything = setup.everything();
    let schemas = json!({"schemas": setup.entries()});
    for limit in [0, 1, 3, 1_000_000] {
        let call = setup.call("scan").with("-s", &schemas).arg(format!("--limit={limit}"));
        let found = crate::testing::output::by_store(call.run().done().records());
        for (store, records) in &everything {
            let found = found.get(store).map_or(0, Vec::len);
            let what = format!("{store}: a scan of {limit} from {} gave {found}", records.len());
            assert!(found <= limit, "{what}");
            assert!(limit < records.len() || found == records.len(), "{what}");
            assert!(found > 0 || limit == 0 || records.is_empty(), "{what}");
        }
    }
}

/// The same seed gives the same records, each one that a read gives too.
pub fn a_scan_is_a_sample_that_its_seed_repeats(setup: &mut Setup) {
    let schemas = json!({"schemas": setup.entries()});
    let scan = |seed: u32| {
        let call = setup.call("scan").with("-s", &schemas).arg("--limit=5");
        call.arg(format!("--seed={seed}")).run().done().records()
    };
    let everything: Vec<Record> = setup.everything().into_values().flatten().collect();
    for seed in [0, 1, 4_000_000_000] {
        let sample = scan(seed);
        assert_eq!(sample, scan(seed), "the seed {seed} gave two samples");
        let mut distinct = sample.clone();
        distinct.sort();
        for record in &distinct {
            assert!(everything.contains(record), "a scan gave what a read does not: {record:?}");
        }
    }
}

/// `-s` takes what `schema` or `discover` printed, the message or the list in it.
pub fn scan_takes_what_schema_and_discover_print(setup: &mut Setup) {
    let detailed = setup.entries();
    let plain = entries(&setup.call("schema").run().done());
    let scan = |content: Value| setup.call("scan").with("-s", &content).run().done().records();
    let expected = scan(json!({ "schemas": detailed }));
    assert!(!expected.is_empty(), "a scan gave nothing");
    assert_eq!(scan(json!({ "schemas": plain })), expected);
    let message = json!({"type": "SCHEMA", "schema_msg": {"schemas": plain}});
    assert_eq!(scan(message), expected);
    let bare: Vec<Value> = plain.iter().map(|entry| json!({"name": entry["name"], "group": entry.get("group").unwrap_or(&json!(""))})).collect();
    assert_eq!(scan(json!({ "schemas": bare })), expected, "entries without a schema");
}

/// A record of any command has every property of its schema, and no other type or property.
pub fn every_record_is_what_its_schema_says(setup: &mut Setup) {
    let entries = setup.entries();
    let schemas = json!({ "schemas": entries });
    let mut records: Vec<Record> = setup.everything().into_values().flatten().collect();
    records.extend(setup.call("scan").with("-s", &schemas).run().done().records());
    for case in setup.searchable() {
        records.extend(setup.find(&[setup.subject(case)]));
    }
    for record in records {
        let entry = entries.iter().find(|entry| id(entry) == record.store);
        let entry = entry.unwrap_or_else(|| panic!("a record of no store: {record:?}"));
        if let Some(wrong) = rules::record(&entry["json_schema"], &record.value()) {
            panic!("a record of {}: {wrong}", record.store);
        }
    }
}

/// The `properties` of an entry or identifier are the properties of the records, and their bytes
/// are those of the whole record.
pub fn chosen_properties_are_what_a_record_has(setup: &mut Setup) {
    let check = |what: &str, whole: Vec<Record>, chosen: Vec<Record>, name: &str| {
        let expected: Vec<Value> =
            sorted(whole).iter().map(|record| json!({ name: record.value()[name] })).collect();
        let found: Vec<Value> = chosen.iter().map(Record::value).collect();
        let bag = |mut values: Vec<Value>| {
            values.sort_by_key(Value::to_string);
            values
        };
        assert_eq!(bag(found), bag(expected), "{what}: only `{name}` was chosen");
    };
    for entry in setup.entries() {
        for name in properties(&entry).keys() {
            let whole = json!({ "schemas": [entry] });
            let part = json!({ "schemas": [only(&entry, &[name])] });
            let mut commands = vec!["scan"];
            if abilities(&entry).contains(&Ability::Read.to_string()) {
                commands.push("read");
            }
            for command in commands {
                let run = |schemas| setup.call(command).with("-s", schemas).run().done().records();
                check(&format!("{command} of {}", id(&entry)), run(&whole), run(&part), name);
            }
        }
    }
    for case in setup.searchable() {
        for name in properties(&setup.entry(case)).keys() {
            let mut identifier = setup.subject(case);
            let whole = setup.find(std::slice::from_ref(&identifier));
            identifier["json_schema"] = json!({"properties": { name: {} }});
            check(&format!("query of {}", case.store), whole, setup.find(&[identifier]), name);
        }
    }
}

/// A store or property that is not there is named on stderr, the others still give their records,
/// and the status is 3.
pub fn a_store_or_property_that_is_not_there_is_named_and_the_rest_goes_on(setup: &mut Setup) {
    let entries = setup.entries();
    let missing = json!({"name": nowhere().name, "json_schema": {"properties": {"a": {}}}});
    let mut commands = vec!["scan"];
    if setup.can(Ability::Read) {
        commands.push("read");
    }
    for command in commands {
        let run = |schemas: Value| setup.call(command).with("-s", &schemas).run();
        for entry in entries.iter().filter(|entry| {
            command == "scan" || abilities(entry).contains(&Ability::Read.to_string())
        }) {
            let good = run(json!({ "schemas": [entry] })).done().records();
            let partly = run(json!({ "schemas": [missing, entry] }));
            let partly = partly.status(3).complains_of(&nowhere().name);
            assert_eq!(sorted(partly.records()), sorted(good), "{partly}");
            let mut names =
                injections(&properties(entry).keys().next().cloned().unwrap_or_default());
            names.truncate(4);
            names.push(NO_PROPERTY.to_owned());
            for name in names {
                let run = run(json!({ "schemas": [only(entry, &[&name])] })).status(3);
                assert!(run.records().is_empty(), "{run}: a property that is not there was read");
                run.complains_of(&id(entry).to_string());
            }
            let run = run(json!({ "schemas": [only(entry, &[NO_PROPERTY])] }));
            run.complains_of(NO_PROPERTY);
        }
    }
}

/// A store cannot be asked for twice in one run: its records would come twice.
pub fn a_store_that_is_named_twice_is_refused(setup: &mut Setup) {
    let entry = setup.entry(setup.first());
    let schemas = json!({ "schemas": [entry, entry] });
    let run = setup.call("scan").with("-s", &schemas).run().status(2);
    run.silent().complains_of(&setup.first().store.name);
}

/// What a connector cannot do is refused by name.
pub fn an_ability_that_is_lacking_is_refused_by_name(setup: &mut Setup) {
    let identifier = setup.subject(setup.first());
    let query = json!({ "identifiers": [identifier] });
    if !setup.can(Ability::Plan) {
        let run = setup.call("plan").with("-q", &query).run();
        run.status(1).silent().complains_of("plan");
        let run = setup.call("query").arg("--follow").with("-q", &query).run();
        run.status(1).silent().complains_of("follow");
    }
    if !setup.can(Ability::Write) {
        setup.call("write").input("").run().status(1).silent().complains_of("write");
    }
    for (command, ability) in [("query", Ability::Query), ("delete", Ability::Delete)] {
        if setup.can(ability) {
            continue;
        }
        let run = setup.call(command).with("-q", &query).run().done();
        let result = run.one("REQUEST_RESULT", "request");
        assert_eq!(result["status"]["request_status"], "FAILED", "{run}");
        assert!(result["handle"]["data"]["error"].is_string(), "{run}: and says why");
    }
    if !setup.can(Ability::Read) {
        let schemas = json!({"schemas": [named(&setup.first().store)]});
        let schemas =
            schemas.to_string().replace("schema_name", "name").replace("schema_group", "group");
        setup.call("read").with("-s", schemas.as_str()).run().status(3).complains_of("read");
    }
}
