//! Promises about the process: its arguments, inputs, streams, signals and exit status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::silo::Ability;
use crate::testing::output::{parse, sorted};
use crate::testing::program::{Call, named};
use crate::testing::setup::Setup;
use crate::testing::view::results;

/// What a run may take to end on SIGTERM, and what a busy machine may add to it.
const END: Duration = Duration::from_millis(1000 + 1000);

/// What a busy machine may take to tell a process of a signal.
const HEARD: Duration = Duration::from_millis(300);

/// A run with more output than this cannot have ended while nobody reads it.
const UNREAD: usize = 64 * 1024;

/// The least that a process on a terminal lives.
const LIFE: Duration = Duration::from_millis(300);

/// Every command, with inputs that it does something with.
fn calls<'a>(setup: &'a Setup, verbose: bool) -> Vec<Call<'a>> {
    let schemas = json!({ "schemas": setup.entries() });
    let subject = setup.subject(setup.first());
    let query = json!({ "identifiers": [subject] });
    let mut handle = named(&setup.first().store);
    handle["request_type"] = json!("QUERY");
    handle["data"] = json!({ "query": subject });
    let handles = json!({ "handles": [handle] });
    let mut calls = vec![
        setup.bare("spec"),
        setup.call("validate"),
        setup.call("schema"),
        setup.call("discover"),
        setup.call("scan").with("-s", &schemas),
        setup.call("read"),
        setup.call("query").with("-q", &query),
        setup.call("request-status").with("-r", &handles),
        setup.call("request-results").with("-r", &handles),
        setup.call("verify").with("-q", &query),
        setup.call("delete").arg("--dry-run").with("-q", &query),
        setup.call("plan").with("-q", &query),
    ];
    if verbose {
        calls = calls.into_iter().map(|call| call.arg("--verbose")).collect();
    }
    calls
}

/// Wrong usage, and inputs that cannot be read or understood, are the status 2 with one line that
/// says which and why, and nothing on stdout.
pub fn wrong_usage_and_unreadable_inputs_are_status_2_with_nothing_printed(setup: &mut Setup) {
    for words in [
        &[][..],
        &["no-such-command"],
        &["spec", "--no-such-flag"],
        &["read"],
        &["query", "-c"],
        &["scan", "--limit=many"],
        &["read", "--checkpoint=0"],
        &["write", "--mode=guess"],
    ] {
        let call = match words.split_first() {
            Some((command, rest)) => {
                rest.iter().fold(setup.bare(command), |call, word| call.arg(word))
            }
            None => setup.nothing(),
        };
        call.run().status(2).silent().complains_of("");
    }
    let good = |flag| -> Value {
        match flag {
            "-c" => setup.config.clone(),
            "-s" => json!({"schemas": []}),
            "-q" => json!({"identifiers": []}),
            "-r" => json!({"handles": []}),
            _ => json!({"type": "STATE", "state": {"schema_name": "t", "cursor": 1}}),
        }
    };
    let folder = setup.folder.path();
    let wrong: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "empty"),
        ("text", b"hello", "JSON"),
        ("cut", b"{\"a\": [1, ", "JSON"),
        ("binary", b"\xff\xfe{}", "UTF-8"),
        ("list", b"[1]", ""),
    ];
    for (command, flags) in [
        ("validate", &["-c"][..]),
        ("discover", &["-c"]),
        ("scan", &["-c", "-s"]),
        ("read", &["-c", "--state"]),
        ("query", &["-c", "-q"]),
        ("delete", &["-c", "-q"]),
        ("request-status", &["-c", "-r"]),
        ("request-results", &["-c", "-r"]),
    ] {
        for bad in flags {
            let with = |call: Call<'_>, path: &std::path::Path| {
                let call = call.file(bad, path);
                let others = flags.iter().filter(|flag| *flag != bad);
                others.fold(call, |call, flag| call.with(flag, &good(flag))).run()
            };
            let missing = folder.join("missing.json");
            let run = with(setup.bare(command), &missing).status(2).silent();
            run.complains_of("missing.json");
            let run = with(setup.bare(command), folder).status(2).silent();
            run.complains_of(folder.to_str().expect("a UTF-8 path"));
            for (name, content, word) in wrong {
                // A run that was killed early leaves no state or half a line; `validate` answers
                // a configuration of the wrong shape with FAILURE.
                let exempt = (*bad == "--state" && ["empty", "cut"].contains(&name))
                    || (command == "validate" && name == "list");
                if exempt {
                    continue;
                }
                let path = setup.file(content);
                let run = with(setup.bare(command), &path).status(2).silent();
                // The configuration is named as such, other inputs by their path.
                let place = path.to_str().expect("a UTF-8 path");
                let word = if *bad == "--state" { place } else { word };
                run.complains_of(word);
            }
        }
    }
    let run = setup.bare("query").piped("-c", &setup.config).arg("-q").arg("-").run();
    run.status(2).silent().complains_of("-");
    let run = setup.bare("write").piped("-c", &setup.config).run();
    run.status(2).silent().complains_of("-");
}

