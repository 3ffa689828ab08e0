//! The Singer tap and target.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::program::{Bench, Ended, golden, started};

const SHOP: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, note TEXT, updated_at DATETIME NOT NULL);
    INSERT INTO orders VALUES (1, 0.5, 'a\nb', '2026-01-02'), (2, 9e999, NULL, '2026-01-01'),
        (3, -2.0, 'ü', '2026-01-02');
    CREATE TABLE visits (at DATETIME, page TEXT);
    INSERT INTO visits VALUES ('2026-01-01', '/');
";

fn bench() -> Bench {
    Bench::new("tap-sqlite", SHOP)
}

/// The discovered catalog, with orders read by when they changed.
fn catalog(bench: &Bench, property: &str) {
    let mut catalog: Value =
        serde_json::from_str(&bench.run("--config config.json --discover").text).unwrap();
    let orders = &mut catalog["streams"][0];
    assert_eq!(orders["tap_stream_id"], "orders");
    orders["replication_method"] = "INCREMENTAL".into();
    orders["replication_key"] = "updated_at".into();
    for entry in orders["metadata"].as_array_mut().unwrap() {
        if entry["breadcrumb"] == json!(["properties", property]) {
            entry["metadata"]["selected"] = false.into();
        }
    }
    bench.file("catalog.json", &catalog.to_string());
}

fn of_type<'a>(ended: &'a Ended, name: &'a str) -> impl Iterator<Item = &'a Value> {
    ended.lines.iter().filter(move |line| line["type"] == name)
}

fn ids(ended: &Ended) -> Vec<i64> {
    let orders = of_type(ended, "RECORD").filter(|line| line["stream"] == "orders");
    orders.map(|line| line["record"]["id"].as_i64().unwrap()).collect()
}

fn last_state(ended: &Ended) -> Value {
    let last = ended.lines.last().unwrap();
    assert_eq!(last["type"], "STATE", "the last line is a STATE");
    last["value"].clone()
}

#[test]
fn what_a_tap_prints_is_the_golden_one() {
    let bench = bench();
    let about = &bench.run("--about --format=json").lines[0];
    assert_eq!(
        (&about["name"], &about["settings"]["type"]),
        (&json!("tap-sqlite"), &json!("object"))
    );
    golden("singer.discover.json", &bench.run("-c config.json -d --catalog none -s none").text);
    catalog(&bench, "");
    let mut text = String::new();
    for mut line in bench.run("--config config.json --catalog catalog.json").lines {
        if let Some(time) = line.get_mut("time_extracted") {
            assert!(time.as_str().unwrap().ends_with('Z'));
            *time = "".into();
        }
        text.push_str(&format!("{line}\n"));
    }
    golden("singer.sync.jsonl", &text);
}

#[test]
fn an_incremental_stream_goes_on_from_its_bookmark_and_others_bookmarks_stay() {
    let bench = bench();
    catalog(&bench, "total");
    bench.file("state.json", &json!({"bookmarks": {"gone": {"lsn": 7}}, "x": 1}).to_string());
    let first = bench.run("--config config.json --catalog catalog.json --state state.json");
    assert_eq!(first.status, Some(0), "{}", first.said);
    assert_eq!(ids(&first), [2, 1, 3]);
    let record = &of_type(&first, "RECORD").next().unwrap()["record"];
    assert_eq!(*record, json!({"id": 2, "note": null, "updated_at": "2026-01-01"}));
    let state = last_state(&first);
    assert_eq!((&state["bookmarks"]["gone"], &state["x"]), (&json!({"lsn": 7}), &json!(1)));
    assert_eq!(state["bookmarks"]["orders"]["replication_key"], "updated_at");
    assert_eq!(state["bookmarks"]["orders"]["replication_key_value"], "2026-01-02");
    assert_eq!(state["bookmarks"]["visits"], json!({}));

    bench.file("state.json", &state.to_string());
    bench.sql("UPDATE orders SET updated_at = '2027-01-01' WHERE id = 1");
    let second = bench.run("--config config.json -p catalog.json --state state.json");
    assert_eq!(ids(&second), [1]);
    assert_eq!(of_type(&second, "RECORD").count(), 2, "and the one of the stream read in full");
}

