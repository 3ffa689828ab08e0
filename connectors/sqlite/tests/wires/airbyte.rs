//! The Airbyte source and destination.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::program::{Bench, Ended, golden, started};

const SHOP: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, note TEXT, raw BLOB, paid BOOLEAN,
        updated_at DATETIME NOT NULL);
    INSERT INTO orders VALUES
        (1, 0.5, 'a\nb', x'00ff', 1, '2026-01-02'), (2, 9e999, NULL, NULL, 0, '2026-01-01'),
        (3, -2.0, 'ü', NULL, NULL, '2026-01-02');
    CREATE TABLE visits (at DATETIME, page TEXT);
    INSERT INTO visits VALUES ('2026-01-01', '/');
    CREATE TABLE empty (id INTEGER PRIMARY KEY);
";

pub(crate) fn bench() -> Bench {
    Bench::new("source-sqlite", SHOP)
}

/// Adds orders that share a few times.
pub(crate) fn many(bench: &Bench, rows: u64) {
    bench.sql(&format!(
        "INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         SELECT 9 + i, 1, 'x', NULL, 1, printf('2026-02-%02d', i % 7) FROM n"
    ));
}

/// A configured catalog of all that `discover` prints.
pub(crate) fn catalog(bench: &Bench, mode: &str) {
    let discovered = bench.run("discover --config config.json");
    let streams = discovered.lines[0]["catalog"]["streams"].as_array().unwrap();
    let configured: Vec<Value> = streams
        .iter()
        .map(|stream| json!({"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}))
        .collect();
    bench.file("catalog.json", &json!({"streams": configured}).to_string());
}

pub(crate) fn read(bench: &Bench, mode: &str, state: &str) -> Ended {
    catalog(bench, mode);
    bench.file("state.json", state);
    bench.run("read --config config.json --catalog catalog.json --state state.json")
}

pub(crate) fn of_type<'a>(ended: &'a Ended, name: &'a str) -> impl Iterator<Item = &'a Value> {
    ended.lines.iter().filter(move |line| line["type"] == name)
}

/// The ids of the orders read.
fn ids(ended: &Ended) -> Vec<i64> {
    let orders = of_type(ended, "RECORD").filter(|line| line["record"]["stream"] == "orders");
    orders.map(|line| line["record"]["data"]["id"].as_i64().unwrap()).collect()
}

/// The states of a run, as a platform hands them back.
pub(crate) fn states(ended: &Ended) -> String {
    Value::from_iter(of_type(ended, "STATE").map(|line| line["state"].clone())).to_string()
}

/// Lines without their times.
fn timeless(ended: &Ended) -> String {
    let mut text = String::new();
    for line in &ended.lines {
        let mut line = line.clone();
        for part in ["record", "trace"] {
            if let Some(time) = line.get_mut(part).and_then(|part| part.get_mut("emitted_at")) {
                assert!(time.is_u64(), "whole milliseconds");
                *time = 0.into();
            }
        }
        text.push_str(&format!("{line}\n"));
    }
    text
}

#[test]
fn what_a_source_prints_is_the_golden_one() {
    let bench = bench();
    let spec = &bench.run("spec").lines[0]["spec"]["connectionSpecification"];
    assert_eq!(spec["properties"]["path"]["type"], "string");
    assert_eq!(spec["additionalProperties"], true);
    golden("airbyte.check.jsonl", &bench.run("check --config config.json").text);
    golden("airbyte.discover.jsonl", &bench.run("discover --config config.json").text);
    golden("airbyte.read.jsonl", &timeless(&read(&bench, "incremental", "[]")));
}

#[test]
fn a_value_that_had_to_become_null_is_named_beside_its_record() {
    let ended = read(&bench(), "full_refresh", "[]");
    let orders = of_type(&ended, "RECORD").filter(|line| line["record"]["stream"] == "orders");
    for line in orders {
        let record = &line["record"];
        let change = json!({"field": "total", "change": "NULLED",
            "reason": "SOURCE_SERIALIZATION_ERROR"});
        match record["data"]["id"] == 2 {
            true => assert_eq!(record["meta"], json!({"changes": [change]})),
            false => assert!(record.get("meta").is_none(), "{record}"),
        }
        assert!(record["emitted_at"].is_u64());
    }
}

#[test]
fn an_incremental_read_goes_on_after_every_state() {
    let bench = bench();
    many(&bench, 25_000);
    let first = read(&bench, "incremental", "[]");
    let all = ids(&first);
    assert_eq!(all.len(), 25_003);
    let mut after = 0;
    for line in &first.lines {
        after += usize::from(line["type"] == "RECORD" && line["record"]["stream"] == "orders");
        if line["type"] == "STATE"
            && line["state"]["stream"]["stream_descriptor"]["name"] == "orders"
        {
            let again = read(&bench, "incremental", &json!([line["state"]]).to_string());
            assert_eq!(ids(&again), all[after..], "the rest and nothing else");
        }
    }
    assert_eq!(after, all.len());
    let counted: f64 = of_type(&first, "STATE")
        .filter(|line| line["state"]["stream"]["stream_descriptor"]["name"] == "orders")
        .map(|line| line["state"]["sourceStats"]["recordCount"].as_f64().unwrap())
        .sum();
    assert_eq!(counted, 25_003.0);
    bench.sql("UPDATE orders SET updated_at = '2027-01-01' WHERE id = 2");
    assert_eq!(ids(&read(&bench, "incremental", &states(&first))), [2]);
}

#[test]
fn two_full_reads_give_the_same_and_one_that_was_cut_is_taken_up() {
    let bench = bench();
    many(&bench, 25_000);
    let first = read(&bench, "full_refresh", "[]");
    let again = read(&bench, "full_refresh", &states(&first));
    assert_eq!(ids(&first), ids(&again));
    let cut = of_type(&first, "STATE")
        .find(|line| line["state"]["stream"]["stream_state"]["unfinished"] == true)
        .unwrap();
    let rest = read(&bench, "full_refresh", &json!([cut["state"]]).to_string());
    assert_eq!(ids(&rest), ids(&first)[10_000..]);
    let incremental = read(&bench, "incremental", &states(&first));
    assert_eq!(ids(&incremental).len(), 25_003, "a read in another order begins at the beginning");
}

#[test]
fn a_stream_without_a_key_is_read_in_full_where_an_incremental_read_is_asked_for() {
    let bench = bench();
    let first = read(&bench, "incremental", "[]");
    let second = read(&bench, "incremental", &states(&first));
    for ended in [&first, &second] {
        assert_eq!(ended.status, Some(0));
        let visits = of_type(ended, "RECORD").filter(|line| line["record"]["stream"] == "visits");
        assert_eq!(visits.count(), 1);
        let warned = of_type(ended, "LOG").any(|line| {
            let text = line["log"]["message"].as_str().unwrap();
            line["log"]["level"] == "WARN" && text.starts_with("visits: ")
        });
        assert!(warned, "{}", ended.text);
    }
}

#[test]
fn only_chosen_properties_are_read_and_those_that_are_gone_are_said() {
    let bench = bench();
    let stream = json!({"name": "orders", "namespace": "",
        "json_schema": {"properties": {"id": {}, "colour": {}}}});
    let catalog = json!({"streams": [{"stream": stream, "sync_mode": "incremental"}], "x": 1});
    bench.file("catalog.json", &catalog.to_string());
    let ended = bench.run("read --config config.json --catalog catalog.json");
    assert_eq!(ended.status, Some(0), "{}", ended.text);
    let first = of_type(&ended, "RECORD").next().unwrap();
    assert_eq!(first["record"]["data"], json!({"id": 2}));
    assert!(
        of_type(&ended, "LOG")
            .any(|line| line["log"]["message"].as_str().unwrap().contains("colour"))
    );
}

/// The one TRACE ERROR of a run.
fn error(ended: &Ended) -> (String, String) {
    let mut errors = of_type(ended, "TRACE").filter(|line| line["trace"]["type"] == "ERROR");
    let error = &errors.next().unwrap_or_else(|| panic!("{}", ended.text))["trace"]["error"];
    assert!(errors.next().is_none(), "one clear message");
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("message"), text("failure_type"))
}

#[test]
fn one_stream_that_fails_is_incomplete_and_the_others_are_read() {
    let bench = bench();
    catalog(&bench, "incremental");
    let mut catalog: Value =
        serde_json::from_slice(&std::fs::read(bench.path("catalog.json")).unwrap()).unwrap();
    catalog["streams"][0]["stream"]["name"] = "no such".into();
    bench.file("catalog.json", &catalog.to_string());
    let ended = bench.run("read --config config.json --catalog catalog.json");
    assert_eq!(ended.status, Some(1));
    let (message, kind) = error(&ended);
    assert!(message.contains("no such stream") && kind == "config_error", "{message}");
    assert_eq!(ids(&ended).len(), 3);
    let incomplete: Vec<_> = of_type(&ended, "TRACE")
        .filter(|line| line["trace"]["stream_status"]["status"] == "INCOMPLETE")
        .collect();
    assert_eq!(incomplete.len(), 1);
    assert!(!states(&ended).contains("no such"), "no state of what was not read");
}

#[test]
fn inputs_that_cannot_be_used_are_one_error_and_status_1() {
    let bench = bench();
    catalog(&bench, "incremental");
    let good = std::fs::read_to_string(bench.path("catalog.json")).unwrap();
    let state = |content: Value| {
        json!([{"stream": {"stream_descriptor": {"name": "orders"}, "stream_state": content}}])
            .to_string()
    };
    for (catalog, states, expected) in [
        ("{}", "[]", "`streams` is missing"),
        ("[", "[]", "it is not JSON"),
        (&good.replace("incremental\",", "sideways\","), "[]", "catalog: `streams[0].sync_mode`"),
        (&good, "[", "the state is not JSON"),
        (&good, "{\"bookmarks\": {}}", "none of this protocol"),
        (&good, &state(json!({"id": 7})), "stream orders: the stream's state was not written by"),
        (&good, &state(json!({"cursor": {"lsn": 7}})), "stream orders: "),
    ] {
        bench.file("catalog.json", catalog);
        bench.file("state.json", states);
        let ended =
            bench.run("read --config config.json --catalog catalog.json --state state.json");
        assert_eq!(ended.status, Some(1), "{}", ended.text);
        let (message, kind) = error(&ended);
        assert!(message.contains(expected), "{message}");
        assert_eq!(kind, "config_error", "{message}");
    }
}

#[test]
fn a_configuration_that_does_not_work_is_a_failed_check_and_a_failed_read() {
    let bench = bench();
    catalog(&bench, "incremental");
    for config in ["{\"path\": \"/no/such/file\"}", "{}", "{\"host\": \"of another\"}"] {
        bench.file("broken.json", config);
        let ended = bench.run("check --config broken.json");
        assert_eq!(ended.status, Some(0));
        assert_eq!(ended.lines[0]["connectionStatus"]["status"], "FAILED");
        assert!(ended.text.contains("`path`"), "{}", ended.text);
        for command in ["discover", "read --catalog catalog.json"] {
            let ended = bench.run(&format!("{command} --config broken.json"));
            assert_eq!((ended.status, error(&ended).1.as_str()), (Some(1), "config_error"));
        }
    }
    let ended = bench.run("check --config missing.json");
    assert_eq!(ended.status, Some(1));
    assert!(error(&ended).0.contains("there is no such file"));
}

#[test]
fn wrong_usage_is_status_2_and_text_on_stderr() {
    let bench = bench();
    for arguments in ["", "sync", "read --config config.json", "check"] {
        let ended = bench.run(arguments);
        assert_eq!((ended.status, ended.text.as_str()), (Some(2), ""), "{arguments}");
        assert!(ended.said.contains("Usage"), "{}", ended.said);
    }
}

#[test]
fn sigterm_is_status_143_and_a_reader_that_goes_away_is_a_failure() {
    let bench = bench();
    many(&bench, 200_000);
    catalog(&bench, "incremental");
    let arguments = "read --config config.json --catalog catalog.json";
    for terminate in [true, false] {
        let mut child = started(&mut bench.command(arguments));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        if terminate {
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").arg(&id).status().unwrap().success());
            let rest: Vec<String> = stdout.lines().map(Result::unwrap).collect();
            assert!(rest.iter().all(|line| line.ends_with('}')), "whole lines");
        } else {
            drop(stdout);
        }
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(if terminate { 143 } else { 141 }));
        assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn data_rights_stay_available_under_every_name() {
    let bench = bench();
    bench.file(
        "query.json",
        &json!({"identifiers": [
        {"schema_name": "orders", "identifier": "id", "identifier_query": "1"}]})
        .to_string(),
    );
    let ended = bench.run("query -c config.json -q query.json");
    assert_eq!(ended.lines[0]["type"], "REQUEST_RESULT");
    let ended = bench.run("--wire native discover -c config.json");
    assert_eq!(ended.lines[0]["type"], "SCHEMA");
}

const CATALOG: &str = r#"{"streams": [{
    "stream": {"name": "orders", "json_schema": {"properties": {
        "id": {"type": ["null", "integer"]}, "note": {"type": ["null", "string"]}}}},
    "sync_mode": "incremental", "destination_sync_mode": "MODE", "primary_key": [["id"]],
    "generation_id": 1, "minimum_generation_id": 0, "sync_id": 1}]}"#;

