//! Promises about `delete`, `verify` and `plan`.

use serde_json::{Value, json};

use super::queries::near;
use crate::silo::Ability;
use crate::testing::output::{ByStore, Record, difference};
use crate::testing::setup::{Case, Setup};
use crate::testing::view::{NO_PROPERTY, injections, nowhere};

/// A key for plans, for connectors whose form asks for one: without it each plan draws its own.
const KEY: &str = "a key of the suite's own, of some length";

/// Everything but the records of a case.
fn without(everything: &ByStore, case: &Case) -> ByStore {
    let mut rest = everything.clone();
    if let Some(records) = rest.get_mut(&case.store) {
        records.retain(|one| one.text(&case.property).as_ref() != Some(&case.value));
    }
    rest.retain(|_, records| !records.is_empty());
    rest
}

/// That the silo holds these records, byte for byte.
#[track_caller]
fn holds(setup: &Setup, expected: &ByStore, what: &str) {
    let list = |stores: &ByStore| stores.values().flatten().cloned().collect::<Vec<Record>>();
    if let Some(difference) = difference(&list(expected), &list(&setup.everything())) {
        panic!("{what}: {difference}");
    }
}

/// A member of the first result's data.
fn told<'a>(results: &'a [Value], name: &str) -> &'a Value {
    &results[0]["handle"]["data"][name]
}

/// A delete is COMPLETE, says how many, and a new process finds none of the records, while all
/// others are there, byte for byte.
pub fn deleted_records_are_gone_and_all_others_are_there(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    let before = setup.everything();
    let mut expected = before;
    for case in setup.deletable() {
        let gone = setup.matching(case, &case.property, &case.value).len();
        expected = without(&expected, case);
        let subject = setup.subject(case);
        let results = setup.delete(std::slice::from_ref(&subject), &[]);
        assert_eq!(*told(&results, "query"), subject, "the handle carries the identifier");
        if results[0]["status"]["request_status"] == "COMPLETE" {
            assert_eq!(*told(&results, "deleted"), json!(gone), "{}: deleted", case.store);
            assert_eq!(*told(&results, "remaining"), json!(0), "{}: remaining", case.store);
            assert_eq!(results[0]["status"]["data_type"], "NONE");
        }
        setup.settled(results, "COMPLETE");
        holds(setup, &expected, &format!("after the delete from {}", case.store));
        if setup.can(Ability::Query) {
            assert!(setup.find(&[subject]).is_empty(), "{}: still found", case.store);
        }
    }
}

/// Several identifiers are one delete: each has its result, and the records of all are gone.
pub fn a_delete_of_several_identifiers_is_done_for_each(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    let cases = setup.deletable();
    let mut expected = setup.everything();
    let mut identifiers = Vec::new();
    for case in &cases {
        expected = without(&expected, case);
        identifiers.extend([setup.subject(case), setup.subject(case)]);
    }
    let results = setup.delete(&identifiers, &[]);
    assert_eq!(results.len(), identifiers.len(), "one result an identifier");
    for (result, identifier) in results.iter().zip(&identifiers) {
        assert_eq!(result["handle"]["data"]["query"], *identifier, "in the file's order");
    }
    setup.settled(results, "COMPLETE");
    holds(setup, &expected, "after a delete of several identifiers");
}

/// Hosts repeat a delete that they did not see the end of: the second is COMPLETE with nothing.
pub fn a_second_delete_is_complete_with_nothing_deleted(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    for case in setup.deletable() {
        let subject = [setup.subject(case)];
        setup.settled(setup.delete(&subject, &[]), "COMPLETE");
        let after = setup.everything();
        let again = setup.delete(&subject, &[]);
        if again[0]["status"]["request_status"] == "COMPLETE" {
            assert_eq!(*told(&again, "deleted"), json!(0), "{}: deleted again", case.store);
        }
        setup.settled(again, "COMPLETE");
        holds(setup, &after, "after the second delete");
    }
}

