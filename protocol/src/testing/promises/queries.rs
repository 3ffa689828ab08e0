//! Promises about `query`, `request-status` and `request-results`.

use serde_json::{Value, json};

use crate::silo::Ability;
use crate::testing::output::difference;
use crate::testing::program::named;
use crate::testing::setup::{Case, Setup};
use crate::testing::view::{NO_PROPERTY, injections, nowhere, results};

/// A query finds the subject's records, byte for byte what a read gives, and no others.
pub fn a_query_finds_the_subjects_records_and_no_others(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let found = setup.find(&[setup.subject(case)]);
        assert_eq!(found.len(), case.finds, "records of the subject in {}", case.store);
        let expected = setup.matching(case, &case.property, &case.value);
        if let Some(difference) = difference(&expected, &found) {
            panic!("{}: {difference}", case.store);
        }
        let mut bare = setup.subject(case);
        bare.as_object_mut().expect("an object").remove("json_schema");
        assert_eq!(setup.find(&[bare]), found, "without a schema all properties are meant");
    }
}

/// Each identifier has a result of its own, in the order of the file. Several of one store are a
/// union: each handle carries them all, and `request-results` prints a record once.
pub fn each_identifier_has_its_result_and_each_handle_all_of_its_store(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let mut expected = setup.matching(case, &case.property, &case.value);
        // Another subject of the store, if it has one, and the first one by its number.
        let mut identifiers = vec![setup.subject(case), setup.subject(case)];
        let others = setup.records_of(case).into_iter().filter_map(|one| one.text(&case.property));
        if let Some(other) = others.into_iter().find(|other| *other != case.value) {
            identifiers.insert(1, setup.identifier(case, &case.property, &other));
            expected.extend(setup.matching(case, &case.property, &other));
        }
        if let Some((property, value)) = &case.number {
            identifiers.push(setup.identifier(case, property, value));
            let more = setup.matching(case, property, value);
            expected.extend(more.into_iter().filter(|one| {
                let text = one.text(&case.property);
                !identifiers.iter().any(|other| {
                    other["identifier"] == case.property.as_str()
                        && other["identifier_query"].as_str() == text.as_deref()
                })
            }));
        }
        let run = setup.call("query").with("-q", &json!({ "identifiers": identifiers })).run();
        let results = results(&run.done());
        assert_eq!(results.len(), identifiers.len(), "one result an identifier");
        for (result, identifier) in results.iter().zip(&identifiers) {
            check(result, "QUERY", case);
            assert_eq!(result["handle"]["data"]["query"], *identifier, "in the file's order");
        }
        let handles = setup.settled(results, "COMPLETE");
        for handles in [&handles[..], &handles[..1]] {
            if let Some(difference) = difference(&expected, &setup.fetch(handles)) {
                panic!("{}, {} of the handles: {difference}", case.store, handles.len());
            }
        }
    }
}

/// What is promised of each result.
fn check(result: &Value, kind: &str, case: &Case) {
    let store = named(&case.store);
    for part in [&result["status"], &result["handle"]] {
        assert_eq!(part["schema_name"], store["schema_name"], "{result}");
        assert_eq!(part.get("schema_group"), store.get("schema_group"), "{result}");
    }
    assert_eq!(result["handle"]["request_type"], kind, "{result}");
}

/// A value matches by its code points: another case, blanks at its ends, accents and parts of it
/// find nothing but what is spelled so itself.
pub fn equality_is_exact(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let every = setup.records_of(case);
        for near in near(case) {
            let mut expected = every.clone();
            expected.retain(|record| record.text(&case.property).as_deref() == Some(&near));
            let found = setup.find(&[setup.identifier(case, &case.property, &near)]);
            if let Some(difference) = difference(&expected, &found) {
                panic!("{}, {} is {near:?}: {difference}", case.store, case.property);
            }
        }
    }
}

