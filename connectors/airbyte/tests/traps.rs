//! What sources do that they should not, each done by a script on demand, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad-source.sh");
const PEOPLE: &str = r#"{"schemas":[{"name":"people","group":"crm"}]}"#;
const TOKEN: &str = "t0ken-value";

/// What a run printed, message by message, and what it said.
struct Run {
    status: i32,
    messages: Vec<Value>,
    said: String,
    text: String,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = String::from_utf8(output.stdout).unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            messages: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            said: String::from_utf8(output.stderr).unwrap(),
            text,
        }
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|message| message["type"] == kind).collect()
    }

    fn records(&self) -> Vec<&Value> {
        self.all("RECORD").into_iter().map(|message| &message["record"]["data"]).collect()
    }

    /// The last id that a state covers.
    fn covered(&self) -> Option<u64> {
        let state = self.all("STATE").pop()?["state"]["cursor"]["state"].as_str()?.to_owned();
        let state: Value = serde_json::from_str(&state).unwrap();
        state["stream"]["stream_state"]["id"].as_u64()
    }
}

fn config(trap: &str) -> Value {
    let own = json!({"people": 120, "trap": trap, "token": TOKEN});
    json!({"command": ["sh", SOURCE], "config": own.to_string(), "patience": 4})
}

fn command(words: &[&str], config: &Value, folder: &tempfile::TempDir) -> Command {
    let path = folder.path().join("config");
    std::fs::write(&path, config.to_string()).unwrap();
    std::fs::write(folder.path().join("stores"), PEOPLE).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-airbyte"));
    command.args(words).arg("-c").arg(path);
    // Where its private files are made, so that what is left of them is seen.
    std::fs::create_dir_all(folder.path().join("private")).unwrap();
    command.env("TMPDIR", folder.path().join("private"));
    command
}

fn run(words: &[&str], config: &Value) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(words, config, &folder);
    if words[0] == "read" || words[0] == "scan" {
        command.arg("-s").arg(folder.path().join("stores"));
    }
    let run = Run::of(command.output().unwrap());
    let left = std::fs::read_dir(folder.path().join("private")).unwrap().count();
    assert_eq!(left, 0, "private files are left behind");
    assert!(!run.said.contains(TOKEN) && !run.text.contains(TOKEN), "the token is shown");
    run
}

fn read(trap: &str) -> Run {
    run(&["read", "--checkpoint=1"], &config(trap))
}

#[test]
fn a_failure_by_any_of_its_signs_fails_the_store_and_its_records_stand() {
    for (trap, says) in [
        ("exits-1", "bad-source"),
        ("exits-1", "ValueError: boom"),
        ("fatal", "the disk is full"),
        ("error-inside", "the quota is used up"),
        ("incomplete", "INCOMPLETE"),
        ("never-complete", "without saying that the stream is COMPLETE"),
        ("state-of-a-failure", "exit status 1"),
        ("dies", "signal 9"),
        ("cut", "cut or garbled"),
    ] {
        let run = read(trap);
        assert_eq!(run.status, 3, "{trap}: {}", run.said);
        assert!(run.said.contains(says) || says == "bad-source", "{trap}: {}", run.said);
        assert!(run.said.contains("crm/people: "), "{trap} names its store: {}", run.said);
        assert_eq!(run.records().len(), 60, "{trap}");
        assert_eq!(run.covered(), Some(50), "{trap}: only what was printed before a good state");
    }
}

#[test]
fn a_program_without_anything_to_say_of_a_stream_has_not_read_it() {
    for (trap, says) in
        [("says-nothing", "printed nothing of this stream"), ("no-such-stream", "INCOMPLETE")]
    {
        let run = read(trap);
        assert_eq!((run.status, run.messages.len()), (3, 1), "{trap}: {}", run.text);
        assert!(run.said.contains(says), "{trap}: {}", run.said);
    }
    let run = read("old");
    assert_eq!((run.status, run.records().len()), (0, 120), "{}", run.said);
    assert_eq!(run.covered(), Some(100));
}