/// A dry run counts what a delete then deletes, and changes nothing.
pub fn a_dry_run_changes_nothing_and_counts_the_same(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    for case in setup.deletable() {
        let before = setup.everything();
        let subject = [setup.subject(case)];
        let query = json!({ "identifiers": subject });
        let run = setup.call("delete").arg("--dry-run").with("-q", &query).run();
        if run.status == 3 && !setup.can(Ability::Plan) {
            // A vendor that deletes by jobs of its own has no dry run, and it is refused.
            let result = run.one("REQUEST_RESULT", "request");
            assert_eq!(result["status"]["request_status"], "FAILED", "{run}");
            holds(setup, &before, "after a refused dry run");
            continue;
        }
        let dry = [run.done().one("REQUEST_RESULT", "request")];
        assert_eq!(*told(&dry, "dry_run"), json!(true), "a dry run says that it is one");
        holds(setup, &before, "after a dry run");
        let wet = setup.delete(&subject, &[]);
        assert_eq!(told(&dry, "deleted"), told(&wet, "deleted"), "{}: counts", case.store);
        assert!(told(&wet, "dry_run").is_null(), "a delete says that it is a dry run");
    }
}

/// `verify` counts what is there: all before a delete, with the status 3, and nothing after it.
pub fn verify_counts_what_is_there_before_a_delete_and_nothing_after(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    for case in setup.deletable() {
        let query = json!({ "identifiers": [setup.subject(case)] });
        let verify = || setup.call("verify").with("-q", &query).run();
        let before = verify().status(3).one("VERIFY", "verify");
        let count = setup.matching(case, &case.property, &case.value).len();
        assert_eq!(before["remaining"], json!(count), "{}: before", case.store);
        setup.settled(setup.delete(&[setup.subject(case)], &[]), "COMPLETE");
        let run = verify();
        let after = run.one("VERIFY", "verify");
        assert_eq!(after["remaining"], json!(0), "{}: after", case.store);
        // Records that only resemble the subject are not erased unasked, and are not green.
        let stores = after["stores"].as_array().expect("a list");
        let near = stores.iter().any(|store| store["near"].as_u64().is_some_and(|n| n > 0));
        let unknown = after["unverifiable"] != json!(0);
        run.status(if near || unknown { 3 } else { 0 });
    }
}

/// Values that resemble a subject's, and texts that would change a statement, delete nothing.
pub fn a_delete_of_nobody_deletes_nothing(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    let before = setup.everything();
    for case in setup.deletable() {
        let there: Vec<String> = before
            .get(&case.store)
            .into_iter()
            .flatten()
            .filter_map(|record| record.text(&case.property))
            .collect();
        let mut values = near(case);
        values.extend(injections(&case.property));
        values.retain(|value| !there.contains(value));
        let identifiers: Vec<Value> =
            values.iter().map(|value| setup.identifier(case, &case.property, value)).collect();
        // Each alone, as one that fails must not hide behind others.
        for identifier in identifiers {
            let results = setup.delete(&[identifier], &[]);
            let deleted = told(&results, "deleted");
            assert!(deleted.is_null() || *deleted == json!(0), "{}: {deleted}", case.store);
            setup.settled(results, "COMPLETE");
        }
        if let Some((property, value)) = &case.number {
            for odd in [format!("{value}x"), format!("{value} OR 1=1"), "0x".to_owned()] {
                setup.delete(&[setup.identifier(case, property, &odd)], &[]);
            }
        }
    }
    holds(setup, &before, "after deletes of nobody");
}

/// A store or property that is not there fails alone; nothing else is touched.
pub fn a_delete_that_fails_changes_nothing(setup: &mut Setup) {
    if !setup.can(Ability::Delete) {
        return;
    }
    let before = setup.everything();
    for case in &setup.cases {
        let mut store = setup.subject(case);
        store["schema_name"] = json!(nowhere().name);
        let mut property = setup.subject(case);
        property["identifier"] = json!(NO_PROPERTY);
        for identifier in [store, property] {
            let result = &setup.delete(&[identifier], &[])[0];
            assert_eq!(result["status"]["request_status"], "FAILED", "{result}");
        }
        if case.refused {
            let result = &setup.delete(&[setup.subject(case)], &[])[0];
            assert_eq!(result["status"]["request_status"], "FAILED", "{result}");
            assert!(result["handle"]["data"]["error"].is_string(), "{result}: and says why");
        }
    }
    holds(setup, &before, "after deletes that failed");
}

/// A configuration that is read-only refuses to delete and to write, and still reads.
pub fn a_read_only_configuration_refuses_to_delete_and_to_write(setup: &mut Setup) {
    let Some(config) = &setup.read_only else { return };
    let before = setup.everything();
    let query = json!({ "identifiers": [setup.subject(setup.first())] });
    let run = setup.call_with("delete", config).with("-q", &query).run();
    if run.status == 0 {
        let result = run.one("REQUEST_RESULT", "request");
        assert_eq!(result["status"]["request_status"], "FAILED", "{run}");
    } else {
        run.status(1).silent();
    }
    setup.call_with("write", config).input("").run().status(1).silent();
    setup.call_with("read", config).run().done();
    holds(setup, &before, "after a refused delete");
}