#[test]
fn without_a_catalog_everything_is_read_in_full() {
    let ended = bench().run("--config config.json");
    assert_eq!((ended.status, ids(&ended)), (Some(0), vec![1, 2, 3]));
    assert_eq!(last_state(&ended)["bookmarks"], json!({"orders": {}, "visits": {}}));
}

#[test]
fn a_stream_that_fails_is_said_and_the_others_are_read() {
    let bench = bench();
    let streams = json!({"streams": [{"stream": "no such"}, {"tap_stream_id": "orders"},
        {"tap_stream_id": "visits", "replication_method": "LOG_BASED"}]});
    bench.file("catalog.json", &streams.to_string());
    let ended = bench.run("--config config.json --catalog catalog.json");
    assert_eq!((ended.status, ids(&ended)), (Some(1), vec![1, 2, 3]));
    assert!(ended.said.contains("ERROR no such: there is no such stream"), "{}", ended.said);
    assert!(ended.said.contains("ERROR visits: the replication method LOG_BASED"));
    assert!(last_state(&ended)["bookmarks"].get("visits").is_none());
}

#[test]
fn inputs_that_cannot_be_used_are_one_line_and_a_status() {
    let bench = bench();
    catalog(&bench, "");
    let good = std::fs::read_to_string(bench.path("catalog.json")).unwrap();
    for (catalog, state, expected) in [
        ("{}", "{}", "the catalog: `streams` is missing"),
        ("[", "{}", "catalog.json: it is not JSON"),
        (&good, "[]", "the state must be a JSON object"),
        (&good, "{\"bookmarks\": 7}", "`bookmarks` must be an object"),
        (
            &good,
            "{\"bookmarks\":{\"orders\":{\"replication_key\":\"id\",\"replication_key_value\":7}}}",
            "orders: the bookmark was written by another tap",
        ),
        (&good, "{\"bookmarks\":{\"orders\":{\"manifold\":{\"lsn\":7}}}}", "orders: "),
    ] {
        bench.file("catalog.json", catalog);
        bench.file("state.json", state);
        let ended = bench.run("--config config.json --catalog catalog.json --state state.json");
        assert_eq!(ended.status, Some(1), "{}", ended.said);
        let errors: Vec<_> = ended.said.lines().filter(|l| l.starts_with("ERROR")).collect();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{}", ended.said);
        assert!(ids(&ended).is_empty());
    }
    for arguments in ["", "--nonsense", "--catalog catalog.json"] {
        let ended = bench.run(arguments);
        assert_eq!((ended.status, ended.text.as_str()), (Some(2), ""), "{arguments}");
    }
    bench.file("broken.json", "{\"path\": null}");
    let ended = bench.run("--config broken.json --discover");
    assert_eq!((ended.status, ended.text.as_str()), (Some(1), ""));
    assert!(ended.said.contains("`path` is missing"), "{}", ended.said);
}

#[test]
fn settings_come_from_several_files_and_from_variables() {
    let bench = bench();
    bench.file("other.json", "{\"path\": \"/no/such/file\", \"tables\": [\"visits\"]}");
    let ended = bench.run("--config other.json --config config.json");
    assert_eq!(of_type(&ended, "RECORD").count(), 1, "{}", ended.said);
    let mut command = bench.command("--config ENV");
    command.env("TAP_SQLITE_PATH", bench.path("data.db")).env("TAP_SQLITE_TABLES", "[\"visits\"]");
    let output = started(&mut command).wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("\"RECORD\"").count(), 1);
}

