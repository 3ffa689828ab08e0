//! What the connector's README promises, through its binary, against Intercom's API on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod vendor;

use std::io::Write;
use std::process::{Command, Output};

use serde_json::{Value, json};

use vendor::{TOKEN, Vendor, contact, contact_id, conversation, event};

struct Run {
    status: i32,
    messages: Vec<Value>,
    log: String,
}

fn run(command: &str, config: &Value, more: &[(&str, &Value)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &Value| {
        let path = folder.path().join(name.trim_matches('-'));
        std::fs::File::create(&path).unwrap().write_all(content.to_string().as_bytes()).unwrap();
        path
    };
    let mut process = Command::new(env!("CARGO_BIN_EXE_connector-intercom"));
    process.arg(command).arg("-c").arg(file("config", config)).arg("--verbose");
    for (flag, content) in more {
        process.arg(flag).arg(file(flag, content));
    }
    let Output { status, stdout, stderr } = process.output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    assert!(!log.contains(TOKEN) && !log.contains("@example.com"), "{log}");
    let stdout = String::from_utf8(stdout).unwrap();
    let messages = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Run { status: status.code().unwrap(), messages, log }
}

impl Run {
    fn records(&self, store: &str) -> Vec<&Value> {
        let records = self.messages.iter().filter(|m| m["record"]["schema_name"] == store);
        records.map(|message| &message["record"]["data"]).collect()
    }
}

fn asked(store: &str, property: &str, value: &str) -> Value {
    json!({"schema_name": store, "schema_group": "acme", "identifier": property, "identifier_query": value})
}

fn delete(vendor: &Vendor, identifiers: &[Value]) -> (Run, Vec<Value>) {
    let run = run("delete", &vendor.config(), &[("-q", &json!({ "identifiers": identifiers }))]);
    let results = run.messages.iter().map(|message| message["request"].clone()).collect();
    (run, results)
}

fn run_query(vendor: &Vendor, identifier: &Value) -> Run {
    let query = json!({ "identifiers": [identifier] });
    let asked = run("query", &vendor.config(), &[("-q", &query)]);
    let handles: Vec<_> = asked.messages.iter().map(|m| m["request"]["handle"].clone()).collect();
    run("request-results", &vendor.config(), &[("-r", &json!({ "handles": handles }))])
}

fn schemas(stores: &[&str]) -> Value {
    let entries: Vec<Value> =
        stores.iter().map(|name| json!({"name": name, "group": "acme"})).collect();
    json!({ "schemas": entries })
}

#[test]
fn the_stores_and_properties_of_monoids_connector_are_all_there() {
    let vendor = Vendor::start(1);
    let run = run("schema", &vendor.config(), &[]);
    let schemas = run.messages[0]["schema_msg"]["schemas"].as_array().unwrap().clone();
    let count = |name: &str| {
        let schema = schemas.iter().find(|s| s["name"] == name && s["group"] == "acme").unwrap();
        schema["json_schema"]["properties"].as_object().unwrap().len()
    };
    assert!(count("Contact") >= 44 && count("Conversation") >= 24 && count("Event") >= 6);
    assert!(run.messages[0].to_string().len() < 65_534, "a Monoid host reads no longer line");
}

#[test]
fn everything_is_read_once_while_a_tenth_of_all_requests_fails() {
    let vendor = Vendor::start(60);
    vendor.change(|state| {
        state.page = 7;
        state.trouble = 10;
    });
    let run = run("read", &vendor.config(), &[]);
    assert_eq!(run.status, 0, "{}", run.log);
    let counts = ["Contact", "Event", "Conversation", "Ticket", "Company", "Tag", "Data Attribute"]
        .map(|store| run.records(store).len());
    assert_eq!(counts, [60, 46, 15, 15, 9, 1, 1]);
    let mut ids: Vec<_> = run.records("Contact").iter().map(|c| c["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn a_scroll_is_begun_again_after_a_failure_and_gives_every_record_once() {
    for calls in 0..20 {
        let vendor = Vendor::start(60);
        vendor.change(|state| {
            state.page = 3;
            state.trouble = 5;
            state.calls = calls;
        });
        let run = run("read", &vendor.config(), &[("-s", &schemas(&["Company"]))]);
        assert_eq!(run.status, 0, "{calls}: {}", run.log);
        let mut ids: Vec<_> = run.records("Company").iter().map(|c| c["id"].to_string()).collect();
        assert_eq!(ids.len(), 9, "{calls}: {}", run.log);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 9, "{calls}");
    }
}

#[test]
fn a_conversation_has_its_parts_and_the_ids_of_its_contact() {
    let vendor = Vendor::start(5);
    let run = run("read", &vendor.config(), &[("-s", &schemas(&["Conversation"]))]);
    let conversations = run.records("Conversation");
    let four = conversations.iter().find(|c| c["id"] == "1004").unwrap();
    assert_eq!(four["conversation_parts"]["conversation_parts"][0]["body"], "part of 4");
    assert_eq!(four["contact_id"], contact_id(4));
    assert_eq!(four["user_id"], "ext-4");
}

#[test]
fn all_contacts_that_match_are_deleted_and_complete_means_that_they_are_gone() {
    let vendor = Vendor::start(10);
    vendor.change(|state| {
        state.page = 1;
        state.cascades = true;
        for n in 20..23 {
            let mut twin = contact(n);
            twin["email"] = json!("person3@example.com");
            state.add("contacts", twin);
        }
    });
    let (run, results) = delete(&vendor, &[asked("Contact", "email", "person3@example.com")]);
    assert_eq!(results[0]["status"]["request_status"], "COMPLETE", "{}", run.log);
    assert_eq!(results[0]["handle"]["data"]["deleted"], 4);
    assert_eq!(results[0]["handle"]["data"]["remaining"], 0);
    let calls = vendor.server.calls();
    let deletes = calls.iter().filter(|call| call.method == "DELETE").count();
    assert_eq!(deletes, 4);
    assert!(calls.iter().all(|call| !call.path.ends_with("/archive")), "deleted, not archived");
    // The vendor showed and found them for a while; nobody was told COMPLETE before that was over.
    let found = run_query(&vendor, &asked("Contact", "email", "person3@example.com"));
    assert!(found.records("Contact").is_empty());
    let last = calls.iter().rposition(|call| call.method == "DELETE").unwrap();
    let looks = calls[last..].iter().filter(|call| call.path == "/contacts/search").count();
    assert!(looks >= 3, "it looked {looks} times");
}

#[test]
fn what_is_not_gone_in_the_end_is_failed_with_its_number() {
    let vendor = Vendor::start(3);
    // An API that says it is deleted, and shows it for ever.
    vendor.change(|state| {
        let path = format!("/contacts/{}", contact_id(1));
        state.instead.insert(path, (200, "application/json", contact(1).to_string()));
    });
    let (_, results) = delete(&vendor, &[asked("Contact", "id", &contact_id(1))]);
    assert_eq!(results[0]["status"]["request_status"], "FAILED");
    assert_eq!(results[0]["handle"]["data"]["remaining"], 1);
}

#[test]
fn a_person_whom_intercom_does_not_know_is_no_failure() {
    let vendor = Vendor::start(3);
    let nobody = ["Contact", "Event"].map(|store| asked(store, "email", "nobody@example.org"));
    let (run, results) = delete(&vendor, &nobody);
    assert_eq!(run.status, 0);
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result["status"]["request_status"], "COMPLETE");
        assert_eq!(result["handle"]["data"]["deleted"], 0);
    }
}

