//! A read that is killed at any moment goes on from the last STATE it printed, and loses nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use protocol::sql::sample::Random;
use serde_json::{Value, json};
use server::{Database, Server};

const ROWS: u64 = 20_000;

/// Reads until it is killed at a random line, again and again, and returns how often each row came
/// in what the STATE lines cover, and how many runs it took.
fn read_through_kills(
    (server, database): (&Server, &Database),
    cursor: Option<&str>,
    random: &mut Random,
) -> (BTreeMap<i64, usize>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut entry = json!({"name": "t", "group": database.name});
    if let Some(cursor) = cursor {
        entry["cursor"] = json!(cursor);
    }
    let config = file("config", &server.config(database, json!({})).to_string());
    let schemas = file("schemas", &json!({ "schemas": [entry] }).to_string());
    let mut found = BTreeMap::new();
    let mut state: Option<String> = None;
    for run in 1.. {
        let mut call = Command::new(env!("CARGO_BIN_EXE_connector-mysql"));
        call.args(["read", "--checkpoint", "500", "-c"]).arg(&config).arg("-s").arg(&schemas);
        if let Some(state) = &state {
            call.arg("--state").arg(file("state", state));
        }
        call.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = call.spawn().unwrap();
        let kill_at = random.below(ROWS / 2);
        let mut uncovered = Vec::new();
        let mut next = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        for number in 0.. {
            if number == kill_at {
                // SIGKILL; what the pipe holds was printed before.
                child.kill().unwrap();
            }
            let Some(line) = lines.next() else { break };
            // A line that the kill cut is none.
            let Ok(message) = serde_json::from_slice::<Value>(&line.unwrap()) else { break };
            match message["type"].as_str() {
                Some("RECORD") => uncovered.push(message["record"]["data"]["id"].as_i64().unwrap()),
                Some("STATE") => {
                    for id in uncovered.drain(..) {
                        *found.entry(id).or_default() += 1;
                    }
                    next = Some(message.to_string());
                }
                _ => {}
            }
        }
        state = next.or(state);
        if child.wait().unwrap().success() {
            return (found, run);
        }
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn each_row_comes_once_however_often_the_read_is_killed() {
    let Some(server) = Server::find() else {
        protocol::testing::skip(env!("CARGO_PKG_NAME"));
        return;
    };
    // Many rows of one moment, and rows too wide for a pipe to hold many.
    let database = server.database(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME NOT NULL, note TEXT, KEY (at));
         INSERT INTO t SELECT seq, TIMESTAMPADD(HOUR, seq % 100, '2024-01-01'), REPEAT('x', 500)
         FROM seq_1_to_{ROWS}"
    ));
    let mut random = Random::new(std::process::id().into());
    for cursor in [None, Some("at")] {
        let (found, runs) = read_through_kills((&server, &database), cursor, &mut random);
        assert_eq!(found.len() as u64, ROWS, "{cursor:?}: rows were lost");
        assert!(found.values().all(|times| *times == 1), "{cursor:?}: a row came twice");
        assert!(runs > 1, "{cursor:?}: it was never killed");
    }
}
