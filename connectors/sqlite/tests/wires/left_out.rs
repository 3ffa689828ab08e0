//! What Airbyte's clients cannot do without, and what they get wrong where they are given it: each
//! was found by leaving it out of a source, or by putting it in.

use serde_json::{Value, json};

use crate::airbyte::{bench, many, of_type, read, states};
use crate::program::{Bench, Ended};

fn streams(bench: &Bench) -> Vec<Value> {
    let discovered = bench.run("discover --config config.json");
    discovered.lines[0]["catalog"]["streams"].as_array().unwrap().clone()
}

fn statuses(ended: &Ended) -> Vec<(&str, &str)> {
    let traces = of_type(ended, "TRACE").map(|line| &line["trace"]);
    let statuses = traces.filter(|trace| trace["type"] == "STREAM_STATUS");
    statuses
        .map(|trace| &trace["stream_status"])
        .map(|status| {
            let name = status["stream_descriptor"]["name"].as_str().unwrap();
            (name, status["status"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn without_a_schema_or_a_sync_mode_the_whole_catalog_is_refused() {
    for stream in streams(&bench()) {
        assert!(stream["json_schema"].is_object(), "{stream}");
        assert!(!stream["supported_sync_modes"].as_array().unwrap().is_empty(), "{stream}");
    }
}

#[test]
fn a_schema_without_properties_is_a_key_error() {
    let bench = bench();
    bench.sql("CREATE VIEW without_rows AS SELECT NULL AS n WHERE 0");
    assert!(streams(&bench).iter().all(|stream| stream["json_schema"]["properties"].is_object()));
}

#[test]
fn a_record_without_a_whole_time_or_its_data_is_dropped_and_the_state_goes_on() {
    let ended = read(&bench(), "incremental", "[]");
    assert!(of_type(&ended, "RECORD").count() > 0);
    for line in of_type(&ended, "RECORD") {
        assert!(line["record"]["emitted_at"].is_u64() && line["record"]["data"].is_object());
    }
}

#[test]
fn a_state_without_its_type_fails_the_read_and_one_of_all_streams_is_never_kept() {
    for mode in ["incremental", "full_refresh"] {
        let ended = read(&bench(), mode, "[]");
        for line in of_type(&ended, "STATE") {
            assert_eq!(line["state"]["type"], "STREAM");
            assert!(line["state"]["stream"]["stream_descriptor"]["name"].is_string());
            assert!(line["state"]["stream"]["stream_state"].is_object(), "never null: a reset");
        }
    }
}

#[test]
fn every_stream_has_a_status_and_a_state_though_no_client_misses_them() {
    let bench = bench();
    let ended = read(&bench, "incremental", "[]");
    for stream in streams(&bench) {
        let name = stream["name"].as_str().unwrap();
        let said: Vec<&str> = statuses(&ended)
            .into_iter()
            .filter(|(of, _)| *of == name)
            .map(|(_, said)| said)
            .collect();
        assert_eq!(said, ["STARTED", "RUNNING", "COMPLETE"], "{name}");
        let mut states = of_type(&ended, "STATE").map(|line| &line["state"]);
        assert!(states.any(|state| state["stream"]["stream_descriptor"]["name"] == name
            && state["sourceStats"]["recordCount"].is_f64()));
    }
}

#[test]
fn a_key_beside_a_default_cursor_leaves_only_the_new_rows() {
    for stream in streams(&bench()) {
        let has = |member: &str| stream.get(member).is_some_and(|value| !value.is_null());
        assert!(!(has("source_defined_primary_key") && has("default_cursor_field")), "{stream}");
        let resumes =
            stream["supported_sync_modes"].as_array().unwrap().contains(&json!("incremental"));
        // And with neither, an incremental read of it is one into a table without an identity.
        let either = has("source_defined_primary_key") || has("default_cursor_field");
        assert!(!resumes || either, "{stream}");
    }
}

#[test]
fn a_key_is_of_paths_of_one_name() {
    for stream in streams(&bench()) {
        for path in stream["source_defined_primary_key"].as_array().into_iter().flatten() {
            assert_eq!(path.as_array().unwrap().len(), 1, "{stream}");
        }
    }
}

#[test]
fn an_error_with_status_0_counts_as_success() {
    let bench = bench();
    bench.file(
        "catalog.json",
        &json!({"streams": [{"stream": {"name": "gone", "json_schema": {}},
        "sync_mode": "full_refresh", "destination_sync_mode": "append"}]})
        .to_string(),
    );
    let ended = bench.run("read --config config.json --catalog catalog.json");
    assert_eq!(ended.status, Some(1));
    assert!(of_type(&ended, "TRACE").any(|line| line["trace"]["type"] == "ERROR"));
    assert_eq!(statuses(&ended), [("gone", "INCOMPLETE")]);
    assert_eq!(of_type(&ended, "STATE").count(), 0, "no state claims that it was read");
}

#[test]
fn a_source_that_dies_of_a_signal_counts_as_success() {
    // So that SIGTERM has to end in a status: `sigterm_is_status_143` holds it to that.
    let bench = bench();
    many(&bench, 200_000);
    crate::airbyte::catalog(&bench, "incremental");
    let arguments = "read --config config.json --catalog catalog.json";
    let mut child = crate::program::started(&mut bench.command(arguments));
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&id).status().unwrap().success());
    std::io::Read::read_to_end(&mut stdout, &mut Vec::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "a status, and no death");
}

#[test]
fn a_first_state_is_an_empty_list_and_a_later_one_has_nulls_and_members_twice() {
    let bench = bench();
    let first = read(&bench, "incremental", "[]");
    assert_eq!(first.status, Some(0));
    let handed_back: Vec<String> = of_type(&first, "STATE")
        .map(|line| {
            let state = line["state"].to_string();
            format!(
                "{},\"global_\":null,\"data\":null,\"destinationStats\":null,\"global_\":null}}",
                &state[..state.len() - 1]
            )
        })
        .collect();
    let again = read(&bench, "incremental", &format!("[{}]", handed_back.join(",")));
    assert_eq!(again.status, Some(0), "{}", again.text);
    let orders = of_type(&again, "RECORD").filter(|line| line["record"]["stream"] == "orders");
    assert_eq!(orders.count(), 0);
    assert_eq!(states(&read(&bench, "incremental", "{}")), states(&first));
}

#[test]
fn an_incremental_read_is_asked_of_streams_that_have_none_and_without_a_cursor() {
    let bench = bench();
    let visits = streams(&bench).into_iter().find(|stream| stream["name"] == "visits").unwrap();
    let ended = read(&bench, "incremental", "[]");
    assert_eq!(ended.status, Some(0), "{visits}");
    assert_eq!(
        of_type(&ended, "RECORD").filter(|line| line["record"]["stream"] == "visits").count(),
        1
    );
}

#[test]
fn a_record_of_a_stream_that_was_not_asked_for_fails_the_read() {
    let bench = bench();
    let orders = streams(&bench).into_iter().find(|stream| stream["name"] == "orders").unwrap();
    let chosen =
        json!({"stream": orders, "sync_mode": "incremental", "destination_sync_mode": "append"});
    bench.file("catalog.json", &json!({"streams": [chosen]}).to_string());
    let ended = bench.run("read --config config.json --catalog catalog.json");
    assert!(of_type(&ended, "RECORD").all(|line| line["record"]["stream"] == "orders"));
}

#[test]
fn a_spec_without_its_form_and_a_check_without_its_status_are_no_answers() {
    let bench = bench();
    assert!(bench.run("spec").lines[0]["spec"]["connectionSpecification"].is_object());
    let checked = bench.run("check --config config.json");
    assert_eq!(checked.lines[0]["connectionStatus"]["status"], "SUCCEEDED");
}