/// Values that resemble a case's and are others.
pub(super) fn near(case: &Case) -> Vec<String> {
    let value = &case.value;
    let mut near = case.near.clone();
    near.extend([
        value.to_uppercase(),
        value.to_lowercase(),
        format!("{value} "),
        format!(" {value}"),
        format!("{value}\t"),
        format!("{value}\n"),
        format!("{value}\0"),
        format!("{value}\u{301}"),
        format!("{value}\u{200b}"),
        value.replacen('e', "é", 1),
        value.replacen('a', "á", 1),
        value.chars().take(value.chars().count() - 1).collect(),
        value.replacen(|c: char| c.is_alphanumeric(), "_", 1),
        value.replacen(|c: char| c.is_alphanumeric(), "%", 1),
        String::new(),
    ]);
    near.retain(|near| near != value);
    near.sort();
    near.dedup();
    near
}

/// An integer is found by its text, as hosts send it, and by its number.
pub fn a_number_is_found_by_its_text(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let Some((property, value)) = &case.number else { continue };
        let expected = setup.matching(case, property, value);
        assert!(!expected.is_empty(), "{}: no record has {property} {value}", case.store);
        let as_text = setup.identifier(case, property, value);
        let mut as_number = as_text.clone();
        as_number["identifier_query"] = value.parse::<i64>().expect("a case's number").into();
        for identifier in [as_text, as_number] {
            if let Some(difference) = difference(&expected, &setup.find(&[identifier])) {
                panic!("{}, {property} is {value}: {difference}", case.store);
            }
        }
    }
}

/// A value that cannot be of the property's type matches nothing, and is no failure.
pub fn a_value_that_cannot_be_of_the_type_matches_nothing(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let Some((property, value)) = &case.number else { continue };
        for odd in [
            "seven".to_owned(),
            format!("{value}x"),
            format!("{value} OR 1=1"),
            format!("{value}; --"),
            "9".repeat(60),
            String::new(),
        ] {
            let identifiers = [setup.identifier(case, property, &odd)];
            let found = setup.find(&identifiers);
            assert!(found.is_empty(), "{}: {property} is {odd:?}: {found:?}", case.store);
        }
    }
}

/// A store or property that is not there, or cannot be searched, is a FAILED line of its own; the
/// other identifiers have their lines, and the status is 0.
pub fn what_cannot_be_asked_is_a_failed_line_and_the_others_have_theirs(setup: &mut Setup) {
    let mut commands = Vec::new();
    if setup.can(Ability::Query) {
        commands.push("query");
    }
    if setup.can(Ability::Delete) {
        commands.push("delete");
    }
    for command in commands {
        let case = setup.cases.iter().find(|case| !case.refused).expect("a case to delete");
        let mut nowhere_else = setup.subject(case);
        nowhere_else["schema_name"] = json!(nowhere().name);
        let mut other_group = setup.subject(case);
        other_group["schema_group"] = json!("no such group");
        let identifiers = [nowhere_else, setup.subject(case), other_group, setup.subject(case)];
        let run = setup.call(command).with("-q", &json!({ "identifiers": identifiers })).run();
        let run = run.done();
        let results = results(&run);
        assert_eq!(results.len(), identifiers.len(), "{run}: one result an identifier");
        for (result, failed) in results.iter().zip([true, false, true, false]) {
            let standing = &result["status"]["request_status"];
            assert_eq!(standing == "FAILED", failed, "{run}: {standing}");
            assert_eq!(failed, result["handle"]["data"]["error"].is_string(), "{run}");
        }
        // A FAILED request gives nothing, and does not hinder the others.
        let handles: Vec<_> = results.iter().map(|result| result["handle"].clone()).collect();
        let statuses = setup.call("request-status").with("-r", &json!({ "handles": handles }));
        let statuses = statuses.run().done().only("REQUEST_STATUS", "request_status");
        assert_eq!(statuses.len(), handles.len(), "one status a handle");
        assert_eq!(statuses[0]["request_status"], "FAILED");
        assert_ne!(statuses[1]["request_status"], "FAILED");
        for name in [NO_PROPERTY.to_owned()].into_iter().chain(injections(&case.property)) {
            let mut identifier = setup.subject(case);
            identifier["identifier"] = json!(name);
            let query = json!({ "identifiers": [identifier] });
            let run = setup.call(command).with("-q", &query).run().done();
            let result = run.one("REQUEST_RESULT", "request");
            assert_eq!(result["status"]["request_status"], "FAILED", "{run}: property {name:?}");
        }
    }
}