#[test]
fn the_last_line_is_a_state_also_after_sigterm() {
    let bench = bench();
    bench.sql(
        "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
         SELECT 9 + i, 1, 'x', printf('2026-02-%02d', i % 7) FROM n",
    );
    catalog(&bench, "");
    let mut child = started(&mut bench.command("--config config.json --catalog catalog.json"));
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.lines().map(Result::unwrap);
    let mut before: Vec<String> = Vec::new();
    while before.iter().filter(|line| line.contains("\"STATE\"")).count() < 2 {
        before.push(lines.next().unwrap());
    }
    assert!(
        std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success()
    );
    before.extend(lines);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let parsed: Vec<Value> =
        before.iter().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    let last = parsed.last().unwrap();
    assert_eq!(last["type"], "STATE");

    bench.file("state.json", &last["value"].to_string());
    let rest = bench.run("--config config.json --catalog catalog.json --state state.json");
    let mut all: Vec<i64> = parsed
        .iter()
        .filter(|line| line["type"] == "RECORD" && line["stream"] == "orders")
        .map(|line| line["record"]["id"].as_i64().unwrap())
        .chain(ids(&rest))
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200_003, "nothing is lost between the two");
}

const MESSAGES: &str = r#"{"type":"SCHEMA","stream":"orders","schema":{"properties":{"id":{"type":"integer"},"note":{"type":["null","string"]}}},"key_properties":["id"]}
{"type":"RECORD","stream":"orders","record":{"id":1,"note":"new"},"version":7,"time_extracted":"2026-01-01T00:00:00Z"}
{"type":"ACTIVATE_VERSION","stream":"orders","version":7}
{"type":"STATE","value":{"bookmarks": {"orders":{"n":1.50}}}}
{"type":"record","stream":"orders","record":{"id":2,"note":null}}
{"type":"STATE","value":{"bookmarks":{"orders":{"n":2}}}}
"#;

