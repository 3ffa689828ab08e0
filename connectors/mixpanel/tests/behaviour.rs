//! What the connector's README promises, through its binary, against Mixpanel's APIs on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod vendor;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use vendor::{API_SECRET, OAUTH, Vendor, event, profile};

struct Run {
    status: i32,
    messages: Vec<Value>,
    log: String,
    folder: tempfile::TempDir,
}

fn run(command: &str, config: &Value, more: &[(&str, &Value)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &Value| {
        let path = folder.path().join(name.trim_matches('-'));
        std::fs::File::create(&path).unwrap().write_all(content.to_string().as_bytes()).unwrap();
        path
    };
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_connector-mixpanel"));
    process.arg(command).arg("-c").arg(file("config", config)).arg("--verbose");
    process.arg("-p").arg(file("persist", &json!({ "temp_store": store })));
    for (flag, content) in more {
        process.arg(flag).arg(file(flag, content));
    }
    let Output { status, stdout, stderr } = process.output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    for hidden in [OAUTH, API_SECRET, "pw_5ecret", "@example.com", "signature"] {
        assert!(!log.contains(hidden), "{log}");
    }
    let stdout = String::from_utf8(stdout).unwrap();
    let messages = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Run { status: status.code().unwrap(), messages, log, folder }
}

fn asked(store: &str, property: &str, value: &str) -> Value {
    json!({"schema_name": store, "schema_group": "acme", "identifier": property, "identifier_query": value})
}

/// The results of `query` or `delete`.
fn request(vendor: &Vendor, command: &str, identifiers: &[Value]) -> Vec<Value> {
    let run = run(command, &vendor.config(), &[("-q", &json!({ "identifiers": identifiers }))]);
    assert_eq!(run.status, 0, "{}", run.log);
    run.messages.iter().map(|message| message["request"].clone()).collect()
}

/// How the requests of some results stand, asked for by a new process.
fn standing(vendor: &Vendor, results: &[Value]) -> (Vec<String>, String) {
    let handles: Vec<&Value> = results.iter().map(|result| &result["handle"]).collect();
    let run = run("request-status", &vendor.config(), &[("-r", &json!({ "handles": handles }))]);
    let standing =
        |message: &Value| message["request_status"]["request_status"].as_str().unwrap().to_owned();
    (run.messages.iter().map(standing).collect(), run.log)
}

fn files_of(archive: &Path) -> Vec<(String, String)> {
    let gzip = flate2::read::GzDecoder::new(std::fs::File::open(archive).unwrap());
    let mut tar = tar::Archive::new(gzip);
    let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        Read::read_to_string(&mut entry, &mut text).unwrap();
        (name, text)
    };
    tar.entries().unwrap().map(entry).collect()
}

#[test]
fn a_retrieval_is_found_again_by_its_handle_and_becomes_one_archive() {
    for locked in [false, true] {
        let vendor = Vendor::start(3);
        vendor.state.lock().unwrap().locked = locked;
        let results = request(&vendor, "query", &[asked("User Activity", "user_id", "visitor-1")]);
        assert_eq!(results[0]["status"]["request_status"], "PROGRESS");
        for expected in ["PROGRESS", "PROGRESS", "COMPLETE"] {
            assert_eq!(standing(&vendor, &results).0, [expected]);
        }
        let handles = json!({ "handles": [results[0]["handle"]] });
        let run = run("request-results", &vendor.config(), &[("-r", &handles)]);
        assert_eq!(run.status, 0, "{}", run.log);
        let record = &run.messages[0]["record"];
        assert_eq!(record["record_type"], "FILE");
        let name = record["file"].as_str().unwrap();
        let files = files_of(&run.folder.path().join("store").join(name));
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..2], ["events.json", "sub/people.json"]);
        assert!(!names[2].contains(".."), "nothing leaves the folder: {}", names[2]);
        assert_eq!(files[0].1, "task0");
        let left = std::fs::read_dir(run.folder.path().join("store")).unwrap().count();
        assert_eq!(left, 1, "no other file stays");
    }
}

#[test]
fn a_deletion_is_complete_only_when_the_vendor_is_done_and_a_look_agrees() {
    let vendor = Vendor::start(9);
    let identifiers = [
        asked("User", "$email", "person4@example.com"),
        asked("User Activity", "user_id", "visitor-5"),
    ];
    let results = request(&vendor, "delete", &identifiers);
    for result in &results {
        assert_eq!(result["status"]["request_status"], "PROGRESS");
    }
    assert_eq!(vendor.state.lock().unwrap().profiles.len(), 9);
    for expected in ["PROGRESS", "PROGRESS", "COMPLETE"] {
        assert_eq!(standing(&vendor, &results).0, [expected, expected]);
    }
    let state = vendor.state.lock().unwrap();
    assert_eq!((state.profiles.len(), state.events.len()), (8, 8));
}

