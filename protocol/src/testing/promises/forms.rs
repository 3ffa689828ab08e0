//! Promises about `spec` and `validate`: the form, and configurations good and bad.

use serde_json::{Value, json};

use crate::silo::Ability;
use crate::testing::program::Run;
use crate::testing::rules;
use crate::testing::setup::Setup;
use crate::testing::view::abilities;

/// The variable that has golden files written anew.
const UPDATE: &str = "UPDATE_GOLDEN";

/// `spec` prints one SPEC message.
pub fn spec_is_one_message_with_name_form_and_abilities(setup: &mut Setup) {
    let spec = setup.bare("spec").run().done().one("SPEC", "spec");
    assert!(spec["name"].as_str().is_some_and(|name| !name.is_empty()), "the spec has no name");
    assert!(spec["spec"].is_object(), "the spec has no form");
    for ability in spec["abilities"].as_array().expect("the spec lists abilities") {
        serde_json::from_value::<Ability>(ability.clone()).expect("an ability of the protocol");
    }
}

/// The form is a JSON Schema that every host can draw.
pub fn every_field_of_the_form_can_be_drawn_and_is_explained(setup: &mut Setup) {
    let wrong = rules::form(&setup.spec()["spec"]);
    assert!(wrong.is_empty(), "the form: {}", wrong.join("; "));
}