#[test]
fn a_program_that_hangs_is_stopped_and_so_is_what_it_started() {
    for trap in ["hangs", "hangs-deaf"] {
        let begun = Instant::now();
        let run = read(trap);
        assert_eq!((run.status, run.records().len()), (3, 60), "{trap}: {}", run.said);
        assert!(run.said.contains("said nothing for 4 seconds"), "{trap}: {}", run.said);
        assert_eq!(run.covered(), Some(50));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    let begun = Instant::now();
    let run = read("orphan");
    assert_eq!((run.status, run.records().len()), (0, 2), "{}", run.said);
    assert!(begun.elapsed() < Duration::from_secs(60), "a process that it left holds its output");
}

#[test]
fn a_scan_stops_a_program_that_never_ends() {
    for trap in ["endless", "endless-deaf"] {
        let begun = Instant::now();
        let run = run(&["scan", "--limit=5"], &config(trap));
        assert_eq!((run.status, run.records().len()), (0, 5), "{trap}: {}", run.said);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_signal_ends_the_program_too_and_removes_its_files() {
    for trap in ["endless", "endless-deaf", "hangs-deaf"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(&["read"], &config(trap), &folder);
        command.arg("-s").arg(folder.path().join("stores"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        if trap.starts_with("endless") {
            let mut first = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(700));
        }
        let ended = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(ended.success());
        assert_eq!(child.wait().unwrap().code(), Some(143), "{trap}");
        std::thread::sleep(Duration::from_millis(200));
        let left = std::fs::read_dir(folder.path().join("private")).unwrap().count();
        assert_eq!(left, 0, "{trap}: private files are left behind");
        let mark = folder.path().join("private");
        let search = "ps ax -o args | grep -F -- \"$0\" | grep -v grep";
        let found = Command::new("sh").args(["-c", search]).arg(mark).output().unwrap();
        assert!(found.stdout.is_empty(), "{trap}: {}", String::from_utf8_lossy(&found.stdout));
    }
}

#[test]
fn records_keep_every_byte_and_what_is_not_there_is_null() {
    let run = read("digits");
    let line = r#""data":{"id":18446744073709551615,"score":123456789012345678901234567890.10,"note":"\u0041","email":null}"#;
    assert!(run.text.contains(line), "{}", run.text);
    let run = read("undeclared");
    assert!(run.text.contains(r#"{"id":1,"nickname":"A","email":null,"score":null,"note":null}"#));
    assert!(run.said.contains("their schema has not: nickname"), "{}", run.said);
    for trap in ["crlf", "no-end-of-line"] {
        let run = read(trap);
        assert_eq!((run.status, run.records().len()), (0, 2), "{trap}: {}", run.said);
    }
    let run = read("long");
    let note = run.records()[0]["note"].as_str().unwrap().len();
    assert_eq!((run.status, note), (0, 49 << 19), "{}", run.said.len());
}

#[test]
fn what_is_no_json_is_mended_told_or_refused_and_never_dropped() {
    let run = read("not-finite");
    assert!(run.text.contains(r#""score":"NaN","email":"NaN""#), "{}", run.text);
    assert!(run.text.contains(r#""score":"-Infinity""#), "{}", run.text);
    assert!(run.said.contains("2 lines were no JSON"), "{}", run.said);
    let run = read("latin");
    assert_eq!(run.records()[0]["note"], "caf\u{fffd}");
    assert!(run.said.contains("U+FFFD"));
    let run = read("garbled");
    assert_eq!((run.status, run.records().len()), (3, 10));
    assert!(run.said.contains("cut or garbled"), "{}", run.said);
    let run = read("strangers");
    assert_eq!((run.status, run.records().len()), (0, 2));
    assert!(run.said.contains("1 records were of other streams"), "{}", run.said);
}

#[test]
fn a_state_is_handed_back_as_the_program_wrote_it() {
    let whole = read("");
    assert_eq!((whole.status, whole.records().len()), (0, 120));
    assert_eq!(whole.covered(), Some(120), "the state after COMPLETE counts");
    let states = whole.all("STATE");
    assert!(states.len() >= 2);
    assert!(states[0]["state"]["cursor"]["state"].as_str().unwrap().contains("\"exact\":1.50"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["read"], &config(""), &folder);
    let state = folder.path().join("state");
    std::fs::write(&state, states[0].to_string()).unwrap();
    command.arg("-s").arg(folder.path().join("stores")).arg("--state").arg(state);
    let rest = Run::of(command.output().unwrap());
    assert_eq!((rest.status, rest.records().len()), (0, 70), "{}", rest.said);
    let run = read("global");
    let state = run.all("STATE")[0]["state"]["cursor"]["state"].as_str().unwrap().to_owned();
    assert!(state.contains("12345678901234567890"), "{state}");
}

#[test]
fn a_slow_program_gets_its_states_kept() {
    let mut config = config("slow");
    config["patience"] = json!(60);
    let run = run(&["read"], &config);
    let at = |kind: &str| run.messages.iter().position(|message| message["type"] == kind);
    assert!(at("STATE").unwrap() < run.messages.len() - 3, "not only at the end: {}", run.text);
}

#[test]
fn secrets_are_struck_out_of_what_the_program_says_and_a_new_one_reaches_its_keeper() {
    let run = read("leaks");
    assert!(run.said.contains("signing in with ***"), "{}", run.said);
    assert!(run.said.contains("signed in with ***"), "{}", run.said);
    let run = read("rotates");
    let config = run.all("CONFIG")[0]["config"]["config"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["token"], "n3w-token-value");
    assert!(!run.said.contains("n3w-token-value"), "{}", run.said);
}

#[test]
fn a_program_sees_its_files_alone_and_little_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["read"], &config("environment"), &folder);
    command.env("SOPS_AGE_KEY", "AGE-SECRET").env("HTTPS_PROXY", "").arg("-s");
    let run = Run::of(command.arg(folder.path().join("stores")).output().unwrap());
    let names = run.records()[0]["note"].as_str().unwrap().to_owned();
    assert!(!names.contains("SOPS") && names.contains("HTTPS_PROXY"), "{names}");
    let run = read("files");
    let note = run.records()[0]["note"].as_str().unwrap().to_owned();
    let modes = "drwx------ -rw------- -rw------- -rw------- ";
    let path = note.strip_prefix(modes).unwrap_or_else(|| panic!("{note}"));
    assert!(!std::path::Path::new(path).exists());
}

#[test]
fn a_check_says_what_the_program_says() {
    for (trap, says) in [
        ("check-refuses", "refuses its `config`: the token has expired"),
        ("check-crashes", "no such host"),
        ("check-says-nothing", "printed no CONNECTION_STATUS"),
        ("check-hangs", "said nothing for 4 seconds"),
    ] {
        let run = run(&["validate"], &config(trap));
        let message = run.messages[0]["validate_msg"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{trap}: {message}");
        assert_eq!(run.status, 1);
    }
    for (trap, says) in [
        ("discover-error", "the catalog cannot be read"),
        ("discover-other", "printed no CATALOG for its `discover`"),
    ] {
        let run = run(&["discover"], &config(trap));
        assert_eq!((run.status, run.messages.len()), (1, 0), "{trap}");
        assert!(run.said.contains(says), "{trap}: {}", run.said);
    }
}

#[test]
fn a_query_says_that_it_reads_everything() {
    let folder = tempfile::tempdir().unwrap();
    let query = folder.path().join("query");
    let identifier = json!({"schema_name": "people", "schema_group": "crm",
        "identifier": "email", "identifier_query": "ada@example.com"});
    std::fs::write(&query, json!({"identifiers": [identifier]}).to_string()).unwrap();
    let run =
        Run::of(command(&["query"], &config(""), &folder).arg("-q").arg(query).output().unwrap());
    assert_eq!(run.messages[0]["request"]["handle"]["data"]["full_read"], true, "{}", run.text);
    let run = Run::of(command(&["discover"], &config(""), &folder).output().unwrap());
    let schema = &run.messages[0]["schema_msg"]["schemas"][0]["json_schema"];
    assert_eq!(schema["query"], "full-read");
}

/// A program in `folder` under an engine's name.
fn engine(folder: &TempDir, name: &str, script: &str) {
    let path = folder.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// What the run prints of an image, and how its engine was asked: one that runs the script in the
/// image's place.
fn run_image(folder: &TempDir, name: &str) -> (Run, String) {
    let script = format!(
        "[ \"$1\" = version ] && exit\necho \"$@\" >> {}/asked\n[ \"$1\" = rm ] && exit\n\
         while [ \"$1\" != acme/source:1 ]; do shift; done\nshift\nexec sh {SOURCE} \"$@\"",
        folder.path().display()
    );
    engine(folder, name, &script);
    let mut config = config("");
    config["command"] = json!([]);
    config["image"] = json!("acme/source:1");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = command(&["read"], &config, folder);
    let run = Run::of(command.env("PATH", path).output().unwrap());
    (run, std::fs::read_to_string(folder.path().join("asked")).unwrap_or_default())
}

#[test]
fn an_image_is_run_by_the_engine_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (run, asked) = run_image(&folder, "docker");
    assert_eq!((run.status, run.records().len()), (0, 123), "{}", run.said);
    for line in asked.lines() {
        assert!(
            line.starts_with("run --rm --name manifold-") && line.contains(" --user "),
            "{line}"
        );
        let volume = line.split(" -v ").nth(1).unwrap();
        let (from, to) = volume.split_once(' ').unwrap().0.split_once(':').unwrap();
        assert_eq!(from, to, "the paths that the program is given are the same within");
    }
}

#[test]
fn an_engine_that_does_not_answer_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    engine(&folder, "docker", "echo 'cannot connect to the daemon' >&2; exit 1");
    let (run, asked) = run_image(&folder, "podman");
    assert_eq!((run.status, run.records().len()), (0, 123), "{}", run.said);
    assert!(!asked.is_empty());
}