/// Empty lists print nothing and are no failure.
pub fn empty_lists_print_nothing(setup: &mut Setup) {
    for (command, flag, content) in [
        ("scan", "-s", json!({"schemas": []})),
        ("query", "-q", json!({"identifiers": []})),
        ("delete", "-q", json!({"identifiers": []})),
        ("request-status", "-r", json!({"handles": []})),
        ("request-results", "-r", json!({"handles": []})),
    ] {
        setup.call(command).with(flag, &content).run().done().silent();
    }
    if setup.can(Ability::Read) {
        setup.call("read").with("-s", &json!({"schemas": []})).run().done().silent();
    }
}

/// Text that would change a statement, pattern or request finds what is spelled so, and changes
/// nothing.
pub fn injected_text_finds_nothing_and_changes_nothing(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    let before = setup.everything();
    for case in setup.searchable() {
        for text in injections(&case.property) {
            let found = setup.find(&[setup.identifier(case, &case.property, &text)]);
            let wrong = found.iter().any(|one| one.text(&case.property).as_ref() != Some(&text));
            assert!(!wrong, "{}: {text:?} found {}", case.store, found.len());
        }
        let mut subject = setup.subject(case);
        for text in injections(&case.property) {
            subject["json_schema"] = json!({"properties": { text.as_str(): {} }});
            let query = json!({ "identifiers": [subject] });
            let run = setup.call("query").with("-q", &query).run().done();
            let handles: Vec<Value> =
                results(&run).into_iter().map(|mut result| result["handle"].take()).collect();
            let run =
                setup.call("request-results").with("-r", &json!({ "handles": handles })).run();
            assert!(run.records().is_empty(), "{run}: the property {text:?} was read");
        }
    }
    assert_eq!(setup.everything(), before, "a query changed the silo");
}

/// Handles that Monoid's Python connectors made, and that wait in its database, are read.
pub fn handles_of_the_python_kit_are_read(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    for case in setup.searchable() {
        let run = setup.call("query").with("-q", &json!({ "identifiers": [setup.subject(case)] }));
        if results(&run.run().done())[0]["status"]["request_status"] == "PROGRESS" {
            // A vendor's job has a handle of its own.
            continue;
        }
        let handle = json!({
            "schema_name": case.store.name, "schema_group": case.store.group,
            "request_type": "QUERY", "data": {"query": setup.subject(case)},
        });
        let expected = setup.matching(case, &case.property, &case.value);
        if let Some(difference) = difference(&expected, &setup.fetch(std::slice::from_ref(&handle)))
        {
            panic!("{}: {difference}", case.store);
        }
        let twice = setup.fetch(&[handle.clone(), handle]);
        assert_eq!(twice.len(), expected.len(), "the same handle twice prints a record once");
    }
}

/// `request-status` says of a handle what `query` and `delete` said, one line a handle, in order.
pub fn requests_stand_as_their_handles_say(setup: &mut Setup) {
    if !setup.can(Ability::Query) {
        return;
    }
    let mut identifiers = Vec::new();
    for case in setup.searchable() {
        identifiers.push(setup.subject(case));
        identifiers.push(
            json!({"schema_name": nowhere().name, "identifier": "a", "identifier_query": "b"}),
        );
    }
    let run = setup.call("query").with("-q", &json!({ "identifiers": identifiers })).run().done();
    let results = results(&run);
    let mut handles: Vec<Value> = results.iter().map(|one| one["handle"].clone()).collect();
    let statuses = |handles: &[Value]| {
        let call = setup.call("request-status").with("-r", &json!({ "handles": handles }));
        call.run().done().only("REQUEST_STATUS", "request_status")
    };
    for (status, result) in statuses(&handles).iter().zip(&results) {
        assert_eq!(status["schema_name"], result["status"]["schema_name"], "in order");
        if result["status"]["request_status"] != "PROGRESS" {
            assert_eq!(*status, result["status"], "as the query said");
        }
    }
    // A delete that is done has nothing to fetch.
    let mut done = named(&setup.first().store);
    done["request_type"] = json!("DELETE");
    handles = vec![done];
    let status = &statuses(&handles)[0];
    assert_eq!(
        (&status["request_status"], &status["data_type"]),
        (&json!("COMPLETE"), &json!("NONE"))
    );
    assert!(setup.fetch(&handles).is_empty(), "a delete has no results");
}