/// The configuration with a key for plans, where the form asks for one.
fn keyed(setup: &Setup) -> Value {
    let mut config = setup.config.clone();
    if setup.spec()["spec"]["properties"].get("evidence_key").is_some() {
        config["evidence_key"] = json!(KEY);
    }
    config
}

/// Whether a plan tells of records that only resemble the subject's: they are not erased unasked,
/// and are not green.
fn is_near(plan: &Value) -> bool {
    let steps = plan["steps"].as_array().expect("a plan has steps");
    steps.iter().any(|step| step["action"] == "near")
}

fn hash(setup: &Setup, identifiers: &[Value]) -> String {
    let query = json!({ "identifiers": identifiers });
    let run = setup.call("plan").with("-q", &query).run();
    assert!(matches!(run.status, 0 | 3), "{run}: a plan is printed");
    let plan = run.one("PLAN", "plan");
    plan["hash"].as_str().filter(|hash| !hash.is_empty()).expect("a plan has a hash").to_owned()
}

/// A plan counts what a delete then deletes, changes nothing, and has the same hash until
/// something changes.
pub fn a_plan_has_the_same_hash_until_something_changes(setup: &mut Setup) {
    if !setup.can(Ability::Plan) {
        return;
    }
    setup.secrets.push(KEY.to_owned());
    setup.config = keyed(setup);
    for case in setup.deletable() {
        let before = setup.everything();
        let subject = [setup.subject(case)];
        let first = hash(setup, &subject);
        assert_eq!(first, hash(setup, &subject), "{}: nothing changed", case.store);
        holds(setup, &before, "after a plan");
        let others = before.get(&case.store).into_iter().flatten();
        let other = others.filter_map(|one| one.text(&case.property)).find(|v| *v != case.value);
        if let Some(other) = other {
            let other = [setup.identifier(case, &case.property, &other)];
            assert_ne!(first, hash(setup, &other), "{}: another subject", case.store);
        }
        let query = json!({ "identifiers": subject });
        let run = setup.call("plan").with("-q", &query).run();
        let plan = run.one("PLAN", "plan");
        run.status(if is_near(&plan) { 3 } else { 0 });
        let planned: u64 = plan["steps"]
            .as_array()
            .expect("a plan has steps")
            .iter()
            .filter(|step| step["action"] == "delete")
            .filter_map(|step| step["rows"].as_u64())
            .sum();
        let results = setup.delete(&subject, &[]);
        assert_eq!(*told(&results, "deleted"), json!(planned), "{}: as planned", case.store);
        assert_ne!(first, hash(setup, &subject), "{}: the records are gone", case.store);
    }
}

/// A delete of an approved plan is done as long as the plan is still the same; if it is another,
/// nothing is done and the status is 1.
pub fn an_approved_plan_is_carried_out_and_another_is_refused(setup: &mut Setup) {
    if !setup.can(Ability::Plan) {
        return;
    }
    for case in setup.deletable() {
        let before = setup.everything();
        let subject = [setup.subject(case)];
        let query = json!({ "identifiers": subject });
        let approved = hash(setup, &subject);
        let near = is_near(&setup.call("plan").with("-q", &query).run().one("PLAN", "plan"));
        for wrong in ["0".repeat(64), approved.replacen(|c: char| c.is_alphanumeric(), "!", 1)] {
            let call = setup.call("delete").arg("--plan").arg(&wrong).with("-q", &query);
            let run = call.run();
            assert_ne!(run.status, 0, "{run}: a plan that nobody made was carried out");
            holds(setup, &before, "after a refused plan");
        }
        let call = setup.call("delete").arg("--plan").arg(&approved).with("-q", &query);
        let run = call.run().status(if near { 3 } else { 0 });
        for result in run.only("REQUEST_RESULT", "request") {
            assert_eq!(result["status"]["request_status"], "COMPLETE", "{run}");
        }
        holds(setup, &without(&before, case), "after an approved plan");
        // The same plan a second time is another: the records it deletes are gone.
        let call = setup.call("delete").arg("--plan").arg(&approved).with("-q", &query);
        call.run().status(1);
    }
}