/// `-` stands for standard input in every flag that takes a file.
pub fn every_input_can_come_from_standard_input(setup: &mut Setup) {
    let schemas = json!({ "schemas": setup.entries() });
    let subject = setup.subject(setup.first());
    let query = json!({ "identifiers": [subject] });
    let mut handle = named(&setup.first().store);
    handle["request_type"] = json!("QUERY");
    handle["data"] = json!({ "query": subject });
    let handles = json!({ "handles": [handle] });
    let persist = json!({ "temp_store": setup.folder.path() });
    for (command, flag, content) in [
        ("scan", "-s", &schemas),
        ("query", "-q", &query),
        ("request-status", "-r", &handles),
        ("request-results", "-r", &handles),
    ] {
        let from_file = setup.call(command).with(flag, content).run();
        let run = setup.call(command).piped(flag, content).run().status(from_file.status);
        assert_eq!(format!("{:?}", run.lines), format!("{:?}", from_file.lines), "{run}");
        let run = setup.bare(command).piped("-c", &setup.config).with(flag, content).run();
        let run = run.status(from_file.status);
        assert_eq!(format!("{:?}", run.lines), format!("{:?}", from_file.lines), "{run}");
    }
    for command in ["validate", "schema", "discover"] {
        setup.bare(command).piped("-c", &setup.config).run().done();
    }
    let call = setup.call("request-results").with("-r", &handles);
    call.piped("-p", &persist).run().done();
    if setup.can(Ability::Read) {
        let whole = setup.call("read").run().done();
        let states: String = whole.states().into_iter().map(|(_, line)| line + "\n").collect();
        let from_file = setup.call("read").with("--state", states.as_str());
        let from_pipe = setup.call("read").piped("--state", states.as_str());
        if states.is_empty() {
            assert_eq!(from_pipe.run().done().records().len(), whole.records().len());
        } else {
            // Stores are read side by side, and none waits for another.
            let records =
                |call: crate::testing::program::Call<'_>| sorted(call.run().done().records());
            assert_eq!(records(from_pipe), records(from_file));
        }
    }
}

/// Flags come in any order, joined to their values or not, abbreviated or not, and hosts may pass
/// `-p` to any command.
pub fn flags_are_taken_as_hosts_write_them(setup: &mut Setup) {
    let persist = setup.file(&json!({ "temp_store": setup.folder.path() }));
    let config = setup.file(&setup.config);
    let (persist, config) =
        (persist.to_str().expect("a UTF-8 path"), config.to_str().expect("a UTF-8 path"));
    for words in [
        &["-c", config, "-p", persist][..],
        &["-p", persist, "-c", config],
        &["--config", config, "--persist_conf", persist],
        &[&format!("--persist_conf={persist}"), &format!("--config={config}")],
        &["--conf", config, "--pers", persist],
        &[&format!("-c{config}"), &format!("-p{persist}")],
    ] {
        for command in ["spec", "validate", "schema", "discover"] {
            words.iter().fold(setup.bare(command), |call, word| call.arg(word)).run().done();
        }
    }
}

/// SIGTERM ends a run within a second, with the status 143 and whole lines.
pub fn sigterm_ends_a_run_within_a_second_with_whole_lines(setup: &mut Setup) {
    if !setup.can(Ability::Read) {
        return;
    }
    let whole = setup.call("read").run().done().records();
    let mut started = setup.call("read").arg("--checkpoint=100").start_stopped();
    // It has begun: its signal handlers are in place.
    let mut stdout = started.read(100);
    std::thread::sleep(Duration::from_millis(50));
    started.terminate();
    let asked = std::time::Instant::now();
    // While nobody reads it cannot go on, so it ends for the signal's sake alone.
    std::thread::sleep(HEARD);
    stdout.extend(started.rest());
    let run = started.end(stdout);
    assert!(asked.elapsed() < END, "{run}: it took {:?} to end", asked.elapsed());
    let printed = run.records();
    assert!(printed.iter().all(|record| whole.contains(record)), "{run}: a record was changed");
    let size: usize = whole.iter().map(|record| record.data.len()).sum();
    if size > UNREAD {
        run.status(143);
    } else {
        // Its whole output may have fitted into the pipe: it had ended before it was asked to.
        assert!(matches!(run.status, 0 | 143), "{run}");
    }
}