#[test]
fn a_target_prints_each_state_once_its_records_are_committed() {
    let bench = Bench::new("target-sqlite", "");
    let ended = bench.run_with("--config config.json", MESSAGES);
    assert_eq!(ended.status, Some(0), "{}", ended.said);
    let states: Vec<&str> = ended.text.lines().collect();
    assert_eq!(
        states,
        [r#"{"bookmarks": {"orders":{"n":1.50}}}"#, r#"{"bookmarks":{"orders":{"n":2}}}"#]
    );
    let count = |sql: &str| bench.open().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM orders"), 2);

    let mut config: Value =
        serde_json::from_slice(&std::fs::read(bench.path("config.json")).unwrap()).unwrap();
    config["load_method"] = "upsert".into();
    bench.file("upsert.json", &config.to_string());
    let again = MESSAGES.replace("\"new\"", "\"newer\"");
    let ended = bench.run_with("--config upsert.json", &again);
    assert_eq!(ended.status, Some(0), "{}", ended.said);
    assert_eq!(count("SELECT count(*) FROM orders WHERE note = 'newer'"), 1);
    assert_eq!(count("SELECT count(*) FROM orders"), 2);
}

#[test]
fn batches_of_both_forms_are_taken_and_acknowledged_with_their_records() {
    let bench = Bench::new("target-sqlite", "");
    let plain = bench.file("plain.jsonl", "{\"id\":1,\"note\":\"a\"}\n{\"id\":2,\"note\":null}");
    bench.file("packed.jsonl", "{\"id\":3,\"note\":\"c\"}\n");
    let packed = bench.path("packed.jsonl");
    assert!(std::process::Command::new("gzip").arg(&packed).status().unwrap().success());
    let schema = MESSAGES.lines().next().unwrap();
    let sdk = json!({"type": "BATCH", "stream": "orders",
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "manifest": [format!("file://{}.gz", packed.display())]});
    let older = json!({"type": "BATCH", "stream": "orders", "filepath": plain, "format": "jsonl",
        "compression": null, "batch_size": 2, "time_extracted": "2026-01-01T00:00:00Z"});
    let state = "{\"type\":\"STATE\",\"value\":{\"n\":3}}";
    let input = format!("{schema}\n{sdk}\n{older}\n{state}\n");
    let ended = bench.run_with("--config config.json", &input);
    assert_eq!((ended.status, ended.text.as_str()), (Some(0), "{\"n\":3}\n"), "{}", ended.said);
    let count = "SELECT count(*) FROM orders WHERE id IN (1, 2, 3)";
    assert_eq!(bench.open().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 3);

    for (batch, expected) in [
        (json!({"encoding": {"format": "parquet"}, "manifest": ["x"]}), "files of JSON lines"),
        (json!({"manifest": ["s3://bucket/x"]}), "not on this machine"),
        (json!({"manifest": ["/no/such/file"]}), "orders: the batch /no/such/file cannot be read"),
        (json!({"encoding": {"compression": "zstd"}, "manifest": ["x"]}), "compressed by zstd"),
    ] {
        let mut message = json!({"type": "BATCH", "stream": "orders"});
        message.as_object_mut().unwrap().extend(batch.as_object().unwrap().clone());
        let ended =
            bench.run_with("--config config.json", &format!("{schema}\n{message}\n{state}\n"));
        assert_eq!((ended.status, ended.text.as_str()), (Some(1), ""), "{}", ended.said);
        assert!(ended.said.contains(expected), "{}", ended.said);
    }
}

#[test]
fn versions_of_full_reads_are_announced_where_they_are_asked_for() {
    let bench = bench();
    catalog(&bench, "");
    let path = bench.path("data.db");
    let config = json!({"path": path, "emit_activate_version_messages": true});
    bench.file("config.json", &config.to_string());
    let versions = |ended: &Ended, stream: &str| -> Vec<u64> {
        let of = |line: &&Value| line["stream"] == stream && line.get("version").is_some();
        ended.lines.iter().filter(of).map(|line| line["version"].as_u64().unwrap()).collect()
    };
    let first = bench.run("--config config.json --catalog catalog.json");
    let seen = versions(&first, "visits");
    // Before the one record, on it, and after it.
    assert_eq!((seen.len(), seen[0]), (3, seen[2]), "{}", first.text);
    assert!(versions(&first, "orders").is_empty(), "an incremental stream has none");
    let state = last_state(&first);
    assert_eq!(state["bookmarks"]["visits"], json!({"version": seen[0]}));
    bench.file("state.json", &state.to_string());
    let second = bench.run("--config config.json --catalog catalog.json --state state.json");
    let again = versions(&second, "visits");
    assert_eq!(again.len(), 2, "what is there stays until all of the next has come");
    assert!(again[0] > seen[0]);
}

#[test]
fn a_line_that_a_target_cannot_take_is_named_and_nothing_after_it_is_acknowledged() {
    let config = |bench: &Bench, method: &str| {
        let path = bench.path("data.db");
        bench.file("config.json", &json!({"path": path, "load_method": method}).to_string());
    };
    for (broken, expected) in [
        ("{\"type\":\"RECORD\",\"stream\":\"other\",\"record\":{}}", "before its SCHEMA"),
        ("{\"type\":\"BATCH\",\"stream\":\"orders\"}", "a batch names no file"),
        ("{\"type\":\"CHANGE\"}", "only SCHEMA, RECORD, BATCH and STATE"),
        ("nonsense", "it is not a JSON message"),
    ] {
        let bench = Bench::new("target-sqlite", "");
        config(&bench, "overwrite");
        let ended = bench.run_with("--config config.json", &format!("{MESSAGES}{broken}\n"));
        assert_eq!((ended.status, ended.text.as_str()), (Some(1), ""), "{}", ended.said);
        assert!(ended.said.contains("line 7: ") && ended.said.contains(expected), "{}", ended.said);
    }
    let bench = Bench::new("target-sqlite", "");
    config(&bench, "sideways");
    assert!(bench.run("--config config.json").said.contains("`load_method` must be"));
}

#[test]
fn what_a_tap_reads_a_target_writes_and_a_tap_reads_the_same() {
    let source = bench();
    let read = source.run("--config config.json");
    let target = Bench::new("target-sqlite", "");
    let ended = target.run_with("--config config.json", &read.text);
    assert_eq!(ended.status, Some(0), "{}", ended.said);
    std::fs::copy(target.path("data.db"), source.path("data.db")).unwrap();
    let again = source.run("--config config.json");
    let records = |ended: &Ended| {
        let mut records: Vec<String> = of_type(ended, "RECORD")
            .map(|line| format!("{} {}", line["stream"], line["record"]))
            .collect();
        records.sort();
        records
    };
    assert_eq!(records(&read), records(&again));
}