#[test]
fn a_conversation_that_others_take_part_in_is_left_unless_it_is_named() {
    let vendor = Vendor::start(9);
    vendor.change(|state| state.add("conversations", conversation(50, &[4, 5])));
    let (_, results) = delete(&vendor, &[asked("Conversation", "contact_id", &contact_id(4))]);
    assert_eq!(results[0]["status"]["request_status"], "FAILED");
    let why = results[0]["handle"]["data"]["error"].as_str().unwrap();
    assert!(why.contains("1 were deleted, and 1 were left because other people"), "{why}");
    let (_, results) = delete(&vendor, &[asked("Conversation", "id", "1050")]);
    assert_eq!(results[0]["status"]["request_status"], "COMPLETE");
}

#[test]
fn events_go_with_their_contact_and_are_never_said_to_be_gone_before() {
    let vendor = Vendor::start(9);
    vendor.change(|state| {
        state.cascades = true;
        state.add("events", event(5, 1));
        state.add("events", event(5, 2));
    });
    let by_email = |store: &str| asked(store, "email", "person5@example.com");
    let (_, results) = delete(&vendor, &[by_email("Event")]);
    assert_eq!(results[0]["status"]["request_status"], "FAILED");
    assert!(results[0]["handle"]["data"]["error"].as_str().unwrap().contains("3 are there"));
    let (_, results) = delete(&vendor, &[by_email("Contact"), by_email("Event")]);
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result["status"]["request_status"], "COMPLETE");
    }
}