/// When the reader of the output goes away, as `head` does, a run ends quietly with 141.
pub fn a_reader_that_goes_away_ends_a_run_quietly(setup: &mut Setup) {
    let mut talkative = Vec::new();
    for call in calls(setup, false) {
        let run = call.run();
        talkative.push(run.status == 0 && !run.lines.is_empty());
    }
    for (call, talks) in calls(setup, false).into_iter().zip(talkative) {
        if !talks {
            continue;
        }
        let run = call.run_unread().status(141);
        assert!(run.log("ERROR").is_empty(), "{run}: nothing failed");
    }
    if setup.can(Ability::Read) {
        // In the middle of the output, where it is longer than the pipe.
        let mut started = setup.call("read").start_stopped();
        started.read(100);
        started.close();
        let run = started.end(Vec::new());
        // A short output had ended before the reader went away.
        assert!(matches!(run.status, 0 | 141), "{run}: the status should be 141");
        assert!(run.log("ERROR").is_empty(), "{run}: nothing failed");
    }
}

/// On a pseudo-terminal, as container engines offer one, everything is JSON lines, and the process
/// lives at least 300 ms, for hosts that begin to wait for its end only after its start.
pub fn on_a_terminal_everything_is_json_and_the_process_lives_300_ms(setup: &mut Setup) {
    let mut runs = calls(setup, false);
    let expected: Vec<_> = calls(setup, false)
        .into_iter()
        .map(|call| call.run())
        .map(|run| (run.status, run.lines.len()))
        .collect();
    runs.push(setup.bare("no-such-command"));
    let expected = expected.into_iter().chain([(2, 0)]);
    for (call, (status, count)) in runs.into_iter().zip(expected) {
        let what = call.to_string();
        let (lines, ended, lived) = call.run_on_terminal();
        assert_eq!(ended, status, "{what}: the status on a terminal");
        assert!(lived >= LIFE, "{what}: it lived {lived:?}");
        let mut messages = 0;
        for line in &lines {
            let message: Value = serde_json::from_str(line)
                .unwrap_or_else(|_| panic!("{what}: a line on a terminal is no JSON: {line:?}"));
            if message["type"] != "LOG" {
                parse(format!("{line}\n").as_bytes()).expect("a message of a known type");
                messages += 1;
            }
        }
        assert_eq!(messages, count, "{what}: messages on a terminal");
    }
}

/// What is secret and who is asked for is in no log line and no error, whatever is tried: each
/// command, verbosely, with a configuration that works and with ones that do not.
pub fn no_secret_and_no_subjects_value_is_said(setup: &mut Setup) {
    // Each run is watched for both.
    for call in calls(setup, true) {
        call.run();
    }
    let mut configs: Vec<Value> = setup.broken.iter().map(|broken| broken.config.clone()).collect();
    let form = setup.spec()["spec"].take();
    for name in form["properties"].as_object().expect("the form has properties").keys() {
        let mut config = setup.config.clone();
        config[name] = json!({"odd": setup.secrets});
        configs.push(config);
    }
    for config in configs {
        for command in ["validate", "discover", "read"] {
            setup.call_with(command, &config).arg("--verbose").run();
        }
    }
    let value = &setup.first().value;
    let mut subject = setup.subject(setup.first());
    for (member, odd) in [
        ("identifier_query", json!([value])),
        ("identifier", json!(value)),
        ("identifier", json!([value])),
        ("schema_name", json!({ value.as_str(): value })),
        ("schema_group", json!([value])),
    ] {
        subject[member] = odd;
        let query = json!({ "identifiers": [subject] });
        for command in ["query", "delete", "verify", "plan"] {
            setup.call(command).with("-q", &query).arg("--verbose").run();
        }
        let mut handle = named(&setup.first().store);
        handle["request_type"] = json!("QUERY");
        handle["data"] = json!({ "query": subject });
        let handles = json!({ "handles": [handle] });
        for command in ["request-status", "request-results"] {
            setup.call(command).with("-r", &handles).arg("--verbose").run();
        }
        subject = setup.subject(setup.first());
    }
    let cut = json!({ "identifiers": [subject] }).to_string();
    let cut = &cut.as_bytes()[..cut.len() - 3];
    setup.call("query").with("-q", cut).run().status(2).silent();
    if setup.can(Ability::Query) {
        let run = setup.call("query").with("-q", &json!({ "identifiers": [subject] })).run();
        let mut result = results(&run.done()).remove(0);
        result["handle"]["data"]["identifiers"] = json!([{"schema_name": [value]}]);
        let handles = json!({ "handles": [result["handle"]] });
        setup.call("request-results").with("-r", &handles).arg("--verbose").run();
    }
}

/// An identifier of ten megabytes identifies nobody: it is refused by name.
pub fn an_identifier_of_ten_megabytes_is_refused(setup: &mut Setup) {
    let case = setup.first();
    let mut subject = setup.subject(case);
    subject["identifier_query"] = json!("x".repeat(10_000_000));
    let query = json!({ "identifiers": [subject] });
    let run = setup.call("query").with("-q", &query).run().status(2).silent();
    assert!(run.errors.len() < 1000, "the value is in the error");
    run.complains_of(&case.property);
}
