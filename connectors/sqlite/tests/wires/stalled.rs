//! Clients that stop reading, or writing, in the middle of a run: it waits in the memory it has, and
//! goes on where it stood.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Bench, started};

const ROWS: usize = 300_000;

/// Longer than anything needs to fill the pipes.
const STALL: Duration = Duration::from_secs(2);

fn shop(name: &str) -> Bench {
    Bench::new(
        name,
        &format!(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
             INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             SELECT i, 'a note that makes the row longer than a few bytes' FROM n"
        ),
    )
}

/// The resident memory of a process, in KiB.
fn memory(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads a line, and no more for a while; then counts all the records.
fn read_late(mut child: Child, is_record: fn(&str) -> bool) {
    let mut stdout = BufReader::with_capacity(64, child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    std::thread::sleep(STALL);
    let waiting = memory(&child);
    assert!(waiting < 40 * 1024, "{waiting} KiB are held while nobody reads");
    let lines = std::iter::once(first).chain(stdout.lines().map(Result::unwrap));
    let records = lines.filter(|line| is_record(line)).count();
    assert_eq!(records, ROWS);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_stalls_gets_everything_by_every_wire() {
    let bench = shop("source-sqlite");
    let stream = json!({"stream": {"name": "orders", "json_schema": {}},
        "sync_mode": "full_refresh", "destination_sync_mode": "append"});
    bench.file("catalog.json", &json!({"streams": [stream]}).to_string());
    let read = "read --config config.json --catalog catalog.json";
    read_late(started(&mut bench.command(read)), |line| line.contains("\"RECORD\""));
    let tap = started(&mut bench.command("--wire singer-tap --config config.json"));
    read_late(tap, |line| line.contains("\"RECORD\""));
    let mut capture = started(&mut bench.command("--wire flow-capture"));
    let config = json!({"path": bench.path("data.db")});
    let binding = json!({"resourceConfig": {"stream": "orders", "mode": "full_refresh"}});
    let open = json!({"open": {"capture": {"config": config, "bindings": [binding]}}});
    let mut stdin = capture.stdin.take().unwrap();
    writeln!(stdin, "{open}").unwrap();
    drop(stdin);
    read_late(capture, |line| line.contains("\"captured\""));
}

/// Writes messages without reading a single state, until the pipes are full, and then reads.
fn write_ahead(bench: &Bench, arguments: &str, head: &str, message: impl Fn(usize) -> String) {
    let mut child = started(&mut bench.command(arguments));
    let mut stdin = child.stdin.take().unwrap();
    let mut input = head.to_owned();
    for n in 1..=2_000 {
        input += &message(n);
    }
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    std::thread::sleep(STALL);
    let waiting = memory(&child);
    assert!(waiting < 60 * 1024, "{waiting} KiB are held while nobody reads");
    let mut states = String::new();
    child.stdout.take().unwrap().read_to_string(&mut states).unwrap();
    writer.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let rows = "SELECT count(*) FROM copies";
    let rows: i64 = bench.open().query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2_000);
    let last = states.lines().last().unwrap();
    assert!(last.contains("2000"), "the last state: {last}");
}

#[test]
fn a_writer_whose_states_nobody_reads_waits_and_loses_none() {
    // Each state is long, so that a pipe is full of a few.
    let padding = "x".repeat(500);
    let bench = shop("target-sqlite");
    let schema = r#"{"type":"SCHEMA","stream":"copies","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}"#;
    write_ahead(&bench, "--config config.json", &format!("{schema}\n"), |n| {
        let record = json!({"type": "RECORD", "stream": "copies", "record": {"id": n}});
        format!("{record}\n{}\n", json!({"type": "STATE", "value": {"n": n, "padding": padding}}))
    });
    let bench = shop("destination-sqlite");
    let stream =
        json!({"name": "copies", "json_schema": {"properties": {"id": {"type": "integer"}}}});
    let stream = json!({"stream": stream, "sync_mode": "incremental",
        "destination_sync_mode": "append", "generation_id": 1, "minimum_generation_id": 0, "sync_id": 1});
    bench.file("catalog.json", &json!({"streams": [stream]}).to_string());
    write_ahead(&bench, "write --config config.json --catalog catalog.json", "", |n| {
        let record = json!({"stream": "copies", "data": {"id": n}, "emitted_at": 0});
        let state: Value = json!({"type": "STREAM", "stream": {
            "stream_descriptor": {"name": "copies"}, "stream_state": {"n": n, "padding": padding}}});
        format!(
            "{}\n{}\n",
            json!({"type": "RECORD", "record": record}),
            json!({"type": "STATE", "state": state})
        )
    });
}