const MESSAGES: &str = r#"{"type":"TRACE","trace":{"type":"STREAM_STATUS"},"record":null}
{"type":"RECORD","record":{"stream":"orders","namespace":null,"data":{"id":1,"note":"new"},"emitted_at":0}}
{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders"},"stream_state":{"a": 1.50}},"x":null}}
{"type":"RECORD","record":{"stream":"orders","data":{"id":7,"note":null},"emitted_at":0}}
{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"orders"},"stream_state":{"a":2}}}}
"#;

fn orders(bench: &Bench) -> Vec<(i64, Option<String>)> {
    let connection = bench.open();
    let mut rows = connection.prepare("SELECT id, note FROM orders ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_destination_writes_in_each_mode_and_prints_states_as_they_came() {
    let old = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
        INSERT INTO orders VALUES (1, 'old'), (2, 'old');";
    let of = |rows: &[(i64, Option<&str>)]| -> Vec<(i64, Option<String>)> {
        rows.iter().map(|(id, note)| (*id, note.map(str::to_owned))).collect()
    };
    for (mode, expected) in [
        ("append_dedup", of(&[(1, Some("new")), (2, Some("old")), (7, None)])),
        ("overwrite", of(&[(1, Some("new")), (7, None)])),
    ] {
        let bench = Bench::new("destination-sqlite", old);
        bench.file("catalog.json", &CATALOG.replace("MODE", mode));
        let ended = bench.run_with("write --config config.json --catalog catalog.json", MESSAGES);
        assert_eq!(ended.status, Some(0), "{}", ended.text);
        let printed: Vec<&str> =
            ended.text.lines().filter(|line| line.contains("\"STATE\"")).collect();
        let given: Vec<&str> = MESSAGES.lines().filter(|line| line.contains("\"STATE\"")).collect();
        assert_eq!(printed, given, "to the byte");
        assert_eq!(orders(&bench), expected, "{mode}");
    }
    let bench = Bench::new("destination-sqlite", "");
    bench.file("catalog.json", &CATALOG.replace("MODE", "append"));
    let ended = bench.run_with("write --config config.json --catalog catalog.json", MESSAGES);
    assert_eq!(orders(&bench), of(&[(1, Some("new")), (7, None)]), "{}", ended.text);
}

#[test]
fn each_stream_has_its_own_mode_and_a_refresh_drops_older_generations_at_the_end() {
    let old = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
        INSERT INTO orders VALUES (1, 'old'), (2, 'old');
        CREATE TABLE visits (page TEXT);
        INSERT INTO visits VALUES ('old');";
    let catalog = |minimum: u32| {
        let stream = |name: &str, mode: &str, minimum: u32| {
            json!({"stream": {"name": name, "json_schema": {"properties": {}}},
                "sync_mode": "incremental", "destination_sync_mode": mode, "generation_id": 4,
                "minimum_generation_id": minimum, "sync_id": 9})
        };
        let mut orders = stream("orders", "append_dedup", minimum);
        orders["primary_key"] = json!([["id"]]);
        json!({"streams": [orders, stream("visits", "append", 0)]}).to_string()
    };
    let visit =
        r#"{"type":"RECORD","record":{"stream":"visits","data":{"page":"new"},"emitted_at":0}}"#;
    let input = format!("{MESSAGES}{}{visit}\n", MESSAGES.replace("\"new\"", "\"newer\""));
    for (minimum, expected) in [(0, 3), (4, 2)] {
        let bench = Bench::new("destination-sqlite", old);
        bench.file("catalog.json", &catalog(minimum));
        let write = "write --config config.json --catalog catalog.json";
        // A run that fails leaves the older generation as it was.
        let failed = bench.run_with(write, &format!("{input}nonsense\n"));
        assert_eq!(failed.status, Some(1));
        if minimum > 0 {
            assert_eq!(of_type(&failed, "STATE").count(), 0, "nothing is committed before the end");
            assert_eq!(orders(&bench)[0], (1, Some("old".to_owned())));
        }
        let ended = bench.run_with(write, &input);
        assert_eq!(ended.status, Some(0), "{}", ended.text);
        let rows = orders(&bench);
        assert_eq!((rows.len(), &rows[0]), (expected, &(1, Some("newer".to_owned()))));
        let count = "SELECT count(*) FROM visits WHERE page = 'old'";
        let kept: i64 = bench.open().query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1, "the other stream is appended to");
    }
}

#[test]
fn nothing_is_acknowledged_that_is_not_committed() {
    let bench = Bench::new("destination-sqlite", "");
    bench.file("catalog.json", &CATALOG.replace("MODE", "overwrite"));
    for (broken, expected) in [
        (
            "{\"type\":\"RECORD\",\"record\":{\"stream\":\"other\",\"data\":{}}}",
            "line 6: the stream other",
        ),
        ("{\"type\":\"RECORD\"}", "line 6: the message lacks its payload"),
        ("nonsense", "line 6: it is not a JSON message"),
    ] {
        let input = format!("{MESSAGES}{broken}\n");
        let ended = bench.run_with("write --config config.json --catalog catalog.json", &input);
        assert_eq!(ended.status, Some(1));
        assert!(error(&ended).0.contains(expected), "{}", ended.text);
        assert_eq!(of_type(&ended, "STATE").count(), 0);
    }
}