#[test]
fn a_deletion_that_left_something_is_failed_with_its_number() {
    let vendor = Vendor::start(9);
    vendor.state.lock().unwrap().lies = true;
    let identifiers =
        [asked("User", "$distinct_id", "person-4"), asked("User Activity", "user_id", "visitor-5")];
    let results = request(&vendor, "delete", &identifiers);
    standing(&vendor, &results);
    standing(&vendor, &results);
    let (standing, log) = standing(&vendor, &results);
    assert_eq!(standing, ["FAILED", "FAILED"]);
    assert!(
        log.contains("the vendor says the deletion is done, but 1 records are still there"),
        "{log}"
    );
}

#[test]
fn what_a_job_ends_as_is_said() {
    for (end, words) in [
        ("FAILURE", "job failed"),
        ("REVOKED", "cancelled"),
        ("NOT_FOUND", "does not know the job"),
        ("UNKNOWN", "does not say"),
    ] {
        let vendor = Vendor::start(1);
        vendor.state.lock().unwrap().end = Some(end);
        let results = request(&vendor, "query", &[asked("User Activity", "user_id", "visitor-0")]);
        standing(&vendor, &results);
        standing(&vendor, &results);
        let (standing, log) = standing(&vendor, &results);
        assert_eq!(standing, ["FAILED"]);
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn a_job_takes_two_thousand_ids_and_more_ids_take_more_jobs() {
    let vendor = Vendor::start(0);
    {
        let mut state = vendor.state.lock().unwrap();
        for n in 0..4_100 {
            let mut twin = profile(n);
            twin["$properties"]["$email"] = json!("everybody@example.com");
            state.profiles.push(twin);
        }
        state.page(1_000);
    }
    let results = request(&vendor, "delete", &[asked("User", "$email", "everybody@example.com")]);
    let sizes: Vec<usize> =
        vendor.state.lock().unwrap().jobs.iter().map(|job| job.ids.len()).collect();
    assert_eq!(sizes, [2_000, 2_000, 100]);
    assert_eq!(results[0]["handle"]["data"]["job"]["tasks"].as_array().unwrap().len(), 3);
}

#[test]
fn nobodys_profile_needs_no_job_and_is_no_failure() {
    let vendor = Vendor::start(3);
    let results = request(&vendor, "delete", &[asked("User", "$email", "nobody@example.org")]);
    assert_eq!(standing(&vendor, &results).0, ["COMPLETE"]);
    assert!(vendor.state.lock().unwrap().jobs.is_empty());
}

#[test]
fn events_are_read_once_and_from_a_state_those_that_were_taken_in_since() {
    let vendor = Vendor::start(600);
    let stores = json!({"schemas": [{"name": "User Activity", "group": "acme"}]});
    let first = run("read", &vendor.config(), &[("-s", &stores)]);
    let records = |run: &Run| run.messages.iter().filter(|m| m["type"] == "RECORD").count();
    assert_eq!(records(&first), 600);
    let state = first.messages.iter().rfind(|m| m["type"] == "STATE").unwrap();
    let again = run("read", &vendor.config(), &[("-s", &stores), ("--state", state)]);
    assert_eq!(records(&again), 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // One that happened now, and one that took two days to arrive.
    for late in [0, 2 * 86_400] {
        let mut event = event(0);
        event["properties"]["time"] = json!(now.as_secs() - late);
        event["properties"]["mp_processing_time_ms"] = json!(now.as_millis() as u64);
        vendor.state.lock().unwrap().events.push(event);
    }
    let new = run("read", &vendor.config(), &[("-s", &stores), ("--state", state)]);
    assert_eq!(records(&new), 2);
    let data = &first.messages[0]["record"]["data"];
    assert_eq!(data["user_id"], "visitor-0");
    assert_eq!(data["time"], 1_640_995_200);
    assert_eq!(data["properties"]["price"], 1.5);
}

#[test]
fn without_a_service_account_there_are_gdpr_requests_and_validate_says_what_to_fill_in() {
    let vendor = Vendor::start(3);
    let mut config = vendor.config();
    config["service_account_password"] = json!("");
    let schema = run("schema", &config, &[]);
    let schemas = schema.messages[0]["schema_msg"]["schemas"].as_array().unwrap();
    assert_eq!(schemas.len(), 1);
    assert_eq!(schemas[0]["name"], "User Activity");
    let validate = run("validate", &config, &[]);
    assert_eq!(validate.status, 1);
    assert!(validate.messages[0].to_string().contains("`service_account_password`"));
}

#[test]
fn bad_answers_are_one_line() {
    let vendor = Vendor::start(1);
    let schemas = "/api/app/projects/123/schemas";
    let none = "/api/app/data-retrievals/v3.0/none/";
    for (path, status, kind, body, words) in [
        (schemas, 200, "text/html", "<html>", "HTML instead of JSON"),
        (schemas, 200, "application/json", r#"{"results":{}}"#, "`/results` must be a list"),
        (schemas, 403, "application/json", r#"{"error":"no such project"}"#, "no such project"),
        (
            none,
            401,
            "application/json",
            r#"{"error":"bad"}"#,
            "does not accept `oauth_secret` (401)",
        ),
    ] {
        vendor.state.lock().unwrap().instead =
            [(path.to_owned(), (status, kind, body.to_owned()))].into();
        let run = run("validate", &vendor.config(), &[]);
        let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words), "{message}");
    }
}