/// The form and the rest of the spec are what they were: a change is seen, and is made on purpose.
pub fn the_spec_is_the_golden_one(setup: &mut Setup) {
    let spec = setup.spec();
    let path = setup.package.join("tests/golden/spec.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&spec).expect("JSON can be written"));
    if std::env::var_os(UPDATE).is_some_and(|value| value != "0") {
        let folder = path.parent().expect("the path has a folder");
        std::fs::create_dir_all(folder).expect("the folder of golden files can be made");
        std::fs::write(&path, &text).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; {UPDATE}=1 writes it", path.display()));
    let place = golden.lines().zip(text.lines()).position(|(golden, line)| golden != line);
    assert!(
        golden == text,
        "{} differs from what `spec` prints, first in line {}; {UPDATE}=1 writes it anew",
        path.display(),
        place.map_or_else(|| "count".to_owned(), |place| (place + 1).to_string()),
    );
}

/// What the spec says the connector can do is what its stores offer, no more and no less.
pub fn the_spec_claims_the_abilities_that_the_stores_offer(setup: &mut Setup) {
    let told: Vec<String> = crate::testing::view::texts(&setup.spec()["abilities"]);
    let offered: Vec<String> = setup.entries().iter().flat_map(abilities).collect();
    for ability in [Ability::Read, Ability::Query, Ability::Delete, Ability::Plan] {
        let name = ability.to_string();
        assert_eq!(told.contains(&name), offered.contains(&name), "{name}: spec against stores");
    }
    // Writing is the silo's, not a store's: an empty input shows whether it is there.
    let status = setup.call("write").input("").run().status;
    assert_eq!(told.contains(&Ability::Write.to_string()), status == 0, "write: spec against silo");
}

/// A configuration that works is SUCCESS.
pub fn a_good_configuration_is_success(setup: &mut Setup) {
    validated(setup, &setup.config, "the setup's configuration");
}

fn validated(setup: &Setup, config: &Value, what: &str) {
    let run = setup.call_with("validate", config).run();
    let message = run.one("VALIDATE", "validate_msg");
    assert_eq!(message["status"], "SUCCESS", "{what}: {run}");
    run.done();
}

/// A configuration that does not work is FAILURE, with the status 1 and words to act on.
pub fn a_broken_configuration_is_failure_and_says_what_to_correct(setup: &mut Setup) {
    for broken in &setup.broken {
        refused(setup, &broken.config, &broken.word);
    }
}

fn refused(setup: &Setup, config: &Value, word: &str) {
    let run = setup.call_with("validate", config).run().status(1);
    let message = run.one("VALIDATE", "validate_msg");
    assert_eq!(message["status"], "FAILURE", "{run}");
    let text = message["message"].as_str().unwrap_or_default();
    assert!(text.contains(word), "{run}: the message should name {word}: {text}");
    assert!(!text.contains('\n'), "{run}: the message is one line: {text}");
}

/// A field that is missing, null or of another type is FAILURE, and is named.
pub fn a_field_that_is_missing_or_of_another_type_is_named(setup: &mut Setup) {
    let form = setup.spec()["spec"].take();
    let odd = "an0dd-value";
    setup.secrets.push(odd.to_owned());
    for (name, field) in form["properties"].as_object().expect("the form has properties") {
        let mut config = setup.config.clone();
        config[name] = match field["type"].as_str() {
            Some("object") => json!([odd]),
            _ => json!({ odd: odd }),
        };
        refused(setup, &config, &format!("`{name}`"));
    }
    for name in form["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut config = setup.config.clone();
        config[name] = Value::Null;
        refused(setup, &config, &format!("`{name}`"));
        config.as_object_mut().expect("a configuration is an object").remove(name);
        refused(setup, &config, &format!("`{name}`"));
    }
    refused(setup, &json!([]), "object");
}

/// Null and `""` stand for a field that was left alone.
pub fn null_and_empty_text_stand_for_an_absent_field(setup: &mut Setup) {
    let form = setup.spec()["spec"].take();
    let required = form["required"].as_array().cloned().unwrap_or_default();
    for left in [Value::Null, json!("")] {
        let mut config = setup.config.clone();
        for name in form["properties"].as_object().expect("the form has properties").keys() {
            if !required.contains(&json!(name)) && config.get(name).is_none() {
                config[name] = left.clone();
            }
        }
        validated(setup, &config, &format!("fields left alone as {left}"));
    }
}

/// Members that a host adds, or that are of another version, change nothing.
pub fn unknown_members_of_inputs_are_ignored(setup: &mut Setup) {
    let mut config = setup.config.clone();
    config["x_unknown"] = json!({"a": [1, null]});
    validated(setup, &config, "a configuration with a member that is not in the form");
    let plain = setup.everything();
    setup.config = config;
    assert_eq!(setup.everything(), plain, "an unknown member changed what is read");
    let mut schemas = json!({"schemas": setup.entries(), "x_unknown": 1});
    for entry in schemas["schemas"].as_array_mut().expect("a list") {
        entry["x_unknown"] = json!([]);
    }
    setup.call("scan").with("-s", &schemas).run().done();
    if setup.can(Ability::Query) {
        let mut identifier = setup.subject(setup.first());
        identifier["x_unknown"] = json!(null);
        let query = json!({"identifiers": [identifier], "x_unknown": true});
        let mut handles = setup.call("query").with("-q", &query).run().done();
        let mut result = crate::testing::view::results(&handles).remove(0);
        result["handle"]["x_unknown"] = json!(1);
        let requests = json!({"handles": [result["handle"]], "x_unknown": 1});
        handles = setup.call("request-status").with("-r", &requests).run();
        handles.done();
    }
}

/// With a configuration that does not work every command fails, says why, and prints nothing.
pub fn a_broken_configuration_fails_every_command_and_prints_nothing(setup: &mut Setup) {
    for broken in &setup.broken {
        for (command, flag, content) in [
            ("schema", None, Value::Null),
            ("discover", None, Value::Null),
            ("scan", Some("-s"), json!({"schemas": []})),
            ("read", None, Value::Null),
            ("query", Some("-q"), json!({"identifiers": []})),
            ("delete", Some("-q"), json!({"identifiers": []})),
            ("request-results", Some("-r"), json!({"handles": []})),
            ("write", None, Value::Null),
        ] {
            let call = setup.call_with(command, &broken.config);
            let run: Run = match flag {
                Some(flag) => call.with(flag, &content).run(),
                None => call.run(),
            };
            assert!(matches!(run.status, 1 | 2), "{run}: the status should be 1 or 2");
            run.silent().complains_of(&broken.word);
        }
    }
}