#[test]
fn what_is_found_of_a_person_is_on_all_pages_and_spelled_as_asked() {
    let vendor = Vendor::start(20);
    vendor.change(|state| {
        state.page = 2;
        for which in 1..8 {
            state.add("events", event(5, which));
        }
        let mut other = contact(30);
        other["email"] = json!("Person5@Example.com");
        state.add("contacts", other);
    });
    let query = json!({"identifiers": [
        asked("Contact", "email", "person5@example.com"), asked("Event", "user_id", "ext-5"),
    ]});
    let asked = run("query", &vendor.config(), &[("-q", &query)]);
    let handles: Vec<_> = asked.messages.iter().map(|m| m["request"]["handle"].clone()).collect();
    let found = run("request-results", &vendor.config(), &[("-r", &json!({ "handles": handles }))]);
    assert_eq!(found.records("Contact").len(), 1);
    assert_eq!(found.records("Event").len(), 8);
    assert!(found.log.contains("1 contacts"), "the other spelling is said: {}", found.log);
}

#[test]
fn bad_answers_are_one_line_in_validate() {
    let vendor = Vendor::start(1);
    for (path, status, kind, body, words) in [
        ("/me", 200, "text/html", "<html>log in</html>", None),
        (
            "/contacts",
            403,
            "application/json",
            r#"{"errors":[{"code":"api_plan_restricted"}]}"#,
            Some("api_plan_restricted"),
        ),
        (
            "/contacts",
            403,
            "application/json",
            r#"{"errors":[{"code":"for person1@example.com"}]}"#,
            Some("GET contacts is not allowed (403)"),
        ),
        (
            "/me",
            401,
            "application/json",
            r#"{"errors":[{"code":"token_revoked"}]}"#,
            Some("does not accept `access_token` (401: token_revoked)"),
        ),
    ] {
        vendor.change(|state| {
            state.instead.clear();
            state.instead.insert(path.to_owned(), (status, kind, body.to_owned()));
        });
        let run = run("validate", &vendor.config(), &[]);
        let message = &run.messages[0]["validate_msg"];
        let Some(words) = words else { continue };
        assert_eq!(message["status"], "FAILURE", "{path}: {body}");
        assert!(message["message"].as_str().unwrap().contains(words), "{message}");
    }
}

#[test]
fn a_shape_that_was_not_promised_fails_one_store_by_name_and_the_rest_goes_on() {
    let vendor = Vendor::start(8);
    vendor.change(|state| {
        let html = "<html>down for maintenance</html>".to_owned();
        state.instead.insert("/tags".to_owned(), (200, "text/html", html));
        let other = r#"{"data":{"name":"s3cret"}}"#.to_owned();
        state.instead.insert("/data_attributes".to_owned(), (200, "application/json", other));
    });
    let run = run("read", &vendor.config(), &[]);
    assert_eq!(run.status, 3);
    assert_eq!(run.records("Contact").len(), 8);
    assert!(
        run.log.contains("acme/Tag: ") && run.log.contains("HTML instead of JSON"),
        "{}",
        run.log
    );
    assert!(
        run.log.contains("acme/Data Attribute: ") && run.log.contains("`/data` must be a list")
    );
    assert!(!run.log.contains("s3cret"));
}
