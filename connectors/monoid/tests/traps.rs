//! What Monoid connectors do that they should not, each done by a script on demand, and what
//! becomes of it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use serde_json::{Value, json};

const CONNECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-connector.sh");

/// A silo of three people, and a connector with a trap.
struct Silo {
    folder: tempfile::TempDir,
    trap: &'static str,
}

struct Run {
    status: i32,
    messages: Vec<Value>,
    said: String,
}

impl Silo {
    fn with(trap: &'static str) -> Silo {
        let folder = tempfile::tempdir().unwrap();
        let records = "{\"id\":1,\"email\":\"ada@example.com\",\"note\":\"x\"}\n\
                       {\"id\":2,\"email\":\"ada@example.com\",\"note\":\"y\"}\n\
                       {\"id\":3,\"email\":\"bob@example.com\",\"note\":\"z\"}\n";
        std::fs::write(folder.path().join("people"), records).unwrap();
        Silo { folder, trap }
    }

    fn run(&self, command: &str, flag: &str, content: &Value) -> Run {
        let path = |name: &str| self.folder.path().join(name);
        let own = json!({"file": path("people"), "trap": self.trap, "token": "t0ken-value"});
        let config = json!({"command": ["sh", CONNECTOR], "config": own});
        std::fs::write(path("config"), config.to_string()).unwrap();
        std::fs::write(path("input"), content.to_string()).unwrap();
        std::fs::create_dir_all(path("files")).unwrap();
        std::fs::write(path("persist"), json!({"temp_store": path("files")}).to_string()).unwrap();
        let mut run = Command::new(env!("CARGO_BIN_EXE_connector-monoid"));
        run.arg(command).arg("-c").arg(path("config")).arg("-p").arg(path("persist"));
        if !flag.is_empty() {
            run.arg(flag).arg(path("input"));
        }
        let output = run.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            messages: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn ask(&self, command: &str) -> Run {
        let identifier = json!({"schema_name": "people", "schema_group": "crm",
            "identifier": "email", "identifier_query": "ada@example.com"});
        self.run(command, "-q", &json!({"identifiers": [identifier]}))
    }

    /// Asks after the request that `asked` began.
    fn after(&self, asked: &Run, command: &str) -> Run {
        let handle = asked.messages[0]["request"]["handle"].clone();
        self.run(command, "-r", &json!({"handles": [handle]}))
    }
}

fn standing(run: &Run) -> &str {
    run.messages[0]["request_status"]["request_status"].as_str().unwrap()
}

#[test]
fn a_deletion_is_complete_only_if_nothing_is_left() {
    let silo = Silo::with("");
    let status = silo.after(&silo.ask("delete"), "request-status");
    assert_eq!(standing(&status), "COMPLETE", "{}", status.said);
    let silo = Silo::with("lies");
    let status = silo.after(&silo.ask("delete"), "request-status");
    assert_eq!(standing(&status), "FAILED");
    assert!(status.said.contains("2 records are still there"), "{}", status.said);
}

#[test]
fn a_deletion_that_fails_is_failed_in_the_connectors_words() {
    for (trap, says) in [
        ("delete-fails", "says that its `delete` has failed"),
        ("delete-crashes", "still referenced"),
        ("says-nothing", "answered 0 of 1 identifiers"),
    ] {
        let silo = Silo::with(trap);
        let run = silo.ask("delete");
        let status = &run.messages[0]["request"]["status"]["request_status"];
        assert_eq!((run.status, status), (0, &json!("FAILED")), "{trap}: {}", run.said);
        assert!(run.said.contains(says), "{trap}: {}", run.said);
    }
}

#[test]
fn what_cannot_be_looked_at_is_said_to_be_so() {
    let silo = Silo::with("files");
    let status = silo.after(&silo.ask("delete"), "request-status");
    assert_eq!(standing(&status), "COMPLETE");
    assert!(status.said.contains("cannot be verified"), "{}", status.said);
    assert!(status.said.contains("cannot be counted"), "{}", status.said);
    let silo = Silo::with("late");
    let status = silo.after(&silo.ask("delete"), "request-status");
    assert_eq!(standing(&status), "PROGRESS");
}

#[test]
fn files_are_handed_over_and_only_the_connectors_own() {
    let silo = Silo::with("files");
    let found = silo.after(&silo.ask("query"), "request-results");
    assert_eq!(found.messages[0]["record"]["file"], "found.tar.gz", "{}", found.said);
    assert!(silo.folder.path().join("files/found.tar.gz").is_file());
    let silo = Silo::with("escapes");
    let found = silo.after(&silo.ask("query"), "request-results");
    assert_eq!((found.status, found.messages.len()), (3, 0));
    assert!(found.said.contains("outside of its folder"), "{}", found.said);
}

#[test]
fn records_are_whole_and_numbers_that_json_has_not_are_spelled() {
    let silo = Silo::with("not-finite");
    let found = silo.after(&silo.ask("query"), "request-results");
    let data = &found.messages[0]["record"]["data"];
    assert_eq!(*data, json!({"id": "NaN", "email": null, "note": null}), "{}", found.said);
}

#[test]
fn a_connector_that_refuses_or_crashes_says_so() {
    for (trap, says) in
        [("refuses", "refuses its `config`: no such role"), ("crashes", "ValueError: boom")]
    {
        let run = Silo::with(trap).run("validate", "", &json!(null));
        let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{trap}: {message}");
    }
    let run = Silo::with("query-crashes").ask("query");
    assert!(run.said.contains("KeyError: people"), "{}", run.said);
}
